/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_CGROUP_H
#define OS_CGROUP_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

/* Evacuation of a cgroup of the v2 hierarchy (cgroups(7), and the kernel's cgroup-v2.rst).
 *
 * Only a cgroup without processes of its own can hand its controllers down. So that what runs
 * inside can make cgroups with limits, all processes move from our cgroup G to its new subgroup
 * G/NAME, and G's controllers are enabled for its subgroups. The child's cgroup namespace was made
 * while it was in G: inside, G is the root, and /NAME is where everybody is.
 */

struct cgroup_evacuation {
	char group[PATH_MAX];	 /* the directory of G; "": nothing is evacuated */
	char subgroup[PATH_MAX]; /* that of G/NAME */
	bool is_made;		 /* the subgroup was made by us */
	char enabled[256];	 /* the controllers that we have enabled, "cpu memory " */
};

/* In the parent, when the child is there and waits. Without a v2 hierarchy, and for a controller
 * that cannot be had, it logs a warning and goes on. Returns 0 or -errno with a reason. */
int cgroup_evacuate(struct cgroup_evacuation *c, const char *name, pid_t child, struct err *e);

/* Puts everything back as it was, as far as nobody else uses the controllers. Does nothing for what
 * is all zero. */
void cgroup_restore(struct cgroup_evacuation *c);

/* In the child: is it in the subgroup of its cgroup namespace's root? */
bool cgroup_is_evacuated(const char *name);

/* ---- the texts ---- */

/* The path of the v2 cgroup ("0::/a/b") in the text of /proc/PID/cgroup. Returns whether there is
 * one that fits. */
bool cgroup_parse_own(const char *text, char *path, size_t cap);

/* The directory of cgroup `path` if a line of /proc/PID/mountinfo shows a v2 hierarchy in which it
 * can be reached. Returns whether it does, and fits. */
bool cgroup_parse_mount(const char *line, const char *path, char *dir, size_t cap);

#endif
