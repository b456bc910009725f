/* SPDX-License-Identifier: Apache-2.0 */
/* Interrupt coalescing for UDP sockets. See coalesce.h.
 *
 *     POLLED ── BUSY_FROM datagrams or more in a millisecond ──► BUSY, called every COALESCE_US
 *        ▲                                                       │
 *        └─────── fewer than IDLE_BELOW in a millisecond ────────┘
 *
 * Why: a thread that is woken for each datagram runs all the time, and pays a full wake-up for
 * each. If it shares a CPU with the receiver of the datagrams, the receiver runs milliseconds
 * later, after its buffer has overflowed (rmem_default: about 90 datagrams of 1400 bytes). Network
 * cards coalesce their interrupts for the same reason, and for about as long.
 *
 * The timer is set again only after all callbacks have run, so there is a pause however long they
 * take.
 */
#include "ports/coalesce.h"

#include <errno.h>
#include <sys/timerfd.h>
#include <time.h>

#include "base/fd.h"

#define BUSY_FROM  32 /* datagrams in a millisecond: from this many on, the timer calls */
#define IDLE_BELOW 8  /* below this, polled again */

void coalesce_init(struct coalesce *coalesce, struct loop *loop)
{
	*coalesce = (struct coalesce){ .loop = loop, .timer.fd = -1 };
}

/* ---- the timer ---- */

static void set_timer(const struct coalesce *coalesce)
{
	const struct itimerspec once = { .it_value.tv_nsec = COALESCE_US * 1000L };

	/* This also clears an expiration that was not read yet (timerfd_settime(2)). */
	timerfd_settime(coalesce->timer.fd, 0, &once, NULL);
}

/* Calls each busy socket once. A callback may remove any socket, so this does not walk along the
 * list: it takes the first socket and moves it to the end. */
static void on_timer(struct watch *w, short revents)
{
	struct coalesce *coalesce = LOOP_OWNER(w, struct coalesce, timer);

	(void)revents;
	for (size_t i = coalesce->busy_count; i > 0 && coalesce->busy.first != NULL; i--) {
		struct list_node *node = coalesce->busy.first;
		struct coalesced *c = LIST_OWNER(node, struct coalesced, node);

		list_remove(&coalesce->busy, node);
		list_append(&coalesce->busy, node);
		c->watch.on_event(&c->watch, POLLIN);
	}
	if (coalesce->busy.first != NULL)
		set_timer(coalesce);
	else
		coalesce_reset(coalesce);
}

static int open_timer(struct coalesce *coalesce)
{
	int r;

	if (coalesce->timer.fd >= 0)
		return 0;
	coalesce->timer = (struct watch){ .events = POLLIN, .on_event = on_timer };
	coalesce->timer.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (coalesce->timer.fd < 0)
		return -errno;
	r = loop_add(coalesce->loop, &coalesce->timer);
	if (r < 0)
		fd_close(&coalesce->timer.fd);
	return r;
}

void coalesce_reset(struct coalesce *coalesce)
{
	loop_remove(coalesce->loop, &coalesce->timer);
	fd_close(&coalesce->timer.fd);
}

/* ---- watches ---- */

static void unlink_busy(struct coalesce *coalesce, struct coalesced *c)
{
	c->busy = false;
	list_remove(&coalesce->busy, &c->node);
	coalesce->busy_count--;
}

int coalesce_add(struct coalesce *coalesce, struct coalesced *c)
{
	return loop_add(coalesce->loop, &c->watch);
}

void coalesce_remove(struct coalesce *coalesce, struct coalesced *c)
{
	loop_remove(coalesce->loop, &c->watch);
	if (c->busy)
		unlink_busy(coalesce, c);
}

/* On failure the watch stays polled. */
static void become_busy(struct coalesce *coalesce, struct coalesced *c)
{
	c->events = c->watch.events;
	if (open_timer(coalesce) < 0 || loop_want(coalesce->loop, &c->watch, 0) < 0)
		return;
	if (coalesce->busy.first == NULL)
		set_timer(coalesce);
	c->busy = true;
	list_append(&coalesce->busy, &c->node);
	coalesce->busy_count++;
}

static void become_idle(struct coalesce *coalesce, struct coalesced *c)
{
	if (loop_want(coalesce->loop, &c->watch, c->events) < 0)
		return;
	unlink_busy(coalesce, c);
}

void coalesce_note(struct coalesce *coalesce, struct coalesced *c, unsigned int count,
		   unsigned long long now_ms)
{
	if (now_ms != c->began_ms) {
		if (c->busy && c->count < IDLE_BELOW)
			become_idle(coalesce, c);
		c->began_ms = now_ms;
		c->count = 0;
	}
	c->count += count;
	if (!c->busy && c->count >= BUSY_FROM)
		become_busy(coalesce, c);
}
