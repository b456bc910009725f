/* SPDX-License-Identifier: Apache-2.0 */

/* Descriptors and small files. */
#include "base/clock.h"
#include "base/fd.h"
#include "tests/unit/fixture.h"

#include <poll.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#define INTERRUPTIONS 20
#define BIG	      (1 << 20) /* more than a pipe holds */

static struct err e;

static void open_pipe(int fds[2])
{
	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
}

/* ---- owning ---- */

START_TEST(close_keeps_errno_and_ignores_closed_descriptors)
{
	int fds[2];
	int none = -1;

	open_pipe(fds);
	errno = ERANGE;
	fd_close(&none);
	fd_close(&fds[0]);
	ck_assert_int_eq(errno, ERANGE);
	ck_assert_int_eq(fds[0], -1);
	fd_close(&fds[0]);
	fds[0] = 1000000; /* is not open; fd_close ignores that */
	fd_close(&fds[0]);
	ck_assert_int_eq(errno, ERANGE);
	ck_assert_int_eq(fds[0], -1);
	fd_close(&fds[1]);
}
END_TEST

static int numbers[2];

static int take_one(void)
{
	FD_AUTO int kept = -1;
	FD_AUTO int taken = -1;
	FD_AUTO int none = -1;
	int fds[2];

	open_pipe(fds);
	kept = fds[0];
	taken = fds[1];
	numbers[0] = kept;
	numbers[1] = taken;
	(void)none;
	return fd_take(&taken);
}

START_TEST(a_scope_closes_what_it_keeps)
{
	int fd = take_one();
	int none = -1;

	ck_assert_int_eq(fd, numbers[1]);
	ck_assert(fixture_is_open(fd));
	ck_assert(!fixture_is_open(numbers[0]));
	ck_assert_int_eq(fd_take(&fd), numbers[1]);
	ck_assert_int_eq(fd, -1);
	ck_assert_int_eq(fd_take(&none), -1);
	close(numbers[1]);
}
END_TEST

/* ---- flags ---- */

START_TEST(flags_are_set)
{
	int fds[2];

	open_pipe(fds);
	ck_assert_int_eq(fcntl(fds[1], F_SETFL, O_APPEND), 0);
	ck_assert_int_eq(fd_set_nonblock(fds[1]), 0);
	ck_assert_int_eq(fcntl(fds[1], F_GETFL), O_WRONLY | O_APPEND | O_NONBLOCK);
	ck_assert_int_eq(fd_set_cloexec(fds[0], false), 0);
	ck_assert(!fixture_is_cloexec(fds[0]));
	ck_assert_int_eq(fd_set_cloexec(fds[0], true), 0);
	ck_assert(fixture_is_cloexec(fds[0]));
	close(fds[0]);
	close(fds[1]);
	ck_assert_int_eq(fd_set_nonblock(-1), -EBADF);
	ck_assert_int_eq(fd_set_cloexec(-1, true), -EBADF);
}
END_TEST

#define LOW 50 /* above what we may have inherited */

/* Tests what close_range(2) is used for. */
static int check_cloexec_from_low(void)
{
	static const int fds[] = { LOW - 1, LOW, LOW + 1, LOW + 100 };

	for (int i = 0; i < COUNT(fds); i++)
		if (dup2(STDERR_FILENO, fds[i]) < 0)
			return 2;
	if (fd_cloexec_from(LOW) != 0)
		return 3;
	for (int i = 0; i < COUNT(fds); i++)
		if (!fixture_is_open(fds[i]) || fixture_is_cloexec(fds[i]) != (fds[i] >= LOW))
			return 4;
	return fixture_is_cloexec(STDERR_FILENO) ? 5 : 0;
}

static int check_close_all(void)
{
	static const int fds[] = { LOW, LOW + 1, LOW + 2, LOW + 5 };

	for (int i = 0; i < COUNT(fds); i++)
		if (dup2(STDERR_FILENO, fds[i]) < 0)
			return 2;
	fd_close_all(fds, COUNT(fds));
	for (int i = 0; i < COUNT(fds); i++)
		if (fixture_is_open(fds[i]))
			return 3;
	return 0;
}

