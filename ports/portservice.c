/* SPDX-License-Identifier: Apache-2.0 */
/* Serving .bp.sock. See portservice.h.
 *
 * A "connect" request (struct request) goes through these states. Every failure ends it, and is
 * answered if the requester may still be there:
 *
 *     READING ── frame complete ──► CONNECTING ── connected ──► answered, freed
 *        │                              │
 *        └─ end, garbage, deadline      └─ refused, unreachable, deadline, requester gone
 *
 * If the request names a client's address, the service first connects from that address
 * (transparent.h). If that fails, for whatever reason, it connects from its own address at once;
 * should that be refused as well, the client's address was not the reason.
 *
 * If there was no answer in time, the first socket stays open beside the second one, and the answer
 * is whichever is connected first. If the first socket does connect late, the server was just slow,
 * and answers to the client's address do come back.
 *
 * "init" and "sockets" requests are answered at once.
 *
 * A slow target delays nobody: every connect(2) is non-blocking, and only the descriptor limit
 * bounds their number. That may be thousands, so the loop uses epoll(7). Here a watch gets so few
 * events that adding it to epoll costs no more than poll(2) would.
 *
 * Only processes of the same user are served. All memory belongs to the thread.
 */
#include "ports/portservice.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/array.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/loop.h"
#include "formats/bpmsg.h"
#include "formats/ipaddr.h"
#include "msg.h"
#include "netns.h"
#include "os/acceptor.h"
#include "os/sockopt.h"
#include "os/statedir.h"
#include "os/thread.h"
#include "ports/reach.h"
#include "ports/srcroute.h"
#include "ports/transparent.h"

#define READ_DEADLINE_MS    10000 /* until a request must be complete */
#define CONNECT_DEADLINE_MS 20000 /* TCP sends 5 SYNs within it; the parent waits longer */
#define AT_ONCE_MS	    500	  /* an answer in it is immediate; a lost SYN takes 1 s */
#define LATE_MS		    2700  /* TCP sends 3 SYNs within it, also to a busy server */

struct service {
	struct loop *loop;
	struct acceptor acceptor;
	char state_dir[PATH_MAX];
	bool source_ip; /* connect from clients' addresses */
	struct srcroute srcroute;
	const char *netns; /* path; NULL: the process' own namespace */
	char netns_path[PATH_MAX];
	pthread_barrier_t started;
	int result; /* of the start; its reason is in `why` */
	struct err why;
};

struct request {
	struct service *service;
	struct watch client; /* the requester */
	struct watch target; /* the socket that is being connected; -1 while the request is read */
	struct watch late;   /* bound to `from`, did not connect in time; or -1 */
	struct timer deadline;
	struct msg_reader reader;
	struct task reap;
	struct sockaddr_storage from; /* the client's address; AF_UNSPEC: connect from our own */
	bool plain;	  /* connecting from `from` failed: connect from our own address */
	bool transparent; /* `target` is bound to `from` */
	unsigned long long without_ms; /* when `from` got no answer in time and the plain connection
					  began; or 0 */
	struct sockaddr_storage to;
	socklen_t to_len;
	struct bpmsg req;
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
	loop_remove(loop, &r->late);
	fd_close(&r->client.fd);
	fd_close(&r->target.fd);
	fd_close(&r->late.fd);
	r->reap.run = free_request;
	loop_defer(loop, &r->reap);
}

static void on_read_deadline(struct timer *t)
{
	end_request(LOOP_OWNER(t, struct request, deadline));
}

/* A request was answered. Keeps the late socket for LATE_MS: if it connects, the path from the
 * client's address is not dead. */
static void end_answered(struct request *r)
{
	struct loop *loop = r->service->loop;

	loop_remove(loop, &r->client);
	loop_remove(loop, &r->target);
	fd_close(&r->client.fd);
	fd_close(&r->target.fd);
	r->deadline.on_due = on_read_deadline;
	if (r->late.fd < 0 || loop_timer(loop, &r->deadline, LATE_MS) < 0)
		end_request(r);
}

