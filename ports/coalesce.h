/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_COALESCE_H
#define PORTS_COALESCE_H

#include "base/list.h"
#include "base/loop.h"

/* Interrupt coalescing for busy UDP sockets. Above a rate of datagrams a socket is no longer polled
 * for each of them: a timer calls its callback every COALESCE_US instead. Each call then takes a
 * batch, and between two calls the receiver gets the CPU. A socket below that rate is polled as
 * usual and has no added delay.
 *
 * All functions belong to the thread of the loop; none blocks.
 */

#define COALESCE_US 100

/* Embedded in the owner of the socket. The owner sets `watch` and zeroes the rest. */
struct coalesced {
	struct watch watch; /* as for loop_add; its callback must call coalesce_note */
	bool busy;
	short events;	       /* the watch's events, to be restored when it is no longer busy */
	struct list_node node; /* in the list `busy` */
	unsigned long long began_ms; /* the millisecond that `count` is about */
	unsigned int count;	     /* datagrams in that millisecond */
};

/* One for each loop. */
struct coalesce {
	struct loop *loop;
	struct watch clock; /* on a timerfd(2) that it owns; -1 while no socket is busy */
	struct list busy;
	size_t busy_count;
};

void coalesce_init(struct coalesce *coalesce, struct loop *loop);
/* Closes the timer. All watches must have been removed. */
void coalesce_reset(struct coalesce *coalesce);

/* As loop_add and loop_remove; `c` is borrowed until it is removed. */
int coalesce_add(struct coalesce *coalesce, struct coalesced *c);
void coalesce_remove(struct coalesce *coalesce, struct coalesced *c);

/* Every callback of a coalesced watch calls this at its end, unless it has removed the watch.
 * `count`: datagrams that it received, maybe 0. `now_ms`: clock_now_ms(). */
void coalesce_note(struct coalesce *coalesce, struct coalesced *c, unsigned int count,
		   unsigned long long now_ms);

#endif
