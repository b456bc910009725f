/* SPDX-License-Identifier: Apache-2.0 */
/* Accepting, dialling and copying. See tcp.h.
 *
 * A connection (struct conn) is made when a client was accepted. While the child is asked for the
 * other socket it has a `dialling`, which is freed when that is done: what stays is the pair of
 * pumps.
 *
 *     accept ──► DIALLING ── descriptor came ──► COPYING ── both ends shut ──► freed
 *                  │                               │
 *                  └─ none: the client is reset    └─ a reset, or the port is removed ──► freed
 *
 * Sharing. The kernel wakes one worker for a client, mostly the same one, and that accepts all who
 * wait by then. So each worker publishes how many clients it has, and one that has clearly more
 * than another hands the next that it accepts to that one, before it has done anything for it.
 * Later it stays where it is. Nobody counts what a client costs; that is known only afterwards.
 *
 * Descriptors. A connection needs two for its life and a third while it is dialled, and a
 * descriptor that comes when there is no room for it is lost. So they are counted (fdquota.h): what
 * is accepted can be brought to an end, and the others wait in the kernel's queue. Should the
 * system run out all the same, or out of memory, accepting pauses for a moment. A listener is never
 * closed for it.
 */
#include "ports/tcp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "bicopy.h"
#include "formats/ipaddr.h"
#include "os/sockopt.h"
#include "ports/dial.h"

#define COPY_BUFFER   (256 * 1024)   /* bytes of one read */
#define ACCEPT_BATCH  64	     /* clients accepted before others get their turn */
#define FDS_DIALLING  (1 + DIAL_FDS) /* the client's too */
#define FDS_COPYING   2
#define DRAIN_MS      5000 /* for connections to take what was sent before the end */
#define DRAIN_LOOK_MS 20   /* between two looks at them */
#define UNEVEN	      4	   /* clients more than another worker has: the next one is for that */
#define ROOM_CLIENTS  16   /* for so many, where the limit is what clients wait for, */
#define ROOM_PART     16   /* or this part of a small limit */
#define CACHE_LINE    64   /* bytes */
#define BUCKETS	      256  /* of the table of ports: a dozen in each when there are thousands */

struct conn;

struct port {
	struct watch watch; /* on the listening socket */
	struct tcp *tcp;
	struct listener *listener;
	struct list conns;
	size_t dialling; /* of them have no target yet */
	bool full;	 /* as many as it may have: its clients wait */
	bool heard;	 /* an event came: before, the main thread may still be adding the watch */
	struct port *next;
};

/* A connection on its way to a target. */
struct dialling {
	struct dial dial;
	struct conn *conn;
};

struct conn {
	struct bicopy copy;
	struct port *port;
	struct list_node node;	   /* among the port's */
	int client;		   /* while dialling; then the pair owns it */
	unsigned char place;	   /* listener_count_in's */
	struct dialling *dialling; /* NULL when copying */
};

struct tcp {
	struct loop *loop;
	struct bicopy_shared *shared;
	struct dialler *dialler;
	struct fdquota quota;
	struct port *ports[BUCKETS];	/* by their IDs */
	_Atomic(struct port *) arrived; /* from the main thread, and not among them yet */
	bool source_ip;			/* servers shall see the clients' addresses */
	bool stopping;
	struct timer drain;		   /* when stopping: looks whether connections have ended */
	unsigned long long drain_until_ms; /* none is waited for any longer */
	struct inbox *inbox;		   /* where others hand over clients */
	struct tcp *const *all;		   /* of the workers, this one too */
	size_t all_count;
	/* Clients that it has, those on their way to it too. Others read it, and add to it what
	 * they hand over: it has a cache line of its own. */
	_Alignas(CACHE_LINE) _Atomic unsigned int clients;
	_Atomic unsigned int dialling; /* of them */
};

/* ---- the table of ports ---- */

static struct port **bucket_of(struct tcp *t, int id)
{
	return &t->ports[(unsigned int)id % BUCKETS];
}

/* What the main thread has brought since. */
static void take_arrived(struct tcp *t)
{
	struct port *p = atomic_exchange(&t->arrived, NULL);

	while (p != NULL) {
		struct port *next = p->next;
		struct port **bucket = bucket_of(t, p->listener->id);

		p->next = *bucket;
		*bucket = p;
		p = next;
	}
}

/* The port after `p`, NULL for the first. */
static struct port *next_port(const struct tcp *t, const struct port *p)
{
	size_t i = p == NULL ? 0 : (unsigned int)p->listener->id % BUCKETS + 1;

