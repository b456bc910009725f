/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_HOSTSOCK_H
#define USERNET_HOSTSOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

/* The TCP socket on the host's side of a flow. Its buffers are the only ones that a flow has: what
 * the host sent is peeked at (MSG_PEEK) and stays in the socket until the inside has acknowledged
 * it, so nothing else must be kept for retransmission. What the inside sends is acknowledged when
 * the socket has taken it.
 *
 * Everything is non-blocking. One thread uses a socket.
 */

struct hostsock {
	int fd;		   /* owned; -1: none */
	bool has_peek_off; /* the kernel remembers how far was peeked (SO_PEEK_OFF; TCP: Linux 6.9)
			    */
	size_t peeked;	   /* with has_peek_off: bytes that the next peek skips */
};

/* Begins to connect to `to`. Returns 0 if the connect is done or under way (POLLOUT follows), or
 * -errno of socket(2) or connect(2), with `fd` -1. */
int hostsock_connect(struct hostsock *h, const struct sockaddr_storage *to, socklen_t len);
/* After POLLOUT: returns 0 if the socket is connected, or -errno (SO_ERROR); -ECONNREFUSED if it is
 * connected to itself, which only happens where nobody listens. */
int hostsock_connected(const struct hostsock *h);

/* Sends. Returns the number of bytes that the socket has taken, at least 1; -EAGAIN if its buffer
 * is full; another -errno if the connection is broken. */
ssize_t hostsock_send(struct hostsock *h, const void *bytes, size_t len);
/* Returns how many more bytes the socket would take now: the room in its send buffer. */
size_t hostsock_room(const struct hostsock *h);
/* Returns true if the socket is writable now, which means that a third of its buffer is free.
 * Otherwise POLLOUT follows when it is. */
bool hostsock_ask_room(const struct hostsock *h);
/* Tells the peer that nothing more will be sent (shutdown(2), SHUT_WR). */
void hostsock_end(const struct hostsock *h);

/* Reads up to `len` bytes, after the first `skip` bytes, and leaves them in the socket. Returns how
 * many; 0 at the end of the stream; -EAGAIN if nothing is there yet, or another -errno. Without
 * SO_PEEK_OFF it is also -EAGAIN while `skip` is not 0 and there is urgent data: the kernel does
 * not read over it until all before it is dropped. */
ssize_t hostsock_peek(struct hostsock *h, size_t skip, void *buf, size_t len);
/* Removes the first `len` bytes, which have been peeked at. */
void hostsock_drop(struct hostsock *h, size_t len);

/* Closes a socket whose end was sent (hostsock_end), so that the kernel delivers what was sent.
 * What was not read is lost. Does nothing if it is closed. */
void hostsock_leave(struct hostsock *h);
/* Closes the socket; with `reset`, the peer gets a reset. Does nothing if it is closed. */
void hostsock_close(struct hostsock *h, bool reset);

#endif
