/* SPDX-License-Identifier: Apache-2.0 */
/* JSON, read into an index in the caller's memory. See json.h.
 *
 * The parser is a recursive descent, at most JSON_MAX_DEPTH deep. It checks the whole value and
 * adds one node per value to the index, in reading order. Strings and numbers stay in the text; the
 * json_get functions convert them on demand. The parser owns nothing: text, index and buffers
 * belong to the caller.
 */
#include "formats/json.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/array.h"
#include "base/text.h"

/* ---- the parser ---- */

static const char *const type_names[] = {
	[JSON_NULL] = "null",	  [JSON_BOOL] = "bool",	  [JSON_NUMBER] = "number",
	[JSON_STRING] = "string", [JSON_ARRAY] = "array", [JSON_OBJECT] = "object",
};

_Static_assert(COUNT_OF(type_names) == JSON_TYPE_COUNT, "a name per type");

const char *json_type_name(enum json_type type)
{
	return type_names[type];
}

struct reader {
	struct json_doc *doc;
	size_t pos;
	size_t len;
	int depth;
	bool is_outline; /* json_outline */
	struct err *e;
};

/* The byte at the reader's position, or -1 at the end of the text. */
static int peek(const struct reader *in)
{
	return in->pos < in->len ? (unsigned char)in->doc->text[in->pos] : -1;
}

static void skip_space(struct reader *in)
{
	int c = peek(in);

	while (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
		in->pos++;
		c = peek(in);
	}
}

/* Skips the digits that come next. Returns whether there were any. */
static bool skip_digits(struct reader *in)
{
	size_t start = in->pos;

	while (text_is_digit(peek(in)))
		in->pos++;
	return in->pos > start;
}

/* Quotes a byte as Go's encoding/json does, which takes it for Latin-1: 'g', '\n', '\x00', 'é'. */
static void quote_byte(unsigned char c, char *buf, size_t cap)
{
	static const char named[] = "\aa\bb\ff\nn\rr\tt\vv\\\\''";
	char utf8[TEXT_UTF8_MAX];

	for (size_t i = 0; i + 1 < sizeof(named); i += 2) {
		if (c == (unsigned char)named[i]) {
			snprintf(buf, cap, "'\\%c'", named[i + 1]);
			return;
		}
	}
	if (c < 0x20 || c == 0x7f) /* controls */
		snprintf(buf, cap, "'\\x%02x'", c);
	else if ((c > 0x7f && c <= 0xa0) || c == 0xad) /* controls, blank, soft hyphen */
		snprintf(buf, cap, "'\\u%04x'", c);
	else
		snprintf(buf, cap, "'%.*s'", (int)text_utf8_encode(c, utf8), utf8);
}

/* Reports that the byte at the reader's position, or the end of the text, is not allowed there. */
static int refuse(const struct reader *in, const char *where)
{
	char quoted[sizeof("'\\uffff'")];
	int c = peek(in);

	if (c < 0)
		return err_set(in->e, EINVAL, "unexpected EOF");
	quote_byte((unsigned char)c, quoted, sizeof(quoted));
	return err_set(in->e, EINVAL, "invalid character %s %s", quoted, where);
}

/* Adds a node that begins at the reader's position. Returns its index or -E2BIG. */
static int add_node(struct reader *in, enum json_type type)
{
	struct json_doc *doc = in->doc;
	uint32_t index = doc->count;

	if (index == JSON_MAX_NODES)
		return err_set(in->e, E2BIG, "too many JSON values");
	doc->nodes[index] = (struct json_node){
		.type = type,
		.start = (uint32_t)in->pos,
		.next = index + 1,
	};
	doc->count++;
	return (int)index;
}

/* Ends a node, and what it contains, at the reader's position. Returns 0. */
static int end_node(struct reader *in, int index)
{
	struct json_node *node = &in->doc->nodes[index];

	node->len = (uint32_t)in->pos - node->start;
	node->next = in->doc->count;
	return 0;
}

