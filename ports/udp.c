/* SPDX-License-Identifier: Apache-2.0 */
/* UDP flows. See udp.h.
 *
 *     first datagram ──► WAITING ── fewer than DIALS_MAX dial ──► DIALLING ── socket came ──► OPEN
 *                           │                                        │ none             idle, │
 *                           └──────────── evicted ───────────────────┴──────► freed ◄─────────┘
 *
 * While a flow waits or is dialled it has an `opening`, which queues its datagrams in order, within
 * limits. An open flow is an entry of the port's flow table, a descriptor and a watch: 200 bytes.
 * Its socket keeps the default buffers until it is busy. One timer for each port checks the flow
 * that has been unused longest.
 *
 * A batch of received datagrams is sorted by flow, and the datagrams of a flow are sent by one call
 * (dgram.h). Buffers belong to the worker. They occupy only as much memory as the largest batch has
 * touched.
 *
 * Limits of a port:
 *
 *   - Dials: at most DIALS_MAX at a time, so that an unreachable target or a flood is a burden to
 *     its own port only.
 *   - Flows: one limit for new and one for established flows (flowtable.h).
 *   - Descriptors: at most a quarter of all workers' descriptors for a port, and half of them for
 *     all UDP ports, so that the rest stays for TCP. A few are guaranteed to each worker
 *     (RESERVED). If no descriptor is left, the port with the most new flows gives up its oldest.
 *   - Turns: a callback passes on TURN batches, or TURN_BYTES, before other watches get their turn.
 *     A busy socket is drained by a timer (coalesce.h).
 *
 * Sockets from the child are not trusted. A socket that the child has shut down, or whose error
 * queue it fills, would be reported as readable for ever; such a flow ends.
 */
#include "ports/udp.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "ports/coalesce.h"
#include "ports/dgram.h"
#include "ports/flowtable.h"

#define IDLE_MS	     90000 /* compat: 3.0.1; a flow unused for this long ends */
#define IDLE_BATCH   256   /* flows ended before other watches get their turn */
#define FLOWS_MAX    8192  /* of a port: half of them new, half established */
#define FLOWS_LEAST  4	   /* of a port, of each kind, however low the descriptor limit is */
#define RESERVED     32	   /* descriptors that are guaranteed to a worker's flows */
#define RESERVED_OF  8	   /* but for all workers together at most this fraction of all: 1/8 */
#define DIALS_MAX    32	   /* of a port at a time; the child answers one in less than 1 ms */
#define TURN	     4	   /* calls of dgrams_receive in a callback */
#define TURN_BYTES   (256 * 1024) /* and no further call after so many bytes */
#define LAST_TURN    32 /* calls for the last answers of a flow: more than its buffer holds */
#define BUSY	     (DGRAMS_MAX / 2)  /* so many answers at once: the flow needs a larger buffer */
#define QUEUE_FLOW   (256 * 1024)      /* bytes of datagrams that wait for a flow to open */
#define QUEUE_PORT   (4 * 1024 * 1024) /* for all flows of a port */
#define QUEUE_WORKER (16 * 1024 * 1024) /* for all ports of a worker */

struct packet {
	struct dgram dgram; /* linked by its `next` */
	char bytes[];
};

struct flow;

/* A flow that has no socket yet. */
struct opening {
	struct dial dial;
	struct udp_port *port;
	struct flow *flow;	    /* NULL: the flow ended while it was dialled */
	bool waits;		    /* it is in the port's `waiting` */
	struct list_node node;	    /* in the port's `waiting` */
	struct dgram *first, **end; /* queued packets, and the link to append to */
	size_t queued;		    /* bytes */
};

struct flow {
	struct flow_entry entry;
	struct coalesced coalesced; /* owns the socket inside; -1 while it opens */
	struct udp_port *port;
	struct opening *opening; /* NULL if the flow is open */
	uint16_t segment_max;	 /* of batches to the server (dgram.h) */
	uint16_t answer_max;	 /* of batches to the client */
	bool is_busy;		 /* its socket has enlarged buffers */
	unsigned char group;	 /* index in `groups`, if that group is of this flow */
	unsigned char place;	 /* of listener_count_in */
	bool is_counted;	 /* listener_count_in was called, and the flow not answered yet */
	struct task reap;
};

