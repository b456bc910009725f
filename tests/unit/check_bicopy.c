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
#define TINY	   4096	     /* bytes of a socket buffer; the kernel makes more of it */
#define BOUND	   (1 << 20) /* more than the socket buffers on a tiny way and our own can hold */
#define BIG	   (4 << 20) /* more than those on any way */
#define QUIET_MS   30

enum { OVER_UNIX, OVER_TCP, KIND_COUNT };
enum { CLIENT, SERVER };

#define ENGINE_COUNT 2
#define ALL_WAYS     (ENGINE_COUNT * KIND_COUNT)

/* Each case runs with a pipe to splice through, and without. */
static bool with_pipe;

static void with_a_pipe(void)
{
	with_pipe = true;
	signal(SIGPIPE, SIG_IGN);
}

static void without_a_pipe(void)
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

static int meminfo_error;   /* 0: the kernel has it */
static size_t full_splices; /* that asked a socket for as much as the pipe takes */
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

/* A receive buffer must be set before the connection is made to bound its window. */
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

/* Steps until the pair waits: a step without an event takes all of its time. It fails if the pair
 * turns for ever. */
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

/* The pair must have ended, once, and nothing may come of it any more. */
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

#define PATTERN_LEN 1000003 /* a prime: no multiple of a buffer's size hides a lost piece */

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

/* Sends what the socket takes of the next `len` bytes. Returns how much, or -errno. */
static ssize_t stream_send(struct rig *r, struct stream *s, size_t len)
{
	ssize_t n = send(r->peer[s->from], pattern + s->sent % PATTERN_LEN,
			 len < PATTERN_LEN ? len : PATTERN_LEN, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	s->sent += (size_t)n;
	return n;
}

/* Receives at most `len` bytes and checks them. Returns how many, -ENODATA for an end of file, or
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

/* Sends until nobody on the way takes any more, or `len` bytes are gone. */
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

/* Receives everything until the stream ends. Returns how: -ENODATA for an end of file, or -errno.
 */
static ssize_t stream_end(struct rig *r, struct stream *s, size_t chunk)
{
	ssize_t n;

	while ((n = stream_receive(r, s, chunk)) > 0 || n == -EAGAIN)
		step(r, n > 0 ? 0 : 1);
	return n;
}

static void pass(struct rig *r, struct stream *s, size_t len)
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
		pass(&r, &up, 1 + (size_t)i);
		pass(&r, &down, 100 - (size_t)i);
	}
	rig_close(&r);
}
END_TEST

/* A full buffer is the border between one read and two. */
START_TEST(a_full_buffer_passes)
{
	struct stream up = { .from = CLIENT };
	struct rig r;

	rig_open(&r, _i, 0);
	pass(&r, &up, BUFFER_LEN - 1);
	pass(&r, &up, BUFFER_LEN);
	pass(&r, &up, BUFFER_LEN + 1);
	pass(&r, &up, 40 * BUFFER_LEN); /* more than a turn */
	rig_close(&r);
}
END_TEST

#define BULK (64UL << 20)

/* One move of a side chosen at random, with a random size. Returns if anything moved. */
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

/* An old kernel, or a seccomp profile, and no other test's process. */
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

/* All pipes of a user share a limit, pipe(7). */
static bool can_have_a_pipe(void)
{
	struct bulkpipe pipe = BULKPIPE_INIT;
	bool can = bulkpipe_ready(&pipe);

	bulkpipe_close(&pipe);
	return can;
}

static const int meminfo_errors[] = { ENOPROTOOPT, ENOSYS, EPERM };

/* The receiver waits until every buffer on the way is full. Where the room of the other socket is
 * not known, splicing asks for as much as the pipe takes. */
START_TEST(bulk_passes_without_meminfo)
{
	struct stream s = { .from = CLIENT };
	struct rig r;
	bool splices = with_pipe && can_have_a_pipe();

	meminfo_error = meminfo_errors[_i % COUNT(meminfo_errors)];
	full_splices = short_splices = 0;
	rig_open(&r, _i / COUNT(meminfo_errors), 0);
	stream_fill(&r, &s, 2 * BIG);
	pass(&r, &s, BIG);
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
	pass(&other, &flowing, 10 * BUFFER_LEN);
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
	/* A byte at a time, then in small pieces: it goes on, and nothing is lost. */
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

/* What was read at once fits into the other side's socket only in many parts. */
START_TEST(a_large_piece_goes_out_in_parts)
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
	pass(&r, &down, BOUND);
	end_sending(&r, CLIENT);
	ck_assert_int_eq(stream_end(&r, &up, BUFFER_LEN), -ENODATA);
	ck_assert_uint_eq(up.received, up.sent);
	rig_close(&r);
}
END_TEST

