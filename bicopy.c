/* SPDX-License-Identifier: Apache-2.0 */
/* Copying between two sockets. See bicopy.h.
 *
 * A pair is two one-way pumps.
 *
 *             recv() = 0             nothing left over, shutdown(dst)
 *     OPEN ---------------> DRAIN ------------------------------------> SHUT
 *       \_____________________\____ error on either side: both sockets are reset
 *
 * A pump reads into the buffer that its loop shares, and writes at once. Bytes that the other side
 * does not accept are copied to memory of the pair's own (`leftover`), and the pump reads nothing
 * until they are written. So an idle pair holds two descriptors and no buffer.
 *
 * A read that gets all the bytes that it asked for suggests that more follow. The pump then
 * switches to splice(2): bytes go through a pipe without being copied to user space. When the flow
 * calms down, or if there is no pipe, the pump uses recv(2) and send(2) again. All pumps of a loop
 * share one pipe, which must be empty after each turn. So a pump first asks how much the other side
 * can accept, and splices no more than that; if the other side accepts less, the rest becomes
 * leftover.
 *
 * A socket counts as readable or writable until a call returns EAGAIN, or moves fewer bytes than
 * were asked for. Edge-triggered watches require this (epoll(7)). With poll(2), `interest` asks
 * only for events that would let a pump move.
 */
#include "bicopy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "os/bulkpipe.h"
#include "os/sockopt.h"

/* Limits of one pump's turn: a busy pair delays the others by less than a millisecond. */
#define TURN_BYTES (1024 * 1024)
#define TURN_READS 16
/* Bytes of a read while a pump is not bulk. So a slow reader makes at most this much leftover, and
 * the bytes fit in the CPU's cache. */
#define SMALL_READ (64 * 1024)
/* A turn of fewer bytes is calm: copying them is cheaper than the additional system calls of
 * splicing. */
#define CALM	   (16 * 1024)
/* A connection without new data for this time is quiet. Longer than the minimum retransmission
 * timeout, 200 ms. */
#define QUIET_MS   300

struct bicopy_shared {
	bool with_pipe;
	struct bulkpipe pipe;
	size_t cap; /* bytes of one read, the size of `bytes` */
	char bytes[];
};

struct bicopy_shared *bicopy_shared_new(size_t cap, bool with_pipe)
{
	struct bicopy_shared *shared = malloc(sizeof(*shared) + cap);

	if (shared == NULL)
		return NULL;
	shared->with_pipe = with_pipe;
	shared->pipe = (struct bulkpipe)BULKPIPE_INIT;
	shared->cap = cap;
	return shared;
}

void bicopy_shared_free(struct bicopy_shared *shared)
{
	if (shared != NULL)
		bulkpipe_close(&shared->pipe);
	free(shared);
}

/* ---- the end of a pair ---- */

static void report_end(struct task *t)
{
	struct bicopy *b = LOOP_OWNER(t, struct bicopy, task);

	b->on_end(b);
}

enum ending {
	CLOSE, /* both directions have shut: close */
	CUT,   /* reset each side that has not got its end of file: its stream is incomplete */
	RESET, /* one side failed: reset both, so that the other side learns of it */
};

static void finish(struct bicopy *b, enum ending how)
{
	if (b->ended)
		return;
	b->ended = true;
	for (int i = 0; i < 2; i++) {
		loop_remove(b->loop, &b->end[i].watch);
		if (how == RESET || (how == CUT && b->pump[1 - i].state != PUMP_SHUT))
			sockopt_reset(&b->end[i].watch.fd);
		sockopt_close(&b->end[i].watch.fd);
		free(b->pump[i].leftover);
		b->pump[i].leftover = NULL;
	}
	/* The task may be queued already, for the next turn. Then it runs report_end instead. */
	b->task.run = report_end;
	loop_defer(b->loop, &b->task);
}

/* Are bytes from end `i` still pending: unread, leftover, or not yet acknowledged by the receiver?
 */
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
	/* After a half-close the kernel delivers the rest without us, because the socket is then
	 * closed without a reset. Before the half-close, a reset would drop unsent bytes (tcp(7)).
	 */
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
	WAITS,	/* it waits for a socket */
	SPENT,	/* its turn is over, but it could go on */
	FAILED, /* the pair must be reset */
};

/* Writes to the socket without blocking. Returns how many bytes the socket accepted, or -1 on an
 * error. */
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

/* Writes the leftover bytes. Returns true if none is left; else sets *progress. */
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

/* Handles the result `n` of a read, whose errno must not have changed yet. Returns whether the read
 * brought bytes. Sets *progress only on a failure. */
