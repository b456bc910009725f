/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_FLOWTABLE_H
#define PORTS_FLOWTABLE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

/* The flows of a published UDP port: who is found by what a datagram says of itself, and who has to
 * go when there is no more room or nothing was heard for long.
 *
 * Flows stand in two lists, each in the order of their last use. A flow begins as a new one. When
 * it has been answered and its client writes again it is established: somebody is there who heard
 * the answer, which nobody can pretend with made-up addresses. Each list has a bound of its own,
 * and a flow that comes takes the place of the new one longest unused, so that no flood from ever
 * new addresses pushes out a flow in which both sides talk. Not even one that is answered:
 * established flows stay as long as they are used every FLOWTABLE_LONG_MS.
 *
 * The table allocates its buckets only, knows no descriptor, and gets the time from its caller,
 * which must not go backwards.
 */

/* Where the list of established flows is full, one that was not used for this long makes room, and
 * is a new one again. Longer than the pauses of keep-alives: 25 s, as is usual. */
#define FLOWTABLE_LONG_MS 30000

/* What makes a flow. Addresses of IPv4 are mapped ones (::ffff:192.0.2.1). Zeroed before it is
 * filled in. */
struct flow_key {
	struct in6_addr client;
	struct in6_addr local; /* that the client wrote to; :: if answers leave from any */
	uint32_t ifindex;      /* where one of the two is link-local, else 0 */
	uint16_t port_be;      /* the client's */
	uint16_t zero;
};

/* Embedded in a flow; all but the key is the table's own. */
struct flow_entry {
	struct flow_key key;
	struct flow_entry *chain; /* the next in the bucket */
	struct list_node node;	  /* in its flow_list */
	unsigned long long used_ms;
	bool answered;
	bool established;
};

struct flow_list {
	struct list flows; /* the newest use first */
	size_t count;
	size_t max;
};

struct flowtable {
	struct flow_list fresh;
	struct flow_list established;
	struct flow_entry **buckets;
	size_t bucket_count; /* a power of two */
	uint64_t seed[1 + sizeof(struct flow_key) / sizeof(uint32_t)];
};

/* Readies a table of at most `max_new` and `max_established` flows, both > 0. Returns 0 or -ENOMEM.
 */
int flowtable_init(struct flowtable *t, size_t max_new, size_t max_established);
/* Frees what the table has allocated; flows that are left are forgotten. */
void flowtable_reset(struct flowtable *t);

/* Returns the flow with this key, or NULL. */
struct flow_entry *flowtable_find(const struct flowtable *t, const struct flow_key *key);

/* Which flow has to be removed before another may be added: NULL if there is room. */
struct flow_entry *flowtable_victim(const struct flowtable *t);
/* Adds a flow, whose key is set and not in the table. There must be room. */
void flowtable_add(struct flowtable *t, struct flow_entry *e, unsigned long long now_ms);
void flowtable_remove(struct flowtable *t, struct flow_entry *e);

/* Notes that the client wrote; that it was answered. */
void flowtable_heard(struct flowtable *t, struct flow_entry *e, unsigned long long now_ms);
void flowtable_answered(struct flowtable *t, struct flow_entry *e, unsigned long long now_ms);

/* Returns the new flow that has been unused longest, NULL if there is none. */
struct flow_entry *flowtable_oldest_new(const struct flowtable *t);
/* The same among all flows. */
struct flow_entry *flowtable_oldest(const struct flowtable *t);

#endif
