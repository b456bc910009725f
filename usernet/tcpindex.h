/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_TCPINDEX_H
#define USERNET_TCPINDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "usernet/tcpstate.h"

/* The index of a queue's TCP flows: finds a flow by its addresses and ports, and says which flow
 * must go when there is no room for another.
 *
 * There is a list for each kind of flow, in the order of last use, and each has its own limit. So a
 * flood of SYNs can only push out connections that are not established yet, and an established
 * connection can only be pushed out by another one whose handshake is complete.
 *
 * The index allocates only its buckets and knows no descriptors. One thread uses it; nothing
 * blocks.
 */

enum tcpindex_kind {
	TCPINDEX_HALF_OPEN, /* the host connects, or our SYN is not acknowledged; at most a quarter
			       of all flows */
	TCPINDEX_OPEN,	    /* at most three quarters */
	TCPINDEX_TIME_WAIT, /* at most a quarter, and they leave room for the others */
	TCPINDEX_KINDS,
};

/* An open flow without any segment for this long (milliseconds) is idle: a new one may push it out.
 * Longer than the usual keep-alive intervals of programs. */
#define TCPINDEX_IDLE_MS 30000

/* Embedded in what the owner knows of a flow. The owner fills in the flow, and the rest is private
 * to the index. */
struct tcpindex_entry {
	struct tcpflow flow;
	struct tcpindex_entry *chain; /* next in the bucket */
	struct list_node node;	      /* in the list of its kind */
	enum tcpindex_kind kind;
	unsigned long long listed_ms; /* when it was moved to the end of its list */
};

struct tcpindex {
	struct tcpindex_entry **buckets;
	size_t bucket_count; /* a power of two */
	uint64_t seed[1 + sizeof(struct tcpflow_id) / sizeof(uint32_t)];
	size_t max;
	struct {
		struct list flows; /* the one that was unused longest is first */
		size_t count;
	} kinds[TCPINDEX_KINDS];
};

/* Prepares an index for at most `max` flows. Returns 0 or -ENOMEM. */
int tcpindex_init(struct tcpindex *x, size_t max);
/* Frees the buckets. Flows that are left belong to the caller. */
void tcpindex_reset(struct tcpindex *x);

/* Returns the flow with this ID, or NULL. */
struct tcpindex_entry *tcpindex_find(const struct tcpindex *x, const struct tcpflow_id *id);

/* Adds a flow, whose ID is set and not in the index yet. It is borrowed until it is removed. */
void tcpindex_add(struct tcpindex *x, struct tcpindex_entry *e, unsigned long long now_ms);
void tcpindex_remove(struct tcpindex *x, struct tcpindex_entry *e);

/* Notes that a flow is in use now. The order of flows that were used within the same second is not
 * kept. */
void tcpindex_use(struct tcpindex *x, struct tcpindex_entry *e, unsigned long long now_ms);
/* Notes the flow's state. Returns true if it has become another kind of flow. */
bool tcpindex_update(struct tcpindex *x, struct tcpindex_entry *e, unsigned long long now_ms);

/* Returns the flow of a kind that was unused longest, or NULL. */
struct tcpindex_entry *tcpindex_oldest(const struct tcpindex *x, enum tcpindex_kind kind);

/* Returns the flow that must go before another may be added; NULL if there is room. */
struct tcpindex_entry *tcpindex_before_add(const struct tcpindex *x);
/* Returns the flow that must go since `e` has become another kind of flow; NULL if there is room.
 * That is `e` itself if all other open flows are in use. */
struct tcpindex_entry *tcpindex_after_update(const struct tcpindex *x, struct tcpindex_entry *e,
					     unsigned long long now_ms);
/* Returns the open flow that was idle longest, or NULL if none is idle. */
struct tcpindex_entry *tcpindex_idle(const struct tcpindex *x, unsigned long long now_ms);

/* Returns how many flows there are. */
size_t tcpindex_count(const struct tcpindex *x);

#endif
