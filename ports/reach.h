/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_REACH_H
#define PORTS_REACH_H

#include <stdbool.h>

#include "formats/ipaddr.h"

/* Where packets to an address go, as seen from a network namespace. A UDP socket of that namespace
 * answers, whichever process holds it: connect(2) sends nothing, but chooses a route and a source
 * address, which getsockname(2) tells (udp(7)). Four system calls, about 1 µs, and never a stale
 * answer. The socket is of the address' family, not bound, and not connected afterwards. Nothing
 * blocks.
 */

/* Is the address one of the namespace's own? False where that cannot be found out. */
bool reach_is_local(int udp_fd, const struct ipaddr *ip);

/* Does the default route lead there? That is the way out, by the network program or a VPN; what is
 * behind a bridge of the namespace has a route of its own. */
bool reach_is_outside(int udp_fd, const struct ipaddr *ip);

#endif
