/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_TCP_H
#define PORTS_TCP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/loop.h"
#include "ports/dial.h"
#include "ports/fdquota.h"
#include "ports/inbox.h"
#include "ports/listener.h"

/* The published TCP ports of a worker. For each accepted client the worker gets a connection to the
 * port's target, made in the child's network namespace, and copies bytes both ways. All workers
 * serve every port. A worker that has clearly more clients than another hands the next client over
 * to that one. After that a client stays with its worker, and the workers share nothing while bytes
 * are copied.
 *
 * All functions belong to the thread of the loop and do not block, unless they say otherwise.
 */

struct tcp;

/* Everything is borrowed. */
struct tcp_setup {
	struct loop *loop;
	struct dialler *dialler; /* its quota must be set to tcp_quota() */
	struct inbox *inbox;	 /* other workers send clients to it; its owner passes these on to
				    tcp_take_client */
	struct fdtotal *fds;	 /* descriptors that all workers may hold together */
	bool source_ip;		 /* connect from the client's address */
	struct tcp *const *all;	 /* the struct tcp of each worker; filled in before one runs */
	size_t count;		 /* in `all` */
};

/* Returns NULL if out of memory. Call it before the worker's thread runs. */
struct tcp *tcp_new(const struct tcp_setup *setup);

/* Returns the quota that connections take their descriptors from. */
struct fdquota *tcp_quota(struct tcp *t);

/* Stops accepting on all ports for a moment, because descriptors or memory have run out. The reason
 * `why` is logged at most once a minute. */
void tcp_pause(struct tcp *t, const char *why);

/* Starts to serve the listener's port. The listener is borrowed until tcp_remove_port or tcp_free.
 * Main thread, while the loop may be running. The loop's thread is not woken: with thousands of
 * ports, the wake-ups would cost more than everything else. Returns 0 or -errno; even after a
 * failure the caller must remove the port. */
int tcp_add_port(struct tcp *t, struct listener *listener);

/* Stops accepting on a port and closes its connections. Returns false if there is no such port.
 * Must not be called from within a task. */
bool tcp_remove_port(struct tcp *t, int id);

/* Takes a client that another worker handed over. `m` is borrowed, its descriptor is taken. */
void tcp_take_client(struct tcp *t, const struct inbox_message *m);

/* Stops accepting on all ports; their listening sockets are not used any more when this returns.
 * Connections have some seconds to deliver what has been sent on them so far, and are then closed;
 * what cannot be delivered in time is cut by a reset. After the last connection the loop stops. */
void tcp_end(struct tcp *t);

/* How many clients the worker has now, including those that are being handed over to it. Any
 * thread. */
unsigned int tcp_clients(const struct tcp *t);

/* Frees everything except connections. Connections are left only if the loop has failed. Neither
 * this worker's loop nor another worker's may run any more. NULL is fine. */
void tcp_free(struct tcp *t);

#endif
