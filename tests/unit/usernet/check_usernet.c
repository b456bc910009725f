/* SPDX-License-Identifier: Apache-2.0 */

/* The threads of our own network, from start to end. Socket pairs are the queues, and the test is
 * the inside, which speaks just enough TCP. */
#include "base/fd.h"
#include "formats/tcpseg.h"
#include "tests/unit/usernet/faketap.h"
#include "tests/unit/usernet/taplink.h"
#include "usernet/usernet.h"

#include <poll.h>

#define QUEUES	   3
#define DRAIN_MS   5000
#define INSIDE_ISS 1000
#define MSS	   1000 /* bytes that a segment of the test has */

static struct fdtotal fds = { .max = 1000 };
static struct usernet *net;
static int inside[QUEUES];
static struct err e;

/* Counts the threads of the network, by their names. */
static int count_threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	char path[64], name[16];
	int count = 0;

	ck_assert_ptr_nonnull(dir);
	for (struct dirent *d; (d = readdir(dir)) != NULL;) {
		snprintf(path, sizeof(path), "/proc/self/task/%.20s/comm", d->d_name);
		if (fd_read_file(path, name, sizeof(name)) > 0 && strcmp(name, "network\n") == 0)
			count++;
	}
	closedir(dir);
	return count;
}

/* pthread_join(3) returns a little before the thread leaves /proc. */
static void await_threads(int count)
{
	unsigned long long until = fixture_now_ms() + 1000 * FIXTURE_DEADLINE_S;

	while (count_threads() != count && fixture_now_ms() < until)
		usleep(1000);
	ck_assert_int_eq(count_threads(), count);
}

static int start(size_t count, const char *pcap_path)
{
	int taps[QUEUES];
	const struct usernet_setup setup = { .conf = taplink_conf(),
					     .taps = taps,
					     .count = count,
					     .fds = &fds,
					     .pcap_path = pcap_path };

	for (size_t i = 0; i < count; i++)
		faketap_open(&taps[i], &inside[i]);
	return usernet_start(&net, &setup, &e);
}

static void close_inside(size_t count)
{
	for (size_t i = 0; i < count; i++)
		close(inside[i]);
}

/* ---- start and end ---- */

START_TEST(each_queue_has_a_thread_and_nothing_is_left_of_it)
{
	ck_assert_msg(start(QUEUES, NULL) == 0, "%s", e.msg);
	await_threads(QUEUES);
	ck_assert_uint_gt(fds.used, QUEUES);
	usernet_free(net, DRAIN_MS);
	await_threads(0);
	ck_assert_uint_eq(fds.used, 0);
	close_inside(QUEUES);
	usernet_free(NULL, DRAIN_MS);
}
END_TEST

START_TEST(a_network_that_is_idle_ends_at_once)
{
	unsigned long long begin;

	ck_assert_int_eq(start(QUEUES, NULL), 0);
	begin = fixture_now_ms();
	usernet_free(net, 1000 * FIXTURE_DEADLINE_S);
	ck_assert_uint_lt(fixture_now_ms() - begin, 1000 * FIXTURE_DEADLINE_S / 2);
	close_inside(QUEUES);
}
END_TEST

START_TEST(a_network_whose_device_is_gone_ends)
{
	ck_assert_int_eq(start(QUEUES, NULL), 0);
	close_inside(QUEUES);
	usernet_free(net, DRAIN_MS);
}
END_TEST

static const struct {
	int device; /* errno of the device */
	const char *pcap_path, *msg;
} failures[] = {
	{ EINVAL, NULL, "starting the network: invalid argument" },
	{ 0, "/nonexistent/pcap", "/nonexistent/pcap" },
};

START_TEST(a_failed_start_takes_the_queues_and_leaves_nothing)
{
	faketap_error = failures[_i].device;
	ck_assert_int_lt(start(QUEUES, failures[_i].pcap_path), 0);
	ck_assert_ptr_nonnull(strstr(e.msg, failures[_i].msg));
	close_inside(QUEUES);
	await_threads(0);
	ck_assert_uint_eq(fds.used, 0);
}
END_TEST

