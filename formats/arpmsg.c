/* SPDX-License-Identifier: Apache-2.0 */
/* ARP messages. See arpmsg.h. */
#include "formats/arpmsg.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if_arp.h>
#include <netinet/if_ether.h>
#include <string.h>

_Static_assert(sizeof(struct ether_arp) == ARPMSG_LEN, "without padding");

int arpmsg_read(struct arpmsg *m, const uint8_t *payload, size_t len)
{
	struct ether_arp arp;

	if (len < sizeof(arp))
		return -EBADMSG;
	memcpy(&arp, payload, sizeof(arp));
	if (arp.arp_hrd != htons(ARPHRD_ETHER) || arp.arp_pro != htons(ETHERTYPE_IP) ||
	    arp.arp_hln != ETH_ALEN || arp.arp_pln != sizeof(struct in_addr))
		return -EBADMSG;
	m->op = ntohs(arp.arp_op);
	memcpy(m->src_mac, arp.arp_sha, ETH_ALEN);
	memcpy(m->dst_mac, arp.arp_tha, ETH_ALEN);
	memcpy(&m->src, arp.arp_spa, sizeof(m->src));
	memcpy(&m->dst, arp.arp_tpa, sizeof(m->dst));
	return 0;
}

void arpmsg_put(uint8_t *out, const struct arpmsg *m)
{
	struct ether_arp arp = { 0 };

	arp.arp_hrd = htons(ARPHRD_ETHER);
	arp.arp_pro = htons(ETHERTYPE_IP);
	arp.arp_hln = ETH_ALEN;
	arp.arp_pln = sizeof(struct in_addr);
	arp.arp_op = htons(m->op);
	memcpy(arp.arp_sha, m->src_mac, ETH_ALEN);
	memcpy(arp.arp_tha, m->dst_mac, ETH_ALEN);
	memcpy(arp.arp_spa, &m->src, sizeof(m->src));
	memcpy(arp.arp_tpa, &m->dst, sizeof(m->dst));
	memcpy(out, &arp, sizeof(arp));
}
