/* SPDX-License-Identifier: Apache-2.0 */

/* What packets from inside may reach: every way to the host's loopback is tried. */
#include "tests/unit/ownnet.h"
#include "tests/unit/usernet/taplink.h"
#include "usernet/policy.h"

/* ---- settings ---- */

enum setting {
	USUAL,	     /* as slirp4netns: the gateway is the host's loopback */
	NO_LOOPBACK, /* --disable-host-loopback */
	GVISOR,	     /* the DNS address is the gateway's */
	GVISOR_NO_LOOPBACK,
	NO_IPV6,
	NO_IPV6_NO_LOOPBACK,
	SETTINGS,
};

static struct netconf conf_of(enum setting setting)
{
	struct netconf conf = taplink_conf();

	conf.host_loopback = setting != NO_LOOPBACK && setting != GVISOR_NO_LOOPBACK &&
			     setting != NO_IPV6_NO_LOOPBACK;
	if (setting == GVISOR || setting == GVISOR_NO_LOOPBACK) {
		conf.dns = conf.gateway;
		conf.dns6 = conf.gateway6;
	}
	if (setting == NO_IPV6 || setting == NO_IPV6_NO_LOOPBACK) {
		conf.ipv6 = false;
		conf.gateway6 = conf.dns6 = conf.router6 = in6addr_any;
		conf.prefix6_len = 0;
	}
	return conf;
}

/* The inside's own address, of the family of `dst` */
static const char *source_for(const char *dst)
{
	return strchr(dst, ':') == NULL || strncmp(dst, "::ffff:", 7) == 0 ? "10.0.2.100"
									   : "fd00::100";
}

static enum policy decide(enum setting setting, const char *src, const char *dst,
			  struct in6_addr *host)
{
	const struct packet_addrs addrs = addrs_of(src, dst);
	const struct netconf conf = conf_of(setting);

	memset(host, 0x5a, sizeof(*host));
	return policy_decide(&conf, &addrs, host);
}

/* ---- destinations ---- */

static const struct {
	const char *dst;
	enum policy policy[SETTINGS]; /* in the order of enum setting */
	const char *host;	      /* with POLICY_HOST */
} destinations[] = {
	{ "10.0.2.2",
	  { POLICY_HOST, POLICY_SELF, POLICY_HOST, POLICY_SELF, POLICY_HOST, POLICY_SELF },
	  "127.0.0.1" },
	{ "fd00::2",
	  { POLICY_HOST, POLICY_SELF, POLICY_HOST, POLICY_SELF, POLICY_REFUSED, POLICY_REFUSED },
	  "::1" },
	{ "10.0.2.3",
	  { POLICY_DNS, POLICY_DNS, POLICY_HOST, POLICY_HOST, POLICY_DNS, POLICY_DNS },
	  "10.0.2.3" },
	{ "fd00::3",
	  { POLICY_DNS, POLICY_DNS, POLICY_HOST, POLICY_HOST, POLICY_REFUSED, POLICY_REFUSED },
	  "fd00::3" },
};

START_TEST(our_own_addresses_have_their_meaning)
{
	struct in6_addr host;

	for (enum setting s = 0; s < SETTINGS; s++) {
		const char *dst = destinations[_i].dst;
		enum policy policy = decide(s, source_for(dst), dst, &host);
		const char *want = destinations[_i].host;

		/* With IPv6 off, its addresses are as any others. */
		ck_assert_msg(policy == destinations[_i].policy[s], "%s, setting %d: %d", dst, s,
			      policy);
		if (policy == POLICY_HOST)
			assert_addr(&host, want);
	}
}
END_TEST

static const char *const elsewhere[] = {
	"192.0.2.1",	   "10.0.2.4", /* the inside's network, too: nobody has it, so connect(2)
					  says so */
	"10.0.2.100",		       /* from a container */
	"10.0.3.255",		       /* a broadcast address of another network cannot be known */
	"169.254.169.254",	       /* metadata services of clouds */
	"1.0.0.0",	   "126.255.255.255", "128.0.0.0", "223.255.255.255", "192.168.0.1",
};

static const char *const elsewhere6[] = {
	"2001:db8::1", "fd00::4", "fd00::2:2", "fe00::1", "fec0::1", "::1:0:0:0", "0:0:0:0:0:1::",
};

