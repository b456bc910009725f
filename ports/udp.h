/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_UDP_H
#define PORTS_UDP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/loop.h"
#include "ports/dial.h"
#include "ports/fdquota.h"
#include "ports/listener.h"

/* The published UDP ports of a worker. Each client has a flow, identified by the client's address
 * and port and by the address that it writes to. A flow is a connected socket in the child's
 * network namespace. Datagrams are passed on unchanged, including empty ones and the largest, and
 * in order within a flow. Datagrams that find no room are dropped, as a network would do.
 *
 * All functions belong to the thread of the loop; none blocks.
 */

struct udp;

/* Returns NULL if out of memory. All parameters are borrowed. `quota`: flows take their descriptors
 * from it. `workers`: how many workers draw on the quota's total. */
struct udp *udp_new(struct loop *loop, const struct dialler *dialler, struct fdquota *quota,
		    size_t workers);

/* Serves the listener's port. The listening socket must be non-blocking and have
 * dgram_set_listener_options. The listener is borrowed until the port is removed. Returns 0 or
 * -errno. */
int udp_add_port(struct udp *u, struct listener *listener);

/* Removes a port and its flows. Returns false if there is no such port. Must not be called from
 * within a task. */
bool udp_remove_port(struct udp *u, int id);

/* Passes on the answers that servers have sent so far, and removes all ports. Must not be called
 * from within a task. */
void udp_end(struct udp *u);

/* Frees `u`, after udp_end: no port may be left. The loop must not run any more. NULL is fine. */
void udp_free(struct udp *u);

#endif
