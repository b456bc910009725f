/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_WORKER_H
#define PORTS_WORKER_H

#include <stdbool.h>
#include <stddef.h>

#include "ports/fdquota.h"
#include "ports/listener.h"
#include "ports/tcp.h"

/* A worker: a thread of the parent that serves published ports (tcp.h, udp.h). A port of TCP is
 * served by several workers. A port of UDP belongs to one: it has one socket for all clients, so
 * that a worker would read what belongs to flows of others, and datagrams would overtake each other
 * on the way there. The main thread adds and removes ports by calls. Several workers together are
 * workers.h.
 *
 * A worker uses sockets that somebody inside may have a hand on, and can block in any system call
 * on them. So the main thread waits for it until a deadline only, and goes on without it: the
 * worker is late then, and has what was lent to it until it has answered all calls.
 */

struct worker;

/* What the workers have in common; all is borrowed. */
struct worker_setup {
	const char *bp_socket;	 /* path; the child is asked through it. Copied */
	bool source_ip;		 /* sockets shall speak from the client's address */
	struct fdtotal *fds;	 /* descriptors that all may hold together, */
	struct fdtotal *udp_fds; /* and how many of them for UDP */
	struct tcp *const *all;	 /* worker_tcp() of all workers, complete when the first starts */
	size_t count;
};

/* Returns a worker that does not run yet, or NULL with errno. */
struct worker *worker_new(const struct worker_setup *setup);

/* Starts its thread. Returns 0 or -errno. */
int worker_start(struct worker *w);
/* Has its loop failed? Then nobody serves its ports, and the main thread gets SIGCHLD. */
bool worker_failed(struct worker *w);
/* Was it started, and not yet joined? NULL was not. */
bool worker_runs(const struct worker *w);

/* Serves the listener's port, which may go away when WORKER_REMOVE_PORT is answered. Main thread;
 * waits for the worker with one of UDP, not with one of TCP (tcp_add_port). Returns 0, or -errno;
 * one of TCP has to be removed also then. */
int worker_add_port(struct worker *w, struct listener *listener);

enum worker_order {
	WORKER_ADD_UDP_PORT, /* for worker_add_port */
	/* Stop accepting on the port, if it is served, and close its connections. */
	WORKER_REMOVE_PORT,
	/* Stop accepting on all ports; when this is answered their sockets are not used any more.
	 * UDP flows have ended. Connections take what has been sent by now, for which they have
	 * some seconds, and are closed then; one that does not is reset. Then the thread ends. */
	WORKER_END,
};

/* How long the main thread waits for a worker to answer, which takes some milliseconds, */
#define WORKER_DEADLINE_MS 5000
/* and for its connections to take what was sent before the end: a little longer than tcp.c. */
#define WORKER_END_MS	   7000

struct worker_call;

/* Calls a running worker; no listener for WORKER_END. Main thread; waits only where its inbox is
 * full, until `until_ms` (clock_now_ms). Returns NULL if it could not be told: out of memory, or
 * too late.
 */
struct worker_call *worker_call(struct worker *w, enum worker_order order,
				struct listener *listener, unsigned long long until_ms);
/* Waits until a call is done, which is taken; NULL was not made. Returns 0 or -errno: -ETIMEDOUT
 * where the worker is late, or was not told. */
int worker_answer(struct worker *w, struct worker_call *call, unsigned long long until_ms);

/* Its part of the ports of TCP. */
struct tcp *worker_tcp(struct worker *w);

/* Waits until a worker that was told to end has no connection left, and has closed all that came
 * from inside. Main thread; blocks until
 * `until_ms`, and not at all where the worker is late. Returns false if it still runs. Does nothing
 * to one that does not run. */
bool worker_join(struct worker *w, unsigned long long until_ms);

/* Frees a worker that does not run, when no other worker runs either. NULL is fine. */
void worker_free(struct worker *w);

#endif
