/* SPDX-License-Identifier: Apache-2.0 */
/* The DNS service. See dns.h.
 *
 *     from inside ──► ASKING a server ── answer ──────────────────────► passed on, freed
 *                        ▲   │ refusal, ICMP error, timeout
 *                        └───┘ another server is left; else ──► the refusal, or SERVFAIL
 *
 * A query under way has a socket of its own for each server that it asks, connected, with a random
 * port, and a random ID (RFC 5452 9.2): who wants to forge an answer must guess both. A server that
 * has refused a query is not asked again for it; one that was too slow is, in the next round.
 *
 * All queries are in one list, the oldest first, which is the one that goes when there are too
 * many. The list is also searched for a query that a client repeats: that is sent again to the
 * server that is asked at this time, and shares the answer.
 */
#include "usernet/dns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "formats/dnsmsg.h"
#include "formats/inetsum.h"

#define UDP_HEAD     sizeof(struct udphdr)
#define BYTES_MAX    (256 * 1024) /* of all queries under way */
#define RESEND_MS    1000	  /* a repeated query is sent again not sooner than this */
#define MESSAGES_MAX 16		  /* read from a socket before others get their turn */

/* Who asked. */
struct client {
	uint8_t mac[ETH_ALEN];
	struct packet_addrs addrs; /* src is the client's, dst the DNS address */
	uint16_t port;
};

struct query {
	struct dns *dns;
	struct list_node node; /* in dns->queries */
	struct client client;
	struct resolvconf conf; /* the servers at the time when it came */
	size_t at;		/* which of them is asked */
	unsigned int attempt;
	unsigned int refused;	     /* a bit for each server that is not asked again */
	enum dnsmsg_rcode rcode;     /* of the last refusal, else SERVFAIL */
	uint16_t id;		     /* with which it was sent; msg.id is the client's */
	unsigned long long asked_ms; /* when it was sent to this server */
	unsigned long long sent_ms;  /* the same, or when it was repeated */
	struct watch watch;	     /* fd: owned; -1: none */
	struct timer timer;
	struct task reap;
	struct dnsmsg msg; /* of `bytes` */
	size_t len;
	uint8_t bytes[];
};

struct dns {
	struct dns_setup setup;
	struct list queries; /* the oldest first */
	size_t count;
	size_t bytes; /* of all queries */
};

/* ---- to the client ---- */

/* Returns the length of the longest message that fits into a packet to the client. */
static size_t room_for(const struct client *c)
{
	return packet_payload_max(&c->addrs) - UDP_HEAD;
}

static void reply(struct dns *d, const struct client *c, const uint8_t *message, size_t len)
{
	struct udphdr head = { .uh_sport = htons(DNS_PORT),
			       .uh_dport = htons(c->port),
			       .uh_ulen = htons((uint16_t)(UDP_HEAD + len)) };
	const struct link_packet p = { .mac = c->mac,
				       .addrs = { .src = c->addrs.dst, .dst = c->addrs.src },
				       .proto = IPPROTO_UDP,
				       .head = &head,
				       .head_len = sizeof(head),
				       .payload = message,
				       .payload_len = len,
				       .sum_at = offsetof(struct udphdr, uh_sum) };

	head.uh_sum = inetsum_fold(
		inetsum_add_pseudo(0, &p.addrs.src, &p.addrs.dst, p.proto, UDP_HEAD + len));
	link_send(d->setup.link, &p);
}

/* Answers with an error, or with the advice to use TCP. `query` is what m was read from. */
static void reply_failure(struct dns *d, const struct client *c, const struct dnsmsg *m,
			  const uint8_t *query, enum dnsmsg_rcode rcode, bool is_cut)
{
	uint8_t out[DNSMSG_FAILURE_MAX];

	reply(d, c, out, dnsmsg_write_failure(out, m, query, rcode, is_cut));
}

/* ---- the life of a query ---- */

static void reap(struct task *t)
{
	free(LOOP_OWNER(t, struct query, reap));
}

static void close_socket(struct query *q)
{
	loop_remove(q->dns->setup.loop, &q->watch);
	fd_close(&q->watch.fd);
	loop_cancel(q->dns->setup.loop, &q->timer);
}

static void end(struct query *q)
{
	struct dns *d = q->dns;

	close_socket(q);
	list_remove(&d->queries, &q->node);
	d->count--;
	d->bytes -= q->len;
	fdquota_give(d->setup.quota, 1);
	loop_defer(d->setup.loop, &q->reap);
}

static void end_oldest(struct dns *d)
{
	end(LIST_OWNER(d->queries.first, struct query, node));
}