	if (p != NULL && p->next != NULL)
		return p->next;
	while (i < BUCKETS && t->ports[i] == NULL)
		i++;
	return i < BUCKETS ? t->ports[i] : NULL;
}

/* The place in its list where the port of that ID is; *place is NULL if there is none. */
static struct port **find_port(struct tcp *t, int id)
{
	struct port **place = bucket_of(t, id);

	take_arrived(t);
	while (*place != NULL && (*place)->listener->id != id)
		place = &(*place)->next;
	return place;
}

/* ---- accepting, pausing ---- */

static int on_resume(struct fdquota *b)
{
	struct tcp *t = LOOP_OWNER(b, struct tcp, quota);
	int r = 0;

	take_arrived(t);
	for (struct port *p = next_port(t, NULL); p != NULL; p = next_port(t, p))
		if (p->heard && !p->full && loop_want(t->loop, &p->watch, POLLIN) < 0)
			r = -ENOMEM;
	return r;
}

static void on_pause(struct fdquota *b)
{
	struct tcp *t = LOOP_OWNER(b, struct tcp, quota);

	for (struct port *p = next_port(t, NULL); p != NULL; p = next_port(t, p))
		if (p->heard)
			loop_want(t->loop, &p->watch, 0);
	if (t->dialler->pool != NULL)
		sockpool_drop(t->dialler->pool);
}

/* A port whose target does not answer must leave descriptors for the others, with all workers
 * together. */
static size_t max_dialling(const struct tcp *t)
{
	size_t max = t->quota.max / (4 * FDS_DIALLING * t->all_count);

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

static void end_dial(struct port *p)
{
	struct tcp *t = p->tcp;
	char why[128];

	p->dialling--;
	add_dialling(t, -1);
	if (!p->full || t->stopping)
		return;
	p->full = false;
	if (!t->quota.paused && loop_want(t->loop, &p->watch, POLLIN) < 0)
		fdquota_pause(&t->quota, err_text(ENOMEM, why, sizeof(why)));
}

/* ---- the life of a connection ---- */

/* When it is stopping, its loop ends with the last connection. */
static void end_if_idle(struct tcp *t)
{
	if (!t->stopping)
		return;
	for (const struct port *p = next_port(t, NULL); p != NULL; p = next_port(t, p))
		if (p->conns.first != NULL)
			return;
	loop_stop(t->loop);
}

static void free_conn(struct conn *c, size_t fds)
{
	struct tcp *t = c->port->tcp;

	list_remove(&c->port->conns, &c->node);
	end_if_idle(t);
	listener_count_out(c->port->listener, c->place);
	free(c);
	add_clients(t, -1);
	fdquota_give(&t->quota, fds);
}

static void on_copy_end(struct bicopy *b)
{
	free_conn(LOOP_OWNER(b, struct conn, copy), FDS_COPYING);
}

/* Begins to copy to a target that was found. */
static void connected(struct conn *c, int target)
{
	struct tcp *t = c->port->tcp;
	char why[128];
	int r;

	r = bicopy_start(&c->copy, t->loop, t->shared, fd_take(&c->client), target, on_copy_end);
	if (r < 0) {
		log_debug("port %d: %s", c->port->listener->id, err_text(-r, why, sizeof(why)));
		free_conn(c, FDS_DIALLING);
		return;
	}
	fdquota_give(&t->quota, FDS_DIALLING - FDS_COPYING);
}

static void on_dialled(struct dial *d, int result)
{
	struct dialling *dialling = LOOP_OWNER(d, struct dialling, dial);
	struct conn *c = dialling->conn;

	if (result < 0 && result != -ECANCELED)
		listener_complain(c->port->listener, &d->to, -result, d->why.msg);
	free(dialling);
	c->dialling = NULL;
	end_dial(c->port);
	if (result >= 0) {
		connected(c, result);
		return;
	}
	/* There is no target: the client gets a reset, not a clean end. */
	sockopt_reset(&c->client);
	free_conn(c, FDS_DIALLING);
}

/* Asks for a socket that speaks from the client's address. One of the loopback network would mean
 * another host inside. */
static void ask_for_source(struct bpmsg *req, const struct sockaddr_storage *from)
{
	struct ipaddr ip;
	int port = ipaddr_from_sockaddr(&ip, from);

	if (ip.family == AF_UNSPEC || ipaddr_is_loopback(&ip))
		return;
	ipaddr_text(&ip, req->source_ip, sizeof(req->source_ip));
	req->source_port = port;
}

/* Resets an accepted client that nothing was done for. */
static void drop_client(struct tcp *t, int client)
{
	sockopt_reset(&client);
	add_clients(t, -1);
	add_dialling(t, -1);
	fdquota_give(&t->quota, FDS_DIALLING);
}

/* The port has as many clients without a target as it may have. */
static void stop_accepting(struct port *p)
{
	p->full = true;
	loop_want(p->tcp->loop, &p->watch, 0);
}

/* Takes an accepted client that is counted, and FDS_DIALLING descriptors of the quota. */
static int start_conn(struct port *p, int client, const struct sockaddr_storage *from)
{
	struct tcp *t = p->tcp;
	struct bpmsg req = p->listener->target;
	struct conn *c = calloc(1, sizeof(*c));
	struct dialling *dialling = c == NULL ? NULL : calloc(1, sizeof(*dialling));

	if (dialling == NULL) {
		free(c);
		drop_client(t, client);
		return -ENOMEM;
	}
	c->port = p;
	c->client = client;
	c->dialling = dialling;
	dialling->conn = c;
	list_prepend(&p->conns, &c->node);
	/* It is for others to hear of the next client. */
	if (++p->dialling >= max_dialling(t) && p->heard)
		stop_accepting(p);
	if (t->source_ip)
		ask_for_source(&req, from);
	dialling->dial.loop_suspected = listener_count_in(p->listener, from, &c->place);
	dial_start(&dialling->dial, t->dialler, p->listener->id, &req, on_dialled);
	return 0;
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

/* Who should have one more client: `t` itself, unless another has clearly fewer. */
static struct tcp *choose(struct tcp *t)
{
	unsigned int own = tcp_clients(t);
	struct tcp *least = t;

	if (own < UNEVEN)
		return t;
	for (size_t i = 0; i < t->all_count; i++)
		if (tcp_clients(t->all[i]) < tcp_clients(least) && may_dial(t->all[i]))
			least = t->all[i];
	return tcp_clients(least) + UNEVEN <= own ? least : t;
}

/* Hands over an accepted client with its descriptors. Fails if the other one is far behind. */
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
		fdquota_transfer_out(&p->tcp->quota, FDS_DIALLING);
	}
	return r;
}

