/* SPDX-License-Identifier: Apache-2.0 */

/* UDP from inside to sockets of the host and back. The test is the inside: it makes the packets,
 * and reads the frames that come back. The peers are real sockets on the host's loopback interface,
 * where the gateway's address leads. The clock can be set forward. */
#include "usernet/udpnat.h"

#include "base/fd.h"
#include "formats/udpseg.h"
#include "ports/dgram.h"
#include "ports/flowtable.h"
#include "tests/unit/loopclock.h"
#include "tests/unit/usernet/taplink.h"
#include "usernet/dns.h"
#include "usernet/policy.h"

#include <netinet/udp.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

#define PORT	 4000 /* of the program inside */
#define MAX	 8    /* flows: 4 new, 4 established */
#define FDS	 64
#define DATA_MAX 65527 /* over IPv6; IPv4 has 20 less */
#define V4	 1     /* a test's index: the family */

static struct taplink t;
static struct udpsocks *socks;
static struct udpnat *nat;
static struct fdquota quota;
static struct icmperr_sender errors;
static uint8_t sample[DATA_MAX + 1]; /* bytes that differ from place to place */
static uint8_t got[DATA_MAX + 1];

/* ---- system calls that fail ---- */

static int connect_errno, send_errno, receive_errno;

int connect(int fd, const struct sockaddr *sa, socklen_t len)
{
	if (connect_errno == 0)
		return (int)syscall(SYS_connect, fd, sa, len);
	errno = connect_errno;
	return -1;
}

int sendmmsg(int fd, struct mmsghdr *heads, unsigned int count, int flags)
{
	if (send_errno == 0)
		return (int)syscall(SYS_sendmmsg, fd, heads, count, flags);
	errno = send_errno;
	return -1;
}

int recvmmsg(int fd, struct mmsghdr *heads, unsigned int count, int flags, struct timespec *timeout)
{
	if (receive_errno == 0)
		return (int)syscall(SYS_recvmmsg, fd, heads, count, flags, timeout);
	errno = receive_errno;
	return -1;
}

/* ---- what the inside is told by ICMP ---- */

static struct {
	int count;
	enum icmperr what;
	uint32_t mtu;
	struct packet_addrs addrs;
	uint16_t src_port, dst_port;
} told;

bool icmperr_about_packet(struct icmperr_about *about, const struct packet *p)
{
	*about = (struct icmperr_about){ .quote = { .addrs = p->addrs, .proto = p->proto } };
	memcpy(about->quote.bytes, p->payload, sizeof(about->quote.bytes));
	return true;
}

void icmperr_about_ports(struct icmperr_about *about, const uint8_t *mac,
			 const struct packet_addrs *addrs, uint8_t proto, uint16_t src_port,
			 uint16_t dst_port, uint32_t seq)
{
	const uint16_t ports[] = { htons(src_port), htons(dst_port) };

	(void)seq;
	ck_assert_mem_eq(mac, taplink_inside_mac, ETH_ALEN);
	*about = (struct icmperr_about){ .quote = { .addrs = *addrs, .proto = proto } };
	memcpy(about->quote.bytes, ports, sizeof(ports));
}

void icmperr_send(struct icmperr_sender *s, const struct icmperr_about *about, enum icmperr what,
		  uint32_t mtu)
{
	uint16_t ports[2];

	ck_assert_ptr_eq(s, &errors);
	ck_assert_int_eq(about->quote.proto, IPPROTO_UDP);
	memcpy(ports, about->quote.bytes, sizeof(ports));
	told.count++;
	told.what = what;
	told.mtu = mtu;
	told.addrs = about->quote.addrs;
	told.src_port = ntohs(ports[0]);
	told.dst_port = ntohs(ports[1]);
}

/* See check_udptrace.c. */
void icmperr_about_data(struct icmperr_about *about, const void *data, size_t len)
{
	(void)about;
	(void)data;
	(void)len;
	ck_abort_msg("an error was passed on");
}

void icmperr_relay(struct icmperr_sender *s, const struct icmperr_about *about,
		   const struct in6_addr *from, const struct icmpmsg *error)
{
	(void)s;
	(void)about;
	(void)from;
	(void)error;
	ck_abort_msg("an error was passed on");
}

bool icmperr_from_errno(enum icmperr *what, int errnum)
{
	static const struct {
		int errnum;
		enum icmperr what;
	} rows[] = { { ECONNREFUSED, ICMPERR_PORT_UNREACHABLE },
		     { EHOSTUNREACH, ICMPERR_HOST_UNREACHABLE },
		     { ENETUNREACH, ICMPERR_NET_UNREACHABLE },
		     { EACCES, ICMPERR_PROHIBITED },
		     { EMSGSIZE, ICMPERR_TOO_BIG } };

	for (int i = 0; i < COUNT(rows); i++)
		if (rows[i].errnum == errnum) {
			*what = rows[i].what;
			return true;
		}
	return false;
}

/* ---- start and end ---- */

static void start(size_t max, bool gso)
{
	const struct udpnat_setup setup = { .loop = loop,
					    .link = &t.link,
					    .errors = &errors,
					    .quota = &quota,
					    .socks = socks,
					    .max = max,
					    .gso = gso };

	nat = udpnat_new(&setup);
	ck_assert_ptr_nonnull(nat);
}

static void open_all(void)
{
	loop = loop_new(LOOP_EPOLL);
	ck_assert_ptr_nonnull(loop);
	taplink_open(&t);
	quota = (struct fdquota){ .max = FDS };
	errors = (struct icmperr_sender){ .link = &t.link };
	memset(&told, 0, sizeof(told));
	connect_errno = send_errno = receive_errno = 0;
	for (size_t i = 0; i < sizeof(sample); i++)
		sample[i] = (uint8_t)(i * 2654435761U >> 13);
	socks = udpsocks_new();
	start(MAX, true);
}

static void close_all(void)
{
	udpnat_free(nat);
	udpsocks_free(socks);
	ck_assert_uint_eq(quota.used, 0);
	taplink_close(&t);
	loop_free(loop);
}

