/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TCPWORKERS_H
#define TCPWORKERS_H

/* One or two workers with published TCP ports (ports/tcp.h), whose loops the test runs a step at a
 * time. Clients, servers and the child (fakechild.h) belong to the test, too. What the workers log
 * goes to a file.
 */
#include "tests/unit/capturedlog.h"
#include "tests/unit/fakechild.h"

#include <arpa/inet.h>

#include "formats/ipaddr.h"
#include "ports/tcp.h"

static struct worker {
	struct loop *loop;
	struct dialler dialler;
	struct inbox inbox;
	struct tcp *tcp;
} workers[2];

static struct tcp *all[COUNT(workers)];
static int worker_count;
static struct fdtotal fds;
static int server;
static struct sockaddr_storage server_at;

struct published {
	struct listener listener;
	struct sockaddr_storage at;
};

/* ---- sockets of the test ---- */

static int port_of(const struct sockaddr_storage *sa)
{
	struct ipaddr ip;

	return ipaddr_from_sockaddr(&ip, sa);
}

/* Binds a socket to a free port of `ip`, and sets *at to its address. */
static int bind_tcp(const struct ipaddr *ip, struct sockaddr_storage *at)
{
	const int zero = 0;
	socklen_t len = ipaddr_sockaddr(ip, 0, at);
	int fd = socket(ip->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (ip->family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	ck_assert_int_eq(bind(fd, (struct sockaddr *)at, len), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)at, &len), 0);
	return fd;
}

static int listen_tcp(const struct ipaddr *ip, struct sockaddr_storage *at)
{
	int fd = bind_tcp(ip, at);

	ck_assert_int_eq(listen(fd, 1024), 0);
	return fd;
}

static int connect_to(const char *ip_text, const struct sockaddr_storage *port_at)
{
	struct sockaddr_storage sa;
	struct ipaddr ip;
	socklen_t len;
	int fd;

	ck_assert_int_eq(ipaddr_parse(&ip, ip_text), 0);
	len = ipaddr_sockaddr(&ip, port_of(port_at), &sa);
	fd = socket(ip.family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sa, len), 0);
	ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

/* Connects to the port, without waiting for the server. Returns the client's socket. */
static int knock(const struct published *p)
{
	return connect_to("127.0.0.1", &p->at);
}

static void step_all(void)
{
	step();
	if (worker_count > 1)
		ck_assert_int_eq(loop_step(workers[1].loop, 1), 0);
}

static void settle_all(void)
{
	unsigned long long until = fixture_now_ms() + QUIET_MS;

	while (fixture_now_ms() < until)
		step_all();
}

/* Runs the loops until recv(2) no longer fails with EAGAIN. Returns the result of recv(2). */
static ssize_t receive(int fd, char *buf, size_t cap)
{
	unsigned long long until = fixture_now_ms() + FIXTURE_DEADLINE_S / 4 * 1000;
	ssize_t n;

	while ((n = recv(fd, buf, cap, 0)) < 0 && errno == EAGAIN) {
		ck_assert(fixture_now_ms() < until);
		step_all();
	}
	return n;
}

static void assert_receives(int fd, const char *text)
{
	char buf[64];

	ck_assert_int_eq(receive(fd, buf, sizeof(buf)), (ssize_t)strlen(text));
	ck_assert_mem_eq(buf, text, strlen(text));
}

static void assert_end(int fd)
{
	char byte;

	ck_assert_int_eq(receive(fd, &byte, 1), 0);
}

static void assert_reset(int fd)
{
	char byte;

	ck_assert_int_eq(receive(fd, &byte, 1), -1);
	ck_assert_int_eq(errno, ECONNRESET);
}

static void assert_silent(int fd)
{
	char byte;

	ck_assert_int_eq(recv(fd, &byte, 1, 0), -1);
	ck_assert_int_eq(errno, EAGAIN);
}

