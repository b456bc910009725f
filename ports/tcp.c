/* SPDX-License-Identifier: Apache-2.0 */
/* Accepting, dialling and copying. See tcp.h.
 *
 * Each accepted client has a connection (struct conn). Until the target is connected it also has a
 * `dialling`, which is freed then; what remains is the pair of pumps (bicopy.h).
 *
 *     accept ──► DIALLING ── descriptor came ──► COPYING ── both ends shut ──► freed
 *                  │                               │
 *                  └─ none: the client is reset    └─ a reset, or the port is removed ──► freed
 *
 * Sharing the load. The kernel wakes one worker for a client, mostly the same one, and that worker
 * accepts all clients that are waiting. So each worker publishes how many clients it has. A worker
 * that has clearly more than another hands the next accepted client over to that one, before doing
 * any work for it. After that a client stays with its worker. Clients count the same, since their
 * cost is known only afterwards.
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
#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "bicopy.h"
#include "formats/ipaddr.h"
#include "os/sockopt.h"
#include "ports/dial.h"

#define COPY_BUFFER   (256 * 1024)   /* bytes of one read */
#define ACCEPT_BATCH  64	     /* clients accepted before other watches get their turn */
#define FDS_DIALLING  (1 + DIAL_FDS) /* the client's included */
#define FDS_COPYING   2
#define DRAIN_MS      5000 /* for connections to deliver what was sent before the end */
#define DRAIN_LOOK_MS 20   /* between two looks at them */
#define UNEVEN	      4	  /* so many clients more than another worker has: hand over the next one */
#define ROOM_CLIENTS  16  /* a pause ends when there is room for so many clients */
#define ROOM_PART     16  /* but this fraction of a small limit is enough: 1/16 */
#define CACHE_LINE    64  /* bytes */
#define BUCKETS	      256 /* of the port table: a dozen ports in each if there are thousands */

struct conn;

struct port {
	struct watch watch; /* on the listening socket */
	struct tcp *tcp;
	struct listener *listener;
	struct list conns;
	size_t dialling; /* connections without a target yet */
	bool full;	 /* `dialling` is at its limit: not accepting */
	bool heard; /* an event came; until then the main thread may still be adding the watch */
	struct port *next;
};

/* A connection that has no target yet. */
struct dialling {
	struct dial dial;
	struct conn *conn;
};

struct conn {
	struct bicopy copy;
	struct port *port;
	struct list_node node;	   /* in the port's `conns` */
	int client;		   /* owned while dialling; then the pair owns it */
	unsigned char place;	   /* of listener_count_in */
	struct dialling *dialling; /* NULL when copying */
};

struct tcp {
	struct loop *loop;
	struct bicopy_shared *shared;
	struct dialler *dialler;
	struct fdquota quota;
	struct port *ports[BUCKETS];	/* hashed by ID */
	_Atomic(struct port *) arrived; /* added by the main thread, not in `ports` yet */
	bool source_ip;			/* connect from the clients' addresses */
	bool stopping;
	struct timer drain;		   /* when stopping: the next look at the connections */
	unsigned long long drain_until_ms; /* when stopping: then cut the remaining connections */
	struct inbox *inbox;		   /* other workers hand over clients through it */
	struct tcp *const *all;		   /* of all workers, this one included */
	size_t all_count;
	/* Clients of this worker, including those that are being handed over to it. Other workers
	 * read it, and add to it when they hand over a client, so it has a cache line of its own.
	 */
	_Alignas(CACHE_LINE) _Atomic unsigned int clients;
	_Atomic unsigned int dialling; /* those without a target yet */
};

/* ---- the port table ---- */

static struct port **bucket_of(struct tcp *t, int id)
{
	return &t->ports[(unsigned int)id % BUCKETS];
}

/* Moves the ports that the main thread has added to the port table. */
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

/* Returns the port after `p` (NULL: the first port), or NULL at the end. */
static struct port *next_port(const struct tcp *t, const struct port *p)
{
	size_t i = p == NULL ? 0 : (unsigned int)p->listener->id % BUCKETS + 1;

	if (p != NULL && p->next != NULL)
		return p->next;
	while (i < BUCKETS && t->ports[i] == NULL)
		i++;
	return i < BUCKETS ? t->ports[i] : NULL;
}

/* Returns the link that points to the port with that ID; *link is NULL if there is no such port. */
static struct port **find_port(struct tcp *t, int id)
{
	struct port **place = bucket_of(t, id);

