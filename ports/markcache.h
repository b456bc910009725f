/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_MARKCACHE_H
#define PORTS_MARKCACHE_H

#include <sys/socket.h>

#include "ports/deadpaths.h"

/* A cache of fwmarks. The child decides which mark a socket that is bound to a client's address
 * needs for a target (transparent.h). When the child returns a connected socket, the socket's mark
 * shows the decision. This cache keeps it for a second.
 *
 * Zero it before the first use. Only one thread may use it. Nothing blocks.
 */

#define MARKCACHE_SIZE 32 /* a power of 2 */

struct markcache {
	struct markcache_entry {
		struct sockaddr_storage to;
		int mark;		     /* 0: unused entry */
		unsigned long long until_ms; /* clock_now_ms()'s clock */
	} entries[MARKCACHE_SIZE];
	/* Paths on which connections from the client's address got no answer. */
	struct deadpaths dead;
};

/* Returns the mark for a target, or 0 if the caller must ask the child: the mark is unknown or has
 * expired. When a mark has just expired, only one caller gets 0; for the next 100 ms, in which the
 * child should answer, the others still get the old mark. */
int markcache_find(struct markcache *m, const struct sockaddr_storage *to);
/* Stores a mark. May replace the mark of another target. */
void markcache_note(struct markcache *m, const struct sockaddr_storage *to, int mark);
/* Removes the mark of a target, if it is stored. */
void markcache_forget(struct markcache *m, const struct sockaddr_storage *to);

#endif
