/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_CLOSER_H
#define OS_CLOSER_H

#include <stddef.h>

/* Closes descriptors that a process inside the namespace has sent and that are not what was asked
 * for.
 *
 * The sender can make close(2) of such a descriptor block for as long as it likes, and even SIGKILL
 * does not end that. It can do so with a file of a FUSE server that does not answer the flush
 * request, or with a TCP socket that lingers. So a separate process, a closer, closes the
 * descriptor. It shares the file descriptor table (CLONE_FILES, clone(2)), and close(2) removes the
 * number from the table before it does anything that can block. A closer is not a thread, and
 * shares no memory with us except one counter. So the launcher can exit while a closer blocks.
 *
 * Any thread may call these functions, and none blocks.
 */

/* NO_CLOSERS: only for tests. The calling thread closes the descriptors itself, which may block.
 * ThreadSanitizer needs it, because it does not see the close(2) in another process, and reports
 * the next use of the descriptor number as a race. valgrind needs it, because it exits at a
 * clone(2) with CLONE_FILES that makes no thread; `make valgrind` defines it. */
#if defined(__SANITIZE_THREAD__) && !defined(NO_CLOSERS)
#define NO_CLOSERS
#endif

/* While closer_pending() is this high, the launcher asks for no more descriptors from inside. */
#define CLOSER_MAX 64

/* Closes `fd`, which is taken. If no process can be started now, for example because of a limit,
 * `fd` stays open and counts as pending, and the next call of a function here tries again. (Only
 * CLOSER_MAX descriptors are tried again; others stay open until we exit.) If there is no memory
 * for the counter of pending closers, `fd` stays open and is not counted. */
void closer_close(int fd);

/* The same for `count` descriptors, by one closer, in order: as long as close(2) of one blocks, the
 * ones after it stay open. */
void closer_close_all(const int *fds, size_t count);

/* Runs work(fd) in a closer; `work` must close `fd`, which is taken. It may only make system calls:
 * another thread may have held a lock of the C library at the fork. Fails as closer_close does. */
typedef void closer_work(int fd);
void closer_run(closer_work *work, int fd);

/* Returns the number of closers that run or could not be started. */
unsigned int closer_pending(void);

#endif
