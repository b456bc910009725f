/* SPDX-License-Identifier: Apache-2.0 */

/* Our own network as the parent starts and ends it: what the child hands over, what the options
 * mean for the inside, and that the end delivers what programs inside have sent. */
#include "formats/arpmsg.h"
#include "formats/tcpseg.h"
#include "msg.h"
#include "net/ownnet.h"
#include "netns.h"
#include "os/rtnl.h"
#include "tests/unit/ownmounts.h"
#include "tests/unit/usernet/faketap.h"
#include "tests/unit/usernet/taplink.h"
#include "usernet/policy.h"

#include <net/if_arp.h>
#include <poll.h>

static struct fdtotal total = { .max = 1000 };
static struct ownnet own;
static int childs_end, our_end;
static struct err e;

static void open_socket(void)
{
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds),
			 0);
	our_end = fds[0];
	childs_end = fds[1];
	memset(&own, 0, sizeof(own));
}

static void close_socket(void)
{
	ck_assert_uint_eq(total.used, 0);
	close(our_end);
	if (childs_end >= 0)
		close(childs_end);
}

static int start(bool ipv6, bool no_loopback)
{
	struct netopts o = { .driver = NET_BUILTIN,
			     .ipv6 = ipv6,
			     .disable_host_loopback = no_loopback };
	struct network net;

	ck_assert_int_eq(inet_pton(AF_INET, "10.0.2.0", &o.cidr.net), 1);
	o.cidr.prefix_len = 24;
	o.mtu = 1500;
	network_plan(&net, &o);
	return ownnet_start(&own, &o, &net, our_end, &total, &e);
}

/* Hands `count` queues and the network namespace over, as the child does. The other ends are
 * inside[count]. */
static void hand_over(int *inside, size_t count)
{
	int fds[USERNET_MAX_QUEUES + 1];

	for (size_t i = 0; i < count; i++)
		faketap_open(&fds[i], &inside[i]);
	fds[count] = netns_open(&e);
	ck_assert_int_eq(msg_send_fds(childs_end, fds, count + 1, 0), 0);
	for (size_t i = 0; i <= count; i++)
		close(fds[i]);
}

static void close_all(const int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++)
		close(fds[i]);
}

/* ---- start and end ---- */

static const size_t counts[] = { 1, 2, USERNET_MAX_QUEUES };

START_TEST(a_network_starts_and_ends)
{
	int inside[USERNET_MAX_QUEUES];
	struct stat ours, its;

	hand_over(inside, counts[_i]);
	ck_assert_msg(start(false, false) == 0, "%s", e.msg);
	ck_assert(fixture_is_cloexec(own.netns_fd));
	ck_assert_int_eq(fstat(own.netns_fd, &its), 0);
	ck_assert_int_eq(stat("/proc/self/ns/net", &ours), 0);
	ck_assert_uint_eq(its.st_ino, ours.st_ino);
	ck_assert_uint_ge(total.used, counts[_i]);
	ownnet_end(&own);
	ownnet_end(&own);
	close_all(inside, counts[_i]);
}
END_TEST

START_TEST(the_end_of_a_network_that_was_not_started_does_nothing)
{
	ownnet_end(&own);
}
END_TEST

static void send_nothing(void)
{
}

static void close_childs_end(void)
{
	close(childs_end);
	childs_end = -1;
}

static void send_no_descriptors(void)
{
	ck_assert_int_eq(send(childs_end, "", 1, 0), 1);
}

static void send_copies(size_t count)
{
	int fds[MSG_FDS_MAX];

	for (size_t i = 0; i < count; i++)
		fds[i] = STDERR_FILENO;
	ck_assert_int_eq(msg_send_fds(childs_end, fds, count, 0), 0);
}

static void send_one(void)
{
	send_copies(1);
}

static void send_too_many(void)
{
	send_copies(USERNET_MAX_QUEUES + 2);
}

static void send_what_is_no_queue(void)
{
	faketap_error = EINVAL;
	send_copies(3);
}

static const struct {
	void (*send)(void);
	int result;
	const char *msg;
} wrong[] = {
	{ send_nothing, -EAGAIN, "receiving the TAP device: " },
	{ close_childs_end, -EPROTO, "receiving the TAP device: " },
	{ send_no_descriptors, -EPROTO, "receiving the TAP device: " },
	{ send_one, -EPROTO, "receiving the TAP device: " },
	{ send_too_many, -EPROTO, "receiving the TAP device: " },
	{ send_what_is_no_queue, -EINVAL, "starting the network: " },
};

