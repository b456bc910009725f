/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STATEDIR_H
#define STATEDIR_H

#include <limits.h>
#include <sys/types.h>

#include "err.h"

/* The state directory: where a launcher keeps its sockets and says who it is. The parent owns it;
 * one launcher at a time has it, by a lock that ends with the process.
 *
 * Only files of a launcher's making are ever removed, by name, and no mount or link is followed.
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
#define STATE_ASIDE	   ".copy-up" /* a directory, for a moment at each copy-up */
#define STATE_NEW	   ".new"     /* a file that is being written */

struct statedir {
	char path[PATH_MAX]; /* absolute */
	int dir_fd;	     /* held with a shared flock(2), so that systemd-tmpfiles leaves it */
	int lock_fd;	     /* held with an exclusive one; -1 in the child */
};

/* Opens, locks and clears a directory for the parent, making it (0755) if it is missing, a new
 * temporary one (0700) if `given` is NULL. Returns 0 or -errno with a reason; on failure nothing
 * that was not there before is left. */
int statedir_open(struct statedir *sd, const char *given, struct err *e);

/* Removes the files and the directory, and lets go of it. A directory that holds something foreign
 * stays, with a warning. */
void statedir_remove(struct statedir *sd);

/* The path of a file in the directory `dir`. Returns buf, which has PATH_MAX bytes. */
const char *statedir_path(const char *dir, const char *name, char *buf);

/* Writes a small file in the directory, with exactly this mode. It appears whole or not at all.
 * Returns 0 or -errno with a reason. */
int statedir_write(const char *dir, const char *name, mode_t mode, const char *text, struct err *e);

#endif
