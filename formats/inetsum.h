/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORMATS_INETSUM_H
#define FORMATS_INETSUM_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

/* The checksum of IP, ICMP, UDP and TCP (RFC 1071): the ones' complement of the ones' complement
 * sum of all 16-bit words. A sum is built from several pieces, each of an even length but the last,
 * and then folded. Sums are in network byte order, so they are stored without a conversion. Nothing
 * here blocks, allocates or has state.
 */

/* Adds `len` bytes (at most 64 KiB) to a sum, which begins as 0. Returns the new sum. */
uint64_t inetsum_add(uint64_t sum, const void *bytes, size_t len);

/* Adds the pseudo header of TCP, UDP or ICMPv6 (RFC 9293 3.1, RFC 8200 8.1). IPv4 addresses are
 * mapped (::ffff:192.0.2.1). `len` is the length of the packet that follows the IP header, in
 * bytes. Returns the new sum. */
uint64_t inetsum_add_pseudo(uint64_t sum, const struct in6_addr *src, const struct in6_addr *dst,
			    uint8_t proto, size_t len);

/* Returns the sum in 16 bits, without its complement, as a packet has it whose checksum the kernel
 * completes (CHECKSUM_PARTIAL). */
uint16_t inetsum_fold(uint64_t sum);

/* Returns the checksum: the complement of the folded sum. The checksum of bytes that contain a
 * valid checksum is 0. */
uint16_t inetsum_finish(uint64_t sum);

#endif
