/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSG_H
#define MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

/* What travels between parent and child: frames, on pipes and on .bp.sock, and descriptors, on
 * .bp.sock only.
 *
 * A frame is a 32-bit little-endian length, 1 to MSG_MAX, and that many bytes of JSON. A descriptor
 * comes as SCM_RIGHTS (unix(7)) with a message whose bytes do not matter. All functions retry on
 * EINTR, and none raises SIGPIPE on a socket.
 */

#define MSG_MAX	 65536
#define MSG_HEAD 4 /* bytes of length in front of a frame */

/* Writes a frame to a blocking pipe or socket. Returns 0 or -errno (-EMSGSIZE for a bad length). */
int msg_send(int fd, const void *body, size_t len);

/* Writes a frame to a non-blocking socket that has room for it: one that is fresh. Returns 0, or
 * -errno; a frame that went out in part is -EAGAIN too, and the connection is of no more use. */
int msg_send_now(int sock, const void *body, size_t len);

/* A frame on its way in, in as many pieces as it likes. Zero it before the first use. */
struct msg_reader {
	unsigned char head[MSG_HEAD];
	size_t head_len;
	char *body; /* owned, allocated when the length is known; NUL-terminated when complete */
	size_t len;
	size_t body_len; /* bytes that are there */
};

/* Reads what is there. Returns 1 when the frame is complete, 0 when a non-blocking descriptor has
 * no more for now, -errno else: -EPROTO for a length out of range, -ENODATA for an end of file
 * before the first byte, -EPIPE for one within the frame. */
int msg_read(struct msg_reader *r, int fd);

/* The same for bytes that were received already. Returns 1 or 0 or -errno as above; bytes behind
 * the frame are ignored. */
int msg_feed(struct msg_reader *r, const char *bytes, size_t len);

/* Frees what the reader holds and makes it ready for the next frame. */
void msg_reader_reset(struct msg_reader *r);

/* Sends one descriptor (borrowed) with one byte. Returns 0 or -errno. */
int msg_send_fd(int sock, int fd);

/* The most descriptors that the kernel passes in one message (SCM_MAX_FD). */
#define MSG_FDS_MAX 253

/* Sends 1 to MSG_FDS_MAX descriptors (borrowed) with a byte that may mean something. Returns 0 or
 * -errno. */
int msg_send_fds(int sock, const int *fds, size_t count, char byte);

/* Receives bytes and at most one descriptor, which the caller then owns; it is close-on-exec, and
 * closing it does not wait (SO_LINGER is off).
 * Does not block. Returns the number of bytes (0: end of file) and sets *fd, -1 if none came;
 * -errno on failure: -EPROTO if there was more than one, -EMFILE if descriptors had to be dropped
 * for want of room (MSG_CTRUNC). All that came are discarded then (closer.h). */
ssize_t msg_recv_fd(int sock, void *buf, size_t cap, int *fd);

/* The same for at most `max` descriptors, fds[max]; *count is how many came. Their SO_LINGER is as
 * it was. */
ssize_t msg_recv_fds(int sock, void *buf, size_t cap, int *fds, size_t max, size_t *count);

/* Receives bytes from a peer that must not send descriptors. (With recv(2) the kernel would close
 * them in this thread, and a socket that lingers can block that.) Returns as msg_recv_fds with a
 * `max` of 0. */
ssize_t msg_recv(int sock, void *buf, size_t cap);

/* Closes a connection; descriptors that have come on it and were not received are discarded.
 * *sock is -1 then, and may have been before. */
void msg_close(int *sock);

#endif
