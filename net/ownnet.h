/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_OWNNET_H
#define NET_OWNNET_H

#include "base/err.h"
#include "net/netopts.h"
#include "net/network.h"
#include "ports/fdquota.h"
#include "usernet/usernet.h"

/* Our own network (usernet.h), as the parent's main thread starts and ends it. */

struct ownnet {
	struct usernet *net; /* NULL: not started */
	int netns_fd; /* with `net`: the network namespace inside, which must outlive the child */
};

/* Receives the queues of the TAP, which the child has sent to `sock` (borrowed), and starts the
 * network on them. `fds` (borrowed until ownnet_end) counts the descriptors of its connections.
 * Does not block: the child sends before its message. Returns 0 or -errno with a reason. */
int ownnet_start(struct ownnet *own, const struct netopts *o, const struct network *net, int sock,
		 struct fdtotal *fds, struct err *e);

/* After the end of the child: delivers what was sent inside, which may block for some seconds, and
 * ends the network. Does nothing if it was not started. */
void ownnet_end(struct ownnet *own);

#endif