START_TEST(other_hosts_are_reached_by_their_addresses)
{
	struct in6_addr host;

	for (enum setting s = 0; s < SETTINGS; s++) {
		ck_assert_int_eq(decide(s, "10.88.0.7", elsewhere[_i], &host), POLICY_HOST);
		assert_addr(&host, elsewhere[_i]);
	}
}
END_TEST

START_TEST(ipv6_hosts_are_reached_unless_ipv6_is_off)
{
	struct in6_addr host;

	for (enum setting s = 0; s < NO_IPV6; s++) {
		ck_assert_int_eq(decide(s, "fd01::7", elsewhere6[_i], &host), POLICY_HOST);
		assert_addr(&host, elsewhere6[_i]);
	}
	ck_assert_int_eq(decide(NO_IPV6, "fd01::7", elsewhere6[_i], &host), POLICY_REFUSED);
	ck_assert_int_eq(decide(NO_IPV6_NO_LOOPBACK, "fd01::7", elsewhere6[_i], &host),
			 POLICY_REFUSED);
}
END_TEST

static const char *const forbidden[] = {
	/* the host's loopback */
	"127.0.0.1",
	"127.0.0.53",
	"127.0.0.0",
	"127.1.2.3",
	"127.255.255.255",
	"::1",
	/* where Linux connects to its loopback, too */
	"0.0.0.0",
	"0.0.0.1",
	"0.255.255.255",
	"::",
	/* forms of IPv4 in IPv6: mapped (which packet_read refuses already) and compatible */
	"::ffff:127.0.0.1",
	"::ffff:0.0.0.0",
	"::127.0.0.1",
	"::0.0.0.2",
	"::10.0.2.2",
	"::255.255.255.255",
	/* multicast, reserved, broadcast */
	"224.0.0.1",
	"239.255.255.255",
	"240.0.0.1",
	"255.255.255.254",
	"255.255.255.255",
	"10.0.2.255",
	"10.0.2.0",
	"ff00::",
	"ff01::1",
	"ff02::1",
	"ff02::2",
	"ff05::1:3",
	"ff0e::1",
	"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
	/* link-local */
	"fe80::1",
	"fe80::5efe:127.0.0.1",
	"febf:ffff::1",
};

START_TEST(forbidden_destinations_are_ignored)
{
	const char *dst = forbidden[_i];
	struct in6_addr host;

	for (enum setting s = 0; s < SETTINGS; s++)
		ck_assert_msg(decide(s, source_for(dst), dst, &host) == POLICY_IGNORED,
			      "%s, setting %d", dst, s);
}
END_TEST

/* The router's link-local address leads nowhere. Only link-local addresses get an answer, to a ping
 * for example. */
START_TEST(the_routers_address_leads_nowhere)
{
	struct in6_addr host;

	for (enum setting s = 0; s < SETTINGS; s++) {
		ck_assert_int_eq(decide(s, "fd00::100", "fe80::2", &host), POLICY_IGNORED);
		ck_assert_int_eq(decide(s, "fe80::2", "fe80::2", &host), POLICY_IGNORED);
		ck_assert_int_eq(decide(s, "fe80::1", "fe80::2", &host),
				 s >= NO_IPV6 ? POLICY_IGNORED : POLICY_SELF);
		ck_assert_int_eq(decide(s, "fe80::1", "fd00::2", &host), POLICY_IGNORED);
		ck_assert_int_eq(decide(s, "fe80::1", "fe80::3", &host), POLICY_IGNORED);
	}
}
END_TEST

START_TEST(forbidden_addresses_are_no_sources)
{
	const char *src = forbidden[_i];
	const char *dst = source_for(src)[0] == '1' ? "192.0.2.1" : "2001:db8::1";
	struct in6_addr host;

	for (enum setting s = 0; s < SETTINGS; s++) {
		ck_assert_msg(decide(s, src, dst, &host) == POLICY_IGNORED, "%s, setting %d", src,
			      s);
		ck_assert_int_eq(decide(s, src, dst[0] == '1' ? "10.0.2.2" : "fd00::2", &host),
				 POLICY_IGNORED);
	}
}
END_TEST

