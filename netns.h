/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NETNS_H
#define NETNS_H

#include "base/err.h"

/* Network namespaces (network_namespaces(7)) and TAP devices, for the child. All return 0 or
 * -errno with a reason, and all but netns_run concern the calling thread's namespace alone.
 *
 * A detached namespace is one in which no thread need be: it is pinned to a file by a bind mount in
 * the child's mount namespace. A thread that enters it can never go back to the host's, since that
 * takes privileges on the host. So whatever is to be done there is done by a thread of its own.
 */

/* Moves the calling thread into a new network namespace and pins that to the new file `path`. */
int netns_detach(const char *path, struct err *e);

/* Moves the calling thread into the namespace that is pinned to `path`. */
int netns_enter(const char *path, struct err *e);

/* Runs `fn` with `arg` in a thread of its own, and waits for it. Returns what it returns, or
 * -errno. */
int netns_run(int (*fn)(void *arg, struct err *e), void *arg, struct err *e);

/* Makes a TAP device that stays when nobody has it open (TUNSETPERSIST, Documentation/networking/
 * tuntap.rst), without the packet information header, as slirp4netns wants it. */
int netns_make_tap(const char *name, struct err *e);

/* Sets a link up. */
int netns_link_up(const char *name, struct err *e);

#endif