/* The datagrams of a batch that belong to one flow, in order. */
struct group {
	struct flow *flow;
	struct dgram *first, **end;
};

struct udp_port {
	struct coalesced coalesced; /* on the listening socket */
	struct udp *udp;
	struct listener *listener;
	sa_family_t family; /* of the listening socket */
	struct flowtable flows;
	struct timer idle;
	struct list waiting; /* openings whose dial has not begun */
	size_t dialling;     /* dials under way */
	size_t queued;	     /* bytes */
	size_t alive;	     /* flows and openings that are not freed yet */
	struct udp_port *next;
};

struct udp {
	struct loop *loop;
	const struct dialler *dialler;
	struct fdquota *quota;
	struct dgrams *batch; /* owned; allocated for the first port */
	struct coalesce coalesce;
	struct group groups[DGRAMS_MAX];
	int group_count;
	struct udp_port *ports;
	size_t fds;	/* taken from the quota */
	size_t fds_max; /* limit of `fds` */
	size_t fds_own; /* guaranteed while there are ports */
	size_t queued;	/* bytes */
};

/* ---- queued datagrams ---- */

/* The memory that a queued datagram takes, in bytes. */
static size_t cost_of(const struct dgram *d)
{
	return sizeof(struct packet) + d->len;
}

/* Queues a copy of a datagram; drops it if a queue is full. */
static void queue_dgram(struct opening *o, const struct dgram *d)
{
	struct udp_port *p = o->port;
	size_t cost = cost_of(d);
	struct packet *packet;

	if (o->queued + cost > QUEUE_FLOW || p->queued + cost > QUEUE_PORT ||
	    p->udp->queued + cost > QUEUE_WORKER)
		return;
	packet = malloc(cost);
	if (packet == NULL)
		return;
	packet->dgram = (struct dgram){ NULL, packet->bytes, d->len, d->segment };
	memcpy(packet->bytes, d->bytes, d->len);
	*o->end = &packet->dgram;
	o->end = &packet->dgram.next;
	o->queued += cost;
	p->queued += cost;
	p->udp->queued += cost;
}

static void drop_queued(struct opening *o)
{
	struct dgram *d;

	while ((d = o->first) != NULL) {
		size_t cost = cost_of(d);

		o->first = d->next;
		o->queued -= cost;
		o->port->queued -= cost;
		o->port->udp->queued -= cost;
		free(LOOP_OWNER(d, struct packet, dgram));
	}
	o->end = &o->first;
}

/* ---- the life of a flow ---- */

static struct flow *flow_of(struct flow_entry *e)
{
	return LOOP_OWNER(e, struct flow, entry);
}

static void release_fds(struct udp *u, size_t count)
{
	u->fds -= count;
	fdquota_give(u->quota, count);
}

static void free_opening(struct opening *o)
{
	drop_queued(o);
	o->port->alive--;
	free(o);
}

static void leave_queue(struct opening *o)
{
	list_remove(&o->port->waiting, &o->node);
	o->waits = false;
}

static void reap_flow(struct task *t)
{
	struct flow *f = LOOP_OWNER(t, struct flow, reap);

	f->port->alive--;
	free(f);
}

/* Counts a new flow for its client's address. Returns whether a loop is suspected (listener.h). */
static bool count_flow(struct flow *f)
{
	struct sockaddr_storage client = { .ss_family = AF_INET6 };

	((struct sockaddr_in6 *)&client)->sin6_addr = f->entry.key.client;
	f->is_counted = true;
	return listener_count_in(f->port->listener, &client, &f->place);
}

/* The flow was answered, or ends: it is not counted any more. */
static void uncount_flow(struct flow *f)
{
	if (f->is_counted)
		listener_count_out(f->port->listener, f->place);
	f->is_counted = false;
}

