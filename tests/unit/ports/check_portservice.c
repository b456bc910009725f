/* SPDX-License-Identifier: Apache-2.0 */

/* The child's port service, in a process of its own as in the child: its start, its answers on
 * .bp.sock, what it does for requesters that misbehave, and what happens when its loop fails.
 * Connections from clients' addresses want a namespace of their own: tests/e2e/55-wire.sh.
 */
#include <poll.h>
#include <sys/un.h>

#include "base/fd.h"
#include "formats/bpmsg.h"
#include "msg.h"
#include "os/statedir.h"
#include "os/unixsock.h"
#include "ports/portservice.h"
#include "tests/unit/fixture.h"

#define DEADLINE_MS (FIXTURE_DEADLINE_S / 4 * 1000)
#define RELEASE_MS  8000 /* less than any timeout of the service */
#define RETRY_US    2000

static struct err e;

static struct {
	pid_t pid;
	int ready; /* the reading end of .bp-ready.pipe */
	int fds;   /* that it has open when nobody asks */
	struct sockaddr_un address;
} service;

static int server;
static int port;

/* ---- the process ---- */

static int count_fds_of(pid_t pid)
{
	char path[64];
	int count = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	ck_assert_ptr_nonnull(dir);
	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count;
}

/* Makes the pipe that tells when the service is ready, and opens its reading end. */
static void make_ready_pipe(void)
{
	ck_assert_int_eq(mkfifo(fixture_path(STATE_BP_READY), 0600), 0);
	service.ready = open(fixture_path(STATE_BP_READY), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	ck_assert_int_ge(service.ready, 0);
}

/* Removes what the service and make_ready_pipe have made. */
static void remove_files(void)
{
	fd_close(&service.ready);
	unlink(fixture_path(STATE_BP_READY));
	unlink(fixture_path(STATE_BP_SOCKET));
}

static int start_service(const char *netns)
{
	char socket[PATH_MAX], ready[PATH_MAX];
	const struct portservice_setup setup = {
		.socket = statedir_path(fixture_dir, STATE_BP_SOCKET, socket),
		.ready = statedir_path(fixture_dir, STATE_BP_READY, ready),
		.netns = netns,
	};

	return portservice_start(&setup, &e);
}

/* Starts the service in a process of its own. Sets *out to a pipe that has the reason if it cannot
 * start, and then ends; or ends when it has started. */
static pid_t fork_service(const char *netns, int *out)
{
	int fds[2];
	pid_t pid;

	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	*out = fds[0];
	pid = fork();
	if (pid != 0) {
		close(fds[1]);
		return pid;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* if the test fails */
	if (start_service(netns) < 0) {
		fd_write_all(fds[1], e.msg, strlen(e.msg));
		_exit(1);
	}
	close(fds[1]);
	for (;;)
		pause();
}

static void open_service(void)
{
	int out;
	char byte;

	make_ready_pipe();
	service.pid = fork_service(NULL, &out);
	ck_assert_int_eq(read(out, &byte, 1), 0);
	close(out);
	ck_assert_int_eq(unixsock_address(&service.address, fixture_path(STATE_BP_SOCKET)), 0);
	service.fds = count_fds_of(service.pid);
	server = -1;
}

/* Whatever requesters did, the service has closed what it opened for them. */
static void close_service(void)
{
	unsigned long long until = fixture_now_ms() + RELEASE_MS;
	int status;

	while (count_fds_of(service.pid) > service.fds) {
		ck_assert_msg(fixture_now_ms() < until, "descriptors are left");
		usleep(RETRY_US);
	}
	fd_close(&server);
	kill(service.pid, SIGKILL);
	ck_assert_int_eq(waitpid(service.pid, &status, 0), service.pid);
	ck_assert_int_eq(status, W_EXITCODE(0, SIGKILL));
	remove_files();
}

/* ---- requests ---- */

static int connect_to_service(void)
{
	int fd = unixsock_connect(&service.address);

	ck_assert_int_ge(fd, 0);
	return fd;
}

/* Sends a request. Returns the connection. */
static int request(const char *text)
{
	int fd = connect_to_service();

	ck_assert_int_eq(msg_send_now(fd, text, strlen(text)), 0);
	return fd;
}

struct answer {
	char bytes[BPMSG_ERROR_MAX]; /* NUL-terminated */
	size_t len;
	int fds[BPMSG_SOCKETS_MAX];
	size_t count;
};

/* Reads all of an answer and closes the connection. */
static void read_answer(int fd, struct answer *a)
{
	ssize_t n;

	a->len = a->count = 0;
	do {
		size_t count;

		ck_assert_int_gt(fd_wait(fd, POLLIN, DEADLINE_MS), 0);
		n = msg_recv_fds(fd, a->bytes + a->len, sizeof(a->bytes) - 1 - a->len,
				 a->fds + a->count, (size_t)COUNT(a->fds) - a->count, &count);
		ck_assert_int_ge(n, 0);
		a->len += (size_t)n;
		a->count += count;
	} while (n > 0);
	a->bytes[a->len] = '\0';
	close(fd);
}

/* Reads an answer that is a frame, without descriptors. Returns its text. */
static const char *read_text(int fd)
{
	static struct answer a;

	read_answer(fd, &a);
	ck_assert_uint_eq(a.count, 0);
	ck_assert_uint_gt(a.len, MSG_HEAD);
	ck_assert_uint_eq((unsigned char)a.bytes[0], strlen(a.bytes + MSG_HEAD));
	return a.bytes + MSG_HEAD;
}

/* Reads an answer that is one descriptor with one byte. */
static int read_fd(int fd)
{
	struct answer a;

	read_answer(fd, &a);
	ck_assert_msg(a.count == 1, "%s", a.len > MSG_HEAD ? a.bytes + MSG_HEAD : "no answer");
	ck_assert_uint_eq(a.len, 1);
	ck_assert_int_eq(a.bytes[0], 0);
	return a.fds[0];
}

static void assert_serves(void)
{
	ck_assert_str_eq(read_text(request("{\"Type\":\"init\"}")), "{\"Error\":\"\"}");
}

/* ---- connecting ---- */

/* A TCP server at an address of this host, and its port. */
static void open_server(const char *ip_text, int backlog)
{
	struct sockaddr_storage sa;
	struct ipaddr ip;
	socklen_t len;

	ck_assert_int_eq(ipaddr_parse(&ip, ip_text), 0);
	len = ipaddr_sockaddr(&ip, 0, &sa);
	server = socket(ip.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(server, (struct sockaddr *)&sa, len), 0);
	ck_assert_int_eq(getsockname(server, (struct sockaddr *)&sa, &len), 0);
	port = ipaddr_from_sockaddr(&ip, &sa);
	if (backlog >= 0)
		ck_assert_int_eq(listen(server, backlog), 0);
}

/* Returns a "connect" request with these further members. */
static const char *connect_text(const char *proto, const char *members)
{
	static char text[BPMSG_MAX];

	snprintf(text, sizeof(text), "{\"Type\":\"connect\",\"Proto\":\"%s\",\"Port\":%d%s}", proto,
		 port, members);
	return text;
}

static const char *peer_of(int fd)
{
	static char text[INET6_ADDRSTRLEN];
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	struct ipaddr ip;

	ck_assert_int_eq(getpeername(fd, (struct sockaddr *)&sa, &len), 0);
	ck_assert_int_eq(ipaddr_from_sockaddr(&ip, &sa), port);
	return ipaddr_text(&ip, text, sizeof(text));
}

static int option(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	ck_assert_int_eq(getsockopt(fd, level, name, &value, &len), 0);
	return value;
}

static const struct {
	const char *members;
	const char *server; /* an address that it listens at */
	const char *target;
} targets[] = {
	{ "", "127.0.0.1", "127.0.0.1" },
	{ ",\"IP\":\"127.0.0.9\"", "127.0.0.9", "127.0.0.9" },
	{ ",\"IP\":\"::ffff:127.0.0.9\"", "127.0.0.9", "127.0.0.9" },
	{ ",\"IP\":\"0.0.0.0\"", "127.0.0.1", "127.0.0.1" },
	{ ",\"IP\":\"127.0.0.1\",\"ParentIP\":\"192.0.2.77\"", "127.0.0.1", "127.0.0.1" },
	{ ",\"ParentIP\":\"0.0.0.0\"", "127.0.0.1", "127.0.0.1" },
	{ ",\"ParentIP\":\"127.0.0.2\"", "127.0.0.2", "127.0.0.2" },
	/* not an address of this host */
	{ ",\"ParentIP\":\"192.0.2.77\"", "127.0.0.1", "127.0.0.1" },
	{ ",\"ParentIP\":\"127.0.0.2\",\"HostGatewayIP\":\"127.0.0.2\"", "127.0.0.1", "127.0.0.1" },
	/* clients' addresses are off */
	{ ",\"SourceIP\":\"127.0.0.7\",\"SourcePort\":40000", "127.0.0.1", "127.0.0.1" },
	{ ",\"IP\":\"::1\"", "::1", "::1" },
	{ ",\"IP\":\"::\"", "::1", "::1" },
	{ ",\"ParentIP\":\"::1\"", "::1", "::1" },
	{ ",\"ParentIP\":\"::\"", "::1", "::1" },
	{ ",\"ParentIP\":\"2001:db8::77\"", "::1", "::1" },
};

START_TEST(a_tcp_connection_leads_to_the_target)
{
	char byte = 0;
	int fd, peer;

	if (strchr(targets[_i].target, ':') != NULL && !fixture_need_ipv6())
		return;
	open_server(targets[_i].server, 1);
	fd = read_fd(request(connect_text("tcp", targets[_i].members)));
	ck_assert_int_eq(option(fd, SOL_SOCKET, SO_PROTOCOL), IPPROTO_TCP);
	ck_assert_str_eq(peer_of(fd), targets[_i].target);
	peer = accept4(server, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(peer, 0);
	ck_assert_int_eq(send(fd, "x", 1, 0), 1);
	ck_assert_int_eq(recv(peer, &byte, 1, 0), 1);
	ck_assert_int_eq(byte, 'x');
	close(peer);
	close(fd);
}
END_TEST

START_TEST(a_udp_socket_is_connected_to_the_target)
{
	int fd;

	if (strchr(targets[_i].target, ':') != NULL && !fixture_need_ipv6())
		return;
	port = 53;
	fd = read_fd(request(connect_text("udp", targets[_i].members)));
	ck_assert_int_eq(option(fd, SOL_SOCKET, SO_PROTOCOL), IPPROTO_UDP);
	ck_assert_str_eq(peer_of(fd), targets[_i].target);
	close(fd);
}
END_TEST

START_TEST(a_refused_connection_is_answered_with_the_reason)
{
	char want[BPMSG_ERROR_MAX];

	open_server("127.0.0.1", -1);
	snprintf(want, sizeof(want),
		 "{\"Error\":\"dial tcp4 127.0.0.1:%d: connect: connection refused\"}", port);
	ck_assert_str_eq(read_text(request(connect_text("tcp4", ""))), want);
}
END_TEST

/* ---- what is refused ---- */

#define CONNECT "{\"Type\":\"connect\","

static const struct {
	const char *text;
	const char *reason; /* as JSON */
} bad_requests[] = {
	{ "garbage", "invalid character 'g' looking for beginning of value" },
	{ "null", "unknown request type: \\\"\\\"" },
	{ "{\"Type\":\"foo\"}", "unknown request type: \\\"foo\\\"" },
	{ CONNECT "\"Proto\":\"foo\",\"Port\":80}", "unknown proto: \\\"foo\\\"" },
	{ CONNECT "\"Proto\":\"sctp\",\"Port\":80}", "unsupported port protocol sctp" },
	{ CONNECT "\"Proto\":\"tcp\"}", "invalid Port: 0" },
	{ CONNECT "\"Proto\":\"tcp\",\"Port\":80,\"IP\":\"foo\"}", "invalid IP: \\\"foo\\\"" },
	{ CONNECT "\"Proto\":\"udp\",\"Port\":80,\"SourceIP\":\"fe80::7%lo\"}",
	  "invalid SourceIP: \\\"fe80::7%lo\\\"" },
	{ "{\"Type\":\"sockets\",\"Proto\":\"tcp\",\"Count\":1}",
	  "no sockets for Proto \\\"tcp\\\"" },
	{ "{\"Type\":\"sockets\",\"Proto\":\"tcp4\",\"Count\":253}", "invalid Count: 253" },
};

START_TEST(a_bad_request_is_answered_with_the_reason)
{
	char want[BPMSG_ERROR_MAX];

	snprintf(want, sizeof(want), "{\"Error\":\"%s\"}", bad_requests[_i].reason);
	ck_assert_str_eq(read_text(request(bad_requests[_i].text)), want);
	assert_serves();
}
END_TEST

static const unsigned char bad_lengths[][MSG_HEAD] = {
	{ 0, 0, 0, 0 },
	{ 1, 0, 1, 0 }, /* 65537 */
	{ 0xff, 0xff, 0xff, 0xff },
};

START_TEST(a_length_out_of_range_is_refused)
{
	int fd = connect_to_service();

	ck_assert_int_eq(write(fd, bad_lengths[_i], MSG_HEAD), MSG_HEAD);
	ck_assert_str_eq(read_text(fd), "{\"Error\":\"a request has 1 to 65536 bytes\"}");
	assert_serves();
}
END_TEST

/* ---- sockets ---- */

static const struct {
	const char *proto;
	int family, protocol;
	int count;
} batches[] = {
	{ "tcp4", AF_INET, IPPROTO_TCP, 1 },  { "tcp4", AF_INET, IPPROTO_TCP, BPMSG_SOCKETS_MAX },
	{ "tcp6", AF_INET6, IPPROTO_TCP, 7 }, { "udp4", AF_INET, IPPROTO_UDP, 32 },
	{ "udp6", AF_INET6, IPPROTO_UDP, 2 },
};

static void ask_for_sockets(const char *proto, int count, struct answer *a)
{
	char text[BPMSG_MAX];

	snprintf(text, sizeof(text), "{\"Type\":\"sockets\",\"Proto\":\"%s\",\"Count\":%d}", proto,
		 count);
	read_answer(request(text), a);
}

START_TEST(a_request_gets_as_many_sockets_as_it_asks_for)
{
	struct sockaddr_storage sa;
	struct answer a;

	if (batches[_i].family == AF_INET6 && !fixture_need_ipv6())
		return;
	ask_for_sockets(batches[_i].proto, batches[_i].count, &a);
	ck_assert_uint_eq(a.count, (size_t)batches[_i].count);
	ck_assert_uint_eq(a.len, 1);
	ck_assert_int_eq(a.bytes[0], 0); /* it does not keep clients' addresses */
	for (size_t i = 0; i < a.count; i++) {
		socklen_t len = sizeof(sa);

		ck_assert_int_eq(option(a.fds[i], SOL_SOCKET, SO_DOMAIN), batches[_i].family);
		ck_assert_int_eq(option(a.fds[i], SOL_SOCKET, SO_PROTOCOL), batches[_i].protocol);
		ck_assert_int_ne(fcntl(a.fds[i], F_GETFL) & O_NONBLOCK, 0);
		ck_assert_int_eq(getpeername(a.fds[i], (struct sockaddr *)&sa, &len), -1);
		ck_assert_int_eq(errno, ENOTCONN);
	}
	fd_close_all(a.fds, a.count);
}
END_TEST

START_TEST(a_request_gets_fewer_sockets_if_descriptors_are_short)
{
	struct rlimit old, few;
	struct answer a;

	ck_assert_int_eq(prlimit(service.pid, RLIMIT_NOFILE, NULL, &old), 0);
	few = old;
	/* Room for the request and some sockets: more if numbers below are free. */
	few.rlim_cur = (rlim_t)service.fds + 4;
	ck_assert_int_eq(prlimit(service.pid, RLIMIT_NOFILE, &few, NULL), 0);
	ask_for_sockets("tcp4", 100, &a);
	ck_assert_uint_ge(a.count, 1);
	ck_assert_uint_lt(a.count, 100);
	fd_close_all(a.fds, a.count);
	ck_assert_int_eq(prlimit(service.pid, RLIMIT_NOFILE, &old, NULL), 0);
	ask_for_sockets("tcp4", 100, &a);
	ck_assert_uint_eq(a.count, 100);
	fd_close_all(a.fds, a.count);
}
END_TEST

/* ---- requesters ---- */

static const char frame[] = "\x0f\0\0\0{\"Type\":\"init\"}";

START_TEST(a_request_may_come_in_pieces)
{
	int fd = connect_to_service();

	for (size_t i = 0; i < sizeof(frame) - 1; i++) {
		ck_assert_int_eq(fd_wait(fd, POLLIN, 2), 0);
		ck_assert_int_eq(write(fd, frame + i, 1), 1);
	}
	ck_assert_str_eq(read_text(fd), "{\"Error\":\"\"}");
}
END_TEST

START_TEST(requesters_that_leave_do_no_harm)
{
	for (size_t len = 0; len < sizeof(frame); len++) {
		int fd = connect_to_service();

		ck_assert_int_eq(write(fd, frame, len), (ssize_t)len);
		close(fd);
	}
	assert_serves();
}
END_TEST

START_TEST(requesters_are_served_at_the_same_time)
{
	int idle[20], fds[20];

	open_server("127.0.0.1", COUNT(fds));
	for (int i = 0; i < COUNT(fds); i++) {
		idle[i] = connect_to_service();
		fds[i] = request(connect_text("tcp", ""));
	}
	for (int i = COUNT(fds) - 1; i >= 0; i--) {
		close(read_fd(fds[i]));
		close(idle[i]);
	}
}
END_TEST

/* The server's queue is full, so a connection gets no answer until the requester gives up. */
START_TEST(a_slow_target_does_not_delay_other_requests)
{
	int filler, fd;

	open_server("127.0.0.1", 0);
	filler = read_fd(request(connect_text("tcp", "")));
	fd = request(connect_text("tcp", ""));
	ck_assert_int_eq(fd_wait(fd, POLLIN, 100), 0);
	assert_serves();
	ck_assert_int_eq(fd_wait(fd, POLLIN, 0), 0);
	close(fd);
	close(filler);
	/* close_service sees whether the service gives up, too. */
}
END_TEST

/* ---- start and end ---- */

START_TEST(the_parent_is_told_when_the_service_is_ready)
{
	pid_t pid;
	int out;

	make_ready_pipe();
	ck_assert_int_eq(fd_wait(service.ready, POLLIN, 0), 0);
	pid = fork_service(NULL, &out);
	ck_assert_int_eq(fd_wait(service.ready, POLLIN, DEADLINE_MS), POLLHUP);
	/* The service takes requests at once. */
	ck_assert_int_eq(unixsock_address(&service.address, fixture_path(STATE_BP_SOCKET)), 0);
	assert_serves();
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(out);
	remove_files();
}
END_TEST

enum obstacle { NO_PIPE, NO_READER, SOCKET_EXISTS, NO_NETNS, OBSTACLES };

static const char *const obstacle_reasons[] = {
	[NO_PIPE] = STATE_BP_READY ": no such file or directory",
	[NO_READER] = STATE_BP_READY ": no such device or address",
	[SOCKET_EXISTS] = STATE_BP_SOCKET ": address already in use",
	[NO_NETNS] = "/nowhere: no such file or directory",
};

START_TEST(a_service_that_cannot_start_says_why)
{
	char reason[ERR_LEN];
	int out, status;
	pid_t pid;

	service.ready = -1;
	if (_i != NO_PIPE)
		make_ready_pipe();
	if (_i == NO_READER)
		fd_close(&service.ready);
	if (_i == SOCKET_EXISTS)
		fixture_file(STATE_BP_SOCKET, "", 0600);
	pid = fork_service(_i == NO_NETNS ? "/nowhere" : NULL, &out);
	ck_assert_int_gt(fd_read_text(out, reason, sizeof(reason)), 0);
	close(out);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, W_EXITCODE(1, 0));
	ck_assert_msg(strstr(reason, obstacle_reasons[_i]) != NULL, "%s", reason);
	remove_files();
}
END_TEST

/* In a process of its own, as the child. Its end is the end of the launcher (parent.c). */
static int serve_without_epoll(void)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	if (dup2(null, STDERR_FILENO) < 0 || start_service(NULL) < 0)
		return 2;
	sleep(FIXTURE_DEADLINE_S);
	return 3;
}

START_TEST(a_child_without_its_port_service_ends)
{
	int status;
	pid_t pid;

	make_ready_pipe();
	pid = fork();
	if (pid == 0) {
#ifdef SYS_epoll_wait
		if (!fixture_take_away(SYS_epoll_wait, EINVAL))
			_exit(77);
#endif
		_exit(fixture_take_away(SYS_epoll_pwait, EINVAL) ? serve_without_epoll() : 77);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, W_EXITCODE(1, 0));
	remove_files();
}
END_TEST

static TCase *start_case(void)
{
	TCase *tc = fixture_case_with_dir("start");

	tcase_add_test(tc, the_parent_is_told_when_the_service_is_ready);
	tcase_add_loop_test(tc, a_service_that_cannot_start_says_why, 0, OBSTACLES);
	tcase_add_test(tc, a_child_without_its_port_service_ends);
	return tc;
}

static TCase *answer_case(void)
{
	TCase *tc = fixture_case_with_dir("answers");

	tcase_add_checked_fixture(tc, open_service, close_service);
	tcase_add_loop_test(tc, a_tcp_connection_leads_to_the_target, 0, COUNT(targets));
	tcase_add_loop_test(tc, a_udp_socket_is_connected_to_the_target, 0, COUNT(targets));
	tcase_add_test(tc, a_refused_connection_is_answered_with_the_reason);
	tcase_add_loop_test(tc, a_bad_request_is_answered_with_the_reason, 0, COUNT(bad_requests));
	tcase_add_loop_test(tc, a_length_out_of_range_is_refused, 0, COUNT(bad_lengths));
	tcase_add_loop_test(tc, a_request_gets_as_many_sockets_as_it_asks_for, 0, COUNT(batches));
	tcase_add_test(tc, a_request_gets_fewer_sockets_if_descriptors_are_short);
	tcase_add_test(tc, a_request_may_come_in_pieces);
	tcase_add_test(tc, requesters_that_leave_do_no_harm);
	tcase_add_test(tc, requesters_are_served_at_the_same_time);
	tcase_add_test(tc, a_slow_target_does_not_delay_other_requests);
	return tc;
}

int main(void)
{
	Suite *s = suite_create("portservice");

	suite_add_tcase(s, start_case());
	suite_add_tcase(s, answer_case());
	return fixture_run(s);
}
