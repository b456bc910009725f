/* SPDX-License-Identifier: Apache-2.0 */

/* Ethernet frames with IPv4 and IPv6. Packets marked with "Linux" were recorded from it. */
#include "formats/packet.h"
#include "tests/unit/fixture.h"

#include <arpa/inet.h>

#define MACS	  "\x02\x03\x04\x05\x06\x07\x12\x13\x14\x15\x16\x17" /* to, from */
#define V4	  MACS "\x08\x00"
#define V6	  MACS "\x86\xdd"
#define FRAME_MAX 256 /* bytes of the frames here */

struct sample {
	const char *name, *frame;
	size_t len;
	const char *src, *dst;
	uint8_t proto, hops;
	size_t payload_at, payload_len; /* in the frame */
	bool has_more;
	size_t fragment_at;
	uint32_t fragment_id;
};

#define FRAME(bytes) bytes, sizeof(bytes) - 1

/* IPv6 from fd00::100 to fd00::7 and fd00::2 */
#define FROM_TO_7                            \
	"\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0" \
	"\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\7"
#define FROM_TO_2                            \
	"\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0" \
	"\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\2"

static const struct sample samples[] = {
	{ "SYN, IPv4 (Linux)",
	  FRAME(V4 "\x45\x00\x00\x3c\x06\x56\x40\x00\x40\x06\x1c\x01\x0a\x00\x02\x64\x0a\x00\x02"
		   "\x02\x9c\x40\x00\x50\xb8\x05\xe6\xa6\x00\x00\x00\x00\xa0\x02\xfb\xe0\x14\x09"
		   "\x00\x00\x02\x04\x04\xd8\x04\x02\x08\x0a\x01\xf2\xe3\x5a\x00\x00\x00\x00\x01"
		   "\x03\x03\x0a"),
	  "::ffff:10.0.2.100", "::ffff:10.0.2.2", IPPROTO_TCP, 64, 34, 40, false, 0, 0 },
	{ "SYN, IPv6 (Linux)",
	  FRAME(V6 "\x60\x0d\xca\xc7\x00\x28\x06\x40" FROM_TO_2
		   "\x9c\x40\x00\x50\x9b\x59\xb6\x63\x00\x00\x00\x00\xa0\x02\xfc\x94\xbb\xee\x00"
		   "\x00\x02\x04\x04\xc4\x04\x02\x08\x0a\xc7\xa3\xdf\x74\x00\x00\x00\x00\x01\x03"
		   "\x03\x0a"),
	  "fd00::100", "fd00::2", IPPROTO_TCP, 64, 54, 40, false, 0, 0 },
	{ "IPv4 with options (Linux)",
	  FRAME(V4 "\x47\x00\x00\x28\x90\x50\x40\x00\x40\x11\x89\x7a\x0a\x00\x02\x64\x0a\x00\x02"
		   "\x02\x01\x01\x01\x94\x04\x00\x00\x00\x13\x88\x00\x07\x00\x0c\xd1\xdd\x00\x01"
		   "\x02\x03"),
	  "::ffff:10.0.2.100", "::ffff:10.0.2.2", IPPROTO_UDP, 64, 42, 12, false, 0, 0 },
	{ "IPv6 with hop-by-hop options (Linux)",
	  FRAME(V6 "\x60\x03\xab\x92\x00\x14\x00\x40" FROM_TO_7
		   "\x11\x00\x05\x02\x00\x00\x01\x00\x13\x88\x00\x07\x00\x0c\xef\x3a\x00\x01\x02"
		   "\x03"),
	  "fd00::100", "fd00::7", IPPROTO_UDP, 64, 62, 12, false, 0, 0 },
	{ "IPv6 with destination options (Linux)",
	  FRAME(V6 "\x60\x03\xab\x92\x00\x1c\x3c\x40" FROM_TO_7
		   "\x11\x01\x01\x0c\0\0\0\0\0\0\0\0\0\0\0\0"
		   "\x13\x88\x00\x07\x00\x0c\xef\x3a\x00\x01\x02\x03"),
	  "fd00::100", "fd00::7", IPPROTO_UDP, 64, 70, 12, false, 0, 0 },
	{ "IPv6 with hop-by-hop, routing and destination options",
	  FRAME(V6 "\x60\x00\x00\x00\x00\x1a\x00\x40" FROM_TO_7 "\x2b\0\1\4\0\0\0\0"
		   "\x3c\0\0\0\0\0\0\0"
		   "\x11\0\1\4\0\0\0\0"
		   "ab"),
	  "fd00::100", "fd00::7", IPPROTO_UDP, 64, 78, 2, false, 0, 0 },
	{ "first fragment, IPv4",
	  FRAME(V4 "\x45\x00\x00\x1c\x90\xa7\x20\x00\x40\x11\xb1\xc4\x0a\x00\x02\x64\x0a\x00\x02"
		   "\x02\x13\x88\x00\x07\x05\x80\x25\x9d"),
	  "::ffff:10.0.2.100", "::ffff:10.0.2.2", IPPROTO_UDP, 64, 34, 8, true, 0, 0x90a7 },
	{ "last fragment, IPv4",
	  FRAME(V4 "\x45\x00\x00\x17\x90\xa7\x00\x9d\x40\x11\xd1\x2c\x0a\x00\x02\x64\x0a\x00\x02"
		   "\x02\xe0\xe1\xe2"),
	  "::ffff:10.0.2.100", "::ffff:10.0.2.2", IPPROTO_UDP, 64, 34, 3, false, 1256, 0x90a7 },
	{ "first fragment, IPv6",
	  FRAME(V6 "\x60\x03\xab\x92\x00\x10\x2c\x40" FROM_TO_7
		   "\x11\x00\x00\x01\x46\x25\x82\x71\x13\x88\x00\x07\x05\x80\x42\xfa"),
	  "fd00::100", "fd00::7", IPPROTO_UDP, 64, 62, 8, true, 0, 0x46258271 },
	{ "last fragment, IPv6",
	  FRAME(V6 "\x60\x03\xab\x92\x00\x0a\x2c\x40" FROM_TO_7
		   "\x11\x00\x04\xd0\x46\x25\x82\x71\xc8\xc9"),
	  "fd00::100", "fd00::7", IPPROTO_UDP, 64, 62, 2, false, 1232, 0x46258271 },
	{ "IPv4 without a payload",
	  FRAME(V4 "\x45\x00\x00\x14\x00\x00\x40\x00\x01\xff\x60\x86\x0a\x00\x02\x64\x0a\x00\x02"
		   "\x02"),
	  "::ffff:10.0.2.100", "::ffff:10.0.2.2", 255, 1, 34, 0, false, 0, 0 },
	{ "IPv6 without a payload", FRAME(V6 "\x60\x00\x00\x00\x00\x00\x3b\x01" FROM_TO_2),
	  "fd00::100", "fd00::2", IPPROTO_NONE, 1, 54, 0, false, 0, 0 },
};

