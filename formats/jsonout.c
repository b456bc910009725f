/* SPDX-License-Identifier: Apache-2.0 */
/* JSON, written into a caller's buffer. See jsonout.h.
 *
 * The writer appends pieces. Once a piece does not fit, it drops that one and all that follow. So
 * the buffer always holds a beginning of the text, and `overflow` says that the rest is missing.
 */
#include "formats/jsonout.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

#define CP_LINE_SEPARATOR      0x2028U /* these two end a line in JavaScript, but not in JSON */
#define CP_PARAGRAPH_SEPARATOR 0x2029U

/* ---- pieces ---- */

void jsonout_init(struct jsonout *out, char *buf, size_t cap)
{
	*out = (struct jsonout){ .buf = buf, .cap = cap };
	if (cap > 0)
		buf[0] = '\0';
}

static void put(struct jsonout *out, const char *text, size_t len)
{
	if (out->overflow || len >= out->cap - out->len) {
		out->overflow = true;
		return;
	}
	memcpy(out->buf + out->len, text, len);
	out->len += len;
	out->buf[out->len] = '\0';
}

static void put_text(struct jsonout *out, const char *text)
{
	put(out, text, strlen(text));
}

/* The two-character escape of a character, or NULL if it has none. */
static const char *short_escape(uint32_t cp)
{
	switch (cp) {
	case '"':
		return "\\\"";
	case '\\':
		return "\\\\";
	case '\b':
		return "\\b";
	case '\f':
		return "\\f";
	case '\n':
		return "\\n";
	case '\r':
		return "\\r";
	case '\t':
		return "\\t";
	default:
		return NULL;
	}
}

static bool needs_escape(uint32_t cp)
{
	return cp < 0x20 || cp == '<' || cp == '>' || cp == '&' || cp == CP_LINE_SEPARATOR ||
	       cp == CP_PARAGRAPH_SEPARATOR;
}

/* Writes the first character of text[0..len), escaped as in a string. Returns the bytes that it
 * takes up in `text`. */
static size_t put_char(struct jsonout *out, const char *text, size_t len)
{
	char escape[sizeof("\\uffff")];
	uint32_t cp;
	size_t n = text_utf8_decode(text, len, &cp);

	if (n == 0) {
		put_text(out, "\\ufffd");
		return 1;
	}
	if (short_escape(cp) != NULL) {
		put_text(out, short_escape(cp));
	} else if (needs_escape(cp)) {
		snprintf(escape, sizeof(escape), "\\u%04x", cp & 0xffffU);
		put_text(out, escape);
	} else {
		put(out, text, n);
	}
	return n;
}

static void put_quoted(struct jsonout *out, const char *text)
{
	size_t len = strlen(text);

	put_text(out, "\"");
	for (size_t i = 0; i < len;)
		i += put_char(out, text + i, len - i);
	put_text(out, "\"");
}

/* Writes what comes before a value: the comma behind the previous value, and the key. */
static void begin_value(struct jsonout *out, const char *key)
{
	if (out->need_comma)
		put_text(out, ",");
	if (key != NULL) {
		put_quoted(out, key);
		put_text(out, ":");
	}
	out->need_comma = true;
}

static void open_container(struct jsonout *out, const char *key, const char *bracket)
{
	begin_value(out, key);
	put_text(out, bracket);
	out->need_comma = false;
}

static void close_container(struct jsonout *out, const char *bracket)
{
	put_text(out, bracket);
	out->need_comma = true;
}

/* ---- values ---- */

void jsonout_begin_object(struct jsonout *out, const char *key)
{
	open_container(out, key, "{");
}

void jsonout_end_object(struct jsonout *out)
{
	close_container(out, "}");
}

void jsonout_begin_array(struct jsonout *out, const char *key)
{
	open_container(out, key, "[");
}

void jsonout_end_array(struct jsonout *out)
{
	close_container(out, "]");
}

void jsonout_put_string(struct jsonout *out, const char *key, const char *value)
{
	begin_value(out, key);
	put_quoted(out, value);
}

void jsonout_put_int(struct jsonout *out, const char *key, int64_t value)
{
	char digits[sizeof("-9223372036854775808")];

	snprintf(digits, sizeof(digits), "%" PRId64, value);
	begin_value(out, key);
	put_text(out, digits);
}

void jsonout_put_bool(struct jsonout *out, const char *key, bool value)
{
	begin_value(out, key);
	put_text(out, value ? "true" : "false");
}

void jsonout_put_null(struct jsonout *out, const char *key)
{
	begin_value(out, key);
	put_text(out, "null");
}

/* ---- writing an indexed value ---- */

/* Writes a string of the indexed text: decodes each character, then escapes it in the writer's own
 * way. */
static void put_read_string(struct jsonout *out, const struct json_doc *doc,
			    const struct json_node *node)
{
	char utf8[TEXT_UTF8_MAX];
	uint32_t cp;

	put_text(out, "\"");
	for (size_t i = 0; i < node->len;) {
		const char *s = doc->text + node->start + i;

		i += json_unescape(s, node->len - i, &cp);
		put_char(out, utf8, text_utf8_encode(cp, utf8));
	}
	put_text(out, "\"");
}

static void put_line_start(struct jsonout *out, int column)
{
	put_text(out, "\n");
	for (int i = 0; i < column; i++)
		put_text(out, " ");
}

/* Writes a value that is indented by `column` blanks. The recursion is at most JSON_MAX_DEPTH deep,
 * because the parser refuses deeper texts. */
static void put_node(struct jsonout *out, const struct json_doc *doc, const struct json_node *node,
		     int blanks, int column)
{
	const bool is_object = node->type == JSON_OBJECT;
	const struct json_node *item = json_first(doc, node);

	if (node->type == JSON_STRING) {
		put_read_string(out, doc, node);
		return;
	}
	if (item == NULL) { /* do not copy an empty container: it may contain blanks */
		if (is_object || node->type == JSON_ARRAY)
			put_text(out, is_object ? "{}" : "[]");
		else
			put(out, doc->text + node->start, node->len);
		return;
	}
	put_text(out, is_object ? "{" : "[");
	for (const char *comma = ""; item != NULL; item = json_next(doc, node, item)) {
		put_text(out, comma);
		comma = ",";
		put_line_start(out, column + blanks);
		if (is_object) {
			put_read_string(out, doc, item);
			put_text(out, ": ");
			item = json_next(doc, node, item);
		}
		put_node(out, doc, item, blanks, column + blanks);
	}
	put_line_start(out, column);
	put_text(out, is_object ? "}" : "]");
}

void jsonout_put_indented(struct jsonout *out, const struct json_doc *doc,
			  const struct json_node *node, int blanks)
{
	put_node(out, doc, node, blanks, 0);
}

/* Upper bound: a byte of a string becomes at most six, and each value and each end of a container
 * has a line of its own. */
size_t jsonout_indented_cap(size_t len, int blanks)
{
	const size_t lines = 2 * JSON_MAX_NODES;

	return 6 * len + lines * (size_t)(blanks * JSON_MAX_DEPTH + 1) + 1;
}
