/* SPDX-License-Identifier: Apache-2.0 */

/* Pieces of a text, and characters. Each text is in a heap buffer of exactly its size, so that
 * sanitizers notice a read past its end. */
#include "base/text.h"
#include "tests/unit/fixture.h"

static struct text copy_exactly(const char *text)
{
	return (struct text){ fixture_exact_copy(text, strlen(text)), strlen(text) };
}

static void assert_text(struct text t, const char *want)
{
	ck_assert_uint_eq(t.len, strlen(want));
	if (t.len > 0)
		ck_assert_mem_eq(t.p, want, t.len);
}

/* ---- characters ---- */

/* Every byte, also as a signed char, and the negative value for the end. */
START_TEST(character_classes_are_those_of_ascii)
{
	static const char hex[] = "0123456789abcdef";

	for (int c = -128; c < 256; c++) {
		const bool digit = c > 0 && c < 128 && strchr("0123456789", c) != NULL;
		const int small = c >= 'A' && c <= 'Z' ? c + 32 : c;
		const char *digit16 = c > 0 && c < 128 ? strchr(hex, small) : NULL;

		ck_assert_int_eq(text_is_digit(c), digit);
		ck_assert_int_eq(text_is_letter(c), small >= 'a' && small <= 'z');
		ck_assert_int_eq(text_is_blank(c), c == ' ' || c == '\t');
		ck_assert_int_eq(text_hex_value(c), digit16 != NULL ? (int)(digit16 - hex) : -1);
	}
}
END_TEST

/* ---- pieces ---- */

static const struct {
	const char *text;
	const char *start; /* without leading blanks */
	const char *both;
} trims[] = {
	{ "", "", "" },		 { " \t ", "", "" },  { "a", "a", "a" },
	{ " a", "a", "a" },	 { "a ", "a ", "a" }, { "\ta b\t ", "a b\t ", "a b" },
	{ "\na", "\na", "\na" },
};

START_TEST(blanks_are_trimmed)
{
	assert_text(text_trim_start(copy_exactly(trims[_i].text)), trims[_i].start);
	assert_text(text_trim(copy_exactly(trims[_i].text)), trims[_i].both);
}
END_TEST

static const struct {
	const char *text;
	const char *head;
	const char *rest;
} pieces[] = {
	{ "", "", "" },	     { ":", "", "" },	{ "a", "a", "" },	 { "a:", "a", "" },
	{ "a:b", "a", "b" }, { ":b", "", "b" }, { "a:b:c", "a", "b:c" }, { "a::c", "a", ":c" },
};

START_TEST(a_piece_is_taken_up_to_the_separator)
{
	struct text t = copy_exactly(pieces[_i].text);

	assert_text(text_take_until(&t, ':'), pieces[_i].head);
	assert_text(t, pieces[_i].rest);
}
END_TEST

START_TEST(an_empty_text_has_no_pieces)
{
	struct text t = { 0 };

	assert_text(text_take_until(&t, ':'), "");
	assert_text(text_trim(t), "");
	ck_assert(text_equals(t, ""));
	ck_assert(!text_equals(t, "a"));
}
END_TEST

START_TEST(texts_are_equal_only_as_a_whole)
{
	ck_assert(text_equals(copy_exactly("ab"), "ab"));
	ck_assert(!text_equals(copy_exactly("ab"), "a"));
	ck_assert(!text_equals(copy_exactly("a"), "ab"));
	ck_assert(!text_equals(copy_exactly("ab"), "aB"));
}
END_TEST

/* ---- UTF-8 ---- */

/* Is the character read back as it was written, and is a part of it refused? Half of a UTF-16 pair
 * is refused. */
static bool is_read_back(uint32_t cp)
{
	const size_t want = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
	char buf[TEXT_UTF8_MAX];
	uint32_t back = cp + 1;
	size_t n = text_utf8_encode(cp, buf);

	for (size_t cut = 1; cut < n; cut++) {
		if (text_utf8_decode(buf, cut, &back) != 0)
			return false;
	}
	if (text_is_surrogate(cp))
		return n == want && text_utf8_decode(buf, n, &back) == 0;
	return n == want && text_utf8_decode(buf, n, &back) == n && back == cp;
}

/* Asserts only on failure: a million assertions would be slow. */
START_TEST(every_character_is_decoded_as_it_was_encoded)
{
	for (uint32_t cp = 0; cp <= 0x10ffff; cp++) {
		if (!is_read_back(cp))
			ck_abort_msg("U+%04X", cp);
	}
}
END_TEST

/* A lone continuation byte, a wrong one, overlong forms, beyond the last character, no first byte.
 */
static const char *const no_utf8[] = {
	"\x80",
	"\xbf",
	"\xc2(",
	"\xe2\x82(",
	"\xc0\x80",
	"\xe0\x9f\xbf",
	"\xf0\x8f\xbf\xbf",
	"\xf4\x90\x80\x80",
	"\xf5\x80\x80\x80",
	"\xff",
};

START_TEST(malformed_utf8_is_refused)
{
	struct text t = copy_exactly(no_utf8[_i]);
	uint32_t cp;

	ck_assert_uint_eq(text_utf8_decode(t.p, t.len, &cp), 0);
}
END_TEST

static const struct {
	const char *typed;
	const char *word;
	int errors;
} typed[] = {
	{ "net", "net", 0 },
	{ "NET", "net", 0 },
	{ "nett", "net", 1 },
	{ "ne", "net", 1 },
	{ "nte", "net", 1 },
	{ "publsh", "publish", 1 },
	{ "pbulihs", "publish", 2 },
	{ "port", "port-driver", 1 },
	{ "po", "port-driver", -1 },
	{ "list", "list-ports", 1 },
	{ "network", "net", 2 },
	{ "NETWORK", "net", 2 },
	{ "copy-up-mods", "copy-up-mode", 1 },
	{ "copy-up-mods", "copy-up", 2 },
	{ "pa", "p", 1 },
	{ "pad", "p", -1 },
	{ "nwtwork", "net", -1 },
	{ "lst-prots", "list-ports", 2 },
	{ "foo", "net", -1 },
	{ "d", "v", -1 },
	{ "V", "v", 0 },
	{ "it", "p", -1 },
	{ "", "p", -1 },
	{ "", "", 0 },
	{ "a-word-of-41-letters-is-not-compared-at-al",
	  "a-word-of-41-letters-is-not-compared-at-al", -1 },
};

START_TEST(typing_errors_are_counted)
{
	ck_assert_int_eq(text_typing_errors(copy_exactly(typed[_i].typed), typed[_i].word),
			 typed[_i].errors);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("text");
	TCase *tc = tcase_create("text");

	tcase_add_test(tc, character_classes_are_those_of_ascii);
	tcase_add_loop_test(tc, blanks_are_trimmed, 0, COUNT(trims));
	tcase_add_loop_test(tc, a_piece_is_taken_up_to_the_separator, 0, COUNT(pieces));
	tcase_add_test(tc, an_empty_text_has_no_pieces);
	tcase_add_test(tc, texts_are_equal_only_as_a_whole);
	tcase_add_test(tc, every_character_is_decoded_as_it_was_encoded);
	tcase_add_loop_test(tc, malformed_utf8_is_refused, 0, COUNT(no_utf8));
	tcase_add_loop_test(tc, typing_errors_are_counted, 0, COUNT(typed));
	tcase_set_timeout(tc, FIXTURE_DEADLINE_S);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