/* Continues with other settings. */
static void restart(size_t max, bool gso)
{
	udpnat_free(nat);
	start(max, gso);
}

/* ---- the host ---- */

/* Returns a non-blocking socket on the host's loopback address, at *port, or at a free port if that
 * is 0. */
static int host_socket(bool v4, uint16_t *port)
{
	struct sockaddr_storage sa;
	struct in6_addr addr = v4 ? addr_of("127.0.0.1") : in6addr_loopback;
	socklen_t len = policy_sockaddr(&sa, &addr, *port);
	int fd = socket(sa.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, len), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	*port = ntohs(v4 ? ((struct sockaddr_in *)&sa)->sin_port
			 : ((struct sockaddr_in6 *)&sa)->sin6_port);
	return fd;
}

/* Waits for a datagram at a host's socket, and receives it to `got`. Sets *from. */
static size_t host_receive(int fd, struct sockaddr_storage *from)
{
	unsigned long long until = fixture_now_ms() + 1000 * FIXTURE_DEADLINE_S;
	socklen_t len = sizeof(*from);
	ssize_t n;

	while ((n = recvfrom(fd, got, sizeof(got), 0, (struct sockaddr *)from, &len)) < 0) {
		ck_assert_int_eq(errno, EAGAIN);
		ck_assert_uint_lt(fixture_now_ms(), until);
		step();
	}
	return (size_t)n;
}

static void host_send(int fd, const struct sockaddr_storage *to, const void *data, size_t len)
{
	const socklen_t to_len = to->ss_family == AF_INET ? sizeof(struct sockaddr_in)
							  : sizeof(struct sockaddr_in6);

	ck_assert_int_eq(sendto(fd, data, len, 0, (const struct sockaddr *)to, to_len),
			 (ssize_t)len);
}

/* ---- the inside ---- */

static struct packet_addrs to_gateway(bool v4)
{
	return v4 ? addrs_of("10.0.2.100", "10.0.2.2") : addrs_of("fd00::100", "fd00::2");
}

static void inside_send_to(const struct packet_addrs *addrs, uint16_t src_port, uint16_t dst_port,
			   const void *data, size_t len, uint16_t gso_size)
{
	static uint8_t bytes[UDPSEG_HEAD_LEN + DATA_MAX];
	const struct udpseg seg = { src_port, dst_port, NULL, len };
	struct packet p;

	udpseg_put(bytes, &seg, addrs);
	memcpy(bytes + UDPSEG_HEAD_LEN, data, len);
	p = taplink_packet(addrs, IPPROTO_UDP, 64, bytes, UDPSEG_HEAD_LEN + len);
	udpnat_on_packet(nat, &p, gso_size);
}

static void inside_send(uint16_t src_port, uint16_t dst_port, const void *data, size_t len)
{
	const struct packet_addrs addrs = to_gateway(true);

	inside_send_to(&addrs, src_port, dst_port, data, len, 0);
}

/* A UDP packet that has come back inside, whole */
static struct {
	struct packet packet;
	struct udpseg seg;
	uint8_t bytes[UDPSEG_HEAD_LEN + DATA_MAX];
	size_t frames, gso_size;
} back;

