/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_FD_H
#define BASE_FD_H

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/err.h"

/* File descriptors. -1 means none. A function blocks only if its descriptor is in blocking mode,
 * except for fd_wait() and fd_recv_until(). Any thread. */

/* Closes *fd if it is open and sets it to -1. Preserves errno. */
void fd_close(int *fd);

/* Closes `count` open descriptors. Each run of consecutive numbers takes one close_range(2), where
 * the kernel has that. */
void fd_close_all(const int *fds, size_t count);

/* Gives up ownership: returns *fd and sets it to -1. */
int fd_take(int *fd);

/* Closes a local variable's descriptor at the end of its scope: `FD_AUTO int fd = -1;`. */
#define FD_AUTO __attribute__((cleanup(fd_close)))

/* Accepts a client from the non-blocking `listener`, also under a seccomp profile that forbids
 * accept4(2). `sa` and `len` are those of accept(2). Returns one of these:
 *   - a descriptor, non-blocking and close-on-exec, which the caller owns;
 *   - -EAGAIN if no client is waiting;
 *   - -ECONNABORTED if this client is gone or unreachable: the caller may accept the next one;
 *   - another -errno if the system has run out of a resource. */
int fd_accept(int listener, struct sockaddr *sa, socklen_t *len);

/* The next functions return 0 or -errno. */

/* Makes the open file non-blocking, also for other descriptors of it. */
int fd_set_nonblock(int fd);
/* Sets or clears close-on-exec. */
int fd_set_cloexec(int fd, bool on);
/* Marks every descriptor number >= `low` close-on-exec. */
int fd_cloexec_from(int low);
/* Opens /dev/null for each of the descriptors 0 to 2 that is closed. Otherwise a file that we open
 * later would get such a number, and programs that we start would use it as a standard stream. */
int fd_open_std(void);
/* Writes all of buf; continues after EINTR and short writes. The descriptor must be in blocking
 * mode. */
int fd_write_all(int fd, const void *buf, size_t len);

/* The next entry of a directory, without "." and "..". Returns NULL at the end (errno is 0) and on
 * an error (errno is set). `dir` owns the entry. */
struct dirent *fd_next_entry(DIR *dir);

/* Reads until end of file or until cap - 1 bytes, and NUL-terminates. Returns the length in bytes,
 * or -errno. */
ssize_t fd_read_text(int fd, char *buf, size_t cap);

/* Reads the first cap - 1 bytes of a file, and NUL-terminates. Returns the length in bytes, or
 * -errno. */
ssize_t fd_read_file(const char *path, char *buf, size_t cap);

/* Reads a whole file of at most `max` bytes. Returns its NUL-terminated text, which the caller
 * frees, and sets *len to its length. Returns NULL with errno if the file cannot be read or is
 * larger (EFBIG). Not for files in /proc, whose size stat(2) reports as 0. */
char *fd_load_file(const char *path, size_t max, size_t *len);

/* Writes the string `text` to an existing file, such as one in /proc, in one write(2). Returns 0,
 * or -errno with the reason. */
int fd_write_file(const char *path, const char *text, struct err *e);

/* The lowest descriptor above standard input, output and error. */
#define FD_FIRST (STDERR_FILENO + 1)

/* Waits until `fd` is ready for `events` or has an error, at most `timeout_ms` (-1: no limit).
 * Returns the events of poll(2) (> 0), 0 on timeout, or -errno. */
int fd_wait(int fd, short events, int timeout_ms);

/* Receives from a socket what has arrived, at most `cap` bytes; waits for the first of them until
 * `until_ms` (clock.h). Returns the number of bytes, 0 at the end of the stream, -ETIMEDOUT once
 * the deadline has passed, or another -errno. */
ssize_t fd_recv_until(int fd, void *buf, size_t cap, unsigned long long until_ms);

#endif
