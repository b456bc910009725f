/* SPDX-License-Identifier: Apache-2.0 */
/* UDP flows from inside. See udpnat.h.
 *
 *     TAP ── udpnat_on_packet ──► flow ── udpin.h: at the end of the round ──► host's socket
 *     TAP ◄── udpout.h: as few frames as possible ── dgrams_receive ◄── host's socket
 *
 * A flow is an entry of the flow table and a connected socket, so the kernel rejects datagrams of
 * anybody but the peer, and reports ICMP errors about what was sent. A connected socket that is
 * idle has the default buffers, and costs 400 bytes here. Its buffers are enlarged when it is busy,
 * and above a rate of datagrams it is drained by a timer (ports/coalesce.h), which lets datagrams
 * gather to batches. The socket may be that of another queue's flow (udpsocks.h): then this flow
 * only sends, until the other one ends.
 *
 * Fragments and the path MTU. The sockets keep the system's default (ip(7), IP_MTU_DISCOVER,
 * IP_PMTUDISC_WANT): the host cuts what is longer than the path's MTU that it knows, because the
 * MTU inside may be much larger than the host's, and sets DF in all else. If a router then rejects
 * a datagram, the socket reports EMSGSIZE, the inside gets an ICMP error with the new MTU, and the
 * host knows it, too.
 *
 * Traceroute sends datagrams with a low time to live, and looks at the errors that come back. Only
 * for those the host's socket gets the time to live of the packet, less one for us, and an error
 * queue, which says what error came from whom (os/errqueue.h).
 *
 * The flows to port 53 are in a second list, because a resolver that opens a socket for each query
 * would fill the table in UDPNAT_IDLE_MS.
 */
#include "usernet/udpnat.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/list.h"
#include "base/log.h"
#include "formats/udpseg.h"
#include "os/errqueue.h"
#include "os/sockopt.h"
#include "ports/coalesce.h"
#include "ports/dgram.h"
#include "ports/flowtable.h"
#include "usernet/dns.h"
#include "usernet/policy.h"
#include "usernet/udpin.h"
#include "usernet/udpout.h"
#include "usernet/udpsocks.h"

#define BATCH_MAX   128 /* datagrams of one frame: the kernel's limit (UDP_MAX_SEGMENTS) */
#define BUSY	    (DGRAMS_MAX / 2) /* datagrams in one call: the flow needs larger buffers */
#define ERROR_BATCH 16		     /* errors of a flow at a time */
#define IDLE_BATCH  256		     /* flows ended before other watches get their turn */
#define PROBE_HOPS  32		     /* packets with more to live are no probes of a route */

struct flow {
	struct flow_entry entry; /* client: inside; local: what is written to */
	struct udpnat *nat;
	struct udpsocks_user user;   /* has the socket */
	struct coalesced coalesced;  /* its watch has the socket, too; watched only by the reader */
	struct udpin_dest to;	     /* the host */
	struct list_node brief_node; /* in the table's `brief` */
	uint8_t mac[ETH_ALEN];	     /* of the inside */
	bool is_brief, is_busy;
	struct task reap;
};

struct udpnat {
	struct udpnat_setup setup;
	struct udpsocks_queue queue;
	struct flowtable flows;
	struct list brief; /* flows to port 53, the last used first */
	struct coalesce coalesce;
	struct timer idle; /* when the first flow may end */
	struct udpout out;
	size_t alive; /* flows that are not freed yet; the next two exist while there are some */
	struct dgrams *buffers;
	struct udpin *in;
	struct flow *recent; /* of the last datagram from inside; NULL: it has ended */
};

static struct flow *flow_of(struct flow_entry *e)
{
	return LOOP_OWNER(e, struct flow, entry);
}

/* ---- buffers ---- */

static void free_buffers(struct udpnat *u)
{
	udpin_free(u->in);
	free(u->buffers);
	u->in = NULL;
	u->buffers = NULL;
}

static udpin_on_sent on_sent;

/* Allocates the buffers for the first flow, whose socket is `fd`. */
static bool ensure_buffers(struct udpnat *u, int fd)
{
	if (u->in != NULL)
		return true;
	u->buffers = dgrams_new(fd);
	if (u->buffers != NULL)
		u->in = udpin_new(u->setup.loop, u->buffers, on_sent);
	if (u->in == NULL)
		free_buffers(u);
	return u->in != NULL;
}

