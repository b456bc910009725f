/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_TCPCONN_H
#define PORTS_TCPCONN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "base/list.h"
#include "base/loop.h"
#include "bicopy.h"
#include "ports/dial.h"
#include "ports/fdquota.h"
#include "ports/listener.h"

/* The connections of a TCP port: from an accepted client to the end of copying. tcp.c has the
 * ports.
 *
 * All functions belong to the thread of the loop; none blocks. */

/* Descriptors of a connection that has no target yet; the client's is included. */
#define TCPCONN_FDS_DIALLING (1 + DIAL_FDS)

/* What the connections of all ports of a worker share. Everything is borrowed. */
struct tcpconn_shared {
	struct loop *loop;
	struct bicopy_shared *copy;
	struct dialler *dialler;
	struct fdquota *quota;
	bool source_ip; /* connect from the clients' addresses */
};

/* The connections of a port. The port sets `shared`, `listener` and the callbacks, and zeroes the
 * rest. */
struct tcpconns {
	const struct tcpconn_shared *shared; /* borrowed */
	struct listener *listener;	     /* borrowed */
	struct list list;
	size_t dialling; /* connections without a target yet */
	/* Called after `dialling` has decreased. */
	void (*on_dial_end)(struct tcpconns *conns);
	/* Called after a connection has left the list, and before its descriptors are given back to
	 * the quota. */
	void (*on_conn_end)(struct tcpconns *conns);
};

/* Starts to serve a client: gets a connection to the port's target, and copies. The caller has
 * taken TCPCONN_FDS_DIALLING descriptors from the quota. `client` is taken unless this fails.
 * Returns 0 or -ENOMEM. */
int tcpconns_start(struct tcpconns *conns, int client, const struct sockaddr_storage *from);

/* Ends all connections now (bicopy_cancel). Tasks of the loop free them. */
void tcpconns_cancel(struct tcpconns *conns);
/* Ends the connections that have no target yet, and those that have delivered all that was sent on
 * them (bicopy_is_flowing, bicopy_drain). The caller must call this again from time to time, and
 * tcpconns_cancel after a deadline. Tasks of the loop free the connections. */
void tcpconns_drain(struct tcpconns *conns);

#endif
