/* SPDX-License-Identifier: Apache-2.0 */

/* Subordinate IDs: which ranges are found in the texts that name them, and which lines are passed
 * over. A text under test lies in a heap buffer of exactly its size, so that reading past it is
 * seen.
 */
#include "fixture.h"
#include "subid.h"

/* Ranges as text, "START+COUNT START+COUNT". */
static const char *show(const struct subid_ranges *ranges)
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
	/* The same range again, by whatever owner. */
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
	/* Malformed lines, and a good one behind them. */
	{ "alice\nalice:3:4\n", "3+4" },
	{ "alice:\nalice:3:4\n", "3+4" },
	{ "alice:1\nalice:3:4\n", "3+4" },
	{ "alice:1:\nalice:3:4\n", "3+4" },
	{ "alice::2\nalice:3:4\n", "3+4" },
	{ "alice:1:2:3\nalice:3:4\n", "3+4" },
	{ "alice:1:2:\nalice:3:4\n", "3+4" },
	{ "alice: 1:2\nalice:1: 2\nalice:1:2 \nalice:3:4\n", "3+4" },
	{ "alice:-1:2\nalice:1:-2\nalice:+1:2\nalice:3:4\n", "3+4" },
	{ "alice:0x1:2\nalice:1:2x\nalice:a:b\nalice:3:4\n", "3+4" },
	{ "alice:1:2\r\nalice:3:4\n", "3+4" },
};

START_TEST(reads_a_file)
{
	const size_t len = strlen(files[_i].text);
	struct subid_ranges ranges = { 0 };
	size_t added;

	added = subid_read_file(&ranges, fixture_exact_copy(files[_i].text, len), len, "alice",
				1000);
	ck_assert_str_eq(show(&ranges), files[_i].ranges);
	ck_assert_uint_eq(added, ranges.count);
}
END_TEST

/* What is cut off changes the last line only: the ranges in front of it are those of the whole. */
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
		ck_assert_int_eq(strncmp(show(&ranges), whole[lines], strlen(whole[lines])), 0);
		ck_assert_uint_le(ranges.count, lines + 1);
	}
}
END_TEST

START_TEST(the_name_may_be_unknown)
{
	static const char text[] = "alice:1:2\n1000:3:4\n";
	struct subid_ranges ranges = { 0 };

	ck_assert_uint_eq(subid_read_file(&ranges, text, strlen(text), NULL, 1000), 1);
	ck_assert_str_eq(show(&ranges), "3+4");
	ck_assert_uint_eq(subid_read_file(&ranges, text, strlen(text), "", 1001), 0);
}
END_TEST

START_TEST(the_largest_uid_is_read)
{
	static const char text[] = "4294967295:1:2\n-1:3:4\n";
	struct subid_ranges ranges = { 0 };

	ck_assert_uint_eq(subid_read_file(&ranges, text, strlen(text), "x", UINT32_MAX), 1);
	ck_assert_str_eq(show(&ranges), "1+2");
}
END_TEST

START_TEST(a_nul_is_a_byte_like_others)
{
	static const char text[] = "alice\0:1:2\nalice:3\0:4\n\0\nalice:5:6\n";
	struct subid_ranges ranges = { 0 };

	subid_read_file(&ranges, fixture_exact_copy(text, sizeof(text) - 1), sizeof(text) - 1,
			"alice", 1);
	ck_assert_str_eq(show(&ranges), "5+6");
}
END_TEST

START_TEST(ranges_are_added_to_those_there)
{
	static const char file[] = "alice:1:2\nalice:3:4\n";
	static const char output[] = "0: alice 3 4\n1: alice 5 6\n";
	struct subid_ranges ranges = { .count = 1, .range = { { 1, 2 } } };

	ck_assert_uint_eq(subid_read_file(&ranges, file, strlen(file), "alice", 1), 1);
	ck_assert_uint_eq(subid_read_getsubids(&ranges, output, strlen(output)), 1);
	ck_assert_str_eq(show(&ranges), "1+2 3+4 5+6");
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

START_TEST(reads_getsubids)
{
	const size_t len = strlen(outputs[_i].text);
	struct subid_ranges ranges = { 0 };
	size_t added;

	added = subid_read_getsubids(&ranges, fixture_exact_copy(outputs[_i].text, len), len);
	ck_assert_str_eq(show(&ranges), outputs[_i].ranges);
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

START_TEST(finds_a_user)
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

START_TEST(a_user_is_found_once_there_is_a_group)
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

START_TEST(a_name_with_a_nul_is_none)
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

START_TEST(knows_whether_there_is_another_source)
{
	const size_t len = strlen(switches[_i].text);

	ck_assert_int_eq(subid_has_nss(fixture_exact_copy(switches[_i].text, len), len),
			 switches[_i].has_nss);
}
END_TEST

START_TEST(a_source_is_seen_from_its_first_byte)
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

	tcase_add_loop_test(tc, reads_a_file, 0, COUNT(files));
	tcase_add_test(tc, every_beginning_of_a_file_keeps_its_whole_lines);
	tcase_add_test(tc, the_name_may_be_unknown);
	tcase_add_test(tc, the_largest_uid_is_read);
	tcase_add_test(tc, a_nul_is_a_byte_like_others);
	tcase_add_test(tc, ranges_are_added_to_those_there);
	tcase_add_test(tc, ranges_beyond_the_limit_are_dropped);
	tcase_add_loop_test(tc, reads_getsubids, 0, COUNT(outputs));
	return tc;
}

static TCase *place_case(void)
{
	TCase *tc = tcase_create("where to look");

	tcase_add_loop_test(tc, finds_a_user, 0, COUNT(passwds));
	tcase_add_test(tc, a_user_is_found_once_there_is_a_group);
	tcase_add_test(tc, a_name_with_a_nul_is_none);
	tcase_add_test(tc, root_and_the_last_uid_are_found);
	tcase_add_loop_test(tc, knows_whether_there_is_another_source, 0, COUNT(switches));
	tcase_add_test(tc, a_source_is_seen_from_its_first_byte);
	return tc;
}

int main(void)
{
	Suite *s = suite_create("subid");

	suite_add_tcase(s, range_case());
	suite_add_tcase(s, place_case());
	return fixture_run(s);
}
