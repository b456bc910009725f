/* SPDX-License-Identifier: Apache-2.0 */

/* ARP and neighbour discovery for our addresses. */
#include "formats/arpmsg.h"
#include "tests/unit/usernet/taplink.h"
#include "usernet/neighbour.h"

#include <net/if_arp.h>
#include <netinet/icmp6.h>

static struct taplink t;

static void open_link(void)
{
	taplink_open(&t);
}

static void close_link(void)
{
	taplink_close(&t);
}

/* ---- ARP ---- */

static void send_arp(uint16_t op, const char *src, const char *dst)
{
	struct arpmsg m = { .op = op, .src.s_addr = inet_addr(src), .dst.s_addr = inet_addr(dst) };
	uint8_t bytes[ARPMSG_LEN];
	struct packet p = { .payload = bytes, .payload_len = sizeof(bytes) };

	memcpy(m.src_mac, taplink_inside_mac, ETH_ALEN);
	memcpy(p.src_mac, taplink_inside_mac, ETH_ALEN);
	arpmsg_put(bytes, &m);
	neighbour_on_arp(&t.link, &p);
}

static const struct {
	const char *src, *dst;
} arp_answered[] = {
	{ "10.0.2.100", "10.0.2.2" }, { "10.0.2.100", "10.0.2.3" },
	{ "192.0.2.1", "10.0.2.2" }, /* another address of the inside */
	{ "0.0.0.0", "10.0.2.2" },   /* a probe (RFC 5227) */
	{ "0.0.0.0", "10.0.2.3" },
};

START_TEST(arp_requests_for_our_addresses_are_answered)
{
	struct arpmsg m;

	send_arp(ARPOP_REQUEST, arp_answered[_i].src, arp_answered[_i].dst);
	ck_assert(taplink_receive(&t));
	ck_assert_uint_eq(t.len, PACKET_ETH_LEN + ARPMSG_LEN);
	ck_assert_mem_eq(t.frame, taplink_inside_mac, ETH_ALEN);
	ck_assert_mem_eq(t.frame + ETH_ALEN, t.conf.mac, ETH_ALEN);
	ck_assert_mem_eq(t.frame + 12, "\x08\x06", 2);
	ck_assert_int_eq(arpmsg_read(&m, t.frame + PACKET_ETH_LEN, ARPMSG_LEN), 0);
	ck_assert_uint_eq(m.op, ARPOP_REPLY);
	ck_assert_mem_eq(m.src_mac, t.conf.mac, ETH_ALEN);
	ck_assert_mem_eq(m.dst_mac, taplink_inside_mac, ETH_ALEN);
	ck_assert_uint_eq(m.src.s_addr, inet_addr(arp_answered[_i].dst));
	ck_assert_uint_eq(m.dst.s_addr, inet_addr(arp_answered[_i].src));
	ck_assert(!taplink_receive(&t));
}
END_TEST

static const struct {
	uint16_t op;
	const char *src, *dst;
} arp_ignored[] = {
	{ ARPOP_REQUEST, "10.0.2.100", "10.0.2.1" },
	{ ARPOP_REQUEST, "10.0.2.100", "10.0.2.100" }, /* an announcement */
	{ ARPOP_REQUEST, "0.0.0.0", "10.0.2.100" },    /* a probe for an address inside */
	{ ARPOP_REQUEST, "10.0.2.2", "10.0.2.2" },     /* announcements of our addresses */
	{ ARPOP_REQUEST, "10.0.2.2", "10.0.2.3" },     /* in our name */
	{ ARPOP_REQUEST, "10.0.2.100", "0.0.0.0" },
	{ ARPOP_REQUEST, "10.0.2.100", "10.0.2.255" },
	{ ARPOP_REPLY, "10.0.2.100", "10.0.2.2" },
	{ 9, "10.0.2.100", "10.0.2.2" },
};

START_TEST(other_arp_is_ignored)
{
	send_arp(arp_ignored[_i].op, arp_ignored[_i].src, arp_ignored[_i].dst);
	ck_assert(!taplink_receive(&t));
}
END_TEST

