/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_LISTEN_H
#define PORTS_LISTEN_H

#include <stdbool.h>

#include "base/err.h"
#include "formats/ipaddr.h"
#include "formats/portspec.h"

/* Opens the listening socket of a TCP or UDP port on the host. Address families follow Go's network
 * library: "tcp" on 0.0.0.0, on :: or without an address listens on both families; "tcp4" and
 * "tcp6" listen on one (IPV6_V6ONLY, ipv6(7)), so that 0.0.0.0:80/tcp4 and [::]:80/tcp6 can
 * coexist. "udp", "udp4" and "udp6" work in the same way.
 *
 * The socket is non-blocking. A TCP socket has sockopt_tcp_defaults and sockopt_tcp_reset_on_close,
 * which accepted sockets inherit; a UDP socket has dgram_set_listener_options. `program` is as for
 * listen_explain. Does not block. Any thread. Returns a descriptor that the caller owns, or -errno
 * with a reason. The reason begins with "listen tcp 127.0.0.1:80: "; for a privileged port, advice
 * comes first. */
int listen_port(const struct portspec *spec, const char *program, struct err *e);

/* Binds an address for a moment, on behalf of a program that will listen there. Does not block.
 * Returns 0, or -errno if that is not possible. */
int listen_try_bind(const struct ipaddr *ip, int port, bool udp);

/* Adds advice to `e`, the reason of a bind(2) that failed with `reason` (an errno value). For a
 * privileged port the advice comes first, in RootlessKit's words; else it is appended. `program` is
 * the program that binds and would need the capability, such as "rootlesskit"; NULL: a capability
 * would not help. */
void listen_explain(const struct portspec *spec, int reason, const char *program, struct err *e);

#endif
