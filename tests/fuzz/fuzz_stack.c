/* SPDX-License-Identifier: Apache-2.0 */

/* The whole network stack of a queue, with a hostile inside. The input is a list of frames. The
 * host is a network namespace of its own with nothing but lo: a TCP server that sends a greeting
 * and takes everything, and a UDP server that answers. Each frame that comes back must be
 * well-formed.
 *
 * Random numbers are constant, so the fuzzer can learn to continue a connection. */
#include "usernet/stack.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/log.h"
#include "formats/inetsum.h"
#include "formats/packet.h"

#include "fuzz.h"

#define TCP_PORT   80
#define UDP_PORT   7
#define FRAMES_MAX 64
#define CONNS_MAX  16

int LLVMFuzzerInitialize(int *argc, char ***argv);

/* ---- the system ---- */

/* A socket pair is the TAP. */
int ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *arg;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	if (request == TUNSETVNETHDRSZ || request == TUNSETOFFLOAD || request == TUNSETPERSIST)
		return 0;
	return (int)syscall(SYS_ioctl, fd, request, arg);
}

ssize_t getrandom(void *buf, size_t len, unsigned int flags)
{
	(void)flags;
	memset(buf, 1, len);
	return (ssize_t)len;
}

/* ---- the host ---- */

static int tcp_server, udp_server;
static int conns[CONNS_MAX];

static int serve(int type, uint16_t port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	REQUIRE(fd >= 0 && bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0);
	REQUIRE(type != SOCK_STREAM || listen(fd, CONNS_MAX) == 0);
	return fd;
}

/* The frames lead to real sockets, so this must not be the machine's network. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd;

	(void)argc;
	(void)argv;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0) {
		perror("a network namespace cannot be made");
		exit(1);
	}
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	REQUIRE(syscall(SYS_ioctl, fd, SIOCSIFFLAGS, &lo) == 0);
	close(fd);
	tcp_server = serve(SOCK_STREAM, TCP_PORT);
	udp_server = serve(SOCK_DGRAM, UDP_PORT);
	for (size_t i = 0; i < CONNS_MAX; i++)
		conns[i] = -1;
	log_init("fuzz", false);
	return 0;
}

static void serve_tcp(void)
{
	static char buf[4096];
	int fd = accept4(tcp_server, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	for (size_t i = 0; i < CONNS_MAX; i++) {
		if (conns[i] < 0 && fd >= 0) {
			REQUIRE(send(fd, buf, 3000, MSG_NOSIGNAL) != 0);
			conns[i] = fd;
			fd = -1;
		}
		if (conns[i] >= 0 && recv(conns[i], buf, sizeof(buf), 0) == 0)
			shutdown(conns[i], SHUT_WR);
	}
	if (fd >= 0)
		close(fd);
}

static void serve_udp(void)
{
	static char buf[65536];
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	ssize_t n = recvfrom(udp_server, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len);

	if (n >= 0)
		sendto(udp_server, buf, (size_t)n, 0, (struct sockaddr *)&from, len);
}

static void close_conns(void)
{
	for (size_t i = 0; i < CONNS_MAX; i++)
		if (conns[i] >= 0)
			close(conns[i]);
	for (size_t i = 0; i < CONNS_MAX; i++)
		conns[i] = -1;
}

/* ---- the inside ---- */

static const struct netconf conf = {
	.mac = { 2, 0, 0, 0, 0, 2 },
	.mtu = 1500,
	.gateway.s6_addr = { [10] = 0xff, [11] = 0xff, [12] = 10, [14] = 2, [15] = 2 },
	.dns.s6_addr = { [10] = 0xff, [11] = 0xff, [12] = 10, [14] = 2, [15] = 3 },
	.prefix_len = 24,
	.ipv6 = true,
	.gateway6.s6_addr = { 0xfd, [15] = 2 },
	.dns6.s6_addr = { 0xfd, [15] = 3 },
	.router6.s6_addr = { 0xfe, 0x80, [15] = 2 },
	.prefix6_len = 64,
	.host_loopback = true,
};

static bool is_ours(const uint8_t *frame, size_t len)
{
	return len >= PACKET_ETH_LEN && memcmp(frame + ETH_ALEN, conf.mac, ETH_ALEN) == 0;
}

