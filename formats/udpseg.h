/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORMATS_UDPSEG_H
#define FORMATS_UDPSEG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/packet.h"

/* UDP over IPv4 and IPv6 (RFC 768, RFC 8200 8.1): reading and writing its header, of a single
 * datagram or of a batch that the kernel has not cut yet. Nothing here blocks, allocates or has
 * state.
 */

#define UDPSEG_HEAD_LEN	  8 /* bytes of the header */
#define UDPSEG_SUM_OFFSET 6 /* of the checksum in the header */

struct udpseg {
	uint16_t src_port, dst_port; /* in host byte order */
	const uint8_t *data;
	size_t len; /* bytes of data */
};

/* Reads the header at the beginning of a packet's payload. Bytes behind the length that the header
 * states are ignored. Returns 0, or -EBADMSG if the header is cut off, or states a length that is
 * shorter than itself or longer than the payload. Does not check the checksum. */
int udpseg_read(struct udpseg *seg, const uint8_t *payload, size_t len);

/* Is this packet's payload UDP with a correct checksum? Over IPv4 the checksum may be missing
 * (RFC 768); over IPv6 it may not (RFC 8200 8.1). */
bool udpseg_is_intact(const struct packet *p);

/* Writes the header of `seg` to out[UDPSEG_HEAD_LEN]. The checksum is the sum of the pseudo header
 * only: the kernel completes it (virtio, VIRTIO_NET_HDR_F_NEEDS_CSUM). The length, in 16 bits, is
 * that of all data, of a batch, too. */
void udpseg_put(uint8_t *out, const struct udpseg *seg, const struct packet_addrs *addrs);

#endif
