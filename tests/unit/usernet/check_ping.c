/* SPDX-License-Identifier: Apache-2.0 */

/* Ping from inside. The host's network is a namespace in which all addresses are local. */
#include "tests/unit/capturedlog.h"
#include "tests/unit/loopclock.h"
#include "tests/unit/ownnet.h"
#include "tests/unit/usernet/taplink.h"
#include "usernet/frags.h"
#include "usernet/ping.h"

#include <linux/rtnetlink.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>

#include "formats/icmpmsg.h"

#define IDLE_MS	  30000
#define FLOWS_MAX 8
#define ID	  0x1234

static struct taplink t;
static struct icmperr_sender errors;
static struct fdquota quota;
static struct ping *ping;
static struct frags *frags; /* of what the inside receives */
static struct frags_queue queue;

static void open_ping(void)
{
	struct ping_setup setup = {
		.link = &t.link, .errors = &errors, .quota = &quota, .max = FLOWS_MAX
	};

	taplink_open(&t);
	errors = (struct icmperr_sender){ .link = &t.link };
	quota = (struct fdquota){ .max = 100 };
	setup.loop = loop = loop_new(LOOP_EPOLL);
	ping = ping_new(&setup);
	ck_assert_ptr_nonnull(ping);
	frags = frags_new();
	ck_assert_ptr_nonnull(frags);
	frags_attach(&queue, frags, loop);
}

static void close_ping(void)
{
	ping_free(ping);
	frags_detach(&queue);
	frags_free(frags);
	loop_run_tasks(loop);
	loop_free(loop);
	taplink_close(&t);
	ck_assert_uint_eq(quota.used, 0);
}

/* ---- the host ---- */

/* Makes all addresses local. */
static void add_all_addresses(void)
{
	struct err e;
	int fd = rtnl_open(&e), lo = rtnl_link_index("lo", &e);

	ck_assert_int_eq(rtnl_local_default_add(fd, AF_INET, lo, RT_TABLE_LOCAL, &e), 0);
	if (fixture_has_ipv6())
		ck_assert_int_eq(rtnl_local_default_add(fd, AF_INET6, lo, RT_TABLE_LOCAL, &e), 0);
	close(fd);
}

/* Enters a network in which ping sockets are allowed, and which has no addresses yet. */
static bool enter_ping_network(void)
{
	const gid_t gid = getegid();
	char map[32];
	struct err e;

	snprintf(map, sizeof(map), "0 %u 1", (unsigned int)gid);
	if (!enter_bare_network())
		return false;
	if (fd_write_file("/proc/self/setgroups", "deny", &e) == 0 &&
	    fd_write_file("/proc/self/gid_map", map, &e) == 0 &&
	    fd_write_file("/proc/sys/net/ipv4/ping_group_range", "0 0", &e) == 0)
		return true;
	fixture_skip("sysctl", "net.ipv4.ping_group_range cannot be set in a namespace");
	return false;
}

static bool enter_host_network(void)
{
	if (!enter_ping_network())
		return false;
	add_all_addresses();
	return true;
}

/* The host does not answer by itself any more. Returns a raw socket that gets its requests. */
static int open_raw(void)
{
	struct err e;
	int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fd_write_file("/proc/sys/net/ipv4/icmp_echo_ignore_all", "1", &e), 0);
	return fd;
}

/* A request as it came to the host's network */
struct request {
	struct ip ip;
	struct icmphdr icmp;
	uint8_t data[64];
};

static void receive_request(int raw, struct request *r)
{
	do
		ck_assert_int_gt(recv(raw, r, sizeof(*r), 0), 0);
	while (r->icmp.type != ICMP_ECHO);
}

