/* SPDX-License-Identifier: Apache-2.0 */

/* TCP segments. Those marked with "Linux" were recorded from it. */
#include "formats/tcpseg.h"
#include "tests/unit/fixture.h"

#include <arpa/inet.h>

#include "formats/inetsum.h"

#define HEAD_LONGEST 60 /* bytes */

static const unsigned char syn4[] = /* Linux, 10.0.2.100 to 10.0.2.2 */
	"\x9c\x40\x00\x50\xb8\x05\xe6\xa6\x00\x00\x00\x00\xa0\x02\xfb\xe0\x14\x09\x00\x00\x02\x04"
	"\x04\xd8\x04\x02\x08\x0a\x01\xf2\xe3\x5a\x00\x00\x00\x00\x01\x03\x03\x0a";
static const unsigned char syn6[] = /* Linux, fd00::100 to fd00::2 */
	"\x9c\x40\x00\x50\x9b\x59\xb6\x63\x00\x00\x00\x00\xa0\x02\xfc\x94\xbb\xee\x00\x00\x02\x04"
	"\x04\xc4\x04\x02\x08\x0a\xc7\xa3\xdf\x74\x00\x00\x00\x00\x01\x03\x03\x0a";
#define SYN_LEN (sizeof(syn4) - 1)

static int read_copy(struct tcpseg *seg, const unsigned char *bytes, size_t len)
{
	return tcpseg_read(seg, (uint8_t *)fixture_exact_copy((const char *)bytes, len), len);
}

static struct packet_addrs addrs_of(const char *src, const char *dst)
{
	struct packet_addrs addrs;

	ck_assert_int_eq(inet_pton(AF_INET6, src, &addrs.src), 1);
	ck_assert_int_eq(inet_pton(AF_INET6, dst, &addrs.dst), 1);
	return addrs;
}

/* ---- reading ---- */

START_TEST(a_syn_is_read)
{
	struct tcpseg seg;

	ck_assert_int_eq(read_copy(&seg, syn4, SYN_LEN), 0);
	ck_assert_uint_eq(seg.src_port, 40000);
	ck_assert_uint_eq(seg.dst_port, 80);
	ck_assert_uint_eq(seg.seq, 0xb805e6a6);
	ck_assert_uint_eq(seg.ack, 0);
	ck_assert_uint_eq(seg.flags, TH_SYN);
	ck_assert_uint_eq(seg.window, 0xfbe0);
	ck_assert_uint_eq(seg.mss, 1240);
	ck_assert_int_eq(seg.scale, 10);
	ck_assert_uint_eq(seg.len, 0);
	ck_assert_uint_eq(tcpseg_span(&seg), 1);
}
END_TEST

START_TEST(data_begins_after_the_options)
{
	unsigned char bytes[HEAD_LONGEST + 5] = { 0 };
	struct tcpseg seg;

	for (size_t words = 5; words <= 15; words++) {
		bytes[12] = (unsigned char)(words << 4);
		ck_assert_int_eq(read_copy(&seg, bytes, words * 4 + 5), 0);
		ck_assert_uint_eq(seg.len, 5);
		ck_assert_int_eq(seg.scale, TCPSEG_NO_SCALE);
		ck_assert_int_eq(read_copy(&seg, bytes, words * 4), 0);
		ck_assert_uint_eq(seg.len, 0);
	}
}
END_TEST

START_TEST(a_cut_header_is_refused)
{
	struct tcpseg seg;

	for (size_t len = 0; len < SYN_LEN; len++)
		ck_assert_int_eq(read_copy(&seg, syn4, len), -EBADMSG);
}
END_TEST

START_TEST(a_header_that_is_too_short_is_refused)
{
	unsigned char bytes[HEAD_LONGEST] = { 0 };
	struct tcpseg seg;

	for (unsigned char words = 0; words < 16; words++) {
		bytes[12] = (unsigned char)(words << 4);
		ck_assert_int_eq(read_copy(&seg, bytes, 28), words < 5 || words > 7 ? -EBADMSG : 0);
	}
}
END_TEST

