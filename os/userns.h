/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_USERNS_H
#define OS_USERNS_H

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/err.h"

/* User namespaces (user_namespaces(7)): a process is started in a new one, and where that is
 * forbidden the user is told by what and what to do about it.
 */

/* Starts a process in new namespaces, `flags` of CLONE_NEW*(clone(2)). `run` is called there with
 * `arg`, on a stack of its own, and what it returns is the exit status; no exit handlers are run.
 * Returns the PID, or -errno with a reason. */
pid_t userns_clone(int flags, int (*run)(void *arg), void *arg, struct err *e);

/* Adds to the reason of a failure what on this system is known to forbid namespaces, and the way
 * out. `errnum` is the error: for ENOSPC it finds out which of the kinds in `flags` (CLONE_NEW*) is
 * at its limit, by a short-lived process. For the main thread, while no other makes processes. */
void userns_explain(struct err *e, int errnum, int flags);

/* Does our user namespace not have our own user or group? Then says so, and the way out. Such a
 * process can make no user namespace. */
bool userns_explain_user(struct err *e);

/* Sends SIGKILL to every process in a user namespace, given by what stat(2) says of its file in
 * /proc/PID/ns, and in those below it. For the last resort: it reads all of /proc. */
void userns_kill(const struct stat *ns);

#endif
