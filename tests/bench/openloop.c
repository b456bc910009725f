/* SPDX-License-Identifier: Apache-2.0 */
/* openloop PORT RATE SECONDS CONNECTIONS IP: makes small HTTP requests to IP:PORT at a fixed rate.
 *
 * Request k is due at k / RATE seconds, even if earlier ones are not answered yet, and its latency
 * is measured from then. So a server that stalls also pays for the requests that fall due meanwhile
 * (a closed loop would omit them: "coordinated omission"). A due request takes an idle connection,
 * or waits for one. Every answer must have the length of the first one.
 *
 * At the end the program waits two seconds for answers. A request without an answer counts with the
 * time that it has waited.
 *
 * Prints a JSON object: requests, answers, rate reached, and percentiles in microseconds.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNECTIONS 1024
#define MAX_REQUESTS	20000000
#define GRACE_NS	2000000000 /* the wait for outstanding answers at the end */
#define NS_PER_S	1000000000LL

static const char request[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

struct connection {
	int fd;
	size_t missing; /* bytes of the answer that is awaited */
	int64_t due_ns;
};

static struct connection connections[MAX_CONNECTIONS];
static struct connection *idle[MAX_CONNECTIONS]; /* a ring; longest idle first */
static unsigned int idle_first, idle_count, connection_count;
static uint32_t *latency_us;
static size_t done, answered;
static size_t answer_len;

static void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * NS_PER_S + t.tv_nsec;
}

static void put_idle(struct connection *c)
{
	idle[(idle_first + idle_count++) % connection_count] = c;
}

static struct connection *take_idle(void)
{
	struct connection *c = idle[idle_first];

	idle_first = (idle_first + 1) % connection_count;
	idle_count--;
	return c;
}

static void send_request(struct connection *c, int64_t due_ns)
{
	c->due_ns = due_ns;
	c->missing = answer_len;
	if (send(c->fd, request, sizeof(request) - 1, MSG_NOSIGNAL) != (ssize_t)sizeof(request) - 1)
		fail("send");
}

/* Reads a part of an answer. */
static void on_answer(struct connection *c)
{
	char buf[4096];
	ssize_t n = recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0 || (size_t)n > c->missing) {
		fprintf(stderr, n == 0 ? "a connection was closed\n" : "unexpected answer\n");
		exit(1);
	}
	c->missing -= (size_t)n;
	if (c->missing > 0)
		return;
	latency_us[done++] = (uint32_t)((now_ns() - c->due_ns) / 1000);
	put_idle(c);
}

/* Sets `answer_len` from the first answer. */
static void learn_length(int fd)
{
	char buf[4096];
	size_t len = 0, body;
	const char *end, *field;

	if (send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) < 0)
		fail("send");
	for (;;) {
		ssize_t n = recv(fd, buf + len, sizeof(buf) - 1 - len, 0);

		if (n <= 0)
			fail("the first answer");
		len += (size_t)n;
		buf[len] = '\0';
		end = strstr(buf, "\r\n\r\n");
		field = strcasestr(buf, "\r\nContent-Length:");
		if (end != NULL && field != NULL) {
			body = strtoul(field + strlen("\r\nContent-Length:"), NULL, 10);
			answer_len = (size_t)(end + 4 - buf) + body;
			if (len >= answer_len)
				return;
		}
	}
}

static void open_connections(int epoll_fd, const char *ip, uint16_t port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
	int one = 1;

	if (inet_pton(AF_INET, ip, &to.sin_addr) != 1) {
		fprintf(stderr, "openloop: %s is no IPv4 address\n", ip);
		exit(2);
	}
	for (unsigned int i = 0; i < connection_count; i++) {
		struct connection *c = &connections[i];
		struct epoll_event event = { .events = EPOLLIN, .data.ptr = c };

		c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof(to)) < 0)
			fail("connect");
		setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (i == 0)
			learn_length(c->fd);
		if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event) < 0)
			fail("epoll_ctl");
		put_idle(c);
	}
}

