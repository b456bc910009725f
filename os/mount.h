/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_MOUNT_H
#define OS_MOUNT_H

#include <stdbool.h>

#include "base/err.h"

/* Mounts that the child makes in its own mount namespace (mount_namespaces(7)). Functions that
 * return an int return 0, or -errno with a reason. Nothing here ever removes anything
 * recursively. */

/* Is `name` one of private, rprivate, slave, rslave, shared, rshared? */
bool mount_is_propagation(const char *name);
/* Does this propagation carry mounts of the child to other namespaces (shared, rshared)? */
bool mount_is_shared(const char *name);

/* Sets the propagation of "/" to `name`, for which mount_is_propagation() is true. */
int mount_set_propagation(const char *name, struct err *e);

/* Writes the propagation of the current root mount to buf[cap], as /proc/self/mountinfo
 * (proc_pid_mountinfo(5)) names it: "shared:1", "master:2", or "" for private. A longer text is
 * cut. */
void mount_root_propagation(char *buf, int cap);

/* Returns why the directory cannot be copied up, a static string: "/", "/tmp" and "/proc" cannot,
 * under any name ("/tmp/.", a link to it). Returns NULL if it can, or does not exist. */
const char *mount_why_no_copy_up(const char *dir);

/* Makes the directory `dir` writable: mounts a tmpfs on it, with the old content in a directory
 * `.ro*` and a symbolic link to each of its entries. Entries that are symbolic links are copied.
 * `aside` is a path that does not exist, in a directory of ours; the old content is mounted there
 * for a moment. `aside` may be inside `dir`. */
int mount_copy_up(const char *dir, const char *aside, struct err *e);

/* Mounts on /proc a procfs that shows this process' PID namespace. If parts of the outer /proc are
 * hidden, as in a container, the kernel may allow only a read-only procfs, or none. Both cases are
 * logged as a warning and count as success. In the second case /proc stays the outer one: its PIDs
 * are those of the outer namespace, but /proc/self still works. */
int mount_proc(struct err *e);

/* Mounts on /sys a sysfs of this thread's network namespace, with the host's /sys/fs/cgroup in it.
 * Falls back as mount_proc() does. */
int mount_sysfs(struct err *e);

/* Mounts the v2 cgroup hierarchy on /sys/fs/cgroup; its root is the cgroup namespace's root. */
int mount_cgroup2(struct err *e);

/* Bind-mounts the file `from` on the file `on`. */
int mount_file(const char *from, const char *on, struct err *e);

#endif
