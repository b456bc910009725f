/* SPDX-License-Identifier: Apache-2.0 */

/* Subordinate IDs: which ranges are found in the files, and which lines are skipped. Each text is
 * in a heap buffer of exactly its size, so that sanitizers notice a read past its end. */
#include "formats/subid.h"
#include "tests/unit/fixture.h"

#include <fnmatch.h>

/* Ranges as text, "START+COUNT START+COUNT". */
static const char *ranges_to_text(const struct subid_ranges *ranges)
{
	static char buf[SUBID_MAX_RANGES * sizeof("4294967295+4294967295 ")];
	size_t len = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < ranges->count; i++)
		len += (size_t)sprintf(buf + len, "%s%u+%u", i > 0 ? " " : "",
				       ranges->range[i].start, ranges->range[i].count);
	return buf;
}

/* ---- /etc/subuid ---- */

static const struct {
	const char *text;
	const char *ranges; /* of user "alice", 1000 */
} files[] = {
	{ "", "" },
	{ "alice:100000:65536\n", "100000+65536" },
	{ "alice:100000:65536", "100000+65536" },
	{ "1000:100000:65536\n", "100000+65536" },
	{ "bob:1:2\nalice:3:4\ncarol:5:6\n1000:7:8\nalice:9:10\n", "3+4 7+8 9+10" },
	/* Other users. */
	{ "bob:100000:65536\n", "" },
	{ "alice2:1:2\nalic:1:2\nALICE:1:2\n alice:1:2\nalice :1:2\n", "" },
	{ "10000:1:2\n100:1:2\n01000:1:2\n+1000:1:2\n", "" },
	{ ":1:2\n", "" },
	/* The same range again, by name and by UID. */
	{ "alice:1:2\nalice:1:2\n1000:1:2\n", "1+2" },
	{ "alice:1:2\nalice:1:3\nalice:2:2\n", "1+2 1+3 2+2" },
	/* Comments and empty lines. */
	{ "# alice:1:2\n\n\nalice:3:4\n#alice:5:6\n", "3+4" },
	/* Numbers at the limits. */
	{ "alice:0:4294967295\n", "0+4294967295" },
	{ "alice:4294967295:1\n", "4294967295+1" },
	{ "alice:4294967294:2\n", "4294967294+2" },
	{ "alice:4294967295:2\n", "" },
	{ "alice:1:4294967295\nalice:2:4294967295\n", "1+4294967295" },
	{ "alice:0:4294967296\n", "" },
	{ "alice:4294967296:1\n", "" },
	{ "alice:18446744073709551616:1\nalice:1:18446744073709551617\n", "" },
	{ "alice:100000:0\n", "" },
	{ "alice:0:1\n", "0+1" },
	/* Malformed lines, and a good one after them. */
	{ "alice\nalice:3:4\n", "3+4" },
	{ "alice:\nalice:3:4\n", "3+4" },
	{ "alice:1\nalice:3:4\n", "3+4" },
	{ "alice:1:\nalice:3:4\n", "3+4" },
	{ "alice::2\nalice:3:4\n", "3+4" },
	{ "alice:1:2:3\nalice:3:4\n", "1+2 3+4" },
	{ "alice:1:2:\nalice:3:4\n", "1+2 3+4" },
	{ "alice: 1:2\nalice:1: 2\nalice:1:2 \nalice:3:4\n", "3+4" },
	{ "alice:-1:2\nalice:1:-2\nalice:+1:2\nalice:3:4\n", "3+4" },
	{ "alice:0x1:2\nalice:1:2x\nalice:a:b\nalice:3:4\n", "3+4" },
	{ "alice:1:2\r\nalice:3:4\n", "3+4" },
	{ "alice:01:2\nalice:1:02\nalice:3:4\n", "3+4" },
};

START_TEST(a_file_is_read)
{
	const size_t len = strlen(files[_i].text);
	struct subid_ranges ranges = { 0 };
	size_t added;

	added = subid_read_file(&ranges, fixture_exact_copy(files[_i].text, len), len, "alice",
				1000);
	ck_assert_str_eq(ranges_to_text(&ranges), files[_i].ranges);
	ck_assert_uint_eq(added, ranges.count);
}
END_TEST

