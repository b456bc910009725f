/* SPDX-License-Identifier: Apache-2.0 */

/* Dials to servers of the test's own, with a child that hands over sockets, connects, or does not.
 * Connections from clients' addresses want a namespace of their own: tests/e2e/54-source-ip.sh. */
#include "tests/unit/fakechild.h"

#include "formats/ipaddr.h"
#include "ports/dial.h"

#define QUOTA 1024

static struct dialler dialler;
static int server;
static int port;
static int shortages; /* that dials reported */
static struct target target;

static struct attempt {
	struct dial dial;
	bool reported;
	int result;
} attempt;

static void on_shortage(const struct dialler *d, const char *why)
{
	ck_assert_ptr_eq(d, &dialler);
	ck_assert_str_ne(why, "");
	shortages++;
}

static void open_all(void)
{
	open_child(QUOTA);
	shortages = 0;
	dialler = (struct dialler){
		.loop = loop, .quota = &quota, .on_shortage = on_shortage, .bp_address = bp_address
	};
	ck_assert_int_eq(dialler_open(&dialler), 0);
	server = -1;
}

static void close_all(void)
{
	dialler_close(&dialler);
	fd_close(&server);
	close_child();
}

/* Binds the server's port; nobody is there yet. */
static void bind_server(int family)
{
	struct sockaddr_storage sa = { 0 };
	struct ipaddr ip = ipaddr_loopback((sa_family_t)family);
	socklen_t len;

	len = ipaddr_sockaddr(&ip, 0, &sa);
	server = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(server, (struct sockaddr *)&sa, len), 0);
	ck_assert_int_eq(getsockname(server, (struct sockaddr *)&sa, &len), 0);
	port = ipaddr_from_sockaddr(&ip, &sa);
}

static void open_server(int family)
{
	bind_server(family);
	ck_assert_int_eq(listen(server, 10), 0);
}

/* A server that does not accept, whose queue is full. */
static int fill_server(void)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	bind_server(AF_INET);
	ck_assert_int_eq(listen(server, 0), 0);
	ck_assert_int_eq(getsockname(server, (struct sockaddr *)&sa, &len), 0);
	connect(fd, (struct sockaddr *)&sa, len);
	return fd;
}

static void on_done(struct dial *d, int result)
{
	struct attempt *a = LOOP_OWNER(d, struct attempt, dial);

	ck_assert(!a->reported);
	a->reported = true;
	a->result = result;
}

/* Sets `target` to that of a port with these addresses. */
static void lead_to(enum proto proto, const char *child_ip, const char *parent_ip)
{
	static struct portspec spec;
	struct err e;

	spec = (struct portspec){ .proto = proto, .child_port = port };
	snprintf(spec.child_ip, sizeof(spec.child_ip), "%s", child_ip);
	snprintf(spec.parent_ip, sizeof(spec.parent_ip), "%s", parent_ip);
	ck_assert_msg(target_from_spec(&target, &spec, &e) == 0, "%s", e.msg);
}

static void start_to(enum proto proto, const char *ip, const char *source)
{
	lead_to(proto, ip, "");
	memset(&attempt, 0, sizeof(attempt));
	if (source != NULL) {
		ck_assert_int_eq(ipaddr_parse(&attempt.dial.source_ip, source), 0);
		attempt.dial.source_port = 40000;
	}
	dial_start(&attempt.dial, &dialler, 1, &target, on_done);
	ck_assert(!attempt.reported);
}

static int finish(void)
{
	unsigned long long until = fixture_now_ms() + FIXTURE_DEADLINE_S / 4 * 1000;

	while (!attempt.reported) {
		ck_assert(fixture_now_ms() < until);
		step();
	}
	return attempt.result;
}

static int dial_to(enum proto proto, const char *ip)
{
	start_to(proto, ip, NULL);
	return finish();
}

