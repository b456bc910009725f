/* SPDX-License-Identifier: Apache-2.0 */
/* A listening UNIX socket. See unixacceptor.h. */
#include "os/unixacceptor.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "os/sockopt.h"
#include "os/unixsock.h"

static struct unixacceptor *owner_of(struct acceptor *a)
{
	return LOOP_OWNER(a, struct unixacceptor, acceptor);
}

static int on_resume(struct acceptor *a)
{
	return loop_want(a->loop, &owner_of(a)->socket, POLLIN);
}

static void on_pause(struct acceptor *a)
{
	loop_want(a->loop, &owner_of(a)->socket, 0);
}

/* -EBUSY: make_room was asked already, so on_shortage does not ask again. */
static int reserve(struct acceptor *a, struct watch *socket)
{
	struct unixacceptor *u = owner_of(a);

	(void)socket;
	return u->make_room == NULL || u->make_room(u, 0) ? 0 : -EBUSY;
}

/* Passes a client on, or closes it if it is of another user. */
static int on_client(struct acceptor *a, struct watch *socket, int fd,
		     const struct sockaddr_storage *from, socklen_t from_len)
{
	struct unixacceptor *u = owner_of(a);

	(void)socket;
	(void)from;
	(void)from_len;
	sockopt_oob_inline(fd);
	if (unixsock_is_same_user(fd))
		return u->on_client(u, fd);
	close(fd);
	return 0;
}

static bool on_shortage(struct acceptor *a, int errnum)
{
	struct unixacceptor *u = owner_of(a);

	return errnum != EBUSY && u->make_room != NULL && u->make_room(u, errnum);
}

static const struct acceptor_calls calls = {
	.reserve = reserve,
	.on_client = on_client,
	.on_shortage = on_shortage,
	.on_pause = on_pause,
	.on_resume = on_resume,
};

static void on_clients(struct watch *w, short revents)
{
	struct unixacceptor *u = LOOP_OWNER(w, struct unixacceptor, socket);

	(void)revents;
	acceptor_accept(&u->acceptor, w);
}

int unixacceptor_listen(struct unixacceptor *u, struct loop *loop, const char *path, struct err *e)
{
	int r;

	u->acceptor.loop = loop;
	u->acceptor.calls = &calls;
	u->socket = (struct watch){ .events = POLLIN, .on_event = on_clients };
	u->socket.fd = unixsock_listen(path, u->by_packet ? SOCK_SEQPACKET : SOCK_STREAM, e);
	if (u->socket.fd < 0)
		return u->socket.fd;
	r = loop_add(loop, &u->socket);
	if (r == 0)
		return 0;
	fd_close(&u->socket.fd);
	return err_sys(e, -r, "listen on %s", path);
}

void unixacceptor_close(struct unixacceptor *u)
{
	acceptor_stop(&u->acceptor);
	loop_remove(u->acceptor.loop, &u->socket);
	fd_close(&u->socket.fd);
}
