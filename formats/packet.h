/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORMATS_PACKET_H
#define FORMATS_PACKET_H

#include <net/ethernet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Ethernet frames with IPv4 (RFC 791) or IPv6 (RFC 8200): reading them, and writing their headers.
 * IPv4 addresses are mapped into IPv6 (::ffff:192.0.2.1), so both families share one struct.
 * Nothing here blocks, allocates or has state.
 */

#define PACKET_ETH_LEN 14 /* bytes of an Ethernet header */
#define PACKET_HEAD_MAX \
	(PACKET_ETH_LEN + 40) /* bytes of the longest head that packet_put_head writes */
/* Bytes of the longest packet: IPv4 counts its header (RFC 791 3.1), IPv6 does not (RFC 8200 3). */
#define PACKET_IP_MAX	 65535
#define PACKET_FRAME_MAX (PACKET_HEAD_MAX + PACKET_IP_MAX)

struct packet_addrs {
	struct in6_addr src, dst;
};

/* A packet that was read. Pointers point into the frame. */
struct packet {
	uint8_t src_mac[ETH_ALEN], dst_mac[ETH_ALEN];
	struct packet_addrs addrs;
	uint8_t proto;		/* IPPROTO_TCP and others: what the payload is */
	uint8_t hops;		/* time to live, hop limit */
	const uint8_t *ip;	/* the IP header, and all that follows it in the packet */
	size_t ip_len;		/* bytes, without padding of the frame */
	const uint8_t *payload; /* after the IP header and its extensions */
	size_t payload_len;
	/* A fragment: its payload is a part of the packet's. */
	bool is_fragment, has_more;
	uint32_t fragment_id;
	size_t fragment_at; /* bytes of the packet's payload before it */
};

/* What the payload of a frame is, from its type. */
enum packet_kind {
	PACKET_IP,  /* *p is filled in */
	PACKET_ARP, /* only the MAC addresses, `payload` and `payload_len` are */
};

/* Reads a frame. Returns its kind, or -EBADMSG if it is malformed (too short, lengths that
 * contradict each other, a wrong checksum of the IPv4 header, a fragment that ends behind the
 * longest packet), or -EPROTONOSUPPORT for another type of frame. Options and extension headers are
 * skipped. */
int packet_read(struct packet *p, const uint8_t *frame, size_t len);

/* Is it IPv4? */
bool packet_is_v4(const struct packet_addrs *addrs);

/* Returns how many bytes can follow the IP header (without options) in the longest packet. */
size_t packet_payload_max(const struct packet_addrs *addrs);

/* A head to write. */
struct packet_head {
	const uint8_t *src_mac, *dst_mac; /* ETH_ALEN bytes each */
	struct packet_addrs addrs;	  /* both of one family */
	uint8_t proto, hops;
	/* Only packet_put_fragment_head: */
	uint32_t fragment_id;
	size_t fragment_at; /* bytes; a multiple of 8 */
	bool has_more;
};

/* Writes Ethernet and IP headers for a payload of `payload_len` bytes, at most
 * packet_payload_max. IPv4 packets must not be fragmented (DF). Returns the bytes written. */
size_t packet_put_head(uint8_t *out, const struct packet_head *head, size_t payload_len);
/* The same for a fragment. Writes up to PACKET_HEAD_MAX + 8 bytes. */
size_t packet_put_fragment_head(uint8_t *out, const struct packet_head *head, size_t payload_len);

#endif
