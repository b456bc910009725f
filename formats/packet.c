/* SPDX-License-Identifier: Apache-2.0 */
/* Ethernet and IP headers. See packet.h. */
#include "formats/packet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <string.h>

#include "formats/inetsum.h"

#define FRAGMENT_UNIT	   8U /* bytes; offsets of fragments count in these */
#define IPV6_EXTENSION_MAX 8  /* headers; more are refused */

static uint16_t get_be16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static void map_v4(struct in6_addr *out, const uint8_t *v4)
{
	static const uint8_t prefix[12] = { [10] = 0xff, [11] = 0xff };

	memcpy(out->s6_addr, prefix, sizeof(prefix));
	memcpy(out->s6_addr + sizeof(prefix), v4, sizeof(struct in_addr));
}

bool packet_is_v4(const struct packet_addrs *addrs)
{
	return IN6_IS_ADDR_V4MAPPED(&addrs->dst);
}

size_t packet_payload_max(const struct packet_addrs *addrs)
{
	return packet_is_v4(addrs) ? PACKET_IP_MAX - sizeof(struct ip) : PACKET_IP_MAX;
}

/* ---- reading ---- */

/* Fills in what a fragment is. Every fragment but the last consists of whole units, and none ends
 * behind `max` bytes of the packet's payload. */
static int set_fragment(struct packet *p, uint32_t id, size_t at, bool has_more, size_t max)
{
	p->is_fragment = at != 0 || has_more;
	p->has_more = has_more;
	p->fragment_id = id;
	p->fragment_at = at;
	if (!p->is_fragment)
		return 0;
	if ((has_more && p->payload_len % FRAGMENT_UNIT != 0) || p->payload_len == 0 ||
	    at + p->payload_len > max)
		return -EBADMSG;
	return 0;
}

static int read_v4(struct packet *p, const uint8_t *at, size_t len)
{
	struct ip ip;
	size_t head, fragment;

	if (len < sizeof(ip))
		return -EBADMSG;
	memcpy(&ip, at, sizeof(ip));
	head = ip.ip_hl * 4U;
	p->ip_len = ntohs(ip.ip_len);
	if (ip.ip_v != 4 || head < sizeof(ip) || p->ip_len < head || p->ip_len > len ||
	    inetsum_finish(inetsum_add(0, at, head)) != 0)
		return -EBADMSG;
	map_v4(&p->addrs.src, (const uint8_t *)&ip.ip_src);
	map_v4(&p->addrs.dst, (const uint8_t *)&ip.ip_dst);
	p->proto = ip.ip_p;
	p->hops = ip.ip_ttl;
	p->payload = at + head;
	p->payload_len = p->ip_len - head;
	fragment = ntohs(ip.ip_off);
	return set_fragment(p, ntohs(ip.ip_id), (fragment & IP_OFFMASK) * FRAGMENT_UNIT,
			    (fragment & IP_MF) != 0, PACKET_IP_MAX - head);
}

static int read_fragment_header(struct packet *p)
{
	struct ip6_frag header;
	size_t at;

	memcpy(&header, p->payload, sizeof(header));
	at = ntohs(header.ip6f_offlg & IP6F_OFF_MASK);
	p->payload += sizeof(header);
	p->payload_len -= sizeof(header);
	p->proto = header.ip6f_nxt;
	return set_fragment(p, ntohl(header.ip6f_ident), at,
			    (header.ip6f_offlg & IP6F_MORE_FRAG) != 0, PACKET_IP_MAX);
}

static bool is_extension(uint8_t proto)
{
	return proto == IPPROTO_HOPOPTS || proto == IPPROTO_ROUTING || proto == IPPROTO_DSTOPTS;
}

/* Skips the extension headers. Those after the fragment header belong to the fragmented part. */
static int skip_extensions(struct packet *p)
{
	for (int i = 0; i < IPV6_EXTENSION_MAX; i++) {
		size_t len;

		if (!is_extension(p->proto) && p->proto != IPPROTO_FRAGMENT)
			return 0;
		if (p->payload_len < FRAGMENT_UNIT)
			return -EBADMSG;
		if (p->proto == IPPROTO_FRAGMENT)
			return read_fragment_header(p);
		len = (p->payload[1] + 1U) * FRAGMENT_UNIT;
		if (len > p->payload_len)
			return -EBADMSG;
		p->proto = p->payload[0];
		p->payload += len;
		p->payload_len -= len;
	}
	return -EBADMSG;
}

