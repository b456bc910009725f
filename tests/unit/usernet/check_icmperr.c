/* SPDX-License-Identifier: Apache-2.0 */

/* ICMP errors to the inside. */
#include "tests/unit/usernet/taplink.h"
#include "usernet/icmperr.h"

#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>

#define PER_WINDOW 100

/* The clock of the code under test stands still. */
static time_t now_s = 1000;

int clock_gettime(clockid_t id, struct timespec *ts)
{
	(void)id;
	*ts = (struct timespec){ .tv_sec = now_s };
	return 0;
}

static struct taplink t;
static struct icmperr_sender sender;

static void open_link(void)
{
	taplink_open(&t);
	sender = (struct icmperr_sender){ .link = &t.link };
}

static void close_link(void)
{
	taplink_close(&t);
}

static const uint8_t udp[] = { 0x12, 0x34, 0, 0x35, 0, 12, 0, 0, 'm', 'a', 'r', 'k' };

static struct packet udp_packet(const char *src, const char *dst)
{
	const struct packet_addrs addrs = addrs_of(src, dst);

	return taplink_packet(&addrs, IPPROTO_UDP, 3, udp, sizeof(udp));
}

/* Receives an error, with a right checksum. */
static void receive_error(struct packet *p, struct icmpmsg *m)
{
	ck_assert(taplink_receive_packet(&t, p));
	ck_assert_int_eq(icmpmsg_read(m, p), 0);
	ck_assert_mem_eq(p->dst_mac, taplink_inside_mac, ETH_ALEN);
	ck_assert_uint_eq(t.header.flags, 0);
	ck_assert(!taplink_receive(&t));
}

/* Reads what an error quotes: all of these short packets. */
static void read_quote(struct packet *quote, const struct icmpmsg *m)
{
	static uint8_t frame[TAPLINK_FRAME_MAX];
	const bool v4 = m->payload[0] >> 4 == 4;

	memset(frame, 0, sizeof(frame));
	memcpy(frame + 12, v4 ? "\x08\x00" : "\x86\xdd", 2);
	memcpy(frame + PACKET_ETH_LEN, m->payload, m->len);
	ck_assert_int_eq(packet_read(quote, frame, sizeof(frame)), PACKET_IP);
	ck_assert_uint_eq(m->len, (size_t)(quote->payload - quote->ip) + quote->payload_len);
}

static const struct {
	enum icmperr what;
	uint8_t v4[2], v6[2];
	bool from_target;
	uint32_t v6_rest;
} kinds[] = {
	{ ICMPERR_NET_UNREACHABLE, { 3, 0 }, { 1, 0 }, false, 0 },
	{ ICMPERR_HOST_UNREACHABLE, { 3, 1 }, { 1, 3 }, false, 0 },
	{ ICMPERR_PROTO_UNREACHABLE, { 3, 2 }, { 4, 1 }, true, 6 },
	{ ICMPERR_PORT_UNREACHABLE, { 3, 3 }, { 1, 4 }, true, 0 },
	{ ICMPERR_PROHIBITED, { 3, 13 }, { 1, 1 }, false, 0 },
	{ ICMPERR_TOO_BIG, { 3, 4 }, { 2, 0 }, false, 1400 },
	{ ICMPERR_TIME_EXCEEDED, { 11, 0 }, { 3, 0 }, false, 0 },
};

START_TEST(errors_of_ipv4_have_the_numbers_of_the_rfc)
{
	struct packet p = udp_packet("10.0.2.100", "192.0.2.1"), quote;
	struct icmperr_about about;
	struct icmpmsg m;

	ck_assert(icmperr_about_packet(&about, &p));
	icmperr_send(&sender, &about, kinds[_i].what, 1400);
	receive_error(&p, &m);
	ck_assert_uint_eq(m.type, kinds[_i].v4[0]);
	ck_assert_uint_eq(m.code, kinds[_i].v4[1]);
	ck_assert_uint_eq(m.rest, kinds[_i].what == ICMPERR_TOO_BIG ? 1400 : 0);
	assert_addr(&p.addrs.src, kinds[_i].from_target ? "192.0.2.1" : "10.0.2.2");
	assert_addr(&p.addrs.dst, "10.0.2.100");
	read_quote(&quote, &m);
	assert_addr(&quote.addrs.src, "10.0.2.100");
	assert_addr(&quote.addrs.dst, "192.0.2.1");
	ck_assert_uint_eq(quote.hops, 3);
	ck_assert_uint_eq(quote.payload_len, sizeof(udp));
	ck_assert_mem_eq(quote.payload, udp, sizeof(udp));
}
END_TEST

