/* SPDX-License-Identifier: Apache-2.0 */

/* UDP headers over IPv4 and IPv6. */
#include "formats/inetsum.h"
#include "formats/udpseg.h"
#include "tests/unit/fixture.h"

#include <arpa/inet.h>

#define DATA	 "hello"
#define DATA_LEN (sizeof(DATA) - 1)
#define LEN	 (UDPSEG_HEAD_LEN + DATA_LEN)

/* From port 67 to port 68, between the addresses below, as another program computed it. */
static const uint8_t sample4[LEN + 1] = "\x00\x43\x00\x44\x00\x0d\xae\x7a"
					"hello";
static const uint8_t sample6[LEN + 1] = "\x00\x43\x00\x44\x00\x0d\xc0\x77"
					"hello";

static struct in6_addr addr_of(const char *text)
{
	struct in6_addr a;

	ck_assert_int_eq(inet_pton(AF_INET6, text, &a), 1);
	return a;
}

static struct packet packet_of(bool v4, const void *bytes, size_t len)
{
	struct packet p = { .proto = IPPROTO_UDP, .payload_len = len };

	p.addrs.src = addr_of(v4 ? "::ffff:10.0.3.1" : "fd00::100");
	p.addrs.dst = addr_of(v4 ? "::ffff:255.255.255.255" : "fd00::2");
	p.payload = (const uint8_t *)fixture_exact_copy(bytes, len);
	return p;
}

static const uint8_t *sample_of(bool v4)
{
	return v4 ? sample4 : sample6;
}

/* _i: IPv4 or IPv6 */
START_TEST(a_header_is_read)
{
	struct udpseg seg;
	struct packet p = packet_of(_i, sample_of(_i), LEN);

	ck_assert(udpseg_is_intact(&p));
	ck_assert_int_eq(udpseg_read(&seg, p.payload, p.payload_len), 0);
	ck_assert_uint_eq(seg.src_port, 67);
	ck_assert_uint_eq(seg.dst_port, 68);
	ck_assert_uint_eq(seg.len, DATA_LEN);
	ck_assert_mem_eq(seg.data, DATA, DATA_LEN);
}
END_TEST

/* Completes what udpseg_put has written as the kernel does: the sum of everything, stored in the
 * place of the pseudo header's. */
START_TEST(a_header_is_written_with_the_sum_of_the_pseudo_header)
{
	struct packet p = packet_of(_i, sample_of(_i), LEN);
	const struct udpseg seg = { 67, 68, (const uint8_t *)DATA, DATA_LEN };
	uint8_t out[LEN];
	uint16_t sum;

	udpseg_put(out, &seg, &p.addrs);
	memcpy(out + UDPSEG_HEAD_LEN, DATA, DATA_LEN);
	sum = inetsum_finish(inetsum_add(0, out, LEN));
	memcpy(out + UDPSEG_SUM_OFFSET, &sum, sizeof(sum));
	ck_assert_mem_eq(out, sample_of(_i), LEN);
}
END_TEST

START_TEST(a_changed_byte_is_noticed)
{
	for (size_t i = 0; i < LEN; i++) {
		uint8_t bytes[LEN];
		struct packet p;

		memcpy(bytes, sample_of(_i), LEN);
		bytes[i] ^= 0x10;
		p = packet_of(_i, bytes, LEN);
		ck_assert_msg(!udpseg_is_intact(&p), "byte %zu", i);
	}
}
END_TEST

START_TEST(only_ipv4_may_have_no_checksum)
{
	uint8_t bytes[LEN];
	struct packet p;

	memcpy(bytes, sample_of(_i), LEN);
	memset(bytes + UDPSEG_SUM_OFFSET, 0, 2);
	p = packet_of(_i, bytes, LEN);
	ck_assert_int_eq(udpseg_is_intact(&p), _i != 0);
}
END_TEST

/* A payload of 13 bytes whose header states another length */
static const struct {
	uint16_t stated;
	int len; /* of the data; -1: malformed */
} lengths[] = {
	{ 0, -1 }, { 1, -1 }, { 7, -1 },  { 8, 0 },	{ 9, 1 },
	{ 12, 4 }, { 13, 5 }, { 14, -1 }, { 4096, -1 }, { UINT16_MAX, -1 },
};

START_TEST(the_stated_length_counts)
{
	const uint16_t be = htons(lengths[_i].stated);
	struct udpseg seg;
	uint8_t bytes[LEN];
	struct packet p;
	int r;

	memcpy(bytes, sample4, LEN);
	memcpy(bytes + 4, &be, sizeof(be));
	p = packet_of(true, bytes, LEN);
	r = udpseg_read(&seg, p.payload, p.payload_len);
	ck_assert_int_eq(r, lengths[_i].len < 0 ? -EBADMSG : 0);
	if (r == 0)
		ck_assert_int_eq((int)seg.len, lengths[_i].len);
}
END_TEST

START_TEST(a_cut_header_is_refused_and_padding_ignored)
{
	uint8_t bytes[LEN + 3] = { 0 };
	struct udpseg seg;
	struct packet p;

	memcpy(bytes, sample_of(_i), LEN);
	for (size_t len = 0; len < LEN; len++) {
		p = packet_of(_i, bytes, len);
		ck_assert_int_eq(udpseg_read(&seg, p.payload, len), -EBADMSG);
		ck_assert(!udpseg_is_intact(&p));
	}
	p = packet_of(_i, bytes, sizeof(bytes));
	ck_assert(udpseg_is_intact(&p));
	ck_assert_int_eq(udpseg_read(&seg, p.payload, p.payload_len), 0);
	ck_assert_uint_eq(seg.len, DATA_LEN);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("udpseg");
	TCase *tc = fixture_case("udpseg");

	tcase_add_loop_test(tc, a_header_is_read, 0, 2);
	tcase_add_loop_test(tc, a_header_is_written_with_the_sum_of_the_pseudo_header, 0, 2);
	tcase_add_loop_test(tc, a_changed_byte_is_noticed, 0, 2);
	tcase_add_loop_test(tc, only_ipv4_may_have_no_checksum, 0, 2);
	tcase_add_loop_test(tc, the_stated_length_counts, 0, COUNT(lengths));
	tcase_add_loop_test(tc, a_cut_header_is_refused_and_padding_ignored, 0, 2);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
