/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/1.1 messages in a buffer that grows.
 *
 * The parser keeps no state between calls. While a message is incomplete, the caller reads more
 * bytes and calls again, and parsing starts over at the beginning of the buffer. Parsing begins
 * only when the end of the head has been found. Then it follows the order of the bytes: the first
 * line, the headers, then the body as the headers frame it. The headers that matter are collected
 * in struct headers. Nothing in the buffer is NUL-terminated, so text is handled as (pointer,
 * length). A chunked body is walked twice: first to see that it is complete, then to join the
 * chunks in place. The parser owns nothing.
 */
#include "formats/http.h"

#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "base/array.h"
#include "base/text.h"

#define INTERIM	     1 /* first digit of the 1xx status codes */
#define NO_CONTENT   204
#define NOT_MODIFIED 304
#define DELETE_BYTE  0x7f		   /* no path of ours has it */
#define HOST_MARKS   "!$%&()*+,-.:;=[']_~" /* in a Host header, beside letters and digits */

/* The headers of a message, as far as they matter here. */
struct headers {
	size_t hosts;	  /* number of Host headers */
	bool bad_host;	  /* one of them has a byte that no host name has */
	size_t encodings; /* number of Transfer-Encoding headers */
	size_t lengths;	  /* number of Content-Length headers */
	bool chunked;
	bool bad_length;
	uint64_t length; /* UINT64_MAX if it does not fit */
	bool close;
	bool keep_alive;
	bool expect_continue;
};

/* Is a message, or a part of it, complete? */
enum progress {
	STEP_DONE,
	STEP_MORE, /* bytes are missing */
	STEP_BAD,
};

/* ---- text ---- */

static bool is_control(char c)
{
	return (unsigned char)c < 0x20 || c == 0x7f;
}

/* A token, such as a method or a header's name (RFC 9110, 5.6.2). */
static bool is_token(struct text t)
{
	for (size_t i = 0; i < t.len; i++) {
		char c = t.p[i];

		if (!text_is_letter(c) && !text_is_digit(c) &&
		    (c == '\0' || !strchr("!#$%&'*+-.^_`|~", c)))
			return false;
	}
	return t.len > 0;
}

static bool has_control(struct text t)
{
	for (size_t i = 0; i < t.len; i++) {
		if (is_control(t.p[i]) && t.p[i] != '\t')
			return true;
	}
	return false;
}

/* Does the text equal a word, ignoring case? */
static bool is_word(struct text t, const char *word)
{
	return t.len == strlen(word) && strncasecmp(t.p, word, t.len) == 0;
}

static bool has_prefix(struct text t, const char *prefix)
{
	return t.len >= strlen(prefix) && memcmp(t.p, prefix, strlen(prefix)) == 0;
}

/* Removes the first line from the text. `line` is without its LF or CRLF. Returns false if the line
 * is incomplete. */
static bool take_line(struct text *t, struct text *line)
{
	if (t->len == 0 || memchr(t->p, '\n', t->len) == NULL)
		return false;
	*line = text_take_until(t, '\n');
	if (line->len > 0 && line->p[line->len - 1] == '\r')
		line->len--;
	return true;
}

/* ---- the head ---- */

/* Removes the head, from the first line to the empty line, from the text. Skips empty lines before
 * the head (RFC 9112, 2.2). Returns false if the head is incomplete. */
static bool take_head(struct text *t, struct text *head)
{
	struct text line, rest = *t;

	head->len = 0;
	while (take_line(&rest, &line)) {
		if (head->len == 0)
			head->p = line.p;
		if (line.len > 0) {
			head->len = (size_t)(rest.p - head->p);
		} else if (head->len > 0) {
			*t = rest;
			return true;
		}
	}
	return false;
}

static void on_host(struct headers *h, struct text value)
{
	h->hosts++;
	for (size_t i = 0; i < value.len; i++)
		if (!text_is_letter(value.p[i]) && !text_is_digit(value.p[i]) &&
		    (value.p[i] == '\0' || strchr(HOST_MARKS, value.p[i]) == NULL))
			h->bad_host = true;
}

static void on_content_length(struct headers *h, struct text value)
{
	uint64_t length = 0;

	for (size_t i = 0; i < value.len; i++) {
		if (!text_is_digit(value.p[i]))
			h->bad_length = true;
		else if (length > (UINT64_MAX - 9) / 10)
			length = UINT64_MAX;
		else
			length = length * 10 + (uint64_t)(value.p[i] - '0');
	}
	if (value.len == 0 || (h->lengths > 0 && h->length != length))
		h->bad_length = true;
	h->lengths++;
	h->length = length;
}