/* Checks that `fd` is connected to the server. */
static void check_and_close(int fd)
{
	char byte = 0;
	int peer;

	ck_assert_msg(fd >= 0, "%s", attempt.dial.why.msg);
	ck_assert(fixture_is_cloexec(fd));
	ck_assert_int_eq(send(fd, "x", 1, 0), 1);
	peer = accept4(server, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(peer, 0);
	ck_assert_int_eq(recv(peer, &byte, 1, 0), 1);
	ck_assert_int_eq(byte, 'x');
	close(peer);
	close(fd);
}

static const struct {
	int family;
	enum proto proto;
	const char *ip;
} servers[] = {
	{ AF_INET, PROTO_TCP, "" },	   { AF_INET, PROTO_TCP4, "127.0.0.1" },
	{ AF_INET, PROTO_TCP, "0.0.0.0" }, { AF_INET6, PROTO_TCP, "::1" },
	{ AF_INET6, PROTO_TCP6, "::" },
};

START_TEST(connections_use_sockets_of_the_pool)
{
	if (servers[_i].family == AF_INET6 && !fixture_need_ipv6())
		return;
	open_server(servers[_i].family);
	for (int i = 0; i < 20; i++)
		check_and_close(dial_to(servers[_i].proto, servers[_i].ip));
	ck_assert_uint_eq(child.connects, 0);
	ck_assert_uint_lt(child.batches, 12);
}
END_TEST

START_TEST(a_udp_socket_is_connected_too)
{
	struct sockaddr_in peer;
	socklen_t len = sizeof(peer);
	int fd;

	port = 53;
	fd = dial_to(PROTO_UDP, "127.0.0.9");
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(getpeername(fd, (struct sockaddr *)&peer, &len), 0);
	ck_assert_int_eq(ntohs(peer.sin_port), 53);
	ck_assert_uint_eq(ntohl(peer.sin_addr.s_addr), INADDR_LOOPBACK + 8);
	ck_assert_uint_eq(child.connects, 0);
	close(fd);
}
END_TEST

START_TEST(a_target_without_a_server_is_an_error_after_ten_tries)
{
	char text[128];

	bind_server(AF_INET);
	snprintf(text, sizeof(text), "dial tcp 127.0.0.1:%d: connect: connection refused", port);
	ck_assert_int_eq(dial_to(PROTO_TCP, ""), -ECONNREFUSED);
	ck_assert_str_eq(attempt.dial.why.msg, text);
	/* Each of ten tries has had a socket of its own. */
	ck_assert_uint_ge(child.sockets, 10);
	ck_assert_uint_eq(child.connects, 0);
}
END_TEST

START_TEST(a_server_that_starts_late_is_reached)
{
	bind_server(AF_INET);
	start_to(PROTO_TCP, "", NULL);
	settle();
	ck_assert(!attempt.reported);
	ck_assert_int_eq(listen(server, 1), 0);
	check_and_close(finish());
}
END_TEST

static const enum child_way poor_ways[] = { IS_OLD,    REFUSES,	      CLOSES,	   TALKS_GARBAGE,
					    SAYS_NULL, GIVES_SURPLUS, GIVES_PIPES, GIVES_UNIX,
					    GIVES_UDP, GIVES_V6 };

START_TEST(a_child_that_gives_no_sockets_is_asked_to_connect)
{
	if (poor_ways[_i] == GIVES_V6 && !fixture_need_ipv6())
		return;
	open_server(AF_INET);
	child.way = poor_ways[_i];
	for (int i = 0; i < 3; i++)
		check_and_close(dial_to(PROTO_TCP, ""));
	ck_assert_uint_eq(child.connects, 3);
}
END_TEST

START_TEST(a_child_that_gives_sockets_too_late_is_asked_to_connect)
{
	open_server(AF_INET);
	child.way = IS_SILENT;
	start_to(PROTO_TCP, "", NULL);
	settle();
	child.way = GIVES;
	skip_ms(3000);
	check_and_close(finish());
	ck_assert_uint_eq(child.connects, 1);
}
END_TEST

START_TEST(without_a_pool_the_child_is_asked_to_connect)
{
	open_server(AF_INET);
	dialler_close(&dialler);
	check_and_close(dial_to(PROTO_TCP, ""));
	ck_assert_uint_eq(child.connects, 1);
	ck_assert_uint_eq(child.batches, 0);
}
END_TEST

/* ---- the target of a port without a child IP ---- */

/* Dials to a port that was published on `parent_ip`. Returns the address that it got, or "". */
static const char *target_of(enum proto proto, const char *parent_ip)
{
	static char text[INET6_ADDRSTRLEN];
	struct sockaddr_storage peer;
	socklen_t len = sizeof(peer);
	struct ipaddr ip;
	int fd;

	lead_to(proto, "", parent_ip);
	memset(&attempt, 0, sizeof(attempt));
	dial_start(&attempt.dial, &dialler, 1, &target, on_done);
	fd = finish();
	if (fd < 0)
		return "";
	ck_assert_int_eq(getpeername(fd, (struct sockaddr *)&peer, &len), 0);
	close(fd);
	ipaddr_from_sockaddr(&ip, &peer);
	return ipaddr_text(&ip, text, sizeof(text));
}

/* A child that has sockets in store, and one that only connects. */
static const enum child_way ways[] = { GIVES, IS_OLD };

START_TEST(an_address_that_is_not_local_is_not_the_target)
{
	child.way = ways[_i];
	port = 53;
	ck_assert_str_eq(target_of(PROTO_UDP, "192.0.2.77"), "127.0.0.1");
	ck_assert_str_eq(target_of(PROTO_UDP, "::ffff:192.0.2.77"), "127.0.0.1");
	ck_assert_str_eq(target_of(PROTO_UDP, "127.0.0.9"), "127.0.0.9");
	open_server(AF_INET);
	ck_assert_str_eq(target_of(PROTO_TCP, "192.0.2.77"), "127.0.0.1");
	fd_close(&server);
	if (!fixture_need_ipv6())
		return;
	port = 53;
	ck_assert_str_eq(target_of(PROTO_UDP, "2001:db8::77"), "::1");
	ck_assert_str_eq(target_of(PROTO_UDP, "::1"), "::1");
	ck_assert_str_eq(target_of(PROTO_UDP, "::"), "::1");
	open_server(AF_INET6);
	ck_assert_str_eq(target_of(PROTO_TCP, "2001:db8::77"), "::1");
}
END_TEST

START_TEST(an_address_that_is_local_is_the_target)
{
	char own[INET6_ADDRSTRLEN];

	child.way = ways[_i];
	port = 53;
	if (own_address(AF_INET, own, sizeof(own)))
		ck_assert_str_eq(target_of(PROTO_UDP, own), own);
	if (fixture_has_ipv6() && own_address(AF_INET6, own, sizeof(own)))
		ck_assert_str_eq(target_of(PROTO_UDP, own), own);
}
END_TEST

static const struct {
	int family;
	const char *child_ip;
	const char *parent_ip;
	const char *ip; /* of the request */
} spellings[] = {
	{ AF_INET, "", "", "" },
	{ AF_INET, "", "0.0.0.0", "" },
	{ AF_INET, "", "::FFFF:127.0.0.2", "" },
	{ AF_INET, "", "::FFFF:192.0.2.77", "127.0.0.1" },
	{ AF_INET, "::FFFF:127.0.0.9", "192.0.2.77", "::FFFF:127.0.0.9" },
	{ AF_INET6, "0:0:0::1", "FD00:0::7", "0:0:0::1" },
	{ AF_INET6, "", "2001:DB8::77", "::1" },
	{ AF_INET6, "", "0:0::1", "" },
};

START_TEST(the_child_is_asked_with_addresses_as_they_were_written)
{
	char want[BPMSG_MAX];

	if (spellings[_i].family == AF_INET6 && !fixture_need_ipv6())
		return;
	port = 53;
	child.way = IS_OLD;
	lead_to(PROTO_UDP, spellings[_i].child_ip, spellings[_i].parent_ip);
	memset(&attempt, 0, sizeof(attempt));
	dial_start(&attempt.dial, &dialler, 1, &target, on_done);
	close(finish());
	snprintf(want, sizeof(want),
		 "{\"Type\":\"connect\",\"Proto\":\"udp\",\"IP\":\"%s\",\"Port\":53,"
		 "\"ParentIP\":\"%s\",\"HostGatewayIP\":\"\"}",
		 spellings[_i].ip, spellings[_i].parent_ip);
	ck_assert_str_eq(child.connect_text, want);
}
END_TEST

START_TEST(an_own_address_is_sent_as_it_was_written)
{
	char own[INET6_ADDRSTRLEN], mapped[sizeof("::FFFF:") + INET6_ADDRSTRLEN], want[256];

	port = 53;
	child.way = IS_OLD;
	if (!own_address(AF_INET, own, sizeof(own)))
		return;
	snprintf(mapped, sizeof(mapped), "::FFFF:%s", own);
	ck_assert_str_eq(target_of(PROTO_UDP, mapped), own);
	snprintf(want, sizeof(want), "\"IP\":\"%s\",\"Port\":53,\"ParentIP\":\"%s\"", mapped,
		 mapped);
	ck_assert_ptr_nonnull(strstr(child.connect_text, want));
}
END_TEST

START_TEST(the_child_is_asked_for_one_probe_a_family)
{
	open_server(AF_INET);
	for (int i = 0; i < 10; i++)
		ck_assert_str_eq(target_of(PROTO_TCP, "192.0.2.77"), "127.0.0.1");
	ck_assert_uint_eq(child.connects, 1);
	ck_assert_int_eq(child.connect.target.proto, PROTO_UDP4);
	if (!fixture_need_ipv6())
		return;
	fd_close(&server);
	open_server(AF_INET6);
	for (int i = 0; i < 10; i++)
		ck_assert_str_eq(target_of(PROTO_TCP, "2001:db8::77"), "::1");
	ck_assert_uint_eq(child.connects, 2);
	ck_assert_int_eq(child.connect.target.proto, PROTO_UDP6);
}
END_TEST

/* Such a try does not count: the target is not to blame. */
START_TEST(a_dial_without_descriptors_reports_it_and_goes_on_later)
{
	struct rlimit old;

	open_server(AF_INET);
	old = fixture_limit_fds(0);
	start_to(PROTO_TCP, "127.0.0.1", NULL);
	while (shortages < 12)
		step();
	fixture_restore_fds(&old);
	check_and_close(finish());
	ck_assert_int_eq(shortages, 12);
}
END_TEST

START_TEST(without_room_for_a_probe_each_dial_asks)
{
	open_server(AF_INET);
	ck_assert(fdquota_take(&quota, QUOTA));
	for (int i = 0; i < 3; i++)
		ck_assert_str_eq(target_of(PROTO_TCP, "192.0.2.77"), "127.0.0.1");
	ck_assert_uint_ge(child.connects, 3);
	fdquota_give(&quota, QUOTA);
}
END_TEST

static const struct {
	const char *source;
	bool keeps_source;
	unsigned int connects; /* of 5 */
} sources[] = {
	/* The sockets of the child have no mark to be remembered, so each connection asks. */
	{ "192.0.2.7", true, 5 },
	/* The child says once that it does not keep addresses. */
	{ "192.0.2.7", false, 1 },
	/* The client's address cannot be used, or is of another family. */
	{ "127.0.0.1", true, 0 },
	{ "0.0.0.0", true, 0 },
	{ "224.0.0.1", true, 0 },
	{ "fd00::7", true, 0 },
	{ "fe80::7", true, 0 },
};

START_TEST(the_child_decides_about_clients_addresses)
{
	char text[INET6_ADDRSTRLEN];

	open_server(AF_INET);
	child.keeps_source = sources[_i].keeps_source;
	for (int i = 0; i < 5; i++) {
		start_to(PROTO_TCP, "", sources[_i].source);
		check_and_close(finish());
		settle();
	}
	ck_assert_uint_eq(child.connects, sources[_i].connects);
	if (child.connects > 0)
		ck_assert_str_eq(ipaddr_text(&child.connect.source_ip, text, sizeof(text)),
				 sources[_i].source);
}
END_TEST

START_TEST(a_slow_server_is_reached)
{
	int hold = fill_server();

	start_to(PROTO_TCP, "", NULL);
	settle();
	ck_assert(!attempt.reported);
	/* Room: the SYN that was not heard is sent again after a second. */
	close(accept4(server, NULL, NULL, SOCK_CLOEXEC));
	close(hold);
	check_and_close(finish());
	ck_assert_uint_eq(child.connects, 0);
}
END_TEST

START_TEST(a_server_that_never_answers_is_given_up)
{
	int hold = fill_server();

	start_to(PROTO_TCP, "", NULL);
	skip_ms(15000);
	ck_assert(!attempt.reported);
	skip_ms(10000); /* the next try */
	ck_assert(!attempt.reported);
	skip_ms(10000);
	ck_assert(attempt.reported);
	ck_assert_int_eq(attempt.result, -ETIMEDOUT);
	close(hold);
}
END_TEST

enum when { WAITING, CONNECTING, PAUSING, CONNECTED };

START_TEST(a_dial_can_be_cancelled_at_any_time)
{
	int hold = -1;

	if (_i == CONNECTING)
		hold = fill_server();
	else if (_i == CONNECTED)
		open_server(AF_INET);
	else
		bind_server(AF_INET);
	if (_i == WAITING)
		child.way = IS_SILENT;
	start_to(PROTO_TCP, "", NULL);
	if (_i == CONNECTED) {
		/* The report of the connection is on its way. */
		while (!attempt.dial.done)
			ck_assert_int_eq(loop_step(loop, 0), 0);
		if (attempt.reported) {
			check_and_close(attempt.result);
			return;
		}
	} else {
		settle();
	}
	ck_assert(!attempt.reported);
	dial_cancel(&attempt.dial);
	dial_cancel(&attempt.dial);
	ck_assert_int_eq(finish(), -ECANCELED);
	settle();
	fd_close(&hold);
}
END_TEST

START_TEST(a_child_that_is_gone_is_an_error)
{
	open_server(AF_INET);
	/* Two sockets are there. */
	check_and_close(dial_to(PROTO_TCP, ""));
	settle();
	loop_remove(loop, &child.watch);
	fd_close(&child.watch.fd);
	for (int i = 0; i < 3; i++)
		check_and_close(dial_to(PROTO_TCP, ""));
	ck_assert_int_eq(dial_to(PROTO_TCP, ""), -ECONNREFUSED);
	ck_assert_str_eq(attempt.dial.why.msg, "asking the child: connection refused");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("dial");
	TCase *tc = fixture_case_with_dir("dial");

	tcase_add_checked_fixture(tc, open_all, close_all);
	tcase_add_loop_test(tc, connections_use_sockets_of_the_pool, 0, COUNT(servers));
	tcase_add_test(tc, a_udp_socket_is_connected_too);
	tcase_add_test(tc, a_target_without_a_server_is_an_error_after_ten_tries);
	tcase_add_test(tc, a_server_that_starts_late_is_reached);
	tcase_add_loop_test(tc, a_child_that_gives_no_sockets_is_asked_to_connect, 0,
			    COUNT(poor_ways));
	tcase_add_test(tc, a_child_that_gives_sockets_too_late_is_asked_to_connect);
	tcase_add_test(tc, without_a_pool_the_child_is_asked_to_connect);
	tcase_add_loop_test(tc, an_address_that_is_not_local_is_not_the_target, 0, COUNT(ways));
	tcase_add_loop_test(tc, an_address_that_is_local_is_the_target, 0, COUNT(ways));
	tcase_add_loop_test(tc, the_child_is_asked_with_addresses_as_they_were_written, 0,
			    COUNT(spellings));
	tcase_add_test(tc, an_own_address_is_sent_as_it_was_written);
	tcase_add_test(tc, the_child_is_asked_for_one_probe_a_family);
	tcase_add_test(tc, a_dial_without_descriptors_reports_it_and_goes_on_later);
	tcase_add_test(tc, without_room_for_a_probe_each_dial_asks);
	tcase_add_loop_test(tc, the_child_decides_about_clients_addresses, 0, COUNT(sources));
	tcase_add_test(tc, a_slow_server_is_reached);
	tcase_add_test(tc, a_server_that_never_answers_is_given_up);
	tcase_add_loop_test(tc, a_dial_can_be_cancelled_at_any_time, WAITING, CONNECTED + 1);
	tcase_add_test(tc, a_child_that_is_gone_is_an_error);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
