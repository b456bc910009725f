/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PACE_H
#define PACE_H

#include "base/loop.h"

/* Watches on sockets that datagrams rush through. Such a watch is taken off the loop and called by
 * a clock instead, every PACE_US: so what has come in between is taken at once, and whoever
 * receives it has the processor meanwhile. A watch that is called seldom waits for nothing.
 *
 * All functions belong to the thread of the loop.
 */

#define PACE_US 100

/* Embedded in what owns the socket. */
struct paced {
	struct watch watch; /* as for loop_add; its callback calls pace_note */
	bool rushes;
	short events;		     /* of the watch, while it rushes */
	struct paced *prev, *next;   /* of those that rush */
	unsigned long long began_ms; /* in which millisecond it counts */
	unsigned int count;
};

/* Of a loop. */
struct pace {
	struct loop *loop;
	struct watch clock; /* a timerfd(2) that it owns; -1 until something rushes */
	struct paced *first, *last;
	size_t count;
};

void pace_init(struct pace *pace, struct loop *loop);
/* Closes the clock. Nothing may be left. */
void pace_reset(struct pace *pace);

/* As loop_add, loop_remove. */
int pace_add(struct pace *pace, struct paced *p);
void pace_remove(struct pace *pace, struct paced *p);

/* To be called by the watch's callback at its end, if it has not removed it: `count` (0 too) were
 * received. */
void pace_note(struct pace *pace, struct paced *p, unsigned int count, unsigned long long now_ms);

#endif