/* The kernel inside would complete the checksum, or reassemble the fragments. */
static void complete_back(void)
{
	const bool needs_sum = (t.header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0;
	uint16_t sum;

	ck_assert_int_eq(needs_sum, back.frames == 1);
	back.packet.payload = back.bytes;
	if (needs_sum) {
		ck_assert_uint_eq(t.header.csum_offset, UDPSEG_SUM_OFFSET);
		ck_assert_uint_eq(t.header.csum_start + back.packet.payload_len, t.len);
		sum = inetsum_finish(inetsum_add(0, back.bytes, back.packet.payload_len));
		sum = sum == 0 ? UINT16_MAX : sum;
		memcpy(back.bytes + UDPSEG_SUM_OFFSET, &sum, sizeof(sum));
	}
	ck_assert(udpseg_is_intact(&back.packet));
	ck_assert_int_eq(udpseg_read(&back.seg, back.bytes, back.packet.payload_len), 0);
}

/* Receives the next UDP packet inside, if there is one. */
static bool inside_receive_now(void)
{
	size_t len = 0;
	bool more = true;

	for (back.frames = 0; more; back.frames++) {
		if (!taplink_receive_packet(&t, &back.packet)) {
			ck_assert_uint_eq(back.frames, 0);
			return false;
		}
		ck_assert_mem_eq(back.packet.dst_mac, taplink_inside_mac, ETH_ALEN);
		ck_assert_uint_eq(back.packet.fragment_at, len);
		memcpy(back.bytes + len, back.packet.payload, back.packet.payload_len);
		len += back.packet.payload_len;
		more = back.packet.is_fragment && back.packet.has_more;
	}
	back.packet.payload_len = len;
	back.gso_size = t.header.gso_type == VIRTIO_NET_HDR_GSO_UDP_L4 ? t.header.gso_size : 0;
	complete_back();
	return true;
}

/* Waits for it. */
static void inside_receive(void)
{
	unsigned long long until = fixture_now_ms() + 1000 * FIXTURE_DEADLINE_S;

	while (!inside_receive_now()) {
		ck_assert_uint_lt(fixture_now_ms(), until);
		step();
	}
}

static void assert_nothing_inside(void)
{
	settle();
	ck_assert(!inside_receive_now());
}

/* ---- there and back ---- */

/* Sends a datagram to the host's socket `fd` at `port`, which receives it. Sets *from. */
static void send_there(int fd, uint16_t src_port, uint16_t port, const void *data, size_t len,
		       struct sockaddr_storage *from)
{
	inside_send(src_port, port, data, len);
	ck_assert_uint_eq(host_receive(fd, from), len);
	ck_assert_mem_eq(got, data, len);
}

/* Waits for an answer, which must come from the host's `port` for `to`. */
static void assert_answer(uint16_t port, uint16_t to, const void *data, size_t len)
{
	inside_receive();
	ck_assert_uint_eq(back.seg.src_port, port);
	ck_assert_uint_eq(back.seg.dst_port, to);
	ck_assert_uint_eq(back.seg.len, len);
	ck_assert_mem_eq(back.seg.data, data, len);
}

/* Sends there and gets an answer, so that a further datagram makes the flow an established one. */
static void talk(int fd, uint16_t src_port, uint16_t port)
{
	struct sockaddr_storage from;

	send_there(fd, src_port, port, "ask", 3, &from);
	host_send(fd, &from, "answer", 6);
	assert_answer(port, src_port, "answer", 6);
}

/* _i: the family */
START_TEST(an_answer_comes_from_the_address_that_was_written_to)
{
	const bool v4 = _i == V4;
	const struct packet_addrs addrs = to_gateway(v4);
	struct sockaddr_storage from;
	uint16_t port = 0;
	int fd;

	if (!v4 && !fixture_need_ipv6())
		return;
	fd = host_socket(v4, &port);
	inside_send_to(&addrs, PORT, port, "hello", 5, 0);
	ck_assert_uint_eq(host_receive(fd, &from), 5);
	ck_assert_mem_eq(got, "hello", 5);
	host_send(fd, &from, "welcome", 7);
	assert_answer(port, PORT, "welcome", 7);
	ck_assert_mem_eq(&back.packet.addrs.src, &addrs.dst, sizeof(addrs.dst));
	ck_assert_mem_eq(&back.packet.addrs.dst, &addrs.src, sizeof(addrs.src));
	ck_assert_int_eq(told.count, 0);
	close(fd);
}
END_TEST

static const size_t lens[] = { 0, 1, 1471, 1472, 1473, 2953, 8192, 8193, 9000, DATA_MAX - 20 };

/* With an MTU of 1500, more than 1472 bytes need fragments. */
START_TEST(datagrams_of_any_size_pass_unchanged)
{
	const size_t len = lens[_i];
	struct sockaddr_storage from;
	uint16_t port = 0;
	int fd = host_socket(true, &port);

	send_there(fd, PORT, port, sample, len, &from);
	host_send(fd, &from, sample, len);
	assert_answer(port, PORT, sample, len);
	ck_assert_int_eq(back.frames > 1, len > 1472);
	ck_assert_uint_eq(back.gso_size, 0);
	assert_nothing_inside();
	close(fd);
}
END_TEST

static const size_t lens6[] = { 1452, 1453, 65487, 65488, 65507, DATA_MAX };

START_TEST(datagrams_of_any_size_pass_over_ipv6)
{
	const size_t len = lens6[_i];
	const struct packet_addrs addrs = to_gateway(false);
	struct sockaddr_storage from;
	uint16_t port = 0;
	int fd;

	if (!fixture_need_ipv6())
		return;
	fd = host_socket(false, &port);
	inside_send_to(&addrs, PORT, port, sample, len, 0);
	ck_assert_uint_eq(host_receive(fd, &from), len);
	ck_assert(memcmp(got, sample, len) == 0);
	host_send(fd, &from, sample, len);
	assert_answer(port, PORT, sample, len);
	ck_assert_int_eq(back.frames > 1, len > 1452);
	close(fd);
}
END_TEST

START_TEST(each_pair_of_addresses_and_ports_is_a_flow_of_its_own)
{
	struct sockaddr_storage from[4];
	uint16_t port = 0, other = 0;
	int fd = host_socket(true, &port);
	int fd2 = host_socket(true, &other);
	struct packet_addrs neighbour = addrs_of("10.0.2.101", "10.0.2.2");

	send_there(fd, PORT, port, "a", 1, &from[0]);
	send_there(fd, PORT + 1, port, "b", 1, &from[1]);
	send_there(fd2, PORT, other, "c", 1, &from[2]);
	inside_send_to(&neighbour, PORT, port, "d", 1, 0);
	ck_assert_uint_eq(host_receive(fd, &from[3]), 1);
	ck_assert_uint_eq(quota.used, 4);
	for (int i = 0; i < 4; i++) {
		host_send(i == 2 ? fd2 : fd, &from[i], "x", 1);
		assert_answer(i == 2 ? other : port, i == 1 ? PORT + 1 : PORT, "x", 1);
		assert_addr(&back.packet.addrs.dst, i == 3 ? "10.0.2.101" : "10.0.2.100");
	}
	send_there(fd, PORT, port, "again", 5, &from[1]);
	ck_assert_mem_eq(&from[0], &from[1], sizeof(struct sockaddr_in));
	close(fd);
	close(fd2);
}
END_TEST

START_TEST(datagrams_of_others_are_not_delivered)
{
	struct sockaddr_storage from;
	uint16_t port = 0, foreign = 0;
	int fd = host_socket(true, &port);
	int other = host_socket(true, &foreign);

	send_there(fd, PORT, port, "a", 1, &from);
	host_send(other, &from, "forged", 6);
	assert_nothing_inside();
	close(other);
	close(fd);
}
END_TEST

/* ---- refusals and errors ---- */

static void assert_told(enum icmperr what, const struct packet_addrs *addrs, uint16_t port)
{
	settle();
	ck_assert_int_gt(told.count, 0);
	ck_assert_int_eq(told.what, what);
	ck_assert_mem_eq(&told.addrs, addrs, sizeof(*addrs));
	ck_assert_uint_eq(told.src_port, PORT);
	ck_assert_uint_eq(told.dst_port, port);
	assert_nothing_inside();
}

START_TEST(a_refusal_is_told_and_the_flow_lives_on)
{
	const struct packet_addrs addrs = to_gateway(true);
	struct sockaddr_storage before, after;
	uint16_t port = 0;
	int fd = host_socket(true, &port);

	send_there(fd, PORT, port, "a", 1, &before);
	close(fd);
	inside_send(PORT, port, "refused", 7);
	assert_told(ICMPERR_PORT_UNREACHABLE, &addrs, port);
	fd = host_socket(true, &port);
	send_there(fd, PORT, port, "b", 1, &after);
	ck_assert_mem_eq(&before, &after, sizeof(struct sockaddr_in));
	ck_assert_uint_eq(quota.used, 1);
	close(fd);
}
END_TEST

/* The kernel returns the refusal of an earlier datagram instead of sending the next, which must not
 * be lost for that. */
START_TEST(a_refusal_does_not_cost_the_next_datagram)
{
	struct sockaddr_storage from;
	uint16_t port = 0;
	int fd = host_socket(true, &port);

	send_there(fd, PORT, port, "a", 1, &from);
	close(fd);
	for (int i = 0; i < 3; i++) {
		/* large ones are sent at once, and the refusal comes with the next */
		inside_send(PORT, port, sample, 9000);
	}
	ck_assert_int_eq(told.count, 2);
	fd = host_socket(true, &port);
	inside_send(PORT, port, sample, 9000);
	ck_assert_uint_eq(host_receive(fd, &from), 9000);
	ck_assert_int_eq(told.count, 3);
	close(fd);
}
END_TEST

static const struct {
	const char *src, *dst;
	bool host_loopback, ipv6;
	int what; /* -1: nothing */
} policies[] = {
	{ "10.0.2.100", "10.0.2.3", true, true, ICMPERR_PORT_UNREACHABLE },
	{ "fd00::100", "fd00::3", true, true, ICMPERR_PORT_UNREACHABLE },
	{ "10.0.2.100", "10.0.2.2", false, true, ICMPERR_PORT_UNREACHABLE },
	{ "fd00::100", "fd00::2", false, true, ICMPERR_PORT_UNREACHABLE },
	{ "2001:db8::1", "2001:db8::2", true, false, ICMPERR_PROHIBITED },
	{ "10.0.2.100", "127.0.0.1", true, true, -1 },
	{ "10.0.2.100", "0.0.0.0", true, true, -1 },
	{ "10.0.2.100", "224.0.0.251", true, true, -1 },
	{ "10.0.2.100", "255.255.255.255", true, true, -1 },
	{ "10.0.2.100", "10.0.2.255", true, true, -1 },
	{ "fd00::100", "::1", true, true, -1 },
	{ "fd00::100", "ff02::fb", true, true, -1 },
	{ "127.0.0.1", "10.0.2.2", true, true, -1 },
};

START_TEST(the_policy_is_asked)
{
	struct packet_addrs addrs = addrs_of(policies[_i].src, policies[_i].dst);

	t.conf.host_loopback = policies[_i].host_loopback;
	t.conf.ipv6 = policies[_i].ipv6;
	inside_send_to(&addrs, PORT, 9, "x", 1, 0);
	if (policies[_i].what >= 0)
		assert_told((enum icmperr)policies[_i].what, &addrs, 9);
	settle();
	ck_assert_int_eq(told.count, policies[_i].what >= 0);
	ck_assert_uint_eq(quota.used, 0);
}
END_TEST

static const struct {
	int errnum;
	int what; /* -1: nothing */
} connects[] = {
	{ ENETUNREACH, ICMPERR_NET_UNREACHABLE },
	{ EHOSTUNREACH, ICMPERR_HOST_UNREACHABLE },
	{ EACCES, ICMPERR_PROHIBITED },
	{ EAGAIN, -1 },
};

START_TEST(an_address_that_cannot_be_reached_is_told)
{
	const struct packet_addrs addrs = to_gateway(true);

	connect_errno = connects[_i].errnum;
	inside_send(PORT, 9, "x", 1);
	if (connects[_i].what >= 0)
		assert_told((enum icmperr)connects[_i].what, &addrs, 9);
	ck_assert_int_eq(told.count, connects[_i].what >= 0);
	ck_assert_uint_eq(quota.used, 0);
}
END_TEST

START_TEST(a_datagram_that_the_path_does_not_take_is_told_with_its_mtu)
{
	const struct packet_addrs addrs = to_gateway(true);
	uint16_t port = 0;
	int fd = host_socket(true, &port);

	send_errno = EMSGSIZE;
	inside_send(PORT, port, sample, 1400);
	assert_told(ICMPERR_TOO_BIG, &addrs, port);
	ck_assert_uint_ge(told.mtu, 16436); /* of the interface lo */
	ck_assert_uint_eq(quota.used, 1);
	close(fd);
}
END_TEST

START_TEST(a_flow_whose_socket_does_not_work_any_more_ends)
{
	uint16_t port = 0;
	int fd = host_socket(true, &port);

	talk(fd, PORT, port);
	send_errno = ENOTCONN;
	inside_send(PORT, port, "x", 1);
	settle();
	ck_assert_uint_eq(quota.used, 0);
	send_errno = 0;
	talk(fd, PORT, port);
	close(fd);
}
END_TEST

/* The flow ends between the frame that the round began with and the end of the round. */
START_TEST(a_flow_that_ends_drops_what_was_not_sent)
{
	struct sockaddr_storage from;
	uint16_t port = 0;
	int fd = host_socket(true, &port);

	send_there(fd, PORT, port, "a", 1, &from);
	host_send(fd, &from, "b", 1);
	receive_errno = ENOTCONN;
	inside_send(PORT, port, "dropped", 7);
	settle();
	ck_assert_uint_eq(quota.used, 0);
	receive_errno = 0;
	ck_assert_int_eq(recv(fd, got, sizeof(got), 0), -1);
	talk(fd, PORT, port);
	close(fd);
}
END_TEST

/* ---- batches ---- */

static void enable_gro(int fd)
{
	const int one = 1;

	ck_assert_int_eq(setsockopt(fd, IPPROTO_UDP, UDP_GRO, &one, sizeof(one)), 0);
}

/* Does a batch pass through the loopback device as one? Old kernels (5.10) cut it there. */
static bool loopback_keeps_batches(void)
{
	struct sockaddr_storage from;
	const int size = 1000;
	uint16_t port = 0;
	int fd = host_socket(true, &port), sender = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
	size_t got_first;

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	enable_gro(fd);
	ck_assert_int_eq(setsockopt(sender, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)), 0);
	ck_assert_int_eq(sendto(sender, sample, 3000, 0, (struct sockaddr *)&to, sizeof(to)), 3000);
	got_first = host_receive(fd, &from);
	close(sender);
	close(fd);
	return got_first == 3000;
}

