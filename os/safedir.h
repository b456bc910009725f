/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_SAFEDIR_H
#define OS_SAFEDIR_H

#include <limits.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "base/err.h"

/* Opens a directory such that no other user can replace any part of its path.
 *
 * It walks the path with one openat(2) per component, with O_NOFOLLOW, and resolves symbolic links
 * itself. So it checks each directory through the descriptor that the next step uses. Each must
 * belong to root or to us, and nobody else may be able to rename its entries: either group and
 * others cannot write to it, or it has the sticky bit, like /tmp. This is the rule of OpenSSH
 * (sshd(8), StrictModes) with three additions:
 *
 *   - The sticky bit is enough, because state directories are usually in /tmp. A symbolic link in
 *     such a directory must belong to root or to us.
 *   - The group may write to a directory if the group is root's or the user's own. Home directories
 *     are like that where umask is 002 and each user has a group, an option of Fedora, Debian and
 *     Ubuntu.
 *   - Inside a user namespace the host's root owns "/" but shows as the overflow UID (65534). So an
 *     owner who is not mapped is accepted.
 *
 * Blocks as long as the file system does.
 */

struct safedir {
	int fd;	       /* O_PATH */
	int parent_fd; /* O_PATH; the directory above; -1 if the path ends in a link or ".." */
	char *name;    /* its name in parent_fd, allocated; NULL without parent_fd */
	bool is_made;  /* we have made it */
};

#define SAFEDIR_INIT                       \
	{                                  \
		.fd = -1, .parent_fd = -1, \
	}

/* Opens the directory at the absolute path `path`. With `make`, makes it (mode 0755) and missing
 * directories above it, but not the target of a dangling link. If a directory is writable by its
 * group, this may run getent(1) and block for as long as that takes. Returns 0, or -errno with a
 * reason; -EAGAIN without a reason if somebody removed a directory at the same moment. After a
 * failure nothing is open. */
int safedir_open(struct safedir *d, const char *path, bool make, struct err *e);

/* Closes the descriptors and frees the name. */
void safedir_close(struct safedir *d);

/* Can users other than root and us write to the directory `fd` (O_PATH is enough), whose status is
 * `st`? Ignores the sticky bit. If so, sets *who to "its group" or "others". */
bool safedir_is_shared(int fd, const struct stat *st, const char **who);

#endif