static int check_accept(void)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(sa);
	int fd;

	/* an abstract address, which the kernel chooses */
	if (bind(listener, (struct sockaddr *)&sa, sizeof(sa.sun_family)) < 0 ||
	    listen(listener, 1) < 0 || getsockname(listener, (struct sockaddr *)&sa, &len) < 0)
		return 2;
	if (fd_accept(listener, NULL, NULL) != -EAGAIN)
		return 3;
	if (connect(client, (struct sockaddr *)&sa, len) < 0)
		return 4;
	fd = fd_accept(listener, NULL, NULL);
	if (fd < 0 || !fixture_is_cloexec(fd) || !(fcntl(fd, F_GETFL) & O_NONBLOCK))
		return 5;
	return 0;
}

static const int refusals[] = { 0, ENOSYS, EPERM };

static const struct {
	long nr;
	int (*check)(void);
} newer_calls[] = {
	{ SYS_close_range, check_cloexec_from_low },
	{ SYS_close_range, check_close_all },
	{ SYS_accept4, check_accept },
};

/* With the call; without it, as on an old kernel; and with a seccomp profile that forbids it. */
START_TEST(old_kernels_without_newer_calls_work)
{
	int errnum = refusals[_i % COUNT(refusals)];
	int call = _i / COUNT(refusals);

	fixture_without(errnum == 0 ? SYS_acct : newer_calls[call].nr, errnum == 0 ? EPERM : errnum,
			newer_calls[call].check);
}
END_TEST

/* ---- reading and writing ---- */

static char big[BIG];

static void fill_big(void)
{
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (char)('a' + i % 23);
}

static void *drain_after_ticks(void *arg)
{
	const int *fd = arg;
	char buf[4096];
	size_t len = 0;
	ssize_t n;

	fixture_await_ticks(INTERRUPTIONS);
	while ((n = read(*fd, buf, sizeof(buf))) > 0) {
		ck_assert_mem_eq(buf, big + len, (size_t)n);
		len += (size_t)n;
	}
	ck_assert_uint_eq(len, sizeof(big));
	return NULL;
}

START_TEST(write_all_writes_everything)
{
	int fds[2];
	pthread_t thread;

	fill_big();
	open_pipe(fds);
	fixture_start_ticks();
	thread = fixture_thread(drain_after_ticks, &fds[0]);
	ck_assert_int_eq(fd_write_all(fds[1], big, sizeof(big)), 0);
	close(fds[1]);
	pthread_join(thread, NULL);
	fixture_stop_ticks();
	close(fds[0]);
}
END_TEST

START_TEST(write_all_reports_errors)
{
	int fds[2];

	open_pipe(fds);
	ck_assert_int_eq(fd_write_all(fds[1], "x", 0), 0);
	ck_assert_int_eq(fd_write_all(fds[0], "x", 1), -EBADF);
	close(fds[0]);
	signal(SIGPIPE, SIG_IGN);
	ck_assert_int_eq(fd_write_all(fds[1], "x", 1), -EPIPE);
	close(fds[1]);
}
END_TEST

static const struct {
	const char *text;
	size_t cap;
	const char *got;
} texts[] = {
	{ "", 8, "" },
	{ "abc", 8, "abc" },
	{ "1234567", 8, "1234567" },
	{ "12345678", 8, "1234567" },
	{ "abc", 1, "" },
};

START_TEST(a_text_is_read)
{
	char buf[16];
	int fds[2];
	const char *path = fixture_file("f", texts[_i].text, 0600);

	memset(buf, '#', sizeof(buf));
	open_pipe(fds);
	ck_assert_int_eq(fd_write_all(fds[1], texts[_i].text, strlen(texts[_i].text)), 0);
	close(fds[1]);
	ck_assert_int_eq(fd_read_text(fds[0], buf, texts[_i].cap), (ssize_t)strlen(texts[_i].got));
	ck_assert_str_eq(buf, texts[_i].got);
	close(fds[0]);
	memset(buf, '#', sizeof(buf));
	ck_assert_int_eq(fd_read_file(path, buf, texts[_i].cap), (ssize_t)strlen(texts[_i].got));
	ck_assert_str_eq(buf, texts[_i].got);
	ck_assert_int_eq(buf[texts[_i].cap], '#');
}
END_TEST

static void *write_after_ticks(void *arg)
{
	const int *fd = arg;

	for (int i = 0; i < 3; i++) {
		fixture_await_ticks(INTERRUPTIONS);
		ck_assert_int_eq(write(*fd, "ab", 2), 2);
	}
	close(*fd);
	return NULL;
}

