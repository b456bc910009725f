/* SPDX-License-Identifier: Apache-2.0 */

/* The stack of a queue: which frame reaches which protocol. The protocols are recorders. */
#include "tests/unit/capturedlog.h"
#include "tests/unit/usernet/faketap.h"
#include "tests/unit/usernet/taplink.h"
#include "usernet/dns.h"
#include "usernet/frags.h"
#include "usernet/icmperr.h"
#include "usernet/neighbour.h"
#include "usernet/ping.h"
#include "usernet/stack.h"
#include "usernet/tcptable.h"
#include "usernet/udpnat.h"

#define BURST 64 /* stack.c */

/* ---- the protocols ---- */

enum who { NOBODY, TCP, UDP, DNS, PING, ARP, NDP, FRAGS, ERRORS, WHO };

static struct {
	size_t calls[WHO], frames, flushes, freed;
	struct packet packet; /* of the last call */
	uint16_t gso_size;
	enum icmperr error;
	bool is_ndp, is_complete, is_draining, is_lively, cannot_start, has_gso;
	size_t max[WHO]; /* flows that a table may have */
} seen;

static char here; /* stands for each table */

static void note(enum who who, const struct packet *p)
{
	seen.calls[who]++;
	seen.frames++;
	seen.packet = *p;
}

struct tcptable *tcptable_new(const struct tcptable_setup *setup)
{
	ck_assert_ptr_eq(setup->dns, &here);
	seen.max[TCP] = setup->max;
	return (struct tcptable *)&here;
}

void tcptable_free(struct tcptable *t)
{
	seen.freed += t != NULL;
}

void tcptable_on_packet(struct tcptable *t, const struct packet *p)
{
	ck_assert_ptr_eq(t, &here);
	note(TCP, p);
}

bool tcptable_is_draining(const struct tcptable *t)
{
	ck_assert_ptr_eq(t, &here);
	return seen.is_draining;
}

bool tcptable_is_lively(const struct tcptable *t)
{
	ck_assert_ptr_eq(t, &here);
	return seen.is_lively;
}

void tcptable_flush(struct tcptable *t)
{
	ck_assert_ptr_eq(t, &here);
	seen.flushes++;
}

struct udpnat *udpnat_new(const struct udpnat_setup *setup)
{
	seen.has_gso = setup->gso;
	seen.max[UDP] = setup->max;
	errno = ENOMEM;
	return seen.cannot_start ? NULL : (struct udpnat *)&here;
}

void udpnat_free(struct udpnat *u)
{
	seen.freed += u != NULL;
}

void udpnat_on_packet(struct udpnat *u, const struct packet *p, uint16_t gso_size)
{
	ck_assert_ptr_eq(u, &here);
	seen.gso_size = gso_size;
	note(UDP, p);
}

struct dns *dns_new(const struct dns_setup *setup)
{
	ck_assert_ptr_eq(setup->servers, &here);
	seen.max[DNS] = setup->max;
	return (struct dns *)&here;
}

void dns_free(struct dns *d)
{
	seen.freed += d != NULL;
}

void dns_on_packet(struct dns *d, const struct packet *p)
{
	ck_assert_ptr_eq(d, &here);
	note(DNS, p);
}

struct ping *ping_new(const struct ping_setup *setup)
{
	seen.max[PING] = setup->max;
	return (struct ping *)&here;
}

void ping_free(struct ping *ping)
{
	seen.freed += ping != NULL;
}

void ping_on_packet(struct ping *ping, const struct packet *p)
{
	ck_assert_ptr_eq(ping, &here);
	note(PING, p);
}

void frags_attach(struct frags_queue *q, struct frags *f, struct loop *loop)
{
	ck_assert_ptr_nonnull(loop);
	q->frags = f;
}

void frags_detach(struct frags_queue *q)
{
	seen.freed += q->frags != NULL;
}

/* The complete packet is a datagram to another host. */
bool frags_on_packet(struct frags_queue *q, struct packet *p)
{
	ck_assert_ptr_eq(q->frags, &here);
	note(FRAGS, p);
	p->is_fragment = false;
	return seen.is_complete;
}

void neighbour_on_arp(struct link *l, const struct packet *p)
{
	ck_assert_ptr_nonnull(l->tap);
	note(ARP, p);
}

