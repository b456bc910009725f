/* SPDX-License-Identifier: Apache-2.0 */

/* The Internet checksum, with known values, and compared with a sum of 16-bit words. */
#include "formats/inetsum.h"
#include "tests/unit/fixture.h"

#include <arpa/inet.h>

#define LEN_MAX 65536 /* bytes, the longest piece */

/* What RFC 1071 says, word by word, in host byte order. */
static uint16_t plain_sum(const unsigned char *bytes, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += i % 2 == 0 ? (uint32_t)bytes[i] << 8 : bytes[i];
	while (sum > UINT16_MAX)
		sum = (sum & UINT16_MAX) + (sum >> 16);
	return (uint16_t)sum;
}

static uint16_t sum_of(const void *bytes, size_t len)
{
	return ntohs(inetsum_fold(inetsum_add(0, bytes, len)));
}

/* Different bytes in each place, with many 0xff. */
static void fill(unsigned char *bytes, size_t len)
{
	uint32_t state = (uint32_t)len + 1;

	for (size_t i = 0; i < len; i++) {
		state = state * 1664525 + 1013904223;
		bytes[i] = state >> 30 == 0 ? 0xff : (unsigned char)(state >> 16);
	}
}

/* The sum of the first is that of RFC 1071, section 3. The others are headers that Linux made; with
 * their checksum, the sum is 0xffff. */
static const struct {
	const char *bytes;
	size_t len;
	uint16_t sum;
} known[] = {
	{ "\x00\x01\xf2\x03\xf4\xf5\xf6\xf7", 8, 0xddf2 },
	{ "\x45\x00\x00\x3c\x06\x56\x40\x00\x40\x06\x1c\x01\x0a\x00\x02\x64\x0a\x00\x02\x02", 20,
	  0xffff },
	{ "\x47\x00\x00\x28\x90\x50\x40\x00\x40\x11\x89\x7a\x0a\x00\x02\x64\x0a\x00\x02\x02"
	  "\x01\x01\x01\x94\x04\x00\x00\x00",
	  28, 0xffff },
	/* ICMP echo with five bytes of data */
	{ "\x08\x00\x00\x00\x00\x07\x00\x01ping!", 13, 0x07d9 },
	{ "", 0, 0 },
	{ "\xab", 1, 0xab00 },
	{ "\xff\xff\xff\xff", 4, 0xffff },
};

START_TEST(known_sums_are_right)
{
	const char *copy = fixture_exact_copy(known[_i].bytes, known[_i].len);
	uint64_t sum = inetsum_add(0, copy, known[_i].len);

	ck_assert_uint_eq(ntohs(inetsum_fold(sum)), known[_i].sum);
	ck_assert_uint_eq(ntohs(inetsum_finish(sum)), (uint16_t)~known[_i].sum);
}
END_TEST

START_TEST(any_length_at_any_address_is_summed)
{
	unsigned char bytes[260];

	fill(bytes, sizeof(bytes));
	for (size_t at = 0; at < 4; at++)
		for (size_t len = 0; at + len <= sizeof(bytes); len++)
			ck_assert_uint_eq(sum_of(bytes + at, len), plain_sum(bytes + at, len));
}
END_TEST

/* Reads nothing beyond: the copy ends where its memory ends (AddressSanitizer). */
START_TEST(nothing_beyond_the_bytes_is_read)
{
	char bytes[64];

	fill((unsigned char *)bytes, sizeof(bytes));
	for (size_t len = 0; len <= sizeof(bytes); len++)
		ck_assert_uint_eq(sum_of(fixture_exact_copy(bytes, len), len),
				  plain_sum((unsigned char *)bytes, len));
}
END_TEST

START_TEST(pieces_of_even_length_sum_up_to_the_whole)
{
	unsigned char bytes[101];

	fill(bytes, sizeof(bytes));
	for (size_t a = 0; a <= sizeof(bytes); a += 2)
		for (size_t b = a; b <= sizeof(bytes); b += 2) {
			uint64_t sum = inetsum_add(0, bytes, a);

			sum = inetsum_add(sum, bytes + a, b - a);
			sum = inetsum_add(sum, bytes + b, sizeof(bytes) - b);
			ck_assert_uint_eq(ntohs(inetsum_fold(sum)),
					  plain_sum(bytes, sizeof(bytes)));
		}
}
END_TEST

