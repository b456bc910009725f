/* SPDX-License-Identifier: Apache-2.0 */
/* A server of HTTP on a UNIX socket. See httpd.h.
 *
 * A client is in one of two states. It is READING while its request is incomplete, and WRITING from
 * the moment when the request has been carried out until all of the answer is taken; then it is
 * READING again, beginning with what it has sent meanwhile. So a client has one request under way
 * and one answer in memory, however fast it asks.
 *
 *     READING ── request complete ──► WRITING ── answer taken ──► READING, or closed
 *        │                               │  └─ to no request ──► LEAVING ──► closed
 *        └─ end, or a deadline while there is something unfinished ──► closed
 *
 * LEAVING: after a refusal the client may still be sending. A socket that is closed with bytes
 * unread makes its writes fail, and most clients then do not look for the answer. So only our
 * writing side is shut down, and what comes is dropped until the client has ended too.
 *
 * The list of clients is in the order of their last requests. When there are too many, or no
 * descriptor is left, the one that has been idle for the longest makes room: HTTP clients expect
 * that of an idle connection and make a new one. (Docker's proxies keep one for each port.)
 */
#include "api/httpd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "formats/httpout.h"
#include "msg.h"
#include "os/acceptor.h"

#define MAX_CLIENTS 1024
#define READ_STEP   4096  /* bytes by which the buffer grows */
#define DEADLINE_MS 10000 /* for a request to be complete, or an answer to be taken further */

struct client {
	struct httpd *httpd;
	struct watch watch;
	struct timer deadline;
	struct task reap;
	struct list_node node; /* the one heard of last comes last */
	char *in;	       /* owned; http_parse_request refuses what is too long */
	size_t in_len, in_cap;
	char *out; /* owned; NULL while READING */
	size_t out_at, out_len;
	bool close_after; /* the answer is the last one */
	bool refused;	  /* what it has sent was no request */
	bool leaving;
	bool at_end;	    /* it has shut down its writing side */
	bool told_to_go_on; /* "100 Continue" was sent for the present request */
};

struct httpd {
	struct loop *loop;
	struct acceptor acceptor;
	httpd_handler *on_request;
	void *arg; /* of the handler; borrowed */
	struct list clients;
	size_t client_count;
};

/* ---- answers ---- */

void httpd_answer_text(struct httpd_answer *a, int status, const char *type, const char *text)
{
	a->body = strdup(text);
	if (a->body == NULL)
		return;
	a->status = status;
	a->type = type;
	a->body_len = strlen(text);
}

static void close_client(struct client *c);

/* Puts the answer into the client's way out. */
static void queue(struct client *c, const char *head, size_t head_len, const char *body,
		  size_t body_len)
{
	c->out = malloc(head_len + body_len);
	if (c->out == NULL) {
		close_client(c);
		return;
	}
	memcpy(c->out, head, head_len);
	if (body_len > 0)
		memcpy(c->out + head_len, body, body_len);
	c->out_at = 0;
	c->out_len = head_len + body_len;
}

/* compat: a path that is not clean is not looked at, but sent to its clean form. */
static void respond(struct client *c, const struct http_request *req)
{
	char head[HTTPOUT_MAX_HEAD + HTTPOUT_MAX_LOCATION];
	char clean[HTTP_MAX_PATH], location[HTTPOUT_MAX_LOCATION];
	struct httpout_head h = { .minor = req->minor, .keep_alive = req->keep_alive };
	struct httpd_answer a = { .status = 500 };
	const bool wants_body = strcmp(req->method, "HEAD") != 0;
	size_t len;

	if (httpout_clean_path(req->path, clean)) {
		httpout_escape_path(clean, location);
		a.status = 301;
		h.location = location;
	} else {
		c->httpd->on_request(c->httpd->arg, req, &a);
	}
	log_debug("HTTP: %s %s: %d", req->method, req->path, a.status);
	h.status = a.status;
	h.type = a.type;
	h.nosniff = a.nosniff;
	h.has_length = wants_body || a.body != NULL;
	h.body_len = a.body_len;
	c->close_after = !req->keep_alive;
	len = httpout_head(head, sizeof(head), &h);
	queue(c, head, len, a.body, wants_body ? a.body_len : 0);
	free(a.body);
}

