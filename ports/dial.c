/* SPDX-License-Identifier: Apache-2.0 */
/* Connecting, or asking the child to connect. See dial.h.
 *
 * Connecting from the client's address. The parent owns the child's user namespace, so the kernel
 * lets it do with a socket of that namespace what the child could do. But the child decides which
 * fwmark a target needs (srcroute.c), and what to do if connecting fails. So the first connection
 * to a target goes through the child, and the mark of the socket that the child returns is cached
 * for a second (markcache.h). While it is cached, the parent binds and connects by itself; if that
 * does not succeed within AT_ONCE_MS, it asks the child. TRANSPARENT_MARK_IN is right only if
 * nobody translates addresses, so every connection made with it is checked before a byte is sent
 * (transparent_is_right).
 *
 * Ending. Every dial ends in `finish`, which releases all that the dial holds and leaves the call
 * of on_done to a task. So the owner may free the memory in on_done: no function of the dial is
 * running and no event of its watch is pending.
 */
#include "ports/dial.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "formats/ipaddr.h"
#include "os/closer.h"
#include "os/sockopt.h"
#include "os/unixsock.h"
#include "ports/hostaddr.h"
#include "ports/reach.h"
#include "ports/transparent.h"

#define TRIES	    10	  /* compat: 3.0.1 */
#define STEP_MS	    5	  /* compat: 3.0.1; the pause after the i-th try is 5 * i ms */
#define SHORT_MS    100	  /* pause after a try that does not count, because descriptors are short */
#define DEADLINE_MS 30000 /* for all tries together */
#define CONNECT_MS  20000 /* for one connect(2); the child gives up after the same time */
#define AT_ONCE_MS  100	  /* for one connect(2) with a mark; then the child is asked */

static void on_answer(struct watch *watch, short revents);

/* Releases what a try holds. */
static void end_try(struct dial *d)
{
	struct loop *loop = d->dialler->loop;

	sockpool_unwait(&d->waiter);
	loop_cancel(loop, &d->timer);
	loop_remove(loop, &d->watch);
	if (d->watch.on_event == on_answer)
		msg_close(&d->watch.fd);
	else
		sockopt_reset(&d->watch.fd); /* a socket of the child must not linger */
	msg_reader_reset(&d->reader);
}

static void report(struct task *t)
{
	struct dial *d = LOOP_OWNER(t, struct dial, task);

	d->on_done(d, d->result);
}

static void finish(struct dial *d, int result)
{
	end_try(d);
	d->done = true;
	d->result = result;
	d->task.run = report;
	loop_defer(d->dialler->loop, &d->task);
}

void dial_cancel(struct dial *d)
{
	if (d->done) {
		sockopt_reset(&d->result); /* a descriptor that was not reported yet */
		d->result = -ECANCELED;
		return;
	}
	finish(d, err_set(&d->why, ECANCELED, "cancelled"));
}

/* ---- trying again ---- */

static void try_dial(struct dial *d);

static void on_next_try(struct timer *t)
{
	try_dial(LOOP_OWNER(t, struct dial, timer));
}

static void on_deadline(struct timer *t)
{
	struct dial *d = LOOP_OWNER(t, struct dial, timer);

	log_debug("port %d: no answer from the child in %d ms", d->port_id, DEADLINE_MS);
	finish(d, err_set(&d->why, ETIMEDOUT, "no answer from the child"));
}

/* A try failed with the error number -`result` and the reason in d->why. Pauses and tries again, or
 * gives up. The try does not count if the target is not to blame: descriptors are short (then
 * accepting pauses, too), or too many sockets of the child are still being closed (closer.h). */
static void try_again(struct dial *d, int result)
{
	bool is_short = result == -EMFILE || result == -ENFILE;
	bool counts = !is_short && result != -ECONNABORTED;
	unsigned int delay_ms = counts ? (unsigned int)(STEP_MS * d->tries) : SHORT_MS;

	end_try(d);
	log_debug("port %d: try %d: %s", d->port_id, d->tries, d->why.msg);
	if (is_short)
		fdquota_pause(d->dialler->quota, d->why.msg);
	if (!counts)
		d->tries--;
	d->timer.on_due = on_next_try;
	if (d->tries < TRIES && clock_now_ms() < d->until_ms &&
	    loop_timer(d->dialler->loop, &d->timer, delay_ms) == 0)
		return;
	log_debug("port %d: giving up after %d tries", d->port_id, d->tries);
	finish(d, result);
}

