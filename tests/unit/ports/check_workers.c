/* SPDX-License-Identifier: Apache-2.0 */

/* Several workers: clients are spread over them, each connection ends properly although its port or
 * its worker ends, and no descriptor is left. The child is a thread, not fakechild.h's: the
 * workers' loops run in threads and use the real clock. Its sockets are connected to a listener
 * that never accepts, so that connections stay in its backlog. */
#include <arpa/inet.h>
#include <sys/un.h>

#include "base/fd.h"
#include "msg.h"
#include "os/thread.h"
#include "os/unixsock.h"
#include "ports/workers.h"
#include "tests/unit/fixture.h"

#define WORKERS	 4
#define MAX_FDS	 4000
/* For any number of clients. With the test's own descriptors it stays below the usual limit, 1024.
 */
#define RUSH_FDS 600
#define QUEUE	 4096 /* listen backlog; more than a test has connections */
#define CLIENTS	 64
#define UNEVEN	 4 /* as in tcp.c */
#define RETRY_US 2000

static struct workers *workers;

/* ---- the child ---- */

static struct {
	int listener;
	int server; /* its sockets are connected to this one */
	struct sockaddr_in server_addr;
	pthread_t thread;
	_Atomic bool stops;
} child;

static int listen_tcp(struct sockaddr_in *sa)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(*sa);

	*sa = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	ck_assert_int_eq(bind(fd, (struct sockaddr *)sa, len), 0);
	ck_assert_int_eq(listen(fd, QUEUE), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)sa, &len), 0);
	return fd;
}

static int connect_tcp(const struct sockaddr_in *to)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	if (connect(fd, (const struct sockaddr *)to, sizeof(*to)) == 0)
		return fd;
	close(fd);
	return -1;
}