/* Sends ICMP from an address to the sender of the request. */
static void send_icmp(int raw, const char *from, const struct request *r, const void *message,
		      size_t len)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = inet_addr(from) };

	ck_assert_int_eq(bind(raw, (struct sockaddr *)&sa, sizeof(sa)), 0);
	sa.sin_addr = r->ip.ip_src;
	ck_assert_int_eq(sendto(raw, message, len, 0, (struct sockaddr *)&sa, sizeof(sa)),
			 (ssize_t)len);
	sa.sin_addr.s_addr = INADDR_ANY;
	ck_assert_int_eq(bind(raw, (struct sockaddr *)&sa, sizeof(sa)), 0);
}

/* ---- the inside ---- */

static uint8_t data[PACKET_IP_MAX];

static void fill_data(void)
{
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 2654435761U >> 11);
}

static struct packet request_of(const char *src, const char *dst, uint16_t id, uint16_t seq,
				uint8_t hops, size_t len)
{
	static uint8_t bytes[PACKET_IP_MAX];
	const struct packet_addrs addrs = addrs_of(src, dst);
	const struct icmpmsg m = { .type = packet_is_v4(&addrs) ? ICMP_ECHO : ICMP6_ECHO_REQUEST,
				   .rest = (uint32_t)id << 16 | seq,
				   .payload = data,
				   .len = len };

	icmpmsg_put(bytes, &addrs, &m);
	memcpy(bytes + ICMPMSG_LEN, data, len);
	return taplink_packet(&addrs, icmpmsg_proto(&addrs), hops, bytes, ICMPMSG_LEN + len);
}

static void send_request(const char *src, const char *dst, uint16_t id, uint16_t seq)
{
	struct packet p = request_of(src, dst, id, seq, 64, 56);

	ping_on_packet(ping, &p);
}

/* Waits for the next packet, and puts fragments together. */
static void await_packet(struct packet *p)
{
	unsigned long long until = fixture_now_ms() + 1000 * FIXTURE_DEADLINE_S;

	for (;;) {
		ck_assert(fixture_now_ms() < until);
		if (!taplink_receive_packet(&t, p))
			step();
		else if (!p->is_fragment || frags_on_packet(&queue, p))
			return;
	}
}

static void await_icmp(struct packet *p, struct icmpmsg *m)
{
	await_packet(p);
	ck_assert_int_eq(icmpmsg_read(m, p), 0);
	ck_assert_mem_eq(p->dst_mac, taplink_inside_mac, ETH_ALEN);
}

static void await_reply(const char *src, const char *dst, uint16_t id, uint16_t seq, size_t len)
{
	struct packet p;
	struct icmpmsg m;

	await_icmp(&p, &m);
	assert_addr(&p.addrs.src, dst);
	assert_addr(&p.addrs.dst, src);
	ck_assert_uint_eq(m.type, icmpmsg_echo_reply(&p.addrs));
	ck_assert_uint_eq(m.code, 0);
	ck_assert_uint_eq(m.rest, (uint32_t)id << 16 | seq);
	ck_assert_uint_eq(m.len, len);
	ck_assert_mem_eq(m.payload, data, len);
}

static void await_error(const char *from, uint8_t type, uint8_t code, uint16_t seq)
{
	struct packet p;
	struct icmpmsg m;
	uint8_t quoted[8];
	size_t head;

	await_icmp(&p, &m);
	head = packet_is_v4(&p.addrs) ? sizeof(struct ip) : sizeof(struct ip6_hdr);
	assert_addr(&p.addrs.src, from);
	ck_assert_uint_eq(m.type, type);
	ck_assert_uint_eq(m.code, code);
	ck_assert_uint_ge(m.len, head + sizeof(quoted));
	memcpy(quoted, m.payload + head, sizeof(quoted));
	ck_assert_uint_eq(quoted[4] << 8 | quoted[5], ID);
	ck_assert_uint_eq(quoted[6] << 8 | quoted[7], seq);
}

/* ---- our own addresses ---- */

static const char *const own[][2] = {
	{ "10.0.2.100", "10.0.2.2" }, { "10.0.2.100", "10.0.2.3" }, { "192.0.2.1", "10.0.2.2" },
	{ "fd00::100", "fd00::2" },   { "fd00::100", "fd00::3" },   { "fe80::1", "fe80::2" },
};

