/* SPDX-License-Identifier: Apache-2.0 */

/* The list: its items, forwards and backwards, after every change. */
#include "base/list.h"
#include "tests/unit/fixture.h"

#define ITEMS 4

struct item {
	int value;
	struct list_node node;
};

static struct list list;
static struct item items[ITEMS];

static void empty_list(void)
{
	list = (struct list){ NULL, NULL };
	for (int i = 0; i < ITEMS; i++)
		items[i] = (struct item){ .value = i };
}

static void do_nothing(void)
{
}

/* Asserts that the list has the items with these digits, in this order. */
static void check(const char *digits)
{
	char forwards[ITEMS + 1] = "", backwards[ITEMS + 1] = "";
	size_t len = strlen(digits), n = 0;

	for (struct list_node *at = list.first; at != NULL && n < ITEMS; at = at->next)
		forwards[n++] = (char)('0' + LIST_OWNER(at, struct item, node)->value);
	n = 0;
	for (struct list_node *at = list.last; at != NULL && n < len; at = at->prev)
		backwards[len - ++n] = (char)('0' + LIST_OWNER(at, struct item, node)->value);
	ck_assert_str_eq(forwards, digits);
	ck_assert_uint_eq(n, len);
	ck_assert_str_eq(backwards, digits);
}

START_TEST(zeroed_memory_is_an_empty_list)
{
	check("");
}
END_TEST

START_TEST(nodes_come_first_last_and_between)
{
	list_append(&list, &items[1].node);
	check("1");
	list_append(&list, &items[3].node);
	check("13");
	list_prepend(&list, &items[0].node);
	check("013");
	list_insert(&list, &items[1].node, &items[2].node);
	check("0123");
}
END_TEST

static const struct {
	int first, second;
	const char *left, *then;
} removals[] = {
	{ 0, 1, "12", "2" }, { 0, 2, "12", "1" }, { 1, 0, "02", "2" },
	{ 1, 2, "02", "0" }, { 2, 0, "01", "1" }, { 2, 1, "01", "0" },
};

START_TEST(every_node_can_be_removed)
{
	for (int i = 0; i < 3; i++)
		list_append(&list, &items[i].node);
	list_remove(&list, &items[removals[_i].first].node);
	check(removals[_i].left);
	list_remove(&list, &items[removals[_i].second].node);
	check(removals[_i].then);
	list_remove(&list, list.first);
	check("");
}
END_TEST

START_TEST(a_removed_node_may_be_inserted_again)
{
	list_append(&list, &items[0].node);
	list_append(&list, &items[1].node);
	list_remove(&list, &items[0].node);
	list_append(&list, &items[0].node);
	check("10");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("list");
	TCase *tc = tcase_create("list");

	tcase_add_checked_fixture(tc, empty_list, do_nothing);
	tcase_add_test(tc, zeroed_memory_is_an_empty_list);
	tcase_add_test(tc, nodes_come_first_last_and_between);
	tcase_add_loop_test(tc, every_node_can_be_removed, 0, COUNT(removals));
	tcase_add_test(tc, a_removed_node_may_be_inserted_again);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