bool neighbour_on_icmp6(struct link *l, const struct packet *p)
{
	ck_assert_ptr_nonnull(l->tap);
	if (seen.is_ndp)
		note(NDP, p);
	return seen.is_ndp;
}

bool icmperr_about_packet(struct icmperr_about *about, const struct packet *p)
{
	(void)about;
	note(ERRORS, p);
	return true;
}

void icmperr_send(struct icmperr_sender *s, const struct icmperr_about *about, enum icmperr what,
		  uint32_t mtu)
{
	(void)about;
	ck_assert_ptr_nonnull(s->link->tap);
	ck_assert_uint_eq(mtu, 0);
	seen.error = what;
}

/* ---- the stack ---- */

static struct netconf conf;
static struct fdtotal fds = { .max = 100 };
static struct loop *loop;
static struct stack *stack;
static int inside;

static struct stack *make(int *tap)
{
	const struct stack_setup setup = { .loop = loop,
					   .conf = &conf,
					   .fds = &fds,
					   .queues = 2,
					   .servers = (struct dnsservers *)&here,
					   .frags = (struct frags *)&here };

	faketap_open(tap, &inside);
	return stack_new(&setup, *tap);
}

static void start(void)
{
	int tap;

	memset(&seen, 0, sizeof(seen));
	conf = taplink_conf();
	loop = loop_new(LOOP_EPOLL);
	stack = make(&tap);
	ck_assert_ptr_nonnull(stack);
}

static void stop(void)
{
	stack_free(stack);
	ck_assert_uint_eq(seen.freed, 5);
	loop_free(loop);
	if (inside >= 0)
		close(inside);
}

/* ---- frames ---- */

#define PAYLOAD	  32 /* bytes */
#define WRONG_SUM 1
#define NO_SUM	  2
/* UDP: the length in the header is not that of the payload */
#define PADDED	  4
#define TOO_LONG  5
#define TOO_SHORT 6

static void give(const struct virtio_net_hdr_v1 *header, const void *frame, size_t len)
{
	const struct iovec parts[] = { { (void *)header, sizeof(*header) },
				       { (void *)frame, len } };

	ck_assert_int_eq(writev(inside, parts, 2), (ssize_t)(sizeof(*header) + len));
}

/* Handles what was given. Each frame reaches at most one protocol. */
static void run(void)
{
	ck_assert_int_eq(loop_step(loop, 0), 0);
}

/* Where the checksum of a protocol is, or -1 */
static int sum_at(uint8_t proto)
{
	return proto == IPPROTO_TCP ? 16 : proto == IPPROTO_UDP ? 6 : -1;
}

/* The length that a UDP header states */
static size_t udp_len(int sum)
{
	return sum == PADDED ? 21 : sum == TOO_LONG ? PAYLOAD + 1 : sum == TOO_SHORT ? 7 : PAYLOAD;
}

/* Stores the checksum of the bytes that the protocol sums up. */
static void put_sum(uint8_t *payload, const struct packet_head *head, int sum)
{
	const size_t stated = head->proto == IPPROTO_UDP ? udp_len(sum) : PAYLOAD;
	const size_t there = stated < PAYLOAD ? stated : PAYLOAD;
	const int at = sum_at(head->proto);
	uint16_t right;

	memset(payload + at, 0, sizeof(right));
	right = inetsum_finish(inetsum_add(
		inetsum_add_pseudo(0, &head->addrs.src, &head->addrs.dst, head->proto, stated),
		payload, there));
	if (sum != NO_SUM)
		memcpy(payload + at, &right, sizeof(right));
	payload[at] ^= sum == WRONG_SUM ? 0x40 : 0;
}

/* Makes a frame from inside, whose payload begins with the ports 4000 and `port`. Returns its
 * length. */
static size_t make_frame(uint8_t *frame, const struct packet_head *head, uint16_t port, int sum)
{
	size_t n = head->fragment_id != 0 ? packet_put_fragment_head(frame, head, PAYLOAD)
					  : packet_put_head(frame, head, PAYLOAD);
	uint8_t *payload = frame + n;
	const uint16_t ports[] = { htons(4000), htons(port), htons((uint16_t)udp_len(sum)) };

	memset(payload, 0x11, PAYLOAD);
	memcpy(payload, ports, head->proto == IPPROTO_UDP ? sizeof(ports) : 4);
	if (sum_at(head->proto) >= 0)
		put_sum(payload, head, sum);
	return n + PAYLOAD;
}