/* Passes an answer on, with the client's ID. An answer for IPv6 may be longer than a packet. */
static void finish_with(struct query *q, uint8_t *answer, size_t len)
{
	dnsmsg_set_id(answer, q->msg.id);
	if (len <= room_for(&q->client))
		reply(q->dns, &q->client, answer, len);
	else
		reply_failure(q->dns, &q->client, &q->msg, q->bytes, DNSMSG_NOERROR, true);
	end(q);
}

static void fail(struct query *q)
{
	reply_failure(q->dns, &q->client, &q->msg, q->bytes, q->rcode, false);
	end(q);
}

/* ---- asking ---- */

static const struct resolvconf_server *server_of(const struct query *q)
{
	return &q->conf.servers[q->at];
}

/* Errors of ICMP are reported, as for glibc's sockets (ip(7), ipv6(7)). */
static void report_errors(int fd, sa_family_t family)
{
	const int on = 1;

	if (family == AF_INET)
		setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof(on));
	else
		setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof(on));
}

/* The kernel binds the socket to a random port. Returns the socket, or -1. */
static int connect_to(const struct resolvconf_server *server)
{
	struct sockaddr_storage to;
	socklen_t len = dnsservers_sockaddr(server, DNS_PORT, &to);
	FD_AUTO int fd = socket(to.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	report_errors(fd, to.ss_family);
	return connect(fd, (const struct sockaddr *)&to, len) == 0 ? fd_take(&fd) : -1;
}

static bool send_query(struct query *q)
{
	q->sent_ms = clock_now_ms();
	dnsmsg_set_id(q->bytes, q->id);
	return send(q->watch.fd, q->bytes, q->len, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 ||
	       errno == EAGAIN || errno == ENOBUFS;
}

/* Sends the query to the server `at`. */
static bool ask_server(struct query *q)
{
	struct dns *d = q->dns;
	unsigned int wait_ms = dnsservers_wait_ms(d->setup.servers, &q->conf, server_of(q),
						  q->attempt);

	close_socket(q);
	q->asked_ms = clock_now_ms();
	q->watch.fd = connect_to(server_of(q));
	return q->watch.fd >= 0 && getrandom(&q->id, sizeof(q->id), 0) == sizeof(q->id) &&
	       send_query(q) && loop_add(d->setup.loop, &q->watch) == 0 &&
	       loop_timer(d->setup.loop, &q->timer, wait_ms) == 0;
}

/* Asks the first server from `at` on that has not refused yet. Returns false if there is none in
 * this round or in the rounds that are left. */
static bool ask(struct query *q)
{
	for (; q->attempt < q->conf.attempts; q->attempt++) {
		for (; q->at < q->conf.count; q->at++) {
			if ((q->refused & 1U << q->at) != 0)
				continue;
			if (ask_server(q))
				return true;
			q->refused |= 1U << q->at;
		}
		q->at = 0;
	}
	close_socket(q);
	return false;
}

/* The server that is asked will not answer. */
static bool ask_another(struct query *q)
{
	q->refused |= 1U << q->at;
	return ask(q);
}

static void on_timeout(struct timer *t)
{
	struct query *q = LOOP_OWNER(t, struct query, timer);

	dnsservers_on_timeout(q->dns->setup.servers, server_of(q), q->asked_ms);
	q->at++;
	if (!ask(q))
		fail(q);
}

/* ---- from a server ---- */

/* A message came. Returns true if it was the answer, so that the socket is not read further. */
static bool on_message(struct query *q, uint8_t *bytes, size_t len)
{
	struct dnsmsg answer;

	if (dnsmsg_read(&answer, bytes, len) != 0 || !dnsmsg_is_answer_to(&answer, &q->msg, q->id))
		return false;
	dnsservers_on_answer(q->dns->setup.servers, server_of(q));
	if (dnsmsg_is_refusal(&answer)) {
		q->rcode = answer.rcode;
		if (ask_another(q))
			return true;
	}
	finish_with(q, bytes, len);
	return true;
}

static void on_socket(struct watch *w, short revents)
{
	struct query *q = LOOP_OWNER(w, struct query, watch);
	uint8_t *buf = tap_payload(q->dns->setup.link->tap);

	(void)revents;
	for (int i = 0; i < MESSAGES_MAX; i++) {
		ssize_t n = recv(w->fd, buf, TAP_PAYLOAD_MAX, MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n < 0) {
			if (!ask_another(q))
				fail(q);
			return;
		}
		if (on_message(q, buf, (size_t)n))
			return;
	}
}

/* ---- from the client ---- */

/* Reads the UDP header (RFC 768) and the message that follows it. */
static bool read_client(struct client *c, const struct packet *p, const uint8_t **message,
			size_t *len)
{
	struct udphdr head;

	if (p->payload_len < sizeof(head))
		return false;
	memcpy(&head, p->payload, sizeof(head));
	*len = ntohs(head.uh_ulen);
	if (*len < sizeof(head) || *len > p->payload_len || head.uh_sport == 0)
		return false;
	*message = p->payload + sizeof(head);
	*len -= sizeof(head);
	memcpy(c->mac, p->src_mac, sizeof(c->mac));
	c->addrs = p->addrs;
	c->port = ntohs(head.uh_sport);
	return true;
}

static bool is_same_client(const struct client *a, const struct client *b)
{
	return a->port == b->port && IN6_ARE_ADDR_EQUAL(&a->addrs.src, &b->addrs.src) &&
	       IN6_ARE_ADDR_EQUAL(&a->addrs.dst, &b->addrs.dst);
}

/* Finds a query that the client repeats. The bytes of the ID are ours (send_query). */
static struct query *find(const struct dns *d, const struct client *c, const struct dnsmsg *m,
			  const uint8_t *bytes, size_t len)
{
	for (struct list_node *n = d->queries.first; n != NULL; n = n->next) {
		struct query *q = LIST_OWNER(n, struct query, node);

		if (q->msg.id == m->id && q->len == len && is_same_client(&q->client, c) &&
		    memcmp(q->bytes + sizeof(m->id), bytes + sizeof(m->id), len - sizeof(m->id)) ==
			    0)
			return q;
	}
	return NULL;
}

/* The client has lost its patience, or the datagram to the server was lost. An error shows up when
 * the socket is read. */
static void repeat(struct query *q)
{
	if (clock_now_ms() - q->sent_ms >= RESEND_MS)
		send_query(q);
}

static bool take_descriptor(struct dns *d)
{
	static struct log_limit limit;

	if (fdquota_take(d->setup.quota, 1))
		return true;
	if (d->count > 0) {
		end_oldest(d);
		if (fdquota_take(d->setup.quota, 1))
			return true;
	}
	if (log_is_due(&limit))
		log_warn("name lookups from inside fail: no file descriptor is left");
	return false;
}

static struct query *make_query(struct dns *d, const struct client *c, const uint8_t *bytes,
				size_t len)
{
	struct query *q;

	while (d->count > 0 && (d->count >= d->setup.max || d->bytes + len > BYTES_MAX))
		end_oldest(d);
	q = malloc(sizeof(*q) + len);
	if (q == NULL || !take_descriptor(d)) {
		free(q);
		return NULL;
	}
	*q = (struct query){ .dns = d,
			     .client = *c,
			     .rcode = DNSMSG_SERVFAIL,
			     .watch = { .fd = -1, .events = POLLIN, .on_event = on_socket },
			     .timer = { .on_due = on_timeout },
			     .reap = { .run = reap },
			     .len = len };
	memcpy(q->bytes, bytes, len);
	dnsmsg_read(&q->msg, q->bytes, len);
	list_append(&d->queries, &q->node);
	d->count++;
	d->bytes += len;
	return q;
}

void dns_on_packet(struct dns *d, const struct packet *p)
{
	struct resolvconf conf;
	const uint8_t *bytes;
	struct client client;
	struct dnsmsg m;
	struct query *q;
	size_t len;
	int fault;

	if (!read_client(&client, p, &bytes, &len))
		return;
	fault = dnsmsg_read(&m, bytes, len);
	if (fault == DNSMSG_TOO_SHORT || m.is_answer)
		return;
	if (fault != 0) {
		reply_failure(d, &client, &m, bytes, DNSMSG_FORMERR, false);
		return;
	}
	q = find(d, &client, &m, bytes, len);
	if (q != NULL) {
		repeat(q);
		return;
	}
	dnsservers_get(d->setup.servers, &conf);
	q = conf.count > 0 ? make_query(d, &client, bytes, len) : NULL;
	if (q == NULL) {
		reply_failure(d, &client, &m, bytes, DNSMSG_SERVFAIL, false);
		return;
	}
	q->conf = conf;
	if (!ask(q))
		fail(q);
}

socklen_t dns_server(struct dns *d, size_t tried, struct sockaddr_storage *to)
{
	return dnsservers_address(d->setup.servers, tried, DNS_PORT, to);
}

/* ---- the service ---- */

struct dns *dns_new(const struct dns_setup *setup)
{
	struct dns *d = calloc(1, sizeof(*d));

	if (d == NULL)
		return NULL;
	d->setup = *setup;
	return d;
}

void dns_free(struct dns *d)
{
	while (d != NULL && d->count > 0)
		end_oldest(d);
	free(d);
}
