/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCH_HANDSHAKE_H
#define LAUNCH_HANDSHAKE_H

#include "base/err.h"
#include "net/network.h"

/* What parent and child tell each other until the command runs, one frame each:
 *
 *     parent -> child   ParentHello
 *     child  -> parent  ChildHello
 *     parent -> child   ParentInitIdmapCompleted
 *     child  -> parent  ChildInitUserNSCompleted            namespaces and TAP are there
 *     parent -> child   ParentInitNetworkDriverCompleted    Dev IP Netmask Gateway DNS MTU
 *     parent -> child   ParentInitPortDriverCompleted
 *     child  -> parent  ChildInitCompleted                  mounts, network and port service too
 *     parent -> child   ParentInitCompleted                 ports, API and child_pid are there
 *
 * as {"Name":"ParentHello","U":{"ParentHello":{}}}. The last two are our own additions: nobody
 * finds a child that is not ready, and the command starts when everything else is.
 */

enum handshake {
	HS_PARENT_HELLO,
	HS_CHILD_HELLO,
	HS_IDMAP_COMPLETED,
	HS_USERNS_COMPLETED,
	HS_NETWORK_COMPLETED,
	HS_PORTS_COMPLETED,
	HS_CHILD_COMPLETED,
	HS_INIT_COMPLETED,
	HS_COUNT,
};

/* Sends a message; `net` belongs to HS_NETWORK_COMPLETED and is NULL for others. Blocks. Returns 0
 * or -errno with a reason. */
int handshake_send(int fd, enum handshake which, const struct network *net, struct err *e);

/* Receives the message that is due, any other is an error. Blocks. Returns 0 or -errno with a
 * reason; -ENODATA if the other end is gone. */
int handshake_recv(int fd, enum handshake which, struct network *net, struct err *e);

#endif