static void end_flow(struct flow *f)
{
	struct udp_port *p = f->port;
	struct opening *o = f->opening;

	uncount_flow(f);
	flowtable_remove(&p->flows, &f->entry);
	coalesce_remove(&p->udp->coalesce, &f->coalesced);
	fd_close(&f->coalesced.watch.fd);
	f->reap.run = reap_flow;
	loop_defer(p->udp->loop, &f->reap);
	if (o == NULL) {
		release_fds(p->udp, 1);
		return;
	}
	f->opening = NULL;
	o->flow = NULL;
	if (o->waits) {
		leave_queue(o);
		free_opening(o);
	} else {
		dial_cancel(&o->dial); /* on_dialled follows, and frees the opening */
	}
	release_fds(p->udp, DIAL_FDS);
}

static void on_idle(struct timer *t)
{
	struct udp_port *p = LOOP_OWNER(t, struct udp_port, idle);
	unsigned long long now = clock_now_ms();
	struct flow_entry *e;

	for (int i = 0; (e = flowtable_oldest(&p->flows)) != NULL; i++) {
		unsigned long long idle_ms = now - e->used_ms;

		if (idle_ms < IDLE_MS || i == IDLE_BATCH) {
			loop_timer(p->udp->loop, t,
				   idle_ms < IDLE_MS ? (unsigned int)(IDLE_MS - idle_ms) : 0);
			return;
		}
		end_flow(flow_of(e));
	}
}

/* ---- passing on ---- */

static void end_unusable(struct flow *f, int errnum)
{
	char why[128];

	log_debug("port %d: a UDP flow ends: %s", f->port->listener->id,
		  err_text(errnum, why, sizeof(why)));
	end_flow(f);
}

/* Sends a list of datagrams to the server. May end the flow. */
static void send_inside(struct flow *f, struct dgram *first)
{
	const struct dgram_dest dest = { .fd = f->coalesced.watch.fd,
					 .segment_max = &f->segment_max };
	int r = dgrams_send(f->port->udp->batch, &dest, first);

	if (r < 0 && !dgram_is_passing(-r))
		end_unusable(f, -r);
}

/* Receives a batch of answers and sends them to the client. Adds their bytes to *bytes. Returns as
 * dgrams_receive. */
static int pass_answers(struct flow *f, size_t *bytes)
{
	struct udp_port *p = f->port;
	const struct dgram_dest dest = { p->coalesced.watch.fd, p->family, &f->entry.key,
					 &f->answer_max };
	struct dgrams *batch = p->udp->batch;
	struct dgram *first = NULL;
	int n = dgrams_receive(batch, f->coalesced.watch.fd, false);

	for (int i = n - 1; i >= 0; i--) {
		struct dgram *d = dgrams_at(batch, i);

		d->next = first;
		first = d;
		*bytes += d->len;
	}
	/* Answers that cannot be sent are dropped. */
	dgrams_send(batch, &dest, first);
	if (!f->is_busy && (n >= BUSY || dgrams_may_be_more(batch))) {
		f->is_busy = true;
		dgram_more_room(f->coalesced.watch.fd);
	}
	return n;
}

/* Does a socket report an error or a shutdown that reading does not clear? Looks again, because the
 * error in `revents` may have been an ICMP error that a send has returned since. */
static bool is_broken(const struct flow *f, short revents)
{
	const short bad = POLLERR | POLLHUP | POLLRDHUP;

	return (revents & bad) != 0 && (fd_wait(f->coalesced.watch.fd, POLLRDHUP, 0) & bad) != 0;
}

/* Does an ICMP error mean that the server is not there? */
static bool is_of_target(int errnum)
{
	return errnum == ECONNREFUSED || errnum == EHOSTUNREACH || errnum == ENETUNREACH;
}

static void complain(const struct flow *f, int errnum)
{
	struct sockaddr_storage to = { .ss_family = AF_UNSPEC };
	socklen_t len = sizeof(to);
	char why[128];

	(void)getpeername(f->coalesced.watch.fd, (struct sockaddr *)&to, &len);
	listener_complain(f->port->listener, &to, errnum, err_text(errnum, why, sizeof(why)));
}

