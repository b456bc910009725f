/* SPDX-License-Identifier: Apache-2.0 */
/* Connecting in the child. See childdial.h.
 *
 * Lingering and the fallback serve later requests: they find out whether the client's address is
 * the reason why there was no answer. If the fallback is answered at once, it is, and the path is
 * noted as dead. So a dial with a client's address goes on without its requester, until the answer
 * of the fallback would not be immediate any more.
 */
#include "ports/childdial.h"

#include <errno.h>
#include <poll.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "os/sockopt.h"
#include "ports/reach.h"
#include "ports/transparent.h"

#define CONNECT_MS   20000 /* time for 5 SYNs of TCP; the parent waits longer */
#define IMMEDIATE_MS 500   /* a later answer is not immediate; TCP repeats a SYN after 1 s */
/* How long an unanswered socket lingers after the result. With TRANSPARENT_DEADLINE_MS this is time
 * for 3 SYNs of TCP, so that a busy server can still answer. */
#define LINGER_MS    2700

/* ---- the result and the end ---- */

static void end_dial(struct childdial *d)
{
	loop_cancel(d->loop, &d->deadline);
	loop_remove(d->loop, &d->watch);
	loop_remove(d->loop, &d->unanswered);
	fd_close(&d->watch.fd);
	fd_close(&d->unanswered.fd);
	d->on_end(d);
}

static void on_linger_end(struct timer *t)
{
	end_dial(LOOP_OWNER(t, struct childdial, deadline));
}

/* Reports the socket d->watch.fd or, if `why` is not NULL, a failure. Ends the dial, but lets an
 * unanswered socket linger for LINGER_MS: if that connects, the path from the client's address is
 * not dead. */
static void report(struct childdial *d, const struct err *why)
{
	d->is_done = true;
	if (!d->is_abandoned)
		d->on_result(d, why == NULL ? d->watch.fd : -1, why);
	loop_remove(d->loop, &d->watch);
	fd_close(&d->watch.fd);
	d->deadline.on_due = on_linger_end;
	if (d->unanswered.fd < 0 || loop_timer(d->loop, &d->deadline, LINGER_MS) < 0)
		end_dial(d);
}

static void fail(struct childdial *d, int errnum)
{
	struct err why;

	target_dial_error(d->target, &d->ip, errnum, &why);
	report(d, &why);
}

/* The target has answered: it accepted the connection, or it or a router refused it. If the
 * connection is the fallback and the answer was immediate, the server is not busy, so the client's
 * address was the reason why there was no answer before. Then notes the path as dead, so that later
 * requests do not wait for an answer on it. */
static void note_answer(struct childdial *d)
{
	if (d->fallback_began_ms != 0 && clock_now_ms() - d->fallback_began_ms < IMMEDIATE_MS)
		deadpaths_note(&d->srcroute->dead, &d->from, &d->to);
}

static void succeed(struct childdial *d)
{
	note_answer(d);
	report(d, NULL);
}

/* Ends the dial if nobody waits for its result, and its outcome is of no use for later requests.
 * Returns whether it has ended. */
static bool end_if_useless(struct childdial *d)
{
	if (!d->is_abandoned || d->from_client || d->fallback_began_ms != 0)
		return false;
	end_dial(d);
	return true;
}

void childdial_abandon(struct childdial *d)
{
	d->is_abandoned = true;
	end_if_useless(d);
}

/* ---- connecting ---- */

static void connect_socket(struct childdial *d);

/* Does the error of connect(2) mean that the target, or a router, has answered? */
static bool is_answer(int errnum)
{
	return errnum == ECONNREFUSED || errnum == ECONNRESET || errnum == EHOSTUNREACH ||
	       errnum == ENETUNREACH;
}

/* The unanswered socket has connected or failed. */
static void on_unanswered(struct watch *w, short revents)
{
	struct childdial *d = LOOP_OWNER(w, struct childdial, unanswered);
	int why = sockopt_take_error(w->fd);

	(void)revents;
	loop_remove(d->loop, w);
	if (why == 0 || why == ECONNREFUSED)
		deadpaths_forget(&d->srcroute->dead, &d->from, &d->to);
	if (d->is_done) {
		end_dial(d);
	} else if (why == 0) {
		loop_remove(d->loop, &d->watch);
		fd_close(&d->watch.fd);
		d->watch.fd = fd_take(&w->fd);
		d->fallback_began_ms = 0;
		succeed(d);
	} else {
		fd_close(&w->fd);
	}
}

/* Keeps the socket that did not connect in time as `unanswered`. */
static void keep_unanswered(struct childdial *d)
{
	d->fallback_began_ms = clock_now_ms();
	d->unanswered = (struct watch){ .fd = fd_take(&d->watch.fd),
					.events = POLLOUT,
					.on_event = on_unanswered };
	if (loop_add(d->loop, &d->unanswered) < 0)
		fd_close(&d->unanswered.fd);
}

/* Connecting failed. If the socket is bound to the client's address, begins the fallback. Otherwise
 * the failure is the result. */
