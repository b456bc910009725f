/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Helpers for parsers: pieces of a text that the caller owns, ASCII characters independent of the
 * locale, and Unicode characters as UTF-8 (RFC 3629). Nothing here allocates, blocks or fails. Any
 * thread.
 */

/* A piece of a text. It is not NUL-terminated and may contain any bytes. */
struct text {
	const char *p; /* borrowed; may be NULL if `len` is 0 */
	size_t len;    /* bytes */
};

/* ASCII only. A negative value (end of input) is in no class. */
bool text_is_digit(int c);
bool text_is_letter(int c);
/* A space or a tab. */
bool text_is_blank(int c);
/* The value of a hexadecimal digit, or -1. */
int text_hex_value(int c);

/* Does the text equal the word? */
bool text_equals(struct text t, const char *word);
/* The number of typing errors that turn `word` into `t`, ignoring case. One error adds, drops or
 * replaces a letter, or swaps two neighbours. Special cases:
 *   - `t` is the beginning of `word`, of at least TEXT_BEGINNING letters ("net" for "network"): 1;
 *   - `t` begins with `word`, of at least TEXT_BEGINNING letters ("network" for "net"), and the
 *     errors are too many otherwise: TEXT_LONGER;
 *   - more errors than a third of t's letters, rounded: -1, not a typing error. */
#define TEXT_BEGINNING 3
#define TEXT_LONGER    2
int text_typing_errors(struct text t, const char *word);
/* The text without the blanks at its start, or at both ends. */
struct text text_trim_start(struct text t);
struct text text_trim(struct text t);
/* Removes the first n bytes; the text must have that many. */
void text_skip(struct text *t, size_t n);
/* Returns the part of *t before the first `c`, and removes that part and the `c` from *t. Without a
 * `c`, returns all of *t and leaves *t empty. */
struct text text_take_until(struct text *t, char c);
/* Returns the part of a path after its last slash: a pointer into `path`. */
const char *text_base_name(const char *path);

#define TEXT_UTF8_MAX	    4	    /* bytes of a character */
#define TEXT_CP_REPLACEMENT 0xfffdU /* U+FFFD replaces what is not valid */

/* Is the code point half of a UTF-16 surrogate pair? Such a code point is not a character. */
bool text_is_surrogate(uint32_t cp);
/* Decodes the first character of s[0..len), len > 0. Returns the number of bytes that it takes up,
 * or 0 if the text does not begin with valid UTF-8. */
size_t text_utf8_decode(const char *s, size_t len, uint32_t *cp);
/* Encodes a character to `out`, which has room for TEXT_UTF8_MAX bytes, without a NUL. Returns the
 * number of bytes. */
size_t text_utf8_encode(uint32_t cp, char *out);

#endif
