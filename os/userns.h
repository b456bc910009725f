/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_USERNS_H
#define OS_USERNS_H

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/err.h"

/* User namespaces (user_namespaces(7)): starts a process in a new one. If that is forbidden, the
 * reason says what forbids it and what the user can do. */

/* Starts a process in a new user namespace and in the new namespaces `flags` (CLONE_NEW*,
 * clone(2)). It calls run(arg) on a separate stack and exits with the returned status, without
 * running exit handlers. Its memory is a copy, as with fork(2). Returns the PID, or -errno with a
 * reason. */
pid_t userns_clone(int flags, int (*run)(void *arg), void *arg, struct err *e);

/* Appends to the reason of a failure `errnum` what is known to forbid namespaces on this system,
 * and what the user can do. For ENOSPC it starts a short-lived process to find out which kind of
 * namespace in `flags` (CLONE_NEW*) is at its limit. Main thread only, while no other thread starts
 * processes. */
void userns_explain(struct err *e, int errnum, int flags);

/* Is our own user or group not mapped in our user namespace? Such a process cannot make a user
 * namespace. If so, appends that and advice to the reason, and returns true. */
bool userns_explain_user(struct err *e);

/* Sends SIGKILL to every process in a user namespace and in those below it. `ns` is the status
 * (stat(2)) of the namespace's file in /proc/PID/ns. A last resort, because it reads all of
 * /proc. */
void userns_kill(const struct stat *ns);

#endif