static int read_copy(struct packet *p, const unsigned char *frame, size_t len,
		     const unsigned char **copy)
{
	*copy = (unsigned char *)fixture_exact_copy((const char *)frame, len);
	return packet_read(p, *copy, len);
}

static void assert_addr(const struct in6_addr *addr, const char *text)
{
	struct in6_addr want;

	ck_assert_int_eq(inet_pton(AF_INET6, text, &want), 1);
	ck_assert_mem_eq(addr, &want, sizeof(want));
}

static void assert_is_sample(const struct packet *p, const struct sample *s,
			     const unsigned char *frame)
{
	ck_assert_mem_eq(p->dst_mac, MACS, ETH_ALEN);
	ck_assert_mem_eq(p->src_mac, &MACS[ETH_ALEN], ETH_ALEN);
	assert_addr(&p->addrs.src, s->src);
	assert_addr(&p->addrs.dst, s->dst);
	ck_assert_uint_eq(p->proto, s->proto);
	ck_assert_uint_eq(p->hops, s->hops);
	ck_assert_ptr_eq(p->ip, frame + PACKET_ETH_LEN);
	ck_assert_uint_eq(p->ip_len, s->len - PACKET_ETH_LEN);
	ck_assert_ptr_eq(p->payload, frame + s->payload_at);
	ck_assert_uint_eq(p->payload_len, s->payload_len);
	ck_assert(p->is_fragment == (s->has_more || s->fragment_at != 0));
	ck_assert(p->has_more == s->has_more);
	ck_assert_uint_eq(p->fragment_at, s->fragment_at);
	if (p->is_fragment)
		ck_assert_uint_eq(p->fragment_id, s->fragment_id);
}

