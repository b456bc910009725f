/* SPDX-License-Identifier: Apache-2.0 */

/* JSON: which texts the reader accepts, and its reasons for refusing others. Each text is in a heap
 * buffer of exactly its size, so that sanitizers notice a read past its end. */
#include "formats/json.h"
#include "formats/jsonfield.h"
#include "tests/unit/fixture.h"

/* The index points into the text, which stays until the next one is parsed. */
static int parse(struct json_doc *doc, const char *text, struct err *e)
{
	const char *copy = fixture_exact_copy(text, strlen(text));

	e->msg[0] = '\0';
	return json_parse(doc, copy, strlen(text), e);
}

/* ---- what is refused ---- */

#define AT(c, where) "invalid character '" c "' " where
#define VALUE	     "looking for beginning of value"
#define KEY	     "looking for beginning of object key string"

static const struct {
	const char *text;
	const char *msg;
} malformed[] = {
	{ "", "EOF" },
	{ " \t\r\n", "EOF" },
	{ "{\"proto\":", "unexpected EOF" },
	{ "[", "unexpected EOF" },
	{ "[1", "unexpected EOF" },
	{ "[1,", "unexpected EOF" },
	{ "\"abc", "unexpected EOF" },
	{ "\"abc\\", "unexpected EOF" },
	{ "\"abc\\u12", "unexpected EOF" },
	{ "tru", "unexpected EOF" },
	{ "-", "unexpected EOF" },
	{ "1.", "unexpected EOF" },
	{ "1e", "unexpected EOF" },
	{ "1e+", "unexpected EOF" },
	{ "garbage", AT("g", VALUE) },
	{ "{proto:\"tcp\"}", AT("p", KEY) },
	{ "{\"proto\":\"tcp\",}", AT("}", KEY) },
	{ "{,", AT(",", KEY) },
	{ "{1:2}", AT("1", KEY) },
	{ "}", AT("}", VALUE) },
	{ "]", AT("]", VALUE) },
	{ ",", AT(",", VALUE) },
	{ "[,1]", AT(",", VALUE) },
	{ "[1,]", AT("]", VALUE) },
	{ "[1 2]", AT("2", "after array element") },
	{ "[01]", AT("1", "after array element") },
	{ "[1}", AT("}", "after array element") },
	{ "{\"a\" 1}", AT("1", "after object key") },
	{ "{\"a\"}", AT("}", "after object key") },
	{ "{\"a\":1 \"b\":2}", AT("\"", "after object key:value pair") },
	{ "{\"a\":1]", AT("]", "after object key:value pair") },
	{ "{\"a\":}", AT("}", VALUE) },
	{ "\"a\nb\"", AT("\\n", "in string literal") },
	{ "\"\x01\"", AT("\\x01", "in string literal") },
	{ "\"\\x\"", AT("x", "in string escape code") },
	{ "\"\\'\"", AT("\\'", "in string escape code") },
	{ "\"\\u12g4\"", AT("g", "in \\u hexadecimal character escape") },
	{ "\"\\u12\"", AT("\"", "in \\u hexadecimal character escape") },
	{ "txue", AT("x", "in literal true (expecting 'r')") },
	{ "fals3", AT("3", "in literal false (expecting 'e')") },
	{ "nULL", AT("U", "in literal null (expecting 'u')") },
	{ "True", AT("T", VALUE) },
	{ "-x", AT("x", "in numeric literal") },
	{ "--1", AT("-", "in numeric literal") },
	{ "+1", AT("+", VALUE) },
	{ ".5", AT(".", VALUE) },
	{ "1.x", AT("x", "after decimal point in numeric literal") },
	{ "1.e5", AT("e", "after decimal point in numeric literal") },
	{ "1ex", AT("x", "in exponent of numeric literal") },
	{ "1e+-1", AT("-", "in exponent of numeric literal") },
	{ "'a'", AT("\\'", VALUE) },
	{ "\\", AT("\\\\", VALUE) },
	{ "\x7f", AT("\\x7f", VALUE) },
	{ "\v1", AT("\\v", VALUE) },
	/* Reasons show bytes beyond ASCII as Latin-1 characters. */
	{ "\xc3\xa9", AT("Ã", VALUE) },
	{ "\x85", AT("\\u0085", VALUE) },
	{ "\xa0", AT("\\u00a0", VALUE) },
	{ "\xad", AT("\\u00ad", VALUE) },
	{ "\xef\xbb\xbf{}", AT("ï", VALUE) },
};