/* Cutting the file changes only the last line. The ranges before it stay. */
START_TEST(every_beginning_of_a_file_keeps_its_whole_lines)
{
	static const char text[] = "alice:11:22\n#alice:1:1\nbob:1:1\n1000:33:44\nalice:55:66\n";
	const char *whole[] = { "", "11+22", "11+22 33+44", "11+22 33+44 55+66" };
	size_t ends[] = { 0, 12, 41, 53 };

	ck_assert_uint_eq(strlen(text), 54);
	for (size_t len = 0, lines = 0; len <= strlen(text); len++) {
		struct subid_ranges ranges = { 0 };

		subid_read_file(&ranges, fixture_exact_copy(text, len), len, "alice", 1000);
		while (lines + 1 < COUNT(ends) && ends[lines + 1] <= len)
			lines++;
		ck_assert_int_eq(
			strncmp(ranges_to_text(&ranges), whole[lines], strlen(whole[lines])), 0);
		ck_assert_uint_le(ranges.count, lines + 1);
	}
}
END_TEST

START_TEST(without_a_name_lines_are_matched_by_uid)
{
	static const char text[] = "alice:1:2\n1000:3:4\n";
	struct subid_ranges ranges = { 0 };

	ck_assert_uint_eq(subid_read_file(&ranges, text, strlen(text), NULL, 1000), 1);
	ck_assert_str_eq(ranges_to_text(&ranges), "3+4");
	ck_assert_uint_eq(subid_read_file(&ranges, text, strlen(text), "", 1001), 0);
}
END_TEST

START_TEST(the_largest_uid_is_accepted)
{
	static const char text[] = "4294967295:1:2\n-1:3:4\n";
	struct subid_ranges ranges = { 0 };

	ck_assert_uint_eq(subid_read_file(&ranges, text, strlen(text), "x", UINT32_MAX), 1);
	ck_assert_str_eq(ranges_to_text(&ranges), "1+2");
}
END_TEST

START_TEST(a_nul_byte_does_not_end_the_file)
{
	static const char text[] = "alice\0:1:2\nalice:3\0:4\n\0\nalice:5:6\n";
	struct subid_ranges ranges = { 0 };

	subid_read_file(&ranges, fixture_exact_copy(text, sizeof(text) - 1), sizeof(text) - 1,
			"alice", 1);
	ck_assert_str_eq(ranges_to_text(&ranges), "5+6");
}
END_TEST

START_TEST(ranges_are_appended_to_the_list)
{
	static const char file[] = "alice:1:2\nalice:3:4\n";
	static const char output[] = "0: alice 3 4\n1: alice 5 6\n";
	struct subid_ranges ranges = { .count = 1, .range = { { 1, 2 } } };

	ck_assert_uint_eq(subid_read_file(&ranges, file, strlen(file), "alice", 1), 1);
	ck_assert_uint_eq(subid_read_getsubids(&ranges, output, strlen(output)), 1);
	ck_assert_str_eq(ranges_to_text(&ranges), "1+2 3+4 5+6");
}
END_TEST

