/* SPDX-License-Identifier: Apache-2.0 */
/* The table of a worker's TCP ports. See porttable.h.
 *
 * `added` is a stack: other threads push one entry at a time, and the owner takes all entries at
 * once. An entry is never popped alone, so the stack has no ABA problem.
 */
#include "ports/porttable.h"

#include <stddef.h>

static size_t bucket_of(int id)
{
	return (unsigned int)id % PORTTABLE_BUCKETS;
}

void porttable_add(struct porttable *t, struct porttable_entry *e)
{
	e->next = atomic_load(&t->added);
	while (!atomic_compare_exchange_weak(&t->added, &e->next, e))
		;
}

/* Puts the ports of `added` into their buckets. */
static void take_added(struct porttable *t)
{
	struct porttable_entry *e = atomic_exchange(&t->added, NULL);

	while (e != NULL) {
		struct porttable_entry *next = e->next;
		struct porttable_entry **bucket = &t->buckets[bucket_of(e->id)];

		e->next = *bucket;
		*bucket = e;
		e = next;
	}
}

/* Returns the link that points to the port with that ID; *link is NULL if there is no such port. */
static struct porttable_entry **find_link(struct porttable *t, int id)
{
	struct porttable_entry **link = &t->buckets[bucket_of(id)];

	take_added(t);
	while (*link != NULL && (*link)->id != id)
		link = &(*link)->next;
	return link;
}

struct porttable_entry *porttable_find(struct porttable *t, int id)
{
	return *find_link(t, id);
}

struct porttable_entry *porttable_remove(struct porttable *t, int id)
{
	struct porttable_entry **link = find_link(t, id);
	struct porttable_entry *e = *link;

	if (e != NULL)
		*link = e->next;
	return e;
}

static struct porttable_entry *first_from(const struct porttable *t, size_t bucket)
{
	while (bucket < PORTTABLE_BUCKETS && t->buckets[bucket] == NULL)
		bucket++;
	return bucket < PORTTABLE_BUCKETS ? t->buckets[bucket] : NULL;
}

struct porttable_entry *porttable_first(struct porttable *t)
{
	take_added(t);
	return first_from(t, 0);
}

struct porttable_entry *porttable_next(const struct porttable *t, const struct porttable_entry *e)
{
	return e->next != NULL ? e->next : first_from(t, bucket_of(e->id) + 1);
}
