/* SPDX-License-Identifier: Apache-2.0 */
/* Accepting clients, and sharing them among the workers. See tcp.h; tcpconn.h has the connections.
 *
 * Sharing the load. The kernel wakes one worker for a client, mostly the same one, and that worker
 * accepts all clients that are waiting. So each worker publishes how many clients it has. A worker
 * that has clearly more than another hands the next accepted client over to that one, before doing
 * any work for it. After that a client stays with its worker. All clients count the same, because
 * what a client costs is known only afterwards.
 *
 * Descriptors. A connection needs two descriptors for its life and a third while it is dialled. A
 * descriptor that arrives while the process is at its limit is lost. So descriptors are reserved
 * before a client is accepted (fdquota.h): an accepted client can always be served, and the others
 * stay in the kernel's listen queue. If the system still runs out of descriptors or memory,
 * accepting pauses for a moment. A listening socket is never closed for that.
 */
#include "ports/tcp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "bicopy.h"
#include "os/acceptor.h"
#include "os/sockopt.h"
#include "ports/porttable.h"
#include "ports/tcpconn.h"

#define COPY_BUFFER   (256 * 1024) /* bytes of one read */
#define DRAIN_MS      5000	   /* for connections to deliver what was sent before the end */
#define DRAIN_LOOK_MS 20	   /* between two looks at them */
#define IMBALANCE_MAX 4	 /* this many more clients than another worker: hand over the next */
#define ROOM_CLIENTS  16 /* a pause ends when there is room for this many clients, */
#define ROOM_PART     16 /* or, if that is less, for this part of all descriptors: 1/16 */
#define CACHE_LINE    64 /* bytes */

struct port {
	struct watch watch; /* on the listening socket */
	struct tcp *tcp;
	struct listener *listener;
	struct tcpconns conns;
	bool full;	/* conns.dialling is at its limit: not accepting */
	bool had_event; /* before the first event, the main thread may still be adding the watch */
	struct porttable_entry entry;
};

struct tcp {
	struct loop *loop;
	struct tcpconn_shared conn_shared;
	struct acceptor acceptor; /* for the sockets of all ports */
	struct fdquota quota;
	struct porttable ports; /* the main thread adds to it */
	bool stopping;
	struct timer drain;		   /* when stopping: the next look at the connections */
	unsigned long long drain_until_ms; /* when stopping: then cut the remaining connections */
	struct inbox *inbox;		   /* other workers send clients to it */
	struct tcp *const *all;		   /* of all workers, this one included */
	size_t all_count;
	/* Clients of this worker, including those that are being handed over to it. Other workers
	 * read it, and add to it when they hand over a client, so it has a cache line of its own.
	 */
	_Alignas(CACHE_LINE) _Atomic unsigned int clients;
	_Atomic unsigned int dialling; /* those without a target yet */
};

/* ---- the port table ---- */

static struct port *port_of(struct porttable_entry *e)
{
	return e != NULL ? LOOP_OWNER(e, struct port, entry) : NULL;
}

static struct port *first_port(struct tcp *t)
{
	return port_of(porttable_first(&t->ports));
}

static struct port *next_port(const struct port *p)
{
	return port_of(porttable_next(&p->tcp->ports, &p->entry));
}

/* ---- accepting, pausing ---- */

static int on_resume(struct acceptor *a)
{
	struct tcp *t = LOOP_OWNER(a, struct tcp, acceptor);
	int r = 0;

	fdquota_want_room(&t->quota, 0);
	for (struct port *p = first_port(t); p != NULL; p = next_port(p))
		if (p->had_event && !p->full && loop_want(t->loop, &p->watch, POLLIN) < 0)
			r = -ENOMEM;
	return r;
}

static void on_room(struct fdquota *q)
{
	acceptor_resume(&LOOP_OWNER(q, struct tcp, quota)->acceptor);
}

/* Returns how much room ends a pause, in descriptors. This is more than one client needs, unless
 * the limit is very low. With room for only one client, each connection that ends would end a
 * pause, and the next client would begin another. Each of these costs an epoll_ctl(2) call for
 * every port. */
