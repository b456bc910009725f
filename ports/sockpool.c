/* SPDX-License-Identifier: Apache-2.0 */
/* The pool of the child's sockets. See sockpool.h.
 *
 * Each kind has a stack of sockets, a queue of waiters, and at most one batch under way.
 *
 *     IDLE ── at most half of `want` are there ─────► ASKING ── sockets came ──► IDLE
 *      ▲                                                │
 *      └─────── after a pause: 100, 200, ... ms ◄───────┴─ refusal, no answer: waiters are told
 *
 * `want` is how many sockets to store. It doubles if a batch came too late for a caller, or if
 * demand is so high that larger batches pay. It halves if fewer than `want` sockets were taken in
 * LOOK_MS.
 *
 * Quota. Each stored socket is charged to the worker's descriptor quota, and so are the sockets of
 * a batch under way and the connection that it comes on. The pool leaves a reserve to connections.
 * When no more than the reserve is left, the pool closes all its sockets. From then on each
 * connection asks the child, so that the last descriptors are used for connections only.
 *
 * Trust. Sockets that come from the child are not trusted. But to check everything that could be
 * wrong with a socket would cost as many system calls as asking the child for each connection. So
 * one call checks that a socket is TCP or UDP, by an option that only this protocol has; a wrong
 * family shows in connect(2). Each socket is made non-blocking, and set to reset when it is closed
 * unused, so that neither connect(2) nor close(2) blocks. Anything that was not requested is closed
 * in the background (closer.h).
 *
 * Root inside may keep a duplicate of a socket, and can undo these settings later or hold the
 * socket's lock. Then the worker blocks, maybe only when it closes the socket at its end, and the
 * main thread goes on without it (worker.h).
 */
#include "ports/sockpool.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/array.h"
#include "base/clock.h"
#include "base/log.h"
#include "formats/bpmsg.h"
#include "msg.h"
#include "os/closer.h"
#include "os/sockopt.h"
#include "os/unixsock.h"

#define WANT_LEAST   4	   /* least value of `want` */
#define LOOK_MS	     2000  /* interval of `on_look`, after which unused sockets are closed */
#define BUSY	     4	   /* demand is high if BUSY * want sockets are taken within LOOK_MS */
#define DEADLINE_MS  2000  /* for the child's answer, which takes less than 1 ms */
#define PAUSE_MS     100   /* before the next batch after a failure; doubled each time */
#define PAUSE_MAX_MS 10000 /* the longest pause */
#define RESERVE_FDS  256   /* descriptors that are left to connections */
#define RESERVE_PART 4	   /* but at most this fraction of a small quota: 1/4 */

struct store {
	struct sockpool *pool;
	const struct kind *kind;
	int fds[SOCKPOOL_HELD_MAX];
	size_t count;
	size_t want;
	size_t taken;	   /* sockets taken since the last look */
	bool missed;	   /* a caller found the store empty while a batch was under way */
	struct list queue; /* of waiters */

	struct watch watch; /* owns the connection to the child; -1: no batch is under way */
	struct timer deadline;
	struct msg_reader reader;
	size_t asked;		     /* sockets requested by the batch under way */
	unsigned int pause_ms;	     /* length of the last pause; 0: the last batch was complete */
	unsigned long long retry_ms; /* no batch before this time, clock_now_ms()'s clock */
};

struct sockpool {
	struct loop *loop;
	struct fdquota *quota;
	const struct sockaddr_un *bp_address;
	struct store stores[SOCKPOOL_KINDS];
	struct timer look;
	bool unsupported;  /* the child does not know the "sockets" request */
	bool keeps_source; /* see sockpool_keeps_source */
};

static const struct kind {
	enum proto proto;
	int level, option; /* an option that only sockets of this protocol have */
	bool is_set;	   /* whether it is set on the child's sockets */
} kinds[] = {
	[SOCKPOOL_TCP4] = { PROTO_TCP4, IPPROTO_TCP, TCP_NODELAY, true },
	[SOCKPOOL_TCP6] = { PROTO_TCP6, IPPROTO_TCP, TCP_NODELAY, true },
	[SOCKPOOL_UDP4] = { PROTO_UDP4, IPPROTO_UDP, UDP_CORK, false },
	[SOCKPOOL_UDP6] = { PROTO_UDP6, IPPROTO_UDP, UDP_CORK, false },
};

