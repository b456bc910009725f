/* SPDX-License-Identifier: Apache-2.0 */
#include "formats/httpout.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/array.h"
#include "base/text.h"

const char *httpout_date(time_t when, char *buf, size_t cap)
{
	static const char days[] = "SunMonTueWedThuFriSat";
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	struct tm tm = { .tm_mday = 1, .tm_year = 70 };

	gmtime_r(&when, &tm);
	snprintf(buf, cap, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT", days + 3 * tm.tm_wday,
		 tm.tm_mday, months + 3 * tm.tm_mon, tm.tm_year + 1900, tm.tm_hour, tm.tm_min,
		 tm.tm_sec);
	return buf;
}

/* ---- reason phrases ---- */

static const struct {
	int status;
	const char *reason;
} reasons[] = {
	{ 100, "Continue" },
	{ 200, "OK" },
	{ 201, "Created" },
	{ 204, "No Content" },
	{ 301, "Moved Permanently" },
	{ 307, "Temporary Redirect" },
	{ 308, "Permanent Redirect" },
	{ 400, "Bad Request" },
	{ 403, "Forbidden" },
	{ 404, "Not Found" },
	{ 405, "Method Not Allowed" },
	{ 408, "Request Timeout" },
	{ 413, "Request Entity Too Large" },
	{ 431, "Request Header Fields Too Large" },
	{ 500, "Internal Server Error" },
	{ 501, "Not Implemented" },
	{ 503, "Service Unavailable" },
	{ 505, "HTTP Version Not Supported" },
};

const char *http_reason(int status)
{
	for (size_t i = 0; i < COUNT_OF(reasons); i++) {
		if (reasons[i].status == status)
			return reasons[i].reason;
	}
	return "Unknown";
}

/* ---- paths ---- */

static bool is_dots(struct text segment, size_t n)
{
	return segment.len == n && memcmp(segment.p, "..", n) == 0;
}

/* Removes the last segment from out[0..len), which begins with '/'. Returns the new length. */
static size_t drop_segment(const char *out, size_t len)
{
	while (len > 0 && out[--len] != '/')
		;
	return len;
}

/* Builds `out` without its trailing slash, and appends that last. */
bool httpout_clean_path(const char *path, char *out)
{
	struct text rest = { path, strlen(path) };
	const bool slash = rest.len > 0 && path[rest.len - 1] == '/';
	size_t len = 0;

	while (rest.len > 0) {
		struct text segment = text_take_until(&rest, '/');

		if (segment.len == 0 || is_dots(segment, 1))
			continue;
		if (is_dots(segment, 2)) {
			len = drop_segment(out, len);
			continue;
		}
		if (segment.len >= HTTP_MAX_PATH - 1 - len)
			break;
		out[len++] = '/';
		memcpy(out + len, segment.p, segment.len);
		len += segment.len;
	}
	if (len == 0 || (slash && len + 1 < HTTP_MAX_PATH))
		out[len++] = '/';
	out[len] = '\0';
	return strcmp(path, out) != 0;
}

static bool is_unreserved(char c)
{
	return text_is_letter(c) || text_is_digit(c) || (c != '\0' && strchr("/-._~", c) != NULL);
}

void httpout_location(const char *path, struct text query, char *out)
{
	size_t len = 0;

	for (; *path != '\0' && len + sizeof("%ff") <= HTTPOUT_MAX_LOCATION; path++) {
		if (is_unreserved(*path))
			out[len++] = *path;
		else
			len += (size_t)sprintf(out + len, "%%%02X", (unsigned char)*path);
	}
	out[len] = '\0';
	if (query.len > 0)
		snprintf(out + len, HTTPOUT_MAX_LOCATION - len, "?%.*s", (int)query.len, query.p);
}

/* ---- bodies ---- */

/* Appends a byte to out[0..len), escaped for HTML. Returns the new length. */
static size_t put_escaped(char *out, size_t len, char c)
{
	static const struct {
		char c;
		const char *escape;
	} escapes[] = {
		{ '&', "&amp;" }, { '<', "&lt;" },   { '>', "&gt;" },
		{ '"', "&#34;" }, { '\'', "&#39;" },
	};

	for (size_t i = 0; i < COUNT_OF(escapes); i++)
		if (escapes[i].c == c)
			return len + (size_t)sprintf(out + len, "%s", escapes[i].escape);
	out[len] = c;
	return len + 1;
}

size_t httpout_link(const char *location, char *out)
{
	size_t len = (size_t)sprintf(out, "<a href=\"");

	for (; *location != '\0'; location++)
		len = put_escaped(out, len, *location);
	return len + (size_t)sprintf(out + len, "\">%s</a>.\n\n", http_reason(307));
}

/* ---- heads ---- */

struct buffer {
	char *p;
	size_t cap;
	size_t len;
};

__attribute__((format(printf, 2, 3))) static void put(struct buffer *b, const char *fmt, ...)
{
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(b->p + b->len, b->cap - b->len, fmt, args);
	va_end(args);
	b->len += (size_t)n < b->cap - b->len ? (size_t)n : b->cap - b->len - 1;
}

static void put_header(struct buffer *b, const char *name, const char *value)
{
	if (value != NULL)
		put(b, "%s: %s\r\n", name, value);
}

/* The value of the Connection header, or NULL for no header (RFC 9112, 9.3). */
static const char *connection_of(const struct httpout_head *h)
{
	if (h->minor == 0)
		return h->keep_alive ? "keep-alive" : NULL;
	return h->keep_alive ? NULL : "close";
}

/* compat: the place of Content-Type in Go's answers. If the handler has set it, it stands before
 * Date. If Go has detected it, it stands after Content-Length. */
static bool has_type_first(const struct httpout_head *h)
{
	return h->nosniff || h->location != NULL ||
	       (h->type != NULL && strcmp(h->type, HTTPOUT_JSON) == 0);
}

size_t httpout_head(char *buf, size_t cap, const struct httpout_head *h)
{
	struct buffer b = { buf, cap, 0 };
	const bool first = has_type_first(h);
	char date[32];

	put(&b, "HTTP/1.%d %d %s\r\n", h->minor, h->status, http_reason(h->status));
	put_header(&b, "Allow", h->allow);
	put_header(&b, "Content-Type", first ? h->type : NULL);
	put_header(&b, "X-Content-Type-Options", h->nosniff ? "nosniff" : NULL);
	put_header(&b, "Location", h->location);
	put_header(&b, "Date", httpout_date(time(NULL), date, sizeof(date)));
	if (h->has_length)
		put(&b, "Content-Length: %zu\r\n", h->body_len);
	put_header(&b, "Content-Type", first ? NULL : h->type);
	put_header(&b, "Connection", connection_of(h));
	put(&b, "\r\n");
	return b.len;
}

size_t httpout_refusal(char *buf, size_t cap, const struct http_request *req)
{
	struct buffer b = { buf, cap, 0 };

	put(&b, "HTTP/1.1 %d %s\r\n", (int)req->refusal, req->problem);
	put_header(&b, "Content-Type", HTTPOUT_TEXT);
	put_header(&b, "Connection", "close");
	put(&b, "\r\n%d %s", (int)req->refusal, req->problem);
	return b.len;
}