static struct packet_head head_of(const char *dst, uint8_t proto, uint8_t hops)
{
	return (struct packet_head){ .src_mac = taplink_inside_mac,
				     .dst_mac = conf.mac,
				     .addrs = addrs_of(
					     strchr(dst, ':') ? "fd00::100" : "10.0.2.100", dst),
				     .proto = proto,
				     .hops = hops };
}

static const struct {
	const char *what, *dst;
	uint8_t proto, hops;
	uint16_t port;
	int sum;
	struct virtio_net_hdr_v1 header;
	enum who who;
	enum icmperr error; /* with ERRORS */
} cases[] = {
#define PLAIN     \
	{         \
		0 \
	}
#define PARTIAL                                      \
	{                                            \
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM \
	}
	{ "TCP", "192.0.2.1", IPPROTO_TCP, 64, 80, 0, PLAIN, TCP, 0 },
	{ "TCP, IPv6", "2001:db8::1", IPPROTO_TCP, 64, 80, 0, PLAIN, TCP, 0 },
	{ "TCP to the gateway", "10.0.2.2", IPPROTO_TCP, 64, 80, 0, PLAIN, TCP, 0 },
	{ "TCP to the DNS address", "10.0.2.3", IPPROTO_TCP, 64, 53, 0, PLAIN, TCP, 0 },
	{ "TCP, wrong sum", "192.0.2.1", IPPROTO_TCP, 64, 80, WRONG_SUM, PLAIN, NOBODY, 0 },
	{ "TCP, no sum", "192.0.2.1", IPPROTO_TCP, 64, 80, NO_SUM, PLAIN, NOBODY, 0 },
	{ "TCP, IPv6, wrong sum", "2001:db8::1", IPPROTO_TCP, 64, 80, WRONG_SUM, PLAIN, NOBODY, 0 },
	{ "TCP, partial sum", "192.0.2.1", IPPROTO_TCP, 64, 80, WRONG_SUM, PARTIAL, TCP, 0 },
	{ "UDP", "192.0.2.1", IPPROTO_UDP, 64, 7, 0, PLAIN, UDP, 0 },
	{ "UDP, IPv6", "2001:db8::1", IPPROTO_UDP, 64, 7, 0, PLAIN, UDP, 0 },
	{ "UDP, wrong sum", "192.0.2.1", IPPROTO_UDP, 64, 7, WRONG_SUM, PLAIN, NOBODY, 0 },
	{ "UDP, no sum", "192.0.2.1", IPPROTO_UDP, 64, 7, NO_SUM, PLAIN, UDP, 0 },
	{ "UDP, IPv6, no sum", "2001:db8::1", IPPROTO_UDP, 64, 7, NO_SUM, PLAIN, NOBODY, 0 },
	{ "UDP, padded", "192.0.2.1", IPPROTO_UDP, 64, 7, PADDED, PLAIN, UDP, 0 },
	{ "UDP, IPv6, padded", "2001:db8::1", IPPROTO_UDP, 64, 7, PADDED, PLAIN, UDP, 0 },
	{ "DNS, padded", "10.0.2.3", IPPROTO_UDP, 64, 53, PADDED, PLAIN, DNS, 0 },
	{ "UDP, too long", "192.0.2.1", IPPROTO_UDP, 64, 7, TOO_LONG, PLAIN, NOBODY, 0 },
	{ "UDP, too short", "192.0.2.1", IPPROTO_UDP, 64, 7, TOO_SHORT, PLAIN, NOBODY, 0 },
	{ "UDP, partial sum", "2001:db8::1", IPPROTO_UDP, 64, 7, WRONG_SUM, PARTIAL, UDP, 0 },
	{ "DNS", "10.0.2.3", IPPROTO_UDP, 64, 53, 0, PLAIN, DNS, 0 },
	{ "DNS, IPv6", "fd00::3", IPPROTO_UDP, 64, 53, 0, PLAIN, DNS, 0 },
	{ "DNS, wrong sum", "10.0.2.3", IPPROTO_UDP, 64, 53, WRONG_SUM, PLAIN, NOBODY, 0 },
	{ "another port there", "10.0.2.3", IPPROTO_UDP, 64, 5353, 0, PLAIN, UDP, 0 },
	{ "DNS elsewhere", "192.0.2.1", IPPROTO_UDP, 64, 53, 0, PLAIN, UDP, 0 },
	{ "DNS of the gateway", "10.0.2.2", IPPROTO_UDP, 64, 53, 0, PLAIN, UDP, 0 },
	{ "ICMP", "192.0.2.1", IPPROTO_ICMP, 64, 0, 0, PLAIN, PING, 0 },
	{ "ICMPv6", "2001:db8::1", IPPROTO_ICMPV6, 64, 0, 0, PLAIN, PING, 0 },
	{ "ICMP in IPv6", "2001:db8::1", IPPROTO_ICMP, 64, 0, 0, PLAIN, ERRORS,
	  ICMPERR_PROTO_UNREACHABLE },
	{ "ICMPv6 in IPv4", "192.0.2.1", IPPROTO_ICMPV6, 64, 0, 0, PLAIN, ERRORS,
	  ICMPERR_PROTO_UNREACHABLE },
	{ "SCTP", "192.0.2.1", IPPROTO_SCTP, 64, 0, 0, PLAIN, ERRORS, ICMPERR_PROTO_UNREACHABLE },
	{ "SCTP, IPv6", "2001:db8::1", IPPROTO_SCTP, 64, 0, 0, PLAIN, ERRORS,
	  ICMPERR_PROTO_UNREACHABLE },
	{ "SCTP to the gateway", "10.0.2.2", IPPROTO_SCTP, 64, 0, 0, PLAIN, ERRORS,
	  ICMPERR_PROTO_UNREACHABLE },
	{ "last hop", "192.0.2.1", IPPROTO_UDP, 1, 7, 0, PLAIN, ERRORS, ICMPERR_TIME_EXCEEDED },
	{ "no hop", "192.0.2.1", IPPROTO_TCP, 0, 7, 0, PLAIN, ERRORS, ICMPERR_TIME_EXCEEDED },
	{ "last hop, IPv6", "2001:db8::1", IPPROTO_ICMPV6, 1, 7, 0, PLAIN, ERRORS,
	  ICMPERR_TIME_EXCEEDED },
	{ "last hop, another protocol", "192.0.2.1", IPPROTO_SCTP, 1, 7, 0, PLAIN, ERRORS,
	  ICMPERR_TIME_EXCEEDED },
	{ "last hop but one", "192.0.2.1", IPPROTO_TCP, 2, 7, 0, PLAIN, TCP, 0 },
	{ "last hop is the gateway", "10.0.2.2", IPPROTO_TCP, 1, 7, 0, PLAIN, TCP, 0 },
	{ "last hop is the DNS address", "fd00::3", IPPROTO_UDP, 1, 53, 0, PLAIN, DNS, 0 },
	{ "loopback", "127.0.0.1", IPPROTO_TCP, 64, 80, 0, PLAIN, NOBODY, 0 },
	{ "loopback, last hop", "127.0.0.1", IPPROTO_TCP, 1, 80, 0, PLAIN, NOBODY, 0 },
	{ "loopback, another protocol", "::1", IPPROTO_SCTP, 64, 80, 0, PLAIN, NOBODY, 0 },
	{ "multicast", "224.0.0.251", IPPROTO_UDP, 64, 5353, 0, PLAIN, NOBODY, 0 },
	{ "multicast, IPv6", "ff02::fb", IPPROTO_UDP, 255, 5353, 0, PLAIN, NOBODY, 0 },
	{ "broadcast", "255.255.255.255", IPPROTO_UDP, 64, 67, 0, PLAIN, NOBODY, 0 },
	{ "a batch of UDP",
	  "192.0.2.1",
	  IPPROTO_UDP,
	  64,
	  7,
	  0,
	  { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
	    .gso_type = VIRTIO_NET_HDR_GSO_UDP_L4,
	    .gso_size = 12 },
	  UDP,
	  0 },
};