/* ---- the end of a flow ---- */

/* The task of udpin_add, if it was queued in this flow's last round, has run before. */
static void reap_flow(struct task *t)
{
	struct flow *f = LOOP_OWNER(t, struct flow, reap);
	struct udpnat *u = f->nat;

	free(f);
	if (--u->alive == 0)
		free_buffers(u);
}

static void end_flow(struct flow *f)
{
	struct udpnat *u = f->nat;

	flowtable_remove(&u->flows, &f->entry);
	if (f->is_brief)
		list_remove(&u->brief, &f->brief_node);
	if (u->recent == f)
		u->recent = NULL;
	udpin_forget(u->in, &f->to);
	coalesce_remove(&u->coalesce, &f->coalesced);
	udpsocks_leave(&f->user);
	fdquota_give(u->setup.quota, 1);
	f->reap.run = reap_flow;
	loop_defer(u->setup.loop, &f->reap);
}

static void end_unusable(struct flow *f, int errnum)
{
	char why[128];

	log_debug("network: a UDP flow to port %d ends: %s", ntohs(f->entry.key.local_port_be),
		  err_text(errnum, why, sizeof(why)));
	udpsocks_retire(&f->user);
	end_flow(f);
}

/* ---- idle flows ---- */

static unsigned long long due_ms_of(const struct flow *f)
{
	return f->entry.used_ms + (f->is_brief ? UDPNAT_DNS_IDLE_MS : UDPNAT_IDLE_MS);
}

/* Returns the flow that will be idle first; NULL if there is none. */
static struct flow *first_due(const struct udpnat *u)
{
	struct list_node *last = u->brief.last;
	struct flow_entry *oldest = flowtable_oldest(&u->flows);
	struct flow *a = last != NULL ? LIST_OWNER(last, struct flow, brief_node) : NULL;
	struct flow *b = oldest != NULL ? flow_of(oldest) : NULL;

	if (a == NULL || b == NULL)
		return a != NULL ? a : b;
	return due_ms_of(a) < due_ms_of(b) ? a : b;
}

static void on_idle(struct timer *t)
{
	struct udpnat *u = LOOP_OWNER(t, struct udpnat, idle);
	unsigned long long now = clock_now_ms();
	struct flow *f;

	for (int i = 0; (f = first_due(u)) != NULL; i++) {
		unsigned long long due = due_ms_of(f);

		if (due > now || i == IDLE_BATCH) {
			loop_timer(u->setup.loop, t, due > now ? (unsigned int)(due - now) : 0);
			return;
		}
		end_flow(f);
	}
}

/* Sets the timer for a new flow, unless it is due before. */
static void arm_idle(struct udpnat *u, const struct flow *f)
{
	const unsigned int ms = f->is_brief ? UDPNAT_DNS_IDLE_MS : UDPNAT_IDLE_MS;

	if (!timer_is_set(&u->idle) || u->idle.due_ms > due_ms_of(f))
		loop_timer(u->setup.loop, &u->idle, ms);
}

/* Puts a flow that was used at the head of its list. */
static void note_brief(struct flow *f)
{
	if (!f->is_brief)
		return;
	list_remove(&f->nat->brief, &f->brief_node);
	list_prepend(&f->nat->brief, &f->brief_node);
}

/* ---- errors ---- */

static void about_flow(struct icmperr_about *about, const struct flow *f)
{
	const struct flow_key *key = &f->entry.key;
	const struct packet_addrs addrs = { .src = key->client, .dst = key->local };

	icmperr_about_ports(about, f->mac, &addrs, IPPROTO_UDP, ntohs(key->port_be),
			    ntohs(key->local_port_be), 0);
}

static void send_error(const struct flow *f, const struct icmperr_about *about, int errnum)
{
	enum icmperr what;

	if (icmperr_from_errno(&what, errnum))
		icmperr_send(f->nat->setup.errors, about, what,
			     what == ICMPERR_TOO_BIG ? udpsocks_path_mtu(&f->user) : 0);
}

