/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_PORTS_H
#define PORTS_PORTS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "formats/portspec.h"
#include "ports/portdriver.h"

/* The port table: which ports are published, and the port driver that serves them (portdriver.h).
 * Only the parent's main thread, which owns the table, may call these functions. */

struct ports;

/* Creates the table and starts its port driver. Blocks until the driver is ready. Returns 0 and
 * sets *out, or -errno with a reason. */
int ports_new(struct ports **out, const struct portdriver *driver, const struct port_setup *setup,
	      struct err *e);

/* Closes all ports and their connections, and frees the table. Connections have some seconds to
 * deliver what was sent on them (WORKER_END). Blocks until the workers have answered, at most
 * WORKER_DEADLINE_MS, and then at most `wait_ms` milliseconds for the connections (workers_free).
 * Returns false if a worker still runs, for example because it is blocked (worker.h): then the
 * ports are closed, but nothing is freed, and the caller may call again. NULL is fine. */
bool ports_free(struct ports *ports, unsigned int wait_ms);

/* Has the driver failed, so that ports are no longer served? The parent asks this after each
 * SIGCHLD. Does not block. NULL is fine. */
bool ports_failed(const struct ports *ports);

/* Publishes a port. May block until the workers or the network program answer. Returns its ID, or
 * -errno with a reason in the words that clients look for: "conflict with ID 1", "listen tcp
 * 127.0.0.1:80: bind: permission denied", ... */
int ports_add(struct ports *ports, const struct portspec *spec, struct err *e);

/* Opens all ports again after the network program was restarted and has lost them; logs failures.
 * Stops at the first port for which the program does not answer. May block as ports_add does. Does
 * nothing with the builtin driver. */
void ports_restore(struct ports *ports);

/* Closes a port and its connections. May block until the workers or the network program answer.
 * Returns 0, or -errno with a reason: -ENOENT if there is no such port. */
int ports_remove(struct ports *ports, int id, struct err *e);

/* Makes all ports lead to another child IP ("": to none), and closes their connections; a port that
 * leads there already is left alone. Nobody else can bind the ports meanwhile. Blocks as ports_add.
 * Returns 0, or -errno with a reason: -EINVAL for something else than an address, -ENOTSUP if the
 * driver cannot do this. A port that fails is closed and leaves the table; the others are changed.
 */
int ports_retarget(struct ports *ports, const char *child_ip, struct err *e);

/* Return the number of ports, and the port at an index from 0, in the order of IDs. The pointer is
 * valid until the next ports_add or ports_remove. */
size_t ports_count(const struct ports *ports);
const struct port_entry *ports_at(const struct ports *ports, size_t index);

/* Returns the names of the protocols that the driver forwards; the array ends with NULL. */
const char *const *ports_protos(const struct ports *ports);

/* Returns whether ports of this driver cannot lead to a loopback address inside. */
bool ports_disallows_loopback(const struct ports *ports);

/* Returns what keeps the clients' addresses, as --source-ip-transparent-backend names it: "nft" or
 * "iptables", or "none" if that did not work. NULL: they are not meant to be kept. compat: in
 * RootlessKit this is the program that sets firewall rules. The string is valid until
 * ports_free. */
const char *ports_source_ip_backend(const struct ports *ports);

#endif
