/* SPDX-License-Identifier: Apache-2.0 */

/* Sockets that are bound to a client's address: which addresses are possible, and connections in a
 * network namespace of the test's own. */
#include "tests/unit/addresses.h"
#include "tests/unit/ownnet.h"

#include <poll.h>

#include "ports/srcroute.h"
#include "ports/transparent.h"

#define CLIENT	    "198.51.100.7"
#define CLIENT_PORT 40000

static struct err e;

/* ---- addresses ---- */

static const struct {
	const char *from;
	int port;
	const char *to;
	int result;
} clients[] = {
	{ CLIENT, CLIENT_PORT, "10.0.2.100", 0 },
	{ "10.0.2.100", CLIENT_PORT, "10.0.2.100", 0 },
	{ "2001:db8::7", CLIENT_PORT, "fd00::100", 0 },
	{ CLIENT, CLIENT_PORT, "fd00::100", -EAFNOSUPPORT },
	{ "2001:db8::7", CLIENT_PORT, "10.0.2.100", -EAFNOSUPPORT },
	{ CLIENT, 0, "10.0.2.100", -EADDRNOTAVAIL },
	{ "2001:db8::7", 0, "fd00::100", -EADDRNOTAVAIL },
	{ "0.0.0.0", CLIENT_PORT, "10.0.2.100", -EADDRNOTAVAIL },
	{ "127.0.0.1", CLIENT_PORT, "10.0.2.100", -EADDRNOTAVAIL },
	{ "127.255.255.254", CLIENT_PORT, "10.0.2.100", -EADDRNOTAVAIL },
	{ "224.0.0.1", CLIENT_PORT, "10.0.2.100", -EADDRNOTAVAIL },
	{ "255.255.255.255", CLIENT_PORT, "10.0.2.100", -EADDRNOTAVAIL },
	{ "::", CLIENT_PORT, "fd00::100", -EADDRNOTAVAIL },
	{ "::1", CLIENT_PORT, "fd00::100", -EADDRNOTAVAIL },
	{ "ff02::1", CLIENT_PORT, "fd00::100", -EADDRNOTAVAIL },
	{ "fe80::1", CLIENT_PORT, "fd00::100", -EADDRNOTAVAIL },
	{ "10.0.2.100", 80, "10.0.2.100", -EADDRINUSE }, /* the target itself */
	{ "fd00::100", 80, "fd00::100", -EADDRINUSE },
};

START_TEST(a_connection_can_come_from_an_address_of_a_single_host)
{
	struct sockaddr_storage from = address_of(clients[_i].from, clients[_i].port);
	struct sockaddr_storage to = address_of(clients[_i].to, 80);

	ck_assert_int_eq(transparent_check(&from, &to, &e), clients[_i].result);
}
END_TEST

START_TEST(addresses_are_the_same_only_with_the_same_port)
{
	struct sockaddr_storage v4 = address_of("10.0.2.100", 80), v6 = address_of("fd00::1", 80);
	struct sockaddr_storage v4_port = address_of("10.0.2.100", 81);
	struct sockaddr_storage v6_last = address_of("fd00::2", 80);

	ck_assert(transparent_is_same(&v4, &v4));
	ck_assert(transparent_is_same(&v6, &v6));
	ck_assert(!transparent_is_same(&v4, &v4_port));
	ck_assert(!transparent_is_same(&v6, &v6_last));
	ck_assert(!transparent_is_same(&v4, &v6));
	ck_assert_uint_eq(transparent_length(&v4), sizeof(struct sockaddr_in));
	ck_assert_uint_eq(transparent_length(&v6), sizeof(struct sockaddr_in6));
}
END_TEST

/* ---- connections ---- */

static int listen_at(const struct sockaddr_storage *sa)
{
	int fd = socket(sa->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, (const struct sockaddr *)sa, transparent_length(sa)), 0);
	ck_assert_int_eq(listen(fd, 10), 0);
	return fd;
}

/* Starts the routes. Returns false if the test must return, since /proc/sys is read-only. */
static bool start_routes(struct srcroute *t)
{
	int r;

	if (!enter_own_network())
		return false;
	r = srcroute_start(t, &e);
	if (r == -EROFS || r == -EACCES) {
		fixture_skip("sysctl", "sysctls cannot be written");
		return false;
	}
	ck_assert_msg(r == 0, "%s", e.msg);
	return true;
}

static const char *const targets[] = { OWN_ADDRESS, "127.0.0.1", "10.0.2.7" };

