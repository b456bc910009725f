/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_STATEDIR_H
#define OS_STATEDIR_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "os/statefiles.h"

/* The state directory contains a launcher's sockets and the files that identify it. The parent owns
 * it. Only one launcher at a time can use it: a lock, which the kernel releases when the process
 * ends, keeps others out.
 *
 * No other user may be able to replace the directory or one above it (safedir.h), or to write to
 * it. At the start, what a previous launcher has left there is removed; at the end, everything is
 * removed, including files of the command. Both work through descriptors, so no link is followed
 * and no mount entered (rmtree.h). A directory that is not empty and was never a launcher's is
 * refused: without child_pid, it may contain only names that launchers use.
 *
 * All functions run in the main thread, and block as long as the file system does.
 */

struct statedir {
	char path[PATH_MAX]; /* absolute, without "." and ".."; links are not resolved */
	int dir_fd;	     /* has a shared flock(2), so that systemd-tmpfiles leaves it alone */
	int lock_fd;	     /* has an exclusive flock(2), the lock */
	int parent_fd;	     /* O_PATH, the directory above; -1: do not remove the directory */
	char name[NAME_MAX + 1]; /* its name in parent_fd */
	int userns_fd;		 /* the child's user namespace, owned; -1: unknown */
	int spare_fd;		 /* reserve: closed before the removal, which needs a descriptor */
	bool is_made;		 /* we have made it */
	bool keeps_leftovers;	 /* there was no lock: .nfs* and .fuse_hidden* are not ours */
};

#define STATEDIR_INIT                                                                          \
	{                                                                                      \
		.dir_fd = -1, .lock_fd = -1, .parent_fd = -1, .userns_fd = -1, .spare_fd = -1, \
	}

/* Opens, locks and clears a directory for the parent. Makes `given` (0755) if it is missing; if
 * `given` is NULL or "", makes a new directory (0700) in $TMPDIR or /tmp. Retries for up to 3 s if
 * another launcher is just removing this directory. Returns 0, or -errno with a reason; a failure
 * leaves nothing behind that was not there before. */
int statedir_open(struct statedir *sd, const char *given, struct err *e);

/* Removes the content of the directory, as far as possible. Blocks for at most `within_ms`. Returns
 * false if that was not enough: on tmpfs, another process can create files as fast as they are
 * removed, and should be ended before statedir_remove(). */
bool statedir_clear(const struct statedir *sd, int within_ms);

/* Removes the directory with its content and closes all descriptors of *sd. The caller must have
 * closed the sockets and files in it, because NFS and FUSE keep open files. A process in the user
 * namespace userns_fd removes files of subordinate IDs. If something cannot be removed, such as a
 * mount, it stays, with the lock file and child_pid as marks, and a warning is logged. A directory
 * that was given as a symbolic link stays, empty. Waits at most a second for file systems that
 * remove closed files a little later. */
void statedir_remove(struct statedir *sd);

/* Writes the path of a file in the directory `dir` to buf, which has PATH_MAX bytes. Returns
 * buf. */
const char *statedir_path(const char *dir, const char *name, char *buf);

#endif