/* Takes an accepted client, and FDS_DIALLING descriptors of the quota. */
static int take_client(struct port *p, int client, const struct sockaddr_storage *from,
		       socklen_t from_len)
{
	struct tcp *t = p->tcp;
	/* One that does not know the port would have to drop it. */
	struct tcp *to = atomic_load(&p->listener->on_all_workers) ? choose(t) : t;

	if (to != t && hand_over(p, to, client, from, from_len) == 0)
		return 0;
	add_clients(t, 1);
	add_dialling(t, 1);
	return start_conn(p, client, from);
}

/* The port may have been removed meanwhile, and all may be about to end. */
void tcp_take_client(struct tcp *t, const struct inbox_message *m)
{
	struct sockaddr_storage from = { .ss_family = AF_UNSPEC };
	struct port *p = t->stopping ? NULL : *find_port(t, m->port_id);

	fdquota_transfer_in(&t->quota, FDS_DIALLING);
	if (p == NULL) {
		drop_client(t, m->client);
		return;
	}
	memcpy(&from, &m->from, m->from_len);
	start_conn(p, m->client, &from);
}

/* ---- accepting ---- */

static void accept_clients(struct port *p)
{
	struct tcp *t = p->tcp;
	char why[128];

	for (int i = 0; i < ACCEPT_BATCH && !t->quota.paused; i++) {
		struct sockaddr_storage from = { .ss_family = AF_UNSPEC };
		socklen_t len = sizeof(from);
		int r;

		if (p->dialling >= max_dialling(t)) {
			stop_accepting(p);
			return;
		}
		if (!fdquota_take(&t->quota, FDS_DIALLING)) {
			fdquota_pause(&t->quota, "too many connections are open");
			return;
		}
		r = fd_accept(p->watch.fd, (struct sockaddr *)&from, &len);
		if (r < 0)
			fdquota_give(&t->quota, FDS_DIALLING);
		else
			r = take_client(p, r, &from, len);
		if (r == -EAGAIN)
			return;
		if (r < 0 && r != -ECONNABORTED) {
			fdquota_pause(&t->quota, err_text(-r, why, sizeof(why)));
			return;
		}
	}
}

/* ---- ports ---- */

static void on_clients(struct watch *watch, short revents)
{
	struct port *p = LOOP_OWNER(watch, struct port, watch);

	(void)revents;
	p->heard = true;
	/* One that arrived during a pause does not know of it. */
	if (p->tcp->quota.paused)
		loop_want(p->tcp->loop, watch, 0);
	else
		accept_clients(p);
}

