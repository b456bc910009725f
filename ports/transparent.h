/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_TRANSPARENT_H
#define PORTS_TRANSPARENT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "base/err.h"

/* Transparent sockets: TCP connections inside that come from the client's own address and port
 * (IP_TRANSPARENT in ip(7), IPV6_TRANSPARENT), so that the server sees who it talks to. This is
 * about the sockets, in the child and in the parent's workers; srcroute.h makes them work.
 */

/* The socket's own packets have the mark, and answers take it over, */
#define TRANSPARENT_MARK_IN  100
/* or netfilter gives answers that mark for packets with this one. srcroute.c says why. */
#define TRANSPARENT_MARK_OUT 101

/* How long a transparent connection is waited for. Where answers do not find their way back it
 * looks as if nobody answered. With what comes before and after it, no client waits 1 s. */
#define TRANSPARENT_DEADLINE_MS 800

/* The length of a socket address of IPv4 or IPv6. */
socklen_t transparent_length(const struct sockaddr_storage *sa);
/* Are they the same address and port? */
bool transparent_is_same(const struct sockaddr_storage *a, const struct sockaddr_storage *b);
/* Is `from` an address to come from, to a target `to`? Returns 0 or -errno with a reason. */
int transparent_check(const struct sockaddr_storage *from, const struct sockaddr_storage *to,
		      struct err *e);

/* Binds a socket to `from` so that answers with `mark` come back, once srcroute_start has made the
 * routes. The socket may have been made by another process, as long as the owner of its network
 * namespace's user namespace calls. Returns 0 or -errno. */
int transparent_bind(int fd, const struct sockaddr_storage *from, int mark, struct err *e);
/* The mark of a socket that is bound to a client's address, 0 if it is not. */
int transparent_mark(int fd);
/* Does the kernel track this connection? */
bool transparent_is_tracked(int fd, int family);
/* Is it right to have connected a socket with this mark? It was chosen a while ago; what may have
 * come since are rules that translate addresses. */
bool transparent_is_right(int fd, int family, int mark);

#endif