/* A receiver that takes batches gets what was sent by one call as one. */
START_TEST(datagrams_of_a_round_leave_as_one_batch)
{
	struct sockaddr_storage from;
	uint16_t port = 0;
	int fd;

	if (!loopback_keeps_batches())
		return;
	fd = host_socket(true, &port);
	enable_gro(fd);
	for (size_t i = 0; i < 10; i++)
		inside_send(PORT, port, sample + i * 1000, i < 9 ? 1000 : 10);
	ck_assert_uint_eq(host_receive(fd, &from), 9010);
	ck_assert_mem_eq(got, sample, 9010);
	close(fd);
}
END_TEST

START_TEST(datagrams_of_a_round_keep_their_boundaries_and_order)
{
	static const size_t sizes[] = { 5, 5, 7, 0, 0, 7, 7, 3, 1400, 1400, 1400, 20, 9000, 1 };
	struct sockaddr_storage from;
	uint16_t port = 0, other = 0;
	int fd = host_socket(true, &port);
	int fd2 = host_socket(true, &other);

	for (int i = 0; i < COUNT(sizes); i++) {
		inside_send(PORT, port, sample + i, sizes[i]);
		inside_send(PORT, other, sample + 100 + i, sizes[i]);
	}
	for (int i = 0; i < COUNT(sizes); i++) {
		ck_assert_uint_eq(host_receive(fd, &from), sizes[i]);
		ck_assert_mem_eq(got, sample + i, sizes[i]);
		ck_assert_uint_eq(host_receive(fd2, &from), sizes[i]);
		ck_assert_mem_eq(got, sample + 100 + i, sizes[i]);
	}
	close(fd);
	close(fd2);
}
END_TEST