START_TEST(what_the_child_must_not_send_is_refused)
{
	wrong[_i].send();
	ck_assert_int_eq(start(false, false), wrong[_i].result);
	ck_assert_msg(strncmp(e.msg, wrong[_i].msg, strlen(wrong[_i].msg)) == 0, "%s", e.msg);
	ck_assert_ptr_null(own.net);
	ownnet_end(&own);
}
END_TEST

/* ---- what the options mean ---- */

static uint8_t frame[TAPLINK_FRAME_MAX + sizeof(struct virtio_net_hdr_v1)];

/* Waits for a frame of a kind. Returns false if there is none for `ms`. */
static bool hear(int inside, int kind, struct packet *p, int ms)
{
	const size_t head = sizeof(struct virtio_net_hdr_v1);
	struct pollfd poll_fd = { .fd = inside, .events = POLLIN };
	ssize_t n;

	while (poll(&poll_fd, 1, ms) == 1) {
		n = read(inside, frame, sizeof(frame));
		ck_assert_int_gt(n, (ssize_t)head);
		if (packet_read(p, frame + head, (size_t)n - head) == kind)
			return true;
	}
	return false;
}

static void say(int inside, const uint8_t *bytes, size_t len)
{
	struct virtio_net_hdr_v1 header = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM };
	const struct iovec parts[] = { { &header, sizeof(header) }, { (void *)bytes, len } };

	ck_assert_int_eq(writev(inside, parts, 2), (ssize_t)(sizeof(header) + len));
}

static void ask_for(int inside, const char *addr)
{
	uint8_t out[PACKET_ETH_LEN + ARPMSG_LEN] = { [12] = 8, [13] = 6 };
	struct arpmsg m = { .op = ARPOP_REQUEST };

	memset(out, 0xff, ETH_ALEN);
	memcpy(out + ETH_ALEN, taplink_inside_mac, ETH_ALEN);
	memcpy(m.src_mac, taplink_inside_mac, ETH_ALEN);
	m.src.s_addr = inet_addr("10.0.2.100");
	m.dst.s_addr = inet_addr(addr);
	arpmsg_put(out + PACKET_ETH_LEN, &m);
	say(inside, out, sizeof(out));
}

/* The gateway and the DNS address have a MAC address that nobody else on the link has. */
START_TEST(the_inside_finds_the_gateway_and_the_dns_address)
{
	struct arpmsg gateway, dns;
	struct packet p;
	int inside;

	hand_over(&inside, 1);
	ck_assert_int_eq(start(false, false), 0);
	ask_for(inside, "10.0.2.4"); /* not ours */
	ask_for(inside, "10.0.2.2");
	ask_for(inside, "10.0.2.3");
	ck_assert(hear(inside, PACKET_ARP, &p, 1000 * FIXTURE_DEADLINE_S));
	ck_assert_int_eq(arpmsg_read(&gateway, p.payload, p.payload_len), 0);
	ck_assert_uint_eq(gateway.src.s_addr, inet_addr("10.0.2.2"));
	ck_assert(hear(inside, PACKET_ARP, &p, 1000 * FIXTURE_DEADLINE_S));
	ck_assert_int_eq(arpmsg_read(&dns, p.payload, p.payload_len), 0);
	ck_assert_uint_eq(dns.src.s_addr, inet_addr("10.0.2.3"));
	ck_assert_mem_eq(dns.src_mac, gateway.src_mac, ETH_ALEN);
	ck_assert_uint_eq(dns.src_mac[0] & 3, 2); /* one station's, and not a manufacturer's */
	ownnet_end(&own);
	close(inside);
}
END_TEST

static int listen_on(const char *addr, uint16_t *port)
{
	struct in6_addr host = addr_of(addr);
	struct sockaddr_storage sa;
	socklen_t len = policy_sockaddr(&sa, &host, 0);
	int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, len), 0);
	ck_assert_int_eq(listen(fd, 8), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	*port = ntohs(
		((struct sockaddr_in *)&sa)->sin_port); /* at the same place in sockaddr_in6 */
	return fd;
}

static void find_gateway(int inside, uint8_t *mac)
{
	struct packet p;

	ask_for(inside, "10.0.2.2");
	ck_assert(hear(inside, PACKET_ARP, &p, 1000 * FIXTURE_DEADLINE_S));
	memcpy(mac, p.src_mac, ETH_ALEN);
}

