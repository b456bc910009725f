/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_PORTS_H
#define PORTS_PORTS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "formats/portspec.h"
#include "ports/portdriver.h"

/* The port table: which ports are published, and the port driver that serves them (portdriver.h).
 * The parent's main thread owns the table and is the only one to call this.
 */

struct ports;

/* Starts a port driver. Blocks until it is ready. Returns 0 and sets *out, or -errno with a reason.
 */
int ports_new(struct ports **out, const struct portdriver *driver, const struct port_setup *setup,
	      struct err *e);

/* Closes all ports and their connections, which get some seconds to take what was sent to them
 * (WORKER_END). Blocks until the workers have answered, and then for `wait_ms` at most
 * (workers_free). Returns false where a worker still runs, as one that is blocked (worker.h): then
 * only the ports are closed, and it may be called again. NULL is fine. */
bool ports_free(struct ports *ports, unsigned int wait_ms);

/* Has a worker failed, so that ports are not served? Asked when SIGCHLD comes. */
bool ports_failed(const struct ports *ports);

/* Publishes a port. Returns its ID, or -errno with a reason in the words that clients look for:
 * "conflict with ID 1", "listen tcp 127.0.0.1:80: bind: permission denied", ... */
int ports_add(struct ports *ports, const struct portspec *spec, struct err *e);

/* The program that listens on the ports has been started again and knows of none: tells it all of
 * them, and logs what fails. With the builtin driver there is nothing to do. */
void ports_restore(struct ports *ports);

/* Closes a port and its connections; returns when that is done: 0, or -errno with a reason, -ENOENT
 * if there is no such port. */
int ports_remove(struct ports *ports, int id, struct err *e);

/* The ports in the order of their IDs; valid until the next ports_add or ports_remove. */
size_t ports_count(const struct ports *ports);
const struct port_entry *ports_at(const struct ports *ports, size_t index);

/* Names of the protocols that the driver forwards, ended by NULL. */
const char *const *ports_protos(const struct ports *ports);

/* Can no port lead to a loopback address inside? */
bool ports_disallows_loopback(const struct ports *ports);

#endif
