/* SPDX-License-Identifier: Apache-2.0 */

/* Counting descriptors: how many can be taken, and who is told that there is room again. */
#include "ports/fdquota.h"
#include "tests/unit/fixture.h"

#define MAX    8
#define ENOUGH 3

static struct fdquota quota;
static int rooms; /* how often on_room was called */

static void on_room(struct fdquota *q)
{
	ck_assert_ptr_eq(q, &quota);
	rooms++;
}

static void set_up(void)
{
	quota = (struct fdquota){ .max = MAX, .on_room = on_room };
	rooms = 0;
}

START_TEST(no_more_descriptors_are_taken_than_the_quota_has)
{
	ck_assert(fdquota_take(&quota, MAX - 1));
	ck_assert(!fdquota_take(&quota, 2));
	ck_assert_uint_eq(quota.used, MAX - 1);
	ck_assert_uint_eq(fdquota_room(&quota), 1);
	ck_assert(fdquota_take(&quota, 1));
	fdquota_give(&quota, MAX);
	ck_assert_uint_eq(quota.used, 0);
}
END_TEST

START_TEST(the_owner_is_told_once_when_there_is_enough_room)
{
	ck_assert(fdquota_take(&quota, MAX));
	fdquota_want_room(&quota, ENOUGH);
	fdquota_give(&quota, ENOUGH - 1);
	ck_assert_int_eq(rooms, 0);
	fdquota_give(&quota, 1);
	ck_assert_int_eq(rooms, 1);
	/* It is told once only. */
	fdquota_give(&quota, MAX - ENOUGH);
	ck_assert_int_eq(rooms, 1);
}
END_TEST

START_TEST(an_owner_that_wants_no_room_is_not_told)
{
	ck_assert(fdquota_take(&quota, MAX));
	fdquota_want_room(&quota, ENOUGH);
	fdquota_want_room(&quota, 0);
	fdquota_give(&quota, MAX);
	ck_assert_int_eq(rooms, 0);
}
END_TEST

START_TEST(usage_is_reported_for_the_quota_and_the_total)
{
	struct fdtotal total = { .max = 2 * MAX };
	struct fdquota_usage usage;

	ck_assert(fdquota_take(&quota, 3));
	usage = fdquota_usage(&quota);
	ck_assert_uint_eq(usage.used, 3);
	ck_assert_uint_eq(usage.max, MAX);
	fdtotal_charge(&total, 5);
	quota.total = &total;
	usage = fdquota_usage(&quota);
	ck_assert_uint_eq(usage.used, 5);
	ck_assert_uint_eq(usage.max, 2 * MAX);
}
END_TEST

/* It is the reason why nothing can be taken. */
START_TEST(usage_is_reported_for_the_parent_if_that_is_fuller)
{
	struct fdtotal all = { .max = 3 * MAX }, own = { .max = MAX, .parent = &all };
	struct fdquota_usage usage;

	quota.total = &own;
	fdtotal_charge(&all, 3 * MAX - 1);
	usage = fdquota_usage(&quota);
	ck_assert_uint_eq(usage.used, 3 * MAX - 1);
	ck_assert_uint_eq(usage.max, 3 * MAX);
	ck_assert_uint_eq(fdquota_room(&quota), 1);
	fdtotal_charge(&own, 1);
	ck_assert_uint_eq(fdquota_usage(&quota).used, 3 * MAX);
}
END_TEST

/* ---- a total ---- */

static struct fdtotal total, part;

static void share(void)
{
	total = (struct fdtotal){ .max = MAX };
	part = (struct fdtotal){ .max = MAX / 2, .parent = &total };
	quota.total = &total;
}

START_TEST(descriptors_that_one_quota_gives_back_another_may_take)
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

START_TEST(other_quotas_cannot_take_reserved_descriptors)
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
	/* Beyond its reservation the quota takes as others do. */
	fdquota_give(&other, 1);
	ck_assert(fdquota_take(&quota, 1));
	fdquota_give(&quota, 3);
	ck_assert_uint_eq(total.used, MAX - 3 + 2);
	fdquota_give(&other, MAX - 3);
	fdquota_reserve(&quota, 0);
	ck_assert_uint_eq(total.used, 0);
}
END_TEST

START_TEST(reserved_descriptors_count_as_room)
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

/* A late reservation may be larger than what is left. */
START_TEST(reserved_descriptors_may_be_taken_even_if_the_total_is_overdrawn)
{
	share();
	fdtotal_charge(&total, MAX);
	fdquota_reserve(&quota, 2);
	ck_assert_uint_eq(fdquota_room(&quota), 2);
	ck_assert(fdquota_take(&quota, 2));
	ck_assert_uint_eq(fdquota_room(&quota), 0);
}
END_TEST

START_TEST(a_late_reservation_is_filled_when_others_give_back)
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

START_TEST(a_part_of_the_total_has_its_own_limit)
{
	struct fdquota other = quota;

	share();
	other.total = &part;
	ck_assert(fdquota_take(&other, MAX / 2));
	ck_assert(!fdquota_take(&other, 1));
	ck_assert_uint_eq(total.used, MAX / 2);
	fdquota_give(&other, 1);
	/* The total is used up. A failed attempt does not change the part. */
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

START_TEST(an_overdrawn_total_gives_nothing_until_it_is_balanced)
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

START_TEST(a_transfer_between_quotas_does_not_change_the_total)
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

int main(void)
{
	Suite *s = suite_create("quota");
	TCase *tc = fixture_case("quota");

	tcase_add_checked_fixture(tc, set_up, NULL);
	tcase_add_test(tc, no_more_descriptors_are_taken_than_the_quota_has);
	tcase_add_test(tc, the_owner_is_told_once_when_there_is_enough_room);
	tcase_add_test(tc, an_owner_that_wants_no_room_is_not_told);
	tcase_add_test(tc, usage_is_reported_for_the_quota_and_the_total);
	tcase_add_test(tc, usage_is_reported_for_the_parent_if_that_is_fuller);
	tcase_add_test(tc, descriptors_that_one_quota_gives_back_another_may_take);
	tcase_add_test(tc, other_quotas_cannot_take_reserved_descriptors);
	tcase_add_test(tc, reserved_descriptors_count_as_room);
	tcase_add_test(tc, reserved_descriptors_may_be_taken_even_if_the_total_is_overdrawn);
	tcase_add_test(tc, a_late_reservation_is_filled_when_others_give_back);
	tcase_add_test(tc, a_part_of_the_total_has_its_own_limit);
	tcase_add_test(tc, an_overdrawn_total_gives_nothing_until_it_is_balanced);
	tcase_add_test(tc, a_transfer_between_quotas_does_not_change_the_total);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
