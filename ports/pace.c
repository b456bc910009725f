/* SPDX-License-Identifier: Apache-2.0 */
/* Watches that are called by a clock. See pace.h.
 *
 *     WATCHED ── RUSH or more within a millisecond ──► RUSHES, called every PACE_US
 *        ▲                                               │
 *        └────────── less than CALM in one ──────────────┘
 *
 * Why: a thread that is woken for each datagram runs all the time, at the highest price for each,
 * and on a processor that it shares with the receiver the latter gets its turn some milliseconds
 * later, when its buffer has long been full (rmem_default: some 90 datagrams of 1400 bytes).
 * Network cards hold back their interrupts for the same reason, and for about as long.
 *
 * The clock is set anew when all have been called, so there is a pause whatever they do.
 */
#include "ports/pace.h"

#include <errno.h>
#include <sys/timerfd.h>
#include <time.h>

#include "base/fd.h"

#define RUSH 32 /* in a millisecond; more than are worth a call each, */
#define CALM 8	/* and these are again */

void pace_init(struct pace *pace, struct loop *loop)
{
	*pace = (struct pace){ .loop = loop, .clock.fd = -1 };
}

/* ---- the clock ---- */

static void set_clock(const struct pace *pace)
{
	const struct itimerspec once = { .it_value.tv_nsec = PACE_US * 1000L };

	/* Takes away what has been reported, too. */
	timerfd_settime(pace->clock.fd, 0, &once, NULL);
}

static void unlink_paced(struct pace *pace, struct paced *p)
{
	*(p->prev != NULL ? &p->prev->next : &pace->first) = p->next;
	*(p->next != NULL ? &p->next->prev : &pace->last) = p->prev;
	pace->count--;
}

static void append(struct pace *pace, struct paced *p)
{
	p->next = NULL;
	p->prev = pace->last;
	*(p->prev != NULL ? &p->prev->next : &pace->first) = p;
	pace->last = p;
	pace->count++;
}

/* Callbacks may remove any of them: so the one whose turn it is goes to the end first. */
static void on_clock(struct watch *w, short revents)
{
	struct pace *pace = LOOP_OWNER(w, struct pace, clock);

	(void)revents;
	for (size_t i = pace->count; i > 0 && pace->first != NULL; i--) {
		struct paced *p = pace->first;

		unlink_paced(pace, p);
		append(pace, p);
		p->watch.on_event(&p->watch, POLLIN);
	}
	if (pace->first != NULL)
		set_clock(pace);
	else
		pace_reset(pace);
}

static int open_clock(struct pace *pace)
{
	int r;

	if (pace->clock.fd >= 0)
		return 0;
	pace->clock = (struct watch){ .events = POLLIN, .on_event = on_clock };
	pace->clock.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (pace->clock.fd < 0)
		return -errno;
	r = loop_add(pace->loop, &pace->clock);
	if (r < 0)
		fd_close(&pace->clock.fd);
	return r;
}

void pace_reset(struct pace *pace)
{
	loop_remove(pace->loop, &pace->clock);
	fd_close(&pace->clock.fd);
}

/* ---- watches ---- */

int pace_add(struct pace *pace, struct paced *p)
{
	return loop_add(pace->loop, &p->watch);
}

void pace_remove(struct pace *pace, struct paced *p)
{
	loop_remove(pace->loop, &p->watch);
	if (p->rushes)
		unlink_paced(pace, p);
	p->rushes = false;
}

/* Where it cannot be done, all stays as it is. */
static void begin_rush(struct pace *pace, struct paced *p)
{
	p->events = p->watch.events;
	if (open_clock(pace) < 0 || loop_want(pace->loop, &p->watch, 0) < 0)
		return;
	if (pace->first == NULL)
		set_clock(pace);
	p->rushes = true;
	append(pace, p);
}

static void end_rush(struct pace *pace, struct paced *p)
{
	if (loop_want(pace->loop, &p->watch, p->events) < 0)
		return;
	p->rushes = false;
	unlink_paced(pace, p);
}

void pace_note(struct pace *pace, struct paced *p, unsigned int count, unsigned long long now_ms)
{
	if (now_ms != p->began_ms) {
		if (p->rushes && p->count < CALM)
			end_rush(pace, p);
		p->began_ms = now_ms;
		p->count = 0;
	}
	p->count += count;
	if (!p->rushes && p->count >= RUSH)
		begin_rush(pace, p);
}
