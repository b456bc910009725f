/* SPDX-License-Identifier: Apache-2.0 */
/* Options of command lines. See flags.h. */
#include "flags.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

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
		err_set(e, EINVAL, "bad flag syntax: %s", word);
		return -EINVAL;
	}
	*flag = find(table, name, len);
	if (*flag == NULL) {
		err_set(e, ENOENT, "flag provided but not defined: -%.*s", (int)len, name);
		return -ENOENT;
	}
	*value = name[len] == '=' ? name + len + 1 : NULL;
	if (*value == NULL && (*flag)->type != FLAG_BOOL) {
		*value = (*words)[1];
		if (*value == NULL)
			return err_set(e, EINVAL, "flag needs an argument: -%s", name);
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

	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
		bool is_yes = value == NULL || strcmp(value, yes[i]) == 0;

		if (is_yes || strcmp(value, no[i]) == 0) {
			*to = is_yes;
			return 0;
		}
	}
	return err_set(e, EINVAL, "invalid boolean value \"%s\" for -%s: parse error", value,
		       flag->name);
}

static int set_int(int64_t *to, const struct flag *flag, const char *value, struct err *e)
{
	char *end;

	errno = 0;
	*to = strtoll(value, &end, 10);
	if (errno != 0 || end == value || *end != '\0' || isspace((unsigned char)*value))
		return err_set(e, EINVAL, "invalid value \"%s\" for flag -%s: parse error", value,
			       flag->name);
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