int tcp_add_port(struct tcp *t, struct listener *listener)
{
	struct port *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return -ENOMEM;
	p->tcp = t;
	p->listener = listener;
	p->watch = (struct watch){ .fd = listener->listen_fd,
				   .events = POLLIN,
				   .exclusive = t->all_count > 1,
				   .on_event = on_clients };
	p->next = atomic_load(&t->arrived);
	while (!atomic_compare_exchange_weak(&t->arrived, &p->next, p))
		;
	/* From now on it is the loop's thread's. */
	return loop_add_from_thread(t->loop, &p->watch);
}

/* Ends the connections of a port: those that have no target yet, and the others by `end_pair`. */
static void end_conns(struct port *p, void (*end_pair)(struct bicopy *b))
{
	struct list_node *next;

	for (struct list_node *node = p->conns.first; node != NULL; node = next) {
		struct conn *c = LIST_OWNER(node, struct conn, node);

		next = node->next;
		if (c->dialling != NULL)
			dial_cancel(&c->dialling->dial);
		else
			end_pair(&c->copy);
	}
}

/* The port is freed when the last of its connections has been reaped. */
bool tcp_remove_port(struct tcp *t, int id)
{
	struct port **place = find_port(t, id);
	struct port *p = *place;

	if (p == NULL)
		return false;
	*place = p->next;
	loop_remove(t->loop, &p->watch);
	end_conns(p, bicopy_cancel);
	/* Nothing but the reaping tasks is left to run for them: a few rounds that wait for
	 * nothing. */
	while (p->conns.first != NULL)
		loop_run_tasks(t->loop);
	free(p);
	return true;
}

/* What flows is let flow. */
static void drain_pair(struct bicopy *b)
{
	if (!bicopy_is_flowing(b))
		bicopy_drain(b);
}

static void drain_conns(struct tcp *t)
{
	bool in_time = clock_now_ms() < t->drain_until_ms &&
		       loop_timer(t->loop, &t->drain, DRAIN_LOOK_MS) == 0;

	for (struct port *p = next_port(t, NULL); p != NULL; p = next_port(t, p))
		end_conns(p, in_time ? drain_pair : bicopy_cancel);
}

static void on_drain(struct timer *timer)
{
	drain_conns(LOOP_OWNER(timer, struct tcp, drain));
}

/* The servers inside have most likely ended, but what they sent last may still be on its way. */
void tcp_end(struct tcp *t)
{
	t->stopping = true;
	fdquota_stop(&t->quota);
	take_arrived(t);
	for (struct port *p = next_port(t, NULL); p != NULL; p = next_port(t, p))
		loop_remove(t->loop, &p->watch);
	t->drain.on_due = on_drain;
	t->drain_until_ms = clock_now_ms() + DRAIN_MS;
	drain_conns(t);
	end_if_idle(t);
}

/* ---- all ---- */

/* At the limit, each connection that ends would end a pause, and the next client begin another: as
 * many epoll_ctl(2) for each as there are ports. So some room is waited for, or the moment. */
static size_t enough_to_go_on(size_t max_fds)
{
	size_t part = max_fds / ROOM_PART;
	size_t most = ROOM_CLIENTS * FDS_DIALLING;

	if (part < FDS_DIALLING)
		return FDS_DIALLING;
	return part < most ? part : most;
}

struct tcp *tcp_new(const struct tcp_setup *setup)
{
	struct tcp *t = aligned_alloc(CACHE_LINE, sizeof(*t));

	if (t == NULL)
		return NULL;
	memset(t, 0, sizeof(*t));
	t->loop = setup->loop;
	t->dialler = setup->dialler;
	t->inbox = setup->inbox;
	t->source_ip = setup->source_ip;
	t->all = setup->all;
	t->all_count = setup->count;
	t->quota = (struct fdquota){ .loop = t->loop,
				     .total = setup->fds,
				     .max = setup->fds->max,
				     .enough = enough_to_go_on(setup->fds->max),
				     .on_pause = on_pause,
				     .on_resume = on_resume };
	fdquota_init(&t->quota);
	t->shared = bicopy_shared_new(COPY_BUFFER, true);
	if (t->shared != NULL)
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
	if (t == NULL)
		return;
	take_arrived(t);
	for (size_t i = 0; i < BUCKETS; i++) {
		while (t->ports[i] != NULL) {
			struct port *p = t->ports[i];

			t->ports[i] = p->next;
			free(p);
		}
	}
	bicopy_shared_free(t->shared);
	free(t);
}
