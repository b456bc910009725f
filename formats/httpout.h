/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORMATS_HTTPOUT_H
#define FORMATS_HTTPOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "formats/http.h"

/* What a server's answers are written of (RFC 9110, RFC 9112), in the shape that the reference
 * gives them. Their bytes go to a caller's buffer; nothing allocates. */

/* Bytes of a head without a location, and of a location, which is a path in which every byte is
 * escaped; both with the final NUL. */
#define HTTPOUT_MAX_HEAD     1024
#define HTTPOUT_MAX_LOCATION (3 * HTTP_MAX_PATH)

#define HTTPOUT_JSON "application/json"
#define HTTPOUT_TEXT "text/plain; charset=utf-8"

struct httpout_head {
	int status;
	int minor;	      /* HTTP/1.minor, as the request had it */
	bool keep_alive;      /* the connection stays open */
	const char *type;     /* of the body; NULL: no Content-Type */
	bool nosniff;	      /* compat: as Go's http.Error sends it, and in front of the date */
	const char *location; /* NULL: none */
	bool has_length;      /* Content-Length is sent */
	size_t body_len;
};

/* Writes the head of an answer, of HTTPOUT_MAX_HEAD bytes at most and those of the location.
 * Returns its bytes without the final NUL; what does not fit in `cap` > 0 bytes is cut off. */
size_t httpout_head(char *buf, size_t cap, const struct httpout_head *h);

/* Writes the whole answer to a request that http_parse_request has refused, after which the
 * connection is closed. Returns its bytes, HTTPOUT_MAX_HEAD at most. */
size_t httpout_refusal(char *buf, size_t cap, const struct http_request *req);

/* "Mon, 23 Nov 2026 12:41:24 GMT" (RFC 9110, 5.6.7), independent of the locale. Writes to and
 * returns buf, which takes at least 30 bytes. */
const char *httpout_date(time_t when, char *buf, size_t cap);

/* Cleans a path: doubled slashes, "." and ".." are resolved, a trailing slash stays, result begins
 * with '/'. Returns true if it differs from `path`. `out` has HTTP_MAX_PATH bytes; a longer result
 * is cut. */
bool httpout_clean_path(const char *path, char *out);

/* Writes a path as it stands in a header (RFC 3986, 2.1). `out` has HTTPOUT_MAX_LOCATION bytes; a
 * longer result is cut. */
void httpout_escape_path(const char *path, char *out);

#endif