/* Passes on what is in the error queue. Returns false if there is nothing. */
static bool relay_errors(const struct flow *f)
{
	struct errqueue_entry e;
	struct icmperr_about about;
	int count = 0;

	about_flow(&about, f);
	for (; count < ERROR_BATCH && errqueue_take(f->to.fd, &e) == 1; count++) {
		const struct icmpmsg m = { .type = e.type, .code = e.code, .rest = e.mtu };

		icmperr_about_data(&about, e.bytes, e.len);
		if (e.is_icmp)
			icmperr_relay(f->nat->setup.errors, &about, &e.from, &m);
		else
			send_error(f, &about, e.errnum);
	}
	return count > 0;
}

/* Tells the inside what the socket has reported. */
static void report(const struct flow *f, int errnum)
{
	struct icmperr_about about;

	if (f->user.sock->has_errqueue && relay_errors(f))
		return;
	about_flow(&about, f);
	send_error(f, &about, errnum);
}

static void refuse(const struct udpnat *u, const struct packet *p, enum icmperr what)
{
	struct icmperr_about about;

	if (icmperr_about_packet(&about, p))
		icmperr_send(u->setup.errors, &about, what, 0);
}

static void note_busy(struct flow *f, int count)
{
	if (f->is_busy || count < BUSY)
		return;
	f->is_busy = true;
	dgram_enlarge_buffers(f->to.fd);
}

/* ---- from inside ---- */

static void on_sent(struct udpin_dest *dest, int count, int result, int error)
{
	struct flow *f = LOOP_OWNER(dest, struct flow, to);

	flowtable_note_request(&f->nat->flows, &f->entry, clock_now_ms());
	note_brief(f);
	note_busy(f, count);
	if (error != 0)
		report(f, error);
	if (result < 0 && !dgram_is_transient(-result))
		end_unusable(f, -result);
}

/* Gives the flow's socket the time to live of a packet. What came before it is sent first, which
 * may end the flow: then it returns false. */
static bool follow_hops(struct flow *f, uint8_t packet_hops)
{
	struct udpnat *u = f->nat;
	const int hops = packet_hops > PROBE_HOPS ? SOCKOPT_ANY_HOPS
			 : packet_hops > 1	  ? packet_hops - 1
						  : 1;

	if (f->user.sock->hops == hops)
		return true;
	udpin_flush(u->in);
	if (u->recent != f)
		return false;
	udpsocks_set_hops(&f->user, hops);
	return true;
}

/* ---- to the inside ---- */

/* Receives answers by one dgrams_receive and sends them to the inside. Returns as that. */
static int pass_answers(struct flow *f)
{
	struct udpnat *u = f->nat;
	const struct flow_key *key = &f->entry.key;
	const struct udpout_path path = { f->mac,
					  { .src = key->local, .dst = key->client },
					  ntohs(key->local_port_be),
					  ntohs(key->port_be) };
	struct dgram *first = NULL;
	int n = dgrams_receive(u->buffers, f->to.fd, false);

	for (int i = n - 1; i >= 0; i--) {
		struct dgram *d = dgrams_at(u->buffers, i);

		d->next = first;
		first = d;
	}
	udpout_send(&u->out, &path, first);
	note_busy(f, dgrams_may_be_more(u->buffers) ? BUSY : n);
	return n;
}

/* Receives once, even if more is waiting: a burst of more than DGRAMS_MAX would overflow the buffer
 * of the program inside, which has room for about 90 datagrams of 1400 bytes. Between two calls
 * that program can run. What cannot wait is lost in the host's socket, where it costs least. */
static void on_answers(struct watch *watch, short revents)
{
	struct flow *f = LOOP_OWNER(watch, struct flow, coalesced.watch);
	struct udpnat *u = f->nat;
	unsigned long long now = clock_now_ms();
	int n;

	(void)revents;
	if (f->user.sock->has_errqueue)
		relay_errors(f);
	n = pass_answers(f);
	if (n < 0 && !dgram_is_transient(-n)) {
		end_unusable(f, -n);
		return;
	}
	if (n < 0)
		report(f, -n);
	if (n > 0) {
		flowtable_note_answer(&u->flows, &f->entry, now);
		note_brief(f);
	}
	coalesce_note(&u->coalesce, &f->coalesced, n > 0 ? (unsigned int)n : 0, now);
}

