/* SPDX-License-Identifier: Apache-2.0 */

/* The host's socket of a TCP flow, with real sockets on 127.0.0.1. Each test of reading runs twice:
 * with the kernel's peek offset, and without, as before Linux 6.9. */
#include "tests/unit/ownnet.h"
#include "usernet/hostsock.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>

#include "os/sockopt.h"

enum way { WITH_PEEK_OFF, WITHOUT_PEEK_OFF, WAYS };

static struct hostsock h;
static int peer; /* the other end */

static int listen_on(struct sockaddr_storage *addr)
{
	struct sockaddr_in *in = (struct sockaddr_in *)addr;
	socklen_t len = sizeof(*in);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memset(addr, 0, sizeof(*addr));
	in->sin_family = AF_INET;
	in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)in, len), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)in, &len), 0);
	return fd;
}

static void await(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	ck_assert_int_eq(poll(&p, 1, 1000 * FIXTURE_DEADLINE_S), 1);
}

static void open_pair(void)
{
	struct sockaddr_storage addr;
	int fd = listen_on(&addr);
	const int on = 1;

	ck_assert_int_eq(hostsock_connect(&h, &addr, sizeof(struct sockaddr_in)), 0);
	await(h.fd, POLLOUT);
	ck_assert_int_eq(hostsock_connected(&h), 0);
	peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	ck_assert_int_ge(peer, 0);
	ck_assert_int_eq(setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0);
	close(fd);
}

static void close_pair(void)
{
	hostsock_close(&h, true);
	if (peer >= 0)
		close(peer);
}

/* Returns false if the kernel has no peek offset for TCP. */
static bool choose(enum way way)
{
	const int none = -1;

	if (way == WITH_PEEK_OFF) {
		if (!h.has_peek_off)
			fixture_skip("peek-off", "TCP sockets have no SO_PEEK_OFF (Linux 6.9)");
		return h.has_peek_off;
	}
	if (h.has_peek_off)
		ck_assert_int_eq(setsockopt(h.fd, SOL_SOCKET, SO_PEEK_OFF, &none, sizeof(none)), 0);
	h.has_peek_off = false;
	return true;
}

/* ---- connecting ---- */

START_TEST(a_refused_connect_is_reported)
{
	struct sockaddr_storage addr;
	int r;

	close(listen_on(&addr));
	close_pair();
	peer = -1;
	r = hostsock_connect(&h, &addr, sizeof(struct sockaddr_in));
	if (r == 0) {
		await(h.fd, POLLOUT);
		r = hostsock_connected(&h);
	} else {
		ck_assert_int_eq(h.fd, -1);
	}
	ck_assert_int_eq(r, -ECONNREFUSED);
}
END_TEST

/* In a network in which sockets can only have the port that is connected to */
START_TEST(a_socket_that_is_connected_to_itself_counts_as_refused)
{
	static const char range[] = "5000 5000";
	struct sockaddr_storage addr = { 0 };
	struct sockaddr_in *in = (struct sockaddr_in *)&addr;
	int fd;

	if (!enter_bare_network())
		return;
	fd = open("/proc/sys/net/ipv4/ip_local_port_range", O_WRONLY | O_CLOEXEC);
	ck_assert_int_eq(write(fd, range, strlen(range)), (ssize_t)strlen(range));
	close(fd);
	close_pair();
	peer = -1;
	in->sin_family = AF_INET;
	in->sin_port = htons(5000);
	in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ck_assert_int_eq(hostsock_connect(&h, &addr, sizeof(*in)), 0);
	await(h.fd, POLLOUT);
	ck_assert_int_eq(hostsock_connected(&h), -ECONNREFUSED);
}
END_TEST

static const struct {
	const char *dst; /* IPv4; NULL: another family */
	int result;
} wrong[] = {
	{ NULL, -EAFNOSUPPORT },
	{ "255.255.255.255", -ENETUNREACH },
};

START_TEST(an_address_that_cannot_be_connected_to_is_reported)
{
	struct sockaddr_storage addr = { .ss_family = AF_MAX };
	struct sockaddr_in *in = (struct sockaddr_in *)&addr;
	struct hostsock other = { .fd = 7 };

	if (wrong[_i].dst != NULL) {
		in->sin_family = AF_INET;
		in->sin_port = htons(9);
		in->sin_addr.s_addr = inet_addr(wrong[_i].dst);
	}
	ck_assert_int_eq(hostsock_connect(&other, &addr, sizeof(*in)), wrong[_i].result);
	ck_assert_int_eq(other.fd, -1);
	hostsock_close(&other, true);
}
END_TEST

START_TEST(a_connected_socket_is_non_blocking_and_close_on_exec)
{
	ck_assert(fcntl(h.fd, F_GETFL) & O_NONBLOCK);
	ck_assert(fixture_is_cloexec(h.fd));
}
END_TEST

