/* SPDX-License-Identifier: Apache-2.0 */
/* UDP datagrams to the inside. See udpout.h.
 *
 * Datagrams are collected in a run: datagrams of one size, of which the last may be shorter. A run
 * that is a single piece of the receiver's memory is sent from there, without a copy. A second
 * piece is copied behind the first, to the payload buffer of the TAP: that costs much less than a
 * frame of its own.
 *
 *     received    a 1400   b 1400   c 1400   d 700   e 700   f 0   g 1400
 *     frames      [ a b c d, segment 1400 ]  [ e ]  [ f ]  [ g ]
 *
 * An empty datagram cannot be a part of a run, and a datagram that needs fragments cannot, either.
 */
#include "usernet/udpout.h"

#include <linux/virtio_net.h>
#include <string.h>

#include "formats/udpseg.h"

#define RUN_MAX 64 /* datagrams: the kernel's limit (UDP_MAX_SEGMENTS) until 6.8; 128 since */

struct run {
	const struct udpout *out;
	const struct udpout_path *path;
	const char *bytes; /* where it was received, or the payload buffer */
	size_t len;
	size_t segment; /* bytes of each datagram but the last */
	size_t max;	/* bytes that it may have */
	bool is_closed; /* its last datagram is shorter than the others */
};

static bool is_copied(const struct run *r)
{
	return r->bytes == (const char *)tap_payload(r->out->link->tap);
}

/* Sends the run, which may be a single datagram, even an empty one. */
static void send_run(const struct run *r)
{
	const struct udpseg seg = { r->path->src_port, r->path->dst_port, NULL, r->len };
	uint8_t head[UDPSEG_HEAD_LEN];
	struct link_packet p = { .mac = r->path->mac,
				 .addrs = r->path->addrs,
				 .proto = IPPROTO_UDP,
				 .head = head,
				 .head_len = sizeof(head),
				 .payload = r->bytes,
				 .payload_len = r->len,
				 .sum_at = UDPSEG_SUM_OFFSET };

	udpseg_put(head, &seg, &p.addrs);
	if (r->len > r->segment) {
		p.gso_type = VIRTIO_NET_HDR_GSO_UDP_L4;
		p.gso_size = (uint16_t)r->segment;
	}
	link_send(r->out->link, &p);
}

/* Returns how many bytes a run of such datagrams may have. */
static size_t max_of(const struct run *r, size_t segment)
{
	const size_t ip_head = packet_is_v4(&r->path->addrs) ? 20 : 40;
	const size_t heads = ip_head + UDPSEG_HEAD_LEN;
	size_t count;

	if (!r->out->gso || segment == 0 || heads + segment > r->out->link->conf->mtu)
		return segment;
	count = (PACKET_IP_MAX - heads) / segment;
	return segment * (count < RUN_MAX ? count : RUN_MAX);
}

/* Returns how many of the `len` bytes, which are datagrams of `segment` bytes, may be added. */
static size_t room_of(const struct run *r, size_t len, size_t segment)
{
	const size_t room = r->is_closed ? 0 : r->max - r->len;

	if (segment == r->segment)
		return len < room ? len : room;
	/* A shorter datagram may be the last one. */
	return segment == len && segment < r->segment && len <= room ? len : 0;
}

static void append(struct run *r, const char *bytes, size_t len)
{
	uint8_t *copy = tap_payload(r->out->link->tap);

	if (r->len == 0) {
		r->bytes = bytes;
	} else {
		if (!is_copied(r))
			memcpy(copy, r->bytes, r->len);
		memcpy(copy + r->len, bytes, len);
		r->bytes = (const char *)copy;
	}
	r->len += len;
	r->is_closed = r->segment == 0 || r->len % r->segment != 0;
}

static void start_run(struct run *r, size_t segment)
{
	r->len = 0;
	r->segment = segment;
	r->max = max_of(r, segment);
	r->is_closed = false;
}

/* Adds a datagram or batch, and sends each run that is complete. */
static void add(struct run *r, const struct dgram *d)
{
	size_t len;

	for (size_t at = 0; at < d->len; at += len) {
		size_t left = d->len - at;
		size_t segment = d->segment < left ? d->segment : left;

		len = room_of(r, left, segment);
		if (len == 0) {
			if (r->len > 0)
				send_run(r);
			start_run(r, segment);
			len = room_of(r, left, segment);
		}
		append(r, d->bytes + at, len);
	}
}

static void send_empty(struct run *r)
{
	if (r->len > 0)
		send_run(r);
	start_run(r, 0);
	send_run(r);
}

void udpout_send(const struct udpout *o, const struct udpout_path *path, const struct dgram *first)
{
	struct run r = { .out = o, .path = path };

	for (const struct dgram *d = first; d != NULL; d = d->next) {
		if (d->len == 0)
			send_empty(&r);
		else
			add(&r, d);
	}
	if (r.len > 0)
		send_run(&r);
}