/* Both directions stuck: the pair waits, with sockets that would block. */
START_TEST(never_blocks)
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

START_TEST(half_close_passes)
{
	struct stream s = { .from = _i / ALL_WAYS };
	struct stream back = { .from = 1 - s.from };
	struct rig r;

	rig_open(&r, _i, 0);
	pass(&r, &s, 10);
	ck_assert_int_eq(stream_send(&r, &s, 100), 100);
	end_sending(&r, s.from);
	ck_assert_int_eq(stream_end(&r, &s, BUFFER_LEN), -ENODATA);
	ck_assert_uint_eq(s.received, 110);
	settle(&r);
	ck_assert_int_eq(r.ended, 0);
	/* The other direction goes on, even with much. */
	pass(&r, &back, BIG);
	end_sending(&r, back.from);
	ck_assert_int_eq(stream_end(&r, &back, BUFFER_LEN), -ENODATA);
	await_end(&r);
	rig_close(&r);
}
END_TEST

START_TEST(end_of_file_comes_after_what_is_pending)
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

/* close(2) with nothing unread is no error: what was sent before arrives. */
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

START_TEST(both_may_end_at_once)
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

START_TEST(an_end_may_be_closed_at_the_start)
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

START_TEST(both_ends_may_be_closed_at_the_start)
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

START_TEST(a_reset_becomes_a_reset)
{
	struct stream s = { .from = _i / ENGINE_COUNT };
	struct rig r;

	rig_open(&r, TCP_WAYS(_i), 0);
	pass(&r, &s, 100);
	close_with_reset(&r.peer[s.from]);
	ck_assert_int_eq(stream_end(&r, &s, BUFFER_LEN), -ECONNRESET);
	await_end(&r);
	rig_close(&r);
}
END_TEST