static void answer_error(struct request *r, const struct err *why)
{
	char text[BPMSG_ERROR_MAX];
	int len = bpmsg_encode_error(why, text, sizeof(text));

	/* A requester that does not take the answer has gone. */
	if (len > 0)
		msg_send_now(r->client.fd, text, (size_t)len);
	end_answered(r);
}

static void answer_init(struct request *r)
{
	static const char null[] = "null";

	msg_send_now(r->client.fd, null, sizeof(null) - 1);
	end_request(r);
}

/* A plain socket was connected or refused. If that came at once, the server is not busy, and so the
 * client's address was the reason why there was no answer before. Then notes the path as dead, so
 * that later requests do not wait as well. */
static void note_answer(struct request *r)
{
	if (r->without_ms != 0 && clock_now_ms() - r->without_ms < AT_ONCE_MS)
		deadpaths_note(&r->service->srcroute.dead, &r->from, &r->to);
}

static void answer_connected(struct request *r)
{
	int sent = msg_send_fd(r->client.fd, r->target.fd);
	char why[128];

	note_answer(r);
	if (sent < 0)
		log_debug("port service: sending a descriptor: %s",
			  err_text(-sent, why, sizeof(why)));
	end_answered(r);
}

/* ---- connecting ---- */

/* The requester has gone: nobody needs the connection any more. */
static void on_client_gone(struct watch *w, short revents)
{
	(void)revents;
	end_request(LOOP_OWNER(w, struct request, client));
}

/* From now on the requester sends nothing, and it may have shut down its writing side. POLLHUP
 * means that it has gone, which ends the request. But a connection from the client's address goes
 * on without the requester, and so does the plain connection after it while its answer would count
 * as immediate: their outcome is recorded for later requests. */
static void watch_for_the_end(struct request *r)
{
	bool goes_on = r->transparent || r->without_ms != 0;

	r->client.on_event = on_client_gone;
	loop_want(r->service->loop, &r->client, goes_on ? 0 : POLLERR);
}

static void fail_connect(struct request *r, int errnum)
{
	struct err why;

	bpmsg_dial_error(&r->req, errnum, &why);
	answer_error(r, &why);
}

static void start_connect(struct request *r);

static bool is_answer(int errnum)
{
	return errnum == ECONNREFUSED || errnum == ECONNRESET || errnum == EHOSTUNREACH ||
	       errnum == ENETUNREACH;
}

static void on_late(struct watch *w, short revents)
{
	struct request *r = LOOP_OWNER(w, struct request, late);
	struct loop *loop = r->service->loop;
	int why = 0;
	socklen_t len = sizeof(why);

	(void)revents;
	if (getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &why, &len) < 0)
		why = errno;
	loop_remove(loop, w);
	if (why == 0 || why == ECONNREFUSED)
		deadpaths_forget(&r->service->srcroute.dead, &r->from, &r->to);
	if (r->client.fd < 0) {
		end_request(r);
	} else if (why == 0) {
		loop_remove(loop, &r->target);
		fd_close(&r->target.fd);
		r->target.fd = fd_take(&w->fd);
		r->without_ms = 0;
		answer_connected(r);
	} else {
		fd_close(&w->fd);
	}
}

/* Keeps the socket that did not connect in time as `late`. */
static void keep_late(struct request *r)
{
	r->without_ms = clock_now_ms();
	r->late = (struct watch){ .fd = fd_take(&r->target.fd),
				  .events = POLLOUT,
				  .on_event = on_late };
	if (loop_add(r->service->loop, &r->late) < 0)
		fd_close(&r->late.fd);
}

/* Connecting failed. A socket from the client's address is replaced by a plain one; a plain
 * socket's failure is the answer. */
