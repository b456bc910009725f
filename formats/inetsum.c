/* SPDX-License-Identifier: Apache-2.0 */
/* The Internet checksum. See inetsum.h. */
#include "formats/inetsum.h"

#include <arpa/inet.h>
#include <string.h>

/* Words of 32 bits: their sums cannot overflow 64 bits, and fold to the same 16 bits (RFC 1071 2).
 */
uint64_t inetsum_add(uint64_t sum, const void *bytes, size_t len)
{
	const unsigned char *at = bytes;
	uint32_t word;

	for (; len >= sizeof(word); at += sizeof(word), len -= sizeof(word)) {
		memcpy(&word, at, sizeof(word));
		sum += word;
	}
	word = 0;
	memcpy(&word, at, len);
	return sum + word;
}

uint64_t inetsum_add_pseudo(uint64_t sum, const struct in6_addr *src, const struct in6_addr *dst,
			    uint8_t proto, size_t len)
{
	/* The prefix of mapped addresses must not count. */
	const size_t skip = IN6_IS_ADDR_V4MAPPED(src) ? 12 : 0;
	const uint32_t rest[] = { htonl((uint32_t)len), htonl(proto) };

	sum = inetsum_add(sum, &src->s6_addr[skip], sizeof(*src) - skip);
	sum = inetsum_add(sum, &dst->s6_addr[skip], sizeof(*dst) - skip);
	return inetsum_add(sum, rest, sizeof(rest));
}

uint16_t inetsum_fold(uint64_t sum)
{
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

uint16_t inetsum_finish(uint64_t sum)
{
	return (uint16_t)~inetsum_fold(sum);
}
