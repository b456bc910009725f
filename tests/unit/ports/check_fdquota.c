/* SPDX-License-Identifier: Apache-2.0 */

/* Counting descriptors: when there is a pause, when it ends, and what is told of it. */
#include "base/loop.h"
#include "ports/fdquota.h"
#include "tests/unit/fixture.h"

#define MAX    8
#define ENOUGH 3

static struct loop *loop;
static struct fdquota quota;
static int pauses, resumes;
static int resume_fails; /* so many times */

static void on_pause(struct fdquota *b)
{
	ck_assert(b->paused);
	pauses++;
}

static int on_resume(struct fdquota *b)
{
	ck_assert(!b->paused);
	resumes++;
	return resume_fails-- > 0 ? -ENOMEM : 0;
}

static void set_up(void)
{
	fixture_note_fds();
	loop = loop_new(LOOP_POLL);
	ck_assert_ptr_nonnull(loop);
	quota = (struct fdquota){ .loop = loop,
				  .max = MAX,
				  .enough = ENOUGH,
				  .on_pause = on_pause,
				  .on_resume = on_resume };
	fdquota_init(&quota);
	pauses = resumes = resume_fails = 0;
}

static void tear_down(void)
{
	fdquota_stop(&quota);
	loop_free(loop);
	fixture_check_fds();
}

static void step_until_resumed(int times)
{
	while (resumes < times)
		ck_assert_int_eq(loop_step(loop, -1), 0);
}

START_TEST(takes_no_more_than_there_is)
{
	ck_assert(fdquota_take(&quota, MAX - 1));
	ck_assert(!fdquota_take(&quota, 2));
	ck_assert_uint_eq(quota.used, MAX - 1);
	ck_assert_uint_eq(fdquota_room(&quota), 1);
	ck_assert(fdquota_take(&quota, 1));
	fdquota_give(&quota, MAX);
	ck_assert_uint_eq(quota.used, 0);
	ck_assert_int_eq(resumes, 0);
}
END_TEST

START_TEST(a_pause_ends_after_a_moment)
{
	ck_assert(fdquota_take(&quota, MAX));
	fdquota_pause(&quota, "a test");
	ck_assert(quota.paused);
	ck_assert_int_eq(pauses, 1);
	step_until_resumed(1);
	ck_assert(!quota.paused);
}
END_TEST

START_TEST(a_pause_ends_when_there_is_room)
{
	ck_assert(fdquota_take(&quota, MAX));
	fdquota_pause(&quota, "a test");
	fdquota_give(&quota, ENOUGH - 1);
	ck_assert(quota.paused);
	fdquota_give(&quota, 1);
	ck_assert(!quota.paused);
	ck_assert_int_eq(resumes, 1);
}
END_TEST

/* What could begin again shall do so: a pause would have it wait for the rest. */
START_TEST(one_that_cannot_resume_does_not_hold_up_the_others)
{
	resume_fails = 2;
	fdquota_pause(&quota, "a test");
	for (int i = 1; i <= 3; i++) {
		step_until_resumed(i);
		ck_assert(!quota.paused);
	}
	ck_assert_int_eq(resume_fails, -1);
	ck_assert_int_eq(loop_step(loop, 0), 0);
	ck_assert_int_eq(resumes, 3);
	ck_assert_int_eq(pauses, 1);
}
END_TEST

/* ---- a total ---- */

static struct fdtotal total, part;

static void share(void)
{
	total = (struct fdtotal){ .max = MAX };
	part = (struct fdtotal){ .max = MAX / 2, .of = &total };
	quota.total = &total;
}

START_TEST(what_one_gives_back_another_may_take)
{
	struct fdquota other = quota;

	share();
	other.total = &total;
	ck_assert(fdquota_take(&quota, MAX));
	ck_assert(!fdquota_take(&other, 1));
	fdquota_give(&quota, 1);
	ck_assert(fdquota_take(&other, 1));
	ck_assert(!fdquota_take(&quota, 1));
	fdquota_give(&other, 1);
	fdquota_give(&quota, MAX - 1);
	ck_assert_uint_eq(total.used, 0);
}
END_TEST

START_TEST(what_is_reserved_is_there_whatever_others_hold)
{
	struct fdquota other = quota;

	share();
	other.total = &total;
	fdquota_reserve(&quota, 2);
	ck_assert(fdquota_take(&other, MAX - 2));
	ck_assert(!fdquota_take(&other, 1));
	ck_assert(fdquota_take(&quota, 2));
	ck_assert(!fdquota_take(&quota, 1));
	ck_assert_uint_eq(total.used, MAX);
	/* Beyond that it draws as others do. */
	fdquota_give(&other, 1);
	ck_assert(fdquota_take(&quota, 1));
	fdquota_give(&quota, 3);
	ck_assert_uint_eq(total.used, MAX - 3 + 2);
	fdquota_give(&other, MAX - 3);
	fdquota_reserve(&quota, 0);
	ck_assert_uint_eq(total.used, 0);
}
END_TEST