static void on_answers(struct watch *watch, short revents)
{
	struct flow *f = LOOP_OWNER(watch, struct flow, coalesced.watch);
	struct udp *u = f->port->udp;
	unsigned long long now = clock_now_ms();
	unsigned int count = 0;
	size_t bytes = 0;
	int n = 0;

	for (int i = 0; i < TURN && bytes < TURN_BYTES; i++) {
		n = pass_answers(f, &bytes);
		count += n > 0 ? (unsigned int)n : 0;
		if (n == -EAGAIN || (n >= 0 && !dgrams_may_be_more(u->batch)))
			break;
		if (is_of_target(-n))
			complain(f, -n);
		if (n < 0 && !dgram_is_passing(-n)) {
			end_unusable(f, -n);
			return;
		}
	}
	if (count == 0 && n == -EAGAIN && is_broken(f, revents)) {
		end_unusable(f, EPIPE);
		return;
	}
	if (count > 0) {
		flowtable_answered(&f->port->flows, &f->entry, now);
		uncount_flow(f);
	}
	coalesce_note(&u->coalesce, &f->coalesced, count, now);
}

/* ---- opening ---- */

static void open_flow(struct flow *f, int fd)
{
	struct udp_port *p = f->port;
	struct opening *o = f->opening;
	int r;

	f->opening = NULL;
	release_fds(p->udp, DIAL_FDS - 1);
	f->coalesced.watch =
		(struct watch){ .fd = fd, .events = POLLIN | POLLRDHUP, .on_event = on_answers };
	dgram_take_batches(fd);
	r = coalesce_add(&p->udp->coalesce, &f->coalesced);
	if (r < 0) {
		end_unusable(f, -r);
		return;
	}
	send_inside(f, o->first);
}

static void start_dials(struct udp_port *p);

static void on_dialled(struct dial *d, int result)
{
	struct opening *o = LOOP_OWNER(d, struct opening, dial);
	struct udp_port *p = o->port;
	struct flow *f = o->flow;

	p->dialling--;
	if (result < 0 && result != -ECANCELED)
		listener_complain(p->listener, &d->to, -result, d->why.msg);
	if (f != NULL && result >= 0)
		open_flow(f, result);
	else if (f != NULL)
		end_flow(f);
	free_opening(o);
	start_dials(p);
}

static void start_dials(struct udp_port *p)
{
	while (p->waiting.first != NULL && p->dialling < DIALS_MAX) {
		struct opening *o = LIST_OWNER(p->waiting.first, struct opening, node);

		leave_queue(o);
		p->dialling++;
		dial_start(&o->dial, p->udp->dialler, p->listener->id, &p->listener->target,
			   on_dialled);
	}
}

static void join_queue(struct opening *o)
{
	o->waits = true;
	list_append(&o->port->waiting, &o->node);
}

static bool take_fds(struct udp *u)
{
	if (u->fds + DIAL_FDS > u->fds_max || !fdquota_take(u->quota, DIAL_FDS))
		return false;
	u->fds += DIAL_FDS;
	return true;
}

/* Returns the oldest new flow of the port that has the most new flows; NULL if there is none. */
static struct flow_entry *oldest_of_busiest_port(const struct udp *u)
{
	struct flow_entry *oldest = NULL;
	size_t most = 0;

	for (const struct udp_port *p = u->ports; p != NULL; p = p->next) {
		if (p->flows.fresh.count > most) {
			most = p->flows.fresh.count;
			oldest = flowtable_oldest_new(&p->flows);
		}
	}
	return oldest;
}

/* Makes room for one more flow of a port, and takes descriptors for it. Returns false if that is
 * not possible. */
static bool make_room(struct udp_port *p)
{
	struct flow_entry *victim = flowtable_victim(&p->flows);

	if (victim != NULL)
		end_flow(flow_of(victim));
	/* Ending an open flow frees only one descriptor. */
	for (size_t i = 0; !take_fds(p->udp); i++) {
		victim = i < DIAL_FDS ? oldest_of_busiest_port(p->udp) : NULL;
		if (victim == NULL) {
			fdquota_complain(p->udp->quota, "cannot open new UDP flows",
					 "too many are in use", "their datagrams are dropped");
			return false;
		}
		end_flow(flow_of(victim));
	}
	return true;
}