START_TEST(each_packet_reaches_its_protocol)
{
	const struct packet_head head = head_of(cases[_i].dst, cases[_i].proto, cases[_i].hops);
	uint8_t frame[256];
	size_t len = make_frame(frame, &head, cases[_i].port, cases[_i].sum);

	give(&cases[_i].header, frame, len);
	run();
	ck_assert_msg(seen.calls[cases[_i].who] == (cases[_i].who != NOBODY), "%s", cases[_i].what);
	ck_assert_msg(seen.frames == (cases[_i].who != NOBODY), "%s", cases[_i].what);
	if (cases[_i].who == ERRORS)
		ck_assert_msg(seen.error == cases[_i].error, "%s", cases[_i].what);
	if (cases[_i].who != NOBODY)
		ck_assert_uint_eq(seen.packet.payload_len, PAYLOAD);
	ck_assert_uint_eq(seen.gso_size, cases[_i].who == UDP ? cases[_i].header.gso_size : 0);
	ck_assert_uint_eq(seen.flushes, 1);
}
END_TEST

START_TEST(ipv6_is_refused_when_it_is_off)
{
	const struct packet_head head = head_of("2001:db8::1", IPPROTO_TCP, 64);
	const struct virtio_net_hdr_v1 header = PLAIN;
	uint8_t frame[256];
	size_t len = make_frame(frame, &head, 80, 0);

	conf.ipv6 = false;
	give(&header, frame, len);
	run();
	ck_assert_uint_eq(seen.calls[ERRORS], 1);
	ck_assert_int_eq(seen.error, ICMPERR_PROHIBITED);
}
END_TEST