START_TEST(a_malformed_text_is_refused)
{
	struct json_doc doc;
	struct err e;

	ck_assert_int_eq(parse(&doc, malformed[_i].text, &e), -EINVAL);
	ck_assert_str_eq(e.msg, malformed[_i].msg);
	ck_assert_uint_eq(doc.count, 0);
}
END_TEST

START_TEST(nul_bytes_are_refused)
{
	static const char outside[] = "{\0}", inside[] = "\"a\0b\"";
	struct json_doc doc;
	struct err e;

	ck_assert_int_eq(json_parse(&doc, outside, sizeof(outside) - 1, &e), -EINVAL);
	ck_assert_str_eq(e.msg, AT("\\x00", KEY));
	ck_assert_int_eq(json_parse(&doc, inside, sizeof(inside) - 1, &e), -EINVAL);
	ck_assert_str_eq(e.msg, AT("\\x00", "in string literal"));
}
END_TEST

START_TEST(the_reason_may_be_left_out)
{
	struct json_doc doc;

	ck_assert_int_eq(json_parse(&doc, "x", 1, NULL), -EINVAL);
}
END_TEST

static const char *const messages[] = {
	"{\"proto\":\"tcp\",\"parentIP\":\"127.0.0.1\",\"parentPort\":18100,\"childPort\":80}",
	" [ { \"id\" : 1 , \"spec\" : { \"a\" : [ ] , \"b\" : null } } , true , -1.5e-3 ] ",
	"\"\\u00e9\\ud83d\\ude00\\n \xc3\xa9\"",
	"[[[[[[[[]]]]]]]]",
	"false",
};

START_TEST(every_beginning_of_a_text_is_an_unexpected_end)
{
	const char *text = messages[_i];
	size_t whole = strlen(text);
	struct json_doc doc;
	struct err e;

	while (text[whole - 1] == ' ')
		whole--;
	for (size_t len = 0; len < whole; len++) {
		char *copy = fixture_exact_copy(text, len);
		bool blank = strspn(text, " ") >= len;

		ck_assert_int_eq(json_parse(&doc, copy, len, &e), -EINVAL);
		ck_assert_str_eq(e.msg, blank ? "EOF" : "unexpected EOF");
	}
	ck_assert_int_eq(parse(&doc, text, &e), 0);
}
END_TEST

/* ---- limits ---- */

/* `depth` nested arrays. */
static int parse_nested(struct json_doc *doc, size_t depth, struct err *e)
{
	char *text = malloc(2 * depth);
	int r;

	ck_assert_ptr_nonnull(text);
	memset(text, '[', depth);
	memset(text + depth, ']', depth);
	r = json_parse(doc, text, 2 * depth, e);
	free(text);
	return r;
}

START_TEST(nesting_is_limited)
{
	struct json_doc doc;
	struct err e;

	ck_assert_int_eq(parse_nested(&doc, JSON_MAX_DEPTH, &e), 0);
	ck_assert_uint_eq(doc.count, JSON_MAX_DEPTH);
	ck_assert_int_eq(parse_nested(&doc, JSON_MAX_DEPTH + 1, &e), -E2BIG);
	ck_assert_str_eq(e.msg, "exceeded max depth");
	ck_assert_int_eq(parse_nested(&doc, 1000000, &e), -E2BIG);
}
END_TEST

START_TEST(containers_side_by_side_are_not_nested)
{
	char text[JSON_MAX_DEPTH * 12] = "[[]";
	struct json_doc doc;
	struct err e;

	for (int i = 0; i < JSON_MAX_DEPTH * 2; i++)
		strcat(text, ",{}");
	strcat(text, "]");
	ck_assert_int_eq(parse(&doc, text, &e), 0);
}
END_TEST

/* An array of `count` values. */
static int parse_many(struct json_doc *doc, size_t count, const char *value, struct err *e)
{
	size_t each = strlen(value) + 1;
	char *text = malloc(count * each + 1);
	int r;

	ck_assert_ptr_nonnull(text);
	for (size_t i = 0; i < count; i++) {
		text[i * each] = i == 0 ? '[' : ',';
		memcpy(text + i * each + 1, value, each - 1);
	}
	text[count * each] = ']';
	r = json_parse(doc, text, count * each + 1, e);
	free(text);
	return r;
}

