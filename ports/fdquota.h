/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_FDQUOTA_H
#define PORTS_FDQUOTA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/loop.h"

/* The descriptors that a worker may hold. Who is about to open some takes them first, so that what
 * was begun can be brought to an end; who closes some gives them back. When there are none, or when
 * the system is out of them or of memory all the same, there is a pause: whoever would begin
 * something new waits until it is over. It ends after a moment, or when there is room again.
 *
 * A quota belongs to the thread of its loop. Several may draw on one total, which any thread may
 * use: a share of its own for each worker would leave descriptors idle with one while another has
 * to turn clients away. It is written to a few times in the life of a connection, never while
 * bytes are copied.
 */

struct fdtotal {
	_Atomic size_t used;
	size_t max;
	struct fdtotal *of;	  /* what is drawn here is drawn there too; or NULL */
	atomic_uint complained_s; /* of clock_now_ms(); a 64-bit atomic needs libatomic on some
				     machines */
};

/* Draws what may be more than there is: for what is there already. */
void fdtotal_charge(struct fdtotal *a, size_t count);
/* Gives back what was drawn. */
void fdtotal_give(struct fdtotal *a, size_t count);

struct fdquota {
	struct loop *loop;     /* borrowed */
	struct fdtotal *total; /* borrowed; NULL: it has `max` for itself */
	size_t used;
	size_t reserved; /* drawn on the total whether or not so many are used */
	size_t max;	 /* with a total only what owners reckon parts of */
	size_t enough;	 /* a pause ends when there is room for so many */
	bool paused;
	/* The owner stops beginning, and begins again: 0, or -errno if a part of it could not and
	 * is to be told again later. */
	void (*on_pause)(struct fdquota *b);
	int (*on_resume)(struct fdquota *b);
	/* The quota's own: */
	struct timer resume;
	atomic_uint complained_s; /* without a total */
};

/* Readies a quota whose loop, total, max, enough and callbacks are set and the rest is zero. */
void fdquota_init(struct fdquota *b);

/* How many descriptors could be taken just now. */
size_t fdquota_room(const struct fdquota *b);

/* Takes `count` descriptors. Returns false, and takes none, if there is no room. */
bool fdquota_take(struct fdquota *b, size_t count);
/* Gives back descriptors that were closed, which may end a pause. */
void fdquota_give(struct fdquota *b, size_t count);

/* Keeps so many of the total's descriptors for this quota from now on, those that it has taken
 * among them, so that others that draw on it cannot leave it without any; 0 for none. What others
 * hold too much for that shows in the total until they give it back. */
void fdquota_reserve(struct fdquota *b, size_t count);

/* Descriptors that were taken from one quota pass to another of the same total. Neither has any
 * reserved. */
void fdquota_transfer_out(struct fdquota *b, size_t count);
void fdquota_transfer_in(struct fdquota *b, size_t count);

/* Begins a pause, or a new one, for the reason `why`, which is logged, but no more than once a
 * minute. Where there is no memory for a timer to end it there is none. */
void fdquota_pause(struct fdquota *b, const char *why);
/* Only logs, likewise, that something is short: "WHAT: WHY (1 of 2 descriptors in use); THEN". */
void fdquota_complain(struct fdquota *b, const char *what, const char *why, const char *then);

/* Ends for good: no callback comes any more. */
void fdquota_stop(struct fdquota *b);

#endif