/* More than are collected at most: in count, and in bytes */
START_TEST(a_long_burst_arrives_whole)
{
	const size_t len = _i == 0 ? 3 : 8000;
	const int count = _i == 0 ? 150 : 20;
	struct sockaddr_storage from;
	uint16_t port = 0;
	int fd = host_socket(true, &port);

	for (int i = 0; i < count; i++)
		inside_send(PORT, port, sample + i, len);
	for (int i = 0; i < count; i++) {
		ck_assert_uint_eq(host_receive(fd, &from), len);
		ck_assert_mem_eq(got, sample + i, len);
	}
	close(fd);
}
END_TEST

static const struct {
	size_t len;
	uint16_t gso_size;
	int count; /* of datagrams that arrive */
} frames[] = {
	{ 3500, 1400, 3 },
	{ 2800, 1400, 2 },
	{ 64 * 1000, 1000, 64 },
	{ 100 * 600, 600, 100 },
	{ 100, 100, 1 },
	{ 100, 101, 1 },
	{ 100, UINT16_MAX, 1 },
	{ 0, 1400, 1 },
	{ 128, 1, 128 },
	/* more datagrams than a kernel makes */
	{ 129, 1, 0 },
	{ 60000, 7, 0 },
};

START_TEST(a_frame_with_many_datagrams_is_cut)
{
	const struct packet_addrs addrs = to_gateway(true);
	struct sockaddr_storage from;
	uint16_t port = 0;
	int fd = host_socket(true, &port);
	size_t at = 0;

	dgram_enlarge_buffers(fd);
	inside_send_to(&addrs, PORT, port, sample, frames[_i].len, frames[_i].gso_size);
	for (int i = 0; i < frames[_i].count; i++) {
		size_t n = host_receive(fd, &from);

		ck_assert_mem_eq(got, sample + at, n);
		ck_assert_uint_le(n, frames[_i].gso_size);
		at += n;
	}
	ck_assert_uint_eq(at, frames[_i].count > 0 ? frames[_i].len : 0);
	settle();
	ck_assert_int_eq(recv(fd, got, sizeof(got), 0), -1);
	close(fd);
}
END_TEST

/* Sends datagrams from the host, all before the loop runs. */
static void host_send_all(int fd, const struct sockaddr_storage *to, const size_t *sizes, int count)
{
	for (int i = 0; i < count; i++)
		host_send(fd, to, sample + i, sizes[i]);
}

START_TEST(answers_of_one_size_come_as_one_frame)
{
	static const size_t sizes[] = { 1400, 1400, 1400, 1400, 700 };
	struct sockaddr_storage from;
	uint16_t port = 0;
	int fd = host_socket(true, &port);

	send_there(fd, PORT, port, "a", 1, &from);
	host_send_all(fd, &from, sizes, COUNT(sizes));
	inside_receive();
	ck_assert_uint_eq(back.gso_size, 1400);
	ck_assert_uint_eq(back.seg.len, 4 * 1400 + 700);
	for (size_t i = 0; i < COUNT(sizes); i++)
		ck_assert_mem_eq(back.seg.data + i * 1400, sample + i, sizes[i]);
	assert_nothing_inside();
	close(fd);
}
END_TEST

/* _i: does the TAP take batches? */
START_TEST(answers_keep_their_boundaries_and_order)
{
	static const size_t sizes[] = { 5, 5, 7, 0, 0, 7, 7, 3, 2000, 2000, 1400, 1400, 20, 21, 1 };
	struct sockaddr_storage from;
	uint16_t port = 0;
	int fd, i = 0, count = 0;

	restart(MAX, _i != 0);
	fd = host_socket(true, &port);
	send_there(fd, PORT, port, "a", 1, &from);
	host_send_all(fd, &from, sizes, COUNT(sizes));
	while (i < COUNT(sizes)) {
		size_t at = 0;

		inside_receive();
		count++;
		do {
			size_t len = back.gso_size > 0 && back.seg.len - at > back.gso_size
					     ? back.gso_size
					     : back.seg.len - at;

			ck_assert_int_lt(i, COUNT(sizes));
			ck_assert_uint_eq(len, sizes[i]);
			ck_assert_mem_eq(back.seg.data + at, sample + i, len);
			at += len;
			i++;
		} while (at < back.seg.len);
	}
	assert_nothing_inside();
	if (_i != 0)
		ck_assert_int_lt(count, COUNT(sizes));
	else
		ck_assert_int_eq(count, COUNT(sizes));
	close(fd);
}
END_TEST

