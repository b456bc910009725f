/* SPDX-License-Identifier: Apache-2.0 */

/* The cache of fwmarks, with the settable clock of loopclock.h. */
#include "tests/unit/addresses.h"
#include "tests/unit/loopclock.h"

#include "ports/markcache.h"

#define KEEP_MS 1000 /* how long a mark is valid */
#define ASK_MS	100  /* how long the child may take to answer */
#define MARK	100
#define OTHER	101

static struct markcache cache;
static struct sockaddr_storage target;

static void clear_cache(void)
{
	memset(&cache, 0, sizeof(cache));
	target = address_of("10.0.2.100", 80);
}

START_TEST(a_mark_is_valid_for_a_second)
{
	ck_assert_int_eq(markcache_find(&cache, &target), 0);
	markcache_note(&cache, &target, MARK);
	ck_assert_int_eq(markcache_find(&cache, &target), MARK);
	skipped_ms += KEEP_MS - 50;
	ck_assert_int_eq(markcache_find(&cache, &target), MARK);
	skipped_ms += 100;
	ck_assert_int_eq(markcache_find(&cache, &target), 0);
}
END_TEST

START_TEST(only_one_caller_asks_when_a_mark_has_expired)
{
	markcache_note(&cache, &target, MARK);
	skipped_ms += KEEP_MS + 1;
	ck_assert_int_eq(markcache_find(&cache, &target), 0);
	ck_assert_int_eq(markcache_find(&cache, &target), MARK);
	/* The child has not answered. */
	skipped_ms += ASK_MS + 1;
	ck_assert_int_eq(markcache_find(&cache, &target), 0);
	ck_assert_int_eq(markcache_find(&cache, &target), MARK);
	markcache_note(&cache, &target, OTHER);
	skipped_ms += KEEP_MS - 50;
	ck_assert_int_eq(markcache_find(&cache, &target), OTHER);
}
END_TEST

START_TEST(a_mark_that_expired_long_ago_is_not_used)
{
	markcache_note(&cache, &target, MARK);
	skipped_ms += 2 * KEEP_MS + 1;
	ck_assert_int_eq(markcache_find(&cache, &target), 0);
	ck_assert_int_eq(markcache_find(&cache, &target), 0);
}
END_TEST

START_TEST(a_forgotten_mark_is_gone)
{
	markcache_note(&cache, &target, MARK);
	markcache_forget(&cache, &target);
	ck_assert_int_eq(markcache_find(&cache, &target), 0);
	ck_assert_int_eq(markcache_find(&cache, &target), 0);
}
END_TEST

/* Targets whose sum of port and last byte is the same share a place in the cache. */
static const struct {
	const char *ip;
	int port;
} others[] = {
	{ "10.0.2.101", 80 }, { "10.0.2.100", 81 },	 { "10.0.2.101", 79 },
	{ "10.0.3.100", 80 }, { "10.0.2.100", 80 + 32 }, { "fd00::64", 80 },
};

START_TEST(a_mark_is_for_one_target)
{
	struct sockaddr_storage other = address_of(others[_i].ip, others[_i].port);

	markcache_note(&cache, &target, MARK);
	ck_assert_int_eq(markcache_find(&cache, &other), 0);
	markcache_forget(&cache, &other);
	ck_assert_int_eq(markcache_find(&cache, &target), MARK);
	markcache_note(&cache, &other, OTHER);
	ck_assert_int_eq(markcache_find(&cache, &other), OTHER);
	ck_assert_int_ne(markcache_find(&cache, &target), OTHER);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("markcache");
	TCase *tc = fixture_case("markcache");

	tcase_add_checked_fixture(tc, clear_cache, NULL);
	tcase_add_test(tc, a_mark_is_valid_for_a_second);
	tcase_add_test(tc, only_one_caller_asks_when_a_mark_has_expired);
	tcase_add_test(tc, a_mark_that_expired_long_ago_is_not_used);
	tcase_add_test(tc, a_forgotten_mark_is_gone);
	tcase_add_loop_test(tc, a_mark_is_for_one_target, 0, COUNT(others));
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