/* ---- asking the child ---- */

static bool has_option(int fd, int name, int value)
{
	int is = 0;
	socklen_t len = sizeof(is);

	return getsockopt(fd, SOL_SOCKET, name, &is, &len) == 0 && is == value;
}

/* Is the descriptor what was asked for: a TCP or UDP socket, and not a raw socket of that protocol?
 */
static bool is_asked_for(const struct dial *d, int fd)
{
	bool udp = d->asks_probe || proto_is_udp(d->req.proto);

	return has_option(fd, SO_PROTOCOL, udp ? IPPROTO_UDP : IPPROTO_TCP) &&
	       has_option(fd, SO_TYPE, udp ? SOCK_DGRAM : SOCK_STREAM);
}

/* Caches what the child decided about the target: the mark with which it connected from the
 * client's address, or that it did not. */
static void note_mark(const struct dial *d, int fd)
{
	int mark;

	if (d->from.ss_family == AF_UNSPEC)
		return;
	mark = transparent_mark(fd);
	if (mark != 0)
		markcache_note(d->dialler->marks, &d->to, mark);
	else
		markcache_forget(d->dialler->marks, &d->to);
	if (mark == 0 && d->timed_out)
		deadpaths_note(&d->dialler->marks->dead, &d->from, &d->to);
}

/* Reads a part of the answer. Returns the connected descriptor; -EINPROGRESS if it must be called
 * again, -EAGAIN if no more has arrived, or another -errno with the reason in d->why. */
static int read_answer(struct dial *d)
{
	char bytes[1024];
	int fd;
	ssize_t n = msg_recv_fd(d->watch.fd, bytes, sizeof(bytes), &fd);
	int r;

	if (n < 0)
		return n == -EAGAIN ? -EAGAIN : err_sys(&d->why, (int)-n, "answer of the child");
	if (fd >= 0 && is_asked_for(d, fd))
		return fd;
	if (fd >= 0)
		closer_close(fd);
	if (n == 0)
		return err_set(&d->why, EPIPE, "the child closed the connection");
	r = msg_feed(&d->reader, bytes, (size_t)n);
	if (r == 0)
		return -EINPROGRESS;
	if (r < 0)
		return err_sys(&d->why, -r, "answer of the child");
	r = bpmsg_decode_answer(d->reader.body, d->reader.len, &d->why);
	return r < 0 ? r : err_set(&d->why, EPROTO, "the child sent no descriptor");
}

static void on_probe(struct dial *d, int fd);

static void on_answer(struct watch *watch, short revents)
{
	struct dial *d = LOOP_OWNER(watch, struct dial, watch);
	int r;

	(void)revents;
	do
		r = read_answer(d);
	while (r == -EINPROGRESS);
	if (d->asks_probe && (r >= 0 || r == -EREMOTEIO)) {
		on_probe(d, r);
	} else if (r >= 0) {
		note_mark(d, r);
		if (proto_is_tcp(d->req.proto))
			sockopt_tcp_reset_on_close(r);
		finish(d, r);
	} else if (r != -EAGAIN) {
		/* The child's connection timed out as well, and the child remembers that. */
		if (d->timed_out)
			deadpaths_note(&d->dialler->marks->dead, &d->from, &d->to);
		try_again(d, r);
	}
}

static int send_request(struct dial *d, const struct bpmsg *req)
{
	char text[BPMSG_MAX];
	int len = closer_pending() < CLOSER_MAX ? bpmsg_encode(req, text, sizeof(text))
						: -ECONNABORTED;

	if (len < 0)
		return len;
	/* -EAGAIN: too many requests are queued for the child; a later try may succeed. */
	d->watch.fd = unixsock_connect(&d->dialler->bp_address);
	if (d->watch.fd < 0)
		return d->watch.fd;
	len = msg_send_now(d->watch.fd, text, (size_t)len);
	if (len == 0 && shutdown(d->watch.fd, SHUT_WR) < 0)
		len = -errno;
	return len;
}

