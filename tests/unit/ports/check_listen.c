/* SPDX-License-Identifier: Apache-2.0 */

/* Opening listening sockets, in a network namespace of the test's own, where every port is free. */
#include "ports/listen.h"
#include "tests/unit/addresses.h"
#include "tests/unit/ownnet.h"

#include <linux/capability.h>
#include <netinet/tcp.h>

static struct err e;

static struct portspec spec_of(enum proto proto, const char *parent_ip, int port)
{
	struct portspec spec = { .proto = proto, .parent_port = port, .child_port = 80 };

	snprintf(spec.parent_ip, sizeof(spec.parent_ip), "%s", parent_ip);
	return spec;
}

static int open_port(enum proto proto, const char *parent_ip, int port)
{
	const struct portspec spec = spec_of(proto, parent_ip, port);

	e.msg[0] = '\0';
	return listen_port(&spec, "rootlesskit", &e);
}

static int option_of(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	ck_assert_int_eq(getsockopt(fd, level, name, &value, &len), 0);
	return value;
}

/* Can a socket connect to the port at this address? UDP: is the port taken there? */
static bool is_served(bool udp, const char *ip, int port)
{
	struct sockaddr_storage sa = address_of(ip, port);
	struct ipaddr addr;
	int fd, r;

	ck_assert_int_eq(ipaddr_parse(&addr, ip), 0);
	if (udp)
		return listen_try_bind(&addr, port, true) == -EADDRINUSE;
	fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	r = connect(fd, (struct sockaddr *)&sa, sizeof(sa));
	close(fd);
	return r == 0;
}

/* ---- families ---- */

#define V4   "127.0.0.1"
#define V4_2 OWN_ADDRESS
#define V6   "::1"

static const struct {
	enum proto proto;
	const char *parent_ip;
	bool on_v4, on_v4_2, on_v6; /* where clients reach it */
} specs[] = {
	{ PROTO_TCP, "", true, true, true },
	{ PROTO_TCP, "0.0.0.0", true, true, true },
	{ PROTO_TCP, "::", true, true, true },
	{ PROTO_TCP, V4, true, false, false },
	{ PROTO_TCP, V4_2, false, true, false },
	{ PROTO_TCP, V6, false, false, true },
	{ PROTO_TCP, "::ffff:127.0.0.1", true, false, false },
	{ PROTO_TCP4, "", true, true, false },
	{ PROTO_TCP4, "0.0.0.0", true, true, false },
	{ PROTO_TCP4, V4, true, false, false },
	{ PROTO_TCP6, "", false, false, true },
	{ PROTO_TCP6, "::", false, false, true },
	{ PROTO_TCP6, V6, false, false, true },
	{ PROTO_UDP, "", true, true, true },
	{ PROTO_UDP, V4, true, false, false },
	{ PROTO_UDP4, "0.0.0.0", true, true, false },
	{ PROTO_UDP6, "", false, false, true },
};

START_TEST(a_port_is_open_on_the_addresses_that_its_spec_names)
{
	bool udp = proto_is_udp(specs[_i].proto);
	int fd;

	if (!fixture_need_ipv6() || !enter_own_network())
		return;
	fd = open_port(specs[_i].proto, specs[_i].parent_ip, 8080);
	ck_assert_msg(fd >= 0, "%s", e.msg);
	ck_assert(fixture_is_cloexec(fd));
	ck_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
	ck_assert_int_eq(option_of(fd, SOL_SOCKET, SO_TYPE), udp ? SOCK_DGRAM : SOCK_STREAM);
	ck_assert_int_eq(is_served(udp, V4, 8080), specs[_i].on_v4);
	ck_assert_int_eq(is_served(udp, V4_2, 8080), specs[_i].on_v4_2);
	ck_assert_int_eq(is_served(udp, V6, 8080), specs[_i].on_v6);
	close(fd);
}
END_TEST

