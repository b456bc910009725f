/* SPDX-License-Identifier: Apache-2.0 */

/* Options of command lines, which are parsed as by Go's flag package, with its messages. */
#include "base/flags.h"
#include "tests/unit/fixture.h"

#include <stdint.h>

struct values {
	bool on;
	int64_t number;
	const char *text;
};

#define FIELD(name) offsetof(struct values, name)

static const struct flag table[] = {
	{ NULL, "on", "o", FLAG_BOOL, FIELD(on), NULL, "" },
	{ NULL, "number", "n", FLAG_INT, FIELD(number), "N", "1 to 9" },
	{ NULL, "text", NULL, FLAG_STRING, FIELD(text), "TEXT", "" },
	{ NULL, "list", "l", FLAG_LIST, 0, "ITEM", "" },
	FLAGS_END,
};

static struct values values;
static struct err e;

/* Parses a line, and sets *rest to what follows the options. */
static int read_line(char *const *words, char *const **rest)
{
	int r;

	values = (struct values){ .number = -1, .text = "" };
	e.msg[0] = '\0';
	r = flags_read(table, &words, &values, &e);
	if (rest != NULL)
		*rest = words;
	return r;
}

START_TEST(good_lines_are_parsed)
{
	static const struct {
		const char *words[8];
		struct values values;
		const char *rest; /* the first argument, NULL if there is none */
	} lines[] = {
		{ { NULL }, { false, -1, "" }, NULL },
		{ { "a", "-on" }, { false, -1, "" }, "a" },
		{ { "-on", "-number", "5", "-text", "x", "a" }, { true, 5, "x" }, "a" },
		{ { "--on", "--number=5", "--text=x", "a" }, { true, 5, "x" }, "a" },
		{ { "-o", "-n=-5", "--text=" }, { true, -5, "" }, NULL },
		{ { "-n", "-5", "-text", "-on" }, { false, -5, "-on" }, NULL },
		{ { "-on", "false" }, { true, -1, "" }, "false" }, /* an option without a value */
		{ { "-on", "-on=false", "a" }, { false, -1, "" }, "a" },
		{ { "-on=1", "--", "-n=5" }, { true, -1, "" }, "-n=5" },
		{ { "--" }, { false, -1, "" }, NULL },
		{ { "-", "-on" }, { false, -1, "" }, "-" },
		{ { "", "-on" }, { false, -1, "" }, "" },
		{ { "-text=a=b", "-text", "--" }, { false, -1, "--" }, NULL },
		{ { "-number=9223372036854775807" }, { false, INT64_MAX, "" }, NULL },
		{ { "-number=-9223372036854775808" }, { false, INT64_MIN, "" }, NULL },
	};

	for (int i = 0; i < COUNT(lines); i++) {
		char *const *rest;

		ck_assert_msg(read_line((char *const *)lines[i].words, &rest) == 0, "line %d: %s",
			      i, e.msg);
		ck_assert_msg(values.on == lines[i].values.on, "line %d", i);
		ck_assert_msg(values.number == lines[i].values.number, "line %d", i);
		ck_assert_str_eq(values.text, lines[i].values.text);
		ck_assert_pstr_eq(*rest, lines[i].rest);
	}
}
END_TEST

#define NOT_DEFINED(name, guess) "flag provided but not defined: -" name guess
#define BAD_SYNTAX(word) \
	"bad flag syntax: " word "; an option begins with one or two dashes and its name"
#define BAD_BOOL(value) \
	"invalid boolean value \"" value "\" for -on: parse error; --on takes true or false"
#define BAD_NUMBER(value)                                                              \
	"invalid value \"" value "\" for flag -number: parse error; --number takes a " \
	"number: 1 to 9"

