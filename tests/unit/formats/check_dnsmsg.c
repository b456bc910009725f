/* SPDX-License-Identifier: Apache-2.0 */

/* DNS messages, as a forwarder sees them. */
#include "formats/dnsmsg.h"
#include "tests/unit/fixture.h"

#define ID    0x1234
#define NAME  "\3www\7example\3org" /* its NUL is the root's label */
#define TYPE  "\0\1\0\1"
#define QUERY "\x12\x34\x01\x00\0\1\0\0\0\0\0\0" NAME "\0" TYPE

static const uint8_t *bytes_of(const char *text, size_t len)
{
	return (const uint8_t *)fixture_exact_copy(text, len);
}

START_TEST(a_query_is_read)
{
	struct dnsmsg m;

	ck_assert_int_eq(dnsmsg_read(&m, bytes_of(QUERY, sizeof(QUERY) - 1), sizeof(QUERY) - 1), 0);
	ck_assert_uint_eq(m.id, ID);
	ck_assert(!m.is_answer);
	ck_assert_uint_eq(m.opcode, 0);
	ck_assert_uint_eq(m.question_len, sizeof(NAME) + 4);
	ck_assert_mem_eq(m.question, NAME "\0" TYPE, m.question_len);
}
END_TEST

START_TEST(flags_are_read)
{
	static const uint8_t header[DNSMSG_HEADER] = { 0xff, 0xfe, 0xaf, 0xf5 };
	struct dnsmsg m;

	ck_assert_int_eq(dnsmsg_read(&m, header, sizeof(header)), 0);
	ck_assert_uint_eq(m.id, 0xfffe);
	ck_assert(m.is_answer);
	ck_assert_uint_eq(m.opcode, 5); /* UPDATE (RFC 2136) */
	ck_assert_uint_eq(m.rcode, DNSMSG_REFUSED);
	ck_assert_uint_eq(m.question_len, 0);
}
END_TEST

START_TEST(a_cut_query_is_noticed)
{
	struct dnsmsg m;

	for (size_t len = 0; len < sizeof(QUERY) - 1; len++) {
		ck_assert_int_eq(dnsmsg_read(&m, bytes_of(QUERY, len), len),
				 len < DNSMSG_HEADER ? DNSMSG_TOO_SHORT : DNSMSG_BAD_QUESTION);
		ck_assert_uint_eq(m.question_len, 0);
	}
}
END_TEST

START_TEST(what_follows_the_question_does_not_matter)
{
	static const char longer[] = QUERY "\0\0\x29\x10\0\0\0\0\0\0\0"; /* EDNS(0), RFC 6891 */
	struct dnsmsg m;

	ck_assert_int_eq(dnsmsg_read(&m, bytes_of(longer, sizeof(longer) - 1), sizeof(longer) - 1),
			 0);
	ck_assert_uint_eq(m.question_len, sizeof(NAME) + 4);
}
END_TEST

/* A question whose name has labels of `label` bytes each, as many as fit into `len` bytes. */
static size_t make_long(uint8_t *out, size_t label, size_t len)
{
	size_t n = DNSMSG_HEADER;

	memset(out, 0, DNSMSG_HEADER);
	out[5] = 1;
	while (n - DNSMSG_HEADER + label + 2 <= len) {
		out[n] = (uint8_t)label;
		memset(out + n + 1, 'x', label);
		n += 1 + label;
	}
	memcpy(out + n, "\0\0\1\0\1", 5);
	return n + 5;
}

static const struct {
	size_t label, len, question_len; /* 0: malformed */
} names[] = {
	{ 1, 255, 255 + 4 }, /* 127 labels */
	{ 1, 257, 0 },	     { 63, 255, 3 * 64 + 1 + 4 }, { 63, 257, 0 }, { 62, 253, 253 + 4 },
	{ 64, 66, 0 },	 /* a label may have 63 bytes */
	{ 192, 194, 0 }, /* a pointer (RFC 1035 4.1.4) */
	{ 1, 0, 1 + 4 }, /* the root */
};

START_TEST(names_have_limits)
{
	uint8_t message[512];
	size_t len = make_long(message, names[_i].label, names[_i].len);
	struct dnsmsg m;
	int fault = dnsmsg_read(&m, bytes_of((char *)message, len), len);

	ck_assert_int_eq(fault, names[_i].question_len > 0 ? 0 : DNSMSG_BAD_QUESTION);
	ck_assert_uint_eq(m.question_len, names[_i].question_len);
}
END_TEST