START_TEST(the_same_port_can_be_open_for_each_family)
{
	int fds[4];

	if (!fixture_need_ipv6() || !enter_own_network())
		return;
	fds[0] = open_port(PROTO_TCP4, "", 8080);
	fds[1] = open_port(PROTO_TCP6, "", 8080);
	fds[2] = open_port(PROTO_UDP4, "", 8080);
	fds[3] = open_port(PROTO_UDP6, "", 8080);
	for (int i = 0; i < COUNT(fds); i++) {
		ck_assert_msg(fds[i] >= 0, "%d: %s", i, e.msg);
		close(fds[i]);
	}
}
END_TEST

static int fail_without_any_family(void)
{
	return open_port(PROTO_TCP6, "", 8080) == -EAFNOSUPPORT &&
			       strncmp(e.msg, "listen tcp6 :8080: socket: ", 27) == 0
		       ? 0
		       : 1;
}

START_TEST(a_port_for_ipv6_fails_on_a_kernel_without_it)
{
	fixture_without(SYS_socket, EAFNOSUPPORT, fail_without_any_family);
}
END_TEST

START_TEST(a_port_on_both_families_works_if_ipv6_is_disabled)
{
	int fd;

	if (!enter_own_network())
		return;
	fd = open("/proc/sys/net/ipv6/conf/all/disable_ipv6", O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, "1", 1) != 1) {
		fixture_skip("sysctl", "sysctls cannot be written");
		close(fd);
		return;
	}
	if (fd >= 0)
		close(fd); /* without the file, the kernel has no IPv6 */
	fd = open_port(PROTO_TCP, "", 8080);
	ck_assert_msg(fd >= 0, "%s", e.msg);
	ck_assert(is_served(false, V4, 8080));
	ck_assert(!is_served(false, V6, 8080));
	close(fd);
}
END_TEST

/* ---- refusals ---- */

static const struct {
	enum proto proto;
	const char *parent_ip;
	int port;
	int result;
	const char *why;
} refused[] = {
	{ PROTO_TCP, V4, 8080, -EADDRINUSE,
	  "listen tcp 127.0.0.1:8080: bind: address already in use; see who has it: ss -ltnp "
	  "'sport = :8080' (as root)" },
	{ PROTO_TCP, "", 8080, -EADDRINUSE,
	  "listen tcp :8080: bind: address already in use; see who has it: ss -ltnp 'sport = "
	  ":8080' (as root)" },
	{ PROTO_UDP, V4, 8080, -EADDRINUSE,
	  "listen udp 127.0.0.1:8080: bind: address already in use; see who has it: ss -lunp "
	  "'sport = :8080' (as root)" },
	{ PROTO_TCP, "192.0.2.1", 8080, -EADDRNOTAVAIL,
	  "listen tcp 192.0.2.1:8080: bind: cannot assign requested address; it is not an address "
	  "of this host (ip addr lists those)" },
	{ PROTO_TCP6, "2001:db8::1", 8080, -EADDRNOTAVAIL,
	  "listen tcp6 [2001:db8::1]:8080: bind: cannot assign requested address; it is not an "
	  "address of this host (ip addr lists those)" },
	{ PROTO_TCP4, V6, 8080, -EADDRNOTAVAIL,
	  "listen tcp4: address ::1: no suitable address found; it is an IPv6 address: try tcp or "
	  "tcp6" },
	{ PROTO_UDP6, V4, 8080, -EADDRNOTAVAIL,
	  "listen udp6: address 127.0.0.1: no suitable address found; it is an IPv4 address: try "
	  "udp or udp4" },
	{ PROTO_TCP, "localhost", 8080, -EINVAL, "invalid ParentIP: \"localhost\"" },
	{ PROTO_TCP, V4, 80, -EACCES,
	  "cannot expose privileged port 80, you can add 'net.ipv4.ip_unprivileged_port_start=80' "
	  "to /etc/sysctl.conf (currently 1024), or set CAP_NET_BIND_SERVICE on rootlesskit "
	  "binary, or choose a larger port number (>= 1024): listen tcp 127.0.0.1:80: bind: "
	  "permission denied" },
};

