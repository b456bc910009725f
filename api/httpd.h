/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_HTTPD_H
#define API_HTTPD_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/loop.h"
#include "formats/http.h"

/* A server of HTTP/1.1 (RFC 9112) on a UNIX socket, in the loop of the thread that starts it. It
 * never blocks, and hears the processes of its own user only.
 *
 * Clients may keep their connection open and idle for ever; only when there are too many, those
 * that have been idle for the longest are closed. One that stops in the middle of a request, or
 * does not take its answer, is cut off.
 */

/* What a handler answers with. Where it sets nothing, the answer is an empty 500. */
struct httpd_answer {
	int status;
	const char *type; /* of the body; NULL: no Content-Type */
	bool nosniff;	  /* compat: as Go's http.Error sends it */
	char *body;	  /* of malloc(3), taken; may be NULL */
	size_t body_len;  /* bytes */
};

/* Answers a request that was understood, and whose path is clean. `req` and what it points to live
 * as long as the call. httpd_free must not be called from here. */
typedef void httpd_handler(void *arg, const struct http_request *req, struct httpd_answer *a);

/* Fills an answer with a copy of a text; leaves it as it is if there is no memory. */
void httpd_answer_text(struct httpd_answer *a, int status, const char *type, const char *text);

struct httpd;

/* Listens on `path`, where nothing may be yet. `arg` is for the handler. Returns 0 and
 * sets *out, or -errno with a reason. */
int httpd_new(struct httpd **out, struct loop *loop, const char *path, httpd_handler *on_request,
	      void *arg, struct err *e);

/* Closes the socket and all clients. NULL is fine. Not from within a callback of the loop. */
void httpd_free(struct httpd *httpd);

#endif