_Static_assert(COUNT_OF(kinds) == SOCKPOOL_KINDS, "a row per kind");
_Static_assert(SOCKPOOL_HELD_MAX <= BPMSG_SOCKETS_MAX, "a batch is one request");

enum sockpool_kind sockpool_kind(bool udp, sa_family_t family)
{
	if (udp)
		return family == AF_INET6 ? SOCKPOOL_UDP6 : SOCKPOOL_UDP4;
	return family == AF_INET6 ? SOCKPOOL_TCP6 : SOCKPOOL_TCP4;
}

/* ---- waiters ---- */

void sockpool_wait(struct sockpool *pool, enum sockpool_kind kind, struct sockpool_waiter *w)
{
	w->queue = &pool->stores[kind].queue;
	list_append(w->queue, &w->node);
}

void sockpool_cancel_wait(struct sockpool_waiter *w)
{
	if (w->queue != NULL)
		list_remove(w->queue, &w->node);
	w->queue = NULL;
}

static void tell_first(struct store *s, int fd)
{
	struct sockpool_waiter *w = LIST_OWNER(s->queue.first, struct sockpool_waiter, node);

	sockpool_cancel_wait(w);
	w->on_socket(w, fd);
}

/* Tells `result` to all that wait now, but not to waiters that the callbacks add. */
static void tell_all(struct store *s, int result)
{
	const struct list_node *last = s->queue.last;
	bool was_last = last == NULL;

	while (!was_last && s->queue.first != NULL) {
		was_last = s->queue.first == last;
		tell_first(s, result);
	}
}

/* ---- the store ---- */

/* How many descriptors the pool may take from the quota, above the reserve. */
static size_t room(const struct sockpool *pool)
{
	size_t reserve = pool->quota->max / RESERVE_PART;
	size_t free = fdquota_room(pool->quota);

	if (reserve > RESERVE_FDS)
		reserve = RESERVE_FDS;
	return free > reserve ? free - reserve : 0;
}

static int pop(struct store *s)
{
	s->count--;
	fdquota_give(s->pool->quota, 1);
	return s->fds[s->count];
}

static void trim(struct store *s, size_t most)
{
	while (s->count > most) {
		int fd = pop(s);

		/* The child may have set SO_LINGER, and close(2) would block. */
		sockopt_tcp_reset_on_close(fd);
		close(fd);
	}
}

void sockpool_drop(struct sockpool *pool)
{
	for (int i = 0; i < SOCKPOOL_KINDS; i++) {
		struct store *s = &pool->stores[i];

		if (s->retry_ms < clock_now_ms() + PAUSE_MS)
			s->retry_ms = clock_now_ms() + PAUSE_MS;
		trim(s, 0);
	}
}

/* Adapts `want` to the demand since the last look, and closes the sockets above it; all, if there
 * was no demand. Returns whether sockets are left. */
static bool adapt(struct store *s)
{
	if (s->taken < s->want)
		s->want /= 2;
	if (s->want < WANT_LEAST)
		s->want = WANT_LEAST;
	trim(s, s->taken == 0 ? 0 : s->want);
	if (s->taken == 0)
		s->want = WANT_LEAST;
	s->taken = 0;
	return s->count > 0;
}

static void on_look(struct timer *t)
{
	struct sockpool *pool = LOOP_OWNER(t, struct sockpool, look);
	bool again = false;

	for (int i = 0; i < SOCKPOOL_KINDS; i++)
		again = adapt(&pool->stores[i]) || again;
	if (again)
		loop_timer(pool->loop, t, LOOK_MS);
}

/* ---- batches ---- */

static bool is_asking(const struct store *s)
{
	return s->watch.fd >= 0;
}

/* Ends the batch under way, of which `kept` sockets were stored, and gives back the descriptors of
 * the others. */
static void end_batch(struct store *s, size_t kept)
{
	struct loop *loop = s->pool->loop;

	loop_cancel(loop, &s->deadline);
	loop_remove(loop, &s->watch);
	msg_close(&s->watch.fd);
	msg_reader_reset(&s->reader);
	fdquota_give(s->pool->quota, 1 + s->asked - kept);
	s->asked = 0;
}

