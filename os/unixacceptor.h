/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_UNIXACCEPTOR_H
#define OS_UNIXACCEPTOR_H

#include <stdbool.h>

#include "base/err.h"
#include "base/loop.h"
#include "os/acceptor.h"

/* A listening UNIX socket in a loop, for clients of the same user. When descriptors or memory run
 * out, accepting pauses (acceptor.h). Belongs to the loop's thread. Nothing blocks. */
struct unixacceptor {
	struct acceptor acceptor;
	struct watch socket; /* owned */
	bool by_packet;	     /* SOCK_SEQPACKET instead of SOCK_STREAM */
	/* Takes a client. The callee owns `fd`, even if it fails. Returns 0 or -errno. After an
	 * -errno, make_room decides whether accepting pauses. */
	int (*on_client)(struct unixacceptor *u, int fd);
	/* Is there room for one more client? May close another client to make room. False pauses
	 * accepting. `errnum`: 0 when called before a client is accepted; when called after a
	 * failure, the error. If the callback is NULL, accepting pauses after each failure. */
	bool (*make_room)(struct unixacceptor *u, int errnum);
};

/* Listens on `path`, which must not exist yet (unixsock_listen). The caller has set by_packet,
 * on_client and make_room, and zeroed the rest. `loop` is borrowed. Returns 0, or -errno with a
 * reason. */
int unixacceptor_listen(struct unixacceptor *u, struct loop *loop, const char *path, struct err *e);

/* Stops listening and closes the socket. Does not remove the file. Only after unixacceptor_listen
 * has returned 0. */
void unixacceptor_close(struct unixacceptor *u);

#endif