/* Returns the milliseconds until the deadline, at most `most_ms`. */
static unsigned int ms_left(const struct dial *d, unsigned int most_ms)
{
	unsigned int left_ms = (unsigned int)clock_left_ms(d->until_ms);

	return left_ms < most_ms ? left_ms : most_ms;
}

static void ask_for(struct dial *d, const struct bpmsg *req)
{
	struct loop *loop = d->dialler->loop;
	int r;

	d->watch.on_event = on_answer;
	r = send_request(d, req);

	d->watch.events = POLLIN;
	d->watch.edge = true;
	d->timer.on_due = on_deadline;
	if (r == 0)
		r = loop_add(loop, &d->watch);
	if (r == 0)
		r = loop_timer(loop, &d->timer, ms_left(d, DEADLINE_MS));
	if (r < 0) {
		err_sys(&d->why, -r, "asking the child");
		try_again(d, r);
	}
}

static void ask_child(struct dial *d)
{
	log_debug("port %d: the child is asked for a connection", d->port_id);
	ask_for(d, &d->req);
}

/* ---- connecting ---- */

/* Does the error of connect(2) concern the target, and not our socket or this process? */
static bool is_of_target(int errnum)
{
	switch (errnum) {
	case ECONNREFUSED:
	case ECONNRESET:
	case ETIMEDOUT:
	case EHOSTUNREACH:
	case ENETUNREACH:
	case EADDRNOTAVAIL: /* no local port is left */
		return true;
	default:
		return false;
	}
}

static void not_connected(struct dial *d, int errnum)
{
	const int mark = d->mark;

	bpmsg_dial_error(&d->req, errnum, &d->why);
	if (mark == 0 && is_of_target(errnum)) {
		try_again(d, -errnum);
		return;
	}
	log_debug("port %d: by ourselves, with mark %d: %s", d->port_id, mark, d->why.msg);
	if (mark != 0)
		markcache_forget(d->dialler->marks, &d->to);
	end_try(d);
	d->via_child = true;
	ask_child(d);
}

static void connected(struct dial *d)
{
	loop_remove(d->dialler->loop, &d->watch);
	if (d->mark == 0 || transparent_is_right(d->watch.fd, d->to.ss_family, d->mark)) {
		finish(d, fd_take(&d->watch.fd));
		return;
	}
	/* A reset, so that no TIME_WAIT blocks the next connection from the same port. */
	sockopt_reset(&d->watch.fd);
	not_connected(d, ESTALE);
}

static void on_connected(struct watch *w, short revents)
{
	struct dial *d = LOOP_OWNER(w, struct dial, watch);
	int why = 0;
	socklen_t len = sizeof(why);

	/* Every failure raises POLLERR or POLLHUP as well. */
	if ((revents & (POLLERR | POLLHUP)) != 0 &&
	    getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &why, &len) < 0)
		why = errno;
	if (why != 0)
		not_connected(d, why);
	else
		connected(d);
}

static void on_no_answer(struct timer *t)
{
	struct dial *d = LOOP_OWNER(t, struct dial, timer);

	d->timed_out = d->mark != 0;
	not_connected(d, ETIMEDOUT);
}

/* Returns 0 if connected, -EINPROGRESS, or another -errno. */
static int connect_now(const struct dial *d)
{
	const struct sockaddr *to = (const struct sockaddr *)&d->to;

	if (connect(d->watch.fd, to, d->to_len) == 0)
		return 0;
	if (errno != EINPROGRESS && errno != EINTR)
		return -errno;
	/* A server on this host has usually answered during the call, and the kernel has processed
	 * the answer at the end of it. A second connect(2) is cheaper than waiting for the event.
	 */
	if (connect(d->watch.fd, to, d->to_len) == 0 || errno == EISCONN)
		return 0;
	return errno == EALREADY || errno == EINTR ? -EINPROGRESS : -errno;
}

