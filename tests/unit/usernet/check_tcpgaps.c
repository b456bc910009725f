/* SPDX-License-Identifier: Apache-2.0 */

/* Data that came out of order. Random segments are compared with a simple model: an array that says
 * which bytes have come. */
#include <stdlib.h>

#include "tests/unit/fixture.h"
#include "usernet/tcpgaps.h"

#define SPACE 4000 /* sequence numbers of a schedule */

/* ---- the wire: memory is counted ---- */

struct tcpwire {
	size_t used, max;
};

static struct tcpwire wire;
static struct tcpgaps *gaps;

bool tcpwire_take_memory(struct tcpwire *w, size_t len)
{
	if (len > w->max - w->used)
		return false;
	w->used += len;
	return true;
}

void tcpwire_give_memory(struct tcpwire *w, size_t len)
{
	ck_assert_uint_ge(w->used, len);
	w->used -= len;
}

static void set_up(void)
{
	wire = (struct tcpwire){ .max = SIZE_MAX };
	gaps = NULL;
}

static void tear_down(void)
{
	tcpgaps_free(&gaps, &wire);
	ck_assert_uint_eq(wire.used, 0);
	ck_assert_ptr_null(gaps);
}

/* ---- segments ---- */

static uint8_t byte_at(uint32_t seq)
{
	return (uint8_t)(seq * 2654435761U >> 13);
}

static void add(uint32_t seq, size_t len, uint8_t flags)
{
	uint8_t *data = malloc(len + 1); /* of its own, so that ASan sees what is read beyond */
	struct tcpseg seg = { .seq = seq, .flags = flags | TH_ACK, .data = data, .len = len };

	ck_assert_ptr_nonnull(data);
	for (size_t i = 0; i < len; i++)
		data[i] = byte_at(seq + (uint32_t)i);
	tcpgaps_add(&gaps, &wire, &seg);
	free(data);
}

/* Checks bytes without an assertion for each, which would be slow. */
static bool is_intact(uint32_t seq, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (data[i] != byte_at(seq + (uint32_t)i))
			return false;
	return true;
}

/* Takes what is next from `nxt` on, checks it, and returns the next sequence number after it. */
static uint32_t take(uint32_t nxt)
{
	const uint8_t *data;
	size_t len;

	while ((data = tcpgaps_next(gaps, &wire, nxt, &len)) != NULL) {
		ck_assert_uint_gt(len, 0);
		ck_assert(is_intact(nxt, data, len));
		nxt += (uint32_t)len;
	}
	return nxt;
}

static void assert_ranges(size_t count, const struct tcpseg_range *expected)
{
	struct tcpseg_range ranges[TCPSEG_SACKS];

	ck_assert_uint_eq(tcpgaps_ranges(gaps, ranges), count);
	for (size_t i = 0; i < count; i++) {
		ck_assert_uint_eq(ranges[i].begin, expected[i].begin);
		ck_assert_uint_eq(ranges[i].end, expected[i].end);
	}
}

START_TEST(data_behind_a_gap_is_next_when_the_gap_is_filled)
{
	size_t len;

	ck_assert_ptr_null(tcpgaps_next(gaps, &wire, 100, &len));
	add(200, 50, 0);
	ck_assert_ptr_null(tcpgaps_next(gaps, &wire, 100, &len));
	ck_assert_ptr_null(tcpgaps_next(gaps, &wire, 199, &len));
	ck_assert_uint_eq(take(200), 250);
	add(300, 50, 0);
	ck_assert_uint_eq(take(320), 350); /* the first 20 bytes came another way */
	add(400, 50, 0);
	ck_assert_uint_eq(take(450), 450);
	ck_assert_uint_eq(wire.used, 0);
}
END_TEST

START_TEST(overlapping_segments_are_joined)
{
	add(100, 10, 0);
	add(130, 10, 0);
	add(160, 10, 0);
	add(105, 60, 0);
	assert_ranges(1, (struct tcpseg_range[]){ { 100, 170 } });
	add(90, 100, 0);
	assert_ranges(1, (struct tcpseg_range[]){ { 90, 190 } });
	ck_assert_uint_eq(take(90), 190);
}
END_TEST

