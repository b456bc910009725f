/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORMATS_HTTP_H
#define FORMATS_HTTP_H

#include <stdbool.h>
#include <stddef.h>

/* HTTP/1.1 messages (RFC 9112), the part that a small API over a UNIX socket needs: requests and
 * responses are read from a growing buffer, bodies by Content-Length or chunked. No descriptor is
 * touched here. All pointers that a parser hands out point into the caller's buffer.
 */

#define HTTP_MAX_HEAD	16384 /* bytes of start line and headers together */
#define HTTP_MAX_BODY	65536 /* bytes; a port spec has about 100 */
#define HTTP_MAX_PATH	1024  /* bytes, decoded, with the final NUL */
#define HTTP_MAX_METHOD 16    /* bytes with the final NUL */

enum http_refusal {
	HTTP_OK_TO_GO_ON = 0,
	HTTP_BAD_REQUEST = 400,
	HTTP_PAYLOAD_TOO_LARGE = 413,
	HTTP_HEADERS_TOO_LARGE = 431,
	HTTP_NOT_IMPLEMENTED = 501,
	HTTP_VERSION_NOT_SUPPORTED = 505,
};

struct http_request {
	char method[HTTP_MAX_METHOD];
	char path[HTTP_MAX_PATH]; /* of the target, percent-decoded, without the query */
	int minor;		  /* HTTP/1.minor: 0 or 1 */
	bool keep_alive;	  /* what the client wants, by version and Connection header */
	bool expect_continue;	  /* it waits for "100 Continue" before it sends its body */
	const char *body;	  /* into the buffer; chunked bodies are joined in place */
	size_t body_len;
	const char *problem; /* on a refusal: the text after the status code, as the reference
			      * puts it: "Bad Request", "Bad Request: missing required Host
			      * header", "Bad Request: too many Host headers", "HTTP Version
			      * Not Supported: unsupported protocol version", "Request Header
			      * Fields Too Large", "Request Entity Too Large", "Not
			      * Implemented: unsupported transfer encoding" */
	enum http_refusal refusal;
};

/* Reads one request from buf[0..len). buf is changed in place where a chunked body is joined, and
 * only when the request is complete.
 *
 * Returns the number of bytes that the request takes up (> 0: complete; the rest of the buffer is
 * the next request), 0 if more bytes are needed, -1 if it must be refused: `refusal` and `problem`
 * are set, and the connection has to be closed after the answer. When 0 is returned and the head is
 * already complete, req->expect_continue is valid (false while the head is incomplete). With
 * HTTP_MAX_HEAD + HTTP_MAX_BODY bytes in the buffer 0 is never returned.
 *
 * Rules, as the reference's server has them: lines may end in LF alone; leading empty lines are
 * skipped; the target may be an absolute URI ("http://x/v1/info") or a path; a percent-encoded path
 * is decoded (a bad escape or an encoded control byte is 400); HTTP/1.1 without a Host header is
 * refused; a version other than 1.x is 505, a malformed version or request line 400; Content-Length
 * must be one decimal number (several equal ones are fine, different ones 400); Content-Length
 * together with chunked is 400; a Transfer-Encoding other than chunked is 501, any in HTTP/1.0 is
 * 400; white space before a header's colon, or control bytes in a header value, 400; folded lines
 * are 400. Chunk extensions and trailers are skipped, but count for HTTP_MAX_BODY. Method names are
 * tokens, any case; too long a method is 400, too long a path 431. */
int http_parse_request(char *buf, size_t len, struct http_request *req);

struct http_response {
	int status;
	const char *body;
	size_t body_len;
	bool keep_alive;
};

/* Reads one response, for a client that sent no HEAD. Same returns as above, -1 for a malformed
 * one; `eof` says that the server has closed, which ends a body of no stated length, and makes any
 * other incomplete response a malformed one. Interim 1xx responses are skipped. A body of 200 kB is
 * normal for long lists: only the caller bounds it. */
int http_parse_response(char *buf, size_t len, bool eof, struct http_response *res);

/* The reason phrase: "OK", "Created", "Bad Request", "Not Found", "Method Not Allowed", "Moved
 * Permanently", ...; "Unknown" for one that is not in the table. */
const char *http_reason(int status);

#endif