static int read_v6(struct packet *p, const uint8_t *at, size_t len)
{
	struct ip6_hdr ip;

	if (len < sizeof(ip))
		return -EBADMSG;
	memcpy(&ip, at, sizeof(ip));
	p->payload_len = ntohs(ip.ip6_plen);
	p->ip_len = sizeof(ip) + p->payload_len;
	/* A mapped address on the wire is nothing that a host sends (RFC 4291 2.5.5.2). */
	if (ip.ip6_vfc >> 4 != 6 || p->ip_len > len || IN6_IS_ADDR_V4MAPPED(&ip.ip6_src) ||
	    IN6_IS_ADDR_V4MAPPED(&ip.ip6_dst))
		return -EBADMSG;
	p->addrs.src = ip.ip6_src;
	p->addrs.dst = ip.ip6_dst;
	p->proto = ip.ip6_nxt;
	p->hops = ip.ip6_hlim;
	p->payload = at + sizeof(ip);
	return skip_extensions(p);
}

int packet_read(struct packet *p, const uint8_t *frame, size_t len)
{
	int r;

	*p = (struct packet){ 0 };
	if (len < PACKET_ETH_LEN)
		return -EBADMSG;
	memcpy(p->dst_mac, frame, ETH_ALEN);
	memcpy(p->src_mac, frame + ETH_ALEN, ETH_ALEN);
	p->ip = p->payload = frame + PACKET_ETH_LEN;
	p->payload_len = len - PACKET_ETH_LEN;
	switch (get_be16(frame + 2 * (size_t)ETH_ALEN)) {
	case ETHERTYPE_IP:
		r = read_v4(p, p->ip, p->payload_len);
		break;
	case ETHERTYPE_IPV6:
		r = read_v6(p, p->ip, p->payload_len);
		break;
	case ETHERTYPE_ARP:
		return PACKET_ARP;
	default:
		return -EPROTONOSUPPORT;
	}
	return r < 0 ? r : PACKET_IP;
}

/* ---- writing ---- */

static size_t put_eth(uint8_t *out, const struct packet_head *head, uint16_t type)
{
	const uint16_t type_be = htons(type);

	memcpy(out, head->dst_mac, ETH_ALEN);
	memcpy(out + ETH_ALEN, head->src_mac, ETH_ALEN);
	memcpy(out + 2 * (size_t)ETH_ALEN, &type_be, sizeof(type_be));
	return PACKET_ETH_LEN;
}

static size_t put_v4(uint8_t *out, const struct packet_head *head, size_t payload_len,
		     uint16_t fragment)
{
	struct ip ip = { .ip_v = 4,
			 .ip_hl = sizeof(ip) / 4,
			 .ip_len = htons((uint16_t)(sizeof(ip) + payload_len)),
			 .ip_id = htons((uint16_t)head->fragment_id),
			 .ip_off = htons(fragment),
			 .ip_ttl = head->hops,
			 .ip_p = head->proto };

	memcpy(&ip.ip_src, &head->addrs.src.s6_addr[12], sizeof(ip.ip_src));
	memcpy(&ip.ip_dst, &head->addrs.dst.s6_addr[12], sizeof(ip.ip_dst));
	ip.ip_sum = inetsum_finish(inetsum_add(0, &ip, sizeof(ip)));
	memcpy(out, &ip, sizeof(ip));
	return sizeof(ip);
}

static size_t put_v6(uint8_t *out, const struct packet_head *head, size_t payload_len, uint8_t next)
{
	struct ip6_hdr ip = { 0 };

	ip.ip6_vfc = 6 << 4;
	ip.ip6_plen = htons((uint16_t)payload_len);
	ip.ip6_nxt = next;
	ip.ip6_hlim = head->hops;
	ip.ip6_src = head->addrs.src;
	ip.ip6_dst = head->addrs.dst;
	memcpy(out, &ip, sizeof(ip));
	return sizeof(ip);
}

size_t packet_put_head(uint8_t *out, const struct packet_head *head, size_t payload_len)
{
	const bool v4 = packet_is_v4(&head->addrs);
	size_t n = put_eth(out, head, v4 ? ETHERTYPE_IP : ETHERTYPE_IPV6);

	return n + (v4 ? put_v4(out + n, head, payload_len, IP_DF)
		       : put_v6(out + n, head, payload_len, head->proto));
}

size_t packet_put_fragment_head(uint8_t *out, const struct packet_head *head, size_t payload_len)
{
	const bool v4 = packet_is_v4(&head->addrs);
	size_t n = put_eth(out, head, v4 ? ETHERTYPE_IP : ETHERTYPE_IPV6);
	struct ip6_frag header = { .ip6f_nxt = head->proto,
				   .ip6f_offlg = htons((uint16_t)head->fragment_at),
				   .ip6f_ident = htonl(head->fragment_id) };

	if (v4)
		return n + put_v4(out + n, head, payload_len,
				  (uint16_t)(head->fragment_at / FRAGMENT_UNIT |
					     (head->has_more ? IP_MF : 0)));
	if (head->has_more)
		header.ip6f_offlg |= IP6F_MORE_FRAG;
	n += put_v6(out + n, head, sizeof(header) + payload_len, IPPROTO_FRAGMENT);
	memcpy(out + n, &header, sizeof(header));
	return n + sizeof(header);
}
