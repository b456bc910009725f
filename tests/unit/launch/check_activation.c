/* SPDX-License-Identifier: Apache-2.0 */

/* Socket activation: which descriptors are counted, and what is refused. */
#include "launch/activation.h"

#include "base/fd.h"
#include "os/proc.h"
#include "tests/unit/fixture.h"

static struct err e;

/* Sets LISTEN_PID to our PID plus `offset`, and LISTEN_FDS. */
static void set_environment(int offset, const char *fds)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", (int)getpid() + offset);
	ck_assert_int_eq(setenv("LISTEN_PID", pid, 1), 0);
	ck_assert_int_eq(setenv("LISTEN_FDS", fds, 1), 0);
}

static void forget(void)
{
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
}

static const struct {
	int offset;
	const char *fds;
} none[] = { { 0, "0" }, { 1, "1" }, { -1, "400" }, { 0, "" } };

START_TEST(descriptors_for_another_process_are_not_passed_on)
{
	set_environment(none[_i].offset, none[_i].fds);
	ck_assert_int_eq(activation_count(&e), 0);
}
END_TEST

START_TEST(without_both_variables_no_descriptor_is_passed_on)
{
	ck_assert_int_eq(activation_count(&e), 0);
	set_environment(0, "1");
	unsetenv("LISTEN_FDS");
	ck_assert_int_eq(activation_count(&e), 0);
	set_environment(0, "1");
	unsetenv("LISTEN_PID");
	ck_assert_int_eq(activation_count(&e), 0);
}
END_TEST

static const char *const bad_counts[] = { "-1", "257", "99999999999999999999" };

START_TEST(a_number_of_descriptors_out_of_range_is_refused)
{
	char text[128];

	set_environment(0, bad_counts[_i]);
	snprintf(text, sizeof(text), "LISTEN_FDS=%s: 0 to 256 descriptors can be passed on",
		 bad_counts[_i]);
	ck_assert_int_eq(activation_count(&e), -EINVAL);
	ck_assert_str_eq(e.msg, text);
}
END_TEST

/* Runs in a process of its own, in which the descriptors from 3 on are as the test needs them.
 * Returns 0, or the line of what went wrong. */
static int check_descriptors(void)
{
	for (int fd = FD_FIRST; fd < FD_FIRST + PROC_MAX_FDS; fd++)
		close(fd);
	if (dup2(STDIN_FILENO, FD_FIRST) < 0 || dup2(STDIN_FILENO, FD_FIRST + 1) < 0)
		return __LINE__;
	set_environment(0, "2");
	if (activation_count(&e) != 2)
		return __LINE__;
	set_environment(0, "3");
	if (activation_count(&e) != -EBADF ||
	    strcmp(e.msg, "LISTEN_FDS=3, but descriptor 5: bad file descriptor") != 0)
		return __LINE__;
	return 0;
}

START_TEST(announced_descriptors_must_be_open)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0)
		_exit(check_descriptors());
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(status == 0, "wait status 0x%x: the line is in the upper byte", status);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("activation");
	TCase *tc = fixture_case("activation");

	tcase_add_checked_fixture(tc, forget, forget);
	tcase_add_loop_test(tc, descriptors_for_another_process_are_not_passed_on, 0, COUNT(none));
	tcase_add_test(tc, without_both_variables_no_descriptor_is_passed_on);
	tcase_add_loop_test(tc, a_number_of_descriptors_out_of_range_is_refused, 0,
			    COUNT(bad_counts));
	tcase_add_test(tc, announced_descriptors_must_be_open);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