/* Reads an escape; the reader is behind the backslash. */
static int read_escape(struct reader *in)
{
	int c = peek(in);

	if (c != 'u') {
		if (c < 0 || memchr("\"\\/bfnrt", c, 8) == NULL)
			return refuse(in, "in string escape code");
		in->pos++;
		return 0;
	}
	in->pos++;
	for (int i = 0; i < 4; i++, in->pos++) {
		if (text_hex_value(peek(in)) < 0)
			return refuse(in, "in \\u hexadecimal character escape");
	}
	return 0;
}

/* Reads a string; the reader is at the opening quote. */
static int read_string(struct reader *in)
{
	int index, c, r = 0;

	in->pos++;
	index = add_node(in, JSON_STRING);
	if (index < 0)
		return index;
	for (c = peek(in); c != '"' && r == 0; c = peek(in)) {
		if (c < 0x20) /* a control character, or the end */
			return refuse(in, "in string literal");
		in->pos++;
		if (c == '\\')
			r = read_escape(in);
	}
	if (r < 0)
		return r;
	end_node(in, index);
	in->pos++;
	return 0;
}

static int read_number(struct reader *in)
{
	int index = add_node(in, JSON_NUMBER);

	if (index < 0)
		return index;
	if (peek(in) == '-')
		in->pos++;
	if (peek(in) == '0')
		in->pos++;
	else if (!skip_digits(in))
		return refuse(in, "in numeric literal");
	if (peek(in) == '.') {
		in->pos++;
		if (!skip_digits(in))
			return refuse(in, "after decimal point in numeric literal");
	}
	if (peek(in) == 'e' || peek(in) == 'E') {
		in->pos++;
		if (peek(in) == '+' || peek(in) == '-')
			in->pos++;
		if (!skip_digits(in))
			return refuse(in, "in exponent of numeric literal");
	}
	return end_node(in, index);
}

static int read_literal(struct reader *in, const char *word, enum json_type type)
{
	char where[sizeof("in literal false (expecting 'x')")];
	int index = add_node(in, type);

	if (index < 0)
		return index;
	for (const char *w = word; *w != '\0'; w++, in->pos++) {
		if (peek(in) != *w) {
			snprintf(where, sizeof(where), "in literal %s (expecting '%c')", word, *w);
			return refuse(in, where);
		}
	}
	return end_node(in, index);
}

static int read_value(struct reader *in);

/* Reads a key and its value. */
static int read_member(struct reader *in)
{
	int r;

	skip_space(in);
	if (peek(in) != '"')
		return refuse(in, "looking for beginning of object key string");
	r = read_string(in);
	if (r < 0)
		return r;
	skip_space(in);
	if (peek(in) != ':')
		return refuse(in, "after object key");
	in->pos++;
	return read_value(in);
}

/* Reads the elements of an array or the members of an object, up to the closing bracket. */
static int read_elements(struct reader *in, bool is_object)
{
	const int end = is_object ? '}' : ']';
	const uint32_t first = in->doc->count;
	int r;

	skip_space(in);
	if (peek(in) == end)
		return 0;
	for (;;) {
		r = is_object ? read_member(in) : read_value(in);
		if (r < 0)
			return r;
		if (in->is_outline && in->depth > 1)
			in->doc->count = first; /* checked, but not indexed */
		skip_space(in);
		if (peek(in) == end)
			return 0;
		if (peek(in) != ',')
			return refuse(in, is_object ? "after object key:value pair"
						    : "after array element");
		in->pos++;
	}
}

/* Reads an array or object; the reader is at the opening bracket. */
static int read_container(struct reader *in, enum json_type type)
{
	int index = add_node(in, type);
	int r;

	if (index < 0)
		return index;
	if (in->depth == JSON_MAX_DEPTH)
		return err_set(in->e, E2BIG, "exceeded max depth");
	in->depth++;
	in->pos++;
	r = read_elements(in, type == JSON_OBJECT);
	if (r < 0)
		return r;
	in->depth--;
	in->pos++;
	return end_node(in, index);
}

static int read_value(struct reader *in)
{
	int c;

	skip_space(in);
	c = peek(in);
	switch (c) {
	case '{':
		return read_container(in, JSON_OBJECT);
	case '[':
		return read_container(in, JSON_ARRAY);
	case '"':
		return read_string(in);
	case 't':
		return read_literal(in, "true", JSON_BOOL);
	case 'f':
		return read_literal(in, "false", JSON_BOOL);
	case 'n':
		return read_literal(in, "null", JSON_NULL);
	default:
		if (c == '-' || text_is_digit(c))
			return read_number(in);
		return refuse(in, "looking for beginning of value");
	}
}

