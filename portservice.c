/* SPDX-License-Identifier: Apache-2.0 */
/* Serving .bp.sock. See portservice.h.
 *
 * A request (struct request) goes through these states; each failure is answered and ends it:
 *
 *     READING ── frame complete ──► CONNECTING ── connected ──► answered, freed
 *        │                              │
 *        └─ end, garbage, deadline      └─ refused, unreachable, deadline
 *
 * A slow target holds up nobody: every connect(2) is non-blocking, and there may be as many of them
 * as there are descriptors. That can be thousands, so the loop is an epoll one; each watch is used
 * for few events and costs no more than one of poll(2) there.
 *
 * Requests are heard from processes of the user itself and of nobody else. All memory belongs to
 * the thread.
 */
#include "portservice.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bpreq.h"
#include "fd.h"
#include "log.h"
#include "loop.h"
#include "msg.h"
#include "netns.h"
#include "sockopt.h"
#include "statedir.h"
#include "unixsock.h"

#define ACCEPT_BATCH	    64
#define PAUSE_MS	    100	  /* of accepting, when the system is out of something */
#define READ_DEADLINE_MS    10000 /* for a request to be complete */
#define CONNECT_DEADLINE_MS 20000 /* a SYN is sent five times by then; the parent waits longer */
#define THREAD_STACK	    (256 * 1024) /* bytes; a request is decoded on it */

struct service {
	struct loop *loop;
	struct watch listener;
	struct timer resume;
	char state_dir[PATH_MAX];
	const char *netns; /* NULL: the process' own */
	char netns_path[PATH_MAX];
	pthread_barrier_t started;
	int result; /* of the start, with the reason */
	struct err why;
};

struct request {
	struct service *service;
	struct watch client;
	struct watch target; /* -1 while the request is read */
	struct timer deadline;
	struct msg_reader reader;
	struct task reap;
	struct sockaddr_storage to;
	char to_text[INET6_ADDRSTRLEN + sizeof("[]:65535")];
	enum proto proto;
};

/* ---- the end of a request ---- */

static void free_request(struct task *t)
{
	struct request *r = LOOP_OWNER(t, struct request, reap);

	msg_reader_reset(&r->reader);
	free(r);
}

static void end_request(struct request *r)
{
	struct loop *loop = r->service->loop;

	loop_cancel(loop, &r->deadline);
	loop_remove(loop, &r->client);
	loop_remove(loop, &r->target);
	fd_close(&r->client.fd);
	fd_close(&r->target.fd);
	r->reap.run = free_request;
	loop_defer(loop, &r->reap);
}

static void answer_error(struct request *r, const struct err *why)
{
	char text[BPREQ_ERROR_MAX];
	int len = bpreq_encode_error(why, text, sizeof(text));

	/* A client that does not take it has gone. */
	if (len > 0)
		msg_send_now(r->client.fd, text, (size_t)len);
	end_request(r);
}

static void answer_init(struct request *r)
{
	static const char null[] = "null";

	msg_send_now(r->client.fd, null, sizeof(null) - 1);
	end_request(r);
}

static void answer_connected(struct request *r)
{
	int sent = msg_send_fd(r->client.fd, r->target.fd);
	char why[128];

	if (sent < 0)
		log_debug("port service: sending a descriptor: %s",
			  err_text(-sent, why, sizeof(why)));
	end_request(r);
}

/* ---- connecting ---- */

static void fail_connect(struct request *r, int errnum)
{
	struct err why;

	err_sys(&why, errnum, "dial %s %s: connect", proto_name(r->proto), r->to_text);
	answer_error(r, &why);
}

static void on_connected(struct watch *w, short revents)
{
	struct request *r = LOOP_OWNER(w, struct request, target);
	int why = 0;
	socklen_t len = sizeof(why);

	(void)revents;
	if (getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &why, &len) < 0)
		why = errno;
	if (why != 0)
		fail_connect(r, why);
	else
		answer_connected(r);
}

static void on_connect_deadline(struct timer *t)
{
	fail_connect(LOOP_OWNER(t, struct request, deadline), ETIMEDOUT);
}

