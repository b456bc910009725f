/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_SOCKPOOL_H
#define PORTS_SOCKPOOL_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/list.h"
#include "base/loop.h"
#include "ports/fdquota.h"

/* A worker's store of sockets of the child's network namespace that are not connected yet. A socket
 * belongs for ever to the namespace that it was made in, whoever holds it: so the child hands over
 * many at once, and connecting them needs it no more.
 *
 *     take ── one is there ──────────────────────► descriptor
 *       └── none: -EAGAIN, wait ── batch comes ──► on_socket(descriptor)
 *       └── the child has none to give, is asked no more, descriptors are short ──► -errno
 *
 * A batch is asked for before a kind has run out. What is stored follows the demand, and goes when
 * there is none for some seconds. All functions belong to the thread of the loop; none blocks.
 */

enum sockpool_kind {
	SOCKPOOL_TCP4,
	SOCKPOOL_TCP6,
	SOCKPOOL_UDP4,
	SOCKPOOL_UDP6,
	SOCKPOOL_KINDS,
};

#define SOCKPOOL_HELD_MAX 64 /* of a kind, those on their way included */

/* Who waits for a socket. Embedded in its owner; zero it before the first use. */
struct sockpool_waiter {
	/* The socket belongs to the owner from then on; -errno: there is none to be had. May call
	 * the pool. */
	void (*on_socket)(struct sockpool_waiter *w, int fd);
	/* The pool's own: */
	struct list_node node;
	struct list *queue; /* NULL: it does not wait */
};

struct sockpool;

/* All that is given is borrowed; spare sockets are taken from the quota. Returns NULL if there is
 * no memory. */
struct sockpool *sockpool_new(struct loop *loop, struct fdquota *quota,
			      const struct sockaddr_un *bp_address);
/* Closes all. Nobody waits any more. NULL is fine. */
void sockpool_free(struct sockpool *pool);

/* The kind for a target of this family. */
enum sockpool_kind sockpool_kind(bool udp, sa_family_t family);

/* Returns a fresh non-blocking socket, with sockopt_tcp_defaults if it is of TCP, that belongs to
 * the caller, who has a descriptor of the quota for it. -EAGAIN if one is on its way; -errno if
 * there is none to be had for now. */
int sockpool_take(struct sockpool *pool, enum sockpool_kind kind);

/* After -EAGAIN: on_socket is called once, not from within this. */
void sockpool_wait(struct sockpool *pool, enum sockpool_kind kind, struct sockpool_waiter *w);
/* Stops waiting; on_socket does not come any more. Does nothing to one that does not wait. */
void sockpool_unwait(struct sockpool_waiter *w);

/* Lets a batch come if there is nothing in store. */
void sockpool_warm(struct sockpool *pool, enum sockpool_kind kind);

/* Closes what is in store, for descriptors are short. */
void sockpool_drop(struct sockpool *pool);

/* Does the child keep clients' addresses? True until it has said that it does not. */
bool sockpool_keeps_source(const struct sockpool *pool);

#endif
