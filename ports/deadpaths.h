/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_DEADPATHS_H
#define PORTS_DEADPATHS_H

#include <stdbool.h>
#include <sys/socket.h>

/* Which transparent connections (transparent.h) got no answer lately: from clients of a network (a
 * /24 of IPv4, a /64 of IPv6) to a target. Such a connection costs a time-out, so it is not tried
 * again for a minute. Where many networks have a dead path to a target, all paths to it are dead.
 *
 * Zero it before the first use; one thread uses it.
 */
#define DEADPATHS_MAX 64

struct deadpaths {
	struct deadpath {
		struct sockaddr_storage from, to;
		unsigned long long until_ms;
	} paths[DEADPATHS_MAX];
	unsigned int next;
};

/* Remembers for a minute that the path is dead. The oldest entry makes room. */
void deadpaths_note(struct deadpaths *dead, const struct sockaddr_storage *from,
		    const struct sockaddr_storage *to);
void deadpaths_forget(struct deadpaths *dead, const struct sockaddr_storage *from,
		      const struct sockaddr_storage *to);
bool deadpaths_has(const struct deadpaths *dead, const struct sockaddr_storage *from,
		   const struct sockaddr_storage *to);

#endif
