/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_STACK_H
#define USERNET_STACK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/loop.h"
#include "ports/fdquota.h"
#include "usernet/dnsservers.h"
#include "usernet/frags.h"
#include "usernet/netconf.h"
#include "usernet/pcap.h"
#include "usernet/tap.h"
#include "usernet/udpsocks.h"

/* The network stack of one queue: takes frames from the inside, and gives each to its protocol. The
 * flows of a queue share nothing with those of others but sockets of UDP (usernet/udpsocks.h) and
 * the fragments of packets (usernet/frags.h): the kernel sends a flow's frames to the queue that
 * answers it (Documentation/networking/tuntap.rst).
 * Everything runs in one thread, and nothing blocks. */

struct stack;

struct stack_setup {
	struct loop *loop; /* all borrowed */
	const struct netconf *conf;
	struct fdtotal
		*fds;  /* descriptors that all queues, and the port driver, may hold together */
	size_t queues; /* how many queues there are; they share the limits */
	struct dnsservers *servers; /* the host's name servers */
	struct udpsocks *udpsocks;  /* the sockets of UDP flows, of all queues */
	struct frags *frags;	    /* packets of all queues that are not complete yet */
	struct pcap *pcap;	    /* where frames are recorded, or NULL */
};

/* Starts a stack on a queue of the TAP. `fd` is taken, even on failure. Returns the stack, or NULL
 * with errno. */
struct stack *stack_new(const struct stack_setup *setup, int fd);
/* Ends all flows, with a reset where they have not ended yet. NULL is fine. */
void stack_free(struct stack *s);

/* Handles some of the frames that have arrived, and nothing else that happens. Returns true if
 * there may be more, now or soon, or if something that the inside has sent is not delivered yet. */
bool stack_drain(struct stack *s);

#endif
