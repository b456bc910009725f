/* SPDX-License-Identifier: Apache-2.0 */
/* Advice for a command that cannot be started. See execadvice.h. */
#include "launch/execadvice.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"
#include "base/fd.h"

static const char *const builtins[] = { "cd",	 "export", "source", ".",    "set", "unset",
					"umask", "ulimit", "alias",  "exec", "eval" };
/* subcommands of docker(1) and podman(1) */
static const char *const subcommands[] = { "run",  "create", "start", "stop", "build",
					   "pull", "push",   "logs",  "up",   "down" };
static const char *const ctl_commands[] = { "info", "list-ports", "add-ports", "remove-ports" };
static const char *const root_programs[] = { "sudo", "doas" };

#define IS_IN(list, word) is_in(list, COUNT_OF(list), word)

static bool is_in(const char *const *list, size_t count, const char *word)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(list[i], word) == 0)
			return true;
	return false;
}

/* For a word that has a meaning elsewhere. */
static void explain_known_word(const char *word, struct err *e)
{
	if (IS_IN(builtins, word))
		err_add(e, "; it is a command of the shell, try sh -c '%s ...'", word);
	else if (strcmp(word, "help") == 0 || strcmp(word, "version") == 0)
		err_add(e, "; try rootlesskit --%s", word);
	else if (IS_IN(ctl_commands, word))
		err_add(e, "; try rootlessctl %s", word);
	else if (IS_IN(subcommands, word))
		err_add(e, "; rootlesskit has no subcommands: it takes a program, such as sh");
	else if (IS_IN(root_programs, word))
		err_add(e, "; leave it out: the command is root inside");
	else if (strchr(word, '/') == NULL && access(word, F_OK) == 0)
		err_add(e, "; it is in this directory: try ./%.200s", word);
}

void execadvice_not_found(const char *word, struct err *e)
{
	if (*word == '\0')
		err_add(e, "; the first word behind the options is empty");
	else if (*word == '-')
		err_add(e, "; options stand before the command, and before --");
	else if (*word == '=')
		err_add(e, "; there are no blanks around the = of an option");
	else if (strncmp(word, "\342\200\223", 3) == 0 || strncmp(word, "\342\200\224", 3) == 0)
		err_add(e, "; it begins with a long dash: options begin with two plain ones, --");
	else if (strpbrk(word, " \t") != NULL)
		err_add(e,
			"; try the command and its arguments as separate words, or sh -c '%.200s'",
			word);
	else if (strchr(word, '=') != NULL)
		err_add(e, "; try env %.200s COMMAND", word);
	else
		explain_known_word(word, e);
}

/* Appends what is missing for an existing file that execve(2) reports as ENOENT: its interpreter.
 */
static void explain_interpreter(const char *line, const char *path, struct err *e)
{
	bool is_script = strncmp(line, "#!", 2) == 0;
	const char *name = is_script ? line + 2 + strspn(line + 2, " \t") : "";

	if (!is_script)
		err_add(e,
			"; its dynamic loader does not exist: the program is for another C library "
			"or another architecture");
	else if (strchr(line, '\r') != NULL)
		err_add(e,
			"; its first line ends with a carriage return, as lines of Windows do: try "
			"sed -i 's/\\r$//' %.200s",
			path);
	else
		err_add(e, "; its interpreter %.*s does not exist", (int)strcspn(name, " \t"),
			name);
}

/* Appends why execve(2) fails for an existing file with `errnum`: ENOENT or ENOEXEC. */
static void explain_contents(const char *path, int errnum, struct err *e)
{
	FD_AUTO int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char line[256];
	ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);

	if (n < 0)
		return;
	line[n] = '\0';
	line[strcspn(line, "\n")] = '\0';
	if (errnum == ENOENT)
		explain_interpreter(line, path, e);
	else if (strncmp(line, "\177ELF", 4) == 0)
		err_add(e, "; it is a program for another architecture");
	else
		err_add(e,
			"; it has no #! line: try its interpreter as the command, such as sh "
			"%.200s",
			path);
}

void execadvice_failed(const char *path, int errnum, struct err *e)
{
	struct stat st;

	if (stat(path, &st) < 0) {
		execadvice_not_found(path, e);
		return;
	}
	if (S_ISDIR(st.st_mode))
		err_add(e, "; it is a directory: the command is the first word behind the options");
	else if ((st.st_mode & (S_IXUSR | S_IXGRP | S_IXOTH)) == 0)
		err_add(e,
			"; it is not executable: try chmod +x, or its interpreter as the command");
	else if (errnum == ENOENT || errnum == ENOEXEC)
		explain_contents(path, errnum, e);
}