static const char *const any_value[] = { "1", "\"\"", "true", "null", "[]", "{}" };

START_TEST(the_number_of_values_is_limited)
{
	struct json_doc doc;
	struct err e;

	ck_assert_int_eq(parse_many(&doc, JSON_MAX_NODES - 1, any_value[_i], &e), 0);
	ck_assert_uint_eq(doc.count, JSON_MAX_NODES);
	ck_assert_int_eq(parse_many(&doc, JSON_MAX_NODES, any_value[_i], &e), -E2BIG);
	ck_assert_str_eq(e.msg, "too many JSON values");
	ck_assert_uint_eq(doc.count, 0);
}
END_TEST

START_TEST(a_text_too_long_for_the_index_is_refused)
{
	struct json_doc doc;
	struct err e;

	ck_assert_int_eq(json_parse(&doc, "1", (size_t)1 << 31, &e), -E2BIG);
}
END_TEST

/* ---- what is found ---- */

static const struct {
	const char *text;
	enum json_type type;
	const char *name;
	const char *raw;
} values[] = {
	{ "null", JSON_NULL, "null", "null" },
	{ "true", JSON_BOOL, "bool", "true" },
	{ "false", JSON_BOOL, "bool", "false" },
	{ " -0.5E+7 ", JSON_NUMBER, "number", "-0.5E+7" },
	{ "0", JSON_NUMBER, "number", "0" },
	{ "\"a\\\"b\"", JSON_STRING, "string", "a\\\"b" },
	{ "\"\"", JSON_STRING, "string", "" },
	{ "[ 1 ]", JSON_ARRAY, "array", "[ 1 ]" },
	{ "{\"a\":{}}", JSON_OBJECT, "object", "{\"a\":{}}" },
	/* The bytes that follow are ignored. */
	{ "{} garbage", JSON_OBJECT, "object", "{}" },
	{ "1x", JSON_NUMBER, "number", "1" },
	{ "01", JSON_NUMBER, "number", "0" },
	{ "truefalse", JSON_BOOL, "bool", "true" },
	{ "\"a\"\"", JSON_STRING, "string", "a" },
	{ "[]]", JSON_ARRAY, "array", "[]" },
};

START_TEST(the_root_is_the_first_node)
{
	struct json_doc doc;
	struct err e;
	size_t len;
	const char *raw;

	ck_assert_int_eq(parse(&doc, values[_i].text, &e), 0);
	ck_assert_int_eq(doc.nodes[0].type, values[_i].type);
	ck_assert_str_eq(json_type_name(doc.nodes[0].type), values[_i].name);
	ck_assert_uint_eq(doc.nodes[0].next, doc.count);
	raw = json_raw(&doc, &doc.nodes[0], &len);
	ck_assert_uint_eq(len, strlen(values[_i].raw));
	ck_assert_mem_eq(raw, values[_i].raw, len);
}
END_TEST

START_TEST(members_and_elements_are_walked_in_order)
{
	struct json_doc doc;
	struct err e;
	const struct json_node *root = &doc.nodes[0], *node;
	int64_t value;

	ck_assert_int_eq(parse(&doc, "[1,[2,3],{\"a\":[4]},5]", &e), 0);
	node = json_first(&doc, root);
	ck_assert_int_eq(json_get_int(&doc, node, &value), 0);
	ck_assert_int_eq(value, 1);
	ck_assert_ptr_null(json_first(&doc, node));
	node = json_next(&doc, root, node);
	ck_assert_int_eq(node->type, JSON_ARRAY);
	node = json_next(&doc, root, node);
	ck_assert_int_eq(node->type, JSON_OBJECT);
	ck_assert_int_eq(json_first(&doc, node)->type, JSON_STRING);
	ck_assert_int_eq(json_next(&doc, node, json_first(&doc, node))->type, JSON_ARRAY);
	ck_assert_ptr_eq(json_member(&doc, node, "a"),
			 json_next(&doc, node, json_first(&doc, node)));
	node = json_next(&doc, root, node);
	ck_assert_int_eq(json_get_int(&doc, node, &value), 0);
	ck_assert_int_eq(value, 5);
	ck_assert_ptr_null(json_next(&doc, root, node));
}
END_TEST

