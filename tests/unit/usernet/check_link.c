/* SPDX-License-Identifier: Apache-2.0 */

/* Packets to the inside: whole ones, fragments and batches. */
#include "tests/unit/usernet/taplink.h"

#include <netinet/udp.h>

#define UDP_MAX(v4) ((v4) ? 65507U : 65527U) /* bytes of data in the longest datagram */
#define UDP_HEAD    sizeof(struct udphdr)

static struct taplink t;
static uint8_t data[PACKET_IP_MAX];

static void open_link(void)
{
	taplink_open(&t);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 2654435761U >> 13);
}

static void close_link(void)
{
	taplink_close(&t);
}

/* A datagram from outside. Its checksum has the sum of the pseudo header only. */
static struct link_packet datagram(struct udphdr *head, const char *src, const char *dst,
				   size_t len)
{
	struct link_packet p = { .mac = taplink_inside_mac,
				 .addrs = addrs_of(src, dst),
				 .proto = IPPROTO_UDP,
				 .head = head,
				 .head_len = sizeof(*head),
				 .payload = data,
				 .payload_len = len,
				 .sum_at = offsetof(struct udphdr, check) };

	*head = (struct udphdr){ .source = htons(7),
				 .dest = htons(5000),
				 .len = htons((uint16_t)(sizeof(*head) + len)) };
	head->check = inetsum_fold(inetsum_add_pseudo(0, &p.addrs.src, &p.addrs.dst, IPPROTO_UDP,
						      sizeof(*head) + len));
	return p;
}

static struct link_packet datagram_of(struct udphdr *head, bool v4, size_t len)
{
	return v4 ? datagram(head, "192.0.2.7", "10.0.2.100", len)
		  : datagram(head, "2001:db8::7", "fd00::100", len);
}

static void assert_no_frame(void)
{
	ck_assert(!taplink_receive(&t));
}

static void assert_head(const struct packet *p, bool v4)
{
	ck_assert_mem_eq(p->dst_mac, taplink_inside_mac, ETH_ALEN);
	assert_addr(&p->addrs.src, v4 ? "192.0.2.7" : "2001:db8::7");
	assert_addr(&p->addrs.dst, v4 ? "10.0.2.100" : "fd00::100");
	ck_assert_uint_eq(p->proto, IPPROTO_UDP);
	ck_assert_uint_eq(p->hops, LINK_HOPS);
}

/* ---- whole packets ---- */