START_TEST(a_query_has_at_most_one_question)
{
	char two[] = QUERY NAME "\0" TYPE, none[] = QUERY;
	struct dnsmsg m;

	two[5] = 2;
	ck_assert_int_eq(dnsmsg_read(&m, bytes_of(two, sizeof(two) - 1), sizeof(two) - 1),
			 DNSMSG_BAD_QUESTION);
	ck_assert_uint_eq(m.id, ID);
	two[4] = 1; /* the high byte counts, too */
	two[5] = 1;
	ck_assert_int_eq(dnsmsg_read(&m, bytes_of(two, sizeof(two) - 1), sizeof(two) - 1),
			 DNSMSG_BAD_QUESTION);
	none[5] = 0;
	ck_assert_int_eq(dnsmsg_read(&m, bytes_of(none, sizeof(none) - 1), sizeof(none) - 1), 0);
	ck_assert_uint_eq(m.question_len, 0);
}
END_TEST

/* ---- answers ---- */

#define ANSWER(flags, questions) "\x12\x34" flags "\0" questions "\0\0\0\0\0\0"

static const struct {
	const char *text;
	size_t len;
	bool is_answer, is_refusal;
} answers[] = {
#define TEXT(t) (t), sizeof(t) - 1
	{ TEXT(ANSWER("\x81\x80", "\1") NAME "\0" TYPE), true, false },
	{ TEXT(ANSWER("\x81\x83", "\1") NAME "\0" TYPE), true, false }, /* no such name */
	{ TEXT(ANSWER("\x81\x82", "\1") NAME "\0" TYPE), true, true },	/* SERVFAIL */
	{ TEXT(ANSWER("\x81\x84", "\1") NAME "\0" TYPE), true, true },	/* NOTIMP */
	{ TEXT(ANSWER("\x81\x85", "\1") NAME "\0" TYPE), true, true },	/* REFUSED */
	{ TEXT(ANSWER("\x81\x81", "\1") NAME "\0" TYPE), true, false }, /* FORMERR */
	/* any case */
	{ TEXT(ANSWER("\x81\x80", "\1") "\3WwW\7eXAMPLe\3ORG\0" TYPE), true, false },
	/* Errors may come without a question, answers may not. */
	{ TEXT(ANSWER("\x81\x81", "\0")), true, false },
	{ TEXT(ANSWER("\x81\x82", "\0")), true, true },
	{ TEXT(ANSWER("\x81\x80", "\0")), false, false },
	{ TEXT(ANSWER("\x81\x83", "\0")), false, false },
	/* not an answer; another opcode; another ID */
	{ TEXT(ANSWER("\x01\x80", "\1") NAME "\0" TYPE), false, false },
	{ TEXT(ANSWER("\xa1\x80", "\1") NAME "\0" TYPE), false, false },
	{ TEXT("\x12\x35\x81\x80\0\1\0\0\0\0\0\0" NAME "\0" TYPE), false, false },
	{ TEXT("\x34\x12\x81\x80\0\1\0\0\0\0\0\0" NAME "\0" TYPE), false, false },
	/* another name, type or class */
	{ TEXT(ANSWER("\x81\x80", "\1") "\3wwx\7example\3org\0" TYPE), false, false },
	{ TEXT(ANSWER("\x81\x80", "\1") "\7example\3org\0" TYPE), false, false },
	{ TEXT(ANSWER("\x81\x80", "\1") "\3www\7example\3or\x07\0" TYPE), false, false },
	{ TEXT(ANSWER("\x81\x80", "\1") NAME "\0\0\x1c\0\1"), false, false },
	{ TEXT(ANSWER("\x81\x80", "\1") NAME "\0\0\1\0\3"), false, false },
	{ TEXT(ANSWER("\x81\x80", "\1") NAME "\0\0\x21\0\1"), false, false },
	/* not the same letter: '[' and '{' differ by the bit of the case, too */
	{ TEXT(ANSWER("\x81\x80", "\1") "\3\x57WW\7example\3org\0" TYPE), true, false },
	{ TEXT(ANSWER("\x81\x80", "\1") "\3\x97ww\7example\3org\0" TYPE), false, false },
};

