/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_BULKPIPE_H
#define OS_BULKPIPE_H

#include <stdbool.h>
#include <stddef.h>

/* A large pipe for splice(2). It belongs to one thread. One transfer at a time has bytes in it, and
 * between transfers it is empty.
 *
 * A thread needs only one, and there cannot be many: all pipes of an unprivileged user together may
 * have 64 MiB (pipe-user-pages-soft, pipe(7)), and every pipe beyond that is tiny. The pipe is
 * large because splice is cheap only if each call moves many bytes.
 */
struct bulkpipe {
	int in, out; /* `in` is written to, `out` is read from; owned, non-blocking; -1: no pipe */
	size_t cap;  /* bytes */
	unsigned long long retry_ms; /* no new attempt before this clock_now_ms(); 0: any time */
};

#define BULKPIPE_INIT               \
	{                           \
		.in = -1, .out = -1 \
	}
#define BULKPIPE_LEAST (256 * 1024) /* bytes; with a smaller pipe, copying is as cheap */

/* Creates the pipe if there is none. Returns false if that fails; a new attempt is made after a
 * second. Does not block. */
bool bulkpipe_open(struct bulkpipe *p);

/* Closes the pipe and drops the bytes in it. bulkpipe_open() creates another. */
void bulkpipe_close(struct bulkpipe *p);

#endif
