/* SPDX-License-Identifier: Apache-2.0 */

/* The end of the child as the parent sees it: how long the parent looks at a child that was told to
 * end. A child that something inside blocks is in tests/e2e/72-hostile.sh. */
#include "tests/unit/loopclock.h"

#include "launch/childproc.h"

#define LOOK_MS	  2010 /* from one look to the next */
#define LOOKS_MAX 15

static struct childproc child;
static int out; /* the standard error of the test while it is caught */

/* Starts a child that waits for a signal, or that has ended and is not reaped. */
static void start_child(bool has_ended)
{
	siginfo_t info;

	child = (struct childproc){ .pid = fork() };
	ck_assert_int_ge(child.pid, 0);
	if (child.pid == 0) {
		while (!has_ended)
			pause();
		_exit(0);
	}
	if (has_ended)
		ck_assert_int_eq(waitid(P_PID, (id_t)child.pid, &info, WEXITED | WNOWAIT), 0);
}

static void reap_child(void)
{
	kill(child.pid, SIGKILL);
	ck_assert_int_eq(waitpid(child.pid, NULL, 0), child.pid);
	child.pid = 0;
}

static void set_up(void)
{
	fixture_note_fds();
	loop = loop_new(LOOP_POLL);
	ck_assert_ptr_nonnull(loop);
	out = -1;
}

static void tear_down(void)
{
	loop_free(loop);
	fixture_check_fds();
}

/* Catches what is logged until the next call of caught_log. */
static void catch_log(void)
{
	out = dup(STDERR_FILENO);
	close(STDERR_FILENO);
	ck_assert_int_eq(open(fixture_file("log", "", 0600), O_WRONLY), STDERR_FILENO);
}

static const char *caught_log(void)
{
	static char text[4096];
	int fd = open(fixture_path("log"), O_RDONLY | O_CLOEXEC);
	ssize_t len = read(fd, text, sizeof(text) - 1);

	ck_assert_int_ge(len, 0);
	text[len] = '\0';
	close(fd);
	dup2(out, STDERR_FILENO);
	close(out);
	return text;
}

START_TEST(a_child_that_survives_is_left_alone)
{
	start_child(false);
	childproc_free_if_blocked(&child, loop);
	for (int i = 0; i < LOOKS_MAX; i++) {
		ck_assert(timer_is_set(&child.look));
		skip_ms(LOOK_MS);
	}
	ck_assert(!timer_is_set(&child.look));
	ck_assert_int_eq(waitpid(child.pid, NULL, WNOHANG), 0); /* it was not killed */
	reap_child();
}
END_TEST

START_TEST(each_signal_begins_the_looks_again)
{
	start_child(false);
	childproc_free_if_blocked(&child, loop);
	skip_ms(LOOK_MS);
	childproc_free_if_blocked(&child, loop);
	for (int i = 0; i < LOOKS_MAX; i++) {
		ck_assert(timer_is_set(&child.look));
		skip_ms(LOOK_MS);
	}
	ck_assert(!timer_is_set(&child.look));
	childproc_free_if_blocked(&child, loop);
	ck_assert(timer_is_set(&child.look));
	reap_child();
}
END_TEST

START_TEST(a_child_that_exits_and_does_not_end_is_reported)
{
	start_child(true);
	childproc_free_if_blocked(&child, loop);
	catch_log();
	skip_ms(LOOK_MS);
	ck_assert_str_eq(caught_log(), "");
	catch_log();
	skip_ms(LOOK_MS);
	ck_assert_ptr_nonnull(strstr(caught_log(), "the child does not end; killing"));
	catch_log();
	for (int i = 2; i < LOOKS_MAX; i++)
		skip_ms(LOOK_MS);
	caught_log();
	ck_assert(timer_is_set(&child.look)); /* as long as it takes */
	reap_child();
	skip_ms(LOOK_MS);
	ck_assert(!timer_is_set(&child.look));
}
END_TEST

START_TEST(a_child_that_was_told_to_end_long_ago_is_looked_at_when_it_exits)
{
	start_child(true);
	childproc_pipe_closed(&child); /* it ends without being told */
	ck_assert(!timer_is_set(&child.look));
	child.loop = loop;
	childproc_pipe_closed(&child);
	ck_assert(timer_is_set(&child.look));
	reap_child();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("childproc");
	TCase *tc = fixture_case_with_dir("end");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, a_child_that_survives_is_left_alone);
	tcase_add_test(tc, each_signal_begins_the_looks_again);
	tcase_add_test(tc, a_child_that_exits_and_does_not_end_is_reported);
	tcase_add_test(tc, a_child_that_was_told_to_end_long_ago_is_looked_at_when_it_exits);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
