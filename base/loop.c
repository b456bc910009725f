/* SPDX-License-Identifier: Apache-2.0 */
/* The event loop. See loop.h.
 *
 * The poll engine keeps an array of pollfd and a parallel one of watches; a removed watch leaves a
 * hole (fd -1) that is closed after the round. The epoll engine keeps nothing but the count. In
 * both, a watch with slot 0 is not in the loop: slots count from 1. A batch of epoll events is kept
 * until it is delivered, so that loop_remove can strike out what is still to come.
 *
 * Timers stand in a binary heap whose first entry is the next one due.
 */
#include "base/loop.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "base/fd.h"

#define EPOLL_BATCH 256 /* events of one epoll_wait(2) */

_Static_assert(POLLIN == EPOLLIN && POLLOUT == EPOLLOUT && POLLERR == EPOLLERR &&
		       POLLHUP == EPOLLHUP && POLLRDHUP == EPOLLRDHUP && POLLPRI == EPOLLPRI,
	       "poll and epoll name events by the same bits");

struct loop {
	enum loop_engine engine;
	bool stopped;

	struct pollfd *pollfds;
	struct watch **watches;
	size_t count;
	size_t cap;
	bool has_holes;

	int epoll_fd;
	struct epoll_event batch[EPOLL_BATCH];
	int batch_len;

	struct timer **heap; /* [1..heap_len] */
	size_t heap_len;
	size_t heap_cap;

	struct task *tasks;
	struct task **tasks_end;
};

struct loop *loop_new(enum loop_engine engine)
{
	struct loop *loop = calloc(1, sizeof(*loop));

	if (loop == NULL)
		return NULL;
	loop->engine = engine;
	loop->tasks_end = &loop->tasks;
	loop->epoll_fd = -1;
	if (engine == LOOP_EPOLL) {
		loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
		if (loop->epoll_fd < 0) {
			free(loop);
			return NULL;
		}
	}
	return loop;
}

void loop_free(struct loop *loop)
{
	if (loop == NULL)
		return;
	fd_close(&loop->epoll_fd);
	free(loop->pollfds);
	free(loop->watches);
	free(loop->heap);
	free(loop);
}

/* ---- watches ---- */

static int grow_poll(struct loop *loop)
{
	size_t cap = loop->cap == 0 ? 16 : loop->cap * 2;
	struct pollfd *pollfds = realloc(loop->pollfds, cap * sizeof(*pollfds));
	struct watch **watches;

	if (pollfds == NULL)
		return -ENOMEM;
	loop->pollfds = pollfds;
	watches = realloc(loop->watches, cap * sizeof(struct watch *));
	if (watches == NULL)
		return -ENOMEM;
	loop->watches = watches;
	loop->cap = cap;
	return 0;
}

static int add_poll(struct loop *loop, struct watch *w)
{
	if (loop->count == loop->cap) {
		int r = grow_poll(loop);

		if (r < 0)
			return r;
	}
	loop->watches[loop->count] = w;
	/* A negative descriptor is skipped: an idle watch must not be woken by POLLHUP. */
	loop->pollfds[loop->count] = (struct pollfd){ .fd = w->events != 0 ? w->fd : -1,
						      .events = w->events };
	loop->count++;
	w->slot = loop->count;
	return 0;
}

static uint32_t epoll_bits(const struct watch *w)
{
	if (w->edge)
		return EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLET;
	return (uint32_t)(unsigned short)w->events | (w->exclusive ? EPOLLEXCLUSIVE : 0U);
}

static int control(struct loop *loop, int op, struct watch *w)
{
	struct epoll_event ev = { .events = epoll_bits(w), .data.ptr = w };

	return epoll_ctl(loop->epoll_fd, op, w->fd, &ev) < 0 ? -errno : 0;
}

