/* SPDX-License-Identifier: Apache-2.0 */

/* The DNS service. The test is the inside, and the host's name servers: sockets on port 53 of
 * 127.0.0.1 to 127.0.0.3 and ::1, in a network namespace of its own. */
#include "tests/unit/loopclock.h"
#include "tests/unit/ownnet.h"
#include "tests/unit/usernet/taplink.h"
#include "usernet/dns.h"

#include <netinet/udp.h>

#include "formats/dnsmsg.h"

#define MAX	4 /* queries under way */
#define FDS	8
#define PORT	40000 /* of the client */
#define ID	0x1234
#define TIMEOUT DNSSERVERS_FIRST_MS

static struct taplink t;
static struct fdquota quota;
static struct dnsservers *servers;
static struct dns *dns;
static int server[4]; /* [1] to [3]: 127.0.0.N */

static void write_conf(const char *text)
{
	fixture_file("resolv.conf", text, 0644);
}

static int open_server(const char *ip)
{
	int fd = socket(strchr(ip, ':') == NULL ? AF_INET : AF_INET6,
			SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_storage sa;
	struct ipaddr addr;
	socklen_t len;

	ck_assert_int_eq(ipaddr_parse(&addr, ip), 0);
	len = ipaddr_sockaddr(&addr, DNS_PORT, &sa);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, len), 0);
	return fd;
}

/* Starts the service with this resolv.conf, in a network of its own. If it returns false, the test
 * must return. */
static bool start_with(const char *conf, const struct dns_setup *limits)
{
	static char path[PATH_MAX];
	struct dns_setup setup = *limits;

	write_conf(conf);
	if (!enter_bare_network())
		return false;
	snprintf(path, sizeof(path), "%s", fixture_path("resolv.conf"));
	loop = loop_new(LOOP_EPOLL);
	taplink_open(&t);
	quota = (struct fdquota){ .max = FDS };
	setup.loop = loop;
	setup.link = &t.link;
	setup.quota = &quota;
	servers = dnsservers_new(path);
	ck_assert_ptr_nonnull(servers);
	setup.servers = servers;
	dns = dns_new(&setup);
	ck_assert_ptr_nonnull(dns);
	memset(server, -1, sizeof(server));
	return true;
}

static bool start(const char *conf)
{
	const struct dns_setup limits = { .max = MAX };

	return start_with(conf, &limits);
}

static void serve(int first, int last)
{
	char ip[INET6_ADDRSTRLEN];

	for (int i = first; i <= last; i++) {
		snprintf(ip, sizeof(ip), "127.0.0.%d", i);
		server[i] = open_server(ip);
	}
}

static void stop(void)
{
	dns_free(dns);
	dnsservers_free(servers);
	loop_run_tasks(loop);
	ck_assert_uint_eq(quota.used, 0);
	ck_assert(!taplink_receive(&t));
	taplink_close(&t);
	loop_free(loop);
	for (int i = 1; i < COUNT(server); i++)
		fd_close(&server[i]);
}

/* ---- messages ---- */

struct message {
	size_t len;
	uint8_t bytes[65536];
};

/* A query for the address of NAME.example. */
static void make_query(struct message *m, uint16_t id, const char *name)
{
	static const uint8_t header[DNSMSG_HEADER] = { [2] = 1, [5] = 1 };
	size_t n = strlen(name);

	memcpy(m->bytes, header, DNSMSG_HEADER);
	dnsmsg_set_id(m->bytes, id);
	m->bytes[DNSMSG_HEADER] = (uint8_t)n;
	memcpy(m->bytes + DNSMSG_HEADER + 1, name, n);
	memcpy(m->bytes + DNSMSG_HEADER + 1 + n, "\7example\0\0\1\0\1", 13);
	m->len = DNSMSG_HEADER + 1 + n + 13;
}

/* Makes an answer of a query. It has `extra` bytes behind the question. */
static void make_answer(struct message *m, uint8_t rcode, size_t extra)
{
	m->bytes[2] |= 0x80;
	m->bytes[3] = 0x80 | rcode;
	for (size_t i = 0; i < extra; i++)
		m->bytes[m->len + i] = (uint8_t)(i * 3 + rcode);
	m->len += extra;
}

/* ---- the inside ---- */

struct inside {
	const char *ip, *dns;
	uint16_t port;
};

static const struct inside inside4 = { "10.0.2.100", "10.0.2.3", PORT };
static const struct inside inside6 = { "fd00::100", "fd00::3", PORT };

/* Sends a UDP packet with this length in its header. */
static void send_udp(const struct inside *from, const uint8_t *bytes, size_t len, size_t udp_len)
{
	static uint8_t payload[PACKET_IP_MAX];
	struct packet_addrs addrs = addrs_of(from->ip, from->dns);
	struct udphdr head = { .uh_sport = htons(from->port),
			       .uh_dport = htons(DNS_PORT),
			       .uh_ulen = htons((uint16_t)udp_len) };
	struct packet p;

	memcpy(payload, &head, sizeof(head));
	memcpy(payload + sizeof(head), bytes, len);
	p = taplink_packet(&addrs, IPPROTO_UDP, 64, payload, sizeof(head) + len);
	dns_on_packet(dns, &p);
}