static const char *const ours[] = { "10.0.2.2", "10.0.2.3", "fd00::2", "fd00::3", "fe80::2" };

START_TEST(our_own_addresses_are_no_sources)
{
	const bool v4 = strchr(ours[_i], ':') == NULL;
	const struct netconf conf = conf_of(USUAL);
	const struct in6_addr addr = addr_of(ours[_i]);
	struct in6_addr host;

	ck_assert(policy_is_ours(&conf, &addr));
	for (int i = 0; i < COUNT(ours); i++)
		if (v4 == (strchr(ours[i], ':') == NULL))
			ck_assert_int_eq(decide(USUAL, ours[_i], ours[i], &host), POLICY_IGNORED);
	ck_assert_int_eq(decide(USUAL, ours[_i], v4 ? "192.0.2.1" : "2001:db8::1", &host),
			 POLICY_IGNORED);
}
END_TEST

/* "Land": a packet from the address that it is sent to */
START_TEST(a_packet_to_its_own_source_is_ignored)
{
	struct in6_addr host;

	ck_assert_int_eq(decide(USUAL, elsewhere[_i], elsewhere[_i], &host), POLICY_IGNORED);
}
END_TEST

START_TEST(other_addresses_are_not_ours)
{
	const struct netconf conf = conf_of(USUAL), no_ipv6 = conf_of(NO_IPV6);
	const struct in6_addr v4 = addr_of("10.0.2.4"), v6 = addr_of("fd00::2"), any = in6addr_any;

	ck_assert(!policy_is_ours(&conf, &v4));
	ck_assert(!policy_is_ours(&conf, &any));
	ck_assert(!policy_is_ours(&no_ipv6, &v6));
	ck_assert(!policy_is_ours(&no_ipv6, &any));
}
END_TEST

/* ---- all addresses ---- */

static bool is_loopback(const struct in6_addr *addr)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff }, zero[12];
	const uint8_t *b = addr->s6_addr;

	if (memcmp(b, mapped, sizeof(mapped)) == 0)
		return b[12] == 127 || b[12] == 0;
	return memcmp(b, zero, sizeof(zero)) == 0;
}

#define GATEWAY_NET 0x0a0002U /* the first three bytes of its address */
#define STEP	    401U      /* a prime number: each byte takes all values */

/* The gateway is the only way to the host's loopback. */
START_TEST(no_ipv4_address_but_the_gateway_leads_to_the_loopback)
{
	static const uint8_t ends[] = { 0, 1, 2, 3, 53, 127, 254, 255 };
	struct packet_addrs addrs = addrs_of("10.0.2.100", "0.0.0.0");
	const struct netconf conf = conf_of(_i);
	struct in6_addr host;
	size_t ways = 0;

	for (uint32_t net = GATEWAY_NET % STEP; net < 1U << 24; net += STEP)
		for (size_t i = 0; i < sizeof(ends); i++) {
			const uint32_t dst = htonl(net << 8 | ends[i]);

			memcpy(&addrs.dst.s6_addr[12], &dst, sizeof(dst));
			if (policy_decide(&conf, &addrs, &host) == POLICY_HOST &&
			    is_loopback(&host))
				ways++;
		}
	ck_assert_uint_eq(ways, conf.host_loopback ? 1 : 0);
}
END_TEST

START_TEST(no_ipv6_address_but_the_gateway_leads_to_the_loopback)
{
	struct packet_addrs addrs = addrs_of("fd00::100", "::");
	const struct netconf conf = conf_of(_i);
	const struct in6_addr gateway = addr_of("fd00::2");
	uint32_t state = 1;
	struct in6_addr host;

	for (int n = 0; n < 300000; n++) {
		for (size_t i = 0; i < sizeof(addrs.dst); i++) {
			state = state * 1664525 + 1013904223;
			addrs.dst.s6_addr[i] = state >> 29 < 5	  ? gateway.s6_addr[i]
					       : state >> 29 == 5 ? 0xff
								  : (uint8_t)(state >> 26 & 3);
		}
		if (policy_decide(&conf, &addrs, &host) != POLICY_HOST)
			continue;
		if (IN6_ARE_ADDR_EQUAL(&addrs.dst, &gateway))
			ck_assert(conf.host_loopback && IN6_IS_ADDR_LOOPBACK(&host));
		else if (is_loopback(&host) || !IN6_ARE_ADDR_EQUAL(&addrs.dst, &host))
			ck_abort_msg("address %d", n);
	}
}
END_TEST

