/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_FLAGS_H
#define BASE_FLAGS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* Command line options, read as Go's flag package reads them, because scripts are written for that:
 * one dash or two, "--opt=value" or "--opt value", booleans without a value or with "=true". The
 * first word that does not begin with a dash, or that is "-", ends the options; "--" ends them and
 * is skipped.
 *
 * Nothing here allocates: option values point into the command line. Only for start-up, from one
 * thread.
 */

enum flag_type {
	FLAG_BOOL,   /* bool */
	FLAG_INT,    /* int64_t */
	FLAG_STRING, /* const char *, borrowed from the command line */
	FLAG_LIST,   /* flags_set() refuses it: the program adds each value to a list of its own */
};

struct flag {
	const char *group; /* heading that --help prints before this option; NULL: none */
	const char *name;
	const char *alias; /* NULL if none */
	enum flag_type type;
	size_t offset;	   /* of the value, in the struct that flags_set() fills */
	const char *value; /* the value's name in the help; NULL for a boolean */
	const char *help;
};

/* The last entry of a table of flags. */
#define FLAGS_END  \
	{          \
		0, \
	}

/* Reads the option in the word **words, and moves *words behind the option and its value.
 * *words ends with NULL. `value` is set to NULL for a boolean without a value. Returns one of
 * these:
 *   - 1 for an option;
 *   - 0 if there are no more options: *words is at the first argument;
 *   - -ENOENT for an option that the table does not have: *words has not moved;
 *   - -EINVAL for a syntax error.
 *
 * The reasons begin with Go's words, and advice follows:
 *   - "flag provided but not defined: -x", then "; did you mean --y?" if a name is similar;
 *   - "flag needs an argument: -x", then the option with an argument;
 *   - "bad flag syntax: --=x". */
int flags_next(const struct flag *table, char *const **words, const struct flag **flag,
	       const char **value, struct err *e);

/* Does the table have the option in `word` ("--opt" or "--opt=value")? */
bool flags_has(const struct flag *table, const char *word);

/* Parses `value` and stores it in the struct at `base`. Returns 0, or -EINVAL with a reason that
 * begins with Go's words: "invalid value "x" for flag -n: parse error" or "invalid boolean value
 * "x" for -n: parse error". After that the reason says which values the option takes. For a number
 * that is the option's help text, so the help text should name the range. */
int flags_set(void *base, const struct flag *flag, const char *value, struct err *e);

/* Reads all options with flags_next() and flags_set(). Returns 0, or -errno with the reason. */
int flags_read(const struct flag *table, char *const **words, void *base, struct err *e);

/* Reports a command line that could not be read. Prints the reason on standard output, as
 * RootlessKit does before its help, unless standard error is the same file: the caller prints the
 * reason there, too. Appends to the reason how to get help for the program `name`. */
void flags_complain(const char *name, struct err *e);

#endif