static void drop_capabilities(void)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct none[2];

	memset(none, 0, sizeof(none));
	ck_assert_int_eq((int)syscall(SYS_capset, &head, none), 0);
}

START_TEST(a_port_that_cannot_be_opened_is_refused_with_the_reason_and_advice)
{
	int tcp, udp;

	if (!fixture_need_ipv6() || !enter_own_network())
		return;
	drop_capabilities(); /* which ports below 1024 need */
	tcp = open_port(PROTO_TCP, V4, 8080);
	udp = open_port(PROTO_UDP, V4, 8080);
	ck_assert_int_ge(tcp, 0);
	ck_assert_int_ge(udp, 0);
	ck_assert_msg(open_port(refused[_i].proto, refused[_i].parent_ip, refused[_i].port) ==
			      refused[_i].result,
		      "%s", e.msg);
	ck_assert_str_eq(e.msg, refused[_i].why);
	close(tcp);
	close(udp);
}
END_TEST

/* For a program without the file capability, such as one in a container. */
START_TEST(advice_on_a_privileged_port_may_leave_out_the_capability)
{
	const struct portspec spec = spec_of(PROTO_TCP, V4, 80);

	if (!enter_own_network())
		return;
	drop_capabilities();
	ck_assert_int_eq(listen_port(&spec, NULL, &e), -EACCES);
	ck_assert_ptr_nonnull(strstr(e.msg, "(currently 1024), or choose a larger port number"));
}
END_TEST

/* SO_REUSEADDR would let two programs share a UDP port, if both set it. */
START_TEST(a_udp_port_that_could_be_shared_is_not_free)
{
	struct sockaddr_storage sa = address_of(V4, 8080);
	const struct ipaddr ip = ipaddr_loopback(AF_INET);
	int fd, one = 1;

	if (!enter_own_network())
		return;
	ck_assert_int_eq(listen_try_bind(&ip, 8080, true), 0);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	ck_assert_int_eq(listen_try_bind(&ip, 8080, true), -EADDRINUSE);
	ck_assert_int_eq(open_port(PROTO_UDP, V4, 8080), -EADDRINUSE);
	close(fd);
}
END_TEST

START_TEST(a_port_of_connections_that_have_just_ended_can_be_opened_again)
{
	int fd, client, accepted;
	struct sockaddr_storage sa = address_of(V4, 8080);

	if (!enter_own_network())
		return;
	fd = open_port(PROTO_TCP, V4, 8080);
	client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(connect(client, (struct sockaddr *)&sa, sizeof(sa)), 0);
	accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(accepted, 0);
	/* The server ends first, so its side stays in the state TIME_WAIT. */
	ck_assert_int_eq(shutdown(accepted, SHUT_WR), 0);
	close(client);
	close(accepted);
	close(fd);
	fd = open_port(PROTO_TCP, V4, 8080);
	ck_assert_msg(fd >= 0, "%s", e.msg);
	close(fd);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("listen");
	TCase *tc = fixture_case("listen");

	tcase_add_loop_test(tc, a_port_is_open_on_the_addresses_that_its_spec_names, 0,
			    COUNT(specs));
	tcase_add_test(tc, the_same_port_can_be_open_for_each_family);
	tcase_add_test(tc, a_port_on_both_families_works_if_ipv6_is_disabled);
	tcase_add_test(tc, a_port_for_ipv6_fails_on_a_kernel_without_it);
	tcase_add_loop_test(tc, a_port_that_cannot_be_opened_is_refused_with_the_reason_and_advice,
			    0, COUNT(refused));
	tcase_add_test(tc, advice_on_a_privileged_port_may_leave_out_the_capability);
	tcase_add_test(tc, a_udp_port_that_could_be_shared_is_not_free);
	tcase_add_test(tc, a_port_of_connections_that_have_just_ended_can_be_opened_again);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
