/* SPDX-License-Identifier: Apache-2.0 */

/* Writing JSON: values, indented texts, and output that does not fit. */
#include "formats/jsonout.h"
#include "tests/unit/fixture.h"

/* ---- values ---- */

START_TEST(an_object_is_written)
{
	char buf[256];
	struct jsonout out;

	jsonout_init(&out, buf, sizeof(buf));
	jsonout_begin_array(&out, NULL);
	jsonout_begin_object(&out, NULL);
	jsonout_put_int(&out, "id", 1);
	jsonout_begin_object(&out, "spec");
	jsonout_put_string(&out, "proto", "tcp");
	jsonout_put_bool(&out, "on", true);
	jsonout_put_bool(&out, "off", false);
	jsonout_end_object(&out);
	jsonout_begin_array(&out, "empty");
	jsonout_end_array(&out);
	jsonout_begin_object(&out, "none");
	jsonout_end_object(&out);
	jsonout_put_null(&out, "nil");
	jsonout_end_object(&out);
	jsonout_put_string(&out, NULL, "");
	jsonout_put_int(&out, NULL, -2);
	jsonout_end_array(&out);
	ck_assert(!out.overflow);
	ck_assert_str_eq(buf, "[{\"id\":1,\"spec\":{\"proto\":\"tcp\",\"on\":true,\"off\":false},"
			      "\"empty\":[],\"none\":{},\"nil\":null},\"\",-2]");
	ck_assert_uint_eq(out.len, strlen(buf));
}
END_TEST

static const struct {
	int64_t value;
	const char *text;
} ints[] = {
	{ 0, "0" },
	{ -1, "-1" },
	{ INT64_MAX, "9223372036854775807" },
	{ INT64_MIN, "-9223372036854775808" },
};

START_TEST(an_int_is_read_back_as_written)
{
	char buf[32];
	struct jsonout out;
	struct json_doc doc;
	int64_t value;

	jsonout_init(&out, buf, sizeof(buf));
	jsonout_put_int(&out, NULL, ints[_i].value);
	ck_assert_str_eq(buf, ints[_i].text);
	ck_assert_int_eq(json_parse(&doc, buf, strlen(buf), NULL), 0);
	ck_assert_int_eq(json_get_int(&doc, &doc.nodes[0], &value), 0);
	ck_assert_int_eq(value, ints[_i].value);
}
END_TEST

static const struct {
	const char *value;
	const char *text;
} strings[] = {
	{ "", "\"\"" },
	{ "plain /text", "\"plain /text\"" },
	{ "\"\\", "\"\\\"\\\\\"" },
	{ "\b\f\n\r\t", "\"\\b\\f\\n\\r\\t\"" },
	{ "\x01\x1f\v\a", "\"\\u0001\\u001f\\u000b\\u0007\"" },
	{ "\x7f", "\"\x7f\"" },
	{ "<a>&b", "\"\\u003ca\\u003e\\u0026b\"" },
	{ "é€😀", "\"é€😀\"" },
	{ "\u2028\u2029", "\"\\u2028\\u2029\"" },
	/* A lone continuation byte, a cut sequence, overlong forms, a surrogate, beyond the last
	   character. */
	{ "a\x80z", "\"a\\ufffdz\"" },
	{ "\xe2\x82", "\"\\ufffd\\ufffd\"" },
	{ "\xc0\x80", "\"\\ufffd\\ufffd\"" },
	{ "\xe0\x80\xaf", "\"\\ufffd\\ufffd\\ufffd\"" },
	{ "\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\"" },
	{ "\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\"" },
	{ "\xff", "\"\\ufffd\"" },
	{ "\xc3(", "\"\\ufffd(\"" },
};

START_TEST(a_string_is_escaped)
{
	char buf[128];
	struct jsonout out;

	jsonout_init(&out, buf, sizeof(buf));
	jsonout_put_string(&out, NULL, strings[_i].value);
	ck_assert(!out.overflow);
	ck_assert_str_eq(buf, strings[_i].text);
}
END_TEST

START_TEST(a_key_is_escaped)
{
	char buf[64];
	struct jsonout out;

	jsonout_init(&out, buf, sizeof(buf));
	jsonout_begin_object(&out, NULL);
	jsonout_put_null(&out, "a\"b");
	jsonout_end_object(&out);
	ck_assert_str_eq(buf, "{\"a\\\"b\":null}");
}
END_TEST

static void write_small_object(struct jsonout *out, char *buf, size_t cap)
{
	jsonout_init(out, buf, cap);
	jsonout_begin_object(out, NULL);
	jsonout_put_string(out, "k<", "v\n");
	jsonout_put_int(out, "n", 12);
	jsonout_put_bool(out, "b", false);
	jsonout_put_null(out, "z");
	jsonout_end_object(out);
}