static void on_failed(struct request *r, int errnum)
{
	struct loop *loop = r->service->loop;
	char why[128];

	if (!r->transparent) {
		if (is_answer(errnum))
			note_answer(r);
		fail_connect(r, errnum);
		return;
	}
	log_debug("port service: port %d: not from the client's address: %s", r->req.port,
		  err_text(errnum, why, sizeof(why)));
	loop_cancel(loop, &r->deadline);
	loop_remove(loop, &r->target);
	if (errnum == ETIMEDOUT)
		keep_late(r);
	fd_close(&r->target.fd);
	r->plain = true;
	start_connect(r);
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
		on_failed(r, why);
	else
		answer_connected(r);
}

static void on_connect_deadline(struct timer *t)
{
	on_failed(LOOP_OWNER(t, struct request, deadline), ETIMEDOUT);
}

/* The plain socket got no immediate answer either: the server is busy, or there is none. That says
 * nothing about the client's address. */
static void on_slow(struct timer *t)
{
	struct request *r = LOOP_OWNER(t, struct request, deadline);

	r->without_ms = 0;
	watch_for_the_end(r);
	t->on_due = on_connect_deadline;
	if (loop_timer(r->service->loop, t, CONNECT_DEADLINE_MS) < 0)
		fail_connect(r, ENOMEM);
}

/* Sets the timer of a connection that has begun. Returns 0 or -ENOMEM. */
static int set_deadline(struct request *r)
{
	unsigned int ms = r->transparent ? TRANSPARENT_DEADLINE_MS : CONNECT_DEADLINE_MS;
	bool may_be_slow = !r->transparent && r->without_ms != 0;

	r->deadline.on_due = may_be_slow ? on_slow : on_connect_deadline;
	return loop_timer(r->service->loop, &r->deadline, may_be_slow ? AT_ONCE_MS : ms);
}

