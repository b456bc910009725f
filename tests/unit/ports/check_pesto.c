/* SPDX-License-Identifier: Apache-2.0 */

/* The port driver pesto beside a fake pasta: a thread that serves the configuration socket, keeps
 * the rules, and listens as the rules say, or misbehaves. */
#include "formats/pestomsg.h"
#include "ports/pesto.h"
#include "ports/ports.h"
#include "tests/unit/fixture.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/un.h>

#define CHILD_IP  "10.0.2.100"
#define RULE_LEN  56
#define HOST	  1
#define PROTO_AT  54 /* of a rule */
#define PORT_AT	  48
#define MAX_RULES 8

enum manner {
	BEHAVES,
	BEHAVES_SLOWLY,	 /* sends byte by byte */
	LISTENS_LATE,	 /* a moment after it has closed the connection */
	DOES_NOT_LISTEN, /* takes the rules, but the port stays closed */
	SAYS_NOTHING,	 /* accepts, and sends nothing */
	SAYS_HALF,	 /* stops in the middle of its table */
	HANGS_UP,	 /* at once */
	HANGS_UP_LATER,	 /* in the middle of its table */
	SAYS_GARBAGE,
	NEVER_CLOSES, /* takes the rules, and does not close the connection */
	HAS_FULL_TABLE,
};

static struct {
	enum manner manner;
	int listener;
	pthread_t thread;
	unsigned char rules[MAX_RULES][RULE_LEN];
	unsigned int count;
	int sockets[MAX_RULES];
	int stop[2];
} pasta;

static const struct portdriver *const driver = &pesto_ports;
static void *data; /* the driver's */
static struct err e;

/* ---- the fake pasta ---- */

static bool is_stopped(int timeout_ms)
{
	struct pollfd p = { .fd = pasta.stop[0], .events = POLLIN };

	return poll(&p, 1, timeout_ms) != 0;
}

static size_t make_message(unsigned char *msg)
{
	unsigned int count = pasta.manner == HAS_FULL_TABLE ? PESTOMSG_RULES_MAX : pasta.count;
	uint32_t lengths[] = { htonl(2), htonl(128), htonl(16) }, be = htonl(count);
	size_t len = 8 + sizeof(lengths);

	memset(msg, 0, PESTOMSG_MAX);
	memcpy(msg, "basil:s", 8);
	memcpy(msg + 8, lengths, sizeof(lengths));
	msg[len] = HOST;
	memcpy(msg + len + 1 + 128 + 4, &be, 4);
	len += 1 + 128 + 8;
	if (pasta.manner != HAS_FULL_TABLE)
		memcpy(msg + len, pasta.rules, pasta.count * RULE_LEN);
	return len + count * RULE_LEN + 1;
}

static void send_message(int fd)
{
	static unsigned char msg[PESTOMSG_MAX];
	size_t len = make_message(msg), step = pasta.manner == BEHAVES_SLOWLY ? 1 : len;

	if (pasta.manner == SAYS_GARBAGE)
		memset(msg, 'x', len);
	if (pasta.manner == SAYS_HALF || pasta.manner == HANGS_UP_LATER)
		len /= 2;
	for (size_t at = 0; at < len; at += step)
		if (send(fd, msg + at, len - at < step ? len - at : step, MSG_NOSIGNAL) < 0)
			return;
}

/* Reads the answer, which has one table. Returns whether it is complete. */
static bool read_answer(int fd)
{
	unsigned char head[5], end;
	uint32_t be;

	if (recv(fd, head, sizeof(head), MSG_WAITALL) != sizeof(head) || head[0] != HOST)
		return false;
	memcpy(&be, head + 1, sizeof(be));
	pasta.count = ntohl(be);
	return pasta.count <= MAX_RULES &&
	       recv(fd, pasta.rules, pasta.count * RULE_LEN, pasta.count > 0 ? MSG_WAITALL : 0) ==
		       (ssize_t)(pasta.count * RULE_LEN) &&
	       recv(fd, &end, 1, 0) == 1 && end == 0;
}

