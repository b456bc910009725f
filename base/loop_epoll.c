/* SPDX-License-Identifier: Apache-2.0 */
/* The epoll(7) backend of the loop. See loopbackend.h.
 *
 * The kernel keeps the set of watches. Adding one is a single system call that writes only to the
 * watch, not to the loop, so another thread may do it (loop_add_from_thread). While a batch of
 * events is being delivered, removing a watch also removes its event from the batch.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "base/fd.h"
#include "base/loop.h"
#include "base/loopbackend.h"

#define BATCH 256 /* events of one epoll_wait(2) */

_Static_assert(POLLIN == EPOLLIN && POLLOUT == EPOLLOUT && POLLERR == EPOLLERR &&
		       POLLHUP == EPOLLHUP && POLLRDHUP == EPOLLRDHUP && POLLPRI == EPOLLPRI,
	       "poll and epoll name events by the same bits");

struct set {
	int fd;
	struct epoll_event batch[BATCH];
	int batch_len;
};

static void *create(void)
{
	struct set *set = calloc(1, sizeof(*set));

	if (set == NULL)
		return NULL;
	set->fd = epoll_create1(EPOLL_CLOEXEC);
	if (set->fd >= 0)
		return set;
	free(set);
	return NULL;
}

static void destroy(void *backend)
{
	struct set *set = backend;

	fd_close(&set->fd);
	free(set);
}

static uint32_t bits_of(const struct watch *w)
{
	if (w->edge)
		return EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLET;
	return (uint32_t)(unsigned short)w->events | (w->exclusive ? EPOLLEXCLUSIVE : 0U);
}

static int control(struct set *set, int op, struct watch *w)
{
	struct epoll_event ev = { .events = bits_of(w), .data.ptr = w };

	return epoll_ctl(set->fd, op, w->fd, &ev) < 0 ? -errno : 0;
}

static int add(void *backend, struct watch *w)
{
	int r;

	w->slot = 1;
	w->polled = w->events;
	/* The loop's thread may deliver an event before this call returns, so complete `w` before
	 * it. */
	r = w->edge || w->events != 0 ? control(backend, EPOLL_CTL_ADD, w) : 0;
	if (r < 0)
		w->slot = 0;
	return r;
}

static int want(void *backend, struct watch *w)
{
	int op = EPOLL_CTL_MOD;
	int r;

	if (w->edge || w->events == w->polled)
		return 0;
	/* epoll always reports EPOLLHUP, so remove a watch that has no interest. */
	if (w->events == 0)
		op = EPOLL_CTL_DEL;
	else if (w->polled == 0)
		op = EPOLL_CTL_ADD;
	r = control(backend, op, w);
	if (r == 0)
		w->polled = w->events;
	return r;
}

static void take_out(void *backend, struct watch *w)
{
	struct set *set = backend;

	if (w->edge || w->polled != 0)
		control(set, EPOLL_CTL_DEL, w);
	for (int i = 0; i < set->batch_len; i++)
		if (set->batch[i].data.ptr == w)
			set->batch[i].data.ptr = NULL;
}

static int deliver(void *backend, int timeout_ms)
{
	struct set *set = backend;
	int n = epoll_wait(set->fd, set->batch, BATCH, timeout_ms);

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	set->batch_len = n;
	for (int i = 0; i < n; i++) {
		struct watch *w = set->batch[i].data.ptr;

		if (w != NULL)
			w->on_event(w, (short)set->batch[i].events);
	}
	set->batch_len = 0;
	return 0;
}

const struct loop_backend loop_epoll = { create, destroy, add, want, take_out, deliver };