static size_t room_to_resume(size_t max_fds)
{
	size_t part = max_fds / ROOM_PART;
	size_t most = ROOM_CLIENTS * TCPCONN_FDS_DIALLING;

	if (part < TCPCONN_FDS_DIALLING)
		return TCPCONN_FDS_DIALLING;
	return part < most ? part : most;
}

static void on_pause(struct acceptor *a)
{
	struct tcp *t = LOOP_OWNER(a, struct tcp, acceptor);

	fdquota_want_room(&t->quota, room_to_resume(t->quota.max));
	for (struct port *p = first_port(t); p != NULL; p = next_port(p))
		if (p->had_event)
			loop_want(t->loop, &p->watch, 0);
	if (t->conn_shared.dialler->pool != NULL)
		sockpool_drop(t->conn_shared.dialler->pool);
}

static void warn_of_shortage(const struct tcp *t, const char *why)
{
	static struct log_limit limit; /* of all workers */
	struct fdquota_usage usage = fdquota_usage(&t->quota);

	if (log_is_due(&limit))
		log_warn("cannot accept new connections: %s (%zu of %zu descriptors in use); they "
			 "stay queued",
			 why, usage.used, usage.max);
}

void tcp_pause(struct tcp *t, const char *why)
{
	warn_of_shortage(t, why);
	acceptor_pause(&t->acceptor);
}

/* Returns how many clients without a target a port may have in this worker. A port whose target
 * does not answer must leave descriptors to the others, even if all workers reach this limit. */
static size_t max_dialling(const struct tcp *t)
{
	size_t max = t->quota.max / (4 * TCPCONN_FDS_DIALLING * t->all_count);

	return max > 0 ? max : 1;
}

static void add_clients(struct tcp *t, int count)
{
	atomic_fetch_add_explicit(&t->clients, (unsigned int)count, memory_order_relaxed);
}

static void add_dialling(struct tcp *t, int count)
{
	atomic_fetch_add_explicit(&t->dialling, (unsigned int)count, memory_order_relaxed);
}

static void on_dial_end(struct tcpconns *conns)
{
	struct port *p = LOOP_OWNER(conns, struct port, conns);
	struct tcp *t = p->tcp;
	char why[128];

	add_dialling(t, -1);
	if (!p->full || t->stopping)
		return;
	p->full = false;
	if (!t->acceptor.paused && loop_want(t->loop, &p->watch, POLLIN) < 0)
		tcp_pause(t, err_text(ENOMEM, why, sizeof(why)));
}

/* When stopping, stops the loop if no connection is left. */
static void end_if_idle(struct tcp *t)
{
	if (!t->stopping)
		return;
	for (const struct port *p = first_port(t); p != NULL; p = next_port(p))
		if (p->conns.list.first != NULL)
			return;
	loop_stop(t->loop);
}

static void on_conn_end(struct tcpconns *conns)
{
	struct tcp *t = LOOP_OWNER(conns, struct port, conns)->tcp;

	end_if_idle(t);
	add_clients(t, -1);
}

/* Resets an accepted and counted client, before any work was done for it. `client` is taken. */
static void drop_client(struct tcp *t, int client)
{
	sockopt_reset(&client);
	add_clients(t, -1);
	add_dialling(t, -1);
	fdquota_give(&t->quota, TCPCONN_FDS_DIALLING);
}

/* Stops accepting on a port at its limit of clients without a target. */
static void stop_accepting(struct port *p)
{
	p->full = true;
	loop_want(p->tcp->loop, &p->watch, 0);
}

/* Serves an accepted client. `client` is taken, also on failure. The caller has counted the client,
 * and has taken TCPCONN_FDS_DIALLING descriptors from the quota. Returns 0 or -ENOMEM. */
static int start_conn(struct port *p, int client, const struct sockaddr_storage *from)
{
	struct tcp *t = p->tcp;
	int r = tcpconns_start(&p->conns, client, from);

	if (r < 0)
		drop_client(t, client);
	/* At the limit: stop polling, so that another worker accepts the next client. */
	else if (p->conns.dialling >= max_dialling(t) && p->had_event)
		stop_accepting(p);
	return r;
}

/* ---- sharing ---- */

unsigned int tcp_clients(const struct tcp *t)
{
	return atomic_load_explicit(&t->clients, memory_order_relaxed);
}