static const struct {
	const char *options;
	size_t len; /* a multiple of 4 */
	uint16_t mss;
	int scale;
} lists[] = {
	{ "\2\4\5\xb4", 4, 1460, TCPSEG_NO_SCALE },
	{ "\3\3\7\0", 4, 0, 7 },
	{ "\1\1\1\1\2\4\5\xb4", 8, 1460, TCPSEG_NO_SCALE },
	{ "\3\3\x0e\1\2\4\xff\xff", 8, 65535, 14 },
	/* more than RFC 7323 allows counts as 14 */
	{ "\3\3\x0f\0", 4, 0, TCPSEG_SCALE_MAX },
	{ "\3\3\xff\0", 4, 0, TCPSEG_SCALE_MAX },
	/* nothing counts after the end of the list */
	{ "\0\2\4\5\xb4\1\1\1", 8, 0, TCPSEG_NO_SCALE },
	/* the last one counts */
	{ "\2\4\0\1\2\4\0\2", 8, 2, TCPSEG_NO_SCALE },
	/* unknown ones are skipped */
	{ "\xfe\6\2\4\5\xb4\1\1\2\4\1\2", 12, 0x102, TCPSEG_NO_SCALE },
	/* wrong lengths */
	{ "\2\3\5\1", 4, 0, TCPSEG_NO_SCALE },
	{ "\3\2\2\4\5\xb4\1\1", 8, 1460, TCPSEG_NO_SCALE },
	{ "\3\4\7\0\2\4\5\xb4", 8, 1460, TCPSEG_NO_SCALE },
	/* cut off, or endless */
	{ "\1\1\1\2", 4, 0, TCPSEG_NO_SCALE },
	{ "\1\1\2\4", 4, 0, TCPSEG_NO_SCALE },
	{ "\1\2\4\5", 4, 0, TCPSEG_NO_SCALE },
	{ "\1\1\3\3", 4, 0, TCPSEG_NO_SCALE },
	{ "\xfe\0\2\4\5\xb4\1\1", 8, 0, TCPSEG_NO_SCALE },
	{ "\xfe\1\2\4\5\xb4\1\1", 8, 0, TCPSEG_NO_SCALE },
	{ "\xfe\xff\2\4\5\xb4\1\1", 8, 0, TCPSEG_NO_SCALE },
	{ "\2\0\5\xb4\3\3\7\1", 8, 0, TCPSEG_NO_SCALE },
};

START_TEST(options_of_a_syn_are_read)
{
	unsigned char bytes[HEAD_LONGEST] = { 0 };
	const size_t len = TCPSEG_HEAD_LEN + lists[_i].len;
	struct tcpseg seg;

	bytes[12] = (unsigned char)(len / 4 << 4);
	bytes[13] = TH_SYN;
	memcpy(bytes + TCPSEG_HEAD_LEN, lists[_i].options, lists[_i].len);
	ck_assert_int_eq(read_copy(&seg, bytes, len), 0);
	ck_assert_uint_eq(seg.mss, lists[_i].mss);
	ck_assert_int_eq(seg.scale, lists[_i].scale);
	bytes[13] = TH_ACK | TH_PUSH;
	ck_assert_int_eq(read_copy(&seg, bytes, len), 0);
	ck_assert_uint_eq(seg.mss, 0);
	ck_assert_int_eq(seg.scale, TCPSEG_NO_SCALE);
}
END_TEST

/* ---- checksums ---- */

static bool is_intact(const char *src, const char *dst, const unsigned char *bytes, size_t len)
{
	struct packet p = { .addrs = addrs_of(src, dst), .payload_len = len };

	p.payload = (const uint8_t *)fixture_exact_copy((const char *)bytes, len);
	return tcpseg_is_intact(&p);
}

START_TEST(a_changed_byte_is_noticed)
{
	unsigned char bytes[sizeof(syn4)];

	ck_assert(is_intact("::ffff:10.0.2.100", "::ffff:10.0.2.2", syn4, SYN_LEN));
	ck_assert(is_intact("fd00::100", "fd00::2", syn6, SYN_LEN));
	ck_assert(!is_intact("::ffff:10.0.2.101", "::ffff:10.0.2.2", syn4, SYN_LEN));
	ck_assert(!is_intact("fd00::100", "fd00::3", syn6, SYN_LEN));
	for (size_t i = 0; i < SYN_LEN; i++) {
		memcpy(bytes, syn6, SYN_LEN);
		bytes[i] ^= 0x10;
		ck_assert_msg(!is_intact("fd00::100", "fd00::2", bytes, SYN_LEN), "byte %zu", i);
	}
}
END_TEST

/* ---- writing ---- */

static const struct {
	const char *src, *dst;
	struct tcpseg seg;
	size_t head_len;
} written[] = {
	{ "::ffff:10.0.2.2",
	  "::ffff:10.0.2.100",
	  { .src_port = 80,
	    .dst_port = 40000,
	    .seq = 0xfffffff0,
	    .ack = 0x12345678,
	    .flags = TH_SYN | TH_ACK,
	    .window = 65535,
	    .mss = 65480,
	    .scale = 14 },
	  28 },
	{ "fd00::2",
	  "fd00::100",
	  { .src_port = 65535,
	    .dst_port = 1,
	    .seq = 1,
	    .flags = TH_SYN,
	    .mss = 536,
	    .scale = TCPSEG_NO_SCALE },
	  24 },
	{ "fd00::2",
	  "fd00::100",
	  { .src_port = 443,
	    .dst_port = 50000,
	    .seq = 7,
	    .ack = 9,
	    .flags = TH_ACK | TH_PUSH | TH_FIN,
	    .window = 1,
	    .scale = TCPSEG_NO_SCALE,
	    .len = 5 },
	  20 },
	{ "::ffff:10.0.2.2",
	  "::ffff:10.0.2.100",
	  { .src_port = 1, .dst_port = 2, .flags = TH_RST, .scale = TCPSEG_NO_SCALE, .len = 60000 },
	  20 },
};