static int add_epoll(struct loop *loop, struct watch *w)
{
	int r;

	w->slot = 1;
	w->polled = w->events;
	/* The loop's thread may deliver an event before this returns. */
	r = w->edge || w->events != 0 ? control(loop, EPOLL_CTL_ADD, w) : 0;
	if (r < 0)
		w->slot = 0;
	return r;
}

int loop_add(struct loop *loop, struct watch *w)
{
	return loop->engine == LOOP_POLL ? add_poll(loop, w) : add_epoll(loop, w);
}

static int want_epoll(struct loop *loop, struct watch *w)
{
	int op = EPOLL_CTL_MOD;
	int r;

	if (w->edge || w->events == w->polled)
		return 0;
	/* EPOLLHUP comes even if nothing is wanted, so an idle watch is taken out. */
	if (w->events == 0)
		op = EPOLL_CTL_DEL;
	else if (w->polled == 0)
		op = EPOLL_CTL_ADD;
	r = control(loop, op, w);
	if (r == 0)
		w->polled = w->events;
	return r;
}

int loop_want(struct loop *loop, struct watch *w, short events)
{
	w->events = events;
	if (w->slot == 0)
		return 0;
	if (loop->engine == LOOP_EPOLL)
		return want_epoll(loop, w);
	loop->pollfds[w->slot - 1].fd = events != 0 ? w->fd : -1;
	loop->pollfds[w->slot - 1].events = events;
	return 0;
}

static void remove_epoll(struct loop *loop, struct watch *w)
{
	if (w->edge || w->polled != 0)
		control(loop, EPOLL_CTL_DEL, w);
	for (int i = 0; i < loop->batch_len; i++)
		if (loop->batch[i].data.ptr == w)
			loop->batch[i].data.ptr = NULL;
}

void loop_remove(struct loop *loop, struct watch *w)
{
	if (w->slot == 0)
		return;
	if (loop->engine == LOOP_EPOLL) {
		remove_epoll(loop, w);
	} else {
		loop->watches[w->slot - 1] = NULL;
		loop->pollfds[w->slot - 1].fd = -1;
		loop->has_holes = true;
	}
	w->slot = 0;
}

static void close_holes(struct loop *loop)
{
	size_t to = 0;

	for (size_t from = 0; from < loop->count; from++) {
		if (loop->watches[from] == NULL)
			continue;
		loop->watches[to] = loop->watches[from];
		loop->pollfds[to] = loop->pollfds[from];
		loop->watches[to]->slot = to + 1;
		to++;
	}
	loop->count = to;
	loop->has_holes = false;
}

/* ---- timers ---- */

static void heap_place(struct loop *loop, struct timer *t, size_t slot)
{
	loop->heap[slot] = t;
	t->slot = slot;
}

static void heap_up(struct loop *loop, struct timer *t, size_t slot)
{
	while (slot > 1 && loop->heap[slot / 2]->due_ms > t->due_ms) {
		heap_place(loop, loop->heap[slot / 2], slot);
		slot /= 2;
	}
	heap_place(loop, t, slot);
}

static void heap_down(struct loop *loop, struct timer *t, size_t slot)
{
	while (slot * 2 <= loop->heap_len) {
		size_t next = slot * 2;

		if (next < loop->heap_len &&
		    loop->heap[next + 1]->due_ms < loop->heap[next]->due_ms)
			next++;
		if (loop->heap[next]->due_ms >= t->due_ms)
			break;
		heap_place(loop, loop->heap[next], slot);
		slot = next;
	}
	heap_place(loop, t, slot);
}

int loop_timer(struct loop *loop, struct timer *t, unsigned int delay_ms)
{
	loop_cancel(loop, t);
	if (loop->heap_len + 2 > loop->heap_cap) {
		size_t cap = loop->heap_cap == 0 ? 16 : loop->heap_cap * 2;
		struct timer **heap = realloc(loop->heap, cap * sizeof(struct timer *));

		if (heap == NULL)
			return -ENOMEM;
		loop->heap = heap;
		loop->heap_cap = cap;
	}
	t->due_ms = clock_now_ms() + delay_ms;
	heap_up(loop, t, ++loop->heap_len);
	return 0;
}