static const struct {
	const char *text;
	size_t line; /* the first malformed one of user "alice", 1000; 0 if there is none */
	const char *why;
} bad_lines[] = {
	{ "", 0, NULL },
	{ "\n\n", 0, NULL },
	{ "alice:1:2\n1000:3:4\n", 0, NULL },
	{ "# alice:x\n#alice 1 2\n", 0, NULL },
	{ "alice 100000 65536\n", 1, "*blanks, not by colons*" },
	{ "alice\t1\t2", 1, "*blanks, not by colons*" },
	{ "bob:1:x\nalice:1:2\nalice:abc:65536\n", 3, "*not decimal*" },
	{ "alice:1:2\r\n", 1, "*carriage return*" },
	{ "alice\r\n", 1, "*carriage return*" },
	{ "\r\nbob:1:2\r\n", 0, NULL },
	{ "alice:1:2 \n", 1, "*blank in it*" },
	{ "alice: 1:2\n", 1, "*blank in it*" },
	{ " alice:1:2\n", 1, "*blank in it*" },
	{ "alice :1:2\n", 1, "*blank in it*" },
	{ "alice smith:1:2\nalice smith:1:x\n", 0, NULL },
	{ "alice\n", 1, "*USER:START:COUNT*" },
	{ "alice:\n", 1, "*USER:START:COUNT*" },
	{ "alice:1\n", 1, "*USER:START:COUNT*" },
	{ "alice:1:\n", 1, "*USER:START:COUNT*" },
	{ "alice::2\n", 1, "*USER:START:COUNT*" },
	{ "alice:1:2:3\nalice:1:2:x\n", 0, NULL }, /* newuidmap ignores further fields */
	{ "alice:1::3\n", 1, "*USER:START:COUNT*" },
	{ "1000:0x1:2\n", 1, "*not decimal*" },
	{ "alice:-1:2\n", 1, "*not decimal*" },
	{ "alice:0700000:65536\n", 1, "*octal*" },
	{ "alice:4294967296:1\n", 1, "*larger than any ID*" },
	{ "alice:1:18446744073709551617\n", 1, "*larger than any ID*" },
	{ "alice:100000:0\n", 1, "*empty*" },
	{ "alice:4294900000:100000\n", 1, "*passes the largest ID*" },
};

START_TEST(a_bad_line_is_named_with_the_reason)
{
	const size_t len = strlen(bad_lines[_i].text);
	const char *text = fixture_exact_copy(bad_lines[_i].text, len);
	const char *why = NULL;

	ck_assert_uint_eq(subid_find_bad_line(text, len, "alice", 1000, 0, &why),
			  bad_lines[_i].line);
	if (bad_lines[_i].line == 0)
		return;
	ck_assert_msg(fnmatch(bad_lines[_i].why, why, 0) == 0, "%s", why);
	ck_assert_uint_eq(subid_find_bad_line(text, len, "alice", 1000, bad_lines[_i].line, &why),
			  0);
}
END_TEST

START_TEST(bad_lines_are_found_one_by_one)
{
	static const char text[] = "alice:1:x\nbob:1:x\n\nalice:1\nalice:1:2\n1000 1 2";
	const size_t lines[] = { 1, 4, 6, 0 };
	const char *why;
	size_t line = 0;

	for (int i = 0; i < COUNT(lines); i++) {
		line = subid_find_bad_line(text, strlen(text), "alice", 1000, line, &why);
		ck_assert_uint_eq(line, lines[i]);
	}
}
END_TEST

/* ---- maps ---- */

static const struct {
	const char *text; /* of user "alice", 2111 */
	const char *ranges;
	unsigned char cut[4];
} cuts[] = {
	{ "alice:100000:65536\n", "100000+65536", { 0 } },
	/* Our own ID as the whole range, at its beginning, in the middle and at its end. */
	{ "alice:2111:1\nalice:7:8\n", "7+8", { SUBID_HAS_OWN, 0 } },
	{ "alice:2111:10\n", "2112+9", { SUBID_HAS_OWN } },
	{ "alice:2000:1000\n", "2000+111 2112+888", { SUBID_HAS_OWN } },
	{ "alice:2102:10\n", "2102+9", { SUBID_HAS_OWN } },
	{ "alice:2112:10\nalice:2101:10\n", "2112+10 2101+10", { 0, 0 } },
	/* Overlapping ranges. */
	{ "alice:700000:65536\nalice:720000:65536\n",
	  "700000+65536 765536+20000",
	  { 0, SUBID_OVERLAPS } },
	{ "alice:700000:65536\nalice:701000:1000\n2111:700000:131072\n",
	  "700000+65536 765536+65536",
	  { 0, SUBID_OVERLAPS, SUBID_OVERLAPS } },
	{ "alice:20:10\nalice:40:10\nalice:10:50\n",
	  "20+10 40+10 10+10 30+10 50+10",
	  { 0, 0, SUBID_OVERLAPS } },
	{ "alice:20:10\nalice:15:10\n", "20+10 15+5", { 0, SUBID_OVERLAPS } },
	{ "alice:2000:200\nalice:2050:200\n",
	  "2000+111 2112+88 2200+50",
	  { SUBID_HAS_OWN, SUBID_OVERLAPS | SUBID_HAS_OWN } },
	/* Adjacent ranges are not joined. */
	{ "alice:10:10\nalice:20:10\nalice:0:10\n", "10+10 20+10 0+10", { 0 } },
	/* -1 is not an ID, neither outside nor inside. */
	{ "alice:4294967294:2\n", "4294967294+1", { SUBID_NO_ID } },
	{ "alice:4294967295:1\n", "", { SUBID_NO_ID } },
	{ "alice:3000:4294964296\nalice:0:2000\n", "3000+4294964295 0+2000", { SUBID_NO_ID, 0 } },
	{ "alice:2112:4294965183\nalice:0:2111\n", "2112+4294965183 0+2111", { 0, 0 } },
	{ "alice:0:4294967295\n", "0+2111 2112+4294965183", { SUBID_HAS_OWN } },
};

