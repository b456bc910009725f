/* SPDX-License-Identifier: Apache-2.0 */

/* A queue of the TAP: the virtio headers of its frames, with a socket pair in its place and with a
 * real device. */
#include "netns.h"
#include "os/rtnl.h"
#include "tests/unit/ownmounts.h"
#include "tests/unit/usernet/taplink.h"

#include <linux/if_tun.h>
#include <netinet/udp.h>
#include <poll.h>

#include "formats/arpmsg.h"
#include "usernet/pcap.h"

static struct taplink t;
static uint8_t bytes[TAPLINK_FRAME_MAX + 1];

static void open_tap(void)
{
	taplink_open(&t);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 2654435761U >> 11);
}

static void close_tap(void)
{
	taplink_close(&t);
}

/* Sends a frame as the kernel does. */
static void give(const struct virtio_net_hdr_v1 *header, const void *frame, size_t len)
{
	const struct iovec parts[] = { { (void *)header, sizeof(*header) },
				       { (void *)frame, len } };

	ck_assert_int_eq(writev(t.inside, parts, 2), (ssize_t)(sizeof(*header) + len));
}

/* ---- receiving ---- */

static const struct {
	uint8_t flags, gso_type;
	uint16_t gso_size;
	bool needs_sum;
	uint8_t want_type;
} headers[] = {
	{ 0, VIRTIO_NET_HDR_GSO_NONE, 0, false, VIRTIO_NET_HDR_GSO_NONE },
	{ VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_NONE, 0, true, VIRTIO_NET_HDR_GSO_NONE },
	{ VIRTIO_NET_HDR_F_DATA_VALID, VIRTIO_NET_HDR_GSO_NONE, 0, true, VIRTIO_NET_HDR_GSO_NONE },
	{ VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_TCPV4, 1460, true,
	  VIRTIO_NET_HDR_GSO_TCPV4 },
	{ VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_TCPV6 | VIRTIO_NET_HDR_GSO_ECN, 1440,
	  true, VIRTIO_NET_HDR_GSO_TCPV6 },
	{ VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_UDP_L4, 1200, true,
	  VIRTIO_NET_HDR_GSO_UDP_L4 },
	/* not about the checksum */
	{ VIRTIO_NET_HDR_F_RSC_INFO, VIRTIO_NET_HDR_GSO_NONE, 0, false, VIRTIO_NET_HDR_GSO_NONE },
};

START_TEST(a_frame_is_received_with_what_the_kernel_has_not_done)
{
	const struct virtio_net_hdr_v1 header = { .flags = headers[_i].flags,
						  .gso_type = headers[_i].gso_type,
						  .gso_size = headers[_i].gso_size };
	struct tap_frame frame;

	give(&header, bytes, 100);
	ck_assert_int_eq(tap_receive(t.link.tap, &frame), 1);
	ck_assert_uint_eq(frame.len, 100);
	ck_assert_mem_eq(frame.bytes, bytes, 100);
	ck_assert(frame.offload.needs_sum == headers[_i].needs_sum);
	ck_assert_uint_eq(frame.offload.gso_type, headers[_i].want_type);
	ck_assert_uint_eq(frame.offload.gso_size, headers[_i].gso_size);
	ck_assert_int_eq(tap_receive(t.link.tap, &frame), 0);
}
END_TEST

START_TEST(frames_arrive_one_by_one)
{
	const struct virtio_net_hdr_v1 header = { 0 };
	struct tap_frame frame;

	for (size_t len = 0; len < 20; len++)
		give(&header, bytes + len, len);
	for (size_t len = 0; len < 20; len++) {
		ck_assert_int_eq(tap_receive(t.link.tap, &frame), 1);
		ck_assert_uint_eq(frame.len, len);
		ck_assert_mem_eq(frame.bytes, bytes + len, len);
	}
	ck_assert_int_eq(tap_receive(t.link.tap, &frame), 0);
}
END_TEST

START_TEST(the_longest_frame_is_received_whole)
{
	const struct virtio_net_hdr_v1 header = { 0 };
	struct tap_frame frame;

	give(&header, bytes, TAPLINK_FRAME_MAX);
	ck_assert_int_eq(tap_receive(t.link.tap, &frame), 1);
	ck_assert_uint_eq(frame.len, TAPLINK_FRAME_MAX);
	ck_assert(memcmp(frame.bytes, bytes, frame.len) == 0);
	/* The kernel makes none that are longer; they would be cut. */
	give(&header, bytes, TAPLINK_FRAME_MAX + 1);
	ck_assert_int_eq(tap_receive(t.link.tap, &frame), 1);
	ck_assert_uint_eq(frame.len, TAPLINK_FRAME_MAX);
}
END_TEST

