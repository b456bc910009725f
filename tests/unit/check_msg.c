/* SPDX-License-Identifier: Apache-2.0 */

/* Frames in pieces, and descriptors. Refused descriptors do not stay open. */
#include "base/fd.h"
#include "msg.h"
#include "os/sockopt.h"
#include "tests/unit/fixture.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/un.h>
#include <sys/wait.h>

#define INTERRUPTIONS 20 /* signals during each call, so that some arrive while it waits */

static char body[MSG_MAX + 1];

static void fill_body(void)
{
	for (size_t i = 0; i < sizeof(body); i++)
		body[i] = (char)('a' + i % 23);
}

/* Frames travel on pipes and on sockets. */
enum { ON_PIPE, ON_SOCKET, CHANNEL_COUNT };

struct channel {
	int reads;
	int writes;
};

static struct channel channel_open(int kind)
{
	int fds[2];

	if (kind == ON_PIPE)
		ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	else
		fixture_socketpair(fds);
	return (struct channel){ fds[0], fds[1] };
}

static void channel_close(struct channel *c)
{
	close(c->reads);
	close(c->writes);
}

static void set_nonblock(int fd)
{
	ck_assert_int_eq(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), 0);
}

static void put(int fd, const void *bytes, size_t len)
{
	ck_assert_int_eq(write(fd, bytes, len), (ssize_t)len);
}

/* ---- frames on the wire ---- */

static const struct {
	size_t len;
	const char *head;
} heads[] = {
	{ 1, "\1\0\0\0" },
	{ 255, "\377\0\0\0" },
	{ 256, "\0\1\0\0" },
	{ 0x1234, "\x34\x12\0\0" },
};

START_TEST(length_is_little_endian)
{
	int (*const send[])(int, const void *, size_t) = { msg_send, msg_send_now };

	for (size_t i = 0; i < 2; i++) {
		struct channel c = channel_open(ON_SOCKET);
		char got[MSG_HEAD + 0x1234 + 1];
		size_t len = heads[_i].len;

		ck_assert_int_eq(send[i](c.writes, body, len), 0);
		ck_assert_int_eq(read(c.reads, got, sizeof(got)), (ssize_t)(MSG_HEAD + len));
		ck_assert_mem_eq(got, heads[_i].head, MSG_HEAD);
		ck_assert_mem_eq(got + MSG_HEAD, body, len);
		channel_close(&c);
	}
}
END_TEST

static const size_t bad_lengths[] = { 0, MSG_MAX + 1, SIZE_MAX };

START_TEST(a_frame_of_a_bad_length_is_not_sent)
{
	struct channel c = channel_open(ON_SOCKET);
	char byte;

	ck_assert_int_eq(msg_send(c.writes, body, bad_lengths[_i]), -EMSGSIZE);
	ck_assert_int_eq(msg_send_now(c.writes, body, bad_lengths[_i]), -EMSGSIZE);
	ck_assert_int_eq(recv(c.reads, &byte, 1, MSG_DONTWAIT), -1);
	ck_assert_int_eq(errno, EAGAIN);
	channel_close(&c);
}
END_TEST

struct sending {
	int fd;
	size_t len;
	int r;
};

static void *send_frame(void *arg)
{
	struct sending *s = arg;

	s->r = msg_send(s->fd, body, s->len);
	return NULL;
}

static const size_t good_lengths[] = { 1, 2, 4, 4095, 65535, MSG_MAX };

/* The longest frames do not fit into a pipe, so both sides wait for each other. */
START_TEST(frames_arrive_as_they_were_sent)
{
	struct channel c = channel_open(_i % CHANNEL_COUNT);
	struct sending s = { .fd = c.writes, .len = good_lengths[_i / CHANNEL_COUNT], .r = 1 };
	pthread_t thread = fixture_thread(send_frame, &s);
	struct msg_reader r = { 0 };

	ck_assert_int_eq(msg_read(&r, c.reads), 1);
	pthread_join(thread, NULL);
	ck_assert_int_eq(s.r, 0);
	ck_assert_uint_eq(r.len, s.len);
	ck_assert_mem_eq(r.body, body, s.len);
	ck_assert_int_eq(r.body[s.len], '\0');
	msg_reader_reset(&r);
	channel_close(&c);
}
END_TEST