/* A client that has ended must not wait for the end of the answer for ever. */
START_TEST(an_end_that_cannot_be_passed_on_becomes_a_reset)
{
	struct stream s = { .from = CLIENT };
	struct rig r;
	pid_t client;

	if (!fixture_is_forked())
		return;
	rig_open(&r, TCP_WAYS(_i), 0);
	pass(&r, &s, 10);
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

START_TEST(a_reset_at_the_start_becomes_a_reset)
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

/* One direction is shut already, so that nothing is read from the side that resets. */
START_TEST(a_reset_after_half_close_becomes_a_reset)
{
	struct stream s = { .from = _i / ENGINE_COUNT };
	struct stream back = { .from = 1 - s.from };
	struct rig r;

	rig_open(&r, TCP_WAYS(_i), 0);
	end_sending(&r, s.from);
	ck_assert_int_eq(stream_end(&r, &s, BUFFER_LEN), -ENODATA);
	settle(&r);
	close_with_reset(&r.peer[s.from]);
	/* With poll(2) nobody listens there until something is to be written to it. */
	while (engine_of(_i) == LOOP_POLL && stream_send(&r, &back, 1) >= 0)
		step(&r, 1);
	await_end(&r);
	/* After an end of file a reset is EPIPE. */
	if (engine_of(_i) == LOOP_EPOLL)
		ck_assert_int_eq(stream_send(&r, &back, 1), -EPIPE);
	rig_close(&r);
}
END_TEST

/* The reader does not read, and the writer breaks: what came in order may be read, then comes the
 * reset, never an end of file. */
START_TEST(a_writer_may_break_while_data_is_left_over)
{
	struct stream s = { .from = _i / ENGINE_COUNT };
	struct rig r;

	rig_open(&r, TCP_WAYS(_i), TINY);
	stream_fill(&r, &s, BIG);
	ck_assert_uint_gt(r.b.pump[s.from].left, 0);
	close_with_reset(&r.peer[s.from]);
	if (engine_of(_i) == LOOP_EPOLL)
		await_end(&r);
	ck_assert_int_eq(stream_end(&r, &s, BUFFER_LEN), -ECONNRESET);
	await_end(&r);
	rig_close(&r);
}
END_TEST

START_TEST(a_reader_may_break_while_data_is_left_over)
{
	struct stream s = { .from = _i / ENGINE_COUNT };
	struct stream back = { .from = 1 - s.from };
	struct rig r;

	rig_open(&r, TCP_WAYS(_i), TINY);
	stream_fill(&r, &s, BIG);
	ck_assert_uint_gt(r.b.pump[s.from].left, 0);
	close_with_reset(&r.peer[1 - s.from]);
	await_end(&r);
	ck_assert_int_eq(stream_end(&r, &back, BUFFER_LEN), -ECONNRESET);
	rig_close(&r);
}
END_TEST

START_TEST(a_reader_may_break_after_end_of_file)
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

/* While it has a turn to come: the queued task becomes the report. */
START_TEST(a_busy_pair_can_be_cancelled)
{
	struct stream s = { .from = CLIENT };
	struct rig r;

	rig_prepare(&r, _i, 0);
	bicopy_shared_free(r.shared);
	r.shared = bicopy_shared_new(1, false); /* a pipe would take all at once */
	ck_assert_int_eq(stream_send(&r, &s, 1000), 1000);
	rig_start(&r);
	while (!r.b.task.queued)
		step(&r, 0);
	bicopy_cancel(&r.b);
	rig_close(&r);
	ck_assert_uint_lt(s.received, 1000);
}
END_TEST

/* How a stream ends that was cut: only TCP knows resets. */
static ssize_t cut(int i)
{
	return kind_of(i) == OVER_TCP ? -ECONNRESET : -ENODATA;
}

/* Nobody knows that it was quiet because all was said. */
START_TEST(cancel_of_a_quiet_pair_is_a_reset)
{
	struct stream s[2] = { { .from = CLIENT }, { .from = SERVER } };
	struct rig r;

	rig_open(&r, _i, 0);
	pass(&r, &s[0], 1000);
	pass(&r, &s[1], 1000);
	bicopy_cancel(&r.b);
	ck_assert_int_eq(stream_end(&r, &s[0], BUFFER_LEN), cut(_i));
	ck_assert_int_eq(stream_end(&r, &s[1], BUFFER_LEN), cut(_i));
	rig_close(&r);
}
END_TEST

/* What is there must not be taken for the whole. */
START_TEST(cancel_with_something_on_the_way_is_a_reset)
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

/* A direction that has ended stays ended. */
START_TEST(cancel_after_an_end_of_file)
{
	struct stream s = { .from = SERVER };
	struct rig r;

	rig_open(&r, _i, 0);
	pass(&r, &s, 1000);
	end_sending(&r, SERVER);
	ck_assert_int_eq(stream_end(&r, &s, BUFFER_LEN), -ENODATA);
	settle(&r);
	bicopy_cancel(&r.b);
	ck_assert_int_eq(stream_end(&r, &s, BUFFER_LEN), -ENODATA);
	rig_close(&r);
}
END_TEST

/* The sender has gone, or still waits for more to say. */
START_TEST(a_pair_that_drains_passes_all_on)
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
	ck_assert_int_eq(n, has_gone ? -ENODATA : cut(_i / 2));
	ck_assert_uint_eq(s.received, s.sent);
	await_end(&r);
	rig_close(&r);
}
END_TEST

START_TEST(a_quiet_pair_drains_at_once)
{
	struct stream s = { .from = SERVER };
	struct rig r;

	rig_open(&r, _i, 0);
	pass(&r, &s, 1000);
	bicopy_drain(&r.b);
	ck_assert(!fixture_is_open(r.inner[0]));
	loop_run_tasks(r.loop);
	ck_assert_int_eq(r.ended, 1);
	ck_assert_int_eq(stream_end(&r, &s, BUFFER_LEN), cut(_i));
	bicopy_drain(&r.b); /* once more does nothing */
	rig_close(&r);
}
END_TEST

#define BEFORE_MARK 100

/* A read stops at an urgent byte (tcp(7)), although there is more. */
#define MARKED_LEN (BEFORE_MARK + 1000)

/* Sends MARKED_LEN bytes with an urgent one among them, which has to stay in its place. */
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

/* The kernel stops a splice there, and where an end of file is behind it says 0, as at the end. */
START_TEST(a_mark_that_nobody_told_of_is_no_end_of_file)
{
	int side = _i / ENGINE_COUNT;
	char got[MARKED_LEN];
	size_t received = 0;
	ssize_t n = -1;
	struct rig r;

	rig_open(&r, TCP_WAYS(_i), 0);
	send_across_mark(&r, side);
	ck_assert_int_eq(shutdown(r.peer[side], SHUT_WR), 0);
	/* A bulk flow in the middle of its turn. */
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

/* epoll(7) takes neither; which of the two ends it is does not matter. */
START_TEST(a_failed_start_closes_both)
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

START_TEST(reset_takes_the_descriptor)
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
	tcase_add_loop_test(tc, a_large_piece_goes_out_in_parts, 0, 2 * ALL_WAYS);
	tcase_add_loop_test(tc, a_stuck_direction_does_not_hold_up_the_other, 0, ALL_WAYS);
	tcase_add_loop_test(tc, never_blocks, 0, ALL_WAYS);
	return tc;
}

