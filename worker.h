/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WORKER_H
#define WORKER_H

#include <semaphore.h>
#include <stdbool.h>
#include <stddef.h>

#include "budget.h"
#include "offer.h"
#include "tcp.h"

/* A worker: a thread of the parent that serves published ports (tcp.h, udp.h). A port of TCP is
 * offered to several workers. A port of UDP belongs to one: it has one socket for all clients, so
 * that a worker would read what belongs to flows of others, and datagrams would overtake each other
 * on the way there. The main thread adds and removes ports by calls. Several workers together are a
 * crew (crew.h).
 */

struct worker;

/* What the workers of a crew have in common; all is borrowed. */
struct worker_setup {
	const char *bp_socket;	 /* path; the child is asked through it. Copied */
	bool source_ip;		 /* sockets shall speak from the client's address */
	struct account *fds;	 /* descriptors that all may hold together, */
	struct account *udp_fds; /* and how many of them for UDP */
	struct tcp *const *all;	 /* worker_tcp() of the crew, complete when the first starts */
	size_t count;
};

/* Returns a worker that does not run yet, or NULL with errno. */
struct worker *worker_new(const struct worker_setup *setup);

/* Starts its thread. Returns 0 or -errno. */
int worker_start(struct worker *w);
/* Was it started, and not yet joined? NULL was not. */
bool worker_runs(const struct worker *w);

/* Serves the offer's port, which may go away when WORKER_REMOVE_PORT is answered. Main thread;
 * waits for the worker with one of UDP, not with one of TCP (tcp_add_port). Returns 0, or -errno;
 * one of TCP has to be removed also then. */
int worker_add_port(struct worker *w, struct offer *offer);

enum worker_order {
	WORKER_ADD_UDP_PORT, /* for worker_add_port */
	/* Stop accepting on the port, if it is served, and close its connections. */
	WORKER_REMOVE_PORT,
	/* Stop accepting on all ports; when this is answered their sockets are not used any more.
	 * UDP flows have ended. Connections take what has been sent by now, for which they have
	 * some seconds, and are closed then; one that does not is reset. Then the thread ends. */
	WORKER_END,
};

/* A call, which lives until it is answered. */
struct worker_call {
	enum worker_order order;
	struct offer *offer; /* not for WORKER_END */
	/* The worker's: */
	int result;
	sem_t done;
};

/* Calls a running worker, and does not wait for it. Main thread. */
void worker_call(struct worker *w, struct worker_call *call);
/* Waits until it is done. Returns 0 or -errno. */
int worker_answer(struct worker_call *call);

/* Its part of the ports of TCP. */
struct tcp *worker_tcp(struct worker *w);

/* Waits until a worker that was told to end has no connection any more. Main thread; blocks for
 * some seconds at most. Does nothing to one that does not run. */
void worker_join(struct worker *w);

/* Frees a worker that does not run, when no other of the crew runs either. NULL is fine. */
void worker_free(struct worker *w);

#endif
