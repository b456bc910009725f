/* SPDX-License-Identifier: Apache-2.0 */

/* Copying between two sockets, with both engines of the loop, over Unix and TCP sockets.
 *
 *     client ── end 0 ══ pair under test ══ end 1 ── server
 *
 * All runs in one thread, and the pair's own sockets are blocking ones: a pair that blocked would
 * never let its test end. */
#include "bicopy.h"
#include "os/bulkpipe.h"
#include "os/sockopt.h"
#include "tests/unit/fixture.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/syscall.h>

#define BUFFER_LEN 65536
#define TINY	   4096	     /* bytes of a socket buffer; the kernel rounds it up */
#define BOUND	   (1 << 20) /* bytes; more than all small socket buffers and our own hold */
#define BIG	   (4 << 20) /* bytes; more than any socket buffers hold */
#define QUIET_MS   10

enum { OVER_UNIX, OVER_TCP, KIND_COUNT };
enum { CLIENT, SERVER };

#define ENGINE_COUNT 2
#define ALL_WAYS     (ENGINE_COUNT * KIND_COUNT)

/* Each case runs with a pipe for splice(2), and without. */
static bool with_pipe;

static void allow_pipe(void)
{
	with_pipe = true;
	signal(SIGPIPE, SIG_IGN);
}

static void forbid_pipe(void)
{
	with_pipe = false;
}

static enum loop_engine engine_of(int i)
{
	return i % ENGINE_COUNT == 0 ? LOOP_POLL : LOOP_EPOLL;
}

static int kind_of(int i)
{
	return i / ENGINE_COUNT % KIND_COUNT;
}

/* ---- a kernel without SO_MEMINFO ---- */

static int meminfo_error;   /* 0: the kernel has the call */
static size_t full_splices; /* calls that asked a socket for as much as the pipe holds */
static size_t short_splices;

int getsockopt(int fd, int level, int name, void *restrict value, socklen_t *restrict len)
{
	if (level == SOL_SOCKET && name == SO_MEMINFO && meminfo_error != 0) {
		errno = meminfo_error;
		return -1;
	}
	return (int)syscall(SYS_getsockopt, fd, level, name, value, len);
}

ssize_t splice(int in, off_t *in_at, int out, off_t *out_at, size_t len, unsigned int flags)
{
	int size = fcntl(out, F_GETPIPE_SZ);

	if (size > 0 && len >= (size_t)size)
		full_splices++;
	else if (size > 0)
		short_splices++;
	return syscall(SYS_splice, in, in_at, out, out_at, len, flags);
}

/* ---- sockets ---- */

static void set_buffers(int fd, int size)
{
	if (size == 0)
		return;
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)), 0);
}

/* The receive buffer must be set before connecting, so that it limits the window. */
static void tcp_pair(int fds[2], int size)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(sa);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	set_buffers(listener, size);
	set_buffers(fds[0], size);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&sa, len), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&sa, &len), 0);
	ck_assert_int_eq(connect(fds[0], (struct sockaddr *)&sa, len), 0);
	fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(fds[1], 0);
	close(listener);
}

static void socket_pair(int fds[2], int kind, int size)
{
	if (kind == OVER_TCP) {
		tcp_pair(fds, size);
		return;
	}
	fixture_socketpair(fds);
	set_buffers(fds[0], size);
	set_buffers(fds[1], size);
}

