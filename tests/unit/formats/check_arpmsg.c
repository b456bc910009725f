/* SPDX-License-Identifier: Apache-2.0 */

/* ARP messages. */
#include "formats/arpmsg.h"
#include "tests/unit/fixture.h"

#include <arpa/inet.h>
#include <net/if_arp.h>

/* Linux asks 10.0.2.2 for its MAC address. */
static const unsigned char request[ARPMSG_LEN + 1] = "\x00\x01\x08\x00\x06\x04\x00\x01"
						     "\x02\x52\x00\x00\x00\x64\x0a\x00\x02\x64"
						     "\x00\x00\x00\x00\x00\x00\x0a\x00\x02\x02";

static int read_copy(struct arpmsg *m, const unsigned char *bytes, size_t len)
{
	return arpmsg_read(m, (uint8_t *)fixture_exact_copy((const char *)bytes, len), len);
}

START_TEST(a_request_is_read)
{
	struct arpmsg m;

	ck_assert_int_eq(read_copy(&m, request, ARPMSG_LEN), 0);
	ck_assert_uint_eq(m.op, ARPOP_REQUEST);
	ck_assert_mem_eq(m.src_mac, "\x02\x52\x00\x00\x00\x64", ETH_ALEN);
	ck_assert_mem_eq(m.dst_mac, "\0\0\0\0\0\0", ETH_ALEN);
	ck_assert_uint_eq(m.src.s_addr, inet_addr("10.0.2.100"));
	ck_assert_uint_eq(m.dst.s_addr, inet_addr("10.0.2.2"));
}
END_TEST

START_TEST(what_is_read_is_written_again)
{
	unsigned char out[ARPMSG_LEN + 1];
	struct arpmsg m;

	out[ARPMSG_LEN] = 0x5a;
	ck_assert_int_eq(read_copy(&m, request, ARPMSG_LEN), 0);
	arpmsg_put(out, &m);
	ck_assert_mem_eq(out, request, ARPMSG_LEN);
	ck_assert_uint_eq(out[ARPMSG_LEN], 0x5a);
}
END_TEST

START_TEST(a_reply_is_written)
{
	struct arpmsg m = { .op = ARPOP_REPLY,
			    .src_mac = { 2, 3, 4, 5, 6, 7 },
			    .dst_mac = { 0x12, 0x13, 0x14, 0x15, 0x16, 0x17 },
			    .src.s_addr = inet_addr("10.0.2.2"),
			    .dst.s_addr = inet_addr("10.0.2.100") };
	unsigned char out[ARPMSG_LEN];

	arpmsg_put(out, &m);
	ck_assert_mem_eq(out,
			 "\x00\x01\x08\x00\x06\x04\x00\x02"
			 "\x02\x03\x04\x05\x06\x07\x0a\x00\x02\x02"
			 "\x12\x13\x14\x15\x16\x17\x0a\x00\x02\x64",
			 ARPMSG_LEN);
}
END_TEST

/* Frames have at least 60 bytes, so ARP messages come with padding. */
START_TEST(a_cut_message_is_refused_and_padding_ignored)
{
	unsigned char padded[ARPMSG_LEN + 18] = { 0 };
	struct arpmsg m;

	for (size_t len = 0; len < ARPMSG_LEN; len++)
		ck_assert_int_eq(read_copy(&m, request, len), -EBADMSG);
	memcpy(padded, request, ARPMSG_LEN);
	ck_assert_int_eq(read_copy(&m, padded, sizeof(padded)), 0);
	ck_assert_uint_eq(m.dst.s_addr, inet_addr("10.0.2.2"));
}
END_TEST

static const struct {
	size_t at;
	unsigned char value;
} others[] = {
	{ 0, 1 },    { 1, 6 }, /* IEEE 802 */
	{ 2, 0x86 },	       /* another protocol */
	{ 3, 6 },    { 4, 8 }, /* lengths of addresses */
	{ 4, 0 },    { 5, 16 }, { 5, 0 },
};

START_TEST(other_protocols_are_refused)
{
	unsigned char bytes[ARPMSG_LEN];
	struct arpmsg m;

	memcpy(bytes, request, sizeof(bytes));
	bytes[others[_i].at] = others[_i].value;
	ck_assert_int_eq(read_copy(&m, bytes, sizeof(bytes)), -EBADMSG);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("arpmsg");
	TCase *tc = fixture_case("arpmsg");

	tcase_add_test(tc, a_request_is_read);
	tcase_add_test(tc, what_is_read_is_written_again);
	tcase_add_test(tc, a_reply_is_written);
	tcase_add_test(tc, a_cut_message_is_refused_and_padding_ignored);
	tcase_add_loop_test(tc, other_protocols_are_refused, 0, COUNT(others));
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