static int wait_for_answer(struct dial *d)
{
	struct loop *loop = d->dialler->loop;
	int r;

	d->watch.events = POLLOUT;
	d->watch.edge = false;
	d->timer.on_due = on_no_answer;
	r = loop_add(loop, &d->watch);
	if (r == 0)
		r = loop_timer(loop, &d->timer, ms_left(d, d->mark != 0 ? AT_ONCE_MS : CONNECT_MS));
	return r;
}

static void connect_socket(struct dial *d, int fd)
{
	int r = 0;

	d->watch.fd = fd;
	d->watch.on_event = on_connected;
	if (d->mark != 0)
		r = transparent_bind(fd, &d->from, d->mark, NULL);
	if (r == 0)
		r = connect_now(d);
	if (r == 0) {
		connected(d);
		return;
	}
	if (r == -EINPROGRESS)
		r = wait_for_answer(d);
	if (r < 0)
		not_connected(d, -r);
}

static void on_socket(struct sockpool_waiter *w, int fd)
{
	struct dial *d = LOOP_OWNER(w, struct dial, waiter);

	if (fd >= 0)
		connect_socket(d, fd);
	else
		ask_child(d);
}

/* Should the server see the client's address, and can a connection to this target come from it?
 * Sets d->from. */
static bool has_source(struct dial *d)
{
	struct ipaddr ip;

	d->from.ss_family = AF_UNSPEC;
	if (!proto_is_tcp(d->req.proto) || d->req.source_ip[0] == '\0' ||
	    !sockpool_keeps_source(d->dialler->pool) || ipaddr_parse(&ip, d->req.source_ip) < 0)
		return false;
	ipaddr_sockaddr(&ip, d->req.source_port, &d->from);
	if (transparent_check(&d->from, &d->to, NULL) == 0)
		return true;
	d->from.ss_family = AF_UNSPEC;
	return false;
}

/* Connects without the child, or waits for a socket to do so. Returns false if the child must be
 * asked. */
static bool try_by_itself(struct dial *d)
{
	struct sockpool *pool = d->dialler->pool;
	enum sockpool_kind kind;
	int fd;

	if (pool == NULL || d->via_child || d->to.ss_family == AF_UNSPEC)
		return false;
	kind = sockpool_kind(proto_is_udp(d->req.proto), d->to.ss_family);
	d->mark = 0;
	if (has_source(d)) {
		/* The child knows that, too, and will connect from its own address. */
		if (deadpaths_has(&d->dialler->marks->dead, &d->from, &d->to))
			return false;
		d->mark = markcache_find(d->dialler->marks, &d->to);
		if (d->mark == 0) {
			sockpool_warm(pool, kind); /* for later connections */
			return false;
		}
	}
	fd = sockpool_take(pool, kind);
	if (fd == -EAGAIN) {
		d->waiter.on_socket = on_socket;
		sockpool_wait(pool, kind, &d->waiter);
		return true;
	}
	if (fd >= 0)
		connect_socket(d, fd);
	return fd >= 0;
}

static void dial_target(struct dial *d)
{
	if (bpmsg_target(&d->req, &d->to, &d->to_len, NULL) < 0)
		d->to.ss_family = AF_UNSPEC;
	if (!try_by_itself(d))
		ask_child(d);
}

/* ---- choosing the target ---- */

static int *probe_of(const struct dialler *dialler, sa_family_t family)
{
	if (dialler->probes == NULL)
		return NULL;
	return family == AF_INET ? &dialler->probes->v4 : &dialler->probes->v6;
}

/* Does the target depend on the child's routes? Then sets *ip to the address to look at; the probe
 * must be of its family. */
static bool needs_probe(const struct dial *d, struct ipaddr *ip)
{
	struct sockaddr_storage to;
	socklen_t len;

	if (bpmsg_is_by_parent_ip(&d->req, ip))
		return true;
	if (!d->loop_suspected || bpmsg_target(&d->req, &to, &len, NULL) < 0)
		return false;
	ipaddr_from_sockaddr(ip, &to);
	return !ipaddr_is_loopback(ip);
}

/* Chooses the target by what `probe` shows about *ip, and dials it. -1: the child has no probe of
 * that family. */
