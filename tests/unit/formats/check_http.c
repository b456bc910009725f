/* SPDX-License-Identifier: Apache-2.0 */

/* HTTP messages: what is read, what is refused with which reason, the limits, and messages that
 * arrive in pieces. Each message is in a heap buffer of exactly its size, so that sanitizers notice
 * a read past its end. */
#include "formats/http.h"
#include "formats/httpout.h"
#include "tests/unit/fixture.h"

#include <stdarg.h>

#define HOST	"Host: x\r\n"
#define CHUNKED "Transfer-Encoding: chunked\r\n"
#define POST	"POST /v1/ports HTTP/1.1\r\n" HOST

/* The message under test, to which the results point. The next message replaces it. */
static char *message;

static int parse_request(const char *text, size_t len, struct http_request *req)
{
	message = fixture_exact_copy(text, len);
	return http_parse_request(message, len, req);
}

static int parse_response(const char *text, size_t len, bool eof, struct http_response *res)
{
	message = fixture_exact_copy(text, len);
	return http_parse_response(message, len, eof, res);
}

static void assert_body(const char *body, size_t len, const char *want)
{
	ck_assert_uint_eq(len, strlen(want));
	ck_assert_ptr_nonnull(body);
	ck_assert_mem_eq(body, want, len);
}

/* A message under construction. */
struct lines {
	char *p;
	size_t len;
};

static struct lines text_new(void)
{
	/* larger than any message in this suite */
	struct lines t = { malloc(HTTP_MAX_HEAD + 4 * HTTP_MAX_BODY), 0 };

	ck_assert_ptr_nonnull(t.p);
	return t;
}

__attribute__((format(printf, 2, 3))) static void add(struct lines *t, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	t->len += (size_t)vsprintf(t->p + t->len, fmt, args);
	va_end(args);
}

/* Adds bytes until the message has `len` of them. */
static void fill(struct lines *t, char c, size_t len)
{
	ck_assert_uint_le(t->len, len);
	memset(t->p + t->len, c, len - t->len);
	t->len = len;
}

/* Parses and frees the message. */
static int finish_request(struct lines *t, struct http_request *req)
{
	int r = parse_request(t->p, t->len, req);

	free(t->p);
	return r;
}

/* ---- requests ---- */

