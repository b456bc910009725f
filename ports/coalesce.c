/* SPDX-License-Identifier: Apache-2.0 */
/* Watches that are called by a clock. See coalesce.h.
 *
 *     WATCHED ── RUSH or more within a millisecond ──► RUSHES, called every COALESCE_US
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
#include "ports/coalesce.h"

#include <errno.h>
#include <sys/timerfd.h>
#include <time.h>

#include "base/fd.h"

#define RUSH 32 /* in a millisecond; more than are worth a call each, */
#define CALM 8	/* and these are again */

void coalesce_init(struct coalesce *coalesce, struct loop *loop)
{
	*coalesce = (struct coalesce){ .loop = loop, .clock.fd = -1 };
}

/* ---- the clock ---- */

static void set_clock(const struct coalesce *coalesce)
{
	const struct itimerspec once = { .it_value.tv_nsec = COALESCE_US * 1000L };

	/* Takes away what has been reported, too. */
	timerfd_settime(coalesce->clock.fd, 0, &once, NULL);
}

static void unlink_coalesced(struct coalesce *coalesce, struct coalesced *p)
{
	*(p->prev != NULL ? &p->prev->next : &coalesce->first) = p->next;
	*(p->next != NULL ? &p->next->prev : &coalesce->last) = p->prev;
	coalesce->count--;
}

static void append(struct coalesce *coalesce, struct coalesced *p)
{
	p->next = NULL;
	p->prev = coalesce->last;
	*(p->prev != NULL ? &p->prev->next : &coalesce->first) = p;
	coalesce->last = p;
	coalesce->count++;
}

/* Callbacks may remove any of them: so the one whose turn it is goes to the end first. */
static void on_clock(struct watch *w, short revents)
{
	struct coalesce *coalesce = LOOP_OWNER(w, struct coalesce, clock);

	(void)revents;
	for (size_t i = coalesce->count; i > 0 && coalesce->first != NULL; i--) {
		struct coalesced *p = coalesce->first;

		unlink_coalesced(coalesce, p);
		append(coalesce, p);
		p->watch.on_event(&p->watch, POLLIN);
	}
	if (coalesce->first != NULL)
		set_clock(coalesce);
	else
		coalesce_reset(coalesce);
}

static int open_clock(struct coalesce *coalesce)
{
	int r;

	if (coalesce->clock.fd >= 0)
		return 0;
	coalesce->clock = (struct watch){ .events = POLLIN, .on_event = on_clock };
	coalesce->clock.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (coalesce->clock.fd < 0)
		return -errno;
	r = loop_add(coalesce->loop, &coalesce->clock);
	if (r < 0)
		fd_close(&coalesce->clock.fd);
	return r;
}

void coalesce_reset(struct coalesce *coalesce)
{
	loop_remove(coalesce->loop, &coalesce->clock);
	fd_close(&coalesce->clock.fd);
}

/* ---- watches ---- */

int coalesce_add(struct coalesce *coalesce, struct coalesced *p)
{
	return loop_add(coalesce->loop, &p->watch);
}

void coalesce_remove(struct coalesce *coalesce, struct coalesced *p)
{
	loop_remove(coalesce->loop, &p->watch);
	if (p->busy)
		unlink_coalesced(coalesce, p);
	p->busy = false;
}

/* Where it cannot be done, all stays as it is. */
static void become_busy(struct coalesce *coalesce, struct coalesced *p)
{
	p->events = p->watch.events;
	if (open_clock(coalesce) < 0 || loop_want(coalesce->loop, &p->watch, 0) < 0)
		return;
	if (coalesce->first == NULL)
		set_clock(coalesce);
	p->busy = true;
	append(coalesce, p);
}

static void become_idle(struct coalesce *coalesce, struct coalesced *p)
{
	if (loop_want(coalesce->loop, &p->watch, p->events) < 0)
		return;
	p->busy = false;
	unlink_coalesced(coalesce, p);
}

void coalesce_note(struct coalesce *coalesce, struct coalesced *p, unsigned int count,
		   unsigned long long now_ms)
{
	if (now_ms != p->began_ms) {
		if (p->busy && p->count < CALM)
			become_idle(coalesce, p);
		p->began_ms = now_ms;
		p->count = 0;
	}
	p->count += count;
	if (!p->busy && p->count >= RUSH)
		become_busy(coalesce, p);
}
