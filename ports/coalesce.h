/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_COALESCE_H
#define PORTS_COALESCE_H

#include "base/list.h"
#include "base/loop.h"

/* Interrupt coalescing for busy UDP sockets. Above a rate of datagrams a socket is no longer polled
 * for each of them: a timer calls its callback every COALESCE_US instead. Each call then receives
 * many datagrams, and between two calls their receiver gets the CPU. A socket below that rate is
 * polled as usual and has no added delay.
 *
 * All functions belong to the thread of the loop; none blocks.
 */

#define COALESCE_US 100

/* A socket. Embedded in its owner, which sets `watch` and zeroes the rest. */
struct coalesced {
	struct watch watch; /* as for loop_add; its callback must call coalesce_note */
	bool busy;
	short events;	       /* the watch's events, to be restored when it is no longer busy */
	struct list_node node; /* in the list `busy` */
	unsigned long long began_ms; /* the millisecond in which `count` is counted */
	unsigned int count;	     /* datagrams in that millisecond */
};

/* One for each loop. */
struct coalesce {
	struct loop *loop;
	struct watch timer; /* owns a timerfd(2); -1 while no socket is busy */
	struct list busy;
	size_t busy_count;
};

/* Prepares for a loop (borrowed). Opens no descriptor. */
void coalesce_init(struct coalesce *coalesce, struct loop *loop);
/* Closes the timer, if it is open. No socket may be busy. */
void coalesce_reset(struct coalesce *coalesce);

/* As loop_add and loop_remove. `c` is borrowed until it is removed; coalesce_remove also ends its
 * busy state. */
int coalesce_add(struct coalesce *coalesce, struct coalesced *c);
void coalesce_remove(struct coalesce *coalesce, struct coalesced *c);

/* The callback of a coalesced watch must call this at its end, unless it has removed the watch.
 * `count`: how many datagrams the callback has received, maybe 0. `now_ms`: clock_now_ms(). */
void coalesce_note(struct coalesce *coalesce, struct coalesced *c, unsigned int count,
		   unsigned long long now_ms);

#endif