static const char two_frames[] = "\5\0\0\0hello\2\0\0\0ok";
#define TWO_FRAMES_LEN ((int)sizeof(two_frames) - 1)
#define FIRST_LEN      9

START_TEST(a_frame_may_arrive_byte_by_byte)
{
	struct channel c = channel_open(_i);
	struct msg_reader r = { 0 };

	set_nonblock(c.reads);
	for (int i = 0; i < TWO_FRAMES_LEN; i++) {
		bool ends = i + 1 == FIRST_LEN || i + 1 == TWO_FRAMES_LEN;

		ck_assert_int_eq(msg_read(&r, c.reads), 0);
		put(c.writes, two_frames + i, 1);
		ck_assert_int_eq(msg_read(&r, c.reads), ends);
		if (ends) {
			ck_assert_str_eq(r.body, i < FIRST_LEN ? "hello" : "ok");
			msg_reader_reset(&r);
		}
	}
	channel_close(&c);
}
END_TEST

/* Two frames arrive in two parts. The reader takes no byte of the next frame. */
START_TEST(frames_may_be_split_anywhere)
{
	struct channel c = channel_open(ON_SOCKET);
	struct msg_reader r = { 0 };

	set_nonblock(c.reads);
	put(c.writes, two_frames, (size_t)_i);
	if (_i < FIRST_LEN)
		ck_assert_int_eq(msg_read(&r, c.reads), 0);
	put(c.writes, two_frames + _i, (size_t)(TWO_FRAMES_LEN - _i));
	ck_assert_int_eq(msg_read(&r, c.reads), 1);
	ck_assert_str_eq(r.body, "hello");
	msg_reader_reset(&r);
	ck_assert_int_eq(msg_read(&r, c.reads), 1);
	ck_assert_str_eq(r.body, "ok");
	msg_reader_reset(&r);
	ck_assert_int_eq(msg_read(&r, c.reads), 0);
	channel_close(&c);
}
END_TEST

static const char *const refused_heads[] = {
	"\0\0\0\0", "\1\0\1\0", /* 65537 */
	"\0\0\0\1", "\0\0\0\200", "\377\377\377\377",
};

START_TEST(a_bad_length_is_refused)
{
	struct channel c = channel_open(ON_PIPE);
	struct msg_reader r = { 0 };
	struct msg_reader fed = { 0 };

	put(c.writes, refused_heads[_i], MSG_HEAD);
	ck_assert_int_eq(msg_read(&r, c.reads), -EPROTO);
	ck_assert_ptr_null(r.body);
	ck_assert_int_eq(msg_feed(&fed, refused_heads[_i], MSG_HEAD), -EPROTO);
	ck_assert_ptr_null(fed.body);
	channel_close(&c);
}
END_TEST

static const struct {
	int len; /* bytes of the frame that come before the end of file */
	int r;
} ends[] = {
	{ 0, -ENODATA },	  { 1, -EPIPE },
	{ MSG_HEAD - 1, -EPIPE }, { MSG_HEAD, -EPIPE },
	{ MSG_HEAD + 1, -EPIPE }, { FIRST_LEN - 1, -EPIPE },
	{ FIRST_LEN, 1 },
};

START_TEST(end_of_file_is_reported_between_and_within_frames)
{
	struct channel c = channel_open(_i % CHANNEL_COUNT);
	int len = ends[_i / CHANNEL_COUNT].len;
	struct msg_reader r = { 0 };

	if (len > 0)
		put(c.writes, two_frames, (size_t)len);
	close(c.writes);
	ck_assert_int_eq(msg_read(&r, c.reads), ends[_i / CHANNEL_COUNT].r);
	msg_reader_reset(&r);
	ck_assert_int_eq(msg_read(&r, c.reads), -ENODATA);
	close(c.reads);
}
END_TEST

