/* SPDX-License-Identifier: Apache-2.0 */

/* Ethernet frames: any bytes are read as a frame, and its payload as a TCP segment or an ARP
 * message. What is read lies inside of the frame. Heads that are written for it read back equal. */
#include "formats/arpmsg.h"
#include "formats/inetsum.h"
#include "formats/packet.h"
#include "formats/tcpseg.h"

#include <errno.h>

#include "fuzz.h"

static uint8_t out[PACKET_HEAD_MAX + 8 + PACKET_IP_MAX];

/* ---- IP ---- */

static void require_equal(const struct packet *a, const struct packet *b)
{
	REQUIRE(memcmp(a->src_mac, b->src_mac, ETH_ALEN) == 0);
	REQUIRE(memcmp(a->dst_mac, b->dst_mac, ETH_ALEN) == 0);
	REQUIRE(memcmp(&a->addrs, &b->addrs, sizeof(a->addrs)) == 0);
	REQUIRE(a->proto == b->proto && a->hops == b->hops);
	REQUIRE(a->payload_len == b->payload_len);
	REQUIRE(memcmp(a->payload, b->payload, a->payload_len) == 0);
	REQUIRE(a->is_fragment == b->is_fragment && a->has_more == b->has_more);
	REQUIRE(a->fragment_at == b->fragment_at);
	REQUIRE(!a->is_fragment || a->fragment_id == b->fragment_id);
}

/* A head is written for what follows the IP header and its extensions. IPv6 reads an extension
 * header there as such, but after a fragment header it belongs to the payload. */
static bool reads_on(const struct packet *p)
{
	return !packet_is_v4(&p->addrs) && !p->is_fragment &&
	       (p->proto == IPPROTO_HOPOPTS || p->proto == IPPROTO_ROUTING ||
		p->proto == IPPROTO_DSTOPTS || p->proto == IPPROTO_FRAGMENT);
}

static void check_written(const struct packet *p)
{
	const struct packet_head head = { .src_mac = p->src_mac,
					  .dst_mac = p->dst_mac,
					  .addrs = p->addrs,
					  .proto = p->proto,
					  .hops = p->hops,
					  .fragment_id = p->fragment_id,
					  .fragment_at = p->fragment_at,
					  .has_more = p->has_more };
	struct packet back;
	size_t n;

	if (reads_on(p))
		return;
	n = p->is_fragment ? packet_put_fragment_head(out, &head, p->payload_len)
			   : packet_put_head(out, &head, p->payload_len);
	REQUIRE(n <= PACKET_HEAD_MAX + (p->is_fragment ? 8 : 0));
	memcpy(out + n, p->payload, p->payload_len);
	REQUIRE(packet_read(&back, out, n + p->payload_len) == PACKET_IP);
	require_equal(&back, p);
}

static void check_ip(const struct packet *p, const uint8_t *frame, size_t size)
{
	REQUIRE(p->ip == frame + PACKET_ETH_LEN && p->ip_len <= size - PACKET_ETH_LEN);
	REQUIRE(p->ip_len <= PACKET_IP_MAX + (packet_is_v4(&p->addrs) ? 0 : 40));
	REQUIRE(p->payload >= p->ip + 20 && p->payload + p->payload_len == p->ip + p->ip_len);
	REQUIRE(IN6_IS_ADDR_V4MAPPED(&p->addrs.src) == IN6_IS_ADDR_V4MAPPED(&p->addrs.dst));
	REQUIRE(p->is_fragment == (p->has_more || p->fragment_at != 0));
	REQUIRE(p->fragment_at % 8 == 0 && p->fragment_at + p->payload_len <= PACKET_IP_MAX);
	REQUIRE(!p->has_more || (p->payload_len > 0 && p->payload_len % 8 == 0));
}

/* ---- TCP ---- */

static void check_tcp(const struct packet *p)
{
	struct tcpseg seg, back;
	size_t n;
	int r = tcpseg_read(&seg, p->payload, p->payload_len);

	REQUIRE(r == 0 || r == -EBADMSG);
	tcpseg_is_intact(p); /* reads all of it */
	if (r < 0)
		return;
	REQUIRE(seg.data >= p->payload + TCPSEG_HEAD_LEN &&
		seg.data + seg.len == p->payload + p->payload_len);
	REQUIRE(seg.scale >= TCPSEG_NO_SCALE && seg.scale <= TCPSEG_SCALE_MAX);
	REQUIRE((seg.flags & TH_SYN) != 0 || (seg.mss == 0 && seg.scale == TCPSEG_NO_SCALE));
	REQUIRE(tcpseg_span(&seg) >= seg.len && tcpseg_span(&seg) <= seg.len + 2);
	n = tcpseg_put(out, &seg, &p->addrs);
	REQUIRE(n <= TCPSEG_HEAD_MAX);
	memcpy(out + n, seg.data, seg.len);
	REQUIRE(tcpseg_read(&back, out, n + seg.len) == 0);
	REQUIRE(back.src_port == seg.src_port && back.dst_port == seg.dst_port);
	REQUIRE(back.seq == seg.seq && back.ack == seg.ack && back.flags == seg.flags);
	REQUIRE(back.window == seg.window && back.mss == seg.mss && back.scale == seg.scale);
	REQUIRE(back.len == seg.len && memcmp(back.data, seg.data, seg.len) == 0);
}

/* ---- ARP ---- */

static void check_arp(const struct packet *p)
{
	struct arpmsg m;
	int r = arpmsg_read(&m, p->payload, p->payload_len);

	REQUIRE(r == 0 || r == -EBADMSG);
	if (r < 0)
		return;
	arpmsg_put(out, &m);
	REQUIRE(memcmp(out, p->payload, ARPMSG_LEN) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *frame = (uint8_t *)exact_copy(data, size);
	struct packet p;
	int r = packet_read(&p, frame, size);

	REQUIRE(r == PACKET_IP || r == PACKET_ARP || r == -EBADMSG || r == -EPROTONOSUPPORT);
	if (r == PACKET_ARP)
		check_arp(&p);
	if (r == PACKET_IP) {
		check_ip(&p, frame, size);
		check_written(&p);
		if (p.proto == IPPROTO_TCP)
			check_tcp(&p);
	}
	free(frame);
	return 0;
}
