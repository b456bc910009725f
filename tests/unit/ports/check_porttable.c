/* SPDX-License-Identifier: Apache-2.0 */

/* The ports of a worker, some of which the main thread has just added. */
#include "ports/porttable.h"
#include "tests/unit/fixture.h"

#define PORTS	(3 * PORTTABLE_BUCKETS)
#define THREADS 4

static struct porttable table;
static struct porttable_entry entries[PORTS];
static bool is_seen[PORTS];

static void empty_table(void)
{
	memset(&table, 0, sizeof(table));
}

static void add(int index)
{
	entries[index].id = index + 1;
	porttable_add(&table, &entries[index]);
}

/* Notes all ports of the table in is_seen. Returns their number. */
static int see_all(void)
{
	int count = 0;

	memset(is_seen, 0, sizeof(is_seen));
	for (struct porttable_entry *e = porttable_first(&table); e != NULL;
	     e = porttable_next(&table, e)) {
		ck_assert(!is_seen[e->id - 1]);
		is_seen[e->id - 1] = true;
		count++;
	}
	return count;
}

START_TEST(an_empty_table_has_no_port)
{
	ck_assert_ptr_null(porttable_first(&table));
	ck_assert_ptr_null(porttable_find(&table, 1));
	ck_assert_ptr_null(porttable_remove(&table, 1));
}
END_TEST

START_TEST(ports_are_found_and_removed_by_id)
{
	for (int i = 0; i < PORTS; i++)
		add(i);
	for (int i = 0; i < PORTS; i++)
		ck_assert_ptr_eq(porttable_find(&table, i + 1), &entries[i]);
	for (int i = 0; i < PORTS; i += 2)
		ck_assert_ptr_eq(porttable_remove(&table, i + 1), &entries[i]);
	for (int i = 0; i < PORTS; i++)
		ck_assert_ptr_eq(porttable_find(&table, i + 1), i % 2 == 0 ? NULL : &entries[i]);
	ck_assert_ptr_null(porttable_find(&table, PORTS + 1));
}
END_TEST

START_TEST(a_loop_sees_each_port_once)
{
	for (int i = 0; i < PORTS; i++)
		add(i);
	ck_assert_int_eq(see_all(), PORTS);
	for (int i = 0; i < PORTS; i++)
		if (i != 7)
			porttable_remove(&table, i + 1);
	ck_assert_int_eq(see_all(), 1);
	ck_assert(is_seen[7]);
}
END_TEST

START_TEST(a_port_that_was_just_added_is_found)
{
	add(0);
	ck_assert_ptr_eq(porttable_first(&table), &entries[0]);
	add(1);
	ck_assert_ptr_eq(porttable_find(&table, 2), &entries[1]);
	add(2);
	ck_assert_ptr_eq(porttable_remove(&table, 3), &entries[2]);
	ck_assert_int_eq(see_all(), 2);
}
END_TEST

static void *add_some(void *arg)
{
	for (int i = *(const int *)arg; i < PORTS; i += THREADS)
		add(i);
	return NULL;
}

START_TEST(threads_add_while_the_owner_looks)
{
	pthread_t threads[THREADS];
	int starts[THREADS];

	for (int i = 0; i < THREADS; i++) {
		starts[i] = i;
		threads[i] = fixture_thread(add_some, &starts[i]);
	}
	while (see_all() < PORTS)
		;
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(see_all(), PORTS);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("porttable");
	TCase *tc = fixture_case("porttable");

	tcase_add_checked_fixture(tc, empty_table, NULL);
	tcase_add_test(tc, an_empty_table_has_no_port);
	tcase_add_test(tc, ports_are_found_and_removed_by_id);
	tcase_add_test(tc, a_loop_sees_each_port_once);
	tcase_add_test(tc, a_port_that_was_just_added_is_found);
	tcase_add_test(tc, threads_add_while_the_owner_looks);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
