/* SPDX-License-Identifier: Apache-2.0 */

/* The table of UDP flows: which flows are found, which are evicted, and in what order. The tests
 * set the time. */
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
	struct flowtable other;
	int r = flowtable_init(&other, NEW_MAX, EST_MAX);

	flowtable_reset(&other);
	flowtable_reset(&table); /* of this process */
	return r;
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

/* A client that gets an answer and sends again. */
static void establish_flow(int i, unsigned long long now)
{
	add(i, now);
	flowtable_note_answer(&table, &flows[i], now);
	flowtable_note_request(&table, &flows[i], now);
}

static int index_of(const struct flow_entry *e)
{
	return e == NULL ? -1 : (int)(e - flows);
}

/* Adds a flow as udp.c does. Returns the evicted flow, or -1. */
static int add_datagram(int i, unsigned long long now)
{
	struct flow_entry *victim = flowtable_victim(&table);

	if (victim != NULL)
		flowtable_remove(&table, victim);
	add(i, now);
	flowtable_note_request(&table, &flows[i], now);
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

/* Each byte of a key distinguishes two flows. */
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

/* Chains must stay short, or a port with many clients becomes slow. */
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
	/* With 3000 flows in 4096 random buckets, 12 in one bucket have a probability below 10^-9.
	 */
	ck_assert_uint_lt(longest, CASE_MAX);
}
END_TEST

START_TEST(new_flows_evict_the_new_flow_that_was_idle_longest)
{
	for (int i = 0; i < NEW_MAX; i++)
		ck_assert_int_eq(add_datagram(i, (unsigned)i), -1);
	flowtable_note_request(&table, &flows[0], 10);
	ck_assert_int_eq(add_datagram(4, 11), 1);
	flowtable_note_answer(&table, &flows[2], 12);
	ck_assert_int_eq(add_datagram(5, 13), 3);
	ck_assert_int_eq(add_datagram(6, 14), 0);
	ck_assert_int_eq(add_datagram(7, 15), 4);
	ck_assert_int_eq(add_datagram(8, 16), 2);
}
END_TEST

START_TEST(new_flows_do_not_evict_an_established_flow)
{
	establish_flow(0, 0);
	for (int i = 1; i < MANY; i++) {
		int gone = add_datagram(i, (unsigned)i);

		ck_assert_int_eq(gone, i <= NEW_MAX ? -1 : i - NEW_MAX);
	}
	ck_assert_ptr_eq(find(0), &flows[0]);
	ck_assert_uint_eq(table.fresh.count, NEW_MAX);
}
END_TEST

/* Neither answers alone nor datagrams of the client alone are enough. */
START_TEST(an_answer_and_another_datagram_establish_a_flow)
{
	add_datagram(0, 0);
	flowtable_note_request(&table, &flows[0], 1);
	flowtable_note_request(&table, &flows[0], 2);
	ck_assert_uint_eq(table.established.count, 0);
	flowtable_note_answer(&table, &flows[0], 3);
	flowtable_note_answer(&table, &flows[0], 4);
	ck_assert_uint_eq(table.established.count, 0);
	flowtable_note_request(&table, &flows[0], 5);
	ck_assert_uint_eq(table.established.count, 1);
	ck_assert_uint_eq(table.fresh.count, 0);
}
END_TEST

START_TEST(answered_flows_do_not_evict_an_established_flow_in_use)
{
	for (int i = 0; i < EST_MAX; i++)
		establish_flow(i, 0);
	for (int i = EST_MAX; i < MANY; i++) {
		unsigned long long now = (unsigned long long)(i - EST_MAX + 1) * (LONG - 1);

		add_datagram(i, now);
		flowtable_note_answer(&table, &flows[i], now);
		flowtable_note_request(&table, &flows[i], now);
		for (int old = 0; old < EST_MAX; old++)
			flowtable_note_request(&table, &flows[old], now);
		ck_assert_uint_eq(table.established.count, EST_MAX);
		ck_assert_uint_le(table.fresh.count, NEW_MAX);
	}
	for (int i = 0; i < EST_MAX; i++)
		ck_assert(find(i) == &flows[i] && flows[i].established);
}
END_TEST

START_TEST(an_established_flow_that_was_idle_for_long_becomes_new_again)
{
	for (int i = 0; i < EST_MAX; i++)
		establish_flow(i, (unsigned)i);
	establish_flow(10, LONG - 1);
	ck_assert(!flows[10].established);
	flowtable_note_request(&table, &flows[10], LONG);
	ck_assert(flows[10].established);
	ck_assert(!flows[0].established && flows[1].established && flows[2].established);
	/* The flow counts as just used, and needs a new answer. */
	add_datagram(11, LONG + 1);
	add_datagram(12, LONG + 2);
	add_datagram(13, LONG + 3);
	ck_assert_int_eq(add_datagram(14, LONG + 4), 0);
	ck_assert_ptr_null(find(0));
}
END_TEST

START_TEST(the_oldest_flow_of_both_lists_is_returned)
{
	ck_assert_ptr_null(flowtable_oldest(&table));
	add_datagram(0, 5);
	ck_assert_int_eq(index_of(flowtable_oldest(&table)), 0);
	establish_flow(1, 6);
	ck_assert_int_eq(index_of(flowtable_oldest(&table)), 0);
	flowtable_note_request(&table, &flows[0], 7);
	ck_assert_int_eq(index_of(flowtable_oldest(&table)), 1);
	flowtable_note_answer(&table, &flows[1], 8);
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

/* Both limits hold, each list is in the order of use, and all flows are found. */
START_TEST(random_use_keeps_the_lists_in_order)
{
	unsigned long long now = 0;

	srand((unsigned)_i);
	for (int round = 0; round < 5000; round++) {
		int i = rand() % 32;

		now += (unsigned)rand() % (LONG / 4);
		if (find(i) == NULL)
			add_datagram(i, now);
		else if (rand() % 8 == 0)
			flowtable_remove(&table, &flows[i]);
		else if (rand() % 2 == 0)
			flowtable_note_request(&table, &flows[i], now);
		else
			flowtable_note_answer(&table, &flows[i], now);
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
	tcase_add_test(tc, new_flows_evict_the_new_flow_that_was_idle_longest);
	tcase_add_test(tc, new_flows_do_not_evict_an_established_flow);
	tcase_add_test(tc, an_answer_and_another_datagram_establish_a_flow);
	tcase_add_test(tc, answered_flows_do_not_evict_an_established_flow_in_use);
	tcase_add_test(tc, an_established_flow_that_was_idle_for_long_becomes_new_again);
	tcase_add_test(tc, the_oldest_flow_of_both_lists_is_returned);
	tcase_add_loop_test(tc, random_use_keeps_the_lists_in_order, 0, 5);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