/* Opens the sockets of the rules; all rules of these tests are for 127.0.0.1. */
static void listen_as_told(void)
{
	for (unsigned int i = 0; i < MAX_RULES; i++) {
		const unsigned char *rule = pasta.rules[i];
		struct sockaddr_in to = { .sin_family = AF_INET };
		int one = 1;

		if (pasta.sockets[i] >= 0)
			close(pasta.sockets[i]);
		pasta.sockets[i] = -1;
		if (i >= pasta.count)
			continue;
		memcpy(&to.sin_addr, rule + 12, 4);
		memcpy(&to.sin_port, rule + PORT_AT, 2);
		pasta.sockets[i] = socket(
			AF_INET,
			(rule[PROTO_AT] == IPPROTO_UDP ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC,
			0);
		setsockopt(pasta.sockets[i], SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		if (bind(pasta.sockets[i], (struct sockaddr *)&to, sizeof(to)) == 0)
			listen(pasta.sockets[i], 1);
	}
}

static void serve(int fd)
{
	if (pasta.manner == SAYS_NOTHING) {
		is_stopped(-1);
		return;
	}
	if (pasta.manner == HANGS_UP)
		return;
	send_message(fd);
	if (pasta.manner == SAYS_HALF)
		is_stopped(-1);
	if (pasta.manner == SAYS_HALF || pasta.manner == HANGS_UP_LATER || !read_answer(fd))
		return;
	if (pasta.manner == NEVER_CLOSES)
		is_stopped(-1);
	if (pasta.manner != DOES_NOT_LISTEN && pasta.manner != LISTENS_LATE)
		listen_as_told();
}

static void *run_pasta(void *arg)
{
	(void)arg;
	for (;;) {
		struct pollfd p[] = { { .fd = pasta.listener, .events = POLLIN },
				      { .fd = pasta.stop[0], .events = POLLIN } };
		int fd;

		poll(p, 2, -1);
		if (p[1].revents != 0)
			return NULL;
		fd = accept4(pasta.listener, NULL, NULL, SOCK_CLOEXEC);
		serve(fd);
		close(fd);
		if (pasta.manner == LISTENS_LATE && !is_stopped(50))
			listen_as_told();
	}
}

static void start_pasta(enum manner manner)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	pasta.manner = manner;
	pasta.count = 0;
	for (int i = 0; i < MAX_RULES; i++)
		pasta.sockets[i] = -1;
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%.90s", fixture_path("ctl"));
	pasta.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(pasta.listener, (struct sockaddr *)&sa, sizeof(sa)), 0);
	ck_assert_int_eq(listen(pasta.listener, 1), 0);
	ck_assert_int_eq(pipe2(pasta.stop, O_CLOEXEC), 0);
	pasta.thread = fixture_thread(run_pasta, NULL);
}

static void stop_pasta(void)
{
	ck_assert_int_eq(write(pasta.stop[1], "x", 1), 1);
	pthread_join(pasta.thread, NULL);
	for (int i = 0; i < MAX_RULES; i++)
		if (pasta.sockets[i] >= 0)
			close(pasta.sockets[i]);
	close(pasta.listener);
	close(pasta.stop[0]);
	close(pasta.stop[1]);
}

/* ---- the driver ---- */

static void start_driver(bool ipv6)
{
	const struct port_setup setup = {
		.api_socket = fixture_path("ctl"),
		.child_ip = CHILD_IP,
		.ipv6 = ipv6,
	};

	e.msg[0] = '\0';
	ck_assert_int_eq(driver->start(&data, &setup, &e), 0);
}

static void stop_driver(void)
{
	ck_assert(driver->free(data, NULL, 0, 0));
}

/* Returns a port of 127.0.0.1 that nobody listens on. */
static int a_free_port(void)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	close(fd);
	return ntohs(sa.sin_port);
}

static struct port_slot a_slot(enum proto proto, const char *parent_ip, const char *child_ip)
{
	struct port_slot slot = { .entry.id = 1 };

	slot.entry.spec.proto = proto;
	slot.entry.spec.parent_port = a_free_port();
	slot.entry.spec.child_port = 80;
	snprintf(slot.entry.spec.parent_ip, sizeof(slot.entry.spec.parent_ip), "%s", parent_ip);
	snprintf(slot.entry.spec.child_ip, sizeof(slot.entry.spec.child_ip), "%s", child_ip);
	return slot;
}

