/* SPDX-License-Identifier: Apache-2.0 */

/* Log lines: logged text can neither look like another line nor control a terminal. Such text comes
 * from root in the namespace and from network programs. */
#include "base/log.h"
#include "tests/unit/fixture.h"

static int saved_stderr;

/* Makes `fd`, which it takes, standard error. */
static void redirect(int fd)
{
	saved_stderr = dup(STDERR_FILENO);
	ck_assert_int_ge(dup2(fd, STDERR_FILENO), 0);
	close(fd);
}

static void restore(void)
{
	ck_assert_int_ge(dup2(saved_stderr, STDERR_FILENO), 0);
	close(saved_stderr);
}

static const char *read_line(int fd)
{
	static char line[4096];
	ssize_t n = read(fd, line, sizeof(line) - 1);

	ck_assert_int_gt(n, 0);
	line[n] = '\0';
	return line;
}

static const struct {
	const char *text;
	const char *quoted, *line, *fatal;
} texts[] = {
	{ "plain", "plain", "plain", "plain" },
	{ "a\nb", "a\\nb", "a\\nb", "a\nb" },
	{ "a\tb", "a\\tb", "a\\tb", "a\tb" },
	{ "a\rb", "a\\rb", "a\\rb", "a\\rb" },
	{ "\033[2Jx", "\\x1b[2Jx", "\\x1b[2Jx", "\\x1b[2Jx" },
	{ "\a\b\v\f\001\037", "\\a\\b\\v\\f\\x01\\x1f", "\\a\\b\\v\\f\\x01\\x1f",
	  "\\a\\b\\v\\f\\x01\\x1f" },
	{ "\177x", "\\x7fx", "\\x7fx", "\\x7fx" },
	{ "\302\2332J", "\\u009b2J", "\\u009b2J", "\\u009b2J" }, /* CSI, a C1 control character */
	{ "\302\200\302\237", "\\u0080\\u009f", "\\u0080\\u009f", "\\u0080\\u009f" },
	{ "gr\303\274n \302\240", "gr\303\274n \302\240", "gr\303\274n \302\240",
	  "gr\303\274n \302\240" },
	/* Not UTF-8: a terminal may read a single byte from 0x80 to 0x9f as a C1 control character.
	 */
	{ "\302", "\\xc2", "\\xc2", "\\xc2" },
	{ "\2332J", "\\x9b2J", "\\x9b2J", "\\x9b2J" },
	{ "\200\237\240\377", "\\x80\\x9f\\xa0\\xff", "\\x80\\x9f\\xa0\\xff",
	  "\\x80\\x9f\\xa0\\xff" },
	{ "\300\233\341\202x", "\\xc0\\x9b\\xe1\\x82x", "\\xc0\\x9b\\xe1\\x82x",
	  "\\xc0\\x9b\\xe1\\x82x" },
	{ "\342\202\254 \360\237\230\200", "\342\202\254 \360\237\230\200",
	  "\342\202\254 \360\237\230\200", "\342\202\254 \360\237\230\200" },
	{ "say \"a\\b\"", "say \\\"a\\\\b\\\"", "say \"a\\b\"", "say \"a\\b\"" },
};

START_TEST(control_characters_are_escaped_in_a_file)
{
	char expected[256];
	const char *line;
	int fds[2];

	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	redirect(fds[1]);
	log_init("parent", false);
	log_warn("%s", texts[_i].text);
	restore();
	line = read_line(fds[0]);
	snprintf(expected, sizeof(expected), "level=warning msg=\"[rootlesskit:parent] %s\"\n",
		 texts[_i].quoted);
	ck_assert_msg(strstr(line, expected) != NULL, "%s", line);
	close(fds[0]);
}
END_TEST

START_TEST(control_characters_are_escaped_on_a_terminal)
{
	int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	char expected[256];
	const char *line;

	ck_assert_int_ge(terminal, 0);
	ck_assert_int_eq(grantpt(terminal), 0);
	ck_assert_int_eq(unlockpt(terminal), 0);
	redirect(open(ptsname(terminal), O_RDWR | O_NOCTTY | O_CLOEXEC));
	log_init("parent", false);
	log_warn("%s", texts[_i].text);
	line = read_line(terminal);
	restore();
	snprintf(expected, sizeof(expected), "[0000] [rootlesskit:parent] %s ", texts[_i].line);
	ck_assert_msg(strstr(line, expected) != NULL, "%s", line);
	close(terminal);
}
END_TEST

/* The last line may contain several line feeds, but no other control character. */
START_TEST(control_characters_are_escaped_in_the_last_line)
{
	char expected[256];
	int fds[2];

	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	redirect(fds[1]);
	log_init("parent", false);
	log_fatal("%s", texts[_i].text);
	restore();
	snprintf(expected, sizeof(expected), "[rootlesskit:parent] error: %s\n", texts[_i].fatal);
	ck_assert_str_eq(read_line(fds[0]), expected);
	close(fds[0]);
}
END_TEST

/* Escaped, this text is far longer than a line. It is cut between two characters. */
START_TEST(a_line_that_grows_by_escaping_is_cut)
{
	char text[2048];
	const char *line;
	int fds[2];

	memset(text, '\033', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	redirect(fds[1]);
	log_init("parent", false);
	log_warn("%s", text);
	restore();
	line = read_line(fds[0]);
	ck_assert_uint_lt(strlen(line), 2048 + 128);
	ck_assert_str_eq(line + strlen(line) - 6, "\\x1b\"\n");
	close(fds[0]);
}
END_TEST

static unsigned int now_s(void)
{
	return (unsigned int)(fixture_now_ms() / 1000);
}

START_TEST(a_limited_line_is_due_once_a_minute)
{
	struct log_limit limit = { 0 }, other = { 0 };

	ck_assert(log_is_due(&limit));
	ck_assert(!log_is_due(&limit));
	ck_assert(log_is_due(&other));
	limit.last_s = now_s() - 55;
	ck_assert(!log_is_due(&limit));
	limit.last_s = now_s() - 65;
	ck_assert(log_is_due(&limit));
	ck_assert(!log_is_due(&limit));
}
END_TEST

/* Another thread may log the line after this one has read the clock. */
START_TEST(a_line_logged_in_the_future_is_not_due)
{
	struct log_limit limit = { now_s() + 10 };

	ck_assert(!log_is_due(&limit));
	ck_assert_uint_ge(limit.last_s, now_s());
}
END_TEST

static TCase *limits_case(void)
{
	TCase *tc = fixture_case("limits");

	tcase_add_test(tc, a_limited_line_is_due_once_a_minute);
	tcase_add_test(tc, a_line_logged_in_the_future_is_not_due);
	return tc;
}

int main(void)
{
	Suite *s = suite_create("log");
	TCase *tc = fixture_case("escaping");

	tcase_add_loop_test(tc, control_characters_are_escaped_in_a_file, 0, COUNT(texts));
	tcase_add_loop_test(tc, control_characters_are_escaped_on_a_terminal, 0, COUNT(texts));
	tcase_add_loop_test(tc, control_characters_are_escaped_in_the_last_line, 0, COUNT(texts));
	tcase_add_test(tc, a_line_that_grows_by_escaping_is_cut);
	suite_add_tcase(s, tc);
	suite_add_tcase(s, limits_case());
	return fixture_run(s);
}
