/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORMATS_HTTPOUT_H
#define FORMATS_HTTPOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "base/text.h"
#include "formats/http.h"

/* Writes a server's answers (RFC 9110, RFC 9112) with the headers and their order as in
 * RootlessKit. The bytes go to the caller's buffer. Nothing allocates or blocks, and any thread may
 * call this. */

/* Bytes, with the final NUL, of a head without its location, and of a location: a path, of which
 * every byte may be escaped, and a query. */
#define HTTPOUT_MAX_HEAD     1024
#define HTTPOUT_MAX_LOCATION (3 * HTTP_MAX_PATH + HTTP_MAX_HEAD)

#define HTTPOUT_JSON "application/json"
#define HTTPOUT_TEXT "text/plain; charset=utf-8"
#define HTTPOUT_HTML "text/html; charset=utf-8"

struct httpout_head {
	int status;
	int minor;	      /* HTTP/1.minor of the request */
	bool keep_alive;      /* the server keeps the connection open */
	const char *allow;    /* the methods of the path, for status 405; NULL: no Allow */
	const char *type;     /* of the body; NULL: no Content-Type */
	bool nosniff;	      /* compat: send X-Content-Type-Options, as Go's http.Error does */
	const char *location; /* NULL: none */
	bool has_length;      /* send Content-Length */
	size_t body_len;
};

/* Writes the head of an answer: at most HTTPOUT_MAX_HEAD bytes, and those of the location. Returns
 * the number of bytes without the final NUL. Output beyond `cap` > 0 bytes is cut off. */
size_t httpout_head(char *buf, size_t cap, const struct httpout_head *h);

/* Writes the whole answer to a request that http_parse_request has refused. The caller then closes
 * the connection. Returns the number of bytes, at most HTTPOUT_MAX_HEAD. */
size_t httpout_refusal(char *buf, size_t cap, const struct http_request *req);

/* Writes a date like "Mon, 23 Nov 2026 12:41:24 GMT" (RFC 9110, 5.6.7), independent of the locale,
 * to buf, which has at least 30 bytes. Returns buf. */
const char *httpout_date(time_t when, char *buf, size_t cap);

/* Resolves double slashes, "." and ".." in a path. The result begins with '/', and a trailing slash
 * stays. `out` has HTTP_MAX_PATH bytes; a longer result is cut. Returns true if the result differs
 * from `path`. */
bool httpout_clean_path(const char *path, char *out);

/* Writes the value of a Location header: the path, percent-encoded (RFC 3986, 2.1), and the query
 * as it is, if there is one. `out` has HTTPOUT_MAX_LOCATION bytes; a longer result is cut. */
void httpout_location(const char *path, struct text query, char *out);

/* Bytes of the body of a redirect: a location of which every byte may be escaped. */
#define HTTPOUT_MAX_LINK (5 * HTTPOUT_MAX_LOCATION + 64)
/* Writes the body of a redirect (status 307): HTML with a link to `location`. `out` has
 * HTTPOUT_MAX_LINK bytes. Returns the number of bytes without the final NUL. */
size_t httpout_link(const char *location, char *out);

/* The reason phrase of a status: "OK", "Created", "Bad Request", "Not Found", ...; "Unknown" for
 * one that is not in the table. */
const char *http_reason(int status);

#endif
