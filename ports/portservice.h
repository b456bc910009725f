/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_PORTSERVICE_H
#define PORTS_PORTSERVICE_H

#include <stdbool.h>

#include "base/err.h"

/* The child's half of the builtin port driver: a thread in the target network namespace that serves
 * `.bp.sock` in the state directory. Each connection carries one request (bpmsg.h):
 *
 *   - "init" is answered with the frame `null`;
 *   - "connect" with the descriptor of a connected TCP or UDP socket (msg_send_fd);
 *   - "sockets" with unconnected sockets, maybe fewer than requested (msg_send_fds).
 *
 * A failed "connect" or "sockets" is answered with a frame that says why.
 */

/* Starts the thread. If `netns` is not NULL, the thread first enters the network namespace that is
 * pinned to that path. With `source_ip` it prepares the namespace for connections from clients'
 * addresses, which requests may ask for; if that fails, it logs a warning and goes on without.
 *
 * Blocks until the socket listens and the write end of `.bp-ready.pipe` has been opened and closed
 * again. Call it once a process; the strings are copied, and the thread lives as long as the
 * process. Returns 0 or -errno with a reason. */
int portservice_start(const char *state_dir, const char *netns, bool source_ip, struct err *e);

#endif
