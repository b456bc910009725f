/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_USERNET_H
#define USERNET_USERNET_H

#include <stddef.h>

#include "base/err.h"
#include "ports/fdquota.h"
#include "usernet/netconf.h"

/* Our own user-mode network (--net=builtin): a router, NAT and DNS forwarder between the TAP device
 * inside and sockets on the host's side. It runs in the parent, in threads of its own, one for each
 * queue of the TAP, so neither the API nor a port driver can delay it. All functions are called in
 * the main thread. */

#define USERNET_MAX_QUEUES 64

struct usernet;

struct usernet_setup {
	struct netconf conf;
	const int *taps;       /* one descriptor for each queue; taken, even on failure */
	size_t count;	       /* 1 to USERNET_MAX_QUEUES */
	struct fdtotal *fds;   /* counts the descriptors of connections; borrowed */
	const char *pcap_path; /* where frames are recorded; NULL: nowhere */
};

/* Starts the threads. Returns 0 and sets *out, or -errno with a reason. */
int usernet_start(struct usernet **out, const struct usernet_setup *setup, struct err *e);

/* Ends the network. What the inside has sent so far is delivered first: blocks until that is done,
 * at most `drain_ms` milliseconds. NULL is fine. */
void usernet_free(struct usernet *u, unsigned int drain_ms);

#endif