static const struct {
	enum manner manner;
	enum proto proto;
} good[] = {
	{ BEHAVES, PROTO_TCP },	       { BEHAVES, PROTO_TCP4 },	    { BEHAVES, PROTO_UDP },
	{ BEHAVES_SLOWLY, PROTO_TCP }, { LISTENS_LATE, PROTO_TCP }, { LISTENS_LATE, PROTO_UDP4 },
};

START_TEST(a_port_is_open_when_it_is_reported)
{
	struct port_slot slot = a_slot(good[_i].proto, "127.0.0.1", "");
	struct port_slot other = a_slot(PROTO_TCP, "127.0.0.1", CHILD_IP);

	start_pasta(good[_i].manner);
	start_driver(false);
	ck_assert_msg(driver->open(data, &slot, &e) == 0, "%s", e.msg);
	ck_assert_int_ge(pasta.sockets[0], 0);
	ck_assert_msg(driver->open(data, &other, &e) == 0, "%s", e.msg);
	ck_assert_uint_eq(pasta.count, 2);
	ck_assert_msg(driver->close(data, &slot, &e) == 0, "%s", e.msg);
	ck_assert_uint_eq(pasta.count, 1);
	ck_assert_msg(driver->close(data, &other, &e) == 0, "%s", e.msg);
	ck_assert_uint_eq(pasta.count, 0);
	stop_driver();
	stop_pasta();
}
END_TEST

START_TEST(a_port_that_stays_closed_is_taken_back)
{
	struct port_slot slot = a_slot(PROTO_TCP, "127.0.0.1", "");

	start_pasta(DOES_NOT_LISTEN);
	start_driver(false);
	ck_assert_int_eq(driver->open(data, &slot, &e), -EIO);
	ck_assert_str_eq(e.msg, "pasta does not listen on this port; --debug shows what it says");
	ck_assert_uint_eq(pasta.count, 0);
	stop_driver();
	stop_pasta();
}
END_TEST

static const struct {
	enum manner manner;
	int result;
	const char *why;
} bad[] = {
	{ SAYS_NOTHING, -ETIMEDOUT, "pasta did not answer for 2000 ms" },
	{ SAYS_HALF, -ETIMEDOUT, "pasta did not answer for 2000 ms" },
	{ NEVER_CLOSES, -ETIMEDOUT, "pasta did not take its new rules in 2000 ms" },
	{ HANGS_UP, -EPROTO, "pasta hung up before it had sent its rules" },
	{ HANGS_UP_LATER, -EPROTO, "pasta hung up before it had sent its rules" },
	{ SAYS_GARBAGE, -EPROTO, "it is not pasta's configuration socket" },
	{ HAS_FULL_TABLE, -ENOSPC, "pasta forwards 256 ports at most" },
};

START_TEST(a_pasta_that_misbehaves_is_reported)
{
	struct port_slot slot = a_slot(PROTO_TCP, "127.0.0.1", "");

	start_pasta(bad[_i].manner);
	start_driver(false);
	ck_assert_int_eq(driver->open(data, &slot, &e), bad[_i].result);
	ck_assert_str_eq(e.msg, bad[_i].why);
	stop_driver();
	stop_pasta();
}
END_TEST

/* A pasta that is about to be restarted has no ports. */
START_TEST(without_pasta_a_port_can_only_be_closed)
{
	struct port_slot slot = a_slot(PROTO_TCP, "127.0.0.1", "");

	start_driver(false);
	ck_assert_int_eq(driver->open(data, &slot, &e), -ENOTCONN);
	ck_assert_str_eq(e.msg, "pasta is not running now");
	ck_assert_int_eq(driver->close(data, &slot, &e), 0);
	stop_driver();
}
END_TEST

