/* SPDX-License-Identifier: Apache-2.0 */

/* The error queue of datagram sockets. */
#include "os/errqueue.h"
#include "tests/unit/addresses.h"

static const char *const loopbacks[] = { "127.0.0.1", "::1" };
/* "Port unreachable" of each family */
static const uint8_t types[] = { 3, 1 }, codes[] = { 3, 4 };
static const uint8_t from[][16] = { { [10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1 },
				    { [15] = 1 } };

/* Returns a socket connected to a port on which nobody listens. */
static int open_connected(int family)
{
	struct sockaddr_storage sa = address_of(loopbacks[family], 0);
	socklen_t len = sizeof(sa);
	int port = socket(sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int fd = socket(sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(port, (struct sockaddr *)&sa, sizeof(sa)), 0);
	ck_assert_int_eq(getsockname(port, (struct sockaddr *)&sa, &len), 0);
	close(port);
	ck_assert_int_eq(errqueue_enable(fd, sa.ss_family), 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sa, len), 0);
	return fd;
}

START_TEST(an_icmp_error_is_taken)
{
	struct errqueue_entry e;
	int fd;

	if (_i == 1 && !fixture_need_ipv6())
		return;
	fd = open_connected(_i);
	ck_assert_int_eq(errqueue_take(fd, &e), 0);
	ck_assert_int_eq(send(fd, "0123456789", 10, 0), 10);
	ck_assert_int_eq(errqueue_take(fd, &e), 1);
	ck_assert(e.is_icmp);
	ck_assert_int_eq(e.errnum, ECONNREFUSED);
	ck_assert_uint_eq(e.type, types[_i]);
	ck_assert_uint_eq(e.code, codes[_i]);
	ck_assert_mem_eq(&e.from, from[_i], sizeof(e.from));
	ck_assert_uint_eq(e.len, 10);
	ck_assert_mem_eq(e.bytes, "0123456789", 10);
	ck_assert_int_eq(errqueue_take(fd, &e), 0);
	ck_assert_int_eq(send(fd, "", 0, 0), 0); /* taking it has cleared it */
	close(fd);
}
END_TEST

START_TEST(an_error_of_this_host_is_not_of_icmp)
{
	static const char big[65530]; /* too long with the headers of UDP and IP */
	struct errqueue_entry e;
	int fd;

	if (_i == 1 && !fixture_need_ipv6())
		return;
	fd = open_connected(_i);
	ck_assert_int_eq(send(fd, big, sizeof(big), 0), -1);
	ck_assert_int_eq(errno, EMSGSIZE);
	ck_assert_int_eq(errqueue_take(fd, &e), 1);
	ck_assert(!e.is_icmp);
	ck_assert_int_eq(e.errnum, EMSGSIZE);
	close(fd);
}
END_TEST

START_TEST(a_wrong_descriptor_is_an_error)
{
	struct errqueue_entry e;

	ck_assert_int_eq(errqueue_enable(-1, AF_INET), -EBADF);
	ck_assert_int_eq(errqueue_take(-1, &e), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("errqueue");
	TCase *tc = fixture_case("errqueue");

	tcase_add_loop_test(tc, an_icmp_error_is_taken, 0, COUNT(loopbacks));
	tcase_add_loop_test(tc, an_error_of_this_host_is_not_of_icmp, 0, COUNT(loopbacks));
	tcase_add_test(tc, a_wrong_descriptor_is_an_error);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