/* The kernel completes the checksum: it sums up all bytes from the transport header on. */
static void complete_sum(unsigned char *bytes, size_t len)
{
	uint16_t sum = inetsum_finish(inetsum_add(0, bytes, len));

	memcpy(bytes + TCPSEG_SUM_OFFSET, &sum, sizeof(sum));
}

static void assert_is_equal(const struct tcpseg *a, const struct tcpseg *b)
{
	ck_assert_uint_eq(a->src_port, b->src_port);
	ck_assert_uint_eq(a->dst_port, b->dst_port);
	ck_assert_uint_eq(a->seq, b->seq);
	ck_assert_uint_eq(a->ack, b->ack);
	ck_assert_uint_eq(a->flags, b->flags);
	ck_assert_uint_eq(a->window, b->window);
	ck_assert_uint_eq(a->mss, b->mss);
	ck_assert_int_eq(a->scale, b->scale);
	ck_assert_uint_eq(a->len, b->len);
}

START_TEST(what_is_written_reads_back_equal)
{
	static unsigned char bytes[TCPSEG_HEAD_MAX + 60000];
	const struct packet_addrs addrs = addrs_of(written[_i].src, written[_i].dst);
	const struct tcpseg *seg = &written[_i].seg;
	struct tcpseg back;
	size_t n;

	memset(bytes, 0x5a, sizeof(bytes));
	n = tcpseg_put(bytes, seg, &addrs);
	ck_assert_uint_eq(n, written[_i].head_len);
	ck_assert_uint_eq(bytes[n], 0x5a);
	ck_assert_int_eq(read_copy(&back, bytes, n + seg->len), 0);
	assert_is_equal(&back, seg);
	complete_sum(bytes, n + seg->len);
	ck_assert(is_intact(written[_i].src, written[_i].dst, bytes, n + seg->len));
}
END_TEST

START_TEST(a_header_has_every_byte_right)
{
	const struct packet_addrs addrs = addrs_of("::ffff:10.0.2.2", "::ffff:10.0.2.100");
	unsigned char out[TCPSEG_HEAD_MAX];

	ck_assert_uint_eq(tcpseg_put(out, &written[0].seg, &addrs), 28);
	ck_assert_mem_eq(out, "\x00\x50\x9c\x40\xff\xff\xff\xf0\x12\x34\x56\x78\x70\x12\xff\xff",
			 16);
	/* 0a00 + 0202 + 0a00 + 0264 + 6 + 28 */
	ck_assert_mem_eq(out + 16, "\x18\x88\0\0\2\4\xff\xc8\1\3\3\x0e", 12);
}
END_TEST

/* ---- sequence numbers ---- */

static const struct {
	uint32_t before, after;
} ordered[] = {
	{ 0, 1 },
	{ 0xffffffff, 0 },
	{ 0xfffffff0, 0x10 },
	{ 0x7fffffff, 0x80000000 },
	{ 0, 0x7fffffff },
	{ 0x80000001, 0 },
	{ 0xffffffff, 0x7ffffffe },
	{ 0xc0000000, 0x3fffffff },
};

START_TEST(sequence_numbers_wrap_around)
{
	const uint32_t a = ordered[_i].before, b = ordered[_i].after;

	ck_assert(seq_before(a, b) && seq_after(b, a));
	ck_assert(!seq_before(b, a) && !seq_after(a, b));
	ck_assert(!seq_before(a, a) && !seq_after(a, a));
}
END_TEST

static const struct {
	struct tcpseg seg;
	uint32_t span;
} spans[] = {
	{ { .flags = TH_ACK }, 0 },
	{ { .flags = TH_RST, .len = 3 }, 3 },
	{ { .flags = TH_SYN }, 1 },
	{ { .flags = TH_FIN | TH_ACK }, 1 },
	{ { .flags = TH_SYN | TH_FIN, .len = 10 }, 12 },
	{ { .flags = TH_PUSH | TH_ACK, .len = 65495 }, 65495 },
};

START_TEST(syn_and_fin_take_a_sequence_number_each)
{
	ck_assert_uint_eq(tcpseg_span(&spans[_i].seg), spans[_i].span);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tcpseg");
	TCase *tc = fixture_case("reading");

	tcase_add_test(tc, a_syn_is_read);
	tcase_add_test(tc, data_begins_after_the_options);
	tcase_add_test(tc, a_cut_header_is_refused);
	tcase_add_test(tc, a_header_that_is_too_short_is_refused);
	tcase_add_loop_test(tc, options_of_a_syn_are_read, 0, COUNT(lists));
	tcase_add_test(tc, a_changed_byte_is_noticed);
	suite_add_tcase(s, tc);
	tc = fixture_case("writing");
	tcase_add_loop_test(tc, what_is_written_reads_back_equal, 0, COUNT(written));
	tcase_add_test(tc, a_header_has_every_byte_right);
	suite_add_tcase(s, tc);
	tc = fixture_case("sequence numbers");
	tcase_add_loop_test(tc, sequence_numbers_wrap_around, 0, COUNT(ordered));
	tcase_add_loop_test(tc, syn_and_fin_take_a_sequence_number_each, 0, COUNT(spans));
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
