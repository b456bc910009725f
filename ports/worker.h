/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_WORKER_H
#define PORTS_WORKER_H

#include <stdbool.h>
#include <stddef.h>

#include "ports/fdquota.h"
#include "ports/listener.h"
#include "ports/tcp.h"

/* A worker: a thread of the parent that serves published ports (tcp.h, udp.h). workers.h has all
 * workers as a group.
 *
 * All workers serve each TCP port. Only one worker serves a UDP port, because all its clients share
 * one socket: with several readers a datagram would have to be handed to the flow's worker, and
 * datagrams would be reordered. The main thread adds a TCP port itself (tcp_add_port). For
 * everything else it makes a call: it sends the worker an order, and waits for the answer.
 *
 * Sockets of the child may still be open in a process inside, which can make any system call on
 * them block. So the main thread waits for a worker only until a deadline. A worker that misses it
 * is late, until it has answered all calls: the main thread goes on without it. The late worker may
 * still use what was lent to it.
 */

struct worker;

/* What the workers share. Everything is borrowed, except for bp_socket. */
struct worker_setup {
	const char *bp_socket;	 /* path of the child's port service; copied */
	bool source_ip;		 /* connect from the client's address */
	struct fdtotal *fds;	 /* descriptors that all workers may hold together */
	struct fdtotal *udp_fds; /* those of them that UDP may hold */
	struct tcp *const *all;	 /* worker_tcp() of all workers; filled in before one starts */
	size_t count;		 /* of workers */
};

/* Returns a worker that does not run yet, or NULL with errno. Main thread, like all functions here
 * unless they say otherwise. */
struct worker *worker_new(const struct worker_setup *setup);

/* Starts the worker's thread. Returns 0 or -errno. */
int worker_start(struct worker *w);
/* Has its loop failed? Then its ports are not served any more, and the main thread gets SIGCHLD. */
bool worker_failed(struct worker *w);
/* Was it started, and not yet joined? False for NULL. */
bool worker_runs(const struct worker *w);

/* Serves the listener's port. The listener is borrowed until WORKER_REMOVE_PORT is answered. For a
 * UDP port this blocks until the worker answers, at most WORKER_DEADLINE_MS; for a TCP port it does
 * not block (tcp_add_port). Returns 0 or -errno: -ETIMEDOUT if the worker is late. Even after a
 * failure the caller must remove a TCP port; after -ETIMEDOUT also a UDP port. */
int worker_add_port(struct worker *w, struct listener *listener);

enum worker_order {
	WORKER_ADD_UDP_PORT, /* used by worker_add_port */
	/* Stop accepting on the port, and close its connections or flows. Does nothing if the
	 * worker does not serve the port. */
	WORKER_REMOVE_PORT,
	/* Stop accepting on all ports. When this is answered, their sockets are not used any more
	 * and UDP flows have ended. TCP connections have some seconds to deliver what has been sent
	 * on them so far, and are then closed; what cannot be delivered in time is cut by a reset.
	 * Then the thread ends. */
	WORKER_END,
};

/* How long the main thread waits for a worker's answer, which normally takes some milliseconds. */
#define WORKER_DEADLINE_MS 5000
/* How long it waits for connections to deliver what was sent before the end: a little longer than
 * DRAIN_MS, after which tcp.c cuts them. */
#define WORKER_END_MS	   7000

struct worker_call;

/* Sends an order to a running worker. `listener` (borrowed until the order is answered) is NULL for
 * WORKER_END. Blocks only if the worker's inbox is full, until `until_ms` (clock_now_ms). Returns a
 * call to be passed to worker_answer, or NULL if the order could not be sent: out of memory, or too
 * late. */
struct worker_call *worker_call(struct worker *w, enum worker_order order,
				struct listener *listener, unsigned long long until_ms);
/* Blocks until the call is answered, or until `until_ms`. Does not block if the worker is late
 * already. `call` is taken; it may be NULL, for an order that could not be sent. Returns the
 * worker's result, 0 or -errno; -ETIMEDOUT if the worker is late or `call` is NULL. */
int worker_answer(struct worker *w, struct worker_call *call, unsigned long long until_ms);

/* Returns the worker's TCP ports. */
struct tcp *worker_tcp(struct worker *w);

/* Waits until a worker that got WORKER_END has closed its last connection and all sockets of the
 * child. Blocks until `until_ms`, but not at all if the worker is late. Returns false if it still
 * runs. Does nothing to a worker that does not run. */
bool worker_join(struct worker *w, unsigned long long until_ms);

/* Frees a worker that does not run. No other worker may run either. NULL is fine. */
void worker_free(struct worker *w);

#endif
