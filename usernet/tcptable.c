/* SPDX-License-Identifier: Apache-2.0 */
/* The TCP flows of a queue. See tcptable.h.
 *
 * A flow that has had an event is flushed once, after the whole burst of frames in which the event
 * was. Ended flows leave the index at once, but their memory stays until the loop's round is over.
 */
#include "usernet/tcptable.h"

#include <errno.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "usernet/policy.h"
#include "usernet/tcpflow.h"
#include "usernet/tcpindex.h"

/* Bytes that all flows of a queue may keep since sockets have taken less than they promised. */
#define KEPT_MAX (16U << 20)

/* How long a name server may take to accept a connection before the next one is tried. Programs
 * wait 5 s for an answer (resolv.conf(5)). */
#define DNS_CONNECT_MS 2000

struct tcpwire {
	struct link *link; /* borrowed */
	size_t kept;
};

struct entry {
	struct tcpindex_entry index; /* with the flow */
	struct tcptable *table;
	struct entry *dirty; /* next in the list of those to flush */
	bool is_dirty, has_ended;
	bool has_fd;	     /* a descriptor of the quota */
	unsigned char tried; /* name servers that did not accept */
	struct watch watch;
	struct timer timer;
	struct task reap;
};

struct tcptable {
	struct tcptable_setup setup;
	struct tcpwire wire;
	struct tcpindex index;
	struct entry *dirty;
};

/* A limit of the specification: 0.5 kB for each idle connection, with its place in the index, in
 * the loop's timers, and what malloc(3) needs. */
_Static_assert(sizeof(struct entry) <= 456, "a flow needs little memory");

static struct tcpflow *flow_of(struct entry *e)
{
	return &e->index.flow;
}

static struct entry *entry_of(struct tcpindex_entry *x)
{
	return x == NULL ? NULL : LOOP_OWNER(x, struct entry, index);
}

/* ---- the wire ---- */

uint8_t *tcpwire_buffer(struct tcpwire *wire)
{
	return tap_payload(wire->link->tap);
}

static void send_segment(struct link *link, const uint8_t *mac, const struct tcpflow_id *id,
			 struct tcpseg *seg, uint32_t mss)
{
	uint8_t head[TCPSEG_HEAD_MAX];
	struct link_packet p = { .mac = mac,
				 .addrs = { id->addrs.dst, id->addrs.src },
				 .proto = IPPROTO_TCP,
				 .head = head,
				 .payload = tap_payload(link->tap),
				 .payload_len = seg->len,
				 .sum_at = TCPSEG_SUM_OFFSET };

	seg->src_port = id->dst_port;
	seg->dst_port = id->src_port;
	p.head_len = tcpseg_put(head, seg, &p.addrs);
	if (seg->len > mss) {
		p.gso_type = packet_is_v4(&p.addrs) ? VIRTIO_NET_HDR_GSO_TCPV4
						    : VIRTIO_NET_HDR_GSO_TCPV6;
		p.gso_size = (uint16_t)mss;
	}
	link_send(link, &p);
}

void tcpwire_send(struct tcpwire *wire, const struct tcpflow *f, struct tcpseg *seg)
{
	send_segment(wire->link, f->mac, &f->id, seg, f->out.mss);
}

bool tcpwire_take_memory(struct tcpwire *wire, size_t len)
{
	if (len > KEPT_MAX - wire->kept)
		return false;
	wire->kept += len;
	return true;
}

void tcpwire_give_memory(struct tcpwire *wire, size_t len)
{
	wire->kept -= len;
}

/* ---- refusing ---- */

/* Answers a segment without a flow (RFC 9293 3.10.7.1). */
static void refuse(const struct tcptable *t, const uint8_t *mac, const struct tcpflow_id *id,
		   const struct tcpseg *seg)
{
	struct tcpseg rst = { .flags = TH_RST, .scale = TCPSEG_NO_SCALE };

	if (seg->flags & TH_RST)
		return;
	if (seg->flags & TH_ACK) {
		rst.seq = seg->ack;
	} else {
		rst.flags |= TH_ACK;
		rst.ack = seg->seq + tcpseg_span(seg);
	}
	send_segment(t->setup.link, mac, id, &rst, UINT16_MAX);
}

/* Is this about our own resources, and may be better when the inside sends its SYN again? */
static bool is_shortage(int errnum)
{
	return errnum == EMFILE || errnum == ENFILE || errnum == ENOMEM || errnum == ENOBUFS ||
	       errnum == ENOSPC || errnum == EAGAIN;
}

/* Tells the inside that its SYN has led nowhere: a refusal by RST, another error by ICMP, which
 * ends a connect(2) at once as well. */