/* ---- opening ---- */

/* Decides where a packet leads. Returns the address' length; 0 if nowhere, then the inside has been
 * told. */
static socklen_t route(const struct udpnat *u, const struct packet *p, uint16_t port,
		       struct sockaddr_storage *to)
{
	struct in6_addr host;

	switch (policy_decide(u->setup.link->conf, &p->addrs, &host)) {
	case POLICY_HOST:
		return policy_sockaddr(to, &host, port);
	case POLICY_DNS:
	case POLICY_SELF:
		refuse(u, p, ICMPERR_PORT_UNREACHABLE);
		break;
	case POLICY_REFUSED:
		refuse(u, p, ICMPERR_PROHIBITED);
		break;
	case POLICY_IGNORED:
		break;
	}
	return 0;
}

static void warn_of_shortage(const struct udpnat *u)
{
	static struct log_limit limit; /* of all queues */
	struct fdquota_usage usage = fdquota_usage(u->setup.quota);

	if (log_is_due(&limit))
		log_warn("network: cannot open new UDP flows: too many are in use (%zu of %zu "
			 "descriptors in use); their datagrams are dropped",
			 usage.used, usage.max);
}

/* Returns the flow that must give its descriptor to a new one: the new flow that has been unused
 * longest, or an established one that looks idle. */
static struct flow *least_wanted(const struct udpnat *u)
{
	struct flow_entry *e = flowtable_oldest_new(&u->flows);

	if (e != NULL)
		return flow_of(e);
	e = flowtable_oldest(&u->flows);
	return e != NULL && clock_now_ms() - e->used_ms >= FLOWTABLE_LONG_MS ? flow_of(e) : NULL;
}

/* Takes a descriptor from the quota. May end a flow for that. */
static bool take_fd(struct udpnat *u)
{
	struct flow *f;

	if (fdquota_take(u->setup.quota, 1))
		return true;
	f = least_wanted(u);
	if (f != NULL)
		end_flow(f);
	if (f != NULL && fdquota_take(u->setup.quota, 1))
		return true;
	warn_of_shortage(u);
	return false;
}

/* Watches the socket of a flow that is its reader. */
static int watch_answers(struct flow *f)
{
	f->coalesced.watch =
		(struct watch){ .fd = f->to.fd, .events = POLLIN, .on_event = on_answers };
	return coalesce_add(&f->nat->coalesce, &f->coalesced);
}

/* The flow of another queue with the same socket has ended. */
static void on_reader(struct udpsocks_user *user)
{
	struct flow *f = LOOP_OWNER(user, struct flow, user);
	int r = watch_answers(f);

	if (r < 0)
		end_unusable(f, -r);
}

/* Gives a flow its socket, which is connected to `to`. Returns 0 or -errno. */
static int get_socket(struct flow *f, const struct sockaddr_storage *to, socklen_t len)
{
	struct udpnat *u = f->nat;
	int r = udpsocks_join(&u->queue, &f->user, &f->entry.key, to, len);

	if (r < 0)
		return r;
	f->to = (struct udpin_dest){ .fd = f->user.sock->fd, .segment_max = DGRAM_ANY_SEGMENT };
	r = r == 1 ? watch_answers(f) : 0;
	if (r == 0 && !ensure_buffers(u, f->to.fd))
		r = -ENOMEM;
	if (r < 0) {
		coalesce_remove(&u->coalesce, &f->coalesced);
		udpsocks_leave(&f->user);
	}
	return r;
}

/* Returns a new flow, or NULL with errno. */
static struct flow *add_flow(struct udpnat *u, const struct flow_key *key,
			     const struct sockaddr_storage *to, socklen_t len)
{
	struct flow *f = calloc(1, sizeof(*f));
	struct flow_entry *victim;
	int r;

	if (f == NULL)
		return NULL;
	f->nat = u;
	f->entry.key = *key;
	r = get_socket(f, to, len);
	if (r < 0) {
		free(f);
		errno = -r;
		return NULL;
	}
	victim = flowtable_victim(&u->flows);
	if (victim != NULL)
		end_flow(flow_of(victim));
	u->alive++;
	flowtable_add(&u->flows, &f->entry, clock_now_ms());
	f->is_brief = key->local_port_be == htons(DNS_PORT);
	if (f->is_brief)
		list_prepend(&u->brief, &f->brief_node);
	arm_idle(u, f);
	return f;
}