START_TEST(answers_are_told_from_others)
{
	struct dnsmsg query, answer;
	const uint8_t *bytes = bytes_of(answers[_i].text, answers[_i].len);

	ck_assert_int_eq(dnsmsg_read(&query, (const uint8_t *)QUERY, sizeof(QUERY) - 1), 0);
	ck_assert_int_eq(dnsmsg_read(&answer, bytes, answers[_i].len), 0);
	ck_assert(dnsmsg_is_answer_to(&answer, &query, ID) == answers[_i].is_answer);
	ck_assert(!dnsmsg_is_answer_to(&answer, &query, ID + 2));
	if (answers[_i].is_answer)
		ck_assert(dnsmsg_is_refusal(&answer) == answers[_i].is_refusal);
}
END_TEST

START_TEST(only_letters_have_a_case)
{
	static const char query[] = ANSWER("\1\0", "\1") "\2[@\0" TYPE;
	static const char answer[] = ANSWER("\x81\x80", "\1") "\2{`\0" TYPE;
	struct dnsmsg q, a;

	ck_assert_int_eq(dnsmsg_read(&q, (const uint8_t *)query, sizeof(query) - 1), 0);
	ck_assert_int_eq(dnsmsg_read(&a, (const uint8_t *)answer, sizeof(answer) - 1), 0);
	ck_assert(!dnsmsg_is_answer_to(&a, &q, ID));
}
END_TEST

/* ---- writing ---- */

START_TEST(an_id_is_replaced)
{
	uint8_t message[] = QUERY;

	dnsmsg_set_id(message, 0xabcd);
	ck_assert_mem_eq(message, "\xab\xcd\x01\x00", 4);
}
END_TEST

START_TEST(a_failure_answers_its_query)
{
	static const char query[] = "\x12\x34\x29\x3f\0\1\0\2\0\3\0\4" NAME "\0" TYPE "records";
	uint8_t out[DNSMSG_FAILURE_MAX];
	struct dnsmsg q, a;
	size_t len;

	ck_assert_int_eq(dnsmsg_read(&q, (const uint8_t *)query, sizeof(query) - 1), 0);
	len = dnsmsg_write_failure(out, &q, (const uint8_t *)query, DNSMSG_SERVFAIL, false);
	ck_assert_uint_eq(len, DNSMSG_HEADER + sizeof(NAME) + 4);
	/* opcode, RD and CD are the query's; RA is ours */
	ck_assert_mem_eq(out, "\x12\x34\xa9\x92\0\1\0\0\0\0\0\0" NAME "\0" TYPE, len);
	ck_assert_int_eq(dnsmsg_read(&a, out, len), 0);
	ck_assert(dnsmsg_is_answer_to(&a, &q, ID) && dnsmsg_is_refusal(&a));
	dnsmsg_write_failure(out, &q, (const uint8_t *)query, DNSMSG_NOERROR, true);
	ck_assert_mem_eq(out, "\x12\x34\xab\x90", 4); /* TC */
}
END_TEST

START_TEST(a_failure_leaves_a_bad_question_out)
{
	uint8_t query[] = "\x12\x34\1\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1", out[DNSMSG_FAILURE_MAX];
	struct dnsmsg q;

	ck_assert_int_eq(dnsmsg_read(&q, query, sizeof(query) - 1), DNSMSG_BAD_QUESTION);
	ck_assert_uint_eq(dnsmsg_write_failure(out, &q, query, DNSMSG_FORMERR, false),
			  DNSMSG_HEADER);
	ck_assert_mem_eq(out, "\x12\x34\x81\x81\0\0\0\0\0\0\0\0", DNSMSG_HEADER);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("dnsmsg");
	TCase *tc = fixture_case("dnsmsg");

	tcase_add_test(tc, a_query_is_read);
	tcase_add_test(tc, flags_are_read);
	tcase_add_test(tc, a_cut_query_is_noticed);
	tcase_add_test(tc, what_follows_the_question_does_not_matter);
	tcase_add_loop_test(tc, names_have_limits, 0, COUNT(names));
	tcase_add_test(tc, a_query_has_at_most_one_question);
	tcase_add_loop_test(tc, answers_are_told_from_others, 0, COUNT(answers));
	tcase_add_test(tc, only_letters_have_a_case);
	tcase_add_test(tc, an_id_is_replaced);
	tcase_add_test(tc, a_failure_answers_its_query);
	tcase_add_test(tc, a_failure_leaves_a_bad_question_out);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