/* Requests no batch for a while. The pause doubles each time, until a batch is complete. */
static void pause_asking(struct store *s)
{
	s->pause_ms = s->pause_ms == 0 ? PAUSE_MS : 2 * s->pause_ms;
	if (s->pause_ms > PAUSE_MAX_MS)
		s->pause_ms = PAUSE_MAX_MS;
	s->retry_ms = clock_now_ms() + s->pause_ms;
}

/* Ends the batch under way without a socket. `result`: an -errno for the waiters. */
static void fail_batch(struct store *s, int result, const struct err *why)
{
	log_debug("sockets of %s: %s", proto_name(s->kind->proto), why->msg);
	end_batch(s, 0);
	pause_asking(s);
	tell_all(s, result);
}

/* Is `fd` a socket of the store's protocol? Makes it non-blocking. */
static bool is_asked_for(const struct store *s, int fd)
{
	int value = 0, on = 1;
	socklen_t len = sizeof(value);

	return getsockopt(fd, s->kind->level, s->kind->option, &value, &len) == 0 &&
	       (value != 0) == s->kind->is_set && ioctl(fd, FIONBIO, &on) == 0;
}

/* Stores those sockets of a batch that were asked for, and closes the others. Returns how many it
 * has stored. */
static size_t keep_asked_for(struct store *s, int *fds, size_t count)
{
	size_t kept = 0, wrong = 0;

	for (size_t i = 0; i < count; i++) {
		if (is_asked_for(s, fds[i])) {
			s->fds[s->count++] = fds[i];
			kept++;
		} else {
			fds[wrong++] = fds[i];
		}
	}
	closer_close_all(fds, wrong);
	return kept;
}

static void ask(struct store *s);

/* A batch has come: at most s->asked descriptors, which are taken. Stores them and serves the
 * waiters. */
static void store_batch(struct store *s, int *fds, size_t count)
{
	size_t asked = s->asked, kept = keep_asked_for(s, fds, count);
	struct err why;

	if (kept == 0) {
		err_set(&why, EPROTO, "the child sent something else");
		fail_batch(s, -EPROTO, &why);
		return;
	}
	end_batch(s, kept);
	if ((s->missed || s->taken >= BUSY * s->want) && s->want < SOCKPOOL_HELD_MAX)
		s->want *= 2;
	s->missed = false;
	s->pause_ms = 0;
	if (kept < asked)
		pause_asking(s); /* the child could not make all of them */
	log_debug("sockets of %s: %zu came", proto_name(s->kind->proto), kept);
	while (s->count > 0 && s->queue.first != NULL)
		tell_first(s, pop(s));
	if (s->queue.first != NULL || s->count <= s->want / 2)
		ask(s);
	if (!is_asking(s))
		tell_all(s, -ENOTCONN);
	if (!timer_is_set(&s->pool->look))
		loop_timer(s->pool->loop, &s->pool->look, LOOK_MS);
}

/* Reads a part of the frame in which the child says why it sends no sockets. */
static void read_reason(struct store *s, const char *bytes, size_t len)
{
	struct err why;
	int r = msg_feed(&s->reader, bytes, len);

	if (r == 0)
		return;
	if (r < 0) {
		err_sys(&why, -r, "answer of the child");
	} else {
		r = bpmsg_decode_answer(s->reader.body, s->reader.len, &why);
		if (r == -EREMOTEIO && bpmsg_is_unknown_type(&why))
			s->pool->unsupported = true;
		if (r == 0)
			r = err_set(&why, EPROTO, "the child sent no descriptor");
	}
	fail_batch(s, r, &why);
}

static void on_answer(struct watch *watch, short revents)
{
	struct store *s = LOOP_OWNER(watch, struct store, watch);
	int fds[SOCKPOOL_HELD_MAX];
	char bytes[1024];
	struct err why;
	size_t count;
	ssize_t n = msg_recv_fds(watch->fd, bytes, sizeof(bytes), fds, s->asked, &count);

	(void)revents;
	if (n == -EAGAIN)
		return;
	if (n < 0) {
		err_sys(&why, (int)-n, "answer of the child");
		fail_batch(s, (int)n, &why);
	} else if (count > 0) {
		s->pool->keeps_source = n > 0 && bytes[0] == BPMSG_KEEPS_SOURCE;
		store_batch(s, fds, count);
	} else if (n == 0) {
		err_set(&why, EPIPE, "the child closed the connection");
		fail_batch(s, -EPIPE, &why);
	} else {
		read_reason(s, bytes, (size_t)n);
	}
}