/* The second queue cannot be started any more, since the limit of descriptors is reached. */
START_TEST(a_start_that_fails_half_way_ends_its_threads)
{
	int taps[2];
	const struct usernet_setup setup = {
		.conf = taplink_conf(), .taps = taps, .count = 2, .fds = &fds
	};
	struct rlimit old;

	faketap_open(&taps[0], &inside[0]);
	faketap_open(&taps[1], &inside[1]);
	old = fixture_limit_fds(_i);
	ck_assert_int_eq(usernet_start(&net, &setup, &e), -EMFILE);
	fixture_restore_fds(&old);
	ck_assert(!fixture_is_open(taps[0]) && !fixture_is_open(taps[1]));
	close_inside(2);
	await_threads(0);
	ck_assert_uint_eq(fds.used, 0);
}
END_TEST

/* ---- a connection ---- */

static uint16_t host_port;
static struct tcpseg answer; /* the last segment from the network */
static uint8_t frame[TAPLINK_FRAME_MAX + sizeof(struct virtio_net_hdr_v1)];

static int listen_on_host(void)
{
	struct sockaddr_in addr = { .sin_family = AF_INET };
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, len), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	host_port = ntohs(addr.sin_port);
	return fd;
}

/* Sends a segment from 10.0.2.100:4000 to the gateway, with `len` bytes of data that say where they
 * are in the stream. */
static void say(uint8_t flags, uint32_t seq, uint32_t ack, size_t len)
{
	static const uint8_t our_mac[ETH_ALEN] = { 2, 0, 0, 0, 0, 2 };
	const struct packet_head head = { .src_mac = taplink_inside_mac,
					  .dst_mac = our_mac,
					  .addrs = addrs_of("10.0.2.100", "10.0.2.2"),
					  .proto = IPPROTO_TCP,
					  .hops = 64 };
	const struct tcpseg seg = { .src_port = 4000,
				    .dst_port = host_port,
				    .seq = seq,
				    .ack = ack,
				    .flags = flags,
				    .window = 65535,
				    .mss = 1460,
				    .scale = TCPSEG_NO_SCALE,
				    .len = len };
	struct virtio_net_hdr_v1 header = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM };
	uint8_t out[PACKET_HEAD_MAX + TCPSEG_HEAD_MAX + MSS];
	size_t n = packet_put_head(out, &head, len + (flags & TH_SYN ? 24 : TCPSEG_HEAD_LEN));
	struct iovec parts[] = { { &header, sizeof(header) }, { out, 0 } };

	n += tcpseg_put(out + n, &seg, &head.addrs);
	for (size_t i = 0; i < len; i++)
		out[n + i] = (uint8_t)((seq - INSIDE_ISS - 1 + i) % 251);
	parts[1].iov_len = n + len;
	ck_assert_int_eq(writev(inside[0], parts, 2), (ssize_t)(sizeof(header) + n + len));
}

/* Waits for a segment. Returns false after `ms`. */
static bool hear(int ms)
{
	struct pollfd p = { .fd = inside[0], .events = POLLIN };
	struct packet packet;
	ssize_t n;

	if (poll(&p, 1, ms) != 1)
		return false;
	n = read(inside[0], frame, sizeof(frame));
	ck_assert_int_gt(n, (ssize_t)sizeof(struct virtio_net_hdr_v1));
	ck_assert_int_eq(packet_read(&packet, frame + sizeof(struct virtio_net_hdr_v1),
				     (size_t)n - sizeof(struct virtio_net_hdr_v1)),
			 PACKET_IP);
	ck_assert_int_eq(tcpseg_read(&answer, packet.payload, packet.payload_len), 0);
	return true;
}

/* Opens a connection. Returns the host's end; `answer` is the SYN of the network. */
static int connect_inside(int listener)
{
	int fd;

	say(TH_SYN, INSIDE_ISS, 0, 0);
	ck_assert(hear(1000 * FIXTURE_DEADLINE_S));
	ck_assert_uint_eq(answer.flags, TH_SYN | TH_ACK);
	ck_assert_uint_eq(answer.ack, INSIDE_ISS + 1);
	say(TH_ACK, INSIDE_ISS + 1, answer.seq + 1, 0);
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	return fd;
}

