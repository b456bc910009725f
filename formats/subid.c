/* SPDX-License-Identifier: Apache-2.0 */
/* Subordinate IDs in the files and outputs that list them.
 *
 * All these texts consist of lines. A line that does not follow its format is skipped, as the
 * system's own readers do. A text is a (pointer, length) and may contain any bytes. Nothing is
 * owned here.
 */
#include "formats/subid.h"

#include <stdio.h>
#include <string.h>

#include "base/array.h"
#include "base/text.h"

#define ID_SPACE (UINT64_C(1) << 32) /* number of 32-bit values */
#define ID_END	 UINT32_MAX	     /* (uid_t)-1 is not an ID */

/* Where the search for free IDs starts. */
#define USUAL_FIRST 100000 /* SUB_UID_MIN of login.defs(5) */
#define FIRST_FREE  10000  /* if there are few IDs: above those of system and login users */
#define FEW	    1000   /* do not suggest an entry with fewer IDs */

/* ---- text ---- */

/* Removes the first word, which a blank ends, and the blanks around it from the text. */
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

static size_t append(struct subid_ranges *out, struct subid_range range)
{
	if (out->count == SUBID_MAX_RANGES) {
		out->dropped++;
		return 0;
	}
	out->range[out->count++] = range;
	return 1;
}

static bool has_leading_zero(struct text t)
{
	return t.len > 1 && t.p[0] == '0';
}

/* Adds the range that two numbers give, if it is valid and new. Returns the number of ranges
 * added. */
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
	return append(out, range);
}

/* What is wrong with the two numbers of a line, or NULL. Ignores further fields, in `rest`, as
 * newuidmap does. */
static const char *fault_of_numbers(struct text start, struct text rest)
{
	struct text count = text_take_until(&rest, ':');
	struct text numbers[] = { start, count };
	uint32_t id[2] = { 0, 0 };

	for (size_t i = 0; i < 2; i++) {
		if (numbers[i].len == 0)
			return "it does not have the form USER:START:COUNT";
		for (size_t j = 0; j < numbers[i].len; j++)
			if (!text_is_digit(numbers[i].p[j]))
				return "a number of it is not decimal";
		if (has_leading_zero(numbers[i]))
			return "newuidmap reads a number with a leading 0 as octal";
		if (!read_id(numbers[i], &id[i]))
			return "a number of it is larger than any ID";
	}
	if (id[1] == 0)
		return "its range is empty";
	return (uint64_t)id[0] + id[1] <= ID_SPACE ? NULL : "its range passes the largest ID";
}

static bool is_of_user(struct text owner, const char *name, const char *digits)
{
	return (name != NULL && text_equals(owner, name)) || text_equals(owner, digits);
}

static bool has_blank(struct text t)
{
	for (size_t i = 0; i < t.len; i++)
		if (text_is_blank(t.p[i]))
			return true;
	return false;
}

/* What is wrong with a line that is not empty, or NULL if nothing is or if the line belongs to
 * another user. */
static const char *fault_of(struct text line, const char *name, const char *digits)
{
	bool has_return = line.p[line.len - 1] == '\r';
	struct text rest = { line.p, has_return ? line.len - 1 : line.len };
	struct text words = rest;
	struct text owner = text_take_until(&rest, ':');
	bool has_colon = rest.p > owner.p + owner.len;
	struct text start;

	if (!has_colon)
		owner = take_word(&words);
	if (!is_of_user(text_trim(owner), name, digits))
		return NULL;
	if (has_return)
		return "it ends with a carriage return, as lines of Windows do";
	if (!has_colon && words.len > 0)
		return "its fields are separated by blanks, not by colons";
	if (text_trim(owner).len != owner.len || has_blank(rest))
		return "there is a blank in it";
	start = text_take_until(&rest, ':');
	return fault_of_numbers(start, rest);
}

size_t subid_find_bad_line(const char *text, size_t len, const char *name, uint32_t uid,
			   size_t after, const char **why)
{
	struct text rest = { text, len };
	char digits[sizeof("4294967295")];

	snprintf(digits, sizeof(digits), "%u", (unsigned int)uid);
	for (size_t number = 1; rest.len > 0; number++) {
		struct text line = text_take_until(&rest, '\n');

		if (number <= after || line.len == 0 || line.p[0] == '#')
			continue;
		*why = fault_of(line, name, digits);
		if (*why != NULL)
			return number;
	}
	return 0;
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
		struct text count = text_take_until(&line, ':');

		if (owner.len == 0 || owner.p[0] == '#')
			continue;
		if (is_of_user(owner, name, digits) && !has_leading_zero(start) &&
		    !has_leading_zero(count))
			added += add_range(out, start, count);
	}
	return added;
}

