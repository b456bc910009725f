/* SPDX-License-Identifier: Apache-2.0 */
/* Copying between two sockets. See bicopy.h.
 *
 * A pair is two one-way pumps.
 *
 *         recv() = 0             nothing left over, shutdown(dst)
 * OPEN ---------------> DRAIN ------------------------------------> SHUT
 *   \_____________________\____ error on either side: both sockets are reset
 *
 * A pump reads into the buffer of its loop and writes at once. What the other side does not take is
 * put aside in memory of its own, and the pump reads no more until that is gone. So a pair that
 * waits holds two descriptors and no buffer.
 *
 * Readiness is remembered per socket until a call says EAGAIN, which is what edge-triggered watches
 * need; with poll(2), `interest` asks for just what would let a pump move.
 */
#include "bicopy.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fd.h"

/* Reads of one pump in one turn: with 64 KiB each, a busy pair leaves the others waiting for less
 * than a millisecond. */
#define TURN_READS 16

struct bicopy_buffer *bicopy_buffer_new(size_t cap)
{
	struct bicopy_buffer *buffer = malloc(sizeof(*buffer) + cap);

	if (buffer != NULL)
		buffer->cap = cap;
	return buffer;
}

void bicopy_reset(int *fd)
{
	const struct linger now = { .l_onoff = 1, .l_linger = 0 };

	if (*fd < 0)
		return;
	setsockopt(*fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	fd_close(fd);
}

/* ---- the end of a pair ---- */

static void report_end(struct task *t)
{
	struct bicopy *b = LOOP_OWNER(t, struct bicopy, task);

	b->on_end(b);
}

enum ending {
	CLOSE, /* both directions have ended by themselves */
	CUT,   /* what has not is reset, so that nobody takes what is there for the whole */
	RESET, /* one side has failed, and the other hears of it */
};

static void finish(struct bicopy *b, enum ending how)
{
	if (b->ended)
		return;
	b->ended = true;
	for (int i = 0; i < 2; i++) {
		loop_remove(b->loop, &b->end[i].watch);
		if (how == RESET || (how == CUT && b->pump[1 - i].state != PUMP_SHUT))
			bicopy_reset(&b->end[i].watch.fd);
		fd_close(&b->end[i].watch.fd);
		free(b->pump[i].leftover);
		b->pump[i].leftover = NULL;
	}
	/* A turn may be queued already: then it becomes the report. */
	b->task.run = report_end;
	loop_defer(b->loop, &b->task);
}

/* Is there something that could be read, that was read but not written, or that the other side has
 * not yet taken from the kernel? */
static bool has_pending(const struct bicopy *b, int i)
{
	const struct pump *p = &b->pump[i];
	int unsent = 0;
	char byte;

	if (p->left > 0)
		return true;
	if (p->state == PUMP_OPEN &&
	    recv(b->end[i].watch.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0)
		return true;
	/* Behind an end of file the kernel goes on by itself, a reset would drop it (tcp(7)). */
	return p->state != PUMP_SHUT && ioctl(b->end[1 - i].watch.fd, SIOCOUTQ, &unsent) == 0 &&
	       unsent > 0;
}

void bicopy_cancel(struct bicopy *b)
{
	if (!b->ended)
		finish(b, CUT);
}

/* ---- one direction ---- */

enum progress {
	WAITS,	/* for a socket */
	SPENT,	/* its turn, and could go on */
	FAILED, /* the pair must be reset */
};

/* Writes to the socket. Returns how much it took, or -1 on an error. */
static ssize_t write_some(struct bicopy_end *dst, const char *bytes, size_t len)
{
	ssize_t n;

	do
		n = send(dst->watch.fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno != EAGAIN)
		return -1;
	if (n < (ssize_t)len)
		dst->writable = false;
	return n < 0 ? 0 : n;
}

/* Passes on what is left over. Returns true if nothing is any more. */
static bool write_leftover(struct pump *p, struct bicopy_end *dst, enum progress *progress)
{
	ssize_t n;

	if (p->left == 0)
		return true;
	*progress = WAITS;
	if (!dst->writable)
		return false;
	n = write_some(dst, p->leftover + p->left_at, p->left);
	if (n < 0) {
		*progress = FAILED;
		return false;
	}
	p->left_at += (uint32_t)n;
	p->left -= (uint32_t)n;
	if (p->left > 0)
		return false;
	free(p->leftover);
	p->leftover = NULL;
	return true;
}

static int keep_leftover(struct pump *p, const char *bytes, size_t len)
{
	p->leftover = malloc(len);
	if (p->leftover == NULL)
		return -ENOMEM;
	memcpy(p->leftover, bytes, len);
	p->left_at = 0;
	p->left = (uint32_t)len;
	return 0;
}

/* Reads once and passes it on. Returns false with the progress if the pump cannot go on. */
static bool read_and_write(struct bicopy *b, struct pump *p, struct bicopy_end *src,
			   struct bicopy_end *dst, enum progress *progress)
{
	struct bicopy_buffer *buffer = b->buffer;
	ssize_t len, n;

	*progress = WAITS;
	if (!src->readable || !dst->writable)
		return false;
	do
		len = recv(src->watch.fd, buffer->bytes, buffer->cap, MSG_DONTWAIT);
	while (len < 0 && errno == EINTR);
	if (len < 0 && errno == EAGAIN) {
		src->readable = false;
		return false;
	}
	if (len == 0) {
		p->state = PUMP_DRAIN;
		return true;
	}
	n = len < 0 ? -1 : write_some(dst, buffer->bytes, (size_t)len);
	if (n < 0 || (n < len && keep_leftover(p, buffer->bytes + n, (size_t)(len - n)) < 0)) {
		*progress = FAILED;
		return false;
	}
	/* A short read has emptied the socket (epoll(7), "Q&A"): what comes now is a new event. But
	 * an end of file that was announced already is not. */
	if ((size_t)len < buffer->cap && !src->peer_ended && !src->urgent)
		src->readable = false;
	return true;
}

static enum progress run_pump(struct bicopy *b, int i)
{
	struct pump *p = &b->pump[i];
	struct bicopy_end *src = &b->end[i];
	struct bicopy_end *dst = &b->end[1 - i];
	enum progress progress = WAITS;

	for (int reads = 0; p->state != PUMP_SHUT; reads++) {
		if (!write_leftover(p, dst, &progress))
			return progress;
		if (p->state == PUMP_DRAIN) {
			shutdown(dst->watch.fd, SHUT_WR);
			p->state = PUMP_SHUT;
			break;
		}
		if (reads == TURN_READS)
			return SPENT;
		if (!read_and_write(b, p, src, dst, &progress))
			return progress;
	}
	return WAITS;
}

/* ---- the pair ---- */

/* What would let a pump move: input if there is room for it, room if there is something to write.
 */
static short interest(const struct bicopy *b, int i)
{
	const struct pump *in = &b->pump[i];
	const struct pump *out = &b->pump[1 - i];
	short events = 0;

	if (in->state == PUMP_OPEN && in->left == 0 && b->end[1 - i].writable)
		events |= POLLIN;
	if (out->state != PUMP_SHUT && !b->end[i].writable)
		events |= POLLOUT;
	return events;
}

static bool has_error(const struct bicopy_end *end)
{
	int why = 0;
	socklen_t len = sizeof(why);

	return end->failed && getsockopt(end->watch.fd, SOL_SOCKET, SO_ERROR, &why, &len) == 0 &&
	       why != 0;
}

static void run_pair(struct bicopy *b);

static void next_turn(struct task *t)
{
	run_pair(LOOP_OWNER(t, struct bicopy, task));
}

/* Runs both pumps as far as they go, and arranges for what they wait for. */
static void run_pair(struct bicopy *b)
{
	enum progress p0 = run_pump(b, 0);
	enum progress p1 = p0 == FAILED ? WAITS : run_pump(b, 1);

	if (p0 == FAILED || p1 == FAILED) {
		finish(b, RESET);
		return;
	}
	if (b->pump[0].state == PUMP_SHUT && b->pump[1].state == PUMP_SHUT) {
		finish(b, CLOSE);
		return;
	}
	/* An error that no call has come across, since nothing could be read or written. */
	if (p0 != SPENT && p1 != SPENT && (has_error(&b->end[0]) || has_error(&b->end[1]))) {
		finish(b, RESET);
		return;
	}
	if (p0 == SPENT || p1 == SPENT) {
		b->task.run = next_turn;
		loop_defer(b->loop, &b->task);
	} else if (b->draining && !has_pending(b, 0) && !has_pending(b, 1)) {
		finish(b, CUT);
		return;
	}
	for (int i = 0; i < 2; i++)
		loop_want(b->loop, &b->end[i].watch, interest(b, i));
}

void bicopy_drain(struct bicopy *b)
{
	if (b->ended)
		return;
	b->draining = true;
	for (int i = 0; i < 2; i++)
		b->end[i].readable = true; /* an event may still be on its way */
	run_pair(b);
}

static void on_ready(struct bicopy *b, int i, short revents)
{
	struct bicopy_end *end = &b->end[i];

	if (revents & (POLLIN | POLLRDHUP | POLLHUP | POLLERR))
		end->readable = true;
	if (revents & (POLLOUT | POLLHUP | POLLERR))
		end->writable = true;
	if (revents & (POLLRDHUP | POLLHUP | POLLERR))
		end->peer_ended = true;
	if (revents & POLLPRI)
		end->urgent = true;
	if (revents & POLLERR)
		end->failed = true;
	run_pair(b);
}

static void on_end0(struct watch *w, short revents)
{
	on_ready(LOOP_OWNER(w, struct bicopy, end[0].watch), 0, revents);
}

static void on_end1(struct watch *w, short revents)
{
	on_ready(LOOP_OWNER(w, struct bicopy, end[1].watch), 1, revents);
}

int bicopy_start(struct bicopy *b, struct loop *loop, struct bicopy_buffer *buffer, int fd0,
		 int fd1, void (*on_end)(struct bicopy *b))
{
	const int fds[2] = { fd0, fd1 };
	int r = 0;

	*b = (struct bicopy){ .loop = loop, .buffer = buffer, .on_end = on_end };
	for (int i = 0; i < 2; i++) {
		/* It may be written to, as far as anybody knows; edges tell about the rest. */
		b->end[i].writable = true;
		b->end[i].watch = (struct watch){ .fd = fds[i],
						  .events = POLLIN,
						  .edge = true,
						  .on_event = i == 0 ? on_end0 : on_end1 };
	}
	r = loop_add(loop, &b->end[0].watch);
	if (r == 0)
		r = loop_add(loop, &b->end[1].watch);
	if (r < 0) {
		for (int i = 0; i < 2; i++) {
			loop_remove(loop, &b->end[i].watch);
			fd_close(&b->end[i].watch.fd);
		}
	}
	return r;
}