START_TEST(a_frame_without_a_whole_header_is_an_error)
{
	struct tap_frame frame;

	for (size_t len = 1; len < sizeof(struct virtio_net_hdr_v1); len++) {
		ck_assert_int_eq(send(t.inside, bytes, len, 0), (ssize_t)len);
		ck_assert_int_eq(tap_receive(t.link.tap, &frame), -EPROTO);
	}
	ck_assert_int_eq(tap_receive(t.link.tap, &frame), 0);
}
END_TEST

START_TEST(a_device_that_is_gone_is_an_error)
{
	struct tap_frame frame;

	close(t.inside);
	ck_assert_int_lt(tap_receive(t.link.tap, &frame), 0);
	t.inside = -1;
}
END_TEST

/* ---- sending ---- */

static const struct tap_offload sent[] = {
	{ 0 },
	{ .needs_sum = true, .sum_start = 34, .sum_at = 16 },
	{ .needs_sum = true,
	  .sum_start = 54,
	  .sum_at = 6,
	  .gso_type = VIRTIO_NET_HDR_GSO_UDP_L4,
	  .gso_size = 1452,
	  .head_len = 62 },
};

START_TEST(a_frame_is_sent_with_what_the_kernel_must_do)
{
	const struct tap_offload *o = &sent[_i];
	const struct virtio_net_hdr_v1 want = {
		.flags = o->needs_sum ? VIRTIO_NET_HDR_F_NEEDS_CSUM : 0,
		.gso_type = o->gso_type,
		.hdr_len = o->head_len,
		.gso_size = o->gso_size,
		.csum_start = o->sum_start,
		.csum_offset = o->sum_at,
	};

	tap_send(t.link.tap, bytes, 62, bytes + 62, 1000, o);
	ck_assert(taplink_receive(&t));
	ck_assert_mem_eq(&t.header, &want, sizeof(want));
	ck_assert_uint_eq(t.len, 1062);
	ck_assert_mem_eq(t.frame, bytes, 1062);
	tap_send(t.link.tap, bytes, 42, NULL, 0, o);
	ck_assert(taplink_receive(&t));
	ck_assert_uint_eq(t.len, 42);
}
END_TEST

START_TEST(the_longest_payload_is_sent_from_the_queues_buffer)
{
	const struct tap_offload none = { 0 };
	uint8_t *payload = tap_payload(t.link.tap);

	memcpy(payload, bytes, TAP_PAYLOAD_MAX);
	tap_send(t.link.tap, bytes, PACKET_HEAD_MAX, payload, TAP_PAYLOAD_MAX, &none);
	ck_assert(taplink_receive(&t));
	ck_assert_uint_eq(t.len, TAPLINK_FRAME_MAX);
	ck_assert(memcmp(t.frame + PACKET_HEAD_MAX, bytes, TAP_PAYLOAD_MAX) == 0);
}
END_TEST

/* A frame that cannot be sent is lost; those after it are not. */
START_TEST(a_full_queue_loses_frames_and_does_not_block)
{
	const struct tap_offload none = { 0 };
	int count = 0;

	for (int i = 0; i < 300; i++)
		tap_send(t.link.tap, bytes, 64, bytes, 60000, &none);
	while (taplink_receive(&t))
		count++;
	ck_assert_int_gt(count, 0);
	ck_assert_int_lt(count, 300);
	tap_send(t.link.tap, bytes, 64, bytes, 1, &none);
	ck_assert(taplink_receive(&t));
	ck_assert_uint_eq(t.len, 65);
}
END_TEST

/* Nor does it end the process (SIGPIPE). */
START_TEST(a_frame_for_a_device_that_is_gone_is_lost)
{
	const struct tap_offload none = { 0 };

	signal(SIGPIPE, SIG_IGN); /* the launcher ignores it, and a TAP does not send it */
	close(t.inside);
	tap_send(t.link.tap, bytes, 64, bytes, 100, &none);
	t.inside = -1;
}
END_TEST

/* ---- recording ---- */

#define PCAP_HEAD   24
#define RECORD_HEAD 16

