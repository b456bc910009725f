/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORMATS_JSONOUT_H
#define FORMATS_JSONOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/json.h"

/* JSON (RFC 8259), written into a caller's buffer. Nothing allocates. Its counterpart is json. */

/* A writer. Output that does not fit sets `overflow` and is dropped; what was written before stays
 * NUL-terminated. Commas are set by the writer. */
struct jsonout {
	char *buf;
	size_t cap; /* bytes, with the final NUL */
	size_t len; /* bytes written, without the final NUL */
	bool overflow;
	bool need_comma;
};

void jsonout_init(struct jsonout *out, char *buf, size_t cap);
/* `key` is NULL inside arrays and at the top. */
void jsonout_begin_object(struct jsonout *out, const char *key);
void jsonout_end_object(struct jsonout *out);
void jsonout_begin_array(struct jsonout *out, const char *key);
void jsonout_end_array(struct jsonout *out);
/* Strings are escaped; `<`, `>`, `&`, U+2028 and U+2029 too, as the reference's encoder does;
 * control characters as \u00XX but for \n \r \t \b \f; bytes that are not UTF-8 become U+FFFD. */
void jsonout_put_string(struct jsonout *out, const char *key, const char *value);
void jsonout_put_int(struct jsonout *out, const char *key, int64_t value);
void jsonout_put_bool(struct jsonout *out, const char *key, bool value);
void jsonout_put_null(struct jsonout *out, const char *key);
/* Writes a value that was read, laid out in lines: each level `blanks` further in than the one
 * before, empty containers in one piece, strings escaped anew, numbers as they were. Without a line
 * feed at the end. */
void jsonout_put_indented(struct jsonout *out, const struct json_doc *doc,
			  const struct json_node *node, int blanks);
/* Bytes that jsonout_put_indented needs at most for a text of `len` bytes, with the final NUL. */
size_t jsonout_indented_cap(size_t len, int blanks);

#endif