START_TEST(errors_of_ipv6_have_the_numbers_of_the_rfc)
{
	struct packet p = udp_packet("fd00::100", "2001:db8::1"), quote;
	struct icmperr_about about;
	struct icmpmsg m;

	ck_assert(icmperr_about_packet(&about, &p));
	icmperr_send(&sender, &about, kinds[_i].what, 1400);
	receive_error(&p, &m);
	ck_assert_uint_eq(m.type, kinds[_i].v6[0]);
	ck_assert_uint_eq(m.code, kinds[_i].v6[1]);
	ck_assert_uint_eq(m.rest, kinds[_i].v6_rest);
	assert_addr(&p.addrs.src, kinds[_i].from_target ? "2001:db8::1" : "fd00::2");
	assert_addr(&p.addrs.dst, "fd00::100");
	read_quote(&quote, &m);
	assert_addr(&quote.addrs.dst, "2001:db8::1");
	ck_assert_uint_eq(quote.payload_len, sizeof(udp));
	ck_assert_mem_eq(quote.payload, udp, sizeof(udp));
}
END_TEST

START_TEST(an_error_about_ports_quotes_them)
{
	const struct packet_addrs addrs = addrs_of("10.0.2.100", "192.0.2.1");
	struct icmperr_about about;
	struct packet p, quote;
	struct icmpmsg m;

	icmperr_about_ports(&about, taplink_inside_mac, &addrs, IPPROTO_TCP, 0x1234, 80,
			    0x89abcdef);
	icmperr_send(&sender, &about, ICMPERR_HOST_UNREACHABLE, 0);
	receive_error(&p, &m);
	read_quote(&quote, &m);
	ck_assert_uint_eq(quote.proto, IPPROTO_TCP);
	ck_assert_mem_eq(quote.payload, "\x12\x34\x00\x50\x89\xab\xcd\xef", 8);

	icmperr_about_ports(&about, taplink_inside_mac, &addrs, IPPROTO_UDP, 0x1234, 53, 0);
	icmperr_send(&sender, &about, ICMPERR_PORT_UNREACHABLE, 0);
	receive_error(&p, &m);
	read_quote(&quote, &m);
	ck_assert_uint_eq(quote.proto, IPPROTO_UDP);
	ck_assert_mem_eq(quote.payload, "\x12\x34\x00\x35\x00\x08\x00\x00", 8);

	icmperr_about_data(&about, "data", 4);
	icmperr_send(&sender, &about, ICMPERR_PORT_UNREACHABLE, 0);
	receive_error(&p, &m);
	read_quote(&quote, &m);
	ck_assert_mem_eq(quote.payload,
			 "\x12\x34\x00\x35\x00\x0c\x00\x00"
			 "data",
			 12);
}
END_TEST

/* ---- no errors ---- */

static const char *const no_hosts[][2] = {
	{ "10.0.2.100", "224.0.0.1" }, { "10.0.2.100", "255.255.255.255" },
	{ "0.0.0.0", "192.0.2.1" },    { "224.0.0.1", "192.0.2.1" },
	{ "fd00::100", "ff02::1" },    { "::", "2001:db8::1" },
	{ "ff02::1", "2001:db8::1" },
};

START_TEST(there_is_no_error_about_packets_of_many)
{
	struct packet p = udp_packet(no_hosts[_i][0], no_hosts[_i][1]);
	struct icmperr_about about;

	ck_assert(!icmperr_about_packet(&about, &p));
}
END_TEST

START_TEST(there_is_no_error_about_some_packets)
{
	struct icmperr_about about;
	struct packet p = udp_packet("10.0.2.100", "192.0.2.1");

	p.is_fragment = true;
	ck_assert(icmperr_about_packet(&about, &p)); /* the first fragment */
	p.fragment_at = 8;
	ck_assert(!icmperr_about_packet(&about, &p));
	p = udp_packet("10.0.2.100", "192.0.2.1");
	p.payload_len = 7;
	ck_assert(!icmperr_about_packet(&about, &p));
	p = udp_packet("10.0.2.100", "192.0.2.1");
	memset(p.dst_mac, 0xff, ETH_ALEN);
	ck_assert(!icmperr_about_packet(&about, &p));
}
END_TEST

START_TEST(there_is_no_error_about_an_error)
{
	const struct packet_addrs v4 = addrs_of("10.0.2.100", "192.0.2.1");
	const struct packet_addrs v6 = addrs_of("fd00::100", "2001:db8::1");
	uint8_t message[8] = { ICMP_DEST_UNREACH };
	struct icmperr_about about;
	struct packet p = taplink_packet(&v4, IPPROTO_ICMP, 64, message, sizeof(message));

	ck_assert(!icmperr_about_packet(&about, &p));
	message[0] = ICMP6_TIME_EXCEEDED;
	p = taplink_packet(&v6, IPPROTO_ICMPV6, 64, message, sizeof(message));
	ck_assert(!icmperr_about_packet(&about, &p));
	message[0] = ICMP_ECHO;
	p = taplink_packet(&v4, IPPROTO_ICMP, 64, message, sizeof(message));
	ck_assert(icmperr_about_packet(&about, &p));
}
END_TEST

