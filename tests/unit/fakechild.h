/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FAKECHILD_H
#define FAKECHILD_H

/* A child that answers on a .bp.sock of the test's own, well or badly, within the test's thread and
 * loop (loopclock.h).
 */
#include "tests/unit/loopclock.h"

#include <netinet/in.h>

#include "base/fd.h"
#include "formats/bpmsg.h"
#include "msg.h"
#include "os/sockopt.h"
#include "os/unixsock.h"
#include "ports/fdquota.h"

enum child_way {
	GIVES,	       /* what it is asked for */
	GIVES_ONE,     /* though it was asked for more */
	IS_OLD,	       /* and does not know sockets */
	REFUSES,       /* them, for a reason */
	IS_SILENT,     /* takes the request and does not answer */
	CLOSES,	       /* instead of an answer */
	TALKS_GARBAGE, /* instead of a frame */
	SAYS_NULL,     /* without a descriptor */
	GIVES_SURPLUS, /* one more than it was asked for */
	GIVES_PIPES,   /* instead of sockets */
	GIVES_UNIX,    /* stream sockets */
	GIVES_UDP,     /* for TCP */
	GIVES_RAW,     /* a raw one of the protocol */
	GIVES_V6,      /* for IPv4 */
};

static struct {
	struct watch watch;
	enum child_way way;
	int silent[8];
	size_t silent_count;
	size_t batches, sockets; /* asked for */
	size_t connects;
	struct bpmsg connect; /* the last one */
	bool keeps_source;
} child;

static struct fdquota quota;
static struct sockaddr_un bp_address;

static int child_makes(const struct bpmsg *req)
{
	bool v6 = req->proto == PROTO_TCP6 || req->proto == PROTO_UDP6 || child.way == GIVES_V6;
	bool udp = proto_is_udp(req->proto) || child.way == GIVES_UDP;
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

/* Gives a socket that is connected to the target, or the reason. */
static void child_connects(int client, const struct bpmsg *req)
{
	struct sockaddr_storage to;
	socklen_t len;
	char text[BPMSG_ERROR_MAX];
	struct err e;
	int fd;

	child.connects++;
	child.connect = *req;
	ck_assert_int_eq(bpmsg_target(req, &to, &len, &e), 0);
	fd = socket(to.ss_family,
		    (proto_is_udp(req->proto) ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
	if (connect(fd, (struct sockaddr *)&to, len) == 0) {
		ck_assert_int_eq(msg_send_fd(client, fd), 0);
	} else {
		bpmsg_dial_error(req, errno, &e);
		ck_assert_int_gt(bpmsg_encode_error(&e, text, sizeof(text)), 0);
		child_says(client, text);
	}
	close(fd);
}

static void on_request(struct watch *w, short revents)
{
	struct msg_reader reader = { 0 };
	struct bpmsg req;
	struct err e;
	int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC);

	(void)revents;
	if (fd < 0)
		return; /* the test has taken the descriptors away */
	ck_assert_int_eq(msg_read(&reader, fd), 1);
	ck_assert_msg(bpmsg_decode(&req, reader.body, reader.len, &e) == 0, "%s", e.msg);
	msg_reader_reset(&reader);
	if (req.type == BPMSG_SOCKETS) {
		child.batches++;
		child.sockets += (size_t)req.count;
	}
	if (child.way == IS_SILENT) {
		ck_assert_uint_lt(child.silent_count, COUNT(child.silent));
		child.silent[child.silent_count++] = fd;
		return;
	}
	if (req.type == BPMSG_SOCKETS)
		child_answers_sockets(fd, &req);
	else
		child_connects(fd, &req);
	close(fd);
}

/* ---- a test ---- */

static void on_pause(struct fdquota *b)
{
	(void)b;
}

static int on_resume(struct fdquota *b)
{
	(void)b;
	return 0;
}

static void open_child(size_t max_fds)
{
	struct err e;

	memset(&child, 0, sizeof(child));
	child.keeps_source = true;
	loop = loop_new(LOOP_EPOLL);
	child.watch = (struct watch){ .fd = unixsock_listen(fixture_path("s"), &e),
				      .events = POLLIN,
				      .on_event = on_request };
	ck_assert_int_eq(loop_add(loop, &child.watch), 0);
	ck_assert_int_eq(unixsock_address(&bp_address, fixture_path("s")), 0);
	quota = (struct fdquota){ .loop = loop,
				  .max = max_fds,
				  .enough = 3,
				  .on_pause = on_pause,
				  .on_resume = on_resume };
	fdquota_init(&quota);
}

static void close_child(void)
{
	ck_assert_uint_eq(quota.used, 0);
	loop_remove(loop, &child.watch);
	fd_close(&child.watch.fd);
	while (child.silent_count > 0)
		close(child.silent[--child.silent_count]);
	loop_free(loop);
}

#endif
