/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_STATEDIR_H
#define OS_STATEDIR_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

/* The state directory contains a launcher's sockets and the files that identify it. The parent owns
 * it. A lock that the kernel releases when the process ends gives it to one launcher at a time.
 *
 * No other user may be able to replace the directory or one above it (safedir.h), or to write to
 * it. At the start, what a previous launcher has left there is removed; at the end, everything is
 * removed, including files of the command. Both work through descriptors, so no link is followed
 * and no mount entered (rmtree.h). A directory that is not empty and was never a launcher's is
 * refused: without child_pid, it may contain only names that launchers use.
 *
 * All functions run in the main thread, and block as long as the file system does.
 */

#define STATE_LOCK	   "lock"
#define STATE_CHILD_PID	   "child_pid"
#define STATE_API_SOCKET   "api.sock"
#define STATE_BP_SOCKET	   ".bp.sock"
#define STATE_BP_READY	   ".bp-ready.pipe"
#define STATE_SLIRP_SOCKET ".s4nn.sock"
#define STATE_NET_READY	   ".net-ready.pipe" /* exists until the network program is ready */
#define STATE_NETNS	   "netns"
#define STATE_HOSTS	   "hosts"
#define STATE_RESOLV	   "resolv.conf"
#define STATE_COPY_UP_TMP  ".copy-up" /* a directory that exists for a moment at each copy-up */
#define STATE_NEW	   ".new"     /* a file that is being written */

struct statedir {
	char path[PATH_MAX]; /* absolute, without "." and ".."; links are not resolved */
	int dir_fd;	     /* has a shared flock(2), so that systemd-tmpfiles leaves it alone */
	int lock_fd;	     /* has an exclusive flock(2); -1 in the child */
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
 * other launchers are removing theirs. Returns 0, or -errno with a reason; a failure leaves nothing
 * behind that was not there before. */
int statedir_open(struct statedir *sd, const char *given, struct err *e);

/* Removes the content of the directory, as far as possible. Blocks for at most `within_ms`. Returns
 * false if that was not enough: on tmpfs, another process can create files as fast as they are
 * removed, and should be ended before statedir_remove(). */
bool statedir_clear(const struct statedir *sd, int within_ms);

/* Removes the directory with its content and closes all descriptors of *sd. Close sockets and files
 * in it before, because NFS and FUSE keep open files. A process in the user namespace userns_fd
 * removes files of subordinate IDs. If something cannot be removed, such as a mount, it stays, with
 * the lock file and child_pid as marks, and a warning is logged. A directory that was given as a
 * symbolic link stays, empty. Waits at most a second for the file system to let go of closed
 * files. */
void statedir_remove(struct statedir *sd);

/* Writes the path of a file in the directory `dir` to buf, which has PATH_MAX bytes. Returns
 * buf. */
const char *statedir_path(const char *dir, const char *name, char *buf);

/* Writes a small file in the directory `dir`, with exactly this mode. It appears complete or not at
 * all. Returns 0, or -errno with a reason. */
int statedir_write(const char *dir, const char *name, mode_t mode, const char *text, struct err *e);

/* statedir_write() through a descriptor of the directory (O_PATH is enough, borrowed). `dir` is its
 * name for messages. */
int statedir_write_at(int dir_fd, const char *dir, const char *name, mode_t mode, const char *text,
		      struct err *e);

#endif
