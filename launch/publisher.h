/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCH_PUBLISHER_H
#define LAUNCH_PUBLISHER_H

#include <stdbool.h>

#include "base/err.h"
#include "launch/childproc.h"
#include "launch/opts.h"
#include "net/netsupervisor.h"
#include "net/network.h"
#include "os/statedir.h"
#include "ports/ports.h"

/* The parent's ports, from the start to the end: chooses the port driver, checks that the child's
 * port service is up, publishes the ports of the command line, and ends the workers. Runs in the
 * parent's main thread, which owns the struct.
 */

struct publisher {
	const struct portdriver *driver; /* NULL: no driver that publishes ports */
	struct ports *ports; /* owned; NULL before publisher_start, and without a driver */
	int ready_fd;	     /* the fifo that the port service closes when it is up; -1: none */
	int service_fd;	     /* O_PATH descriptor of the port service's socket file; -1: none */
	/* borrowed */
	const struct opts *o;
	const struct statedir *sd;
	const struct network *net;
	struct netsupervisor *supervisor; /* restarts a network program that does not answer */
	struct fdtotal *fds; /* shared with our own network; set by the owner. NULL: with nobody */
};

/* Chooses the port driver. Borrows everything for as long as `p` lives. */
void publisher_init(struct publisher *p, const struct opts *o, const struct statedir *sd,
		    const struct network *net, struct netsupervisor *supervisor);

/* Does the port driver use the port service in the child? Parent and child may ask. */
bool publisher_uses_service(enum port_driver driver);

/* Makes the fifo by which the port service reports that it is up. Call it before the child may
 * start the port service. Does nothing if the port driver uses none. Returns 0 or -errno with a
 * reason. */
int publisher_expect_service(struct publisher *p, struct err *e);

/* Checks that the port service is up. Call it when the child has reported that its set-up is
 * complete. Returns 0 if the port service is up, or if the port driver uses none; else -EPROTO with
 * a reason. */
int publisher_check_service(struct publisher *p, struct err *e);

/* Starts the port driver, if there is one, and publishes the ports of the command line. Blocks as
 * ports_new and ports_add do. Returns 0 or -errno with a reason. */
int publisher_start(struct publisher *p, struct err *e);

/* Closes all ports. Connections have some seconds to deliver what was sent on them (ports_free);
 * blocks until then. */
void publisher_end(struct publisher *p);

/* Ends the workers and closer processes (closer.h) that publisher_end has left, and closes the
 * descriptors. A process inside can block close(2) of a descriptor that it has sent, and so a
 * worker or a closer process. If that lasts, kills all processes inside, which unblocks it. Blocks
 * for some seconds at most; logs an error if something is still blocked then. */
void publisher_free(struct publisher *p, const struct childproc *child);

#endif