static size_t count_errors(int attempts)
{
	struct packet p = udp_packet("10.0.2.100", "192.0.2.1");
	struct icmperr_about about;
	size_t count = 0;

	ck_assert(icmperr_about_packet(&about, &p));
	for (int i = 0; i < attempts; i++)
		icmperr_send(&sender, &about, ICMPERR_PORT_UNREACHABLE, 0);
	while (taplink_receive(&t))
		count++;
	return count;
}

START_TEST(errors_are_rate_limited)
{
	ck_assert_uint_eq(count_errors(10), 10);
	ck_assert_uint_eq(count_errors(2 * PER_WINDOW), PER_WINDOW - 10);
	ck_assert_uint_eq(count_errors(10), 0);
	now_s++;
	ck_assert_uint_eq(count_errors(2 * PER_WINDOW), PER_WINDOW);
}
END_TEST

/* ---- errors from elsewhere ---- */

static const struct {
	const char *target, *from, *shown;
} relayed[] = {
	{ "192.0.2.1", "198.51.100.1", "198.51.100.1" }, /* a router on the way */
	{ "192.0.2.1", "192.0.2.1", "192.0.2.1" },
	{ "192.0.2.1", "127.0.0.1", "10.0.2.2" }, /* the host's own */
	{ "192.0.2.1", "0.0.0.0", "10.0.2.2" },
	{ "192.0.2.1", "10.0.2.3", "10.0.2.2" },
	{ "192.0.2.1", "::", "10.0.2.2" }, /* not known */
	{ "2001:db8::1", "2001:db8:1::1", "2001:db8:1::1" },
	{ "2001:db8::1", "fe80::1", "fd00::2" }, /* has no meaning inside */
	{ "2001:db8::1", "::1", "fd00::2" },
	{ "2001:db8::1", "198.51.100.1", "fd00::2" },
};

START_TEST(an_error_from_elsewhere_has_its_sender)
{
	const bool v4 = strchr(relayed[_i].target, ':') == NULL;
	const struct icmpmsg error = { .type = v4 ? 3 : 2, .code = v4 ? 4 : 0, .rest = 1280 };
	const struct in6_addr from = addr_of(relayed[_i].from);
	struct packet p = udp_packet(v4 ? "10.0.2.100" : "fd00::100", relayed[_i].target);
	struct icmperr_about about;
	struct icmpmsg m;

	ck_assert(icmperr_about_packet(&about, &p));
	icmperr_relay(&sender, &about, &from, &error);
	receive_error(&p, &m);
	assert_addr(&p.addrs.src, relayed[_i].shown);
	ck_assert_uint_eq(m.type, error.type);
	ck_assert_uint_eq(m.code, error.code);
	ck_assert_uint_eq(m.rest, 1280);
}
END_TEST

START_TEST(errors_of_sockets_have_an_icmp_error)
{
	static const struct {
		int errnum;
		enum icmperr what;
	} known[] = {
		{ ECONNREFUSED, ICMPERR_PORT_UNREACHABLE },
		{ EHOSTUNREACH, ICMPERR_HOST_UNREACHABLE },
		{ ETIMEDOUT, ICMPERR_HOST_UNREACHABLE },
		{ ENETUNREACH, ICMPERR_NET_UNREACHABLE },
		{ EAFNOSUPPORT, ICMPERR_NET_UNREACHABLE },
		{ EADDRNOTAVAIL, ICMPERR_NET_UNREACHABLE },
		{ ENOPROTOOPT, ICMPERR_PROTO_UNREACHABLE },
		{ EACCES, ICMPERR_PROHIBITED },
		{ EPERM, ICMPERR_PROHIBITED },
		{ EMSGSIZE, ICMPERR_TOO_BIG },
	};
	static const int none[] = { 0, EMFILE, ENOMEM, EAGAIN, EINVAL, ECONNRESET };
	enum icmperr what;

	for (int i = 0; i < COUNT(known); i++) {
		ck_assert(icmperr_from_errno(&what, known[i].errnum));
		ck_assert_int_eq(what, known[i].what);
	}
	for (int i = 0; i < COUNT(none); i++)
		ck_assert(!icmperr_from_errno(&what, none[i]));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("icmperr");
	TCase *tc = fixture_case("icmperr");

	tcase_add_checked_fixture(tc, open_link, close_link);
	tcase_add_loop_test(tc, errors_of_ipv4_have_the_numbers_of_the_rfc, 0, COUNT(kinds));
	tcase_add_loop_test(tc, errors_of_ipv6_have_the_numbers_of_the_rfc, 0, COUNT(kinds));
	tcase_add_test(tc, an_error_about_ports_quotes_them);
	tcase_add_loop_test(tc, there_is_no_error_about_packets_of_many, 0, COUNT(no_hosts));
	tcase_add_test(tc, there_is_no_error_about_some_packets);
	tcase_add_test(tc, there_is_no_error_about_an_error);
	tcase_add_test(tc, errors_are_rate_limited);
	tcase_add_loop_test(tc, an_error_from_elsewhere_has_its_sender, 0, COUNT(relayed));
	tcase_add_test(tc, errors_of_sockets_have_an_icmp_error);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