START_TEST(what_is_reserved_is_room)
{
	share();
	fdquota_reserve(&quota, 2);
	ck_assert_uint_eq(fdquota_room(&quota), MAX);
	fdtotal_charge(&total, MAX - 2);
	ck_assert_uint_eq(fdquota_room(&quota), 2);
	ck_assert(fdquota_take(&quota, 1));
	ck_assert_uint_eq(fdquota_room(&quota), 1);
	ck_assert(fdquota_take(&quota, 1));
	ck_assert_uint_eq(fdquota_room(&quota), 0);
}
END_TEST

/* What is reserved late may be more than there is. */
START_TEST(what_is_reserved_is_room_beyond_the_bound)
{
	share();
	fdtotal_charge(&total, MAX);
	fdquota_reserve(&quota, 2);
	ck_assert_uint_eq(fdquota_room(&quota), 2);
	ck_assert(fdquota_take(&quota, 2));
	ck_assert_uint_eq(fdquota_room(&quota), 0);
}
END_TEST

START_TEST(what_is_reserved_late_is_there_when_others_give_back)
{
	struct fdquota other = quota;

	share();
	other.total = &total;
	ck_assert(fdquota_take(&other, MAX));
	fdquota_reserve(&quota, 2);
	fdquota_give(&other, 2);
	ck_assert(!fdquota_take(&other, 1));
	ck_assert(fdquota_take(&quota, 2));
	fdquota_reserve(&quota, 0);
	ck_assert_uint_eq(total.used, MAX);
	fdquota_give(&quota, 2);
	fdquota_give(&other, MAX - 2);
	ck_assert_uint_eq(total.used, 0);
}
END_TEST

START_TEST(a_part_has_its_own_bound)
{
	struct fdquota other = quota;

	share();
	other.total = &part;
	ck_assert(fdquota_take(&other, MAX / 2));
	ck_assert(!fdquota_take(&other, 1));
	ck_assert_uint_eq(total.used, MAX / 2);
	fdquota_give(&other, 1);
	/* What is not there for all is not there for a part, and that is left as it was. */
	ck_assert(fdquota_take(&quota, MAX / 2 + 1));
	ck_assert(!fdquota_take(&other, 1));
	ck_assert_uint_eq(part.used, MAX / 2 - 1);
	ck_assert_uint_eq(fdquota_room(&other), 0);
	ck_assert_uint_eq(total.used, MAX);
	fdquota_give(&other, MAX / 2 - 1);
	fdquota_give(&quota, MAX / 2 + 1);
	ck_assert_uint_eq(total.used, 0);
}
END_TEST

START_TEST(what_is_charged_beyond_the_bound_is_made_up_for)
{
	share();
	ck_assert(fdquota_take(&quota, MAX));
	fdtotal_charge(&total, 2);
	ck_assert_uint_eq(fdquota_room(&quota), 0);
	fdquota_give(&quota, 2);
	ck_assert(!fdquota_take(&quota, 1));
	fdquota_give(&quota, 1);
	ck_assert(fdquota_take(&quota, 1));
	fdtotal_give(&total, 2);
	ck_assert(fdquota_take(&quota, 2));
}
END_TEST

START_TEST(passing_on_leaves_the_total_as_it_is)
{
	struct fdquota other = quota;

	share();
	other.total = &total;
	ck_assert(fdquota_take(&quota, 3));
	fdquota_transfer_out(&quota, 3);
	fdquota_transfer_in(&other, 3);
	ck_assert_uint_eq(quota.used, 0);
	ck_assert_uint_eq(total.used, 3);
	fdquota_give(&other, 3);
	ck_assert_uint_eq(total.used, 0);
}
END_TEST

/* Another thread may tell it between our looks at the clock and at what was told. */
START_TEST(what_was_told_just_now_is_not_told_again)
{
	const unsigned int later_s = (unsigned int)(fixture_now_ms() / 1000) + 10;

	share();
	total.complained_s = later_s;
	fdquota_complain(&quota, "a test", "a race", "it says nothing");
	ck_assert(total.complained_s == later_s);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("quota");
	TCase *tc = fixture_case("quota");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, takes_no_more_than_there_is);
	tcase_add_test(tc, a_pause_ends_after_a_moment);
	tcase_add_test(tc, a_pause_ends_when_there_is_room);
	tcase_add_test(tc, one_that_cannot_resume_does_not_hold_up_the_others);
	tcase_add_test(tc, what_one_gives_back_another_may_take);
	tcase_add_test(tc, what_is_reserved_is_there_whatever_others_hold);
	tcase_add_test(tc, what_is_reserved_is_room);
	tcase_add_test(tc, what_is_reserved_is_room_beyond_the_bound);
	tcase_add_test(tc, what_is_reserved_late_is_there_when_others_give_back);
	tcase_add_test(tc, a_part_has_its_own_bound);
	tcase_add_test(tc, what_is_charged_beyond_the_bound_is_made_up_for);
	tcase_add_test(tc, passing_on_leaves_the_total_as_it_is);
	tcase_add_test(tc, what_was_told_just_now_is_not_told_again);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
