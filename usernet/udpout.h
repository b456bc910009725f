/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_UDPOUT_H
#define USERNET_UDPOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "formats/packet.h"
#include "ports/dgram.h"
#include "usernet/link.h"

/* The way of UDP datagrams to the inside. Consecutive datagrams of one size go as one frame, which
 * the kernel cuts (VIRTIO_NET_HDR_GSO_UDP_L4): one pass through the inside's network stack instead
 * of one for each. One thread uses a struct; nothing blocks.
 */

struct udpout {
	struct link *link; /* borrowed */
	bool gso;	   /* the TAP takes such frames */
};

/* Who a datagram comes from, and who receives it. */
struct udpout_path {
	const uint8_t *mac;	     /* of the receiver */
	struct packet_addrs addrs;   /* src: who seems to have sent it; dst: inside */
	uint16_t src_port, dst_port; /* in host byte order */
};

/* Sends the datagrams and batches of a list, in order. Those that are longer than the MTU go as
 * fragments. Uses the link's payload buffer (tap_payload). */
void udpout_send(const struct udpout *o, const struct udpout_path *path, const struct dgram *first);

#endif