START_TEST(read_text_handles_pieces_and_signals)
{
	char buf[16];
	int fds[2];
	pthread_t thread;

	open_pipe(fds);
	fixture_start_ticks();
	thread = fixture_thread(write_after_ticks, &fds[1]);
	ck_assert_int_eq(fd_read_text(fds[0], buf, sizeof(buf)), 6);
	ck_assert_str_eq(buf, "ababab");
	pthread_join(thread, NULL);
	fixture_stop_ticks();
	close(fds[0]);
}
END_TEST

START_TEST(errors_of_reading_are_reported)
{
	char buf[16];

	ck_assert_int_eq(fd_read_text(-1, buf, sizeof(buf)), -EBADF);
	ck_assert_int_eq(fd_read_file("/", buf, sizeof(buf)), -EISDIR);
	ck_assert_int_eq(fd_read_file(fixture_path("none"), buf, sizeof(buf)), -ENOENT);
}
END_TEST

START_TEST(an_existing_file_is_written)
{
	char *path = fixture_file("f", "old text", 0600);
	char reason[PATH_MAX];

	ck_assert_int_eq(fd_write_file(path, "new", &e), 0);
	fixture_assert_content(path, "new text"); /* files of /proc cannot be truncated */
	path = fixture_path("none");
	ck_assert_int_eq(fd_write_file(path, "new", &e), -ENOENT);
	snprintf(reason, sizeof(reason), "open %.200s: no such file or directory", path);
	ck_assert_str_eq(e.msg, reason);
	ck_assert_int_eq(access(path, F_OK), -1);
	ck_assert_int_eq(fd_write_file("/dev/full", "new", &e), -ENOSPC);
	ck_assert_str_eq(e.msg, "write /dev/full: no space left on device");
	ck_assert_int_eq(fd_write_file("/dev/full", "new", NULL), -ENOSPC);
	path = fixture_file("readonly", "", 0444);
	fixture_drop_root();
	ck_assert_int_eq(fd_write_file(path, "new", &e), -EACCES);
	fixture_regain_root();
}
END_TEST

/* ---- waiting ---- */

START_TEST(wait_returns_the_events)
{
	int fds[2];

	fixture_socketpair(fds);
	ck_assert_int_eq(fd_wait(fds[0], POLLIN, 0), 0);
	ck_assert_int_eq(fd_wait(fds[0], POLLIN | POLLOUT, -1), POLLOUT);
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	ck_assert_int_eq(fd_wait(fds[0], POLLIN, -1), POLLIN);
	close(fds[1]);
	ck_assert_int_eq(fd_wait(fds[0], 0, -1), POLLHUP);
	close(fds[0]);
	ck_assert_int_eq(fd_wait(fds[0], POLLIN, -1), POLLNVAL);
}
END_TEST

#define WAIT_MS 50

START_TEST(wait_ends_in_time_despite_signals)
{
	unsigned long long begin;
	int fds[2];

	open_pipe(fds);
	if (_i != 0)
		fixture_start_ticks();
	begin = fixture_now_ms();
	ck_assert_int_eq(fd_wait(fds[0], POLLIN, WAIT_MS), 0);
	ck_assert_uint_ge(fixture_now_ms() - begin, WAIT_MS);
	if (_i != 0)
		fixture_stop_ticks();
	close(fds[0]);
	close(fds[1]);
}
END_TEST

START_TEST(wait_without_a_limit_continues_after_signals)
{
	int fds[2];
	pthread_t thread;

	open_pipe(fds);
	fixture_start_ticks();
	thread = fixture_thread(write_after_ticks, &fds[1]);
	ck_assert_int_eq(fd_wait(fds[0], POLLIN, -1), POLLIN);
	pthread_join(thread, NULL);
	fixture_stop_ticks();
	close(fds[0]);
}
END_TEST

/* ---- receiving with a deadline ---- */

