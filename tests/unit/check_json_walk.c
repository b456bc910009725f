/* SPDX-License-Identifier: Apache-2.0 */

/* JSON for programs that show what a server answered: long arrays element by element, and values
 * laid out in lines. A text under test lies in a heap buffer of exactly its size, so that reading
 * past it is seen. */
#include "fixture.h"
#include "json.h"

/* ---- walking ---- */

/* Walks a text and writes its elements to `seen`, each with ';' behind it. Returns what ended it.
 */
static int walk_text(const char *text, size_t len, char *seen, size_t cap, struct err *e)
{
	struct json_walk walk;
	struct json_doc doc;
	char *copy = fixture_exact_copy(text, len);
	size_t used = 0, n;
	const char *raw;
	int ret;

	seen[0] = '\0';
	e->msg[0] = '\0';
	json_walk_init(&walk, copy, len);
	while ((ret = json_walk_next(&walk, &doc, e)) > 0) {
		ck_assert_int_eq(ret, 1);
		ck_assert_uint_gt(doc.count, 0);
		ck_assert_uint_eq(doc.nodes[0].next, doc.count);
		raw = json_raw(&doc, &doc.nodes[0], &n);
		used += (size_t)snprintf(seen + used, cap - used, "%.*s;", (int)n, raw);
		ck_assert_uint_lt(used, cap);
	}
	ck_assert_uint_eq(doc.count, 0);
	/* The end is the end. */
	ck_assert_int_le(json_walk_next(&walk, &doc, NULL), 0);
	return ret;
}

static const struct {
	const char *text;
	const char *seen;
	int ret;
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

START_TEST(walks_an_array)
{
	struct err e;
	char seen[256];
	const char *text = walks[_i].text;

	ck_assert_int_eq(walk_text(text, strlen(text), seen, sizeof(seen), &e), walks[_i].ret);
	ck_assert_str_eq(seen, walks[_i].seen);
	ck_assert_str_eq(e.msg, walks[_i].reason);
}
END_TEST

/* Far more elements than an index holds. */
START_TEST(walks_a_long_array)
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

/* An element alone must fit an index, and must not be too deep. */
START_TEST(refuses_what_fits_no_index)
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

/* ---- laying out ---- */

static const struct {
	const char *text;
	const char *laid_out;
} layouts[] = {
	{ "1", "1" },
	{ " -2.50e+3 ", "-2.50e+3" },
	{ "true", "true" },
	{ "null", "null" },
	{ "\"a\"", "\"a\"" },
	{ "[ ]", "[]" },
	{ "{\n}", "{}" },
	{ "[1]", "[\n    1\n]" },
	{ "{\"a\":1,\"b\":{}}", "{\n    \"a\": 1,\n    \"b\": {}\n}" },
	{ "{\"a\" : [1, {\"b\":null}] } x",
	  "{\n    \"a\": [\n        1,\n        {\n            \"b\": null\n        }\n    ]\n}" },
	{ "\"\\u0041\\/\\n\\\"\\u0000\"", "\"A/\\n\\\"\\u0000\"" },
	{ "\"<\\u003e&\"", "\"\\u003c\\u003e\\u0026\"" },
	{ "\"\\ud83d\\ude00 \\ud83d\"", "\"\xf0\x9f\x98\x80 \xef\xbf\xbd\"" },
	{ "\"\xff\"", "\"\xef\xbf\xbd\"" },
	{ "{\"\\u000a\":0}", "{\n    \"\\n\": 0\n}" },
};

START_TEST(lays_out_a_value)
{
	const char *text = layouts[_i].text;
	size_t cap = json_indented_cap(strlen(text), 4);
	char *copy = fixture_exact_copy(text, strlen(text));
	char *buf = malloc(cap);
	struct json_doc doc;
	struct json_out out;

	ck_assert_int_eq(json_parse(&doc, copy, strlen(text), NULL), 0);
	json_out_init(&out, buf, cap);
	json_put_indented(&out, &doc, &doc.nodes[0], 4);
	ck_assert(!out.overflow);
	ck_assert_str_eq(buf, layouts[_i].laid_out);
	free(buf);
}
END_TEST

/* The texts that grow most: as deep and as many values as an index takes. */
START_TEST(needs_no_more_than_said)
{
	const int blanks = _i;
	char text[4 * JSON_MAX_NODES] = "";
	struct json_doc doc;
	struct json_out out;
	size_t cap;
	char *buf;

	memset(text, '[', JSON_MAX_DEPTH);
	for (int i = JSON_MAX_DEPTH + 1; i < JSON_MAX_NODES; i++)
		strcat(text, "1,");
	strcat(text, "1");
	memset(text + strlen(text), ']', JSON_MAX_DEPTH);
	cap = json_indented_cap(strlen(text), blanks);
	buf = malloc(cap);
	ck_assert_int_eq(json_parse(&doc, text, strlen(text), NULL), 0);
	ck_assert_uint_eq(doc.count, JSON_MAX_NODES);
	json_out_init(&out, buf, cap);
	json_put_indented(&out, &doc, &doc.nodes[0], blanks);
	ck_assert(!out.overflow);
	free(buf);
}
END_TEST

/* Output that does not fit is cut as the writer does it. */
START_TEST(overflows_softly)
{
	static const char text[] = "{\"a\":[1,2,{\"b\":\"c\"}]}";
	char buf[64];
	struct json_doc doc;
	struct json_out out;

	ck_assert_int_eq(json_parse(&doc, text, strlen(text), NULL), 0);
	for (size_t cap = 1; cap < 40; cap++) {
		memset(buf, '#', sizeof(buf));
		json_out_init(&out, buf, cap);
		json_put_indented(&out, &doc, &doc.nodes[0], 4);
		ck_assert(out.overflow);
		ck_assert_uint_eq(out.len, strlen(buf));
		ck_assert_uint_lt(out.len, cap);
		ck_assert_int_eq(buf[cap], '#');
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("json_walk");
	TCase *tc = tcase_create("walk");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(tc, walks_an_array, 0, COUNT(walks));
	tcase_add_test(tc, walks_a_long_array);
	tcase_add_test(tc, refuses_what_fits_no_index);
	suite_add_tcase(suite, tc);
	tc = tcase_create("layout");
	tcase_add_loop_test(tc, lays_out_a_value, 0, COUNT(layouts));
	tcase_add_loop_test(tc, needs_no_more_than_said, 0, 9);
	tcase_add_test(tc, overflows_softly);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
