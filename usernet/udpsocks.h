/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_UDPSOCKS_H
#define USERNET_UDPSOCKS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/list.h"
#include "base/loop.h"
#include "ports/flowtable.h"

/* The host's sockets of UDP flows. All queues share one table of them, because datagrams of one
 * flow may come by two queues: the kernel chooses the queue by addresses and ports, but fragments
 * have no ports. Each of the queues then has a flow (usernet/udpnat.h). Flows with the same key use
 * the same socket, so the peer sees one port.
 *
 * Every user of a socket may send. One of them, the reader, receives: the first user, until it
 * leaves; then another one is told so. A socket is closed when its last user leaves.
 *
 * A queue and its users belong to one thread. Nothing blocks. The table is locked only when a user
 * comes or leaves, and when the time to live changes.
 */

struct udpsocks;
struct udpsocks_user;

/* A socket, connected. Its users may read the first three members without a lock. */
struct udpsock {
	int fd;
	_Atomic int hops;	   /* time to live of what it sends, or SOCKOPT_ANY_HOPS */
	_Atomic bool has_errqueue; /* its errors are in its error queue (os/errqueue.h) */

	struct flow_entry entry; /* the table's own, as all that follows */
	struct list users;	 /* the reader is the first */
	bool is_retired;	 /* no longer in the table */
};

/* The side of a queue. Its owner sets on_reader before udpsocks_attach. */
struct udpsocks_queue {
	struct udpsocks *socks;
	struct watch wake;   /* owns an eventfd(2): `readers` is not empty */
	struct list readers; /* users that do not know yet that they are readers */
	/* A user is now the reader of its socket. Called in the queue's thread; may call
	 * udpsocks_leave. */
	void (*on_reader)(struct udpsocks_user *user);
};

/* A user of a socket. Embedded in a flow, which zeroes it. Do not free it before
 * udpsocks_leave. */
struct udpsocks_user {
	struct udpsock *sock; /* borrowed; NULL: none */
	struct udpsocks_queue *queue;
	struct list_node node;	      /* in the socket's `users` */
	struct list_node reader_node; /* in the queue's `readers` */
	bool is_told;		      /* in that list */
};

/* Returns an empty table, or NULL if out of memory. */
struct udpsocks *udpsocks_new(void);
/* All users must have left. NULL is fine. */
void udpsocks_free(struct udpsocks *s);

/* Prepares a queue, whose on_reader is called by `loop`. Both other arguments are borrowed until
 * udpsocks_detach. Returns 0 or -errno; udpsocks_detach must be called in either case. */
int udpsocks_attach(struct udpsocks *s, struct udpsocks_queue *q, struct loop *loop);
/* The queue's users must have left. */
void udpsocks_detach(struct udpsocks_queue *q, struct loop *loop);

/* Gives a user the socket of this key, or a new one, connected to `to`, if there is none. Returns 1
 * if the user is its reader, 0 if not, or -errno. */
int udpsocks_join(struct udpsocks_queue *q, struct udpsocks_user *u, const struct flow_key *key,
		  const struct sockaddr_storage *to, socklen_t len);
/* The user does not need its socket any more, and must not be polling it. */
void udpsocks_leave(struct udpsocks_user *u);

/* The socket does not work any more: who joins from now on gets another one. */
void udpsocks_retire(const struct udpsocks_user *u);

/* Sets the time to live of what the socket sends, and lets it have an error queue. */
void udpsocks_set_hops(const struct udpsocks_user *u, int hops);
/* Returns the MTU of the path to the peer, in bytes; 0 if it is not known. */
uint32_t udpsocks_path_mtu(const struct udpsocks_user *u);

#endif
