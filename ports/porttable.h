/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_PORTTABLE_H
#define PORTS_PORTTABLE_H

#include <stdatomic.h>

/* A table of ports by ID, which belongs to one thread. Any other thread may add a port. The port
 * then waits in a lock-free list, until the table's owner uses the table next. So adding does not
 * wait for the owner, and does not wake it.
 *
 * Nothing blocks. All functions but porttable_add belong to the thread that owns the table. */

#define PORTTABLE_BUCKETS 256 /* a dozen ports in each if there are thousands */

/* Embedded in the port. */
struct porttable_entry {
	int id; /* set by the owner of the port; unique in a table */
	struct porttable_entry *next;
};

/* Zero it before the first use. */
struct porttable {
	struct porttable_entry *buckets[PORTTABLE_BUCKETS];
	_Atomic(struct porttable_entry *) added; /* not in `buckets` yet */
};

/* Adds a port, which is borrowed until porttable_remove. Any thread. The owner of the table sees
 * everything that the calling thread wrote to the port before. */
void porttable_add(struct porttable *t, struct porttable_entry *e);

/* Returns the port with that ID, or NULL. */
struct porttable_entry *porttable_find(struct porttable *t, int id);
/* The same, and takes it out of the table. */
struct porttable_entry *porttable_remove(struct porttable *t, int id);

/* Return the first port, and the one after `e`, which must still be in the table; NULL at the end.
 * Ports that are added between the calls may be left out. */
struct porttable_entry *porttable_first(struct porttable *t);
struct porttable_entry *porttable_next(const struct porttable *t, const struct porttable_entry *e);

#endif