static void start_connect(struct request *r, socklen_t to_len)
{
	struct loop *loop = r->service->loop;
	int result;

	r->target.fd = socket(r->to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (r->target.fd < 0) {
		fail_connect(r, errno);
		return;
	}
	sockopt_tcp_defaults(r->target.fd);
	if (connect(r->target.fd, (struct sockaddr *)&r->to, to_len) == 0) {
		answer_connected(r);
		return;
	}
	if (errno != EINPROGRESS && errno != EINTR) {
		fail_connect(r, errno);
		return;
	}
	r->target.events = POLLOUT;
	r->target.on_event = on_connected;
	r->deadline.on_due = on_connect_deadline;
	result = loop_add(loop, &r->target);
	if (result == 0)
		result = loop_timer(loop, &r->deadline, CONNECT_DEADLINE_MS);
	if (result < 0)
		fail_connect(r, -result);
}

/* Where a request wants to go. Returns the length of the socket address, or -errno. */
static int resolve(struct request *r, const struct bpreq *req, struct err *e)
{
	char text[INET6_ADDRSTRLEN];
	struct ipaddr ip;
	int result;

	r->proto = req->proto;
	if (!proto_is_tcp(req->proto))
		return err_set(e, ENOTSUP, "unsupported port protocol %s", proto_name(req->proto));
	result = portspec_dial_ip(&ip, req->ip, req->parent_ip, req->host_gateway_ip, e);
	if (result < 0)
		return result;
	ipaddr_text(&ip, text, sizeof(text));
	snprintf(r->to_text, sizeof(r->to_text), ip.family == AF_INET6 ? "[%s]:%d" : "%s:%d", text,
		 req->port);
	return (int)ipaddr_sockaddr(&ip, req->port, &r->to);
}

/* ---- reading ---- */

static void on_request(struct request *r)
{
	struct bpreq req;
	struct err why;
	int len = bpreq_decode(&req, r->reader.body, r->reader.len, &why);

	if (len == 0 && req.type == BPREQ_INIT) {
		answer_init(r);
		return;
	}
	if (len == 0)
		len = resolve(r, &req, &why);
	if (len < 0) {
		answer_error(r, &why);
		return;
	}
	/* The client has nothing more to say, and its going away makes no difference. */
	loop_remove(r->service->loop, &r->client);
	start_connect(r, (socklen_t)len);
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

static void on_read_deadline(struct timer *t)
{
	end_request(LOOP_OWNER(t, struct request, deadline));
}

/* Takes an accepted client. Returns 0 or -ENOMEM. */
static int start_request(struct service *s, int client)
{
	struct request *r = calloc(1, sizeof(*r));

	if (r == NULL) {
		close(client);
		return -ENOMEM;
	}
	r->service = s;
	r->client = (struct watch){ .fd = client, .events = POLLIN, .on_event = on_client };
	r->target.fd = -1;
	r->deadline.on_due = on_read_deadline;
	if (loop_add(s->loop, &r->client) < 0 ||
	    loop_timer(s->loop, &r->deadline, READ_DEADLINE_MS) < 0) {
		end_request(r);
		return -ENOMEM;
	}
	return 0;
}

/* ---- accepting ---- */

static void on_resume(struct timer *t)
{
	struct service *s = LOOP_OWNER(t, struct service, resume);

	if (loop_want(s->loop, &s->listener, POLLIN) < 0)
		loop_timer(s->loop, t, PAUSE_MS);
}

static void on_listener(struct watch *w, short revents)
{
	struct service *s = LOOP_OWNER(w, struct service, listener);

	(void)revents;
	for (int i = 0; i < ACCEPT_BATCH; i++) {
		int fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0 && !unixsock_is_same_user(fd)) {
			close(fd);
			continue;
		}
		if (fd >= 0 && start_request(s, fd) == 0)
			continue;
		if (fd < 0 && errno == EAGAIN)
			return;
		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		/* Out of descriptors or memory: the others wait a little in the kernel's queue. */
		if (loop_timer(s->loop, &s->resume, PAUSE_MS) == 0)
			loop_want(s->loop, &s->listener, 0);
		return;
	}
}

/* ---- the thread ---- */

static int listen_on_socket(struct service *s, struct err *e)
{
	char path[PATH_MAX];

	s->listener = (struct watch){ .events = POLLIN, .on_event = on_listener };
	s->listener.fd = unixsock_listen(statedir_path(s->state_dir, STATE_BP_SOCKET, path), e);
	return s->listener.fd < 0 ? s->listener.fd : loop_add(s->loop, &s->listener);
}

static int start(struct service *s, struct err *e)
{
	FD_AUTO int ready = -1;
	char path[PATH_MAX];

	if (s->netns != NULL) {
		int r = netns_enter(s->netns, e);

		if (r < 0)
			return r;
	}
	s->loop = loop_new(LOOP_EPOLL);
	if (s->loop == NULL)
		return err_sys(e, errno, "starting the port service");
	statedir_path(s->state_dir, STATE_BP_READY, path);
	ready = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK);
	if (ready < 0)
		return err_sys(e, errno, "open %s", path);
	s->resume.on_due = on_resume;
	return listen_on_socket(s, e);
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
	return NULL;
}

static int start_thread(struct service *s)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, THREAD_STACK);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	r = pthread_create(&thread, &attr, run_thread, s);
	pthread_attr_destroy(&attr);
	return -r;
}

int portservice_start(const char *state_dir, const char *netns, struct err *e)
{
	static struct service service; /* one a process; the thread keeps it */
	struct service *s = &service;
	int r;

	snprintf(s->state_dir, sizeof(s->state_dir), "%s", state_dir);
	if (netns != NULL) {
		snprintf(s->netns_path, sizeof(s->netns_path), "%s", netns);
		s->netns = s->netns_path;
	}
	s->listener.fd = -1;
	pthread_barrier_init(&s->started, NULL, 2);
	r = start_thread(s);
	if (r < 0)
		return err_sys(e, -r, "starting the port service");
	pthread_barrier_wait(&s->started);
	if (s->result < 0)
		*e = s->why;
	return s->result;
}
