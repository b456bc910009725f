/* SPDX-License-Identifier: Apache-2.0 */
/* An HTTP server on a UNIX socket. See httpd.h.
 *
 * A client is READING until its request is complete, and WRITING from then on until the socket has
 * taken the whole answer. Then it is READING again, starting with bytes that arrived meanwhile. So
 * each client has at most one request in progress and one answer in memory, however fast it sends.
 *
 *     READING ── request complete ──► WRITING ── answer sent ──► READING, or closed
 *        │                               │  └─ after a refusal ──► LINGERING ──► closed
 *        └─ end of stream, or deadline while a request or an answer is unfinished ──► closed
 *
 * LINGERING: after a refusal (a malformed request) the client may still be sending. Closing a
 * socket with unread bytes makes the client's writes fail, and most clients then do not read the
 * answer. So only our writing side is shut down, and input is discarded until the client closes its
 * side too (RFC 9112, 9.6).
 *
 * The list of clients is ordered by the time of their last request. When there are too many
 * clients, or no descriptor is left, the one that has been idle longest is closed. HTTP clients
 * expect that of an idle connection and reconnect. (Docker's proxies keep one connection for each
 * port.)
 */
#include "api/httpd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "formats/httpout.h"
#include "msg.h"
#include "os/unixacceptor.h"

#define MAX_CLIENTS 1024
#define READ_STEP   4096  /* bytes by which the input buffer grows */
#define DEADLINE_MS 10000 /* for a client to complete a request, or to take more of an answer */

struct client {
	struct httpd *httpd;
	struct watch watch;
	struct timer deadline;
	struct task reap;
	struct list_node node; /* in httpd->clients, most recent request last */
	char *in;	       /* input, owned; http_parse_request bounds its length */
	size_t in_len, in_cap;
	char *out; /* answer, owned; NULL while READING */
	size_t out_at, out_len;
	bool close_after; /* close after this answer */
	bool refused;	  /* its request was malformed */
	bool lingering;
	bool at_end;	    /* the client has shut down its writing side */
	bool sent_continue; /* "100 Continue" was sent for the current request */
};