static void on_transfer_encoding(struct headers *h, struct text value)
{
	h->encodings++;
	h->chunked = is_word(value, "chunked");
}

static void on_connection(struct headers *h, struct text value)
{
	while (value.len > 0) {
		struct text option = text_trim(text_take_until(&value, ','));

		h->close |= is_word(option, "close");
		h->keep_alive |= is_word(option, "keep-alive");
	}
}

static void on_expect(struct headers *h, struct text value)
{
	h->expect_continue = is_word(value, "100-continue");
}

static const struct {
	const char *name;
	void (*take)(struct headers *h, struct text value);
} known_headers[] = {
	{ "connection", on_connection },
	{ "content-length", on_content_length },
	{ "expect", on_expect },
	{ "host", on_host },
	{ "transfer-encoding", on_transfer_encoding },
};

/* Reads "Name: value". Refuses a folded line, too, because its name begins with a blank. */
static bool read_header(struct headers *h, struct text line)
{
	struct text value = line;
	struct text name = text_take_until(&value, ':');

	if (name.len == line.len || !is_token(name) || has_control(value))
		return false;
	value = text_trim(value);
	for (size_t i = 0; i < COUNT_OF(known_headers); i++) {
		if (is_word(name, known_headers[i].name))
			known_headers[i].take(h, value);
	}
	return true;
}

static bool read_headers(struct headers *h, struct text lines)
{
	struct text line;

	*h = (struct headers){ 0 };
	while (take_line(&lines, &line)) {
		if (!read_header(h, line))
			return false;
	}
	return true;
}

/* Reads "HTTP/1.1". Returns the minor version (1 for later ones), -1 for a malformed version, or -2
 * for a major version other than 1. */
static int read_version(struct text t)
{
	if (t.len != strlen("HTTP/1.1") || !has_prefix(t, "HTTP/") || !text_is_digit(t.p[5]) ||
	    t.p[6] != '.' || !text_is_digit(t.p[7]))
		return -1;
	if (t.p[5] != '1')
		return -2;
	return t.p[7] == '0' ? 0 : 1;
}

static bool wants_keep_alive(const struct headers *h, int minor)
{
	return !h->close && (minor >= 1 || h->keep_alive);
}

/* ---- chunked bodies (RFC 9112, 7.1) ---- */

/* Reads "HEX[;extension]". Returns the chunk's size in bytes, at most INT_MAX, or -1. */
static int read_chunk_size(struct text line)
{
	struct text digits = text_trim(text_take_until(&line, ';'));
	int size = 0;

	for (size_t i = 0; i < digits.len; i++) {
		int digit = text_hex_value(digits.p[i]);

		if (digit < 0)
			return -1;
		size = size > INT_MAX >> 4 ? INT_MAX : size << 4 | digit;
	}
	return digits.len > 0 ? size : -1;
}

/* Removes the line end behind a chunk's data from the text. */
static enum progress take_line_end(struct text *t)
{
	size_t n = t->len > 0 && t->p[0] == '\r' ? 1 : 0;

	if (t->len == n)
		return STEP_MORE;
	if (t->p[n] != '\n')
		return STEP_BAD;
	text_skip(t, n + 1);
	return STEP_DONE;
}

/* Removes a chunk from the text. `data` is its data, which is empty for the last chunk. */
static enum progress take_chunk(struct text *t, struct text *data)
{
	struct text line;
	int size;

	if (!take_line(t, &line))
		return STEP_MORE;
	size = read_chunk_size(line);
	if (size < 0)
		return STEP_BAD;
	if ((size_t)size > t->len)
		return STEP_MORE;
	*data = (struct text){ t->p, (size_t)size };
	text_skip(t, data->len);
	return size == 0 ? STEP_DONE : take_line_end(t);
}

/* Removes the trailers and the empty line behind them from the text. */
static enum progress take_trailers(struct text *t)
{
	struct text line;

	do {
		if (!take_line(t, &line))
			return STEP_MORE;
	} while (line.len > 0);
	return STEP_DONE;
}

/* Removes a chunked body from the text. Joins its data at `join`, which may be the start of the
 * text itself, or only counts its bytes if `join` is NULL. */
static enum progress take_chunks(struct text *t, char *join, size_t *body_len)
{
	struct text data;
	enum progress step;

	*body_len = 0;
	do {
		step = take_chunk(t, &data);
		if (step != STEP_DONE)
			return step;
		if (join != NULL)
			memmove(join + *body_len, data.p, data.len);
		*body_len += data.len;
	} while (data.len > 0);
	return take_trailers(t);
}

/* ---- requests ---- */

static int refuse(struct http_request *req, enum http_refusal status, const char *problem)
{
	req->expect_continue = false;
	req->refusal = status;
	req->problem = problem;
	return -1;
}