/* A request that is none. */
static void refuse(struct client *c, const struct http_request *req)
{
	char text[HTTPOUT_MAX_HEAD];
	const size_t len = httpout_refusal(text, sizeof(text), req);

	c->close_after = true;
	c->refused = true;
	queue(c, text, len, NULL, 0);
}

/* ---- clients ---- */

static void free_client(struct task *t)
{
	struct client *c = LOOP_OWNER(t, struct client, reap);

	free(c->in);
	free(c->out);
	free(c);
}

static void close_client(struct client *c)
{
	struct httpd *httpd = c->httpd;

	if (c->watch.fd < 0)
		return;
	loop_cancel(httpd->loop, &c->deadline);
	loop_remove(httpd->loop, &c->watch);
	msg_close(&c->watch.fd);
	list_remove(&httpd->clients, &c->node);
	httpd->client_count--;
	loop_defer(httpd->loop, &c->reap);
}

static void on_deadline(struct timer *t)
{
	close_client(LOOP_OWNER(t, struct client, deadline));
}

/* A deadline runs while something is unfinished, and only then. */
static void want_events(struct client *c)
{
	struct loop *loop = c->httpd->loop;

	if (c->watch.fd < 0)
		return;
	if (c->out == NULL && c->in_len == 0 && !c->leaving)
		loop_cancel(loop, &c->deadline);
	else if (!timer_is_set(&c->deadline) && loop_timer(loop, &c->deadline, DEADLINE_MS) < 0)
		close_client(c);
	if (c->watch.fd >= 0)
		loop_want(loop, &c->watch, c->out != NULL ? POLLOUT : POLLIN);
}

/* Carries out the request that the buffer begins with. Returns false if it is incomplete. */
static bool take_request(struct client *c)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
	struct http_request req;
	int used = http_parse_request(c->in, c->in_len, &req);

	if (used < 0) {
		c->in_len = 0;
		refuse(c, &req);
		return true;
	}
	if (used == 0) {
		/* The socket is fresh enough to take these few bytes; if not, the client goes on
		 * without them after a while (RFC 9110, 10.1.1). */
		if (req.expect_continue && !c->told_to_go_on)
			send(c->watch.fd, go_on, sizeof(go_on) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
		c->told_to_go_on = req.expect_continue;
		return false;
	}
	c->told_to_go_on = false;
	list_remove(&c->httpd->clients, &c->node);
	list_append(&c->httpd->clients, &c->node);
	respond(c, &req);
	c->in_len -= (size_t)used;
	memmove(c->in, c->in + used, c->in_len);
	return true;
}

static void leave(struct client *c)
{
	if (c->at_end || shutdown(c->watch.fd, SHUT_WR) < 0)
		close_client(c);
	c->leaving = true;
}

