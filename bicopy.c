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
 * When a read fills the buffer there may be much to come, and the pump turns to splice(2): bytes go
 * through a pipe and are not copied at all. When the flow has calmed down, or no pipe is to be had,
 * it reads and writes. All pumps of a loop use the same pipe, one after the other. For that it is
 * asked before how much the other side can take; should it take less, the rest is put aside too.
 *
 * Readiness is remembered per socket until a call says EAGAIN, which is what edge-triggered watches
 * need; with poll(2), `interest` asks for just what would let a pump move.
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

/* What one pump does in one turn: a busy pair leaves the others waiting for less than a
 * millisecond.
 */
#define TURN_BYTES (1024 * 1024)
#define TURN_READS 16
/* Bytes of a read as long as nobody knows of more: what a slow reader leaves over is no more than
 * that, and it stays in the cache. */
#define SMALL_READ (64 * 1024)
/* Bytes of a turn below which copying costs less than the system calls that splicing takes more. */
#define CALM	   (16 * 1024)
/* Without anything new for so long a connection counts as quiet: longer than the least timeout for
 * sending again, which is 200 ms. */
#define QUIET_MS   300

struct bicopy_shared {
	bool with_pipe;
	struct bulkpipe pipe;
	size_t cap; /* of the bytes, which are for one read */
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
			sockopt_reset(&b->end[i].watch.fd);
		sockopt_close(&b->end[i].watch.fd);
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

/* What a read has given: `n` as the system call returned it. Returns whether there are bytes; sets
 * the progress if there is a failure. */
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

/* Reads into the buffer and writes at once. Returns how many bytes were read. */
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
	/* A short read has emptied the socket (epoll(7), "Q&A"): what comes now is a new event. But
	 * an end of file that was announced already is not. */
	if (!p->bulk && !src->peer_ended && !src->urgent)
		src->readable = false;
	return (size_t)len;
}

/* How many bytes would a socket take now? At least as many as are worth a try: only EAGAIN brings
 * an event when there is room again, and lets the kernel enlarge a send buffer that is too small.
 */
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

/* Puts aside the `len` bytes that are left in the pipe. */
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

/* Has the kernel no splice(2), or does a seccomp profile forbid it? Both ends are TCP sockets. */
static bool is_missing(int errnum)
{
	return errnum == ENOSYS || errnum == EPERM || errnum == EINVAL;
}

/* Sends on the `len` bytes that are in the pipe. A splice that comes short has not always filled
 * the socket, and then no event would come: only EAGAIN tells. Returns 0, or a negative number;
 * then the pipe is not empty. */
static int write_piped(struct bulkpipe *pipe, struct pump *p, struct bicopy_end *dst, size_t len)
{
	while (len > 0) {
		ssize_t n = splice(pipe->out, NULL, dst->watch.fd, NULL, len,
				   SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

		if (n > 0) {
			len -= (size_t)n;
		} else if (n < 0 && (errno == EAGAIN || is_missing(errno))) {
			dst->writable = errno != EAGAIN;
			return keep_piped(pipe, p, len);
		} else if (n == 0 || errno != EINTR) {
			return -1;
		}
	}
	return 0;
}

/* Moves bytes through the pipe. Returns how many were read. */
static size_t splice_once(struct bicopy *b, struct pump *p, struct bicopy_end *src,
			  struct bicopy_end *dst, enum progress *progress)
{
	struct bulkpipe *pipe = &b->shared->pipe;
	ssize_t n = splice(src->watch.fd, NULL, pipe->in, NULL, room_of(dst, pipe->cap),
			   SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

	/* At an urgent byte that nobody has told us of yet, with an end of file behind it, this is
	 * 0, too: recv(2) knows. */
	if (n == 0) {
		p->bulk = false;
		return 0;
	}
	if (n < 0 && is_missing(errno)) {
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

/* Splicing heeds O_NONBLOCK of a socket and nothing else, and one that somebody gave us may lack
 * it. */
static void set_nonblocking(struct bicopy *b)
{
	if (b->nonblocking)
		return;
	for (int i = 0; i < 2; i++)
		fd_set_nonblock(b->end[i].watch.fd);
	b->nonblocking = true;
}

/* Is a pump to splice, and is there a pipe for it? Splicing stops at an urgent byte. */
static bool can_splice(struct bicopy *b, const struct pump *p, const struct bicopy_end *src)
{
	if (!p->bulk || src->urgent || !b->shared->with_pipe || !bulkpipe_ready(&b->shared->pipe))
		return false;
	set_nonblocking(b);
	return true;
}

/* A socket that is not connected any more tells why by itself. Returns false if the other side
 * would wait for the end for ever. */
static bool pass_on_end(const struct bicopy_end *dst)
{
	return shutdown(dst->watch.fd, SHUT_WR) == 0 || errno == ENOTCONN;
}

/* Moves bytes until it has to wait, or its turn is over. */
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
			/* After the second one both are closed, which says the same. */
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
	/* The flow has calmed down if it was the input that ran out. */
	if (moved < CALM && dst->writable)
		p->bulk = false;
	return progress;
}

static enum progress run_pump(struct bicopy *b, int i)
{
	return b->pump[i].state == PUMP_SHUT ? WAITS : move_bytes(b, i);
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

int bicopy_start(struct bicopy *b, struct loop *loop, struct bicopy_shared *shared, int fd0,
		 int fd1, void (*on_end)(struct bicopy *b))
{
	const int fds[2] = { fd0, fd1 };
	int r = 0;

	*b = (struct bicopy){ .loop = loop, .shared = shared, .on_end = on_end };
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
			sockopt_reset(&b->end[i].watch.fd);
		}
	}
	return r;
}
