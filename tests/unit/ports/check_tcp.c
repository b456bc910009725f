/* SPDX-License-Identifier: Apache-2.0 */

/* The published TCP ports of one worker, and of two that share clients: the life of a connection,
 * limits, and the end. check_workers.c has several workers with threads.
 */
#include "tests/unit/tcpworkers.h"

#define MANY_FDS 300 /* of all workers */
#define FDS_EACH 3   /* of a client without a target (tcp.c) */
#define UNEVEN	 4   /* tcp.c */
#define DRAIN_MS 5000

/* ---- the life of a connection ---- */

START_TEST(bytes_go_both_ways_until_both_ends_are_closed)
{
	struct published p;
	struct pair pair;

	open_workers(1, MANY_FDS, false);
	publish(&p, 1);
	pair = join(&p);
	assert_joined(&pair);
	ck_assert_uint_eq(clients(), 1);
	shutdown(pair.client, SHUT_WR);
	assert_end(pair.peer);
	send_text(pair.peer, "late");
	assert_receives(pair.client, "late");
	close(pair.peer);
	assert_end(pair.client);
	await_clients(0);
	close(pair.client);
	remove_port(&p);
}
END_TEST

enum side { CLIENT, SERVER };

START_TEST(a_reset_is_passed_on)
{
	struct published p;
	struct pair pair;

	open_workers(1, MANY_FDS, false);
	publish(&p, 1);
	pair = join(&p);
	assert_joined(&pair);
	if (_i == CLIENT) {
		sockopt_reset(&pair.client);
		assert_reset(pair.peer);
		close(pair.peer);
	} else {
		sockopt_reset(&pair.peer);
		assert_reset(pair.client);
		close(pair.client);
	}
	await_clients(0);
	remove_port(&p);
}
END_TEST

/* Returns the client address that the child was asked with; "" for none. */
static const char *asked_source(void)
{
	static char text[INET6_ADDRSTRLEN];

	return ipaddr_text(&child.connect.source_ip, text, sizeof(text));
}

/* Inside, a loopback address would be another host's. */
START_TEST(the_child_gets_no_loopback_address_of_a_client)
{
	struct published p;
	struct pair pair;

	open_workers(1, MANY_FDS, _i == 1);
	child.way = IS_OLD;
	publish(&p, 1);
	pair = join(&p);
	assert_joined(&pair);
	ck_assert_uint_eq(child.connects, 1);
	ck_assert_str_eq(asked_source(), "");
	ck_assert_int_eq(child.connect.source_port, 0);
	close_pair(&pair);
	await_clients(0);
	remove_port(&p);
}
END_TEST

/* Returns a client whose socket is bound to its own address `ip`, and sets *port. */
static int client_from(const char *own, const struct published *p, int *port)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	int fd = connect_to(own, &p->at);

	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	*port = port_of(&sa);
	return fd;
}

START_TEST(the_child_gets_the_address_of_a_client_if_it_is_wanted)
{
	const struct ipaddr any = { .family = AF_INET6 };
	char own[INET6_ADDRSTRLEN];
	struct published p;
	struct pair pair;
	int port;

	if (!own_address(AF_INET, own, sizeof(own)) || !fixture_need_ipv6())
		return;
	open_workers(1, MANY_FDS, _i == 1);
	child.way = IS_OLD;
	publish_at(&p, 1, &any); /* IPv4 clients have IPv4-mapped addresses there */
	pair.client = client_from(own, &p, &port);
	pair.peer = serve();
	assert_joined(&pair);
	ck_assert_str_eq(asked_source(), _i == 1 ? own : "");
	ck_assert_int_eq(child.connect.source_port, _i == 1 ? port : 0);
	close_pair(&pair);
	await_clients(0);
	remove_port(&p);
}
END_TEST

