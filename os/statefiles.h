/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_STATEFILES_H
#define OS_STATEFILES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* The files in a state directory (statedir.h): their names, and how they show that a directory
 * belongs to a launcher. All functions take a descriptor of the directory, which is borrowed, run
 * in the main thread, and block as long as the file system does. */

#define STATE_LOCK	   "lock"
#define STATE_CHILD_PID	   "child_pid"
#define STATE_API_SOCKET   "api.sock"
#define STATE_BP_SOCKET	   ".bp.sock"
#define STATE_BP_READY	   ".bp-ready.pipe"
#define STATE_SLIRP_SOCKET ".s4nn.sock"
#define STATE_PASTA_DIR	   ".pasta"	     /* mode 0700 */
#define STATE_PASTA_SOCKET ".pasta/ctl"	     /* no longer than STATE_SLIRP_SOCKET */
#define STATE_NET_READY	   ".net-ready.pipe" /* exists until the network program is ready */
#define STATE_NETNS	   "netns"
#define STATE_HOSTS	   "hosts"
#define STATE_RESOLV	   "resolv.conf"
#define STATE_COPY_UP_TMP  ".copy-up" /* a directory that exists for a moment at each copy-up */
#define STATE_GVISOR_DIR   "gvisortapvsock" /* RootlessKit's; contains tap.sock */

#define STATE_LOCK_MODE 0600

/* Do launchers, rlkbox or RootlessKit, make files of this name? Also true for leftovers. */
bool statefiles_is_own(const char *name);

/* Is this a name that NFS or FUSE gives to an open file when it is unlinked? */
bool statefiles_is_leftover(const char *name);

/* Checks whether the directory may be taken. Returns 0 if it is empty or a launcher's; then *deep
 * is true if a launcher has run its command with it, so that all of its content may be removed.
 * Returns 1 and a description of what belongs to somebody else in name[cap]; or -errno. */
int statefiles_check(int dir_fd, bool *deep, char *name, size_t cap);

/* Finds an entry whose name launchers do not use. Returns 1 and its name in name[cap], 0 if there
 * is none, or -errno. */
int statefiles_find_foreign(int dir_fd, char *name, size_t cap);

/* Are the lock and leftovers the only entries? */
bool statefiles_are_cleared(int dir_fd);

/* Reads the PID in child_pid and sets *mode to the mode of the file. Returns the PID, or 0 if the
 * file is missing or not a launcher's. */
pid_t statefiles_child_pid(int dir_fd, mode_t *mode);

#endif
