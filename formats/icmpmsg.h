/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORMATS_ICMPMSG_H
#define FORMATS_ICMPMSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/packet.h"

/* ICMP (RFC 792) and ICMPv6 (RFC 4443): the addresses say which of the two. Nothing here blocks,
 * allocates or has state. */

#define ICMPMSG_LEN 8 /* bytes of the header */

struct icmpmsg {
	uint8_t type, code; /* see netinet/ip_icmp.h, netinet/icmp6.h */
	/* The second word of the header: identifier and sequence number of an echo (icmpmsg_id),
	 * the MTU of "too big", the place of a wrong parameter */
	uint32_t rest;
	const uint8_t *payload; /* may be NULL if len is 0 */
	size_t len;		/* bytes of the payload */
};

/* The identifier of an echo request or reply */
static inline uint16_t icmpmsg_id(const struct icmpmsg *m)
{
	return (uint16_t)(m->rest >> 16);
}

/* ICMP for IPv4, ICMPv6 for IPv6 */
uint8_t icmpmsg_proto(const struct packet_addrs *addrs);

/* Reads a packet; the payload is not copied. Returns 0, or -EBADMSG if it is not of that protocol,
 * too short, a fragment, or has a wrong checksum. */
int icmpmsg_read(struct icmpmsg *m, const struct packet *p);

/* Writes the header, ICMPMSG_LEN bytes, with the checksum of the whole message. */
void icmpmsg_put(uint8_t *out, const struct packet_addrs *addrs, const struct icmpmsg *m);

bool icmpmsg_is_echo_request(const struct packet_addrs *addrs, const struct icmpmsg *m);
/* The type of an answer to an echo request */
uint8_t icmpmsg_echo_reply(const struct packet_addrs *addrs);

/* Is it an error, or a redirect? No error may be sent about those. `proto` is IPPROTO_ICMP or
 * IPPROTO_ICMPV6. */
bool icmpmsg_is_error(uint8_t proto, uint8_t type);

/* The beginning of a packet, as the payload of an error about it */
struct icmpmsg_quote {
	struct packet_addrs addrs;
	uint8_t proto, hops;
	uint8_t bytes[8];    /* of its payload */
	const uint8_t *more; /* what follows them, as far as it is known; NULL if more_len is 0 */
	size_t more_len;
	uint16_t len; /* bytes of its payload altogether */
};

#define ICMPMSG_QUOTE_MAX 1232 /* bytes */

/* Writes the IP header of the packet, `bytes` and `more`, but not more than an error may have: it
 * is at most 576 bytes long with IPv4 (RFC 1812 4.3.2.3), and 1280 with IPv6 (RFC 4443 3.1).
 * Returns the bytes written. */
size_t icmpmsg_put_quote(uint8_t *out, const struct icmpmsg_quote *q);

#endif