START_TEST(our_addresses_answer_by_themselves)
{
	fill_data();
	t.conf.host_loopback = _i % 2 == 0;
	send_request(own[_i / 2][0], own[_i / 2][1], ID, 7);
	await_reply(own[_i / 2][0], own[_i / 2][1], ID, 7, 56);
	ck_assert_uint_eq(quota.used, 0);
	ck_assert(!taplink_receive(&t));
}
END_TEST

/* 0 bytes, up to the longest packet */
static const size_t sizes[] = { 0, 1, 1472, 1473, 60000, 65507 };

START_TEST(a_ping_of_any_size_is_answered)
{
	struct packet p;

	fill_data();
	p = request_of("10.0.2.100", "10.0.2.2", ID, 1, 64, sizes[_i]);
	ping_on_packet(ping, &p);
	await_reply("10.0.2.100", "10.0.2.2", ID, 1, sizes[_i]);
}
END_TEST

START_TEST(a_ping_of_any_size_is_answered_over_ipv6)
{
	static const size_t more[] = { 1452, 1453, 65507, 65527 };
	struct packet p;

	fill_data();
	for (int i = 0; i < COUNT(more); i++) {
		p = request_of("fd00::100", "fd00::2", ID, 1, 64, more[i]);
		ping_on_packet(ping, &p);
		await_reply("fd00::100", "fd00::2", ID, 1, more[i]);
	}
}
END_TEST

static const char *const ignored[][2] = {
	{ "127.0.0.1", "10.0.2.2" },	{ "0.0.0.0", "10.0.2.2" },     { "224.0.0.1", "10.0.2.2" },
	{ "10.0.2.2", "10.0.2.2" },	{ "10.0.2.3", "10.0.2.2" },    { "10.0.2.255", "10.0.2.2" },
	{ "10.0.2.100", "10.0.2.255" }, { "10.0.2.100", "127.0.0.1" }, { "::1", "fd00::2" },
	{ "10.0.2.100", "224.0.0.1" },	{ "10.0.2.100", "0.0.0.0" },   { "fe80::2", "fd00::2" },
	{ "fd00::100", "::1" },		{ "fd00::100", "ff02::1" },    { "::", "fd00::2" },
	{ "fd00::100", "fe80::3" },	{ "fe80::1", "2001:db8::1" },  { "ff02::1", "fe80::2" },
	{ "fe80::2", "fe80::2" },	{ "fd00::100", "fe80::2" },    { "fe80::1", "fd00::2" },
};

START_TEST(some_addresses_are_never_pinged)
{
	if (!enter_host_network())
		return;
	send_request(ignored[_i][0], ignored[_i][1], ID, 1);
	settle();
	ck_assert(!taplink_receive(&t));
	ck_assert_uint_eq(quota.used, 0);
}
END_TEST

START_TEST(only_echo_requests_are_answered)
{
	const struct packet_addrs addrs = addrs_of("10.0.2.100", "10.0.2.2");

	for (unsigned int type = 0; type < 256; type++) {
		struct icmpmsg m = { .type = (uint8_t)type, .code = 1 };
		uint8_t bytes[ICMPMSG_LEN];
		struct packet p;

		m.code = type == ICMP_ECHO;
		icmpmsg_put(bytes, &addrs, &m);
		p = taplink_packet(&addrs, IPPROTO_ICMP, 64, bytes, sizeof(bytes));
		ping_on_packet(ping, &p);
		bytes[2] ^= 1; /* and not with a wrong checksum */
		p = taplink_packet(&addrs, IPPROTO_ICMP, 64, bytes, sizeof(bytes));
		ping_on_packet(ping, &p);
	}
	ck_assert(!taplink_receive(&t));
}
END_TEST

/* ---- the host's network ---- */

