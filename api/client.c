/* SPDX-License-Identifier: Apache-2.0 */
/* An HTTP client. See client.h.
 *
 * Each call uses a new connection, so no state is left after a failure. The answer is read into a
 * buffer that doubles. After each read the parser decides whether the answer is complete, since a
 * server may keep the connection open. Interim answers ("100 Continue") are skipped; MAX_HEADS
 * bounds how many.
 */
#include "api/client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>

#include "base/clock.h"
#include "base/fd.h"
#include "formats/http.h"
#include "formats/httpout.h"
#include "formats/json.h"
#include "formats/jsonfield.h"
#include "formats/jsonout.h"
#include "os/unixsock.h"

#define FIRST_BUFFER	16384		    /* bytes; enough for everything but a long list */
#define MAX_HEADS	(2 * HTTP_MAX_HEAD) /* bytes of all interim answers and the answer's head */
#define MAX_REQUEST	2048		    /* bytes; a port spec has about 100 */
#define MAX_MESSAGE	4096		    /* bytes of an error message that are read */
#define MAX_ESCAPE	(sizeof("\\u0000") - 1) /* bytes of one escaped byte in JSON */
#define MAX_QUOTED_BODY 200			/* bytes quoted of a body that has no message */

/* ---- one request, one answer ---- */

/* Waits until the socket takes more bytes, or until `until_ms`. Returns 0, or -errno with a reason.
 */
static int wait_for_room(int sock, unsigned long long until_ms, struct err *e)
{
	int left_ms = clock_left_ms(until_ms);
	int r = left_ms > 0 ? fd_wait(sock, POLLOUT, left_ms) : 0;

	if (r < 0)
		return err_sys(e, -r, "poll");
	if (r == 0)
		return err_set(e, ETIMEDOUT, "no answer in time");
	return 0;
}

static int send_all(int sock, const char *data, size_t len, unsigned long long until_ms,
		    struct err *e)
{
	while (len > 0) {
		ssize_t n = send(sock, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		int r = 0;

		if (n > 0) {
			data += n;
			len -= (size_t)n;
		} else if (errno == EPIPE) { /* the server may have answered before it closed */
			return 0;
		} else if (errno == EAGAIN) {
			r = wait_for_room(sock, until_ms, e);
		} else if (errno != EINTR) {
			r = err_sys(e, errno, "write");
		}
		if (r < 0)
			return r;
	}
	return 0;
}

/* Receives what is available. Returns the number of bytes, 0 at the end of the stream, or -errno
 * with a reason. */
static ssize_t receive_some(int sock, char *buf, size_t cap, unsigned long long until_ms,
			    struct err *e)
{
	ssize_t n = fd_recv_until(sock, buf, cap, until_ms);

	if (n == -ETIMEDOUT)
		return err_set(e, ETIMEDOUT, "no answer in time");
	return n < 0 ? err_sys(e, (int)-n, "read") : n;
}

/* Enlarges a full buffer of *cap bytes. */
static int grow(char **buf, size_t *cap, struct err *e)
{
	size_t more = *cap == 0 ? FIRST_BUFFER : 2 * *cap;
	char *larger;

	if (more > CLIENT_MAX_ANSWER)
		return err_set(e, EMSGSIZE, "the answer is longer than %zu bytes",
			       CLIENT_MAX_ANSWER);
	larger = realloc(*buf, more);
	if (larger == NULL)
		return err_sys(e, ENOMEM, "reading the answer");
	*buf = larger;
	*cap = more;
	return 0;
}

static int receive(int sock, unsigned long long until_ms, struct client_answer *answer,
		   struct err *e)
{
	struct http_response res = { .status = 0 };
	size_t len = 0, cap = 0;
	ssize_t n;
	int r;

	do {
		r = len == cap ? grow(&answer->buf, &cap, e) : 0;
		if (r < 0)
			return r;
		n = receive_some(sock, answer->buf + len, cap - len, until_ms, e);
		if (n < 0)
			return (int)n;
		len += (size_t)n;
		r = http_parse_response(answer->buf, len, n == 0, &res);
		if (r < 0 || (r == 0 && res.status == 0 && len >= MAX_HEADS))
			return err_set(e, EPROTO, "%s",
				       n > 0	 ? "malformed HTTP response"
				       : len > 0 ? "unexpected EOF"
						 : "EOF");
	} while (r == 0);
	answer->status = res.status;
	answer->body = res.body;
	answer->body_len = res.body_len;
	return 0;
}

int client_exchange(int sock, const char *request, size_t len, unsigned long long until_ms,
		    struct client_answer *answer, struct err *e)
{
	int r;