/* Handles answers until `until_ns`. */
static void wait_until(int epoll_fd, int64_t until_ns)
{
	struct epoll_event events[64];
	int64_t left_ns = until_ns - now_ns();
	struct timespec t = { 0, 0 };
	int n;

	if (left_ns > 0) {
		t.tv_sec = left_ns / NS_PER_S;
		t.tv_nsec = left_ns % NS_PER_S;
	}
	n = epoll_pwait2(epoll_fd, events, 64, &t, NULL);
	if (n < 0 && errno != EINTR)
		fail("epoll_pwait2");
	for (int i = 0; i < n; i++)
		on_answer(events[i].data.ptr);
}

/* Records the requests without an answer as if it came now. `sent`: requests that were sent. */
static void count_unanswered(size_t sent, size_t count, int64_t start_ns, double gap_ns)
{
	int64_t end_ns = now_ns();

	for (unsigned int i = 0; i < connection_count; i++) {
		if (connections[i].missing > 0)
			latency_us[done++] = (uint32_t)((end_ns - connections[i].due_ns) / 1000);
	}
	for (; sent < count; sent++) {
		int64_t due_ns = start_ns + (int64_t)((double)sent * gap_ns);

		latency_us[done++] = (uint32_t)((end_ns - due_ns) / 1000);
	}
}

/* Sends `count` requests, one every gap_ns, and waits for the answers. Returns the seconds taken.
 */
static double run(int epoll_fd, size_t count, double gap_ns)
{
	int64_t start_ns = now_ns();
	int64_t give_up_ns = start_ns + (int64_t)((double)count * gap_ns) + GRACE_NS;
	size_t sent = 0;

	done = 0;
	while (done < count && now_ns() < give_up_ns) {
		int64_t due_ns = start_ns + (int64_t)((double)sent * gap_ns);

		while (sent < count && idle_count > 0 && due_ns <= now_ns()) {
			send_request(take_idle(), due_ns);
			sent++;
			due_ns = start_ns + (int64_t)((double)sent * gap_ns);
		}
		/* wakes early only for answers if no request, or no connection, is left */
		wait_until(epoll_fd, sent < count && idle_count > 0 ? due_ns : give_up_ns);
	}
	answered = done;
	count_unanswered(sent, count, start_ns, gap_ns);
	return (double)(now_ns() - start_ns) / (double)NS_PER_S;
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Returns the smallest latency that `share` of all requests does not exceed. */
static uint32_t percentile(double share)
{
	size_t rank = (size_t)(share * (double)done);

	if ((double)rank < share * (double)done)
		rank++;
	return latency_us[rank > 0 ? rank - 1 : 0];
}

int main(int argc, char **argv)
{
	double rate, seconds, took;
	size_t count;
	int epoll_fd;

	if (argc != 6) {
		fprintf(stderr, "usage: openloop PORT RATE SECONDS CONNECTIONS IP\n");
		return 2;
	}
	rate = strtod(argv[2], NULL);
	seconds = strtod(argv[3], NULL);
	connection_count = (unsigned int)strtoul(argv[4], NULL, 10);
	count = (size_t)(rate * seconds);
	if (count < 1 || count > MAX_REQUESTS || connection_count < 1 ||
	    connection_count > MAX_CONNECTIONS) {
		fprintf(stderr, "openloop: out of range\n");
		return 2;
	}
	prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
	latency_us = malloc(count * sizeof(*latency_us));
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (latency_us == NULL || epoll_fd < 0)
		fail("start");
	open_connections(epoll_fd, argv[5], (uint16_t)strtoul(argv[1], NULL, 10));
	took = run(epoll_fd, count, (double)NS_PER_S / rate);
	if (answered == 0) {
		fprintf(stderr, "no answer to %zu requests\n", count);
		return 1;
	}
	qsort(latency_us, done, sizeof(*latency_us), compare);
	printf("{\"requests\": %zu, \"answered\": %zu, \"rate\": %.1f, \"p50\": %u, \"p90\": %u, "
	       "\"p99\": %u, "
	       "\"p99.9\": %u, \"max\": %u}\n",
	       done, answered, (double)answered / took, percentile(0.5), percentile(0.9),
	       percentile(0.99), percentile(0.999), latency_us[done - 1]);
	return 0;
}
