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
	bool may_fall_back;		 /* map only the own ID if the system allows no more */
	const struct subid_ranges *uids; /* static storage: the result of the last idmap_find */
	const struct subid_ranges *gids;
};

/* Finds the subordinate IDs of the user. IDs that the kernel would not map are left out, with a
 * warning in the log. If the user has none, SUBID_AUTO maps only the own ID, with a warning that
 * says how to get subordinate IDs; with other sources, and if the lists of IDs are malformed, that
 * is the reason of the error. Returns 0 or -ENOENT. */
int idmap_find(struct idmap *map, enum subid_source source, struct err *e);

/* Writes both maps of process `pid`, which is in a new user namespace. If newuidmap(1) and
 * newgidmap(1) cannot work on this system, SUBID_AUTO maps only the own ID, with a warning that
 * says why, and sets map->only_self. Returns 0 or -errno with a reason. */
int idmap_write(struct idmap *map, pid_t pid, struct err *e);

/* Logs both maps of process `pid`, as /proc has them, to the debug log. */
void idmap_log(pid_t pid);

#endif