	*answer = (struct client_answer){ 0 };
	r = send_all(sock, request, len, until_ms, e);
	if (r == 0)
		r = receive(sock, until_ms, answer, e);
	if (r < 0)
		client_answer_free(answer);
	return r;
}

void client_answer_free(struct client_answer *answer)
{
	free(answer->buf);
	*answer = (struct client_answer){ 0 };
}

/* ---- the API ---- */

/* Connects to the API. Returns a socket, which the caller owns, or -errno with a reason. */
static int dial(const char *path, struct err *e)
{
	/* while the listen backlog is full, connect(2) blocks for the send timeout, unix(7) */
	const struct timeval limit = { .tv_sec = CLIENT_DEADLINE_MS / 1000 };
	struct sockaddr_un sa;
	FD_AUTO int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r;

	if (sock < 0)
		return err_sys(e, errno, "dial unix %s: socket", path);
	if (unixsock_address(&sa, path) < 0)
		return err_sys(e, EINVAL, "dial unix %s: connect", path);
	setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	do {
		r = connect(sock, (const struct sockaddr *)&sa, sizeof(sa));
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		return err_sys(e, errno == EAGAIN ? ETIMEDOUT : errno, "dial unix %s: connect",
			       path);
	return fd_take(&sock);
}

static int call(const char *socket_path, const char *request, size_t len,
		struct client_answer *answer, struct err *e)
{
	const unsigned long long until_ms = clock_now_ms() + CLIENT_DEADLINE_MS;
	FD_AUTO int sock = dial(socket_path, e);

	if (sock < 0)
		return sock;
	return client_exchange(sock, request, len, until_ms, answer, e);
}

/* Sets the reason from an answer that is not a success: the "message" of its JSON body, else the
 * status and the quoted body. */
static int set_refusal(const struct client_answer *answer, struct err *e)
{
	size_t len = answer->body_len < MAX_QUOTED_BODY ? answer->body_len : MAX_QUOTED_BODY;
	char message[MAX_MESSAGE], body[MAX_QUOTED_BODY + 1];
	char quoted[MAX_ESCAPE * MAX_QUOTED_BODY + sizeof("\"\"")];
	struct json_doc doc;
	struct jsonout out;

	if (json_parse(&doc, answer->body, answer->body_len, NULL) == 0 &&
	    json_field_string(&doc, &doc.nodes[0], "message", message, sizeof(message), NULL) ==
		    0 &&
	    message[0] != '\0')
		return err_set(e, EREMOTEIO, "%s", message);
	memcpy(body, answer->body, len);
	body[len] = '\0';
	jsonout_init(&out, quoted, sizeof(quoted));
	jsonout_put_string(&out, NULL, body);
	return err_set(e, EREMOTEIO, "unexpected HTTP status %d %s, body=%s", answer->status,
		       http_reason(answer->status), quoted);
}

static int format_request(char *buf, size_t cap, const char *method, const char *target,
			  const char *json)
{
	if (json == NULL)
		return snprintf(buf, cap,
				"%s %s HTTP/1.1\r\n"
				"Host: rootlesskit\r\n"
				"Connection: close\r\n"
				"\r\n",
				method, target);
	return snprintf(buf, cap,
			"%s %s HTTP/1.1\r\n"
			"Host: rootlesskit\r\n"
			"Connection: close\r\n"
			"Content-Type: application/json\r\n"
			"Content-Length: %zu\r\n"
			"\r\n"
			"%s",
			method, target, strlen(json), json);
}

/* Turns "DELETE" into "Delete", as in RootlessKit's messages. */
static void capitalize(char *to, size_t cap, const char *method)
{
	snprintf(to, cap, "%s", method);
	for (char *c = to + 1; to[0] != '\0' && *c != '\0'; c++) {
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c - 'A' + 'a');
	}
}

int client_call(const char *socket_path, const char *method, const char *target, const char *json,
		struct client_answer *answer, struct err *e)
{
	char request[MAX_REQUEST], verb[HTTP_MAX_METHOD];
	int len = format_request(request, sizeof(request), method, target, json);
	struct stat st;
	int r;

	*answer = (struct client_answer){ 0 };
	if (len < 0 || (size_t)len >= sizeof(request))
		return err_set(e, EMSGSIZE, "the request is too long");
	if (stat(socket_path, &st) < 0)
		return err_sys(e, errno, "stat %s", socket_path);
	r = call(socket_path, request, (size_t)len, answer, e);
	if (r < 0) {
		capitalize(verb, sizeof(verb), method);
		err_wrap(e, "%s \"http://rootlesskit%s\"", verb, target);
		return r;
	}
	if (answer->status / 100 == 2)
		return 0;
	r = set_refusal(answer, e);
	client_answer_free(answer);
	return r;
}
