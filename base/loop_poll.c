/* SPDX-License-Identifier: Apache-2.0 */
/* The poll(2) backend of the loop. See loopbackend.h.
 *
 * `pollfds` and `watches` are parallel arrays. A watch's slot is its index in them plus 1. Removing
 * a watch leaves a hole (descriptor -1), because deliver() may be iterating; holes are closed after
 * the round.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "base/loop.h"
#include "base/loopbackend.h"

struct set {
	struct pollfd *pollfds;
	struct watch **watches;
	size_t count;
	size_t cap;
	bool has_holes;
};

static void *create(void)
{
	return calloc(1, sizeof(struct set));
}

static void destroy(void *backend)
{
	struct set *set = backend;

	free(set->pollfds);
	free(set->watches);
	free(set);
}

static int grow(struct set *set)
{
	size_t cap = set->cap == 0 ? 16 : set->cap * 2;
	struct pollfd *pollfds = realloc(set->pollfds, cap * sizeof(*pollfds));
	struct watch **watches;

	if (pollfds == NULL)
		return -ENOMEM;
	set->pollfds = pollfds;
	watches = realloc(set->watches, cap * sizeof(struct watch *));
	if (watches == NULL)
		return -ENOMEM;
	set->watches = watches;
	set->cap = cap;
	return 0;
}

/* poll(2) skips a negative descriptor. A watch without interest must be skipped, because POLLHUP
 * would wake the loop. */
static struct pollfd entry_of(const struct watch *w)
{
	return (struct pollfd){ .fd = w->events != 0 ? w->fd : -1, .events = w->events };
}

static int add(void *backend, struct watch *w)
{
	struct set *set = backend;

	if (set->count == set->cap) {
		int r = grow(set);

		if (r < 0)
			return r;
	}
	set->watches[set->count] = w;
	set->pollfds[set->count] = entry_of(w);
	w->slot = ++set->count;
	return 0;
}

static int want(void *backend, struct watch *w)
{
	struct set *set = backend;

	set->pollfds[w->slot - 1].fd = entry_of(w).fd;
	set->pollfds[w->slot - 1].events = w->events;
	return 0;
}

static void take_out(void *backend, struct watch *w)
{
	struct set *set = backend;

	set->watches[w->slot - 1] = NULL;
	set->pollfds[w->slot - 1].fd = -1;
	set->has_holes = true;
}

static void close_holes(struct set *set)
{
	size_t to = 0;

	for (size_t from = 0; from < set->count; from++) {
		if (set->watches[from] == NULL)
			continue;
		set->watches[to] = set->watches[from];
		set->pollfds[to] = set->pollfds[from];
		set->watches[to]->slot = to + 1;
		to++;
	}
	set->count = to;
	set->has_holes = false;
}

static int deliver(void *backend, int timeout_ms)
{
	struct set *set = backend;
	size_t count = set->count; /* excludes watches that callbacks add in this round */
	int n = poll(set->pollfds, (nfds_t)count, timeout_ms);

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	for (size_t i = 0; n > 0 && i < count; i++) {
		short revents = set->pollfds[i].revents;

		if (revents == 0)
			continue;
		n--;
		if (set->watches[i] != NULL)
			set->watches[i]->on_event(set->watches[i], revents);
	}
	if (set->has_holes)
		close_holes(set);
	return 0;
}

const struct loop_backend loop_poll = { create, destroy, add, want, take_out, deliver };