static void set_segment(int fd, int size)
{
	ck_assert_int_eq(setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)), 0);
}

static const struct {
	int segment;
	size_t len;
	bool gso;
	size_t frames;
} batches[] = {
	{ 1000, 40 * 1000, true, 1 },
	{ 1000, 40 * 1000 + 1, true, 1 },
	{ 1000, 40 * 1000 + 1, false, 41 },
	{ 3000, 30000, true, 30 }, /* fragments */
};

/* The answering program sends batches itself. */
START_TEST(a_batch_of_answers_is_passed_on)
{
	struct sockaddr_storage from;
	uint16_t port = 0;
	size_t at = 0, count = 0;
	int fd;

	restart(MAX, batches[_i].gso);
	fd = host_socket(true, &port);
	send_there(fd, PORT, port, "a", 1, &from);
	set_segment(fd, batches[_i].segment);
	host_send(fd, &from, sample, batches[_i].len);
	for (; at < batches[_i].len; at += back.seg.len) {
		inside_receive();
		count += back.frames;
		ck_assert_mem_eq(back.seg.data, sample + at, back.seg.len);
		ck_assert_uint_eq(back.gso_size, batches[_i].frames == 1 ? 1000 : 0);
	}
	ck_assert_uint_eq(at, batches[_i].len);
	ck_assert_uint_eq(count, batches[_i].frames);
	close(fd);
}
END_TEST

/* ---- hostile packets ---- */

static const struct {
	uint16_t dst_port, stated;
	size_t len; /* of the payload */
} hostile[] = {
	{ 9, 13, 12 }, { 9, 7, 13 }, { 9, 0, 13 },  { 9, UINT16_MAX, 13 },
	{ 9, 8, 7 },   { 9, 0, 0 },  { 0, 13, 13 },
};

START_TEST(malformed_packets_are_ignored)
{
	const struct packet_addrs addrs = to_gateway(true);
	const uint16_t words[] = { htons(PORT), htons(hostile[_i].dst_port),
				   htons(hostile[_i].stated), 0 };
	uint8_t bytes[32] = { 0 };
	struct packet p;

	memcpy(bytes, words, sizeof(words));
	p = taplink_packet(&addrs, IPPROTO_UDP, 64, bytes, hostile[_i].len);
	udpnat_on_packet(nat, &p, 0);
	settle();
	ck_assert_uint_eq(quota.used, 0);
	ck_assert_int_eq(told.count, 0);
}
END_TEST

START_TEST(bytes_behind_the_stated_length_are_not_sent)
{
	const struct packet_addrs addrs = to_gateway(true);
	struct sockaddr_storage from;
	uint16_t port = 0;
	int fd = host_socket(true, &port);
	uint16_t words[] = { htons(PORT), htons(port), htons(UDPSEG_HEAD_LEN + 2), 0 };
	uint8_t bytes[32] = { 0 };
	struct packet p;

	memcpy(bytes, words, sizeof(words));
	p = taplink_packet(&addrs, IPPROTO_UDP, 64, bytes, sizeof(bytes));
	udpnat_on_packet(nat, &p, 0);
	ck_assert_uint_eq(host_receive(fd, &from), 2);
	close(fd);
}
END_TEST

/* ---- bounds ---- */

START_TEST(a_flood_does_not_exceed_the_limit_nor_end_established_flows)
{
	struct sockaddr_storage before, after;
	uint16_t port = 0;
	int fd = host_socket(true, &port);

	talk(fd, PORT, port);
	send_there(fd, PORT, port, "b", 1, &before);
	for (uint16_t i = 1; i <= 500; i++) {
		inside_send((uint16_t)(PORT + i), 9, "flood", 5);
		ck_assert_uint_le(quota.used, MAX);
	}
	settle();
	ck_assert_uint_eq(quota.used, MAX / 2 + 1);
	send_there(fd, PORT, port, "c", 1, &after);
	ck_assert_mem_eq(&before, &after, sizeof(struct sockaddr_in));
	close(fd);
}
END_TEST

START_TEST(a_flow_that_is_pushed_out_has_sent_its_datagrams)
{
	struct sockaddr_storage from;
	uint16_t port = 0;
	int fd = host_socket(true, &port);

	for (uint16_t i = 0; i < 3 * MAX; i++)
		inside_send((uint16_t)(PORT + i), port, sample + i, 1);
	for (uint16_t i = 0; i < 3 * MAX; i++) {
		ck_assert_uint_eq(host_receive(fd, &from), 1);
		ck_assert_uint_eq(got[0], sample[i]);
	}
	close(fd);
}
END_TEST

START_TEST(a_full_quota_pushes_out_a_new_flow)
{
	struct sockaddr_storage from, before;
	uint16_t port = 0;
	int fd = host_socket(true, &port);

	quota.max = 2;
	talk(fd, PORT, port);
	send_there(fd, PORT, port, "established", 11, &before);
	for (uint16_t i = 1; i < 5; i++)
		send_there(fd, (uint16_t)(PORT + i), port, "new", 3, &from);
	ck_assert_uint_eq(quota.used, 2);
	send_there(fd, PORT, port, "same", 4, &from);
	ck_assert_mem_eq(&before, &from, sizeof(struct sockaddr_in));
	close(fd);
}
END_TEST

/* Only established flows are left: one that is in use stays. */
START_TEST(a_full_quota_pushes_out_an_established_flow_that_looks_idle)
{
	struct sockaddr_storage from;
	uint16_t port = 0;
	int fd = host_socket(true, &port);

	quota.max = 1;
	talk(fd, PORT, port);
	send_there(fd, PORT, port, "established", 11, &from);
	inside_send(PORT + 1, port, "dropped", 7);
	settle();
	ck_assert_int_eq(recv(fd, got, sizeof(got), 0), -1);
	skip_ms(FLOWTABLE_LONG_MS);
	send_there(fd, PORT + 1, port, "new", 3, &from);
	ck_assert_uint_eq(quota.used, 1);
	close(fd);
}
END_TEST

