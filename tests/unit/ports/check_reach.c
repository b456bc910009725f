/* SPDX-License-Identifier: Apache-2.0 */

/* Which addresses are local, in a network namespace that has only the link lo. */
#include "tests/unit/addresses.h"
#include "tests/unit/ownnet.h"

#include "ports/reach.h"

static const struct {
	const char *ip;
	bool is_local;
} addresses[] = {
	{ "127.0.0.1", true }, { "127.1.2.3", true },
	{ OWN_ADDRESS, true }, { "10.9.9.9", false }, /* no route leads there */
	{ "::1", true },       { "2001:db8::1", false },
};

START_TEST(the_namespaces_own_addresses_are_local)
{
	struct ipaddr ip;
	int fd;

	if (!enter_own_network())
		return;
	ck_assert_int_eq(ipaddr_parse(&ip, addresses[_i].ip), 0);
	fd = socket(ip.family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		ck_assert_int_eq(ip.family, AF_INET6);
		fixture_skip("ipv6", "the kernel lacks it");
		return;
	}
	/* A second call on the same socket gives the same answer. */
	for (int i = 0; i < 2; i++) {
		ck_assert(reach_is_local(fd, &ip) == addresses[_i].is_local);
		ck_assert(!reach_is_outside(fd, &ip)); /* there is no default route */
	}
	close(fd);
}
END_TEST

/* The answer is of the socket's namespace, not of the caller's. */
START_TEST(a_socket_tells_about_its_own_namespace)
{
	struct ipaddr ip;
	int before = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), after;

	ck_assert_int_eq(ipaddr_parse(&ip, "10.0.2.100"), 0);
	ck_assert_int_ge(before, 0);
	if (!enter_own_network()) {
		close(before);
		return;
	}
	after = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ck_assert(reach_is_local(after, &ip));
	ck_assert(!reach_is_local(before, &ip));
	close(before);
	close(after);
}
END_TEST

/* A connected socket would keep its source address. */
START_TEST(a_connected_socket_is_disconnected_before_and_after)
{
	struct sockaddr_storage sa = address_of("127.0.0.1", 9);
	socklen_t len = sizeof(sa);
	struct ipaddr ip;
	int fd;

	if (!enter_own_network())
		return;
	ck_assert_int_eq(ipaddr_parse(&ip, OWN_ADDRESS), 0);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sa, sizeof(struct sockaddr_in)), 0);
	ck_assert(reach_is_local(fd, &ip));
	ck_assert_int_lt(getpeername(fd, (struct sockaddr *)&sa, &len), 0);
	ck_assert_int_eq(errno, ENOTCONN);
	close(fd);
}
END_TEST

START_TEST(an_address_of_another_family_than_the_socket_is_not_local)
{
	struct ipaddr ip;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(ipaddr_parse(&ip, "2001:db8::1"), 0);
	ck_assert(!reach_is_local(fd, &ip));
	ck_assert(!reach_is_outside(fd, &ip));
	close(fd);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("reach");
	TCase *tc = fixture_case("reach");

	tcase_add_loop_test(tc, the_namespaces_own_addresses_are_local, 0, COUNT(addresses));
	tcase_add_test(tc, a_socket_tells_about_its_own_namespace);
	tcase_add_test(tc, a_connected_socket_is_disconnected_before_and_after);
	tcase_add_test(tc, an_address_of_another_family_than_the_socket_is_not_local);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