/* Opens the flow of a packet without one. Returns NULL if that is not possible: if the policy or
 * the host's network is the reason, the inside has been told. */
static struct flow *open_flow(struct udpnat *u, const struct packet *p, const struct flow_key *key)
{
	struct sockaddr_storage to;
	socklen_t len = route(u, p, ntohs(key->local_port_be), &to);
	enum icmperr what;
	struct flow *f;

	/* A flow that is ended for this one must have sent everything. */
	if (u->in != NULL)
		udpin_flush(u->in);
	if (len == 0 || !take_fd(u))
		return NULL;
	f = add_flow(u, key, &to, len);
	if (f != NULL)
		return f;
	if (icmperr_from_errno(&what, errno))
		refuse(u, p, what);
	fdquota_give(u->setup.quota, 1);
	return NULL;
}

static struct flow *find_flow(const struct udpnat *u, const struct flow_key *key)
{
	struct flow_entry *e;

	if (u->recent != NULL && memcmp(&u->recent->entry.key, key, sizeof(*key)) == 0)
		return u->recent;
	e = flowtable_find(&u->flows, key);
	return e != NULL ? flow_of(e) : NULL;
}

void udpnat_on_packet(struct udpnat *u, const struct packet *p, uint16_t gso_size)
{
	struct flow_key key = { .client = p->addrs.src, .local = p->addrs.dst };
	struct dgram d = { 0 };
	struct udpseg seg;
	struct flow *f;

	if (udpseg_read(&seg, p->payload, p->payload_len) < 0 || seg.dst_port == 0)
		return;
	d.bytes = (char *)seg.data;
	d.len = seg.len;
	d.segment = gso_size > 0 && gso_size < seg.len ? gso_size : seg.len;
	if (d.len > BATCH_MAX * d.segment)
		return;
	key.port_be = htons(seg.src_port);
	key.local_port_be = htons(seg.dst_port);
	f = find_flow(u, &key);
	if (f == NULL)
		f = open_flow(u, p, &key);
	u->recent = f;
	if (f == NULL)
		return;
	memcpy(f->mac, p->src_mac, ETH_ALEN);
	if (follow_hops(f, p->hops))
		udpin_add(u->in, &f->to, &d);
}

/* ---- the table ---- */

struct udpnat *udpnat_new(const struct udpnat_setup *setup)
{
	struct udpnat *u = calloc(1, sizeof(*u));
	const size_t half = setup->max > 1 ? setup->max / 2 : 1;
	int r;

	if (u == NULL || flowtable_init(&u->flows, half, half) < 0) {
		free(u);
		return NULL;
	}
	u->setup = *setup;
	u->idle.on_due = on_idle;
	u->out = (struct udpout){ .link = setup->link, .gso = setup->gso };
	coalesce_init(&u->coalesce, setup->loop);
	u->queue.on_reader = on_reader;
	r = udpsocks_attach(setup->socks, &u->queue, setup->loop);
	if (r == 0)
		return u;
	udpnat_free(u);
	errno = -r;
	return NULL;
}

void udpnat_free(struct udpnat *u)
{
	struct flow_entry *e;

	if (u == NULL)
		return;
	if (u->in != NULL)
		udpin_flush(u->in);
	while ((e = flowtable_oldest(&u->flows)) != NULL)
		end_flow(flow_of(e));
	/* Only the tasks that free the flows are left, and they wait for nothing. */
	while (u->alive > 0)
		loop_run_tasks(u->setup.loop);
	free_buffers(u);
	udpsocks_detach(&u->queue, u->setup.loop);
	loop_cancel(u->setup.loop, &u->idle);
	coalesce_reset(&u->coalesce);
	flowtable_reset(&u->flows);
	free(u);
}
