/* SPDX-License-Identifier: Apache-2.0 */

/* Job control: which signals come from the terminal, and how the parent reacts to the child's
 * reports. tests/e2e/35-processes.sh tests it at a real terminal. */
#include "os/jobcontrol.h"
#include "tests/unit/fixture.h"

#include <poll.h>
#include <sys/wait.h>

static const struct {
	int signo, code;
	bool is_from_terminal;
} signals[] = {
	{ SIGINT, SI_KERNEL, true },  { SIGQUIT, SI_KERNEL, true },  { SIGTSTP, SI_KERNEL, true },
	{ SIGTTIN, SI_KERNEL, true }, { SIGTTOU, SI_KERNEL, true },  { SIGWINCH, SI_KERNEL, true },
	{ SIGHUP, SI_KERNEL, false }, { SIGCONT, SI_KERNEL, false }, { SIGTERM, SI_KERNEL, false },
	{ SIGINT, SI_USER, false },   { SIGTSTP, SI_USER, false },   { SIGWINCH, SI_TKILL, false },
	{ SIGQUIT, SI_QUEUE, false },
};

START_TEST(signals_of_the_terminal_are_recognized)
{
	struct signalfd_siginfo info = { .ssi_signo = (uint32_t)signals[_i].signo,
					 .ssi_code = signals[_i].code };

	ck_assert_int_eq(jobcontrol_is_from_terminal(&info), signals[_i].is_from_terminal);
}
END_TEST

/* Runs a function in a process that blocks signals as the parent does. It is alone in its session,
 * so that no other process stops it. */
static int run_as_parent(int (*run)(int fd, int to))
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

static bool was_woken(void)
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

static int read_stop_and_continue(int fd, int to)
{
	if (jobcontrol_enable_wake_up(fd) < 0)
		return 1;
	jobcontrol_report(to, getpid(), W_STOPCODE(SIGTSTP));
	if (!was_woken() || jobcontrol_handle_reports(fd) != 0)
		return 2;
	jobcontrol_report(to, getpid(), __W_CONTINUED);
	if (!was_woken() || jobcontrol_handle_reports(fd) != 0)
		return 3;
	/* An old report is ignored. */
	jobcontrol_report(to, getpid(), W_STOPCODE(SIGSTOP));
	jobcontrol_report(to, getpid(), __W_CONTINUED);
	return jobcontrol_handle_reports(fd) == 0 && jobcontrol_handle_reports(fd) == 0 ? 0 : 4;
}

static int read_end_of_reports(int fd, int to)
{
	if (jobcontrol_enable_wake_up(fd) < 0)
		return 1;
	close(to);
	if (!was_woken())
		return 2;
	return jobcontrol_handle_reports(fd) == -ENODATA &&
			       jobcontrol_handle_reports(fd) == -ENODATA
		       ? 0
		       : 3;
}

START_TEST(a_stop_of_the_command_wakes_the_parent)
{
	ck_assert_int_eq(run_as_parent(read_stop_and_continue), 0);
	ck_assert_int_eq(run_as_parent(read_end_of_reports), 0);
}
END_TEST

/* Reads `times` reports in a process that they stop. The kernel stops a process only if a process
 * of the same session outside its group could continue it. */
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
	if (jobcontrol_enable_wake_up(news[0]) < 0 || jobcontrol_enable_wake_up(other[0]) < 0)
		_exit(1);
	jobcontrol_report(news[1], getpid(), W_STOPCODE(SIGTSTP));
	if (!was_woken())
		_exit(2);
	for (int i = 0; i < times; i++) {
		struct pollfd ready = { .fd = news[0], .events = POLLIN };

		if (poll(&ready, 1, 5000) != 1 || jobcontrol_handle_reports(news[0]) != 0)
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

/* Continues a stopped process, waits for its end, and closes its pipes. */
static void continue_until_exit(pid_t pid, const int *news, const int *other)
{
	jobcontrol_report(news[1], pid, __W_CONTINUED);
	assert_exits(pid);
	for (int i = 0; i < 2; i++) {
		close(news[i]);
		close(other[i]);
	}
}

/* The SIGCONT of a report that was read before arrives late. Not under valgrind: it takes pending
 * signals from the kernel itself, and ignores stop signals. */
START_TEST(a_late_wake_up_does_not_end_the_stop)
{
	int news[2], other[2];
	pid_t pid;

	if (fixture_is_valgrind())
		return;
	pid = start_stopping(news, other, 1);
	for (int i = 0; i < 3; i++) {
		assert_stops(pid);
		ck_assert_int_eq(write(other[1], "", 1), 1);
	}
	assert_stops(pid);
	continue_until_exit(pid, news, other);
}
END_TEST

/* As after bg, when the command then reads from the terminal and stops again. Not under valgrind,
 * as above. */
START_TEST(a_stop_right_after_a_continue_is_noticed)
{
	const unsigned char go_and_stop[] = { 0, SIGTTIN };
	int news[2], other[2];
	pid_t pid;

	if (fixture_is_valgrind())
		return;
	pid = start_stopping(news, other, 2);
	assert_stops(pid);
	ck_assert_int_eq(write(news[1], go_and_stop, sizeof(go_and_stop)), 2);
	assert_stops(pid);
	continue_until_exit(pid, news, other);
}
END_TEST

START_TEST(a_kill_does_not_wake_the_parent)
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

	tcase_add_loop_test(tc, signals_of_the_terminal_are_recognized, 0, COUNT(signals));
	tcase_add_test(tc, a_stop_of_the_command_wakes_the_parent);
	tcase_add_test(tc, a_late_wake_up_does_not_end_the_stop);
	tcase_add_test(tc, a_stop_right_after_a_continue_is_noticed);
	tcase_add_test(tc, a_kill_does_not_wake_the_parent);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