START_TEST(frames_of_both_directions_are_recorded_without_their_headers)
{
	const struct virtio_net_hdr_v1 header = { 0 };
	const struct tap_offload none = { 0 };
	const char *path = fixture_path("pcap");
	uint8_t content[4096];
	struct tap_frame frame;
	struct pcap *pcap;
	struct tap *tap;
	int fd;

	ck_assert_int_eq(pcap_open(&pcap, path, NULL), 0);
	tap = tap_new(dup(tap_fd(t.link.tap)), pcap);
	ck_assert_ptr_nonnull(tap);
	give(&header, bytes, 50);
	ck_assert_int_eq(tap_receive(tap, &frame), 1);
	tap_send(tap, bytes + 50, 14, bytes + 64, 30, &none);
	tap_free(tap);
	pcap_close(pcap);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(read(fd, content, sizeof(content)),
			 PCAP_HEAD + RECORD_HEAD + 50 + RECORD_HEAD + 44);
	close(fd);
	ck_assert_mem_eq(content + PCAP_HEAD + RECORD_HEAD, bytes, 50);
	ck_assert_mem_eq(content + PCAP_HEAD + 2 * RECORD_HEAD + 50, bytes + 50, 44);
}
END_TEST

/* ---- a real device ---- */

START_TEST(what_is_no_tap_is_refused)
{
	ck_assert_int_eq(tap_set_offload(tap_fd(t.link.tap)), -ENOTTY);
	tap_free(NULL);
}
END_TEST

/* Waits for a frame of a type, and skips others: the kernel inside sends multicast, too. */
static struct packet await_frame(struct tap *tap, int kind, uint8_t proto, struct tap_frame *frame)
{
	struct pollfd p = { .fd = tap_fd(tap), .events = POLLIN };
	struct packet packet;

	for (;;) {
		ck_assert_int_eq(poll(&p, 1, 1000 * FIXTURE_DEADLINE_S), 1);
		ck_assert_int_eq(tap_receive(tap, frame), 1);
		if (packet_read(&packet, frame->bytes, frame->len) == kind && packet.proto == proto)
			return packet;
	}
}

/* Answers the kernel's ARP request for 10.0.2.2. */
static void answer_arp(struct tap *tap)
{
	const struct tap_offload none = { 0 };
	struct tap_frame frame;
	struct packet p = await_frame(tap, PACKET_ARP, 0, &frame);
	uint8_t out[PACKET_ETH_LEN + ARPMSG_LEN];
	struct arpmsg m, reply = { .op = 2, .src_mac = { 2, 0, 0, 0, 0, 2 } };

	ck_assert(!frame.offload.needs_sum);
	ck_assert_int_eq(arpmsg_read(&m, p.payload, p.payload_len), 0);
	ck_assert_uint_eq(m.dst.s_addr, inet_addr("10.0.2.2"));
	memcpy(reply.dst_mac, m.src_mac, ETH_ALEN);
	reply.src = m.dst;
	reply.dst = m.src;
	memcpy(out, m.src_mac, ETH_ALEN);
	memcpy(out + ETH_ALEN, reply.src_mac, ETH_ALEN);
	memcpy(out + 12, "\x08\x06", 2);
	arpmsg_put(out + PACKET_ETH_LEN, &reply);
	tap_send(tap, out, sizeof(out), NULL, 0, &none);
}

static int open_inside(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(7) };
	const struct timeval limit = { .tv_sec = FIXTURE_DEADLINE_S };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	to.sin_addr.s_addr = inet_addr("10.0.2.2");
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
	return fd;
}

/* Sends an answer to the datagram `p`: `len` bytes, in pieces of `gso_size`, if that is not 0. */
static void answer(struct tap *tap, const struct packet *p, size_t len, uint16_t gso_size)
{
	const uint8_t mac[ETH_ALEN] = { 2, 0, 0, 0, 0, 2 };
	const struct netconf conf = { .mtu = 1500, .mac = { 2, 0, 0, 0, 0, 2 } };
	struct link link = { .tap = tap, .conf = &conf };
	struct udphdr head;
	struct link_packet out = { .mac = p->src_mac,
				   .addrs = { p->addrs.dst, p->addrs.src },
				   .proto = IPPROTO_UDP,
				   .head = &head,
				   .head_len = sizeof(head),
				   .payload = bytes,
				   .payload_len = len,
				   .sum_at = offsetof(struct udphdr, check),
				   .gso_size = gso_size };

	ck_assert_mem_eq(p->dst_mac, mac, ETH_ALEN);
	memcpy(&head, p->payload, sizeof(head));
	out.gso_type = gso_size > 0 ? VIRTIO_NET_HDR_GSO_UDP_L4 : VIRTIO_NET_HDR_GSO_NONE;
	head = (struct udphdr){ .source = head.dest,
				.dest = head.source,
				.len = htons((uint16_t)(sizeof(head) + len)) };
	head.check = inetsum_fold(inetsum_add_pseudo(0, &out.addrs.src, &out.addrs.dst, IPPROTO_UDP,
						     sizeof(head) + len));
	link_send(&link, &out);
}