START_TEST(ids_that_cannot_be_mapped_are_cut_out)
{
	static struct subid_ranges in, out;
	unsigned char cut[SUBID_MAX_RANGES];
	uint64_t total = 0;

	in.count = 0;
	subid_read_file(&in, cuts[_i].text, strlen(cuts[_i].text), "alice", 2111);
	subid_cut(&out, &in, 2111, cut);
	ck_assert_str_eq(ranges_to_text(&out), cuts[_i].ranges);
	for (size_t i = 0; i < in.count; i++)
		ck_assert_uint_eq(cut[i], cuts[_i].cut[i]);
	for (size_t i = 0; i < out.count; i++)
		total += out.range[i].count;
	ck_assert_uint_lt(total, UINT32_MAX);
}
END_TEST

static void fill(struct subid_ranges *ranges, size_t count, uint32_t start, uint32_t step)
{
	*ranges = (struct subid_ranges){ .count = count };
	for (size_t i = 0; i < count; i++)
		ranges->range[i] = (struct subid_range){ start + (uint32_t)i * step, 1000 };
}

START_TEST(a_map_has_a_limit_of_lines)
{
	static struct subid_ranges ranges;

	fill(&ranges, 339, 700000, 2000);
	ck_assert_uint_eq(subid_fit(&ranges, 1000, 340, 100000), 0);
	ck_assert_uint_eq(ranges.count, 339);
	fill(&ranges, 600, 700000, 2000);
	ranges.dropped = 5;
	ck_assert_uint_eq(subid_fit(&ranges, 1000, 340, 100000), 600 - 339 + 5);
	ck_assert_uint_eq(ranges.count, 339);
	/* Adjacent ranges are joined if the map would have too many lines. */
	fill(&ranges, 600, 700000, 1000);
	ck_assert_uint_eq(subid_fit(&ranges, 1000, 340, 100000), 0);
	ck_assert_str_eq(ranges_to_text(&ranges), "700000+600000");
	fill(&ranges, 3, 700000, 1000);
	ck_assert_uint_eq(subid_fit(&ranges, 1000, 340, 100000), 0);
	ck_assert_uint_eq(ranges.count, 3);
	fill(&ranges, 0, 0, 0);
	ck_assert_uint_eq(subid_fit(&ranges, 1000, 340, 4096), 0);
}
END_TEST

/* The kernel accepts a map only if it is shorter than a page. */
START_TEST(a_map_has_a_limit_of_bytes)
{
	static struct subid_ranges ranges;
	const size_t own = strlen("0 1000 1\n"), line = strlen("1 700000 1000\n");

	fill(&ranges, 1, 700000, 2000);
	ck_assert_uint_eq(subid_fit(&ranges, 1000, 340, own + line + 1), 0);
	ck_assert_uint_eq(subid_fit(&ranges, 1000, 340, own + line), 1);
	ck_assert_uint_eq(ranges.count, 0);
}
END_TEST

