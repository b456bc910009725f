/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of a TAP queue. See tap.h. */
#include "usernet/tap.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/fd.h"

#define HEADER_LEN sizeof(struct virtio_net_hdr_v1)

#ifndef TUN_F_USO4 /* Linux 6.2 */
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

struct tap {
	int fd;
	struct pcap *pcap; /* borrowed; NULL: frames are not recorded */
	uint8_t in[HEADER_LEN + PACKET_FRAME_MAX];
	uint8_t payload[TAP_PAYLOAD_MAX];
};

struct tap *tap_new(int fd, struct pcap *pcap)
{
	struct tap *tap = malloc(sizeof(*tap));

	if (tap == NULL)
		return NULL;
	tap->fd = fd;
	tap->pcap = pcap;
	return tap;
}

int tap_set_offload(int fd)
{
	const unsigned int known = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
	int len = HEADER_LEN;

	if (ioctl(fd, TUNSETVNETHDRSZ, &len) < 0)
		return -errno;
	if (ioctl(fd, TUNSETOFFLOAD, known | TUN_F_USO4 | TUN_F_USO6) == 0)
		return 1;
	return ioctl(fd, TUNSETOFFLOAD, known) < 0 ? -errno : 0;
}

void tap_free(struct tap *tap)
{
	if (tap == NULL)
		return;
	ioctl(tap->fd, TUNSETPERSIST, 1);
	fd_close(&tap->fd);
	free(tap);
}

int tap_fd(const struct tap *tap)
{
	return tap->fd;
}

int tap_receive(struct tap *tap, struct tap_frame *frame)
{
	struct virtio_net_hdr_v1 header;
	ssize_t n = read(tap->fd, tap->in, sizeof(tap->in));

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if ((size_t)n < HEADER_LEN)
		return -EPROTO;
	memcpy(&header, tap->in, HEADER_LEN);
	frame->bytes = tap->in + HEADER_LEN;
	frame->len = (size_t)n - HEADER_LEN;
	if (tap->pcap != NULL)
		pcap_add(tap->pcap, frame->bytes, frame->len, NULL, 0);
	frame->offload = (struct tap_offload){
		.needs_sum = (header.flags &
			      (VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID)) != 0,
		.gso_type = header.gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN,
		.gso_size = header.gso_size,
	};
	return 1;
}

uint8_t *tap_payload(struct tap *tap)
{
	return tap->payload;
}

void tap_send(struct tap *tap, const uint8_t *head, size_t head_len, const void *payload,
	      size_t payload_len, const struct tap_offload *offload)
{
	struct virtio_net_hdr_v1 header = {
		.flags = offload->needs_sum ? VIRTIO_NET_HDR_F_NEEDS_CSUM : 0,
		.gso_type = offload->gso_type,
		.hdr_len = offload->head_len,
		.gso_size = offload->gso_size,
		.csum_start = offload->sum_start,
		.csum_offset = offload->sum_at,
	};
	const struct iovec parts[] = { { &header, sizeof(header) },
				       { (void *)head, head_len },
				       { (void *)payload, payload_len } };
	ssize_t n;

	if (tap->pcap != NULL)
		pcap_add(tap->pcap, head, head_len, payload, payload_len);
	n = writev(tap->fd, parts, payload_len > 0 ? 3 : 2);
	(void)n;
}