/* ---- as the kernel sees it ---- */

static const char *const tunnels[] = {
	"64:ff9b::127.0.0.1", "::ffff:0:127.0.0.1",   "2002:7f00:1::1",
	"2001:0:7f00:1::",    "fd00::5efe:127.0.0.1",
};

/* Would the kernel send to this address over the loopback, in a host that has only that? */
static bool kernel_loops(const struct in6_addr *host)
{
	struct sockaddr_storage to;
	socklen_t len = policy_sockaddr(&to, host, 9);
	int fd = socket(to.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool loops = fd >= 0 && connect(fd, (struct sockaddr *)&to, len) == 0;

	if (fd >= 0)
		close(fd);
	return loops;
}

static void assert_no_way_in(const char *dst)
{
	struct in6_addr host;

	if (decide(NO_LOOPBACK, source_for(dst), dst, &host) == POLICY_HOST)
		ck_assert_msg(!kernel_loops(&host), "%s", dst);
}

START_TEST(the_kernel_knows_no_other_way_to_its_loopback)
{
	struct in6_addr host;

	if (!enter_bare_network())
		return;
	/* Without a route, only the loopback can be reached. */
	ck_assert_int_eq(decide(USUAL, "10.0.2.100", "10.0.2.2", &host), POLICY_HOST);
	ck_assert(kernel_loops(&host));
	for (int i = 0; i < COUNT(forbidden); i++)
		assert_no_way_in(forbidden[i]);
	for (int i = 0; i < COUNT(tunnels); i++)
		assert_no_way_in(tunnels[i]);
	for (int i = 0; i < COUNT(elsewhere); i++)
		assert_no_way_in(elsewhere[i]);
	for (int i = 0; i < COUNT(elsewhere6); i++)
		assert_no_way_in(elsewhere6[i]);
}
END_TEST

/* ---- DNS and other details ---- */

static const struct {
	enum setting setting;
	const char *dst;
	uint16_t port;
	bool is_dns;
} services[] = {
	{ USUAL, "10.0.2.3", 53, true },   { USUAL, "fd00::3", 53, true },
	{ USUAL, "10.0.2.3", 54, false },  { USUAL, "10.0.2.3", 53 << 8, false },
	{ USUAL, "10.0.2.2", 53, false },  { USUAL, "fd00::2", 53, false },
	{ USUAL, "192.0.2.1", 53, false }, { USUAL, "::", 53, false },
	{ GVISOR, "10.0.2.2", 53, true },  { GVISOR_NO_LOOPBACK, "10.0.2.2", 53, true },
	{ GVISOR, "10.0.2.3", 53, false }, { GVISOR, "fd00::2", 53, true },
	{ NO_IPV6, "10.0.2.3", 53, true }, { NO_IPV6, "fd00::3", 53, false },
	{ NO_IPV6, "::", 53, false },
};

START_TEST(port_53_of_the_dns_address_is_the_dns_service)
{
	const struct netconf conf = conf_of(services[_i].setting);
	const struct in6_addr dst = addr_of(services[_i].dst);

	ck_assert(policy_is_dns(&conf, &dst, services[_i].port) == services[_i].is_dns);
}
END_TEST

/* A family without a DNS address has :: in the settings. */
START_TEST(a_missing_dns_address_is_no_service)
{
	const struct packet_addrs addrs = addrs_of("fd00::100", "::");
	struct netconf conf = conf_of(USUAL);
	struct in6_addr host;

	conf.dns = conf.dns6 = in6addr_any;
	ck_assert(!policy_is_dns(&conf, &in6addr_any, 53));
	ck_assert(!policy_is_ours(&conf, &in6addr_any));
	ck_assert_int_eq(policy_decide(&conf, &addrs, &host), POLICY_IGNORED);
}
END_TEST

static const struct {
	int prefix_len;
	const char *dst;
	enum policy policy;
} edges[] = {
	{ 8, "10.255.255.255", POLICY_IGNORED },
	{ 8, "10.0.0.0", POLICY_IGNORED },
	{ 8, "10.0.2.255", POLICY_HOST },
	{ 25, "10.0.2.127", POLICY_IGNORED },
	{ 25, "10.0.2.128", POLICY_HOST },
	{ 25, "10.0.2.255", POLICY_HOST },
	{ 30, "10.0.2.0", POLICY_IGNORED },
	{ 30, "10.0.2.1", POLICY_HOST },
	/* no broadcast addresses (RFC 3021) */
	{ 31, "10.0.2.4", POLICY_HOST },
	{ 32, "10.0.2.4", POLICY_HOST },
	{ 31, "10.0.2.2", POLICY_HOST },
	{ 32, "10.0.2.2", POLICY_HOST },
	{ 0, "192.0.2.1", POLICY_HOST },
	{ 0, "255.255.255.255", POLICY_IGNORED },
};

START_TEST(broadcast_addresses_follow_the_prefix)
{
	const struct packet_addrs addrs = addrs_of("192.0.2.77", edges[_i].dst);
	struct netconf conf = conf_of(USUAL);
	struct in6_addr host;

	conf.prefix_len = edges[_i].prefix_len;
	ck_assert_int_eq(policy_decide(&conf, &addrs, &host), edges[_i].policy);
}
END_TEST

START_TEST(socket_addresses_are_of_their_family)
{
	const struct in6_addr v4 = addr_of("192.0.2.1"), v6 = addr_of("2001:db8::1");
	struct sockaddr_storage to;
	const struct sockaddr_in *in = (const struct sockaddr_in *)&to;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&to;

	memset(&to, 0x5a, sizeof(to));
	ck_assert_uint_eq(policy_sockaddr(&to, &v4, 8080), sizeof(*in));
	ck_assert_int_eq(in->sin_family, AF_INET);
	ck_assert_uint_eq(in->sin_port, htons(8080));
	ck_assert_uint_eq(in->sin_addr.s_addr, inet_addr("192.0.2.1"));
	memset(&to, 0x5a, sizeof(to));
	ck_assert_uint_eq(policy_sockaddr(&to, &v6, 65535), sizeof(*in6));
	ck_assert_int_eq(in6->sin6_family, AF_INET6);
	ck_assert_uint_eq(in6->sin6_port, 0xffff);
	ck_assert_uint_eq(in6->sin6_scope_id, 0);
	ck_assert_mem_eq(&in6->sin6_addr, &v6, sizeof(v6));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("policy");
	TCase *tc = fixture_case("policy");

	tcase_add_loop_test(tc, our_own_addresses_have_their_meaning, 0, COUNT(destinations));
	tcase_add_loop_test(tc, other_hosts_are_reached_by_their_addresses, 0, COUNT(elsewhere));
	tcase_add_loop_test(tc, ipv6_hosts_are_reached_unless_ipv6_is_off, 0, COUNT(elsewhere6));
	tcase_add_loop_test(tc, forbidden_destinations_are_ignored, 0, COUNT(forbidden));
	tcase_add_test(tc, the_routers_address_leads_nowhere);
	tcase_add_loop_test(tc, forbidden_addresses_are_no_sources, 0, COUNT(forbidden));
	tcase_add_loop_test(tc, our_own_addresses_are_no_sources, 0, COUNT(ours));
	tcase_add_loop_test(tc, a_packet_to_its_own_source_is_ignored, 0, COUNT(elsewhere));
	tcase_add_test(tc, other_addresses_are_not_ours);
	tcase_add_loop_test(tc, no_ipv4_address_but_the_gateway_leads_to_the_loopback, 0, SETTINGS);
	tcase_add_loop_test(tc, no_ipv6_address_but_the_gateway_leads_to_the_loopback, 0, SETTINGS);
	tcase_add_test(tc, the_kernel_knows_no_other_way_to_its_loopback);
	tcase_add_loop_test(tc, port_53_of_the_dns_address_is_the_dns_service, 0, COUNT(services));
	tcase_add_test(tc, a_missing_dns_address_is_no_service);
	tcase_add_loop_test(tc, broadcast_addresses_follow_the_prefix, 0, COUNT(edges));
	tcase_add_test(tc, socket_addresses_are_of_their_family);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
