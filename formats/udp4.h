/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORMATS_UDP4_H
#define FORMATS_UDP4_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Packets of UDP over IPv4 with their headers (RFC 791, RFC 768), as a packet socket has them
 * (packet(7), SOCK_DGRAM). Nothing here blocks, allocates or has state; any thread may call it. */

#define UDP4_HEADERS 28 /* bytes of both headers, without IP options */

struct udp4 {
	struct in_addr from, to;
	uint16_t from_port, to_port;
	const unsigned char *payload;
	size_t len; /* of the payload; at most 65507 */
};

/* Writes the packet to out[UDP4_HEADERS + len], with checksums. Returns its length in bytes. */
size_t udp4_write(const struct udp4 *u, unsigned char *out);

/* Reads a packet; the payload is not copied. `has_sum`: its UDP checksum is complete. It is not in
 * a packet of this machine whose checksum the sender has left to a network card (packet(7),
 * TP_STATUS_CSUMNOTREADY). Returns false if it is not a complete UDP packet, is a fragment, or has
 * a wrong checksum. Bytes behind the packet, which pad short Ethernet frames, are ignored. */
bool udp4_read(struct udp4 *u, const unsigned char *packet, size_t len, bool has_sum);

#endif