struct httpd {
	struct loop *loop;
	struct unixacceptor acceptor;
	httpd_handler *on_request;
	void *arg; /* for the handler; borrowed */
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

/* Makes head and body the client's pending answer. Closes the client if out of memory. */
static void set_answer(struct client *c, const char *head, size_t head_len, const char *body,
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

static bool has_method(const struct http_request *req, const char *method)
{
	return strcmp(req->method, method) == 0;
}

/* compat: as Go's ServeMux does, redirects a path that is not clean to its clean form. Only GET
 * gets a body with the link. Returns false if the path is clean. */
static bool redirect(const struct http_request *req, struct httpd_answer *a, char *location)
{
	char clean[HTTP_MAX_PATH];
	bool gets = has_method(req, "GET");

	if (has_method(req, "CONNECT") || !httpout_clean_path(req->path, clean))
		return false;
	httpout_location(clean, (struct text){ req->query, req->query_len }, location);
	a->status = 307;
	a->type = gets || has_method(req, "HEAD") ? HTTPOUT_HTML : NULL;
	a->body = gets ? malloc(HTTPOUT_MAX_LINK) : NULL;
	if (a->body != NULL)
		a->body_len = httpout_link(location, a->body);
	return true;
}

/* Lets the handler answer the request, unless it is redirected. */
static void respond(struct client *c, const struct http_request *req)
{
	char head[HTTPOUT_MAX_HEAD + HTTPOUT_MAX_LOCATION];
	char location[HTTPOUT_MAX_LOCATION];
	struct httpout_head h = { .minor = req->minor, .keep_alive = req->keep_alive };
	struct httpd_answer a = { .status = 500 };
	const bool wants_body = !has_method(req, "HEAD");
	size_t len;

	if (redirect(req, &a, location))
		h.location = location;
	else
		c->httpd->on_request(c->httpd->arg, req, &a);
	log_debug("HTTP: %s %s: %d", req->method, req->path, a.status);
	h.status = a.status;
	h.allow = a.allow;
	h.type = a.type;
	h.nosniff = a.nosniff;
	h.has_length = wants_body || a.body != NULL;
	h.body_len = a.body_len;
	c->close_after = !req->keep_alive;
	len = httpout_head(head, sizeof(head), &h);
	set_answer(c, head, len, a.body, wants_body ? a.body_len : 0);
	free(a.body);
}

/* Answers a malformed request. */
static void refuse(struct client *c, const struct http_request *req)
{
	char text[HTTPOUT_MAX_HEAD];
	const size_t len = httpout_refusal(text, sizeof(text), req);

	c->close_after = true;
	c->refused = true;
	set_answer(c, text, len, NULL, 0);
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

/* Sets the events that the state of the client calls for. The deadline runs only while a request or
 * an answer is unfinished. */
static void want_events(struct client *c)
{
	struct loop *loop = c->httpd->loop;

	if (c->watch.fd < 0)
		return;
	if (c->out == NULL && c->in_len == 0 && !c->lingering)
		loop_cancel(loop, &c->deadline);
	else if (!timer_is_set(&c->deadline) && loop_timer(loop, &c->deadline, DEADLINE_MS) < 0)
		close_client(c);
	if (c->watch.fd >= 0)
		loop_want(loop, &c->watch, c->out != NULL ? POLLOUT : POLLIN);
}

/* Handles the request at the start of the buffer. Returns false if it is incomplete. */
static bool take_request(struct client *c)
{
	static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";
	struct http_request req;
	int used = http_parse_request(c->in, c->in_len, &req);

	if (used < 0) {
		c->in_len = 0;
		refuse(c, &req);
		return true;
	}
	if (used == 0) {
		/* Nothing was sent to this client recently, so its socket has room for these few
		 * bytes. If not, the client sends its body after a while anyway (RFC 9110,
		 * 10.1.1). */
		if (req.expect_continue && !c->sent_continue)
			send(c->watch.fd, interim, sizeof(interim) - 1,
			     MSG_NOSIGNAL | MSG_DONTWAIT);
		c->sent_continue = req.expect_continue;
		return false;
	}
	c->sent_continue = false;
	list_remove(&c->httpd->clients, &c->node);
	list_append(&c->httpd->clients, &c->node);
	respond(c, &req);
	c->in_len -= (size_t)used;
	memmove(c->in, c->in + used, c->in_len);
	return true;
}

/* Enters LINGERING. Closes the client if there is nothing to wait for. */
static void linger(struct client *c)
{
	if (c->at_end || shutdown(c->watch.fd, SHUT_WR) < 0)
		close_client(c);
	c->lingering = true;
}

/* Sends as much of the answer as the socket takes. Returns true if all of it was sent and the
 * client is still connected. */
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
		/* there is progress, so the deadline starts again */
		loop_cancel(c->httpd->loop, &c->deadline);
	}
	free(c->out);
	c->out = NULL;
	if (c->refused)
		linger(c);
	else if (c->close_after)
		close_client(c);
	return c->watch.fd >= 0;
}

/* Sends and handles as much as possible without blocking. */
static void make_progress(struct client *c)
{
	while (c->watch.fd >= 0) {
		if (c->out != NULL && !flush(c))
			break;
		if (c->in_len == 0 || !take_request(c))
			break;
		/* the deadline was for the request; the answer gets a new one */
		loop_cancel(c->httpd->loop, &c->deadline);
	}
	if (c->watch.fd >= 0 && c->out == NULL && c->at_end)
		close_client(c);
	want_events(c);
}

static int grow_input(struct client *c)
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
		if (grow_input(c) < 0) {
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
		if (!c->lingering)
			c->in_len += (size_t)n;
	}
	make_progress(c);
}

static int start_client(struct unixacceptor *a, int fd)
{
	struct httpd *httpd = LOOP_OWNER(a, struct httpd, acceptor);
	struct client *c = calloc(1, sizeof(*c));

	if (c == NULL) {
		msg_close(&fd);
		return -ENOMEM;
	}
	c->httpd = httpd;
	c->watch = (struct watch){ .fd = fd, .events = POLLIN, .on_event = on_client };
	c->deadline.on_due = on_deadline;
	c->reap.run = free_client;
	if (loop_add(httpd->loop, &c->watch) < 0) {
		msg_close(&fd);
		free(c);
		return -ENOMEM;
	}
	list_append(&httpd->clients, &c->node);
	httpd->client_count++;
	return 0;
}

/* True if the client has no request or answer in progress, and no unread input. */
static bool is_idle(const struct client *c)
{
	char byte;

	return c->out == NULL && c->in_len == 0 && !c->lingering &&
	       recv(c->watch.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0;
}

/* Closes the client that has been idle longest. Returns false if none is idle. */
static bool close_idlest_client(struct httpd *httpd)
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

/* The acceptor's make_room (unixacceptor.h). */
static bool make_room_for_client(struct unixacceptor *a, int errnum)
{
	struct httpd *httpd = LOOP_OWNER(a, struct httpd, acceptor);

	if (errnum == 0 && httpd->client_count < MAX_CLIENTS)
		return true;
	return (errnum == 0 || errnum == EMFILE) && close_idlest_client(httpd);
}

/* ---- start and stop ---- */

/* Accepts and closes the clients that are still in the listen queue: they may have sent
 * descriptors, which msg_close handles. */
static void drop_queued_clients(int listener)
{
	int client;

	shutdown(listener, SHUT_RDWR); /* no more clients can connect */
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
	httpd->acceptor.make_room = make_room_for_client;
	r = unixacceptor_listen(&httpd->acceptor, loop, path, e);
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
	drop_queued_clients(httpd->acceptor.socket.fd);
	unixacceptor_close(&httpd->acceptor);
	free(httpd);
}