/* A user name may contain blanks, so the numbers are the last two words of the line. */
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

/* ---- maps ---- */

static uint64_t end_of(const struct subid_range *range)
{
	return (uint64_t)range->start + range->count;
}

/* Shortens [*at, *end) so that it has nothing of `range`. If `range` covers *at, moves *at behind
 * `range`. If `range` begins later but before *end, moves *end to that beginning; the caller looks
 * at the part behind `range` later. Returns whether anything was cut off. */
static bool take_out(uint64_t *at, uint64_t *end, const struct subid_range *range)
{
	if (range->start <= *at && end_of(range) > *at) {
		*at = end_of(range) < *end ? end_of(range) : *end;
		return true;
	}
	if (range->start > *at && range->start < *end) {
		*end = range->start;
		return true;
	}
	return false;
}

/* Shortens [*at, *end) to its first part that can be mapped: without the user's own ID and the
 * first `taken_count` ranges of `taken`. Returns the reasons why something was cut off. */
static unsigned int first_part(uint64_t *at, uint64_t *end, const struct subid_ranges *taken,
			       size_t taken_count, uint32_t own)
{
	const struct subid_range own_range = { own, 1 };
	unsigned int cut = 0;
	bool moved = true;

	while (moved && *at < *end) {
		uint64_t before = *at;

		if (take_out(at, end, &own_range))
			cut |= SUBID_HAS_OWN;
		for (size_t i = 0; i < taken_count; i++)
			if (take_out(at, end, &taken->range[i]))
				cut |= SUBID_OVERLAPS;
		moved = *at != before;
	}
	return cut;
}

void subid_cut(struct subid_ranges *out, const struct subid_ranges *in, uint32_t own,
	       unsigned char cut[SUBID_MAX_RANGES])
{
	uint64_t inside = 1;

	out->count = 0;
	out->dropped = in->dropped;
	for (size_t i = 0; i < in->count; i++) {
		uint64_t at = in->range[i].start, last = end_of(&in->range[i]);
		size_t taken = out->count;

		cut[i] = last > ID_END ? SUBID_NO_ID : 0;
		last = last > ID_END ? ID_END : last;
		while (at < last) {
			uint64_t end = last, room = ID_END - inside;

			cut[i] |= (unsigned char)first_part(&at, &end, out, taken, own);
			if (end - at > room) {
				cut[i] |= SUBID_NO_ID;
				end = at + room;
				last = end;
			}
			if (at < end)
				inside += append(out, (struct subid_range){ (uint32_t)at,
									    (uint32_t)(end - at) })
						  ? end - at
						  : 0;
			at = end;
		}
	}
}

static void join_adjacent(struct subid_ranges *ranges)
{
	size_t kept = 0;

	for (size_t i = 1; i < ranges->count; i++) {
		struct subid_range *last = &ranges->range[kept];

		if (end_of(last) == ranges->range[i].start)
			last->count += ranges->range[i].count;
		else
			ranges->range[++kept] = ranges->range[i];
	}
	if (ranges->count > 0)
		ranges->count = kept + 1;
}

/* How many of the ranges fit in the map. */
static size_t count_fitting(const struct subid_ranges *ranges, uint32_t own, size_t max_lines,
			    size_t max_bytes)
{
	size_t bytes = (size_t)snprintf(NULL, 0, "0 %u 1\n", (unsigned int)own);
	unsigned int inside = 1;
	size_t i = 0;

	for (; i < ranges->count && i + 1 < max_lines; i++) {
		const struct subid_range *range = &ranges->range[i];

		bytes += (size_t)snprintf(NULL, 0, "%u %u %u\n", inside, (unsigned int)range->start,
					  (unsigned int)range->count);
		if (bytes >= max_bytes)
			break;
		inside += range->count;
	}
	return i;
}

size_t subid_fit(struct subid_ranges *ranges, uint32_t own, size_t max_lines, size_t max_bytes)
{
	size_t fitting = count_fitting(ranges, own, max_lines, max_bytes);
	size_t dropped;

	if (fitting < ranges->count) {
		join_adjacent(ranges);
		fitting = count_fitting(ranges, own, max_lines, max_bytes);
	}
	dropped = ranges->count - fitting + ranges->dropped;
	ranges->count = fitting;
	ranges->dropped = 0;
	return dropped;
}

