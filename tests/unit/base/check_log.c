/* SPDX-License-Identifier: Apache-2.0 */

/* What is logged cannot pretend to be another line, nor give orders to a terminal: texts come from
 * root inside, and from network programs. */
#include "base/log.h"
#include "tests/unit/fixture.h"

static int saved_stderr;

/* Standard error becomes `fd`, which is taken. */
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
	{ "\302\2332J", "\\u009b2J", "\\u009b2J", "\\u009b2J" }, /* CSI as C1 */
	{ "\302\200\302\237", "\\u0080\\u009f", "\\u0080\\u009f", "\\u0080\\u009f" },
	{ "gr\303\274n \302\240", "gr\303\274n \302\240", "gr\303\274n \302\240",
	  "gr\303\274n \302\240" },
	/* What is not UTF-8: a terminal may take a lone byte of 0x80 to 0x9f as C1. */
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

/* The last line may have several; nothing else in it gives orders. */
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

/* Escaped, it is far longer than a line: it is cut, between two characters. */
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

int main(void)
{
	Suite *s = suite_create("log");
	TCase *tc = fixture_case("escaping");

	tcase_add_loop_test(tc, control_characters_are_escaped_in_a_file, 0, COUNT(texts));
	tcase_add_loop_test(tc, control_characters_are_escaped_on_a_terminal, 0, COUNT(texts));
	tcase_add_loop_test(tc, control_characters_are_escaped_in_the_last_line, 0, COUNT(texts));
	tcase_add_test(tc, a_line_that_grows_by_escaping_is_cut);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
