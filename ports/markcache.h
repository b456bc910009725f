/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_MARKCACHE_H
#define PORTS_MARKCACHE_H

#include <sys/socket.h>

#include "ports/deadpaths.h"

/* Which mark a socket that speaks from a client's address needs for a target (transparent.h) is the
 * child's decision. The mark of a connected socket that it gave tells what it decided; this keeps
 * in mind for a moment what it was for the targets of late. One thread uses a struct markcache;
 * zero it before.
 */

#define MARKCACHE_SIZE 32 /* a power of 2 */

struct markcache {
	struct markcache_entry {
		struct sockaddr_storage to;
		int mark;
		unsigned long long until_ms;
	} of[MARKCACHE_SIZE];
	/* Clients' networks for which the child has found that no mark helps. */
	struct deadpaths dead;
};

/* Returns the mark, or 0 if the child is to be asked: it is not known, or it is too long ago. In
 * that case one asks, and the others go on with what is known until there is an answer. */
int markcache_find(struct markcache *m, const struct sockaddr_storage *to);
/* Keeps a mark in mind. That of another target may be forgotten for it. */
void markcache_note(struct markcache *m, const struct sockaddr_storage *to, int mark);
void markcache_forget(struct markcache *m, const struct sockaddr_storage *to);

#endif
