/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTSERVICE_H
#define PORTSERVICE_H

#include "err.h"

/* The child's half of the builtin port driver: a thread in the target network namespace that serves
 * `.bp.sock` in the state directory. One request a connection, as bpreq.h has them; "init" is
 * answered with the frame `null`, "connect" with a descriptor of a connected socket (msg_send_fd)
 * or a frame with the reason why not.
 */

/* Starts the thread, which enters the network namespace pinned to `netns` first, if that is not
 * NULL. When this returns the socket listens, and the write end of `.bp-ready.pipe` has been opened
 * and closed again. The thread lives as long as the process. Returns 0 or -errno with a reason. */
int portservice_start(const char *state_dir, const char *netns, struct err *e);

#endif
