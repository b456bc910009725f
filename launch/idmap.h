/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCH_IDMAP_H
#define LAUNCH_IDMAP_H

#include <sys/types.h>

#include "base/err.h"
#include "formats/subid.h"
#include "launch/opts.h"

/* The ID maps of the child's user namespace (user_namespaces(7)): 0 inside is the user itself, 1
 * and up are its subordinate IDs. Runs in the parent; may run getsubids(1), newuidmap(1),
 * newgidmap(1), and blocks while they do.
 */

struct idmap {
	bool only_self;			 /* one line, written by ourselves */
	const struct subid_ranges *uids; /* static */
	const struct subid_ranges *gids;
};

/* Finds out which subordinate IDs the user has. What cannot be mapped is left out with a warning.
 * Returns 0 or -errno with a reason that says how to get some. */
int idmap_find(struct idmap *map, enum subid_source source, struct err *e);

/* Writes the maps of a process that is in a new user namespace. Returns 0 or -errno with a reason.
 */
int idmap_write(const struct idmap *map, pid_t pid, struct err *e);

#endif
