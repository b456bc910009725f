/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NETNS_H
#define NETNS_H

#include "err.h"

/* Network namespaces (network_namespaces(7)) and TAP devices, for the child. All return 0 or
 * -errno with a reason, and all concern the calling thread's namespace alone.
 */

/* Moves the calling thread into a new network namespace and pins that to the file `path` by a bind
 * mount in the child's mount namespace. The thread can never go back: without privileges on the
 * host no process can. */
int netns_detach(const char *path, struct err *e);

/* Makes a TAP device that stays when nobody has it open (TUNSETPERSIST, Documentation/networking/
 * tuntap.rst), without the packet information header, as slirp4netns wants it. */
int netns_make_tap(const char *name, struct err *e);

/* Sets the loopback link up. */
int netns_loopback_up(struct err *e);

#endif
