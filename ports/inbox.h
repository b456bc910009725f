/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_INBOX_H
#define PORTS_INBOX_H

#include <netinet/in.h>
#include <stddef.h>

#include "base/loop.h"

/* Messages to a worker's thread: calls from the main thread, and clients that other workers hand
 * over. The queue is a pipe: each message arrives whole and in order, and wakes the worker's loop.
 */

struct inbox_message {
	void *call; /* a call from the main thread (struct worker_call). NULL: the message is about
		       a client, and the other members are set */
	int client; /* the client's descriptor, which the receiver owns */
	int port_id;
	socklen_t from_len;	  /* bytes of the client's address that are valid in `from` */
	struct sockaddr_in6 from; /* the client's address; may also be a struct sockaddr_in */
};

struct inbox {
	struct watch watch; /* on the reading end, which it owns */
	int in;		    /* the writing end, owned and non-blocking */
	void (*on_message)(struct inbox *inbox, const struct inbox_message *m);
};

/* Opens an inbox whose messages are delivered by `on_message` in the thread of `loop`. Returns 0 or
 * -errno; inbox_close must be called in either case. */
int inbox_open(struct inbox *inbox, struct loop *loop,
	       void (*on_message)(struct inbox *inbox, const struct inbox_message *m));
/* Closes both ends. Call inbox_drain before: otherwise descriptors of clients in unread messages
 * would stay open. The loop must not run any more. */
void inbox_close(struct inbox *inbox);

/* Writes a message, which is copied. Any thread. Blocks until there is room, or until `until_ms`
 * (clock_now_ms). Returns 0, or -errno: -EAGAIN if there was no room. */
int inbox_send(struct inbox *inbox, const struct inbox_message *m, unsigned long long until_ms);
/* The same, but does not block: -EAGAIN if the reader is far behind. */
int inbox_try_send(struct inbox *inbox, const struct inbox_message *m);

/* Delivers the remaining messages, when the loop does not run any more. */
void inbox_drain(struct inbox *inbox);

#endif
