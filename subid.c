/* SPDX-License-Identifier: Apache-2.0 */

/* Subordinate IDs in the texts that name them.
 *
 * All these files are lines, and a line that does not follow its format is passed over, as the
 * system's own readers do. A text is a (pointer, length) and may hold any bytes. Nothing is owned.
 */
#include "subid.h"

#include <stdio.h>
#include <string.h>

#include "text.h"

#define ID_SPACE (UINT64_C(1) << 32) /* IDs are 32 bits wide */

/* ---- text ---- */

/* Takes a word, which ends at a blank, and the blanks around it off the text. */
static struct text take_word(struct text *t)
{
	struct text word;

	*t = text_trim_start(*t);
	word = (struct text){ t->p, 0 };
	while (word.len < t->len && !text_is_blank(t->p[word.len]))
		word.len++;
	*t = text_trim_start((struct text){ t->p + word.len, t->len - word.len });
	return word;
}

/* Reads a decimal number below 2^32, digits only. */
static bool read_id(struct text t, uint32_t *id)
{
	uint64_t value = 0;

	for (size_t i = 0; i < t.len; i++) {
		if (!text_is_digit(t.p[i]))
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
		struct text line = text_take_until(&rest, '\n');
		struct text owner = text_take_until(&line, ':');
		struct text start = text_take_until(&line, ':');

		if (owner.len == 0 || owner.p[0] == '#')
			continue;
		/* What is left may hold a fourth field, and is no number then. */
		if ((name != NULL && text_equals(owner, name)) || text_equals(owner, digits))
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
		struct text line = text_take_until(&rest, '\n');
		struct text start = { 0 }, count = { 0 };
		size_t words = 0;

		if (!read_id(text_take_until(&line, ':'), &index))
			continue;
		for (; text_trim_start(line).len > 0; words++) {
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
		struct text line = text_take_until(&rest, '\n');
		struct text name = text_take_until(&line, ':');

		text_take_until(&line, ':'); /* the password */
		if (!read_id(text_take_until(&line, ':'), &id) || id != uid)
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

	for (sources = text_trim_start(sources); sources.len > 0;
	     sources = text_trim_start(sources)) {
		if (sources.p[0] == '[') {
			text_take_until(&sources, ']');
			continue;
		}
		word = take_word(&sources);
		if (!text_equals(word, "files"))
			return true;
	}
	return false;
}

bool subid_has_nss(const char *text, size_t len)
{
	struct text rest = { text, len };

	while (rest.len > 0) {
		struct text line = text_take_until(&rest, '\n');
		struct text sources = text_trim_start(text_take_until(&line, '#'));
		struct text database = text_take_until(&sources, ':');

		if (text_equals(take_word(&database), "subid") && has_other_source(sources))
			return true;
	}
	return false;
}
