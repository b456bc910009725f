/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Pieces of a text that somebody else owns, as parsers take them apart; the characters of ASCII,
 * whatever the locale; and those of Unicode as UTF-8 (RFC 3629). Nothing here allocates or fails.
 */

/* Not NUL-terminated, and may hold any bytes. */
struct text {
	const char *p; /* borrowed; may be NULL if `len` is 0 */
	size_t len;    /* bytes */
};

/* Of ASCII; an int may be negative, for no character at all. */
bool text_is_digit(int c);
bool text_is_letter(int c);
/* A space or a tab. */
bool text_is_blank(int c);
/* The value of a hexadecimal digit, or -1. */
int text_hex_value(int c);

/* Does the text equal the word? */
bool text_equals(struct text t, const char *word);
/* How many letters of `t` are to be added, dropped, changed or swapped with the next to make
 * `word`, regardless of case. -1 if those are too many for a typing error: more than a third. The
 * beginning of `word`, of at least TEXT_BEGINNING letters, counts as one error; a `word` of at
 * least that many with more behind it, "network" for "net", as TEXT_LONGER. */
#define TEXT_BEGINNING 3
#define TEXT_LONGER    2
int text_typing_errors(struct text t, const char *word);
/* The text without the blanks in front of it, or around it. */
struct text text_trim_start(struct text t);
struct text text_trim(struct text t);
/* Moves on by n bytes, which must be there. */
void text_skip(struct text *t, size_t n);
/* Takes what is in front of `c`, or all if there is none, off the text, and the `c` too. */
struct text text_take_until(struct text *t, char c);

#define TEXT_UTF8_MAX	    4	    /* bytes of a character */
#define TEXT_CP_REPLACEMENT 0xfffdU /* U+FFFD, which stands for what is no character */

/* Half of a pair of UTF-16, which is no character by itself. */
bool text_is_surrogate(uint32_t cp);
/* Reads one character of s[0..len), len > 0. Returns its bytes, or 0 if they are not UTF-8. */
size_t text_utf8_decode(const char *s, size_t len, uint32_t *cp);
/* Writes a character, TEXT_UTF8_MAX bytes at most, without a NUL. Returns the number of bytes. */
size_t text_utf8_encode(uint32_t cp, char *out);

#endif
