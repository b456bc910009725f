/* SPDX-License-Identifier: Apache-2.0 */
/* Serving .bp.sock. See portservice.h.
 *
 * A request is answered at once ("init", "sockets", a malformed one), or after the child has
 * connected to the target ("connect", childdial.h):
 *
 *     READING ── complete ──► CONNECTING ── result ──► answered
 *        │           └── answered                         │
 *        ▼                                                ▼
 *     freed: no complete request in time       freed when the dial has ended
 *
 * A slow target delays no other request: every connect(2) is non-blocking, and only the descriptor
 * limit bounds their number. There may be thousands of them, so the loop uses epoll(7). For a
 * watch that gets only one or two events, epoll(7) costs no more than poll(2).
 *
 * Only processes of the same user are served. All memory belongs to the thread.
 */
#include "ports/portservice.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/array.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/loop.h"
#include "formats/bpmsg.h"
#include "msg.h"
#include "netns.h"
#include "os/sockopt.h"
#include "os/thread.h"
#include "os/unixacceptor.h"
#include "ports/childdial.h"
#include "ports/srcroute.h"

#define READ_DEADLINE_MS 10000 /* until a request must be complete */

struct service {
	struct loop *loop;
	struct unixacceptor acceptor;
	const struct portservice_setup *setup; /* borrowed until start() has returned */
	/* What keeps clients' addresses, for the answer to "init". "": connections come from the
	 * child's own address. */
	char source_ip_backend[BPMSG_BACKEND_LEN];
	struct srcroute srcroute;
	pthread_barrier_t started; /* start() has returned, and `result` and `why` are set */
	int result;
	struct err why;
};

struct request {
	struct service *service;
	struct watch client;   /* the requester; -1 once it was answered or has gone */
	struct timer deadline; /* for a complete request */
	struct msg_reader reader;
	struct bpmsg req;
	struct childdial dial; /* for "connect" */
	struct task reap;
};

/* ---- answers ---- */

static void free_request(struct task *t)
{
	struct request *r = LOOP_OWNER(t, struct request, reap);

	msg_reader_reset(&r->reader);
	free(r);
}

static void hang_up(struct request *r)
{
	loop_remove(r->service->loop, &r->client);
	fd_close(&r->client.fd);
}

static void end_request(struct request *r)
{
	hang_up(r);
	loop_cancel(r->service->loop, &r->deadline);
	r->reap.run = free_request;
	loop_defer(r->service->loop, &r->reap);
}

static void send_error(const struct request *r, const struct err *why)
{
	char text[BPMSG_ERROR_MAX];
	int len = bpmsg_encode_error(why, text, sizeof(text));

	/* A failure is ignored: the requester has gone. */
	if (len > 0)
		msg_send_now(r->client.fd, text, (size_t)len);
}

static void answer_error(struct request *r, const struct err *why)
{
	send_error(r, why);
	end_request(r);
}

static bool keeps_source_ip(const struct service *s)
{
	return s->source_ip_backend[0] != '\0';
}

static void answer_init(struct request *r)
{
	char text[BPMSG_MAX];
	int len = bpmsg_encode_init(r->service->source_ip_backend, text, sizeof(text));

	if (len > 0)
		msg_send_now(r->client.fd, text, (size_t)len);
	end_request(r);
}

/* ---- connecting ---- */

static void on_dial_result(struct childdial *d, int fd, const struct err *why)
{
	struct request *r = LOOP_OWNER(d, struct request, dial);
	char text[128];
	int sent = 0;

	if (fd < 0)
		send_error(r, why);
	else
		sent = msg_send_fd(r->client.fd, fd);
	if (sent < 0)
		log_debug("port service: sending a descriptor: %s",
			  err_text(-sent, text, sizeof(text)));
	hang_up(r);
}

static void on_dial_end(struct childdial *d)
{
	end_request(LOOP_OWNER(d, struct request, dial));
}

static void on_client_gone(struct watch *w, short revents)
{
	struct request *r = LOOP_OWNER(w, struct request, client);

	(void)revents;
	hang_up(r);
	childdial_abandon(&r->dial);
}

/* Notices when the requester hangs up (POLLHUP, which polling for POLLERR reports, too). Polling
 * for POLLIN would also report that the requester has shut down its writing side. */
static void watch_for_hang_up(struct request *r)
{
	r->client.on_event = on_client_gone;
	loop_want(r->service->loop, &r->client, POLLERR);
}

static void answer_connect(struct request *r)
{
	struct service *s = r->service;
	struct err why;

	if (target_check(&r->req.target, &why) < 0) {
		answer_error(r, &why);
		return;
	}
	loop_cancel(s->loop, &r->deadline);
	r->dial.loop = s->loop;
	r->dial.srcroute = keeps_source_ip(s) ? &s->srcroute : NULL;
	r->dial.on_result = on_dial_result;
	r->dial.on_end = on_dial_end;
	childdial_start(&r->dial, &r->req);
	if (r->client.fd >= 0)
		watch_for_hang_up(r);
}

/* ---- sockets ---- */

/* Makes up to `count` sockets, fds[count], which the caller owns. Returns how many, or -errno if
 * none could be made. */
