/* SPDX-License-Identifier: Apache-2.0 */

/* Long JSON arrays, element by element, as rootlessctl reads them. Each text is in a heap buffer of
 * exactly its size, so that sanitizers notice a read past its end. */
#include "formats/json.h"
#include "tests/unit/fixture.h"

/* ---- walking ---- */

/* Walks a text and writes its elements to `seen`, each followed by ';'. Returns the last result of
 * json_walk_next. */
static int walk_text(const char *text, size_t len, char *seen, size_t cap, struct err *e)
{
	struct json_walk walk;
	struct json_doc doc;
	char *copy = fixture_exact_copy(text, len);
	size_t used = 0, n;
	const char *raw;
	int r;

	seen[0] = '\0';
	e->msg[0] = '\0';
	json_walk_init(&walk, copy, len);
	while ((r = json_walk_next(&walk, &doc, e)) > 0) {
		ck_assert_int_eq(r, 1);
		ck_assert_uint_gt(doc.count, 0);
		ck_assert_uint_eq(doc.nodes[0].next, doc.count);
		raw = json_raw(&doc, &doc.nodes[0], &n);
		used += (size_t)snprintf(seen + used, cap - used, "%.*s;", (int)n, raw);
		ck_assert_uint_lt(used, cap);
	}
	ck_assert_uint_eq(doc.count, 0);
	/* Another call still reports the end. */
	ck_assert_int_le(json_walk_next(&walk, &doc, NULL), 0);
	return r;
}

static const struct {
	const char *text;
	const char *seen;
	int r;
	const char *reason;
} walks[] = {
	{ "[]", "", 0, "" },
	{ " [ ] ", "", 0, "" },
	{ "null", "", 0, "" },
	{ " null trailing", "", 0, "" },
	{ "[1]", "1;", 0, "" },
	{ "[1]]", "1;", 0, "" },
	{ "[1][2]", "1;", 0, "" },
	{ "\n[ 1 , \"a,]\" ,{\"b\":[2,3]}, [ ] , null ]x", "1;a,];{\"b\":[2,3]};[ ];null;", 0, "" },
	{ "", "", -EINVAL, "EOF" },
	{ "  ", "", -EINVAL, "EOF" },
	{ "[", "", -EINVAL, "unexpected EOF" },
	{ "[1", "", -EINVAL, "unexpected EOF" },
	{ "[1,", "1;", -EINVAL, "unexpected EOF" },
	{ "[1,]", "1;", -EINVAL, "invalid character ']' looking for beginning of value" },
	{ "[,1]", "", -EINVAL, "invalid character ',' looking for beginning of value" },
	{ "[1 2]", "", -EINVAL, "invalid character '2' after array element" },
	{ "[1,2}", "1;", -EINVAL, "invalid character '}' after array element" },
	{ "[1,tru]", "1;", -EINVAL, "invalid character ']' in literal true (expecting 'e')" },
	{ "nul", "", -EINVAL, "unexpected EOF" },
	{ "{}", "", -EINVAL, "json: cannot unmarshal object into an array" },
	{ "\"[]\"", "", -EINVAL, "json: cannot unmarshal string into an array" },
	{ "]", "", -EINVAL, "invalid character ']' looking for beginning of value" },
};

START_TEST(elements_of_an_array_are_parsed_one_by_one)
{
	struct err e;
	char seen[256];
	const char *text = walks[_i].text;

	ck_assert_int_eq(walk_text(text, strlen(text), seen, sizeof(seen), &e), walks[_i].r);
	ck_assert_str_eq(seen, walks[_i].seen);
	ck_assert_str_eq(e.msg, walks[_i].reason);
}
END_TEST

/* Many more elements than an index holds. */
START_TEST(an_array_too_long_for_the_index_is_walked)
{
	enum { ELEMENTS = 70000, ELEMENT_MAX = 32 };
	char *text = malloc(ELEMENTS * ELEMENT_MAX);
	struct json_walk walk;
	struct json_doc doc;
	size_t len = 0;
	int64_t id;

	ck_assert_ptr_nonnull(text);
	for (int i = 0; i < ELEMENTS; i++)
		len += (size_t)sprintf(text + len, "%c{\"id\":%d,\"a\":[1,2]}", i == 0 ? '[' : ',',
				       i);
	text[len++] = ']';
	json_walk_init(&walk, text, len);
	for (int i = 0; i < ELEMENTS; i++) {
		ck_assert_int_eq(json_walk_next(&walk, &doc, NULL), 1);
		ck_assert_int_eq(json_get_int(&doc, json_member(&doc, &doc.nodes[0], "id"), &id),
				 0);
		ck_assert_int_eq(id, i);
	}
	ck_assert_int_eq(json_walk_next(&walk, &doc, NULL), 0);
	free(text);
}
END_TEST