static void send_text(int fd, const char *text)
{
	ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Runs the loops until the server can accept a connection. Returns its descriptor. */
static int serve(void)
{
	unsigned long long until = fixture_now_ms() + FIXTURE_DEADLINE_S / 4 * 1000;
	int fd;

	while ((fd = accept4(server, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) < 0) {
		ck_assert(fixture_now_ms() < until);
		step_all();
	}
	return fd;
}

/* Returns true if no connection reaches the server. */
static bool nobody_comes(void)
{
	settle_all();
	return accept4(server, NULL, NULL, SOCK_CLOEXEC) < 0 && errno == EAGAIN;
}

static unsigned int clients(void)
{
	return tcp_clients(all[0]) + (worker_count > 1 ? tcp_clients(all[1]) : 0);
}

static void await_clients(unsigned int count)
{
	unsigned long long until = fixture_now_ms() + FIXTURE_DEADLINE_S / 4 * 1000;

	while (clients() != count) {
		ck_assert_msg(fixture_now_ms() < until, "%u clients, not %u", clients(), count);
		step_all();
	}
}

/* ---- workers ---- */

static void on_message(struct inbox *inbox, const struct inbox_message *m)
{
	tcp_take_client(LOOP_OWNER(inbox, struct worker, inbox)->tcp, m);
}

static void on_shortage(const struct dialler *dialler, const char *why)
{
	tcp_pause(LOOP_OWNER(dialler, struct worker, dialler)->tcp, why);
}

static void open_worker(struct worker *w, bool source_ip)
{
	const struct tcp_setup setup = { .loop = w->loop,
					 .dialler = &w->dialler,
					 .inbox = &w->inbox,
					 .fds = &fds,
					 .source_ip = source_ip,
					 .all = all,
					 .count = (size_t)worker_count };

	w->dialler = (struct dialler){ .loop = w->loop,
				       .on_shortage = on_shortage,
				       .bp_address = bp_address };
	w->tcp = tcp_new(&setup);
	ck_assert_ptr_nonnull(w->tcp);
	w->dialler.quota = tcp_quota(w->tcp);
	ck_assert_int_eq(dialler_open(&w->dialler), 0);
	ck_assert_int_eq(inbox_open(&w->inbox, w->loop, on_message), 0);
}

static void open_workers(int count, size_t max_fds, bool source_ip)
{
	worker_count = count;
	atomic_store(&fds.used, 0);
	fds.max = max_fds;
	workers[0].loop = loop;
	if (count > 1)
		workers[1].loop = loop_new(LOOP_EPOLL);
	for (int i = 0; i < count; i++) {
		open_worker(&workers[i], source_ip);
		all[i] = workers[i].tcp;
	}
}

static void close_workers(void)
{
	settle_all(); /* a batch of sockets may be on its way */
	for (int i = 0; i < worker_count; i++) {
		inbox_drain(&workers[i].inbox);
		dialler_close(&workers[i].dialler);
		ck_assert_uint_eq(tcp_clients(workers[i].tcp), 0);
	}
	ck_assert_uint_eq(fds.used, 0);
	for (int i = 0; i < worker_count; i++) {
		inbox_close(&workers[i].inbox);
		tcp_free(workers[i].tcp);
	}
	if (worker_count > 1)
		loop_free(workers[1].loop);
	worker_count = 0;
}

/* From now on standard error is a file. */
static void open_all(void)
{
	const struct ipaddr ip = ipaddr_loopback(AF_INET);

	signal(SIGPIPE, SIG_IGN);
	open_child(0);
	server = listen_tcp(&ip, &server_at);
	capture_log(false);
}

static void close_all(void)
{
	if (worker_count > 0)
		close_workers();
	fd_close(&server);
	release_log();
	close_child();
}

/* Publishes a port that leads to the server. */
static void publish_at(struct published *p, int id, const struct ipaddr *ip)
{
	memset(p, 0, sizeof(*p));
	p->listener.id = id;
	p->listener.listen_fd = listen_tcp(ip, &p->at);
	p->listener.target = (struct target){ .proto = PROTO_TCP, .port = port_of(&server_at) };
	snprintf(p->listener.name, sizeof(p->listener.name), ":%d/tcp", id);
	for (int i = 0; i < worker_count; i++)
		ck_assert_int_eq(tcp_add_port(all[i], &p->listener), 0);
}

static void publish(struct published *p, int id)
{
	const struct ipaddr ip = ipaddr_loopback(AF_INET);

	publish_at(p, id, &ip);
}

static void remove_port(struct published *p)
{
	for (int i = 0; i < worker_count; i++)
		ck_assert(tcp_remove_port(all[i], p->listener.id));
	close(p->listener.listen_fd);
}

/* A client of the port and its connection at the server. */
struct pair {
	int client, peer;
};

static struct pair join(const struct published *p)
{
	struct pair pair = { .client = knock(p) };

	pair.peer = serve();
	return pair;
}

static void assert_joined(const struct pair *pair)
{
	send_text(pair->client, "question");
	assert_receives(pair->peer, "question");
	send_text(pair->peer, "answer");
	assert_receives(pair->client, "answer");
}

static void close_pair(const struct pair *pair)
{
	close(pair->client);
	close(pair->peer);
}

/* Runs the loops until the log has the text. */
static void await_log(const char *text)
{
	unsigned long long until = fixture_now_ms() + FIXTURE_DEADLINE_S / 4 * 1000;

	while (strstr(read_log(), text) == NULL) {
		ck_assert_msg(fixture_now_ms() < until, "\"%s\" is not in \"%s\"", text,
			      read_log());
		step_all();
	}
}

#endif
