/* SPDX-License-Identifier: Apache-2.0 */

/* Options of TCP sockets, which accepted sockets inherit. */
#include "base/fd.h"
#include "os/sockopt.h"
#include "tests/unit/fixture.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int listener, client, accepted;

static void set_up(void)
{
	fixture_note_fds();
	listener = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_ge(listener, 0);
	client = accepted = -1;
}

static void tear_down(void)
{
	close(listener);
	close(client);
	close(accepted);
	fixture_check_fds();
}

static void make_connection(void)
{
	struct sockaddr_in sa = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sa);

	ck_assert_int_eq(bind(listener, (struct sockaddr *)&sa, len), 0);
	ck_assert_int_eq(listen(listener, SOCKOPT_BACKLOG), 0);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&sa, &len), 0);
	client = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(connect(client, (struct sockaddr *)&sa, len), 0);
	accepted = accept(listener, NULL, NULL);
	ck_assert_int_ge(accepted, 0);
}

static int get_option(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	ck_assert_int_eq(getsockopt(fd, level, name, &value, &len), 0);
	return value;
}

static const char *get_congestion_control(int fd)
{
	static char name[32];
	socklen_t len = sizeof(name) - 1;

	memset(name, 0, sizeof(name));
	ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len), 0);
	return name;
}

START_TEST(defaults_are_those_of_go_and_inherited)
{
	sockopt_tcp_defaults(listener);
	make_connection();
	ck_assert_int_eq(get_option(accepted, IPPROTO_TCP, TCP_NODELAY), 1);
	ck_assert_int_eq(get_option(accepted, SOL_SOCKET, SO_KEEPALIVE), 1);
	ck_assert_int_eq(get_option(accepted, SOL_SOCKET, SO_OOBINLINE), 1);
	ck_assert_int_eq(get_option(accepted, IPPROTO_TCP, TCP_KEEPIDLE), 15);
	ck_assert_int_eq(get_option(accepted, IPPROTO_TCP, TCP_KEEPINTVL), 15);
}
END_TEST

START_TEST(a_local_path_is_not_paced)
{
	/* A system may lack this control, or forbid it: then there is nothing to replace. */
	bool has_bbr = setsockopt(listener, IPPROTO_TCP, TCP_CONGESTION, "bbr", 3) == 0;
	char usual[32];

	strcpy(usual, get_congestion_control(listener));
	ck_assert(!has_bbr || strcmp(usual, "bbr") == 0);
	sockopt_tcp_local(listener);
	ck_assert_str_eq(get_congestion_control(listener), has_bbr ? "reno" : usual);
	make_connection();
	ck_assert_str_eq(get_congestion_control(accepted), has_bbr ? "reno" : usual);
}
END_TEST

/* Returns the result of recv(2) after the accepted socket was closed: 0 or an error number. */
static int end_seen_by_client(void)
{
	char byte;
	ssize_t n = recv(client, &byte, 1, 0);

	return n < 0 ? errno : (int)n;
}

START_TEST(an_unannounced_close_resets_the_connection)
{
	sockopt_tcp_reset_on_close(listener);
	make_connection();
	close(accepted);
	accepted = -1;
	ck_assert_int_eq(end_seen_by_client(), ECONNRESET);
}
END_TEST

START_TEST(a_clean_close_delivers_all_bytes_and_an_end)
{
	enum { LEN = 100000 };
	static char sent[LEN], got[LEN];

	memset(sent, 'x', sizeof(sent));
	sockopt_tcp_reset_on_close(listener);
	make_connection();
	ck_assert_int_eq(send(accepted, sent, LEN, 0), LEN);
	sockopt_close(&accepted);
	ck_assert_int_eq(accepted, -1);
	sockopt_close(&accepted);
	ck_assert_int_eq(recv(client, got, LEN, MSG_WAITALL), LEN);
	ck_assert_int_eq(memcmp(sent, got, LEN), 0);
	ck_assert_int_eq(end_seen_by_client(), 0);
}
END_TEST

START_TEST(the_congestion_control_is_not_changed)
{
	ck_assert_int_eq(setsockopt(listener, IPPROTO_TCP, TCP_CONGESTION, "reno", 4), 0);
	sockopt_tcp_local(listener);
	ck_assert_str_eq(get_congestion_control(listener), "reno");
}
END_TEST

START_TEST(an_error_is_taken_once)
{
	make_connection();
	ck_assert_int_eq(sockopt_take_error(client), 0);
	sockopt_reset(&accepted);
	ck_assert_int_eq(fd_wait(client, POLLIN, FIXTURE_DEADLINE_S * 1000) & POLLERR, POLLERR);
	ck_assert_int_eq(sockopt_take_error(client), ECONNRESET);
	ck_assert_int_eq(sockopt_take_error(client), 0);
	ck_assert_int_eq(sockopt_take_error(-1), EBADF);
}
END_TEST

/* Receives a datagram that was sent with this time to live. Returns what was reported with it. */
static int reported(int fd, int family, int hops)
{
	_Alignas(struct cmsghdr) char control[SOCKOPT_HOPS_ROOM];
	struct msghdr msg = { .msg_control = control, .msg_controllen = sizeof(control) };
	struct sockaddr_storage self;
	socklen_t len = sizeof(self);

	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&self, &len), 0);
	sockopt_set_hops(fd, family, hops);
	ck_assert_int_eq(sendto(fd, "", 0, 0, (struct sockaddr *)&self, len), 0);
	ck_assert_int_eq(recvmsg(fd, &msg, 0), 0);
	return sockopt_reported_hops(&msg);
}

static void check_reports(const struct sockaddr *sa, socklen_t len)
{
	int fd = socket(sa->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, sa, len), 0);
	ck_assert_int_eq(reported(fd, sa->sa_family, 7), SOCKOPT_ANY_HOPS);
	sockopt_report_hops(fd, sa->sa_family);
	ck_assert_int_eq(reported(fd, sa->sa_family, 7), 7);
	ck_assert_int_eq(reported(fd, sa->sa_family, 255), 255);
	close(fd);
}

START_TEST(the_time_to_live_is_reported_on_request)
{
	const struct sockaddr_in v4 = { .sin_family = AF_INET,
					.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	const struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback };

	check_reports((const struct sockaddr *)&v4, sizeof(v4));
	if (fixture_need_ipv6())
		check_reports((const struct sockaddr *)&v6, sizeof(v6));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("sockopt");
	TCase *tc = fixture_case("sockopt");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, defaults_are_those_of_go_and_inherited);
	tcase_add_test(tc, a_local_path_is_not_paced);
	tcase_add_test(tc, the_congestion_control_is_not_changed);
	tcase_add_test(tc, an_unannounced_close_resets_the_connection);
	tcase_add_test(tc, a_clean_close_delivers_all_bytes_and_an_end);
	tcase_add_test(tc, an_error_is_taken_once);
	tcase_add_test(tc, the_time_to_live_is_reported_on_request);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