START_TEST(errors_of_the_descriptor_are_reported)
{
	struct msg_reader r = { 0 };
	int dir = open("/", O_RDONLY | O_CLOEXEC);

	ck_assert_int_eq(msg_read(&r, dir), -EISDIR);
	ck_assert_int_eq(msg_read(&r, -1), -EBADF);
	ck_assert_int_eq(msg_send(-1, body, 1), -EBADF);
	ck_assert_int_eq(msg_send_now(-1, body, 1), -EBADF);
	ck_assert_int_eq(msg_send_now(dir, body, 1), -ENOTSOCK);
	close(dir);
}
END_TEST

START_TEST(a_reader_may_be_fed_in_pieces)
{
	struct msg_reader r = { 0 };

	for (int i = 0; i < FIRST_LEN; i += _i) {
		size_t n = (size_t)(FIRST_LEN - i < _i ? FIRST_LEN - i : _i);

		ck_assert_int_eq(msg_feed(&r, two_frames + i, 0), 0);
		ck_assert_int_eq(msg_feed(&r, two_frames + i, n), i + _i >= FIRST_LEN);
	}
	ck_assert_str_eq(r.body, "hello");
	msg_reader_reset(&r);
	/* Bytes after the frame are not consumed. */
	ck_assert_int_eq(msg_feed(&r, two_frames, (size_t)TWO_FRAMES_LEN), 1);
	ck_assert_str_eq(r.body, "hello");
	msg_reader_reset(&r);
}
END_TEST

START_TEST(reset_discards_half_a_frame)
{
	struct msg_reader r = { 0 };

	ck_assert_int_eq(msg_feed(&r, two_frames, MSG_HEAD + 2), 0);
	ck_assert_ptr_nonnull(r.body);
	msg_reader_reset(&r);
	ck_assert_ptr_null(r.body);
	ck_assert_int_eq(msg_feed(&r, two_frames + FIRST_LEN, 6), 1);
	ck_assert_str_eq(r.body, "ok");
	msg_reader_reset(&r);
}
END_TEST

