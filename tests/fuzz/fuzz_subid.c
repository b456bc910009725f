/* SPDX-License-Identifier: Apache-2.0 */

/* Subordinate IDs. Ranges of any text are valid, and none is repeated. Written in the format of
 * /etc/subuid or of getsubids, they are read again. A name that is found can be found again. A
 * comment at the end of nsswitch.conf changes nothing.
 */
#include "formats/subid.h"

#include "fuzz.h"

#define UID	 1000
#define LINE_MAX sizeof("4294967295: x 4294967295 4294967295\n")

static void check_ranges(const struct subid_ranges *ranges, size_t added)
{
	REQUIRE(ranges->count == added && ranges->count <= SUBID_MAX_RANGES);
	for (size_t i = 0; i < ranges->count; i++) {
		const struct subid_range *range = &ranges->range[i];

		REQUIRE(range->count > 0);
		REQUIRE((uint64_t)range->start + range->count <= UINT64_C(1) << 32);
		for (size_t j = 0; j < i; j++)
			REQUIRE(memcmp(range, &ranges->range[j], sizeof(*range)) != 0);
	}
}

static void require_same(const struct subid_ranges *a, const struct subid_ranges *b)
{
	REQUIRE(a->count == b->count);
	REQUIRE(memcmp(a->range, b->range, a->count * sizeof(a->range[0])) == 0);
}

/* Writes the ranges in both formats, and reads them again. */
static void check_round_trip(const struct subid_ranges *ranges)
{
	struct subid_ranges from_file = { 0 }, from_tool = { 0 };
	char *file = malloc(SUBID_MAX_RANGES * LINE_MAX),
	     *tool = malloc(SUBID_MAX_RANGES * LINE_MAX);
	size_t file_len = 0, tool_len = 0;

	for (size_t i = 0; i < ranges->count; i++) {
		const struct subid_range *range = &ranges->range[i];

		file_len += (size_t)sprintf(file + file_len, "%s:%u:%u\n", i % 2 ? "x" : "1000",
					    range->start, range->count);
		tool_len += (size_t)sprintf(tool + tool_len, "%zu: x %u %u\n", i, range->start,
					    range->count);
	}
	subid_read_file(&from_file, file, file_len, "x", UID);
	subid_read_getsubids(&from_tool, tool, tool_len);
	require_same(&from_file, ranges);
	require_same(&from_tool, ranges);
	/* Reading the same file again adds nothing. */
	REQUIRE(subid_read_file(&from_file, file, file_len, "x", UID) == 0);
	free(tool);
	free(file);
}

/* No ID is mapped twice, the user's own ID is not mapped, and the map fits into the kernel's
 * limits. */
static void check_map(const struct subid_ranges *ranges)
{
	static struct subid_ranges map;
	static unsigned char cut[SUBID_MAX_RANGES];
	uint64_t total = 1;

	subid_cut(&map, ranges, UID, cut);
	for (size_t i = 0; i < map.count; i++) {
		const struct subid_range *a = &map.range[i];

		total += a->count;
		REQUIRE(a->count > 0 && (uint64_t)a->start + a->count <= UINT32_MAX);
		REQUIRE(UID < a->start || UID >= a->start + a->count);
		for (size_t j = 0; j < i; j++)
			REQUIRE(a->start >= map.range[j].start + map.range[j].count ||
				map.range[j].start >= a->start + a->count);
	}
	REQUIRE(total <= UINT32_MAX);
	subid_fit(&map, UID, 340, 4096);
	REQUIRE(map.count < 340);
}

/* Bad lines are found in order, until there are no more. */
static void check_bad_lines(const char *text, size_t size)
{
	const char *why = NULL;
	size_t line = 0, next;

	while ((next = subid_find_bad_line(text, size, "alice", UID, line, &why)) != 0) {
		REQUIRE(next > line && why != NULL);
		line = next;
	}
}

/* A range of free IDs has the wanted size, and lies within the map. */
static void check_free(const char *text, size_t size)
{
	static const char all[] = "0 0 4294967295\n";
	const struct text input = { text, size }, any = { all, strlen(all) };
	const struct subid_space spaces[] = { { any, input, input, UID },
					      { input, { 0 }, any, UID } };
	struct subid_range range;

	if (subid_find_free(&spaces[0], 1, 65536, &range))
		REQUIRE(range.start >= 10000 && range.count >= 1000 && range.count <= 65536);
	if (subid_find_free(&spaces[1], 1, 65536, &range))
		REQUIRE(subid_is_in_map(text, size, &range));
}

static void check_user(const char *text, size_t size)
{
	char *name = malloc(32);
	char line[64], again[32];

	if (subid_find_user(text, size, UID, name, 32)) {
		REQUIRE(name[0] != '\0' && strlen(name) < 32);
		REQUIRE(strpbrk(name, ":\n") == NULL);
		snprintf(line, sizeof(line), "%s:x:%d:1:::", name, UID);
		REQUIRE(subid_find_user(line, strlen(line), UID, again, sizeof(again)));
		REQUIRE(strcmp(name, again) == 0);
		REQUIRE(!subid_find_user(line, strlen(line), UID, again, strlen(name)));
	}
	free(name);
}

static void check_nss(const char *text, size_t size)
{
	static const char files[] = "\nsubid: files # sss\n", sss[] = "\nsubid: files sss";
	const bool has_nss = subid_has_nss(text, size);
	char *longer = malloc(size + sizeof(files) + sizeof(sss));

	memcpy(longer, text, size);
	memcpy(longer + size, files, sizeof(files) - 1);
	REQUIRE(subid_has_nss(longer, size + sizeof(files) - 1) == has_nss);
	memcpy(longer + size, sss, sizeof(sss) - 1);
	REQUIRE(subid_has_nss(longer, size + sizeof(sss) - 1));
	free(longer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = exact_copy(data, size);
	struct subid_ranges ranges = { 0 };
	size_t added = subid_read_file(&ranges, text, size, "alice", UID);

	check_ranges(&ranges, added);
	check_round_trip(&ranges);
	check_map(&ranges);
	check_bad_lines(text, size);
	check_free(text, size);
	ranges.count = 0;
	added = subid_read_getsubids(&ranges, text, size);
	check_ranges(&ranges, added);
	check_round_trip(&ranges);
	check_user(text, size);
	check_nss(text, size);
	free(text);
	return 0;
}