/* Many of the longest pieces do not overflow. */
START_TEST(long_pieces_do_not_overflow)
{
	static unsigned char bytes[LEN_MAX];
	uint64_t sum = 0;

	memset(bytes, 0xff, sizeof(bytes));
	for (int i = 0; i < 1000; i++)
		sum = inetsum_add(sum, bytes, sizeof(bytes));
	ck_assert_uint_eq(inetsum_fold(sum), 0xffff);
	ck_assert_uint_eq(inetsum_finish(sum), 0);
	fill(bytes, sizeof(bytes));
	ck_assert_uint_eq(sum_of(bytes, sizeof(bytes)), plain_sum(bytes, sizeof(bytes)));
	ck_assert_uint_eq(sum_of(bytes, sizeof(bytes) - 1), plain_sum(bytes, sizeof(bytes) - 1));
}
END_TEST

/* Packets that Linux made, from their transport header on. */
static const struct {
	const char *src, *dst;
	uint8_t proto;
	const char *bytes;
	size_t len;
} packets[] = {
	{ "::ffff:10.0.2.100", "::ffff:10.0.2.2", IPPROTO_TCP,
	  "\x9c\x40\x00\x50\xb8\x05\xe6\xa6\x00\x00\x00\x00\xa0\x02\xfb\xe0\x14\x09\x00\x00\x02\x04"
	  "\x04\xd8\x04\x02\x08\x0a\x01\xf2\xe3\x5a\x00\x00\x00\x00\x01\x03\x03\x0a",
	  40 },
	{ "::ffff:10.0.2.100", "::ffff:10.0.2.2", IPPROTO_UDP,
	  "\x13\x88\x00\x07\x00\x0d\xcd\xdb\x00\x01\x02\x03\x04", 13 },
	{ "fd00::100", "fd00::2", IPPROTO_TCP,
	  "\x9c\x40\x00\x50\x9b\x59\xb6\x63\x00\x00\x00\x00\xa0\x02\xfc\x94\xbb\xee\x00\x00\x02\x04"
	  "\x04\xc4\x04\x02\x08\x0a\xc7\xa3\xdf\x74\x00\x00\x00\x00\x01\x03\x03\x0a",
	  40 },
	{ "fd00::100", "fd00::7", IPPROTO_UDP,
	  "\x13\x88\x00\x07\x00\x0d\xeb\x38\x00\x01\x02\x03\x04", 13 },
	{ "fd00::100", "fd00::2", IPPROTO_ICMPV6,
	  "\x80\x00\x84\xdb\x00\x07\x00\x01\x70\x69\x6e\x67\x21", 13 },
};

static uint64_t pseudo_sum(size_t i, uint8_t proto, size_t len)
{
	struct in6_addr src, dst;

	ck_assert_int_eq(inet_pton(AF_INET6, packets[i].src, &src), 1);
	ck_assert_int_eq(inet_pton(AF_INET6, packets[i].dst, &dst), 1);
	return inetsum_add_pseudo(0, &src, &dst, proto, len);
}

START_TEST(the_pseudo_header_completes_the_checksum)
{
	const uint8_t proto = packets[_i].proto;
	const size_t len = packets[_i].len;
	const char *bytes = packets[_i].bytes;

	ck_assert_uint_eq(inetsum_finish(inetsum_add(pseudo_sum(_i, proto, len), bytes, len)), 0);
	/* Protocol and length count. */
	ck_assert(inetsum_finish(inetsum_add(pseudo_sum(_i, 99, len), bytes, len)) != 0);
	ck_assert(inetsum_finish(inetsum_add(pseudo_sum(_i, proto, len + 1), bytes, len)) != 0);
	ck_assert(inetsum_finish(inetsum_add(pseudo_sum(_i, proto, len + 0x10000), bytes, len)) !=
		  0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("inetsum");
	TCase *tc = fixture_case("inetsum");

	tcase_add_loop_test(tc, known_sums_are_right, 0, COUNT(known));
	tcase_add_test(tc, any_length_at_any_address_is_summed);
	tcase_add_test(tc, nothing_beyond_the_bytes_is_read);
	tcase_add_test(tc, pieces_of_even_length_sum_up_to_the_whole);
	tcase_add_test(tc, long_pieces_do_not_overflow);
	tcase_add_loop_test(tc, the_pseudo_header_completes_the_checksum, 0, COUNT(packets));
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