/* Reads the stream up to its end. Returns its length, or -1 if it was reset. */
static ssize_t read_stream(int fd)
{
	static uint8_t buf[65536];
	size_t at = 0;
	ssize_t n;

	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0)
		for (ssize_t i = 0; i < n; i++, at++)
			if (buf[i] != at % 251)
				ck_abort_msg("byte %zu", at);
	return n < 0 ? -1 : (ssize_t)at;
}

/* What waits in the queue when the network ends is still delivered, in order, with its end: more
 * segments than the network handles at once. */
START_TEST(the_end_delivers_what_was_sent)
{
	const uint32_t piece = 200, bytes = 250 * piece;
	int listener, fd;
	uint32_t iss;

	ck_assert_int_eq(start(1, NULL), 0);
	listener = listen_on_host();
	fd = connect_inside(listener);
	iss = answer.seq;
	for (uint32_t at = 0; at < bytes; at += piece)
		say(TH_ACK, INSIDE_ISS + 1 + at, iss + 1, piece);
	say(TH_FIN | TH_ACK, INSIDE_ISS + 1 + bytes, iss + 1, 0);
	usernet_free(net, DRAIN_MS);
	ck_assert_int_eq(read_stream(fd), (ssize_t)bytes);
	close(fd);
	close(listener);
	close_inside(1);
	ck_assert_uint_eq(fds.used, 0);
}
END_TEST

struct late_reader {
	int fd;
	size_t got;
	bool was_cut;
};

/* Begins to read when the network is ending. */
static void *read_late(void *arg)
{
	struct late_reader *r = arg;
	ssize_t n;

	usleep(200000);
	n = read_stream(r->fd);
	r->was_cut = n < 0;
	r->got = n < 0 ? 0 : (size_t)n;
	return NULL;
}

/* Sends as much as the window allows, until it stays closed. Returns the number of bytes. */
static uint32_t fill(uint32_t iss)
{
	uint32_t sent = 0, acked = 0, window = answer.window;

	do {
		while (sent - acked + MSS <= window) {
			say(TH_ACK, INSIDE_ISS + 1 + sent, iss + 1, MSS);
			sent += MSS;
		}
		while (hear(acked < sent ? 1000 : 100)) {
			acked = answer.ack - INSIDE_ISS - 1;
			window = answer.window;
			if (acked == sent)
				break;
		}
	} while (window >= MSS && acked == sent);
	return sent;
}

static int connect_slow(int *listener, uint32_t *sent)
{
	const int small = 4096;
	uint32_t iss;
	int fd;

	*listener = listen_on_host();
	setsockopt(*listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	fd = connect_inside(*listener);
	iss = answer.seq;
	*sent = fill(iss);
	ck_assert_uint_gt(*sent, 0);
	say(TH_FIN | TH_ACK, INSIDE_ISS + 1 + *sent, iss + 1, 0);
	return fd;
}

START_TEST(the_end_waits_for_a_slow_reader)
{
	struct late_reader reader = { 0 };
	pthread_t thread;
	uint32_t sent;
	int listener;

	ck_assert_int_eq(start(1, NULL), 0);
	reader.fd = connect_slow(&listener, &sent);
	thread = fixture_thread(read_late, &reader);
	usernet_free(net, 1000 * FIXTURE_DEADLINE_S);
	pthread_join(thread, NULL);
	ck_assert(!reader.was_cut);
	ck_assert_uint_eq(reader.got, sent);
	close(reader.fd);
	close(listener);
	close_inside(1);
}
END_TEST

/* The host's socket takes nothing, as while its reader does not read. */
static atomic_bool is_full;

ssize_t send(int fd, const void *bytes, size_t len, int flags)
{
	if (is_full) {
		errno = EAGAIN;
		return -1;
	}
	return syscall(SYS_sendto, fd, bytes, len, flags, NULL, 0);
}

/* A reader that does not read cannot delay the end for longer than that. */
START_TEST(the_end_does_not_wait_for_ever)
{
	unsigned long long begin;
	int listener, fd;
	uint32_t iss;

	ck_assert_int_eq(start(1, NULL), 0);
	listener = listen_on_host();
	fd = connect_inside(listener);
	iss = answer.seq;
	is_full = true;
	say(TH_ACK, INSIDE_ISS + 1, iss + 1, MSS);
	say(TH_FIN | TH_ACK, INSIDE_ISS + 1 + MSS, iss + 1, 0);
	begin = fixture_now_ms();
	usernet_free(net, 300);
	ck_assert_uint_ge(fixture_now_ms() - begin, 300);
	ck_assert_uint_lt(fixture_now_ms() - begin, 1000 * FIXTURE_DEADLINE_S / 2);
	await_threads(0);
	is_full = false;
	ck_assert_uint_eq(fds.used, 0);
	close(fd);
	close(listener);
	close_inside(1);
}
END_TEST

/* As on a kernel before Linux 6.9 */
static bool lacks_peek_off;

int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	if (lacks_peek_off && level == SOL_SOCKET && name == SO_PEEK_OFF) {
		errno = EOPNOTSUPP;
		return -1;
	}
	return (int)syscall(SYS_setsockopt, fd, level, name, value, len);
}

