/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_STATEDIR_H
#define OS_STATEDIR_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

/* The state directory: where a launcher keeps its sockets and says who it is. The parent owns it;
 * one launcher at a time has it, by a lock that ends with the process.
 *
 * No other user may be able to replace it or what is above it (safedir.h), or to write in it. What
 * a launcher has left is removed at the next start and what is there at the end, with files of the
 * command, by descriptors, so that no link is followed and no mount entered (rmtree.h). A directory
 * that holds something and never was a launcher's is refused: without a child_pid in it, any name
 * but a launcher's is.
 */

#define STATE_LOCK	   "lock"
#define STATE_CHILD_PID	   "child_pid"
#define STATE_API_SOCKET   "api.sock"
#define STATE_BP_SOCKET	   ".bp.sock"
#define STATE_BP_READY	   ".bp-ready.pipe"
#define STATE_SLIRP_SOCKET ".s4nn.sock"
#define STATE_NET_READY	   ".net-ready.pipe" /* until the network program is up */
#define STATE_NETNS	   "netns"
#define STATE_HOSTS	   "hosts"
#define STATE_RESOLV	   "resolv.conf"
#define STATE_COPY_UP_TMP  ".copy-up" /* a directory, for a moment at each copy-up */
#define STATE_NEW	   ".new"     /* a file that is being written */

struct statedir {
	char path[PATH_MAX]; /* absolute, without "." and ".."; links are not resolved */
	int dir_fd;	     /* held with a shared flock(2), so that systemd-tmpfiles leaves it */
	int lock_fd;	     /* held with an exclusive one; -1 in the child */
	int parent_fd;	     /* O_PATH, the directory that it is in, or -1: it is not removed */
	char name[NAME_MAX + 1]; /* in that */
	int userns_fd;		 /* the child's user namespace, -1: unknown; owned */
	int spare_fd;		 /* closed when the directory is cleared, which needs one */
	bool is_made;		 /* by us */
	bool keeps_leftovers;	 /* .nfs*, .fuse_hidden*: there was no lock, so they are not ours */
};

#define STATEDIR_INIT                                                                          \
	{                                                                                      \
		.dir_fd = -1, .lock_fd = -1, .parent_fd = -1, .userns_fd = -1, .spare_fd = -1, \
	}

/* Opens, locks and clears a directory for the parent, making it (0755) if it is missing, a new
 * temporary one (0700) in $TMPDIR or /tmp if `given` is NULL or "". Returns 0 or -errno with a
 * reason; on failure nothing that was not there before is left. */
int statedir_open(struct statedir *sd, const char *given, struct err *e);

/* Removes what is in the directory, as far as that is possible. Blocks for at most `within_ms`.
 * Returns false if the time was up: on tmpfs a process can make files as fast as they are removed,
 * and it should be ended before statedir_remove. */
bool statedir_clear(const struct statedir *sd, int within_ms);

/* Removes the directory with all that is in it, and lets go of it. Sockets and files in it should
 * be closed by then: NFS and FUSE keep open files. Files of subordinate IDs are removed by a
 * process in userns_fd. What cannot be removed, such as a mount, stays with the lock file and
 * child_pid as its marks, with a warning; a directory that was given as a symbolic link stays,
 * empty. Blocks for at most a second. */
void statedir_remove(struct statedir *sd);

/* The path of a file in the directory `dir`. Returns buf, which has PATH_MAX bytes. */
const char *statedir_path(const char *dir, const char *name, char *buf);

/* Writes a small file in the directory, with exactly this mode. It appears whole or not at all.
 * Returns 0 or -errno with a reason. */
int statedir_write(const char *dir, const char *name, mode_t mode, const char *text, struct err *e);

/* The same by a descriptor of the directory (O_PATH will do); `dir` is its name for messages. */
int statedir_write_at(int dir_fd, const char *dir, const char *name, mode_t mode, const char *text,
		      struct err *e);

#endif