START_TEST(the_host_network_is_pinged)
{
	if (!enter_host_network())
		return;
	fill_data();
	for (uint16_t seq = 1; seq <= 3; seq++) {
		send_request("10.0.2.100", "192.0.2.1", ID, seq);
		await_reply("10.0.2.100", "192.0.2.1", ID, seq, 56);
	}
	send_request("10.0.2.100", "192.0.2.1", 77, 1);
	await_reply("10.0.2.100", "192.0.2.1", 77, 1, 56);
	send_request("10.0.2.101", "192.0.2.1", 77, 1);
	await_reply("10.0.2.101", "192.0.2.1", 77, 1, 56);
	ck_assert_uint_eq(quota.used, 3);
}
END_TEST

START_TEST(the_host_network_is_pinged_by_ipv6)
{
	if (!fixture_need_ipv6() || !enter_host_network())
		return;
	fill_data();
	for (uint16_t seq = 1; seq <= 3; seq++) {
		send_request("fd00::100", "2001:db8::1", ID, seq);
		await_reply("fd00::100", "2001:db8::1", ID, seq, 56);
	}
	ck_assert_uint_eq(quota.used, 1);
}
END_TEST

START_TEST(a_ping_of_any_size_reaches_the_host_network)
{
	struct packet p;

	if (!enter_host_network())
		return;
	fill_data();
	p = request_of("10.0.2.100", "192.0.2.1", ID, 1, 64, sizes[_i]);
	ping_on_packet(ping, &p);
	await_reply("10.0.2.100", "192.0.2.1", ID, 1, sizes[_i]);
}
END_TEST

/* We are a router on the way. */
START_TEST(the_time_to_live_becomes_less_by_one)
{
	static const uint8_t hops[] = { 2, 64, 255, 2, 3 };
	struct request r;
	struct packet p;
	int raw;

	if (!enter_host_network())
		return;
	raw = open_raw();
	for (int i = 0; i < COUNT(hops); i++) {
		p = request_of("10.0.2.100", "192.0.2.1", ID, (uint16_t)i, hops[i], 8);
		ping_on_packet(ping, &p);
		receive_request(raw, &r);
		ck_assert_uint_eq(r.ip.ip_ttl, hops[i] - 1);
		ck_assert_uint_eq(ntohs(r.icmp.un.echo.sequence), i);
	}
	close(raw);
}
END_TEST

/* Fails if the reply to a ping does not have this time to live. */
static void check_hops_of_reply(const char *src, const char *dst, uint8_t hops)
{
	struct packet p;
	struct icmpmsg m;

	send_request(src, dst, ID, 1);
	await_icmp(&p, &m);
	ck_assert_uint_eq(m.type, icmpmsg_echo_reply(&p.addrs));
	ck_assert_uint_eq(p.hops, hops);
}

/* What the host sends, and what arrives inside */
static const struct {
	const char *host;
	uint8_t inside;
} replies[] = { { "64", 63 }, { "255", 254 }, { "3", 2 }, { "2", 1 }, { "1", 1 } };

START_TEST(the_time_to_live_of_a_reply_becomes_less_by_one)
{
	struct err e;

	if (!enter_host_network())
		return;
	ck_assert_int_eq(fd_write_file("/proc/sys/net/ipv4/ip_default_ttl", replies[_i].host, &e),
			 0);
	check_hops_of_reply("10.0.2.100", "192.0.2.1", replies[_i].inside);
	check_hops_of_reply("10.0.2.100", "10.0.2.2", 64);
	if (!fixture_has_ipv6())
		return;
	ck_assert_int_eq(
		fd_write_file("/proc/sys/net/ipv6/conf/lo/hop_limit", replies[_i].host, &e), 0);
	check_hops_of_reply("fd00::100", "2001:db8::1", replies[_i].inside);
	check_hops_of_reply("fd00::100", "fd00::2", 64);
}
END_TEST

