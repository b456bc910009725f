/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_RMTREE_H
#define OS_RMTREE_H

#include "base/err.h"

/* Removes what is in a directory, by descriptors. No symbolic link is followed, and no mount is
 * entered, not even a bind mount of the same file system: openat2(2) with RESOLVE_NO_XDEV, or,
 * before Linux 5.6 and where seccomp forbids it, by the mount IDs in proc_pid_fdinfo(5).
 */

enum rmtree_how {
	RMTREE_KEEP,
	RMTREE_TRY,  /* unlink it; it may stay */
	RMTREE_FLAT, /* a file, or an empty directory */
	RMTREE_DEEP, /* a directory with all that is in it */
};

/* Removes what is in the directory that `fd` (not O_PATH) is open for; `how` says how, for each
 * name directly in it. What cannot be removed does not keep the rest. May block as long as the
 * file system does. Stops at `until_ms` (clock_now_ms), since a process may make files as fast as
 * they are removed. Returns 0, or -errno with "remove PATH: why" for the first that stays,
 * -ETIMEDOUT when the time was up. */
int rmtree_clear(int fd, enum rmtree_how (*how)(const char *name, const void *arg), const void *arg,
		 unsigned long long until_ms, struct err *e);

#endif