START_TEST(ports_come_back_after_a_restart)
{
	struct port_slot slots[] = { a_slot(PROTO_TCP, "127.0.0.1", ""),
				     a_slot(PROTO_UDP, "127.0.0.1", "") };
	const struct port_setup setup = { .api_socket = fixture_path("ctl"), .child_ip = CHILD_IP };
	struct ports *ports;

	start_pasta(BEHAVES);
	ck_assert_int_eq(ports_new(&ports, driver, &setup, &e), 0);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(ports_add(ports, &slots[i].entry.spec, &e), i + 1);
	stop_pasta();
	ck_assert_int_eq(unlink(setup.api_socket), 0);
	start_pasta(BEHAVES);
	ck_assert_uint_eq(pasta.count, 0);
	ports_restore(ports);
	ck_assert_uint_eq(pasta.count, 2);
	ck_assert_int_eq(ports_remove(ports, 1, &e), 0);
	ck_assert_uint_eq(pasta.count, 1);
	ck_assert(ports_free(ports, 0));
	stop_pasta();
}
END_TEST

static const struct {
	enum proto proto;
	const char *parent_ip;
	const char *child_ip;
	bool ipv6;
	const char *why;
} refused[] = {
	{ PROTO_SCTP, "127.0.0.1", "", false,
	  "unsupported protocol: sctp; pasta forwards TCP and UDP" },
	{ PROTO_TCP, "127.0.0.1", "10.0.2.101", false,
	  "unsupported ChildIP \"10.0.2.101\": the pesto port driver only supports the namespace "
	  "address \"10.0.2.100\"; --port-driver=builtin supports others" },
	{ PROTO_TCP, "127.0.0.1", "127.0.0.1", false,
	  "unsupported ChildIP \"127.0.0.1\": the pesto port driver only supports the namespace "
	  "address \"10.0.2.100\"; --port-driver=builtin supports others" },
	{ PROTO_TCP, "::1", "", false,
	  "IPv6 port forwarding (proto \"tcp\", parent IP \"::1\") requires --ipv6" },
	{ PROTO_TCP6, "", "", false,
	  "IPv6 port forwarding (proto \"tcp6\", parent IP \"::\") requires --ipv6" },
	{ PROTO_TCP4, "::1", "", true, "unsupported IP: ::1; tcp4 does not go with it" },
	{ PROTO_UDP6, "127.0.0.1", "", true,
	  "unsupported IP: 127.0.0.1; udp6 does not go with it" },
};

START_TEST(a_port_that_pasta_cannot_forward_is_refused)
{
	struct port_slot slot = a_slot(refused[_i].proto, refused[_i].parent_ip,
				       refused[_i].child_ip);

	start_driver(refused[_i].ipv6);
	ck_assert_int_lt(driver->open(data, &slot, &e), 0);
	ck_assert_str_eq(e.msg, refused[_i].why);
	stop_driver();
}
END_TEST

/* pasta would report success, and open none of the later ports. */
START_TEST(a_port_that_someone_else_has_is_refused_before_pasta_hears_of_it)
{
	struct port_slot slot = a_slot(PROTO_TCP, "127.0.0.1", "");
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char want[64];

	sa.sin_port = htons((uint16_t)slot.entry.spec.parent_port);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	start_pasta(BEHAVES);
	start_driver(false);
	ck_assert_int_eq(driver->open(data, &slot, &e), -EADDRINUSE);
	snprintf(want, sizeof(want), "listen tcp 127.0.0.1:%d: bind: address already in use; ",
		 slot.entry.spec.parent_port);
	ck_assert_msg(strncmp(e.msg, want, strlen(want)) == 0, "%s", e.msg);
	ck_assert_uint_eq(pasta.count, 0);
	close(fd);
	stop_driver();
	stop_pasta();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("pesto");
	TCase *tc = fixture_case_with_dir("pesto");

	tcase_add_loop_test(tc, a_port_is_open_when_it_is_reported, 0, COUNT(good));
	tcase_add_test(tc, a_port_that_stays_closed_is_taken_back);
	tcase_add_loop_test(tc, a_pasta_that_misbehaves_is_reported, 0, COUNT(bad));
	tcase_add_test(tc, without_pasta_a_port_can_only_be_closed);
	tcase_add_test(tc, ports_come_back_after_a_restart);
	tcase_add_loop_test(tc, a_port_that_pasta_cannot_forward_is_refused, 0, COUNT(refused));
	tcase_add_test(tc, a_port_that_someone_else_has_is_refused_before_pasta_hears_of_it);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