START_TEST(cut_arp_is_ignored)
{
	struct arpmsg m = { .op = ARPOP_REQUEST, .dst.s_addr = inet_addr("10.0.2.2") };
	uint8_t bytes[ARPMSG_LEN];

	arpmsg_put(bytes, &m);
	for (size_t len = 0; len < sizeof(bytes); len++) {
		struct packet p = { .payload_len = len };

		p.payload = (uint8_t *)fixture_exact_copy((char *)bytes, len);
		neighbour_on_arp(&t.link, &p);
	}
	ck_assert(!taplink_receive(&t));
}
END_TEST

/* ---- neighbour discovery ---- */

/* A neighbour solicitation with its sender's MAC address, except for probes. */
static size_t solicit(uint8_t *out, const char *src, const char *target)
{
	struct nd_neighbor_solicit m = { .nd_ns_type = ND_NEIGHBOR_SOLICIT,
					 .nd_ns_target = addr_of(target) };
	const uint8_t option[] = { ND_OPT_SOURCE_LINKADDR, 1 };

	memcpy(out, &m, sizeof(m));
	if (strcmp(src, "::") == 0)
		return sizeof(m);
	memcpy(out + sizeof(m), option, sizeof(option));
	memcpy(out + sizeof(m) + sizeof(option), taplink_inside_mac, ETH_ALEN);
	return sizeof(m) + 8;
}

static bool send_icmp6(const char *src, const char *dst, uint8_t hops, uint8_t *message, size_t len)
{
	struct packet_addrs addrs = addrs_of(src, dst);
	uint64_t sum = inetsum_add_pseudo(0, &addrs.src, &addrs.dst, IPPROTO_ICMPV6, len);
	uint16_t result;
	struct packet p;

	memset(message + 2, 0, 2);
	result = inetsum_finish(inetsum_add(sum, message, len));
	memcpy(message + 2, &result, sizeof(result));
	p = taplink_packet(&addrs, IPPROTO_ICMPV6, hops, message, len);
	return neighbour_on_icmp6(&t.link, &p);
}

static const struct {
	const char *src, *dst, *target;
} solicited[] = {
	{ "fd00::100", "ff02::1:ff00:2", "fd00::2" },
	{ "fd00::100", "ff02::1:ff00:3", "fd00::3" },
	{ "fe80::1", "ff02::1:ff00:2", "fe80::2" },
	{ "fd00::100", "fd00::2", "fd00::2" }, /* is it still there? */
	{ "::", "ff02::1:ff00:2", "fd00::2" }, /* somebody would like to have the address */
	{ "::", "ff02::1:ff00:3", "fd00::3" },
	{ "::", "ff02::1:ff00:2", "fe80::2" },
};

static void check_advert(const struct packet *p, const char *target, bool is_probe)
{
	struct nd_neighbor_advert m;

	ck_assert_uint_eq(p->payload_len, sizeof(m) + 8);
	ck_assert_uint_eq(p->hops, 255);
	ck_assert_uint_eq(taplink_sum(p), 0);
	memcpy(&m, p->payload, sizeof(m));
	ck_assert_uint_eq(m.nd_na_type, ND_NEIGHBOR_ADVERT);
	ck_assert_uint_eq(m.nd_na_code, 0);
	ck_assert_uint_eq(m.nd_na_flags_reserved, ND_NA_FLAG_ROUTER | ND_NA_FLAG_OVERRIDE |
							  (is_probe ? 0 : ND_NA_FLAG_SOLICITED));
	assert_addr(&m.nd_na_target, target);
	assert_addr(&p->addrs.src, target);
	ck_assert_mem_eq(p->payload + sizeof(m), "\x02\x01", 2);
	ck_assert_mem_eq(p->payload + sizeof(m) + 2, t.conf.mac, ETH_ALEN);
}

START_TEST(neighbour_solicitations_for_our_addresses_are_answered)
{
	bool is_probe = strcmp(solicited[_i].src, "::") == 0;
	uint8_t message[64];
	size_t len = solicit(message, solicited[_i].src, solicited[_i].target);
	struct packet p;

	ck_assert(send_icmp6(solicited[_i].src, solicited[_i].dst, 255, message, len));
	ck_assert(taplink_receive_packet(&t, &p));
	check_advert(&p, solicited[_i].target, is_probe);
	assert_addr(&p.addrs.dst, is_probe ? "ff02::1" : solicited[_i].src);
	ck_assert_mem_eq(p.dst_mac,
			 is_probe ? (const uint8_t *)"\x33\x33\0\0\0\1" : taplink_inside_mac,
			 ETH_ALEN);
	ck_assert(!taplink_receive(&t));
}
END_TEST

