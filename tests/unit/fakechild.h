/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FAKECHILD_H
#define FAKECHILD_H

/* A child that answers on the test's own .bp.sock, well or badly, in the test's thread and loop
 * (loopclock.h). */
#include "tests/unit/loopclock.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>

#include "base/fd.h"
#include "formats/bpmsg.h"
#include "msg.h"
#include "os/sockopt.h"
#include "os/unixsock.h"
#include "ports/fdquota.h"

enum child_way {
	GIVES,		  /* what it is asked for */
	GIVES_ONE,	  /* one socket although more were asked for */
	IS_OLD,		  /* it does not know the request "sockets" */
	REFUSES,	  /* with a reason */
	IS_SILENT,	  /* keeps requests of both kinds, until child_answers_held */
	CLOSES,		  /* the connection, without an answer */
	TALKS_GARBAGE,	  /* not a frame */
	SAYS_NULL,	  /* a good answer without a descriptor */
	GIVES_SURPLUS,	  /* one socket more than it was asked for */
	GIVES_PIPES,	  /* not sockets */
	GIVES_UNIX,	  /* stream sockets */
	GIVES_UNIX_DGRAM, /* datagram sockets */
	GIVES_TCP,	  /* for UDP */
	GIVES_UDP,	  /* for TCP */
	GIVES_RAW,	  /* a raw socket of the protocol */
	GIVES_V6,	  /* for IPv4 */
	KEEPS,		  /* gives a socket, and keeps a descriptor of it in `kept` */
};

#define CHILD_HELD_MAX 512

static struct {
	struct watch watch;
	enum child_way way;	    /* how it answers requests for sockets */
	enum child_way connect_way; /* how it answers requests to connect, if server_len > 0 */
	/* If server_len > 0, requests to connect get a UDP socket that is connected to `server`,
	 * else one that is connected to the target of the request. */
	struct sockaddr_storage server;
	socklen_t server_len;
	int kept;	  /* -1: none; owned */
	bool may_be_late; /* requesters may have given up before the answer */
	size_t asked;	  /* requests of both kinds */
	struct held_request {
		int fd;
		struct bpmsg req;
	} held[CHILD_HELD_MAX];
	size_t held_count;
	size_t batches, sockets; /* requests for sockets, and how many they were for */
	size_t connects;
	struct bpmsg connect; /* the last request to connect */
	char connect_text[BPMSG_MAX];
	bool keeps_source;
} child;

static struct fdquota quota;
static struct sockaddr_un bp_address;

