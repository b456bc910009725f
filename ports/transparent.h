/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_TRANSPARENT_H
#define PORTS_TRANSPARENT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "base/err.h"

/* Transparent sockets: TCP connections in the child's namespace that come from the client's own
 * address and port (IP_TRANSPARENT in ip(7), IPV6_TRANSPARENT), so that the server sees its
 * client's address. This file handles the sockets, in the child and in the parent's workers;
 * srcroute.h makes the routes that they need. Nothing blocks. Descriptors are borrowed. */

/* fwmark of a socket whose answers take over the mark of its packets (srcroute.c, DIRECT) */
#define TRANSPARENT_MARK_IN  100
/* fwmark of a socket for whose answers netfilter sets TRANSPARENT_MARK_IN (srcroute.c, TRACKED) */
#define TRANSPARENT_MARK_OUT 101

/* Timeout of a transparent connection, in milliseconds. Answers that do not find their way back
 * look like no answer. All attempts together keep a client waiting less than 1 s. */
#define TRANSPARENT_DEADLINE_MS 800

/* Returns the length in bytes of an IPv4 or IPv6 socket address. */
socklen_t transparent_length(const struct sockaddr_storage *sa);
/* Are they the same address and port? */
bool transparent_is_same(const struct sockaddr_storage *a, const struct sockaddr_storage *b);
/* Can a connection to `to` come from the address `from`? Returns 0 or -errno with a reason; `e` may
 * be NULL. */
int transparent_check(const struct sockaddr_storage *from, const struct sockaddr_storage *to,
		      struct err *e);

/* Marks a socket with `mark`, makes it transparent and binds it to `from`; srcroute_start must have
 * made the routes. The socket may come from another process. The caller needs CAP_NET_ADMIN in the
 * socket's network namespace; the user who owns that namespace's user namespace has it. Returns 0
 * or -errno with a reason; `e` may be NULL. */
int transparent_bind(int fd, const struct sockaddr_storage *from, int mark, struct err *e);
/* Returns the mark of a socket: 0 for sockets of ours that are not bound to a client's address. */
int transparent_mark(int fd);
/* Does the kernel track this connection? `family`: AF_INET or AF_INET6. */
bool transparent_is_tracked(int fd, int family);
/* For a connected socket: is its mark, which was chosen some time ago, still the right one? NAT
 * rules may have been added since then. */
bool transparent_has_valid_mark(int fd, int family, int mark);

#endif