START_TEST(an_empty_container_has_no_first_node)
{
	struct json_doc doc;
	struct err e;

	ck_assert_int_eq(parse(&doc, "[{},[],1]", &e), 0);
	ck_assert_ptr_null(json_first(&doc, &doc.nodes[1]));
	ck_assert_ptr_null(json_first(&doc, &doc.nodes[2]));
	ck_assert_ptr_null(json_first(&doc, NULL));
}
END_TEST

#define NO_MEMBER (-1000)

static const struct {
	const char *text;
	int64_t value;
} members[] = {
	{ "{\"key\":1}", 1 },
	{ "{\"KEY\":1}", 1 },
	{ "{\"kEy\":1,\"other\":2}", 1 },
	{ "{\"key\":1,\"key\":2}", 2 },
	{ "{\"key\":1,\"Key\":2}", 2 },
	{ "{\"\\u006bey\":1}", 1 },
	{ "{\"inner\":{\"key\":1}}", NO_MEMBER },
	{ "{\"inner\":[{\"key\":1}],\"key\":3}", 3 },
	{ "{\"a\":\"key\",\"b\":4}", NO_MEMBER },
	{ "{\"keys\":1}", NO_MEMBER },
	{ "{\"ke\":1}", NO_MEMBER },
	{ "{\"\":1}", NO_MEMBER },
	{ "{\"key\\u0000\":1}", NO_MEMBER },
	{ "{\"0123456789012345678901234567890123456789012345678901234567890123\":1}", NO_MEMBER },
	{ "{}", NO_MEMBER },
	{ "[\"key\",1]", NO_MEMBER },
	{ "\"key\"", NO_MEMBER },
};

START_TEST(a_member_is_found_by_its_key)
{
	struct json_doc doc;
	struct err e;
	const struct json_node *node;
	int64_t value = NO_MEMBER;

	ck_assert_int_eq(parse(&doc, members[_i].text, &e), 0);
	node = json_member(&doc, &doc.nodes[0], "key");
	ck_assert_int_eq(node != NULL, members[_i].value != NO_MEMBER);
	if (node != NULL)
		ck_assert_int_eq(json_get_int(&doc, node, &value), 0);
	ck_assert_int_eq(value, members[_i].value);
}
END_TEST

static const struct {
	const char *text;
	int r; /* the length, or -errno */
	const char *value;
} unescaped[] = {
	{ "\"\"", 0, "" },
	{ "\"abc\"", 3, "abc" },
	{ "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", 8, "\"\\/\b\f\n\r\t" },
	{ "\"\\u0041\\u00e9\\u20AC\"", 6, "Aé€" },
	{ "\"\\ud83d\\uDE00\"", 4, "😀" },
	{ "\"\\ud83d\"", 3, "\xef\xbf\xbd" },
	{ "\"\\ude00\\ud83d\"", 6, "\xef\xbf\xbd\xef\xbf\xbd" },
	{ "\"\\ud83d\\u0041\"", 4,
	  "\xef\xbf\xbd"
	  "A" },
	{ "\"\\ud83d\\ud83d\\ude00\"", 7, "\xef\xbf\xbd😀" },
	{ "\"\\ud83dx\"", 4, "\xef\xbf\xbdx" },
	{ "\"\\ud83d\\\\u0041\"", 9, "\xef\xbf\xbd\\u0041" },
	{ "\"\\\\u0041\"", 6, "\\u0041" },
	{ "\"é€😀\"", 9, "é€😀" },
	{ "\"\x80\xff\"", 6, "\xef\xbf\xbd\xef\xbf\xbd" },
	{ "\"\xe2\x82\"", 6, "\xef\xbf\xbd\xef\xbf\xbd" },
	{ "\"a\\u0000b\"", -EINVAL, NULL },
	{ "\"\\u0000\"", -EINVAL, NULL },
	{ "1", -EINVAL, NULL },
	{ "null", -EINVAL, NULL },
	{ "{\"a\":\"b\"}", -EINVAL, NULL },
};

START_TEST(a_string_is_unescaped)
{
	char buf[64];
	struct json_doc doc;
	struct err e;

	ck_assert_int_eq(parse(&doc, unescaped[_i].text, &e), 0);
	ck_assert_int_eq(json_get_string(&doc, &doc.nodes[0], buf, sizeof(buf)), unescaped[_i].r);
	if (unescaped[_i].r >= 0)
		ck_assert_str_eq(buf, unescaped[_i].value);
}
END_TEST