static int parse(struct json_doc *doc, const char *text, size_t len, bool is_outline, struct err *e)
{
	struct reader in = { .doc = doc, .len = len, .is_outline = is_outline, .e = e };
	int r;

	doc->text = text;
	doc->count = 0;
	doc->go_type = NULL;
	if (len > INT_MAX)
		return err_set(e, E2BIG, "the JSON text is too long");
	skip_space(&in);
	if (peek(&in) < 0)
		return err_set(e, EINVAL, "EOF");
	r = read_value(&in);
	if (r < 0)
		doc->count = 0;
	return r;
}

int json_parse(struct json_doc *doc, const char *text, size_t len, struct err *e)
{
	return parse(doc, text, len, false, e);
}

int json_outline(struct json_doc *doc, const char *text, size_t len, struct err *e)
{
	return parse(doc, text, len, true, e);
}

/* ---- long arrays ---- */

void json_walk_init(struct json_walk *walk, const char *text, size_t len)
{
	*walk = (struct json_walk){ .text = text, .len = len };
}

/* Reads the '[' that opens the array, or null. */
static int enter_array(struct json_walk *walk, struct reader *in)
{
	int r;

	walk->at = JSON_WALK_END;
	skip_space(in);
	if (peek(in) == '[') {
		in->pos++;
		skip_space(in);
		if (peek(in) != ']')
			walk->at = JSON_WALK_INSIDE;
		return 0;
	}
	r = peek(in) < 0 ? err_set(in->e, EINVAL, "EOF") : read_value(in);
	if (r == 0 && in->doc->nodes[0].type != JSON_NULL)
		r = err_set(in->e, EINVAL, "json: cannot unmarshal %s into an array",
			    json_type_name(in->doc->nodes[0].type));
	return r;
}

/* Reads an element and the ',' or ']' behind it. */
static int read_next_element(struct json_walk *walk, struct reader *in)
{
	int r = read_value(in);

	if (r < 0)
		return r;
	skip_space(in);
	if (peek(in) == ']')
		walk->at = JSON_WALK_END;
	else if (peek(in) != ',')
		return refuse(in, "after array element");
	walk->pos = in->pos + 1;
	return 1;
}

int json_walk_next(struct json_walk *walk, struct json_doc *doc, struct err *e)
{
	struct reader in = { .doc = doc, .pos = walk->pos, .len = walk->len, .e = e };
	int r = 0;

	doc->text = walk->text;
	doc->count = 0;
	doc->go_type = NULL;
	if (walk->len > INT_MAX)
		return err_set(e, E2BIG, "the JSON text is too long");
	if (walk->at == JSON_WALK_START)
		r = enter_array(walk, &in);
	if (r == 0 && walk->at == JSON_WALK_INSIDE)
		r = read_next_element(walk, &in);
	if (r <= 0) {
		walk->at = JSON_WALK_END;
		doc->count = 0;
	}
	return r;
}

/* ---- the index ---- */

const struct json_node *json_first(const struct json_doc *doc, const struct json_node *in)
{
	uint32_t index;

	if (in == NULL || (in->type != JSON_ARRAY && in->type != JSON_OBJECT))
		return NULL;
	index = (uint32_t)(in - doc->nodes) + 1;
	return index < in->next ? &doc->nodes[index] : NULL;
}

const struct json_node *json_next(const struct json_doc *doc, const struct json_node *in,
				  const struct json_node *node)
{
	return node->next < in->next ? &doc->nodes[node->next] : NULL;
}

static bool is_key(const struct json_doc *doc, const struct json_node *node, const char *key)
{
	char name[64]; /* longer than any key that callers ask for */

	return json_get_string(doc, node, name, sizeof(name)) >= 0 && strcasecmp(name, key) == 0;
}

