/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_ACCEPTOR_H
#define OS_ACCEPTOR_H

#include <stdbool.h>

#include "base/err.h"
#include "base/loop.h"

/* A listening UNIX socket in a loop, for clients of the same user. When descriptors or memory run
 * out, accepting pauses for a moment, and clients stay in the listen backlog. Belongs to the loop's
 * thread. Nothing blocks. */
struct acceptor {
	struct loop *loop;   /* borrowed */
	struct watch socket; /* owned; its fd is -1 if it does not listen */
	struct timer resume; /* runs while accepting pauses */
	/* Called for each client. The callee owns `fd`, even if it fails. Returns 0 or -errno.
	 * After an -errno, make_room decides whether accepting pauses. */
	int (*on_client)(struct acceptor *a, int fd);
	/* Is there room for one more client? May close another client to make room. False pauses
	 * accepting. `errnum` is 0 before a client is accepted, and the error after a failure. If
	 * the callback is NULL, accepting pauses after each failure. */
	bool (*make_room)(struct acceptor *a, int errnum);
};

/* Listens on `path`, which must not exist yet (unixsock_listen). The caller has set both callbacks
 * and zeroed the rest. Returns 0, or -errno with a reason. */
int acceptor_listen(struct acceptor *a, struct loop *loop, const char *path, struct err *e);

/* Stops listening and closes the socket. Does not remove the file. */
void acceptor_close(struct acceptor *a);

#endif