static bool may_dial(const struct tcp *t)
{
	return atomic_load_explicit(&t->dialling, memory_order_relaxed) < max_dialling(t);
}

/* Returns the worker that should get one more client: `t` itself, unless another has clearly fewer.
 */
static struct tcp *least_busy(struct tcp *t)
{
	unsigned int own = tcp_clients(t);
	struct tcp *least = t;

	if (own < IMBALANCE_MAX)
		return t;
	for (size_t i = 0; i < t->all_count; i++)
		if (tcp_clients(t->all[i]) < tcp_clients(least) && may_dial(t->all[i]))
			least = t->all[i];
	return tcp_clients(least) + IMBALANCE_MAX <= own ? least : t;
}

/* Hands over an accepted client, and the descriptors that were taken for it. Returns 0, or -errno
 * if the other worker's inbox is full; then nothing has changed. */
static int hand_over(struct port *p, struct tcp *to, int client,
		     const struct sockaddr_storage *from, socklen_t from_len)
{
	struct inbox_message m = { .client = client, .port_id = p->listener->id };
	int r;

	m.from_len = from_len < sizeof(m.from) ? from_len : (socklen_t)sizeof(m.from);
	memcpy(&m.from, from, m.from_len);
	add_clients(to, 1);
	add_dialling(to, 1);
	r = inbox_try_send(to->inbox, &m);
	if (r < 0) {
		add_clients(to, -1);
		add_dialling(to, -1);
	} else {
		fdquota_transfer_out(&p->tcp->quota, TCPCONN_FDS_DIALLING);
	}
	return r;
}

/* Serves an accepted client, or hands it over. `client` is taken. The caller has taken
 * TCPCONN_FDS_DIALLING descriptors from the quota. Returns 0 or -ENOMEM. */
static int take_client(struct port *p, int client, const struct sockaddr_storage *from,
		       socklen_t from_len)
{
	struct tcp *t = p->tcp;
	/* A worker that does not know the port yet would have to drop the client. */
	struct tcp *to = atomic_load(&p->listener->on_all_workers) ? least_busy(t) : t;

	if (to != t && hand_over(p, to, client, from, from_len) == 0)
		return 0;
	add_clients(t, 1);
	add_dialling(t, 1);
	return start_conn(p, client, from);
}

/* The port may have been removed meanwhile, or this worker may be ending. */
void tcp_take_client(struct tcp *t, const struct inbox_message *m)
{
	struct sockaddr_storage from = { .ss_family = AF_UNSPEC };
	struct port *p = t->stopping ? NULL : port_of(porttable_find(&t->ports, m->port_id));

	fdquota_transfer_in(&t->quota, TCPCONN_FDS_DIALLING);
	if (p == NULL) {
		drop_client(t, m->client);
		return;
	}
	memcpy(&from, &m->from, m->from_len);
	start_conn(p, m->client, &from);
}

/* ---- accepting ---- */

/* Reserves the descriptors of one client. */
static int reserve(struct acceptor *a, struct watch *socket)
{
	struct port *p = LOOP_OWNER(socket, struct port, watch);

	(void)a;
	if (p->conns.dialling >= max_dialling(p->tcp)) {
		stop_accepting(p);
		return -EAGAIN;
	}
	return fdquota_take(&p->tcp->quota, TCPCONN_FDS_DIALLING) ? 0 : -EDQUOT;
}

static void release(struct acceptor *a)
{
	fdquota_give(&LOOP_OWNER(a, struct tcp, acceptor)->quota, TCPCONN_FDS_DIALLING);
}

static int on_client(struct acceptor *a, struct watch *socket, int fd,
		     const struct sockaddr_storage *from, socklen_t from_len)
{
	(void)a;
	return take_client(LOOP_OWNER(socket, struct port, watch), fd, from, from_len);
}

static bool on_shortage(struct acceptor *a, int errnum)
{
	char why[128];

	warn_of_shortage(LOOP_OWNER(a, struct tcp, acceptor),
			 errnum == EDQUOT ? "too many connections are open"
					  : err_text(errnum, why, sizeof(why)));
	return false;
}