static void *run_child(void *arg)
{
	(void)arg;
	while (!child.stops) {
		struct msg_reader reader = { 0 };
		int fd, target;

		if (fd_wait(child.listener, POLLIN, 20) <= 0)
			continue;
		fd = accept4(child.listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			continue;
		target = connect_tcp(&child.server_addr);
		ck_assert_int_ge(target, 0);
		if (msg_read(&reader, fd) == 1)
			msg_send_fd(fd, target); /* the requester may have given up */
		msg_reader_reset(&reader);
		close(target);
		close(fd);
	}
	return NULL;
}

/* ---- a test ---- */

static void start_workers(size_t count, size_t max_fds)
{
	struct err e;

	ck_assert_msg(workers_new(&workers, fixture_path("s"), count, max_fds, NULL, false, &e) ==
			      0,
		      "%s", e.msg);
}

static void open_all(void)
{
	struct err e;

	child.stops = false;
	child.listener = unixsock_listen(fixture_path("s"), SOCK_STREAM, &e);
	ck_assert_int_ge(child.listener, 0);
	child.server = listen_tcp(&child.server_addr);
	ck_assert_int_eq(thread_start(&child.thread, run_child, NULL), 0);
}

/* Closing the server also ends the connections in its backlog. */
static void close_all(void)
{
	if (workers != NULL) {
		workers_end(workers);
		workers_free(workers, WORKER_END_MS);
		workers = NULL;
	}
	child.stops = true;
	pthread_join(child.thread, NULL);
	close(child.listener);
	close(child.server);
}

struct tcp_port {
	struct listener listener;
	struct sockaddr_in at;
};

static void add_port(struct tcp_port *p, int id)
{
	*p = (struct tcp_port){ .listener = { .id = id } };
	p->listener.listen_fd = listen_tcp(&p->at);
	p->listener.target = (struct target){ .proto = PROTO_TCP, .port = 80 };
	ck_assert_int_eq(workers_add_port(workers, &p->listener), 0);
}

static void remove_port(struct tcp_port *p)
{
	workers_remove_port(workers, &p->listener);
	close(p->listener.listen_fd);
}

static unsigned int count_clients(size_t count)
{
	unsigned int sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += workers_clients(workers, i);
	return sum;
}

static void wait_for_clients(size_t how_many, unsigned int count)
{
	while (count_clients(how_many) != count)
		usleep(RETRY_US);
}

static bool is_reset(int fd)
{
	char byte;

	return recv(fd, &byte, 1, 0) < 0 && errno == ECONNRESET;
}

/* ---- spreading ---- */

static void check_spread(size_t count)
{
	unsigned int least = UINT_MAX, most = 0;

	for (size_t i = 0; i < count; i++) {
		unsigned int n = workers_clients(workers, i);

		least = n < least ? n : least;
		most = n > most ? n : most;
	}
	/* A worker hands a client over if another one has UNEVEN fewer. The counts may be slightly
	 * outdated. */
	ck_assert_uint_le(most - least, 2 * UNEVEN);
}

START_TEST(clients_are_spread_over_the_workers)
{
	bool at_once = _i == 1;
	struct tcp_port p;
	int fds[CLIENTS];

	start_workers(WORKERS, MAX_FDS);
	add_port(&p, 1);
	for (int i = 0; i < CLIENTS; i++) {
		fds[i] = connect_tcp(&p.at);
		if (!at_once)
			wait_for_clients(WORKERS, (unsigned int)i + 1);
	}
	wait_for_clients(WORKERS, CLIENTS);
	check_spread(WORKERS);
	for (int i = 0; i < CLIENTS; i++)
		close(fds[i]);
	/* The server's side stays open. Clients that were not accepted are reset with their
	 * listener. */
	remove_port(&p);
	ck_assert_uint_eq(count_clients(WORKERS), 0);
}
END_TEST

/* ---- removing and ending ---- */

START_TEST(a_port_that_is_removed_resets_its_clients_only)
{
	struct tcp_port a, b;
	int of_a[CLIENTS], of_b[CLIENTS];

	start_workers(WORKERS, MAX_FDS);
	add_port(&a, 1);
	add_port(&b, 2);
	for (int i = 0; i < CLIENTS; i++) {
		of_a[i] = connect_tcp(&a.at);
		of_b[i] = connect_tcp(&b.at);
	}
	wait_for_clients(WORKERS, 2 * CLIENTS);
	remove_port(&b);
	ck_assert_uint_eq(count_clients(WORKERS), CLIENTS);
	for (int i = 0; i < CLIENTS; i++) {
		char byte;

		ck_assert(is_reset(of_b[i]));
		ck_assert_int_lt(recv(of_a[i], &byte, 1, MSG_DONTWAIT), 0);
		ck_assert_int_eq(errno, EAGAIN);
		close(of_a[i]);
		close(of_b[i]);
	}
	remove_port(&a);
}
END_TEST

static _Atomic bool enough;

/* Connects repeatedly, until `enough` is set or the server's backlog could be full, since the child
 * would then block. */
static void *keep_connecting(void *arg)
{
	const struct sockaddr_in *to = arg;
	int fds[CLIENTS];

	for (int left = QUEUE; !enough && left > CLIENTS; left -= CLIENTS) {
		for (int i = 0; i < CLIENTS; i++)
			fds[i] = connect_tcp(to);
		for (int i = 0; i < CLIENTS; i++)
			if (fds[i] >= 0)
				close(fds[i]);
	}
	return NULL;
}

/* Connections stay in the server's backlog after their end. Without this it would fill up. */
static void empty_server(void)
{
	int fd;

	while ((fd = accept4(child.server, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		close(fd);
	ck_assert_int_eq(errno, EAGAIN);
}

/* Clients arrive, and are handed over, while their port is removed. */
START_TEST(a_port_is_removed_while_clients_arrive)
{
	struct tcp_port p;
	pthread_t thread;

	start_workers(WORKERS, RUSH_FDS);
	for (int id = 1; id <= 50; id++) {
		enough = false;
		add_port(&p, id);
		ck_assert_int_eq(pthread_create(&thread, NULL, keep_connecting, &p.at), 0);
		usleep((useconds_t)(id % 5) * RETRY_US);
		workers_remove_port(workers, &p.listener);
		enough = true;
		close(p.listener.listen_fd);
		pthread_join(thread, NULL);
		empty_server();
	}
	/* This includes clients on their way from one worker to another. */
	wait_for_clients(WORKERS, 0);
}
END_TEST

START_TEST(workers_may_end_while_clients_arrive)
{
	struct tcp_port p;
	pthread_t thread;

	for (int i = 0; i < 10; i++) {
		start_workers(WORKERS, RUSH_FDS);
		enough = false;
		add_port(&p, 1);
		ck_assert_int_eq(pthread_create(&thread, NULL, keep_connecting, &p.at), 0);
		usleep((useconds_t)(i % 5) * RETRY_US);
		workers_end(workers);
		close(p.listener.listen_fd);
		workers_free(workers, WORKER_END_MS);
		workers = NULL;
		enough = true;
		pthread_join(thread, NULL);
		empty_server();
	}
}
END_TEST

/* Replaces each epoll instance of this process by /dev/null, so that waiting for it fails. */
static void break_loops(void)
{
	char path[64], is[64];
	int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int fd = 0; fd < 256; fd++) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = readlink(path, is, sizeof(is) - 1);
		is[n > 0 ? n : 0] = '\0';
		if (strcmp(is, "anon_inode:[eventpoll]") == 0)
			ck_assert_int_eq(dup3(nowhere, fd, O_CLOEXEC), fd);
	}
	close(nowhere);
}

static void ignore_signal(int signo)
{
	(void)signo;
}

/* The main thread notices, and does not wait for their answers. */
START_TEST(failed_workers_are_not_waited_for)
{
	unsigned long long began;
	struct tcp_port p;

	signal(SIGCHLD, ignore_signal);
	start_workers(WORKERS, MAX_FDS);
	add_port(&p, 1);
	ck_assert(!workers_failed(workers));
	break_loops();
	began = fixture_now_ms();
	/* wake the workers that wait already */
	while (!workers_failed(workers)) {
		ck_assert_uint_lt(fixture_now_ms() - began, WORKER_DEADLINE_MS);
		workers_remove_port(workers, &p.listener);
		usleep(RETRY_US);
	}
	ck_assert_int_eq(workers_end(workers), -ETIMEDOUT);
	close(p.listener.listen_fd);
	ck_assert(workers_free(workers, WORKER_END_MS));
	workers = NULL;
	/* not even the deadline of one call has passed */
	ck_assert_uint_lt(fixture_now_ms() - began, WORKER_DEADLINE_MS);
}
END_TEST

START_TEST(workers_without_ports_end)
{
	start_workers((size_t)_i, MAX_FDS);
}
END_TEST

/* ---- descriptors ---- */

/* Closes with a reset: the server does not accept, so a worker would not notice a clean end. */
static void reset_client(int fd)
{
	const struct linger now = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
}

#define SMALL	   200 /* descriptors; half of them for connections */
#define SMALL_HELD ((SMALL / 2 - 1 - 3) / 2 + 1)

START_TEST(one_port_may_use_all_descriptors)
{
	struct tcp_port a, b;
	int fds[SMALL];

	start_workers(WORKERS, SMALL);
	add_port(&a, 1);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < SMALL; i++)
			fds[i] = connect_tcp(&a.at);
		while (count_clients(WORKERS) < SMALL_HELD)
			usleep(RETRY_US);
		ck_assert_uint_le(count_clients(WORKERS), SMALL_HELD);
		/* A port can still be added. */
		add_port(&b, round + 2);
		for (int i = 0; i < SMALL; i++)
			reset_client(fds[i]);
		wait_for_clients(WORKERS, 0);
		remove_port(&b);
	}
	remove_port(&a);
}
END_TEST

