/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_FLOWTABLE_H
#define PORTS_FLOWTABLE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

/* A table of UDP flows: those of a published port, or those that programs inside have opened
 * (usernet/udpnat.h). It finds the flow that a datagram belongs to, and says which flow must go
 * when there is no room or when a flow was idle for long.
 *
 * There are two lists, each in the order of last use. A flow begins as new. It becomes established
 * when it has been answered and its client then writes again: that proves that the client receives
 * the answers, which a sender with a forged address cannot. Each list has its own limit. When the
 * list of new flows is full, the new flow that has been unused longest must go. So a flood from
 * ever new addresses cannot push out a flow in which both sides talk, not even if the server
 * answers the flood: an established flow stays as long as it is used every FLOWTABLE_LONG_MS.
 *
 * The table allocates only its buckets and knows no descriptors. Callers pass the time, which must
 * not go backwards. One thread at a time may use a table; nothing blocks.
 */

/* If the list of established flows is full, one that has been unused for this long (milliseconds)
 * becomes a new flow again, to make room. Longer than the usual keep-alive interval of 25 s. */
#define FLOWTABLE_LONG_MS 30000

/* What identifies a flow. IPv4 addresses are mapped (::ffff:192.0.2.1). Zero it before filling it
 * in: keys are compared as bytes. */
struct flow_key {
	struct in6_addr client;
	struct in6_addr local;	/* the address that the client wrote to; :: if routing chooses the
				   source of answers */
	uint32_t ifindex;	/* of the link, if one of the two is link-local; else 0 */
	uint16_t port_be;	/* the client's */
	uint16_t local_port_be; /* that the client wrote to; 0 if all flows of the table have the
				   same */
};

/* Embedded in a flow. The owner sets the key, and may read `used_ms`; the rest is private to the
 * table. */
struct flow_entry {
	struct flow_key key;
	struct flow_entry *chain;   /* next in the bucket */
	struct list_node node;	    /* in its flow_list */
	unsigned long long used_ms; /* time of the last use */
	bool answered;
	bool established;
};

struct flow_list {
	struct list flows; /* most recently used first */
	size_t count;
	size_t max;
};

/* Private, except for fresh.count. */
struct flowtable {
	struct flow_list fresh; /* new flows */
	struct flow_list established;
	struct flow_entry **buckets;
	size_t bucket_count; /* a power of two */
	uint64_t seed[1 + sizeof(struct flow_key) / sizeof(uint32_t)];
};

/* Prepares a table of at most `max_new` and `max_established` flows, both > 0. Returns 0 or
 * -ENOMEM. */
int flowtable_init(struct flowtable *t, size_t max_new, size_t max_established);
/* Frees the buckets, and zeroes the table. Flows that are left belong to the caller. */
void flowtable_reset(struct flowtable *t);

/* Returns the flow with this key, or NULL. */
struct flow_entry *flowtable_find(const struct flowtable *t, const struct flow_key *key);

/* Returns the flow that must be removed before another may be added; NULL if there is room. */
struct flow_entry *flowtable_victim(const struct flowtable *t);
/* Adds a flow, whose key is set and not in the table yet. The flow is borrowed until it is removed.
 * There must be room (flowtable_victim). */
void flowtable_add(struct flowtable *t, struct flow_entry *e, unsigned long long now_ms);
/* Removes a flow that is in the table. */
void flowtable_remove(struct flowtable *t, struct flow_entry *e);

/* Record that the client has written (request), and that the server has answered (answer). The flow
 * counts as used now. */
void flowtable_note_request(struct flowtable *t, struct flow_entry *e, unsigned long long now_ms);
void flowtable_note_answer(struct flowtable *t, struct flow_entry *e, unsigned long long now_ms);

/* Returns the new flow that has been unused longest, NULL if there is none. */
struct flow_entry *flowtable_oldest_new(const struct flowtable *t);
/* Returns the flow that has been unused longest, new or established; NULL if there is none. */
struct flow_entry *flowtable_oldest(const struct flowtable *t);

#endif
