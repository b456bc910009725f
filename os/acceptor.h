/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_ACCEPTOR_H
#define OS_ACCEPTOR_H

#include <stdbool.h>
#include <sys/socket.h>

#include "base/loop.h"

/* Accepts clients from listening sockets of a loop. When descriptors or memory run out, accepting
 * pauses on all sockets of the acceptor: they are not polled for a moment, and clients stay in
 * their listen backlogs. The owner has the sockets, and says whether there is room for a client.
 * The acceptor has the batches, the handling of accept4(2)'s errors, and the pause. Belongs to the
 * loop's thread. Nothing blocks. */

struct acceptor;

/* What the owner does for its acceptor. An -errno from reserve or on_client, except -EAGAIN, means
 * a shortage. */
struct acceptor_calls {
	/* Called before each accept: reserves what a client needs. Returns 0, -EAGAIN to accept no
	 * more from this socket now, or another -errno. */
	int (*reserve)(struct acceptor *a, struct watch *socket);
	/* Called if no client came: gives back what was reserved. NULL: nothing is reserved. */
	void (*release)(struct acceptor *a);
	/* Takes a client. The callee owns `fd`, even if it fails. Returns 0 or -errno. */
	int (*on_client)(struct acceptor *a, struct watch *socket, int fd,
			 const struct sockaddr_storage *from, socklen_t from_len);
	/* Called for a shortage. Returns whether it made room, so that accepting goes on instead of
	 * pausing. */
	bool (*on_shortage)(struct acceptor *a, int errnum);
	/* Stops polling the sockets. */
	void (*on_pause)(struct acceptor *a);
	/* Polls them again. Returns 0, or -errno to be called again later. */
	int (*on_resume)(struct acceptor *a);
};

/* The owner sets the first two members, and zeroes the rest. */
struct acceptor {
	struct loop *loop;		    /* borrowed */
	const struct acceptor_calls *calls; /* borrowed */
	bool paused;			    /* the owner may read it */
	struct timer resume;
};

/* Accepts the clients that wait on `socket`, at most a batch of them, so that other events of the
 * loop get their turn. Call it from the socket's on_event. A socket that is added during a pause is
 * still polled at first. Then this function accepts nothing from it, and stops polling it until the
 * pause ends.
 */
void acceptor_accept(struct acceptor *a, struct watch *socket);

/* Begins a pause, or restarts the current one. Does nothing if there is no memory for the timer
 * that ends the pause. */
void acceptor_pause(struct acceptor *a);
/* Ends a pause early. Does nothing if there is none. */
void acceptor_resume(struct acceptor *a);

/* Ends the timer: from now on the acceptor calls nothing on its own. */
void acceptor_stop(struct acceptor *a);

#endif
