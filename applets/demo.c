/* SPDX-License-Identifier: Apache-2.0 */

/* A small HTTP server and client for demonstrations. See demo.h.
 *
 * The server is one loop. A visitor (struct visit) sends one request, gets one answer, and is let
 * go; a timer lets go of those that take too long. What ends a visit only marks it: it is freed
 * after the loop's round, in a task.
 *
 *     READING ── request complete ──► WRITING ── all written ──► DONE ──► freed
 *        └─ end of file, error, time is up ─┴─────────────────────▲
 */
#include "applets/demo.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/client.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/loop.h"
#include "formats/http.h"
#include "formats/portspec.h"

#define DEFAULT_IP	"127.0.0.1"
#define BACKLOG		64
#define MAX_VISITS	64    /* more wait in the kernel's queue */
#define VISIT_MS	10000 /* from accept to the last byte */
#define GET_DEADLINE_MS 10000 /* of demo-get in all */
#define MAX_ANSWER	4096  /* bytes; the path has up to 1024 */
#define ADDRESS_LEN	64    /* "[IPv6]:PORT" */
#define INPUT_MAX	(HTTP_MAX_HEAD + HTTP_MAX_BODY)

/* ---- addresses ---- */

/* Reads IP and PORT. Returns the length of the socket address, or -EINVAL with the reason. */
static int read_address(struct sockaddr_storage *sa, const char *ip_text, const char *port_text,
			struct err *e)
{
	struct ipaddr ip;
	char *end;
	unsigned long port = strtoul(port_text, &end, 10);

	if (ipaddr_parse(&ip, ip_text) < 0)
		return err_set(e, EINVAL, "\"%s\" is no IP address", ip_text);
	if (port_text[0] < '0' || port_text[0] > '9' || *end != '\0' || port > PORT_MAX)
		return err_set(e, EINVAL, "\"%s\" is no port", port_text);
	return (int)ipaddr_sockaddr(&ip, (int)port, sa);
}

/* "127.0.0.1:80" or "[::1]:80". Writes to and returns `buf`. */
static const char *address_text(const struct sockaddr_storage *sa, char *buf, size_t cap)
{
	struct ipaddr ip = { .family = sa->ss_family };
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	char text[INET6_ADDRSTRLEN];

	if (sa->ss_family == AF_INET6) {
		memcpy(&v6, sa, sizeof(v6));
		ip.v6 = v6.sin6_addr;
		snprintf(buf, cap, "[%s]:%u", ipaddr_text(&ip, text, sizeof(text)),
			 ntohs(v6.sin6_port));
	} else {
		memcpy(&v4, sa, sizeof(v4));
		ip.v4 = v4.sin_addr;
		snprintf(buf, cap, "%s:%u", ipaddr_text(&ip, text, sizeof(text)),
			 ntohs(v4.sin_port));
	}
	return buf;
}

/* ---- the server: one visitor ---- */

struct server {
	struct loop *loop;
	struct watch listener;
	struct watch signals;
	size_t visits;
};

struct visit {
	struct server *server;
	struct watch watch; /* on the visitor's socket, which it owns */
	struct timer timer;
	struct task release;
	char client[ADDRESS_LEN];
	char input[INPUT_MAX];
	size_t input_len;
	char output[MAX_ANSWER];
	size_t output_len; /* 0: still reading */
	size_t written;
};

static void on_release(struct task *t)
{
	struct visit *v = LOOP_OWNER(t, struct visit, release);
	struct server *server = v->server;

	fd_close(&v->watch.fd);
	free(v);
	server->visits--;
	loop_want(server->loop, &server->listener, POLLIN);
}

/* Ends a visit. May be called more than once. */
static void end_visit(struct visit *v)
{
	loop_remove(v->server->loop, &v->watch);
	loop_cancel(v->server->loop, &v->timer);
	loop_defer(v->server->loop, &v->release);
}

static void on_visit_due(struct timer *t)
{
	end_visit(LOOP_OWNER(t, struct visit, timer));
}

static void write_page(const struct visit *v, const char *path, char *buf, size_t cap)
{
	char netns[64] = "unknown"; /* "net:[4026531840]" */
	ssize_t n = readlink("/proc/self/ns/net", netns, sizeof(netns) - 1);

	if (n > 0)
		netns[n] = '\0';
	snprintf(buf, cap,
		 "Hello from demo-httpd.\n"
		 "path:   %s\n"
		 "pid:    %d\n"
		 "uid:    %d\n"
		 "netns:  %s\n"
		 "client: %s\n",
		 path, (int)getpid(), (int)getuid(), netns, v->client);
}

