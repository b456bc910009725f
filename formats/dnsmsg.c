/* SPDX-License-Identifier: Apache-2.0 */
/* Headers and questions of DNS messages. See dnsmsg.h.
 *
 * Questions are compared as bytes: their name is the first one of a message, so it has nothing to
 * be compressed with (RFC 1035 4.1.4), and a compressed one is refused. Only letters are compared
 * without their case. A byte of a label's length is at most 63, and no letter.
 */
#include "formats/dnsmsg.h"

#include <string.h>

/* offsets in the header */
#define AT_ID	     0
#define AT_FLAGS     2 /* two bytes */
#define AT_QUESTIONS 4

/* the first byte of the flags */
#define QR	     0x80 /* it is an answer */
#define TC	     0x02 /* it is cut */
#define RD	     0x01 /* recursion is desired */
#define OPCODE_SHIFT 3
#define OPCODE_MASK  0xfU
/* the second byte */
#define RA	     0x80 /* recursion is available */
#define CD	     0x10 /* checking is disabled (RFC 4035 3.2.2) */
#define RCODE_MASK   0x0fU

#define LABEL_MAX 63

static uint16_t get_be16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static void put_be16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

/* ---- reading ---- */

/* Returns the length of the question at `at`, or 0 if it is malformed. */
static size_t question_len(const uint8_t *at, size_t len)
{
	size_t n = 0;

	while (n < len && at[n] != 0) {
		if (at[n] > LABEL_MAX)
			return 0;
		n += 1U + at[n];
	}
	n++; /* the root's empty label */
	return n <= DNSMSG_NAME_MAX && n + 4 <= len ? n + 4 : 0;
}

int dnsmsg_read(struct dnsmsg *m, const uint8_t *bytes, size_t len)
{
	uint16_t questions;

	*m = (struct dnsmsg){ 0 };
	if (len < DNSMSG_HEADER)
		return DNSMSG_TOO_SHORT;
	m->id = get_be16(bytes + AT_ID);
	m->is_answer = (bytes[AT_FLAGS] & QR) != 0;
	m->opcode = bytes[AT_FLAGS] >> OPCODE_SHIFT & OPCODE_MASK;
	m->rcode = bytes[AT_FLAGS + 1] & RCODE_MASK;
	m->question = bytes + DNSMSG_HEADER;
	questions = get_be16(bytes + AT_QUESTIONS);
	if (questions == 0)
		return 0;
	if (questions == 1)
		m->question_len = question_len(m->question, len - DNSMSG_HEADER);
	return m->question_len > 0 ? 0 : DNSMSG_BAD_QUESTION;
}

static uint8_t lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

/* The type and the class are not text, so their bytes must be the same. */
static bool is_same_question(const struct dnsmsg *a, const struct dnsmsg *b)
{
	size_t name = a->question_len > 4 ? a->question_len - 4 : 0;

	if (a->question_len != b->question_len ||
	    memcmp(a->question + name, b->question + name, a->question_len - name) != 0)
		return false;
	for (size_t i = 0; i < name; i++)
		if (lower(a->question[i]) != lower(b->question[i]))
			return false;
	return true;
}

bool dnsmsg_is_refusal(const struct dnsmsg *answer)
{
	return answer->rcode == DNSMSG_SERVFAIL || answer->rcode == DNSMSG_NOTIMP ||
	       answer->rcode == DNSMSG_REFUSED;
}

/* Servers that do not understand a query do not always repeat its question. */
static bool may_lack_question(const struct dnsmsg *answer)
{
	return answer->rcode == DNSMSG_FORMERR || dnsmsg_is_refusal(answer);
}

bool dnsmsg_is_answer_to(const struct dnsmsg *answer, const struct dnsmsg *query, uint16_t id)
{
	if (!answer->is_answer || answer->id != id || answer->opcode != query->opcode)
		return false;
	return is_same_question(answer, query) ||
	       (answer->question_len == 0 && may_lack_question(answer));
}

/* ---- writing ---- */

void dnsmsg_set_id(uint8_t *bytes, uint16_t id)
{
	put_be16(bytes + AT_ID, id);
}

size_t dnsmsg_write_failure(uint8_t *out, const struct dnsmsg *m, const uint8_t *query,
			    enum dnsmsg_rcode rcode, bool is_cut)
{
	memset(out, 0, DNSMSG_HEADER);
	put_be16(out + AT_ID, m->id);
	out[AT_FLAGS] = (uint8_t)(QR | m->opcode << OPCODE_SHIFT | (is_cut ? TC : 0) |
				  (query[AT_FLAGS] & RD));
	out[AT_FLAGS + 1] = (uint8_t)(RA | (query[AT_FLAGS + 1] & CD) | rcode);
	if (m->question_len == 0)
		return DNSMSG_HEADER;
	put_be16(out + AT_QUESTIONS, 1);
	memcpy(out + DNSMSG_HEADER, m->question, m->question_len);
	return DNSMSG_HEADER + m->question_len;
}
