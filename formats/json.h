/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORMATS_JSON_H
#define FORMATS_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* A small JSON reader (RFC 8259). It checks a text once and fills in an index of its values, in the
 * caller's memory. It does not allocate, block or copy: the text must live as long as the index.
 * See jsonout.h for the writer.
 */

enum json_type {
	JSON_NULL,
	JSON_BOOL,
	JSON_NUMBER,
	JSON_STRING,
	JSON_ARRAY,
	JSON_OBJECT,
	JSON_TYPE_COUNT,
};

/* "null", "bool", "number", "string", "array" or "object". */
const char *json_type_name(enum json_type type);

/* A value. The members of an object and the elements of an array follow their container in the
 * index; `next` is the index of the first node behind a value and all that it contains. A member is
 * two nodes: its key (a string) and its value. */
struct json_node {
	enum json_type type;
	uint32_t start; /* offset of the value's text; for strings behind the opening quote */
	uint32_t len;	/* bytes; for strings without the quotes */
	uint32_t next;
};

#define JSON_MAX_NODES 256 /* more than rlkbox or a known client sends in a message */
#define JSON_MAX_DEPTH 32

struct json_doc {
	const char *text; /* borrowed */
	/* Go's name for the type of the root. Reasons mention it, as RootlessKit's do; NULL: they
	 * do not. json_parse sets it to NULL. */
	const char *go_type;
	uint32_t count;
	struct json_node nodes[JSON_MAX_NODES];
};

/* Indexes the first JSON value of text[0..len). Skips white space before it, and ignores everything
 * behind it (compat: 3.0.1 accepts trailing bytes). Returns 0; -E2BIG for too many values or too
 * deep a nesting, or a text above INT_MAX bytes; or -EINVAL. After a failure the index is empty.
 * The reasons for -EINVAL are Go's words, because clients show them:
 *   - "EOF" for an empty text, "unexpected EOF" for one that ends early;
 *   - "invalid character 'x' WHERE", with one of these as WHERE: "looking for beginning of value",
 *     "looking for beginning of object key string", "after object key",
 *     "after object key:value pair", "after array element", "in string literal",
 *     "in string escape code", "in \u hexadecimal character escape",
 *     "in literal true (expecting 'r')", "in numeric literal",
 *     "after decimal point in numeric literal", "in exponent of numeric literal". */
int json_parse(struct json_doc *doc, const char *text, size_t len, struct err *e);

/* The same, but of the containers in the root only the text is indexed (json_raw), not what they
 * contain. So they may be long. Read an array among them with a struct json_walk. */
int json_outline(struct json_doc *doc, const char *text, size_t len, struct err *e);

/* The root is always node 0. The functions that follow accept a null pointer as a node, because
 * json_member may return one, unless their comment says otherwise. They treat it as a value of
 * another type. */

/* The value of member `key` of an object, or NULL if `obj` is not an object or has no such member.
 * Keys match regardless of ASCII case, and the last of several equal keys wins (compat: 3.0.1). */
const struct json_node *json_member(const struct json_doc *doc, const struct json_node *obj,
				    const char *key);

/* json_first: the first element of an array or first key of an object, or NULL if there is none.
 * json_next: the node that follows `node` in its container `in`, or NULL at the end; neither may be
 * NULL. In an object keys and values alternate: a value follows its key, and the next key follows
 * the value. */
const struct json_node *json_first(const struct json_doc *doc, const struct json_node *in);
const struct json_node *json_next(const struct json_doc *doc, const struct json_node *in,
				  const struct json_node *node);

/* Copies a string's value to buf[cap], unescaped and NUL-terminated. Escapes of lone surrogates and
 * bytes that are not UTF-8 become U+FFFD. Returns the length in bytes; -EINVAL for another type, or
 * for a string that contains a NUL character; -ENOSPC if the string does not fit: the content of
 * buf is then undefined. */
int json_get_string(const struct json_doc *doc, const struct json_node *node, char *buf,
		    size_t cap);

/* Decodes the first character of s[0..len), len > 0. `s` points into the raw text of a string that
 * json_parse has checked, at the start of a character or escape. Sets *cp: to U+FFFD in the same
 * cases as json_get_string, to 0 for the escape of a NUL. Returns the bytes that the character
 * takes up in `s`. */
size_t json_unescape(const char *s, size_t len, uint32_t *cp);

/* Reads an integer, written without fraction and exponent. Returns 0; -EINVAL for another number or
 * type; -ERANGE if it does not fit. */
int json_get_int(const struct json_doc *doc, const struct json_node *node, int64_t *value);

/* Returns 0, or -EINVAL for another type. */
int json_get_bool(const struct json_doc *doc, const struct json_node *node, bool *value);

/* The raw text of a node, for error messages: *len bytes, not NUL-terminated. `node` must not be
 * NULL. */
const char *json_raw(const struct json_doc *doc, const struct json_node *node, size_t *len);

/* A reader for arrays that are too long for one index: each element gets an index of its own. */
struct json_walk {
	const char *text; /* borrowed */
	size_t len;
	size_t pos; /* offset of the next element */
	enum {
		JSON_WALK_START,
		JSON_WALK_INSIDE,
		JSON_WALK_END,
	} at;
};

/* Starts to read the array that text[0..len) begins with; null counts as an empty array. */
void json_walk_init(struct json_walk *walk, const char *text, size_t len);
/* Indexes the next element in `doc`, as its root. Returns 1; 0 at the end of the array, without
 * reading the text behind it; or -EINVAL or -E2BIG with a reason like json_parse's. */
int json_walk_next(struct json_walk *walk, struct json_doc *doc, struct err *e);

#endif
