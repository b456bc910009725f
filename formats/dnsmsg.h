/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORMATS_DNSMSG_H
#define FORMATS_DNSMSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* DNS messages (RFC 1035 4.1), as far as a forwarder looks at them: the header and the question.
 * The rest is passed on unseen. Nothing here blocks, allocates or has state. */

#define DNSMSG_HEADER	    12	/* bytes */
#define DNSMSG_NAME_MAX	    255 /* bytes of a name on the wire (RFC 1035 2.3.4) */
#define DNSMSG_QUESTION_MAX (DNSMSG_NAME_MAX + 4)
#define DNSMSG_FAILURE_MAX  (DNSMSG_HEADER + DNSMSG_QUESTION_MAX)

/* Response codes (RFC 1035 4.1.1) */
enum dnsmsg_rcode {
	DNSMSG_NOERROR = 0,
	DNSMSG_FORMERR = 1,
	DNSMSG_SERVFAIL = 2,
	DNSMSG_NOTIMP = 4,
	DNSMSG_REFUSED = 5,
};

struct dnsmsg {
	uint16_t id;
	bool is_answer;
	uint8_t opcode;
	uint8_t rcode;
	const uint8_t *question; /* points into the message: name, type and class */
	size_t question_len;	 /* 0: the message has no question (RFC 7873 5.4) */
};

enum dnsmsg_fault {
	DNSMSG_TOO_SHORT = 1, /* no whole header; nothing is known */
	DNSMSG_BAD_QUESTION,  /* cut, compressed, too long, or several (RFC 9619); the header is
			       * good, and question_len is 0 */
};

/* Reads a message. Returns 0, or what is wrong with it. */
int dnsmsg_read(struct dnsmsg *m, const uint8_t *bytes, size_t len);

/* May this be a server's answer to the query that was sent with the ID `id`? The question must be
 * the same, with letters of any case. Servers that report an error may leave it out. */
bool dnsmsg_is_answer_to(const struct dnsmsg *answer, const struct dnsmsg *query, uint16_t id);

/* Does this answer say that another server should be asked? */
bool dnsmsg_is_refusal(const struct dnsmsg *answer);

/* Replaces the ID of a message of at least DNSMSG_HEADER bytes. */
void dnsmsg_set_id(uint8_t *bytes, uint16_t id);

/* Writes an answer without records to the query at `query`, which dnsmsg_read has read into *m,
 * to out[DNSMSG_FAILURE_MAX]. `is_cut`: it says that the real answer needs TCP (TC). Returns its
 * length. */
size_t dnsmsg_write_failure(uint8_t *out, const struct dnsmsg *m, const uint8_t *query,
			    enum dnsmsg_rcode rcode, bool is_cut);

#endif
