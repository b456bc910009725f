/* SPDX-License-Identifier: Apache-2.0 */
/* UDP packets with their headers. See udp4.h. */
#include "formats/udp4.h"

#include <string.h>

/* offsets in the IP header */
#define AT_VERSION   0
#define AT_LEN	     2
#define AT_FRAGMENT  6
#define AT_TTL	     8
#define AT_PROTO     9
#define AT_SUM	     10
#define AT_FROM	     12
#define AT_TO	     16
/* offsets in the UDP header */
#define AT_FROM_PORT 0
#define AT_TO_PORT   2
#define AT_UDP_LEN   4
#define AT_UDP_SUM   6

#define IP_LEN	      20 /* bytes of a header without options */
#define UDP_LEN	      8
#define VERSION_4     0x45 /* IPv4, five words of header */
#define TTL	      64
#define DONT_FRAGMENT 0x4000

static unsigned int get_u16(const unsigned char *at)
{
	return (unsigned int)at[0] << 8 | at[1];
}

static void put_u16(unsigned char *at, size_t value)
{
	at[0] = (unsigned char)(value >> 8);
	at[1] = (unsigned char)value;
}

/* Adds bytes to a sum of 16-bit words (RFC 1071). An odd last byte is the high half of a word. */
static uint32_t add_words(uint32_t sum, const unsigned char *at, size_t len)
{
	for (; len > 1; at += 2, len -= 2)
		sum += get_u16(at);
	return len > 0 ? sum + ((uint32_t)at[0] << 8) : sum;
}

static unsigned int checksum_of(uint32_t sum)
{
	while (sum > UINT16_MAX)
		sum = (sum & UINT16_MAX) + (sum >> 16);
	return ~sum & UINT16_MAX;
}

/* The checksum of the UDP packet at `udp`, over the addresses at `addrs` and all bytes. It is 0 if
 * the packet has the right one in it. */
static unsigned int udp_checksum(const unsigned char *addrs, const unsigned char *udp, size_t len)
{
	uint32_t sum = add_words((uint32_t)(IPPROTO_UDP + len), addrs, 2 * sizeof(struct in_addr));

	return checksum_of(add_words(sum, udp, len));
}

size_t udp4_write(const struct udp4 *u, unsigned char *out)
{
	unsigned char *udp = out + IP_LEN;
	size_t udp_len = UDP_LEN + u->len;
	unsigned int sum;

	memset(out, 0, UDP4_HEADERS);
	out[AT_VERSION] = VERSION_4;
	put_u16(out + AT_LEN, IP_LEN + udp_len);
	put_u16(out + AT_FRAGMENT, DONT_FRAGMENT);
	out[AT_TTL] = TTL;
	out[AT_PROTO] = IPPROTO_UDP;
	memcpy(out + AT_FROM, &u->from, sizeof(u->from));
	memcpy(out + AT_TO, &u->to, sizeof(u->to));
	put_u16(out + AT_SUM, checksum_of(add_words(0, out, IP_LEN)));
	put_u16(udp + AT_FROM_PORT, u->from_port);
	put_u16(udp + AT_TO_PORT, u->to_port);
	put_u16(udp + AT_UDP_LEN, udp_len);
	memcpy(udp + UDP_LEN, u->payload, u->len);
	sum = udp_checksum(out + AT_FROM, udp, udp_len);
	put_u16(udp + AT_UDP_SUM, sum != 0 ? sum : UINT16_MAX); /* 0: no checksum */
	return IP_LEN + udp_len;
}

/* Returns the length of the IP header, or 0 if it is malformed, of a fragment or not of UDP. Sets
 * *total to the length of the packet, at most `len`. */
static size_t read_ip(const unsigned char *ip, size_t len, size_t *total)
{
	size_t header = len >= IP_LEN ? (size_t)(ip[AT_VERSION] & 0xf) * 4 : 0;

	if (header < IP_LEN || ip[AT_VERSION] >> 4 != 4 || ip[AT_PROTO] != IPPROTO_UDP)
		return 0;
	*total = get_u16(ip + AT_LEN);
	if (*total > len || *total < header + UDP_LEN)
		return 0;
	if ((get_u16(ip + AT_FRAGMENT) & ~(unsigned int)DONT_FRAGMENT) != 0)
		return 0;
	return checksum_of(add_words(0, ip, header)) == 0 ? header : 0;
}

bool udp4_read(struct udp4 *u, const unsigned char *packet, size_t len, bool has_sum)
{
	size_t total;
	size_t header = read_ip(packet, len, &total);
	const unsigned char *udp = packet + header;
	size_t udp_len = header > 0 ? get_u16(udp + AT_UDP_LEN) : 0;

	if (udp_len < UDP_LEN || udp_len > total - header)
		return false;
	if (has_sum && get_u16(udp + AT_UDP_SUM) != 0 &&
	    udp_checksum(packet + AT_FROM, udp, udp_len) != 0)
		return false;
	memcpy(&u->from, packet + AT_FROM, sizeof(u->from));
	memcpy(&u->to, packet + AT_TO, sizeof(u->to));
	u->from_port = (uint16_t)get_u16(udp + AT_FROM_PORT);
	u->to_port = (uint16_t)get_u16(udp + AT_TO_PORT);
	u->payload = udp + UDP_LEN;
	u->len = udp_len - UDP_LEN;
	return true;
}
