/* SPDX-License-Identifier: Apache-2.0 */
#include "os/acceptor.h"

#include <errno.h>
#include <unistd.h>

#include "base/fd.h"
#include "os/unixsock.h"

#define BATCH	 64  /* clients accepted in a row; then other events of the loop get their turn */
#define PAUSE_MS 100 /* wait this long for a resource that has run out */

static void on_resume(struct timer *t)
{
	struct acceptor *a = LOOP_OWNER(t, struct acceptor, resume);

	if (loop_want(a->loop, &a->socket, POLLIN) < 0)
		loop_timer(a->loop, t, PAUSE_MS);
}

/* If there is no memory for the timer, does not pause at all. */
static void pause_accepting(struct acceptor *a)
{
	if (loop_timer(a->loop, &a->resume, PAUSE_MS) == 0)
		loop_want(a->loop, &a->socket, 0);
}

/* Accepts a client; closes one of another user. Returns 0, -EAGAIN if no client is waiting, or
 * another -errno if a resource has run out. */
static int accept_one(struct acceptor *a)
{
	int fd;

	if (a->make_room != NULL && !a->make_room(a, 0))
		return -EBUSY;
	fd = fd_accept(a->socket.fd, NULL, NULL);
	if (fd == -ECONNABORTED)
		return 0;
	if (fd < 0)
		return fd;
	if (unixsock_is_same_user(fd))
		return a->on_client(a, fd);
	close(fd);
	return 0;
}

static void on_clients(struct watch *w, short revents)
{
	struct acceptor *a = LOOP_OWNER(w, struct acceptor, socket);

	(void)revents;
	for (int i = 0; i < BATCH; i++) {
		int r = accept_one(a);

		if (r == -EAGAIN)
			return;
		if (r < 0 && (r == -EBUSY || a->make_room == NULL || !a->make_room(a, -r))) {
			pause_accepting(a);
			return;
		}
	}
}

int acceptor_listen(struct acceptor *a, struct loop *loop, const char *path, struct err *e)
{
	int r;

	a->loop = loop;
	a->resume.on_due = on_resume;
	a->socket = (struct watch){ .events = POLLIN, .on_event = on_clients };
	a->socket.fd = unixsock_listen(path, e);
	if (a->socket.fd < 0)
		return a->socket.fd;
	r = loop_add(loop, &a->socket);
	if (r == 0)
		return 0;
	fd_close(&a->socket.fd);
	return err_sys(e, -r, "listen on %s", path);
}

void acceptor_close(struct acceptor *a)
{
	loop_cancel(a->loop, &a->resume);
	loop_remove(a->loop, &a->socket);
	fd_close(&a->socket.fd);
}
