/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

/* An event loop with watches (a descriptor and a callback), timers, and tasks that run at the end
 * of a round. A loop belongs to one thread, and nothing here is locked. Only loop_step() and
 * loop_run() wait.
 *
 * The owners embed watches, timers and tasks in their own structs; the loop only borrows them. A
 * callback may remove any of them, including its own. The memory must stay valid until the round is
 * over, so free it in a task.
 *
 * Two backends have the same interface. Use poll(2) as a rule, and epoll(7) for a loop with
 * thousands of descriptors: poll(2) scans all of them in each round, even the idle ones.
 */

/* The struct in which a watch, timer or task is embedded. */
#define LOOP_OWNER(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

struct watch {
	int fd;	      /* borrowed */
	short events; /* events of poll(2) to wait for; 0: none, not even POLLHUP or POLLERR */
	/* Edge-triggered (epoll(7), EPOLLET): the callback gets POLLIN, POLLPRI, POLLOUT and
	 * POLLRDHUP once each time they occur, regardless of `events`. So the owner's interest can
	 * change without a system call, but the owner must remember an event until a call fails
	 * with EAGAIN. The poll(2) backend ignores `edge`. */
	bool edge;
	/* Loops of several threads watch this descriptor, and an event must wake only one of them
	 * (epoll_ctl(2), EPOLLEXCLUSIVE). Interest may be switched off and on again, but not
	 * changed to other events. The poll(2) backend ignores this and wakes all. */
	bool exclusive;
	void (*on_event)(struct watch *w, short revents);
	size_t slot;  /* the loop's own */
	short polled; /* the loop's own */
};

/* Zero before its first use, except on_due. */
struct timer {
	unsigned long long due_ms; /* on clock_now_ms()'s clock */
	void (*on_due)(struct timer *t);
	size_t slot; /* the loop's own; 0: not set */
};

/* Zero before its first use, except `run`. */
struct task {
	void (*run)(struct task *t);
	struct task *next; /* the loop's own */
	bool queued;	   /* the loop's own */
};

enum loop_engine {
	LOOP_POLL,
	LOOP_EPOLL,
};

struct loop;

/* Returns a new loop, to be freed with loop_free(), or NULL with errno. */
struct loop *loop_new(enum loop_engine engine);
/* Frees a loop. Does not call the watches, timers and tasks that are left in it. Accepts NULL. */
void loop_free(struct loop *loop);

/* Starts watching. The caller has set w->fd, events, edge, exclusive and on_event. Returns 0 or
 * -errno. */
int loop_add(struct loop *loop, struct watch *w);
/* The same, called from another thread, while the loop may be running. Only for LOOP_EPOLL. The
 * callbacks see everything that the calling thread wrote before. */
int loop_add_from_thread(struct loop *loop, struct watch *w);
/* Changes the events that a watch waits for. Returns 0 or -errno; cannot fail for LOOP_POLL and for
 * edge-triggered watches. */
int loop_want(struct loop *loop, struct watch *w, short events);
/* Stops watching; does nothing if `w` is not in the loop. After this, on_event is not called
 * again. */
void loop_remove(struct loop *loop, struct watch *w);

/* Starts a timer that fires once, in `delay_ms` from now; restarts it if it is running. Returns 0
 * or -ENOMEM. */
int loop_timer(struct loop *loop, struct timer *t, unsigned int delay_ms);
/* Stops a timer; does nothing if it is not running. */
void loop_cancel(struct loop *loop, struct timer *t);
/* Is the timer running? */
bool timer_is_set(const struct timer *t);

/* Queues a task to run at the end of this round; a task that is queued already keeps its place. A
 * task that another task queues runs at the end of the next round, which then does not wait. */
void loop_defer(struct loop *loop, struct task *t);

/* Runs the queued tasks now. Must not be called from a task. */
void loop_run_tasks(struct loop *loop);

/* Runs one round: waits at most `timeout_ms` (-1: no limit) for events, delivers them, and runs the
 * timers and tasks that are due. Returns 0 or -errno. */
int loop_step(struct loop *loop, int timeout_ms);

/* Runs rounds until a callback calls loop_stop(). Returns 0 or -errno. */
int loop_run(struct loop *loop);
/* Lets loop_run() return at the end of this round. Without effect outside of loop_run(). */
void loop_stop(struct loop *loop);

#endif
