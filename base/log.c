/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/array.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"

#define LOG_LINE_LEN 2048 /* bytes; longer lines are cut */
#define ESCAPED_MAX  6	  /* bytes of an escaped character */
#define LOG_PAD	     44	  /* compat: on a terminal logrus pads the text to this many columns */
#define LIMIT_S	     60	  /* between two lines of one struct log_limit */

static const struct {
	const char *word;
	const char *tty_word;
	int colour; /* ANSI foreground */
} levels[] = {
	[LOG_DEBUG] = { "debug", "DEBU", 37 },
	[LOG_INFO] = { "info", "INFO", 36 },
	[LOG_WARNING] = { "warning", "WARN", 33 },
	[LOG_ERROR] = { "error", "ERRO", 31 },
};
_Static_assert(COUNT_OF(levels) == LOG_LEVEL_COUNT, "a name for each level");

static struct {
	const char *who;
	bool debug;
	bool tty;
	time_t started;
} state = { .who = "parent" };

static time_t now(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec;
}

void log_init(const char *who, bool debug)
{
	state.who = who;
	state.debug = debug;
	state.tty = isatty(STDERR_FILENO) == 1;
	state.started = now(CLOCK_MONOTONIC);
}

/* If standard error cannot take the line, the line is lost: there is nowhere else to report it. */
static void write_line(const char *line, size_t len)
{
	ssize_t n = write(STDERR_FILENO, line, len);

	(void)n;
}

struct character {
	size_t len; /* bytes */
	uint32_t code;
	bool is_byte;	/* one byte of invalid UTF-8, which a terminal may take as C1 */
	bool is_hidden; /* must be escaped: is_byte, or a control character (C0, DEL or C1) */
};

/* Decodes the first character of a text that is not empty. */
static struct character first_character(const char *text)
{
	struct character c = { 0 };

	/* Not in the initializer, which may clear `code` after the call (C11 6.7.9, 23). */
	c.len = text_utf8_decode(text, strnlen(text, TEXT_UTF8_MAX), &c.code);
	if (c.len == 0)
		return (struct character){ 1, (unsigned char)*text, true, true };
	c.is_hidden = c.code < 0x20 || (c.code >= 0x7f && c.code <= 0x9f);
	return c;
}

/* Escapes a character as Go's strconv.Quote does. `out` has room for ESCAPED_MAX bytes and a NUL.
 * Returns the number of bytes written, without the NUL. */
static size_t escape_character(char *out, struct character c)
{
	static const char letters[] = "abtnvfr"; /* of '\a' (7) to '\r' (13) */

	if (c.code >= '\a' && c.code <= '\r')
		return (size_t)sprintf(out, "\\%c", letters[c.code - '\a']);
	return (size_t)sprintf(out, c.is_byte || c.code < 0x80 ? "\\x%02x" : "\\u%04x",
			       (unsigned int)c.code);
}

enum escaping {
	QUOTED, /* for key="value": escapes quotes and backslashes, too, as Go's %q does */
	LINE,
	LINES, /* keeps newlines and tabs */
};

/* Copies as much of a text as fits, with control characters and invalid UTF-8 escaped. Returns the
 * number of bytes written; adds no NUL. */
static size_t escape(char *out, size_t cap, const char *text, enum escaping how)
{
	size_t n = 0;

	while (*text != '\0' && n + ESCAPED_MAX < cap) {
		struct character c = first_character(text);

		if (c.is_hidden && (how != LINES || (*text != '\n' && *text != '\t'))) {
			n += escape_character(out + n, c);
		} else {
			if (how == QUOTED && (*text == '"' || *text == '\\'))
				out[n++] = '\\';
			memcpy(out + n, text, c.len);
			n += c.len;
		}
		text += c.len;
	}
	return n;
}

static size_t format_tty(char *line, size_t cap, enum log_level level, const char *text)
{
	char plain[LOG_LINE_LEN];
	int n;

	plain[escape(plain, sizeof(plain), text, LINE)] = '\0';
	n = snprintf(line, cap, "\033[%dm%s\033[0m[%04ld] %-*s \n", levels[level].colour,
		     levels[level].tty_word, (long)(now(CLOCK_MONOTONIC) - state.started), LOG_PAD,
		     plain);

	return n < (int)cap ? (size_t)n : cap - 1;
}

static size_t format_plain(char *line, size_t cap, enum log_level level, const char *text)
{
	time_t t = now(CLOCK_REALTIME);
	char stamp[40];
	char zone[8];
	struct tm tm;
	size_t n;

	localtime_r(&t, &tm);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
	if (tm.tm_gmtoff == 0)
		snprintf(zone, sizeof(zone), "Z");
	else
		snprintf(zone, sizeof(zone), "%+03ld:%02ld", tm.tm_gmtoff / 3600 % 100,
			 (tm.tm_gmtoff < 0 ? -tm.tm_gmtoff : tm.tm_gmtoff) / 60 % 60);
	n = (size_t)snprintf(line, cap, "time=\"%s%s\" level=%s msg=\"", stamp, zone,
			     levels[level].word);
	n += escape(line + n, cap - n - 3, text, QUOTED);
	memcpy(line + n, "\"\n", 2);
	return n + 2;
}

void log_at(enum log_level level, const char *fmt, ...)
{
	char text[LOG_LINE_LEN];
	char line[LOG_LINE_LEN + 128];
	size_t len;
	va_list ap;
	int n;

	if (level == LOG_DEBUG && !state.debug)
		return;
	n = snprintf(text, sizeof(text), "[rootlesskit:%s] ", state.who);
	va_start(ap, fmt);
	vsnprintf(text + n, sizeof(text) - (size_t)n, fmt, ap);
	va_end(ap);
	/* A reader that has stopped reading must not block the threads that copy data. */
	if (!(fd_wait(STDERR_FILENO, POLLOUT, 0) & POLLOUT))
		return;
	len = state.tty ? format_tty(line, sizeof(line), level, text)
			: format_plain(line, sizeof(line), level, text);
	write_line(line, len);
}

bool log_is_due(struct log_limit *limit)
{
	unsigned int now = (unsigned int)(clock_now_ms() / 1000) + 1;
	unsigned int last = atomic_load(&limit->last_s);

	/* Another thread may have logged the line since we read the clock. */
	return (last == 0 || now > last + LIMIT_S) &&
	       atomic_compare_exchange_strong(&limit->last_s, &last, now);
}

void log_fatal(const char *fmt, ...)
{
	char *reason, *escaped, *line;
	size_t cap;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&reason, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	cap = (size_t)n * ESCAPED_MAX + ESCAPED_MAX + 1;
	escaped = malloc(cap);
	if (escaped != NULL) {
		escaped[escape(escaped, cap, reason, LINES)] = '\0';
		n = asprintf(&line, "[rootlesskit:%s] error: %s\n", state.who, escaped);
		if (n >= 0) {
			write_line(line, (size_t)n);
			free(line);
		}
	}
	free(escaped);
	free(reason);
}