/* With every capacity the buffer holds a beginning of the text, and `overflow` tells whether it is
 * cut. */
START_TEST(overflow_leaves_a_terminated_beginning)
{
	char whole[128], buf[128];
	struct jsonout out;
	size_t len;

	write_small_object(&out, whole, sizeof(whole));
	len = out.len;
	for (size_t cap = 1; cap <= len + 2; cap++) {
		memset(buf, '#', sizeof(buf));
		write_small_object(&out, buf, cap);
		ck_assert_int_eq(out.overflow, cap < len + 1);
		ck_assert_uint_lt(out.len, cap);
		ck_assert_uint_eq(strlen(buf), out.len);
		ck_assert_int_eq(strncmp(buf, whole, out.len), 0);
		ck_assert_int_eq(buf[cap], '#');
	}
}
END_TEST

START_TEST(a_buffer_of_no_bytes_is_not_touched)
{
	char byte = '#';
	struct jsonout out;

	write_small_object(&out, &byte, 0);
	ck_assert(out.overflow);
	ck_assert_uint_eq(out.len, 0);
	ck_assert_int_eq(byte, '#');
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

START_TEST(a_value_is_indented)
{
	const char *text = layouts[_i].text;
	size_t cap = jsonout_indented_cap(strlen(text), 4);
	char *copy = fixture_exact_copy(text, strlen(text));
	char *buf = malloc(cap);
	struct json_doc doc;
	struct jsonout out;

	ck_assert_int_eq(json_parse(&doc, copy, strlen(text), NULL), 0);
	jsonout_init(&out, buf, cap);
	jsonout_put_indented(&out, &doc, &doc.nodes[0], 4);
	ck_assert(!out.overflow);
	ck_assert_str_eq(buf, layouts[_i].laid_out);
	free(buf);
}
END_TEST

/* The texts that grow most: as deep, and with as many values, as an index takes. */
START_TEST(indented_text_fits_the_announced_size)
{
	const int blanks = _i;
	char text[4 * JSON_MAX_NODES] = "";
	struct json_doc doc;
	struct jsonout out;
	size_t cap;
	char *buf;

	memset(text, '[', JSON_MAX_DEPTH);
	for (int i = JSON_MAX_DEPTH + 1; i < JSON_MAX_NODES; i++)
		strcat(text, "1,");
	strcat(text, "1");
	memset(text + strlen(text), ']', JSON_MAX_DEPTH);
	cap = jsonout_indented_cap(strlen(text), blanks);
	buf = malloc(cap);
	ck_assert_int_eq(json_parse(&doc, text, strlen(text), NULL), 0);
	ck_assert_uint_eq(doc.count, JSON_MAX_NODES);
	jsonout_init(&out, buf, cap);
	jsonout_put_indented(&out, &doc, &doc.nodes[0], blanks);
	ck_assert(!out.overflow);
	free(buf);
}
END_TEST

/* Output that does not fit is cut as by the other functions. */
START_TEST(indented_text_is_cut_at_the_end_of_its_buffer)
{
	static const char text[] = "{\"a\":[1,2,{\"b\":\"c\"}]}";
	char buf[64];
	struct json_doc doc;
	struct jsonout out;

	ck_assert_int_eq(json_parse(&doc, text, strlen(text), NULL), 0);
	for (size_t cap = 1; cap < 40; cap++) {
		memset(buf, '#', sizeof(buf));
		jsonout_init(&out, buf, cap);
		jsonout_put_indented(&out, &doc, &doc.nodes[0], 4);
		ck_assert(out.overflow);
		ck_assert_uint_eq(out.len, strlen(buf));
		ck_assert_uint_lt(out.len, cap);
		ck_assert_int_eq(buf[cap], '#');
	}
}
END_TEST

static TCase *value_case(void)
{
	TCase *tc = tcase_create("values");

	tcase_add_test(tc, an_object_is_written);
	tcase_add_loop_test(tc, an_int_is_read_back_as_written, 0, COUNT(ints));
	tcase_add_loop_test(tc, a_string_is_escaped, 0, COUNT(strings));
	tcase_add_test(tc, a_key_is_escaped);
	tcase_add_test(tc, overflow_leaves_a_terminated_beginning);
	tcase_add_test(tc, a_buffer_of_no_bytes_is_not_touched);
	return tc;
}

static TCase *layout_case(void)
{
	TCase *tc = tcase_create("layout");

	tcase_add_loop_test(tc, a_value_is_indented, 0, COUNT(layouts));
	tcase_add_loop_test(tc, indented_text_fits_the_announced_size, 0, 9);
	tcase_add_test(tc, indented_text_is_cut_at_the_end_of_its_buffer);
	return tc;
}

int main(void)
{
	Suite *s = suite_create("jsonout");

	suite_add_tcase(s, value_case());
	suite_add_tcase(s, layout_case());
	return fixture_run(s);
}
