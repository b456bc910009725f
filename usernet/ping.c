/* SPDX-License-Identifier: Apache-2.0 */
/* Ping from inside. See ping.h.
 *
 * A flow has a connected ping socket of the host. The kernel chooses the identifier of its requests
 * and hands it only the replies with that identifier, but from any address. The inside's identifier
 * is put back into what comes from there; sequence numbers and payload are left as they are.
 *
 * The host counts as a router on the way: it takes 1 off the time to live, of requests and of
 * replies, and stack.c answers requests that would not survive this.
 */
#include "usernet/ping.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "formats/icmpmsg.h"
#include "os/errqueue.h"
#include "os/sockopt.h"
#include "ports/flowtable.h"
#include "usernet/policy.h"

#define IDLE_MS	    30000
#define SEQ_AT	    6  /* where an echo has its sequence number */
#define EVENT_BATCH 16 /* packets that one event of a socket handles */

struct ping {
	struct ping_setup setup;
	struct flowtable flows;
	struct timer idle; /* runs while there are flows */
};

struct flow {
	struct flow_entry entry; /* key: inside's address, destination, identifier */
	struct ping *ping;
	struct watch watch;
	struct task reap;
	uint8_t mac[ETH_ALEN]; /* of the inside's sender */
	int hops;	       /* of the socket */
};

/* ---- the addresses of a flow ---- */

static struct packet_addrs flow_addrs(const struct flow *f)
{
	return (struct packet_addrs){ f->entry.key.client, f->entry.key.local };
}

static struct flow_key key_of(const struct packet_addrs *addrs, uint16_t id)
{
	return (struct flow_key){ .client = addrs->src, .local = addrs->dst, .port_be = id };
}

/* ---- to the inside ---- */

/* `hops`: the time to live of the reply; 0: ours */
static void send_reply(struct ping *ping, const uint8_t *mac, const struct packet_addrs *request,
		       const struct icmpmsg *m, uint8_t hops)
{
	uint8_t head[ICMPMSG_LEN];
	const struct link_packet p = { .mac = mac,
				       .addrs = { request->dst, request->src },
				       .proto = icmpmsg_proto(request),
				       .hops = hops,
				       .head = head,
				       .head_len = sizeof(head),
				       .payload = m->payload,
				       .payload_len = m->len,
				       .sum_at = LINK_HAS_SUM };

	icmpmsg_put(head, &p.addrs, m);
	link_send(ping->setup.link, &p);
}

/* Fills in what an error is about: the request with this sequence number. */
static void about_request(struct icmperr_about *about, const struct flow *f, uint16_t seq)
{
	const struct packet_addrs addrs = flow_addrs(f);
	const uint16_t words[] = { htons(f->entry.key.port_be), htons(seq) };
	struct icmpmsg_quote *q = &about->quote;

	memcpy(about->mac, f->mac, ETH_ALEN);
	*q = (struct icmpmsg_quote){
		.addrs = addrs, .proto = icmpmsg_proto(&addrs), .hops = 1, .len = sizeof(q->bytes)
	};
	q->bytes[0] = packet_is_v4(&addrs) ? ICMP_ECHO : ICMP6_ECHO_REQUEST;
	memcpy(q->bytes + 4, words, sizeof(words));
}

static void send_error(struct ping *ping, const struct icmperr_about *about, int errnum)
{
	enum icmperr what;

	/* The error queue has the MTU, too. */
	if (icmperr_from_errno(&what, errnum) && what != ICMPERR_TOO_BIG)
		icmperr_send(ping->setup.errors, about, what, 0);
}

/* ---- flows ---- */

static void on_reap(struct task *t)
{
	free(LOOP_OWNER(t, struct flow, reap));
}

static void end_flow(struct flow *f)
{
	struct ping *ping = f->ping;

	loop_remove(ping->setup.loop, &f->watch);
	fd_close(&f->watch.fd);
	flowtable_remove(&ping->flows, &f->entry);
	fdquota_give(ping->setup.quota, 1);
	loop_defer(ping->setup.loop, &f->reap);
}

static struct flow *owner_of(struct flow_entry *e)
{
	return e == NULL ? NULL : LIST_OWNER(e, struct flow, entry);
}

static void on_idle(struct timer *t)
{
	struct ping *ping = LOOP_OWNER(t, struct ping, idle);
	const unsigned long long now = clock_now_ms();
	struct flow *f;

	while ((f = owner_of(flowtable_oldest(&ping->flows))) != NULL &&
	       now - f->entry.used_ms >= IDLE_MS)
		end_flow(f);
	if (f != NULL)
		loop_timer(ping->setup.loop, t, (unsigned int)(f->entry.used_ms + IDLE_MS - now));
}

/* Takes a descriptor from the quota, if need be from another flow. */
static bool take_descriptor(struct ping *ping)
{
	struct flow *victim = owner_of(flowtable_victim(&ping->flows));

	if (victim != NULL)
		end_flow(victim);
	if (fdquota_take(ping->setup.quota, 1))
		return true;
	victim = owner_of(flowtable_oldest_new(&ping->flows));
	if (victim == NULL)
		return false;
	end_flow(victim);
	return fdquota_take(ping->setup.quota, 1);
}

