/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BICOPY_H
#define BICOPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"

/* Copying between two connected stream sockets, both ways, until both are shut.
 *
 * End of file passes on as a shutdown of writing, the other direction flowing on; a reset or any
 * other error passes on as a reset. No byte is lost, reordered or doubled short of a reset, and
 * nothing is read that cannot be passed on: a slow reader stops its writer.
 */

/* What all pairs of a loop share: room for one read, and a pipe for those that have much to copy.
 * Nothing stays in either between two callbacks. */
struct bicopy_shared;

/* `cap`: bytes of one read; `with_pipe`: two descriptors, from when it is first needed. Returns
 * NULL if out of memory. With a pipe, the process has to ignore SIGPIPE. */
struct bicopy_shared *bicopy_shared_new(size_t cap, bool with_pipe);
/* When no pair is left. NULL is fine. */
void bicopy_shared_free(struct bicopy_shared *shared);

enum pump_state {
	PUMP_OPEN,  /* bytes flow */
	PUMP_DRAIN, /* end of file was read, bytes are still to be passed on */
	PUMP_SHUT,  /* that, and writing is shut on the other side */
};

/* One direction. */
struct pump {
	enum pump_state state;
	bool bulk;	  /* there was more than one read could take: worth the pipe */
	uint32_t left_at; /* of what could not be written: offset, */
	uint32_t left;	  /* bytes, */
	char *leftover;	  /* and the bytes; NULL if none */
};

/* One socket, and what is known about it. */
struct bicopy_end {
	struct watch watch;
	bool readable;	 /* a read may give something */
	bool writable;	 /* a write may take something */
	bool peer_ended; /* POLLRDHUP or POLLHUP was heard: read on to the end of file */
	bool urgent;	 /* POLLPRI was heard: a read may stop short at the mark */
	bool failed;	 /* POLLERR was heard */
};

struct bicopy {
	struct loop *loop;
	struct bicopy_shared *shared;
	struct bicopy_end end[2];
	struct pump pump[2]; /* pump[i] reads end[i] and writes the other */
	struct task task;    /* the next turn of a busy pair, or the report of its end */
	bool nonblocking;    /* both sockets are, for certain */
	bool draining;	     /* ends as soon as nothing is on the way */
	bool ended;
	void (*on_end)(struct bicopy *b);
};

/* Starts copying between two sockets, both taken, also on failure. `b` is the caller's memory and
 * must stay until `on_end` is called, once, in a task of the loop; it may free it. Both sockets are
 * closed by then. Does not block: the sockets are made non-blocking before they are spliced.
 * Returns 0 or -errno; then on_end is not called. */
int bicopy_start(struct bicopy *b, struct loop *loop, struct bicopy_shared *shared, int fd0,
		 int fd1, void (*on_end)(struct bicopy *b));

/* Ends a pair now: both sockets are closed. A side that waits for an end of file is reset instead,
 * so that nobody takes what is there for the whole. on_end follows. */
void bicopy_cancel(struct bicopy *b);

/* Has something come from fd1 a moment ago, and no end of file, so that more may follow? What a
 * program that has ended sent last stands in its own socket, and comes when TCP's timers let it:
 * pacing, or those of a lost segment (tcp(7), TCP_INFO). */
bool bicopy_is_flowing(const struct bicopy *b);

/* Ends a pair as bicopy_cancel does, but as soon as all that has been sent by now has been taken.
 * on_end follows; how long that takes is up to the readers. Nobody tells when the kernel has sent
 * the rest, so it has to be called again now and then. */
void bicopy_drain(struct bicopy *b);

#endif
