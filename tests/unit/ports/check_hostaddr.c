/* SPDX-License-Identifier: Apache-2.0 */

/* The host's address, in a network namespace of the test's own, whose addresses change. */
#include "ports/hostaddr.h"
#include "tests/unit/ownnet.h"

static struct loop *loop;

static const char *gateway(void)
{
	static char text[INET6_ADDRSTRLEN];
	struct ipaddr ip = hostaddr_gateway();

	return ip.family == AF_UNSPEC ? "none" : ipaddr_text(&ip, text, sizeof(text));
}

/* Runs the loop until the address is `want`; Check ends a test that takes too long. */
static void await_gateway(const char *want)
{
	while (strcmp(gateway(), want) != 0)
		ck_assert_int_eq(loop_step(loop, 1), 0);
}

START_TEST(without_a_watch_there_is_no_address)
{
	ck_assert_str_eq(gateway(), "none");
}
END_TEST

START_TEST(a_host_with_loopback_addresses_only_has_none)
{
	if (!enter_bare_network())
		return;
	add_own_address("127.0.0.5");
	loop = loop_new(LOOP_POLL);
	hostaddr_watch(loop);
	ck_assert_str_eq(gateway(), "none");
	hostaddr_unwatch(loop);
	loop_free(loop);
}
END_TEST

START_TEST(an_address_that_is_added_later_is_noticed)
{
	if (!enter_bare_network())
		return;
	loop = loop_new(LOOP_POLL);
	hostaddr_watch(loop);
	ck_assert_str_eq(gateway(), "none");
	add_own_address("192.0.2.7");
	await_gateway("192.0.2.7");
	/* The first one stays the address. */
	add_own_address("198.51.100.7");
	ck_assert_int_eq(loop_step(loop, 1), 0);
	ck_assert_str_eq(gateway(), "192.0.2.7");
	hostaddr_unwatch(loop);
	loop_free(loop);
}
END_TEST

START_TEST(an_address_that_exists_is_read_at_once)
{
	if (!enter_own_network())
		return;
	loop = loop_new(LOOP_EPOLL);
	hostaddr_watch(loop);
	ck_assert_str_eq(gateway(), OWN_ADDRESS);
	hostaddr_unwatch(loop);
	loop_free(loop);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("hostaddr");
	TCase *tc = fixture_case("hostaddr");

	tcase_add_test(tc, without_a_watch_there_is_no_address);
	tcase_add_test(tc, a_host_with_loopback_addresses_only_has_none);
	tcase_add_test(tc, an_address_that_is_added_later_is_noticed);
	tcase_add_test(tc, an_address_that_exists_is_read_at_once);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