START_TEST(a_range_must_lie_within_one_line_of_a_map)
{
	static const char map[] =
		"         0       2000       3000\n      3000     700000      10\n";
	static const struct {
		struct subid_range range;
		bool is_in;
	} table[] = {
		{ { 0, 3000 }, true },	  { { 2999, 1 }, true },  { { 3000, 10 }, true },
		{ { 3009, 1 }, true },	  { { 2999, 2 }, false }, { { 3010, 1 }, false },
		{ { 100000, 1 }, false },
	};
	static const char whole[] = "         0          0 4294967295\n";

	for (int i = 0; i < COUNT(table); i++)
		ck_assert_int_eq(subid_is_in_map(map, strlen(map), &table[i].range),
				 table[i].is_in);
	ck_assert(subid_is_in_map(whole, strlen(whole), &table[0].range));
	ck_assert(!subid_is_in_map("", 0, &table[0].range));
}
END_TEST

START_TEST(ranges_beyond_the_limit_are_dropped)
{
	char text[(SUBID_MAX_RANGES + 3) * sizeof("9: alice 999999 1")] = "";
	struct subid_ranges ranges = { 0 };

	for (int i = 0; i < SUBID_MAX_RANGES + 2; i++)
		sprintf(text + strlen(text), "alice:%d:1\n", i);
	ck_assert_uint_eq(subid_read_file(&ranges, text, strlen(text), "alice", 1),
			  SUBID_MAX_RANGES);
	ck_assert_uint_eq(ranges.count, SUBID_MAX_RANGES);
	ck_assert_uint_eq(ranges.range[SUBID_MAX_RANGES - 1].start, SUBID_MAX_RANGES - 1);
	ck_assert_uint_eq(subid_read_getsubids(&ranges, "0: alice 500000 1", 17), 0);
	ck_assert_uint_eq(ranges.count, SUBID_MAX_RANGES);
	ck_assert_uint_eq(ranges.dropped, 3);
}
END_TEST

/* ---- getsubids(1) ---- */

static const struct {
	const char *text;
	const char *ranges;
} outputs[] = {
	{ "", "" },
	{ "0: alice 100000 65536\n", "100000+65536" },
	{ "0: alice 100000 65536", "100000+65536" },
	{ "0: alice 1 2\n1: alice 3 4\n10: alice 5 6\n", "1+2 3+4 5+6" },
	{ "0:\talice  1\t 2 \n", "1+2" },
	{ "0:alice 1 2\n", "1+2" },
	{ "0: DOMAIN\\alice smith 1 2\n", "1+2" },
	{ "0: a:b 1 2\n", "1+2" },
	{ "0: 1000 1 2\n", "1+2" },
	{ "0: alice 1 2\n1: alice 1 2\n", "1+2" },
	{ "0: alice 4294967295 1\n1: alice 4294967295 2\n2: alice 0 0\n", "4294967295+1" },
	{ "Error fetching ranges\n", "" },
	{ "alice: alice 1 2\n", "" },
	{ ": alice 1 2\n", "" },
	{ "0 alice 1 2\n", "" },
	{ "0: alice 1\n", "" },
	{ "0: 1 2\n", "" },
	{ "0:\n0: \n\n", "" },
	{ "0: alice 1 x\n1: alice x 1\n2: alice -1 2\n3: alice 3 4\n", "3+4" },
	{ "0: alice 1 2 x\n", "" },
};

START_TEST(output_of_getsubids_is_read)
{
	const size_t len = strlen(outputs[_i].text);
	struct subid_ranges ranges = { 0 };
	size_t added;

	added = subid_read_getsubids(&ranges, fixture_exact_copy(outputs[_i].text, len), len);
	ck_assert_str_eq(ranges_to_text(&ranges), outputs[_i].ranges);
	ck_assert_uint_eq(added, ranges.count);
}
END_TEST

/* ---- /etc/passwd ---- */

