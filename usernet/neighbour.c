/* SPDX-License-Identifier: Apache-2.0 */
/* ARP and neighbour discovery for our addresses. See neighbour.h.
 *
 * The inside has its addresses and routes from us before its programs start, so it needs no router
 * advertisement. Linux solicits one again and again until one comes, though (RFC 7559). The answer
 * ends that, and configures nothing: no prefix, because the kernel would make itself a second
 * address by it, and no default route beside the one that is there.
 */
#include "usernet/neighbour.h"

#include <arpa/inet.h>
#include <net/if_arp.h>
#include <netinet/icmp6.h>
#include <string.h>

#include "formats/arpmsg.h"
#include "formats/ndpmsg.h"
#include "usernet/policy.h"

/* ---- ARP ---- */

static bool is_ours_v4(const struct link *l, struct in_addr addr)
{
	struct in6_addr mapped = { .s6_addr = { [10] = 0xff, [11] = 0xff } };

	memcpy(&mapped.s6_addr[12], &addr, sizeof(addr));
	return policy_is_ours(l->conf, &mapped);
}

static void send_arp(struct link *l, const struct arpmsg *m)
{
	const uint16_t type = htons(ETHERTYPE_ARP);
	uint8_t frame[PACKET_ETH_LEN + ARPMSG_LEN];

	memcpy(frame, m->dst_mac, ETH_ALEN);
	memcpy(frame + ETH_ALEN, m->src_mac, ETH_ALEN);
	memcpy(frame + 2 * (size_t)ETH_ALEN, &type, sizeof(type));
	arpmsg_put(frame + PACKET_ETH_LEN, m);
	link_send_frame(l, frame, sizeof(frame));
}

/* Probes (RFC 5227 1.1: from 0.0.0.0) are answered like other requests, so the prober learns that
 * the address is in use. An announcement, from and for the same address, asks for nothing. */
void neighbour_on_arp(struct link *l, const struct packet *p)
{
	struct arpmsg m, answer;

	if (arpmsg_read(&m, p->payload, p->payload_len) < 0 || m.op != ARPOP_REQUEST ||
	    !is_ours_v4(l, m.dst) || is_ours_v4(l, m.src))
		return;
	answer = (struct arpmsg){ .op = ARPOP_REPLY, .src = m.dst, .dst = m.src };
	memcpy(answer.src_mac, l->conf->mac, ETH_ALEN);
	memcpy(answer.dst_mac, m.src_mac, ETH_ALEN);
	send_arp(l, &answer);
}

/* ---- neighbour discovery ---- */

/* Sends an ICMPv6 message. link_send would give it another hop limit. */
static void send_icmp6(struct link *l, const uint8_t *mac, const struct packet_addrs *addrs,
		       const uint8_t *message, size_t len)
{
	const struct packet_head head = { .src_mac = l->conf->mac,
					  .dst_mac = mac,
					  .addrs = *addrs,
					  .proto = IPPROTO_ICMPV6,
					  .hops = NDPMSG_HOPS };
	uint8_t frame[TAP_HEAD_MAX];
	size_t n = packet_put_head(frame, &head, len);

	memcpy(frame + n, message, len);
	link_send_frame(l, frame, n + len);
}

static const struct in6_addr all_nodes = { .s6_addr = { 0xff, 0x02, [15] = 1 } };
static const uint8_t all_nodes_mac[ETH_ALEN] = { 0x33, 0x33, 0, 0, 0, 1 };

/* Whoever has no address yet is reached by multicast (RFC 4861 7.2.4). */
static void advertise_neighbour(struct link *l, const struct packet *p, const struct ndpmsg *m)
{
	const struct packet_addrs addrs = { m->target, m->is_probe ? all_nodes : p->addrs.src };
	uint8_t message[NDPMSG_ADVERT_MAX];
	size_t len;

	if (!policy_is_ours(l->conf, &m->target) || policy_is_ours(l->conf, &p->addrs.src))
		return;
	len = ndpmsg_put_neighbour(message, &addrs, &m->target, l->conf->mac, !m->is_probe);
	send_icmp6(l, m->is_probe ? all_nodes_mac : p->src_mac, &addrs, message, len);
}

static void advertise_router(struct link *l, const struct packet *p, const struct ndpmsg *m)
{
	const struct packet_addrs addrs = { l->conf->router6,
					    m->is_probe ? all_nodes : p->addrs.src };
	uint8_t message[NDPMSG_ADVERT_MAX];
	size_t len;

	if (policy_is_ours(l->conf, &p->addrs.src))
		return;
	len = ndpmsg_put_router(message, &addrs, l->conf->mac, LINK_HOPS, l->conf->mtu);
	send_icmp6(l, m->is_probe ? all_nodes_mac : p->src_mac, &addrs, message, len);
}

bool neighbour_on_icmp6(struct link *l, const struct packet *p)
{
	struct ndpmsg m;

	/* The first byte of a fragment is any byte of its packet. Neighbour discovery must not be
	 * fragmented (RFC 6980), and what takes whole packets ignores it. */
	if (p->proto != IPPROTO_ICMPV6 || p->is_fragment || p->payload_len == 0 ||
	    !ndpmsg_is_type(p->payload[0]))
		return false;
	if (!l->conf->ipv6 || ndpmsg_read(&m, p) < 0)
		return true;
	if (m.type == ND_NEIGHBOR_SOLICIT)
		advertise_neighbour(l, p, &m);
	else
		advertise_router(l, p, &m);
	return true;
}
