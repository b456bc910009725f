/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_FLAGS_H
#define BASE_FLAGS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* Command lines, read as Go's flag package reads them, since scripts are written for that: one dash
 * or two, "--opt=value" or "--opt value", booleans without a value or with "=true". The first word
 * that is no option, or the one after "--", ends them.
 */

enum flag_type {
	FLAG_BOOL,   /* bool */
	FLAG_INT,    /* int64_t */
	FLAG_STRING, /* const char *, which points into the line */
	FLAG_LIST,   /* not for flags_set: the program adds each value to a list of its own */
};

struct flag {
	const char *group; /* of the help: begins with this one, if not NULL */
	const char *name;
	const char *alias; /* NULL if none */
	enum flag_type type;
	size_t offset;	   /* of the value, in the struct that the program fills */
	const char *value; /* its name in the help; NULL for a boolean */
	const char *help;
};

/* Tables of flags end with this. */
#define FLAGS_END  \
	{          \
		0, \
	}

/* Reads the option that *words, which ends with NULL, begins with, and moves it behind the option
 * and its value. `value` is NULL for a boolean without one. Returns 1; 0 if there is no option any
 * more, *words is at the first argument then; -ENOENT for an option that the table does not have,
 * *words stays; -EINVAL. The reasons begin with Go's words: "flag provided but not defined: -x",
 * and behind it "; did you mean --y?" where a name of the table is near, "flag needs an argument:
 * -x", and behind it the form with one, "bad flag syntax: --=x". */
int flags_next(const struct flag *table, char *const **words, const struct flag **flag,
	       const char **value, struct err *e);

/* Is the word, which begins with a dash, an option of the table, with or without a value? */
bool flags_has(const struct flag *table, const char *word);

/* Sets the value in the struct at `base`. Returns 0, or -EINVAL: "invalid value "x" for flag -n:
 * parse error", "invalid boolean value "x" for -n: parse error", and behind it what the option
 * takes; for a number that is its help, which should name the range. */
int flags_set(void *base, const struct flag *flag, const char *value, struct err *e);

/* Reads all options with the two of them. Returns 0 or -errno with the reason. */
int flags_read(const struct flag *table, char *const **words, void *base, struct err *e);

/* Shows why a line could not be read on standard output, as RootlessKit does in front of its help,
 * unless standard error is the same file: the caller shows the reason there too. Adds how to get
 * help, of the program `name`, to the reason. */
void flags_complain(const char *name, struct err *e);

#endif