static bool has_read(struct pump *p, struct bicopy_end *src, ssize_t n, enum progress *progress)
{
	if (n > 0)
		return true;
	if (n == 0)
		p->state = PUMP_DRAIN;
	else if (errno == EAGAIN)
		src->readable = false;
	else if (errno != EINTR)
		*progress = FAILED;
	return false;
}

/* Reads into the shared buffer and writes at once. Returns how many bytes were read. */
static size_t copy_once(struct bicopy *b, struct pump *p, struct bicopy_end *src,
			struct bicopy_end *dst, enum progress *progress)
{
	struct bicopy_shared *shared = b->shared;
	size_t cap = p->bulk || shared->cap < SMALL_READ ? shared->cap : SMALL_READ;
	ssize_t len = recv(src->watch.fd, shared->bytes, cap, MSG_DONTWAIT);
	ssize_t n;

	if (!has_read(p, src, len, progress))
		return 0;
	n = write_some(dst, shared->bytes, (size_t)len);
	if (n < 0 || (n < len && keep_leftover(p, shared->bytes + n, (size_t)(len - n)) < 0))
		*progress = FAILED;
	p->bulk = (size_t)len == cap;
	/* A short read has emptied the socket (epoll(7), "Q&A"). Bytes that arrive later raise a
	 * new event, but an end of file that was reported already raises none. */
	if (!p->bulk && !src->peer_ended && !src->urgent)
		src->readable = false;
	return (size_t)len;
}

/* Returns how many bytes a socket would accept now; at least SMALL_READ, because only a write that
 * gets EAGAIN brings a POLLOUT event later, and lets the kernel enlarge a send buffer that is too
 * small. */
static size_t room_of(const struct bicopy_end *dst, size_t max)
{
	uint32_t mem[SK_MEMINFO_VARS] = { 0 };
	socklen_t len = sizeof(mem);
	size_t room;

	if (getsockopt(dst->watch.fd, SOL_SOCKET, SO_MEMINFO, mem, &len) < 0)
		return max;
	room = mem[SK_MEMINFO_SNDBUF] > mem[SK_MEMINFO_WMEM_QUEUED]
		       ? mem[SK_MEMINFO_SNDBUF] - mem[SK_MEMINFO_WMEM_QUEUED]
		       : 0;
	if (room < SMALL_READ)
		return SMALL_READ;
	return room < max ? room : max;
}

/* Reads the `len` bytes that are left in the pipe into `leftover`. Returns 0 or -errno; on failure
 * the pipe is not empty. */
static int keep_piped(struct bulkpipe *pipe, struct pump *p, size_t len)
{
	size_t at = 0;

	p->leftover = malloc(len);
	while (p->leftover != NULL && at < len) {
		ssize_t n = read(pipe->out, p->leftover + at, len - at);

		if (n <= 0 && !(n < 0 && errno == EINTR))
			return -EIO;
		at += n < 0 ? 0 : (size_t)n;
	}
	p->left_at = 0;
	p->left = (uint32_t)at;
	return at == len ? 0 : -ENOMEM;
}

/* Does the error mean that splice(2) is not available: not in this kernel, or forbidden by a
 * seccomp profile? (Both ends are TCP sockets, which support it.) */
static bool is_unavailable(int errnum)
{
	return errnum == ENOSYS || errnum == EPERM || errnum == EINVAL;
}

/* Splices the `len` bytes in the pipe to the socket. A splice that moves fewer bytes may not have
 * filled the socket, and then no POLLOUT would follow. So splices are repeated until EAGAIN.
 * Returns 0, or a negative number; then the pipe is not empty. */