/* Sends a byte to each client of the server. */
static void *greet_clients(void *arg)
{
	int fd;

	(void)arg;
	while (!enough) {
		if (fd_wait(child.server, POLLIN, 20) <= 0)
			continue;
		while ((fd = accept4(child.server, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
			send(fd, "x", 1, MSG_NOSIGNAL);
			close(fd);
		}
	}
	return NULL;
}

#define PORTS	 60
#define PER_PORT 5
#define KNOCK_MS 10000

static void connect_clients(struct tcp_port *p, struct pollfd *fds, int count)
{
	for (int i = 0; i < count; i++)
		fds[i] = (struct pollfd){ .fd = connect_tcp(&p->at), .events = POLLIN };
}

/* Closes each client that was served, until all were. Others wait for the descriptors. */
static void await_greetings(struct pollfd *fds, int count)
{
	int left = count;
	char byte;

	while (left > 0) {
		ck_assert_msg(poll(fds, (nfds_t)count, KNOCK_MS) > 0, "%d clients wait forever",
			      left);
		for (int i = 0; i < count; i++) {
			if (fds[i].fd < 0 || fds[i].revents == 0)
				continue;
			ck_assert_int_eq(recv(fds[i].fd, &byte, 1, 0), 1);
			fd_close(&fds[i].fd);
			left--;
		}
	}
}

/* Clients connect before and after a port is added, and while all others wait for descriptors. */
START_TEST(no_client_is_forgotten_when_descriptors_are_short)
{
	static struct tcp_port p[PORTS];
	static struct pollfd fds[PORTS * PER_PORT];
	pthread_t thread;

	start_workers((size_t)_i, SMALL);
	enough = false;
	ck_assert_int_eq(pthread_create(&thread, NULL, greet_clients, NULL), 0);
	for (int i = 0; i < PORTS; i++) {
		p[i] = (struct tcp_port){ .listener = { .id = i + 1 } };
		p[i].listener.listen_fd = listen_tcp(&p[i].at);
		p[i].listener.target = (struct target){ .proto = PROTO_TCP, .port = 80 };
		connect_clients(&p[i], &fds[i * PER_PORT], 2);
		ck_assert_int_eq(workers_add_port(workers, &p[i].listener), 0);
		connect_clients(&p[i], &fds[i * PER_PORT + 2], PER_PORT - 2);
	}
	await_greetings(fds, PORTS * PER_PORT);
	wait_for_clients((size_t)_i, 0);
	for (int i = 0; i < PORTS; i++)
		remove_port(&p[i]);
	enough = true;
	pthread_join(thread, NULL);
}
END_TEST

/* The message must name descriptors, since the user can raise their limit. Not under valgrind,
 * where epoll_create1(2) does not see the limit (fixture_is_valgrind). */
START_TEST(a_start_without_descriptors_says_so)
{
	struct rlimit was, few;
	struct err e;

	if (fixture_is_valgrind())
		return;
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &was), 0);
	few = was;
	few.rlim_cur = (rlim_t)fixture_count_fds() + 1 + (rlim_t)_i;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	ck_assert_int_lt(
		workers_new(&workers, fixture_path("s"), WORKERS, MAX_FDS, NULL, false, &e), 0);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &was), 0);
	ck_assert_msg(strstr(e.msg, "too many open files") != NULL, "%s", e.msg);
}
END_TEST

