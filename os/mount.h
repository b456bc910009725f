/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_MOUNT_H
#define OS_MOUNT_H

#include <stdbool.h>

#include "base/err.h"

/* Mounts that the child makes in its own mount namespace (mount_namespaces(7)). All return 0 or
 * -errno with a reason. Nothing here ever removes anything recursively.
 */

/* Is `name` one of private, rprivate, slave, rslave, shared, rshared? */
bool mount_is_propagation(const char *name);
/* Can mounts of the child travel to other namespaces with it (shared, rshared)? */
bool mount_is_shared(const char *name);

/* Sets the propagation of "/". `name` is a valid one. */
int mount_set_propagation(const char *name, struct err *e);

/* The propagation of the host's root, as /proc/self/mountinfo (proc_pid_mountinfo(5)) names it:
 * "shared:1", "master:2", or "" for a private one. Writes to buf, cut. */
void mount_root_propagation(char *buf, int cap);

/* Why the directory cannot be copied up: "/" and "/tmp" cannot, whatever they are called ("/tmp/.",
 * a link to it). NULL if it can, or does not exist. */
const char *mount_why_not_covered(const char *dir);

/* Makes the directory `dir` writable: a tmpfs is mounted on it, in which the old content stands in
 * a directory `.ro*` and each of its entries is a symbolic link into that; links are copied.
 * `aside` is a path that does not exist, in a directory of ours: the old content is mounted there
 * for a moment. The directory may itself be within `dir`. */
int mount_copy_up(const char *dir, const char *aside, struct err *e);

/* Mounts a proc of this process' PID namespace on /proc, which shows that namespace's processes.
 * Where the kernel allows only a read-only one, or none since parts of the outer /proc are hidden
 * (in a container), it logs a warning. In the latter case /proc stays the outer one, in which
 * PIDs are those of the outer namespace, but /proc/self is still the process that looks. */
int mount_proc(struct err *e);

/* Likewise a sysfs of this thread's network namespace on /sys, with the host's /sys/fs/cgroup in
 * it. */
int mount_sysfs(struct err *e);

/* Mounts the v2 cgroup hierarchy, with the cgroup namespace's root, on /sys/fs/cgroup. */
int mount_cgroup2(struct err *e);

/* Bind-mounts a file over another. */
int mount_file(const char *from, const char *on, struct err *e);

#endif
