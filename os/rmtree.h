/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_RMTREE_H
#define OS_RMTREE_H

#include "base/err.h"

/* Removes the content of a directory through descriptors. It does not follow symbolic links and
 * does not enter mounts, not even a bind mount of the same file system: it uses openat2(2) with
 * RESOLVE_NO_XDEV or, before Linux 5.6 and where seccomp forbids that, the mount IDs in
 * proc_pid_fdinfo(5). */

enum rmtree_how {
	RMTREE_KEEP,
	RMTREE_TRY,  /* try to unlink; a failure does not matter */
	RMTREE_FLAT, /* remove a file or an empty directory */
	RMTREE_DEEP, /* remove a file or a directory with its content */
};

/* Removes the content of the directory `fd` (borrowed, not O_PATH). For each name directly in it,
 * `how` is called with `arg` and says what to do. A failure does not stop the removal of the rest.
 * May block as long as the file system does. Stops at `until_ms` (clock_now_ms), because another
 * process may create files as fast as they are removed. Returns 0, -ETIMEDOUT if it stopped, or
 * another -errno with "remove PATH: why" for the first entry that could not be removed. */
int rmtree_clear(int fd, enum rmtree_how (*how)(const char *name, const void *arg), const void *arg,
		 unsigned long long until_ms, struct err *e);

#endif
