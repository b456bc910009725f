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

/* Descriptors. -1 means none. All functions may block only as far as the descriptor does. */

/* Closes *fd if it is open and sets it to -1. errno stays. */
void fd_close(int *fd);

/* Closes `count` open descriptors; runs of numbers by one call, where the kernel has that. */
void fd_close_all(const int *fds, size_t count);

/* Gives up ownership: returns *fd and sets it to -1. */
int fd_take(int *fd);

/* A local variable that closes itself: `FD_AUTO int fd = -1;`. */
#define FD_AUTO __attribute__((cleanup(fd_close)))

/* Accepts a client (accept4(2)), also where a seccomp profile forbids that call. Returns a
 * descriptor that is non-blocking and close-on-exec, -EAGAIN if no client waits, -ECONNABORTED if
 * one is gone or unreachable, so that the next may be accepted, or another -errno when the system
 * has run out of something. */
int fd_accept(int listener, struct sockaddr *sa, socklen_t *len);

/* These return 0 or -errno. */
int fd_set_nonblock(int fd);
int fd_set_cloexec(int fd, bool on);
/* Marks every descriptor from `low` on as close-on-exec. */
int fd_cloexec_from(int low);
/* Opens /dev/null for each of descriptors 0 to 2 that is closed, so that no file of ours becomes
 * somebody's standard output. */
int fd_open_std(void);
/* Writes all of buf, going on after EINTR and short writes. The descriptor is a blocking one. */
int fd_write_all(int fd, const void *buf, size_t len);

/* The next entry of a directory but for "." and "..". Returns NULL at the end, with errno 0, and
 * after an error. */
struct dirent *fd_next_entry(DIR *dir);

/* Reads until end of file or until cap - 1 bytes; NUL-terminates. Returns the length, or -errno. */
ssize_t fd_read_text(int fd, char *buf, size_t cap);

/* Reads a whole file likewise, at most cap - 1 bytes. Returns the length, or -errno. */
ssize_t fd_read_file(const char *path, char *buf, size_t cap);

/* Reads a whole file of at most `max` bytes. Returns its NUL-terminated text, to be freed, and its
 * length; NULL with errno if it cannot be read or is larger (EFBIG). */
char *fd_load_file(const char *path, size_t max, size_t *len);

/* Writes text to an existing file such as one in /proc, in one write(2). Returns 0 or -errno with
 * the reason. */
int fd_write_file(const char *path, const char *text, struct err *e);

/* The first descriptor that is neither standard input, output nor error. */
#define FD_FIRST (STDERR_FILENO + 1)

/* Waits until `fd` is ready for `events` or has an error, at most `timeout_ms` (-1: for ever).
 * Returns the events (> 0), 0 on time-out, or -errno. */
int fd_wait(int fd, short events, int timeout_ms);

#endif
