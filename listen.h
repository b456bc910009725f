/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LISTEN_H
#define LISTEN_H

#include "err.h"
#include "portspec.h"

/* Opens the listening socket of a TCP port on the host, by the rules of families that users of Go's
 * network library know: "tcp" on 0.0.0.0, :: or no address listens on both families, "tcp4" and
 * "tcp6" on one (IPV6_V6ONLY, ipv6(7)), so that 0.0.0.0:80/tcp4 and [::]:80/tcp6 stand side by
 * side. The socket is non-blocking and has sockopt_tcp_defaults. Does not block. Returns a
 * descriptor, or -errno with a reason that begins with "listen tcp 127.0.0.1:80: ", for a
 * privileged port with what can be done about it. */
int listen_tcp(const struct portspec *spec, struct err *e);

#endif
