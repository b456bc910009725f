/* SPDX-License-Identifier: Apache-2.0 */

/* IP addresses: as text, as socket addresses, and their kinds. */
#include <arpa/inet.h>

#include "formats/ipaddr.h"
#include "tests/unit/fixture.h"

static const struct {
	const char *text;
	int family;
	bool is_loopback;
	bool is_any;
	const char *canonical;
} addresses[] = {
	{ "0.0.0.0", AF_INET, false, true, "0.0.0.0" },
	{ "0.0.0.1", AF_INET, false, false, "0.0.0.1" },
	{ "127.0.0.0", AF_INET, true, false, "127.0.0.0" },
	{ "127.255.255.255", AF_INET, true, false, "127.255.255.255" },
	{ "126.255.255.255", AF_INET, false, false, "126.255.255.255" },
	{ "128.0.0.0", AF_INET, false, false, "128.0.0.0" },
	{ "255.255.255.255", AF_INET, false, false, "255.255.255.255" },
	{ "1.0.0.127", AF_INET, false, false, "1.0.0.127" },
	{ "::", AF_INET6, false, true, "::" },
	{ "0:0::0", AF_INET6, false, true, "::" },
	{ "::1", AF_INET6, true, false, "::1" },
	{ "::2", AF_INET6, false, false, "::2" },
	{ "1::1", AF_INET6, false, false, "1::1" },
	{ "FE80:0:0::1", AF_INET6, false, false, "fe80::1" },
	{ "::1.2.3.4", AF_INET6, false, false, "::1.2.3.4" },
	{ "64:ff9b::1.2.3.4", AF_INET6, false, false, "64:ff9b::102:304" },
	/* IPv4-mapped addresses are IPv4. */
	{ "::ffff:10.0.2.100", AF_INET, false, false, "10.0.2.100" },
	{ "::ffff:7f00:1", AF_INET, true, false, "127.0.0.1" },
	{ "::FFFF:0.0.0.0", AF_INET, false, true, "0.0.0.0" },
	{ "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", AF_INET6, false, false,
	  "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" },
};

START_TEST(an_address_is_read)
{
	char buf[INET6_ADDRSTRLEN];
	struct ipaddr ip, again;

	ck_assert_int_eq(ipaddr_parse(&ip, addresses[_i].text), 0);
	ck_assert_int_eq(ip.family, addresses[_i].family);
	ck_assert_int_eq(ipaddr_is_loopback(&ip), addresses[_i].is_loopback);
	ck_assert_int_eq(ipaddr_is_any(&ip), addresses[_i].is_any);
	ck_assert_ptr_eq(ipaddr_text(&ip, buf, sizeof(buf)), buf);
	ck_assert_str_eq(buf, addresses[_i].canonical);
	ck_assert_int_eq(ipaddr_parse(&again, buf), 0);
	ck_assert(ipaddr_equal(&ip, &again));
}
END_TEST

static const char *const no_addresses[] = {
	"",	    "foo",	"1",	     "1.2.3",	 "1.2.3.4.5",	"256.0.0.1",
	"1.2.3.04", "01.2.3.4", "0x1.2.3.4", " 1.2.3.4", "1.2.3.4 ",	"1.2.3.",
	"-1.2.3.4", "[::1]",	":",	     ":::",	 "::1::",	"1:2:3:4:5:6:7",
	"::g",	    "::12345",	"::1%lo",    "::1%1",	 "::1.2.3.256", "1:2:3:4:5:6:7:8:9",
};

START_TEST(a_malformed_address_is_refused)
{
	struct ipaddr ip = { .family = AF_UNSPEC };

	ck_assert_int_eq(ipaddr_parse(&ip, no_addresses[_i]), -EINVAL);
	ck_assert_int_eq(ip.family, AF_UNSPEC);
}
END_TEST

/* An address equals exactly the addresses with the same canonical text. */
START_TEST(addresses_are_compared)
{
	struct ipaddr a, b;
	const struct ipaddr none = { .family = AF_UNSPEC };

	ck_assert_int_eq(ipaddr_parse(&a, addresses[_i].text), 0);
	for (int i = 0; i < COUNT(addresses); i++) {
		ck_assert_int_eq(ipaddr_parse(&b, addresses[i].text), 0);
		ck_assert_int_eq(ipaddr_equal(&a, &b),
				 strcmp(addresses[i].canonical, addresses[_i].canonical) == 0);
	}
	ck_assert(!ipaddr_equal(&a, &none));
	ck_assert(!ipaddr_equal(&none, &a));
}
END_TEST

START_TEST(an_unset_address_has_no_text)
{
	const struct ipaddr none = { .family = AF_UNSPEC };
	struct sockaddr_storage sa;
	char buf[INET6_ADDRSTRLEN] = "x";

	ck_assert(ipaddr_equal(&none, &none));
	ck_assert(!ipaddr_is_loopback(&none));
	ck_assert(!ipaddr_is_any(&none));
	ck_assert_str_eq(ipaddr_text(&none, buf, sizeof(buf)), "");
	ck_assert_uint_eq(ipaddr_sockaddr(&none, 80, &sa), 0);
	ck_assert_int_eq(sa.ss_family, AF_UNSPEC);
}
END_TEST

static const struct {
	sa_family_t family;
	const char *text;
} loopbacks[] = {
	{ AF_INET, "127.0.0.1" },
	{ AF_INET6, "::1" },
	{ AF_UNSPEC, "" },
};