static void look_at_target(struct dial *d, const struct ipaddr *ip, int probe)
{
	if (d->has_ip) {
		if (probe >= 0 && reach_is_outside(probe, ip)) {
			ipaddr_sockaddr(ip, d->req.port, &d->to);
			finish(d, err_set(&d->why, ELOOP, "it may lead back to the port"));
			return;
		}
	} else if (probe >= 0 && reach_is_local(probe, ip)) {
		strcpy(d->req.ip, d->req.parent_ip);
	} else {
		bpmsg_use_loopback(&d->req, ip->family);
	}
	dial_target(d);
}

/* Asks the child for a UDP socket that is connected to its loopback address: RootlessKit's child
 * can do that as well. */
static void ask_for_probe(struct dial *d, sa_family_t family)
{
	struct bpmsg req = { .type = BPMSG_CONNECT, .port = d->req.port };

	req.proto = family == AF_INET ? PROTO_UDP4 : PROTO_UDP6;
	bpmsg_use_loopback(&req, family);
	log_debug("port %d: the child is asked for a UDP socket, to see its routes", d->port_id);
	d->asks_probe = true;
	ask_for(d, &req);
}

/* Keeps a probe for later dials, unless there is one already or descriptors are short. */
static void keep_probe(const struct dialler *dialler, sa_family_t family, int fd)
{
	int *place = probe_of(dialler, family);

	if (place != NULL && *place < 0 && fdquota_take(dialler->quota, 1))
		*place = fd;
	else
		close(fd);
}

/* The child has sent a probe, or (`fd` < 0) the reason why it has none. */
static void on_probe(struct dial *d, int fd)
{
	const struct dialler *dialler = d->dialler;
	struct ipaddr ip;

	d->asks_probe = false;
	end_try(d);
	if (!needs_probe(d, &ip)) { /* it did when the probe was requested */
		fd_close(&fd);
		dial_target(d);
		return;
	}
	look_at_target(d, &ip, fd);
	if (fd >= 0)
		keep_probe(dialler, ip.family, fd);
}

/* ---- all ---- */

static void try_dial(struct dial *d)
{
	struct ipaddr ip;
	const int *probe;

	d->tries++;
	d->asks_probe = false;
	hostaddr_gateway(d->req.host_gateway_ip, sizeof(d->req.host_gateway_ip));
	if (!d->has_ip)
		d->req.ip[0] = '\0';
	if (!needs_probe(d, &ip)) {
		dial_target(d);
		return;
	}
	probe = probe_of(d->dialler, ip.family);
	if (probe != NULL && *probe >= 0)
		look_at_target(d, &ip, *probe);
	else
		ask_for_probe(d, ip.family);
}

void dial_start(struct dial *d, const struct dialler *dialler, int port_id, const struct bpmsg *req,
		void (*on_done)(struct dial *d, int result))
{
	d->dialler = dialler;
	d->port_id = port_id;
	d->req = *req;
	d->has_ip = req->ip[0] != '\0';
	d->on_done = on_done;
	d->until_ms = clock_now_ms() + DEADLINE_MS;
	d->watch.fd = -1;
	try_dial(d);
}

int dialler_open(struct dialler *dialler)
{
	dialler->marks = calloc(1, sizeof(*dialler->marks));
	dialler->probes = malloc(sizeof(*dialler->probes));
	if (dialler->probes != NULL)
		*dialler->probes = (struct dial_probes){ -1, -1 };
	if (dialler->marks != NULL && dialler->probes != NULL)
		dialler->pool = sockpool_new(dialler->loop, dialler->quota, &dialler->bp_address);
	return dialler->pool != NULL ? 0 : -ENOMEM;
}

static void close_probe(const struct dialler *dialler, int *fd)
{
	if (*fd >= 0)
		fdquota_give(dialler->quota, 1);
	fd_close(fd);
}

void dialler_close(struct dialler *dialler)
{
	sockpool_free(dialler->pool);
	free(dialler->marks);
	if (dialler->probes != NULL) {
		close_probe(dialler, &dialler->probes->v4);
		close_probe(dialler, &dialler->probes->v6);
	}
	free(dialler->probes);
	dialler->pool = NULL;
	dialler->marks = NULL;
	dialler->probes = NULL;
}
