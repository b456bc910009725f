/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORMATS_JSONOUT_H
#define FORMATS_JSONOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/json.h"

/* A JSON writer (RFC 8259) for a caller's buffer. Nothing allocates or blocks. See json.h for the
 * reader. */

/* The state of a writer. Output that does not fit sets `overflow` and is dropped; the output before
 * it stays, and stays NUL-terminated. The writer adds the commas. */
struct jsonout {
	char *buf;
	size_t cap; /* bytes, with the final NUL */
	size_t len; /* bytes written, without the final NUL */
	bool overflow;
	bool need_comma;
};

/* Starts an empty text in buf[cap], which is borrowed. */
void jsonout_init(struct jsonout *out, char *buf, size_t cap);
/* Begin or end a container. In this function and those below, `key` is the name of the member; NULL
 * inside arrays and at the top. */
void jsonout_begin_object(struct jsonout *out, const char *key);
void jsonout_end_object(struct jsonout *out);
void jsonout_begin_array(struct jsonout *out, const char *key);
void jsonout_end_array(struct jsonout *out);
/* Escapes a string as Go's encoding/json does: `<`, `>`, `&`, U+2028 and U+2029 are escaped, too;
 * control characters become \u00XX, or \n \r \t \b \f; bytes that are not UTF-8 become U+FFFD. */
void jsonout_put_string(struct jsonout *out, const char *key, const char *value);
/* Write one value of another type. */
void jsonout_put_int(struct jsonout *out, const char *key, int64_t value);
void jsonout_put_bool(struct jsonout *out, const char *key, bool value);
void jsonout_put_null(struct jsonout *out, const char *key);
/* Writes a value of `doc` on several lines, each level indented by `blanks` more than the one
 * around it. Empty containers stay on one line, strings are escaped as in jsonout_put_string,
 * numbers are copied. Adds no line feed at the end. */
void jsonout_put_indented(struct jsonout *out, const struct json_doc *doc,
			  const struct json_node *node, int blanks);
/* The buffer size in bytes, with the final NUL, that is enough for jsonout_put_indented on a text
 * of `len` bytes. */
size_t jsonout_indented_cap(size_t len, int blanks);

#endif