/* A bridge inside floods its ports with frames for MAC addresses that it does not know. */
START_TEST(packets_for_other_mac_addresses_are_ignored)
{
	static const uint8_t macs[][ETH_ALEN] = { { 2, 9, 9, 9, 9, 9 },
						  { 0 },
						  { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff },
						  { 1, 0, 0x5e, 0, 0, 1 },
						  { 0x33, 0x33, 0, 0, 0, 1 } };
	static const char *const dsts[] = { "192.0.2.1", "10.0.2.2", "10.0.2.3", "2001:db8::1" };
	const struct virtio_net_hdr_v1 header = PLAIN;

	for (size_t i = 0; i < sizeof(dsts) / sizeof(dsts[0]); i++) {
		struct packet_head head = head_of(dsts[i], IPPROTO_UDP, 64);
		uint8_t frame[256];
		size_t len;

		head.dst_mac = macs[_i];
		len = make_frame(frame, &head, 53, 0);
		give(&header, frame, len);
		run();
	}
	ck_assert_uint_eq(seen.frames, 0);
}
END_TEST

/* They are link-local and multicast, which the policy ignores, and have hop limits of their own. */
START_TEST(neighbour_discovery_goes_before_the_policy)
{
	const struct packet_head head = head_of("ff02::1:ff00:2", IPPROTO_ICMPV6, 255);
	const struct virtio_net_hdr_v1 header = PLAIN;
	uint8_t frame[256];
	size_t len = make_frame(frame, &head, 0, 0);

	give(&header, frame, len);
	run();
	ck_assert_uint_eq(seen.frames, 0);
	seen.is_ndp = true;
	give(&header, frame, len);
	run();
	ck_assert_uint_eq(seen.calls[NDP], 1);
	ck_assert_uint_eq(seen.frames, 1);
}
END_TEST

/* RFC 6980: and they are never fragments. */
START_TEST(neighbour_discovery_is_ipv6_and_whole)
{
	struct packet_head v4 = head_of("192.0.2.1", IPPROTO_ICMPV6, 255),
			   v6 = head_of("2001:db8::1", IPPROTO_ICMPV6, 255);
	const struct virtio_net_hdr_v1 header = PLAIN;
	uint8_t frame[256];

	seen.is_ndp = true;
	give(&header, frame, make_frame(frame, &v4, 0, 0));
	v6.fragment_id = 1;
	v6.has_more = true;
	give(&header, frame, make_frame(frame, &v6, 0, 0));
	run();
	ck_assert_uint_eq(seen.calls[NDP], 0);
	ck_assert_uint_eq(seen.calls[ERRORS], 1);
	ck_assert_uint_eq(seen.calls[FRAGS], 1);
}
END_TEST

/* ---- fragments ---- */

static const struct {
	const char *dst;
	uint8_t hops;
	bool is_complete;
	int sum;
	enum who who;	    /* after that */
	enum who only_this; /* if the policy or the hops end its way before */
} fragments[] = {
	{ "192.0.2.1", 64, false, 0, NOBODY, FRAGS },
	{ "192.0.2.1", 64, true, 0, UDP, FRAGS },
	{ "2001:db8::1", 64, true, 0, UDP, FRAGS },
	{ "2001:db8::1", 64, true, WRONG_SUM, NOBODY, FRAGS },
	{ "10.0.2.3", 64, true, 0, DNS, FRAGS },
	{ "127.0.0.1", 64, true, 0, NOBODY, NOBODY },
	{ "192.0.2.1", 1, true, 0, NOBODY, ERRORS },
};

