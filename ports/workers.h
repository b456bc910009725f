/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_WORKERS_H
#define PORTS_WORKERS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "ports/worker.h"

/* The workers of the builtin port driver, as one: what is said to them is said to all of them at
 * the same time, and done when all have done it. All functions belong to the main thread.
 */

#define WORKERS_MAX	    64 /* workers */
#define WORKERS_MAX_DEFAULT 8

struct workers;

/* How many workers there are where nobody says it: one for each processor that we may use, at most
 * WORKERS_MAX_DEFAULT. */
size_t workers_default_size(void);

/* Starts `count` workers (1 to WORKERS_MAX) that ask the child through the socket `bp_socket` (a
 * path, copied), and share the descriptors that a process with a limit of `max_fds` may have. With
 * `source_ip` they ask for sockets that speak from the client's address, unless that is a loopback
 * one. Returns 0 and sets *out, or -errno with a reason. */
int workers_new(struct workers **out, const char *bp_socket, size_t count, size_t max_fds,
		bool source_ip, struct err *e);

/* Serves a port. The listener, filled in but for `on_all_workers`, and its socket are borrowed
 * until workers_remove_port has returned, or workers_free. Returns 0 or -errno; -ETIMEDOUT as
 * below. */
int workers_add_port(struct workers *workers, struct listener *listener);

/* Stops accepting on the port and closes its connections. Returns 0, or -ETIMEDOUT where a worker
 * is late (worker.h): then it has the listener and the number of its socket for good. */
int workers_remove_port(struct workers *workers, struct listener *listener);

/* Has a worker failed? Asked when SIGCHLD comes. */
bool workers_failed(const struct workers *workers);

/* How many clients a worker has now, those on their way to it too. */
unsigned int workers_clients(const struct workers *workers, size_t worker);

/* Stops accepting on all ports: when this returns 0 their sockets are not used any more.
 * Connections have some seconds to take what has been sent by now (WORKER_END). Returns 0, or
 * -ETIMEDOUT as workers_remove_port. */
int workers_end(struct workers *workers);

/* Waits until no connection is left of workers that were ended, and frees it. Blocks for
 * `wait_ms` at most: WORKER_END_MS is enough for connections, and with 0 it only looks. Returns
 * false where a worker still runs: then nothing is freed, and it may be called again. NULL is fine.
 */
bool workers_free(struct workers *workers, unsigned int wait_ms);

#endif
