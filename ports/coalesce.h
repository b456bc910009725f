/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_COALESCE_H
#define PORTS_COALESCE_H

#include "base/list.h"
#include "base/loop.h"

/* Watches on sockets that datagrams rush through. Such a watch is taken off the loop and called by
 * a clock instead, every COALESCE_US: so what has come in between is taken at once, and whoever
 * receives it has the processor meanwhile. A watch that is called seldom waits for nothing.
 *
 * All functions belong to the thread of the loop.
 */

#define COALESCE_US 100

/* Embedded in what owns the socket. */
struct coalesced {
	struct watch watch; /* as for loop_add; its callback calls coalesce_note */
	bool busy;
	short events;		     /* of the watch, while it is busy */
	struct list_node node;	     /* of those that are busy */
	unsigned long long began_ms; /* in which millisecond it counts */
	unsigned int count;
};

/* Of a loop. */
struct coalesce {
	struct loop *loop;
	struct watch clock; /* a timerfd(2) that it owns; -1 until something rushes */
	struct list busy;
	size_t busy_count;
};

void coalesce_init(struct coalesce *coalesce, struct loop *loop);
/* Closes the clock. Nothing may be left. */
void coalesce_reset(struct coalesce *coalesce);

/* As loop_add, loop_remove. */
int coalesce_add(struct coalesce *coalesce, struct coalesced *p);
void coalesce_remove(struct coalesce *coalesce, struct coalesced *p);

/* To be called by the watch's callback at its end, if it has not removed it: `count` (0 too) were
 * received. */
void coalesce_note(struct coalesce *coalesce, struct coalesced *p, unsigned int count,
		   unsigned long long now_ms);

#endif