static void send_syn(int inside, const uint8_t *mac, const char *src, const char *dst,
		     uint16_t port)
{
	const struct packet_head head = { .src_mac = taplink_inside_mac,
					  .dst_mac = mac,
					  .addrs = addrs_of(src, dst),
					  .proto = IPPROTO_TCP,
					  .hops = 64 };
	const struct tcpseg seg = { .src_port = 4000,
				    .dst_port = port,
				    .seq = 1,
				    .flags = TH_SYN,
				    .window = 1000,
				    .mss = 1000,
				    .scale = TCPSEG_NO_SCALE };
	uint8_t out[PACKET_HEAD_MAX + TCPSEG_HEAD_MAX];
	size_t n = packet_put_head(out, &head, 24);

	n += tcpseg_put(out + n, &seg, &head.addrs);
	say(inside, out, n);
}

static const struct {
	const char *host, *src, *dst;
	bool ipv6, no_loopback;
	uint8_t flags; /* of the answer; 0: there is none */
} ways[] = {
	{ "127.0.0.1", "10.0.2.100", "10.0.2.2", false, false, TH_SYN | TH_ACK },
	{ "127.0.0.1", "10.0.2.100", "10.0.2.2", true, false, TH_SYN | TH_ACK },
	{ "127.0.0.1", "10.0.2.100", "10.0.2.2", false, true, TH_RST | TH_ACK },
	{ "127.0.0.1", "10.0.2.100", "127.0.0.1", false, false, 0 },
	{ "127.0.0.1", "10.0.2.100", "0.0.0.0", false, false, 0 },
	{ "::1", "fd00::100", "fd00::2", true, false, TH_SYN | TH_ACK },
	{ "::1", "fd00::100", "fd00::2", true, true, TH_RST | TH_ACK },
	{ "::1", "fd00::100", "fd00::2", false, false, 0 },
	{ "::1", "fd00::100", "::1", true, false, 0 },
};

START_TEST(the_options_say_what_leads_to_the_hosts_loopback)
{
	uint8_t mac[ETH_ALEN];
	struct tcpseg seg;
	struct packet p;
	int inside, fd;
	uint16_t port;

	if (strchr(ways[_i].host, ':') != NULL && !fixture_need_ipv6())
		return;
	fd = listen_on(ways[_i].host, &port);
	hand_over(&inside, 1);
	ck_assert_int_eq(start(ways[_i].ipv6, ways[_i].no_loopback), 0);
	find_gateway(inside, mac);
	send_syn(inside, mac, ways[_i].src, ways[_i].dst, port);
	if (ways[_i].flags == 0)
		/* The answer to this comes instead of one to the SYN. */
		send_syn(inside, mac, "10.0.2.100", "10.0.2.2", 1);
	ck_assert(hear(inside, PACKET_IP, &p, 1000 * FIXTURE_DEADLINE_S));
	ck_assert_int_eq(tcpseg_read(&seg, p.payload, p.payload_len), 0);
	assert_addr(&p.addrs.src, ways[_i].flags != 0 ? ways[_i].dst : "10.0.2.2");
	ck_assert_uint_eq(seg.dst_port, 4000);
	ck_assert_uint_eq(seg.src_port, ways[_i].flags != 0 ? port : 1);
	if (ways[_i].flags != 0)
		ck_assert_uint_eq(seg.flags, ways[_i].flags);
	ownnet_end(&own);
	close(inside);
	close(fd);
}
END_TEST

/* ---- the kernel as the inside ---- */

#define QUEUES 2

static uint8_t byte_at(size_t at)
{
	return (uint8_t)(at * 2654435761U >> 13);
}

static void await_byte(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char byte;

	if (poll(&p, 1, 1000 * FIXTURE_DEADLINE_S) != 1 || recv(fd, &byte, 1, 0) != 1)
		_exit(6);
}

/* Makes the namespace, hands it over, and waits until the network runs. */
static void be_inside(void)
{
	struct in_addr addr = { .s_addr = inet_addr("10.0.2.100") };
	int fds[QUEUES + 1], rtnl;

	if (unshare(CLONE_NEWNET) < 0 || (fds[QUEUES] = netns_open(&e)) < 0 ||
	    netns_make_queues("tap0", fds, QUEUES, &e) < 0 || (rtnl = rtnl_open(&e)) < 0 ||
	    rtnl_addr_add(rtnl, rtnl_link_index("tap0", &e), addr, 24, &e) < 0 ||
	    rtnl_wait_up(rtnl_link_index("tap0", &e), 1000 * FIXTURE_DEADLINE_S) < 0)
		_exit(2);
	if (msg_send_fds(childs_end, fds, QUEUES + 1, 0) < 0)
		_exit(3);
	for (int i = 0; i <= QUEUES; i++)
		close(fds[i]);
	await_byte(childs_end);
}