static const struct {
	const char *text;
	const char *method;
	const char *path;
	int minor;
	bool keep_alive;
	const char *body;
} requests[] = {
	/* The request line. */
	{ "GET /v1/info HTTP/1.1\r\n" HOST "\r\n", "GET", "/v1/info", 1, true, "" },
	{ "GET /v1/info HTTP/1.1\nHost: x\n\n", "GET", "/v1/info", 1, true, "" },
	{ "\r\n\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n", "GET", "/", 1, true, "" },
	{ "get /v1/info HTTP/1.1\r\n" HOST "\r\n", "get", "/v1/info", 1, true, "" },
	{ "!#$%&'*+-.^_`|~ / HTTP/1.1\r\n" HOST "\r\n", "!#$%&'*+-.^_`|~", "/", 1, true, "" },
	{ "GET / HTTP/1.9\r\n" HOST "\r\n", "GET", "/", 1, true, "" },
	{ "GET /v1/info HTTP/1.0\r\n\r\n", "GET", "/v1/info", 0, false, "" },
	/* The target. */
	{ "GET http://x/v1/info HTTP/1.1\r\n" HOST "\r\n", "GET", "/v1/info", 1, true, "" },
	{ "GET https://[::1]:80/a?b HTTP/1.1\r\n" HOST "\r\n", "GET", "/a", 1, true, "" },
	{ "GET h2c://x/a HTTP/1.1\r\n" HOST "\r\n", "GET", "/a", 1, true, "" },
	{ "GET HTTP://x HTTP/1.1\r\n" HOST "\r\n", "GET", "/", 1, true, "" },
	{ "GET http://x?/a HTTP/1.1\r\n" HOST "\r\n", "GET", "/", 1, true, "" },
	{ "GET /a?b=/c%zz?d HTTP/1.1\r\n" HOST "\r\n", "GET", "/a", 1, true, "" },
	{ "GET /http://x/a HTTP/1.1\r\n" HOST "\r\n", "GET", "/http://x/a", 1, true, "" },
	{ "GET /%76%31%2Fi%2f%3F HTTP/1.1\r\n" HOST "\r\n", "GET",
	  "/v1\x7f"
	  "i\x7f?",
	  1, true, "" },
	{ "GET /%00%0a%1F%7f HTTP/1.1\r\n" HOST "\r\n", "GET", "/\x7f\x7f\x7f\x7f", 1, true, "" },
	{ "GET /%2525%20 HTTP/1.1\r\n" HOST "\r\n", "GET", "/%25 ", 1, true, "" },
	{ "GET /\xc3\xa9%c3%A9 HTTP/1.1\r\n" HOST "\r\n", "GET", "/éé", 1, true, "" },
	{ "GET //a/../b/. HTTP/1.1\r\n" HOST "\r\n", "GET", "//a/../b/.", 1, true, "" },
	/* Headers. */
	{ "GET / HTTP/1.1\r\nhOST:x\r\n\r\n", "GET", "/", 1, true, "" },
	{ "GET / HTTP/1.1\r\nHost:\r\nX:\r\nY: \t\r\n\r\n", "GET", "/", 1, true, "" },
	{ "GET / HTTP/1.1\r\n" HOST "X: a\tb:c \xff\r\n\r\n", "GET", "/", 1, true, "" },
	{ "GET / HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n", "GET", "/", 1, false, "" },
	{ "GET / HTTP/1.1\r\n" HOST "connection: a,\t CLOSE ,b\r\n\r\n", "GET", "/", 1, false, "" },
	{ "GET / HTTP/1.1\r\n" HOST "Connection: closed\r\n\r\n", "GET", "/", 1, true, "" },
	{ "GET / HTTP/1.1\r\n" HOST "Connection: close\r\nConnection: keep-alive\r\n\r\n", "GET",
	  "/", 1, false, "" },
	{ "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "GET", "/", 0, true, "" },
	{ "GET / HTTP/1.0\r\nConnection: close, keep-alive\r\n\r\n", "GET", "/", 0, false, "" },
	/* Bodies by length. */
	{ POST "Content-Length: 2\r\n\r\n{}", "POST", "/v1/ports", 1, true, "{}" },
	{ POST "content-length:\t2 \r\n\r\n{}", "POST", "/v1/ports", 1, true, "{}" },
	{ POST "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", "POST", "/v1/ports", 1, true,
	  "{}" },
	{ POST "Content-Length: 0\r\n\r\n", "POST", "/v1/ports", 1, true, "" },
	{ POST "Content-Length: 8\r\n\r\na\r\n\r\nb\n\n", "POST", "/v1/ports", 1, true,
	  "a\r\n\r\nb\n\n" },
	{ "POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\nx", "POST", "/", 0, false, "x" },
	/* Chunked bodies. */
	{ POST CHUNKED "\r\n0\r\n\r\n", "POST", "/v1/ports", 1, true, "" },
	{ POST CHUNKED "\r\n2\r\n{}\r\n0\r\n\r\n", "POST", "/v1/ports", 1, true, "{}" },
	{ POST "transfer-encoding:Chunked\r\n\r\n2\n{}\n0\n\n", "POST", "/v1/ports", 1, true,
	  "{}" },
	{ POST CHUNKED "\r\n1\r\na\r\n02\r\nbc\r\n3\r\ndef\r\n00\r\n\r\n", "POST", "/v1/ports", 1,
	  true, "abcdef" },
	{ POST CHUNKED "\r\nA\r\n0123456789\r\n0b \r\nabcdefghijk\r\n0\r\n\r\n", "POST",
	  "/v1/ports", 1, true, "0123456789abcdefghijk" },
	{ POST CHUNKED "\r\n2;a=\"b\"\r\n{}\r\n0;c\r\n\r\n", "POST", "/v1/ports", 1, true, "{}" },
	{ POST CHUNKED "\r\n2\r\n{}\r\n0\r\nX: y\r\nZ: \r\n\r\n", "POST", "/v1/ports", 1, true,
	  "{}" },
	{ POST CHUNKED "\r\n4\r\n\r\n\r\n\r\n0\r\n\r\n", "POST", "/v1/ports", 1, true, "\r\n\r\n" },
};

/* Another request follows, which must not be touched. */
START_TEST(a_request_is_read)
{
	static const char next[] = "GET /next HTTP/1.1\r\n" HOST "\r\n";
	const size_t len = strlen(requests[_i].text);
	struct lines t = text_new();
	struct http_request req;

	add(&t, "%s%s", requests[_i].text, next);
	ck_assert_int_eq(finish_request(&t, &req), (int)len);
	ck_assert_str_eq(req.method, requests[_i].method);
	ck_assert_str_eq(req.path, requests[_i].path);
	ck_assert_int_eq(req.minor, requests[_i].minor);
	ck_assert_int_eq(req.keep_alive, requests[_i].keep_alive);
	ck_assert(!req.expect_continue);
	ck_assert_int_eq(req.refusal, HTTP_NO_REFUSAL);
	ck_assert_ptr_null(req.problem);
	assert_body(req.body, req.body_len, requests[_i].body);
	ck_assert_mem_eq(message + len, next, strlen(next));
}
END_TEST

START_TEST(every_beginning_of_a_request_needs_more_bytes)
{
	const char *text = requests[_i].text;
	struct http_request req;

	for (size_t len = 0; len < strlen(text); len++) {
		ck_assert_msg(parse_request(text, len, &req) == 0, "of %zu bytes", len);
		ck_assert_mem_eq(message, text, len);
		ck_assert(!req.expect_continue);
	}
	ck_assert_int_eq(parse_request(text, strlen(text), &req), (int)strlen(text));
}
END_TEST

/* One buffer, of which the parser sees one more byte each time. */
START_TEST(pipelined_requests_may_arrive_byte_by_byte)
{
	struct lines t = text_new();
	struct http_request req;
	size_t start = 0;
	int done = 0;

	for (int i = 0; i < COUNT(requests); i++)
		add(&t, "%s", requests[i].text);
	message = fixture_exact_copy(t.p, t.len);
	free(t.p);
	for (size_t end = 0; end <= t.len; end++) {
		int r = http_parse_request(message + start, end - start, &req);

		ck_assert_int_ge(r, 0);
		if (r == 0)
			continue;
		ck_assert_uint_eq(start + (size_t)r, end);
		ck_assert_str_eq(req.path, requests[done].path);
		assert_body(req.body, req.body_len, requests[done].body);
		start = end;
		done++;
	}
	ck_assert_int_eq(done, COUNT(requests));
}
END_TEST

static const struct {
	const char *head;
	bool expects;
} expectations[] = {
	{ POST "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n", true },
	{ POST "expect:100-Continue\r\nContent-Length: 2\r\n\r\n", true },
	{ POST "Expect: 100-continue\r\n" CHUNKED "\r\n", true },
	{ POST "Content-Length: 2\r\n\r\n", false },
	{ POST "Expect: more\r\nContent-Length: 2\r\n\r\n", false },
	{ "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", false },
};

START_TEST(expect_continue_is_known_once_the_head_is_complete)
{
	const char *head = expectations[_i].head;
	struct http_request req;

	for (size_t len = 0; len < strlen(head); len++) {
		ck_assert_int_eq(parse_request(head, len, &req), 0);
		ck_assert(!req.expect_continue);
	}
	ck_assert_int_eq(parse_request(head, strlen(head), &req), 0);
	ck_assert_int_eq(req.expect_continue, expectations[_i].expects);
}
END_TEST

/* ---- requests that are refused ---- */

#define BAD	   HTTP_BAD_REQUEST, "Bad Request"
#define NO_HOST	   HTTP_BAD_REQUEST, "Bad Request: missing required Host header"
#define MANY_HOSTS HTTP_BAD_REQUEST, "Bad Request"
#define BAD_HOST   HTTP_BAD_REQUEST, "Bad Request: malformed Host header"
#define BAD_VERSION \
	HTTP_VERSION_NOT_SUPPORTED, "HTTP Version Not Supported: unsupported protocol version"
#define BAD_ENCODING  HTTP_NOT_IMPLEMENTED, "Not Implemented: unsupported transfer encoding"
#define HEAD_TOO_LONG HTTP_HEADERS_TOO_LARGE, "Request Header Fields Too Large"
#define BODY_TOO_LONG HTTP_PAYLOAD_TOO_LARGE, "Request Entity Too Large"

#define GET_WITH(header) "GET / HTTP/1.1\r\n" HOST header "\r\n\r\n"

static const struct {
	const char *text;
	enum http_refusal status;
	const char *problem;
} refusals[] = {
	/* The request line. */
	{ "hello\r\n\r\n", BAD },
	{ "GET\r\n" HOST "\r\n", BAD },
	{ "GET /\r\n" HOST "\r\n", BAD },
	{ "GET / \r\n" HOST "\r\n", BAD },
	{ " GET / HTTP/1.1\r\n" HOST "\r\n", BAD },
	{ "GET  / HTTP/1.1\r\n" HOST "\r\n", BAD },
	{ "GET / HTTP/1.1 \r\n" HOST "\r\n", BAD },
	{ "GET /  HTTP/1.1\r\n" HOST "\r\n", BAD },
	{ "GET /a b HTTP/1.1\r\n" HOST "\r\n", BAD },
	{ "GET\t/\tHTTP/1.1\r\n" HOST "\r\n", BAD },
	{ "G(T / HTTP/1.1\r\n" HOST "\r\n", BAD },
	{ "G\xc3\xa9T / HTTP/1.1\r\n" HOST "\r\n", BAD },
	{ " / HTTP/1.1\r\n" HOST "\r\n", BAD },
	{ "\r\r\nGET / HTTP/1.1\r\n" HOST "\r\n", BAD },
	{ "HTTP/1.1 200 OK\r\n\r\n", BAD },
	/* The version. */
	{ "GET / HTTP/9.9\r\n" HOST "\r\n", BAD_VERSION },
	{ "GET / HTTP/2.0\r\n" HOST "\r\n", BAD_VERSION },
	{ "GET / HTTP/0.9\r\n\r\n", BAD_VERSION },
	{ "PRI * HTTP/2.0\r\n\r\n", BAD },
	{ "GET / http/1.1\r\n" HOST "\r\n", BAD },
	{ "GET / HTTP/1\r\n" HOST "\r\n", BAD },
	{ "GET / HTTP/1.\r\n" HOST "\r\n", BAD },
	{ "GET / HTTP/1,1\r\n" HOST "\r\n", BAD },
	{ "GET / HTTP/1.x\r\n" HOST "\r\n", BAD },
	{ "GET / HTTP/1.10\r\n" HOST "\r\n", BAD },
	{ "GET / HTTP/11.1\r\n" HOST "\r\n", BAD },
	{ "GET / XTTP/1.1\r\n" HOST "\r\n", BAD },
	/* The target. */
	{ "GET v1/info HTTP/1.1\r\n" HOST "\r\n", BAD },
	{ "GET * HTTP/1.1\r\n" HOST "\r\n", BAD },
	{ "GET ?a HTTP/1.1\r\n" HOST "\r\n", BAD },
	{ "GET ://x/ HTTP/1.1\r\n" HOST "\r\n", BAD },
	{ "GET http:/x HTTP/1.1\r\n" HOST "\r\n", BAD },
	{ "CONNECT x:80 HTTP/1.1\r\n" HOST "\r\n", BAD },
	{ "GET /% HTTP/1.1\r\n" HOST "\r\n", BAD },
	{ "GET /%4 HTTP/1.1\r\n" HOST "\r\n", BAD },
	{ "GET /%4?1 HTTP/1.1\r\n" HOST "\r\n", BAD },
	{ "GET /%g1 HTTP/1.1\r\n" HOST "\r\n", BAD },
	{ "GET /%1g HTTP/1.1\r\n" HOST "\r\n", BAD },
	{ "GET /\x01 HTTP/1.1\r\n" HOST "\r\n", BAD },
	{ "GET /\x7f HTTP/1.1\r\n" HOST "\r\n", BAD },
	{ "GET /\t HTTP/1.1\r\n" HOST "\r\n", BAD },
	{ "GET /?\t HTTP/1.1\r\n" HOST "\r\n", BAD },
	{ "GET /a\rb HTTP/1.1\r\n" HOST "\r\n", BAD },
	/* Headers. */
	{ "GET / HTTP/1.1\r\n\r\n", NO_HOST },
	{ "GET / HTTP/1.1\r\nHosts: x\r\n\r\n", NO_HOST },
	{ GET_WITH("host: x"), MANY_HOSTS },
	{ "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", BAD_HOST },
	{ "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", BAD_HOST },
	{ "GET / HTTP/1.0\r\nHost: a@b\r\n\r\n", BAD_HOST },
	{ "GET / HTTP/1.0\r\n" HOST HOST "\r\n", MANY_HOSTS },
	{ GET_WITH("X"), BAD },
	{ GET_WITH(": y"), BAD },
	{ GET_WITH("X : y"), BAD },
	{ GET_WITH("X\t: y"), BAD },
	{ GET_WITH("X Y: z"), BAD },
	{ GET_WITH("X(: y"), BAD },
	{ GET_WITH("X: y\r\n folded"), BAD },
	{ GET_WITH("X: y\r\n\tfolded: z"), BAD },
	{ GET_WITH("X: a\x01"), BAD },
	{ GET_WITH("X: a\x7f"), BAD },
	{ GET_WITH("X: a\rb"), BAD },
	{ "GET / HTTP/1.1\r\n Host: x\r\n\r\n", BAD },
	/* The framing of the body. */
	{ GET_WITH("Content-Length: abc"), BAD },
	{ GET_WITH("Content-Length:"), BAD },
	{ GET_WITH("Content-Length: -1"), BAD },
	{ GET_WITH("Content-Length: +1"), BAD },
	{ GET_WITH("Content-Length: 1 1"), BAD },
	{ GET_WITH("Content-Length: 1, 1"), BAD },
	{ GET_WITH("Content-Length: 0x1"), BAD },
	{ GET_WITH("Content-Length: 1.0"), BAD },
	{ GET_WITH("Content-Length: 1\r\nContent-Length: 2"), BAD },
	{ GET_WITH("Content-Length: 1\r\nContent-Length: 2\r\nContent-Length: 1"), BAD },
	{ GET_WITH("Content-Length: 99999\r\nContent-Length: x"), BAD },
	{ GET_WITH("Content-Length: 1\r\nTransfer-Encoding: chunked"), BAD },
	{ GET_WITH("Transfer-Encoding: chunked\r\nContent-Length: 1"), BAD },
	{ "GET / HTTP/1.0\r\n" CHUNKED "\r\n0\r\n\r\n", BAD },
	{ "GET / HTTP/1.0\r\nTransfer-Encoding: gzip\r\n\r\n", BAD },
	{ GET_WITH("Transfer-Encoding: gzip"), BAD_ENCODING },
	{ GET_WITH("Transfer-Encoding: identity"), BAD_ENCODING },
	{ GET_WITH("Transfer-Encoding: gzip, chunked"), BAD_ENCODING },
	{ GET_WITH("Transfer-Encoding:"), BAD_ENCODING },
	{ GET_WITH("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), BAD_ENCODING },
	{ GET_WITH("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked"), BAD_ENCODING },
	{ GET_WITH("Content-Length: 65537"), BODY_TOO_LONG },
	{ GET_WITH("Content-Length: 4294967296"), BODY_TOO_LONG },
	{ GET_WITH("Content-Length: 18446744073709551616"), BODY_TOO_LONG },
	{ GET_WITH("Content-Length: 184467440737095516160000000000000000000"), BODY_TOO_LONG },
	{ GET_WITH("Expect: 100-continue\r\nContent-Length: 65537"), BODY_TOO_LONG },
	/* Chunks. */
	{ POST CHUNKED "\r\n\r\n", BAD },
	{ POST CHUNKED "\r\nx\r\n", BAD },
	{ POST "Expect: 100-continue\r\n" CHUNKED "\r\nx\r\n", BAD },
	{ POST CHUNKED "\r\n0x2\r\n", BAD },
	{ POST CHUNKED "\r\n-1\r\n", BAD },
	{ POST CHUNKED "\r\n+1\r\n", BAD },
	{ POST CHUNKED "\r\n1 1\r\n", BAD },
	{ POST CHUNKED "\r\n;a\r\n", BAD },
	{ POST CHUNKED "\r\n2\r\nabc", BAD },
	{ POST CHUNKED "\r\n2\r\nab\rc", BAD },
	{ POST CHUNKED "\r\n2\r\nab\r\n\r\n", BAD },
};

START_TEST(a_malformed_request_is_refused)
{
	const char *text = refusals[_i].text;
	const char *reason = http_reason(refusals[_i].status);
	struct http_request req;

	ck_assert_int_eq(parse_request(text, strlen(text), &req), -1);
	ck_assert_int_eq(req.refusal, refusals[_i].status);
	ck_assert_str_eq(req.problem, refusals[_i].problem);
	/* The words take the place of the reason phrase. */
	ck_assert_int_eq(strncmp(req.problem, reason, strlen(reason)), 0);
	ck_assert(!req.expect_continue);
	ck_assert_mem_eq(message, text, strlen(text));
}
END_TEST

START_TEST(a_nul_byte_is_refused)
{
	static const char target[] = "GET /\0 HTTP/1.1\r\n" HOST "\r\n";
	static const char method[] = "G\0T / HTTP/1.1\r\n" HOST "\r\n";
	static const char name[] = "GET / HTTP/1.1\r\n" HOST "X\0: y\r\n\r\n";
	static const char value[] = "GET / HTTP/1.1\r\n" HOST "X: \0\r\n\r\n";
	struct http_request req;

	ck_assert_int_eq(parse_request(target, sizeof(target) - 1, &req), -1);
	ck_assert_int_eq(parse_request(method, sizeof(method) - 1, &req), -1);
	ck_assert_int_eq(parse_request(name, sizeof(name) - 1, &req), -1);
	ck_assert_int_eq(parse_request(value, sizeof(value) - 1, &req), -1);
}
END_TEST

/* More bytes do not change the refusal of a request. */
START_TEST(a_refused_request_stays_refused_with_more_bytes)
{
	const char *text = refusals[_i].text;
	struct http_request req;
	bool refused = false;

	for (size_t len = 0; len <= strlen(text); len++) {
		int r = parse_request(text, len, &req);

		ck_assert_int_le(r, 0);
		ck_assert_msg(r < 0 || !refused, "taken back with %zu bytes", len);
		refused = r < 0;
	}
	ck_assert(refused);
}
END_TEST

/* ---- limits of requests ---- */

static void assert_refused(struct lines *t, enum http_refusal status, const char *problem)
{
	struct http_request req;

	ck_assert_int_eq(finish_request(t, &req), -1);
	ck_assert_int_eq(req.refusal, status);
	ck_assert_str_eq(req.problem, problem);
}

/* A complete head of `len` bytes, with some more headers. */
static struct lines head_of(size_t len, const char *headers)
{
	struct lines t = text_new();

	add(&t, POST "%sX: ", headers);
	fill(&t, 'x', len - 4);
	add(&t, "\r\n\r\n");
	return t;
}

START_TEST(too_long_a_head_is_refused)
{
	struct http_request req;
	struct lines t = head_of(HTTP_MAX_HEAD, "");

	ck_assert_int_eq(finish_request(&t, &req), HTTP_MAX_HEAD);
	t = head_of(HTTP_MAX_HEAD + 1, "");
	assert_refused(&t, HEAD_TOO_LONG);
	t = head_of(HTTP_MAX_HEAD, "");
	t.len--;
	ck_assert_int_eq(finish_request(&t, &req), 0);
	t = head_of(HTTP_MAX_HEAD + 1, "");
	t.len--;
	assert_refused(&t, HEAD_TOO_LONG);
}
END_TEST

START_TEST(empty_lines_count_towards_the_limit_of_the_head)
{
	struct http_request req;
	struct lines t = text_new();

	fill(&t, '\n', HTTP_MAX_HEAD - 1);
	ck_assert_int_eq(finish_request(&t, &req), 0);
	t = text_new();
	fill(&t, '\n', HTTP_MAX_HEAD);
	assert_refused(&t, HEAD_TOO_LONG);
	t = text_new();
	fill(&t, '\n', HTTP_MAX_HEAD - 10);
	add(&t, "GET / HTTP/1.0\n\n");
	assert_refused(&t, HEAD_TOO_LONG);
}
END_TEST

START_TEST(too_long_a_body_is_refused)
{
	struct http_request req;
	struct lines t = text_new();
	size_t head;

	add(&t, POST "Content-Length: %d\r\n\r\n", HTTP_MAX_BODY);
	head = t.len;
	fill(&t, 'b', head + HTTP_MAX_BODY - 1);
	ck_assert_int_eq(parse_request(t.p, t.len, &req), 0);
	fill(&t, 'b', head + HTTP_MAX_BODY + 1);
	ck_assert_int_eq(finish_request(&t, &req), (int)head + HTTP_MAX_BODY);
	ck_assert_uint_eq(req.body_len, HTTP_MAX_BODY);
	ck_assert_int_eq(req.body[HTTP_MAX_BODY - 1], 'b');
}
END_TEST

/* A path of `len` bytes, each of which may be escaped. */
static struct lines path_of(size_t len, const char *byte)
{
	struct lines t = text_new();

	add(&t, "GET /");
	for (size_t i = 1; i < len; i++)
		add(&t, "%s", byte);
	add(&t, "?%0*d HTTP/1.0\r\n\r\n", HTTP_MAX_PATH, 0);
	return t;
}

static const char *const path_bytes[] = { "a", "%61" };

START_TEST(the_decoded_path_is_limited)
{
	struct lines t = path_of(HTTP_MAX_PATH - 1, path_bytes[_i]);
	struct http_request req;

	ck_assert_int_gt(finish_request(&t, &req), 0);
	ck_assert_uint_eq(strlen(req.path), HTTP_MAX_PATH - 1);
	ck_assert_uint_eq(strspn(req.path + 1, "a"), HTTP_MAX_PATH - 2);
	t = path_of(HTTP_MAX_PATH, path_bytes[_i]);
	assert_refused(&t, HEAD_TOO_LONG);
}
END_TEST

START_TEST(too_long_a_method_is_refused)
{
	struct http_request req;
	struct lines t = text_new();

	fill(&t, 'M', HTTP_MAX_METHOD - 1);
	add(&t, " / HTTP/1.0\r\n\r\n");
	ck_assert_int_gt(finish_request(&t, &req), 0);
	ck_assert_uint_eq(strspn(req.method, "M"), HTTP_MAX_METHOD - 1);
	t = text_new();
	fill(&t, 'M', HTTP_MAX_METHOD);
	add(&t, " / HTTP/1.0\r\n\r\n");
	assert_refused(&t, BAD);
}
END_TEST

/* The limit holds for every composition of a chunked body of `wire` bytes. */
static struct lines chunked_of(size_t wire, int kind)
{
	struct lines t = text_new();
	size_t end;

	add(&t, POST CHUNKED "\r\n");
	end = t.len + wire;
	switch (kind) {
	case 0: /* one chunk */
		add(&t, "%zx\r\n", wire - strlen("ffff\r\n\r\n0\r\n\r\n"));
		fill(&t, 'c', end - strlen("\r\n0\r\n\r\n"));
		add(&t, "\r\n0\r\n\r\n");
		break;
	case 1: /* an extension */
		add(&t, "1;");
		fill(&t, 'e', end - strlen("\r\nc\r\n0\r\n\r\n"));
		add(&t, "\r\nc\r\n0\r\n\r\n");
		break;
	default: /* trailers */
		add(&t, "1\r\nc\r\n0\r\nT: ");
		fill(&t, 't', end - strlen("\r\n\r\n"));
		add(&t, "\r\n\r\n");
	}
	return t;
}

START_TEST(too_long_a_chunked_body_is_refused_as_it_arrives)
{
	struct http_request req;
	struct lines t = chunked_of(HTTP_MAX_BODY, _i);
	size_t len = t.len;

	ck_assert_int_eq(parse_request(t.p, len - 1, &req), 0);
	ck_assert_int_eq(finish_request(&t, &req), (int)len);
	ck_assert_int_eq(req.body[0], 'c');
	t = chunked_of(HTTP_MAX_BODY + 1, _i);
	t.len--;
	assert_refused(&t, BODY_TOO_LONG);
	t = chunked_of(HTTP_MAX_BODY + 1, _i);
	assert_refused(&t, BODY_TOO_LONG);
}
END_TEST

static const char *const chunk_sizes[] = {
	"20000",    "7fffffff",		"80000000",
	"ffffffff", "fffffffffffffff0", "123456789abcdef0123456789abcdef0",
};

START_TEST(a_chunk_size_of_any_length_is_handled)
{
	struct http_request req;
	struct lines t = text_new();

	add(&t, POST CHUNKED "\r\n%s\r\n0\r\n\r\n", chunk_sizes[_i]);
	ck_assert_int_eq(parse_request(t.p, t.len, &req), 0);
	fill(&t, 'c', t.len + HTTP_MAX_BODY);
	assert_refused(&t, BODY_TOO_LONG);
}
END_TEST

/* What fills the buffer, and the least result that is allowed. */
static const struct {
	const char *start;
	char filler;
	bool complete;
} full_buffers[] = {
	{ "", 'a', false },
	{ "", '\n', false },
	{ "", '\0', false },
	{ POST, 'a', false },
	{ POST "X: ", ' ', false },
	{ POST "Content-Length: 65536\r\n\r\n", 'a', true },
	{ POST CHUNKED "\r\n", '0', false },
	{ POST CHUNKED "\r\n0\r\n", 'x', false },
	{ POST CHUNKED "\r\nfff0\r\n", 'x', false },
};

START_TEST(a_full_buffer_never_needs_more_bytes)
{
	struct http_request req;
	struct lines t = text_new();
	int r;

	add(&t, "%s", full_buffers[_i].start);
	fill(&t, full_buffers[_i].filler, HTTP_MAX_HEAD + HTTP_MAX_BODY);
	r = finish_request(&t, &req);
	if (full_buffers[_i].complete)
		ck_assert_int_gt(r, 0);
	else
		ck_assert_int_eq(r, -1);
}
END_TEST

/* A buffer must hold the longest head with the longest body. */
START_TEST(the_longest_request_fills_the_buffer)
{
	struct http_request req;
	struct lines t = head_of(HTTP_MAX_HEAD, "Content-Length: 65536\r\n");

	fill(&t, 'b', HTTP_MAX_HEAD + HTTP_MAX_BODY - 1);
	ck_assert_int_eq(parse_request(t.p, t.len, &req), 0);
	fill(&t, 'b', HTTP_MAX_HEAD + HTTP_MAX_BODY);
	ck_assert_int_eq(finish_request(&t, &req), HTTP_MAX_HEAD + HTTP_MAX_BODY);
}
END_TEST

/* ---- responses ---- */

#define OK "HTTP/1.1 200 OK\r\n"

static const struct {
	const char *text;
	bool eof; /* does the body end there? */
	int status;
	bool keep_alive;
	const char *body;
} responses[] = {
	{ OK "Content-Length: 4\r\n\r\nnull", false, 200, true, "null" },
	{ "HTTP/1.1 201 Created\nContent-Length: 2\n\n{}", false, 201, true, "{}" },
	{ "\r\n" OK "Content-Length: 0\r\n\r\n", false, 200, true, "" },
	{ "HTTP/1.1 400\r\nContent-Length: 0\r\n\r\n", false, 400, true, "" },
	{ "HTTP/1.1 400 \r\nContent-Length: 0\r\n\r\n", false, 400, true, "" },
	{ "HTTP/1.1 999 a b\tc\r\nContent-Length: 0\r\n\r\n", false, 999, true, "" },
	{ "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", false, 200, false, "x" },
	{ "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx", false, 200,
	  true, "x" },
	{ OK "Connection: close\r\nContent-Length: 1\r\n\r\nx", false, 200, false, "x" },
	{ OK "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", false, 200, true, "x" },
	/* Responses without a body. */
	{ "HTTP/1.1 204 No Content\r\n\r\n", false, 204, true, "" },
	{ "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", false, 304, true, "" },
	/* Bodies that end with the connection. */
	{ OK "\r\nall of it\r\n\r\n", true, 200, false, "all of it\r\n\r\n" },
	{ OK "\r\n", true, 200, false, "" },
	{ "HTTP/1.0 404 Not Found\r\nConnection: keep-alive\r\n\r\nx", true, 404, false, "x" },
	/* Chunked bodies. */
	{ OK CHUNKED "\r\n4\r\nnull\r\n0\r\n\r\n", false, 200, true, "null" },
	{ OK CHUNKED "\r\n1;x\r\na\r\n2\r\nbc\r\n0\r\nT: u\r\n\r\n", false, 200, true, "abc" },
	/* After interim responses. */
	{ "HTTP/1.1 100 Continue\r\n\r\n" OK "Content-Length: 1\r\n\r\nx", false, 200, true, "x" },
	{ "HTTP/1.1 100 Continue\r\n\r\n"
	  "HTTP/1.1 103 Early Hints\r\nConnection: close\r\nContent-Length: 9\r\n\r\n" OK CHUNKED
	  "\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n",
	  false, 200, true, "ab" },
	{ "HTTP/1.1 100 Continue\r\n\r\n" OK "\r\nrest", true, 200, false, "rest" },
};

START_TEST(a_response_is_read)
{
	const char *text = responses[_i].text;
	struct http_response res;

	ck_assert_int_eq(parse_response(text, strlen(text), responses[_i].eof, &res),
			 (int)strlen(text));
	ck_assert_int_eq(res.status, responses[_i].status);
	ck_assert_int_eq(res.keep_alive, responses[_i].keep_alive);
	assert_body(res.body, res.body_len, responses[_i].body);
}
END_TEST

/* The end of the connection does not change a response with a length. */
START_TEST(a_response_ends_at_its_length)
{
	struct http_response res;
	struct lines t = text_new();
	size_t len = strlen(responses[_i].text);

	add(&t, "%s" OK "\r\n", responses[_i].text);
	for (int eof = 0; eof <= 1 && !responses[_i].eof; eof++) {
		ck_assert_int_eq(parse_response(t.p, t.len, eof, &res), (int)len);
		assert_body(res.body, res.body_len, responses[_i].body);
		ck_assert_mem_eq(message + len, OK "\r\n", strlen(OK "\r\n"));
	}
	if (responses[_i].eof)
		ck_assert_int_eq(parse_response(t.p, t.len, true, &res), (int)t.len);
	free(t.p);
}
END_TEST

START_TEST(every_beginning_of_a_response_needs_more_bytes)
{
	const char *text = responses[_i].text;
	const char *head_end = strstr(text, "\r\n\r\n");
	struct http_response res;

	for (size_t len = 0; len < strlen(text); len++) {
		ck_assert_msg(parse_response(text, len, false, &res) == 0, "of %zu bytes", len);
		ck_assert_mem_eq(message, text, len);
	}
	if (!responses[_i].eof)
		return;
	ck_assert_int_eq(parse_response(text, strlen(text), false, &res), 0);
	/* The head must be complete, even if the end of the connection ends the body. */
	for (size_t len = 0; len < (size_t)(head_end - text) + 4; len++)
		ck_assert_int_eq(parse_response(text, len, true, &res), -1);
}
END_TEST

START_TEST(a_response_cut_short_is_malformed)
{
	const char *text = responses[_i].text;
	struct http_response res;

	for (size_t len = 0; len < strlen(text) && !responses[_i].eof; len++)
		ck_assert_msg(parse_response(text, len, true, &res) == -1, "of %zu bytes", len);
}
END_TEST

static const char *const bad_responses[] = {
	"hello\r\n\r\n",
	"GET / HTTP/1.1\r\n\r\n",
	"HTTP/2.0 200 OK\r\n\r\n",
	"HTTP/1.1\r\n\r\n",
	"HTTP/1.1 20 OK\r\n\r\n",
	"HTTP/1.1 2000 OK\r\n\r\n",
	"HTTP/1.1 099 OK\r\n\r\n",
	"HTTP/1.1 2x0 OK\r\n\r\n",
	"HTTP/1.1 -20 OK\r\n\r\n",
	"HTTP/1.1  200 OK\r\n\r\n",
	"HTTP/1.1\t200 OK\r\n\r\n",
	OK "X\r\n\r\n",
	OK "X : y\r\n\r\n",
	OK " X: y\r\n\r\n",
	OK "Content-Length: x\r\n\r\n",
	OK "Content-Length: -1\r\n\r\n",
	OK "Content-Length: 2147483648\r\n\r\n",
	OK "Content-Length: 18446744073709551617\r\n\r\n",
	OK "Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
	OK "Transfer-Encoding: gzip\r\n\r\n",
	OK CHUNKED CHUNKED "\r\n0\r\n\r\n",
	OK CHUNKED "Content-Length: 1\r\n\r\n0\r\n\r\n",
	OK CHUNKED "\r\nx\r\n",
	OK CHUNKED "\r\n1\r\nabc",
	"HTTP/1.1 100 Continue\r\n\r\nhello\r\n\r\n",
	"HTTP/1.1 100 Continue\r\nX\r\n\r\n" OK "Content-Length: 0\r\n\r\n",
};

START_TEST(a_malformed_response_is_refused)
{
	const char *text = bad_responses[_i];
	struct http_response res;

	ck_assert_int_eq(parse_response(text, strlen(text), false, &res), -1);
	ck_assert_int_eq(parse_response(text, strlen(text), true, &res), -1);
}
END_TEST

START_TEST(too_long_a_head_of_a_response_is_refused)
{
	struct http_response res;

	for (int over = 0; over <= 1; over++) {
		struct lines t = text_new();

		add(&t, OK "Content-Length: 0\r\nX: ");
		fill(&t, 'x', (size_t)(HTTP_MAX_HEAD + over - 4));
		add(&t, "\r\n\r\n");
		ck_assert_int_eq(parse_response(t.p, t.len, false, &res), over ? -1 : (int)t.len);
		ck_assert_int_eq(parse_response(t.p, t.len - 1, false, &res), over ? -1 : 0);
		free(t.p);
	}
}
END_TEST

/* A list of many ports is longer than the body of any request. */
START_TEST(the_body_of_a_response_is_not_limited)
{
	const size_t size = 3 * HTTP_MAX_BODY;
	struct http_response res;

	for (int chunked = 0; chunked <= 1; chunked++) {
		struct lines t = text_new();

		if (chunked)
			add(&t, OK CHUNKED "\r\n%zx\r\n", size);
		else
			add(&t, OK "Content-Length: %zu\r\n\r\n", size);
		fill(&t, 'b', t.len + size);
		if (chunked)
			add(&t, "\r\n0\r\n\r\n");
		ck_assert_int_eq(parse_response(t.p, t.len - 1, false, &res), 0);
		ck_assert_int_eq(parse_response(t.p, t.len, false, &res), (int)t.len);
		ck_assert_uint_eq(res.body_len, size);
		ck_assert_ptr_eq(memchr(res.body, 'b', size), res.body);
		free(t.p);
	}
}
END_TEST

START_TEST(interim_responses_alone_are_incomplete)
{
	static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
	struct http_response res;

	ck_assert_int_eq(parse_response(text, strlen(text), false, &res), 0);
	ck_assert_int_eq(parse_response(text, strlen(text), true, &res), -1);
}
END_TEST

START_TEST(a_length_beyond_an_int_is_refused)
{
	struct http_response res;

	ck_assert_int_eq(http_parse_response(message, (size_t)INT_MAX + 1, false, &res), -1);
}
END_TEST

/* ---- words ---- */

static const struct {
	int status;
	const char *reason;
} reasons[] = {
	{ 100, "Continue" },
	{ 200, "OK" },
	{ 201, "Created" },
	{ 301, "Moved Permanently" },
	{ 400, "Bad Request" },
	{ 404, "Not Found" },
	{ 405, "Method Not Allowed" },
	{ 413, "Request Entity Too Large" },
	{ 431, "Request Header Fields Too Large" },
	{ 501, "Not Implemented" },
	{ 505, "HTTP Version Not Supported" },
	{ 418, "Unknown" },
	{ 0, "Unknown" },
	{ -1, "Unknown" },
};

START_TEST(every_status_has_its_reason_phrase)
{
	ck_assert_str_eq(http_reason(reasons[_i].status), reasons[_i].reason);
}
END_TEST

static TCase *request_case(void)
{
	TCase *tc = tcase_create("requests");

	tcase_add_loop_test(tc, a_request_is_read, 0, COUNT(requests));
	tcase_add_loop_test(tc, every_beginning_of_a_request_needs_more_bytes, 0, COUNT(requests));
	tcase_add_test(tc, pipelined_requests_may_arrive_byte_by_byte);
	tcase_add_loop_test(tc, expect_continue_is_known_once_the_head_is_complete, 0,
			    COUNT(expectations));
	return tc;
}

static TCase *refusal_case(void)
{
	TCase *tc = tcase_create("refusals");

	tcase_add_loop_test(tc, a_malformed_request_is_refused, 0, COUNT(refusals));
	tcase_add_loop_test(tc, a_refused_request_stays_refused_with_more_bytes, 0,
			    COUNT(refusals));
	tcase_add_test(tc, a_nul_byte_is_refused);
	return tc;
}

static TCase *limit_case(void)
{
	TCase *tc = tcase_create("limits");

	tcase_add_test(tc, too_long_a_head_is_refused);
	tcase_add_test(tc, empty_lines_count_towards_the_limit_of_the_head);
	tcase_add_test(tc, too_long_a_body_is_refused);
	tcase_add_loop_test(tc, the_decoded_path_is_limited, 0, COUNT(path_bytes));
	tcase_add_test(tc, too_long_a_method_is_refused);
	tcase_add_loop_test(tc, too_long_a_chunked_body_is_refused_as_it_arrives, 0, 3);
	tcase_add_loop_test(tc, a_chunk_size_of_any_length_is_handled, 0, COUNT(chunk_sizes));
	tcase_add_loop_test(tc, a_full_buffer_never_needs_more_bytes, 0, COUNT(full_buffers));
	tcase_add_test(tc, the_longest_request_fills_the_buffer);
	return tc;
}

static TCase *response_case(void)
{
	TCase *tc = tcase_create("responses");

	tcase_add_loop_test(tc, a_response_is_read, 0, COUNT(responses));
	tcase_add_loop_test(tc, a_response_ends_at_its_length, 0, COUNT(responses));
	tcase_add_loop_test(tc, every_beginning_of_a_response_needs_more_bytes, 0,
			    COUNT(responses));
	tcase_add_loop_test(tc, a_response_cut_short_is_malformed, 0, COUNT(responses));
	tcase_add_loop_test(tc, a_malformed_response_is_refused, 0, COUNT(bad_responses));
	tcase_add_test(tc, too_long_a_head_of_a_response_is_refused);
	tcase_add_test(tc, the_body_of_a_response_is_not_limited);
	tcase_add_test(tc, interim_responses_alone_are_incomplete);
	tcase_add_test(tc, a_length_beyond_an_int_is_refused);
	tcase_add_loop_test(tc, every_status_has_its_reason_phrase, 0, COUNT(reasons));
	return tc;
}

int main(void)
{
	Suite *s = suite_create("http");

	suite_add_tcase(s, request_case());
	suite_add_tcase(s, refusal_case());
	suite_add_tcase(s, limit_case());
	suite_add_tcase(s, response_case());
	return fixture_run(s);
}
