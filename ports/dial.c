/* SPDX-License-Identifier: Apache-2.0 */
/* Connecting, or asking the child to connect. See dial.h.
 *
 * Connecting from the client's address. The parent owns the child's user namespace, so the kernel
 * lets it do with a socket of that namespace what the child could do. But the child decides which
 * fwmark a target needs (srcroute.c), and what to do if connecting fails. So the first connection
 * to a target goes through the child, and the mark of the socket that the child returns is cached
 * for a second (markcache.h). While the mark is cached, the parent binds and connects the socket
 * itself; if that does not succeed within MARKED_CONNECT_MS, it asks the child.
 * TRANSPARENT_MARK_IN is right only if nobody translates addresses, so every connection made with
 * it is checked before a byte is sent (transparent_has_valid_mark).
 *
 * Ending. Every dial ends in `finish`, which releases all that the dial holds and leaves the call
 * of on_done to a task. So the owner may free the memory in on_done: no function of the dial is
 * running and no event of its watch is pending.
 */
#include "ports/dial.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "formats/bpmsg.h"
#include "formats/ipaddr.h"
#include "os/closer.h"
#include "os/sockopt.h"
#include "os/unixsock.h"
#include "ports/hostaddr.h"
#include "ports/reach.h"
#include "ports/transparent.h"

#define TRIES		  10	/* compat: 3.0.1 */
#define STEP_MS		  5	/* compat: 3.0.1; the pause after the i-th try is 5 * i ms */
#define SHORT_MS	  100	/* the pause after a try that does not count (try_again) */
#define DEADLINE_MS	  30000 /* for all tries together */
#define CONNECT_MS	  20000 /* for one connect(2); the child gives up after the same time */
#define MARKED_CONNECT_MS 100	/* for one connect(2) with a mark; then the child is asked */

static void on_answer(struct watch *watch, short revents);

/* Releases what a try holds. */
static void end_try(struct dial *d)
{
	struct loop *loop = d->dialler->loop;

	sockpool_cancel_wait(&d->waiter);
	loop_cancel(loop, &d->timer);
	loop_remove(loop, &d->watch);
	if (d->watch.on_event == on_answer)
		msg_close(&d->watch.fd);
	else
		sockopt_reset(&d->watch.fd); /* a socket of the child must not linger */
	msg_reader_reset(&d->reader);
}

static void report_result(struct task *t)
{
	struct dial *d = LOOP_OWNER(t, struct dial, task);

	d->on_done(d, d->result);
}

static void finish(struct dial *d, int result)
{
	end_try(d);
	d->done = true;
	d->result = result;
	d->task.run = report_result;
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

/* A try failed with `result`, an -errno, and the reason in d->why. Pauses and tries again, or gives
 * up. The try does not count if the target is not to blame: descriptors are short (then accepting
 * pauses, too), or too many closers run (-ECONNABORTED of send_request). */
static void try_again(struct dial *d, int result)
{
	bool is_short = result == -EMFILE || result == -ENFILE;
	bool counts = !is_short && result != -ECONNABORTED;
	unsigned int delay_ms = counts ? (unsigned int)(STEP_MS * d->tries) : SHORT_MS;

	end_try(d);
	log_debug("port %d: try %d: %s", d->port_id, d->tries, d->why.msg);
	if (is_short)
		d->dialler->on_shortage(d->dialler, d->why.msg);
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

/* Is `fd` the TCP or UDP socket that was asked for, and not a raw socket of that protocol? */
static bool is_asked_for(const struct dial *d, int fd)
{
	bool udp = d->asks_probe || proto_is_udp(d->target->proto);

	return has_option(fd, SO_PROTOCOL, udp ? IPPROTO_UDP : IPPROTO_TCP) &&
	       has_option(fd, SO_TYPE, udp ? SOCK_DGRAM : SOCK_STREAM);
}

/* Caches what the child decided about the target: the mark with which it connected from the
 * client's address, or that it connected from another address. */
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

/* Reads a part of the answer. Returns the descriptor that was asked for; -EINPROGRESS to be called
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
		if (proto_is_tcp(d->target->proto))
			sockopt_tcp_reset_on_close(r);
		finish(d, r);
	} else if (r != -EAGAIN) {
		/* The connection from the client's address got no answer here, and the child could
		 * not connect either. */
		if (d->timed_out)
			deadpaths_note(&d->dialler->marks->dead, &d->from, &d->to);
		try_again(d, r);
	}
}

