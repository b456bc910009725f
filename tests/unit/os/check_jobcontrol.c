/* SPDX-License-Identifier: Apache-2.0 */

/* Job control: which signals are the terminal's, and what the child's news do to the parent. How it
 * looks to somebody at a terminal is in tests/e2e/35-processes.sh. */
#include "os/jobcontrol.h"
#include "tests/unit/fixture.h"

#include <poll.h>
#include <sys/wait.h>

static const struct {
	int signo, code;
	bool is_terminals;
} signals[] = {
	{ SIGINT, SI_KERNEL, true },  { SIGQUIT, SI_KERNEL, true },  { SIGTSTP, SI_KERNEL, true },
	{ SIGTTIN, SI_KERNEL, true }, { SIGTTOU, SI_KERNEL, true },  { SIGWINCH, SI_KERNEL, true },
	{ SIGHUP, SI_KERNEL, false }, { SIGCONT, SI_KERNEL, false }, { SIGTERM, SI_KERNEL, false },
	{ SIGINT, SI_USER, false },   { SIGTSTP, SI_USER, false },   { SIGWINCH, SI_TKILL, false },
	{ SIGQUIT, SI_QUEUE, false },
};

START_TEST(the_terminals_signals_are_told_from_others)
{
	struct signalfd_siginfo info = { .ssi_signo = (uint32_t)signals[_i].signo,
					 .ssi_code = signals[_i].code };

	ck_assert_int_eq(jobcontrol_is_terminals(&info), signals[_i].is_terminals);
}
END_TEST

/* What a parent does in a process of its own, which is deaf to signals as the parent is. It is
 * alone in its session, so that nothing stops it. */
static int in_parent(int (*run)(int fd, int to))
{
	int fds[2];
	int status;
	pid_t pid;

	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		sigset_t all;

		sigfillset(&all);
		sigprocmask(SIG_SETMASK, &all, NULL);
		setsid();
		_exit(run(fds[0], fds[1]));
	}
	close(fds[0]);
	close(fds[1]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static bool is_waked_up(void)
{
	const struct timespec enough = { FIXTURE_DEADLINE_S, 0 };
	sigset_t set;
	siginfo_t si;
	struct signalfd_siginfo info;

	sigemptyset(&set);
	sigaddset(&set, SIGCONT);
	if (sigtimedwait(&set, &si, &enough) != SIGCONT)
		return false;
	info = (struct signalfd_siginfo){ .ssi_signo = SIGCONT, .ssi_code = si.si_code };
	return jobcontrol_is_wake_up(&info);
}

static int hear_of_stop_and_go(int fd, int to)
{
	if (jobcontrol_follow(fd) < 0)
		return 1;
	jobcontrol_tell(to, getpid(), W_STOPCODE(SIGTSTP));
	if (!is_waked_up() || jobcontrol_hear(fd) != 0)
		return 2;
	jobcontrol_tell(to, getpid(), __W_CONTINUED);
	if (!is_waked_up() || jobcontrol_hear(fd) != 0)
		return 3;
	/* Old news do not count. */
	jobcontrol_tell(to, getpid(), W_STOPCODE(SIGSTOP));
	jobcontrol_tell(to, getpid(), __W_CONTINUED);
	return jobcontrol_hear(fd) == 0 && jobcontrol_hear(fd) == 0 ? 0 : 4;
}

static int hear_of_the_end(int fd, int to)
{
	if (jobcontrol_follow(fd) < 0)
		return 1;
	close(to);
	if (!is_waked_up())
		return 2;
	return jobcontrol_hear(fd) == -ENODATA && jobcontrol_hear(fd) == -ENODATA ? 0 : 3;
}

START_TEST(news_wake_the_parent)
{
	ck_assert_int_eq(in_parent(hear_of_stop_and_go), 0);
	ck_assert_int_eq(in_parent(hear_of_the_end), 0);
}
END_TEST

/* Hears `times` news in a process that they stop. A stopped process group needs a parent in its
 * session that could continue it. */
static pid_t start_stopping(int *news, int *other, int times)
{
	sigset_t all;
	pid_t pid;

	ck_assert_int_eq(pipe2(news, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(other, O_CLOEXEC), 0);
	pid = fork();
	if (pid != 0)
		return pid;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	setpgid(0, 0);
	if (jobcontrol_follow(news[0]) < 0 || jobcontrol_follow(other[0]) < 0)
		_exit(1);
	jobcontrol_tell(news[1], getpid(), W_STOPCODE(SIGTSTP));
	if (!is_waked_up())
		_exit(2);
	for (int i = 0; i < times; i++) {
		struct pollfd ready = { .fd = news[0], .events = POLLIN };

		if (poll(&ready, 1, 5000) != 1 || jobcontrol_hear(news[0]) != 0)
			_exit(3);
	}
	_exit(0);
}

static void assert_stops(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
	ck_assert(WIFSTOPPED(status));
}

static void assert_exits(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
}

/* Continues a stopped process, which ends then, and closes its pipes. */
static void go_on_to_the_end(pid_t pid, const int *news, const int *other)
{
	jobcontrol_tell(news[1], pid, __W_CONTINUED);
	assert_exits(pid);
	for (int i = 0; i < 2; i++) {
		close(news[i]);
		close(other[i]);
	}
}

/* The SIGCONT of news that were read already, as if it had been sent late. */
START_TEST(a_late_wake_up_does_not_end_the_stop)
{
	int news[2], other[2];
	pid_t pid = start_stopping(news, other, 1);

	for (int i = 0; i < 3; i++) {
		assert_stops(pid);
		ck_assert_int_eq(write(other[1], "", 1), 1);
	}
	assert_stops(pid);
	go_on_to_the_end(pid, news, other);
}
END_TEST

/* Such as bg, after which the command wants to read from the terminal. */
START_TEST(a_stop_right_after_going_on_is_heard)
{
	const unsigned char go_and_stop[] = { 0, SIGTTIN };
	int news[2], other[2];
	pid_t pid = start_stopping(news, other, 2);

	assert_stops(pid);
	ck_assert_int_eq(write(news[1], go_and_stop, sizeof(go_and_stop)), 2);
	assert_stops(pid);
	go_on_to_the_end(pid, news, other);
}
END_TEST

START_TEST(a_kill_is_no_news)
{
	struct signalfd_siginfo info = { .ssi_signo = SIGCONT, .ssi_code = SI_USER };

	ck_assert(!jobcontrol_is_wake_up(&info));
	info.ssi_code = SI_KERNEL;
	ck_assert(!jobcontrol_is_wake_up(&info));
	info.ssi_signo = SIGTERM;
	info.ssi_code = POLL_IN;
	ck_assert(!jobcontrol_is_wake_up(&info));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("job");
	TCase *tc = fixture_case("job");

	tcase_add_loop_test(tc, the_terminals_signals_are_told_from_others, 0, COUNT(signals));
	tcase_add_test(tc, news_wake_the_parent);
	tcase_add_test(tc, a_late_wake_up_does_not_end_the_stop);
	tcase_add_test(tc, a_stop_right_after_going_on_is_heard);
	tcase_add_test(tc, a_kill_is_no_news);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
