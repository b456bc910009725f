/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_LINK_H
#define USERNET_LINK_H

#include <stddef.h>
#include <stdint.h>

#include "formats/packet.h"
#include "usernet/netconf.h"
#include "usernet/tap.h"

/* The link to the inside, of one queue: sends IP packets. One thread uses a link. Nothing blocks; a
 * packet that the kernel does not take is lost, as on any link. */

#define LINK_HOPS     64 /* time to live of what we send, unless the packet says another */
#define LINK_HEAD_MAX 64 /* bytes of a transport header */

struct link {
	struct tap *tap; /* borrowed, like all here */
	const struct netconf *conf;
};

/* A packet to send. */
struct link_packet {
	const uint8_t *mac;	   /* of the receiver */
	struct packet_addrs addrs; /* src: who seems to have sent it; both of one family */
	uint8_t proto;
	uint8_t hops; /* time to live; 0: LINK_HOPS */
	/* The transport header and what follows it. `head` may be NULL if head_len is 0. */
	const void *head;
	size_t head_len; /* at most LINK_HEAD_MAX */
	const void *payload;
	size_t payload_len;
	/* Where the checksum is in `head`. It has the folded sum of the pseudo header, and the
	 * kernel or link_send completes it. LINK_HAS_SUM: it is complete. */
	int sum_at;
	/* Not 0: a batch that the kernel cuts, each piece with `gso_size` bytes of the payload. */
	uint8_t gso_type; /* VIRTIO_NET_HDR_GSO_TCPV4 and others */
	uint16_t gso_size;
};
#define LINK_HAS_SUM (-1)

/* Sends a packet. One that is longer than the MTU and not a batch is cut into fragments. Its
 * head and payload have at most packet_payload_max bytes together. */
void link_send(struct link *l, const struct link_packet *p);

/* Sends a frame that is not IP: `frame` has at most TAP_HEAD_MAX bytes. */
void link_send_frame(struct link *l, const uint8_t *frame, size_t len);

#endif
