/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_DEADPATHS_H
#define PORTS_DEADPATHS_H

#include <stdbool.h>
#include <sys/socket.h>

/* A list of dead paths, on which transparent connections (transparent.h) got no answer. A path is
 * the client's network (a /24 of IPv4, a /64 of IPv6) and the target. A connection on a dead path
 * costs a timeout, so none is tried for a minute. If 8 networks have a dead path to a target, all
 * paths to that target count as dead.
 *
 * Zero it before the first use. Only one thread may use it. Nothing blocks.
 */
#define DEADPATHS_MAX 64

struct deadpaths {
	struct deadpath {
		struct sockaddr_storage from, to;
		unsigned long long until_ms; /* clock_now_ms()'s clock */
	} paths[DEADPATHS_MAX];
	unsigned int next; /* the entry to overwrite next */
};

/* Remembers for a minute that the path is dead. If the list is full, forgets another path. */
void deadpaths_note(struct deadpaths *dead, const struct sockaddr_storage *from,
		    const struct sockaddr_storage *to);
/* Removes the path, because it works. */
void deadpaths_forget(struct deadpaths *dead, const struct sockaddr_storage *from,
		      const struct sockaddr_storage *to);
/* Is the path dead, or are all paths to that target? */
bool deadpaths_has(const struct deadpaths *dead, const struct sockaddr_storage *from,
		   const struct sockaddr_storage *to);

#endif
