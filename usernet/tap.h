/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_TAP_H
#define USERNET_TAP_H

#include <net/ethernet.h> /* with musl, before headers of the kernel */

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/packet.h"
#include "usernet/pcap.h"

/* A queue of the TAP device inside (tun(4), Documentation/networking/tuntap.rst): reading and
 * writing frames with virtio headers (struct virtio_net_hdr_v1). The kernel hands over TCP segments
 * and UDP datagrams that it has not cut yet, with checksums that it has not computed yet, and takes
 * such frames, too: so one frame carries up to 64 KiB, whatever the MTU is.
 *
 * One thread uses a queue. Nothing blocks.
 */

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4 /* in headers since Linux 6.2 */
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

#define TAP_HEAD_MAX 128 /* bytes of all headers of a frame */

struct tap;

/* What the kernel must still do with a frame that is sent, or has not done with one received. */
struct tap_offload {
	bool needs_sum;	    /* the checksum is that of the pseudo header only */
	uint16_t sum_start; /* sent: where the summed bytes begin in the frame */
	uint16_t sum_at;    /* sent: where the checksum is, counted from there */
	uint8_t gso_type;   /* VIRTIO_NET_HDR_GSO_NONE, _TCPV4, _TCPV6 or _UDP_L4 */
	uint16_t gso_size;  /* bytes of data in each segment */
	uint16_t head_len;  /* sent, with a gso_type: bytes of all headers */
};

struct tap_frame {
	const uint8_t *bytes; /* the Ethernet frame; valid until the next tap_receive */
	size_t len;
	struct tap_offload offload;
};

/* Returns a queue that takes `fd`, non-blocking, or NULL with errno; then the caller keeps `fd`.
 * Frames are recorded in `pcap` (borrowed), if that is not NULL. */
struct tap *tap_new(int fd, struct pcap *pcap);
/* Tells the device of a queue which headers its frames have, and what it need not do with frames
 * for us (TUNSETVNETHDRSZ, TUNSETOFFLOAD); older kernels know less of it. Returns 1 if the device
 * takes batches of UDP datagrams (Linux 6.2), 0 if not, or -errno if it knows none of it. */
int tap_set_offload(int fd);

/* Closes the queue, and leaves the device to its network namespace: to remove it here would take
 * some 10 ms. NULL is fine. */
void tap_free(struct tap *tap);

int tap_fd(const struct tap *tap);

/* Receives a frame. Returns 1, 0 if none is waiting, or -errno if the device does not work any
 * more. */
int tap_receive(struct tap *tap, struct tap_frame *frame);

/* Returns a buffer of TAP_PAYLOAD_MAX bytes, for the payload of the next frame that is sent. */
uint8_t *tap_payload(struct tap *tap);
#define TAP_PAYLOAD_MAX PACKET_IP_MAX

/* Sends the frame that consists of `head` (at most TAP_HEAD_MAX bytes) and `payload`. A frame that
 * the kernel does not take is lost. */
void tap_send(struct tap *tap, const uint8_t *head, size_t head_len, const void *payload,
	      size_t payload_len, const struct tap_offload *offload);

#endif
