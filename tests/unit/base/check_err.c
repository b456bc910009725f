/* SPDX-License-Identifier: Apache-2.0 */

/* Reasons of failures: their text after each step, that they are cut instead of overflowing, and
 * that callers may leave them out. */
#include "base/err.h"
#include "tests/unit/fixture.h"

static char *long_text(size_t len)
{
	char *text = malloc(len + 1);

	ck_assert_ptr_nonnull(text);
	memset(text, 'x', len);
	text[len] = '\0';
	return text;
}

START_TEST(err_set_formats_and_returns_the_code)
{
	struct err e;

	ck_assert_int_eq(err_set(&e, EINVAL, "port %d of %s", 80, "tcp"), -EINVAL);
	ck_assert_str_eq(e.msg, "port 80 of tcp");
	ck_assert_int_eq(err_set(&e, 0, "%s", ""), 0);
	ck_assert_str_eq(e.msg, "");
}
END_TEST

START_TEST(err_sys_adds_the_text_of_the_errno)
{
	struct err e;

	ck_assert_int_eq(err_sys(&e, EADDRINUSE, "listen tcp 127.0.0.1:80: bind"), -EADDRINUSE);
	ck_assert_str_eq(e.msg, "listen tcp 127.0.0.1:80: bind: address already in use");
}
END_TEST

START_TEST(err_wrap_prepends_and_err_add_appends)
{
	struct err e;

	err_set(&e, EIO, "b");
	err_wrap(&e, "a%d", 1);
	ck_assert_str_eq(e.msg, "a1: b");
	err_add(&e, " (%s)", "c");
	ck_assert_str_eq(e.msg, "a1: b (c)");
	err_wrap(&e, "z");
	ck_assert_str_eq(e.msg, "z: a1: b (c)");
}
END_TEST

START_TEST(the_reason_may_be_left_out)
{
	ck_assert_int_eq(err_set(NULL, EINVAL, "x"), -EINVAL);
	ck_assert_int_eq(err_sys(NULL, ENOENT, "x"), -ENOENT);
	err_wrap(NULL, "x");
	err_add(NULL, "x");
}
END_TEST

static const size_t long_lens[] = { ERR_LEN - 2, ERR_LEN - 1, ERR_LEN, ERR_LEN * 3 };

START_TEST(a_long_text_is_cut)
{
	size_t len = long_lens[_i];
	size_t want = len < ERR_LEN ? len : ERR_LEN - 1;
	char *text = long_text(len);
	struct err e;

	ck_assert_int_eq(err_set(&e, E2BIG, "%s", text), -E2BIG);
	ck_assert_uint_eq(strlen(e.msg), want);
	ck_assert_mem_eq(e.msg, text, want);

	err_add(&e, "%s", text);
	ck_assert_uint_eq(strlen(e.msg), ERR_LEN - 1);

	err_wrap(&e, "front");
	ck_assert_uint_eq(strlen(e.msg), ERR_LEN - 1);
	ck_assert_int_eq(strncmp(e.msg, "front: xxx", 10), 0);

	err_wrap(&e, "%s", text);
	ck_assert_uint_eq(strlen(e.msg), ERR_LEN - 1);
	ck_assert_mem_eq(e.msg, text, want);

	ck_assert_int_eq(err_sys(&e, EPERM, "%s", text), -EPERM);
	ck_assert_uint_eq(strlen(e.msg), ERR_LEN - 1);
	free(text);
}
END_TEST

static const struct {
	int errnum;
	const char *text;
} texts[] = {
	{ EACCES, "permission denied" },
	{ EADDRNOTAVAIL, "cannot assign requested address" },
	{ ECONNREFUSED, "connection refused" },
	{ EIO, "input/output error" },
	{ ENOENT, "no such file or directory" },
	/* An abbreviation keeps its capital letters. */
	{ EDOTDOT, "RFS specific error" },
};

START_TEST(text_begins_with_a_small_letter)
{
	char buf[128];

	ck_assert_ptr_eq(err_text(texts[_i].errnum, buf, sizeof(buf)), buf);
	ck_assert_str_eq(buf, texts[_i].text);
}
END_TEST

START_TEST(text_is_cut_to_the_buffer)
{
	char buf[8];

	err_text(EACCES, buf, sizeof(buf));
	ck_assert_str_eq(buf, "permiss");
	err_text(EACCES, buf, 1);
	ck_assert_str_eq(buf, "");
}
END_TEST

static Suite *err_suite(void)
{
	Suite *s = suite_create("err");
	TCase *tc = tcase_create("err");

	tcase_add_test(tc, err_set_formats_and_returns_the_code);
	tcase_add_test(tc, err_sys_adds_the_text_of_the_errno);
	tcase_add_test(tc, err_wrap_prepends_and_err_add_appends);
	tcase_add_test(tc, the_reason_may_be_left_out);
	tcase_add_loop_test(tc, a_long_text_is_cut, 0, sizeof(long_lens) / sizeof(long_lens[0]));
	tcase_add_loop_test(tc, text_begins_with_a_small_letter, 0,
			    sizeof(texts) / sizeof(texts[0]));
	tcase_add_test(tc, text_is_cut_to_the_buffer);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return fixture_run(err_suite());
}