static const struct {
	const char *text;
	const char *name; /* of UID 1000, or NULL */
} passwds[] = {
	{ "", NULL },
	{ "alice:x:1000:1000:Alice:/home/alice:/bin/sh\n", "alice" },
	{ "alice:x:1000:1000:Alice:/home/alice:/bin/sh", "alice" },
	{ "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000:::\nbob:x:1001:1001:::\n", "alice" },
	{ "alice::1000:1000:::\n", "alice" },
	{ "first:x:1000:1:::\nsecond:x:1000:1:::\n", "first" },
	{ "root:x:0:1000:::\nbob:1000:1001:1000:::\n1000:x:1:1:::\n", NULL },
	{ "a:x:10000:1:::\nb:x:100:1:::\nc:x:1000 :1:::\nd:x: 1000:1:::\n", NULL },
	{ "a:x:+1000:1:::\nb:x:0x3e8:1:::\nc:x:4294968296:1:::\n", NULL },
	{ "alice\nalice:x\nalice:x:1000\nalice:x:1000:\n", NULL },
	{ ":x:1000:1000:::\nalice:x:1000:1000:::\n", "alice" },
	{ "\n\nalice:x:1000:1000:::\n", "alice" },
	{ "+::::::\nalice:x:1000:1000:::\n", "alice" },
	{ "#old:x:1000:1000:::\nalice:x:1000:1000:::\n", "alice" },
	{ "#old:x:1000:1000:::\n", NULL },
	/* 15 bytes fit in the buffer, 16 do not. */
	{ "fifteen-bytes-x:x:1000:1:::\n", "fifteen-bytes-x" },
	{ "sixteen-bytes-xx:x:1000:1:::\n", NULL },
	{ "sixteen-bytes-xx:x:1000:1:::\nalice:x:1000:1:::\n", "alice" },
};

START_TEST(a_user_is_found)
{
	const size_t len = strlen(passwds[_i].text);
	char *buf = malloc(16);
	bool found = subid_find_user(fixture_exact_copy(passwds[_i].text, len), len, 1000, buf, 16);

	ck_assert_int_eq(found, passwds[_i].name != NULL);
	if (found)
		ck_assert_str_eq(buf, passwds[_i].name);
	free(buf);
}
END_TEST

START_TEST(a_cut_line_names_a_user_if_it_reaches_the_group)
{
	static const char text[] = "root:x:0:0:::\nalice:x:1000:1000:::\n";
	const size_t least = strlen("root:x:0:0:::\nalice:x:1000:1");
	char buf[16];

	for (size_t len = 0; len <= strlen(text); len++)
		ck_assert_int_eq(
			subid_find_user(fixture_exact_copy(text, len), len, 1000, buf, sizeof(buf)),
			len >= least);
}
END_TEST

START_TEST(a_name_with_a_nul_byte_is_not_a_name)
{
	static const char text[] = "al\0ice:x:1000:1000:::\n";
	char buf[16];

	ck_assert(!subid_find_user(text, sizeof(text) - 1, 1000, buf, sizeof(buf)));
}
END_TEST

START_TEST(root_and_the_last_uid_are_found)
{
	static const char text[] = "last:x:4294967295:0:::\nroot:x:0:0:::\n";
	char buf[16];

	ck_assert(subid_find_user(text, strlen(text), 0, buf, sizeof(buf)));
	ck_assert_str_eq(buf, "root");
	ck_assert(subid_find_user(text, strlen(text), UINT32_MAX, buf, sizeof(buf)));
	ck_assert_str_eq(buf, "last");
	ck_assert(!subid_find_user(text, strlen(text), 0, buf, 0));
}
END_TEST

/* ---- free IDs ---- */

#define ALL_IDS	  "0 0 4294967295\n"
#define CONTAINER "         0       1000          1\n         1     100000      65535\n"

