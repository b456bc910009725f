/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_PORTSERVICE_H
#define PORTS_PORTSERVICE_H

#include "base/err.h"

/* The child's half of the builtin port driver: a thread in the network namespace of the command,
 * which serves a UNIX socket (`.bp.sock` of a launcher). Each connection carries one request
 * (bpmsg.h):
 *
 *   - "init" is answered with the name of `source_ip_backend`, if client addresses are kept;
 *   - "connect" with the descriptor of a connected TCP or UDP socket (msg_send_fd);
 *   - "sockets" with unconnected sockets, maybe fewer than requested (msg_send_fds).
 *
 * A request that fails or is malformed is answered with a frame that says why. An incomplete one
 * gets no answer.
 */

/* All strings are borrowed until portservice_start returns. */
struct portservice_setup {
	const char *socket; /* path to listen on, which must not exist yet */
	const char *ready;  /* path of a fifo with a reader; NULL: none */
	const char *netns;  /* path of a network namespace to enter (netns.h); NULL: stay */
	/* What keeps clients' addresses, "nft" or "iptables". The service then prepares the
	 * namespace for connections from clients' addresses, which requests may ask for. If that
	 * fails, it logs a warning, and connects from its own address only, as with NULL. */
	const char *source_ip_backend;
};

/* Starts the thread. Blocks until the socket listens. When this returns 0, the write end of the
 * fifo has been opened and closed again, which tells its readers that the service is ready. Call it
 * only once per process. The thread lives as long as the process. Returns 0 or -errno with a
 * reason. */
int portservice_start(const struct portservice_setup *setup, struct err *e);

#endif
