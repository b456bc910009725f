/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_INBOX_H
#define PORTS_INBOX_H

#include <netinet/in.h>
#include <stddef.h>

#include "base/loop.h"

/* What a worker is told by other threads: calls of the main thread, and clients that other workers
 * hand over. A pipe: messages come whole and in the order in which they were written, and writing
 * one wakes the worker's loop.
 */

struct inbox_message {
	void *call; /* of the main thread; NULL: a client */
	int client; /* a descriptor, which is the reader's now */
	int port_id;
	socklen_t from_len;	  /* of the client's address, */
	struct sockaddr_in6 from; /* which may be of another family */
};

struct inbox {
	struct watch watch; /* on the reading end, which it owns */
	int in;		    /* to write to, non-blocking */
	void (*on_message)(struct inbox *inbox, const struct inbox_message *m);
};

/* Opens an inbox, whose messages are delivered in the thread of the loop. Returns 0 or -errno;
 * inbox_close is due in either case. */
int inbox_open(struct inbox *inbox, struct loop *loop,
	       void (*on_message)(struct inbox *inbox, const struct inbox_message *m));
void inbox_close(struct inbox *inbox);

/* Writes a message; any thread. Waits for room until `until_ms` (clock_now_ms). Returns 0 or
 * -errno; -EAGAIN: there was no room. */
int inbox_send(struct inbox *inbox, const struct inbox_message *m, unsigned long long until_ms);
/* Likewise, but does not wait: the reader is far behind. */
int inbox_try_send(struct inbox *inbox, const struct inbox_message *m);

/* Delivers what has come, when the loop does not run any more. */
void inbox_drain(struct inbox *inbox);

#endif
