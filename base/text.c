/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include <string.h>

#define CP_MAX	 0x10ffffU
#define WORD_MAX 40 /* bytes; longer words are not checked for typing errors */

/* ---- ASCII characters ---- */

bool text_is_digit(int c)
{
	return c >= '0' && c <= '9';
}

bool text_is_letter(int c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool text_is_blank(int c)
{
	return c == ' ' || c == '\t';
}

int text_hex_value(int c)
{
	if (text_is_digit(c))
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* ---- pieces ---- */

bool text_equals(struct text t, const char *word)
{
	return t.len == strlen(word) && (t.len == 0 || memcmp(t.p, word, t.len) == 0);
}

static int lower(char c)
{
	return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
}

static int least(int a, int b)
{
	return a < b ? a : b;
}

/* The edit distance between `a` and `b`, ignoring case (optimal string alignment: one edit adds,
 * drops or replaces a letter, or swaps two neighbours). Row i of the table has the distances of
 * a[0..i) from b[0..j); only the last three rows are kept. */
static int distance(struct text a, struct text b)
{
	int rows[3][WORD_MAX + 1];

	for (size_t i = 0; i <= a.len; i++) {
		int *row = rows[i % 3];
		const int *above = rows[(i + 2) % 3], *second = rows[(i + 1) % 3];

		row[0] = (int)i;
		for (size_t j = 1; j <= b.len; j++) {
			if (i == 0) {
				row[j] = (int)j;
				continue;
			}
			row[j] = above[j - 1] + (lower(a.p[i - 1]) != lower(b.p[j - 1]));
			row[j] = least(row[j], 1 + least(above[j], row[j - 1]));
			if (i > 1 && j > 1 && lower(a.p[i - 1]) == lower(b.p[j - 2]) &&
			    lower(a.p[i - 2]) == lower(b.p[j - 1]))
				row[j] = least(row[j], 1 + second[j - 2]);
		}
	}
	return rows[a.len % 3][b.len];
}

int text_typing_errors(struct text t, const char *word)
{
	struct text w = { word, strlen(word) };
	int errors;

	if (t.len > WORD_MAX || w.len > WORD_MAX)
		return -1;
	if (t.len >= TEXT_BEGINNING && t.len < w.len &&
	    distance(t, (struct text){ word, t.len }) == 0)
		return 1;
	errors = distance(t, w);
	if (errors <= (int)(t.len + 1) / 3)
		return errors;
	return w.len >= TEXT_BEGINNING && t.len > w.len &&
			       distance((struct text){ t.p, w.len }, w) == 0
		       ? TEXT_LONGER
		       : -1;
}

struct text text_trim_start(struct text t)
{
	while (t.len > 0 && text_is_blank(t.p[0]))
		text_skip(&t, 1);
	return t;
}

struct text text_trim(struct text t)
{
	t = text_trim_start(t);
	while (t.len > 0 && text_is_blank(t.p[t.len - 1]))
		t.len--;
	return t;
}

const char *text_base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash != NULL ? slash + 1 : path;
}

void text_skip(struct text *t, size_t n)
{
	t->p += n;
	t->len -= n;
}

struct text text_take_until(struct text *t, char c)
{
	const char *end = t->len > 0 ? memchr(t->p, c, t->len) : NULL;
	struct text head = { t->p, end != NULL ? (size_t)(end - t->p) : t->len };

	text_skip(t, end != NULL ? head.len + 1 : head.len);
	return head;
}

/* ---- UTF-8 ---- */

bool text_is_surrogate(uint32_t cp)
{
	return cp >= 0xd800 && cp <= 0xdfff;
}

/* The length in bytes of the UTF-8 sequence that begins with `first`; 0 if no sequence does. */
static size_t utf8_len(unsigned char first)
{
	if (first < 0x80)
		return 1;
	if (first < 0xc2)
		return 0;
	if (first < 0xe0)
		return 2;
	if (first < 0xf0)
		return 3;
	return first < 0xf5 ? 4 : 0;
}

size_t text_utf8_decode(const char *s, size_t len, uint32_t *cp)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	const unsigned char *b = (const unsigned char *)s;
	size_t n = utf8_len(b[0]);
	uint32_t value;

	if (n == 0 || n > len)
		return 0;
	value = n == 1 ? b[0] : b[0] & (0x7fU >> n);
	for (size_t i = 1; i < n; i++) {
		if ((b[i] & 0xc0) != 0x80)
			return 0;
		value = value << 6 | (b[i] & 0x3fU);
	}
	if (value < least[n] || value > CP_MAX || text_is_surrogate(value))
		return 0;
	*cp = value;
	return n;
}

size_t text_utf8_encode(uint32_t cp, char *out)
{
	static const unsigned char mark[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
	size_t n = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;

	for (size_t i = n; i-- > 1; cp >>= 6)
		out[i] = (char)(0x80 | (cp & 0x3f));
	out[0] = (char)(mark[n == 1 ? 0 : n] | cp);
	return n;
}
