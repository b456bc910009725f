/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_TCP_H
#define PORTS_TCP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/loop.h"
#include "ports/dial.h"
#include "ports/fdquota.h"
#include "ports/inbox.h"
#include "ports/listener.h"

/* Published TCP ports of a worker. A client is accepted, gets a connection from within the child's
 * network namespace to the port's target, and bytes are copied both ways. A port is served by all
 * workers, and one that has clearly more clients than another hands the next to that.
 * From then on a client is of one worker, and nothing is shared while bytes are copied.
 *
 * All functions belong to the thread of the loop and do not block, unless they say otherwise.
 */

struct tcp;

/* All is borrowed. */
struct tcp_setup {
	struct loop *loop;
	struct dialler *dialler; /* its quota is to be tcp_quota() */
	struct inbox *inbox;	 /* where others hand over clients; its owner gives them to
				  * tcp_take_client */
	struct fdtotal *fds;	 /* descriptors that all may hold together */
	bool source_ip;		 /* sockets shall speak from the client's address */
	struct tcp *const *all;	 /* of the workers, complete when the first of them runs */
	size_t count;
};

/* Returns NULL if there is no memory. Before the thread runs. */
struct tcp *tcp_new(const struct tcp_setup *setup);

/* What connections take their descriptors from. */
struct fdquota *tcp_quota(struct tcp *t);

/* Serves the listener's port, which is borrowed until tcp_remove_port or tcp_end. Main thread. It
 * takes no step of the loop's thread: thousands of ports would cost more by waking it each time
 * than by all the rest. Returns 0, or -errno; it has to be removed also then. */
int tcp_add_port(struct tcp *t, struct listener *listener);

/* Stops accepting on a port and closes its connections. Returns false if there is no such port. Not
 * from within a task. */
bool tcp_remove_port(struct tcp *t, int id);

/* Takes a client that another worker has handed over. */
void tcp_take_client(struct tcp *t, const struct inbox_message *m);

/* Stops accepting on all ports, whose sockets are not used any more when this returns. Connections
 * take what has been sent by now, for which they have some seconds, and are closed then; one that
 * does not is reset. With the last one the loop stops. */
void tcp_end(struct tcp *t);

/* How many clients there are now, those on their way here too. Any thread. */
unsigned int tcp_clients(const struct tcp *t);

/* Frees it all; the loop must not run any more, nor that of another worker. NULL is fine. */
void tcp_free(struct tcp *t);

#endif