/* Says once how to allow ping sockets. */
static void warn_forbidden(int errnum)
{
	static atomic_flag is_said = ATOMIC_FLAG_INIT;
	char why[256];

	if (!atomic_flag_test_and_set(&is_said))
		log_warn("ping does not work inside: this host does not let us open ping sockets: "
			 "%s; try as root: sysctl -w net.ipv4.ping_group_range='0 2147483647'",
			 err_text(errnum, why, sizeof(why)));
}

/* Returns a socket that sends to `dst`, or -errno. */
static int open_socket(const struct in6_addr *dst)
{
	struct sockaddr_storage to;
	const socklen_t len = policy_sockaddr(&to, dst, 0);
	const bool v4 = to.ss_family == AF_INET;
	FD_AUTO int fd = socket(to.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
				v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);

	if (fd < 0) {
		int errnum = errno; /* which the log may change */

		if (errnum == EACCES || errnum == EPERM || errnum == EPROTONOSUPPORT)
			warn_forbidden(errnum);
		return errnum == EPROTONOSUPPORT ? -EPERM : -errnum;
	}
	sockopt_report_hops(fd, to.ss_family);
	if (errqueue_enable(fd, to.ss_family) < 0 ||
	    connect(fd, (const struct sockaddr *)&to, len) < 0)
		return -errno;
	return fd_take(&fd);
}

static void on_event(struct watch *w, short revents);

/* Returns a new flow, which takes `fd` and its place in the quota, or NULL if out of memory. */
static struct flow *make_flow(struct ping *ping, const struct flow_key *key, int fd)
{
	struct flow *f = calloc(1, sizeof(*f));

	if (f == NULL)
		return NULL;
	f->entry.key = *key;
	f->ping = ping;
	f->reap.run = on_reap;
	f->watch = (struct watch){ .fd = fd, .events = POLLIN, .on_event = on_event };
	if (loop_add(ping->setup.loop, &f->watch) < 0) {
		free(f);
		return NULL;
	}
	flowtable_add(&ping->flows, &f->entry, clock_now_ms());
	if (!timer_is_set(&ping->idle))
		loop_timer(ping->setup.loop, &ping->idle, IDLE_MS);
	return f;
}

/* Opens the flow of a request. Returns it, or NULL with errno. */
static struct flow *open_flow(struct ping *ping, const struct flow_key *key,
			      const struct in6_addr *host)
{
	struct flow *f;
	int fd;

	if (!take_descriptor(ping)) {
		errno = EMFILE;
		return NULL;
	}
	fd = open_socket(host);
	f = fd < 0 ? NULL : make_flow(ping, key, fd);
	if (f == NULL) {
		fdquota_give(ping->setup.quota, 1);
		errno = fd < 0 ? -fd : ENOMEM;
		fd_close(&fd);
	}
	return f;
}

/* ---- from the host ---- */

/* Passes on an error of the socket's error queue. */
static void pass_error(struct flow *f, const struct errqueue_entry *e)
{
	const struct icmpmsg m = { .type = e->type, .code = e->code, .rest = e->mtu };
	struct icmperr_about about;
	uint16_t seq_be = 0;

	if (e->len >= ICMPMSG_LEN)
		memcpy(&seq_be, e->bytes + SEQ_AT, sizeof(seq_be));
	about_request(&about, f, ntohs(seq_be));
	if (e->len > ICMPMSG_LEN)
		icmperr_about_data(&about, e->bytes + ICMPMSG_LEN, e->len - ICMPMSG_LEN);
	if (e->is_icmp)
		icmperr_relay(f->ping->setup.errors, &about, &e->from, &m);
	else
		send_error(f->ping, &about, e->errnum);
}

static void take_errors(struct flow *f)
{
	struct errqueue_entry e;

	for (int i = 0; i < EVENT_BATCH && errqueue_take(f->watch.fd, &e) == 1; i++)
		pass_error(f, &e);
	/* An error that found no room in the queue */
	sockopt_take_error(f->watch.fd);
}

static bool is_from_target(const struct flow *f, const struct sockaddr_storage *from)
{
	const struct in6_addr *dst = &f->entry.key.local;
	struct sockaddr_storage want;

	policy_sockaddr(&want, dst, 0);
	if (from->ss_family != want.ss_family)
		return false;
	if (from->ss_family == AF_INET6)
		return IN6_ARE_ADDR_EQUAL(&((const struct sockaddr_in6 *)from)->sin6_addr, dst);
	return ((const struct sockaddr_in *)from)->sin_addr.s_addr ==
	       ((const struct sockaddr_in *)&want)->sin_addr.s_addr;
}

/* Takes 1 off the time to live of a packet that the host has received; 0 if that is not known. A
 * router would not pass on a packet that has none left, but the host is its receiver. */
static uint8_t hops_after(int received)
{
	if (received == SOCKOPT_ANY_HOPS)
		return 0;
	return (uint8_t)(received > 1 ? received - 1 : 1);
}