/* Removes the first line from a map, and reads the IDs inside the namespace from it. Returns false
 * if the line is malformed. */
static bool take_mapped(struct text *rest, struct subid_range *range)
{
	struct text line = text_take_until(rest, '\n');
	struct text inside = take_word(&line);

	take_word(&line); /* skip the ID outside */
	return read_id(inside, &range->start) && read_id(take_word(&line), &range->count);
}

bool subid_is_in_map(const char *text, size_t len, const struct subid_range *range)
{
	struct text rest = { text, len };
	struct subid_range mapped;

	while (rest.len > 0)
		if (take_mapped(&rest, &mapped) && mapped.start <= range->start &&
		    end_of(range) <= end_of(&mapped))
			return true;
	return false;
}

/* ---- free IDs ---- */

/* Removes the first line from a subuid(5) text and reads its range. Returns false if the line is
 * malformed. */
static bool take_range(struct text *rest, struct subid_range *range)
{
	struct text line = text_take_until(rest, '\n');

	text_take_until(&line, ':');
	return read_id(text_take_until(&line, ':'), &range->start) &&
	       read_id(text_take_until(&line, ':'), &range->count) && range->count > 0;
}

/* Removes the first line from a passwd(5) or group(5) text and reads its ID, as a range of one.
 * Returns false if the line is malformed. */
static bool take_account(struct text *rest, struct subid_range *range)
{
	struct text line = text_take_until(rest, '\n');

	text_take_until(&line, ':');
	text_take_until(&line, ':'); /* the password */
	range->count = 1;
	return read_id(text_take_until(&line, ':'), &range->start);
}

/* Shortens [*at, *end) to the first part that is in one line of the map; empty if no line has any
 * of it. */
static void keep_mapped(uint64_t *at, uint64_t *end, struct text map)
{
	uint64_t first = *end, last = *end;
	struct subid_range range;

	while (map.len > 0) {
		if (!take_mapped(&map, &range) || end_of(&range) <= *at || range.start >= first)
			continue;
		first = range.start > *at ? range.start : *at;
		last = end_of(&range) < *end ? end_of(&range) : *end;
	}
	*at = first;
	*end = last;
}

static void keep_free(uint64_t *at, uint64_t *end, const struct subid_space *space)
{
	const struct subid_range own = { space->own, 1 };
	struct text ranges = space->ranges, accounts = space->accounts;
	struct subid_range range;

	keep_mapped(at, end, space->map);
	take_out(at, end, &own);
	while (ranges.len > 0)
		if (take_range(&ranges, &range))
			take_out(at, end, &range);
	while (accounts.len > 0)
		if (take_account(&accounts, &range))
			take_out(at, end, &range);
}

/* Finds the first free IDs at or above `from`; the gap may be empty. Returns where to search next,
 * which is above `from`. */
static uint64_t find_gap(const struct subid_space *spaces, size_t count, uint64_t from,
			 struct subid_range *gap)
{
	uint64_t at = from, end = ID_END, before;

	do {
		before = at;
		for (size_t i = 0; i < count; i++)
			keep_free(&at, &end, &spaces[i]);
	} while (at != before && at < end);
	*gap = (struct subid_range){ (uint32_t)at, (uint32_t)(end - at) };
	return end;
}

bool subid_find_free(const struct subid_space *spaces, size_t count, uint32_t wanted,
		     struct subid_range *out)
{
	static const uint64_t from[] = { USUAL_FIRST, FIRST_FREE };
	struct subid_range gap;

	out->count = 0;
	for (size_t i = 0; i < COUNT_OF(from); i++) {
		for (uint64_t at = from[i]; at < ID_END && out->count < wanted;) {
			at = find_gap(spaces, count, at, &gap);
			if (gap.count > out->count)
				*out = gap;
		}
	}
	if (out->count > wanted)
		out->count = wanted;
	return out->count >= FEW;
}

/* ---- sources of ranges ---- */

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
		/* The C library skips a line without a group, and takes one with a '#' for a
		 * comment. */
		if (line.len == 0 || name.len == 0 || name.p[0] == '#' || name.len >= cap ||
		    memchr(name.p, '\0', name.len) != NULL)
			continue;
		memcpy(buf, name.p, name.len);
		buf[name.len] = '\0';
		return true;
	}
	return false;
}

/* Do the sources behind "subid:" include one other than "files"? Skips actions in brackets, which
 * may contain blanks (nsswitch.conf(5)). */
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
