/* SPDX-License-Identifier: Apache-2.0 */

/* HTTP. The input is parsed as a request, as a response before and at the end of the connection,
 * and as a path. Bodies lie within the buffer. A complete message is incomplete without its last
 * byte. A request that is accepted, written again with its length or in chunks, parses to the same.
 */
#include "formats/http.h"
#include "formats/httpout.h"

#include "fuzz.h"

#define LONGEST (HTTP_MAX_HEAD + HTTP_MAX_BODY)

static void check_refusal(const struct http_request *req)
{
	const char *reason = http_reason((int)req->refusal);

	REQUIRE(strcmp(reason, "Unknown") != 0);
	REQUIRE(req->refusal >= HTTP_BAD_REQUEST);
	REQUIRE(req->problem != NULL);
	REQUIRE(strncmp(req->problem, reason, strlen(reason)) == 0);
	REQUIRE(!req->expect_continue);
}

/* Writes a body in chunks of a few bytes. Returns the length. */
static size_t write_chunks(char *text, const char *body, size_t body_len)
{
	size_t len = 0, n;

	for (; body_len > 0; body += n, body_len -= n) {
		n = body_len < 3 ? body_len : 3;
		len += (size_t)sprintf(text + len, "%zx;x\r\n", n);
		memcpy(text + len, body, n);
		len += n;
		len += (size_t)sprintf(text + len, "\r\n");
	}
	return len + (size_t)sprintf(text + len, "0\r\nT: u\r\n\r\n");
}

/* Writes the first lines of the same request, with a path whose bytes are escaped, except for
 * slashes: an escaped one is no slash. Returns their length. */
static size_t write_head(char *text, const struct http_request *req)
{
	size_t len = (size_t)sprintf(text, "%s ", req->method);

	for (const char *p = req->path; *p != '\0'; p++)
		len += (size_t)sprintf(text + len, *p == '/' ? "%c" : "%%%02X", (unsigned char)*p);
	return len + (size_t)sprintf(text + len, " HTTP/1.%d\r\nHost: x\r\nConnection: %s\r\n",
				     req->minor, req->keep_alive ? "keep-alive" : "close");
}

static void check_same(const struct http_request *req, char *text, size_t len)
{
	struct http_request again;

	REQUIRE(http_parse_request(text, len, &again) == (int)len);
	REQUIRE(strcmp(again.method, req->method) == 0);
	REQUIRE(strcmp(again.path, req->path) == 0);
	REQUIRE(again.minor == req->minor);
	REQUIRE(again.keep_alive == req->keep_alive);
	REQUIRE(again.body_len == req->body_len);
	REQUIRE(memcmp(again.body, req->body, req->body_len) == 0);
}

/* Writes the request again, once with Content-Length and, since HTTP/1.1, once in chunks. */
static void check_round_trip(const struct http_request *req)
{
	char *text = malloc(LONGEST);
	const size_t head = write_head(text, req);
	size_t len = head;

	len += (size_t)sprintf(text + len, "Content-Length: %zu\r\n\r\n", req->body_len);
	memcpy(text + len, req->body, req->body_len);
	check_same(req, text, len + req->body_len);
	if (req->minor >= 1 && req->body_len < HTTP_MAX_BODY / 16) {
		len = head;
		len += (size_t)sprintf(text + len, "Transfer-Encoding: chunked\r\n\r\n");
		len += write_chunks(text + len, req->body, req->body_len);
		check_same(req, text, len);
	}
	free(text);
}

static int parse_beginning(const uint8_t *data, size_t size)
{
	char *buf = exact_copy(data, size);
	struct http_request req;
	int r = http_parse_request(buf, size, &req);

	free(buf);
	return r;
}

static void check_request(const uint8_t *data, size_t size)
{
	char *buf = exact_copy(data, size);
	struct http_request req;
	int r = http_parse_request(buf, size, &req);

	REQUIRE(r >= -1 && r <= LONGEST && (r < 0 || (size_t)r <= size));
	if (r > 0) {
		REQUIRE(req.refusal == HTTP_NO_REFUSAL && req.problem == NULL);
		REQUIRE(req.path[0] == '/');
		REQUIRE(req.minor == 0 || req.minor == 1);
		REQUIRE(req.body_len <= HTTP_MAX_BODY);
		REQUIRE(req.body > buf && req.body + req.body_len <= buf + r);
		check_round_trip(&req);
		REQUIRE(parse_beginning(data, (size_t)r) == r);
		REQUIRE(parse_beginning(data, (size_t)r - 1) == 0);
		REQUIRE(parse_beginning(data, (size_t)r / 2) == 0);
	} else {
		REQUIRE(memcmp(buf, data, size) == 0);
		if (r < 0)
			check_refusal(&req);
		if (r == 0) {
			REQUIRE(size < LONGEST);
			REQUIRE(parse_beginning(data, size / 2) == 0);
		}
		if (size > 0)
			REQUIRE(parse_beginning(data, size - 1) <= 0);
	}
	free(buf);
}

static int check_response(const uint8_t *data, size_t size, bool eof)
{
	char *buf = exact_copy(data, size);
	struct http_response res;
	int r = http_parse_response(buf, size, eof, &res);

	REQUIRE(r >= -1 && (r < 0 || (size_t)r <= size));
	REQUIRE(!eof || r != 0);
	if (r > 0) {
		REQUIRE(res.status >= 200 && res.status <= 999);
		REQUIRE(res.body > buf && res.body + res.body_len <= buf + r);
	}
	free(buf);
	return r;
}

static void check_responses(const uint8_t *data, size_t size)
{
	int open = check_response(data, size, false);
	int closed = check_response(data, size, true);

	if (open > 0) {
		REQUIRE(closed == open);
		REQUIRE(check_response(data, (size_t)open, false) == open);
		REQUIRE(check_response(data, (size_t)open - 1, false) == 0);
	}
	if (open < 0)
		REQUIRE(closed < 0);
	if (open == 0 && closed > 0)
		REQUIRE((size_t)closed == size);
}

static void check_path(const uint8_t *data, size_t size)
{
	char *path = string_copy(data, size);
	char *out = malloc(HTTP_MAX_PATH), *again = malloc(HTTP_MAX_PATH);

	REQUIRE(httpout_clean_path(path, out) == (strcmp(path, out) != 0));
	REQUIRE(out[0] == '/' && strlen(out) < HTTP_MAX_PATH);
	REQUIRE(strstr(out, "//") == NULL);
	REQUIRE(strstr(out, "/./") == NULL && strstr(out, "/../") == NULL);
	REQUIRE(!httpout_clean_path(out, again));
	free(again);
	free(out);
	free(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_request(data, size);
	check_responses(data, size);
	check_path(data, size);
	return 0;
}
