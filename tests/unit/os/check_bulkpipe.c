/* SPDX-License-Identifier: Apache-2.0 */

/* The pipe for splice(2): its size, and when it is missing. */
#include "base/clock.h"
#include "base/fd.h"
#include "os/bulkpipe.h"
#include "tests/unit/fixture.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

START_TEST(the_pipe_is_large_and_kept)
{
	struct bulkpipe p = BULKPIPE_INIT;
	int in;

	fixture_note_fds();
	ck_assert(bulkpipe_open(&p));
	ck_assert_uint_ge(p.cap, BULKPIPE_LEAST);
	ck_assert_int_eq(fcntl(p.out, F_GETPIPE_SZ), (int)p.cap);
	ck_assert(fcntl(p.in, F_GETFL) & O_NONBLOCK);
	ck_assert(fcntl(p.out, F_GETFL) & O_NONBLOCK);
	ck_assert(fcntl(p.in, F_GETFD) & FD_CLOEXEC);
	in = p.in;
	ck_assert(bulkpipe_open(&p));
	ck_assert_int_eq(p.in, in);
	bulkpipe_close(&p);
	fixture_check_fds();
}
END_TEST

START_TEST(a_closed_pipe_is_replaced_by_a_new_one)
{
	struct bulkpipe p = BULKPIPE_INIT;
	char byte;

	fixture_note_fds();
	ck_assert(bulkpipe_open(&p));
	ck_assert_int_eq(write(p.in, "x", 1), 1);
	bulkpipe_close(&p);
	ck_assert_int_eq(p.in, -1);
	ck_assert(bulkpipe_open(&p));
	ck_assert_int_eq(read(p.out, &byte, 1), -1);
	bulkpipe_close(&p);
	fixture_check_fds();
}
END_TEST

START_TEST(a_failed_attempt_is_not_repeated_immediately)
{
	struct bulkpipe p = BULKPIPE_INIT;
	struct rlimit was, none;

	fixture_note_fds();
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &was), 0);
	none = (struct rlimit){ .rlim_cur = 3, .rlim_max = was.rlim_max };
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	ck_assert(!bulkpipe_open(&p));
	ck_assert_int_eq(p.in, -1);
	ck_assert_int_eq(p.out, -1);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &was), 0);
	ck_assert(!bulkpipe_open(&p));
	ck_assert_uint_gt(p.retry_ms, clock_now_ms());
	p.retry_ms = clock_now_ms(); /* the pause of a second is over */
	ck_assert(bulkpipe_open(&p));
	bulkpipe_close(&p);
	fixture_check_fds();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("bulkpipe");
	TCase *tc = fixture_case("bulkpipe");

	tcase_add_test(tc, the_pipe_is_large_and_kept);
	tcase_add_test(tc, a_closed_pipe_is_replaced_by_a_new_one);
	tcase_add_test(tc, a_failed_attempt_is_not_repeated_immediately);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
