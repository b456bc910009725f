/* SPDX-License-Identifier: Apache-2.0 */

/* How the fixture of all suites handles a machine that lacks something: it notices that, and marks
 * skipped tests in the TAP file. */
#include "tests/unit/fixture.h"

#include <sched.h>

/* Runs `check` in a process of its own, and returns its exit status. */
static int run_for_status(int (*check)(void))
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0)
		_exit(check());
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status), "wait status 0x%x", status);
	return WEXITSTATUS(status);
}

static int has_ipv6(void)
{
	return fixture_has_ipv6();
}

START_TEST(a_kernel_without_ipv6_is_recognized)
{
	fixture_without(SYS_socket, EAFNOSUPPORT, has_ipv6);
}
END_TEST

#define NO_NAMESPACE 77

/* The interface lo of a new network namespace is down, and has no address. */
static int has_ipv6_in_new_network(void)
{
	return unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0 ? NO_NAMESPACE : fixture_has_ipv6();
}

START_TEST(ipv6_that_is_off_on_lo_is_recognized)
{
	int status = run_for_status(has_ipv6_in_new_network);

	if (status == NO_NAMESPACE)
		fixture_skip("userns", "a user namespace cannot be made");
	else
		ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(passes)
{
}
END_TEST

START_TEST(skips)
{
	fixture_skip("ipv6", "none here");
}
END_TEST

START_TEST(fails_and_skips)
{
	fixture_skip("ipv6", "none here");
	ck_abort_msg("on purpose");
}
END_TEST

/* Runs a suite of the tests above, with a TAP file of its own. */
static int run_inner_suite(TCase *(*make_case)(const char *name), bool has_failure)
{
	Suite *s = suite_create("inner");
	TCase *tc;

	unsetenv("CK_RUN_CASE"); /* the variable is meant for this suite */
	setenv("CK_TAP_LOG_FILE_NAME", fixture_path("tap"), 1);
	fixture_dir[0] = '\0'; /* the inner suite must not remove the directory */
	fixture_share();
	tc = make_case("inner");
	tcase_add_test(tc, passes);
	tcase_add_test(tc, skips);
	if (has_failure)
		tcase_add_test(tc, fails_and_skips);
	tcase_add_test(tc, passes);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}

static int run_suite(void)
{
	return run_inner_suite(fixture_case, false);
}

static int run_suite_with_failure(void)
{
	return run_inner_suite(fixture_case, true);
}

static int run_uncounted_suite(void)
{
	return run_inner_suite(tcase_create, false);
}

/* Lines of the TAP file without the names of source files, which depend on the compiler's command
 * line. */
static const struct {
	const char *begin, *end;
} marked_lines[] = {
	{ "ok 1 - ", ":inner:passes: Passed\n" },
	{ "ok 2 - ", ":inner:skips: Passed # SKIP ipv6: none here\n" },
	{ "not ok 3 - ", ":inner:fails_and_skips: on purpose\n" },
	{ "ok 4 - ", ":inner:passes: Passed\n" },
	{ "1..4\n", "" },
};

START_TEST(a_skipped_test_is_marked)
{
	char line[512];
	FILE *f;

	ck_assert_int_eq(run_for_status(run_suite), 0);
	ck_assert_int_eq(run_for_status(run_suite_with_failure), 1);
	f = fopen(fixture_path("tap"), "re");
	ck_assert_ptr_nonnull(f);
	for (int i = 0; i < COUNT(marked_lines); i++) {
		size_t begin = strlen(marked_lines[i].begin), end = strlen(marked_lines[i].end);

		ck_assert_ptr_nonnull(fgets(line, sizeof(line), f));
		ck_assert_uint_ge(strlen(line), begin + end);
		ck_assert_int_eq(strncmp(line, marked_lines[i].begin, begin), 0);
		ck_assert_str_eq(line + strlen(line) - end, marked_lines[i].end);
	}
	ck_assert_ptr_null(fgets(line, sizeof(line), f));
	fclose(f);
	ck_assert_int_lt(access(fixture_path("tap.marked"), F_OK), 0);
}
END_TEST

/* The line of such a test cannot be found. */
START_TEST(a_skip_outside_of_a_fixture_case_is_a_failure)
{
	ck_assert_int_eq(run_for_status(run_uncounted_suite), 1);
	ck_assert_int_eq(unlink(fixture_path("tap.marked")), 0);
	ck_assert_int_eq(unlink(fixture_path("tap")), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fixture");
	TCase *tc = fixture_case_with_dir("fixture");

	tcase_add_test(tc, a_kernel_without_ipv6_is_recognized);
	tcase_add_test(tc, ipv6_that_is_off_on_lo_is_recognized);
	tcase_add_test(tc, a_skipped_test_is_marked);
	tcase_add_test(tc, a_skip_outside_of_a_fixture_case_is_a_failure);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
