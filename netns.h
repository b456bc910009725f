/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NETNS_H
#define NETNS_H

#include <stddef.h>

#include "base/err.h"

/* Network namespaces (network_namespaces(7)) and the devices in them, for the child. All functions
 * return 0 (netns_open: a descriptor), or -errno with a reason. All but netns_run act on the
 * calling thread's namespace only. None waits for another process.
 *
 * A detached namespace stays alive without a thread in it, because it is bind-mounted on a file in
 * the child's mount namespace. A thread that enters it can never return to the host's namespace,
 * because that takes privileges on the host. So netns_run starts a thread for work inside a
 * detached namespace.
 */

/* Moves the calling thread into a new network namespace, and pins the namespace to `path`, a file
 * that it creates. */
int netns_detach(const char *path, struct err *e);

/* Moves the calling thread into the namespace that is pinned to `path`. */
int netns_enter(const char *path, struct err *e);

/* Runs fn(arg, e) in a new thread, which may enter any namespace, and blocks until it returns.
 * Returns the result of `fn`, or -errno with a reason if the thread could not be started. */
int netns_run(int (*fn)(void *arg, struct err *e), void *arg, struct err *e);

/* Makes a TAP device that persists without an open descriptor (TUNSETPERSIST). Its packets have no
 * information header (IFF_NO_PI), as slirp4netns expects. See
 * Documentation/networking/tuntap.rst in Linux. */
int netns_make_tap(const char *name, struct err *e);

/* Makes a TAP device with `count` queues (IFF_MULTI_QUEUE), whose frames have virtio headers
 * (IFF_VNET_HDR), sets it up, and sets fds[count] to the queues: non-blocking descriptors that the
 * caller owns. The device disappears with the last of them. On failure there is nothing to close.
 */
int netns_make_queues(const char *name, int *fds, size_t count, struct err *e);

/* Opens the calling thread's namespace. Returns a descriptor that the caller owns. As long as it is
 * open, the namespace lives. */
int netns_open(struct err *e);

/* Sets a link up. */
int netns_link_up(const char *name, struct err *e);

#endif