static int refuse_bad(struct http_request *req)
{
	return refuse(req, HTTP_BAD_REQUEST, "Bad Request");
}

static int refuse_head(struct http_request *req)
{
	return refuse(req, HTTP_HEADERS_TOO_LARGE, "Request Header Fields Too Large");
}

static int refuse_body(struct http_request *req)
{
	return refuse(req, HTTP_PAYLOAD_TOO_LARGE, "Request Entity Too Large");
}

/* Removes "http://authority" from an absolute URI; does not change any other target. */
static void skip_authority(struct text *target)
{
	size_t i = 0;

	while (i < target->len && (text_is_letter(target->p[i]) || text_is_digit(target->p[i])))
		i++;
	if (i == 0 || target->len - i < 3 || memcmp(target->p + i, "://", 3) != 0)
		return;
	i += 3;
	while (i < target->len && target->p[i] != '/' && target->p[i] != '?')
		i++;
	text_skip(target, i);
	if (target->len == 0 || target->p[0] == '?')
		*target = (struct text){ "/", 1 };
}

/* Removes one byte, or a %XX escape, from the path. Returns the byte, a byte that no path of ours
 * has for an escaped slash or control character, or -1 if the escape is malformed. */
static int take_path_byte(struct text *path)
{
	int high, low;
	char c = path->p[0];

	text_skip(path, 1);
	if (c == '%') {
		if (path->len < 2)
			return -1;
		high = text_hex_value(path->p[0]);
		low = text_hex_value(path->p[1]);
		if (high < 0 || low < 0)
			return -1;
		c = (char)(high << 4 | low);
		text_skip(path, 2);
		if (c == '/' || is_control(c))
			return DELETE_BYTE;
	}
	return (unsigned char)c;
}

/* Reads the path from a request's target, and decodes it. Returns 0, or -1 if it is refused. */
static int read_target(struct http_request *req, struct text target)
{
	struct text path;
	size_t len = 0;
	int c;

	if (has_control(target) || memchr(target.p, '\t', target.len) != NULL)
		return refuse_bad(req);
	skip_authority(&target);
	path = text_take_until(&target, '?');
	req->query = target.p;
	req->query_len = target.len;
	if (path.len == 0 || path.p[0] != '/')
		return refuse_bad(req);
	while (path.len > 0) {
		c = take_path_byte(&path);
		if (c < 0)
			return refuse_bad(req);
		if (len + 1 == sizeof(req->path))
			return refuse_head(req);
		req->path[len++] = (char)c;
	}
	req->path[len] = '\0';
	return 0;
}

/* Reads "METHOD TARGET VERSION". */
static int read_request_line(struct http_request *req, struct text line)
{
	struct text method = text_take_until(&line, ' ');
	struct text target = text_take_until(&line, ' ');

	req->minor = read_version(line);
	if (!is_token(method) || method.len >= sizeof(req->method) || req->minor == -1)
		return refuse_bad(req);
	memcpy(req->method, method.p, method.len);
	req->method[method.len] = '\0';
	return read_target(req, target);
}

/* Refuses a request that its headers make unacceptable. Returns 0 or -1. */
static int check_headers(struct http_request *req, const struct headers *h)
{
	if (req->minor < 0)
		return refuse(req, HTTP_VERSION_NOT_SUPPORTED,
			      "HTTP Version Not Supported: unsupported protocol version");
	if (h->hosts == 0 && req->minor >= 1)
		return refuse(req, HTTP_BAD_REQUEST, "Bad Request: missing required Host header");
	if (h->bad_host && h->hosts == 1)
		return refuse(req, HTTP_BAD_REQUEST, "Bad Request: malformed Host header");
	if (h->hosts > 1 || h->bad_length ||
	    (h->encodings > 0 && (h->lengths > 0 || req->minor == 0)))
		return refuse_bad(req);
	if (h->encodings > 1 || (h->encodings > 0 && !h->chunked))
		return refuse(req, HTTP_NOT_IMPLEMENTED,
			      "Not Implemented: unsupported transfer encoding");
	if (h->length > HTTP_MAX_BODY)
		return refuse_body(req);
	return 0;
}

/* Reads a chunked body. `rest` is the buffer behind the head. Returns how many bytes of `rest` the
 * body takes up, 0 if more are needed, or -1 if the request is refused. */
static int read_chunked_body(struct http_request *req, char *body, struct text rest)
{
	struct text after = rest;
	enum progress step = take_chunks(&after, NULL, &req->body_len);
	size_t used = rest.len - after.len;

	if (step == STEP_BAD)
		return refuse_bad(req);
	if (step == STEP_MORE)
		return rest.len >= HTTP_MAX_BODY ? refuse_body(req) : 0;
	if (used > HTTP_MAX_BODY)
		return refuse_body(req);
	take_chunks(&rest, body, &req->body_len);
	return (int)used;
}