/* Opens the connection to the child, and sends a request on it. Returns 0 or -errno; -ECONNABORTED
 * if too many closers run. */
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

/* Sends a request, and waits for its answer in on_answer. */
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
	struct bpmsg req = { .type = BPMSG_CONNECT,
			     .target = *d->target,
			     .host_gateway_ip = d->host_gateway_ip,
			     .source_ip = d->source_ip,
			     .source_port = d->source_port };
	struct target *t = &req.target;

	/* If the routes have chosen the address, the request must name it. Otherwise the child
	 * finds the same address by itself (target_address). */
	if (d->ip_is_chosen) {
		t->ip = d->ip;
		t->ip_text = ipaddr_equal(&t->ip, &t->parent_ip) ? t->parent_ip_text : NULL;
	}
	log_debug("port %d: the child is asked for a connection", d->port_id);
	ask_for(d, &req);
}

/* ---- connecting ---- */

/* Does the error of connect(2) concern the target, and not our socket or this process? */
static bool is_target_error(int errnum)
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

/* The parent's connect(2) failed. Tries again if the target is the reason, and else asks the child.
 * A failure with a mark may be due to the mark, so the child is asked then as well. */
static void on_connect_failed(struct dial *d, int errnum)
{
	const int mark = d->mark;

	target_dial_error(d->target, &d->ip, errnum, &d->why);
	if (mark == 0 && is_target_error(errnum)) {
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

/* The parent's connect(2) has succeeded. */
static void connected(struct dial *d)
{
	loop_remove(d->dialler->loop, &d->watch);
	if (d->mark == 0 || transparent_has_valid_mark(d->watch.fd, d->to.ss_family, d->mark)) {
		finish(d, fd_take(&d->watch.fd));
		return;
	}
	/* A reset, so that no TIME_WAIT blocks the next connection from the same port. */
	sockopt_reset(&d->watch.fd);
	on_connect_failed(d, ESTALE);
}

static void on_connected(struct watch *w, short revents)
{
	struct dial *d = LOOP_OWNER(w, struct dial, watch);
	/* Every failure raises POLLERR or POLLHUP as well. */
	int why = (revents & (POLLERR | POLLHUP)) != 0 ? sockopt_take_error(w->fd) : 0;

	if (why != 0)
		on_connect_failed(d, why);
	else
		connected(d);
}

static void on_no_answer(struct timer *t)
{
	struct dial *d = LOOP_OWNER(t, struct dial, timer);

	d->timed_out = d->mark != 0;
	on_connect_failed(d, ETIMEDOUT);
}

/* Returns 0 if connected, -EINPROGRESS, or another -errno. */
static int connect_now(const struct dial *d)
{
	const struct sockaddr *to = (const struct sockaddr *)&d->to;

	if (connect(d->watch.fd, to, d->to_len) == 0)
		return 0;
	if (errno != EINPROGRESS && errno != EINTR)
		return -errno;
	/* A server on this host has usually answered already, before the first call returned. A
	 * second connect(2) is cheaper than waiting for the event. */
	if (connect(d->watch.fd, to, d->to_len) == 0 || errno == EISCONN)
		return 0;
	return errno == EALREADY || errno == EINTR ? -EINPROGRESS : -errno;
}

/* Waits for the end of connect(2), in on_connected or on_no_answer. Returns 0 or -errno. */
static int wait_for_answer(struct dial *d)
{
	struct loop *loop = d->dialler->loop;
	int r;

	d->watch.events = POLLOUT;
	d->watch.edge = false;
	d->timer.on_due = on_no_answer;
	r = loop_add(loop, &d->watch);
	if (r == 0)
		r = loop_timer(loop, &d->timer,
			       ms_left(d, d->mark != 0 ? MARKED_CONNECT_MS : CONNECT_MS));
	return r;
}

/* Connects a socket of the pool to d->to. `fd` is taken. */
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
		on_connect_failed(d, -r);
}

static void on_socket(struct sockpool_waiter *w, int fd)
{
	struct dial *d = LOOP_OWNER(w, struct dial, waiter);

	if (fd >= 0)
		connect_socket(d, fd);
	else
		ask_child(d);
}

/* Should the server see the client's address, and can a connection to this target come from there?
 * Sets d->from to the address if so, else to AF_UNSPEC. */
static bool has_source(struct dial *d)
{
	d->from.ss_family = AF_UNSPEC;
	if (!proto_is_tcp(d->target->proto) || d->source_ip.family == AF_UNSPEC ||
	    !sockpool_keeps_source(d->dialler->pool))
		return false;
	ipaddr_sockaddr(&d->source_ip, d->source_port, &d->from);
	if (transparent_check(&d->from, &d->to, NULL) == 0)
		return true;
	d->from.ss_family = AF_UNSPEC;
	return false;
}

/* Connects a socket of the pool, or waits for one. Returns false if the child must be asked. */
static bool try_without_child(struct dial *d)
{
	struct sockpool *pool = d->dialler->pool;
	enum sockpool_kind kind;
	int fd;

	if (pool == NULL || d->via_child)
		return false;
	kind = sockpool_kind(proto_is_udp(d->target->proto), d->to.ss_family);
	d->mark = 0;
	if (has_source(d)) {
		/* The child usually knows the dead path, too, and connects from its own address. */
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
	d->to_len = target_sockaddr(d->target, &d->ip, &d->to);
	if (!try_without_child(d))
		ask_child(d);
}

/* ---- choosing the target ---- */

/* Must a probe, of the family of d->ip, show the child's routes first? */
static bool needs_probe(const struct dial *d)
{
	return target_depends_on_child(d->target, &d->ip) ||
	       (d->loop_suspected && !ipaddr_is_loopback(&d->ip) && !ipaddr_is_any(&d->ip));
}

/* Looks at the child's routes through `probe`, and dials d->ip or, if the routes say so, the
 * loopback address instead. Ends the dial if d->ip may be part of a loop. `probe` is -1 if the
 * child could not make one. */
static void choose_target(struct dial *d, int probe)
{
	if (target_depends_on_child(d->target, &d->ip)) {
		d->ip_is_chosen = true;
		if (probe < 0 || !reach_is_local(probe, &d->ip))
			d->ip = ipaddr_loopback(d->ip.family);
	} else if (probe >= 0 && reach_is_outside(probe, &d->ip)) {
		target_sockaddr(d->target, &d->ip, &d->to);
		finish(d, err_set(&d->why, ELOOP, "it may lead back to the port"));
		return;
	}
	dial_target(d);
}

/* Asks the child for a probe: a UDP socket that is connected to the loopback address, a request
 * that RootlessKit's child knows, too. */
static void ask_for_probe(struct dial *d, sa_family_t family)
{
	struct bpmsg req = { .type = BPMSG_CONNECT, .target.port = d->target->port };

	req.target.proto = family == AF_INET ? PROTO_UDP4 : PROTO_UDP6;
	req.target.ip = ipaddr_loopback(family);
	log_debug("port %d: the child is asked for a UDP socket, to see its routes", d->port_id);
	d->asks_probe = true;
	ask_for(d, &req);
}

/* The child has sent a probe, or (`fd` < 0) the reason why it has none. */
static void on_probe(struct dial *d, int fd)
{
	const struct dialler *dialler = d->dialler;
	const sa_family_t family = d->ip.family;

	d->asks_probe = false;
	end_try(d);
	choose_target(d, fd);
	if (fd >= 0)
		dialler_keep_probe(dialler, family, fd);
}

/* ---- all ---- */

static void try_dial(struct dial *d)
{
	int probe;

	d->tries++;
	d->asks_probe = d->ip_is_chosen = false;
	d->host_gateway_ip = hostaddr_gateway();
	d->ip = target_address(d->target, &d->host_gateway_ip);
	if (!needs_probe(d)) {
		dial_target(d);
		return;
	}
	probe = dialler_probe(d->dialler, d->ip.family);
	if (probe >= 0)
		choose_target(d, probe);
	else
		ask_for_probe(d, d->ip.family);
}

void dial_start(struct dial *d, const struct dialler *dialler, int port_id,
		const struct target *target, void (*on_done)(struct dial *d, int result))
{
	d->dialler = dialler;
	d->port_id = port_id;
	d->target = target;
	d->on_done = on_done;
	d->until_ms = clock_now_ms() + DEADLINE_MS;
	d->watch.fd = -1;
	try_dial(d);
}