START_TEST(each_family_has_a_loopback_address)
{
	const struct ipaddr ip = ipaddr_loopback(loopbacks[_i].family);
	char buf[INET6_ADDRSTRLEN];

	ck_assert_int_eq(ip.family, loopbacks[_i].family);
	ck_assert_str_eq(ipaddr_text(&ip, buf, sizeof(buf)), loopbacks[_i].text);
}
END_TEST

START_TEST(an_ipv4_socket_address_is_filled_in)
{
	struct sockaddr_storage sa;
	const struct sockaddr_in *sin = (const struct sockaddr_in *)&sa;
	struct ipaddr ip;

	memset(&sa, 0xff, sizeof(sa));
	ck_assert_int_eq(ipaddr_parse(&ip, "127.0.0.2"), 0);
	ck_assert_uint_eq(ipaddr_sockaddr(&ip, 0xfedc, &sa), sizeof(*sin));
	ck_assert_int_eq(sin->sin_family, AF_INET);
	ck_assert_uint_eq(ntohs(sin->sin_port), 0xfedc);
	ck_assert_uint_eq(ntohl(sin->sin_addr.s_addr), 0x7f000002);
	ck_assert_mem_eq(sin->sin_zero, "\0\0\0\0\0\0\0\0", sizeof(sin->sin_zero));
}
END_TEST

START_TEST(an_ipv6_socket_address_is_filled_in)
{
	struct sockaddr_storage sa;
	const struct sockaddr_in6 *sin6 = (const struct sockaddr_in6 *)&sa;
	struct ipaddr ip;

	memset(&sa, 0xff, sizeof(sa));
	ck_assert_int_eq(ipaddr_parse(&ip, "::1"), 0);
	ck_assert_uint_eq(ipaddr_sockaddr(&ip, 80, &sa), sizeof(*sin6));
	ck_assert_int_eq(sin6->sin6_family, AF_INET6);
	ck_assert_uint_eq(ntohs(sin6->sin6_port), 80);
	ck_assert_mem_eq(&sin6->sin6_addr, &in6addr_loopback, sizeof(in6addr_loopback));
	ck_assert_uint_eq(sin6->sin6_flowinfo, 0);
	ck_assert_uint_eq(sin6->sin6_scope_id, 0);
}
END_TEST

static const struct {
	const char *text;
	sa_family_t family; /* of the socket */
	const char *read;
} peers[] = {
	{ "192.0.2.7", AF_INET, "192.0.2.7" },
	{ "0.0.0.0", AF_INET, "0.0.0.0" },
	{ "fd00::7", AF_INET6, "fd00::7" },
	{ "::ffff:192.0.2.7", AF_INET6, "192.0.2.7" },
	{ "::192.0.2.7", AF_INET6, "::192.0.2.7" },
	{ "", AF_UNIX, "" },
	{ "", AF_UNSPEC, "" },
};

START_TEST(a_socket_address_is_read)
{
	struct sockaddr_storage sa = { .ss_family = peers[_i].family };
	char text[INET6_ADDRSTRLEN] = "";
	struct ipaddr ip;
	int port;

	if (sa.ss_family == AF_INET) {
		((struct sockaddr_in *)&sa)->sin_port = htons(0xfedc);
		inet_pton(AF_INET, peers[_i].text, &((struct sockaddr_in *)&sa)->sin_addr);
	} else if (sa.ss_family == AF_INET6) {
		((struct sockaddr_in6 *)&sa)->sin6_port = htons(0xfedc);
		inet_pton(AF_INET6, peers[_i].text, &((struct sockaddr_in6 *)&sa)->sin6_addr);
	}
	port = ipaddr_from_sockaddr(&ip, &sa);
	ck_assert_int_eq(port, *peers[_i].read != '\0' ? 0xfedc : 0);
	ck_assert_str_eq(ipaddr_text(&ip, text, sizeof(text)), peers[_i].read);
}
END_TEST

static const struct {
	const char *ip;
	int port;
	const char *text;
} endpoints[] = {
	{ "127.0.0.1", 80, "127.0.0.1:80" },
	{ "::1", 65535, "[::1]:65535" },
	{ "2001:db8:1111:2222:3333:4444:5555:6666", 65535,
	  "[2001:db8:1111:2222:3333:4444:5555:6666]:65535" },
};

START_TEST(an_ipv6_address_with_a_port_has_brackets)
{
	char text[IPADDR_ENDPOINT_LEN];
	struct ipaddr ip;

	ck_assert_int_eq(ipaddr_parse(&ip, endpoints[_i].ip), 0);
	ck_assert_str_eq(ipaddr_endpoint_text(&ip, endpoints[_i].port, text, sizeof(text)),
			 endpoints[_i].text);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ipaddr");
	TCase *tc = tcase_create("ipaddr");

	tcase_add_loop_test(tc, an_address_is_read, 0, COUNT(addresses));
	tcase_add_loop_test(tc, a_malformed_address_is_refused, 0, COUNT(no_addresses));
	tcase_add_loop_test(tc, addresses_are_compared, 0, COUNT(addresses));
	tcase_add_test(tc, an_unset_address_has_no_text);
	tcase_add_loop_test(tc, a_socket_address_is_read, 0, COUNT(peers));
	tcase_add_loop_test(tc, each_family_has_a_loopback_address, 0, COUNT(loopbacks));
	tcase_add_test(tc, an_ipv4_socket_address_is_filled_in);
	tcase_add_test(tc, an_ipv6_socket_address_is_filled_in);
	tcase_add_loop_test(tc, an_ipv6_address_with_a_port_has_brackets, 0, COUNT(endpoints));
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