START_TEST(the_server_sees_the_clients_address)
{
	struct sockaddr_storage from = address_of(CLIENT, CLIENT_PORT), peer = { 0 };
	struct sockaddr_storage to = address_of(targets[_i], 80);
	socklen_t len = sizeof(peer);
	struct srcroute t;
	int server, client, accepted;
	char byte = 0;

	if (!start_routes(&t))
		return;
	server = listen_at(&to);
	client = srcroute_socket(&t, &from, &to, &e);
	ck_assert_msg(client >= 0, "%s", e.msg);
	ck_assert(fixture_is_cloexec(client));
	ck_assert(fcntl(client, F_GETFL) & O_NONBLOCK);
	ck_assert_int_eq(transparent_mark(client), TRANSPARENT_MARK_IN);
	connect(client, (struct sockaddr *)&to, transparent_length(&to));
	accepted = accept4(server, (struct sockaddr *)&peer, &len, SOCK_CLOEXEC);
	ck_assert_int_ge(accepted, 0);
	ck_assert(transparent_is_same(&peer, &from));
	/* The answer comes back. */
	ck_assert_int_eq(write(accepted, "x", 1), 1);
	ck_assert_int_eq(fd_wait(client, POLLIN, 1000 * FIXTURE_DEADLINE_S), POLLIN);
	ck_assert_int_eq(read(client, &byte, 1), 1);
	ck_assert_int_eq(byte, 'x');
	ck_assert(transparent_has_valid_mark(client, AF_INET, TRANSPARENT_MARK_IN));
	close(accepted);
	close(client);
	close(server);
	close(t.rtnl_fd);
}
END_TEST

START_TEST(a_client_may_have_connections_to_two_targets_from_one_port)
{
	struct sockaddr_storage from = address_of(CLIENT, CLIENT_PORT);
	struct sockaddr_storage to[2] = { address_of(OWN_ADDRESS, 80),
					  address_of(OWN_ADDRESS, 81) };
	int servers[2], sockets[2], accepted[2];
	struct srcroute t;

	if (!start_routes(&t))
		return;
	for (int i = 0; i < 2; i++) {
		servers[i] = listen_at(&to[i]);
		sockets[i] = srcroute_socket(&t, &from, &to[i], &e);
		ck_assert_msg(sockets[i] >= 0, "%s", e.msg);
		connect(sockets[i], (struct sockaddr *)&to[i], transparent_length(&to[i]));
		accepted[i] = accept4(servers[i], NULL, NULL, SOCK_CLOEXEC);
		ck_assert_int_ge(accepted[i], 0);
	}
	for (int i = 0; i < 2; i++) {
		close(accepted[i]);
		close(sockets[i]);
		close(servers[i]);
	}
	close(t.rtnl_fd);
}
END_TEST

START_TEST(a_dead_path_is_not_tried_again)
{
	struct sockaddr_storage from = address_of(CLIENT, CLIENT_PORT);
	struct sockaddr_storage to = address_of(OWN_ADDRESS, 80);
	struct srcroute t;
	int fd;

	if (!start_routes(&t))
		return;
	deadpaths_note(&t.dead, &from, &to);
	ck_assert_int_eq(srcroute_socket(&t, &from, &to, &e), -EHOSTUNREACH);
	deadpaths_forget(&t.dead, &from, &to);
	fd = srcroute_socket(&t, &from, &to, &e);
	ck_assert_int_ge(fd, 0);
	close(fd);
	close(t.rtnl_fd);
}
END_TEST

START_TEST(without_routes_for_ipv6_a_client_with_ipv6_is_refused)
{
	struct sockaddr_storage from = address_of("2001:db8::7", CLIENT_PORT);
	struct sockaddr_storage to = address_of("::1", 80);
	struct srcroute t;

	if (!start_routes(&t))
		return;
	t.v6 = false;
	ck_assert_int_eq(srcroute_socket(&t, &from, &to, &e), -EAFNOSUPPORT);
	close(t.rtnl_fd);
}
END_TEST

START_TEST(without_privileges_a_foreign_address_cannot_be_bound)
{
	struct sockaddr_storage from = address_of(CLIENT, CLIENT_PORT);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	fixture_drop_root();
	ck_assert_int_eq(transparent_bind(fd, &from, TRANSPARENT_MARK_IN, &e), -EPERM);
	ck_assert_int_eq(transparent_bind(fd, &from, TRANSPARENT_MARK_IN, NULL), -EPERM);
	fixture_regain_root();
	ck_assert_int_eq(transparent_mark(fd), 0);
	close(fd);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("transparent");
	TCase *tc = fixture_case("transparent");

	tcase_add_loop_test(tc, a_connection_can_come_from_an_address_of_a_single_host, 0,
			    COUNT(clients));
	tcase_add_test(tc, addresses_are_the_same_only_with_the_same_port);
	tcase_add_loop_test(tc, the_server_sees_the_clients_address, 0, COUNT(targets));
	tcase_add_test(tc, a_client_may_have_connections_to_two_targets_from_one_port);
	tcase_add_test(tc, a_dead_path_is_not_tried_again);
	tcase_add_test(tc, without_routes_for_ipv6_a_client_with_ipv6_is_refused);
	tcase_add_test(tc, without_privileges_a_foreign_address_cannot_be_bound);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
