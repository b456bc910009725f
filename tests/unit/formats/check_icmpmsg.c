/* SPDX-License-Identifier: Apache-2.0 */

/* ICMP messages of both families. */
#include "formats/icmpmsg.h"
#include "tests/unit/usernet/taplink.h"

#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>

static const struct {
	const char *src, *dst;
	uint8_t proto, request, reply;
} families[] = {
	{ "10.0.2.100", "10.0.2.2", IPPROTO_ICMP, ICMP_ECHO, ICMP_ECHOREPLY },
	{ "fd00::100", "fd00::2", IPPROTO_ICMPV6, ICMP6_ECHO_REQUEST, ICMP6_ECHO_REPLY },
};

static const uint8_t data[] = "hello";

static struct packet make(int family, struct icmpmsg m, uint8_t *bytes)
{
	const struct packet_addrs addrs = addrs_of(families[family].src, families[family].dst);

	m.payload = data;
	m.len = sizeof(data);
	icmpmsg_put(bytes, &addrs, &m);
	memcpy(bytes + ICMPMSG_LEN, data, sizeof(data));
	return taplink_packet(&addrs, families[family].proto, 64, bytes,
			      ICMPMSG_LEN + sizeof(data));
}

START_TEST(a_message_is_written_and_read)
{
	const struct icmpmsg m = { .type = families[_i].request, .rest = 0x12345678 };
	uint8_t bytes[64];
	struct packet p = make(_i, m, bytes);
	struct icmpmsg got;

	ck_assert_int_eq(icmpmsg_read(&got, &p), 0);
	ck_assert_uint_eq(got.type, m.type);
	ck_assert_uint_eq(got.code, 0);
	ck_assert_uint_eq(got.rest, m.rest);
	ck_assert_uint_eq(icmpmsg_id(&got), 0x1234);
	ck_assert_uint_eq(got.len, sizeof(data));
	ck_assert_mem_eq(got.payload, data, sizeof(data));
	ck_assert(icmpmsg_is_echo_request(&p.addrs, &got));
	got.code = 1;
	ck_assert(!icmpmsg_is_echo_request(&p.addrs, &got));
	ck_assert_uint_eq(icmpmsg_echo_reply(&p.addrs), families[_i].reply);
	ck_assert_uint_eq(icmpmsg_proto(&p.addrs), families[_i].proto);
}
END_TEST

/* As another program computed it: an echo request with ID 0x1234, sequence number 1 */
START_TEST(the_bytes_are_those_of_the_rfc)
{
	static const uint8_t v4[] = "\x08\x00\xa1\xf8\x12\x34\x00\x01hello";
	static const uint8_t v6[] = "\x80\x00\x2e\xad\x12\x34\x00\x01hello";
	const struct packet_addrs addrs = addrs_of(families[_i].src, families[_i].dst);
	const struct icmpmsg m = {
		.type = families[_i].request, .rest = 0x12340001, .payload = data, .len = 5
	};
	uint8_t bytes[ICMPMSG_LEN];

	icmpmsg_put(bytes, &addrs, &m);
	ck_assert_mem_eq(bytes, _i == 0 ? v4 : v6, sizeof(bytes));
}
END_TEST

START_TEST(a_changed_byte_is_noticed)
{
	const struct icmpmsg m = { .type = families[_i].request, .rest = 0x12345678 };
	const struct packet_addrs addrs = addrs_of(families[_i].src, families[_i].dst);
	uint8_t bytes[64];
	struct icmpmsg got;

	make(_i, m, bytes);
	for (size_t i = 0; i < ICMPMSG_LEN + sizeof(data); i++) {
		struct packet p;

		bytes[i] ^= 0x10;
		p = taplink_packet(&addrs, families[_i].proto, 64, bytes,
				   ICMPMSG_LEN + sizeof(data));
		ck_assert_int_eq(icmpmsg_read(&got, &p), -EBADMSG);
		bytes[i] ^= 0x10;
	}
}
END_TEST

START_TEST(what_is_no_message_is_refused)
{
	const struct packet_addrs addrs = addrs_of(families[_i].src, families[_i].dst);
	uint8_t bytes[64] = { 0xff, 0xff }; /* without a pseudo header the sum is right */
	struct icmpmsg got;
	struct packet p;

	for (size_t len = 0; len < ICMPMSG_LEN; len++) {
		p = taplink_packet(&addrs, families[_i].proto, 64, bytes, len);
		ck_assert_int_eq(icmpmsg_read(&got, &p), -EBADMSG);
	}
	p = make(_i, (struct icmpmsg){ .type = families[_i].request }, bytes);
	ck_assert_int_eq(icmpmsg_read(&got, &p), 0);
	p.is_fragment = true;
	ck_assert_int_eq(icmpmsg_read(&got, &p), -EBADMSG);
	p.is_fragment = false;
	p.proto = families[1 - _i].proto; /* the other family's */
	ck_assert_int_eq(icmpmsg_read(&got, &p), -EBADMSG);
	p.proto = IPPROTO_UDP;
	ck_assert_int_eq(icmpmsg_read(&got, &p), -EBADMSG);
}
END_TEST

