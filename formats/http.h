/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORMATS_HTTP_H
#define FORMATS_HTTP_H

#include <stdbool.h>
#include <stddef.h>

/* HTTP/1.1 messages (RFC 9112), as far as a small API over a UNIX socket needs them: the parsers
 * read requests and responses from a growing buffer, with bodies framed by Content-Length or
 * chunked. They touch no descriptor, allocate nothing and keep no state. All pointers that they
 * return point into the caller's buffer.
 */

#define HTTP_MAX_HEAD	16384 /* bytes; start line and headers */
#define HTTP_MAX_BODY	65536 /* bytes; a port spec takes about 100 */
#define HTTP_MAX_PATH	1024  /* bytes, decoded, with the final NUL */
#define HTTP_MAX_METHOD 16    /* bytes with the final NUL */

enum http_refusal {
	HTTP_NO_REFUSAL = 0,
	HTTP_BAD_REQUEST = 400,
	HTTP_PAYLOAD_TOO_LARGE = 413,
	HTTP_HEADERS_TOO_LARGE = 431,
	HTTP_NOT_IMPLEMENTED = 501,
	HTTP_VERSION_NOT_SUPPORTED = 505,
};

struct http_request {
	char method[HTTP_MAX_METHOD];
	char path[HTTP_MAX_PATH]; /* target without its query, percent-decoded */
	const char *query;	  /* of the target, without the '?'; points into the buffer */
	size_t query_len;
	int minor;	      /* HTTP/1.minor: 0 or 1 */
	bool keep_alive;      /* from the version and Connection header */
	bool expect_continue; /* the client waits for "100 Continue" before it sends the body */
	const char *body;     /* points into the buffer; a chunked body is joined in place */
	size_t body_len;
	/* On a refusal: the text behind the status code, a static string in the words of Go's
	 * server:
	 *   - "Bad Request"
	 *   - "Bad Request: missing required Host header"
	 *   - "Bad Request: too many Host headers"
	 *   - "HTTP Version Not Supported: unsupported protocol version"
	 *   - "Request Header Fields Too Large"
	 *   - "Request Entity Too Large"
	 *   - "Not Implemented: unsupported transfer encoding" */
	const char *problem;
	enum http_refusal refusal;
};

/* Reads one request from buf[0..len). Returns one of these:
 *   - > 0: the request is complete and takes up that many bytes; the next request follows;
 *   - 0: more bytes are needed;
 *   - -1: the request must be refused, as `refusal` and `problem` say; the caller must close the
 *     connection after the answer.
 *
 * Joining a chunked body changes `buf`, but only once the request is complete. If 0 is returned and
 * the head is complete, req->expect_continue is valid; while the head is incomplete it is false.
 * The parser never returns 0 when the buffer holds HTTP_MAX_HEAD + HTTP_MAX_BODY bytes.
 *
 * The rules are those of Go's server, which RootlessKit uses:
 *   - Lines may end in LF alone. Empty lines before the request are skipped.
 *   - The target is a path or an absolute URI ("http://x/v1/info"). The path is percent-decoded; a
 *     bad escape or an encoded control byte is 400.
 *   - A malformed request line or version is 400, a version other than 1.x is 505.
 *   - A method is a token in any case; too long a method is 400, too long a path 431.
 *   - HTTP/1.1 without a Host header, or with several, is 400.
 *   - Content-Length is one decimal number. Several equal ones are accepted, different ones are
 *     400.
 *   - A Transfer-Encoding other than chunked is 501; any in HTTP/1.0, or together with
 *     Content-Length, is 400.
 *   - White space before a header's colon, control bytes in a value, and folded lines are 400.
 *   - Chunk extensions and trailers are skipped, but count towards HTTP_MAX_BODY. */
int http_parse_request(char *buf, size_t len, struct http_request *req);

struct http_response {
	int status;
	const char *body;
	size_t body_len;
	bool keep_alive;
};

/* Reads one response from buf[0..len), for a client that did not send HEAD. Skips interim 1xx
 * responses. `eof` means that the server has closed the connection. That ends a body without a
 * length; any other incomplete response is then malformed. The size of a body is not limited here,
 * because long lists may take 200 kB. Returns the bytes that the response takes up (> 0), 0 if more
 * are needed, or -1 if it is malformed. */
int http_parse_response(char *buf, size_t len, bool eof, struct http_response *res);

#endif