/* Returns a socket, or another descriptor, as `way` says. The caller owns it. */
static int child_makes(const struct bpmsg *req)
{
	enum proto proto = req->target.proto;
	bool v6 = proto == PROTO_TCP6 || proto == PROTO_UDP6 || child.way == GIVES_V6;
	bool udp = proto_is_udp(proto) || child.way == GIVES_UDP;
	int pipe_fds[2];
	int fd;

	switch (child.way) {
	case GIVES_PIPES:
		ck_assert_int_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
		close(pipe_fds[1]);
		return pipe_fds[0];
	case GIVES_UNIX:
		return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	case GIVES_RAW:
		return socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, udp ? IPPROTO_UDP : IPPROTO_TCP);
	default:
		fd = socket(v6 ? AF_INET6 : AF_INET,
			    (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (!udp)
			sockopt_tcp_defaults(fd);
		return fd;
	}
}

static void child_gives(int client, const struct bpmsg *req)
{
	int fds[BPMSG_SOCKETS_MAX + 1];
	int count = child.way == GIVES_ONE ? 1 : req->count + (child.way == GIVES_SURPLUS);

	for (int i = 0; i < count; i++)
		ck_assert_int_ge(fds[i] = child_makes(req), 0);
	ck_assert_int_eq(msg_send_fds(client, fds, (size_t)count,
				      child.keeps_source ? BPMSG_KEEPS_SOURCE : 0),
			 0);
	fd_close_all(fds, (size_t)count);
}

static void child_says(int client, const char *text)
{
	ck_assert_int_eq(msg_send(client, text, strlen(text)), 0);
}

static void child_answers_sockets(int client, const struct bpmsg *req)
{
	switch (child.way) {
	case IS_OLD:
		child_says(client, "{\"Error\":\"unknown request type: \\\"sockets\\\"\"}");
		break;
	case REFUSES:
		child_says(client, "{\"Error\":\"no way\"}");
		break;
	case TALKS_GARBAGE:
		ck_assert_int_eq(write(client, "garbage!", 8), 8);
		break;
	case SAYS_NULL:
		child_says(client, "null");
		break;
	case CLOSES:
		break;
	default:
		child_gives(client, req);
	}
}

/* Gives a socket that is connected to the target, or the reason why that failed. */
static void child_connects(int client, const struct bpmsg *req)
{
	const struct target *t = &req->target;
	const struct ipaddr ip = target_address(t, &req->host_gateway_ip);
	struct sockaddr_storage to;
	socklen_t len = target_sockaddr(t, &ip, &to);
	char text[BPMSG_ERROR_MAX];
	struct err e;
	int fd;

	child.connects++;
	child.connect = *req;
	fd = socket(to.ss_family,
		    (proto_is_udp(t->proto) ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
	if (connect(fd, (struct sockaddr *)&to, len) == 0) {
		ck_assert_int_eq(msg_send_fd(client, fd), 0);
	} else {
		target_dial_error(t, &ip, errno, &e);
		ck_assert_int_gt(bpmsg_encode_error(&e, text, sizeof(text)), 0);
		child_says(client, text);
	}
	close(fd);
}

/* Returns a UDP socket that is connected to child.server, or another descriptor, as connect_way
 * says.
 */
static int child_makes_connected(void)
{
	int fd;

	switch (child.connect_way) {
	case GIVES_TCP:
		return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	case GIVES_UNIX_DGRAM:
		return socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	case GIVES_PIPES:
		return open("/dev/null", O_WRONLY | O_CLOEXEC);
	default:
		fd = socket(child.server.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		ck_assert_int_eq(connect(fd, (struct sockaddr *)&child.server, child.server_len),
				 0);
		return fd;
	}
}

static void child_gives_connected(int client, const struct bpmsg *req)
{
	int fd = child_makes_connected();

	child.connects++;
	child.connect = *req;
	ck_assert_int_ge(fd, 0);
	if (msg_send_fd(client, fd) == -EPIPE)
		ck_assert(child.may_be_late);
	if (child.connect_way == KEEPS)
		child.kept = fd;
	else
		close(fd);
}

static void child_answers(int client, const struct bpmsg *req)
{
	if (req->type == BPMSG_SOCKETS)
		child_answers_sockets(client, req);
	else if (child.connect_way == REFUSES)
		child_says(client, "{\"Error\":\"no way\"}");
	else if (child.server_len > 0)
		child_gives_connected(client, req);
	else
		child_connects(client, req);
}

/* Answers the requests that it has kept, and stops being silent. */
static inline void child_answers_held(void)
{
	child.way = child.connect_way = GIVES;
	while (child.held_count > 0) {
		struct held_request *held = &child.held[--child.held_count];

		child_answers(held->fd, &held->req);
		close(held->fd);
	}
}

static bool child_is_silent(const struct bpmsg *req)
{
	return child.way == IS_SILENT ||
	       (req->type == BPMSG_CONNECT && child.connect_way == IS_SILENT);
}

static void on_request(struct watch *w, short revents)
{
	struct msg_reader reader = { 0 };
	struct bpmsg req;
	struct err e;
	int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC);

	(void)revents;
	if (fd < 0)
		return; /* the test has lowered the descriptor limit */
	ck_assert_int_eq(msg_read(&reader, fd), 1);
	ck_assert_msg(bpmsg_decode(&req, reader.body, reader.len, &e) == 0, "%s", e.msg);
	if (req.type == BPMSG_CONNECT)
		snprintf(child.connect_text, sizeof(child.connect_text), "%.*s", (int)reader.len,
			 (const char *)reader.body);
	msg_reader_reset(&reader);
	child.asked++;
	if (req.type == BPMSG_SOCKETS) {
		child.batches++;
		child.sockets += (size_t)req.count;
	}
	if (child_is_silent(&req)) {
		ck_assert_uint_lt(child.held_count, COUNT(child.held));
		child.held[child.held_count++] = (struct held_request){ fd, req };
		return;
	}
	child_answers(fd, &req);
	close(fd);
}

/* ---- a test ---- */

/* Writes an address of this machine, of the family, that is neither loopback nor IPv6 link-local.
 * Returns false if there is none. */
static inline bool own_address(int family, char *text, size_t cap)
{
	struct ipaddr ip = { .family = AF_UNSPEC };
	struct ifaddrs *list;

	ck_assert_int_eq(getifaddrs(&list), 0);
	for (const struct ifaddrs *ifa = list; ifa != NULL; ifa = ifa->ifa_next) {
		const struct sockaddr_storage *sa = (const void *)ifa->ifa_addr;

		if (sa == NULL || sa->ss_family != family || (ifa->ifa_flags & IFF_UP) == 0)
			continue;
		ipaddr_from_sockaddr(&ip, sa);
		if (!ipaddr_is_loopback(&ip) &&
		    (family == AF_INET || !IN6_IS_ADDR_LINKLOCAL(&ip.v6)))
			break;
		ip.family = AF_UNSPEC;
	}
	freeifaddrs(list);
	return ip.family != AF_UNSPEC && ipaddr_text(&ip, text, cap) != NULL;
}

static void open_child(size_t max_fds)
{
	struct err e;

	memset(&child, 0, sizeof(child));
	child.kept = -1;
	child.keeps_source = true;
	loop = loop_new(LOOP_EPOLL);
	child.watch = (struct watch){ .fd = unixsock_listen(fixture_path("s"), SOCK_STREAM, &e),
				      .events = POLLIN,
				      .on_event = on_request };
	ck_assert_int_eq(loop_add(loop, &child.watch), 0);
	ck_assert_int_eq(unixsock_address(&bp_address, fixture_path("s")), 0);
	quota = (struct fdquota){ .max = max_fds };
}

static void close_child(void)
{
	ck_assert_uint_eq(quota.used, 0);
	loop_remove(loop, &child.watch);
	fd_close(&child.watch.fd);
	fd_close(&child.kept);
	while (child.held_count > 0)
		close(child.held[--child.held_count].fd);
	loop_free(loop);
}

#endif