START_TEST(a_string_must_fit)
{
	struct json_doc doc;
	struct err e;

	ck_assert_int_eq(parse(&doc, "\"a\\u20ac\"", &e), 0); /* 4 bytes */
	for (size_t cap = 0; cap < 8; cap++) {
		char *buf = malloc(cap > 0 ? cap : 1);
		int r = json_get_string(&doc, &doc.nodes[0], buf, cap);

		ck_assert_int_eq(r, cap > 4 ? 4 : -ENOSPC);
		free(buf);
	}
}
END_TEST

static const struct {
	const char *text;
	int r;
	int64_t value;
} numbers[] = {
	{ "0", 0, 0 },
	{ "-0", 0, 0 },
	{ "65535", 0, 65535 },
	{ "-5", 0, -5 },
	{ "9223372036854775807", 0, INT64_MAX },
	{ "-9223372036854775808", 0, INT64_MIN },
	{ "9223372036854775808", -ERANGE, 0 },
	{ "-9223372036854775809", -ERANGE, 0 },
	{ "99999999999999999999", -ERANGE, 0 },
	{ "-99999999999999999999999999999999999999999999", -ERANGE, 0 },
	{ "1.0", -EINVAL, 0 },
	{ "1e4", -EINVAL, 0 },
	{ "1E0", -EINVAL, 0 },
	{ "99999999999999999999.5", -EINVAL, 0 },
	{ "\"1\"", -EINVAL, 0 },
	{ "true", -EINVAL, 0 },
	{ "[1]", -EINVAL, 0 },
};

START_TEST(an_int_is_read)
{
	struct json_doc doc;
	struct err e;
	int64_t value = 0;

	ck_assert_int_eq(parse(&doc, numbers[_i].text, &e), 0);
	ck_assert_int_eq(json_get_int(&doc, &doc.nodes[0], &value), numbers[_i].r);
	ck_assert_int_eq(value, numbers[_i].value);
}
END_TEST

START_TEST(a_bool_is_read)
{
	struct json_doc doc;
	struct err e;
	bool value = false;

	ck_assert_int_eq(parse(&doc, "[true,false,1]", &e), 0);
	ck_assert_int_eq(json_get_bool(&doc, &doc.nodes[1], &value), 0);
	ck_assert(value);
	ck_assert_int_eq(json_get_bool(&doc, &doc.nodes[2], &value), 0);
	ck_assert(!value);
	ck_assert_int_eq(json_get_bool(&doc, &doc.nodes[3], &value), -EINVAL);
}
END_TEST

START_TEST(a_missing_node_has_no_type)
{
	char buf[4];
	struct json_doc doc = { 0 };
	int64_t number;
	bool truth;

	ck_assert_int_eq(json_get_string(&doc, NULL, buf, sizeof(buf)), -EINVAL);
	ck_assert_int_eq(json_get_int(&doc, NULL, &number), -EINVAL);
	ck_assert_int_eq(json_get_bool(&doc, NULL, &truth), -EINVAL);
	ck_assert_ptr_null(json_member(&doc, NULL, "a"));
}
END_TEST

/* ---- members of a known type ---- */

#define UNMARSHAL(what, type) "json: cannot unmarshal " what " into field f of type " type

static const struct {
	const char *text;
	const char *value; /* NULL: refused */
	const char *msg;
} string_fields[] = {
	{ "{\"f\":\"abc\"}", "abc", "" },
	{ "{\"F\":\"abc\"}", "abc", "" },
	{ "{}", "", "" },
	{ "{\"f\":null}", "", "" },
	{ "null", "", "" },
	{ "{\"f\":1}", NULL, UNMARSHAL("number", "string") },
	{ "{\"f\":true}", NULL, UNMARSHAL("bool", "string") },
	{ "{\"f\":[]}", NULL, UNMARSHAL("array", "string") },
	{ "{\"f\":{}}", NULL, UNMARSHAL("object", "string") },
	{ "{\"f\":\"12345678\"}", NULL, "json: field f is too long" },
	{ "{\"f\":\"a\\u0000\"}", NULL, "json: field f holds a NUL character" },
};

START_TEST(a_string_field_is_read)
{
	char buf[8];
	struct json_doc doc;
	struct err e;
	int r;

	ck_assert_int_eq(parse(&doc, string_fields[_i].text, &e), 0);
	r = json_field_string(&doc, &doc.nodes[0], "f", buf, sizeof(buf), &e);
	ck_assert_int_eq(r, string_fields[_i].value != NULL ? 0 : -EINVAL);
	ck_assert_str_eq(e.msg, string_fields[_i].msg);
	if (r == 0)
		ck_assert_str_eq(buf, string_fields[_i].value);
}
END_TEST

