/* SPDX-License-Identifier: Apache-2.0 */

/* The table of UDP flows: who is found, who has to go, and in what order. Time is what the tests
 * say that it is. */
#include "ports/flowtable.h"
#include "tests/unit/fixture.h"

#define NEW_MAX	 4
#define EST_MAX	 3
#define MANY	 3000
#define LONG	 FLOWTABLE_LONG_MS
#define CASE_MAX 16

static struct flowtable table;
static struct flow_entry flows[MANY];

static void open_table(void)
{
	memset(flows, 0, sizeof(flows));
	ck_assert_int_eq(flowtable_init(&table, NEW_MAX, EST_MAX), 0);
}

static int check_table(void)
{
	return flowtable_init(&table, NEW_MAX, EST_MAX);
}

START_TEST(a_table_needs_no_random_bytes)
{
	fixture_without(SYS_getrandom, _i == 0 ? ENOSYS : EPERM, check_table);
}
END_TEST

static void close_table(void)
{
	flowtable_reset(&table);
}

static struct flow_key key_of(int i)
{
	struct flow_key key;

	memset(&key, 0, sizeof(key));
	key.client.s6_addr[15] = (unsigned char)i;
	key.port_be = (uint16_t)(i >> 8);
	return key;
}

static struct flow_entry *find(int i)
{
	const struct flow_key key = key_of(i);

	return flowtable_find(&table, &key);
}

static void add(int i, unsigned long long now)
{
	flows[i].key = key_of(i);
	flowtable_add(&table, &flows[i], now);
}

/* A client that hears an answer and writes again. */
static void establish(int i, unsigned long long now)
{
	add(i, now);
	flowtable_answered(&table, &flows[i], now);
	flowtable_heard(&table, &flows[i], now);
}

static int index_of(const struct flow_entry *e)
{
	return e == NULL ? -1 : (int)(e - flows);
}

/* As udp.c does it: returns who had to go for this one, -1 if nobody. */
static int come(int i, unsigned long long now)
{
	struct flow_entry *victim = flowtable_victim(&table);

	if (victim != NULL)
		flowtable_remove(&table, victim);
	add(i, now);
	flowtable_heard(&table, &flows[i], now);
	return index_of(victim);
}

START_TEST(every_flow_is_found_by_its_key_alone)
{
	table.fresh.max = MANY;
	for (int i = 0; i < MANY; i++) {
		ck_assert_ptr_null(find(i));
		add(i, 0);
	}
	for (int i = 0; i < MANY; i++)
		ck_assert_ptr_eq(find(i), &flows[i]);
	for (int i = 0; i < MANY; i += 2)
		flowtable_remove(&table, &flows[i]);
	for (int i = 0; i < MANY; i++)
		ck_assert_ptr_eq(find(i), i % 2 == 0 ? NULL : &flows[i]);
}
END_TEST

/* Each byte of a key tells two flows apart. */
START_TEST(each_part_of_a_key_counts)
{
	struct flow_key key = key_of(1);
	unsigned char *bytes = (unsigned char *)&key;

	add(1, 0);
	for (size_t i = 0; i < sizeof(key); i++) {
		bytes[i] ^= 1;
		ck_assert_ptr_null(flowtable_find(&table, &key));
		bytes[i] ^= 1;
	}
	ck_assert_ptr_eq(flowtable_find(&table, &key), &flows[1]);
}
END_TEST

/* Chains stay short: else a port with many clients gets slow. */
START_TEST(keys_spread_over_the_buckets)
{
	size_t longest = 0;

	table.fresh.max = MANY;
	for (int i = 0; i < MANY; i++)
		add(i, 0);
	ck_assert_uint_ge(table.bucket_count, MANY);
	for (size_t i = 0; i < table.bucket_count; i++) {
		size_t length = 0;

		for (struct flow_entry *e = table.buckets[i]; e != NULL; e = e->chain)
			length++;
		longest = length > longest ? length : longest;
	}
	/* With 3000 in 4096 random buckets, 12 in one is less likely than one in 10^9. */
	ck_assert_uint_lt(longest, CASE_MAX);
}
END_TEST

START_TEST(new_flows_push_out_the_new_one_longest_unused)
{
	for (int i = 0; i < NEW_MAX; i++)
		ck_assert_int_eq(come(i, (unsigned)i), -1);
	flowtable_heard(&table, &flows[0], 10);
	ck_assert_int_eq(come(4, 11), 1);
	flowtable_answered(&table, &flows[2], 12);
	ck_assert_int_eq(come(5, 13), 3);
	ck_assert_int_eq(come(6, 14), 0);
	ck_assert_int_eq(come(7, 15), 4);
	ck_assert_int_eq(come(8, 16), 2);
}
END_TEST

START_TEST(an_established_flow_is_not_pushed_out_by_new_ones)
{
	establish(0, 0);
	for (int i = 1; i < MANY; i++) {
		int gone = come(i, (unsigned)i);

		ck_assert_int_eq(gone, i <= NEW_MAX ? -1 : i - NEW_MAX);
	}
	ck_assert_ptr_eq(find(0), &flows[0]);
	ck_assert_uint_eq(table.fresh.count, NEW_MAX);
}
END_TEST