/* Receives `len` bytes of the host, and acknowledges each segment. */
static void receive_bytes(uint8_t *out, size_t len, uint32_t iss)
{
	size_t got = 0;

	while (got < len) {
		ck_assert_msg(hear(10000), "only %zu bytes came", got);
		if (answer.seq != iss + 1 + got || answer.len == 0)
			continue;
		ck_assert_uint_le(got + answer.len, len);
		memcpy(out + got, answer.data, answer.len);
		got += answer.len;
		say(TH_ACK, INSIDE_ISS + 1, iss + 1 + (uint32_t)got, 0);
	}
}

/* The kernel stops before an urgent byte when it reads. */
START_TEST(urgent_bytes_of_the_host_do_not_stop_the_stream)
{
	uint8_t got[5];
	int listener, fd;
	uint32_t iss;

	lacks_peek_off = _i == 1;
	ck_assert_int_eq(start(1, NULL), 0);
	listener = listen_on_host();
	fd = connect_inside(listener);
	iss = answer.seq;
	ck_assert_int_eq(send(fd, "ab", 2, MSG_MORE), 2);
	ck_assert_int_eq(send(fd, "c", 1, MSG_OOB | MSG_MORE), 1);
	ck_assert_int_eq(send(fd, "de", 2, 0), 2);
	receive_bytes(got, sizeof(got), iss);
	ck_assert_mem_eq(got, "abcde", 5);
	usernet_free(net, DRAIN_MS);
	close(fd);
	close(listener);
	close_inside(1);
}
END_TEST

START_TEST(an_open_connection_is_reset_at_the_end)
{
	uint8_t buf[1];
	int listener, fd;

	ck_assert_int_eq(start(1, NULL), 0);
	listener = listen_on_host();
	fd = connect_inside(listener);
	usernet_free(net, DRAIN_MS);
	ck_assert_int_eq(recv(fd, buf, 1, 0), -1);
	ck_assert_int_eq(errno, ECONNRESET);
	while (hear(0) && !(answer.flags & TH_RST))
		;
	ck_assert(answer.flags & TH_RST);
	close(fd);
	close(listener);
	close_inside(1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("usernet");
	TCase *tc = fixture_case("usernet");

	tcase_add_test(tc, each_queue_has_a_thread_and_nothing_is_left_of_it);
	tcase_add_test(tc, a_network_that_is_idle_ends_at_once);
	tcase_add_test(tc, a_network_whose_device_is_gone_ends);
	tcase_add_loop_test(tc, a_failed_start_takes_the_queues_and_leaves_nothing, 0,
			    COUNT(failures));
	tcase_add_loop_test(tc, a_start_that_fails_half_way_ends_its_threads, 0, 6);
	tcase_add_test(tc, the_end_delivers_what_was_sent);
	tcase_add_test(tc, the_end_waits_for_a_slow_reader);
	tcase_add_test(tc, the_end_does_not_wait_for_ever);
	tcase_add_loop_test(tc, urgent_bytes_of_the_host_do_not_stop_the_stream, 0, 2);
	tcase_add_test(tc, an_open_connection_is_reset_at_the_end);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