/* ---- reading ---- */

#define STREAM 300000 /* bytes */

static uint8_t byte_at(size_t at)
{
	return (uint8_t)(at * 2654435761U >> 13);
}

/* Sends the bytes of the stream from `from` to `to`. */
static void feed(size_t from, size_t to)
{
	static uint8_t bytes[STREAM];

	for (size_t i = from; i < to; i++)
		bytes[i - from] = byte_at(i);
	ck_assert_int_eq(send(peer, bytes, to - from, MSG_NOSIGNAL), (ssize_t)(to - from));
}

/* Waits until so many bytes are in the socket. */
static void await_bytes(size_t count)
{
	unsigned long long until = fixture_now_ms() + 1000 * FIXTURE_DEADLINE_S;
	int waiting = 0;

	while (ioctl(h.fd, FIONREAD, &waiting) == 0 && (size_t)waiting < count &&
	       fixture_now_ms() < until)
		sched_yield();
	ck_assert_uint_eq((size_t)waiting, count);
}

/* Peeks, and checks the bytes. `dropped`: bytes of the stream that were removed. */
static ssize_t peek(size_t dropped, size_t skip, size_t max)
{
	static uint8_t buf[STREAM];
	ssize_t n = hostsock_peek(&h, skip, buf, max);

	for (ssize_t i = 0; i < n; i++)
		if (buf[i] != byte_at(dropped + skip + (size_t)i))
			ck_abort_msg("byte %zd after %zu + %zu", i, dropped, skip);
	return n;
}

START_TEST(bytes_stay_until_they_are_dropped)
{
	if (!choose(_i))
		return;
	ck_assert_int_eq(peek(0, 0, 10), -EAGAIN);
	feed(0, 100);
	await_bytes(100);
	ck_assert_int_eq(peek(0, 0, 10), 10);
	ck_assert_int_eq(peek(0, 10, 10), 10);
	ck_assert_int_eq(peek(0, 0, 1000), 100); /* again */
	ck_assert_int_eq(peek(0, 100, 10), -EAGAIN);
	hostsock_drop(&h, 30);
	await_bytes(70);
	ck_assert_int_eq(peek(30, 70, 10), -EAGAIN);
	ck_assert_int_eq(peek(30, 0, 10), 10);
	ck_assert_int_eq(peek(30, 60, 1000), 10);
	feed(100, 110);
	await_bytes(80);
	ck_assert_int_eq(peek(30, 70, 1000), 10);
	hostsock_drop(&h, 80);
	ck_assert_int_eq(peek(110, 0, 10), -EAGAIN);
}
END_TEST

/* After a timeout a flow goes back, and then the inside acknowledges what was sent before. */
START_TEST(more_than_the_last_peek_can_be_dropped)
{
	if (!choose(_i))
		return;
	feed(0, 200);
	await_bytes(200);
	ck_assert_int_eq(peek(0, 0, 150), 150);
	ck_assert_int_eq(peek(0, 0, 50), 50);
	hostsock_drop(&h, 150);
	ck_assert_int_eq(peek(150, 0, 20), 20);
	ck_assert_int_eq(peek(150, 20, 1000), 30);
	hostsock_drop(&h, 50);
	ck_assert_int_eq(peek(200, 0, 10), -EAGAIN);
	feed(200, 210);
	await_bytes(10);
	ck_assert_int_eq(peek(200, 0, 100), 10);
}
END_TEST