static int make_sockets(enum proto proto, int *fds, int count)
{
	int family = proto == PROTO_TCP6 || proto == PROTO_UDP6 ? AF_INET6 : AF_INET;
	int n = 0, fd = 0;

	while (n < count && (fd = childdial_socket(proto, family)) >= 0) {
		if (proto_is_tcp(proto))
			sockopt_tcp_reset_on_close(fd);
		fds[n++] = fd;
	}
	return n > 0 ? n : fd;
}

static void answer_sockets(struct request *r)
{
	const char byte = keeps_source_ip(r->service) ? BPMSG_KEEPS_SOURCE : 0;
	int fds[BPMSG_SOCKETS_MAX];
	int n = make_sockets(r->req.target.proto, fds, r->req.count);
	struct err why;
	int sent;

	if (n < 0) {
		err_sys(&why, -n, "socket");
		answer_error(r, &why);
		return;
	}
	sent = msg_send_fds(r->client.fd, fds, (size_t)n, byte);
	if (sent < 0)
		log_debug("port service: sending descriptors: %s",
			  err_text(-sent, why.msg, sizeof(why.msg)));
	fd_close_all(fds, (size_t)n);
	end_request(r);
}

/* ---- reading ---- */

static void (*const answers[])(struct request *r) = {
	[BPMSG_INIT] = answer_init,
	[BPMSG_CONNECT] = answer_connect,
	[BPMSG_SOCKETS] = answer_sockets,
};

_Static_assert(BPMSG_SOCKETS_MAX <= MSG_FDS_MAX, "they fit in one message");
_Static_assert(COUNT_OF(answers) == BPMSG_TYPE_COUNT, "an answer per type");

static void on_request(struct request *r)
{
	struct err why;

	if (bpmsg_decode(&r->req, r->reader.body, r->reader.len, &why) < 0)
		answer_error(r, &why);
	else
		answers[r->req.type](r);
}

static void on_client(struct watch *w, short revents)
{
	struct request *r = LOOP_OWNER(w, struct request, client);
	struct err why;
	int result = msg_read(&r->reader, w->fd);

	(void)revents;
	if (result == 1) {
		on_request(r);
	} else if (result == -EPROTO) {
		err_set(&why, EPROTO, "a request has 1 to %d bytes", MSG_MAX);
		answer_error(r, &why);
	} else if (result < 0) {
		end_request(r);
	}
}

static void on_deadline(struct timer *t)
{
	end_request(LOOP_OWNER(t, struct request, deadline));
}

static int start_request(struct unixacceptor *acceptor, int client)
{
	struct service *s = LOOP_OWNER(acceptor, struct service, acceptor);
	struct request *r = calloc(1, sizeof(*r));

	if (r == NULL) {
		close(client);
		return -ENOMEM;
	}
	r->service = s;
	r->client = (struct watch){ .fd = client, .events = POLLIN, .on_event = on_client };
	r->deadline.on_due = on_deadline;
	if (loop_add(s->loop, &r->client) < 0 ||
	    loop_timer(s->loop, &r->deadline, READ_DEADLINE_MS) < 0) {
		end_request(r);
		return -ENOMEM;
	}
	return 0;
}

/* ---- the thread ---- */

/* If this fails, ports work without clients' addresses. */
static void prepare_source_ip(struct service *s)
{
	struct err why;

	if (!keeps_source_ip(s) || srcroute_start(&s->srcroute, &why) == 0)
		return;
	s->source_ip_backend[0] = '\0';
	log_warn("servers inside do not see the addresses of their clients "
		 "(--source-ip-transparent): %s",
		 why.msg);
}

static int start(struct service *s, struct err *e)
{
	const struct portservice_setup *setup = s->setup;
	FD_AUTO int ready = -1;
	int r = setup->netns != NULL ? netns_enter(setup->netns, e) : 0;

	if (r < 0)
		return r;
	prepare_source_ip(s);
	s->loop = loop_new(LOOP_EPOLL);
	if (s->loop == NULL)
		return err_sys(e, errno, "starting the port service");
	if (setup->ready != NULL) {
		ready = open(setup->ready, O_WRONLY | O_CLOEXEC | O_NONBLOCK);
		if (ready < 0)
			return err_sys(e, errno, "open %s", setup->ready);
	}
	s->acceptor.on_client = start_request;
	return unixacceptor_listen(&s->acceptor, s->loop, setup->socket, e);
}

static void *run_thread(void *arg)
{
	struct service *s = arg;
	char why[128];
	int r;

	pthread_setname_np(pthread_self(), "ports");
	s->result = start(s, &s->why);
	pthread_barrier_wait(&s->started);
	if (s->result < 0)
		return NULL;
	r = loop_run(s->loop);
	log_error("port service: %s", err_text(-r, why, sizeof(why)));
	/* No port works without this thread. So the child ends, and with it the launcher and the
	 * command. */
	_exit(1);
}

int portservice_start(const struct portservice_setup *setup, struct err *e)
{
	static struct service service; /* static: the thread uses it for the life of the process */
	struct service *s = &service;
	int r;

	s->setup = setup;
	if (setup->source_ip_backend != NULL)
		snprintf(s->source_ip_backend, sizeof(s->source_ip_backend), "%s",
			 setup->source_ip_backend);
	pthread_barrier_init(&s->started, NULL, 2);
	r = thread_start(NULL, run_thread, s);
	if (r < 0)
		return err_sys(e, -r, "starting the port service");
	pthread_barrier_wait(&s->started);
	if (s->result < 0)
		*e = s->why;
	return s->result;
}