START_TEST(the_range_of_the_newest_data_comes_first)
{
	add(100, 10, 0);
	add(200, 10, 0);
	add(300, 10, 0);
	assert_ranges(3, (struct tcpseg_range[]){ { 300, 310 }, { 200, 210 }, { 100, 110 } });
	add(195, 5, 0);
	assert_ranges(3, (struct tcpseg_range[]){ { 195, 210 }, { 100, 110 }, { 300, 310 } });
	add(400, 10, 0);
	add(500, 10, 0);
	assert_ranges(4, (struct tcpseg_range[]){
				 { 500, 510 }, { 195, 210 }, { 300, 310 }, { 100, 110 } });
}
END_TEST

START_TEST(a_fin_is_next_after_the_data)
{
	ck_assert(!tcpgaps_fin_is_next(gaps, 0));
	add(200, 10, TH_FIN);
	ck_assert(!tcpgaps_fin_is_next(gaps, 200));
	ck_assert(tcpgaps_fin_is_next(gaps, 210));
	tcpgaps_free(&gaps, &wire);
	add(300, 0, TH_FIN);
	ck_assert(tcpgaps_fin_is_next(gaps, 300));
	assert_ranges(0, NULL);
}
END_TEST

START_TEST(blocks_and_memory_are_bounded)
{
	for (uint32_t i = 0; i < 10 * TCPGAPS_MAX; i++)
		add(100 + 20 * i, 10, 0);
	ck_assert_uint_eq(wire.used, 10 * TCPGAPS_MAX);
	ck_assert_uint_eq(take(100), 110);
	tcpgaps_free(&gaps, &wire);

	wire.max = 1000;
	add(100, 2000, 0);
	ck_assert_uint_eq(wire.used, 0);
	for (uint32_t i = 0; i < 100; i++)
		add(100 + 30 * i, 30, 0);
	ck_assert_uint_le(wire.used, 1000);
	ck_assert_uint_ge(take(100), 100 + 600);
}
END_TEST

/* Segments of any place and length, in any order, around the wrap of the sequence numbers */
START_TEST(random_segments_agree_with_a_model)
{
	srand((unsigned int)_i);
	for (int schedule = 0; schedule < 200; schedule++) {
		const uint32_t base = (uint32_t)rand() * 2U - (uint32_t)(rand() % 2) * SPACE;
		bool has[SPACE] = { false };
		uint32_t nxt = 0;

		for (int i = 0; i < 60; i++) {
			uint32_t at = nxt + 1 + (uint32_t)rand() % (SPACE - 1);
			size_t len = 1 + (size_t)rand() % (i % 7 == 0 ? 1500 : 60);

			if (at >= SPACE)
				continue;
			len = at + len < SPACE ? len : SPACE - at;
			add(base + at, len, 0);
			memset(&has[at], true, len);
			if (rand() % 8 == 0) { /* the next bytes come in order */
				nxt += 1 + (uint32_t)rand() % 100;
				nxt = nxt < SPACE ? nxt : SPACE;
				nxt = take(base + nxt) - base;
				ck_assert(nxt == SPACE || !has[nxt]);
			}
		}
		for (; nxt < SPACE; nxt++)
			if (has[nxt]) {
				uint32_t end = take(base + nxt) - base;

				ck_assert_uint_gt(end, nxt);
				ck_assert(memchr(&has[nxt], false, end - nxt) == NULL);
				nxt = end;
				ck_assert(nxt == SPACE || !has[nxt]);
			}
		tcpgaps_free(&gaps, &wire);
		ck_assert_uint_eq(wire.used, 0);
	}
}
END_TEST

int main(void)
{
	TCase *tc = tcase_create("tcpgaps");
	Suite *s = suite_create("tcpgaps");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, data_behind_a_gap_is_next_when_the_gap_is_filled);
	tcase_add_test(tc, overlapping_segments_are_joined);
	tcase_add_test(tc, the_range_of_the_newest_data_comes_first);
	tcase_add_test(tc, a_fin_is_next_after_the_data);
	tcase_add_test(tc, blocks_and_memory_are_bounded);
	tcase_add_loop_test(tc, random_segments_agree_with_a_model, 0, 10);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