START_TEST(without_a_descriptor_a_datagram_is_dropped)
{
	quota.max = 0;
	inside_send(PORT, 9, "x", 1);
	settle();
	ck_assert_uint_eq(quota.used, 0);
	ck_assert_int_eq(told.count, 0);
}
END_TEST

/* ---- the end of flows ---- */

static const struct {
	uint16_t port; /* 0: any */
	unsigned int idle_ms;
} idles[] = { { 0, UDPNAT_IDLE_MS }, { DNS_PORT, UDPNAT_DNS_IDLE_MS } };

START_TEST(an_idle_flow_ends)
{
	uint16_t port = idles[_i].port;
	int fd = port == 0 ? host_socket(true, &port) : -1;

	inside_send(PORT, port, "a", 1);
	skip_ms(idles[_i].idle_ms - 1000);
	ck_assert_uint_eq(quota.used, 1);
	inside_send(PORT, port, "b", 1);
	skip_ms(idles[_i].idle_ms - 1000);
	ck_assert_uint_eq(quota.used, 1);
	skip_ms(2000);
	ck_assert_uint_eq(quota.used, 0);
	fd_close(&fd);
}
END_TEST

START_TEST(an_answer_keeps_a_flow)
{
	struct sockaddr_storage from;
	uint16_t port = 0;
	int fd = host_socket(true, &port);

	send_there(fd, PORT, port, "a", 1, &from);
	skip_ms(UDPNAT_IDLE_MS - 1000);
	host_send(fd, &from, "b", 1);
	skip_ms(UDPNAT_IDLE_MS - 1000);
	host_send(fd, &from, "c", 1);
	assert_answer(port, PORT, "b", 1);
	assert_answer(port, PORT, "c", 1);
	close(fd);
}
END_TEST

/* A flow to port 53 may be the last one opened, and the first to end. */
START_TEST(flows_end_in_the_order_in_which_they_are_due)
{
	uint16_t port = 0;
	int fd = host_socket(true, &port);

	inside_send(PORT, port, "a", 1);
	skip_ms(1000);
	inside_send(PORT, DNS_PORT, "b", 1);
	skip_ms(1000);
	inside_send(PORT + 1, DNS_PORT, "c", 1);
	inside_send(PORT + 1, port, "d", 1);
	ck_assert_uint_eq(quota.used, 4);
	skip_ms(UDPNAT_DNS_IDLE_MS - 1000);
	ck_assert_uint_eq(quota.used, 3);
	skip_ms(1000);
	ck_assert_uint_eq(quota.used, 2);
	skip_ms(UDPNAT_IDLE_MS - UDPNAT_DNS_IDLE_MS - 1500);
	ck_assert_uint_eq(quota.used, 1);
	skip_ms(2000);
	ck_assert_uint_eq(quota.used, 0);
	close(fd);
}
END_TEST

START_TEST(the_end_sends_what_has_come_from_inside)
{
	struct sockaddr_storage from;
	uint16_t port = 0;
	int fd = host_socket(true, &port);

	inside_send(PORT, port, "last", 4);
	restart(MAX, true);
	ck_assert_uint_eq(host_receive(fd, &from), 4);
	close(fd);
}
END_TEST

/* Many datagrams a millisecond are received by a timer (coalesce.h), and a burst larger than a turn
 * does not get lost. */
START_TEST(a_busy_flow_loses_nothing)
{
	const int count = 400;
	struct sockaddr_storage from;
	uint16_t port = 0;
	int fd = host_socket(true, &port), seen = 0;

	send_there(fd, PORT, port, "a", 1, &from);
	for (int round = 0; round < 10; round++) {
		for (int i = 0; i < count / 10; i++)
			host_send(fd, &from, sample, 100);
		while (seen < (round + 1) * count / 10) {
			inside_receive();
			seen += (int)(back.seg.len / 100);
		}
	}
	ck_assert_int_eq(seen, count);
	talk(fd, PORT, port);
	close(fd);
}
END_TEST

/* ---- two queues ---- */

/* Sends a datagram of the flow by another queue. */
static void other_queue_sends(struct udpnat *other, uint16_t port, const void *data, size_t len)
{
	struct udpnat *first = nat;

	nat = other;
	inside_send(PORT, port, data, len);
	nat = first;
}

static struct udpnat *start_other_queue(void)
{
	struct udpnat *first = nat, *other;

	start(MAX, true);
	other = nat;
	nat = first;
	return other;
}

static void assert_same_port(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	ck_assert_mem_eq(a, b, sizeof(struct sockaddr_in));
}

/* Fragments come by another queue than small datagrams. */
START_TEST(datagrams_of_two_queues_come_from_one_port)
{
	struct sockaddr_storage first, from;
	struct udpnat *other = start_other_queue();
	uint16_t port = 0;
	int fd = host_socket(true, &port);

	send_there(fd, PORT, port, "a", 1, &first);
	for (int i = 0; i < 3; i++) {
		other_queue_sends(other, port, sample, 5000);
		ck_assert_uint_eq(host_receive(fd, &from), 5000);
		assert_same_port(&first, &from);
		host_send(fd, &from, sample, 5000);
		assert_answer(port, PORT, sample, 5000);
		send_there(fd, PORT, port, "b", 1, &from);
		assert_same_port(&first, &from);
		host_send(fd, &from, "c", 1);
		assert_answer(port, PORT, "c", 1);
		assert_nothing_inside();
	}
	udpnat_free(other);
	close(fd);
}
END_TEST

