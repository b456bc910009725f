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
 * A cgroup can only enable controllers for its subgroups if it has no processes of its own. To let
 * programs inside make cgroups with limits, all processes move from our cgroup G to its new
 * subgroup G/NAME, and G enables its controllers for its subgroups. The child made its cgroup
 * namespace while it was in G. So inside, G is the root, and all processes are in /NAME.
 *
 * Main thread only; file system calls may block for a moment.
 */

struct cgroup_evacuation {
	char group[PATH_MAX];	 /* the directory of G; "": nothing was evacuated */
	char subgroup[PATH_MAX]; /* the directory of G/NAME */
	bool is_made;		 /* we have made the subgroup */
	char enabled[256];	 /* the controllers that we have enabled: "cpu memory " */
};

/* Evacuates our cgroup to the subgroup `name`. Called in the parent while the child waits. Without
 * a v2 hierarchy, and for each controller that cannot be enabled, logs a warning and goes on.
 * Returns 0, or -errno with a reason. */
int cgroup_evacuate(struct cgroup_evacuation *c, const char *name, pid_t child, struct err *e);

/* Undoes cgroup_evacuate(). Changes nothing if *c is all zero or the subgroup existed before, and
 * stops if somebody else uses one of the controllers by now. */
void cgroup_restore(struct cgroup_evacuation *c);

/* Is `name` an interface file of our cgroup, such as "memory.max", so that no subgroup can have
 * that name? False if our cgroup cannot be reached. */
bool cgroup_has_file(const char *name);

/* Called in the child: is it in the cgroup /NAME of its cgroup namespace? */
bool cgroup_is_evacuated(const char *name);

/* ---- parsing ---- */

/* Finds the path of the v2 cgroup ("0::/a/b") in the text of /proc/PID/cgroup and writes it to
 * path[cap]. Returns false if there is none, or if it does not fit. */
bool cgroup_parse_own(const char *text, char *path, size_t cap);

/* If a line of /proc/PID/mountinfo is a mount of the v2 hierarchy that includes the cgroup `path`,
 * writes the cgroup's directory to dir[cap]. Returns false if the line is no such mount, or if the
 * directory does not fit. */
bool cgroup_parse_mount(const char *line, const char *path, char *dir, size_t cap);

#endif