static const struct {
	const char *map;
	const char *ranges;
	const char *accounts;
	const char *found; /* START+COUNT */
} free_ids[] = {
	{ ALL_IDS, "", "", "100000+65536" },
	{ ALL_IDS, "a:1:2\n", "root:x:0:0::/:/bin/sh\n", "100000+65536" },
	{ ALL_IDS, "a:100000:65536\nb:165536:65536\n", "", "231072+65536" },
	{ ALL_IDS, "b:165536:65536\na:100000:65536\n", "", "231072+65536" },
	{ ALL_IDS, "a:524288:x\nb:100000:1\nc:90000:10000", "", "100001+65536" },
	{ ALL_IDS, "a:100000:65536\n", "far:x:170000:1:::", "170001+65536" },
	{ ALL_IDS, "a:4294900000:60000\n", "", "100000+65536" },
	/* A hole is used if it is large enough. */
	{ ALL_IDS, "a:100000:10\nb:165546:65536\n", "", "100010+65536" },
	{ ALL_IDS, "a:100000:10\nb:165545:65536\n", "", "231081+65536" },
	/* The file has assigned all IDs. */
	{ ALL_IDS, "a:1:4294967294\n", "", "none" },
	{ ALL_IDS, "a:10000:4294967290\n", "", "none" },
	{ ALL_IDS, "a:120000:4294967290\n", "", "12001+65536" },
	/* A container with 65536 IDs. Free are those without an account, except our own ID, 9000 or
	   12000. */
	{ CONTAINER, "", "nobody:x:65534:65534:::\n", "12001+53533" },
	{ CONTAINER, "a:40000:10000\n", "", "12001+27999" },
	{ CONTAINER, "a:20000:100000\n", "", "12001+7999" },
	{ CONTAINER, "a:12500:100000\n", "x:*:10500:", "10501+1499" },
	{ CONTAINER, "a:12500:100000\n", "x:*:11001:", "10000+1001" },
	{ CONTAINER, "a:12500:100000\n", "x:*:11000:\ny::10999", "none" },
	/* Maps of several lines: a range must be within one of them. */
	{ "0 5 1\n1 100000 29999\n30000 200000 40000\n", "", "", "30000+40000" },
	{ "30000 200000 40000\n0 5 30000\n", "", "", "30000+40000" },
	{ "0 5 100\n200000 7 100000\n", "", "", "200000+65536" },
	/* Namespaces with a few IDs. */
	{ "         0       1000          1\n", "", "", "none" },
	{ "      1000       1000          1\n", "", "", "none" },
	{ "0 100000 10999\n", "", "", "none" },
	{ "0 100000 11000\n", "", "", "10000+1000" },
	{ "", "", "", "none" },
};

static struct text text_of(const char *text)
{
	return (struct text){ text, strlen(text) };
}

START_TEST(free_ids_are_ids_of_the_namespace)
{
	/* UIDs have a map with all IDs; the table is about GIDs. */
	struct subid_space spaces[] = {
		{ text_of(ALL_IDS), { 0 }, { 0 }, 9000 },
		{ text_of(free_ids[_i].map), text_of(free_ids[_i].ranges),
		  text_of(free_ids[_i].accounts), 12000 },
	};
	struct subid_range range;
	char text[32] = "none";

	if (subid_find_free(spaces, 2, 65536, &range))
		snprintf(text, sizeof(text), "%u+%u", range.start, range.count);
	ck_assert_str_eq(text, free_ids[_i].found);
}
END_TEST

START_TEST(free_ids_are_free_as_uids_and_gids)
{
	static const char uids[] = "0 0 300000\n", gids[] = "0 0 100000\n100000 500000 250000\n";
	struct subid_space spaces[] = {
		{ text_of(uids), text_of("a:90000:100000\n"), { 0 }, 1 },
		{ text_of(gids), text_of("a:200000:10"), { 0 }, 220000 },
	};
	struct subid_range range;

	ck_assert(subid_find_free(spaces, 2, 65536, &range));
	ck_assert_uint_eq(range.start, 220001);
	ck_assert_uint_eq(range.count, 65536);
	ck_assert(subid_find_free(spaces, 2, 90000, &range));
	ck_assert_uint_eq(range.start, 10000);
	ck_assert_uint_eq(range.count, 80000);
}
END_TEST

/* ---- /etc/nsswitch.conf ---- */

