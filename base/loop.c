/* SPDX-License-Identifier: Apache-2.0 */
/* The event loop. See loop.h. The backends loop_poll.c and loop_epoll.c wait for descriptors;
 * timers and tasks are here. The timers are in a binary heap: heap[1] is the next one due, and the
 * children of heap[i] are heap[2 * i] and heap[2 * i + 1].
 */
#include "base/loop.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/loopbackend.h"

struct loop {
	const struct loop_backend *backend;
	void *set; /* the backend's state, owned by the loop */
	bool stopped;

	struct timer **heap; /* entries 1 to heap_len are in use */
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
	loop->backend = engine == LOOP_EPOLL ? &loop_epoll : &loop_poll;
	loop->tasks_end = &loop->tasks;
	loop->set = loop->backend->create();
	if (loop->set != NULL)
		return loop;
	free(loop);
	return NULL;
}

void loop_free(struct loop *loop)
{
	if (loop == NULL)
		return;
	loop->backend->destroy(loop->set);
	free(loop->heap);
	free(loop);
}

/* ---- watches ---- */

int loop_add(struct loop *loop, struct watch *w)
{
	return loop->backend->add(loop->set, w);
}

int loop_add_from_thread(struct loop *loop, struct watch *w)
{
	assert(loop->backend == &loop_epoll);
	return loop->backend->add(loop->set, w);
}

int loop_want(struct loop *loop, struct watch *w, short events)
{
	w->events = events;
	return w->slot == 0 ? 0 : loop->backend->want(loop->set, w);
}

void loop_remove(struct loop *loop, struct watch *w)
{
	if (w->slot == 0)
		return;
	loop->backend->remove(loop->set, w);
	w->slot = 0;
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

/* How long a round may wait in ms (-1: no limit): until the next timer, at most `timeout_ms`. */
static int wait_ms(const struct loop *loop, int timeout_ms)
{
	int left_ms;

	if (loop->tasks != NULL)
		return 0;
	if (loop->heap_len == 0)
		return timeout_ms;
	left_ms = clock_left_ms(loop->heap[1]->due_ms);
	return timeout_ms >= 0 && timeout_ms < left_ms ? timeout_ms : left_ms;
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

int loop_step(struct loop *loop, int timeout_ms)
{
	int r = loop->backend->deliver(loop->set, wait_ms(loop, timeout_ms));

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