START_TEST(bad_lines_are_refused_with_a_reason)
{
	static const struct {
		const char *words[4];
		int code;
		const char *reason;
	} lines[] = {
		{ { "-x" }, -ENOENT, "flag provided but not defined: -x" },
		{ { "--onn=1" },
		  -ENOENT,
		  "flag provided but not defined: -onn; did you mean --on?" },
		{ { "-O" }, -ENOENT, "flag provided but not defined: -O; did you mean -o?" },
		{ { "--nubmer" }, -ENOENT, NOT_DEFINED("nubmer", "; did you mean --number?") },
		{ { "--num=5" }, -ENOENT, NOT_DEFINED("num", "; did you mean --number?") },
		{ { "--numbers-of-it=5" },
		  -ENOENT,
		  NOT_DEFINED("numbers-of-it", "; did you mean --number?") },
		{ { "--only" }, -ENOENT, NOT_DEFINED("only", "") },
		{ { "-list" }, -EINVAL, "flag needs an argument: -list; try --list=ITEM" },
		{ { "-l" }, -EINVAL, "flag needs an argument: -l; try --list=ITEM" },
		{ { "--TEXT" }, -ENOENT, NOT_DEFINED("TEXT", "; did you mean --text?") },
		{ { "--no-on" }, -ENOENT, NOT_DEFINED("no-on", "; did you mean --on=false?") },
		{ { "--no-text" }, -ENOENT, NOT_DEFINED("no-text", "") },
		{ { "-it" }, -ENOENT, NOT_DEFINED("it", "") },
		{ { "--on=" }, -EINVAL, BAD_BOOL("") },
		{ { "-on=" }, -EINVAL, BAD_BOOL("") },
		{ { "-o=yes" }, -EINVAL, BAD_BOOL("yes") },
		{ { "-number" }, -EINVAL, "flag needs an argument: -number; try --number=N" },
		{ { "-on", "--text" }, -EINVAL, "flag needs an argument: -text; try --text=TEXT" },
		{ { "-n", "" }, -EINVAL, BAD_NUMBER("") },
		{ { "-n", "5x" }, -EINVAL, BAD_NUMBER("5x") },
		{ { "-n", " 5" }, -EINVAL, BAD_NUMBER(" 5") },
		{ { "-n", "1.5" }, -EINVAL, BAD_NUMBER("1.5") },
		{ { "-n=9223372036854775808" }, -EINVAL, BAD_NUMBER("9223372036854775808") },
		{ { "---on" }, -EINVAL, BAD_SYNTAX("---on") },
		{ { "-=1" }, -EINVAL, BAD_SYNTAX("-=1") },
		{ { "--=1" }, -EINVAL, BAD_SYNTAX("--=1") },
		{ { "-n5" }, -ENOENT, NOT_DEFINED("n5", "; did you mean -n 5?") },
		{ { "-l:a=b" }, -ENOENT, NOT_DEFINED("l:a", "; did you mean -l :a=b?") },
		{ { "--n5" }, -ENOENT, NOT_DEFINED("n5", "; did you mean -n?") },
		{ { "-list=a" }, -EINVAL, "flag -list is a list" },
	};

	for (int i = 0; i < COUNT(lines); i++) {
		ck_assert_int_eq(read_line((char *const *)lines[i].words, NULL), lines[i].code);
		ck_assert_str_eq(e.msg, lines[i].reason);
	}
}
END_TEST

START_TEST(all_words_of_booleans_are_read)
{
	static const char *const yes[] = { "1", "t", "T", "true", "TRUE", "True" };
	static const char *const no[] = { "0", "f", "F", "false", "FALSE", "False" };
	static const char *const neither[] = { "tRUE", "yes", "2", "on", "", " 1" };

	for (int i = 0; i < COUNT(yes); i++) {
		values.on = false;
		ck_assert_int_eq(flags_set(&values, &table[0], yes[i], &e), 0);
		ck_assert(values.on);
		ck_assert_int_eq(flags_set(&values, &table[0], no[i], &e), 0);
		ck_assert(!values.on);
		ck_assert_int_eq(flags_set(&values, &table[0], neither[i], &e), -EINVAL);
	}
}
END_TEST

START_TEST(options_are_returned_one_by_one)
{
	char *const *line = FIXTURE_ARGV("-l", "a,b", "--list=c", "-foreign", "value", "end");
	char *const *words = line;
	const struct flag *flag;
	const char *value;

	ck_assert_int_eq(flags_next(table, &words, &flag, &value, &e), 1);
	ck_assert_ptr_eq(flag, &table[3]);
	ck_assert_str_eq(value, "a,b");
	ck_assert_ptr_eq(words, line + 2);
	ck_assert_int_eq(flags_next(table, &words, &flag, &value, &e), 1);
	ck_assert_str_eq(value, "c");
	/* An option that is not in the table is not consumed. */
	ck_assert_int_eq(flags_next(table, &words, &flag, &value, &e), -ENOENT);
	ck_assert_ptr_eq(words, line + 3);
	words += 2;
	ck_assert_int_eq(flags_next(table, &words, &flag, &value, &e), 0);
	ck_assert_str_eq(*words, "end");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("flags");
	TCase *tc = fixture_case("flags");

	tcase_add_test(tc, good_lines_are_parsed);
	tcase_add_test(tc, bad_lines_are_refused_with_a_reason);
	tcase_add_test(tc, all_words_of_booleans_are_read);
	tcase_add_test(tc, options_are_returned_one_by_one);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
