/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORMATS_TCPSEG_H
#define FORMATS_TCPSEG_H

#include <netinet/tcp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/packet.h"

/* TCP segments (RFC 9293): reading and writing their headers, and comparing sequence numbers.
 * Nothing here blocks, allocates or has state.
 */

#define TCPSEG_HEAD_LEN	  20 /* bytes of a header without options */
#define TCPSEG_HEAD_MAX	  56 /* bytes of the longest header that tcpseg_put writes */
#define TCPSEG_SCALE_MAX  14 /* RFC 7323 2.3 */
#define TCPSEG_NO_SCALE	  (-1)
#define TCPSEG_SUM_OFFSET 16 /* of the checksum in the header */

#define TCPSEG_SACKS 4 /* ranges that fit into a header */

/* Sequence numbers from `begin` on, up to the one before `end` */
struct tcpseg_range {
	uint32_t begin, end;
};

struct tcpseg {
	uint16_t src_port, dst_port; /* in host byte order, like all numbers here */
	uint32_t seq, ack;
	uint8_t flags;	 /* TH_SYN and others (netinet/tcp.h) */
	uint16_t window; /* not scaled */
	/* Options of a SYN; in other segments they are ignored. */
	uint16_t mss; /* 0: not given */
	int scale; /* shift of the window, at most TCPSEG_SCALE_MAX; TCPSEG_NO_SCALE: not given */
	bool sack_permitted; /* RFC 2018 2 */
	/* Selective acknowledgements (RFC 2018 3), which tcpseg_put writes and tcpseg_read ignores.
	 */
	size_t sack_count; /* at most TCPSEG_SACKS */
	struct tcpseg_range sacks[TCPSEG_SACKS];
	const uint8_t *data;
	size_t len; /* bytes of data */
};

/* Reads a segment from the payload of a packet. Returns 0, or -EBADMSG if it is malformed. Does not
 * check the checksum. */
int tcpseg_read(struct tcpseg *seg, const uint8_t *payload, size_t len);

/* Is the checksum of this payload right? */
bool tcpseg_is_intact(const struct packet *p);

/* Writes the header of a segment, with the options of a SYN if TH_SYN is set, else with selective
 * acknowledgements if there are any. The checksum is the
 * sum of the pseudo header only: the kernel completes it (virtio, VIRTIO_NET_HDR_F_NEEDS_CSUM).
 * Returns the bytes written, at most TCPSEG_HEAD_MAX. */
size_t tcpseg_put(uint8_t *out, const struct tcpseg *seg, const struct packet_addrs *addrs);

/* Returns the sequence numbers that a segment takes: its data, SYN and FIN. */
uint32_t tcpseg_span(const struct tcpseg *seg);

/* Compare sequence numbers, which wrap around (RFC 9293 3.4): is `a` before `b`? */
static inline bool seq_before(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) < 0;
}
static inline bool seq_after(uint32_t a, uint32_t b)
{
	return seq_before(b, a);
}

#endif