START_TEST(an_error_comes_back_from_its_sender)
{
	static const struct {
		uint8_t type, code;
	} kinds[] = { { ICMP_TIME_EXCEEDED, 0 },
		      { ICMP_DEST_UNREACH, ICMP_HOST_UNREACH },
		      { ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED },
		      { ICMP_DEST_UNREACH, ICMP_PKT_FILTERED } };
	struct {
		struct icmphdr head;
		struct request about;
	} message = { .head.type = 0 };
	struct request r;
	int raw;

	if (!enter_host_network())
		return;
	raw = open_raw();
	for (int i = 0; i < COUNT(kinds); i++) {
		send_request("10.0.2.100", "192.0.2.1", ID, (uint16_t)(i + 1));
		receive_request(raw, &r);
		message.head = (struct icmphdr){ .type = kinds[i].type, .code = kinds[i].code };
		if (kinds[i].code == ICMP_FRAG_NEEDED)
			message.head.un.frag.mtu = htons(1400);
		message.about = r;
		message.head.checksum = inetsum_finish(inetsum_add(0, &message, sizeof(message)));
		send_icmp(raw, "198.51.100.9", &r, &message, sizeof(message));
		await_error("198.51.100.9", kinds[i].type, kinds[i].code, (uint16_t)(i + 1));
	}
	ck_assert_uint_eq(quota.used, 1);
	close(raw);
}
END_TEST

/* Only the address that was pinged may answer. */
START_TEST(a_reply_from_elsewhere_is_ignored)
{
	struct request r;
	int raw;

	if (!enter_host_network())
		return;
	fill_data();
	raw = open_raw();
	send_request("10.0.2.100", "192.0.2.1", ID, 1);
	receive_request(raw, &r);
	r.icmp.type = ICMP_ECHOREPLY;
	r.icmp.checksum = 0;
	r.icmp.checksum = inetsum_finish(inetsum_add(0, &r.icmp, 64));
	send_icmp(raw, "198.51.100.9", &r, &r.icmp, 64);
	settle();
	ck_assert(!taplink_receive(&t));
	send_icmp(raw, "192.0.2.1", &r, &r.icmp, 64);
	await_reply("10.0.2.100", "192.0.2.1", ID, 1, 56);
	close(raw);
}
END_TEST

/* ---- what does not work ---- */

START_TEST(an_unreachable_network_is_reported)
{
	if (!enter_ping_network())
		return;
	send_request("10.0.2.100", "192.0.2.1", ID, 3);
	await_error("10.0.2.2", ICMP_DEST_UNREACH, ICMP_NET_UNREACH, 3);
	send_request("fd00::100", "2001:db8::1", ID, 4);
	await_error("fd00::2", ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_NOROUTE, 4);
	ck_assert_uint_eq(quota.used, 0);
}
END_TEST

START_TEST(without_ipv6_nothing_is_sent)
{
	if (!enter_host_network())
		return;
	t.conf.ipv6 = false;
	send_request("fd00::100", "2001:db8::1", ID, 1);
	send_request("fd00::100", "fd00::2", ID, 1);
	settle();
	ck_assert(!taplink_receive(&t));
}
END_TEST

/* A new network forbids ping sockets. */
START_TEST(a_host_that_forbids_ping_is_reported)
{
	const char *log;

	if (!enter_bare_network())
		return;
	add_all_addresses();
	capture_log(false);
	for (uint16_t seq = 1; seq <= 3; seq++) {
		send_request("10.0.2.100", "192.0.2.1", ID, seq);
		await_error("10.0.2.2", ICMP_DEST_UNREACH, ICMP_PKT_FILTERED, seq);
	}
	log = strstr(read_log(), "sysctl -w net.ipv4.ping_group_range");
	ck_assert_ptr_nonnull(log);
	ck_assert_ptr_null(strstr(log + 1, "sysctl"));
	release_log();
	ck_assert_uint_eq(quota.used, 0);
}
END_TEST

/* ---- bounds ---- */