static TCase *eof_case(void (*pipes)(void))
{
	TCase *tc = make_case("end of file", pipes);

	tcase_add_loop_test(tc, half_close_passes, 0, 2 * ALL_WAYS);
	tcase_add_loop_test(tc, end_of_file_comes_after_what_is_pending, 0, 2 * ALL_WAYS);
	tcase_add_loop_test(tc, a_closed_writer_loses_nothing, 0, 2 * ALL_WAYS);
	tcase_add_loop_test(tc, both_may_end_at_once, 0, ALL_WAYS);
	tcase_add_loop_test(tc, an_end_may_be_closed_at_the_start, 0, 2 * ALL_WAYS);
	tcase_add_loop_test(tc, both_ends_may_be_closed_at_the_start, 0, ALL_WAYS);
	return tc;
}

static TCase *errors_case(void (*pipes)(void))
{
	TCase *tc = make_case("errors", pipes);

	tcase_add_loop_test(tc, a_reset_becomes_a_reset, 0, 2 * ENGINE_COUNT);
	tcase_add_loop_test(tc, an_end_that_cannot_be_passed_on_becomes_a_reset, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, a_reset_at_the_start_becomes_a_reset, 0, 2 * ENGINE_COUNT);
	tcase_add_loop_test(tc, a_reset_after_half_close_becomes_a_reset, 0, 2 * ENGINE_COUNT);
	tcase_add_loop_test(tc, a_writer_may_break_while_data_is_left_over, 0, 2 * ENGINE_COUNT);
	tcase_add_loop_test(tc, a_reader_may_break_while_data_is_left_over, 0, 2 * ENGINE_COUNT);
	tcase_add_loop_test(tc, a_reader_may_break_after_end_of_file, 0, 2 * ENGINE_COUNT);
	tcase_add_loop_test(tc, writing_to_a_closed_reader_ends_the_pair, 0, 2 * ALL_WAYS);
	return tc;
}

static TCase *life_case(void (*pipes)(void))
{
	TCase *tc = make_case("start and end", pipes);

	tcase_add_loop_test(tc, cancel_ends_the_pair_in_a_task, 0, 2 * ALL_WAYS);
	tcase_add_loop_test(tc, a_busy_pair_can_be_cancelled, 0, ALL_WAYS);
	tcase_add_loop_test(tc, cancel_of_a_quiet_pair_is_a_reset, 0, ALL_WAYS);
	tcase_add_loop_test(tc, cancel_with_something_on_the_way_is_a_reset, 0, 2 * ENGINE_COUNT);
	tcase_add_loop_test(tc, cancel_after_an_end_of_file, 0, ALL_WAYS);
	tcase_add_loop_test(tc, urgent_bytes_do_not_stop_the_flow, 0, 2 * ENGINE_COUNT);
	tcase_add_loop_test(tc, a_mark_that_nobody_told_of_is_no_end_of_file, 0, 2 * ENGINE_COUNT);
	tcase_add_loop_test(tc, a_pair_that_drains_passes_all_on, 0, 2 * ALL_WAYS);
	tcase_add_loop_test(tc, a_quiet_pair_drains_at_once, 0, ALL_WAYS);
	tcase_add_loop_test(tc, on_end_may_free_the_pair, 0, ALL_WAYS);
	tcase_add_loop_test(tc, a_failed_start_closes_both, 0, 2);
	tcase_add_test(tc, reset_takes_the_descriptor);
	return tc;
}

int main(void)
{
	Suite *s = suite_create("bicopy");

	for (int i = 0; i < 2; i++) {
		void (*pipes)(void) = i == 0 ? without_a_pipe : with_a_pipe;

		suite_add_tcase(s, flowing_case(pipes));
		suite_add_tcase(s, pressure_case(pipes));
		suite_add_tcase(s, eof_case(pipes));
		suite_add_tcase(s, errors_case(pipes));
		suite_add_tcase(s, life_case(pipes));
	}
	return fixture_run(s);
}