static void on_failed(struct childdial *d, int errnum)
{
	char why[128];

	if (!d->from_client) {
		if (is_answer(errnum))
			note_answer(d);
		fail(d, errnum);
		return;
	}
	log_debug("port service: port %d: not from the client's address: %s", d->target->port,
		  err_text(errnum, why, sizeof(why)));
	loop_cancel(d->loop, &d->deadline);
	loop_remove(d->loop, &d->watch);
	if (errnum == ETIMEDOUT)
		keep_unanswered(d);
	fd_close(&d->watch.fd);
	d->fell_back = true;
	connect_socket(d);
}

static void on_connected(struct watch *w, short revents)
{
	struct childdial *d = LOOP_OWNER(w, struct childdial, watch);
	int why = sockopt_take_error(w->fd);

	(void)revents;
	if (why != 0)
		on_failed(d, why);
	else
		succeed(d);
}

static void on_deadline(struct timer *t)
{
	on_failed(LOOP_OWNER(t, struct childdial, deadline), ETIMEDOUT);
}

/* The fallback got no immediate answer either: the server is busy, or there is no server. So the
 * client's address may not be the reason. */
static void on_slow(struct timer *t)
{
	struct childdial *d = LOOP_OWNER(t, struct childdial, deadline);

	d->fallback_began_ms = 0;
	if (end_if_useless(d))
		return;
	t->on_due = on_deadline;
	if (loop_timer(d->loop, t, CONNECT_MS) < 0)
		fail(d, ENOMEM);
}

/* Sets the timer of a connection that has begun. Returns 0 or -ENOMEM. */
static int set_deadline(struct childdial *d)
{
	unsigned int ms = d->from_client ? TRANSPARENT_DEADLINE_MS : CONNECT_MS;
	bool may_be_slow = !d->from_client && d->fallback_began_ms != 0;

	d->deadline.on_due = may_be_slow ? on_slow : on_deadline;
	return loop_timer(d->loop, &d->deadline, may_be_slow ? IMMEDIATE_MS : ms);
}

/* Waits for the end of connect(2). */
static void wait_for_answer(struct childdial *d)
{
	int r;

	if (end_if_useless(d))
		return;
	d->watch.events = POLLOUT;
	d->watch.on_event = on_connected;
	r = loop_add(d->loop, &d->watch);
	if (r == 0)
		r = set_deadline(d);
	if (r < 0)
		fail(d, -r);
}

static void set_tcp_options(int fd)
{
	sockopt_tcp_defaults(fd);
	sockopt_tcp_local(fd);
}

int childdial_socket(enum proto proto, int family)
{
	int type = proto_is_udp(proto) ? SOCK_DGRAM : SOCK_STREAM;
	int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (proto_is_tcp(proto))
		set_tcp_options(fd);
	return fd;
}

/* Returns a socket that is bound to the client's address, or -errno. */
static int transparent_socket(const struct childdial *d)
{
	struct err why;
	int fd = srcroute_socket(d->srcroute, &d->from, &d->to, &why);

	if (fd < 0)
		log_debug("port service: port %d: not from the client's address: %s",
			  d->target->port, why.msg);
	else
		set_tcp_options(fd);
	return fd;
}

/* Makes the dial's socket, from the client's address if possible. Returns 0 or -errno. */
static int open_socket(struct childdial *d)
{
	if (d->from.ss_family != AF_UNSPEC && !d->fell_back)
		d->watch.fd = transparent_socket(d);
	d->from_client = d->watch.fd >= 0;
	if (!d->from_client)
		d->watch.fd = childdial_socket(d->target->proto, d->to.ss_family);
	return d->watch.fd < 0 ? d->watch.fd : 0;
}

static void connect_socket(struct childdial *d)
{
	int r = open_socket(d);

	if (r < 0)
		fail(d, -r);
	else if (connect(d->watch.fd, (struct sockaddr *)&d->to, d->to_len) == 0)
		succeed(d);
	else if (errno == EINPROGRESS || errno == EINTR)
		wait_for_answer(d);
	else
		on_failed(d, errno);
}

/* ---- start ---- */

/* Sets d->from to the client's address, if the request has one and the dial can connect from it. */
static void note_source(struct childdial *d, const struct bpmsg *req)
{
	if (d->srcroute != NULL && proto_is_tcp(req->target.proto))
		ipaddr_sockaddr(&req->source_ip, req->source_port, &d->from);
}

/* Sets d->ip, the address to connect to (target_address). If that is a parent IP which is not an
 * address of this namespace, the loopback address replaces it: a connection to the parent IP would
 * lead out to the host, and there into the same port again. */
static void choose_address(struct childdial *d, const struct ipaddr *host_gateway_ip)
{
	FD_AUTO int fd = -1;

	d->ip = target_address(d->target, host_gateway_ip);
	if (!target_depends_on_child(d->target, &d->ip))
		return;
	fd = childdial_socket(PROTO_UDP, d->ip.family);
	if (!reach_is_local(fd, &d->ip))
		d->ip = ipaddr_loopback(d->ip.family);
}

void childdial_start(struct childdial *d, const struct bpmsg *req)
{
	d->watch.fd = d->unanswered.fd = -1;
	d->target = &req->target;
	choose_address(d, &req->host_gateway_ip);
	d->to_len = target_sockaddr(d->target, &d->ip, &d->to);
	note_source(d, req);
	connect_socket(d);
}
