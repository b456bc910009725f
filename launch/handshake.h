/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCH_HANDSHAKE_H
#define LAUNCH_HANDSHAKE_H

#include "base/err.h"
#include "net/network.h"

/* The messages that parent and child exchange on two pipes before the command runs. Each is one
 * frame (msg.h), and their order is fixed:
 *
 *     parent -> child   ParentHello
 *     child  -> parent  ChildHello
 *     parent -> child   ParentInitIdmapCompleted
 *     child  -> parent  ChildInitUserNSCompleted            namespaces and TAP device exist
 *     parent -> child   ParentInitNetworkDriverCompleted    Dev IP Netmask Gateway DNS MTU
 *     parent -> child   ParentInitPortDriverCompleted
 *     child  -> parent  ChildInitCompleted                  mounts, network, port service ready
 *     parent -> child   ParentInitCompleted                 ports, API and child_pid ready
 *
 * A message looks like this: {"Name":"ParentHello","U":{"ParentHello":{}}}. RootlessKit does not
 * have the last two messages. With them, the API and child_pid appear only when the child is ready,
 * and the command starts only when everything else is ready.
 *
 * Both ends run in the main thread of their process.
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

/* Sends a message. `fd` is the writing end of a pipe (borrowed). `net` is the content of
 * HS_NETWORK_COMPLETED, and NULL for every other message. Blocks while the pipe is full. Returns 0
 * or -errno with a reason; -EPIPE if the other end is closed. */
int handshake_send(int fd, enum handshake which, const struct network *net, struct err *e);

/* Receives the message that must come next; any other message is -EINVAL. `fd` is the reading end
 * of a pipe (borrowed). With HS_NETWORK_COMPLETED, `net` receives the content; it is NULL for every
 * other message. Blocks until a whole message has arrived, without a timeout. Returns 0 or -errno
 * with a reason; -ENODATA if the other end is closed. */
int handshake_recv(int fd, enum handshake which, struct network *net, struct err *e);

#endif
