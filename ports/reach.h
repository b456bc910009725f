/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_REACH_H
#define PORTS_REACH_H

#include <stdbool.h>

#include "formats/ipaddr.h"

/* Where a network namespace sends packets to an address. A UDP socket of that namespace shows this,
 * whichever process holds the socket: connect(2) sends nothing, but chooses a route and a source
 * address, which getsockname(2) returns (udp(7)). That takes a few system calls, about 1 µs, and
 * the answer is never stale.
 *
 * `udp_fd` (borrowed) must be of the address' family and not bound; afterwards it is not connected.
 * Nothing blocks. One thread at a time may use a socket.
 */

/* Is the address one of the namespace's own? False if that cannot be found out, for example because
 * `udp_fd` is -1. */
bool reach_is_local(int udp_fd, const struct ipaddr *ip);

/* Is the address outside of the namespace: behind the network program or a VPN? True if packets to
 * it have the same source address as packets on the default route. Packets to an address behind a
 * bridge of the namespace have the bridge's address. */
bool reach_is_outside(int udp_fd, const struct ipaddr *ip);

#endif
