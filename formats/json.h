/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORMATS_JSON_H
#define FORMATS_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* JSON (RFC 8259), as little of it as the programs need: a reader that checks a text once and
 * leaves an index of it in a caller's array. It neither allocates nor keeps a copy: the text must
 * live as long as the index. Its counterpart is jsonout.
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

/* "null", "bool", "number", "string", "array", "object". */
const char *json_type_name(enum json_type type);

/* A value. Members of an object and elements of an array follow their container in the index;
 * `next` is the index of the node after this one and all that it contains. A member is two nodes:
 * its key (a string) and its value. */
struct json_node {
	enum json_type type;
	uint32_t start; /* of the value's text; for strings behind the opening quote */
	uint32_t len;	/* bytes of the text; for strings without the quotes */
	uint32_t next;
};

#define JSON_MAX_NODES 256 /* more than any message of ours or of a known client holds */
#define JSON_MAX_DEPTH 32

struct json_doc {
	const char *text; /* borrowed */
	/* Go's name for the type of the root, which RootlessKit's reasons show; NULL for none.
	 * json_parse clears it. */
	const char *go_type;
	uint32_t count;
	struct json_node nodes[JSON_MAX_NODES];
};

/* Reads the first JSON value of text[0..len). What follows the value is ignored (compat: 3.0.1
 * accepts trailing bytes); white space before it is skipped. Returns 0, or -EINVAL with a reason in
 * the reference's words, which clients show: "EOF" for nothing at all, "unexpected EOF" for a text
 * that ends early, "invalid character 'x' looking for beginning of value", "... looking for
 * beginning of object key string", "... after object key", "... after object key:value pair",
 * "... after array element", "... in string literal", "... in string escape code", "... in \u
 * hexadecimal character escape", "... in literal true (expecting 'r')", "... in numeric literal",
 * "... after decimal point in numeric literal", "... in exponent of numeric literal"; or -E2BIG for
 * a text with too many values or too deep a nesting. After a failure the index is empty. */
int json_parse(struct json_doc *doc, const char *text, size_t len, struct err *e);

/* The root is always node 0. Where a node is asked for, a null pointer may be given, as json_member
 * returns it: it is of no type. */

/* The value of member `key` of an object, or NULL if `obj` is not an object or has no such member.
 * Keys match without regard to ASCII case, and the last of several wins (compat: 3.0.1). */
const struct json_node *json_member(const struct json_doc *doc, const struct json_node *obj,
				    const char *key);

/* The first element of an array / first key of an object, or NULL; and the one after `node` within
 * container `in`, or NULL at the end. In an object keys and values take turns: after a key comes
 * its value, after the value the next key. */
const struct json_node *json_first(const struct json_doc *doc, const struct json_node *in);
const struct json_node *json_next(const struct json_doc *doc, const struct json_node *in,
				  const struct json_node *node);

/* Copies a string's value, unescaped, NUL-terminated. Returns its length; -EINVAL for another type
 * or for a string that holds a NUL character; -ENOSPC if it does not fit in cap bytes (nothing
 * useful is in buf then). Escapes of lone surrogates and bytes that are not UTF-8 become U+FFFD. */
int json_get_string(const struct json_doc *doc, const struct json_node *node, char *buf,
		    size_t cap);

/* Reads one character of s[0..len), len > 0: the rest, from a character on, of the raw text of a
 * string that json_parse has checked. Sets `*cp`: U+FFFD for what json_get_string makes that of, 0
 * for the escape of a NUL. Returns the bytes taken. */
size_t json_unescape(const char *s, size_t len, uint32_t *cp);

/* The value of a number that is an integer without fraction or exponent. Returns 0 or -EINVAL,
 * -ERANGE if it does not fit. */
int json_get_int(const struct json_doc *doc, const struct json_node *node, int64_t *value);

/* Returns 0 or -EINVAL. */
int json_get_bool(const struct json_doc *doc, const struct json_node *node, bool *value);

/* The raw text of a node, for error messages; not NUL-terminated, `*len` bytes. The node must not
 * be a null pointer. */
const char *json_raw(const struct json_doc *doc, const struct json_node *node, size_t *len);

/* An array that is too long for an index: its elements one by one, each in an index of its own. */
struct json_walk {
	const char *text; /* borrowed */
	size_t len;
	size_t pos; /* of what is read next */
	enum {
		JSON_WALK_START,
		JSON_WALK_INSIDE,
		JSON_WALK_END,
	} at;
};

/* Begins a walk along the array that text[0..len) begins with; null is as good as an empty one. */
void json_walk_init(struct json_walk *walk, const char *text, size_t len);
/* Reads the next element into `doc`, as its root. Returns 1; 0 at the end of the array, what
 * follows it is ignored; or -EINVAL or -E2BIG with a reason as json_parse gives it. */
int json_walk_next(struct json_walk *walk, struct json_doc *doc, struct err *e);

/* Reads member `key` of an object that must be of the type asked for. One that is missing or null
 * gives "" or 0. Returns 0, or -EINVAL with a reason for clients: "json: cannot unmarshal string
 * into field parentPort of type int", "json: cannot unmarshal number 1e4 into field ..." ("into Go
 * struct field Spec.parentPort ..." if go_type is "Spec"), "json: field proto is too long", "json:
 * field proto holds a NUL character". */
int json_field_string(const struct json_doc *doc, const struct json_node *obj, const char *key,
		      char *buf, size_t cap, struct err *e);
int json_field_int(const struct json_doc *doc, const struct json_node *obj, const char *key,
		   int64_t *value, struct err *e);

#endif
