/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_BULKPIPE_H
#define OS_BULKPIPE_H

#include <stdbool.h>
#include <stddef.h>

/* A large pipe for splice(2). It belongs to one thread, and to whoever has bytes on the way right
 * now; in between it is empty.
 *
 * One is enough for all that a thread does, and there cannot be many: all pipes of an unprivileged
 * user together may hold 64 MiB (/proc/sys/fs/pipe-user-pages-soft, pipe(7)), and every pipe beyond
 * that is a tiny one. Large, since that is what makes splice cheap.
 */
struct bulkpipe {
	int in, out; /* to write to, to read from; both non-blocking; -1 if there is none */
	size_t cap;  /* bytes */
	unsigned long long retry_ms; /* none is made before, clock_now_ms()'s clock; 0: any time */
};

#define BULKPIPE_INIT               \
	{                           \
		.in = -1, .out = -1 \
	}
#define BULKPIPE_LEAST (256 * 1024) /* bytes of any; with less, copying is as cheap */

/* Makes the pipe unless there is one. Returns false if none can be had for now; it may be different
 * after a second. Does not block. */
bool bulkpipe_ready(struct bulkpipe *p);

/* Closes the pipe, with what is in it. Another is made when it is needed. */
void bulkpipe_close(struct bulkpipe *p);

#endif
