/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_FDQUOTA_H
#define PORTS_FDQUOTA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/loop.h"

/* File descriptor quotas of the workers. A caller takes descriptors from the quota before it opens
 * them, so that work that has begun never fails half-way for lack of one, and gives them back after
 * closing them. When the quota is used up, or when the system runs out of descriptors or memory in
 * spite of it, there is a pause, in which nothing new is begun. The pause ends after a moment, or
 * as soon as there is room again.
 *
 * A quota belongs to the thread of its loop. Several quotas may draw on one total, which any thread
 * may use. (With a fixed share for each worker, one worker would turn clients away while
 * descriptors of another are idle.) The total is written to a few times in the life of a
 * connection, never while bytes are copied. Nothing blocks.
 */

struct fdtotal {
	_Atomic size_t used; /* descriptors; may exceed `max` after fdtotal_charge */
	size_t max;
	struct fdtotal *of; /* a larger total that everything is charged to as well; or NULL */
	/* Time of the last log line, in seconds of clock_now_ms()'s clock. 32 bits, since a 64-bit
	 * atomic needs libatomic on some machines. */
	atomic_uint complained_s;
};

/* Charges `count` descriptors unconditionally, even above `max`: for descriptors that are already
 * open. NULL is fine. */
void fdtotal_charge(struct fdtotal *total, size_t count);
/* Gives back what was charged. NULL is fine. */
void fdtotal_give(struct fdtotal *total, size_t count);

struct fdquota {
	struct loop *loop;     /* borrowed */
	struct fdtotal *total; /* borrowed; NULL: a quota of its own, of `max` */
	size_t used;	       /* descriptors taken */
	size_t reserved;       /* charged to the total even if fewer are in use */
	size_t max;    /* the limit without a total; with one, only the base of owners' fractions */
	size_t enough; /* a pause ends early when there is room for this many */
	bool paused;
	/* on_pause: stop accepting. on_resume: accept again; returns 0, or -errno to be called
	 * again later. */
	void (*on_pause)(struct fdquota *q);
	int (*on_resume)(struct fdquota *q);
	/* Private to the quota: */
	struct timer resume;
	atomic_uint complained_s; /* for a quota without a total */
};

/* Prepares a quota whose loop, total, max, enough and callbacks are set, and whose other members
 * are zero. */
void fdquota_init(struct fdquota *q);

/* Returns how many descriptors could be taken now. */
size_t fdquota_room(const struct fdquota *q);

/* Takes `count` descriptors. Returns false, and takes none, if there is not enough room. */
bool fdquota_take(struct fdquota *q, size_t count);
/* Gives back `count` descriptors that were closed. May end a pause, and then calls on_resume. */
void fdquota_give(struct fdquota *q, size_t count);

/* Guarantees this quota `count` descriptors of the total, including those it holds; 0 ends the
 * guarantee. If other quotas hold too many now, the total is overdrawn until they give some back.
 */
void fdquota_reserve(struct fdquota *q, size_t count);

/* Move `count` taken descriptors from one quota (transfer_out) to another of the same total
 * (transfer_in), maybe in another thread. Neither quota may have a guarantee. */
void fdquota_transfer_out(struct fdquota *q, size_t count);
void fdquota_transfer_in(struct fdquota *q, size_t count);

/* Begins a pause, or restarts the current one. The reason `why` is logged at most once a minute.
 * There is no pause if there is no memory for the timer that would end it. */
void fdquota_pause(struct fdquota *q, const char *why);
/* Logs a shortage, at most once a minute, without a pause: "WHAT: WHY (1 of 2 descriptors in use);
 * THEN". */
void fdquota_complain(struct fdquota *q, const char *what, const char *why, const char *then);

/* Ends the quota's timer: from now on it calls no callback on its own. */
void fdquota_stop(struct fdquota *q);

#endif