/* Receives a reply into the TAP's buffer. Returns false if none is waiting. */
static bool receive(struct flow *f)
{
	const struct packet_addrs addrs = flow_addrs(f);
	uint8_t head[ICMPMSG_LEN];
	struct icmpmsg m = { .payload = tap_payload(f->ping->setup.link->tap) };
	struct iovec parts[] = { { head, sizeof(head) }, { (void *)m.payload, TAP_PAYLOAD_MAX } };
	struct sockaddr_storage from = { 0 };
	_Alignas(struct cmsghdr) char control[SOCKOPT_HOPS_ROOM];
	struct msghdr msg = { .msg_name = &from,
			      .msg_namelen = sizeof(from),
			      .msg_iov = parts,
			      .msg_iovlen = 2,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(f->watch.fd, &msg, MSG_DONTWAIT);

	if (n < 0)
		return false;
	if ((size_t)n < sizeof(head) || !is_from_target(f, &from) ||
	    head[0] != icmpmsg_echo_reply(&addrs) || head[1] != 0)
		return true;
	m.type = head[0];
	m.rest = (uint32_t)f->entry.key.port_be << 16 | (uint32_t)head[6] << 8 | head[7];
	m.len = (size_t)n - sizeof(head);
	send_reply(f->ping, f->mac, &addrs, &m, hops_after(sockopt_reported_hops(&msg)));
	flowtable_note_answer(&f->ping->flows, &f->entry, clock_now_ms());
	return true;
}

static void on_event(struct watch *w, short revents)
{
	struct flow *f = LOOP_OWNER(w, struct flow, watch);

	if ((revents & POLLERR) != 0)
		take_errors(f);
	for (int i = 0; i < EVENT_BATCH && receive(f); i++)
		;
}

/* ---- from inside ---- */

static void set_hops(struct flow *f, bool v4, uint8_t packet_hops)
{
	const int hops = packet_hops > 1 ? packet_hops - 1 : 1;

	if (f->hops == hops)
		return;
	f->hops = hops;
	sockopt_set_hops(f->watch.fd, v4 ? AF_INET : AF_INET6, hops);
}

/* An error of an earlier request is reported by send(2), too, which then does nothing. */
static int send_request(struct flow *f, const struct packet *p)
{
	if (send(f->watch.fd, p->payload, p->payload_len, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return 0;
	if (errno == EAGAIN || errno == ENOBUFS)
		return 0; /* lost */
	take_errors(f);
	if (send(f->watch.fd, p->payload, p->payload_len, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return 0;
	return -errno;
}

static void refuse(struct ping *ping, const struct packet *p, int errnum)
{
	struct icmperr_about about;

	if (icmperr_about_packet(&about, p))
		send_error(ping, &about, errnum);
}

static void forward(struct ping *ping, const struct packet *p, const struct icmpmsg *m,
		    const struct in6_addr *host)
{
	const struct flow_key key = key_of(&p->addrs, icmpmsg_id(m));
	struct flow *f = owner_of(flowtable_find(&ping->flows, &key));
	int r;

	if (f != NULL)
		flowtable_note_request(&ping->flows, &f->entry, clock_now_ms());
	else
		f = open_flow(ping, &key, host);
	if (f == NULL) {
		refuse(ping, p, errno);
		return;
	}
	memcpy(f->mac, p->src_mac, ETH_ALEN);
	set_hops(f, packet_is_v4(&p->addrs), p->hops);
	r = send_request(f, p);
	if (r < 0)
		refuse(ping, p, -r);
}

void ping_on_packet(struct ping *ping, const struct packet *p)
{
	const struct netconf *conf = ping->setup.link->conf;
	struct in6_addr host;
	enum policy decision;
	struct icmpmsg m;

	if (icmpmsg_read(&m, p) < 0 || !icmpmsg_is_echo_request(&p->addrs, &m))
		return;
	decision = policy_decide(conf, &p->addrs, &host);
	if (decision != POLICY_IGNORED && policy_is_ours(conf, &p->addrs.dst)) {
		m.type = icmpmsg_echo_reply(&p->addrs);
		send_reply(ping, p->src_mac, &p->addrs, &m, 0);
	} else if (decision == POLICY_HOST) {
		forward(ping, p, &m, &host);
	} else if (decision == POLICY_REFUSED) {
		refuse(ping, p, EACCES);
	}
}

/* ---- the table ---- */

struct ping *ping_new(const struct ping_setup *setup)
{
	struct ping *ping = calloc(1, sizeof(*ping));
	const size_t half = setup->max > 1 ? setup->max / 2 : 1;

	if (ping == NULL || flowtable_init(&ping->flows, half, half) < 0) {
		free(ping);
		return NULL;
	}
	ping->setup = *setup;
	ping->idle.on_due = on_idle;
	return ping;
}

void ping_free(struct ping *ping)
{
	struct flow *f;

	if (ping == NULL)
		return;
	while ((f = owner_of(flowtable_oldest(&ping->flows))) != NULL)
		end_flow(f);
	loop_cancel(ping->setup.loop, &ping->idle);
	flowtable_reset(&ping->flows);
	free(ping);
}
