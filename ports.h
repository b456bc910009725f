/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_H
#define PORTS_H

#include <stddef.h>

#include "err.h"
#include "portspec.h"

/* The port table of the builtin port driver: which ports are published, their listening sockets,
 * and the workers that serve them. The parent's main thread owns it and is the only one to call
 * this.
 */

struct ports;

struct port_entry {
	int id; /* counts from 1, never used twice */
	struct portspec spec;
};

/* Starts the driver, which asks the child through the socket `bp_socket` (a path, copied). Returns
 * NULL with a reason. */
struct ports *ports_new(const char *bp_socket, struct err *e);

/* Closes all ports and their connections, which get some seconds to take what was sent to them
 * (worker_end). Blocks as long. NULL is fine. */
void ports_free(struct ports *ports);

/* Publishes a port. Returns its ID, or -errno with a reason in the words that clients look for:
 * "conflict with ID 1", "listen tcp 127.0.0.1:80: bind: permission denied", ... */
int ports_add(struct ports *ports, const struct portspec *spec, struct err *e);

/* Closes a port and its connections; returns when that is done: 0, or -ENOENT with a reason. */
int ports_remove(struct ports *ports, int id, struct err *e);

/* The ports in the order of their IDs; valid until the next ports_add or ports_remove. */
size_t ports_count(const struct ports *ports);
const struct port_entry *ports_at(const struct ports *ports, size_t index);

/* Names of the protocols that the driver forwards, ended by NULL. */
const char *const *ports_protos(void);

#endif