static void write_answer(struct visit *v, const struct http_request *req, bool is_good)
{
	char page[MAX_ANSWER / 2];
	bool has_body = !is_good || strcmp(req->method, "HEAD") != 0;
	int status = is_good ? 200 : (int)req->refusal;
	int n;

	if (is_good)
		write_page(v, req->path, page, sizeof(page));
	else
		snprintf(page, sizeof(page), "%s\n", req->problem);
	n = snprintf(v->output, sizeof(v->output),
		     "HTTP/1.1 %d %s\r\n"
		     "Content-Type: text/plain; charset=utf-8\r\n"
		     "Content-Length: %zu\r\n"
		     "Connection: close\r\n"
		     "\r\n"
		     "%s",
		     status, http_reason(status), strlen(page), has_body ? page : "");
	v->output_len = (size_t)n < sizeof(v->output) ? (size_t)n : sizeof(v->output) - 1;
}

static void read_request(struct visit *v)
{
	struct http_request req;
	ssize_t n = recv(v->watch.fd, v->input + v->input_len, sizeof(v->input) - v->input_len, 0);
	int r;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		end_visit(v);
		return;
	}
	v->input_len += (size_t)n;
	r = http_parse_request(v->input, v->input_len, &req);
	if (r != 0)
		write_answer(v, &req, r > 0);
}

static void send_answer(struct visit *v)
{
	ssize_t n = send(v->watch.fd, v->output + v->written, v->output_len - v->written,
			 MSG_NOSIGNAL);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		v->written += (size_t)n;
	if (n < 0 || v->written == v->output_len)
		end_visit(v);
}

static void on_visit(struct watch *w, short revents)
{
	struct visit *v = LOOP_OWNER(w, struct visit, watch);

	(void)revents;
	if (v->output_len == 0)
		read_request(v);
	if (v->output_len > 0)
		send_answer(v);
	loop_want(v->server->loop, w, v->output_len > 0 ? POLLOUT : POLLIN);
}

/* ---- the server: all of it ---- */

static void on_client(struct watch *w, short revents)
{
	struct server *server = LOOP_OWNER(w, struct server, listener);
	struct sockaddr_storage sa = { .ss_family = AF_UNSPEC };
	socklen_t sa_len = sizeof(sa);
	int sock = fd_accept(w->fd, (struct sockaddr *)&sa, &sa_len);
	struct visit *v;

	(void)revents;
	if (sock < 0)
		return;
	v = calloc(1, sizeof(*v));
	if (v == NULL) {
		close(sock);
		return;
	}
	v->server = server;
	v->watch = (struct watch){ .fd = sock, .events = POLLIN, .on_event = on_visit };
	v->timer.on_due = on_visit_due;
	v->release.run = on_release;
	address_text(&sa, v->client, sizeof(v->client));
	if (++server->visits == MAX_VISITS)
		loop_want(server->loop, w, 0);
	if (loop_add(server->loop, &v->watch) < 0 ||
	    loop_timer(server->loop, &v->timer, VISIT_MS) < 0)
		end_visit(v);
}

static void on_signal(struct watch *w, short revents)
{
	(void)revents;
	loop_stop(LOOP_OWNER(w, struct server, signals)->loop);
}

/* Returns a listening socket, or -errno with the reason. `sa` becomes the address it has. */
static int listen_at(struct sockaddr_storage *sa, socklen_t len, struct err *e)
{
	FD_AUTO int sock = socket(sa->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	char text[ADDRESS_LEN];
	const int on = 1;

	if (sock < 0)
		return err_sys(e, errno, "socket");
	setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(sock, (struct sockaddr *)sa, len) < 0 || listen(sock, BACKLOG) < 0 ||
	    getsockname(sock, (struct sockaddr *)sa, &len) < 0)
		return err_sys(e, errno, "listen on %s", address_text(sa, text, sizeof(text)));
	return fd_take(&sock);
}

/* Returns a descriptor that hears of the signals that end the server, or -errno. */
static int take_signals(struct err *e)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? err_sys(e, errno, "signalfd") : fd;
}

