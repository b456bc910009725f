/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_SAFEDIR_H
#define OS_SAFEDIR_H

#include <limits.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "base/err.h"

/* Opens a directory of which no other user can replace any part.
 *
 * The path is walked by one openat(2) per component, each with O_NOFOLLOW, and symbolic links are
 * resolved here, so that every directory on the way is looked at through the descriptor that the
 * next step uses. Each must belong to root or to us, and nobody else may rename what is in it: it
 * is not writable by the group or by others, or it has the sticky bit as /tmp has. This is the
 * rule of OpenSSH (sshd(8), StrictModes) with three additions:
 *
 * - The sticky bit is enough: state directories usually are in /tmp. A symbolic link in such a
 *   directory must be root's or ours.
 * - A directory that its group may write passes if that group is root's, or the user's own: with
 *   umask 002 and a group for each user (Fedora, Debian and Ubuntu can be set up so) home
 *   directories look like that.
 * - Inside a user namespace the root user of the host shows as the overflow UID (65534), and owns
 *   "/" there: an owner that is not mapped passes.
 */

struct safedir {
	int fd;	       /* O_PATH */
	int parent_fd; /* O_PATH; the directory that holds it, -1 if the path ends in a link */
	char *name;    /* in parent_fd; allocated, NULL without parent_fd */
	bool is_made;  /* by us */
};

#define SAFEDIR_INIT                       \
	{                                  \
		.fd = -1, .parent_fd = -1, \
	}

/* Opens the directory at an absolute path, and with `make` makes it and what is missing above it
 * (mode 0755), but not through a dangling link. Returns 0, or -errno with a reason, -EAGAIN if
 * somebody removed it at the same moment; then nothing is open. May run getent(1) when a group may
 * write one of the directories. */
int safedir_open(struct safedir *d, const char *path, bool make, struct err *e);

/* Closes and frees what is there. */
void safedir_close(struct safedir *d);

/* May users other than root and us write a directory that `fd` (O_PATH will do) is open for? A
 * sticky bit does not count. Writes "its group" or "others" to *who if so. */
bool safedir_is_shared(int fd, const struct stat *st, const char **who);

#endif
