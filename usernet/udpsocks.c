/* SPDX-License-Identifier: Apache-2.0 */
/* The host's sockets of UDP flows. See udpsocks.h.
 *
 * Sending on one descriptor from several threads is safe in the kernel, so datagrams need not be
 * handed from one thread to the other. Only the lifetime of a socket is shared: the lock guards the
 * table, the lists of users, and the lists of readers. A user is in the list `readers` of its queue
 * from the moment at which another thread has made it the reader until its own thread takes it from
 * there; that thread alone frees it, and removes it from both lists before.
 *
 * There is only one reader, because two would write the answers to the inside in any order, and
 * both would be woken for each.
 */
#include "usernet/udpsocks.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "base/fd.h"
#include "os/errqueue.h"
#include "os/sockopt.h"
#include "ports/dgram.h"

struct udpsocks {
	pthread_mutex_t lock; /* guards what follows, the sockets' private members, and the lists of
				 readers */
	struct flowtable table; /* used only to find a socket: bounded by the limits of the flows */
};

struct udpsocks *udpsocks_new(void)
{
	struct udpsocks *s = calloc(1, sizeof(*s));

	if (s == NULL || flowtable_init(&s->table, SIZE_MAX, SIZE_MAX) < 0) {
		free(s);
		return NULL;
	}
	pthread_mutex_init(&s->lock, NULL);
	return s;
}

void udpsocks_free(struct udpsocks *s)
{
	if (s == NULL)
		return;
	pthread_mutex_destroy(&s->lock);
	flowtable_reset(&s->table);
	free(s);
}

/* ---- a new socket ---- */

/* Returns a socket that is connected to `to`, or -errno. */
static int connect_socket(const struct sockaddr_storage *to, socklen_t len)
{
	FD_AUTO int fd = socket(to->ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)to, len) < 0)
		return -errno;
	if (sockopt_is_own_peer(fd))
		return -ECONNREFUSED;
	dgram_enable_gro(fd);
	return fd_take(&fd);
}

static int new_sock(struct udpsock **out, const struct flow_key *key,
		    const struct sockaddr_storage *to, socklen_t len)
{
	struct udpsock *sock = calloc(1, sizeof(*sock));

	if (sock == NULL)
		return -ENOMEM;
	sock->fd = connect_socket(to, len);
	if (sock->fd < 0) {
		int r = sock->fd;

		free(sock);
		return r;
	}
	sock->hops = SOCKOPT_ANY_HOPS;
	sock->entry.key = *key;
	*out = sock;
	return 0;
}

static void free_sock(struct udpsock *sock)
{
	if (sock == NULL)
		return;
	fd_close(&sock->fd);
	free(sock);
}

/* ---- users ---- */

/* Gives the user the socket with this key: that of the table, or else `fresh`, if that is not NULL.
 * Returns false if there is none. */
static bool use(struct udpsocks *s, struct udpsocks_user *u, const struct flow_key *key,
		struct udpsock *fresh)
{
	struct flow_entry *e;

	pthread_mutex_lock(&s->lock);
	e = flowtable_find(&s->table, key);
	if (e == NULL && fresh != NULL) {
		flowtable_add(&s->table, &fresh->entry, 0);
		e = &fresh->entry;
	}
	if (e != NULL) {
		u->sock = LOOP_OWNER(e, struct udpsock, entry);
		list_append(&u->sock->users, &u->node);
	}
	pthread_mutex_unlock(&s->lock);
	return e != NULL;
}

/* Connects without the lock. Another queue may add a socket meanwhile, and then that is used. */
int udpsocks_join(struct udpsocks_queue *q, struct udpsocks_user *u, const struct flow_key *key,
		  const struct sockaddr_storage *to, socklen_t len)
{
	struct udpsock *fresh;
	int r;

	u->queue = q;
	if (use(q->socks, u, key, NULL))
		return 0;
	r = new_sock(&fresh, key, to, len);
	if (r < 0)
		return r;
	use(q->socks, u, key, fresh);
	if (u->sock == fresh)
		return 1;
	free_sock(fresh);
	return 0;
}

/* The first user has left: makes the next one the reader. Returns the eventfd to be written to. */
static int pass_reading(const struct udpsock *sock)
{
	struct udpsocks_user *next = LIST_OWNER(sock->users.first, struct udpsocks_user, node);

	next->is_told = true;
	list_append(&next->queue->readers, &next->reader_node);
	return next->queue->wake.fd;
}