static void expect(int fd, const uint8_t *want, size_t len)
{
	uint8_t got[4096];

	ck_assert_int_eq(recv(fd, got, sizeof(got), 0), (ssize_t)len);
	ck_assert_mem_eq(got, want, len);
}

static struct tap *make_device(int *has_uso)
{
	struct in_addr addr = { .s_addr = inet_addr("10.0.2.100") };
	int queue, fd, size = 0;
	struct tap *tap;
	struct err e;

	ck_assert_msg(netns_make_queues("tap0", &queue, 1, &e) == 0, "%s", e.msg);
	fd = rtnl_open(&e);
	ck_assert_msg(rtnl_addr_add(fd, rtnl_link_index("tap0", &e), addr, 24, &e) == 0, "%s",
		      e.msg);
	close(fd);
	*has_uso = tap_set_offload(queue);
	ck_assert_int_ge(*has_uso, 0);
	ck_assert_int_eq(ioctl(queue, TUNGETVNETHDRSZ, &size), 0);
	ck_assert_int_eq(size, sizeof(struct virtio_net_hdr_v1));
	tap = tap_new(queue, NULL);
	ck_assert_ptr_nonnull(tap);
	return tap;
}

START_TEST(the_kernel_leaves_checksums_and_cutting_to_us_and_does_ours)
{
	struct tap_frame frame;
	struct packet p;
	struct tap *tap;
	int fd, has_uso;

	if (access("/dev/net/tun", R_OK | W_OK) < 0) {
		fixture_skip("tun", "/dev/net/tun cannot be opened");
		return;
	}
	if (!enter_own_mounts(CLONE_NEWNET, 0, 0))
		return;
	tap = make_device(&has_uso);
	fd = open_inside();
	ck_assert_int_eq(send(fd, "hello", 5, 0), 5);
	answer_arp(tap);
	p = await_frame(tap, PACKET_IP, IPPROTO_UDP, &frame);
	ck_assert(frame.offload.needs_sum);
	ck_assert_uint_ne(taplink_sum(&p), 0);
	ck_assert_mem_eq(p.payload + 8, "hello", 5);
	answer(tap, &p, 900, 0);
	expect(fd, bytes, 900);
	answer(tap, &p, 3000, 0); /* fragments */
	expect(fd, bytes, 3000);
	if (has_uso) {
		answer(tap, &p, 2500, 1000);
		expect(fd, bytes, 1000);
		expect(fd, bytes + 1000, 1000);
		expect(fd, bytes + 2000, 500);
	}
	close(fd);
	tap_free(tap);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tap");
	TCase *tc = fixture_case_with_dir("socket pair");

	tcase_add_checked_fixture(tc, open_tap, close_tap);
	tcase_add_loop_test(tc, a_frame_is_received_with_what_the_kernel_has_not_done, 0,
			    COUNT(headers));
	tcase_add_test(tc, frames_arrive_one_by_one);
	tcase_add_test(tc, the_longest_frame_is_received_whole);
	tcase_add_test(tc, a_frame_without_a_whole_header_is_an_error);
	tcase_add_test(tc, a_device_that_is_gone_is_an_error);
	tcase_add_loop_test(tc, a_frame_is_sent_with_what_the_kernel_must_do, 0, COUNT(sent));
	tcase_add_test(tc, the_longest_payload_is_sent_from_the_queues_buffer);
	tcase_add_test(tc, a_full_queue_loses_frames_and_does_not_block);
	tcase_add_test(tc, a_frame_for_a_device_that_is_gone_is_lost);
	tcase_add_test(tc, frames_of_both_directions_are_recorded_without_their_headers);
	tcase_add_test(tc, what_is_no_tap_is_refused);
	suite_add_tcase(s, tc);
	tc = fixture_case_with_dir("device");
	tcase_add_test(tc, the_kernel_leaves_checksums_and_cutting_to_us_and_does_ours);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
