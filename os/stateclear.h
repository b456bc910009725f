/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_STATECLEAR_H
#define OS_STATECLEAR_H

#include <stdbool.h>

#include "base/err.h"

/* Removing the content of a state directory (statedir.h). The lock stays. Main thread. */

struct stateclear {
	int dir_fd; /* borrowed */
	/* Remove also non-empty directories, and names that launchers do not use (statefiles.h):
	 * files of the command. */
	bool deep;
	bool keeps_leftovers; /* .nfs* and .fuse_hidden* are not ours */
};

/* Removes the content of the directory as `what` says, but never the lock. Removes child_pid last,
 * and only if nothing else failed. Blocks for at most `within_ms`. Returns 0 or -errno with a
 * reason; -ETIMEDOUT if another process makes files as fast as they are removed. */
int stateclear(const struct stateclear *what, int within_ms, struct err *e);

/* The same in a process that joins the user namespace `userns_fd` (borrowed; -1: does nothing and
 * returns false). Only root of that namespace may remove files that the command has created as
 * other users. Returns true if nothing failed. */
bool stateclear_in_userns(const struct stateclear *what, int userns_fd, int within_ms);

#endif