/* Returns a new flow that is being opened, or NULL if there is no room for it. */
static struct flow *new_flow(struct udp_port *p, const struct flow_key *key, unsigned long long now)
{
	struct flow *f = calloc(1, sizeof(*f));
	struct opening *o = f == NULL ? NULL : calloc(1, sizeof(*o));

	if (o == NULL || !make_room(p)) {
		free(o);
		free(f);
		return NULL;
	}
	f->entry.key = *key;
	f->coalesced.watch.fd = -1;
	f->port = o->port = p;
	f->opening = o;
	f->segment_max = f->answer_max = DGRAM_ANY_SEGMENT;
	o->flow = f;
	o->end = &o->first;
	o->dial.loop_suspected = count_flow(f);
	p->alive += 2;
	flowtable_add(&p->flows, &f->entry, now);
	if (!timer_is_set(&p->idle))
		loop_timer(p->udp->loop, &p->idle, IDLE_MS);
	join_queue(o);
	start_dials(p);
	return f;
}

/* ---- the listening socket ---- */

/* Sends the sorted batch: the datagrams of each flow by one call. */
static void send_groups(struct udp *u)
{
	for (int i = 0; i < u->group_count; i++)
		send_inside(u->groups[i].flow, u->groups[i].first);
	u->group_count = 0;
}

/* Appends a datagram to the group of its flow. */
static void add_to_group(struct udp *u, struct flow *f, struct dgram *d, unsigned long long now)
{
	struct group *g = &u->groups[f->group];

	if (f->group >= u->group_count || g->flow != f) {
		f->group = (unsigned char)u->group_count++;
		g = &u->groups[f->group];
		*g = (struct group){ .flow = f, .end = &g->first };
		flowtable_heard(&f->port->flows, &f->entry, now);
	}
	d->next = NULL;
	*g->end = d;
	g->end = &d->next;
}

/* Adds a received datagram to its flow's group, or to its queue if the flow is not open yet. */
static void pass_on(struct udp_port *p, int index, unsigned long long now)
{
	struct dgram *d = dgrams_at(p->udp->batch, index);
	const struct flow_key *key = dgrams_key(p->udp->batch, index);
	struct flow_entry *e = flowtable_find(&p->flows, key);
	struct flow *f = e != NULL ? flow_of(e) : NULL;

	if (f == NULL) {
		/* Making room may end a flow that has a group, so send the groups first. */
		send_groups(p->udp);
		f = new_flow(p, key, now);
	}
	if (f == NULL)
		return;
	if (f->opening == NULL) {
		add_to_group(p->udp, f, d, now);
		return;
	}
	flowtable_heard(&p->flows, &f->entry, now);
	queue_dgram(f->opening, d);
}

static void on_datagrams(struct watch *watch, short revents)
{
	struct udp_port *p = LOOP_OWNER(watch, struct udp_port, coalesced.watch);
	unsigned long long now = clock_now_ms();
	unsigned int count = 0;
	size_t bytes = 0;

	(void)revents;
	for (int i = 0; i < TURN && bytes < TURN_BYTES; i++) {
		int n = dgrams_receive(p->udp->batch, watch->fd, true);

		for (int at = 0; at < n; at++) {
			bytes += dgrams_at(p->udp->batch, at)->len;
			pass_on(p, at, now);
		}
		send_groups(p->udp);
		count += n > 0 ? (unsigned int)n : 0;
		if (!dgrams_may_be_more(p->udp->batch))
			break;
	}
	coalesce_note(&p->udp->coalesce, &p->coalesced, count, now);
}

/* ---- ports ---- */

/* Ports of other workers draw on the same total, but a worker can evict only flows of its own. So
 * each worker has a guaranteed share while it has ports. */
static void reserve_fds(struct udp *u)
{
	fdquota_reserve(u->quota, u->ports == NULL ? 0 : u->fds_own);
}

/* Returns the limit of new flows, and of established flows, of a port. */
static size_t max_flows(const struct udp *u)
{
	size_t max = u->quota->max / 4 < FLOWS_MAX ? u->quota->max / 4 : FLOWS_MAX;

	return max / 2 > FLOWS_LEAST ? max / 2 : FLOWS_LEAST;
}

