/* SPDX-License-Identifier: Apache-2.0 */

/* Finding addresses of this machine. What changes a network is for the end-to-end tests. */
#include "fixture.h"
#include "rtnl.h"

#include <arpa/inet.h>
#include <ifaddrs.h>

static int asked;
static struct in_addr first; /* that the kernel named */

static bool is_any(struct in_addr addr)
{
	if (asked++ == 0)
		first = addr;
	return true;
}

static bool is_none(struct in_addr addr)
{
	(void)addr;
	asked++;
	return false;
}

static bool is_beyond_loopback(struct in_addr addr)
{
	return ntohl(addr.s_addr) >> 24 != 127;
}

/* What the C library says: the number of IPv4 addresses, and the first that passes. */
static int count_addresses(bool (*is_it)(struct in_addr addr), struct in_addr *found)
{
	struct ifaddrs *list;
	int count = 0;

	ck_assert_int_eq(getifaddrs(&list), 0);
	for (const struct ifaddrs *ifa = list; ifa != NULL; ifa = ifa->ifa_next) {
		const struct sockaddr_in *sin = (const void *)ifa->ifa_addr;

		if (sin == NULL || sin->sin_family != AF_INET || !is_it(sin->sin_addr))
			continue;
		if (count++ == 0)
			*found = sin->sin_addr;
	}
	freeifaddrs(list);
	return count;
}

START_TEST(the_first_address_is_the_C_librarys)
{
	struct in_addr expected, addr;
	int count = count_addresses(is_beyond_loopback, &expected);

	ck_assert_int_eq(rtnl_find_address(is_beyond_loopback, &addr), count > 0);
	if (count > 0)
		ck_assert_uint_eq(addr.s_addr, expected.s_addr);
}
END_TEST

START_TEST(it_stops_at_the_first_that_is_it)
{
	struct in_addr addr;

	asked = 0;
	if (rtnl_find_address(is_any, &addr) == 1) {
		ck_assert_int_eq(asked, 1);
		ck_assert_uint_eq(addr.s_addr, first.s_addr);
	}
}
END_TEST

START_TEST(all_are_asked_about_if_none_is_it)
{
	struct in_addr addr, ignored;
	int count = count_addresses(is_any, &ignored);

	asked = 0;
	ck_assert_int_eq(rtnl_find_address(is_none, &addr), 0);
	ck_assert_int_eq(asked, count);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("rtnl");
	TCase *tc = fixture_case("addresses");

	tcase_add_test(tc, the_first_address_is_the_C_librarys);
	tcase_add_test(tc, it_stops_at_the_first_that_is_it);
	tcase_add_test(tc, all_are_asked_about_if_none_is_it);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
