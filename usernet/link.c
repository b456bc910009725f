/* SPDX-License-Identifier: Apache-2.0 */
/* Sends IP packets to the inside. See link.h. */
#include "usernet/link.h"

#include <pthread.h>
#include <string.h>

#include "formats/inetsum.h"

/* All queues cut one packet at a time. The inside gives up a packet if more than 64 fragments of
 * others with the same addresses come between two of its own (ipfrag_max_dist, ip-sysctl.rst), as
 * they would while a thread waits for a CPU. */
static pthread_mutex_t fragments_lock = PTHREAD_MUTEX_INITIALIZER;

/* Of the last packet that was cut, guarded by the lock. The inside puts fragments together by
 * addresses and ID only, so packets of two queues must not have the same. */
static uint32_t last_fragment_id;

static struct packet_head head_of(const struct link *l, const struct link_packet *p)
{
	return (struct packet_head){ .src_mac = l->conf->mac,
				     .dst_mac = p->mac,
				     .addrs = p->addrs,
				     .proto = p->proto,
				     .hops = p->hops != 0 ? p->hops : LINK_HOPS };
}

static size_t ip_head_len(const struct link_packet *p)
{
	return packet_is_v4(&p->addrs) ? 20 : 40;
}

/* ---- whole packets ---- */

static void send_whole(const struct link *l, const struct link_packet *p)
{
	const struct packet_head head = head_of(l, p);
	struct tap_offload offload = { .gso_type = p->gso_type, .gso_size = p->gso_size };
	uint8_t bytes[TAP_HEAD_MAX];
	size_t len = packet_put_head(bytes, &head, p->head_len + p->payload_len);

	if (p->sum_at != LINK_HAS_SUM) {
		offload.needs_sum = true;
		offload.sum_start = (uint16_t)len;
		offload.sum_at = (uint16_t)p->sum_at;
	}
	if (p->head_len > 0)
		memcpy(bytes + len, p->head, p->head_len);
	len += p->head_len;
	offload.head_len = (uint16_t)len;
	tap_send(l->tap, bytes, len, p->payload, p->payload_len, &offload);
}

/* ---- fragments ---- */

/* Completes the checksum of a head, which has the sum of the pseudo header. */
static void complete_sum(uint8_t *head, const struct link_packet *p)
{
	uint64_t sum = inetsum_add(0, head, p->head_len);
	uint16_t result = inetsum_finish(inetsum_add(sum, p->payload, p->payload_len));

	/* 0 would mean that UDP has none (RFC 768). */
	if (result == 0 && p->proto == IPPROTO_UDP)
		result = UINT16_MAX;
	memcpy(head + p->sum_at, &result, sizeof(result));
}

/* The first fragment has the transport header and the beginning of the payload, the others only
 * payload. All but the last have a multiple of 8 bytes. */
static void send_fragments(const struct link *l, const struct link_packet *p)
{
	const struct tap_offload offload = { 0 };
	const size_t room = (l->conf->mtu - ip_head_len(p) - (packet_is_v4(&p->addrs) ? 0 : 8)) &
			    ~(size_t)7;
	const size_t total = p->head_len + p->payload_len;
	struct packet_head head = head_of(l, p);
	uint8_t transport[LINK_HEAD_MAX];
	size_t sent = 0;

	if (p->head_len > 0)
		memcpy(transport, p->head, p->head_len);
	if (p->sum_at != LINK_HAS_SUM)
		complete_sum(transport, p);
	pthread_mutex_lock(&fragments_lock);
	head.fragment_id = ++last_fragment_id;
	for (size_t at = 0; at < total; at += room) {
		uint8_t bytes[TAP_HEAD_MAX];
		size_t len = total - at < room ? total - at : room, n, own;

		head.fragment_at = at;
		head.has_more = at + len < total;
		n = packet_put_fragment_head(bytes, &head, len);
		own = at == 0 ? p->head_len : 0;
		memcpy(bytes + n, transport, own);
		tap_send(l->tap, bytes, n + own, (const uint8_t *)p->payload + sent, len - own,
			 &offload);
		sent += len - own;
	}
	pthread_mutex_unlock(&fragments_lock);
}

void link_send(struct link *l, const struct link_packet *p)
{
	bool fits = ip_head_len(p) + p->head_len + p->payload_len <= l->conf->mtu;

	if (fits || p->gso_type != VIRTIO_NET_HDR_GSO_NONE)
		send_whole(l, p);
	else
		send_fragments(l, p);
}

void link_send_frame(struct link *l, const uint8_t *frame, size_t len)
{
	const struct tap_offload offload = { 0 };

	tap_send(l->tap, frame, len, NULL, 0, &offload);
}