static void close_with_reset(int *fd)
{
	const struct linger now = { .l_onoff = 1, .l_linger = 0 };

	ck_assert_int_eq(setsockopt(*fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
	close(*fd);
	*fd = -1;
}

/* ---- the pair, and who talks through it ---- */

struct rig {
	struct loop *loop;
	struct bicopy_shared *shared;
	struct bicopy b;
	int peer[2]; /* client and server; -1 when closed */
	int inner[2];
	int ended; /* calls of on_end */
	unsigned long long until_ms;
};

static void on_end(struct bicopy *b)
{
	struct rig *r = (struct rig *)((char *)b - offsetof(struct rig, b));

	r->ended++;
	ck_assert(!fixture_is_open(r->inner[0]));
	ck_assert(!fixture_is_open(r->inner[1]));
}

static void rig_prepare_sides(struct rig *r, int i, const int sizes[2])
{
	int fds[2];

	*r = (struct rig){ .until_ms = fixture_now_ms() + FIXTURE_DEADLINE_S * 1000ULL };
	r->loop = loop_new(engine_of(i));
	r->shared = bicopy_shared_new(BUFFER_LEN, with_pipe);
	ck_assert_ptr_nonnull(r->loop);
	ck_assert_ptr_nonnull(r->shared);
	for (int side = 0; side < 2; side++) {
		socket_pair(fds, kind_of(i), sizes[side]);
		r->peer[side] = fds[0];
		r->inner[side] = fds[1];
	}
}

static void rig_prepare(struct rig *r, int i, int size)
{
	rig_prepare_sides(r, i, (const int[2]){ size, size });
}

static void rig_start(struct rig *r)
{
	ck_assert_int_eq(bicopy_start(&r->b, r->loop, r->shared, r->inner[0], r->inner[1], on_end),
			 0);
}

static void rig_open(struct rig *r, int i, int size)
{
	rig_prepare(r, i, size);
	rig_start(r);
}

static void step(struct rig *r, int timeout_ms)
{
	ck_assert(fixture_now_ms() < r->until_ms);
	ck_assert_int_eq(loop_step(r->loop, timeout_ms), 0);
}

/* Steps until the pair waits: a step without an event lasts its whole time. Fails if the pair never
 * waits. */
static void settle(struct rig *r)
{
	unsigned long long start;

	do {
		start = fixture_now_ms();
		step(r, QUIET_MS);
	} while (fixture_now_ms() - start < QUIET_MS);
}

static void await_end(struct rig *r)
{
	while (r->ended == 0)
		step(r, 1);
}

static void shut_peer(struct rig *r, int side)
{
	if (r->peer[side] >= 0)
		close(r->peer[side]);
	r->peer[side] = -1;
}

/* Asserts that the pair has ended exactly once, and has no more events. */
static void rig_close(struct rig *r)
{
	shut_peer(r, CLIENT);
	shut_peer(r, SERVER);
	await_end(r);
	settle(r);
	ck_assert_int_eq(r->ended, 1);
	loop_free(r->loop);
	bicopy_shared_free(r->shared);
}

/* ---- streams: every byte follows from its place ---- */

#define PATTERN_LEN 1000003 /* a prime, so that a lost piece of any buffer's size shows */

static char pattern[2 * PATTERN_LEN];

static unsigned int next_random(unsigned int *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

static void make_pattern(void)
{
	unsigned int state = 1;

	for (size_t i = 0; i < PATTERN_LEN; i++)
		pattern[i] = pattern[i + PATTERN_LEN] = (char)next_random(&state);
}

struct stream {
	int from; /* side that sends it */
	size_t sent;
	size_t received;
};

/* Sends as much of the next `len` bytes as the socket takes. Returns how many, or -errno. */
static ssize_t stream_send(struct rig *r, struct stream *s, size_t len)
{
	ssize_t n = send(r->peer[s->from], pattern + s->sent % PATTERN_LEN,
			 len < PATTERN_LEN ? len : PATTERN_LEN, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	s->sent += (size_t)n;
	return n;
}

/* Receives at most `len` bytes and checks them. Returns how many, -ENODATA at end of file, or
 * -errno. */
static ssize_t stream_receive(struct rig *r, struct stream *s, size_t len)
{
	static char got[PATTERN_LEN];
	ssize_t n = recv(r->peer[1 - s->from], got, len, MSG_DONTWAIT);

	if (n < 0)
		return -errno;
	if (n == 0)
		return -ENODATA;
	ck_assert_msg(memcmp(got, pattern + s->received % PATTERN_LEN, (size_t)n) == 0,
		      "not what was sent, near byte %zu", s->received);
	s->received += (size_t)n;
	return n;
}

/* Sends until all buffers are full, or `len` bytes are sent. */
static void stream_fill(struct rig *r, struct stream *s, size_t len)
{
	for (;;) {
		bool moved = false;

		while (s->sent < len &&
		       stream_send(r, s, len - s->sent < TINY ? len - s->sent : TINY) > 0)
			moved = true;
		settle(r);
		if (!moved)
			return;
	}
}

/* As stream_fill, until the pair holds bytes that the other side does not take. A slow kernel may
 * acknowledge later than settle waits, and take some more. */
static void stream_fill_pair(struct rig *r, struct stream *s)
{
	do
		stream_fill(r, s, BIG);
	while (r->b.pump[s->from].left == 0);
}

/* Receives everything until the stream ends. Returns -ENODATA at end of file, or -errno. */
static ssize_t stream_end(struct rig *r, struct stream *s, size_t chunk)
{
	ssize_t n;

	while ((n = stream_receive(r, s, chunk)) > 0 || n == -EAGAIN)
		step(r, n > 0 ? 0 : 1);
	return n;
}

static void pass_stream(struct rig *r, struct stream *s, size_t len)
{
	size_t until = s->sent + len;

	while (s->received < until) {
		if (s->sent < until)
			ck_assert_int_ge(stream_send(r, s, until - s->sent), 0);
		step(r, 1);
		while (stream_receive(r, s, BUFFER_LEN) > 0)
			;
	}
	ck_assert_uint_eq(s->received, until);
}

static void end_sending(struct rig *r, int side)
{
	ck_assert_int_eq(shutdown(r->peer[side], SHUT_WR), 0);
}

/* ---- tests: flowing ---- */

START_TEST(small_messages_pass_both_ways)
{
	struct stream up = { .from = CLIENT };
	struct stream down = { .from = SERVER };
	struct rig r;

	rig_open(&r, _i, 0);
	for (int i = 0; i < 100; i++) {
		pass_stream(&r, &up, 1 + (size_t)i);
		pass_stream(&r, &down, 100 - (size_t)i);
	}
	rig_close(&r);
}
END_TEST

/* A full buffer is the limit between one read and two. */
START_TEST(a_full_buffer_passes)
{
	struct stream up = { .from = CLIENT };
	struct rig r;

	rig_open(&r, _i, 0);
	pass_stream(&r, &up, BUFFER_LEN - 1);
	pass_stream(&r, &up, BUFFER_LEN);
	pass_stream(&r, &up, BUFFER_LEN + 1);
	pass_stream(&r, &up, 40 * BUFFER_LEN); /* more than one turn */
	rig_close(&r);
}
END_TEST

#define BULK (16UL << 20)

/* A random side sends or receives a random number of bytes. Returns whether any byte moved. */
static bool random_move(struct rig *r, struct stream s[2], unsigned int *random)
{
	unsigned int what = next_random(random);
	struct stream *moved = &s[what & 1];
	size_t len = 1 + (what >> 8) % (what & 4 ? 100 : 200000);

	if ((what & 2) != 0)
		return stream_receive(r, moved, len) > 0;
	if (moved->sent == BULK)
		return false;
	if (len > BULK - moved->sent)
		len = BULK - moved->sent;
	return stream_send(r, moved, len) > 0;
}

START_TEST(bulk_passes_both_ways_at_once)
{
	struct stream s[2] = { { .from = CLIENT }, { .from = SERVER } };
	unsigned int random = 42 + (unsigned int)_i;
	struct rig r;

	rig_open(&r, _i, 0);
	while (s[0].received < BULK || s[1].received < BULK) {
		bool moved = false;

		for (int i = 0; i < 8; i++)
			moved = random_move(&r, s, &random) || moved;
		step(&r, moved ? 0 : 1);
	}
	for (int side = 0; side < 2; side++) {
		end_sending(&r, side);
		ck_assert_int_eq(stream_end(&r, &s[side], BUFFER_LEN), -ENODATA);
		ck_assert_uint_eq(s[side].received, BULK);
	}
	rig_close(&r);
}
END_TEST

static const int refusals[] = { ENOSYS, EPERM, EINVAL };

/* As on an old kernel, or under a seccomp profile; only in a process of its own. */
START_TEST(bulk_passes_without_splice)
{
	struct stream s = { .from = CLIENT };
	struct rig r;

	if (!fixture_is_forked())
		return;
	ck_assert(fixture_take_away(SYS_splice, refusals[_i]));
	rig_open(&r, OVER_TCP, 0);
	while (s.received < BULK) {
		if (s.sent < BULK)
			stream_send(&r, &s, BULK - s.sent);
		step(&r, 0);
		stream_receive(&r, &s, PATTERN_LEN);
	}
	ck_assert_int_eq(r.ended, 0);
	rig_close(&r);
}
END_TEST

/* All pipes of a user share a limit (pipe(7)). */
static bool can_have_a_pipe(void)
{
	struct bulkpipe pipe = BULKPIPE_INIT;
	bool can = bulkpipe_open(&pipe);

	bulkpipe_close(&pipe);
	return can;
}

static const int meminfo_errors[] = { ENOPROTOOPT, ENOSYS, EPERM };

/* The receiver waits until all buffers are full. If the free space of the other socket is unknown,
 * splicing asks for as much as the pipe holds. */
START_TEST(bulk_passes_without_meminfo)
{
	struct stream s = { .from = CLIENT };
	struct rig r;
	bool splices = with_pipe && can_have_a_pipe();

	meminfo_error = meminfo_errors[_i % COUNT(meminfo_errors)];
	full_splices = short_splices = 0;
	rig_open(&r, _i / COUNT(meminfo_errors), 0);
	stream_fill(&r, &s, 2 * BIG);
	pass_stream(&r, &s, BIG);
	end_sending(&r, CLIENT);
	ck_assert_int_eq(stream_end(&r, &s, BUFFER_LEN), -ENODATA);
	ck_assert_uint_eq(s.received, s.sent);
	ck_assert(!splices || full_splices > 0);
	ck_assert_uint_eq(short_splices, 0);
	rig_close(&r);
	meminfo_error = 0;
}
END_TEST

START_TEST(pairs_share_a_buffer)
{
	struct stream stuck = { .from = CLIENT };
	struct stream flowing = { .from = SERVER };
	struct rig r, other;

	rig_open(&r, _i, TINY);
	stream_fill(&r, &stuck, BIG);
	rig_prepare(&other, _i, 0);
	loop_free(other.loop);
	bicopy_shared_free(other.shared);
	other.loop = r.loop;
	other.shared = r.shared;
	rig_start(&other);
	pass_stream(&other, &flowing, 10 * BUFFER_LEN);
	shut_peer(&other, CLIENT);
	shut_peer(&other, SERVER);
	await_end(&other);
	end_sending(&r, CLIENT);
	ck_assert_int_eq(stream_end(&r, &stuck, BUFFER_LEN), -ENODATA);
	ck_assert_uint_eq(stuck.received, stuck.sent);
	rig_close(&r);
}
END_TEST

/* ---- tests: back-pressure ---- */

START_TEST(a_slow_reader_stops_its_writer)
{
	struct stream s = { .from = _i / ALL_WAYS };
	struct rig r;

	rig_open(&r, _i, TINY);
	stream_fill(&r, &s, BIG);
	ck_assert_uint_lt(s.sent, BOUND);
	ck_assert_uint_le(r.b.pump[s.from].left, BUFFER_LEN);
	/* The receiver reads single bytes, then small pieces. Copying continues, and nothing is
	 * lost. */
	for (int i = 0; i < 100; i++)
		ck_assert_int_eq(stream_receive(&r, &s, 1), 1);
	for (size_t had = s.sent; s.sent < had + BOUND;) {
		stream_send(&r, &s, TINY);
		step(&r, 0);
		stream_receive(&r, &s, 997);
	}
	end_sending(&r, s.from);
	ck_assert_int_eq(stream_end(&r, &s, 997), -ENODATA);
	ck_assert_uint_eq(s.received, s.sent);
	rig_close(&r);
}
END_TEST

/* One read returns more than the other side's socket takes in one write. */
START_TEST(a_large_piece_is_written_in_parts)
{
	struct stream s = { .from = _i / ALL_WAYS };
	int sizes[2] = { TINY, TINY };
	struct rig r;
	int parts = 0;

	sizes[s.from] = 0;
	rig_prepare_sides(&r, _i, sizes);
	ck_assert_int_gt(stream_send(&r, &s, BUFFER_LEN), TINY);
	rig_start(&r);
	end_sending(&r, s.from);
	settle(&r);
	while (s.received < s.sent) {
		const struct pump *p = &r.b.pump[s.from];
		uint32_t left = p->left;

		step(&r, 1);
		parts += p->left < left && p->left > 0;
		stream_receive(&r, &s, BUFFER_LEN);
	}
	ck_assert_int_gt(parts, 0);
	ck_assert_int_eq(stream_end(&r, &s, BUFFER_LEN), -ENODATA);
	rig_close(&r);
}
END_TEST

START_TEST(a_stuck_direction_does_not_hold_up_the_other)
{
	struct stream up = { .from = CLIENT };
	struct stream down = { .from = SERVER };
	struct rig r;

	rig_open(&r, _i, TINY);
	stream_fill(&r, &up, BIG);
	pass_stream(&r, &down, BOUND);
	end_sending(&r, CLIENT);
	ck_assert_int_eq(stream_end(&r, &up, BUFFER_LEN), -ENODATA);
	ck_assert_uint_eq(up.received, up.sent);
	rig_close(&r);
}
END_TEST

/* Both directions are stuck: the pair waits in the loop, although its sockets are blocking. */
START_TEST(a_pair_never_blocks)
{
	struct stream s[2] = { { .from = CLIENT }, { .from = SERVER } };
	struct rig r;

	rig_open(&r, _i, TINY);
	stream_fill(&r, &s[0], BIG);
	stream_fill(&r, &s[1], BIG);
	for (int side = 0; side < 2; side++) {
		ck_assert_uint_lt(s[side].sent, BOUND);
		ck_assert_int_eq(fcntl(r.inner[side], F_GETFL) & O_NONBLOCK, 0);
	}
	for (int side = 0; side < 2; side++) {
		end_sending(&r, side);
		ck_assert_int_eq(stream_end(&r, &s[side], BUFFER_LEN), -ENODATA);
		ck_assert_uint_eq(s[side].received, s[side].sent);
	}
	rig_close(&r);
}
END_TEST

/* ---- tests: end of file ---- */

START_TEST(half_close_is_passed_on)
{
	struct stream s = { .from = _i / ALL_WAYS };
	struct stream back = { .from = 1 - s.from };
	struct rig r;

	rig_open(&r, _i, 0);
	pass_stream(&r, &s, 10);
	ck_assert_int_eq(stream_send(&r, &s, 100), 100);
	end_sending(&r, s.from);
	ck_assert_int_eq(stream_end(&r, &s, BUFFER_LEN), -ENODATA);
	ck_assert_uint_eq(s.received, 110);
	settle(&r);
	ck_assert_int_eq(r.ended, 0);
	/* The other direction continues, even with bulk data. */
	pass_stream(&r, &back, BIG);
	end_sending(&r, back.from);
	ck_assert_int_eq(stream_end(&r, &back, BUFFER_LEN), -ENODATA);
	await_end(&r);
	rig_close(&r);
}
END_TEST

START_TEST(end_of_file_follows_all_pending_bytes)
{
	struct stream s = { .from = _i / ALL_WAYS };
	struct rig r;

	rig_open(&r, _i, TINY);
	stream_fill(&r, &s, BIG);
	end_sending(&r, s.from);
	settle(&r);
	ck_assert_int_eq(stream_end(&r, &s, 1009), -ENODATA);
	ck_assert_uint_eq(s.received, s.sent);
	settle(&r);
	ck_assert_int_eq(r.ended, 0);
	rig_close(&r);
}
END_TEST

/* close(2) without unread bytes is a clean end: all bytes sent before arrive. */
START_TEST(a_closed_writer_loses_nothing)
{
	struct stream s = { .from = _i / ALL_WAYS };
	struct rig r;

	rig_open(&r, _i, TINY);
	stream_fill(&r, &s, BIG);
	shut_peer(&r, s.from);
	ck_assert_int_eq(stream_end(&r, &s, BUFFER_LEN), -ENODATA);
	ck_assert_uint_eq(s.received, s.sent);
	rig_close(&r);
}
END_TEST

START_TEST(both_sides_may_end_at_the_same_time)
{
	struct stream up = { .from = CLIENT };
	struct stream down = { .from = SERVER };
	struct rig r;

	rig_open(&r, _i, 0);
	stream_send(&r, &up, 1000);
	stream_send(&r, &down, 2000);
	end_sending(&r, CLIENT);
	end_sending(&r, SERVER);
	await_end(&r);
	ck_assert_int_eq(stream_end(&r, &up, BUFFER_LEN), -ENODATA);
	ck_assert_int_eq(stream_end(&r, &down, BUFFER_LEN), -ENODATA);
	ck_assert_uint_eq(up.received, 1000);
	ck_assert_uint_eq(down.received, 2000);
	rig_close(&r);
}
END_TEST

START_TEST(a_socket_may_be_closed_before_the_start)
{
	struct stream s = { .from = _i / ALL_WAYS };
	struct rig r;

	rig_prepare(&r, _i, 0);
	ck_assert_int_eq(stream_send(&r, &s, 5000), 5000);
	shut_peer(&r, s.from);
	rig_start(&r);
	ck_assert_int_eq(stream_end(&r, &s, BUFFER_LEN), -ENODATA);
	ck_assert_uint_eq(s.received, 5000);
	rig_close(&r);
}
END_TEST

START_TEST(both_sockets_may_be_closed_before_the_start)
{
	struct rig r;

	rig_prepare(&r, _i, 0);
	shut_peer(&r, CLIENT);
	shut_peer(&r, SERVER);
	rig_start(&r);
	ck_assert_int_eq(r.ended, 0);
	rig_close(&r);
}
END_TEST

/* ---- tests: errors. A reset is known to TCP only. ---- */

#define TCP_WAYS(i)                                                                  \
	(ENGINE_COUNT * OVER_TCP + (i) % ENGINE_COUNT) /* loops over engine and side \
							*/

START_TEST(a_reset_is_passed_on)
{
	struct stream s = { .from = _i / ENGINE_COUNT };
	struct rig r;

	rig_open(&r, TCP_WAYS(_i), 0);
	pass_stream(&r, &s, 100);
	close_with_reset(&r.peer[s.from]);
	ck_assert_int_eq(stream_end(&r, &s, BUFFER_LEN), -ECONNRESET);
	await_end(&r);
	rig_close(&r);
}
END_TEST

/* After the client has ended, the pair must not wait for the end of the answer forever. */
START_TEST(end_of_file_that_cannot_be_passed_on_becomes_a_reset)
{
	struct stream s = { .from = CLIENT };
	struct rig r;
	pid_t client;

	if (!fixture_is_forked())
		return;
	rig_open(&r, TCP_WAYS(_i), 0);
	pass_stream(&r, &s, 10);
	client = fork();
	if (client == 0)
		_exit(shutdown(r.peer[CLIENT], SHUT_WR) == 0 ? 0 : 1);
	ck_assert(fixture_take_away(SYS_shutdown, EPERM));
	ck_assert_int_eq(waitpid(client, NULL, 0), client);
	await_end(&r);
	ck_assert_int_eq(recv(r.peer[CLIENT], &(char){ 0 }, 1, 0), -1);
	ck_assert_int_eq(errno, ECONNRESET);
	rig_close(&r);
}
END_TEST

START_TEST(a_reset_before_the_start_is_passed_on)
{
	struct stream s = { .from = _i / ENGINE_COUNT };
	struct rig r;

	rig_prepare(&r, TCP_WAYS(_i), 0);
	close_with_reset(&r.peer[s.from]);
	rig_start(&r);
	ck_assert_int_eq(stream_end(&r, &s, BUFFER_LEN), -ECONNRESET);
	rig_close(&r);
}
END_TEST

/* One direction is shut down already, so nothing is read from the side that resets. */
/* Sends a byte after the other until that fails: a reset may be under way. Returns the error. */
static ssize_t await_send_error(struct rig *r, struct stream *s)
{
	ssize_t n;

	while ((n = stream_send(r, s, 1)) >= 0)
		step(r, 1);
	return n;
}

START_TEST(a_reset_after_half_close_is_passed_on)
{
	struct stream s = { .from = _i / ENGINE_COUNT };
	struct stream back = { .from = 1 - s.from };
	struct rig r;

	rig_open(&r, TCP_WAYS(_i), 0);
	end_sending(&r, s.from);
	ck_assert_int_eq(stream_end(&r, &s, BUFFER_LEN), -ENODATA);
	settle(&r);
	close_with_reset(&r.peer[s.from]);
	/* With poll(2) that side is not watched until there is something to write to it. */
	while (engine_of(_i) == LOOP_POLL && stream_send(&r, &back, 1) >= 0)
		step(&r, 1);
	await_end(&r);
	/* After end of file a reset is reported as EPIPE. */
	if (engine_of(_i) == LOOP_EPOLL)
		ck_assert_int_eq(await_send_error(&r, &back), -EPIPE);
	rig_close(&r);
}
END_TEST

/* The reader does not read, and the writer resets. The reader may get bytes that arrived in order,
 * and then a reset, but never end of file. */
START_TEST(a_writer_may_fail_while_its_bytes_are_pending)
{
	struct stream s = { .from = _i / ENGINE_COUNT };
	struct rig r;

	rig_open(&r, TCP_WAYS(_i), TINY);
	stream_fill_pair(&r, &s);
	close_with_reset(&r.peer[s.from]);
	if (engine_of(_i) == LOOP_EPOLL)
		await_end(&r);
	ck_assert_int_eq(stream_end(&r, &s, BUFFER_LEN), -ECONNRESET);
	await_end(&r);
	rig_close(&r);
}
END_TEST

START_TEST(a_reader_may_fail_while_bytes_for_it_are_pending)
{
	struct stream s = { .from = _i / ENGINE_COUNT };
	struct stream back = { .from = 1 - s.from };
	struct rig r;

	rig_open(&r, TCP_WAYS(_i), TINY);
	stream_fill_pair(&r, &s);
	close_with_reset(&r.peer[1 - s.from]);
	await_end(&r);
	ck_assert_int_eq(stream_end(&r, &back, BUFFER_LEN), -ECONNRESET);
	rig_close(&r);
}
END_TEST

START_TEST(a_reader_may_fail_after_end_of_file)
{
	struct stream s = { .from = _i / ENGINE_COUNT };
	struct stream back = { .from = 1 - s.from };
	struct rig r;

	rig_open(&r, TCP_WAYS(_i), TINY);
	stream_fill(&r, &s, BIG);
	end_sending(&r, s.from);
	settle(&r);
	close_with_reset(&r.peer[1 - s.from]);
	await_end(&r);
	ck_assert_int_eq(stream_end(&r, &back, BUFFER_LEN), -ECONNRESET);
	rig_close(&r);
}
END_TEST

/* A server that closes with data unread resets its connection (RFC 2525, 2.17). */
START_TEST(writing_to_a_closed_reader_ends_the_pair)
{
	struct stream s = { .from = _i / ALL_WAYS };
	struct rig r;
	ssize_t n = 0;

	rig_open(&r, _i, 0);
	shut_peer(&r, 1 - s.from);
	while (r.ended == 0 && n >= 0) {
		n = stream_send(&r, &s, 100);
		step(&r, 1);
	}
	await_end(&r);
	rig_close(&r);
}
END_TEST

/* ---- tests: start and end ---- */

START_TEST(cancel_ends_the_pair_in_a_task)
{
	struct stream s = { .from = _i / ALL_WAYS };
	struct rig r;

	rig_open(&r, _i, TINY);
	stream_fill(&r, &s, BIG);
	bicopy_cancel(&r.b);
	ck_assert_int_eq(r.ended, 0);
	ck_assert(!fixture_is_open(r.inner[0]));
	ck_assert(!fixture_is_open(r.inner[1]));
	bicopy_cancel(&r.b);
	loop_run_tasks(r.loop);
	ck_assert_int_eq(r.ended, 1);
	rig_close(&r);
}
END_TEST

/* A turn of the pair is queued; the same task then reports the end. */
START_TEST(a_busy_pair_can_be_cancelled)
{
	struct stream s = { .from = CLIENT };
	struct rig r;

	rig_prepare(&r, _i, 0);
	bicopy_shared_free(r.shared);
	r.shared = bicopy_shared_new(1, false); /* a pipe would take all of it in one turn */
	ck_assert_int_eq(stream_send(&r, &s, 1000), 1000);
	rig_start(&r);
	while (!r.b.task.queued)
		step(&r, 0);
	bicopy_cancel(&r.b);
	rig_close(&r);
	ck_assert_uint_lt(s.received, 1000);
}
END_TEST

/* How a cut stream ends: only TCP has resets. */
static ssize_t cut_stream(int i)
{
	return kind_of(i) == OVER_TCP ? -ECONNRESET : -ENODATA;
}

/* An idle connection may be incomplete, so it must not look complete. */
START_TEST(cancelling_an_idle_pair_resets_both_sides)
{
	struct stream s[2] = { { .from = CLIENT }, { .from = SERVER } };
	struct rig r;

	rig_open(&r, _i, 0);
	pass_stream(&r, &s[0], 1000);
	pass_stream(&r, &s[1], 1000);
	bicopy_cancel(&r.b);
	ck_assert_int_eq(stream_end(&r, &s[0], BUFFER_LEN), cut_stream(_i));
	ck_assert_int_eq(stream_end(&r, &s[1], BUFFER_LEN), cut_stream(_i));
	rig_close(&r);
}
END_TEST

/* The received part must not look complete. */
START_TEST(cancelling_with_bytes_pending_resets_both_sides)
{
	struct stream s = { .from = _i % 2 };
	struct rig r;

	rig_open(&r, TCP_WAYS(_i / 2), TINY);
	stream_fill(&r, &s, BIG);
	bicopy_cancel(&r.b);
	ck_assert_int_eq(stream_end(&r, &s, BUFFER_LEN), -ECONNRESET);
	ck_assert_uint_lt(s.received, s.sent);
	rig_close(&r);
}
END_TEST

/* A direction that has ended cleanly stays so. */
START_TEST(a_pair_can_be_cancelled_after_an_end_of_file)
{
	struct stream s = { .from = SERVER };
	struct rig r;

	rig_open(&r, _i, 0);
	pass_stream(&r, &s, 1000);
	end_sending(&r, SERVER);
	ck_assert_int_eq(stream_end(&r, &s, BUFFER_LEN), -ENODATA);
	settle(&r);
	bicopy_cancel(&r.b);
	ck_assert_int_eq(stream_end(&r, &s, BUFFER_LEN), -ENODATA);
	rig_close(&r);
}
END_TEST

/* The sender has closed its socket, or keeps it open. */
START_TEST(a_draining_pair_delivers_all_pending_bytes)
{
	bool has_gone = _i % 2 == 0;
	struct stream s = { .from = SERVER };
	struct rig r;
	ssize_t n;

	rig_open(&r, _i / 2, TINY);
	stream_fill(&r, &s, BIG);
	if (has_gone)
		shut_peer(&r, SERVER);
	bicopy_drain(&r.b);
	settle(&r);
	ck_assert_int_eq(r.ended, 0);
	while ((n = stream_receive(&r, &s, 1000)) > 0 || n == -EAGAIN) {
		step(&r, n > 0 ? 0 : 1);
		bicopy_drain(&r.b);
	}
	ck_assert_int_eq(n, has_gone ? -ENODATA : cut_stream(_i / 2));
	ck_assert_uint_eq(s.received, s.sent);
	await_end(&r);
	rig_close(&r);
}
END_TEST

START_TEST(an_idle_pair_drains_immediately)
{
	struct stream s = { .from = SERVER };
	struct rig r;

	rig_open(&r, _i, 0);
	pass_stream(&r, &s, 1000);
	bicopy_drain(&r.b);
	ck_assert(!fixture_is_open(r.inner[0]));
	loop_run_tasks(r.loop);
	ck_assert_int_eq(r.ended, 1);
	ck_assert_int_eq(stream_end(&r, &s, BUFFER_LEN), cut_stream(_i));
	bicopy_drain(&r.b); /* a second call does nothing */
	rig_close(&r);
}
END_TEST

#define BEFORE_MARK 100

/* A read stops before an urgent byte (tcp(7)) although more bytes are available. */
#define MARKED_LEN (BEFORE_MARK + 1000)

/* Sends MARKED_LEN bytes with an urgent one among them, which must keep its place. */
static void send_across_mark(const struct rig *r, int side)
{
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(
			setsockopt(r->inner[i], SOL_SOCKET, SO_OOBINLINE, &(int){ 1 }, sizeof(int)),
			0);
	ck_assert_int_eq(send(r->peer[side], pattern, BEFORE_MARK, MSG_OOB), BEFORE_MARK);
	ck_assert_int_eq(send(r->peer[side], pattern + BEFORE_MARK, MARKED_LEN - BEFORE_MARK, 0),
			 MARKED_LEN - BEFORE_MARK);
}

START_TEST(urgent_bytes_do_not_stop_the_flow)
{
	int side = _i / ENGINE_COUNT;
	char got[MARKED_LEN];
	size_t received = 0;
	struct rig r;

	rig_open(&r, TCP_WAYS(_i), 0);
	send_across_mark(&r, side);
	while (received < sizeof(got)) {
		ssize_t n = recv(r.peer[1 - side], got + received, sizeof(got) - received,
				 MSG_DONTWAIT);

		ck_assert(n > 0 || errno == EAGAIN);
		received += n > 0 ? (size_t)n : 0;
		step(&r, 1);
	}
	ck_assert_mem_eq(got, pattern, sizeof(got));
	rig_close(&r);
}
END_TEST

/* The kernel stops a splice at an urgent byte. If end of file follows, splice(2) returns 0, as at
 * end of file itself. */
START_TEST(an_urgent_mark_without_an_event_is_not_end_of_file)
{
	int side = _i / ENGINE_COUNT;
	char got[MARKED_LEN];
	size_t received = 0;
	ssize_t n = -1;
	struct rig r;

	rig_open(&r, TCP_WAYS(_i), 0);
	send_across_mark(&r, side);
	ck_assert_int_eq(shutdown(r.peer[side], SHUT_WR), 0);
	/* as in the middle of a turn of bulk copying */
	r.b.pump[side].bulk = true;
	bicopy_drain(&r.b);
	ck_assert(!r.b.end[side].urgent);
	while (n != 0) {
		n = recv(r.peer[1 - side], got + received, sizeof(got) - received, MSG_DONTWAIT);
		ck_assert(n >= 0 || errno == EAGAIN);
		received += n > 0 ? (size_t)n : 0;
		step(&r, 1);
		if (received == sizeof(got))
			break;
	}
	ck_assert_uint_eq(received, sizeof(got));
	ck_assert_mem_eq(got, pattern, sizeof(got));
	rig_close(&r);
}
END_TEST

START_TEST(on_end_may_free_the_pair)
{
	struct rig r;

	rig_open(&r, _i, 0);
	bicopy_cancel(&r.b);
	loop_run_tasks(r.loop);
	memset(&r.b, 0xa5, sizeof(r.b)); /* as free(3) and the next owner would */
	settle(&r);
	rig_close(&r);
}
END_TEST

/* epoll(7) refuses regular files; both positions are tried. */
START_TEST(a_failed_start_closes_both_sockets)
{
	struct loop *loop = loop_new(LOOP_EPOLL);
	struct bicopy_shared *shared = bicopy_shared_new(BUFFER_LEN, with_pipe);
	struct bicopy b;
	int fds[2], inner[2];

	fixture_socketpair(fds);
	inner[_i] = fds[1];
	inner[1 - _i] = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(bicopy_start(&b, loop, shared, inner[0], inner[1], on_end), -EPERM);
	ck_assert(!fixture_is_open(inner[0]));
	ck_assert(!fixture_is_open(inner[1]));
	ck_assert_int_eq(loop_step(loop, 0), 0);
	close(fds[0]);
	bicopy_shared_free(shared);
	loop_free(loop);
}
END_TEST

START_TEST(bicopy_reset_closes_the_descriptor)
{
	int fds[2];
	int none = -1;
	char byte;

	sockopt_reset(&none);
	tcp_pair(fds, 0);
	sockopt_reset(&fds[0]);
	ck_assert_int_eq(fds[0], -1);
	ck_assert_int_eq(recv(fds[1], &byte, 1, 0), -1);
	ck_assert_int_eq(errno, ECONNRESET);
	close(fds[1]);
}
END_TEST

static TCase *make_case(const char *name, void (*pipes)(void))
{
	TCase *tc = fixture_case(name);

	tcase_add_unchecked_fixture(tc, make_pattern, NULL);
	tcase_add_unchecked_fixture(tc, pipes, NULL);
	return tc;
}

static TCase *flowing_case(void (*pipes)(void))
{
	TCase *tc = make_case("flowing", pipes);

	tcase_add_loop_test(tc, small_messages_pass_both_ways, 0, ALL_WAYS);
	tcase_add_loop_test(tc, a_full_buffer_passes, 0, ALL_WAYS);
	tcase_add_loop_test(tc, bulk_passes_both_ways_at_once, 0, ALL_WAYS);
	tcase_add_loop_test(tc, bulk_passes_without_splice, 0, COUNT(refusals));
	tcase_add_loop_test(tc, bulk_passes_without_meminfo, 0, COUNT(meminfo_errors) * ALL_WAYS);
	tcase_add_loop_test(tc, pairs_share_a_buffer, 0, ALL_WAYS);
	return tc;
}

static TCase *pressure_case(void (*pipes)(void))
{
	TCase *tc = make_case("back-pressure", pipes);

	tcase_add_loop_test(tc, a_slow_reader_stops_its_writer, 0, 2 * ALL_WAYS);
	tcase_add_loop_test(tc, a_large_piece_is_written_in_parts, 0, 2 * ALL_WAYS);
	tcase_add_loop_test(tc, a_stuck_direction_does_not_hold_up_the_other, 0, ALL_WAYS);
	tcase_add_loop_test(tc, a_pair_never_blocks, 0, ALL_WAYS);
	return tc;
}

static TCase *eof_case(void (*pipes)(void))
{
	TCase *tc = make_case("end of file", pipes);

	tcase_add_loop_test(tc, half_close_is_passed_on, 0, 2 * ALL_WAYS);
	tcase_add_loop_test(tc, end_of_file_follows_all_pending_bytes, 0, 2 * ALL_WAYS);
	tcase_add_loop_test(tc, a_closed_writer_loses_nothing, 0, 2 * ALL_WAYS);
	tcase_add_loop_test(tc, both_sides_may_end_at_the_same_time, 0, ALL_WAYS);
	tcase_add_loop_test(tc, a_socket_may_be_closed_before_the_start, 0, 2 * ALL_WAYS);
	tcase_add_loop_test(tc, both_sockets_may_be_closed_before_the_start, 0, ALL_WAYS);
	return tc;
}

static TCase *errors_case(void (*pipes)(void))
{
	TCase *tc = make_case("errors", pipes);

	tcase_add_loop_test(tc, a_reset_is_passed_on, 0, 2 * ENGINE_COUNT);
	tcase_add_loop_test(tc, end_of_file_that_cannot_be_passed_on_becomes_a_reset, 0,
			    ENGINE_COUNT);
	tcase_add_loop_test(tc, a_reset_before_the_start_is_passed_on, 0, 2 * ENGINE_COUNT);
	tcase_add_loop_test(tc, a_reset_after_half_close_is_passed_on, 0, 2 * ENGINE_COUNT);
	tcase_add_loop_test(tc, a_writer_may_fail_while_its_bytes_are_pending, 0, 2 * ENGINE_COUNT);
	tcase_add_loop_test(tc, a_reader_may_fail_while_bytes_for_it_are_pending, 0,
			    2 * ENGINE_COUNT);
	tcase_add_loop_test(tc, a_reader_may_fail_after_end_of_file, 0, 2 * ENGINE_COUNT);
	tcase_add_loop_test(tc, writing_to_a_closed_reader_ends_the_pair, 0, 2 * ALL_WAYS);
	return tc;
}

static TCase *life_case(void (*pipes)(void))
{
	TCase *tc = make_case("start and end", pipes);

	tcase_add_loop_test(tc, cancel_ends_the_pair_in_a_task, 0, 2 * ALL_WAYS);
	tcase_add_loop_test(tc, a_busy_pair_can_be_cancelled, 0, ALL_WAYS);
	tcase_add_loop_test(tc, cancelling_an_idle_pair_resets_both_sides, 0, ALL_WAYS);
	tcase_add_loop_test(tc, cancelling_with_bytes_pending_resets_both_sides, 0,
			    2 * ENGINE_COUNT);
	tcase_add_loop_test(tc, a_pair_can_be_cancelled_after_an_end_of_file, 0, ALL_WAYS);
	tcase_add_loop_test(tc, urgent_bytes_do_not_stop_the_flow, 0, 2 * ENGINE_COUNT);
	tcase_add_loop_test(tc, an_urgent_mark_without_an_event_is_not_end_of_file, 0,
			    2 * ENGINE_COUNT);
	tcase_add_loop_test(tc, a_draining_pair_delivers_all_pending_bytes, 0, 2 * ALL_WAYS);
	tcase_add_loop_test(tc, an_idle_pair_drains_immediately, 0, ALL_WAYS);
	tcase_add_loop_test(tc, on_end_may_free_the_pair, 0, ALL_WAYS);
	tcase_add_loop_test(tc, a_failed_start_closes_both_sockets, 0, 2);
	tcase_add_test(tc, bicopy_reset_closes_the_descriptor);
	return tc;
}

int main(void)
{
	Suite *s = suite_create("bicopy");

	for (int i = 0; i < 2; i++) {
		void (*pipes)(void) = i == 0 ? forbid_pipe : allow_pipe;

		suite_add_tcase(s, flowing_case(pipes));
		suite_add_tcase(s, pressure_case(pipes));
		suite_add_tcase(s, eof_case(pipes));
		suite_add_tcase(s, errors_case(pipes));
		suite_add_tcase(s, life_case(pipes));
	}
	return fixture_run(s);
}
