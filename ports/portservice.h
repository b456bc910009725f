/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_PORTSERVICE_H
#define PORTS_PORTSERVICE_H

#include <stdbool.h>

#include "base/err.h"

/* The child's half of the builtin port driver: a thread in the target network namespace that serves
 * `.bp.sock` in the state directory. One request a connection, as bpmsg.h has them; "init" is
 * answered with the frame `null`, "connect" with a descriptor of a connected socket of TCP or UDP
 * (msg_send_fd) or a frame with the reason why not, "sockets" with some that are not connected,
 * maybe fewer than were asked for (msg_send_fds), or a frame likewise.
 */

/* Starts the thread, which enters the network namespace pinned to `netns` first, if that is not
 * NULL. With `source_ip` it prepares the namespace for sockets that speak from the client's
 * address, for those who ask for one; where that cannot be, it says so in the log and goes on
 * without. When this returns the socket listens, and the write end of `.bp-ready.pipe` has been
 * opened and closed again. The thread lives as long as the process. Returns 0 or -errno with a
 * reason. */
int portservice_start(const char *state_dir, const char *netns, bool source_ip, struct err *e);

#endif
