/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NETNS_H
#define NETNS_H

#include "base/err.h"

/* Network namespaces (network_namespaces(7)) and the devices in them, for the child. All functions
 * return 0, or -errno with a reason. All but netns_run act on the calling thread's namespace only.
 * None waits for another process.
 *
 * A detached namespace is one that no thread has to be in: a bind mount of it on a file, in the
 * child's mount namespace, keeps it alive. A thread that enters it can never return to the host's
 * namespace, since that takes privileges on the host. So work inside a detached namespace is done
 * by a thread that is started for it.
 */

/* Moves the calling thread into a new network namespace, and pins the namespace to `path`, a file
 * that it creates. */
int netns_detach(const char *path, struct err *e);

/* Moves the calling thread into the namespace that is pinned to `path`. */
int netns_enter(const char *path, struct err *e);

/* Runs fn(arg, e) in a new thread and blocks until it returns. Returns the result of `fn`, or
 * -errno if the thread could not be started. */
int netns_run(int (*fn)(void *arg, struct err *e), void *arg, struct err *e);

/* Makes a TAP device that persists without an open descriptor (TUNSETPERSIST) and has no packet
 * information header (IFF_NO_PI), as slirp4netns expects it. See
 * Documentation/networking/tuntap.rst in Linux. */
int netns_make_tap(const char *name, struct err *e);

/* Sets a link up. */
int netns_link_up(const char *name, struct err *e);

#endif
