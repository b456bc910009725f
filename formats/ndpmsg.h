/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORMATS_NDPMSG_H
#define FORMATS_NDPMSG_H

#include <net/ethernet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/packet.h"

/* Neighbour discovery (RFC 4861): solicitations are read, advertisements are written. Nothing here
 * blocks, allocates or has state. */

#define NDPMSG_HOPS 255 /* hop limit of all its packets: a router would have reduced it */

/* Is it a type of ICMPv6 message that RFC 4861 describes? */
bool ndpmsg_is_type(uint8_t type);

/* A solicitation */
struct ndpmsg {
	uint8_t type;		/* ND_ROUTER_SOLICIT or ND_NEIGHBOR_SOLICIT (netinet/icmp6.h) */
	struct in6_addr target; /* of a neighbour solicitation: whose MAC address is asked for */
	bool is_probe;		/* its source is ::, so the sender has no address yet */
};

/* Reads an ICMPv6 packet. Returns 0, or -EBADMSG if it is no solicitation, or one that RFC 4861
 * 6.1.1 or 7.1.1 calls invalid: a hop limit below 255, a wrong checksum, a malformed option, a
 * destination that a probe must not have, and others. */
int ndpmsg_read(struct ndpmsg *m, const struct packet *p);

#define NDPMSG_ADVERT_MAX 32 /* bytes of the longest advertisement */

/* Write the ICMPv6 message for a packet with these addresses, with its checksum. Return the bytes
 * written, at most NDPMSG_ADVERT_MAX. `mac` is the sender's.
 *
 * A neighbour advertisement says that `target` has that MAC address and is a router. `solicited`:
 * it answers a solicitation that was not a probe. */
size_t ndpmsg_put_neighbour(uint8_t *out, const struct packet_addrs *addrs,
			    const struct in6_addr *target, const uint8_t *mac, bool solicited);
/* A router advertisement that configures nothing but the MTU: no prefix, no default route (its
 * router lifetime is 0). */
size_t ndpmsg_put_router(uint8_t *out, const struct packet_addrs *addrs, const uint8_t *mac,
			 uint8_t hops, unsigned int mtu);

#endif
