/* SPDX-License-Identifier: Apache-2.0 */

/* The child's port service: what happens when its loop fails. What it answers is shown end to end
 * (tests/e2e/55-wire.sh). */
#include "os/statedir.h"
#include "ports/portservice.h"
#include "tests/unit/fixture.h"

static struct err e;

/* In a process of its own, as the child. Its end is the end of the launcher (parent.c). */
static int serve_without_epoll(void)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	if (dup2(null, STDERR_FILENO) < 0 || portservice_start(fixture_dir, NULL, false, &e) < 0)
		return 2;
	sleep(FIXTURE_DEADLINE_S);
	return 3;
}

START_TEST(a_child_without_its_port_service_ends)
{
	int ready, status;
	pid_t pid;

	ck_assert_int_eq(mkfifo(fixture_path(STATE_BP_READY), 0600), 0);
	ready = open(fixture_path(STATE_BP_READY), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	ck_assert_int_ge(ready, 0);
	pid = fork();
	if (pid == 0) {
#ifdef SYS_epoll_wait
		if (!fixture_take_away(SYS_epoll_wait, EINVAL))
			_exit(77);
#endif
		_exit(fixture_take_away(SYS_epoll_pwait, EINVAL) ? serve_without_epoll() : 77);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, W_EXITCODE(1, 0));
	close(ready);
	unlink(fixture_path(STATE_BP_READY));
	unlink(fixture_path(STATE_BP_SOCKET));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("portservice");
	TCase *tc = fixture_case_with_dir("portservice");

	tcase_add_test(tc, a_child_without_its_port_service_ends);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