static int family_of(int fd, sa_family_t *family)
{
	int is;
	socklen_t len = sizeof(is);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &is, &len) < 0)
		return -errno;
	*family = (sa_family_t)is;
	return 0;
}

static int start_port(struct udp_port *p)
{
	struct udp *u = p->udp;
	int r = family_of(p->coalesced.watch.fd, &p->family);

	if (u->batch == NULL)
		u->batch = dgrams_new(p->coalesced.watch.fd);
	if (u->batch == NULL)
		return -ENOMEM;
	if (r == 0)
		r = flowtable_init(&p->flows, max_flows(u), max_flows(u));
	return r < 0 ? r : coalesce_add(&u->coalesce, &p->coalesced);
}

int udp_add_port(struct udp *u, struct listener *listener)
{
	struct udp_port *p = calloc(1, sizeof(*p));
	int r;

	if (p == NULL)
		return -ENOMEM;
	p->udp = u;
	p->listener = listener;
	p->idle.on_due = on_idle;
	p->coalesced.watch = (struct watch){ .fd = listener->listen_fd,
					     .events = POLLIN,
					     .on_event = on_datagrams };
	r = start_port(p);
	if (r < 0) {
		flowtable_reset(&p->flows);
		free(p);
		return r;
	}
	p->next = u->ports;
	u->ports = p;
	reserve_fds(u);
	return 0;
}

/* Frees a port, which is not in u->ports, with its flows. */
static void end_port(struct udp_port *p)
{
	struct loop *loop = p->udp->loop;
	struct flow_entry *e;

	coalesce_remove(&p->udp->coalesce, &p->coalesced);
	loop_cancel(loop, &p->idle);
	while ((e = flowtable_oldest(&p->flows)) != NULL)
		end_flow(flow_of(e));
	/* Only the tasks that free them are left, and they wait for nothing. */
	while (p->alive > 0)
		loop_run_tasks(loop);
	flowtable_reset(&p->flows);
	free(p);
}

bool udp_remove_port(struct udp *u, int id)
{
	struct udp_port **at = &u->ports;
	struct udp_port *p;

	while (*at != NULL && (*at)->listener->id != id)
		at = &(*at)->next;
	p = *at;
	if (p == NULL)
		return false;
	*at = p->next;
	end_port(p);
	reserve_fds(u);
	return true;
}

/* Passes on the answers that servers have sent so far, and ends the port's flows. */
static void pass_last_answers(struct udp *u, struct udp_port *p)
{
	struct flow_entry *e;

	while ((e = flowtable_oldest(&p->flows)) != NULL) {
		struct flow *f = flow_of(e);
		size_t bytes = 0;

		for (int i = 0; f->opening == NULL && i < LAST_TURN; i++) {
			int n = pass_answers(f, &bytes);

			/* An ICMP error is returned before datagrams that arrived earlier. */
			if (n < 0 && n != -EAGAIN && dgram_is_passing(-n))
				continue;
			if (n < 0 || !dgrams_may_be_more(u->batch))
				break;
		}
		end_flow(f);
	}
}

void udp_end(struct udp *u)
{
	struct udp_port *p;

	while ((p = u->ports) != NULL) {
		u->ports = p->next;
		coalesce_remove(&u->coalesce, &p->coalesced);
		pass_last_answers(u, p);
		end_port(p);
	}
	reserve_fds(u);
}

/* ---- all ---- */

struct udp *udp_new(struct loop *loop, const struct dialler *dialler, struct fdquota *quota,
		    size_t workers)
{
	struct udp *u = calloc(1, sizeof(*u));
	size_t part = quota->max / (RESERVED_OF * workers);

	if (u == NULL)
		return NULL;
	u->loop = loop;
	u->dialler = dialler;
	u->quota = quota;
	u->fds_max = quota->max / 2;
	u->fds_own = part < RESERVED ? part : RESERVED;
	coalesce_init(&u->coalesce, loop);
	return u;
}

void udp_free(struct udp *u)
{
	if (u == NULL)
		return;
	coalesce_reset(&u->coalesce);
	free(u->batch);
	free(u);
}