static const struct {
	const char *text;
	int64_t value;
	const char *msg;
} int_fields[] = {
	{ "{\"f\":18100}", 18100, "" },
	{ "{\"f\":-5}", -5, "" },
	{ "{}", 0, "" },
	{ "{\"f\":null}", 0, "" },
	{ "{\"f\":\"1\"}", 0, UNMARSHAL("string", "int") },
	{ "{\"f\":false}", 0, UNMARSHAL("bool", "int") },
	{ "{\"f\":[1]}", 0, UNMARSHAL("array", "int") },
	{ "{\"f\":{}}", 0, UNMARSHAL("object", "int") },
	{ "{\"f\":1e4}", 0, UNMARSHAL("number 1e4", "int") },
	{ "{\"f\":18111.0}", 0, UNMARSHAL("number 18111.0", "int") },
	{ "{\"f\":99999999999999999999}", 0, UNMARSHAL("number 99999999999999999999", "int") },
};

START_TEST(an_int_field_is_read)
{
	struct json_doc doc;
	struct err e;
	int64_t value = 77;
	int r;

	ck_assert_int_eq(parse(&doc, int_fields[_i].text, &e), 0);
	r = json_field_int(&doc, &doc.nodes[0], "f", &value, &e);
	ck_assert_int_eq(r, int_fields[_i].msg[0] == '\0' ? 0 : -EINVAL);
	ck_assert_str_eq(e.msg, int_fields[_i].msg);
	if (r == 0)
		ck_assert_int_eq(value, int_fields[_i].value);
}
END_TEST

START_TEST(a_number_of_any_length_leaves_a_complete_reason)
{
	char text[2000] = "{\"f\":";
	struct json_doc doc;
	struct err e;
	int64_t value;

	memset(text + 5, '9', 1500);
	strcpy(text + 1505, "}");
	ck_assert_int_eq(parse(&doc, text, &e), 0);
	ck_assert_int_eq(json_field_int(&doc, &doc.nodes[0], "f", &value, &e), -EINVAL);
	ck_assert_ptr_nonnull(strstr(e.msg, "9 into field f of type int"));
}
END_TEST

static TCase *refusing_case(void)
{
	TCase *tc = tcase_create("refusing");

	tcase_add_loop_test(tc, a_malformed_text_is_refused, 0, COUNT(malformed));
	tcase_add_test(tc, nul_bytes_are_refused);
	tcase_add_test(tc, the_reason_may_be_left_out);
	tcase_add_loop_test(tc, every_beginning_of_a_text_is_an_unexpected_end, 0, COUNT(messages));
	tcase_add_test(tc, nesting_is_limited);
	tcase_add_test(tc, containers_side_by_side_are_not_nested);
	tcase_add_loop_test(tc, the_number_of_values_is_limited, 0, COUNT(any_value));
	tcase_add_test(tc, a_text_too_long_for_the_index_is_refused);
	return tc;
}

static TCase *finding_case(void)
{
	TCase *tc = tcase_create("finding");

	tcase_add_loop_test(tc, the_root_is_the_first_node, 0, COUNT(values));
	tcase_add_test(tc, members_and_elements_are_walked_in_order);
	tcase_add_test(tc, an_empty_container_has_no_first_node);
	tcase_add_loop_test(tc, a_member_is_found_by_its_key, 0, COUNT(members));
	tcase_add_loop_test(tc, a_string_is_unescaped, 0, COUNT(unescaped));
	tcase_add_test(tc, a_string_must_fit);
	tcase_add_loop_test(tc, an_int_is_read, 0, COUNT(numbers));
	tcase_add_test(tc, a_bool_is_read);
	tcase_add_test(tc, a_missing_node_has_no_type);
	tcase_add_loop_test(tc, a_string_field_is_read, 0, COUNT(string_fields));
	tcase_add_loop_test(tc, an_int_field_is_read, 0, COUNT(int_fields));
	tcase_add_test(tc, a_number_of_any_length_leaves_a_complete_reason);
	return tc;
}

int main(void)
{
	Suite *s = suite_create("json");

	suite_add_tcase(s, refusing_case());
	suite_add_tcase(s, finding_case());
	return fixture_run(s);
}
