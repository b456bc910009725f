/* SPDX-License-Identifier: Apache-2.0 */

/* Taking over signals and the limit of open files, and giving them back. Each test runs in a
 * process of its own. */
#include "os/signals.h"

#include "tests/unit/fixture.h"

#include <sys/signalfd.h>

#define SOFT_FDS 100

/* Runs `check` in a process of its own. It returns 0, or the line of what went wrong. */
static void in_process(int (*check)(void))
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0)
		_exit(check());
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(status == 0, "wait status 0x%x: the line is in the upper byte", status);
}

/* SIGUSR1 and SIGHUP are blocked, and SIGPIPE ends the process. */
static void start_with(sigset_t *mask)
{
	struct rlimit lim;

	sigemptyset(mask);
	sigaddset(mask, SIGUSR1);
	sigaddset(mask, SIGHUP);
	sigprocmask(SIG_SETMASK, mask, NULL);
	signal(SIGPIPE, SIG_DFL);
	getrlimit(RLIMIT_NOFILE, &lim);
	lim.rlim_cur = SOFT_FDS;
	setrlimit(RLIMIT_NOFILE, &lim);
}

static bool is_as_at_the_start(const sigset_t *want)
{
	struct sigaction sigpipe;
	struct rlimit lim;
	sigset_t mask;

	sigprocmask(SIG_SETMASK, NULL, &mask);
	for (int signo = 1; signo <= 64; signo++)
		if (sigismember(&mask, signo) != sigismember(want, signo))
			return false;
	return sigaction(SIGPIPE, NULL, &sigpipe) == 0 && sigpipe.sa_handler == SIG_DFL &&
	       getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur == SOFT_FDS;
}

/* Is a signal to ourselves readable, and nothing else done? */
static bool is_taken_over(int fd)
{
	struct signalfd_siginfo info;
	struct rlimit lim;

	kill(getpid(), SIGTERM);
	return fd >= 0 && fixture_is_cloexec(fd) &&
	       read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info) &&
	       info.ssi_signo == SIGTERM && read(fd, &info, sizeof(info)) < 0 && errno == EAGAIN &&
	       getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur == lim.rlim_max;
}

static int check_restored(void)
{
	sigset_t mask;

	start_with(&mask);
	signals_restore(); /* before anything was taken over: changes nothing */
	if (!is_as_at_the_start(&mask))
		return __LINE__;
	if (!is_taken_over(signals_block()))
		return __LINE__;
	signals_restore();
	return is_as_at_the_start(&mask) ? 0 : __LINE__;
}

START_TEST(programs_get_the_signal_settings_that_the_launcher_was_started_with)
{
	in_process(check_restored);
}
END_TEST

static int check_passed_on(void)
{
	char text[SIGNALS_KEPT_LEN];
	sigset_t mask;
	int fd;

	start_with(&mask);
	fd = signals_block();
	signals_kept_text(text, sizeof(text));
	close(fd);
	/* as in the process that was executed: everything is blocked already */
	if (!is_taken_over(signals_block_kept(text)))
		return __LINE__;
	signals_restore();
	return is_as_at_the_start(&mask) ? 0 : __LINE__;
}

START_TEST(the_signal_settings_survive_a_re_exec)
{
	in_process(check_passed_on);
}
END_TEST

static const char *const malformed[] = { "", "x", "1,2", "1", ",0,1" };

START_TEST(malformed_signal_settings_are_refused)
{
	ck_assert_int_eq(signals_block_kept(malformed[_i]), -EINVAL);
}
END_TEST

static int check_fatal(void)
{
	signals_block();
	signal(SIGHUP, SIG_IGN); /* as by nohup(1) */
	if (signals_is_fatal(SIGHUP) || !signals_is_fatal(SIGTERM) || signals_is_fatal(SIGUSR1))
		return __LINE__;
	kill(getpid(), SIGUSR1);
	kill(getpid(), SIGHUP);
	if (signals_fatal_pending())
		return __LINE__;
	kill(getpid(), SIGINT);
	return signals_fatal_pending() ? 0 : __LINE__;
}

START_TEST(an_ignored_signal_does_not_end_the_launcher)
{
	in_process(check_fatal);
}
END_TEST

START_TEST(all_signals_but_three_are_forwarded)
{
	for (int signo = 1; signo <= 64; signo++)
		ck_assert_int_eq(signals_is_forwarded(signo),
				 signo != SIGCHLD && signo != SIGPIPE && signo != SIGURG);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("signals");
	TCase *tc = fixture_case("signals");

	tcase_add_test(tc, programs_get_the_signal_settings_that_the_launcher_was_started_with);
	tcase_add_test(tc, the_signal_settings_survive_a_re_exec);
	tcase_add_loop_test(tc, malformed_signal_settings_are_refused, 0, COUNT(malformed));
	tcase_add_test(tc, an_ignored_signal_does_not_end_the_launcher);
	tcase_add_test(tc, all_signals_but_three_are_forwarded);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
