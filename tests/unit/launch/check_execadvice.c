/* SPDX-License-Identifier: Apache-2.0 */

/* The advice that follows the error of a command that cannot be started. */
#include "launch/execadvice.h"
#include "tests/unit/fixture.h"

#define REASON "reason"

static void start_reason(struct err *e)
{
	err_set(e, ENOENT, REASON);
}

static void assert_advice(const struct err *e, const char *advice)
{
	ck_assert_msg(strncmp(e->msg, REASON, strlen(REASON)) == 0 &&
			      strcmp(e->msg + strlen(REASON), advice) == 0,
		      "expected the advice \"%s\", but the message is \"%s\"", advice, e->msg);
}

/* Commands that are not in $PATH. */
static const struct {
	const char *word;
	const char *advice;
} words[] = {
	{ "nginx", "" },
	{ "\342\200\223net=host",
	  "; it begins with a long dash: options begin with two plain ones, --" },
	{ "\342\200\224debug",
	  "; it begins with a long dash: options begin with two plain ones, --" },
	{ "echo hello",
	  "; try the command and its arguments as separate words, or sh -c 'echo hello'" },
	{ "echo\thello",
	  "; try the command and its arguments as separate words, or sh -c 'echo\thello'" },
	{ "PORT=80", "; try env PORT=80 COMMAND" },
	{ "cd", "; it is a command of the shell, try sh -c 'cd ...'" },
	{ "umask", "; it is a command of the shell, try sh -c 'umask ...'" },
	{ "help", "; try rootlesskit --help" },
	{ "list-ports", "; try rootlessctl list-ports" },
	{ "run", "; rootlesskit has no subcommands: it takes a program, such as sh" },
	{ "sudo", "; leave it out: the command is root inside" },
	{ "", "; the first word behind the options is empty" },
	{ "-", "; options stand before the command, and before --" },
	{ "--net=none", "; options stand before the command, and before --" },
	{ "=", "; there are no blanks around the = of an option" },
};

START_TEST(a_word_that_is_no_program_gets_advice)
{
	struct err e;

	start_reason(&e);
	execadvice_not_found(words[_i].word, &e);
	assert_advice(&e, words[_i].advice);
}
END_TEST

START_TEST(a_file_of_this_directory_needs_a_path)
{
	struct err e;

	fixture_file("here.sh", "", 0755);
	ck_assert_int_eq(chdir(fixture_dir), 0);
	start_reason(&e);
	execadvice_not_found("here.sh", &e);
	assert_advice(&e, "; it is in this directory: try ./here.sh");
	ck_assert_int_eq(chdir("/"), 0);
	ck_assert_int_eq(unlink(fixture_path("here.sh")), 0);
}
END_TEST

/* Files that execve(2) refuses. PATH in the advice stands for the path of the file. */
static const struct {
	const char *content;
	mode_t mode;
	int errnum;
	const char *advice;
} files[] = {
	{ "\177ELF", 0755, ENOEXEC, "; it is a program for another architecture" },
	{ "\177ELF", 0755, ENOENT,
	  "; its dynamic loader does not exist: the program is for another C library or another "
	  "architecture" },
	{ "echo hello\n", 0755, ENOEXEC,
	  "; it has no #! line: try its interpreter as the command, such as sh PATH" },
	{ "", 0755, ENOEXEC,
	  "; it has no #! line: try its interpreter as the command, such as sh PATH" },
	{ "#!/no/such/shell -e\necho hello\n", 0755, ENOENT,
	  "; its interpreter /no/such/shell does not exist" },
	{ "#! \t/no/such/shell", 0755, ENOENT, "; its interpreter /no/such/shell does not exist" },
	{ "#!/bin/sh\r\necho hello\r\n", 0755, ENOENT,
	  "; its first line ends with a carriage return, as lines of Windows do: try "
	  "sed -i 's/\\r$//' PATH" },
	{ "#!/bin/sh\n", 0644, EACCES,
	  "; it is not executable: try chmod +x, or its interpreter as the command" },
	{ "#!/bin/sh\n", 0755, ETXTBSY, "" },
};

/* Writes `advice` to buf, with the path of the file in the place of PATH. */
static void fill_in(char *buf, size_t cap, const char *advice, const char *path)
{
	const char *place = strstr(advice, "PATH");

	if (place == NULL)
		snprintf(buf, cap, "%s", advice);
	else
		snprintf(buf, cap, "%.*s%s%s", (int)(place - advice), advice, path,
			 place + strlen("PATH"));
}

START_TEST(a_file_that_cannot_be_executed_gets_advice)
{
	const char *path = fixture_file("command", files[_i].content, files[_i].mode);
	char advice[PATH_MAX];
	struct err e;

	start_reason(&e);
	execadvice_failed(path, files[_i].errnum, &e);
	fill_in(advice, sizeof(advice), files[_i].advice, path);
	assert_advice(&e, advice);
}
END_TEST

START_TEST(a_directory_is_named_as_such)
{
	struct err e;

	start_reason(&e);
	execadvice_failed(fixture_dir, EACCES, &e);
	assert_advice(&e, "; it is a directory: the command is the first word behind the options");
}
END_TEST

/* A fifo blocks a reader until somebody writes. */
START_TEST(a_fifo_does_not_block)
{
	const char *path = fixture_path("fifo");
	struct err e;

	ck_assert_int_eq(mkfifo(path, 0755), 0);
	start_reason(&e);
	execadvice_failed(path, ENOEXEC, &e);
	ck_assert_msg(strncmp(e.msg, REASON "; it has no #! line", 21) == 0, "%s", e.msg);
}
END_TEST

START_TEST(a_missing_file_gets_the_advice_for_its_name)
{
	struct err e;

	start_reason(&e);
	execadvice_failed("./run me", ENOENT, &e);
	assert_advice(&e,
		      "; try the command and its arguments as separate words, or sh -c './run me'");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("execadvice");
	TCase *tc = fixture_case_with_dir("execadvice");

	tcase_add_loop_test(tc, a_word_that_is_no_program_gets_advice, 0, COUNT(words));
	tcase_add_test(tc, a_file_of_this_directory_needs_a_path);
	tcase_add_loop_test(tc, a_file_that_cannot_be_executed_gets_advice, 0, COUNT(files));
	tcase_add_test(tc, a_directory_is_named_as_such);
	tcase_add_test(tc, a_fifo_does_not_block);
	tcase_add_test(tc, a_missing_file_gets_the_advice_for_its_name);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
