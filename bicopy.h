/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BICOPY_H
#define BICOPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"

/* Copies between two connected stream sockets, in both directions, until both directions are shut.
 *
 * An end of file is passed on as a half-close (shutdown(2) for writing), and the other direction
 * goes on. A reset or any other error is passed on as a reset. Unless there is a reset, no byte is
 * lost, reordered or duplicated. Back-pressure: as long as one side has not taken the bytes that a
 * pump has read, the pump reads no more, so a slow reader stops its writer.
 *
 * All functions belong to the thread of the loop, and none blocks.
 */

/* What all pairs of a loop share: a buffer for one read, and a pipe for pairs with much to copy.
 * Both are empty between two callbacks. */
struct bicopy_shared;

/* `cap`: bytes of one read. `with_pipe`: use splice(2) through a pipe, whose two descriptors are
 * opened at the first use. splice(2) to a closed socket raises SIGPIPE, so a process that passes
 * `with_pipe` must ignore that signal. Returns memory that the caller frees with
 * bicopy_shared_free, or NULL if out of memory. */
struct bicopy_shared *bicopy_shared_new(size_t cap, bool with_pipe);
/* Frees the buffer and closes the pipe. No pair may be left. NULL is fine. */
void bicopy_shared_free(struct bicopy_shared *shared);

enum pump_state {
	PUMP_OPEN,  /* bytes flow */
	PUMP_DRAIN, /* end of file was read; leftover bytes must still be written */
	PUMP_SHUT,  /* the half-close was passed on to the other side */
};

/* One direction. */
struct pump {
	enum pump_state state;
	bool bulk;	  /* there is much to copy: use the pipe */
	uint32_t left_at; /* offset of the first unwritten byte in `leftover` */
	uint32_t left;	  /* unwritten bytes */
	char *leftover;	  /* owned: bytes that the other side did not take; NULL if none */
};

/* One socket, and what is known about its readiness. */
struct bicopy_end {
	struct watch watch;
	bool readable;	 /* a read may return bytes or the end of file */
	bool writable;	 /* a write may accept bytes */
	bool peer_ended; /* POLLRDHUP, POLLHUP or POLLERR was reported: read on to the end */
	bool urgent;	 /* POLLPRI was reported: a read may stop short at the urgent mark */
	bool failed;	 /* POLLERR was reported */
};

struct bicopy {
	struct loop *loop;
	struct bicopy_shared *shared;
	struct bicopy_end end[2];
	struct pump pump[2]; /* pump[i] reads end[i] and writes the other */
	struct task task;    /* the next turn of a busy pair, or the call of on_end */
	bool nonblocking;    /* set_nonblocking was called for both sockets */
	bool draining;	     /* bicopy_drain was called: end as soon as no byte is pending */
	bool ended;
	void (*on_end)(struct bicopy *b);
};

/* Starts to copy between two sockets. Both are taken, also on failure. They may be blocking:
 * splice(2) needs O_NONBLOCK, which is set before the first splice. `b` is the caller's memory and
 * must stay valid until `on_end`, which the loop calls once, in a task, after both sockets are
 * closed; on_end may free `b`. `loop` and `shared` are borrowed. Returns 0, or -errno; on_end is
 * not called then. */
int bicopy_start(struct bicopy *b, struct loop *loop, struct bicopy_shared *shared, int fd0,
		 int fd1, void (*on_end)(struct bicopy *b));

/* Ends a pair now and closes both sockets. A side that has not got its end of file yet is reset, so
 * that its program does not take an incomplete stream for a complete one. on_end follows. Does
 * nothing to a pair that has ended. */
void bicopy_cancel(struct bicopy *b);

/* Has fd1 delivered bytes within the last 300 ms, and no end of file yet? Then more may follow: the
 * last bytes of a program that has exited stay in its socket's send buffer until TCP's timers
 * (pacing, retransmission) let them out (tcp(7), TCP_INFO). */
bool bicopy_is_flowing(const struct bicopy *b);

/* Ends a pair as bicopy_cancel does, but only when no byte is pending: unread, unwritten, or not
 * yet acknowledged by its receiver. With a slow receiver, or a sender that goes on, this can take
 * for ever. on_end follows. The kernel reports no event when its send buffer has drained, so the
 * caller must call this again from time to time. */
void bicopy_drain(struct bicopy *b);

#endif