START_TEST(a_limit_too_low_to_accept_anything_is_refused)
{
	struct err e;

	ck_assert_int_eq(workers_new(&workers, fixture_path("s"), 4, 35, NULL, false, &e), -EMFILE);
	ck_assert_str_eq(e.msg,
			 "starting 4 workers: too many open files: the limit is 35, and they "
			 "need 36 (ulimit -Hn; with --workers=1: 24)");
	start_workers(4, 36);
}
END_TEST

#define MANY_FDS 1024 /* the usual limit */
#define PATIENCE 1000 /* times RETRY_US */

static int listen_udp(void)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

/* With many workers, each reserves only few descriptors for its UDP ports. */
START_TEST(udp_ports_leave_descriptors_to_tcp_ports)
{
	static struct listener udp[WORKERS_MAX];
	struct tcp_port p;
	int client;

	start_workers(WORKERS_MAX, MANY_FDS);
	for (int i = 0; i < WORKERS_MAX; i++) {
		udp[i] = (struct listener){ .id = i + 2, .listen_fd = listen_udp() };
		udp[i].target = (struct target){ .proto = PROTO_UDP, .port = 80 };
		ck_assert_int_eq(workers_add_port(workers, &udp[i]), 0);
	}
	add_port(&p, 1);
	client = connect_tcp(&p.at);
	for (int i = 0; i < PATIENCE && count_clients(WORKERS_MAX) == 0; i++)
		usleep(RETRY_US);
	ck_assert_uint_eq(count_clients(WORKERS_MAX), 1);
	close(client);
	remove_port(&p);
	for (int i = 0; i < WORKERS_MAX; i++) {
		workers_remove_port(workers, &udp[i]);
		close(udp[i].listen_fd);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("workers");
	TCase *tc = fixture_case_with_dir("workers");

	tcase_add_checked_fixture(tc, open_all, close_all);
	tcase_add_loop_test(tc, clients_are_spread_over_the_workers, 0, 2);
	tcase_add_test(tc, a_port_that_is_removed_resets_its_clients_only);
	tcase_add_test(tc, a_port_is_removed_while_clients_arrive);
	tcase_add_test(tc, workers_may_end_while_clients_arrive);
	tcase_add_test(tc, failed_workers_are_not_waited_for);
	tcase_add_loop_test(tc, workers_without_ports_end, 1, WORKERS + 1);
	tcase_add_test(tc, one_port_may_use_all_descriptors);
	tcase_add_loop_test(tc, no_client_is_forgotten_when_descriptors_are_short, 1, WORKERS + 1);
	tcase_add_loop_test(tc, a_start_without_descriptors_says_so, 0, 6);
	tcase_add_test(tc, a_limit_too_low_to_accept_anything_is_refused);
	tcase_add_test(tc, udp_ports_leave_descriptors_to_tcp_ports);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