START_TEST(what_has_arrived_is_received)
{
	unsigned long long until = fixture_now_ms() + 10000;
	char buf[4];
	int fds[2];

	fixture_socketpair(fds);
	ck_assert_int_eq(write(fds[1], "abcdef", 6), 6);
	ck_assert_int_eq(fd_recv_until(fds[0], buf, sizeof(buf), until), 4);
	ck_assert_mem_eq(buf, "abcd", 4);
	ck_assert_int_eq(fd_recv_until(fds[0], buf, sizeof(buf), until), 2);
	close(fds[1]);
	ck_assert_int_eq(fd_recv_until(fds[0], buf, sizeof(buf), until), 0);
	close(fds[0]);
}
END_TEST

START_TEST(bytes_that_come_late_are_awaited_despite_signals)
{
	char byte = 0;
	int fds[2];
	pthread_t thread;

	fixture_socketpair(fds);
	fixture_start_ticks();
	thread = fixture_thread(write_after_ticks, &fds[1]);
	ck_assert_int_eq(fd_recv_until(fds[0], &byte, 1, fixture_now_ms() + 10000), 1);
	ck_assert_int_eq(byte, 'a');
	pthread_join(thread, NULL);
	fixture_stop_ticks();
	close(fds[0]);
}
END_TEST

START_TEST(receiving_ends_at_the_deadline)
{
	unsigned long long until = fixture_now_ms() + WAIT_MS;
	int fds[2];
	char byte;

	fixture_socketpair(fds);
	ck_assert_int_eq(fd_recv_until(fds[0], &byte, 1, until), -ETIMEDOUT);
	ck_assert_uint_ge(fixture_now_ms(), until);
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	ck_assert_int_eq(fd_recv_until(fds[0], &byte, 1, until), -ETIMEDOUT);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

START_TEST(receiving_reports_errors)
{
	unsigned long long until = fixture_now_ms() + 10000;
	int fds[2];
	char byte;

	fixture_socketpair(fds);
	ck_assert_int_eq(write(fds[0], "x", 1), 1);
	close(fds[1]); /* with the byte unread: unix(7) reports a reset */
	ck_assert_int_eq(fd_recv_until(fds[0], &byte, 1, until), -ECONNRESET);
	close(fds[0]);
	open_pipe(fds);
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	ck_assert_int_eq(fd_recv_until(fds[0], &byte, 1, until), -ENOTSOCK);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

START_TEST(the_clock_is_monotonic)
{
	unsigned long long before = fixture_now_ms();
	unsigned long long now = clock_now_ms();

	ck_assert_uint_ge(now, before);
	ck_assert_uint_ge(fixture_now_ms(), now);
}
END_TEST

static TCase *owning_case(void)
{
	TCase *tc = fixture_case("owning");

	tcase_add_test(tc, close_keeps_errno_and_ignores_closed_descriptors);
	tcase_add_test(tc, a_scope_closes_what_it_keeps);
	tcase_add_test(tc, flags_are_set);
	tcase_add_loop_test(tc, old_kernels_without_newer_calls_work, 0,
			    COUNT(newer_calls) * COUNT(refusals));
	return tc;
}

static TCase *text_case(void)
{
	TCase *tc = fixture_case_with_dir("reading and writing");

	tcase_add_test(tc, write_all_writes_everything);
	tcase_add_test(tc, write_all_reports_errors);
	tcase_add_loop_test(tc, a_text_is_read, 0, COUNT(texts));
	tcase_add_test(tc, read_text_handles_pieces_and_signals);
	tcase_add_test(tc, errors_of_reading_are_reported);
	tcase_add_test(tc, an_existing_file_is_written);
	return tc;
}

static TCase *waiting_case(void)
{
	TCase *tc = fixture_case("waiting");

	tcase_add_test(tc, wait_returns_the_events);
	tcase_add_loop_test(tc, wait_ends_in_time_despite_signals, 0, 2);
	tcase_add_test(tc, wait_without_a_limit_continues_after_signals);
	tcase_add_test(tc, what_has_arrived_is_received);
	tcase_add_test(tc, bytes_that_come_late_are_awaited_despite_signals);
	tcase_add_test(tc, receiving_ends_at_the_deadline);
	tcase_add_test(tc, receiving_reports_errors);
	tcase_add_test(tc, the_clock_is_monotonic);
	return tc;
}

int main(void)
{
	Suite *s = suite_create("fd");

	suite_add_tcase(s, owning_case());
	suite_add_tcase(s, text_case());
	suite_add_tcase(s, waiting_case());
	return fixture_run(s);
}