START_TEST(packets_are_read)
{
	const struct sample *s = &samples[_i];
	const unsigned char *copy;
	struct packet p;

	ck_assert_msg(read_copy(&p, (const unsigned char *)s->frame, s->len, &copy) == PACKET_IP,
		      "%s", s->name);
	assert_is_sample(&p, s, copy);
	ck_assert(packet_is_v4(&p.addrs) == (strchr(s->src, '.') != NULL));
}
END_TEST

START_TEST(a_cut_packet_is_refused)
{
	const struct sample *s = &samples[_i];
	const unsigned char *copy;
	struct packet p;

	for (size_t len = 0; len < s->len; len++)
		ck_assert_msg(read_copy(&p, (const unsigned char *)s->frame, len, &copy) ==
				      -EBADMSG,
			      "%s, %zu bytes", s->name, len);
}
END_TEST

/* Ethernet frames are padded to 60 bytes. */
START_TEST(padding_is_ignored)
{
	const struct sample *s = &samples[_i];
	unsigned char padded[FRAME_MAX] = { 0 };
	const unsigned char *copy;
	struct packet p;

	memcpy(padded, s->frame, s->len);
	for (size_t more = 1; more < 64; more++) {
		ck_assert_int_eq(read_copy(&p, padded, s->len + more, &copy), PACKET_IP);
		assert_is_sample(&p, s, copy);
	}
}
END_TEST

/* ---- malformed ---- */

/* Sets the checksum of an IPv4 header. */
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

enum { SYN_V4, SYN_V6, OPTIONS_V4, HOPOPTS_V6, DSTOPTS_V6, CHAIN_V6, FIRST_V4, LAST_V4, FIRST_V6 };

