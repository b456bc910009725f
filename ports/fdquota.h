/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_FDQUOTA_H
#define PORTS_FDQUOTA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* File descriptor quotas of the workers. A caller takes descriptors from the quota before it opens
 * them, so that work that has begun never fails half-way for lack of one, and gives them back after
 * closing them. A caller that finds no room may ask to be called when there is room again.
 *
 * A quota belongs to one thread. Several quotas may draw on one total, which any thread may use
 * (workers.c says why). The total is written to a few times in the life of a connection, never
 * while bytes are copied. Nothing blocks.
 */

struct fdtotal {
	_Atomic size_t used; /* descriptors; may exceed `max` after fdtotal_charge */
	size_t max;
	struct fdtotal *parent; /* a larger total that everything is charged to as well; or NULL */
};

/* Charges `count` descriptors unconditionally, even above `max`: for descriptors that are already
 * open. NULL is fine. */
void fdtotal_charge(struct fdtotal *total, size_t count);
/* Gives back what was charged. NULL is fine. */
void fdtotal_give(struct fdtotal *total, size_t count);

/* The owner sets total, max and on_room, and zeroes the rest. */
struct fdquota {
	struct fdtotal *total; /* borrowed; NULL: a quota of its own, of `max` */
	size_t used;	       /* descriptors taken */
	size_t reserved;       /* charged to the total even if fewer are in use */
	/* Without a total: the limit of this quota. With a total: not checked here, but those who
	 * take descriptors compute limits of their own from it (sockpool.c, udp.c). */
	size_t max;
	size_t wanted;			    /* set by fdquota_want_room */
	void (*on_room)(struct fdquota *q); /* not used without fdquota_want_room */
};

/* Returns how many descriptors could be taken now. */
size_t fdquota_room(const struct fdquota *q);

/* Takes `count` descriptors. Returns false, and takes none, if there is not enough room. */
bool fdquota_take(struct fdquota *q, size_t count);
/* Gives back `count` descriptors that were closed. May call on_room (fdquota_want_room). */
void fdquota_give(struct fdquota *q, size_t count);

/* Asks for one call of on_room, by the first fdquota_give of this quota that leaves room for
 * `count` descriptors. 0 cancels the request. Descriptors that other quotas give back to the total
 * are noticed only at this quota's next fdquota_give. */
void fdquota_want_room(struct fdquota *q, size_t count);

/* Guarantees this quota `count` descriptors of the total, including those it holds; 0 ends the
 * guarantee. If other quotas hold too many now, the total is overdrawn until they give some back.
 */
void fdquota_reserve(struct fdquota *q, size_t count);

/* Move `count` taken descriptors from one quota (transfer_out) to another of the same total
 * (transfer_in), maybe in another thread. Neither quota may have a guarantee. */
void fdquota_transfer_out(struct fdquota *q, size_t count);
void fdquota_transfer_in(struct fdquota *q, size_t count);

/* For log lines: how many descriptors are in use, by all quotas of the total, and the limit; those
 * of the total's parent if that has less room. */
struct fdquota_usage {
	size_t used, max;
};
struct fdquota_usage fdquota_usage(const struct fdquota *q);

#endif