static void on_deadline(struct timer *t)
{
	struct err why;

	err_set(&why, ETIMEDOUT, "no answer from the child");
	fail_batch(LOOP_OWNER(t, struct store, deadline), -ETIMEDOUT, &why);
}

static int send_request(struct store *s)
{
	const struct bpmsg req = { .type = BPMSG_SOCKETS,
				   .target.proto = s->kind->proto,
				   .count = (int)s->asked };
	char text[BPMSG_MAX];
	int len = bpmsg_encode(&req, text, sizeof(text));

	if (len < 0)
		return len;
	s->watch.fd = unixsock_connect(s->pool->bp_address);
	if (s->watch.fd < 0)
		return s->watch.fd;
	return msg_send_now(s->watch.fd, text, (size_t)len);
}

/* Requests the sockets that are missing, unless a batch is under way or it is too early. */
static void ask(struct store *s)
{
	struct sockpool *pool = s->pool;
	char why[128];
	int r;

	if (is_asking(s) || pool->unsupported || clock_now_ms() < s->retry_ms ||
	    closer_pending() >= CLOSER_MAX)
		return;
	s->asked = s->want > s->count ? s->want - s->count : 1;
	if (s->asked + 1 > room(pool) || !fdquota_take(pool->quota, s->asked + 1)) {
		s->asked = 0;
		return;
	}
	r = send_request(s);
	if (r == 0)
		r = loop_add(pool->loop, &s->watch);
	if (r == 0)
		r = loop_timer(pool->loop, &s->deadline, DEADLINE_MS);
	if (r == 0)
		return;
	log_debug("asking the child for sockets: %s", err_text(-r, why, sizeof(why)));
	end_batch(s, 0);
	pause_asking(s);
}

/* ---- taking ---- */

int sockpool_take(struct sockpool *pool, enum sockpool_kind kind)
{
	struct store *s = &pool->stores[kind];
	int fd = -1;

	if (pool->unsupported)
		return -ENOTSUP;
	if (room(pool) == 0) {
		sockpool_drop(pool);
		return -ENFILE;
	}
	s->taken++;
	if (s->count > 0)
		fd = pop(s);
	else
		s->missed = is_asking(s);
	if (s->count <= s->want / 2)
		ask(s);
	if (fd >= 0)
		return fd;
	return is_asking(s) ? -EAGAIN : -ENOTCONN;
}

void sockpool_warm(struct sockpool *pool, enum sockpool_kind kind)
{
	struct store *s = &pool->stores[kind];

	if (s->count == 0)
		ask(s);
}

bool sockpool_keeps_source(const struct sockpool *pool)
{
	return pool->keeps_source;
}

/* ---- all ---- */

struct sockpool *sockpool_new(struct loop *loop, struct fdquota *quota,
			      const struct sockaddr_un *bp_address)
{
	struct sockpool *pool = calloc(1, sizeof(*pool));

	if (pool == NULL)
		return NULL;
	pool->loop = loop;
	pool->quota = quota;
	pool->bp_address = bp_address;
	pool->keeps_source = true;
	pool->look.on_due = on_look;
	for (int i = 0; i < SOCKPOOL_KINDS; i++) {
		struct store *s = &pool->stores[i];

		s->pool = pool;
		s->kind = &kinds[i];
		s->want = WANT_LEAST;
		s->deadline.on_due = on_deadline;
		s->watch = (struct watch){ .fd = -1, .events = POLLIN, .on_event = on_answer };
	}
	return pool;
}

void sockpool_free(struct sockpool *pool)
{
	if (pool == NULL)
		return;
	sockpool_drop(pool);
	for (int i = 0; i < SOCKPOOL_KINDS; i++)
		if (is_asking(&pool->stores[i]))
			end_batch(&pool->stores[i], 0);
	loop_cancel(pool->loop, &pool->look);
	free(pool);
}