bool timer_is_set(const struct timer *t)
{
	return t->slot != 0;
}

void loop_cancel(struct loop *loop, struct timer *t)
{
	size_t slot = t->slot;
	struct timer *last;

	if (slot == 0)
		return;
	t->slot = 0;
	last = loop->heap[loop->heap_len--];
	if (last == t)
		return;
	heap_down(loop, last, slot);
	heap_up(loop, last, last->slot);
}

static void run_timers(struct loop *loop)
{
	unsigned long long now;

	if (loop->heap_len == 0)
		return;
	now = clock_now_ms();
	while (loop->heap_len > 0 && loop->heap[1]->due_ms <= now) {
		struct timer *t = loop->heap[1];

		loop_cancel(loop, t);
		t->on_due(t);
	}
}

/* How long a round may wait: until the next timer, at most `timeout_ms`. */
static int wait_ms(const struct loop *loop, int timeout_ms)
{
	unsigned long long now, left;

	if (loop->tasks != NULL)
		return 0;
	if (loop->heap_len == 0)
		return timeout_ms;
	now = clock_now_ms();
	left = loop->heap[1]->due_ms > now ? loop->heap[1]->due_ms - now : 0;
	if (left > INT_MAX)
		left = INT_MAX;
	return timeout_ms >= 0 && (unsigned long long)timeout_ms < left ? timeout_ms : (int)left;
}

/* ---- tasks and rounds ---- */

void loop_defer(struct loop *loop, struct task *t)
{
	if (t->queued)
		return;
	t->queued = true;
	t->next = NULL;
	*loop->tasks_end = t;
	loop->tasks_end = &t->next;
}

void loop_run_tasks(struct loop *loop)
{
	struct task *t = loop->tasks;

	loop->tasks = NULL;
	loop->tasks_end = &loop->tasks;
	while (t != NULL) {
		struct task *next = t->next;

		t->queued = false;
		t->run(t); /* may free it */
		t = next;
	}
}

static int deliver_poll(struct loop *loop, int timeout_ms)
{
	size_t count = loop->count; /* watches that callbacks add wait for the next round */
	int n = poll(loop->pollfds, (nfds_t)count, timeout_ms);

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	for (size_t i = 0; n > 0 && i < count; i++) {
		short revents = loop->pollfds[i].revents;

		if (revents == 0)
			continue;
		n--;
		if (loop->watches[i] != NULL)
			loop->watches[i]->on_event(loop->watches[i], revents);
	}
	if (loop->has_holes)
		close_holes(loop);
	return 0;
}

static int deliver_epoll(struct loop *loop, int timeout_ms)
{
	int n = epoll_wait(loop->epoll_fd, loop->batch, EPOLL_BATCH, timeout_ms);

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	loop->batch_len = n;
	for (int i = 0; i < n; i++) {
		struct watch *w = loop->batch[i].data.ptr;

		if (w != NULL)
			w->on_event(w, (short)loop->batch[i].events);
	}
	loop->batch_len = 0;
	return 0;
}

int loop_step(struct loop *loop, int timeout_ms)
{
	int r;

	timeout_ms = wait_ms(loop, timeout_ms);
	if (loop->engine == LOOP_POLL)
		r = deliver_poll(loop, timeout_ms);
	else
		r = deliver_epoll(loop, timeout_ms);
	if (r < 0)
		return r;
	run_timers(loop);
	loop_run_tasks(loop);
	return 0;
}

int loop_run(struct loop *loop)
{
	loop->stopped = false;
	while (!loop->stopped) {
		int r = loop_step(loop, -1);

		if (r < 0)
			return r;
	}
	return 0;
}

void loop_stop(struct loop *loop)
{
	loop->stopped = true;
}
