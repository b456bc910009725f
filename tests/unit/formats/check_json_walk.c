/* SPDX-License-Identifier: Apache-2.0 */

/* JSON for programs that show what a server answered: long arrays element by element, and values
 * laid out in lines. A text under test lies in a heap buffer of exactly its size, so that reading
 * past it is seen. */
#include "formats/json.h"
#include "tests/unit/fixture.h"

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
	/* The end is the end. */
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

START_TEST(walks_an_array)
{
	struct err e;
	char seen[256];
	const char *text = walks[_i].text;

	ck_assert_int_eq(walk_text(text, strlen(text), seen, sizeof(seen), &e), walks[_i].r);
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

int main(void)
{
	Suite *suite = suite_create("json_walk");
	TCase *tc = tcase_create("walk");

	tcase_add_loop_test(tc, walks_an_array, 0, COUNT(walks));
	tcase_add_test(tc, walks_a_long_array);
	tcase_add_test(tc, refuses_what_fits_no_index);
	suite_add_tcase(suite, tc);
	return fixture_run(suite);
}
