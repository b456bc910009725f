/* SPDX-License-Identifier: Apache-2.0 */

/* Counting descriptors: when there is a pause, when it ends, and what is told of it. */
#include "base/loop.h"
#include "fixture.h"
#include "ports/budget.h"

#define MAX    8
#define ENOUGH 3

static struct loop *loop;
static struct budget budget;
static int pauses, resumes;
static int resume_fails; /* so many times */

static void on_pause(struct budget *b)
{
	ck_assert(b->paused);
	pauses++;
}

static int on_resume(struct budget *b)
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
	budget = (struct budget){ .loop = loop,
				  .max = MAX,
				  .enough = ENOUGH,
				  .on_pause = on_pause,
				  .on_resume = on_resume };
	budget_init(&budget);
	pauses = resumes = resume_fails = 0;
}

static void tear_down(void)
{
	budget_stop(&budget);
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
	ck_assert(budget_take(&budget, MAX - 1));
	ck_assert(!budget_take(&budget, 2));
	ck_assert_uint_eq(budget.used, MAX - 1);
	ck_assert_uint_eq(budget_room(&budget), 1);
	ck_assert(budget_take(&budget, 1));
	budget_give(&budget, MAX);
	ck_assert_uint_eq(budget.used, 0);
	ck_assert_int_eq(resumes, 0);
}
END_TEST

START_TEST(a_pause_ends_after_a_moment)
{
	ck_assert(budget_take(&budget, MAX));
	budget_pause(&budget, "a test");
	ck_assert(budget.paused);
	ck_assert_int_eq(pauses, 1);
	step_until_resumed(1);
	ck_assert(!budget.paused);
}
END_TEST

START_TEST(a_pause_ends_when_there_is_room)
{
	ck_assert(budget_take(&budget, MAX));
	budget_pause(&budget, "a test");
	budget_give(&budget, ENOUGH - 1);
	ck_assert(budget.paused);
	budget_give(&budget, 1);
	ck_assert(!budget.paused);
	ck_assert_int_eq(resumes, 1);
}
END_TEST

/* What could begin again shall do so: a pause would have it wait for the rest. */
START_TEST(one_that_cannot_resume_does_not_hold_up_the_others)
{
	resume_fails = 2;
	budget_pause(&budget, "a test");
	for (int i = 1; i <= 3; i++) {
		step_until_resumed(i);
		ck_assert(!budget.paused);
	}
	ck_assert_int_eq(resume_fails, -1);
	ck_assert_int_eq(loop_step(loop, 0), 0);
	ck_assert_int_eq(resumes, 3);
	ck_assert_int_eq(pauses, 1);
}
END_TEST

/* ---- an account ---- */

static struct account account, part;

static void share(void)
{
	account = (struct account){ .max = MAX };
	part = (struct account){ .max = MAX / 2, .of = &account };
	budget.account = &account;
}

START_TEST(what_one_gives_back_another_may_take)
{
	struct budget other = budget;

	share();
	other.account = &account;
	ck_assert(budget_take(&budget, MAX));
	ck_assert(!budget_take(&other, 1));
	budget_give(&budget, 1);
	ck_assert(budget_take(&other, 1));
	ck_assert(!budget_take(&budget, 1));
	budget_give(&other, 1);
	budget_give(&budget, MAX - 1);
	ck_assert_uint_eq(account.used, 0);
}
END_TEST

START_TEST(what_is_reserved_is_there_whatever_others_hold)
{
	struct budget other = budget;

	share();
	other.account = &account;
	budget_reserve(&budget, 2);
	ck_assert(budget_take(&other, MAX - 2));
	ck_assert(!budget_take(&other, 1));
	ck_assert(budget_take(&budget, 2));
	ck_assert(!budget_take(&budget, 1));
	ck_assert_uint_eq(account.used, MAX);
	/* Beyond that it draws as others do. */
	budget_give(&other, 1);
	ck_assert(budget_take(&budget, 1));
	budget_give(&budget, 3);
	ck_assert_uint_eq(account.used, MAX - 3 + 2);
	budget_give(&other, MAX - 3);
	budget_reserve(&budget, 0);
	ck_assert_uint_eq(account.used, 0);
}
END_TEST

