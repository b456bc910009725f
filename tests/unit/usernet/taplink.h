/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINK_H
#define TAPLINK_H

/* A link whose TAP is a socket pair, so that the test is the inside: it reads the frames that the
 * code under test sends. Each frame is one message, as on a TAP. */
#include "tests/unit/fixture.h"

#include <arpa/inet.h>
#include <linux/virtio_net.h>
#include <sys/uio.h>

#include "formats/inetsum.h"
#include "formats/packet.h"
#include "usernet/link.h"
#include "usernet/netconf.h"

#define TAPLINK_FRAME_MAX PACKET_FRAME_MAX

static const uint8_t taplink_inside_mac[ETH_ALEN] = { 2, 0, 0, 0, 0, 1 };

struct taplink {
	struct netconf conf; /* 10.0.2.2, 10.0.2.3, fd00::2, fd00::3, fe80::2; MTU 1500 */
	struct link link;
	int inside;
	/* The last frame that was received */
	struct virtio_net_hdr_v1 header;
	uint8_t frame[TAPLINK_FRAME_MAX];
	size_t len;
};

/* Reads an address; IPv4 is mapped. */
static inline struct in6_addr addr_of(const char *text)
{
	struct in6_addr addr = { .s6_addr = { [10] = 0xff, [11] = 0xff } };

	if (inet_pton(AF_INET, text, &addr.s6_addr[12]) != 1)
		ck_assert_int_eq(inet_pton(AF_INET6, text, &addr), 1);
	return addr;
}

static inline struct packet_addrs addrs_of(const char *src, const char *dst)
{
	return (struct packet_addrs){ addr_of(src), addr_of(dst) };
}

static inline struct netconf taplink_conf(void)
{
	return (struct netconf){
		.mac = { 2, 0, 0, 0, 0, 2 },
		.mtu = 1500,
		.gateway = addr_of("10.0.2.2"),
		.dns = addr_of("10.0.2.3"),
		.prefix_len = 24,
		.ipv6 = true,
		.gateway6 = addr_of("fd00::2"),
		.dns6 = addr_of("fd00::3"),
		.router6 = addr_of("fe80::2"),
		.prefix6_len = 64,
		.host_loopback = true,
	};
}

static inline void taplink_open(struct taplink *t)
{
	const int room = 1 << 20;
	int fds[2];

	memset(t, 0, sizeof(*t));
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds),
			 0);
	setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	t->conf = taplink_conf();
	t->link = (struct link){ .tap = tap_new(fds[0], NULL), .conf = &t->conf };
	ck_assert_ptr_nonnull(t->link.tap);
	t->inside = fds[1];
}

static inline void taplink_close(struct taplink *t)
{
	tap_free(t->link.tap);
	close(t->inside);
}

/* Receives the next frame. Returns false if there is none. */
static inline bool taplink_receive(struct taplink *t)
{
	struct iovec parts[] = { { &t->header, sizeof(t->header) },
				 { t->frame, sizeof(t->frame) } };
	ssize_t n = readv(t->inside, parts, 2);

	if (n < 0)
		return false;
	ck_assert_int_ge(n, (ssize_t)sizeof(t->header));
	t->len = (size_t)n - sizeof(t->header);
	return true;
}

/* Receives the next frame, which must be an IP packet from our MAC address. */
static inline bool taplink_receive_packet(struct taplink *t, struct packet *p)
{
	if (!taplink_receive(t))
		return false;
	ck_assert_int_eq(packet_read(p, t->frame, t->len), PACKET_IP);
	ck_assert_mem_eq(p->src_mac, t->conf.mac, ETH_ALEN);
	return true;
}

/* Returns the packet that the inside would send, in memory of exactly its size that the next call
 * frees. */
static inline struct packet taplink_packet(const struct packet_addrs *addrs, uint8_t proto,
					   uint8_t hops, const void *payload, size_t len)
{
	static const uint8_t our_mac[ETH_ALEN] = { 2, 0, 0, 0, 0, 2 };
	const struct packet_head head = { .src_mac = taplink_inside_mac,
					  .dst_mac = our_mac,
					  .addrs = *addrs,
					  .proto = proto,
					  .hops = hops };
	static char frame[TAPLINK_FRAME_MAX];
	size_t n = packet_put_head((uint8_t *)frame, &head, len);
	struct packet p;

	memcpy(frame + n, payload, len);
	ck_assert_int_eq(packet_read(&p, (uint8_t *)fixture_exact_copy(frame, n + len), n + len),
			 PACKET_IP);
	return p;
}

/* The checksum of a packet's payload. It is 0 if the right one is in it. ICMP has no pseudo
 * header. */
static inline uint16_t taplink_sum(const struct packet *p)
{
	uint64_t sum = p->proto == IPPROTO_ICMP
			       ? 0
			       : inetsum_add_pseudo(0, &p->addrs.src, &p->addrs.dst, p->proto,
						    p->payload_len);

	return inetsum_finish(inetsum_add(sum, p->payload, p->payload_len));
}

static inline void assert_addr(const struct in6_addr *addr, const char *text)
{
	char is[INET6_ADDRSTRLEN];
	struct in6_addr want = addr_of(text);

	inet_ntop(AF_INET6, addr, is, sizeof(is));
	ck_assert_msg(IN6_ARE_ADDR_EQUAL(addr, &want), "%s is not %s", is, text);
}

#endif
