/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPARENT_H
#define TRANSPARENT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "base/err.h"
#include "os/netfilter.h"
#include "os/rtnl.h"

/* Transparent sockets: TCP connections inside that come from the client's own address and port
 * (IP_TRANSPARENT in ip(7), IPV6_TRANSPARENT), so that the server sees who it talks to. All of this
 * concerns the network namespace of the thread that calls, which has CAP_NET_ADMIN there; one
 * thread uses a struct transparent.
 */

/* Ways by which answers did not come back: from clients of a network (a /24 of IPv4, a /64 of IPv6)
 * to a target. Of a target that has many of them all ways are dead. Zero it before the first use.
 */
#define TRANSPARENT_DEAD_WAYS 64

struct transparent_dead {
	struct dead_way {
		struct sockaddr_storage from, to;
		unsigned long long until_ms;
	} ways[TRANSPARENT_DEAD_WAYS];
	unsigned int next;
};

/* Remembers for a minute that a way is dead. */
void transparent_note_dead(struct transparent_dead *dead, const struct sockaddr_storage *from,
			   const struct sockaddr_storage *to);
void transparent_forget_dead(struct transparent_dead *dead, const struct sockaddr_storage *from,
			     const struct sockaddr_storage *to);
bool transparent_is_dead(const struct transparent_dead *dead, const struct sockaddr_storage *from,
			 const struct sockaddr_storage *to);

struct transparent {
	int rtnl_fd;
	bool v6; /* it has IPv6 */
	struct tracking {
		bool active;
		unsigned long long looked_ms;
	} v4_tracking, v6_tracking;
	struct netfilter netfilter;
	struct transparent_dead dead;
};

/* Makes the routes by which answers come back. The loopback link is up. Returns 0, or -errno with a
 * reason: then there are no transparent sockets here. */
int transparent_start(struct transparent *t, struct err *e);

/* Are they the same address and port? */
bool transparent_is_same(const struct sockaddr_storage *a, const struct sockaddr_storage *b);
/* Is `from` an address to come from, to a target `to`? Returns 0 or -errno with a reason. */
int transparent_check(const struct sockaddr_storage *from, const struct sockaddr_storage *to,
		      struct err *e);

/* Returns a non-blocking socket that is bound to `from` and may be connected to `to`, or -errno
 * with a reason why this one cannot come from there. Where answers do not find their way back it
 * looks as if nobody answered: after TRANSPARENT_DEADLINE_MS it is time to do without. */
#define TRANSPARENT_DEADLINE_MS 800 /* with what comes before and after it, no client waits 1 s */
int transparent_socket(struct transparent *t, const struct sockaddr_storage *from,
		       const struct sockaddr_storage *to, struct err *e);

/* The parts of that, for sockets of the namespace that somebody else has made, who may set this up
 * on them: who has the rights there (the kernel gives them to the owner of the user namespace).
 * Binds a socket to `from` so that answers with `mark` come back. Returns 0 or -errno. */
int transparent_bind(int fd, const struct sockaddr_storage *from, int mark, struct err *e);
/* The mark of a socket that is bound to a client's address, 0 if it is not. */
int transparent_mark(int fd);
/* Is it right to have connected a socket with this mark? It was chosen a while ago; what may have
 * come since are rules that translate addresses. */
bool transparent_is_right(int fd, int family, int mark);

#endif
