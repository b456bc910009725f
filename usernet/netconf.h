/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_NETCONF_H
#define USERNET_NETCONF_H

#include <net/ethernet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

/* The settings of our own network, the same for all its queues, and never changed while it runs.
 * IPv4 addresses are mapped (::ffff:192.0.2.1), as everywhere in this folder. */

struct netconf {
	uint8_t mac[ETH_ALEN];	  /* ours: of the gateway and of the DNS address */
	unsigned int mtu;	  /* bytes; of the inside's interface */
	struct in6_addr gateway;  /* 10.0.2.2 */
	struct in6_addr dns;	  /* 10.0.2.3, or the gateway */
	int prefix_len;		  /* of the IPv4 network, 0 to 32 */
	bool ipv6;		  /* the four members that follow are set */
	struct in6_addr gateway6; /* fd00::2 */
	struct in6_addr dns6;	  /* fd00::3 */
	struct in6_addr router6;  /* link-local: what router advertisements come from */
	int prefix6_len;
	bool host_loopback; /* the gateway's address leads to the host's loopback address */
};

#endif