	take_arrived(t);
	while (*place != NULL && (*place)->listener->id != id)
		place = &(*place)->next;
	return place;
}

/* ---- accepting, pausing ---- */

static int on_resume(struct fdquota *q)
{
	struct tcp *t = LOOP_OWNER(q, struct tcp, quota);
	int r = 0;

	take_arrived(t);
	for (struct port *p = next_port(t, NULL); p != NULL; p = next_port(t, p))
		if (p->heard && !p->full && loop_want(t->loop, &p->watch, POLLIN) < 0)
			r = -ENOMEM;
	return r;
}

static void on_pause(struct fdquota *q)
{
	struct tcp *t = LOOP_OWNER(q, struct tcp, quota);

	for (struct port *p = next_port(t, NULL); p != NULL; p = next_port(t, p))
		if (p->heard)
			loop_want(t->loop, &p->watch, 0);
	if (t->dialler->pool != NULL)
		sockpool_drop(t->dialler->pool);
}

/* Returns how many clients without a target a port may have in this worker. A port whose target
 * does not answer must leave descriptors to the others, even if all workers reach this limit. */
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

/* When stopping, the loop ends with the last connection. */
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

/* Starts to copy between the client and its target. `target` is taken. */
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
	/* Without a target the client gets a reset, not a clean end of stream. */
	sockopt_reset(&c->client);
	free_conn(c, FDS_DIALLING);
}

/* Asks to connect from the client's address. A loopback address is left out: inside, it would name
 * another host. */
static void ask_for_source(struct bpmsg *req, const struct sockaddr_storage *from)
{
	struct ipaddr ip;
	int port = ipaddr_from_sockaddr(&ip, from);

	if (ip.family == AF_UNSPEC || ipaddr_is_loopback(&ip))
		return;
	ipaddr_text(&ip, req->source_ip, sizeof(req->source_ip));
	req->source_port = port;
}

/* Resets an accepted and counted client, before any work was done for it. `client` is taken. */
static void drop_client(struct tcp *t, int client)
{
	sockopt_reset(&client);
	add_clients(t, -1);
	add_dialling(t, -1);
	fdquota_give(&t->quota, FDS_DIALLING);
}

/* Stops accepting on a port at its limit of clients without a target. */
static void stop_accepting(struct port *p)
{
	p->full = true;
	loop_want(p->tcp->loop, &p->watch, 0);
}

/* Serves an accepted client. `client` is taken, also on failure; the client is already counted, and
 * FDS_DIALLING descriptors are taken from the quota. Returns 0 or -ENOMEM. */
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
	/* At the limit: stop polling, so that another worker accepts the next client. */
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

/* Returns the worker that should get one more client: `t` itself, unless another has clearly fewer.
 */
static struct tcp *least_busy(struct tcp *t)
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

/* Hands over an accepted client, and the descriptors that were taken for it. Returns 0, or -errno
 * if the other worker is far behind. */
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

/* Serves an accepted client, or hands it over. `client` is taken; FDS_DIALLING descriptors are
 * taken from the quota. Returns 0 or -ENOMEM. */
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
	/* A port that was added during a pause is polled until its first event. */
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
	/* From now on the port belongs to the loop's thread. */
	return loop_add_from_thread(t->loop, &p->watch);
}

/* Ends the connections of a port: cancels those without a target, and calls `end_pair` for the
 * others. */
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

/* The port is freed when its last connection has been reaped. */
bool tcp_remove_port(struct tcp *t, int id)
{
	struct port **place = find_port(t, id);
	struct port *p = *place;

	if (p == NULL)
		return false;
	*place = p->next;
	loop_remove(t->loop, &p->watch);
	end_conns(p, bicopy_cancel);
	/* Only the tasks that reap the connections are left. They wait for nothing, so a few rounds
	 * are enough. */
	while (p->conns.first != NULL)
		loop_run_tasks(t->loop);
	free(p);
	return true;
}

/* A pair that still receives data from its server goes on. */
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

/* The servers inside have most likely exited, but the last bytes that they sent may still be in the
 * kernel. */
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

/* How much room ends a pause, in descriptors. If the room for a single client ended it, then at the
 * limit each connection that ends would end a pause and the next client would begin another, at the
 * price of as many epoll_ctl(2) calls each as there are ports. */
static size_t room_to_resume(size_t max_fds)
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
				     .enough = room_to_resume(setup->fds->max),
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
