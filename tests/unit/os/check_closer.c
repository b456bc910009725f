/* SPDX-License-Identifier: Apache-2.0 */

/* Closing descriptors in another process. */
#include "os/closer.h"

#include "tests/unit/fixture.h"

#define TRIES_MS 5000

/* Opens a pipe, whose reading end is to be closed. Returns the writing end. */
static int open_pipe(int *reading_end)
{
	int fds[2];

	signal(SIGPIPE, SIG_IGN);
	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	*reading_end = fds[0];
	return fds[1];
}

START_TEST(a_descriptor_is_closed)
{
	int fd, writer = open_pipe(&fd);

	closer_close(fd);
	fixture_await_closers();
	ck_assert(!fixture_is_open(fd));
	ck_assert_int_eq(write(writer, "x", 1), -1);
	ck_assert_int_eq(errno, EPIPE);
	close(writer);
	while (waitpid(-1, NULL, 0) > 0)
		;
}
END_TEST

/* Limits the number of this user's processes. Returns false if the limit has no effect. */
static bool limit_processes(rlim_t count)
{
	struct rlimit lim;

	if (getuid() == 0 && setresuid(FIXTURE_NOBODY, FIXTURE_NOBODY, FIXTURE_NOBODY) < 0)
		return false;
	if (getrlimit(RLIMIT_NPROC, &lim) < 0)
		return false;
	lim.rlim_cur = count < lim.rlim_max ? count : lim.rlim_max;
	return setrlimit(RLIMIT_NPROC, &lim) == 0;
}

static bool await_none_pending(void)
{
	for (int i = 0; i < TRIES_MS && closer_pending() > 0; i++)
		usleep(1000);
	return closer_pending() == 0;
}

/* Runs in a process of its own. Returns 0, or the line of what went wrong. `again` makes another
 * call after the shortage. */
static int meet_shortage(void (*again)(void))
{
	int fds[] = { dup(STDERR_FILENO), dup(STDERR_FILENO) };

	if (!limit_processes(0))
		return __LINE__;
	for (int i = 0; i < COUNT(fds); i++)
		closer_close(fds[i]);
	if (closer_pending() != COUNT(fds) || !fixture_is_open(fds[0]) || !fixture_is_open(fds[1]))
		return __LINE__;
	if (!limit_processes(RLIM_INFINITY))
		return __LINE__;
	again();
	if (!await_none_pending() || fixture_is_open(fds[0]) || fixture_is_open(fds[1]))
		return __LINE__;
	return 0;
}

static void close_another(void)
{
	closer_close(dup(STDERR_FILENO));
}

static void ask(void)
{
	closer_pending();
}

static void (*const ways[])(void) = { ask, close_another };

START_TEST(a_shortage_of_processes_only_delays_it)
{
	int status = 0;
	pid_t pid;

#ifdef NO_CLOSERS
	return;
#endif
	pid = fork();
	if (pid == 0)
		_exit(meet_shortage(ways[_i]));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(status == 0, "wait status 0x%x: the line is in the upper byte", status);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("closer");
	TCase *tc = fixture_case("closer");

	tcase_add_test(tc, a_descriptor_is_closed);
	tcase_add_loop_test(tc, a_shortage_of_processes_only_delays_it, 0, COUNT(ways));
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