static void send_message(const struct inside *from, const struct message *m)
{
	send_udp(from, m->bytes, m->len, sizeof(struct udphdr) + m->len);
}

static void ask(uint16_t id, const char *name)
{
	static struct message m;

	make_query(&m, id, name);
	send_message(&inside4, &m);
}

/* Receives the packet of a reply, from its fragments. */
static bool receive_payload(const struct inside *to, uint8_t *out, size_t *len)
{
	struct packet p;
	bool more = true;

	for (*len = 0; more; *len += p.payload_len) {
		if (!taplink_receive_packet(&t, &p))
			return false;
		assert_addr(&p.addrs.src, to->dns);
		assert_addr(&p.addrs.dst, to->ip);
		ck_assert_mem_eq(p.dst_mac, taplink_inside_mac, ETH_ALEN);
		ck_assert_uint_eq(p.proto, IPPROTO_UDP);
		ck_assert_uint_eq(p.fragment_at, *len);
		more = p.has_more;
		memcpy(out + *len, p.payload, p.payload_len);
	}
	return true;
}

/* A whole packet has the sum of its pseudo header, which the kernel completes. That of fragments is
 * complete. */
static void check_sum(const struct inside *to, const uint8_t *payload, size_t len)
{
	const struct packet_addrs addrs = addrs_of(to->dns, to->ip);
	uint64_t pseudo = inetsum_add_pseudo(0, &addrs.src, &addrs.dst, IPPROTO_UDP, len);
	uint16_t sum;

	memcpy(&sum, payload + offsetof(struct udphdr, uh_sum), sizeof(sum));
	if ((t.header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0)
		ck_assert_uint_eq(sum, inetsum_fold(pseudo));
	else
		ck_assert_uint_eq(inetsum_finish(inetsum_add(pseudo, payload, len)), 0);
}

/* Receives a reply to the inside, if one is there. */
static bool has_reply(const struct inside *to, struct message *m)
{
	static uint8_t payload[PACKET_IP_MAX];
	struct udphdr head;
	size_t len;

	if (!receive_payload(to, payload, &len))
		return false;
	memcpy(&head, payload, sizeof(head));
	ck_assert_uint_eq(ntohs(head.uh_sport), DNS_PORT);
	ck_assert_uint_eq(ntohs(head.uh_dport), to->port);
	ck_assert_uint_eq(ntohs(head.uh_ulen), len);
	check_sum(to, payload, len);
	m->len = len - sizeof(head);
	memcpy(m->bytes, payload + sizeof(head), m->len);
	return true;
}

static void await_reply(const struct inside *to, struct message *m)
{
	unsigned long long until = fixture_now_ms() + 1000 * FIXTURE_DEADLINE_S;

	while (!has_reply(to, m) && fixture_now_ms() < until)
		step();
	ck_assert(fixture_now_ms() < until);
}

/* The reply is this message, with this ID. */
static void expect_reply(const struct inside *to, uint16_t id, const struct message *wanted)
{
	static struct message got, want;

	want = *wanted;
	dnsmsg_set_id(want.bytes, id);
	await_reply(to, &got);
	ck_assert_uint_eq(got.len, want.len);
	ck_assert_mem_eq(got.bytes, want.bytes, want.len);
}

/* The reply to ask(id, name) is this error. */
static void expect_failure(uint16_t id, const char *name, enum dnsmsg_rcode rcode)
{
	static struct message m;

	make_query(&m, id, name);
	make_answer(&m, (uint8_t)rcode, 0);
	expect_reply(&inside4, id, &m);
}

static void expect_silence(void)
{
	settle();
	ck_assert(!taplink_receive(&t));
}

/* ---- the name servers ---- */

/* A query as a server has received it. */
struct received {
	struct message m;
	struct sockaddr_storage from;
	uint16_t id, port;
};

static bool has_query(int fd, struct received *r)
{
	socklen_t len = sizeof(r->from);
	ssize_t n = recvfrom(fd, r->m.bytes, sizeof(r->m.bytes), 0, (struct sockaddr *)&r->from,
			     &len);
	struct ipaddr ip;

	if (n < 0)
		return false;
	r->m.len = (size_t)n;
	r->id = (uint16_t)(r->m.bytes[0] << 8 | r->m.bytes[1]);
	r->port = (uint16_t)ipaddr_from_sockaddr(&ip, &r->from);
	return true;
}

static void await_query(int fd, struct received *r)
{
	unsigned long long until = fixture_now_ms() + 1000 * FIXTURE_DEADLINE_S;

	while (!has_query(fd, r) && fixture_now_ms() < until)
		step();
	ck_assert(fixture_now_ms() < until);
}

static void expect_no_query(int fd)
{
	static struct received r;

	settle();
	ck_assert(!has_query(fd, &r));
}

static void send_from(int fd, const struct received *r, const uint8_t *bytes, size_t len)
{
	socklen_t sa_len = r->from.ss_family == AF_INET ? sizeof(struct sockaddr_in)
							: sizeof(struct sockaddr_in6);

	ck_assert_int_eq(sendto(fd, bytes, len, 0, (const struct sockaddr *)&r->from, sa_len),
			 (ssize_t)len);
}

/* The server answers what it has received, and r->m is the answer afterwards. */
static void answer(int fd, struct received *r, uint8_t rcode, size_t extra)
{
	make_answer(&r->m, rcode, extra);
	send_from(fd, r, r->m.bytes, r->m.len);
}

/* ---- the normal way ---- */

START_TEST(a_query_is_answered)
{
	static struct message query;
	static struct received r;

	if (!start("nameserver 127.0.0.1\n"))
		return;
	serve(1, 1);
	make_query(&query, ID, "host");
	send_message(&inside4, &query);
	await_query(server[1], &r);
	dnsmsg_set_id(query.bytes, r.id);
	ck_assert_uint_eq(r.m.len, query.len);
	ck_assert_mem_eq(r.m.bytes, query.bytes, query.len);
	answer(server[1], &r, DNSMSG_NOERROR, 100);
	expect_reply(&inside4, ID, &r.m);
	expect_silence();
	ck_assert_uint_eq(quota.used, 0);
	stop();
}
END_TEST

START_TEST(ipv6_is_answered_by_ipv6)
{
	static struct message query;
	static struct received r;
	int fd;

	if (!fixture_need_ipv6() || !start("nameserver ::1\n"))
		return;
	fd = open_server("::1");
	make_query(&query, ID, "host");
	send_message(&inside6, &query);
	await_query(fd, &r);
	answer(fd, &r, DNSMSG_NOERROR, 100);
	expect_reply(&inside6, ID, &r.m);
	close(fd);
	stop();
}
END_TEST

static const uint8_t passed_rcodes[] = { 0, 1 /* FORMERR */, 3 /* NXDOMAIN */, 6, 7, 15 };

START_TEST(other_codes_are_passed_on)
{
	static struct received r;

	if (!start("nameserver 127.0.0.1\nnameserver 127.0.0.2\n"))
		return;
	serve(1, 2);
	ask(ID, "host");
	await_query(server[1], &r);
	answer(server[1], &r, passed_rcodes[_i], 10);
	expect_reply(&inside4, ID, &r.m);
	expect_no_query(server[2]);
	stop();
}
END_TEST

/* Who forges answers must guess the ID and the port (RFC 5452). */
START_TEST(ids_and_ports_are_random)
{
	enum { QUERIES = 64 };
	static struct received r[QUERIES];
	int same_ids = 0, same_ports = 0, next_ports = 0;

	if (!start("nameserver 127.0.0.1\n"))
		return;
	serve(1, 1);
	for (int i = 0; i < QUERIES; i++) {
		ask(ID, "host");
		await_query(server[1], &r[i]);
		answer(server[1], &r[i], DNSMSG_NOERROR, 0);
		expect_reply(&inside4, ID, &r[i].m);
		for (int j = 0; j < i; j++) {
			same_ids += r[i].id == r[j].id;
			same_ports += r[i].port == r[j].port;
		}
		next_ports += i > 0 && abs(r[i].port - r[i - 1].port) <= 2;
	}
	/* By chance: 2016 pairs, among 65536 IDs and 28232 ports */
	ck_assert_int_lt(same_ids, 4);
	ck_assert_int_lt(same_ports, 8);
	ck_assert_int_lt(next_ports, 4);
	stop();
}
END_TEST

/* ---- long messages ---- */

/* The longest datagram of UDP over IPv4. The reply is in fragments. */
START_TEST(the_longest_answer_is_passed_on)
{
	static struct received r;

	if (!start("nameserver 127.0.0.1\n"))
		return;
	serve(1, 1);
	ask(ID, "host");
	await_query(server[1], &r);
	answer(server[1], &r, DNSMSG_NOERROR, 65507 - r.m.len);
	expect_reply(&inside4, ID, &r.m);
	stop();
}
END_TEST

/* An IPv4 packet has room for 20 bytes less than an IPv6 packet. */
static const struct {
	const struct inside *inside;
	size_t len;
	bool fits;
} longest[] = { { &inside6, 65507, true }, { &inside6, 65508, true },  { &inside6, 65527, true },
		{ &inside4, 65507, true }, { &inside4, 65508, false }, { &inside4, 65527, false } };

START_TEST(an_answer_too_long_for_a_packet_asks_for_tcp)
{
	static struct message query, got;
	static struct received r;
	struct dnsmsg m;

	if (!fixture_need_ipv6() || !start("nameserver ::1\n"))
		return;
	server[1] = open_server("::1");
	make_query(&query, ID, "host");
	send_message(longest[_i].inside, &query);
	await_query(server[1], &r);
	answer(server[1], &r, DNSMSG_NOERROR, longest[_i].len - r.m.len);
	if (longest[_i].fits) {
		expect_reply(longest[_i].inside, ID, &r.m);
	} else {
		await_reply(longest[_i].inside, &got);
		ck_assert_uint_eq(got.len, query.len);
		ck_assert_int_eq(dnsmsg_read(&m, got.bytes, got.len), 0);
		ck_assert_uint_eq(m.id, ID);
		ck_assert_uint_eq(m.rcode, DNSMSG_NOERROR);
		ck_assert_uint_eq(got.bytes[2] & 0x82, 0x82); /* QR, TC */
	}
	stop();
}
END_TEST

START_TEST(a_long_query_is_passed_on)
{
	static struct message query;
	static struct received r;

	if (!start("nameserver 127.0.0.1\n"))
		return;
	serve(1, 1);
	make_query(&query, ID, "host");
	memset(query.bytes + query.len, 'x', 65507 - query.len);
	query.len = 65507;
	send_message(&inside4, &query);
	await_query(server[1], &r);
	ck_assert_uint_eq(r.m.len, query.len);
	ck_assert_mem_eq(r.m.bytes + 2, query.bytes + 2, query.len - 2);
	answer(server[1], &r, DNSMSG_NOERROR, 0);
	expect_reply(&inside4, ID, &r.m);
	stop();
}
END_TEST

/* ---- servers that fail ---- */

START_TEST(a_silent_server_is_followed_by_the_next)
{
	static struct received first, r;

	if (!start("nameserver 127.0.0.1\nnameserver 127.0.0.2\n"))
		return;
	serve(1, 2);
	ask(ID, "host");
	await_query(server[1], &first);
	skip_ms(TIMEOUT - 500);
	expect_no_query(server[2]);
	skip_ms(500);
	await_query(server[2], &r);
	/* Too late: nobody waits for it any more. */
	answer(server[1], &first, DNSMSG_NOERROR, 1);
	expect_silence();
	answer(server[2], &r, DNSMSG_NOERROR, 2);
	expect_reply(&inside4, ID, &r.m);
	stop();
}
END_TEST

START_TEST(a_dead_server_delays_only_one_query_for_long)
{
	static struct received r;

	if (!start("nameserver 127.0.0.1\nnameserver 127.0.0.2\n"))
		return;
	serve(1, 2);
	ask(ID, "one");
	await_query(server[1], &r);
	skip_ms(TIMEOUT);
	await_query(server[2], &r);
	answer(server[2], &r, DNSMSG_NOERROR, 1);
	expect_reply(&inside4, ID, &r.m);
	/* It is asked first, because it may know more, but for a shorter time. */
	ask(ID, "two");
	await_query(server[1], &r);
	skip_ms(DNSSERVERS_SUSPECT_MS);
	await_query(server[2], &r);
	answer(server[2], &r, DNSMSG_NOERROR, 1);
	expect_reply(&inside4, ID, &r.m);
	/* It works again. */
	ask(ID, "three");
	await_query(server[1], &r);
	answer(server[1], &r, DNSMSG_NOERROR, 1);
	expect_reply(&inside4, ID, &r.m);
	ask(ID, "four");
	await_query(server[1], &r);
	skip_ms(DNSSERVERS_SUSPECT_MS);
	expect_no_query(server[2]);
	answer(server[1], &r, DNSMSG_NOERROR, 1);
	expect_reply(&inside4, ID, &r.m);
	stop();
}
END_TEST

/* Nothing listens there: the kernel says so at once (ICMP). */
START_TEST(a_closed_port_is_followed_by_the_next_at_once)
{
	static struct received r;

	if (!start("nameserver 127.0.0.1\nnameserver 127.0.0.2\nnameserver 127.0.0.3\n"))
		return;
	serve(3, 3);
	ask(ID, "host");
	await_query(server[3], &r);
	answer(server[3], &r, DNSMSG_NOERROR, 1);
	expect_reply(&inside4, ID, &r.m);
	stop();
}
END_TEST

static const char *const unusable[] = {
	"192.0.2.1",	/* no route */
	"fe80::1",	/* no zone */
	"2001:db8::1",	/* no route, or no IPv6 */
	"fe80::1%none", /* no such interface */
	"255.255.255.255",
};

START_TEST(an_unusable_server_is_followed_by_the_next_at_once)
{
	static struct received r;
	char conf[128];

	snprintf(conf, sizeof(conf), "nameserver %s\nnameserver 127.0.0.1\n", unusable[_i]);
	if (!start(conf))
		return;
	serve(1, 1);
	ask(ID, "host");
	await_query(server[1], &r);
	answer(server[1], &r, DNSMSG_NOERROR, 1);
	expect_reply(&inside4, ID, &r.m);
	stop();
}
END_TEST

static const uint8_t refusals[] = { DNSMSG_SERVFAIL, DNSMSG_NOTIMP, DNSMSG_REFUSED };

START_TEST(a_refusal_is_followed_by_the_next_at_once)
{
	static struct received r;

	if (!start("nameserver 127.0.0.1\nnameserver 127.0.0.2\n"))
		return;
	serve(1, 2);
	ask(ID, "host");
	await_query(server[1], &r);
	answer(server[1], &r, refusals[_i], 1);
	await_query(server[2], &r);
	answer(server[2], &r, DNSMSG_NOERROR, 2);
	expect_reply(&inside4, ID, &r.m);
	stop();
}
END_TEST

START_TEST(the_last_refusal_is_passed_on)
{
	static struct received r;

	if (!start("nameserver 127.0.0.1\nnameserver 127.0.0.2\n"))
		return;
	serve(1, 2);
	ask(ID, "host");
	await_query(server[1], &r);
	answer(server[1], &r, DNSMSG_SERVFAIL, 5);
	await_query(server[2], &r);
	answer(server[2], &r, refusals[_i], 9);
	expect_reply(&inside4, ID, &r.m);
	expect_no_query(server[1]);
	stop();
}
END_TEST

/* A server that has refused is not asked in the next round. */
START_TEST(a_refusal_is_remembered_when_others_are_silent)
{
	static struct received r;

	if (!start("nameserver 127.0.0.1\nnameserver 127.0.0.2\n"))
		return;
	serve(1, 2);
	ask(ID, "host");
	await_query(server[1], &r);
	answer(server[1], &r, DNSMSG_REFUSED, 5);
	await_query(server[2], &r);
	skip_ms(TIMEOUT);
	await_query(server[2], &r);
	expect_no_query(server[1]);
	expect_silence();
	skip_ms(5000); /* the second round has the time of resolv.conf(5) */
	expect_failure(ID, "host", DNSMSG_REFUSED);
	expect_no_query(server[2]);
	stop();
}
END_TEST

START_TEST(silence_of_all_is_servfail)
{
	static struct received r[6];

	if (!start("nameserver 127.0.0.1\nnameserver 127.0.0.2\noptions attempts:3 timeout:1\n"))
		return;
	serve(1, 2);
	ask(ID, "host");
	for (int i = 0; i < COUNT(r); i++) {
		await_query(server[1 + i % 2], &r[i]);
		expect_silence();
		skip_ms(i < 4 ? 1000 : 2000); /* glibc's times */
	}
	expect_failure(ID, "host", DNSMSG_SERVFAIL);
	expect_no_query(server[1]);
	expect_no_query(server[2]);
	/* each with another port */
	for (int i = 0; i < COUNT(r); i++)
		for (int j = 0; j < i; j++)
			ck_assert(r[i].port != r[j].port || r[i].id != r[j].id);
	stop();
}
END_TEST

START_TEST(closed_ports_of_all_are_servfail_at_once)
{
	if (!start("nameserver 127.0.0.1\nnameserver 127.0.0.2\n"))
		return;
	ask(ID, "host");
	expect_failure(ID, "host", DNSMSG_SERVFAIL);
	stop();
}
END_TEST

/* ---- resolv.conf ---- */

/* Not even a server on this host is asked: nobody has named it. */
START_TEST(no_server_is_servfail_at_once)
{
	if (!start("search example.org\n"))
		return;
	serve(1, 1);
	ask(ID, "host");
	expect_failure(ID, "host", DNSMSG_SERVFAIL);
	ck_assert_int_eq(unlink(fixture_path("resolv.conf")), 0);
	skipped_ms += DNSSERVERS_READ_MS;
	ask(ID + 1, "host");
	expect_failure(ID + 1, "host", DNSMSG_SERVFAIL);
	expect_no_query(server[1]);
	stop();
}
END_TEST

START_TEST(a_new_server_gets_the_next_query)
{
	static struct received old, new;

	if (!start("nameserver 127.0.0.1\n"))
		return;
	serve(1, 2);
	ask(ID, "one");
	await_query(server[1], &old);
	write_conf("nameserver 127.0.0.2\n");
	skip_ms(DNSSERVERS_READ_MS);
	ask(ID, "two");
	await_query(server[2], &new);
	/* The query under way stays where it is. */
	answer(server[1], &old, DNSMSG_NOERROR, 1);
	expect_reply(&inside4, ID, &old.m);
	answer(server[2], &new, DNSMSG_NOERROR, 1);
	expect_reply(&inside4, ID, &new.m);
	stop();
}
END_TEST

START_TEST(connections_have_servers_in_turn)
{
	static const char *const wanted[] = { "127.0.0.1:53", "[fe80::1]:53", "127.0.0.2:53" };
	char text[IPADDR_ENDPOINT_LEN];
	struct sockaddr_storage to;
	struct ipaddr ip;
	int port;

	if (!start("nameserver 127.0.0.1\nnameserver fe80::1%lo\nnameserver 127.0.0.2\n"))
		return;
	for (size_t i = 0; i < 3; i++) {
		ck_assert_uint_gt(dns_server(dns, i, &to), 0);
		port = ipaddr_from_sockaddr(&ip, &to);
		ck_assert_str_eq(ipaddr_endpoint_text(&ip, port, text, sizeof(text)), wanted[i]);
	}
	ck_assert_uint_eq(dns_server(dns, 3, &to), 0);
	stop();
}
END_TEST

/* ---- messages that are not the answer ---- */

static void send_changed(int fd, const struct received *r, size_t at, uint8_t bits)
{
	static struct message m;

	m = r->m;
	m.bytes[at] ^= bits;
	send_from(fd, r, m.bytes, m.len);
}

/* The answer, but with an ID, flag or question that is different in one place */
static void send_wrong_answers(int fd, const struct received *r)
{
	send_changed(fd, r, 0, 1);
	send_changed(fd, r, 1, 1);
	send_changed(fd, r, 2, 0x80); /* QR */
	send_changed(fd, r, 2, 0x08); /* the opcode */
	send_changed(fd, r, 5, 1);    /* no question */
	send_changed(fd, r, 5, 3);    /* two */
	for (size_t at = DNSMSG_HEADER; at < r->m.len; at++)
		send_changed(fd, r, at, 0x40);
}

START_TEST(wrong_answers_are_ignored)
{
	static struct received r;

	if (!start("nameserver 127.0.0.1\n"))
		return;
	serve(1, 1);
	ask(ID, "host");
	await_query(server[1], &r);
	make_answer(&r.m, DNSMSG_NOERROR, 0);
	send_wrong_answers(server[1], &r);
	for (size_t len = 0; len < r.m.len; len++)
		send_from(server[1], &r, r.m.bytes, len);
	expect_silence();
	send_from(server[1], &r, r.m.bytes, r.m.len);
	expect_reply(&inside4, ID, &r.m);
	stop();
}
END_TEST

START_TEST(answers_of_others_are_ignored)
{
	static struct received r;

	if (!start("nameserver 127.0.0.1\nnameserver 127.0.0.2\n"))
		return;
	serve(1, 2);
	ask(ID, "host");
	await_query(server[1], &r);
	answer(server[2], &r, DNSMSG_NOERROR, 4);
	expect_silence();
	send_from(server[1], &r, r.m.bytes, r.m.len);
	expect_reply(&inside4, ID, &r.m);
	stop();
}
END_TEST

START_TEST(a_flood_of_wrong_answers_hides_no_right_one)
{
	static struct received r;

	if (!start("nameserver 127.0.0.1\n"))
		return;
	serve(1, 1);
	ask(ID, "host");
	await_query(server[1], &r);
	make_answer(&r.m, DNSMSG_NOERROR, 0);
	for (int i = 0; i < 100; i++)
		send_changed(server[1], &r, 1, 1);
	send_from(server[1], &r, r.m.bytes, r.m.len);
	expect_reply(&inside4, ID, &r.m);
	stop();
}
END_TEST

/* A mixed case makes forging harder. The client compares it, so it must get what the server has
 * sent. */
START_TEST(the_case_of_letters_is_kept)
{
	static struct received r;

	if (!start("nameserver 127.0.0.1\n"))
		return;
	serve(1, 1);
	ask(ID, "hOsT");
	await_query(server[1], &r);
	ck_assert_mem_eq(r.m.bytes + DNSMSG_HEADER + 1, "hOsT", 4);
	memcpy(r.m.bytes + DNSMSG_HEADER + 1, "host", 4);
	answer(server[1], &r, DNSMSG_NOERROR, 1);
	expect_reply(&inside4, ID, &r.m);
	stop();
}
END_TEST

/* ---- clients that repeat, and many queries ---- */

START_TEST(a_repeated_query_is_not_a_second_one)
{
	static struct received first, again;

	if (!start("nameserver 127.0.0.1\n"))
		return;
	serve(1, 1);
	ask(ID, "host");
	await_query(server[1], &first);
	for (int i = 0; i < 10; i++)
		ask(ID, "host");
	expect_no_query(server[1]);
	ck_assert_uint_eq(quota.used, 1);
	/* Later it may help, if the first datagram was lost. */
	skip_ms(1000);
	ask(ID, "host");
	ask(ID, "host");
	await_query(server[1], &again);
	ck_assert_uint_eq(again.id, first.id);
	ck_assert_uint_eq(again.port, first.port);
	expect_no_query(server[1]);
	answer(server[1], &first, DNSMSG_NOERROR, 1);
	answer(server[1], &again, DNSMSG_NOERROR, 1);
	expect_reply(&inside4, ID, &first.m);
	expect_silence();
	stop();
}
END_TEST

/* Each differs from the first one in one place. */
START_TEST(different_queries_are_all_answered)
{
	struct inside other_port = inside4, other_ip = inside4;
	static struct received r[4];
	static struct message m;

	if (!start("nameserver 127.0.0.1\n"))
		return;
	serve(1, 1);
	other_port.port++;
	other_ip.ip = "10.0.2.101";
	make_query(&m, ID, "host");
	send_message(&inside4, &m);
	send_message(&other_port, &m);
	send_message(&other_ip, &m);
	ask(ID, "hosT");
	for (int i = 0; i < COUNT(r); i++)
		await_query(server[1], &r[i]);
	answer(server[1], &r[2], DNSMSG_NOERROR, 2);
	expect_reply(&other_ip, ID, &r[2].m);
	answer(server[1], &r[1], DNSMSG_NOERROR, 1);
	expect_reply(&other_port, ID, &r[1].m);
	answer(server[1], &r[3], DNSMSG_NOERROR, 3);
	expect_reply(&inside4, ID, &r[3].m);
	answer(server[1], &r[0], DNSMSG_NOERROR, 0);
	expect_reply(&inside4, ID, &r[0].m);
	stop();
}
END_TEST

/* Asks `count` queries, of which the first `lost` must be pushed out. */
static void check_pushing_out(int count, int lost)
{
	static struct received r[FDS];

	serve(1, 1);
	for (int i = 0; i < count; i++) {
		ask((uint16_t)(ID + i), "host");
		await_query(server[1], &r[i]);
	}
	ck_assert_uint_eq(quota.used, count - lost);
	for (int i = 0; i < count; i++) {
		answer(server[1], &r[i], DNSMSG_NOERROR, 1);
		if (i < lost)
			expect_silence();
		else
			expect_reply(&inside4, (uint16_t)(ID + i), &r[i].m);
	}
}

START_TEST(a_new_query_pushes_the_oldest_out)
{
	if (!start("nameserver 127.0.0.1\n"))
		return;
	check_pushing_out(MAX + 2, 2);
	stop();
}
END_TEST

START_TEST(the_limit_of_descriptors_pushes_out_too)
{
	if (!start("nameserver 127.0.0.1\n"))
		return;
	quota.max = 2;
	check_pushing_out(MAX, 2);
	stop();
}
END_TEST

START_TEST(without_a_descriptor_it_is_servfail_at_once)
{
	if (!start("nameserver 127.0.0.1\n"))
		return;
	serve(1, 1);
	quota.max = 0;
	ask(ID, "host");
	expect_failure(ID, "host", DNSMSG_SERVFAIL);
	stop();
}
END_TEST

START_TEST(the_memory_of_queries_is_bounded)
{
	const struct dns_setup limits = { .max = 1000 };
	static struct message query;
	static struct received r;
	size_t held;

	if (!start_with("nameserver 127.0.0.1\n", &limits))
		return;
	serve(1, 1);
	quota.max = 1000;
	for (uint16_t i = 0; i < 100; i++) {
		make_query(&query, i, "host");
		query.len = 60000;
		send_message(&inside4, &query);
		await_query(server[1], &r);
	}
	held = quota.used;
	ck_assert_uint_ge(held, 1);
	ck_assert_uint_lt(held, 10);
	answer(server[1], &r, DNSMSG_NOERROR, 1);
	expect_reply(&inside4, 99, &r.m);
	stop();
}
END_TEST

START_TEST(the_end_drops_queries_under_way)
{
	static struct received r;

	if (!start("nameserver 127.0.0.1\n"))
		return;
	serve(1, 1);
	ask(ID, "one");
	ask(ID, "two");
	await_query(server[1], &r);
	dns_free(NULL);
	stop();
}
END_TEST

/* ---- hostile packets from inside ---- */

static void send_with_length(size_t udp_len)
{
	static struct message m;

	make_query(&m, ID, "host");
	send_udp(&inside4, m.bytes, m.len, udp_len);
}

START_TEST(malformed_packets_are_ignored)
{
	struct inside no_port = inside4;
	static struct message m;
	struct packet_addrs addrs = addrs_of(inside4.ip, inside4.dns);

	if (!start("nameserver 127.0.0.1\n"))
		return;
	serve(1, 1);
	make_query(&m, ID, "host");
	for (size_t len = 0; len < sizeof(struct udphdr); len++) {
		struct packet p = taplink_packet(&addrs, IPPROTO_UDP, 64, m.bytes, len);

		dns_on_packet(dns, &p);
	}
	for (size_t len = 0; len < sizeof(struct udphdr) + DNSMSG_HEADER; len++)
		send_with_length(len);
	send_with_length(sizeof(struct udphdr) + m.len + 1);
	send_with_length(65535);
	no_port.port = 0;
	send_message(&no_port, &m);
	make_answer(&m, DNSMSG_NOERROR, 0); /* no query */
	send_message(&inside4, &m);
	expect_no_query(server[1]);
	expect_silence();
	ck_assert_uint_eq(quota.used, 0);
	stop();
}
END_TEST

START_TEST(a_malformed_question_is_answered_with_formerr)
{
	static struct message m, want;

	if (!start("nameserver 127.0.0.1\n"))
		return;
	serve(1, 1);
	make_query(&m, ID, "host");
	want.len = DNSMSG_HEADER;
	memcpy(want.bytes, "\0\0\x81\x81\0\0\0\0\0\0\0\0", DNSMSG_HEADER);
	for (size_t len = DNSMSG_HEADER; len < m.len; len++) {
		send_udp(&inside4, m.bytes, len, sizeof(struct udphdr) + len);
		expect_reply(&inside4, ID, &want);
	}
	m.bytes[DNSMSG_HEADER] = 0xc0; /* a pointer, to itself */
	m.bytes[DNSMSG_HEADER + 1] = DNSMSG_HEADER;
	send_message(&inside4, &m);
	expect_reply(&inside4, ID, &want);
	expect_no_query(server[1]);
	stop();
}
END_TEST

/* Bytes behind the UDP packet are not a part of it. */
START_TEST(padding_is_not_passed_on)
{
	static struct message m;
	static struct received r;
	size_t len;

	if (!start("nameserver 127.0.0.1\n"))
		return;
	serve(1, 1);
	make_query(&m, ID, "host");
	len = m.len;
	send_udp(&inside4, m.bytes, len + 20, sizeof(struct udphdr) + len);
	await_query(server[1], &r);
	ck_assert_uint_eq(r.m.len, len);
	stop();
}
END_TEST

static void add_tests(TCase *tc)
{
	tcase_add_test(tc, a_query_is_answered);
	tcase_add_test(tc, ipv6_is_answered_by_ipv6);
	tcase_add_loop_test(tc, other_codes_are_passed_on, 0, COUNT(passed_rcodes));
	tcase_add_test(tc, ids_and_ports_are_random);
	tcase_add_test(tc, the_longest_answer_is_passed_on);
	tcase_add_loop_test(tc, an_answer_too_long_for_a_packet_asks_for_tcp, 0, COUNT(longest));
	tcase_add_test(tc, a_long_query_is_passed_on);
	tcase_add_test(tc, a_silent_server_is_followed_by_the_next);
	tcase_add_test(tc, a_dead_server_delays_only_one_query_for_long);
	tcase_add_test(tc, a_closed_port_is_followed_by_the_next_at_once);
	tcase_add_loop_test(tc, an_unusable_server_is_followed_by_the_next_at_once, 0,
			    COUNT(unusable));
	tcase_add_loop_test(tc, a_refusal_is_followed_by_the_next_at_once, 0, COUNT(refusals));
	tcase_add_loop_test(tc, the_last_refusal_is_passed_on, 0, COUNT(refusals));
	tcase_add_test(tc, a_refusal_is_remembered_when_others_are_silent);
	tcase_add_test(tc, silence_of_all_is_servfail);
	tcase_add_test(tc, closed_ports_of_all_are_servfail_at_once);
}

static void add_more_tests(TCase *tc)
{
	tcase_add_test(tc, no_server_is_servfail_at_once);
	tcase_add_test(tc, a_new_server_gets_the_next_query);
	tcase_add_test(tc, connections_have_servers_in_turn);
	tcase_add_test(tc, wrong_answers_are_ignored);
	tcase_add_test(tc, answers_of_others_are_ignored);
	tcase_add_test(tc, a_flood_of_wrong_answers_hides_no_right_one);
	tcase_add_test(tc, the_case_of_letters_is_kept);
	tcase_add_test(tc, a_repeated_query_is_not_a_second_one);
	tcase_add_test(tc, different_queries_are_all_answered);
	tcase_add_test(tc, a_new_query_pushes_the_oldest_out);
	tcase_add_test(tc, the_limit_of_descriptors_pushes_out_too);
	tcase_add_test(tc, without_a_descriptor_it_is_servfail_at_once);
	tcase_add_test(tc, the_memory_of_queries_is_bounded);
	tcase_add_test(tc, the_end_drops_queries_under_way);
	tcase_add_test(tc, malformed_packets_are_ignored);
	tcase_add_test(tc, a_malformed_question_is_answered_with_formerr);
	tcase_add_test(tc, padding_is_not_passed_on);
}

int main(void)
{
	Suite *s = suite_create("dns");
	TCase *tc = fixture_case_with_dir("dns");

	add_tests(tc);
	add_more_tests(tc);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