/* The queue that received the answers is pushed out by a flood (_i: 0), or ends. */
START_TEST(answers_arrive_when_the_flow_of_the_other_queue_has_ended)
{
	struct sockaddr_storage first, from;
	struct udpnat *other = start_other_queue();
	uint16_t port = 0;
	int fd = host_socket(true, &port);

	other_queue_sends(other, port, "a", 1);
	ck_assert_uint_eq(host_receive(fd, &first), 1);
	send_there(fd, PORT, port, "b", 1, &from);
	assert_same_port(&first, &from);
	if (_i == 0) {
		for (uint16_t i = 1; i <= MAX; i++) {
			struct udpnat *own = nat;

			nat = other;
			inside_send((uint16_t)(PORT + i), port, "flood", 5);
			nat = own;
		}
	} else {
		udpnat_free(other);
		other = NULL;
	}
	host_send(fd, &first, "answer", 6);
	assert_answer(port, PORT, "answer", 6);
	assert_nothing_inside();
	udpnat_free(other);
	close(fd);
}
END_TEST

/* The other flow was never used again. */
START_TEST(a_flow_that_only_sends_gets_the_answers_when_the_other_is_idle)
{
	struct sockaddr_storage first, from;
	struct udpnat *other = start_other_queue();
	uint16_t port = 0;
	int fd = host_socket(true, &port);

	other_queue_sends(other, port, "a", 1);
	ck_assert_uint_eq(host_receive(fd, &first), 1);
	skip_ms(UDPNAT_IDLE_MS - 1000);
	send_there(fd, PORT, port, "b", 1, &from);
	ck_assert_uint_eq(quota.used, 2);
	skip_ms(2000);
	ck_assert_uint_eq(quota.used, 1);
	host_send(fd, &first, "answer", 6);
	assert_answer(port, PORT, "answer", 6);
	udpnat_free(other);
	close(fd);
}
END_TEST

/* As when the address of the host has changed: both queues begin again, with one socket. */
START_TEST(a_socket_that_does_not_work_any_more_is_not_shared)
{
	struct sockaddr_storage first, second, third;
	struct udpnat *other = start_other_queue();
	uint16_t port = 0;
	int fd = host_socket(true, &port);

	send_there(fd, PORT, port, "a", 1, &first);
	other_queue_sends(other, port, "b", 1);
	ck_assert_uint_eq(host_receive(fd, &third), 1);
	send_errno = EINVAL;
	inside_send(PORT, port, "lost", 4);
	settle();
	send_errno = 0;
	send_there(fd, PORT, port, "c", 1, &second);
	ck_assert_mem_ne(&first, &second, sizeof(struct sockaddr_in));
	send_errno = EINVAL;
	other_queue_sends(other, port, "lost", 4);
	settle();
	send_errno = 0;
	other_queue_sends(other, port, "d", 1);
	ck_assert_uint_eq(host_receive(fd, &third), 1);
	assert_same_port(&second, &third);
	udpnat_free(other);
	close(fd);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("udpnat");
	TCase *tc = fixture_case("udpnat");

	tcase_add_checked_fixture(tc, open_all, close_all);
	tcase_add_loop_test(tc, an_answer_comes_from_the_address_that_was_written_to, 0, 2);
	tcase_add_loop_test(tc, datagrams_of_any_size_pass_unchanged, 0, COUNT(lens));
	tcase_add_loop_test(tc, datagrams_of_any_size_pass_over_ipv6, 0, COUNT(lens6));
	tcase_add_test(tc, each_pair_of_addresses_and_ports_is_a_flow_of_its_own);
	tcase_add_test(tc, datagrams_of_others_are_not_delivered);
	tcase_add_test(tc, a_refusal_is_told_and_the_flow_lives_on);
	tcase_add_test(tc, a_refusal_does_not_cost_the_next_datagram);
	tcase_add_loop_test(tc, the_policy_is_asked, 0, COUNT(policies));
	tcase_add_loop_test(tc, an_address_that_cannot_be_reached_is_told, 0, COUNT(connects));
	tcase_add_test(tc, a_datagram_that_the_path_does_not_take_is_told_with_its_mtu);
	tcase_add_test(tc, a_flow_whose_socket_does_not_work_any_more_ends);
	tcase_add_test(tc, a_flow_that_ends_drops_what_was_not_sent);
	tcase_add_test(tc, datagrams_of_a_round_leave_as_one_batch);
	tcase_add_test(tc, datagrams_of_a_round_keep_their_boundaries_and_order);
	tcase_add_loop_test(tc, a_long_burst_arrives_whole, 0, 2);
	tcase_add_loop_test(tc, a_frame_with_many_datagrams_is_cut, 0, COUNT(frames));
	tcase_add_test(tc, answers_of_one_size_come_as_one_frame);
	tcase_add_loop_test(tc, answers_keep_their_boundaries_and_order, 0, 2);
	tcase_add_loop_test(tc, a_batch_of_answers_is_passed_on, 0, COUNT(batches));
	tcase_add_loop_test(tc, malformed_packets_are_ignored, 0, COUNT(hostile));
	tcase_add_test(tc, bytes_behind_the_stated_length_are_not_sent);
	tcase_add_test(tc, a_flood_does_not_exceed_the_limit_nor_end_established_flows);
	tcase_add_test(tc, a_flow_that_is_pushed_out_has_sent_its_datagrams);
	tcase_add_test(tc, a_full_quota_pushes_out_a_new_flow);
	tcase_add_test(tc, a_full_quota_pushes_out_an_established_flow_that_looks_idle);
	tcase_add_test(tc, without_a_descriptor_a_datagram_is_dropped);
	tcase_add_loop_test(tc, an_idle_flow_ends, 0, COUNT(idles));
	tcase_add_test(tc, an_answer_keeps_a_flow);
	tcase_add_test(tc, flows_end_in_the_order_in_which_they_are_due);
	tcase_add_test(tc, the_end_sends_what_has_come_from_inside);
	tcase_add_test(tc, a_busy_flow_loses_nothing);
	tcase_add_test(tc, datagrams_of_two_queues_come_from_one_port);
	tcase_add_loop_test(tc, answers_arrive_when_the_flow_of_the_other_queue_has_ended, 0, 2);
	tcase_add_test(tc, a_flow_that_only_sends_gets_the_answers_when_the_other_is_idle);
	tcase_add_test(tc, a_socket_that_does_not_work_any_more_is_not_shared);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
