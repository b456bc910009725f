/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WORKER_H
#define WORKER_H

#include <stddef.h>

#include "bpreq.h"
#include "err.h"

/* A worker: a thread of the parent that accepts connections of published ports, gets for each a
 * socket of the child's network namespace, and copies between the two. A worker shares nothing
 * while it forwards; the main thread adds and removes ports by calls that return when they are
 * done.
 */

struct worker;

/* Starts a worker that asks the child through the socket `bp_socket` (a path, copied), and holds at
 * most `max_fds` descriptors. Returns NULL with a reason. */
struct worker *worker_start(const char *bp_socket, size_t max_fds, struct err *e);

/* Offers a listening socket (borrowed until worker_remove_port has returned, non-blocking).
 * `target` says what to ask the child for; it is copied. `id` is unique among the ports. Main
 * thread; returns when it is done: 0 or -errno. */
int worker_add_port(struct worker *w, int id, int listen_fd, const struct bpreq *target);

/* Stops accepting on the port and closes its connections. Main thread; returns when it is done. */
void worker_remove_port(struct worker *w, int id);

/* Stops accepting on all ports; when this returns their sockets are not used any more. Connections
 * take what has been sent by now, for which they have some seconds, and are closed then; one that
 * does not is reset. Main thread. */
void worker_end(struct worker *w);

/* Waits until a worker that was ended has no connection any more, and frees it. Main thread; blocks
 * for some seconds at most. NULL is fine. */
void worker_free(struct worker *w);

#endif