START_TEST(fragments_are_put_together_first)
{
	struct packet_head head = head_of(fragments[_i].dst, IPPROTO_UDP, fragments[_i].hops);
	const struct virtio_net_hdr_v1 header = PLAIN;
	uint8_t frame[256];
	size_t len;

	head.fragment_id = 7;
	head.has_more = true;
	seen.is_complete = fragments[_i].is_complete;
	len = make_frame(frame, &head, 53, fragments[_i].sum);
	give(&header, frame, len);
	run();
	if (fragments[_i].only_this != NOBODY)
		ck_assert_uint_eq(seen.calls[fragments[_i].only_this], 1);
	if (fragments[_i].who != NOBODY)
		ck_assert_uint_eq(seen.calls[fragments[_i].who], 1);
	ck_assert_uint_eq(seen.frames,
			  (fragments[_i].only_this != NOBODY) + (fragments[_i].who != NOBODY));
}
END_TEST

/* ---- other frames ---- */

START_TEST(arp_reaches_the_neighbours)
{
	const struct virtio_net_hdr_v1 header = PLAIN;

	give(&header, "\2\0\0\0\0\2\2\0\0\0\0\1\x08\x06hello", 19);
	run();
	ck_assert_uint_eq(seen.calls[ARP], 1);
	ck_assert_uint_eq(seen.packet.payload_len, 5);
}
END_TEST

START_TEST(foreign_and_malformed_frames_are_ignored)
{
	const struct packet_head v4 = head_of("192.0.2.1", IPPROTO_TCP, 64),
				 v6 = head_of("2001:db8::1", IPPROTO_TCP, 64);
	const struct virtio_net_hdr_v1 header = PLAIN;
	uint8_t frame[256];
	size_t len = make_frame(frame, &v4, 80, 0);

	for (size_t cut = 0; cut < len; cut++) {
		give(&header, frame, cut);
		run();
	}
	frame[12] = 0x81; /* VLAN */
	give(&header, frame, len);
	run();
	len = make_frame(frame, &v6, 80, 0);
	for (size_t cut = 0; cut < len; cut++) {
		give(&header, frame, cut);
		run();
	}
	ck_assert_uint_eq(seen.frames, 0);
	give(&header, frame, len);
	run();
	ck_assert_uint_eq(seen.frames, 1);
}
END_TEST

/* ---- turns, and the end ---- */

static void give_many(uint8_t proto, size_t count)
{
	const struct packet_head head = head_of("192.0.2.1", proto, 64);
	const struct virtio_net_hdr_v1 header = PLAIN;
	uint8_t frame[256];
	size_t len = make_frame(frame, &head, 80, 0);

	for (size_t i = 0; i < count; i++)
		give(&header, frame, len);
}

START_TEST(others_get_their_turn_while_many_frames_wait)
{
	give_many(IPPROTO_TCP, BURST + 10);
	run();
	ck_assert_uint_eq(seen.calls[TCP], BURST);
	ck_assert_uint_eq(seen.flushes, 1);
	run();
	ck_assert_uint_eq(seen.calls[TCP], BURST + 10);
	ck_assert_uint_eq(seen.flushes, 2);
}
END_TEST

START_TEST(a_stack_drains_until_nothing_comes_and_all_is_passed_on)
{
	ck_assert(!stack_drain(stack));
	give_many(IPPROTO_TCP, 3);
	seen.is_lively = true;
	ck_assert(stack_drain(stack));
	ck_assert_uint_eq(seen.calls[TCP], 3);
	ck_assert_uint_eq(seen.flushes, 2);
	seen.is_lively = false;
	seen.is_draining = true;
	ck_assert(stack_drain(stack));
	seen.is_draining = false;
	ck_assert(!stack_drain(stack));
}
END_TEST

/* Such as the kernel's own, which it sends when an interface is set up */
START_TEST(other_packets_do_not_delay_the_end)
{
	give_many(IPPROTO_UDP, 3);
	run();
	give_many(IPPROTO_UDP, 3);
	ck_assert(!stack_drain(stack));
	ck_assert_uint_eq(seen.calls[UDP], 6);
}
END_TEST