/* Writes what the socket takes. Returns false if the client is gone, or has not taken all. */
static bool flush(struct client *c)
{
	while (c->out_at < c->out_len) {
		ssize_t n = send(c->watch.fd, c->out + c->out_at, c->out_len - c->out_at,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return false;
		if (n < 0) {
			close_client(c);
			return false;
		}
		c->out_at += (size_t)n;
		/* It takes its answer, so it gets more time. */
		loop_cancel(c->httpd->loop, &c->deadline);
	}
	free(c->out);
	c->out = NULL;
	if (c->refused)
		leave(c);
	else if (c->close_after)
		close_client(c);
	return c->watch.fd >= 0;
}

/* Goes on as far as possible: answers what is complete, writes what can be written. */
static void advance(struct client *c)
{
	while (c->watch.fd >= 0) {
		if (c->out != NULL && !flush(c))
			break;
		if (c->in_len == 0 || !take_request(c))
			break;
		loop_cancel(c->httpd->loop, &c->deadline); /* the request's; now for the answer */
	}
	if (c->watch.fd >= 0 && c->out == NULL && c->at_end)
		close_client(c);
	want_events(c);
}

static int make_room(struct client *c)
{
	size_t cap = c->in_cap + READ_STEP;
	char *in;

	if (c->in_len < c->in_cap)
		return 0;
	in = realloc(c->in, cap);
	if (in == NULL)
		return -ENOMEM;
	c->in = in;
	c->in_cap = cap;
	return 0;
}

static void on_client(struct watch *w, short revents)
{
	struct client *c = LOOP_OWNER(w, struct client, watch);
	ssize_t n;

	(void)revents;
	if (c->out == NULL) {
		if (make_room(c) < 0) {
			close_client(c);
			return;
		}
		n = msg_recv(w->fd, c->in + c->in_len, c->in_cap - c->in_len);
		if (n == -EAGAIN)
			return;
		if (n < 0) {
			close_client(c);
			return;
		}
		c->at_end = n == 0;
		if (!c->leaving)
			c->in_len += (size_t)n;
	}
	advance(c);
}

static int start_client(struct acceptor *a, int fd)
{
	struct httpd *httpd = LOOP_OWNER(a, struct httpd, acceptor);
	struct client *c = calloc(1, sizeof(*c));

	if (c == NULL) {
		close(fd);
		return -ENOMEM;
	}
	c->httpd = httpd;
	c->watch = (struct watch){ .fd = fd, .events = POLLIN, .on_event = on_client };
	c->deadline.on_due = on_deadline;
	c->reap.run = free_client;
	if (loop_add(httpd->loop, &c->watch) < 0) {
		close(fd);
		free(c);
		return -ENOMEM;
	}
	list_append(&httpd->clients, &c->node);
	httpd->client_count++;
	return 0;
}

/* Has it nothing under way, not even a request that waits to be read? */
static bool is_idle(const struct client *c)
{
	char byte;

	return c->out == NULL && c->in_len == 0 && !c->leaving &&
	       recv(c->watch.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0;
}

/* Closes the client that has been idle for the longest. Returns false if none is idle. */
static bool make_place(struct httpd *httpd)
{
	for (struct list_node *node = httpd->clients.first; node != NULL; node = node->next) {
		struct client *c = LIST_OWNER(node, struct client, node);

		if (is_idle(c)) {
			close_client(c);
			return true;
		}
	}
	return false;
}

/* For the limit on clients, or when the process has no descriptor left. */
static bool room_for_client(struct acceptor *a, int errnum)
{
	struct httpd *httpd = LOOP_OWNER(a, struct httpd, acceptor);

	if (errnum == 0 && httpd->client_count < MAX_CLIENTS)
		return true;
	return (errnum == 0 || errnum == EMFILE) && make_place(httpd);
}

/* ---- start and stop ---- */

/* Clients that were not accepted may have sent descriptors too. */
static void drop_waiting(int listener)
{
	int client;

	shutdown(listener, SHUT_RDWR); /* no further client can connect */
	while ((client = fd_accept(listener, NULL, NULL)) >= 0)
		msg_close(&client);
}

int httpd_new(struct httpd **out, struct loop *loop, const char *path, httpd_handler *on_request,
	      void *arg, struct err *e)
{
	struct httpd *httpd = calloc(1, sizeof(*httpd));
	int r;

	if (httpd == NULL)
		return err_sys(e, ENOMEM, "serving %s", path);
	httpd->loop = loop;
	httpd->on_request = on_request;
	httpd->arg = arg;
	httpd->acceptor.on_client = start_client;
	httpd->acceptor.make_room = room_for_client;
	r = acceptor_listen(&httpd->acceptor, loop, path, e);
	if (r < 0)
		free(httpd);
	else
		*out = httpd;
	return r;
}

void httpd_free(struct httpd *httpd)
{
	if (httpd == NULL)
		return;
	while (httpd->clients.first != NULL)
		close_client(LIST_OWNER(httpd->clients.first, struct client, node));
	loop_run_tasks(httpd->loop);
	drop_waiting(httpd->acceptor.socket.fd);
	acceptor_close(&httpd->acceptor);
	free(httpd);
}