/* A single element must fit an index, and must not be nested too deeply. */
START_TEST(an_element_too_long_for_the_index_is_refused)
{
	char text[4 * JSON_MAX_NODES] = "[1,[";
	char seen[64];
	struct err e;

	for (int i = 0; i < JSON_MAX_NODES; i++)
		strcat(text, "1,");
	strcat(text, "1]]");
	ck_assert_int_eq(walk_text(text, strlen(text), seen, sizeof(seen), &e), -E2BIG);
	ck_assert_str_eq(seen, "1;");
	memset(text, '[', sizeof(text));
	ck_assert_int_eq(walk_text(text, sizeof(text), seen, sizeof(seen), &e), -E2BIG);
}
END_TEST

/* ---- outlines ---- */

static const struct {
	const char *text;
	const char *seen; /* the types and texts of the root's members */
	int r;
	const char *reason;
} outlines[] = {
	{ "{\"a\":[1,[2,{}],3],\"b\":{\"a\":[]},\"c\":4}",
	  "array [1,[2,{}],3];object {\"a\":[]};number 4;", 0, "" },
	{ "{\"a\":[],\"b\":{}}x", "array [];object {};", 0, "" },
	{ "{\"a\":[1,{\"b\":]}", "", -EINVAL,
	  "invalid character ']' looking for beginning of value" },
	{ "{\"a\":[1", "", -EINVAL, "unexpected EOF" },
};

START_TEST(an_outline_has_only_the_members_of_the_root)
{
	const char *text = outlines[_i].text;
	char *copy = fixture_exact_copy(text, strlen(text));
	const struct json_node *node;
	struct err e = { "" };
	struct json_doc doc;
	char seen[256] = "";
	size_t used = 0, n;
	const char *raw;

	ck_assert_int_eq(json_outline(&doc, copy, strlen(text), &e), outlines[_i].r);
	ck_assert_str_eq(e.msg, outlines[_i].reason);
	for (node = doc.count > 0 ? json_first(&doc, &doc.nodes[0]) : NULL; node != NULL;
	     node = json_next(&doc, &doc.nodes[0], node)) {
		node = json_next(&doc, &doc.nodes[0], node);
		ck_assert_ptr_null(json_first(&doc, node));
		raw = json_raw(&doc, node, &n);
		used += (size_t)snprintf(seen + used, sizeof(seen) - used, "%s %.*s;",
					 json_type_name(node->type), (int)n, raw);
	}
	ck_assert_str_eq(seen, outlines[_i].seen);
}
END_TEST

/* An element of a member must fit an index, the whole member need not. */
START_TEST(an_outline_of_a_long_array_is_short)
{
	char text[8 * JSON_MAX_NODES] = "{\"a\":[";
	struct json_doc doc;

	for (int i = 0; i < 2 * JSON_MAX_NODES; i++)
		strcat(text, "1,");
	strcat(text, "1]}");
	ck_assert_int_eq(json_parse(&doc, text, strlen(text), NULL), -E2BIG);
	ck_assert_int_eq(json_outline(&doc, text, strlen(text), NULL), 0);
	ck_assert_uint_eq(doc.count, 3);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("json_walk");
	TCase *tc = tcase_create("walk");

	tcase_add_loop_test(tc, elements_of_an_array_are_parsed_one_by_one, 0, COUNT(walks));
	tcase_add_test(tc, an_array_too_long_for_the_index_is_walked);
	tcase_add_test(tc, an_element_too_long_for_the_index_is_refused);
	tcase_add_loop_test(tc, an_outline_has_only_the_members_of_the_root, 0, COUNT(outlines));
	tcase_add_test(tc, an_outline_of_a_long_array_is_short);
	suite_add_tcase(suite, tc);
	return fixture_run(suite);
}
