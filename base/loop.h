/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

/* An event loop: watches (a descriptor and a callback), timers, and tasks that run after a round.
 * One loop belongs to one thread; nothing here is locked.
 *
 * All three are embedded in what owns them, and the loop only borrows them. A callback may remove
 * any of them, its own too, but the memory must stay until the round is over: free it in a task.
 *
 * There are two engines behind the same interface. poll(2) is the usual one. A loop with thousands
 * of descriptors takes epoll(7), since poll pays for every idle one of them in each round.
 */

/* What a watch, timer or task is embedded in. */
#define LOOP_OWNER(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

struct watch {
	int fd;	      /* borrowed */
	short events; /* what is wanted now, as in poll(2); 0: not even POLLHUP or POLLERR */
	/* An edge-triggered watch hears of POLLIN, POLLPRI, POLLOUT and POLLRDHUP once when they
	 * come, whatever `events` says, so that its interest can change without a system call. It
	 * needs an owner who remembers what it heard until a call says EAGAIN. With poll(2)
	 * `events` counts. */
	bool edge;
	/* The descriptor is watched by loops of several threads, and one of them shall be woken,
	 * not all (epoll_ctl(2), EPOLLEXCLUSIVE). Its events may be taken back and wanted again,
	 * but not change. With poll(2) all are woken. */
	bool exclusive;
	void (*on_event)(struct watch *w, short revents);
	size_t slot;  /* the loop's own */
	short polled; /* the loop's own */
};

struct timer {
	unsigned long long due_ms; /* on clock_now_ms()'s clock */
	void (*on_due)(struct timer *t);
	size_t slot; /* the loop's own; 0: not set */
};

struct task {
	void (*run)(struct task *t);
	struct task *next;
	bool queued;
};

enum loop_engine {
	LOOP_POLL,
	LOOP_EPOLL,
};

struct loop;

/* Returns a new loop, or NULL with errno. */
struct loop *loop_new(enum loop_engine engine);
/* Watches, timers and tasks that are left are forgotten, not called. NULL is fine. */
void loop_free(struct loop *loop);

/* Starts watching; w->fd, events, edge and on_event are set. Returns 0 or -errno. */
int loop_add(struct loop *loop, struct watch *w);
/* The same from another thread, while the loop may be running; only for a loop with epoll(7). The
 * callbacks see what that thread wrote before. */
int loop_add_from_thread(struct loop *loop, struct watch *w);
/* Changes what is wanted. Cannot fail for poll and edge-triggered watches; else 0 or -errno. */
int loop_want(struct loop *loop, struct watch *w, short events);
/* Stops watching; does nothing if it is not watched. No callback comes after this. */
void loop_remove(struct loop *loop, struct watch *w);

/* Sets, or sets anew, a timer that fires once, in `delay_ms` from now. Returns 0 or -ENOMEM. */
int loop_timer(struct loop *loop, struct timer *t, unsigned int delay_ms);
void loop_cancel(struct loop *loop, struct timer *t);
bool timer_is_set(const struct timer *t);

/* Runs a task after the present round; one that is queued already stays where it is. A task queued
 * by a task runs after the next round, which then does not wait. */
void loop_defer(struct loop *loop, struct task *t);

/* Runs the tasks that are queued, now. Not from within a task. */
void loop_run_tasks(struct loop *loop);

/* Waits at most `timeout_ms` (-1: until something happens) and delivers what has happened. Returns
 * 0 or -errno. */
int loop_step(struct loop *loop, int timeout_ms);

/* Runs until loop_stop. Returns 0 or -errno. */
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

#endif