static void tell_failure(const struct entry *e, int errnum)
{
	const struct tcptable_setup *s = &e->table->setup;
	const struct tcpflow *f = &e->index.flow;
	const struct tcpseg syn = { .seq = f->in.irs, .flags = TH_SYN };
	struct icmperr_about about;
	enum icmperr what;

	if (is_shortage(errnum))
		return;
	if (errnum == ECONNREFUSED || !icmperr_from_errno(&what, errnum)) {
		refuse(e->table, f->mac, &f->id, &syn);
		return;
	}
	icmperr_about_ports(&about, f->mac, &f->id.addrs, IPPROTO_TCP, f->id.src_port,
			    f->id.dst_port, f->in.irs);
	icmperr_send(s->errors, &about, what, 0);
}

/* ---- ending ---- */

static void free_entry(struct task *task)
{
	free(LOOP_OWNER(task, struct entry, reap));
}

/* The flow has closed its socket. */
static void give_fd(struct entry *e)
{
	loop_remove(e->table->setup.loop, &e->watch);
	if (e->has_fd)
		fdquota_give(e->table->setup.quota, 1);
	e->has_fd = false;
}

/* The entry may still be in the list of those to flush, which is emptied before tasks run. */
static void end(struct entry *e)
{
	struct loop *loop = e->table->setup.loop;

	e->has_ended = true;
	tcpindex_remove(&e->table->index, &e->index);
	loop_remove(loop, &e->watch);
	loop_cancel(loop, &e->timer);
	tcpflow_reset(flow_of(e));
	give_fd(e);
	e->reap.run = free_entry;
	loop_defer(loop, &e->reap);
}

/* Ends a flow to make room. A connect that has not succeeded yet just disappears: the inside sends
 * its SYN again, and may have more luck then. */
static void push_out(struct entry *e)
{
	if (flow_of(e)->state != TCPFLOW_CONNECTING && flow_of(e)->state != TCPFLOW_TIME_WAIT)
		tcpflow_abort(flow_of(e));
	end(e);
}

/* ---- flushing ---- */

static void mark(struct entry *e)
{
	if (e->is_dirty)
		return;
	e->is_dirty = true;
	e->dirty = e->table->dirty;
	e->table->dirty = e;
}

/* The timer is only moved when it is due too late; if it is due too early, on_timer sees that. */
static void arm(struct entry *e, unsigned long long now_ms)
{
	unsigned long long due_ms = flow_of(e)->due_ms;

	if (due_ms == 0 || (timer_is_set(&e->timer) && e->timer.due_ms <= due_ms))
		return;
	loop_timer(e->table->setup.loop, &e->timer,
		   due_ms > now_ms ? (unsigned int)(due_ms - now_ms) : 0);
}

/* A flow has become another kind of flow. An established one also leaves a descriptor for the next
 * SYN, if a flow is idle. */
static void make_room(struct entry *e, unsigned long long now_ms)
{
	struct tcptable *t = e->table;
	struct entry *victim = entry_of(tcpindex_after_update(&t->index, &e->index, now_ms));

	if (victim == NULL && fdquota_room(t->setup.quota) == 0)
		victim = entry_of(tcpindex_idle(&t->index, now_ms));
	if (victim != NULL)
		push_out(victim);
}

static void flush(struct entry *e, unsigned long long now_ms)
{
	e->is_dirty = false;
	if (e->has_ended)
		return;
	tcpflow_flush(flow_of(e), now_ms);
	if (flow_of(e)->host.fd < 0)
		give_fd(e);
	if (flow_of(e)->state == TCPFLOW_DEAD) {
		end(e);
		return;
	}
	arm(e, now_ms);
	if (tcpindex_update(&e->table->index, &e->index, now_ms))
		make_room(e, now_ms);
}

void tcptable_flush(struct tcptable *t)
{
	unsigned long long now_ms = clock_now_ms();

	while (t->dirty != NULL) {
		struct entry *e = t->dirty;

		t->dirty = e->dirty;
		flush(e, now_ms);
	}
}

/* ---- connecting ---- */

static void on_host(struct watch *w, short revents);

static bool is_dns(const struct entry *e)
{
	const struct tcpflow_id *id = &e->index.flow.id;

	return policy_is_dns(e->table->setup.link->conf, &id->addrs.dst, id->dst_port);
}

/* Where the flow leads on the host, after `tried` addresses did not work. Returns the address'
 * length, 0 if nowhere. */
static socklen_t route(const struct entry *e, size_t tried, struct sockaddr_storage *to)
{
	const struct tcptable_setup *s = &e->table->setup;
	const struct tcpflow_id *id = &e->index.flow.id;
	struct in6_addr host;

	if (is_dns(e))
		return dns_server(s->dns, tried, to);
	if (tried > 0 || policy_decide(s->link->conf, &id->addrs, &host) != POLICY_HOST)
		return 0;
	return policy_sockaddr(to, &host, id->dst_port);
}