START_TEST(errors_are_told_from_other_messages)
{
	static const uint8_t v4[] = { ICMP_DEST_UNREACH, ICMP_SOURCE_QUENCH, ICMP_REDIRECT,
				      ICMP_TIME_EXCEEDED, ICMP_PARAMETERPROB };
	int count = 0;

	for (int type = 0; type < 256; type++) {
		count += icmpmsg_is_error(IPPROTO_ICMP, (uint8_t)type);
		ck_assert_int_eq(icmpmsg_is_error(IPPROTO_ICMPV6, (uint8_t)type),
				 type < 128 || type == ND_REDIRECT);
		ck_assert(!icmpmsg_is_error(IPPROTO_UDP, (uint8_t)type));
	}
	ck_assert_int_eq(count, COUNT(v4));
	for (int i = 0; i < COUNT(v4); i++)
		ck_assert(icmpmsg_is_error(IPPROTO_ICMP, v4[i]));
}
END_TEST

START_TEST(a_quote_is_the_beginning_of_a_packet)
{
	struct icmpmsg_quote q = { .addrs = addrs_of(families[_i].src, families[_i].dst),
				   .proto = IPPROTO_UDP,
				   .hops = 3,
				   .bytes = { '1', '2', '3', '4', '5', '6', '7', '8' },
				   .len = 1000 };
	uint8_t frame[PACKET_ETH_LEN + ICMPMSG_QUOTE_MAX + 1000] = {
		[12] = _i == 0 ? 0x08 : 0x86, [13] = _i == 0 ? 0 : 0xdd
	};
	size_t n = icmpmsg_put_quote(frame + PACKET_ETH_LEN, &q);
	struct packet p;

	ck_assert_uint_eq(n, _i == 0 ? 28 : 48);
	ck_assert_int_eq(packet_read(&p, frame, sizeof(frame)), PACKET_IP);
	ck_assert_mem_eq(&p.addrs, &q.addrs, sizeof(q.addrs));
	ck_assert_uint_eq(p.proto, IPPROTO_UDP);
	ck_assert_uint_eq(p.hops, 3);
	ck_assert_uint_eq(p.payload_len, 1000);
	ck_assert_mem_eq(p.payload, "12345678", 8);
}
END_TEST

START_TEST(a_quote_fits_into_an_error)
{
	static const uint8_t more[2000] = "9 and more";
	struct icmpmsg_quote q = { .addrs = addrs_of(families[_i].src, families[_i].dst),
				   .proto = IPPROTO_UDP,
				   .bytes = { '1', '2', '3', '4', '5', '6', '7', '8' },
				   .more = more,
				   .len = 3000 };
	const size_t least = _i == 0 ? 28 : 48, most = _i == 0 ? 548 : 1232;
	static const size_t lens[] = { 0, 1, 500, 520, 521, 1184, 1185, sizeof(more) };

	for (int i = 0; i < COUNT(lens); i++) {
		uint8_t *out = malloc(most);
		size_t want = least + lens[i] < most ? least + lens[i] : most;

		q.more_len = lens[i];
		ck_assert_uint_eq(icmpmsg_put_quote(out, &q), want);
		ck_assert_mem_eq(out + least - 8, "12345678", 8);
		ck_assert_mem_eq(out + least, more, want - least);
		free(out);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("icmpmsg");
	TCase *tc = fixture_case("icmpmsg");

	tcase_add_loop_test(tc, a_message_is_written_and_read, 0, COUNT(families));
	tcase_add_loop_test(tc, the_bytes_are_those_of_the_rfc, 0, COUNT(families));
	tcase_add_loop_test(tc, a_changed_byte_is_noticed, 0, COUNT(families));
	tcase_add_loop_test(tc, what_is_no_message_is_refused, 0, COUNT(families));
	tcase_add_test(tc, errors_are_told_from_other_messages);
	tcase_add_loop_test(tc, a_quote_is_the_beginning_of_a_packet, 0, COUNT(families));
	tcase_add_loop_test(tc, a_quote_fits_into_an_error, 0, COUNT(families));
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
