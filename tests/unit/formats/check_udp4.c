/* SPDX-License-Identifier: Apache-2.0 */

/* UDP packets with their headers. */
#include "formats/udp4.h"
#include "tests/unit/fixture.h"

#include <arpa/inet.h>

#define PAYLOAD "hello"
#define LEN	(UDP4_HEADERS + sizeof(PAYLOAD) - 1)

/* A packet from 10.0.3.1:67 to 255.255.255.255:68, as another program computed it. */
static const unsigned char sample[LEN + 1] = "\x45\x00\x00\x21\x00\x00\x40\x00\x40\x11\x2d\xcc"
					     "\x0a\x00\x03\x01\xff\xff\xff\xff"
					     "\x00\x43\x00\x44\x00\x0d\xae\x7a"
					     "hello";

static void make_packet(unsigned char *out)
{
	struct udp4 u = { .from_port = 67,
			  .to_port = 68,
			  .payload = (const unsigned char *)PAYLOAD,
			  .len = sizeof(PAYLOAD) - 1 };

	ck_assert_int_eq(inet_pton(AF_INET, "10.0.3.1", &u.from), 1);
	u.to.s_addr = htonl(INADDR_BROADCAST);
	ck_assert_uint_eq(udp4_write(&u, out), LEN);
}

static bool reads(const unsigned char *packet, size_t len, bool has_sum, struct udp4 *u)
{
	return udp4_read(u, (unsigned char *)fixture_exact_copy((const char *)packet, len), len,
			 has_sum);
}

START_TEST(a_packet_is_written_and_read)
{
	unsigned char packet[LEN];
	struct udp4 u;

	make_packet(packet);
	ck_assert_mem_eq(packet, sample, LEN);
	ck_assert(reads(packet, LEN, true, &u));
	ck_assert_uint_eq(u.from_port, 67);
	ck_assert_uint_eq(u.to_port, 68);
	ck_assert_uint_eq(u.from.s_addr, inet_addr("10.0.3.1"));
	ck_assert_uint_eq(u.to.s_addr, INADDR_BROADCAST);
	ck_assert_uint_eq(u.len, sizeof(PAYLOAD) - 1);
	ck_assert_mem_eq(u.payload, PAYLOAD, u.len);
}
END_TEST

/* Each byte counts: the header has a checksum of its own, and UDP's covers the addresses and the
 * rest. Only the TTL changes on the way, with the checksum. */
START_TEST(a_changed_byte_is_noticed)
{
	unsigned char packet[LEN];
	struct udp4 u;

	for (size_t i = 0; i < LEN; i++) {
		make_packet(packet);
		packet[i] ^= 0x10;
		ck_assert_msg(!reads(packet, LEN, true, &u), "byte %zu", i);
	}
}
END_TEST

START_TEST(a_cut_packet_is_refused_and_padding_ignored)
{
	unsigned char packet[LEN + 3] = { 0 };
	struct udp4 u;

	make_packet(packet);
	for (size_t len = 0; len < LEN; len++)
		ck_assert(!reads(packet, len, true, &u));
	ck_assert(reads(packet, LEN + 3, true, &u));
	ck_assert_uint_eq(u.len, sizeof(PAYLOAD) - 1);
}
END_TEST

/* A sender on this machine leaves the checksum to a network card that is not there. */
START_TEST(a_checksum_may_be_absent)
{
	unsigned char packet[LEN];
	struct udp4 u;

	make_packet(packet);
	packet[27] ^= 0x10;
	ck_assert(!reads(packet, LEN, true, &u));
	ck_assert(reads(packet, LEN, false, &u));
	memset(packet + 26, 0, 2); /* the sender made none */
	ck_assert(reads(packet, LEN, true, &u));
}
END_TEST

/* Sets the checksum of the IP header, whose length is in it. */
static void fix_header(unsigned char *ip)
{
	size_t len = (size_t)(ip[0] & 0xf) * 4;
	uint32_t sum = 0;

	ip[10] = ip[11] = 0;
	for (size_t i = 0; i < len; i += 2)
		sum += (uint32_t)ip[i] << 8 | ip[i + 1];
	while (sum > UINT16_MAX)
		sum = (sum & UINT16_MAX) + (sum >> 16);
	ip[10] = (unsigned char)(~sum >> 8);
	ip[11] = (unsigned char)~sum;
}

static const struct {
	size_t at;
	unsigned char value;
} wrong[] = {
	{ 0, 0x65 },			 /* IPv6 */
	{ 0, 0x44 },			 /* a header of 16 bytes */
	{ 3, 27 },			 /* no room for a UDP header */
	{ 3, LEN + 1 },	    { 6, 0x20 }, /* the first fragment */
	{ 7, 1 },			 /* a later one */
	{ 9, IPPROTO_TCP }, { 25, 7 },	 /* a UDP length below that of its header */
	{ 25, LEN },			 /* or beyond the packet */
};

START_TEST(a_wrong_header_is_refused)
{
	unsigned char packet[LEN];
	struct udp4 u;

	make_packet(packet);
	packet[wrong[_i].at] = wrong[_i].value;
	fix_header(packet);
	ck_assert(!reads(packet, LEN, false, &u));
}
END_TEST

START_TEST(ip_options_are_skipped)
{
	unsigned char packet[LEN + 4] = { 0 };
	struct udp4 u;

	make_packet(packet);
	memmove(packet + 24, packet + 20, LEN - 20);
	memset(packet + 20, 1, 4); /* "no operation" */
	packet[0] = 0x46;
	packet[3] = LEN + 4;
	fix_header(packet);
	ck_assert(reads(packet, LEN + 4, true, &u));
	ck_assert_mem_eq(u.payload, PAYLOAD, u.len);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("udp4");
	TCase *tc = fixture_case("udp4");

	tcase_add_test(tc, a_packet_is_written_and_read);
	tcase_add_test(tc, a_changed_byte_is_noticed);
	tcase_add_test(tc, a_cut_packet_is_refused_and_padding_ignored);
	tcase_add_test(tc, a_checksum_may_be_absent);
	tcase_add_loop_test(tc, a_wrong_header_is_refused, 0, COUNT(wrong));
	tcase_add_test(tc, ip_options_are_skipped);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
