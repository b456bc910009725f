/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORMATS_ARPMSG_H
#define FORMATS_ARPMSG_H

#include <net/ethernet.h>
#include <netinet/in.h>
#include <stdint.h>

/* ARP (RFC 826) for IPv4 over Ethernet. Nothing here blocks, allocates or has state. */

#define ARPMSG_LEN 28 /* bytes */

struct arpmsg {
	uint16_t op; /* ARPOP_REQUEST and others (net/if_arp.h) */
	uint8_t src_mac[ETH_ALEN], dst_mac[ETH_ALEN];
	struct in_addr src, dst;
};

/* Reads the payload of an ARP frame. Returns 0, or -EBADMSG if it is too short or of other
 * protocols. */
int arpmsg_read(struct arpmsg *m, const uint8_t *payload, size_t len);

/* Writes ARPMSG_LEN bytes. */
void arpmsg_put(uint8_t *out, const struct arpmsg *m);

#endif
