/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_POLICY_H
#define USERNET_POLICY_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "formats/packet.h"
#include "usernet/netconf.h"

/* What packets from inside may reach. All protocols ask here, so there is one place that keeps the
 * inside away from the host's loopback. Pure functions; nothing blocks. */

enum policy {
	POLICY_HOST,	/* goes to the host's network, or to the host itself */
	POLICY_DNS,	/* it is the DNS address; port 53 is for dns.h, all else is refused */
	POLICY_SELF,	/* it is the gateway, but that does not lead to the host's loopback; or the
			   router's link-local address */
	POLICY_REFUSED, /* an ICMP error may say that it is prohibited */
	POLICY_IGNORED, /* not for a router: multicast, broadcast, malformed; no answer */
};

/* Decides about a packet by its addresses. With POLICY_HOST, *host is the address for the host's
 * socket: the packet's, or the host's loopback address for that of the gateway. If the DNS address
 * is the gateway's, the caller treats port 53 of POLICY_HOST and POLICY_SELF as DNS
 * (policy_is_dns). */
enum policy policy_decide(const struct netconf *conf, const struct packet_addrs *addrs,
			  struct in6_addr *host);

/* Does this address and port lead to our DNS service? */
bool policy_is_dns(const struct netconf *conf, const struct in6_addr *dst, uint16_t port);

/* Is it one of our own addresses: the gateway, the DNS address, the router? */
bool policy_is_ours(const struct netconf *conf, const struct in6_addr *addr);

/* Writes an address of policy_decide as a socket address: AF_INET if it is mapped, else AF_INET6.
 * Returns its length. */
socklen_t policy_sockaddr(struct sockaddr_storage *to, const struct in6_addr *host, uint16_t port);

#endif