int http_parse_request(char *buf, size_t len, struct http_request *req)
{
	struct text head, line, rest = { buf, len };
	struct headers h;
	size_t head_len;
	int r;

	memset(req, 0, sizeof(*req));
	if (!take_head(&rest, &head))
		return len >= HTTP_MAX_HEAD ? refuse_head(req) : 0;
	head_len = len - rest.len;
	if (head_len > HTTP_MAX_HEAD)
		return refuse_head(req);
	if (!take_line(&head, &line))
		return refuse_bad(req);
	r = read_request_line(req, line);
	if (r < 0)
		return r;
	if (!read_headers(&h, head))
		return refuse_bad(req);
	r = check_headers(req, &h);
	if (r < 0)
		return r;
	req->keep_alive = wants_keep_alive(&h, req->minor);
	req->expect_continue = h.expect_continue && req->minor >= 1;
	req->body = buf + head_len;
	req->body_len = (size_t)h.length;
	if (h.chunked) {
		r = read_chunked_body(req, buf + head_len, rest);
		return r > 0 ? (int)head_len + r : r;
	}
	return rest.len >= req->body_len ? (int)(head_len + req->body_len) : 0;
}

/* ---- responses ---- */

/* Reads "HTTP/1.1 200 OK"; the phrase may be missing. Returns the minor version, or -1. */
static int read_status_line(struct text line, int *status)
{
	struct text version = text_take_until(&line, ' ');
	struct text code = text_take_until(&line, ' ');
	int minor = read_version(version);

	*status = 0;
	for (size_t i = 0; i < code.len && code.len == 3; i++) {
		if (!text_is_digit(code.p[i]))
			return -1;
		*status = *status * 10 + code.p[i] - '0';
	}
	return minor >= 0 && *status >= 100 ? minor : -1;
}

/* Removes the body of a response from `rest`, the buffer behind the head, as the headers frame it.
 * `body` is the start of `rest`. */
static enum progress take_response_body(struct http_response *res, const struct headers *h,
					char *body, struct text *rest, bool eof)
{
	struct text again = *rest;
	enum progress step;

	res->body = body;
	if (res->status / 100 == INTERIM || res->status == NO_CONTENT ||
	    res->status == NOT_MODIFIED)
		return STEP_DONE;
	if (h->chunked) {
		step = take_chunks(rest, NULL, &res->body_len);
		if (step == STEP_DONE)
			take_chunks(&again, body, &res->body_len);
		return step;
	}
	if (h->lengths == 0) {
		res->keep_alive = false;
		res->body_len = rest->len;
		text_skip(rest, rest->len);
		return eof ? STEP_DONE : STEP_MORE;
	}
	if (h->length > rest->len)
		return STEP_MORE;
	res->body_len = (size_t)h->length;
	text_skip(rest, res->body_len);
	return STEP_DONE;
}

/* Removes one response, final or interim (1xx), from `rest`. `buf` is the start of `rest`. */
static enum progress take_response(struct text *rest, char *buf, bool eof,
				   struct http_response *res)
{
	struct text head, line;
	struct headers h;
	const size_t len = rest->len;
	int minor;

	*res = (struct http_response){ 0 };
	if (!take_head(rest, &head))
		return len >= HTTP_MAX_HEAD ? STEP_BAD : STEP_MORE;
	if (!take_line(&head, &line))
		return STEP_BAD;
	minor = read_status_line(line, &res->status);
	if (minor < 0 || len - rest->len > HTTP_MAX_HEAD || !read_headers(&h, head))
		return STEP_BAD;
	if (h.bad_length || h.length > INT_MAX || h.encodings > 1 ||
	    (h.encodings > 0 && (!h.chunked || h.lengths > 0)))
		return STEP_BAD;
	res->keep_alive = wants_keep_alive(&h, minor);
	return take_response_body(res, &h, buf + (len - rest->len), rest, eof);
}

int http_parse_response(char *buf, size_t len, bool eof, struct http_response *res)
{
	struct text rest = { buf, len };
	enum progress step;

	*res = (struct http_response){ 0 };
	if (len > INT_MAX)
		return -1;
	do {
		step = take_response(&rest, buf + (len - rest.len), eof, res);
	} while (step == STEP_DONE && res->status / 100 == INTERIM);
	if (step == STEP_DONE)
		return (int)(len - rest.len);
	return step == STEP_BAD || eof ? -1 : 0;
}