/* Neither by answers alone, nor by a client that writes on without one. */
START_TEST(it_takes_an_answer_and_one_more_datagram_to_be_established)
{
	come(0, 0);
	flowtable_heard(&table, &flows[0], 1);
	flowtable_heard(&table, &flows[0], 2);
	ck_assert_uint_eq(table.established.count, 0);
	flowtable_answered(&table, &flows[0], 3);
	flowtable_answered(&table, &flows[0], 4);
	ck_assert_uint_eq(table.established.count, 0);
	flowtable_heard(&table, &flows[0], 5);
	ck_assert_uint_eq(table.established.count, 1);
	ck_assert_uint_eq(table.fresh.count, 0);
}
END_TEST

START_TEST(nor_by_others_that_are_answered_while_it_is_used)
{
	for (int i = 0; i < EST_MAX; i++)
		establish(i, 0);
	for (int i = EST_MAX; i < MANY; i++) {
		unsigned long long now = (unsigned long long)(i - EST_MAX + 1) * (LONG - 1);

		come(i, now);
		flowtable_answered(&table, &flows[i], now);
		flowtable_heard(&table, &flows[i], now);
		for (int old = 0; old < EST_MAX; old++)
			flowtable_heard(&table, &flows[old], now);
		ck_assert_uint_eq(table.established.count, EST_MAX);
		ck_assert_uint_le(table.fresh.count, NEW_MAX);
	}
	for (int i = 0; i < EST_MAX; i++)
		ck_assert(find(i) == &flows[i] && flows[i].established);
}
END_TEST

START_TEST(one_that_was_long_unused_becomes_a_new_one_again)
{
	for (int i = 0; i < EST_MAX; i++)
		establish(i, (unsigned)i);
	establish(10, LONG - 1);
	ck_assert(!flows[10].established);
	flowtable_heard(&table, &flows[10], LONG);
	ck_assert(flows[10].established);
	ck_assert(!flows[0].established && flows[1].established && flows[2].established);
	/* It counts as just used, and needs a new answer. */
	come(11, LONG + 1);
	come(12, LONG + 2);
	come(13, LONG + 3);
	ck_assert_int_eq(come(14, LONG + 4), 0);
	ck_assert_ptr_null(find(0));
}
END_TEST

START_TEST(the_oldest_of_both_lists_is_told)
{
	ck_assert_ptr_null(flowtable_oldest(&table));
	come(0, 5);
	ck_assert_int_eq(index_of(flowtable_oldest(&table)), 0);
	establish(1, 6);
	ck_assert_int_eq(index_of(flowtable_oldest(&table)), 0);
	flowtable_heard(&table, &flows[0], 7);
	ck_assert_int_eq(index_of(flowtable_oldest(&table)), 1);
	flowtable_answered(&table, &flows[1], 8);
	ck_assert_int_eq(index_of(flowtable_oldest(&table)), 0);
	flowtable_remove(&table, &flows[0]);
	ck_assert_int_eq(index_of(flowtable_oldest(&table)), 1);
	flowtable_remove(&table, &flows[1]);
	ck_assert_ptr_null(flowtable_oldest(&table));
}
END_TEST

static bool list_is_sound(const struct flow_list *l)
{
	size_t count = 0;

	for (struct list_node *node = l->flows.first; node != NULL; node = node->next) {
		struct flow_entry *e = LIST_OWNER(node, struct flow_entry, node);

		if (find(index_of(e)) != e)
			return false;
		if (node->next == NULL
			    ? l->flows.last != node
			    : e->used_ms < LIST_OWNER(node->next, struct flow_entry, node)->used_ms)
			return false;
		count++;
	}
	return count == l->count && count <= l->max;
}

/* Whatever happens: both bounds hold, each list is in the order of use, and all are found. */
START_TEST(random_use_keeps_the_lists_in_order)
{
	unsigned long long now = 0;

	srand((unsigned)_i);
	for (int round = 0; round < 5000; round++) {
		int i = rand() % 32;

		now += (unsigned)rand() % (LONG / 4);
		if (find(i) == NULL)
			come(i, now);
		else if (rand() % 8 == 0)
			flowtable_remove(&table, &flows[i]);
		else if (rand() % 2 == 0)
			flowtable_heard(&table, &flows[i], now);
		else
			flowtable_answered(&table, &flows[i], now);
		ck_assert(list_is_sound(&table.fresh) && list_is_sound(&table.established));
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("flowtable");
	TCase *tc = fixture_case("flowtable");

	tcase_add_checked_fixture(tc, open_table, close_table);
	tcase_add_loop_test(tc, a_table_needs_no_random_bytes, 0, 2);
	tcase_add_test(tc, every_flow_is_found_by_its_key_alone);
	tcase_add_test(tc, each_part_of_a_key_counts);
	tcase_add_test(tc, keys_spread_over_the_buckets);
	tcase_add_test(tc, new_flows_push_out_the_new_one_longest_unused);
	tcase_add_test(tc, an_established_flow_is_not_pushed_out_by_new_ones);
	tcase_add_test(tc, it_takes_an_answer_and_one_more_datagram_to_be_established);
	tcase_add_test(tc, nor_by_others_that_are_answered_while_it_is_used);
	tcase_add_test(tc, one_that_was_long_unused_becomes_a_new_one_again);
	tcase_add_test(tc, the_oldest_of_both_lists_is_told);
	tcase_add_loop_test(tc, random_use_keeps_the_lists_in_order, 0, 5);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
