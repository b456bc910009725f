/* SPDX-License-Identifier: Apache-2.0 */

/* DNS messages: the question is inside the message, and any query that is read has a failure as its
 * answer. The input is a query and a server's message, cut by the first byte. */
#include "formats/dnsmsg.h"

#include "fuzz.h"

static void check_question(const struct dnsmsg *m, const uint8_t *bytes, size_t len)
{
	REQUIRE(m->question_len <= DNSMSG_QUESTION_MAX);
	if (m->question_len > 0)
		REQUIRE(m->question == bytes + DNSMSG_HEADER &&
			m->question_len <= len - DNSMSG_HEADER);
}

static void check_failure(const struct dnsmsg *query, const uint8_t *bytes)
{
	uint8_t *out = malloc(DNSMSG_HEADER + query->question_len);
	size_t len = dnsmsg_write_failure(out, query, bytes, DNSMSG_SERVFAIL, false);
	struct dnsmsg failure;

	REQUIRE(len == DNSMSG_HEADER + query->question_len);
	REQUIRE(dnsmsg_read(&failure, out, len) == 0);
	REQUIRE(dnsmsg_is_answer_to(&failure, query, query->id));
	REQUIRE(dnsmsg_is_refusal(&failure));
	free(out);
}

static void check_pair(const uint8_t *query, size_t query_len, const uint8_t *answer,
		       size_t answer_len)
{
	struct dnsmsg q, a;
	int q_fault = dnsmsg_read(&q, query, query_len);
	int a_fault = dnsmsg_read(&a, answer, answer_len);

	if (q_fault == DNSMSG_TOO_SHORT)
		return;
	check_question(&q, query, query_len);
	check_failure(&q, query);
	if (a_fault != 0)
		return;
	check_question(&a, answer, answer_len);
	if (dnsmsg_is_answer_to(&a, &q, q.id))
		REQUIRE(a.id == q.id && a.opcode == q.opcode &&
			(a.question_len == q.question_len || a.question_len == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t cut = size > 0 ? data[0] : 0;
	uint8_t *query, *answer;

	if (cut + 1 > size)
		return 0;
	query = (uint8_t *)exact_copy(data + 1, cut);
	answer = (uint8_t *)exact_copy(data + 1 + cut, size - 1 - cut);
	check_pair(query, cut, answer, size - 1 - cut);
	free(answer);
	free(query);
	return 0;
}
