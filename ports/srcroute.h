/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_SRCROUTE_H
#define PORTS_SRCROUTE_H

#include <stdbool.h>
#include <sys/socket.h>

#include "base/err.h"
#include "os/netfilter.h"
#include "ports/deadpaths.h"

/* The routes and rules in the child's network namespace that bring answers back to transparent
 * sockets (transparent.h). The functions act on the network namespace of the calling thread, in the
 * child, which has CAP_NET_ADMIN there. They block only for netlink's answers. Only one thread may
 * use a struct srcroute. */

/* Private. */
struct srcroute {
	int rtnl_fd; /* owned, for as long as the struct is used */
	bool v6;     /* the routes for IPv6 exist, too */
	struct tracking {
		bool active;		      /* the kernel tracks connections of this family */
		unsigned long long looked_ms; /* time of the last check */
	} v4_tracking, v6_tracking;
	struct netfilter netfilter;
	/* Paths on which a connection got no answer; the caller records them. */
	struct deadpaths dead;
};

/* Initializes `t` and makes the routes. The loopback link must be up. Returns 0, or -errno with a
 * reason: then transparent sockets are not possible here. */
int srcroute_start(struct srcroute *t, struct err *e);

/* Returns a non-blocking TCP socket that is bound to `from`, for connecting to `to`. The caller
 * owns it. Or returns -errno with the reason why a connection cannot come from `from`. If
 * connecting takes longer than TRANSPARENT_DEADLINE_MS, the caller should connect from another
 * address. */
int srcroute_socket(struct srcroute *t, const struct sockaddr_storage *from,
		    const struct sockaddr_storage *to, struct err *e);

#endif
