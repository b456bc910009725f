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

/* Ends the thread and frees the worker. Connections take what has been sent by now, for which they
 * have some seconds, and are closed; one that does not is reset. Main thread; blocks as long. NULL
 * is fine. */
void worker_stop(struct worker *w);

#endif