START_TEST(what_is_reserved_is_room)
{
	share();
	budget_reserve(&budget, 2);
	ck_assert_uint_eq(budget_room(&budget), MAX);
	account_charge(&account, MAX - 2);
	ck_assert_uint_eq(budget_room(&budget), 2);
	ck_assert(budget_take(&budget, 1));
	ck_assert_uint_eq(budget_room(&budget), 1);
	ck_assert(budget_take(&budget, 1));
	ck_assert_uint_eq(budget_room(&budget), 0);
}
END_TEST

/* What is reserved late may be more than there is. */
START_TEST(what_is_reserved_is_room_beyond_the_bound)
{
	share();
	account_charge(&account, MAX);
	budget_reserve(&budget, 2);
	ck_assert_uint_eq(budget_room(&budget), 2);
	ck_assert(budget_take(&budget, 2));
	ck_assert_uint_eq(budget_room(&budget), 0);
}
END_TEST

START_TEST(what_is_reserved_late_is_there_when_others_give_back)
{
	struct budget other = budget;

	share();
	other.account = &account;
	ck_assert(budget_take(&other, MAX));
	budget_reserve(&budget, 2);
	budget_give(&other, 2);
	ck_assert(!budget_take(&other, 1));
	ck_assert(budget_take(&budget, 2));
	budget_reserve(&budget, 0);
	ck_assert_uint_eq(account.used, MAX);
	budget_give(&budget, 2);
	budget_give(&other, MAX - 2);
	ck_assert_uint_eq(account.used, 0);
}
END_TEST

START_TEST(a_part_has_its_own_bound)
{
	struct budget other = budget;

	share();
	other.account = &part;
	ck_assert(budget_take(&other, MAX / 2));
	ck_assert(!budget_take(&other, 1));
	ck_assert_uint_eq(account.used, MAX / 2);
	budget_give(&other, 1);
	/* What is not there for all is not there for a part, and that is left as it was. */
	ck_assert(budget_take(&budget, MAX / 2 + 1));
	ck_assert(!budget_take(&other, 1));
	ck_assert_uint_eq(part.used, MAX / 2 - 1);
	ck_assert_uint_eq(budget_room(&other), 0);
	ck_assert_uint_eq(account.used, MAX);
	budget_give(&other, MAX / 2 - 1);
	budget_give(&budget, MAX / 2 + 1);
	ck_assert_uint_eq(account.used, 0);
}
END_TEST

START_TEST(what_is_charged_beyond_the_bound_is_made_up_for)
{
	share();
	ck_assert(budget_take(&budget, MAX));
	account_charge(&account, 2);
	ck_assert_uint_eq(budget_room(&budget), 0);
	budget_give(&budget, 2);
	ck_assert(!budget_take(&budget, 1));
	budget_give(&budget, 1);
	ck_assert(budget_take(&budget, 1));
	account_give(&account, 2);
	ck_assert(budget_take(&budget, 2));
}
END_TEST

START_TEST(passing_on_leaves_the_account_as_it_is)
{
	struct budget other = budget;

	share();
	other.account = &account;
	ck_assert(budget_take(&budget, 3));
	budget_pass(&budget, 3);
	budget_accept(&other, 3);
	ck_assert_uint_eq(budget.used, 0);
	ck_assert_uint_eq(account.used, 3);
	budget_give(&other, 3);
	ck_assert_uint_eq(account.used, 0);
}
END_TEST

/* Another thread may tell it between our looks at the clock and at what was told. */
START_TEST(what_was_told_just_now_is_not_told_again)
{
	const unsigned int later_s = (unsigned int)(fixture_now_ms() / 1000) + 10;

	share();
	account.complained_s = later_s;
	budget_complain(&budget, "a test", "a race", "it says nothing");
	ck_assert(account.complained_s == later_s);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("budget");
	TCase *tc = fixture_case("budget");

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
	tcase_add_test(tc, passing_on_leaves_the_account_as_it_is);
	tcase_add_test(tc, what_was_told_just_now_is_not_told_again);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