static int write_piped(struct bulkpipe *pipe, struct pump *p, struct bicopy_end *dst, size_t len)
{
	while (len > 0) {
		ssize_t n = splice(pipe->out, NULL, dst->watch.fd, NULL, len,
				   SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

		if (n > 0) {
			len -= (size_t)n;
		} else if (n < 0 && (errno == EAGAIN || is_unavailable(errno))) {
			dst->writable = errno != EAGAIN;
			return keep_piped(pipe, p, len);
		} else if (n == 0 || errno != EINTR) {
			return -1;
		}
	}
	return 0;
}

/* Splices once through the pipe. Returns how many bytes were read. */
static size_t splice_once(struct bicopy *b, struct pump *p, struct bicopy_end *src,
			  struct bicopy_end *dst, enum progress *progress)
{
	struct bulkpipe *pipe = &b->shared->pipe;
	ssize_t n = splice(src->watch.fd, NULL, pipe->in, NULL, room_of(dst, pipe->cap),
			   SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

	/* 0 means end of file. It may also mean an urgent byte that has not been reported yet, if
	 * the end of file follows that byte. recv(2) can tell them apart, so the next read is a
	 * copy. */
	if (n == 0) {
		p->bulk = false;
		return 0;
	}
	if (n < 0 && is_unavailable(errno)) {
		b->shared->with_pipe = false;
		return 0;
	}
	if (!has_read(p, src, n, progress))
		return 0;
	if (write_piped(pipe, p, dst, (size_t)n) < 0) {
		bulkpipe_close(pipe);
		*progress = FAILED;
	}
	return (size_t)n;
}

/* splice(2) respects only O_NONBLOCK of the socket itself (SPLICE_F_NONBLOCK is about the pipe),
 * and a socket that another process made may lack it. */
static void set_nonblocking(struct bicopy *b)
{
	if (b->nonblocking)
		return;
	for (int i = 0; i < 2; i++)
		fd_set_nonblock(b->end[i].watch.fd);
	b->nonblocking = true;
}

/* Should the pump splice, and is there a pipe? An urgent byte stops splice(2), so recv(2) must read
 * past it. */
static bool can_splice(struct bicopy *b, const struct pump *p, const struct bicopy_end *src)
{
	if (!p->bulk || src->urgent || !b->shared->with_pipe || !bulkpipe_open(&b->shared->pipe))
		return false;
	set_nonblocking(b);
	return true;
}

/* Passes the end of file on. Returns false on a failure; the other side would then wait for the end
 * of file for ever. ENOTCONN is no failure: an event tells why that socket is no longer connected.
 */
static bool pass_on_end(const struct bicopy_end *dst)
{
	return shutdown(dst->watch.fd, SHUT_WR) == 0 || errno == ENOTCONN;
}

/* Moves bytes until the pump has to wait, or its turn is over. */
static enum progress move_bytes(struct bicopy *b, int i)
{
	struct pump *p = &b->pump[i];
	struct bicopy_end *src = &b->end[i];
	struct bicopy_end *dst = &b->end[1 - i];
	enum progress progress = WAITS;
	size_t moved = 0;
	int reads = 0;

	while (write_leftover(p, dst, &progress)) {
		if (p->state == PUMP_DRAIN) {
			p->state = PUMP_SHUT;
			/* If this is the second direction, both sockets are closed next, which ends
			 * the stream as well. */
			return b->pump[1 - i].state == PUMP_SHUT || pass_on_end(dst) ? WAITS
										     : FAILED;
		}
		if (moved >= TURN_BYTES || reads++ == TURN_READS)
			return SPENT;
		if (!src->readable || !dst->writable)
			break;
		progress = WAITS;
		if (can_splice(b, p, src))
			moved += splice_once(b, p, src, dst, &progress);
		else
			moved += copy_once(b, p, src, dst, &progress);
		if (progress == FAILED)
			break;
	}
	/* Few bytes were moved. If the input ran out, the flow is calm. If the other side had no
	 * room, it may still be bulk. */
	if (moved < CALM && dst->writable)
		p->bulk = false;
	return progress;
}

static enum progress run_pump(struct bicopy *b, int i)
{
	return b->pump[i].state == PUMP_SHUT ? WAITS : move_bytes(b, i);
}

/* ---- the pair ---- */

/* Returns the events of end `i` that would let a pump move: POLLIN if the other side has room for
 * the input, POLLOUT if the last write did not find enough room. */
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
	return end->failed && sockopt_take_error(end->watch.fd) != 0;
}

static void run_pair(struct bicopy *b);

static void next_turn(struct task *t)
{
	run_pair(LOOP_OWNER(t, struct bicopy, task));
}

/* Runs both pumps as far as they can go. Then ends the pair, queues its next turn, or asks for the
 * events that the pumps wait for. */
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
	/* Look for an error that no read or write has reported, because neither pump could move. */
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

bool bicopy_is_flowing(const struct bicopy *b)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	return !b->ended && b->pump[1].state == PUMP_OPEN &&
	       getsockopt(b->end[1].watch.fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
	       info.tcpi_last_data_recv < QUIET_MS;
}

void bicopy_drain(struct bicopy *b)
{
	if (b->ended)
		return;
	b->draining = true;
	for (int i = 0; i < 2; i++)
		b->end[i].readable = true; /* its event may not be delivered yet */
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

int bicopy_start(struct bicopy *b, struct loop *loop, struct bicopy_shared *shared, int fd0,
		 int fd1, void (*on_end)(struct bicopy *b))
{
	const int fds[2] = { fd0, fd1 };
	int r = 0;

	*b = (struct bicopy){ .loop = loop, .shared = shared, .on_end = on_end };
	for (int i = 0; i < 2; i++) {
		/* Assume that the socket is writable: the first EAGAIN corrects that, and edges
		 * report later changes. */
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
			sockopt_reset(&b->end[i].watch.fd);
		}
	}
	return r;
}
