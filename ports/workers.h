/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_WORKERS_H
#define PORTS_WORKERS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "ports/worker.h"

/* All workers of the builtin port driver as a group. An order goes to all workers at once; the
 * function returns when the last of them has answered. All functions belong to the main thread. */

#define WORKERS_MAX	    64
#define WORKERS_MAX_DEFAULT 8

struct workers;

/* Returns the default number of workers: one for each CPU that the process may use, at most
 * WORKERS_MAX_DEFAULT. */
size_t workers_default_size(void);

/* Returns how many descriptors `count` workers leave for connections, if `max_fds` is the process'
 * limit: all but a reserve. */
size_t workers_fd_room(size_t count, size_t max_fds);

/* Starts `count` workers (1 to WORKERS_MAX). `bp_socket` (copied) is the path of the child's port
 * service. `max_fds` is the process' descriptor limit; the workers share it, except for a reserve,
 * and with others if `fds` (borrowed) is not NULL. With `source_ip` they connect from the client's
 * address, unless that is a loopback address. Returns 0 and sets *out, or -errno with a reason. */
int workers_new(struct workers **out, const char *bp_socket, size_t count, size_t max_fds,
		struct fdtotal *fds, bool source_ip, struct err *e);

/* Serves a port. The caller fills in the listener except for `on_all_workers` and `worker`. The
 * listener and its socket are borrowed until workers_remove_port or workers_free has returned.
 * Blocks as worker_add_port. Returns 0 or -errno; -ETIMEDOUT as workers_remove_port. */
int workers_add_port(struct workers *workers, struct listener *listener);

/* Stops accepting on the port and closes its connections. Blocks until all workers have answered,
 * at most WORKER_DEADLINE_MS. Returns 0, or -ETIMEDOUT if a worker is late (worker.h). The worker
 * may then still use the listener and the descriptor number of its socket: the caller must not free
 * them until workers_free has returned true. */
int workers_remove_port(struct workers *workers, struct listener *listener);

/* Has a worker failed? The main thread asks this after each SIGCHLD. */
bool workers_failed(const struct workers *workers);

/* Returns how many clients the worker with index `worker` has now, including those that are being
 * handed over to it. */
unsigned int workers_clients(const struct workers *workers, size_t worker);

/* Stops accepting on all ports: when this returns 0, their sockets are not used any more.
 * Connections have some seconds to deliver what has been sent on them so far (WORKER_END). Blocks
 * as workers_remove_port. Returns 0, or -ETIMEDOUT if a worker is late. */
int workers_end(struct workers *workers);

/* After workers_end: waits until no worker has a connection left, and frees everything. Blocks at
 * most `wait_ms` milliseconds, of which WORKER_END_MS are enough for connections; 0: does not
 * block. Returns false if a worker still runs: then nothing is freed, and the caller may call
 * again. NULL is fine. */
bool workers_free(struct workers *workers, unsigned int wait_ms);

#endif
