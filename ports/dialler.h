/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_DIALLER_H
#define PORTS_DIALLER_H

#include <sys/socket.h>
#include <sys/un.h>

#include "base/loop.h"
#include "ports/fdquota.h"
#include "ports/markcache.h"
#include "ports/sockpool.h"

/* What the dials (dial.h) of a worker share. All functions belong to the thread of the loop; none
 * blocks unless it says so. */

struct dialler {
	struct loop *loop;     /* borrowed */
	struct fdquota *quota; /* borrowed */
	/* Called when a dial gets no descriptor in spite of the quota. `why`: for a log line. */
	void (*on_shortage)(const struct dialler *dialler, const char *why);
	struct sockaddr_un bp_address; /* of .bp.sock */
	struct sockpool *pool;	       /* owned; NULL: dials ask the child for each connection */
	struct markcache *marks;       /* owned; not used without a pool */
	struct dial_probes {
		int v4, v6; /* owned UDP sockets of the child's namespace (reach.h); -1: none yet */
	} * probes;	    /* owned; NULL: each dial asks the child for a probe */
};

/* Allocates the pool, marks and probes of a dialler whose other members the caller has set. Returns
 * 0 or -ENOMEM; dialler_close must be called in either case. */
int dialler_open(struct dialler *dialler);
/* Frees what dialler_open allocated and closes its sockets. No dial may be left. Closing sockets of
 * the child can block (worker.h). */
void dialler_close(struct dialler *dialler);

/* Returns the probe of a family, which the dialler keeps, or -1 if it has none yet. */
int dialler_probe(const struct dialler *dialler, sa_family_t family);
/* Keeps a probe for later dials, or closes it: if there is one already, or no descriptor is left in
 * the quota. `fd` is taken. */
void dialler_keep_probe(const struct dialler *dialler, sa_family_t family, int fd);

#endif
