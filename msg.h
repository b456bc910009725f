/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSG_H
#define MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

/* Messages between parent and child: frames, on pipes and on .bp.sock, and descriptors, on .bp.sock
 * only.
 *
 * A frame is a 32-bit little-endian length, 1 to MSG_MAX, followed by that many bytes of JSON.
 * Descriptors arrive as SCM_RIGHTS (unix(7)), attached to a message whose bytes usually have no
 * meaning. All functions retry on EINTR, and none raises SIGPIPE on a socket. Descriptors that are
 * passed in are borrowed. A connection to a peer that is not trusted must have sockopt_oob_inline.
 * Any thread may call these functions, but only one at a time for the same connection or reader.
 */

#define MSG_MAX	 65536
#define MSG_HEAD 4 /* bytes of the length field */

/* Writes a frame to a blocking pipe or socket, and blocks until it is written. `len`: bytes of
 * `body`. Returns 0 or -errno (-EMSGSIZE for a bad length). */
int msg_send(int fd, const void *body, size_t len);

/* Writes a frame to a socket without blocking. The socket should be fresh, so that it has room.
 * Returns 0, or -errno: -EMSGSIZE for a bad length, -EAGAIN if there was not enough room for the
 * whole frame; the connection is then unusable. */
int msg_send_now(int sock, const void *body, size_t len);

/* A frame that is being received, in any number of pieces. Zero it before the first use. */
struct msg_reader {
	unsigned char head[MSG_HEAD];
	size_t head_len;
	char *body; /* owned; allocated when the length is known, NUL-terminated when complete */
	size_t len;
	size_t body_len; /* bytes received so far */
};

/* Reads from `fd` until the frame is complete; blocks only if `fd` is blocking. Returns 1 when the
 * frame is complete, 0 if a non-blocking descriptor has no more bytes for now, else -errno: -EPROTO
 * for a length out of range, -ENOMEM, -ENODATA for an end of file before the first byte, -EPIPE for
 * an end of file within the frame. */
int msg_read(struct msg_reader *r, int fd);

/* The same for `len` bytes that were received already. Returns 1, 0 or -errno as msg_read; bytes
 * after the frame are ignored. */
int msg_feed(struct msg_reader *r, const char *bytes, size_t len);

/* Frees the body and makes the reader ready for the next frame. */
void msg_reader_reset(struct msg_reader *r);

/* Sends one descriptor, with one byte of value 0. Blocks only if `sock` is blocking. Returns 0 or
 * -errno. */
int msg_send_fd(int sock, int fd);

/* The kernel passes at most this many descriptors in one message (SCM_MAX_FD). */
#define MSG_FDS_MAX 253

/* Sends 1 to MSG_FDS_MAX descriptors with one byte, whose meaning the protocol defines (bpmsg.h).
 * Blocks only if `sock` is blocking. Returns 0 or -errno. */
int msg_send_fds(int sock, const int *fds, size_t count, char byte);

/* Receives at most `cap` bytes and at most one descriptor, which the caller owns. The descriptor is
 * close-on-exec, and its SO_LINGER is cleared, so that close(2) does not block. Does not block.
 *
 * Returns the number of bytes (0: end of file) and sets *fd, to -1 if no descriptor came. On
 * failure sets *fd to -1 and returns -errno: -EAGAIN if nothing has arrived, -EPROTO if more than
 * one descriptor came, -EMFILE if the process' descriptor limit made the kernel drop some
 * (MSG_CTRUNC). For -EPROTO and -EMFILE all descriptors that came are closed in the background
 * (closer.h). */
ssize_t msg_recv_fd(int sock, void *buf, size_t cap, int *fd);

/* The same for at most `max` descriptors, fds[max]. Sets *count to how many came, 0 on failure.
 * Their SO_LINGER is left unchanged. */
ssize_t msg_recv_fds(int sock, void *buf, size_t cap, int *fds, size_t max, size_t *count);

/* Receives bytes from a peer that must not send descriptors. recv(2) would not do: the kernel would
 * close unexpected descriptors in this thread, and closing a socket that lingers can block. Does
 * not block. Returns the number of bytes (0: end of file) or -errno: -EAGAIN if nothing has
 * arrived, -EPROTO if descriptors have come. The descriptors stay in the socket, and the caller
 * must close the socket with msg_close. */
ssize_t msg_recv(int sock, void *buf, size_t cap);

/* Closes a connection without blocking. If bytes wait in it that were not received, descriptors may
 * wait with them; then a closer (closer.h) closes the connection and these descriptors. Sets *sock
 * to -1; does nothing if it is -1 already. */
void msg_close(int *sock);

#endif