static const struct {
	const char *text;
	bool has_nss;
} switches[] = {
	{ "", false },
	{ "passwd: files sss\ngroup: files\n", false },
	{ "subid: files\n", false },
	{ "subid: files", false },
	{ "subid:\n", false },
	{ "subid: \t \n", false },
	{ "subid\n", false },
	{ "subid: sss\n", true },
	{ "subid: sss", true },
	{ "subid:sss\n", true },
	{ "subid:\tfiles\tsss\n", true },
	{ "subid: sss files\n", true },
	{ "  subid : sss\n", true },
	{ "passwd: files\nsubid: sss\nhosts: dns\n", true },
	{ "subid: files\nsubid: sss\n", true },
	{ "subid: filesystem\n", true },
	{ "subid: file\n", true },
	{ "subid: files files\n", false },
	/* Comments. */
	{ "# subid: sss\n", false },
	{ "#subid: sss\nsubid: files # sss\n", false },
	{ "subid: files #\n", false },
	{ "subid: sss # files\n", true },
	/* Actions. */
	{ "subid: files [NOTFOUND=return]\n", false },
	{ "subid: files [NOTFOUND=return] sss\n", true },
	{ "subid: files [ NOTFOUND = return ]\n", false },
	{ "subid: files [NOTFOUND=return\n", false },
	{ "subid: [SUCCESS=continue] files [!UNAVAIL=return] files\n", false },
	/* Other databases. */
	{ "subids: sss\nxsubid: sss\n", false },
	{ "passwd: subid sss\n", false },
	{ "initgroups: subid: sss\n", false },
	{ ": sss\n", false },
	{ "sss\n", false },
};

START_TEST(another_source_in_nsswitch_is_recognized)
{
	const size_t len = strlen(switches[_i].text);

	ck_assert_int_eq(subid_has_nss(fixture_exact_copy(switches[_i].text, len), len),
			 switches[_i].has_nss);
}
END_TEST

START_TEST(a_source_is_recognized_by_its_first_byte)
{
	static const char text[] = "passwd: files\nsubid: [a=b] sss\n";
	const size_t least = strlen("passwd: files\nsubid: [a=b] s");

	for (size_t len = 0; len <= strlen(text); len++)
		ck_assert_int_eq(subid_has_nss(fixture_exact_copy(text, len), len), len >= least);
}
END_TEST

static TCase *range_case(void)
{
	TCase *tc = tcase_create("ranges");

	tcase_add_loop_test(tc, a_file_is_read, 0, COUNT(files));
	tcase_add_test(tc, every_beginning_of_a_file_keeps_its_whole_lines);
	tcase_add_loop_test(tc, a_bad_line_is_named_with_the_reason, 0, COUNT(bad_lines));
	tcase_add_test(tc, bad_lines_are_found_one_by_one);
	tcase_add_test(tc, without_a_name_lines_are_matched_by_uid);
	tcase_add_test(tc, the_largest_uid_is_accepted);
	tcase_add_test(tc, a_nul_byte_does_not_end_the_file);
	tcase_add_test(tc, ranges_are_appended_to_the_list);
	tcase_add_test(tc, ranges_beyond_the_limit_are_dropped);
	tcase_add_loop_test(tc, output_of_getsubids_is_read, 0, COUNT(outputs));
	return tc;
}

static TCase *map_case(void)
{
	TCase *tc = tcase_create("maps");

	tcase_add_loop_test(tc, ids_that_cannot_be_mapped_are_cut_out, 0, COUNT(cuts));
	tcase_add_test(tc, a_map_has_a_limit_of_lines);
	tcase_add_test(tc, a_map_has_a_limit_of_bytes);
	tcase_add_test(tc, a_range_must_lie_within_one_line_of_a_map);
	return tc;
}

static TCase *free_case(void)
{
	TCase *tc = tcase_create("free IDs");

	tcase_add_loop_test(tc, free_ids_are_ids_of_the_namespace, 0, COUNT(free_ids));
	tcase_add_test(tc, free_ids_are_free_as_uids_and_gids);
	return tc;
}

static TCase *place_case(void)
{
	TCase *tc = tcase_create("where to look");

	tcase_add_loop_test(tc, a_user_is_found, 0, COUNT(passwds));
	tcase_add_test(tc, a_cut_line_names_a_user_if_it_reaches_the_group);
	tcase_add_test(tc, a_name_with_a_nul_byte_is_not_a_name);
	tcase_add_test(tc, root_and_the_last_uid_are_found);
	tcase_add_loop_test(tc, another_source_in_nsswitch_is_recognized, 0, COUNT(switches));
	tcase_add_test(tc, a_source_is_recognized_by_its_first_byte);
	return tc;
}

int main(void)
{
	Suite *s = suite_create("subid");

	suite_add_tcase(s, range_case());
	suite_add_tcase(s, map_case());
	suite_add_tcase(s, free_case());
	suite_add_tcase(s, place_case());
	return fixture_run(s);
}