static const struct {
	const char *src, *dst, *target;
	uint8_t hops;
} not_solicited[] = {
	{ "fd00::100", "ff02::1:ff00:4", "fd00::4", 255 },
	{ "::", "ff02::1:ff00:100", "fd00::100", 255 }, /* the inside tests its own address */
	{ "fd00::100", "ff02::1:ff00:2", "fd00::2", 254 },
	{ "fd00::2", "ff02::1:ff00:3", "fd00::3", 255 },   /* in our name */
	{ "::", "fd00::2", "fd00::2", 255 },		   /* a probe must be multicast */
	{ "::", "ff02::1:ff00:3", "fd00::2", 255 },	   /* to the group of its target */
	{ "fd00::100", "ff02::1", "ff02::1", 255 },	   /* multicast has no MAC address */
	{ "fd00::100", "fd00::2", "::ffff:10.0.2.2", 255 } /* not an IPv6 address */
};

START_TEST(other_neighbour_solicitations_are_ignored)
{
	uint8_t message[64];
	size_t len = solicit(message, not_solicited[_i].src, not_solicited[_i].target);

	ck_assert(send_icmp6(not_solicited[_i].src, not_solicited[_i].dst, not_solicited[_i].hops,
			     message, len));
	ck_assert(!taplink_receive(&t));
}
END_TEST

START_TEST(malformed_neighbour_solicitations_are_ignored)
{
	uint8_t message[64], wrong[64];
	size_t len = solicit(message, "fd00::100", "fd00::2");

	for (size_t i = 1; i < len; i++) {
		if (i == 24 || i == 32)
			continue; /* without an option it is valid, too */
		memcpy(wrong, message, len);
		ck_assert(send_icmp6("fd00::100", "fd00::2", 255, wrong, i));
		ck_assert_msg(!taplink_receive(&t), "%zu bytes", i);
	}
	memcpy(wrong, message, len);
	wrong[1] = 1; /* the code */
	ck_assert(send_icmp6("fd00::100", "fd00::2", 255, wrong, len));
	memcpy(wrong, message, len);
	wrong[25] = 0; /* the length of the option */
	ck_assert(send_icmp6("fd00::100", "fd00::2", 255, wrong, len));
	wrong[25] = 2;
	ck_assert(send_icmp6("fd00::100", "fd00::2", 255, wrong, len));
	memcpy(wrong, message, len); /* a probe with a MAC address */
	ck_assert(send_icmp6("::", "ff02::1:ff00:2", 255, wrong, len));
	ck_assert(!taplink_receive(&t));
}
END_TEST

START_TEST(a_wrong_checksum_is_noticed)
{
	struct packet_addrs addrs = addrs_of("fd00::100", "fd00::2");
	uint8_t message[64] = { 0 };
	size_t len = solicit(message, "fd00::100", "fd00::2");
	struct packet p = taplink_packet(&addrs, IPPROTO_ICMPV6, 255, message, len);

	ck_assert(neighbour_on_icmp6(&t.link, &p));
	ck_assert(!taplink_receive(&t));
}
END_TEST

static const struct {
	const char *src, *dst;
} routers[] = { { "fe80::1", "fe80::1" }, { "::", "ff02::1" } };

/* The advertisement must not change what we have configured. */
START_TEST(a_router_solicitation_gets_an_advertisement_that_configures_nothing)
{
	uint8_t message[16] = { ND_ROUTER_SOLICIT };
	struct nd_router_advert m;
	struct packet p;

	ck_assert(send_icmp6(routers[_i].src, "ff02::2", 255, message, 8));
	ck_assert(taplink_receive_packet(&t, &p));
	assert_addr(&p.addrs.src, "fe80::2");
	assert_addr(&p.addrs.dst, routers[_i].dst);
	ck_assert_uint_eq(p.hops, 255);
	ck_assert_uint_eq(taplink_sum(&p), 0);
	ck_assert_uint_eq(p.payload_len, sizeof(m) + 16);
	memcpy(&m, p.payload, sizeof(m));
	ck_assert_uint_eq(m.nd_ra_type, ND_ROUTER_ADVERT);
	ck_assert_uint_eq(m.nd_ra_curhoplimit, LINK_HOPS);
	ck_assert_uint_eq(m.nd_ra_flags_reserved, 0);
	ck_assert_uint_eq(m.nd_ra_router_lifetime, 0);
	ck_assert_mem_eq(p.payload + 16, "\1\1\2\0\0\0\0\2", 8);
	ck_assert_mem_eq(p.payload + 24, "\5\1\0\0\0\0\x05\xdc", 8);
	ck_assert(!taplink_receive(&t));
}
END_TEST

