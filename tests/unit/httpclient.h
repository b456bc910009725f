/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HTTPCLIENT_H
#define HTTPCLIENT_H

/* An HTTP client for a server that runs in this thread, in the loop of loopclock.h. While the
 * client waits, it runs the loop. */
#include "tests/unit/loopclock.h"

#include "base/fd.h"
#include "formats/http.h"
#include "os/unixsock.h"

#define ANSWERS_MAX (1024 * 1024) /* bytes */

struct http_client {
	int fd;
	bool at_end; /* the server has closed the connection */
	char in[ANSWERS_MAX];
	size_t len;  /* bytes in `in` */
	size_t used; /* bytes of answers that next_answer has returned */
};

static inline void open_client(struct http_client *c, const char *path)
{
	struct sockaddr_un sa;

	ck_assert_int_eq(unixsock_address(&sa, path), 0);
	c->at_end = false;
	c->len = c->used = 0;
	c->fd = unixsock_connect(&sa);
	ck_assert_int_ge(c->fd, 0);
}

static inline void close_client(struct http_client *c)
{
	close(c->fd);
	settle();
}

static inline void send_bytes(struct http_client *c, const char *bytes, size_t len)
{
	ck_assert_int_eq(send(c->fd, bytes, len, MSG_NOSIGNAL), (ssize_t)len);
}

static inline void send_text(struct http_client *c, const char *text)
{
	send_bytes(c, text, strlen(text));
}

/* Receives what has arrived. */
static inline void receive(struct http_client *c)
{
	ssize_t n;

	while (!c->at_end) {
		ck_assert_uint_lt(c->len, sizeof(c->in));
		n = recv(c->fd, c->in + c->len, sizeof(c->in) - c->len, MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0)
			c->at_end = true;
		else
			c->len += (size_t)n;
	}
}

/* Has the server closed the connection, without any more answers? */
static inline bool is_closed(struct http_client *c)
{
	settle();
	receive(c);
	return c->at_end && c->used == c->len;
}

/* Is the connection open, without any more answers? */
static inline bool is_open(struct http_client *c)
{
	settle();
	receive(c);
	return !c->at_end && c->used == c->len;
}

/* Waits for the next answer, and returns its bytes. */
static inline const char *next_answer(struct http_client *c, struct http_response *res)
{
	unsigned long long until = fixture_now_ms() + FIXTURE_DEADLINE_S / 4 * 1000;
	const char *bytes = c->in + c->used;
	int r;

	do {
		ck_assert_msg(fixture_now_ms() < until, "no answer");
		step();
		receive(c);
		r = http_parse_response(c->in + c->used, c->len - c->used, c->at_end, res);
		ck_assert_msg(r >= 0, "not an answer: %.*s", (int)(c->len - c->used), bytes);
	} while (r == 0);
	c->used += (size_t)r;
	return bytes;
}

/* Waits for the next answer, and asserts its status and body. */
static inline void expect_answer(struct http_client *c, int status, const char *body)
{
	struct http_response res;

	next_answer(c, &res);
	ck_assert_int_eq(res.status, status);
	ck_assert_msg(res.body_len == strlen(body) && memcmp(res.body, body, res.body_len) == 0,
		      "body: %.*s", (int)res.body_len, res.body);
}

#endif
