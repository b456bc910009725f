/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCH_IDMAP_H
#define LAUNCH_IDMAP_H

#include <sys/types.h>

#include "base/err.h"
#include "formats/subid.h"
#include "launch/opts.h"

/* The ID maps of the child's user namespace (user_namespaces(7)). ID 0 inside is the user's own ID;
 * IDs from 1 on are the user's subordinate IDs. Runs in the parent's main thread and blocks while
 * it runs getent(1), getsubids(1), newuidmap(1) or newgidmap(1). */

struct idmap {
	bool only_self;			 /* map only the own ID, without newuidmap(1) */
	const struct subid_ranges *uids; /* static storage: the result of the last idmap_find */
	const struct subid_ranges *gids;
};

/* Finds the subordinate IDs of the user. IDs that the kernel would not map are left out, with a
 * warning in the log. Returns 0, or -ENOENT with a reason that says how to get subordinate IDs. */
int idmap_find(struct idmap *map, enum subid_source source, struct err *e);

/* Writes both maps of process `pid`, which is in a new user namespace. Returns 0 or -errno with a
 * reason. */
int idmap_write(const struct idmap *map, pid_t pid, struct err *e);

#endif