/* A batch is longer than the MTU, all else is not. */
static void check_frame(const struct virtio_net_hdr_v1 *header, const uint8_t *frame, size_t len)
{
	struct packet p;
	int kind = packet_read(&p, frame, len);

	REQUIRE(is_ours(frame, len));
	REQUIRE(kind == PACKET_IP || kind == PACKET_ARP);
	REQUIRE(header->gso_type != VIRTIO_NET_HDR_GSO_NONE || len <= PACKET_ETH_LEN + conf.mtu);
	if (kind != PACKET_IP)
		return;
	REQUIRE(p.ip_len == len - PACKET_ETH_LEN);
	REQUIRE((header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) == 0 ||
		header->csum_start + header->csum_offset + 2U <= len);
	REQUIRE(header->gso_type == VIRTIO_NET_HDR_GSO_NONE ||
		(header->gso_size > 0 && header->hdr_len < len));
}

static void hear(int inside)
{
	static uint8_t bytes[sizeof(struct virtio_net_hdr_v1) + PACKET_FRAME_MAX];
	struct virtio_net_hdr_v1 header;
	ssize_t n;

	while ((n = read(inside, bytes, sizeof(bytes))) > 0) {
		REQUIRE((size_t)n > sizeof(header));
		memcpy(&header, bytes, sizeof(header));
		check_frame(&header, bytes + sizeof(header), (size_t)n - sizeof(header));
	}
}

/* The fuzzer could not guess checksums. */
static void fix_v4_header(uint8_t *frame, size_t len)
{
	const size_t head = len > PACKET_ETH_LEN ? (frame[PACKET_ETH_LEN] & 0xf) * 4U : 0;
	uint16_t sum;

	if (head < 20 || len < PACKET_ETH_LEN + head || frame[12] != 8 || frame[13] != 0)
		return;
	memset(frame + PACKET_ETH_LEN + 10, 0, sizeof(sum));
	sum = inetsum_finish(inetsum_add(0, frame + PACKET_ETH_LEN, head));
	memcpy(frame + PACKET_ETH_LEN + 10, &sum, sizeof(sum));
}

#define FRAME_HEAD 4 /* in the input: kind, GSO size in units of 16 bytes, length */

/* Sends the next frame of the input. Returns how many bytes it takes there, 0 if none is left. */
static size_t say(int inside, const uint8_t *data, size_t size)
{
	static const uint8_t types[] = { VIRTIO_NET_HDR_GSO_NONE, VIRTIO_NET_HDR_GSO_TCPV4,
					 VIRTIO_NET_HDR_GSO_TCPV6, VIRTIO_NET_HDR_GSO_UDP_L4 };
	struct virtio_net_hdr_v1 header = { 0 };
	struct iovec parts[] = { { &header, sizeof(header) }, { NULL, 0 } };
	size_t len;

	if (size < FRAME_HEAD)
		return 0;
	len = (size_t)data[2] << 8 | data[3];
	len = len < size - FRAME_HEAD ? len : size - FRAME_HEAD;
	header.flags = data[0] & 1 ? 0 : VIRTIO_NET_HDR_F_NEEDS_CSUM;
	header.gso_type = types[data[0] >> 1 & 3];
	header.gso_size = (uint16_t)(data[1] * 16);
	parts[1].iov_base = exact_copy(data + FRAME_HEAD, len);
	parts[1].iov_len = len;
	fix_v4_header(parts[1].iov_base, len);
	REQUIRE(writev(inside, parts, 2) > 0);
	free(parts[1].iov_base);
	return FRAME_HEAD + len;
}

static void run(struct loop *loop, int inside, const uint8_t *data, size_t size)
{
	size_t used;

	for (int i = 0; i < FRAMES_MAX && (used = say(inside, data, size)) > 0; i++) {
		/* Twice: a connection is there, and then it has something to send. */
		for (int n = 0; n < 2; n++) {
			REQUIRE(loop_step(loop, 0) == 0);
			serve_tcp();
			serve_udp();
			hear(inside);
		}
		data += used;
		size -= used;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fdtotal fds = { .max = 100 };
	struct stack_setup setup = { .conf = &conf, .fds = &fds, .queues = 1 };
	struct stack *stack;
	int pair[2];

	REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
	setup.loop = loop_new(LOOP_EPOLL);
	setup.servers = dnsservers_new("/nonexistent");
	setup.udpsocks = udpsocks_new();
	setup.frags = frags_new();
	stack = stack_new(&setup, pair[0]);
	REQUIRE(stack != NULL);
	run(setup.loop, pair[1], data, size);
	stack_drain(stack);
	stack_free(stack);
	loop_free(setup.loop);
	dnsservers_free(setup.servers);
	udpsocks_free(setup.udpsocks);
	frags_free(setup.frags);
	hear(pair[1]);
	close(pair[1]);
	close_conns();
	REQUIRE(fds.used == 0);
	return 0;
}