/* A sender that never pauses must not hold up the end. */
START_TEST(a_flood_does_not_hold_up_the_end)
{
	give_many(IPPROTO_UDP, 2 * BURST + 1);
	ck_assert(stack_drain(stack));
	ck_assert_uint_eq(seen.calls[UDP], BURST);
	ck_assert(stack_drain(stack));
	ck_assert(!stack_drain(stack));
	ck_assert_uint_eq(seen.calls[UDP], 2 * BURST + 1);
}
END_TEST

START_TEST(a_device_that_is_removed_is_reported_once)
{
	capture_log(false);
	close(inside);
	inside = -1;
	run();
	ck_assert_ptr_nonnull(strstr(take_log(), "its interface inside was removed"));
	run();
	ck_assert(!stack_drain(stack));
	ck_assert_str_eq(take_log(), "");
	release_log();
}
END_TEST

static const struct {
	size_t fds, max[WHO];
} limits[] = {
	{ 1 << 20, { [TCP] = 16384, [UDP] = 2048, [DNS] = 256, [PING] = 128 } },
	{ 1600, { [TCP] = 800, [UDP] = 400, [DNS] = 100, [PING] = 50 } },
	{ 3, { [TCP] = 1, [UDP] = 1, [DNS] = 1, [PING] = 1 } },
};

/* A flood of one kind must leave descriptors to the others. */
START_TEST(queues_share_the_limits_and_kinds_the_descriptors)
{
	int tap;

	stop();
	memset(&seen, 0, sizeof(seen));
	fds.max = limits[_i].fds;
	loop = loop_new(LOOP_EPOLL);
	stack = make(&tap);
	ck_assert_ptr_nonnull(stack);
	ck_assert_mem_eq(seen.max, limits[_i].max, sizeof(seen.max));
	ck_assert(seen.has_gso);
}
END_TEST

START_TEST(a_kernel_without_batches_of_udp_is_fine)
{
	int tap;

	stop();
	faketap_lacks_uso = true;
	memset(&seen, 0, sizeof(seen));
	loop = loop_new(LOOP_EPOLL);
	stack = make(&tap);
	ck_assert_ptr_nonnull(stack);
	ck_assert(!seen.has_gso);
}
END_TEST

static const struct {
	int error; /* of the device */
	bool cannot_start;
	int want;
} failures[] = {
	{ EINVAL, false, EINVAL },
	{ 0, true, ENOMEM },
};

START_TEST(a_failure_leaves_nothing_behind)
{
	struct stack *other;
	int tap, first = inside;

	faketap_error = failures[_i].error;
	seen.cannot_start = failures[_i].cannot_start;
	other = make(&tap);
	ck_assert_ptr_null(other);
	ck_assert_int_eq(errno, failures[_i].want);
	ck_assert(!fixture_is_open(tap));
	close(inside);
	inside = first;
	seen.freed = 0;
}
END_TEST

int main(void)
{
	Suite *s = suite_create("stack");
	TCase *tc = fixture_case_with_dir("stack");

	tcase_add_checked_fixture(tc, start, stop);
	tcase_add_loop_test(tc, each_packet_reaches_its_protocol, 0, COUNT(cases));
	tcase_add_test(tc, ipv6_is_refused_when_it_is_off);
	tcase_add_loop_test(tc, packets_for_other_mac_addresses_are_ignored, 0, 5);
	tcase_add_test(tc, neighbour_discovery_goes_before_the_policy);
	tcase_add_test(tc, neighbour_discovery_is_ipv6_and_whole);
	tcase_add_loop_test(tc, fragments_are_put_together_first, 0, COUNT(fragments));
	tcase_add_test(tc, arp_reaches_the_neighbours);
	tcase_add_test(tc, foreign_and_malformed_frames_are_ignored);
	tcase_add_test(tc, others_get_their_turn_while_many_frames_wait);
	tcase_add_test(tc, a_stack_drains_until_nothing_comes_and_all_is_passed_on);
	tcase_add_test(tc, other_packets_do_not_delay_the_end);
	tcase_add_test(tc, a_flood_does_not_hold_up_the_end);
	tcase_add_test(tc, a_device_that_is_removed_is_reported_once);
	tcase_add_loop_test(tc, queues_share_the_limits_and_kinds_the_descriptors, 0, 3);
	tcase_add_test(tc, a_kernel_without_batches_of_udp_is_fine);
	tcase_add_loop_test(tc, a_failure_leaves_nothing_behind, 0, COUNT(failures));
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