static void drop_from_table(struct udpsocks *s, struct udpsock *sock)
{
	if (!sock->is_retired)
		flowtable_remove(&s->table, &sock->entry);
	sock->is_retired = true;
}

/* Removes a user from all lists. Returns its socket if nobody uses that any more, else NULL. */
static struct udpsock *remove_user(struct udpsocks *s, struct udpsocks_user *u, int *wake_fd)
{
	struct udpsock *sock = u->sock;
	const bool is_reader = sock->users.first == &u->node;

	list_remove(&sock->users, &u->node);
	if (u->is_told)
		list_remove(&u->queue->readers, &u->reader_node);
	u->is_told = false;
	u->sock = NULL;
	if (sock->users.first == NULL) {
		drop_from_table(s, sock);
		return sock;
	}
	if (is_reader)
		*wake_fd = pass_reading(sock);
	return NULL;
}

void udpsocks_leave(struct udpsocks_user *u)
{
	struct udpsocks *s = u->queue->socks;
	struct udpsock *unused;
	int wake_fd = -1;

	pthread_mutex_lock(&s->lock);
	unused = remove_user(s, u, &wake_fd);
	pthread_mutex_unlock(&s->lock);
	free_sock(unused);
	/* Queues live longer than all threads (usernet.c). */
	if (wake_fd >= 0)
		eventfd_write(wake_fd, 1);
}

void udpsocks_retire(const struct udpsocks_user *u)
{
	struct udpsocks *s = u->queue->socks;

	pthread_mutex_lock(&s->lock);
	drop_from_table(s, u->sock);
	pthread_mutex_unlock(&s->lock);
}

/* ---- options ---- */

static bool is_v4(const struct udpsock *sock)
{
	return IN6_IS_ADDR_V4MAPPED(&sock->entry.key.local);
}

/* With the lock, so that `hops` is what the last of two threads has set. */
void udpsocks_set_hops(const struct udpsocks_user *u, int hops)
{
	struct udpsocks *s = u->queue->socks;
	struct udpsock *sock = u->sock;
	const sa_family_t family = is_v4(sock) ? AF_INET : AF_INET6;

	pthread_mutex_lock(&s->lock);
	sockopt_set_hops(sock->fd, family, hops);
	sock->hops = hops;
	if (!sock->has_errqueue && errqueue_enable(sock->fd, family) == 0)
		sock->has_errqueue = true;
	pthread_mutex_unlock(&s->lock);
}

uint32_t udpsocks_path_mtu(const struct udpsocks_user *u)
{
	const bool v4 = is_v4(u->sock);
	int mtu;
	socklen_t len = sizeof(mtu);

	if (getsockopt(u->sock->fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_MTU : IPV6_MTU, &mtu,
		       &len) < 0)
		return 0;
	return mtu > 0 ? (uint32_t)mtu : 0;
}

/* ---- queues ---- */

static struct udpsocks_user *take_reader(struct udpsocks_queue *q)
{
	struct udpsocks_user *u = NULL;

	pthread_mutex_lock(&q->socks->lock);
	if (q->readers.first != NULL) {
		u = LIST_OWNER(q->readers.first, struct udpsocks_user, reader_node);
		list_remove(&q->readers, &u->reader_node);
		u->is_told = false;
	}
	pthread_mutex_unlock(&q->socks->lock);
	return u;
}

static void on_wake(struct watch *w, short revents)
{
	struct udpsocks_queue *q = LOOP_OWNER(w, struct udpsocks_queue, wake);
	struct udpsocks_user *u;
	eventfd_t count;

	(void)revents;
	eventfd_read(w->fd, &count);
	while ((u = take_reader(q)) != NULL)
		q->on_reader(u);
}

int udpsocks_attach(struct udpsocks *s, struct udpsocks_queue *q, struct loop *loop)
{
	q->socks = s;
	q->readers = (struct list){ 0 };
	q->wake = (struct watch){ .events = POLLIN, .on_event = on_wake };
	q->wake.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return q->wake.fd < 0 ? -errno : loop_add(loop, &q->wake);
}

void udpsocks_detach(struct udpsocks_queue *q, struct loop *loop)
{
	loop_remove(loop, &q->wake);
	fd_close(&q->wake.fd);
}
