/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_UDP_H
#define PORTS_UDP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/loop.h"
#include "ports/dial.h"
#include "ports/fdquota.h"
#include "ports/listener.h"

/* Published UDP ports of a worker. Each client, by its address and port and the address that it
 * writes to, has a flow: a connected socket in the child's network namespace. Datagrams pass as
 * they are, the empty ones and the largest too, in their order within a flow; what there is no room
 * for is dropped, as a network would.
 *
 * All functions belong to the thread of the loop, none blocks.
 */

struct udp;

/* Returns NULL if there is no memory. All that is given is borrowed; so many `workers` draw on the
 * quota's total. */
struct udp *udp_new(struct loop *loop, const struct dialler *dialler, struct fdquota *quota,
		    size_t workers);

/* Serves the listener's port, whose listening socket is a non-blocking one with
 * dgram_listener_options. The listener is borrowed until the port is removed. Returns 0 or -errno.
 */
int udp_add_port(struct udp *u, struct listener *listener);

/* Ends a port and its flows. Returns false if there is no such port. Not from within a task. */
bool udp_remove_port(struct udp *u, int id);

/* Passes on what servers have sent by now, and ends all ports. Not from within a task. */
void udp_end(struct udp *u);

/* Frees it all; the loop must not run any more. NULL is fine. */
void udp_free(struct udp *u);

#endif
