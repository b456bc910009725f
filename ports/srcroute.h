/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_SRCROUTE_H
#define PORTS_SRCROUTE_H

#include <stdbool.h>
#include <sys/socket.h>

#include "base/err.h"
#include "os/netfilter.h"
#include "ports/deadpaths.h"

/* The routes and rules inside by which answers to transparent sockets (transparent.h) come back.
 * All of this concerns the network namespace of the thread that calls, in the child, which has
 * CAP_NET_ADMIN there; one thread uses a struct srcroute. Blocks only for netlink's answers.
 */

struct srcroute {
	int rtnl_fd;
	bool v6; /* it has IPv6 */
	struct tracking {
		bool active;
		unsigned long long looked_ms;
	} v4_tracking, v6_tracking;
	struct netfilter netfilter;
	struct deadpaths dead;
};

/* Makes the routes. The loopback link is up. Returns 0, or -errno with a reason: then there are no
 * transparent sockets here. */
int srcroute_start(struct srcroute *t, struct err *e);

/* Returns a non-blocking TCP socket that is bound to `from` and may be connected to `to`, or -errno
 * with a reason why this one cannot come from there. After TRANSPARENT_DEADLINE_MS without an
 * answer it is time to do without. */
int srcroute_socket(struct srcroute *t, const struct sockaddr_storage *from,
		    const struct sockaddr_storage *to, struct err *e);

#endif