/* Sends the whole stream to the host, and exits while most of it is still in the kernel. */
static void run_sender(uint16_t port, size_t len)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const int room = 1 << 20;
	uint8_t buf[10000];

	to.sin_addr.s_addr = inet_addr("10.0.2.2");
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		_exit(4);
	for (size_t at = 0; at < len; at += sizeof(buf)) {
		for (size_t i = 0; i < sizeof(buf); i++)
			buf[i] = byte_at(at + i);
		if (send(fd, buf, sizeof(buf), MSG_NOSIGNAL) != sizeof(buf))
			_exit(5);
	}
	_exit(0);
}

struct reader {
	int fd;
	useconds_t delay_us; /* before it reads */
	size_t got;
	bool is_right, was_cut;
};

static void *read_stream(void *arg)
{
	static uint8_t buf[65536];
	struct reader *r = arg;
	ssize_t n;

	usleep(r->delay_us);
	r->is_right = true;
	while ((n = recv(r->fd, buf, sizeof(buf), 0)) > 0)
		for (ssize_t i = 0; i < n; i++, r->got++)
			r->is_right = r->is_right && buf[i] == byte_at(r->got);
	r->was_cut = n < 0;
	return NULL;
}

static void set_lo_up(void)
{
	int fd = rtnl_open(&e);

	ck_assert_int_eq(rtnl_link_up(fd, rtnl_link_index("lo", &e), 0, &e), 0);
	close(fd);
}

static const struct {
	size_t len;
	useconds_t delay_us;
	int room; /* SO_RCVBUF of the reader; 0: as usual */
} transfers[] = {
	{ 100000, 0, 0 },
	{ 8000000, 0, 0 },
	{ 8000000, 0, 20000 },
	{ 200000, 300000, 4096 },
};

START_TEST(the_end_delivers_what_a_program_has_sent_before_its_exit)
{
	struct reader reader = { .delay_us = transfers[_i].delay_us };
	struct pollfd ready = { .fd = our_end, .events = POLLIN };
	pthread_t thread;
	int listener, status;
	uint16_t port;
	pid_t pid;

	if (access("/dev/net/tun", R_OK | W_OK) < 0) {
		fixture_skip("tun", "/dev/net/tun cannot be opened");
		return;
	}
	if (!enter_own_mounts(CLONE_NEWNET, 0, 0))
		return;
	set_lo_up();
	listener = listen_on("127.0.0.1", &port);
	if (transfers[_i].room > 0)
		setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &transfers[_i].room, sizeof(int));
	pid = fork();
	if (pid == 0) {
		be_inside();
		run_sender(port, transfers[_i].len);
	}
	ck_assert_int_eq(poll(&ready, 1, 1000 * FIXTURE_DEADLINE_S), 1);
	ck_assert_msg(start(false, false) == 0, "%s", e.msg);
	ck_assert_int_eq(send(our_end, "", 1, 0), 1);
	reader.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	thread = fixture_thread(read_stream, &reader);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ownnet_end(&own);
	pthread_join(thread, NULL);
	ck_assert_msg(!reader.was_cut, "cut after %zu bytes", reader.got);
	ck_assert_uint_eq(reader.got, transfers[_i].len);
	ck_assert(reader.is_right);
	close(reader.fd);
	close(listener);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ownnet");
	TCase *tc = fixture_case_with_dir("ownnet");

	tcase_add_checked_fixture(tc, open_socket, close_socket);
	tcase_add_loop_test(tc, a_network_starts_and_ends, 0, COUNT(counts));
	tcase_add_test(tc, the_end_of_a_network_that_was_not_started_does_nothing);
	tcase_add_loop_test(tc, what_the_child_must_not_send_is_refused, 0, COUNT(wrong));
	tcase_add_test(tc, the_inside_finds_the_gateway_and_the_dns_address);
	tcase_add_loop_test(tc, the_options_say_what_leads_to_the_hosts_loopback, 0, COUNT(ways));
	tcase_add_loop_test(tc, the_end_delivers_what_a_program_has_sent_before_its_exit, 0,
			    COUNT(transfers));
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
