/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_LISTEN_H
#define PORTS_LISTEN_H

#include "base/err.h"
#include "formats/portspec.h"

/* Opens the listening socket of a TCP or UDP port on the host, by the rules of families that users
 * of Go's network library know: "tcp" on 0.0.0.0, :: or no address listens on both families, "tcp4"
 * and "tcp6" on one (IPV6_V6ONLY, ipv6(7)), so that 0.0.0.0:80/tcp4 and [::]:80/tcp6 stand side by
 * side, and so for "udp". The socket is non-blocking; one of TCP has sockopt_tcp_defaults, one of
 * UDP dgram_listener_options. Does not block. Returns a descriptor, or -errno with a reason that
 * begins with "listen tcp 127.0.0.1:80: ", for a privileged port with what can be done about it. */
int listen_port(const struct portspec *spec, struct err *e);

/* Adds to the reason `e` of a bind(2) that failed with `reason` (errno) what can be done: for a
 * privileged port in RootlessKit's words, in front; else behind it. `program` is what binds, and
 * needs the capability: "rootlesskit", "slirp4netns". */
void listen_explain(const struct portspec *spec, int reason, const char *program, struct err *e);

#endif
