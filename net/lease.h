/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_LEASE_H
#define NET_LEASE_H

#include "base/err.h"
#include "net/network.h"

/* Configures the child's network by DHCP and keeps it configured: a thread of the child that lives
 * in the network namespace and renews the lease, as long as the child runs. There is one for the
 * process. Call these functions from the child's main thread. */

#define LEASE_DEADLINE_MS 30000 /* for the first lease */

/* Starts the thread for the interface net->dev, which exists and gets the MTU net->mtu (0: see
 * network.h). The thread
 * enters the namespace that is pinned to the file `netns`; NULL: it stays in that of the caller.
 * Blocks until the interface has an address, and sets the members of `net` that were unknown.
 * Returns 0, or -errno with a reason if there was no lease within LEASE_DEADLINE_MS. */
int lease_start(struct network *net, const char *netns, struct err *e);

/* Gives the lease back, removes the interface, and ends the thread. Does nothing if none was
 * started. Does not wait for any other process. */
void lease_end(void);

#endif