static const struct acceptor_calls acceptor_calls = {
	.reserve = reserve,
	.release = release,
	.on_client = on_client,
	.on_shortage = on_shortage,
	.on_pause = on_pause,
	.on_resume = on_resume,
};

/* ---- ports ---- */

static void on_clients(struct watch *watch, short revents)
{
	struct port *p = LOOP_OWNER(watch, struct port, watch);

	(void)revents;
	p->had_event = true;
	acceptor_accept(&p->tcp->acceptor, watch);
}

int tcp_add_port(struct tcp *t, struct listener *listener)
{
	struct port *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return -ENOMEM;
	p->tcp = t;
	p->listener = listener;
	p->conns = (struct tcpconns){ .shared = &t->conn_shared,
				      .listener = listener,
				      .on_dial_end = on_dial_end,
				      .on_conn_end = on_conn_end };
	p->watch = (struct watch){ .fd = listener->listen_fd,
				   .events = POLLIN,
				   .exclusive = t->all_count > 1,
				   .on_event = on_clients };
	p->entry.id = listener->id;
	porttable_add(&t->ports, &p->entry);
	/* From now on the port belongs to the loop's thread. */
	return loop_add_from_thread(t->loop, &p->watch);
}

/* Frees the port when its last connection has been freed. */
bool tcp_remove_port(struct tcp *t, int id)
{
	struct port *p = port_of(porttable_remove(&t->ports, id));

	if (p == NULL)
		return false;
	loop_remove(t->loop, &p->watch);
	tcpconns_cancel(&p->conns);
	/* Only the tasks that free the connections are left. They wait for nothing, so a few rounds
	 * are enough. */
	while (p->conns.list.first != NULL)
		loop_run_tasks(t->loop);
	free(p);
	return true;
}

static void drain_conns(struct tcp *t)
{
	bool in_time = clock_now_ms() < t->drain_until_ms &&
		       loop_timer(t->loop, &t->drain, DRAIN_LOOK_MS) == 0;

	for (struct port *p = first_port(t); p != NULL; p = next_port(p)) {
		if (in_time)
			tcpconns_drain(&p->conns);
		else
			tcpconns_cancel(&p->conns);
	}
}

static void on_drain(struct timer *timer)
{
	drain_conns(LOOP_OWNER(timer, struct tcp, drain));
}

/* The servers inside have most likely exited, but the last bytes that they sent may still be in the
 * kernel. */
void tcp_end(struct tcp *t)
{
	t->stopping = true;
	acceptor_stop(&t->acceptor);
	fdquota_want_room(&t->quota, 0);
	for (struct port *p = first_port(t); p != NULL; p = next_port(p))
		loop_remove(t->loop, &p->watch);
	t->drain.on_due = on_drain;
	t->drain_until_ms = clock_now_ms() + DRAIN_MS;
	drain_conns(t);
	end_if_idle(t);
}

/* ---- all ---- */

struct tcp *tcp_new(const struct tcp_setup *setup)
{
	struct tcp *t = aligned_alloc(CACHE_LINE, sizeof(*t));

	if (t == NULL)
		return NULL;
	memset(t, 0, sizeof(*t));
	t->loop = setup->loop;
	t->inbox = setup->inbox;
	t->all = setup->all;
	t->all_count = setup->count;
	t->acceptor.loop = t->loop;
	t->acceptor.calls = &acceptor_calls;
	t->quota =
		(struct fdquota){ .total = setup->fds, .max = setup->fds->max, .on_room = on_room };
	t->conn_shared = (struct tcpconn_shared){ .loop = t->loop,
						  .copy = bicopy_shared_new(COPY_BUFFER, true),
						  .dialler = setup->dialler,
						  .quota = &t->quota,
						  .source_ip = setup->source_ip };
	if (t->conn_shared.copy != NULL)
		return t;
	free(t);
	return NULL;
}

struct fdquota *tcp_quota(struct tcp *t)
{
	return &t->quota;
}

void tcp_free(struct tcp *t)
{
	struct port *p;

	if (t == NULL)
		return;
	while ((p = first_port(t)) != NULL) {
		porttable_remove(&t->ports, p->entry.id);
		free(p);
	}
	bicopy_shared_free(t->conn_shared.copy);
	free(t);
}
