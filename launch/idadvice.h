/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCH_IDADVICE_H
#define LAUNCH_IDADVICE_H

#include <stdbool.h>

#include "base/err.h"
#include "formats/subid.h"

/* Why the subordinate IDs cannot be had or mapped, and what to do about it: found out by asking the
 * system. Each appends to a reason. Runs in the parent and reads a few files.
 */

/* The user has no range. `uid_count` and `gid_count` are what was found, of which at least one is
 * 0. `local_name` is the user's name if /etc/passwd has it, else NULL; `name` may be "". */
void idadvice_no_range(struct err *e, const char *name, const char *local_name, size_t uid_count,
		       size_t gid_count);

/* newuidmap(1) or newgidmap(1), whose name is `program`, has failed and said `output`. `map_file`
 * is our own namespace's map, /proc/self/uid_map or gid_map. */
void idadvice_refused(struct err *e, const char *program, const char *output, const char *map_file,
		      const struct subid_ranges *ranges);

/* A map of our own ID could not be written. Returns whether the reason is known and was added. */
bool idadvice_root_refused(struct err *e);

#endif