START_TEST(router_solicitations_that_are_wrong_are_ignored)
{
	uint8_t message[16] = { ND_ROUTER_SOLICIT, [8] = ND_OPT_SOURCE_LINKADDR, [9] = 1 };

	ck_assert(send_icmp6("::", "ff02::2", 255, message, 16));
	ck_assert(send_icmp6("fe80::1", "ff02::2", 64, message, 16));
	ck_assert(send_icmp6("fe80::2", "ff02::2", 255, message, 16));
	ck_assert(send_icmp6("fe80::1", "ff02::2", 255, message, 7));
	ck_assert(!taplink_receive(&t));
}
END_TEST

START_TEST(only_neighbour_discovery_is_taken)
{
	uint8_t message[32] = { 0 };

	for (int type = 0; type < 256; type++) {
		message[0] = (uint8_t)type;
		ck_assert_int_eq(send_icmp6("fe80::1", "fe80::2", 255, message, 24),
				 type >= ND_ROUTER_SOLICIT && type <= ND_REDIRECT);
		while (taplink_receive(&t))
			;
	}
	ck_assert(!send_icmp6("fe80::1", "fe80::2", 255, message, 8));
}
END_TEST

/* The data of a fragment may begin with any byte. */
START_TEST(fragments_are_left_to_others)
{
	const struct packet_addrs addrs = addrs_of("fd00::100", "fd00::2");
	uint8_t message[64];
	size_t len = solicit(message, "fd00::100", "fd00::2");
	struct packet p = taplink_packet(&addrs, IPPROTO_ICMPV6, 255, message, len);

	p.is_fragment = true;
	p.fragment_at = 1448;
	ck_assert(!neighbour_on_icmp6(&t.link, &p));
	ck_assert(!taplink_receive(&t));
}
END_TEST

START_TEST(without_ipv6_nothing_is_answered)
{
	uint8_t message[64];
	size_t len = solicit(message, "fd00::100", "fd00::2");

	t.conf.ipv6 = false;
	ck_assert(send_icmp6("fd00::100", "fd00::2", 255, message, len));
	ck_assert(!taplink_receive(&t));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("neighbour");
	TCase *tc = fixture_case("arp");

	tcase_add_checked_fixture(tc, open_link, close_link);
	tcase_add_loop_test(tc, arp_requests_for_our_addresses_are_answered, 0,
			    COUNT(arp_answered));
	tcase_add_loop_test(tc, other_arp_is_ignored, 0, COUNT(arp_ignored));
	tcase_add_test(tc, cut_arp_is_ignored);
	suite_add_tcase(s, tc);
	tc = fixture_case("ndp");
	tcase_add_checked_fixture(tc, open_link, close_link);
	tcase_add_loop_test(tc, neighbour_solicitations_for_our_addresses_are_answered, 0,
			    COUNT(solicited));
	tcase_add_loop_test(tc, other_neighbour_solicitations_are_ignored, 0, COUNT(not_solicited));
	tcase_add_test(tc, malformed_neighbour_solicitations_are_ignored);
	tcase_add_test(tc, a_wrong_checksum_is_noticed);
	tcase_add_loop_test(tc, a_router_solicitation_gets_an_advertisement_that_configures_nothing,
			    0, COUNT(routers));
	tcase_add_test(tc, router_solicitations_that_are_wrong_are_ignored);
	tcase_add_test(tc, only_neighbour_discovery_is_taken);
	tcase_add_test(tc, fragments_are_left_to_others);
	tcase_add_test(tc, without_ipv6_nothing_is_answered);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