START_TEST(an_idle_flow_ends)
{
	if (!enter_host_network())
		return;
	fill_data();
	send_request("10.0.2.100", "192.0.2.1", 1, 1);
	await_reply("10.0.2.100", "192.0.2.1", 1, 1, 56);
	skip_ms(IDLE_MS / 2);
	send_request("10.0.2.100", "192.0.2.1", 2, 1);
	await_reply("10.0.2.100", "192.0.2.1", 2, 1, 56);
	ck_assert_uint_eq(quota.used, 2);
	skip_ms(IDLE_MS / 2 + 100);
	ck_assert_uint_eq(quota.used, 1);
	skip_ms(IDLE_MS / 2 + 100);
	ck_assert_uint_eq(quota.used, 0);
}
END_TEST

/* A flood of new flows does not end the one that is answered. */
START_TEST(a_flood_is_bounded)
{
	if (!enter_host_network())
		return;
	fill_data();
	for (uint16_t seq = 1; seq <= 3; seq++) {
		send_request("10.0.2.100", "192.0.2.1", ID, seq);
		await_reply("10.0.2.100", "192.0.2.1", ID, seq, 56);
	}
	for (uint16_t id = 0; id < 1000; id++) {
		send_request("10.0.2.100", "192.0.2.1", id, 1);
		ck_assert_uint_le(quota.used, FLOWS_MAX);
		loop_run_tasks(loop);
	}
	settle();
	while (taplink_receive(&t))
		;
	send_request("10.0.2.100", "192.0.2.1", ID, 4);
	await_reply("10.0.2.100", "192.0.2.1", ID, 4, 56);
}
END_TEST

START_TEST(without_descriptors_another_flow_ends)
{
	if (!enter_host_network())
		return;
	fill_data();
	quota.max = 2;
	for (uint16_t id = 1; id <= 5; id++) {
		send_request("10.0.2.100", "192.0.2.1", id, 1);
		await_reply("10.0.2.100", "192.0.2.1", id, 1, 56);
		ck_assert_uint_le(quota.used, 2);
	}
}
END_TEST

START_TEST(without_any_descriptor_nothing_is_sent)
{
	if (!enter_host_network())
		return;
	quota.max = 0;
	send_request("10.0.2.100", "192.0.2.1", 1, 1);
	settle();
	ck_assert(!taplink_receive(&t));
}
END_TEST

START_TEST(freeing_nothing_is_fine)
{
	ping_free(NULL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ping");
	TCase *tc = fixture_case_with_dir("ping");

	tcase_add_checked_fixture(tc, open_ping, close_ping);
	tcase_add_loop_test(tc, our_addresses_answer_by_themselves, 0, 2 * COUNT(own));
	tcase_add_loop_test(tc, a_ping_of_any_size_is_answered, 0, COUNT(sizes));
	tcase_add_test(tc, a_ping_of_any_size_is_answered_over_ipv6);
	tcase_add_loop_test(tc, some_addresses_are_never_pinged, 0, COUNT(ignored));
	tcase_add_test(tc, only_echo_requests_are_answered);
	tcase_add_test(tc, the_host_network_is_pinged);
	tcase_add_test(tc, the_host_network_is_pinged_by_ipv6);
	tcase_add_loop_test(tc, a_ping_of_any_size_reaches_the_host_network, 0, COUNT(sizes));
	tcase_add_test(tc, the_time_to_live_becomes_less_by_one);
	tcase_add_loop_test(tc, the_time_to_live_of_a_reply_becomes_less_by_one, 0, COUNT(replies));
	tcase_add_test(tc, an_error_comes_back_from_its_sender);
	tcase_add_test(tc, a_reply_from_elsewhere_is_ignored);
	tcase_add_test(tc, an_unreachable_network_is_reported);
	tcase_add_test(tc, without_ipv6_nothing_is_sent);
	tcase_add_test(tc, a_host_that_forbids_ping_is_reported);
	tcase_add_test(tc, an_idle_flow_ends);
	tcase_add_test(tc, a_flood_is_bounded);
	tcase_add_test(tc, without_descriptors_another_flow_ends);
	tcase_add_test(tc, without_any_descriptor_nothing_is_sent);
	tcase_add_test(tc, freeing_nothing_is_fine);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
