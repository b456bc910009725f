/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_ACCEPTOR_H
#define OS_ACCEPTOR_H

#include <stdbool.h>

#include "base/err.h"
#include "base/loop.h"

/* A listening UNIX socket in a loop, for clients of the same user. When the process runs out of
 * descriptors or memory it pauses for a moment, and clients wait in the kernel's queue. Belongs to
 * the thread of the loop; nothing blocks.
 */
struct acceptor {
	struct loop *loop;   /* borrowed */
	struct watch socket; /* owned; -1: it does not listen */
	struct timer resume;
	/* A client, whose descriptor now belongs to the callee, also if it fails. Returns 0, or
	 * -errno: then there is a pause. */
	int (*on_client)(struct acceptor *a, int fd);
	/* NULL, or: is there room for one more client, if need be after closing another? `errnum`
	 * is 0 before a client is accepted, and what accepting one has failed for after that. False
	 * means a pause. */
	bool (*make_room)(struct acceptor *a, int errnum);
};

/* Listens on `path`, where nothing may be yet (unixsock_listen), with both callbacks set and the
 * rest zero. Returns 0 or -errno with a reason. */
int acceptor_listen(struct acceptor *a, struct loop *loop, const char *path, struct err *e);

/* Stops listening, and closes the socket. */
void acceptor_close(struct acceptor *a);

#endif