/* Bytes of a sample that are replaced, from `at` on in the IP packet. */
static const struct {
	const char *what;
	int sample;
	size_t at;
	const char *bytes;
	size_t len;
} wrong[] = {
	{ "IPv4 of version 6", SYN_V4, 0, "\x65", 1 },
	{ "IPv4 of version 5", SYN_V4, 0, "\x55", 1 },
	{ "header of 16 bytes", SYN_V4, 0, "\x44", 1 },
	{ "no header", SYN_V4, 0, "\x40", 1 },
	{ "shorter than its header", SYN_V4, 2, "\0\x13", 2 },
	{ "shorter than its options", OPTIONS_V4, 2, "\0\x1b", 2 },
	{ "longer than the frame", SYN_V4, 2, "\0\x3d", 2 },
	{ "much longer than the frame", SYN_V4, 2, "\xff\xff", 2 },
	{ "IPv6 of version 4", SYN_V6, 0, "\x40", 1 },
	{ "IPv6 longer than the frame", SYN_V6, 4, "\0\x29", 2 },
	{ "IPv6 much longer than the frame", SYN_V6, 4, "\xff\xff", 2 },
	{ "mapped source", SYN_V6, 8, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\0\2\x64", 16 },
	{ "mapped destination", SYN_V6, 24, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\1", 16 },
	{ "extension longer than the packet", HOPOPTS_V6, 41, "\2", 1 },
	{ "extension much longer than the packet", HOPOPTS_V6, 41, "\xff", 1 },
	{ "destination options longer than the packet", DSTOPTS_V6, 41, "\4", 1 },
	{ "second extension longer than the packet", CHAIN_V6, 49, "\2", 1 },
	{ "no room for a fourth extension", CHAIN_V6, 56, "\x3c", 1 },
	{ "no room for a fragment header", CHAIN_V6, 56, "\x2c", 1 },
	{ "fragment not of whole units", FIRST_V4, 2, "\0\x1b", 2 },
	{ "fragment without data", FIRST_V4, 2, "\0\x14", 2 },
	{ "last fragment without data", LAST_V4, 2, "\0\x14", 2 },
	{ "fragment that ends behind the longest packet", FIRST_V4, 6, "\x3f\xff", 2 },
	{ "last fragment that ends behind it", LAST_V4, 6, "\x1f\xfe", 2 },
	{ "IPv6 fragment not of whole units", FIRST_V6, 4, "\0\x0f", 2 },
	{ "IPv6 fragment without data", FIRST_V6, 4, "\0\x08", 2 },
	{ "IPv6 fragment that ends behind the longest packet", FIRST_V6, 42, "\xff\xf9", 2 },
};

START_TEST(malformed_packets_are_refused)
{
	const struct sample *s = &samples[wrong[_i].sample];
	unsigned char frame[FRAME_MAX];
	const unsigned char *copy;
	struct packet p;

	memcpy(frame, s->frame, s->len);
	memcpy(frame + PACKET_ETH_LEN + wrong[_i].at, wrong[_i].bytes, wrong[_i].len);
	if (strchr(s->src, '.') != NULL)
		fix_header(frame + PACKET_ETH_LEN);
	ck_assert_msg(read_copy(&p, frame, s->len, &copy) == -EBADMSG, "%s", wrong[_i].what);
}
END_TEST

/* Every bit of an IPv4 header is in its checksum. */
START_TEST(a_changed_ipv4_header_is_refused)
{
	const struct sample *s = &samples[_i == 0 ? SYN_V4 : OPTIONS_V4];
	const size_t bits = (s->payload_at - PACKET_ETH_LEN) * 8;
	unsigned char frame[FRAME_MAX];
	const unsigned char *copy;
	struct packet p;

	for (size_t bit = 0; bit < bits; bit++) {
		memcpy(frame, s->frame, s->len);
		frame[PACKET_ETH_LEN + bit / 8] ^= (unsigned char)(1 << bit % 8);
		ck_assert_msg(read_copy(&p, frame, s->len, &copy) == -EBADMSG, "bit %zu", bit);
	}
}
END_TEST

/* Writes an IPv6 frame with `count` extension headers and a payload of one byte. Returns its
 * length. */
static size_t make_chain(unsigned char *frame, size_t count)
{
	const size_t at = PACKET_ETH_LEN + 40;

	memcpy(frame, samples[SYN_V6].frame, at);
	memset(frame + at, 0, count * 8 + 1);
	frame[PACKET_ETH_LEN + 5] = (unsigned char)(count * 8 + 1);
	frame[PACKET_ETH_LEN + 6] = count > 0 ? IPPROTO_DSTOPTS : IPPROTO_UDP;
	for (size_t i = 0; i < count; i++)
		frame[at + i * 8] = i + 1 < count ? IPPROTO_DSTOPTS : IPPROTO_UDP;
	return at + count * 8 + 1;
}

START_TEST(a_long_chain_of_extensions_is_refused)
{
	unsigned char frame[FRAME_MAX];
	const unsigned char *copy;
	struct packet p;

	for (size_t count = 0; count < 16; count++) {
		size_t len = make_chain(frame, count);
		int r = read_copy(&p, frame, len, &copy);

		ck_assert_msg(r == (count < 8 ? PACKET_IP : -EBADMSG), "%zu: %d", count, r);
		if (count < 8)
			ck_assert_uint_eq(p.payload_len, 1);
	}
}
END_TEST

/* A fragment header of a packet that is whole (RFC 6946) is skipped. */
START_TEST(an_atomic_fragment_is_a_whole_packet)
{
	const struct sample *s = &samples[FIRST_V6];
	unsigned char frame[FRAME_MAX];
	const unsigned char *copy;
	struct packet p;

	memcpy(frame, s->frame, s->len);
	frame[PACKET_ETH_LEN + 43] = 0;
	ck_assert_int_eq(read_copy(&p, frame, s->len, &copy), PACKET_IP);
	ck_assert(!p.is_fragment);
	ck_assert_uint_eq(p.proto, IPPROTO_UDP);
	ck_assert_uint_eq(p.payload_len, 8);
}
END_TEST

/* The longest IPv4 packet has 65535 bytes with its header, and the payload of the longest IPv6
 * packet as many without it. */
static const struct {
	int sample;
	size_t offset;
	int result;
} ends[] = {
	{ LAST_V4, 65512, PACKET_IP },	{ LAST_V4, 65520, -EBADMSG },
	{ FIRST_V4, 65504, PACKET_IP }, { FIRST_V4, 65512, -EBADMSG },
	{ FIRST_V6, 65520, PACKET_IP }, { FIRST_V6, 65528, -EBADMSG },
};

START_TEST(fragments_do_not_make_a_packet_too_long)
{
	const struct sample *s = &samples[ends[_i].sample];
	const bool v4 = ends[_i].sample != FIRST_V6;
	const size_t offset = v4 ? ends[_i].offset / 8 : ends[_i].offset;
	unsigned char frame[FRAME_MAX], *field = frame + PACKET_ETH_LEN + (v4 ? 6 : 42);
	const unsigned char *copy;
	struct packet p;

	memcpy(frame, s->frame, s->len);
	field[0] = (unsigned char)((v4 ? field[0] & 0x20 : 0) | offset >> 8);
	field[1] = (unsigned char)(offset | (v4 ? 0 : field[1] & 1));
	if (v4)
		fix_header(frame + PACKET_ETH_LEN);
	ck_assert_int_eq(read_copy(&p, frame, s->len, &copy), ends[_i].result);
	if (ends[_i].result == PACKET_IP)
		ck_assert_uint_eq(p.fragment_at, ends[_i].offset);
}
END_TEST

/* ---- other frames ---- */

START_TEST(arp_is_told_apart)
{
	const unsigned char frame[] = MACS "\x08\x06hello";
	const size_t len = sizeof(frame) - 1;
	const unsigned char *copy;
	struct packet p;

	ck_assert_int_eq(read_copy(&p, frame, len, &copy), PACKET_ARP);
	ck_assert_mem_eq(p.src_mac, &MACS[ETH_ALEN], ETH_ALEN);
	ck_assert_ptr_eq(p.payload, copy + PACKET_ETH_LEN);
	ck_assert_uint_eq(p.payload_len, 5);
	ck_assert_int_eq(read_copy(&p, frame, PACKET_ETH_LEN, &copy), PACKET_ARP);
	ck_assert_uint_eq(p.payload_len, 0);
}
END_TEST

static const uint16_t foreign[] = {
	0,		/* IEEE 802.3: a length */
	0x0600, 0x8100, /* VLAN */
	0x88a8, 0x888e, 0x88cc, 0xffff,
};

START_TEST(other_types_of_frames_are_told_apart)
{
	unsigned char frame[FRAME_MAX];
	const unsigned char *copy;
	struct packet p;

	memcpy(frame, samples[0].frame, samples[0].len);
	frame[12] = (unsigned char)(foreign[_i] >> 8);
	frame[13] = (unsigned char)foreign[_i];
	ck_assert_int_eq(read_copy(&p, frame, samples[0].len, &copy), -EPROTONOSUPPORT);
	ck_assert_int_eq(read_copy(&p, frame, PACKET_ETH_LEN, &copy), -EPROTONOSUPPORT);
	ck_assert_int_eq(read_copy(&p, frame, PACKET_ETH_LEN - 1, &copy), -EBADMSG);
}
END_TEST

/* ---- writing ---- */

static struct packet_head head_of(const struct sample *s)
{
	struct packet_head head = { .dst_mac = (const uint8_t *)MACS,
				    .src_mac = (const uint8_t *)MACS + ETH_ALEN,
				    .proto = s->proto,
				    .hops = s->hops,
				    .fragment_id = s->fragment_id,
				    .fragment_at = s->fragment_at,
				    .has_more = s->has_more };

	ck_assert_int_eq(inet_pton(AF_INET6, s->src, &head.addrs.src), 1);
	ck_assert_int_eq(inet_pton(AF_INET6, s->dst, &head.addrs.dst), 1);
	return head;
}

/* Options and extension headers are not written. */
START_TEST(what_is_written_reads_back_equal)
{
	const struct sample *s = &samples[_i];
	const struct packet_head head = head_of(s);
	const bool is_fragment = s->has_more || s->fragment_at != 0;
	const size_t max = PACKET_HEAD_MAX + (is_fragment ? 8U : 0U);
	unsigned char out[FRAME_MAX];
	const unsigned char *copy;
	struct sample written = *s;
	struct packet p;
	size_t n;

	memset(out, 0x5a, sizeof(out));
	n = is_fragment ? packet_put_fragment_head(out, &head, s->payload_len)
			: packet_put_head(out, &head, s->payload_len);
	ck_assert_uint_le(n, max);
	for (size_t i = n; i < sizeof(out); i++)
		ck_assert_uint_eq(out[i], 0x5a);
	memcpy(out + n, s->frame + s->payload_at, s->payload_len);
	written.payload_at = n;
	written.len = n + s->payload_len;
	ck_assert_int_eq(read_copy(&p, out, written.len, &copy), PACKET_IP);
	assert_is_sample(&p, &written, copy);
}
END_TEST

/* As another program computed them */
START_TEST(written_heads_have_every_byte_right)
{
	struct packet_head v4 = head_of(&samples[SYN_V4]), v6 = head_of(&samples[FIRST_V6]);
	unsigned char out[PACKET_HEAD_MAX + 8];

	v4.fragment_id = 0x0656;
	ck_assert_uint_eq(packet_put_head(out, &v4, 40), 34);
	ck_assert_mem_eq(out, samples[SYN_V4].frame, 34);
	ck_assert_uint_eq(packet_put_fragment_head(out, &v6, 8), 62);
	ck_assert_mem_eq(out + 18, samples[FIRST_V6].frame + 18, 44);
	ck_assert_mem_eq(out + 14, "\x60\0\0\0", 4); /* no flow label */
}
END_TEST

START_TEST(the_longest_packets_have_their_lengths)
{
	struct packet_head v4 = head_of(&samples[SYN_V4]), v6 = head_of(&samples[SYN_V6]);
	unsigned char out[PACKET_HEAD_MAX];

	ck_assert_uint_eq(packet_payload_max(&v4.addrs), 65515);
	packet_put_head(out, &v4, 65515);
	ck_assert_mem_eq(out + 16, "\xff\xff", 2);
	ck_assert_uint_eq(packet_payload_max(&v6.addrs), 65535);
	packet_put_head(out, &v6, 65535);
	ck_assert_mem_eq(out + 18, "\xff\xff", 2);
}
END_TEST

START_TEST(the_longest_packets_are_read)
{
	static unsigned char frame[PACKET_FRAME_MAX];
	const struct packet_head head = head_of(&samples[_i == 0 ? SYN_V4 : SYN_V6]);
	const size_t max = packet_payload_max(&head.addrs);
	const size_t len = packet_put_head(frame, &head, max) + max;
	const unsigned char *copy;
	struct packet p;

	ck_assert_int_eq(read_copy(&p, frame, len, &copy), PACKET_IP);
	ck_assert_uint_eq(p.payload_len, max);
	ck_assert_int_eq(read_copy(&p, frame, len - 1, &copy), -EBADMSG);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("packet");
	TCase *tc = fixture_case("reading");

	tcase_add_loop_test(tc, packets_are_read, 0, COUNT(samples));
	tcase_add_loop_test(tc, a_cut_packet_is_refused, 0, COUNT(samples));
	tcase_add_loop_test(tc, padding_is_ignored, 0, COUNT(samples));
	tcase_add_loop_test(tc, malformed_packets_are_refused, 0, COUNT(wrong));
	tcase_add_loop_test(tc, a_changed_ipv4_header_is_refused, 0, 2);
	tcase_add_test(tc, a_long_chain_of_extensions_is_refused);
	tcase_add_test(tc, an_atomic_fragment_is_a_whole_packet);
	tcase_add_loop_test(tc, fragments_do_not_make_a_packet_too_long, 0, COUNT(ends));
	tcase_add_test(tc, arp_is_told_apart);
	tcase_add_loop_test(tc, other_types_of_frames_are_told_apart, 0, COUNT(foreign));
	suite_add_tcase(s, tc);
	tc = fixture_case("writing");
	tcase_add_loop_test(tc, what_is_written_reads_back_equal, 0, COUNT(samples));
	tcase_add_test(tc, written_heads_have_every_byte_right);
	tcase_add_test(tc, the_longest_packets_have_their_lengths);
	tcase_add_loop_test(tc, the_longest_packets_are_read, 0, 2);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
