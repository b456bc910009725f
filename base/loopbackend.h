/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LOOPBACKEND_H
#define BASE_LOOPBACKEND_H

/* How a loop waits for descriptors: poll(2) or epoll(7). Only for loop.c and the two backends.
 *
 * A watch whose slot is 0 is not in the loop. `add` sets the slot, and loop.c clears it after
 * `remove`. Callbacks may add and remove watches while `deliver` runs.
 */
struct watch;

struct loop_backend {
	void *(*create)(void); /* the backend's state, or NULL with errno */
	void (*destroy)(void *backend);
	int (*add)(void *backend, struct watch *w); /* 0 or -errno */
	/* Called after w->events has changed. 0 or -errno. */
	int (*want)(void *backend, struct watch *w);
	void (*remove)(void *backend, struct watch *w);
	/* Waits at most `timeout_ms` (-1: no limit), then calls on_event of each watch with an
	 * event. 0 or -errno. */
	int (*deliver)(void *backend, int timeout_ms);
};

extern const struct loop_backend loop_poll, loop_epoll;

#endif