/* Serves until a signal comes. Visits that are under way then end with the process. */
static int serve(int sock, const struct sockaddr_storage *sa, struct err *e)
{
	FD_AUTO int signals = take_signals(e);
	struct server server = {
		.listener = { .fd = sock, .events = POLLIN, .on_event = on_client },
		.signals = { .fd = signals, .events = POLLIN, .on_event = on_signal },
	};
	char text[ADDRESS_LEN];
	int r;

	if (signals < 0)
		return signals;
	server.loop = loop_new(LOOP_POLL);
	if (server.loop == NULL)
		return err_sys(e, errno, "starting");
	r = loop_add(server.loop, &server.listener);
	if (r == 0)
		r = loop_add(server.loop, &server.signals);
	if (r == 0) {
		printf("listening on %s\n", address_text(sa, text, sizeof(text)));
		fflush(stdout);
		r = loop_run(server.loop);
	}
	loop_free(server.loop);
	return r < 0 ? err_sys(e, -r, "serving") : 0;
}

int demo_server_main(int argc, char **argv)
{
	const char *ip = argc == 3 ? argv[1] : DEFAULT_IP;
	struct sockaddr_storage sa = { .ss_family = AF_UNSPEC };
	struct err e = { "" };
	FD_AUTO int sock = -1;
	int r;

	if (argc < 2 || argc > 3 || argv[1][0] == '-') {
		fprintf(stderr, "Usage: demo-httpd [IP] PORT\n");
		return 1;
	}
	r = read_address(&sa, ip, argv[argc - 1], &e);
	if (r > 0)
		r = sock = listen_at(&sa, (socklen_t)r, &e);
	if (r >= 0)
		r = serve(sock, &sa, &e);
	if (r < 0)
		fprintf(stderr, "demo-httpd: %s\n", e.msg);
	return r < 0;
}

/* ---- the client ---- */

/* Connects `sock`, which is non-blocking. Returns 0, or -errno with the reason. */
static int connect_until(int sock, const struct sockaddr_storage *sa, socklen_t len,
			 unsigned long long until_ms, struct err *e)
{
	int error = 0, r;
	socklen_t size = sizeof(error);

	if (connect(sock, (const struct sockaddr *)sa, len) < 0) {
		if (errno != EINPROGRESS)
			return err_sys(e, errno, "connect");
		r = fd_wait(sock, POLLOUT, clock_left_ms(until_ms));
		if (r <= 0)
			return err_sys(e, r < 0 ? -r : ETIMEDOUT, "connect");
		getsockopt(sock, SOL_SOCKET, SO_ERROR, &error, &size);
		if (error != 0)
			return err_sys(e, error, "connect");
	}
	return 0;
}

/* Fetches a page and prints it. Returns 0, or -errno with the reason. */
static int fetch(const struct sockaddr_storage *sa, socklen_t len, const char *path, struct err *e)
{
	const unsigned long long until_ms = clock_now_ms() + GET_DEADLINE_MS;
	FD_AUTO int sock = socket(sa->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	char request[HTTP_MAX_PATH + 2 * ADDRESS_LEN], host[ADDRESS_LEN];
	struct client_answer answer = { .buf = NULL };
	int n, r, status;

	if (sock < 0)
		return err_sys(e, errno, "socket");
	n = snprintf(request, sizeof(request),
		     "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path,
		     address_text(sa, host, sizeof(host)));
	if ((size_t)n >= sizeof(request))
		return err_set(e, EINVAL, "too long a path");
	r = connect_until(sock, sa, len, until_ms, e);
	if (r == 0)
		r = client_exchange(sock, request, (size_t)n, until_ms, &answer, e);
	if (r < 0)
		return r;
	fwrite(answer.body, 1, answer.body_len, stdout);
	status = answer.status;
	client_answer_free(&answer);
	if (fflush(stdout) != 0)
		return err_sys(e, errno, "write");
	if (status / 100 != 2)
		return err_set(e, EREMOTEIO, "HTTP status %d", status);
	return 0;
}

/* May it stand in a request's first line? */
static bool is_path(const char *path)
{
	if (path[0] != '/')
		return false;
	for (; *path != '\0'; path++) {
		if ((unsigned char)*path <= ' ' || *path == 0x7f)
			return false;
	}
	return true;
}

int demo_client_main(int argc, char **argv)
{
	const char *path = argc == 4 ? argv[3] : "/";
	struct sockaddr_storage sa = { .ss_family = AF_UNSPEC };
	struct err e = { "" };
	int r;

	if (argc < 3 || argc > 4 || argv[1][0] == '-' || !is_path(path)) {
		fprintf(stderr, "Usage: demo-get IP PORT [PATH]\n");
		return 1;
	}
	r = read_address(&sa, argv[1], argv[2], &e);
	if (r > 0)
		r = fetch(&sa, (socklen_t)r, path, &e);
	if (r < 0)
		fprintf(stderr, "demo-get: %s port %s: %s\n", argv[1], argv[2], e.msg);
	return r < 0;
}