START_TEST(send_now_never_blocks)
{
	struct channel c = channel_open(ON_SOCKET);
	int size = 4096;
	int r;

	/* The first frame does not fit completely, the last one not at all. */
	ck_assert_int_eq(setsockopt(c.writes, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
	ck_assert_int_eq(msg_send_now(c.writes, body, MSG_MAX), -EAGAIN);
	do
		r = msg_send_now(c.writes, body, 1);
	while (r == 0);
	ck_assert_int_eq(r, -EAGAIN);
	channel_close(&c);
}
END_TEST

/* ---- signals ---- */

static void *drain_after_ticks(void *arg)
{
	const struct channel *c = arg;
	struct msg_reader r = { 0 };

	fixture_await_ticks(INTERRUPTIONS);
	ck_assert_int_eq(msg_read(&r, c->reads), 1);
	ck_assert_uint_eq(r.len, MSG_MAX);
	ck_assert_mem_eq(r.body, body, MSG_MAX);
	msg_reader_reset(&r);
	return NULL;
}

START_TEST(send_goes_on_after_a_signal)
{
	struct channel c = channel_open(_i);
	int size = 4096;
	pthread_t thread;

	if (_i == ON_PIPE)
		fcntl(c.writes, F_SETPIPE_SZ, size);
	else
		setsockopt(c.writes, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	fixture_start_ticks();
	thread = fixture_thread(drain_after_ticks, &c);
	ck_assert_int_eq(msg_send(c.writes, body, MSG_MAX), 0);
	pthread_join(thread, NULL);
	fixture_stop_ticks();
	channel_close(&c);
}
END_TEST

static void *write_after_ticks(void *arg)
{
	const struct channel *c = arg;

	for (int i = 0; i < FIRST_LEN; i += 3) {
		fixture_await_ticks(INTERRUPTIONS);
		put(c->writes, two_frames + i, 3);
	}
	return NULL;
}

START_TEST(read_goes_on_after_a_signal)
{
	struct channel c = channel_open(_i);
	struct msg_reader r = { 0 };
	pthread_t thread;

	fixture_start_ticks();
	thread = fixture_thread(write_after_ticks, &c);
	ck_assert_int_eq(msg_read(&r, c.reads), 1);
	ck_assert_str_eq(r.body, "hello");
	pthread_join(thread, NULL);
	fixture_stop_ticks();
	msg_reader_reset(&r);
	channel_close(&c);
}
END_TEST

/* Fills a socket; returns how many bytes it took. */
static size_t fill(int sock)
{
	size_t total = 0;
	ssize_t n;

	while ((n = send(sock, body, 1, MSG_DONTWAIT)) > 0)
		total += (size_t)n;
	ck_assert_int_eq(errno, EAGAIN);
	return total;
}

struct draining {
	int fd;
	size_t len;
};

static void *read_after_ticks(void *arg)
{
	const struct draining *d = arg;
	size_t len = 0;
	char buf[512];

	fixture_await_ticks(INTERRUPTIONS);
	while (len < d->len) {
		ssize_t n = read(d->fd, buf,
				 d->len - len < sizeof(buf) ? d->len - len : sizeof(buf));

		ck_assert_int_gt(n, 0);
		len += (size_t)n;
	}
	return NULL;
}

START_TEST(send_fd_goes_on_after_a_signal)
{
	struct channel c = channel_open(ON_SOCKET);
	struct draining d = { .fd = c.reads, .len = fill(c.writes) };
	pthread_t thread;
	char byte;
	int got;

	fixture_start_ticks();
	thread = fixture_thread(read_after_ticks, &d);
	ck_assert_int_eq(msg_send_fd(c.writes, STDERR_FILENO), 0);
	pthread_join(thread, NULL);
	fixture_stop_ticks();
	ck_assert_int_eq(msg_recv_fd(c.reads, &byte, 1, &got), 1);
	ck_assert_int_ge(got, 0);
	close(got);
	channel_close(&c);
}
END_TEST

/* SIGPIPE has its default action here, so it would end the test. */
START_TEST(a_socket_raises_no_sigpipe)
{
	struct channel c = channel_open(ON_SOCKET);

	close(c.reads);
	ck_assert_int_eq(msg_send_now(c.writes, body, 1), -EPIPE);
	ck_assert_int_eq(msg_send_fd(c.writes, STDERR_FILENO), -EPIPE);
	ck_assert_int_eq(msg_send(c.writes, body, 1), -EPIPE);
	close(c.writes);
}
END_TEST

/* ---- descriptors ---- */

/* Sends `len` bytes, and the same descriptor `count` times, in `parts` control messages. */
static void send_fds(int sock, size_t len, int count, int parts, int fd)
{
	static union {
		char space[CMSG_SPACE(253 * sizeof(int)) + CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { body, len };
	struct msghdr mh = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.space,
		.msg_controllen = sizeof(control.space),
	};
	struct cmsghdr *c = NULL;
	size_t used = 0;

	memset(&control, 0, sizeof(control));
	for (int part = 0; part < parts; part++) {
		size_t data_len = sizeof(int) * (size_t)(part == 0 ? count - parts + 1 : 1);

		c = c == NULL ? CMSG_FIRSTHDR(&mh) : CMSG_NXTHDR(&mh, c);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(data_len);
		for (size_t i = 0; i < data_len; i += sizeof(int))
			memcpy(CMSG_DATA(c) + i, &fd, sizeof(int));
		used += CMSG_SPACE(data_len);
	}
	mh.msg_controllen = used;
	ck_assert_int_eq(sendmsg(sock, &mh, MSG_NOSIGNAL), (ssize_t)len);
}

/* Sends an urgent byte with a descriptor, if this kernel can do that. */
static void send_urgent(int sock, int fd)
{
	static union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { (char[]){ "!" }, 1 };
	struct msghdr mh = { .msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.space,
			     .msg_controllen = sizeof(control.space) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&mh);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	ck_assert(sendmsg(sock, &mh, MSG_OOB | MSG_NOSIGNAL) == 1 || errno == EOPNOTSUPP);
}

static ino_t inode_of(int fd)
{
	struct stat st;

	ck_assert_int_eq(fstat(fd, &st), 0);
	return st.st_ino;
}

START_TEST(a_descriptor_is_passed)
{
	struct channel c = channel_open(ON_SOCKET);
	struct channel passed = channel_open(ON_PIPE);
	char buf[8];
	int got = -2;

	ck_assert_int_eq(msg_send_fd(c.writes, passed.writes), 0);
	ck_assert(fixture_is_open(passed.writes));
	ck_assert_int_eq(msg_recv_fd(c.reads, buf, sizeof(buf), &got), 1);
	ck_assert_int_ne(got, passed.writes);
	ck_assert_uint_eq(inode_of(got), inode_of(passed.writes));
	ck_assert(fixture_is_cloexec(got));
	put(got, "x", 1);
	ck_assert_int_eq(read(passed.reads, buf, sizeof(buf)), 1);
	close(got);
	channel_close(&passed);
	channel_close(&c);
}
END_TEST

START_TEST(bytes_may_arrive_without_a_descriptor)
{
	struct channel c = channel_open(ON_SOCKET);
	char buf[4];
	int got = -2;

	put(c.writes, "answer", 6);
	ck_assert_int_eq(msg_recv_fd(c.reads, buf, sizeof(buf), &got), 4);
	ck_assert_int_eq(got, -1);
	ck_assert_mem_eq(buf, "answ", 4);
	ck_assert_int_eq(msg_recv_fd(c.reads, buf, sizeof(buf), &got), 2);
	ck_assert_mem_eq(buf, "er", 2);
	channel_close(&c);
}
END_TEST

START_TEST(recv_distinguishes_no_data_from_end_of_file)
{
	struct channel c = channel_open(ON_SOCKET);
	char byte;
	int got = -2;

	ck_assert_int_eq(msg_recv_fd(c.reads, &byte, 1, &got), -EAGAIN);
	ck_assert_int_eq(got, -1);
	close(c.writes);
	got = -2;
	ck_assert_int_eq(msg_recv_fd(c.reads, &byte, 1, &got), 0);
	ck_assert_int_eq(got, -1);
	close(c.reads);
}
END_TEST

START_TEST(descriptors_are_passed_on_unix_sockets_only)
{
	struct channel c = channel_open(ON_SOCKET);
	struct channel pipe = channel_open(ON_PIPE);
	char byte;
	int got = -2;

	ck_assert_int_eq(msg_send_fd(pipe.writes, STDERR_FILENO), -ENOTSOCK);
	ck_assert_int_eq(msg_recv_fd(pipe.reads, &byte, 1, &got), -ENOTSOCK);
	ck_assert_int_eq(got, -1);
	ck_assert_int_eq(msg_send_fd(c.writes, -1), -EBADF);
	ck_assert_int_eq(msg_recv_fd(c.reads, &byte, 1, &got), -EAGAIN);
	channel_close(&pipe);
	channel_close(&c);
}
END_TEST

static const struct {
	int count;
	int parts; /* control messages */
} surplus[] = {
	{ 2, 1 }, { 2, 2 }, { 3, 1 }, { 3, 2 }, { 252, 1 }, { 253, 1 },
};

/* Other processes close discarded descriptors. */
static void await_closers(void)
{
	while (waitpid(-1, NULL, 0) > 0)
		;
	fixture_await_closers();
}

/* The fixture checks that all are closed. */
START_TEST(more_than_one_descriptor_is_refused)
{
	struct channel c = channel_open(ON_SOCKET);
	char buf[8];
	int got = -2;

	send_fds(c.writes, 3, surplus[_i].count, surplus[_i].parts, STDERR_FILENO);
	ck_assert_int_eq(msg_recv_fd(c.reads, buf, sizeof(buf), &got), -EPROTO);
	ck_assert_int_eq(got, -1);
	/* The connection can still be used. */
	ck_assert_int_eq(msg_send_fd(c.writes, STDERR_FILENO), 0);
	ck_assert_int_eq(msg_recv_fd(c.reads, buf, sizeof(buf), &got), 1);
	ck_assert_int_ge(got, 0);
	close(got);
	channel_close(&c);
	await_closers();
}
END_TEST

#ifdef NO_CLOSERS
#define ONE_CLOSER 0
#else
#define ONE_CLOSER 1
#endif

/* Waits for the closers, and returns how many there were. */
static int count_closers(void)
{
	int count = 0;

	while (waitpid(-1, NULL, 0) > 0)
		count++;
	fixture_await_closers();
	return count;
}

START_TEST(recv_takes_bytes)
{
	struct channel c = channel_open(ON_SOCKET);
	char buf[8] = "";

	ck_assert_int_eq(msg_recv(c.reads, buf, sizeof(buf)), -EAGAIN);
	put(c.writes, "eight or more", 13);
	ck_assert_int_eq(msg_recv(c.reads, buf, sizeof(buf)), 8);
	ck_assert_mem_eq(buf, "eight or", 8);
	ck_assert_int_eq(msg_recv(c.reads, buf, sizeof(buf)), 5);
	ck_assert_mem_eq(buf, " more", 5);
	close(c.writes);
	ck_assert_int_eq(msg_recv(c.reads, buf, sizeof(buf)), 0);
	ck_assert_int_eq(msg_recv(-1, buf, sizeof(buf)), -EBADF);
	close(c.reads);
}
END_TEST

/* Not even for a moment are there more descriptors than before. */
START_TEST(recv_refuses_descriptors)
{
	struct channel c = channel_open(ON_SOCKET);
	struct channel passed = channel_open(ON_PIPE);
	char buf[8];

	if (_i > 0)
		put(c.writes, "text", 4);
	send_fds(c.writes, 3, 253, 1, passed.writes);
	put(c.writes, "x", 1);
	close(passed.writes);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(msg_recv(c.reads, buf, sizeof(buf)), -EPROTO);
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
	msg_close(&c.reads);
	ck_assert_int_eq(read(passed.reads, buf, 1), 0);
	close(passed.reads);
	close(c.writes);
	await_closers();
}
END_TEST

/* The kernel would skip the urgent byte, and close the socket that came with it here. */
START_TEST(recv_refuses_descriptors_of_an_urgent_byte)
{
	struct channel c = channel_open(ON_SOCKET);
	struct channel passed = channel_open(ON_PIPE);
	char buf[8];

	sockopt_oob_inline(c.reads);
	send_urgent(c.writes, passed.writes);
	put(c.writes, "x", 1);
	close(passed.writes);
	/* Older kernels have no urgent bytes here, or pass no descriptors with them. */
	if (fd_wait(passed.reads, POLLIN, 0) == 0)
		ck_assert_int_eq(msg_recv(c.reads, buf, sizeof(buf)), -EPROTO);
	msg_close(&c.reads);
	ck_assert_int_eq(read(passed.reads, buf, 1), 0);
	close(passed.reads);
	close(c.writes);
	await_closers();
}
END_TEST

#define FLOOD \
	3 /* messages of 253 descriptors; at most RLIMIT_NOFILE may be on the way, often 1024 */

START_TEST(closing_takes_one_process_however_many_descriptors_wait)
{
	struct channel c = channel_open(ON_SOCKET);
	struct channel passed = channel_open(ON_PIPE);
	char byte;

	for (int i = 0; i < FLOOD; i++)
		send_fds(c.writes, 1, 253, 1, passed.writes);
	close(passed.writes);
	msg_close(&c.reads);
	ck_assert_int_eq(count_closers(), ONE_CLOSER);
	ck_assert_int_eq(read(passed.reads, &byte, 1), 0);
	close(passed.reads);
	close(c.writes);
}
END_TEST

START_TEST(closing_takes_no_process_if_nothing_waits)
{
	struct channel c = channel_open(ON_SOCKET);
	char buf[4];

	put(c.writes, "text", 4);
	ck_assert_int_eq(msg_recv(c.reads, buf, sizeof(buf)), 4);
	msg_close(&c.reads);
	ck_assert_int_eq(count_closers(), 0);
	close(c.writes);
}
END_TEST

START_TEST(a_surplus_takes_one_process)
{
	struct channel c = channel_open(ON_SOCKET);
	size_t count;
	int fds[2];
	char byte;

	send_fds(c.writes, 1, 253, 1, STDERR_FILENO);
	ck_assert_int_eq(msg_recv_fds(c.reads, &byte, 1, fds, 2, &count), -EPROTO);
	ck_assert_uint_eq(count, 0);
	ck_assert_int_eq(count_closers(), ONE_CLOSER);
	channel_close(&c);
}
END_TEST

/* The last descriptor of a lingering socket with a full buffer is in flight. close(2) of it, or of
 * the connection that carries it, would block for a minute. */
static void send_lingering(int sock, int server)
{
	const struct linger minute = { .l_onoff = 1, .l_linger = 60 };
	static const char bytes[65536];
	struct sockaddr_in sa;
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(getsockname(server, (struct sockaddr *)&sa, &len), 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sa, len), 0);
	while (send(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &minute, sizeof(minute)), 0);
	ck_assert_int_eq(msg_send_fd(sock, fd), 0);
	close(fd);
}

START_TEST(closing_does_not_wait_for_descriptors_in_flight)
{
	unsigned long long began = fixture_now_ms();
	struct channel c = channel_open(ON_SOCKET);
	int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(listen(server, 8), 0);
	put(c.writes, "text", 4);
	for (int i = 0; i < 3; i++)
		send_lingering(c.writes, server);
	msg_close(&c.reads);
	ck_assert_int_eq(c.reads, -1);
	ck_assert_uint_lt(fixture_now_ms() - began, 30000);
	ck_assert_int_eq(send(c.writes, "x", 1, MSG_NOSIGNAL), -1);
	close(server); /* which resets the lingering connection */
	close(c.writes);
	await_closers();
}
END_TEST

/* A control message of another kind is not a descriptor. */
START_TEST(credentials_are_ignored)
{
	struct channel c = channel_open(ON_SOCKET);
	const int on = 1;
	char byte;
	int got = -2;

	ck_assert_int_eq(setsockopt(c.reads, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
	put(c.writes, "x", 1);
	ck_assert_int_eq(msg_recv_fd(c.reads, &byte, 1, &got), 1);
	ck_assert_int_eq(got, -1);
	ck_assert_int_eq(msg_send_fd(c.writes, STDERR_FILENO), 0);
	ck_assert_int_eq(msg_recv_fd(c.reads, &byte, 1, &got), 1);
	ck_assert_int_ge(got, 0);
	close(got);
	channel_close(&c);
}
END_TEST

static const struct {
	int count; /* of descriptors sent */
	int room;  /* for descriptors here */
} tight[] = {
	{ 1, 0 }, { 2, 0 }, { 2, 1 }, { 3, 2 }, { 253, 1 },
};

START_TEST(out_of_descriptors_is_an_error)
{
	struct channel c;
	struct rlimit old;
	char byte;
	ssize_t n;
	int got = -2;

	if (fixture_is_valgrind())
		return;
	c = channel_open(ON_SOCKET);
	send_fds(c.writes, 1, tight[_i].count, 1, STDERR_FILENO);
	old = fixture_limit_fds(tight[_i].room);
	n = msg_recv_fd(c.reads, &byte, 1, &got);
	fixture_restore_fds(&old);
	ck_assert_int_eq(n, -EMFILE);
	ck_assert_int_eq(got, -1);
	channel_close(&c);
	await_closers();
}
END_TEST

START_TEST(the_last_descriptor_is_received)
{
	struct channel c = channel_open(ON_SOCKET);
	struct rlimit old;
	char byte;
	ssize_t n;
	int got = -2;

	ck_assert_int_eq(msg_send_fd(c.writes, STDERR_FILENO), 0);
	old = fixture_limit_fds(1);
	n = msg_recv_fd(c.reads, &byte, 1, &got);
	fixture_restore_fds(&old);
	ck_assert_int_eq(n, 1);
	ck_assert_int_ge(got, 0);
	close(got);
	channel_close(&c);
}
END_TEST

static TCase *frames_case(void)
{
	TCase *tc = fixture_case("frames");

	tcase_add_checked_fixture(tc, fill_body, NULL);
	tcase_add_loop_test(tc, length_is_little_endian, 0, COUNT(heads));
	tcase_add_loop_test(tc, a_frame_of_a_bad_length_is_not_sent, 0, COUNT(bad_lengths));
	tcase_add_loop_test(tc, frames_arrive_as_they_were_sent, 0,
			    CHANNEL_COUNT * COUNT(good_lengths));
	tcase_add_loop_test(tc, a_frame_may_arrive_byte_by_byte, 0, CHANNEL_COUNT);
	tcase_add_loop_test(tc, frames_may_be_split_anywhere, 1, TWO_FRAMES_LEN);
	tcase_add_loop_test(tc, a_bad_length_is_refused, 0, COUNT(refused_heads));
	tcase_add_loop_test(tc, end_of_file_is_reported_between_and_within_frames, 0,
			    CHANNEL_COUNT * COUNT(ends));
	tcase_add_test(tc, errors_of_the_descriptor_are_reported);
	tcase_add_loop_test(tc, a_reader_may_be_fed_in_pieces, 1, FIRST_LEN + 1);
	tcase_add_test(tc, reset_discards_half_a_frame);
	tcase_add_test(tc, send_now_never_blocks);
	return tc;
}

static TCase *signals_case(void)
{
	TCase *tc = fixture_case("signals");

	tcase_add_checked_fixture(tc, fill_body, NULL);
	tcase_add_loop_test(tc, send_goes_on_after_a_signal, 0, CHANNEL_COUNT);
	tcase_add_loop_test(tc, read_goes_on_after_a_signal, 0, CHANNEL_COUNT);
	tcase_add_test(tc, send_fd_goes_on_after_a_signal);
	tcase_add_test(tc, a_socket_raises_no_sigpipe);
	return tc;
}

static TCase *descriptors_case(void)
{
	TCase *tc = fixture_case("descriptors");

	tcase_add_test(tc, a_descriptor_is_passed);
	tcase_add_test(tc, bytes_may_arrive_without_a_descriptor);
	tcase_add_test(tc, recv_distinguishes_no_data_from_end_of_file);
	tcase_add_test(tc, descriptors_are_passed_on_unix_sockets_only);
	tcase_add_loop_test(tc, more_than_one_descriptor_is_refused, 0, COUNT(surplus));
	tcase_add_test(tc, recv_takes_bytes);
	tcase_add_loop_test(tc, recv_refuses_descriptors, 0, 2);
	tcase_add_test(tc, recv_refuses_descriptors_of_an_urgent_byte);
	tcase_add_test(tc, closing_takes_one_process_however_many_descriptors_wait);
	tcase_add_test(tc, closing_takes_no_process_if_nothing_waits);
	tcase_add_test(tc, a_surplus_takes_one_process);
	tcase_add_test(tc, closing_does_not_wait_for_descriptors_in_flight);
	tcase_add_test(tc, credentials_are_ignored);
	tcase_add_loop_test(tc, out_of_descriptors_is_an_error, 0, COUNT(tight));
	tcase_add_test(tc, the_last_descriptor_is_received);
	return tc;
}

int main(void)
{
	Suite *s = suite_create("msg");

	suite_add_tcase(s, frames_case());
	suite_add_tcase(s, signals_case());
	suite_add_tcase(s, descriptors_case());
	return fixture_run(s);
}