static int new_socket(enum proto proto, int family)
{
	int type = proto_is_udp(proto) ? SOCK_DGRAM : SOCK_STREAM;

	return socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* Makes the request's socket, from the client's address if possible. Returns 0 or -errno. */
static int open_target(struct request *r)
{
	struct err why;

	r->transparent = false;
	if (r->from.ss_family != AF_UNSPEC && !r->plain) {
		r->target.fd = srcroute_socket(&r->service->srcroute, &r->from, &r->to, &why);
		r->transparent = r->target.fd >= 0;
		if (r->transparent)
			return 0;
		log_debug("port service: port %d: not from the client's address: %s", r->req.port,
			  why.msg);
	}
	r->target.fd = new_socket(r->req.proto, r->to.ss_family);
	return r->target.fd < 0 ? -errno : 0;
}

static void start_connect(struct request *r)
{
	struct loop *loop = r->service->loop;
	int result = open_target(r);

	if (result < 0) {
		fail_connect(r, -result);
		return;
	}
	if (proto_is_tcp(r->req.proto)) {
		sockopt_tcp_defaults(r->target.fd);
		sockopt_tcp_local(r->target.fd);
	}
	if (connect(r->target.fd, (struct sockaddr *)&r->to, r->to_len) == 0) {
		answer_connected(r);
		return;
	}
	if (errno != EINPROGRESS && errno != EINTR) {
		on_failed(r, errno);
		return;
	}
	watch_for_the_end(r);
	r->target.events = POLLOUT;
	r->target.on_event = on_connected;
	result = loop_add(loop, &r->target);
	if (result == 0)
		result = set_deadline(r);
	if (result < 0)
		fail_connect(r, -result);
}

/* Sets r->from to the client's address, if the request has one and the service can connect from it.
 */
static void note_source(struct request *r)
{
	const struct bpmsg *req = &r->req;
	struct ipaddr ip;

	if (r->service->source_ip && proto_is_tcp(req->proto) && req->source_ip[0] != '\0' &&
	    ipaddr_parse(&ip, req->source_ip) == 0)
		ipaddr_sockaddr(&ip, req->source_port, &r->from);
}

/* Without a child IP the parent IP is the target, but only if this namespace has that address.
 * Otherwise it would lead out to the host, and there into the same port again. */
static void choose_target(struct request *r)
{
	FD_AUTO int fd = -1;
	struct ipaddr ip;

	if (!bpmsg_is_by_parent_ip(&r->req, &ip))
		return;
	fd = new_socket(PROTO_UDP, ip.family);
	if (!reach_is_local(fd, &ip))
		bpmsg_use_loopback(&r->req, ip.family);
}

static void answer_connect(struct request *r)
{
	struct err why;

	choose_target(r);
	if (bpmsg_target(&r->req, &r->to, &r->to_len, &why) < 0) {
		answer_error(r, &why);
		return;
	}
	note_source(r);
	start_connect(r);
}

/* ---- sockets ---- */

/* Makes up to `count` sockets, fds[count], which the caller owns. Returns how many, or -errno if
 * none could be made. */
static int make_sockets(enum proto proto, int *fds, int count)
{
	int family = proto == PROTO_TCP6 || proto == PROTO_UDP6 ? AF_INET6 : AF_INET;
	int n = 0;

	while (n < count && (fds[n] = new_socket(proto, family)) >= 0) {
		if (proto_is_tcp(proto)) {
			sockopt_tcp_defaults(fds[n]);
			sockopt_tcp_reset_on_close(fds[n]);
			sockopt_tcp_local(fds[n]);
		}
		n++;
	}
	return n > 0 ? n : -errno;
}

static void answer_sockets(struct request *r)
{
	const char byte = r->service->source_ip ? BPMSG_KEEPS_SOURCE : 0;
	int fds[BPMSG_SOCKETS_MAX];
	int n = make_sockets(r->req.proto, fds, r->req.count);
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

static int start_request(struct acceptor *acceptor, int client)
{
	struct service *s = LOOP_OWNER(acceptor, struct service, acceptor);
	struct request *r = calloc(1, sizeof(*r));

	if (r == NULL) {
		close(client);
		return -ENOMEM;
	}
	r->service = s;
	r->client = (struct watch){ .fd = client, .events = POLLIN, .on_event = on_client };
	r->target.fd = r->late.fd = -1;
	r->deadline.on_due = on_read_deadline;
	if (loop_add(s->loop, &r->client) < 0 ||
	    loop_timer(s->loop, &r->deadline, READ_DEADLINE_MS) < 0) {
		end_request(r);
		return -ENOMEM;
	}
	return 0;
}

/* ---- the thread ---- */

static int listen_on_socket(struct service *s, struct err *e)
{
	char path[PATH_MAX];

	s->acceptor.on_client = start_request;
	return acceptor_listen(&s->acceptor, s->loop,
			       statedir_path(s->state_dir, STATE_BP_SOCKET, path), e);
}

/* If this fails, ports work without it. */
static void prepare_source_ip(struct service *s)
{
	struct err why;

	if (!s->source_ip || srcroute_start(&s->srcroute, &why) == 0)
		return;
	s->source_ip = false;
	log_warn("servers inside do not see the addresses of their clients "
		 "(--source-ip-transparent): %s",
		 why.msg);
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
	prepare_source_ip(s);
	s->loop = loop_new(LOOP_EPOLL);
	if (s->loop == NULL)
		return err_sys(e, errno, "starting the port service");
	statedir_path(s->state_dir, STATE_BP_READY, path);
	ready = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK);
	if (ready < 0)
		return err_sys(e, errno, "open %s", path);
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
	/* No port works without this thread. So the child ends, and with it the launcher and the
	 * command. */
	_exit(1);
}

int portservice_start(const char *state_dir, const char *netns, bool source_ip, struct err *e)
{
	static struct service service; /* static: the thread uses it for the life of the process */
	struct service *s = &service;
	int r;

	snprintf(s->state_dir, sizeof(s->state_dir), "%s", state_dir);
	if (netns != NULL) {
		snprintf(s->netns_path, sizeof(s->netns_path), "%s", netns);
		s->netns = s->netns_path;
	}
	s->source_ip = source_ip;
	pthread_barrier_init(&s->started, NULL, 2);
	r = thread_start(NULL, run_thread, s);
	if (r < 0)
		return err_sys(e, -r, "starting the port service");
	pthread_barrier_wait(&s->started);
	if (s->result < 0)
		*e = s->why;
	return s->result;
}
