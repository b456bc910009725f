/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCH_IDADVICE_H
#define LAUNCH_IDADVICE_H

#include <stdbool.h>

#include "base/err.h"
#include "formats/subid.h"

/* Explains why subordinate IDs are missing or cannot be mapped, and what the user can do. Each
 * function examines the system (files, capabilities, mounts) and appends its advice to the reason
 * in `e`. They run in the parent's main thread, during the start, and block while they read
 * files. */

/* If `may_fall_back`, the start goes on with the user's own ID, unless that does not work either.
 * Then the reason becomes a warning, and idadvice_no_range and idadvice_refused return true. */

/* For a user without a range of subordinate IDs. `uid_count` and `gid_count` are the numbers of
 * ranges found; at least one of them is 0. `name` is the user's name, "" if unknown. `local_name`
 * is the same name if /etc/passwd has it, else NULL: usermod(8) can change only such users. */
bool idadvice_no_range(struct err *e, const char *name, const char *local_name, size_t uid_count,
		       size_t gid_count, bool may_fall_back);

/* For a failure of newuidmap(1) or newgidmap(1). `program` is the name of the one that failed, and
 * `output` is what it printed. `map_file` is the map of our own user namespace: /proc/self/uid_map
 * or /proc/self/gid_map. `ranges` are the ranges that were to be mapped. The start cannot go on if
 * the ranges are wrong, or if the cause is not known. */
bool idadvice_refused(struct err *e, const char *program, const char *output, const char *map_file,
		      const struct subid_ranges *ranges, bool may_fall_back);

/* For a failure to write a map of our own ID only. Returns true if the reason is known and was
 * appended. */
bool idadvice_root_refused(struct err *e);

#endif