START_TEST(much_can_be_skipped)
{
	const int size = 2 * STREAM;

	if (!choose(_i))
		return;
	setsockopt(h.fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	for (size_t at = 0; at < STREAM; at += 20000) {
		feed(at, at + 20000);
		await_bytes(at + 20000);
	}
	for (size_t skip = 0; skip < STREAM; skip += 65535)
		ck_assert_int_eq(peek(0, skip, 1000), 1000);
	ck_assert_int_eq(peek(0, 65536, 65536), 65536);
	ck_assert_int_eq(peek(0, STREAM - 1, 1000), 1);
	ck_assert_int_eq(peek(0, STREAM, 1000), -EAGAIN);
	hostsock_drop(&h, STREAM);
	await_bytes(0);
}
END_TEST

START_TEST(the_end_is_seen_behind_the_last_byte_only)
{
	if (!choose(_i))
		return;
	feed(0, 50);
	await_bytes(50);
	ck_assert_int_eq(peek(0, 50, 10), -EAGAIN);
	ck_assert_int_eq(shutdown(peer, SHUT_WR), 0);
	await(h.fd, POLLRDHUP);
	ck_assert_int_eq(peek(0, 0, 20), 20);
	ck_assert_int_eq(peek(0, 49, 20), 1);
	ck_assert_int_eq(peek(0, 50, 20), 0);
	ck_assert_int_eq(peek(0, 20, 20), 20); /* again, after the end */
	hostsock_drop(&h, 20);
	ck_assert_int_eq(peek(20, 30, 20), 0);
	hostsock_drop(&h, 30);
	ck_assert_int_eq(peek(50, 0, 20), 0);
}
END_TEST

START_TEST(the_end_of_an_empty_stream_is_seen)
{
	if (!choose(_i))
		return;
	ck_assert_int_eq(shutdown(peer, SHUT_WR), 0);
	await(h.fd, POLLRDHUP);
	ck_assert_int_eq(peek(0, 0, 20), 0);
}
END_TEST

START_TEST(a_reset_is_reported)
{
	if (!choose(_i))
		return;
	sockopt_reset(&peer);
	await(h.fd, POLLERR);
	ck_assert_int_eq(peek(0, 0, 20), -ECONNRESET);
	ck_assert_int_lt(hostsock_send(&h, "x", 1), 0); /* and there is no SIGPIPE */
}
END_TEST

/* Reads all that is there, as a flow does whose inside acknowledges everything at once. */
static size_t read_all(uint8_t *out, size_t max)
{
	size_t got = 0;
	ssize_t n;

	while ((n = hostsock_peek(&h, 0, out + got, max - got)) > 0) {
		hostsock_drop(&h, (size_t)n);
		got += (size_t)n;
	}
	return got;
}

START_TEST(urgent_bytes_are_plain_bytes)
{
	uint8_t got[16];

	if (!choose(_i))
		return;
	ck_assert_int_eq(send(peer, "ab", 2, 0), 2);
	ck_assert_int_eq(send(peer, "c", 1, MSG_OOB), 1);
	ck_assert_int_eq(send(peer, "de", 2, 0), 2);
	await_bytes(5);
	ck_assert_uint_eq(read_all(got, sizeof(got)), 5);
	ck_assert_mem_eq(got, "abcde", 5);
}
END_TEST

static uint32_t below(uint32_t n)
{
	static uint32_t state = 1;

	state = state * 1664525 + 1013904223;
	return (state >> 8) % n;
}

/* Any order of what comes, is looked at and removed */
START_TEST(a_stream_is_read_right_in_any_order_of_calls)
{
	size_t fed = 0, dropped = 0, skip, len;

	if (!choose(_i))
		return;
	while (dropped < STREAM) {
		if (fed < STREAM && fed - dropped < 30000) {
			len = below(2000) + 1;
			len = len < STREAM - fed ? len : STREAM - fed;
			feed(fed, fed + len);
			fed += len;
			await_bytes(fed - dropped);
		}
		skip = below((uint32_t)(fed - dropped + 1));
		len = below(5000) + 1;
		ck_assert_int_eq(peek(dropped, skip, len),
				 skip == fed - dropped	      ? -EAGAIN
				 : len < fed - dropped - skip ? (ssize_t)len
							      : (ssize_t)(fed - dropped - skip));
		len = below((uint32_t)(fed - dropped + 1));
		hostsock_drop(&h, len);
		dropped += len;
	}
}
END_TEST

/* More than 4 MiB are not skipped without a peek offset. */
START_TEST(too_much_to_skip_waits)
{
	uint8_t buf[1];

	ck_assert(choose(WITHOUT_PEEK_OFF));
	feed(0, 1);
	await_bytes(1);
	ck_assert_int_eq(hostsock_peek(&h, 4 << 20, buf, 1), -EAGAIN);
	ck_assert_int_eq(hostsock_peek(&h, (4 << 20) + 1, buf, 1), -EAGAIN);
	ck_assert_int_eq(peek(0, 0, 1), 1);
}
END_TEST

/* ---- sending ---- */

static void drain_peer(void)
{
	static uint8_t buf[65536];

	while (recv(peer, buf, sizeof(buf), MSG_DONTWAIT) > 0)
		;
}

/* Sends until the buffers of both ends are full. Returns the number of bytes. */
static size_t fill(void)
{
	static const uint8_t zeros[65536];
	size_t total = 0;
	ssize_t n;

	while ((n = hostsock_send(&h, zeros, sizeof(zeros))) > 0)
		total += (size_t)n;
	ck_assert_int_eq(n, -EAGAIN);
	return total;
}

START_TEST(a_full_buffer_has_no_room_until_the_peer_reads)
{
	ck_assert_uint_gt(hostsock_room(&h), 0);
	ck_assert(hostsock_ask_room(&h));
	ck_assert_uint_gt(fill(), 0);
	ck_assert_uint_eq(hostsock_room(&h), 0);
	ck_assert(!hostsock_ask_room(&h));
	do
		drain_peer();
	while (!hostsock_ask_room(&h));
	ck_assert_uint_gt(hostsock_room(&h), 0);
	ck_assert_int_eq(hostsock_send(&h, "x", 1), 1);
}
END_TEST

/* A flow offers the inside the room as its window, so it must not be too large. */
START_TEST(the_room_is_not_much_more_than_the_socket_takes)
{
	static const uint8_t zeros[1 << 22];
	const int small = 4096;
	size_t room;
	ssize_t n;

	setsockopt(peer, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	room = hostsock_room(&h);
	ck_assert_uint_le(room, sizeof(zeros));
	n = hostsock_send(&h, zeros, room);
	ck_assert_int_gt(n, 0);
	ck_assert_uint_ge((size_t)n, room / 2);
}
END_TEST

START_TEST(the_end_follows_what_was_sent)
{
	uint8_t buf[16];

	ck_assert_int_eq(hostsock_send(&h, "hello", 5), 5);
	hostsock_end(&h);
	await(peer, POLLRDHUP);
	ck_assert_int_eq(recv(peer, buf, sizeof(buf), 0), 5);
	ck_assert_int_eq(recv(peer, buf, sizeof(buf), 0), 0);
	/* The other direction is open. */
	feed(0, 7);
	await_bytes(7);
	ck_assert_int_eq(peek(0, 0, 10), 7);
	ck_assert_int_eq(hostsock_send(&h, "x", 1), -EPIPE);
}
END_TEST

/* ---- closing ---- */

START_TEST(a_closed_socket_delivers_what_was_sent)
{
	uint8_t buf[16];

	ck_assert_int_eq(hostsock_send(&h, "hello", 5), 5);
	hostsock_close(&h, false);
	ck_assert_int_eq(h.fd, -1);
	await(peer, POLLRDHUP);
	ck_assert_int_eq(recv(peer, buf, sizeof(buf), 0), 5);
	ck_assert_int_eq(recv(peer, buf, sizeof(buf), 0), 0);
	hostsock_close(&h, false);
	hostsock_close(&h, true);
}
END_TEST

START_TEST(a_reset_socket_resets_its_peer)
{
	uint8_t buf[16];

	hostsock_close(&h, true);
	ck_assert_int_eq(h.fd, -1);
	await(peer, POLLERR);
	ck_assert_int_lt(recv(peer, buf, sizeof(buf), 0), 0);
	ck_assert_int_eq(errno, ECONNRESET);
}
END_TEST

/* As when the process is killed */
START_TEST(an_unannounced_close_resets_the_peer)
{
	uint8_t buf[16];

	close(h.fd);
	h.fd = -1;
	await(peer, POLLERR);
	ck_assert_int_lt(recv(peer, buf, sizeof(buf), 0), 0);
	ck_assert_int_eq(errno, ECONNRESET);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("hostsock");
	TCase *tc = fixture_case("hostsock");

	tcase_add_checked_fixture(tc, open_pair, close_pair);
	tcase_add_test(tc, a_refused_connect_is_reported);
	tcase_add_test(tc, a_socket_that_is_connected_to_itself_counts_as_refused);
	tcase_add_loop_test(tc, an_address_that_cannot_be_connected_to_is_reported, 0,
			    COUNT(wrong));
	tcase_add_test(tc, a_connected_socket_is_non_blocking_and_close_on_exec);
	tcase_add_loop_test(tc, bytes_stay_until_they_are_dropped, 0, WAYS);
	tcase_add_loop_test(tc, more_than_the_last_peek_can_be_dropped, 0, WAYS);
	tcase_add_loop_test(tc, much_can_be_skipped, 0, WAYS);
	tcase_add_loop_test(tc, the_end_is_seen_behind_the_last_byte_only, 0, WAYS);
	tcase_add_loop_test(tc, the_end_of_an_empty_stream_is_seen, 0, WAYS);
	tcase_add_loop_test(tc, a_reset_is_reported, 0, WAYS);
	tcase_add_loop_test(tc, urgent_bytes_are_plain_bytes, 0, WAYS);
	tcase_add_loop_test(tc, a_stream_is_read_right_in_any_order_of_calls, 0, WAYS);
	tcase_add_test(tc, too_much_to_skip_waits);
	tcase_add_test(tc, a_full_buffer_has_no_room_until_the_peer_reads);
	tcase_add_test(tc, the_room_is_not_much_more_than_the_socket_takes);
	tcase_add_test(tc, the_end_follows_what_was_sent);
	tcase_add_test(tc, a_closed_socket_delivers_what_was_sent);
	tcase_add_test(tc, a_reset_socket_resets_its_peer);
	tcase_add_test(tc, an_unannounced_close_resets_the_peer);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