static int dial(struct entry *e, const struct sockaddr_storage *to, socklen_t len)
{
	struct hostsock *host = &flow_of(e)->host;
	int r = hostsock_connect(host, to, len);

	if (r < 0)
		return r;
	e->watch = (struct watch){
		.fd = host->fd, .events = POLLIN | POLLOUT, .edge = true, .on_event = on_host
	};
	r = loop_add(e->table->setup.loop, &e->watch);
	if (r < 0)
		hostsock_close(host, true);
	return r;
}

/* Begins to connect, to the first name server from `tried` on where that is possible. Returns 0 or
 * -errno: the last error, or `r` if there is no address. */
static int start(struct entry *e, int r)
{
	struct sockaddr_storage to;
	socklen_t len;

	for (; (len = route(e, e->tried, &to)) > 0; e->tried++) {
		r = dial(e, &to, len);
		if (r == 0 && is_dns(e))
			loop_timer(e->table->setup.loop, &e->timer, DNS_CONNECT_MS);
		if (r == 0)
			break;
	}
	return r;
}

/* The connect has failed. */
static void on_failure(struct entry *e, int errnum)
{
	loop_remove(e->table->setup.loop, &e->watch);
	hostsock_close(&flow_of(e)->host, true);
	e->tried++;
	errnum = -start(e, -errnum);
	if (errnum == 0)
		return;
	tell_failure(e, errnum);
	flow_of(e)->state = TCPFLOW_DEAD;
}

static void on_connected(struct entry *e, unsigned long long now_ms)
{
	int r = hostsock_connected(&flow_of(e)->host);

	if (r < 0)
		on_failure(e, -r);
	else
		tcpflow_on_connected(flow_of(e), now_ms);
}

static void on_host(struct watch *w, short revents)
{
	struct entry *e = LOOP_OWNER(w, struct entry, watch);
	unsigned long long now_ms = clock_now_ms();

	if (flow_of(e)->state == TCPFLOW_CONNECTING && (revents & (POLLOUT | POLLERR | POLLHUP)))
		on_connected(e, now_ms);
	if (flow_of(e)->state != TCPFLOW_CONNECTING && flow_of(e)->state != TCPFLOW_DEAD)
		tcpflow_on_host(flow_of(e), revents, now_ms);
	flush(e, now_ms);
}

/* A name server takes long. The last one may. */
static void on_slow_server(struct entry *e)
{
	struct sockaddr_storage to;

	if (route(e, e->tried + 1U, &to) > 0)
		on_failure(e, ETIMEDOUT);
}

static void on_timer(struct timer *timer)
{
	struct entry *e = LOOP_OWNER(timer, struct entry, timer);
	struct tcpflow *f = flow_of(e);
	unsigned long long now_ms = clock_now_ms();

	if (f->state == TCPFLOW_CONNECTING)
		on_slow_server(e);
	else if (f->due_ms != 0 && f->due_ms <= now_ms)
		tcpflow_on_timer(f, now_ms);
	flush(e, now_ms);
}

/* ---- opening ---- */

static bool opens(const struct tcpseg *seg)
{
	return (seg->flags & (TH_SYN | TH_ACK | TH_RST | TH_FIN)) == TH_SYN;
}

static void init_flow(struct entry *e, const struct tcpseg *syn, uint32_t iss)
{
	struct tcptable *t = e->table;
	const uint32_t heads = (packet_is_v4(&flow_of(e)->id.addrs) ? 20 : 40) + TCPSEG_HEAD_LEN;

	tcpflow_init(flow_of(e), &t->wire, syn, iss, t->setup.link->conf->mtu - heads);
}

/* Returns a flow that owns a descriptor of the quota, or NULL. */
static struct entry *new_entry(struct tcptable *t, const struct packet *p,
			       const struct tcpflow_id *id, const struct tcpseg *syn)
{
	struct entry *e = calloc(1, sizeof(*e));
	uint32_t iss;

	if (e == NULL || getrandom(&iss, sizeof(iss), 0) != sizeof(iss)) {
		free(e);
		return NULL;
	}
	e->table = t;
	e->has_fd = true;
	e->timer.on_due = on_timer;
	flow_of(e)->id = *id;
	flow_of(e)->host.fd = -1;
	memcpy(flow_of(e)->mac, p->src_mac, ETH_ALEN);
	init_flow(e, syn, iss);
	return e;
}

/* Makes room for a new flow, and takes a descriptor for it. Only flows that are not established
 * make room for a mere SYN. */
static bool take_room(struct tcptable *t)
{
	struct entry *victim = entry_of(tcpindex_before_add(&t->index));

	if (victim != NULL)
		push_out(victim);
	if (fdquota_take(t->setup.quota, 1))
		return true;
	victim = entry_of(tcpindex_oldest(&t->index, TCPINDEX_HALF_OPEN));
	if (victim != NULL)
		push_out(victim);
	return victim != NULL && fdquota_take(t->setup.quota, 1);
}

