/* SPDX-License-Identifier: Apache-2.0 */
#include "base/flags.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"
#include "base/text.h"

static bool is_named(const char *name, const char *text, size_t len)
{
	return name != NULL && strlen(name) == len && strncmp(name, text, len) == 0;
}

static const struct flag *find(const struct flag *table, const char *text, size_t len)
{
	for (; table->name != NULL; table++)
		if (is_named(table->name, text, len) || is_named(table->alias, text, len))
			return table;
	return NULL;
}

bool flags_has(const struct flag *table, const char *word)
{
	const char *name = word + strspn(word, "-");

	return find(table, name, strcspn(name, "=")) != NULL;
}

/* Finds the boolean FLAG for "no-FLAG", so that suggest() can answer "--no-pidns" with
 * "--pidns=false". */
static const struct flag *find_negated(const struct flag *table, const char *text, size_t len)
{
	const struct flag *flag = NULL;

	if (len > strlen("no-") && strncmp(text, "no-", strlen("no-")) == 0)
		flag = find(table, text + strlen("no-"), len - strlen("no-"));
	return flag != NULL && flag->type == FLAG_BOOL ? flag : NULL;
}

/* Finds the option of one letter that `word` joins with its value, as other programs allow:
 * -p8080:80. A letter behind the option would begin a name. */
static const struct flag *find_joined(const struct flag *table, const char *word)
{
	const struct flag *flag = word[1] == '-' ? NULL : find(table, word + 1, 1);

	return flag != NULL && flag->type != FLAG_BOOL && !text_is_letter(word[2]) ? flag : NULL;
}

/* Appends the option that the user probably meant, if one is similar. `text` is the name in
 * `word`. */
static void suggest(const struct flag *table, const char *word, const char *text, size_t len,
		    struct err *e)
{
	const struct flag *joined = find_joined(table, word);
	const struct flag *negated = find_negated(table, text, len);
	const char *name = NULL;
	int fewest = 0;

	for (const struct flag *flag = table; flag->name != NULL; flag++) {
		const char *const names[] = { flag->name, flag->alias };

		for (size_t i = 0; i < 2 && names[i] != NULL; i++) {
			int errors = text_typing_errors((struct text){ text, len }, names[i]);

			if (errors >= 0 && (name == NULL || errors < fewest)) {
				name = names[i];
				fewest = errors;
			}
		}
	}
	if (joined != NULL)
		err_add(e, "; did you mean -%s %.200s?", joined->alias, word + 2);
	else if (negated != NULL)
		err_add(e, "; did you mean --%s=false?", negated->name);
	else if (name != NULL)
		err_add(e, "; did you mean %s%s?", name[1] != '\0' ? "--" : "-", name);
}

int flags_next(const struct flag *table, char *const **words, const struct flag **flag,
	       const char **value, struct err *e)
{
	const char *word = **words;
	const char *name;
	size_t len;

	if (word == NULL || word[0] != '-' || word[1] == '\0')
		return 0;
	name = word + (word[1] == '-' ? 2 : 1);
	if (*name == '\0') { /* "--" */
		++*words;
		return 0;
	}
	len = strcspn(name, "=");
	if (len == 0 || *name == '-') {
		err_set(e, EINVAL,
			"bad flag syntax: %s; an option begins with one or two dashes and its name",
			word);
		return -EINVAL;
	}
	*flag = find(table, name, len);
	if (*flag == NULL) {
		err_set(e, ENOENT, "flag provided but not defined: -%.*s", (int)len, name);
		suggest(table, word, name, len, e);
		return -ENOENT;
	}
	*value = name[len] == '=' ? name + len + 1 : NULL;
	if (*value == NULL && (*flag)->type != FLAG_BOOL) {
		*value = (*words)[1];
		if (*value == NULL)
			return err_set(e, EINVAL, "flag needs an argument: -%s; try --%s=%s", name,
				       (*flag)->name, (*flag)->value);
		++*words;
	}
	++*words;
	return 1;
}

/* ---- values ---- */

static int set_bool(bool *to, const struct flag *flag, const char *value, struct err *e)
{
	static const char *const yes[] = { "1", "t", "T", "true", "TRUE", "True" };
	static const char *const no[] = { "0", "f", "F", "false", "FALSE", "False" };

	for (size_t i = 0; i < COUNT_OF(yes); i++) {
		bool is_yes = value == NULL || strcmp(value, yes[i]) == 0;

		if (is_yes || strcmp(value, no[i]) == 0) {
			*to = is_yes;
			return 0;
		}
	}
	return err_set(
		e, EINVAL,
		"invalid boolean value \"%s\" for -%s: parse error; --%s takes true or false",
		value, flag->name, flag->name);
}

static int set_int(int64_t *to, const struct flag *flag, const char *value, struct err *e)
{
	char *end;

	errno = 0;
	*to = strtoll(value, &end, 10);
	if (errno != 0 || end == value || *end != '\0' || isspace((unsigned char)*value))
		return err_set(
			e, EINVAL,
			"invalid value \"%s\" for flag -%s: parse error; --%s takes a number: "
			"%s",
			value, flag->name, flag->name, flag->help);
	return 0;
}

int flags_set(void *base, const struct flag *flag, const char *value, struct err *e)
{
	void *to = (char *)base + flag->offset;

	switch (flag->type) {
	case FLAG_BOOL:
		return set_bool(to, flag, value, e);
	case FLAG_INT:
		return set_int(to, flag, value, e);
	case FLAG_STRING:
		*(const char **)to = value;
		return 0;
	case FLAG_LIST:
		break;
	}
	return err_set(e, EINVAL, "flag -%s is a list", flag->name);
}

int flags_read(const struct flag *table, char *const **words, void *base, struct err *e)
{
	const struct flag *flag;
	const char *value;
	int r;

	while ((r = flags_next(table, words, &flag, &value, e)) > 0) {
		r = flags_set(base, flag, value, e);
		if (r < 0)
			return r;
	}
	return r;
}

void flags_complain(const char *name, struct err *e)
{
	struct stat out, err;
	size_t len;

	/* compat: RootlessKit prints this on both streams. If both are the same file, print it
	 * once. */
	if (fstat(STDOUT_FILENO, &out) < 0 || fstat(STDERR_FILENO, &err) < 0 ||
	    out.st_dev != err.st_dev || out.st_ino != err.st_ino)
		printf("Incorrect Usage: %s\n", e->msg);
	len = strlen(e->msg);
	err_add(e, len > 0 && e->msg[len - 1] == '?' ? " See `%s --help`" : "; see `%s --help`",
		name);
}
