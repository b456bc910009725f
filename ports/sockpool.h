/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_SOCKPOOL_H
#define PORTS_SOCKPOOL_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/list.h"
#include "base/loop.h"
#include "ports/fdquota.h"

/* A worker's pool of unconnected sockets of the child's network namespace. A socket belongs for
 * ever to the namespace that it was made in, whichever process holds it. So the child can hand over
 * many sockets at once, and the parent connects them without asking the child each time.
 *
 *     take ── one is stored ─────────────────────► descriptor
 *       └── none: -EAGAIN, wait ── batch comes ──► on_socket(descriptor)
 *       └── refused by the child, not supported by it, or no descriptor left ──► -errno
 *
 * A batch is requested before the sockets of a kind run out. The number of stored sockets follows
 * the demand; without demand for some seconds, all are closed. All functions belong to the thread
 * of the loop. None blocks, except as worker.h describes for sockets that the child has tampered
 * with.
 */

enum sockpool_kind {
	SOCKPOOL_TCP4,
	SOCKPOOL_TCP6,
	SOCKPOOL_UDP4,
	SOCKPOOL_UDP6,
	SOCKPOOL_KINDS,
};

#define SOCKPOOL_HELD_MAX 64 /* sockets of a kind, including those of a batch under way */

/* A wait for a socket. Embedded in its owner; zero it before the first use. */
struct sockpool_waiter {
	/* `fd` is a socket, which the owner takes; or -errno, if no socket will come. The callback
	 * may call the pool. */
	void (*on_socket)(struct sockpool_waiter *w, int fd);
	/* Private to the pool: */
	struct list_node node;
	struct list *queue; /* NULL: not waiting */
};

struct sockpool;

/* All parameters are borrowed. `bp_address`: of the child's port service. Stored sockets are
 * charged to the quota. Returns NULL if out of memory. */
struct sockpool *sockpool_new(struct loop *loop, struct fdquota *quota,
			      const struct sockaddr_un *bp_address);
/* Closes all sockets and frees the pool. No waiter may be left. NULL is fine. */
void sockpool_free(struct sockpool *pool);

/* Returns the kind of socket for a target of `family`, AF_INET or AF_INET6. */
enum sockpool_kind sockpool_kind(bool udp, sa_family_t family);

/* Returns an unused non-blocking socket that the caller owns; a TCP socket has
 * sockopt_tcp_defaults. The caller must have taken a descriptor from the quota for it. Returns
 * -EAGAIN if a batch is under way (then call sockpool_wait), or another -errno if the caller should
 * ask the child for a connection. */
int sockpool_take(struct sockpool *pool, enum sockpool_kind kind);

/* Waits for a socket after -EAGAIN. on_socket is called once, never from within this call. `w` is
 * borrowed until then. */
void sockpool_wait(struct sockpool *pool, enum sockpool_kind kind, struct sockpool_waiter *w);
/* Stops waiting: on_socket is not called. Does nothing if `w` does not wait. */
void sockpool_cancel_wait(struct sockpool_waiter *w);

/* Requests a batch if no socket of this kind is stored. */
void sockpool_warm(struct sockpool *pool, enum sockpool_kind kind);

/* Closes all stored sockets, because descriptors are short, and requests none for a moment. */
void sockpool_drop(struct sockpool *pool);

/* Can the child connect from clients' addresses (--source-ip-transparent)? The last batch says so
 * (BPMSG_KEEPS_SOURCE in bpmsg.h); true before the first batch. */
bool sockpool_keeps_source(const struct sockpool *pool);

#endif
