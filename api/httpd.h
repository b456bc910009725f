/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_HTTPD_H
#define API_HTTPD_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/loop.h"
#include "formats/http.h"

/* An HTTP/1.1 server (RFC 9112) on a UNIX socket. It runs in the loop of the thread that starts it
 * and never blocks. It serves only processes of its own user.
 *
 * Clients may keep an idle connection open without a time limit. When there are too many clients,
 * or no descriptor is left, the server closes the connection that has been idle longest. A client
 * that stops in the middle of a request, or does not read its answer, is disconnected.
 */

/* A handler's answer. An answer that the handler leaves as it is becomes an empty 500. */
struct httpd_answer {
	int status;
	const char *type;  /* Content-Type of the body; NULL: no such header */
	const char *allow; /* the methods of the path, for status 405; NULL: no such header */
	bool nosniff;	   /* send X-Content-Type-Options; compat: as Go's http.Error does */
	char *body;	   /* from malloc(3), the server frees it; may be NULL */
	size_t body_len;   /* bytes */
};

/* Handles a well-formed request whose path is clean (httpout_clean_path), and fills in the answer.
 * `req` and what it points to are valid during the call only. The handler must not call
 * httpd_free. */
typedef void httpd_handler(void *arg, const struct http_request *req, struct httpd_answer *a);

/* Fills an answer with a copy of `text`. Out of memory: leaves the answer as it is. `type` must
 * outlive the answer. */
void httpd_answer_text(struct httpd_answer *a, int status, const char *type, const char *text);

struct httpd;

/* Listens on `path`, where nothing may exist yet. `loop` is borrowed; `arg` is passed to the
 * handler. Returns 0 and sets *out, or -errno with a reason. */
int httpd_new(struct httpd **out, struct loop *loop, const char *path, httpd_handler *on_request,
	      void *arg, struct err *e);

/* Closes the socket and all client connections, and frees `httpd`. NULL is allowed. Must not be
 * called from a callback of the loop. */
void httpd_free(struct httpd *httpd);

#endif