const struct json_node *json_member(const struct json_doc *doc, const struct json_node *obj,
				    const char *key)
{
	const struct json_node *found = NULL;
	const struct json_node *node;

	if (obj == NULL || obj->type != JSON_OBJECT)
		return NULL;
	node = json_first(doc, obj);
	while (node != NULL) {
		const struct json_node *value = json_next(doc, obj, node);

		if (is_key(doc, node, key))
			found = value;
		node = json_next(doc, obj, value);
	}
	return found;
}

/* The UTF-16 code unit of the \uXXXX at s. Returns 0 if there is no such escape, and for \u0000: a
 * caller that does not know whether there is one looks for a low surrogate, which is not 0. */
static uint32_t hex_escape(const char *s, size_t len)
{
	uint32_t unit = 0;

	if (len < 6 || s[0] != '\\' || s[1] != 'u')
		return 0;
	for (int i = 2; i < 6; i++)
		unit = unit << 4 | (uint32_t)text_hex_value(s[i]);
	return unit;
}

/* Decodes one \uXXXX, or two that are a surrogate pair. Returns the bytes that they take up. */
static size_t unescape_hex(const char *s, size_t len, uint32_t *cp)
{
	uint32_t high = hex_escape(s, len);
	uint32_t low;

	*cp = high;
	if (!text_is_surrogate(high))
		return 6;
	low = hex_escape(s + 6, len - 6);
	if (high >= 0xdc00 || low < 0xdc00 || low > 0xdfff) {
		*cp = TEXT_CP_REPLACEMENT;
		return 6;
	}
	*cp = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
	return 12;
}

size_t json_unescape(const char *s, size_t len, uint32_t *cp)
{
	static const char plain[] = "\"\\/bfnrt";
	static const char meant[] = "\"\\/\b\f\n\r\t";
	size_t n;

	if (s[0] != '\\') {
		n = text_utf8_decode(s, len, cp);
		if (n > 0)
			return n;
		*cp = TEXT_CP_REPLACEMENT;
		return 1;
	}
	if (s[1] == 'u')
		return unescape_hex(s, len, cp);
	*cp = (unsigned char)meant[strchr(plain, s[1]) - plain];
	return 2;
}

int json_get_string(const struct json_doc *doc, const struct json_node *node, char *buf, size_t cap)
{
	char utf8[TEXT_UTF8_MAX];
	uint32_t cp;
	size_t n, used = 0;

	if (node == NULL || node->type != JSON_STRING)
		return -EINVAL;
	for (size_t i = 0; i < node->len;) {
		const char *s = doc->text + node->start + i;

		i += json_unescape(s, node->len - i, &cp);
		if (cp == 0)
			return -EINVAL;
		n = text_utf8_encode(cp, utf8);
		if (n >= cap - used)
			return -ENOSPC;
		memcpy(buf + used, utf8, n);
		used += n;
	}
	if (used >= cap)
		return -ENOSPC;
	buf[used] = '\0';
	return (int)used;
}

int json_get_int(const struct json_doc *doc, const struct json_node *node, int64_t *value)
{
	const char *s;
	size_t i, len;
	int64_t sum = 0;
	bool negative;

	if (node == NULL || node->type != JSON_NUMBER)
		return -EINVAL;
	s = json_raw(doc, node, &len);
	for (i = 0; i < len; i++) {
		if (!text_is_digit(s[i]) && s[i] != '-')
			return -EINVAL;
	}
	negative = s[0] == '-';
	/* Sum the negative value: INT64_MIN has no positive counterpart. */
	for (i = negative; i < len; i++) {
		if (__builtin_mul_overflow(sum, 10, &sum) ||
		    __builtin_sub_overflow(sum, s[i] - '0', &sum))
			return -ERANGE;
	}
	if (!negative && sum == INT64_MIN)
		return -ERANGE;
	*value = negative ? sum : -sum;
	return 0;
}

int json_get_bool(const struct json_doc *doc, const struct json_node *node, bool *value)
{
	if (node == NULL || node->type != JSON_BOOL)
		return -EINVAL;
	*value = doc->text[node->start] == 't';
	return 0;
}

const char *json_raw(const struct json_doc *doc, const struct json_node *node, size_t *len)
{
	*len = node->len;
	return doc->text + node->start;
}
