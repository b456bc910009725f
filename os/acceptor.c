/* SPDX-License-Identifier: Apache-2.0 */
/* Accepting in batches, and pausing. See acceptor.h. */
#include "os/acceptor.h"

#include <errno.h>

#include "base/fd.h"

#define BATCH	 64  /* clients accepted in a row; then other events of the loop get their turn */
#define PAUSE_MS 100 /* wait this long for a resource that has run out */

/* on_resume polls the sockets again. It may fail for some sockets, for lack of memory. Then it is
 * called again later, and meanwhile the other sockets accept clients. */
static void end_pause(struct acceptor *a)
{
	loop_cancel(a->loop, &a->resume);
	a->paused = false;
	if (a->calls->on_resume(a) < 0)
		loop_timer(a->loop, &a->resume, PAUSE_MS);
}

static void on_resume(struct timer *t)
{
	end_pause(LOOP_OWNER(t, struct acceptor, resume));
}

void acceptor_pause(struct acceptor *a)
{
	a->resume.on_due = on_resume;
	if (loop_timer(a->loop, &a->resume, PAUSE_MS) < 0)
		return;
	a->paused = true;
	a->calls->on_pause(a);
}

void acceptor_resume(struct acceptor *a)
{
	if (a->paused)
		end_pause(a);
}

void acceptor_stop(struct acceptor *a)
{
	loop_cancel(a->loop, &a->resume);
	a->paused = false;
}

/* Returns 0 if accepting may go on, -EAGAIN if no client is waiting or the owner wants none, or
 * another -errno for a shortage. */
static int accept_one(struct acceptor *a, struct watch *socket)
{
	struct sockaddr_storage from = { .ss_family = AF_UNSPEC };
	socklen_t len = sizeof(from);
	int r = a->calls->reserve(a, socket);

	if (r < 0)
		return r;
	r = fd_accept(socket->fd, (struct sockaddr *)&from, &len);
	if (r >= 0)
		return a->calls->on_client(a, socket, r, &from, len);
	if (a->calls->release != NULL)
		a->calls->release(a);
	return r == -ECONNABORTED ? 0 : r;
}

void acceptor_accept(struct acceptor *a, struct watch *socket)
{
	if (a->paused)
		loop_want(a->loop, socket, 0);
	for (int i = 0; i < BATCH && !a->paused; i++) {
		int r = accept_one(a, socket);

		if (r == -EAGAIN)
			return;
		if (r < 0 && !a->calls->on_shortage(a, -r)) {
			acceptor_pause(a);
			return;
		}
	}
}