/* The kernel completes the checksum. */
START_TEST(a_packet_that_fits_goes_whole)
{
	const bool v4 = _i == 0;
	const size_t len = 1500 - (v4 ? 20 : 40) - UDP_HEAD;
	struct udphdr head;
	struct link_packet out = datagram_of(&head, v4, len);
	struct packet p;

	link_send(&t.link, &out);
	ck_assert(taplink_receive_packet(&t, &p));
	assert_head(&p, v4);
	ck_assert(!p.is_fragment);
	ck_assert_uint_eq(p.ip_len, 1500);
	ck_assert_mem_eq(p.payload, &head, UDP_HEAD);
	ck_assert_mem_eq(p.payload + UDP_HEAD, data, len);
	ck_assert_uint_eq(t.header.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	ck_assert_uint_eq(t.header.csum_start, v4 ? 34 : 54);
	ck_assert_uint_eq(t.header.csum_offset, 6);
	ck_assert_uint_eq(t.header.gso_type, VIRTIO_NET_HDR_GSO_NONE);
	ck_assert_uint_eq(t.header.gso_size, 0);
	assert_no_frame();
}
END_TEST

/* RFC 791: only packets that must not be fragmented (DF) may all have the ID 0. */
START_TEST(a_whole_ipv4_packet_must_not_be_fragmented)
{
	struct udphdr head;
	struct link_packet out = datagram_of(&head, true, 5);

	link_send(&t.link, &out);
	ck_assert(taplink_receive(&t));
	ck_assert_mem_eq(t.frame + PACKET_ETH_LEN + 4, "\0\0\x40\0", 4);
}
END_TEST

START_TEST(an_empty_payload_is_sent)
{
	struct udphdr head;
	struct link_packet out = datagram_of(&head, true, 0);
	struct packet p;

	out.payload = NULL;
	link_send(&t.link, &out);
	ck_assert(taplink_receive_packet(&t, &p));
	ck_assert_uint_eq(p.payload_len, UDP_HEAD);
	assert_no_frame();
}
END_TEST

/* ICMP without a head: all is in the payload, its checksum, too. */
START_TEST(a_complete_checksum_is_left_alone)
{
	struct link_packet out = { .mac = taplink_inside_mac,
				   .addrs = addrs_of("192.0.2.7", "10.0.2.100"),
				   .proto = IPPROTO_ICMP,
				   .payload = data,
				   .payload_len = 100,
				   .sum_at = LINK_HAS_SUM };
	struct packet p;

	link_send(&t.link, &out);
	ck_assert(taplink_receive_packet(&t, &p));
	ck_assert_uint_eq(p.payload_len, 100);
	ck_assert_mem_eq(p.payload, data, 100);
	ck_assert_uint_eq(t.header.flags, 0);
	ck_assert_uint_eq(t.header.csum_start, 0);
}
END_TEST

/* ---- batches ---- */

static const struct {
	bool v4;
	uint8_t proto, gso_type;
	int sum_at;
} batches[] = {
	{ true, IPPROTO_TCP, VIRTIO_NET_HDR_GSO_TCPV4, 16 },
	{ false, IPPROTO_TCP, VIRTIO_NET_HDR_GSO_TCPV6, 16 },
	{ true, IPPROTO_UDP, VIRTIO_NET_HDR_GSO_UDP_L4, 6 },
	{ false, IPPROTO_UDP, VIRTIO_NET_HDR_GSO_UDP_L4, 6 },
};

START_TEST(a_batch_is_left_to_the_kernel)
{
	const bool v4 = batches[_i].v4;
	const size_t len = PACKET_IP_MAX - (v4 ? 20 : 40) - 20;
	uint8_t head[20] = { 0 };
	struct link_packet out = { .mac = taplink_inside_mac,
				   .addrs = v4 ? addrs_of("192.0.2.7", "10.0.2.100")
					       : addrs_of("2001:db8::7", "fd00::100"),
				   .proto = batches[_i].proto,
				   .head = head,
				   .head_len = sizeof(head),
				   .payload = data,
				   .payload_len = len,
				   .sum_at = batches[_i].sum_at,
				   .gso_type = batches[_i].gso_type,
				   .gso_size = 1440 };
	struct packet p;

	link_send(&t.link, &out);
	ck_assert(taplink_receive_packet(&t, &p));
	ck_assert_uint_eq(p.ip_len, PACKET_IP_MAX);
	ck_assert(!p.is_fragment);
	ck_assert_mem_eq(p.payload + 20, data, len);
	ck_assert_uint_eq(t.header.gso_type, batches[_i].gso_type);
	ck_assert_uint_eq(t.header.gso_size, 1440);
	ck_assert_uint_eq(t.header.hdr_len, (v4 ? 34 : 54) + 20);
	ck_assert_uint_eq(t.header.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	ck_assert_uint_eq(t.header.csum_offset, batches[_i].sum_at);
	assert_no_frame();
}
END_TEST

/* ---- fragments ---- */

/* A packet that is put together from its fragments */
static struct {
	uint8_t payload[PACKET_IP_MAX];
	size_t len, parts;
	uint32_t id;
	bool is_complete;
} whole;

static void add_fragment(const struct packet *p, bool v4)
{
	const size_t unit_room = (t.conf.mtu - (v4 ? 20 : 48)) / 8 * 8;

	assert_head(p, v4);
	ck_assert(p->is_fragment && !whole.is_complete);
	ck_assert_uint_le(p->ip_len, t.conf.mtu);
	ck_assert_uint_eq(p->fragment_at, whole.len);
	if (whole.parts > 0)
		ck_assert_uint_eq(p->fragment_id, whole.id);
	/* As few as possible */
	if (p->has_more)
		ck_assert_uint_eq(p->payload_len, unit_room);
	/* The kernel does nothing to them. */
	ck_assert_uint_eq(t.header.flags, 0);
	ck_assert_uint_eq(t.header.gso_type, VIRTIO_NET_HDR_GSO_NONE);
	memcpy(whole.payload + whole.len, p->payload, p->payload_len);
	whole.len += p->payload_len;
	whole.id = p->fragment_id;
	whole.is_complete = !p->has_more;
	whole.parts++;
}

static void receive_fragments(bool v4)
{
	struct packet p;

	memset(&whole, 0, sizeof(whole));
	while (!whole.is_complete) {
		ck_assert(taplink_receive_packet(&t, &p));
		add_fragment(&p, v4);
	}
	assert_no_frame();
}

static uint16_t sum_of_whole(const struct link_packet *sent)
{
	struct packet p = { .addrs = sent->addrs,
			    .proto = sent->proto,
			    .payload = whole.payload,
			    .payload_len = whole.len };

	return taplink_sum(&p);
}

static void check_fragments(bool v4, size_t len)
{
	struct udphdr head, got;
	struct link_packet out = datagram_of(&head, v4, len);

	link_send(&t.link, &out);
	receive_fragments(v4);
	ck_assert_uint_gt(whole.parts, 1);
	ck_assert_uint_eq(whole.len, UDP_HEAD + len);
	memcpy(&got, whole.payload, sizeof(got));
	ck_assert_uint_eq(got.source, head.source);
	ck_assert_uint_eq(got.dest, head.dest);
	ck_assert_uint_eq(got.len, head.len);
	ck_assert_uint_ne(got.check, 0);
	ck_assert_uint_eq(sum_of_whole(&out), 0);
	ck_assert(memcmp(whole.payload + UDP_HEAD, data, len) == 0);
}

static const unsigned int mtus[] = {
	576, 1280, 1281, 1282, 1283, 1284, 1285, 1286, 1287, 1288, 1500, 9000, 65520, 65521,
};

START_TEST(fragments_have_every_byte_at_each_edge_of_the_mtu)
{
	for (int v4 = mtus[_i] >= 1280 ? 0 : 1; v4 < 2; v4++) {
		const size_t fits = mtus[_i] - (v4 ? 20 : 40) - UDP_HEAD;
		const size_t room = (mtus[_i] - (v4 ? 20 : 48)) / 8 * 8;

		t.conf.mtu = mtus[_i];
		for (size_t more = 1; more < 20 && fits + more <= UDP_MAX(v4); more++)
			check_fragments(v4, fits + more);
		for (size_t n = 2; n < 4; n++)
			for (size_t more = 0; more < 3 && n * room <= UDP_MAX(v4); more++)
				check_fragments(v4, n * room - UDP_HEAD - 1 + more);
		if (fits < UDP_MAX(v4))
			check_fragments(v4, UDP_MAX(v4));
	}
}
END_TEST

START_TEST(what_fits_exactly_is_not_fragmented)
{
	for (int v4 = mtus[_i] >= 1280 ? 0 : 1; v4 < 2; v4++) {
		const size_t fits = mtus[_i] - (v4 ? 20 : 40) - UDP_HEAD;
		struct udphdr head;
		struct link_packet out = datagram_of(&head, v4, fits);
		struct packet p;

		t.conf.mtu = mtus[_i];
		link_send(&t.link, &out);
		ck_assert(taplink_receive_packet(&t, &p));
		ck_assert(!p.is_fragment);
		ck_assert_uint_eq(p.ip_len, mtus[_i]);
		assert_no_frame();
	}
}
END_TEST

/* A UDP checksum of 0 means that there is none, which IPv6 does not allow. 0xffff has the same
 * value (RFC 768). */
START_TEST(a_udp_checksum_of_0_is_sent_as_0xffff)
{
	const bool v4 = _i == 0;
	struct udphdr head;
	struct link_packet out = datagram_of(&head, v4, 2000);
	uint16_t sum;

	/* The first word makes the sum of all complete. */
	memset(data, 0, 2);
	sum = inetsum_finish(inetsum_add(inetsum_add(0, &head, sizeof(head)), data, 2000));
	memcpy(data, &sum, sizeof(sum));
	link_send(&t.link, &out);
	receive_fragments(v4);
	ck_assert_mem_eq(whole.payload + offsetof(struct udphdr, check), "\xff\xff", 2);
	ck_assert_uint_eq(sum_of_whole(&out), 0);
}
END_TEST

START_TEST(fragments_of_a_packet_without_a_head_are_sent)
{
	struct link_packet out = { .mac = taplink_inside_mac,
				   .addrs = addrs_of("192.0.2.7", "10.0.2.100"),
				   .proto = IPPROTO_UDP,
				   .payload = data,
				   .payload_len = 4000,
				   .sum_at = LINK_HAS_SUM };

	link_send(&t.link, &out);
	receive_fragments(true);
	ck_assert_uint_eq(whole.len, 4000);
	ck_assert_mem_eq(whole.payload, data, 4000);
}
END_TEST

/* The inside puts fragments together by their addresses and ID, wherever they come from. */
START_TEST(packets_of_two_queues_have_different_ids)
{
	struct udphdr head;
	struct link_packet out = datagram_of(&head, true, 2000);
	struct link other = t.link;
	uint32_t ids[4];

	for (size_t i = 0; i < 4; i++) {
		link_send(i % 2 == 0 ? &t.link : &other, &out);
		receive_fragments(true);
		ids[i] = whole.id;
		for (size_t k = 0; k < i; k++)
			ck_assert_uint_ne(ids[i], ids[k]);
	}
}
END_TEST

/* ---- other frames, and loss ---- */

START_TEST(a_frame_that_is_not_ip_is_sent_as_it_is)
{
	link_send_frame(&t.link, data, TAP_HEAD_MAX);
	ck_assert(taplink_receive(&t));
	ck_assert_uint_eq(t.len, TAP_HEAD_MAX);
	ck_assert_mem_eq(t.frame, data, TAP_HEAD_MAX);
	ck_assert_mem_eq(&t.header, "\0\0\0\0\0\0\0\0\0\0", 10);
}
END_TEST

START_TEST(frames_that_the_kernel_does_not_take_are_lost)
{
	struct udphdr head;
	struct link_packet out = datagram_of(&head, true, 1400);
	struct packet p;
	size_t got = 0;

	for (int i = 0; i < 5000; i++)
		link_send(&t.link, &out);
	for (; taplink_receive_packet(&t, &p); got++)
		ck_assert_mem_eq(p.payload + UDP_HEAD, data, 1400);
	ck_assert_uint_gt(got, 0);
	ck_assert_uint_lt(got, 5000);
	link_send(&t.link, &out);
	ck_assert(taplink_receive_packet(&t, &p));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("link");
	TCase *tc = fixture_case("link");

	tcase_add_checked_fixture(tc, open_link, close_link);
	tcase_add_loop_test(tc, a_packet_that_fits_goes_whole, 0, 2);
	tcase_add_test(tc, a_whole_ipv4_packet_must_not_be_fragmented);
	tcase_add_test(tc, an_empty_payload_is_sent);
	tcase_add_test(tc, a_complete_checksum_is_left_alone);
	tcase_add_loop_test(tc, a_batch_is_left_to_the_kernel, 0, COUNT(batches));
	tcase_add_loop_test(tc, fragments_have_every_byte_at_each_edge_of_the_mtu, 0, COUNT(mtus));
	tcase_add_loop_test(tc, what_fits_exactly_is_not_fragmented, 0, COUNT(mtus));
	tcase_add_loop_test(tc, a_udp_checksum_of_0_is_sent_as_0xffff, 0, 2);
	tcase_add_test(tc, fragments_of_a_packet_without_a_head_are_sent);
	tcase_add_test(tc, packets_of_two_queues_have_different_ids);
	tcase_add_test(tc, a_frame_that_is_not_ip_is_sent_as_it_is);
	tcase_add_test(tc, frames_that_the_kernel_does_not_take_are_lost);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