/* A SYN that finds no room is ignored: the inside sends it again. */
static void open_flow(struct tcptable *t, const struct packet *p, const struct tcpflow_id *id,
		      const struct tcpseg *syn)
{
	struct entry *e;
	int r;

	if (!take_room(t))
		return;
	e = new_entry(t, p, id, syn);
	if (e == NULL) {
		fdquota_give(t->setup.quota, 1);
		return;
	}
	tcpindex_add(&t->index, &e->index, clock_now_ms());
	r = start(e, -ECONNREFUSED);
	if (r == 0)
		return;
	tell_failure(e, -r);
	end(e);
}

/* ---- packets ---- */

/* A SYN for a connection that exists. In TIME_WAIT the inside may use its port again: nothing old
 * is under way on this link, except perhaps the SYN of the connection itself. While the host
 * connects, the inside may have given up and begun again. Returns true if that was all. */
static bool on_syn(struct entry *e, const struct packet *p, const struct tcpseg *seg)
{
	struct tcpflow *f = flow_of(e);
	const struct tcpflow_id id = f->id;

	if (seg->seq == f->in.irs)
		return false;
	if (f->state == TCPFLOW_CONNECTING)
		init_flow(e, seg, f->out.una);
	if (f->state != TCPFLOW_TIME_WAIT)
		return false;
	end(e);
	open_flow(e->table, p, &id, seg);
	return true;
}

static void on_segment(struct entry *e, const struct packet *p, const struct tcpseg *seg)
{
	unsigned long long now_ms = clock_now_ms();

	if (opens(seg) && on_syn(e, p, seg))
		return;
	memcpy(flow_of(e)->mac, p->src_mac, ETH_ALEN);
	tcpflow_on_segment(flow_of(e), seg, now_ms);
	/* The next packet may open a socket, which gets the number of one that was closed. */
	if (flow_of(e)->host.fd < 0)
		give_fd(e);
	tcpindex_use(&e->table->index, &e->index, now_ms);
	mark(e);
}

void tcptable_on_packet(struct tcptable *t, const struct packet *p)
{
	struct tcpflow_id id = { .addrs = p->addrs };
	struct tcpseg seg;
	struct entry *e;

	if (tcpseg_read(&seg, p->payload, p->payload_len) < 0)
		return;
	id.src_port = seg.src_port;
	id.dst_port = seg.dst_port;
	e = entry_of(tcpindex_find(&t->index, &id));
	if (e != NULL)
		on_segment(e, p, &seg);
	else if (opens(&seg))
		open_flow(t, p, &id, &seg);
	else
		refuse(t, p->src_mac, &id, &seg);
}

/* ---- the table ---- */

struct tcptable *tcptable_new(const struct tcptable_setup *setup)
{
	const size_t fds = fdquota_usage(setup->quota).max;
	struct tcptable *t = calloc(1, sizeof(*t));

	if (t == NULL || tcpindex_init(&t->index, setup->max < fds ? setup->max : fds) < 0) {
		free(t);
		return NULL;
	}
	t->setup = *setup;
	t->wire.link = setup->link;
	return t;
}

void tcptable_free(struct tcptable *t)
{
	if (t == NULL)
		return;
	for (int kind = 0; kind < TCPINDEX_KINDS; kind++) {
		struct tcpindex_entry *x;

		while ((x = tcpindex_oldest(&t->index, (enum tcpindex_kind)kind)) != NULL) {
			tcpflow_end(&x->flow);
			end(entry_of(x));
		}
	}
	tcpindex_reset(&t->index);
	free(t);
}

/* Calls `is` for each open flow until it returns true. */
static bool any_open(const struct tcptable *t,
		     bool (*is)(const struct tcpflow *f, unsigned long long now_ms))
{
	const struct list_node *node = t->index.kinds[TCPINDEX_OPEN].flows.first;
	unsigned long long now_ms = clock_now_ms();

	for (; node != NULL; node = node->next)
		if (is(&LIST_OWNER((struct list_node *)node, struct tcpindex_entry, node)->flow,
		       now_ms))
			return true;
	return false;
}

static bool is_draining(const struct tcpflow *f, unsigned long long now_ms)
{
	(void)now_ms;
	return tcpflow_is_draining(f);
}

bool tcptable_is_draining(const struct tcptable *t)
{
	return any_open(t, is_draining);
}

static bool is_lively(const struct tcpflow *f, unsigned long long now_ms)
{
	return !f->fin_received && f->broken == 0 && now_ms < f->active_ms + TCPTABLE_LIVELY_MS;
}

bool tcptable_is_lively(const struct tcptable *t)
{
	return any_open(t, is_lively);
}