START_TEST(a_client_whose_target_refuses_is_reset)
{
	char line[128];
	struct published p;
	int client;

	open_workers(1, MANY_FDS, false);
	fd_close(&server);
	publish(&p, 1);
	client = knock(&p);
	assert_reset(client);
	close(client);
	await_clients(0);
	snprintf(line, sizeof(line),
		 "port :1/tcp: nobody listens at 127.0.0.1:%d inside (connection refused)",
		 port_of(&server_at));
	await_log(line);
	remove_port(&p);
}
END_TEST

/* ---- limits ---- */

static const size_t limits[] = { 24, 60 };

static void open_clients(const struct published *p, struct pair *pairs, size_t count)
{
	for (size_t i = 0; i < count; i++)
		pairs[i] = (struct pair){ knock(p), -1 };
}

/* The server accepts what has come. Returns how many; pairs without one have a peer of -1. */
static size_t serve_all(struct pair *pairs, size_t count)
{
	size_t served = 0;

	for (size_t i = 0; i < count; i++) {
		if (pairs[i].peer >= 0)
			continue;
		pairs[i].peer = accept4(server, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (pairs[i].peer < 0)
			break;
		served++;
	}
	return served;
}

static struct pair limited[64];

#define LOG_LIMIT_MS 62000 /* the line is logged at most once a minute */

START_TEST(clients_above_the_descriptor_limit_wait)
{
	struct published p;
	size_t served;

	skipped_ms += LOG_LIMIT_MS; /* an earlier case in this process may have logged the line */
	open_workers(1, limits[_i], false);
	publish(&p, 1);
	open_clients(&p, limited, COUNT(limited));
	await_log("too many connections are open");
	settle_all();
	served = serve_all(limited, COUNT(limited));
	ck_assert_uint_ge(served, 1);
	ck_assert_uint_le(served, limits[_i] / 2);
	ck_assert_uint_le(fds.used, limits[_i]);
	/* Those that were served make room for others. */
	for (int i = 0; i < COUNT(limited); i++) {
		unsigned long long until = fixture_now_ms() + FIXTURE_DEADLINE_S / 4 * 1000;

		while (limited[i].peer < 0) {
			ck_assert(fixture_now_ms() < until);
			step_all();
			serve_all(limited, COUNT(limited));
		}
		close_pair(&limited[i]);
	}
	await_clients(0);
	remove_port(&p);
}
END_TEST

/* Takes the requests that wait for the child, whose requesters have gone. */
static void drop_requests(void)
{
	int fd;

	while ((fd = accept4(child.watch.fd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		close(fd);
	loop_want(loop, &child.watch, POLLIN);
}

START_TEST(a_port_whose_target_is_silent_leaves_descriptors_to_others)
{
	const unsigned int most = MANY_FDS / (4 * FDS_EACH);
	struct published silent, good;
	struct pair pairs[2 * MANY_FDS / (4 * FDS_EACH)], pair;

	open_workers(1, MANY_FDS, false);
	child.way = IS_OLD;
	publish(&silent, 1);
	publish(&good, 2);
	pair = join(&good);
	close_pair(&pair);
	await_clients(0);
	/* From now on requests wait in the child's queue. */
	loop_want(loop, &child.watch, 0);
	open_clients(&silent, pairs, COUNT(pairs));
	await_clients(most);
	settle_all();
	ck_assert_uint_eq(clients(), most);
	remove_port(&silent);
	ck_assert_uint_eq(clients(), 0);
	drop_requests();
	for (unsigned int i = 0; i < COUNT(pairs); i++)
		close(pairs[i].client);
	pair = join(&good);
	assert_joined(&pair);
	close_pair(&pair);
	await_clients(0);
	remove_port(&good);
}
END_TEST

/* ---- removing ---- */

START_TEST(removing_a_port_resets_its_clients_only)
{
	struct published p[3];
	struct pair pairs[3];

	open_workers(1, MANY_FDS, false);
	/* All three are in one bucket of the port table. */
	for (int i = 0; i < 3; i++) {
		publish(&p[i], 1 + i * 256);
		pairs[i] = join(&p[i]);
		assert_joined(&pairs[i]);
	}
	remove_port(&p[1]);
	ck_assert(!tcp_remove_port(all[0], p[1].listener.id));
	ck_assert_uint_eq(clients(), 2);
	assert_reset(pairs[1].client);
	assert_reset(pairs[1].peer);
	close_pair(&pairs[1]);
	for (int i = 0; i < 3; i += 2) {
		assert_joined(&pairs[i]);
		close_pair(&pairs[i]);
		remove_port(&p[i]);
	}
}
END_TEST

START_TEST(removing_a_port_resets_clients_that_wait_for_a_target)
{
	struct published p;
	int client;

	open_workers(1, MANY_FDS, false);
	child.way = IS_SILENT;
	publish(&p, 1);
	client = knock(&p);
	await_clients(1);
	settle_all();
	remove_port(&p);
	ck_assert_uint_eq(clients(), 0);
	assert_reset(client);
	close(client);
}
END_TEST

START_TEST(removing_an_unknown_port_does_nothing)
{
	struct published p;

	open_workers(1, MANY_FDS, false);
	publish(&p, 1);
	ck_assert(!tcp_remove_port(all[0], 2));
	ck_assert(!tcp_remove_port(all[0], 257));
	remove_port(&p);
	ck_assert(!tcp_remove_port(all[0], 1));
}
END_TEST

/* ---- sharing ---- */

/* Clients come until the second worker, which does not run, has got one of them. Returns how many.
 */
static int hand_one_over(const struct published *p, int *fds_of_clients, int max)
{
	int count = 0;

	while (tcp_clients(all[1]) == 0) {
		ck_assert_int_lt(count, max);
		fds_of_clients[count++] = knock(p);
		while (clients() < (unsigned int)count)
			step();
	}
	return count;
}

/* Two workers, and clients of a port that both know, or not yet. */
START_TEST(clients_are_handed_over_if_all_workers_know_the_port)
{
	struct published p;
	struct pair pairs[20];
	unsigned int own, other;

	open_workers(2, MANY_FDS, false);
	publish(&p, 1);
	atomic_store(&p.listener.on_all_workers, _i == 1);
	for (int i = 0; i < COUNT(pairs); i++) {
		pairs[i].client = knock(&p);
		while (clients() <= (unsigned int)i)
			step(); /* the first worker only */
		pairs[i].peer = serve();
		assert_joined(&pairs[i]);
	}
	own = tcp_clients(all[0]);
	other = tcp_clients(all[1]);
	ck_assert_uint_eq(own + other, COUNT(pairs));
	if (_i == 1)
		ck_assert_uint_le(own - other, UNEVEN);
	else
		ck_assert_uint_eq(other, 0);
	for (int i = 0; i < COUNT(pairs); i++)
		close_pair(&pairs[i]);
	await_clients(0);
	remove_port(&p);
}
END_TEST

enum too_late { REMOVED, ENDED };

START_TEST(a_client_that_is_handed_over_too_late_is_reset)
{
	struct published p;
	int knocking[4 * UNEVEN];
	int count;

	open_workers(2, MANY_FDS, false);
	publish(&p, 1);
	atomic_store(&p.listener.on_all_workers, true);
	count = hand_one_over(&p, knocking, COUNT(knocking));
	if (_i == REMOVED)
		ck_assert(tcp_remove_port(all[1], 1));
	else
		tcp_end(all[1]);
	await_clients((unsigned int)count - 1);
	assert_reset(knocking[count - 1]);
	for (int i = 0; i < count - 1; i++)
		close(serve());
	ck_assert(nobody_comes());
	if (_i == ENDED)
		ck_assert(tcp_remove_port(all[1], 1));
	ck_assert(tcp_remove_port(all[0], 1));
	close(p.listener.listen_fd);
	fd_close_all(knocking, (size_t)count);
}
END_TEST

/* ---- the end ---- */

START_TEST(the_end_delivers_what_was_sent_and_stops_the_loop)
{
	static struct published p; /* until the workers are freed */
	struct pair pair;

	open_workers(1, MANY_FDS, false);
	publish(&p, 1);
	pair = join(&p);
	assert_joined(&pair);
	send_text(pair.peer, "last words");
	close(pair.peer);
	tcp_end(all[0]);
	ck_assert_int_eq(loop_run(loop), 0); /* the end of the last connection stops it */
	ck_assert_uint_eq(clients(), 0);
	assert_receives(pair.client, "last words");
	assert_end(pair.client);
	close(pair.client);
	close(p.listener.listen_fd);
}
END_TEST

START_TEST(the_end_cuts_what_is_not_delivered_in_time)
{
	static char block[1 << 16];
	static struct published p; /* until the workers are freed */
	struct pair pair;

	open_workers(1, MANY_FDS, false);
	publish(&p, 1);
	pair = join(&p);
	assert_joined(&pair);
	/* More than the buffers of a client that reads nothing hold. */
	for (int quiet = 0; quiet < 3; quiet++) {
		while (send(pair.peer, block, sizeof(block), MSG_NOSIGNAL) > 0)
			quiet = 0;
		settle_all();
	}
	tcp_end(all[0]);
	skip_ms(DRAIN_MS - 1000);
	ck_assert_uint_eq(clients(), 1);
	skip_ms(2000);
	await_clients(0);
	for (ssize_t n = 1; n > 0;)
		n = receive(pair.client, block, sizeof(block));
	ck_assert_int_eq(errno, ECONNRESET);
	close_pair(&pair);
	close(p.listener.listen_fd);
}
END_TEST

START_TEST(after_the_end_nobody_is_accepted)
{
	static struct published p; /* until the workers are freed */
	int client;

	open_workers(1, MANY_FDS, false);
	publish(&p, 1);
	tcp_end(all[0]);
	client = knock(&p);
	ck_assert(nobody_comes());
	assert_silent(client);
	ck_assert_uint_eq(clients(), 0);
	close(client);
	close(p.listener.listen_fd);
}
END_TEST

static void add_life(TCase *tc)
{
	tcase_add_test(tc, bytes_go_both_ways_until_both_ends_are_closed);
	tcase_add_loop_test(tc, a_reset_is_passed_on, CLIENT, SERVER + 1);
	tcase_add_loop_test(tc, the_child_gets_no_loopback_address_of_a_client, 0, 2);
	tcase_add_loop_test(tc, the_child_gets_the_address_of_a_client_if_it_is_wanted, 0, 2);
	tcase_add_test(tc, a_client_whose_target_refuses_is_reset);
}

static void add_limits(TCase *tc)
{
	tcase_add_loop_test(tc, clients_above_the_descriptor_limit_wait, 0, COUNT(limits));
	tcase_add_test(tc, a_port_whose_target_is_silent_leaves_descriptors_to_others);
}

static void add_ends(TCase *tc)
{
	tcase_add_test(tc, removing_a_port_resets_its_clients_only);
	tcase_add_test(tc, removing_a_port_resets_clients_that_wait_for_a_target);
	tcase_add_test(tc, removing_an_unknown_port_does_nothing);
	tcase_add_loop_test(tc, clients_are_handed_over_if_all_workers_know_the_port, 0, 2);
	tcase_add_loop_test(tc, a_client_that_is_handed_over_too_late_is_reset, REMOVED, ENDED + 1);
	tcase_add_test(tc, the_end_delivers_what_was_sent_and_stops_the_loop);
	tcase_add_test(tc, the_end_cuts_what_is_not_delivered_in_time);
	tcase_add_test(tc, after_the_end_nobody_is_accepted);
}

int main(void)
{
	Suite *s = suite_create("tcp");
	TCase *tc = fixture_case_with_dir("tcp");

	tcase_add_checked_fixture(tc, open_all, close_all);
	add_life(tc);
	add_limits(tc);
	add_ends(tc);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
