/* SPDX-License-Identifier: Apache-2.0 */

/* Subordinate IDs in the texts that name them.
 *
 * All these files are lines, and a line that does not follow its format is passed over, as the
 * system's own readers do. A text is a (pointer, length) and may hold any bytes. Nothing is owned.
 */
#include "subid.h"

#include <stdio.h>
#include <string.h>

#define ID_SPACE (UINT64_C(1) << 32) /* IDs are 32 bits wide */

struct text {
	const char *p;
	size_t len;
};

/* ---- text ---- */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static struct text skip_blanks(struct text t)
{
	while (t.len > 0 && is_blank(t.p[0])) {
		t.p++;
		t.len--;
	}
	return t;
}

static bool equals(struct text t, const char *word)
{
	return t.len == strlen(word) && memcmp(t.p, word, t.len) == 0;
}

/* Takes what is in front of `c`, or all if there is none, off the text, and the `c` too. */
static struct text take_until(struct text *t, char c)
{
	const char *end = t->len > 0 ? memchr(t->p, c, t->len) : NULL;
	struct text head = { t->p, end != NULL ? (size_t)(end - t->p) : t->len };
	size_t used = end != NULL ? head.len + 1 : head.len;

	t->p += used;
	t->len -= used;
	return head;
}

/* Takes a word, which ends at a blank, and the blanks around it off the text. */
static struct text take_word(struct text *t)
{
	struct text word;

	*t = skip_blanks(*t);
	word = (struct text){ t->p, 0 };
	while (word.len < t->len && !is_blank(t->p[word.len]))
		word.len++;
	*t = skip_blanks((struct text){ t->p + word.len, t->len - word.len });
	return word;
}

/* Reads a decimal number below 2^32, digits only. */
static bool read_id(struct text t, uint32_t *id)
{
	uint64_t value = 0;

	for (size_t i = 0; i < t.len; i++) {
		if (t.p[i] < '0' || t.p[i] > '9')
			return false;
		value = value * 10 + (uint64_t)(t.p[i] - '0');
		if (value >= ID_SPACE)
			return false;
	}
	*id = (uint32_t)value;
	return t.len > 0;
}

/* ---- ranges ---- */

/* Adds the range that two numbers name, if it is one and new. Returns the number added. */
static size_t add_range(struct subid_ranges *out, struct text start, struct text count)
{
	struct subid_range range;

	if (!read_id(start, &range.start) || !read_id(count, &range.count) || range.count == 0 ||
	    (uint64_t)range.start + range.count > ID_SPACE)
		return 0;
	for (size_t i = 0; i < out->count; i++) {
		if (out->range[i].start == range.start && out->range[i].count == range.count)
			return 0;
	}
	if (out->count == SUBID_MAX_RANGES)
		return 0;
	out->range[out->count++] = range;
	return 1;
}

size_t subid_read_file(struct subid_ranges *out, const char *text, size_t len, const char *name,
		       uint32_t uid)
{
	struct text rest = { text, len };
	char digits[sizeof("4294967295")];
	size_t added = 0;

	snprintf(digits, sizeof(digits), "%u", (unsigned int)uid);
	while (rest.len > 0) {
		struct text line = take_until(&rest, '\n');
		struct text owner = take_until(&line, ':');
		struct text start = take_until(&line, ':');

		if (owner.len == 0 || owner.p[0] == '#')
			continue;
		/* What is left may hold a fourth field, and is no number then. */
		if ((name != NULL && equals(owner, name)) || equals(owner, digits))
			added += add_range(out, start, line);
	}
	return added;
}

/* A line's owner may be a name with blanks in it, so that the numbers are the last two words. */
size_t subid_read_getsubids(struct subid_ranges *out, const char *text, size_t len)
{
	struct text rest = { text, len };
	size_t added = 0;
	uint32_t index;

	while (rest.len > 0) {
		struct text line = take_until(&rest, '\n');
		struct text start = { 0 }, count = { 0 };
		size_t words = 0;

		if (!read_id(take_until(&line, ':'), &index))
			continue;
		for (; skip_blanks(line).len > 0; words++) {
			start = count;
			count = take_word(&line);
		}
		if (words >= 3)
			added += add_range(out, start, count);
	}
	return added;
}

/* ---- where to look ---- */

bool subid_find_user(const char *text, size_t len, uint32_t uid, char *buf, size_t cap)
{
	struct text rest = { text, len };
	uint32_t id;

	while (rest.len > 0) {
		struct text line = take_until(&rest, '\n');
		struct text name = take_until(&line, ':');

		take_until(&line, ':'); /* the password */
		if (!read_id(take_until(&line, ':'), &id) || id != uid)
			continue;
		/* A line needs a group to be one, and is a comment for the C library with a '#'. */
		if (line.len == 0 || name.len == 0 || name.p[0] == '#' || name.len >= cap ||
		    memchr(name.p, '\0', name.len) != NULL)
			continue;
		memcpy(buf, name.p, name.len);
		buf[name.len] = '\0';
		return true;
	}
	return false;
}

/* Is there a source other than "files" in what follows "subid:"? Actions in brackets, which may
 * hold blanks, are none. */
static bool has_other_source(struct text sources)
{
	struct text word;

	for (sources = skip_blanks(sources); sources.len > 0; sources = skip_blanks(sources)) {
		if (sources.p[0] == '[') {
			take_until(&sources, ']');
			continue;
		}
		word = take_word(&sources);
		if (!equals(word, "files"))
			return true;
	}
	return false;
}

bool subid_has_nss(const char *text, size_t len)
{
	struct text rest = { text, len };

	while (rest.len > 0) {
		struct text line = take_until(&rest, '\n');
		struct text sources = skip_blanks(take_until(&line, '#'));
		struct text database = take_until(&sources, ':');

		if (equals(take_word(&database), "subid") && has_other_source(sources))
			return true;
	}
	return false;
}
