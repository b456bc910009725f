/* SPDX-License-Identifier: Apache-2.0 */
/* The REST API. See api.h.
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
#include "api.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "fd.h"
#include "http.h"
#include "json.h"
#include "log.h"
#include "unixsock.h"
#include "version.h"

#define MAX_CLIENTS   1024
#define REQUEST_MAX   (HTTP_MAX_HEAD + HTTP_MAX_BODY) /* bytes; a longer one is refused */
#define READ_STEP     4096			      /* bytes by which the buffer grows */
#define DEADLINE_MS   10000 /* for a request to be complete, or an answer to be taken further */
#define PAUSE_MS      100   /* of accepting, when all are busy or something has run out */
#define HEAD_MAX      1024  /* bytes of the head of an answer */
#define PORT_JSON_MAX 512   /* bytes of one port in a list: two addresses, each byte escaped */
#define INFO_JSON_MAX (PATH_MAX * 6 + 1024) /* a path whose every byte is escaped */

#define TYPE_JSON "application/json"
#define TYPE_TEXT "text/plain; charset=utf-8"

struct client {
	struct api *api;
	struct watch watch;
	struct timer deadline;
	struct task reap;
	struct client *newer, *older;
	char *in; /* REQUEST_MAX at most, owned */
	size_t in_len, in_cap;
	char *out; /* owned; NULL while READING */
	size_t out_at, out_len;
	bool close_after; /* the answer is the last one */
	bool refused;	  /* what it has sent was no request */
	bool leaving;
	bool at_end;	    /* it has shut down its writing side */
	bool told_to_go_on; /* "100 Continue" was sent for the present request */
};

struct api {
	struct loop *loop;
	struct watch listener;
	struct timer resume;
	char *info; /* the answer to GET /v1/info, which never changes; owned */
	struct ports *ports;
	struct client *newest, *oldest;
	size_t client_count;
};

/* An answer on its way into a buffer. */
struct answer {
	int status;
	const char *type;     /* NULL: no Content-Type */
	bool nosniff;	      /* compat: as Go's http.Error sends it */
	const char *location; /* NULL: none */
	char *body;	      /* owned; may be NULL */
	size_t body_len;
};

/* ---- bodies ---- */

/* Fills the answer with a copy of a text. */
static void answer_text(struct answer *a, int status, const char *type, const char *text)
{
	a->status = status;
	a->type = type;
	a->body = strdup(text);
	a->body_len = a->body != NULL ? strlen(text) : 0;
}

/* compat: every refusal is a 400 with a JSON body that is called plain text. */
static void answer_error(struct answer *a, const struct err *why)
{
	char text[ERR_LEN * 6 + 32];
	struct json_out out;

	json_out_init(&out, text, sizeof(text) - 1);
	json_begin_object(&out, NULL);
	json_put_string(&out, "message", why->msg);
	json_end_object(&out);
	strcat(text, "\n");
	answer_text(a, 400, TYPE_TEXT, text);
}

static void answer_not_found(struct answer *a)
{
	a->nosniff = true;
	answer_text(a, 404, TYPE_TEXT, "404 page not found\n");
}

static void answer_no_driver(struct answer *a)
{
	struct err why;

	err_set(&why, ENODEV, "no PortDriver is available");
	answer_error(a, &why);
}

/* Gives a JSON text of at most `cap` bytes to be written; NULL if there is no memory. */
static bool begin_json(struct answer *a, struct json_out *out, size_t cap)
{
	a->body = malloc(cap);
	if (a->body == NULL) {
		a->status = 500;
		return false;
	}
	json_out_init(out, a->body, cap);
	return true;
}

static void end_json(struct answer *a, const struct json_out *out, int status)
{
	a->status = out->overflow ? 500 : status;
	a->type = TYPE_JSON;
	a->body_len = out->overflow ? 0 : out->len;
}

static void put_port(struct json_out *out, const struct port_entry *entry)
{
	json_begin_object(out, NULL);
	json_put_int(out, "id", entry->id);
	portspec_to_json(&entry->spec, out, "spec");
	json_end_object(out);
}

/* ---- routes ---- */

static void put_network(struct json_out *out, const struct api_info *info)
{
	json_begin_object(out, "networkDriver");
	json_put_string(out, "driver", info->network_driver);
	if (info->dns[0] != NULL) {
		json_begin_array(out, "dns");
		for (size_t i = 0; info->dns[i] != NULL; i++)
			json_put_string(out, NULL, info->dns[i]);
		json_end_array(out);
	}
	if (info->child_ip != NULL)
		json_put_string(out, "childIP", info->child_ip);
	json_end_object(out);
}

static void put_port_driver(struct json_out *out, const struct api_info *info,
			    const struct ports *ports)
{
	json_begin_object(out, "portDriver");
	json_put_string(out, "driver", info->port_driver);
	json_begin_array(out, "protos");
	for (const char *const *proto = ports_protos(ports); *proto != NULL; proto++)
		json_put_string(out, NULL, *proto);
	json_end_array(out);
	if (ports_disallows_loopback(ports))
		json_put_bool(out, "disallowLoopbackChildIP", true);
	json_end_object(out);
}

/* Returns the body of GET /v1/info, to be freed, or NULL if there is no memory. */
static char *info_to_json(const struct api_info *info, const struct ports *ports)
{
	char *text = malloc(INFO_JSON_MAX);
	struct json_out out;

	if (text == NULL)
		return NULL;
	json_out_init(&out, text, INFO_JSON_MAX);
	json_begin_object(&out, NULL);
	json_put_string(&out, "apiVersion", API_VERSION);
	json_put_string(&out, "version", COMPAT_VERSION);
	json_put_string(&out, "stateDir", info->state_dir);
	json_put_int(&out, "childPID", info->child_pid);
	if (info->network_driver != NULL)
		put_network(&out, info);
	if (info->port_driver != NULL)
		put_port_driver(&out, info, ports);
	json_end_object(&out);
	return text;
}

static void get_info(struct api *api, const struct http_request *req, struct answer *a)
{
	(void)req;
	answer_text(a, 200, TYPE_JSON, api->info);
}

static void get_ports(struct api *api, const struct http_request *req, struct answer *a)
{
	struct json_out out;
	size_t count = ports_count(api->ports);

	(void)req;
	if (!begin_json(a, &out, count * PORT_JSON_MAX + sizeof("[]")))
		return;
	json_begin_array(&out, NULL);
	for (size_t i = 0; i < count; i++)
		put_port(&out, ports_at(api->ports, i));
	json_end_array(&out);
	end_json(a, &out, 200);
}

static void post_port(struct api *api, const struct http_request *req, struct answer *a)
{
	struct port_entry entry = { 0 };
	struct json_doc doc;
	struct json_out out;
	struct err why;
	int r = json_parse(&doc, req->body, req->body_len, &why);

	if (r == 0)
		r = portspec_from_json(&entry.spec, &doc, &doc.nodes[0], &why);
	if (r == 0)
		r = entry.id = ports_add(api->ports, &entry.spec, &why);
	if (r < 0) {
		answer_error(a, &why);
		return;
	}
	if (!begin_json(a, &out, PORT_JSON_MAX))
		return;
	put_port(&out, &entry);
	end_json(a, &out, 201);
}

/* Reads an ID as Go's strconv.Atoi does: a sign is fine, blanks are not. */
static int read_id(const char *text, int *id)
{
	char *end;
	long value;

	if (*text == ' ' || *text == '\t')
		return -EINVAL;
	errno = 0;
	value = strtol(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || value < INT_MIN || value > INT_MAX)
		return -EINVAL;
	*id = (int)value;
	return 0;
}

static void delete_port(struct api *api, const struct http_request *req, struct answer *a)
{
	const char *text = strrchr(req->path, '/') + 1;
	struct err why;
	int id;
	int r = read_id(text, &id);

	if (r < 0)
		err_set(&why, EINVAL, "bad id %s: not a number", text);
	else
		r = ports_remove(api->ports, id, &why);
	if (r < 0)
		answer_error(a, &why);
	else
		a->status = 200;
}

static const struct route {
	const char *path;
	bool with_id; /* one more part follows the path */
	const char *method;
	bool needs_ports;
	void (*run)(struct api *api, const struct http_request *req, struct answer *a);
} routes[] = {
	{ "/v1/info", false, "GET", false, get_info },
	{ "/v1/ports", false, "GET", true, get_ports },
	{ "/v1/ports", false, "POST", true, post_port },
	{ "/v1/ports/", true, "DELETE", true, delete_port },
};

static bool matches(const struct route *route, const char *path)
{
	size_t len = strlen(route->path);

	if (!route->with_id)
		return strcmp(path, route->path) == 0;
	return strncmp(path, route->path, len) == 0 && path[len] != '\0' &&
	       strchr(path + len, '/') == NULL;
}

static void dispatch(struct api *api, const struct http_request *req, struct answer *a)
{
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		const struct route *route = &routes[i];

		if (!matches(route, req->path) || strcmp(route->method, req->method) != 0)
			continue;
		if (route->needs_ports && api->ports == NULL)
			answer_no_driver(a);
		else
			route->run(api, req, a);
		return;
	}
	/* compat: a wrong method is 405 for /v1/info and 404 for all others. */
	if (strcmp(req->path, "/v1/info") == 0)
		a->status = 405;
	else
		answer_not_found(a);
}

/* ---- answers ---- */

static bool is_unreserved(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c != '\0' && strchr("/-._~", c) != NULL);
}

/* Writes a path as it stands in a header (RFC 3986, 2.1). */
static void escape_path(const char *path, char *out, size_t cap)
{
	size_t len = 0;

	for (; *path != '\0' && len + sizeof("%ff") < cap; path++) {
		if (is_unreserved(*path))
			out[len++] = *path;
		else
			len += (size_t)sprintf(out + len, "%%%02X", (unsigned char)*path);
	}
	out[len] = '\0';
}

/* Writes the head. The order of the headers is that of the reference. */
static size_t put_head(char *head, size_t cap, const struct answer *a,
		       const struct http_request *req, bool keep_alive)
{
	char date[32];
	char length[48] = "";
	bool json = a->type != NULL && strcmp(a->type, TYPE_JSON) == 0;
	bool type_first = a->type != NULL && (json || a->nosniff);
	const char *connection = "";

	if (strcmp(req->method, "HEAD") != 0 || a->body != NULL)
		snprintf(length, sizeof(length), "Content-Length: %zu\r\n", a->body_len);
	if (!keep_alive && req->minor == 1)
		connection = "Connection: close\r\n";
	else if (keep_alive && req->minor == 0)
		connection = "Connection: keep-alive\r\n";
	return (size_t)snprintf(
		head, cap, "HTTP/1.%d %d %s\r\n%s%s%s%s%s%s%sDate: %s\r\n%s%s%s%s%s\r\n",
		req->minor, a->status, http_reason(a->status), type_first ? "Content-Type: " : "",
		type_first ? a->type : "", type_first ? "\r\n" : "",
		a->nosniff ? "X-Content-Type-Options: nosniff\r\n" : "",
		a->location != NULL ? "Location: " : "", a->location != NULL ? a->location : "",
		a->location != NULL ? "\r\n" : "", http_date(time(NULL), date, sizeof(date)),
		length, a->type != NULL && !type_first ? "Content-Type: " : "",
		a->type != NULL && !type_first ? a->type : "",
		a->type != NULL && !type_first ? "\r\n" : "", connection);
}

static void close_client(struct client *c);
static void want_events(struct client *c);

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

static void respond(struct client *c, const struct http_request *req)
{
	char head[HEAD_MAX + 3 * HTTP_MAX_PATH];
	char clean[HTTP_MAX_PATH];
	char location[3 * HTTP_MAX_PATH];
	struct answer a = { .status = 500 };
	bool with_body = strcmp(req->method, "HEAD") != 0;
	size_t len;

	if (http_clean_path(req->path, clean)) {
		escape_path(clean, location, sizeof(location));
		a.status = 301;
		a.location = location;
	} else {
		dispatch(c->api, req, &a);
	}
	log_debug("API: %s %s: %d", req->method, req->path, a.status);
	c->close_after = !req->keep_alive;
	len = put_head(head, sizeof(head), &a, req, req->keep_alive);
	queue(c, head, len, a.body, with_body ? a.body_len : 0);
	free(a.body);
}

/* A request that is none. */
static void refuse(struct client *c, const struct http_request *req)
{
	char text[512];
	int len = snprintf(text, sizeof(text),
			   "HTTP/1.1 %d %s\r\nContent-Type: " TYPE_TEXT
			   "\r\nConnection: close\r\n\r\n%d %s",
			   (int)req->refusal, req->problem, (int)req->refusal, req->problem);

	c->close_after = true;
	c->refused = true;
	queue(c, text, (size_t)len, NULL, 0);
}

/* ---- clients ---- */

static void free_client(struct task *t)
{
	struct client *c = LOOP_OWNER(t, struct client, reap);

	free(c->in);
	free(c->out);
	free(c);
}

static void link_client(struct client *c)
{
	struct api *api = c->api;

	c->newer = NULL;
	c->older = api->newest;
	if (c->older != NULL)
		c->older->newer = c;
	else
		api->oldest = c;
	api->newest = c;
}

static void unlink_client(struct client *c)
{
	struct api *api = c->api;

	if (c->newer != NULL)
		c->newer->older = c->older;
	else
		api->newest = c->older;
	if (c->older != NULL)
		c->older->newer = c->newer;
	else
		api->oldest = c->newer;
}

static void close_client(struct client *c)
{
	struct api *api = c->api;

	if (c->watch.fd < 0)
		return;
	loop_cancel(api->loop, &c->deadline);
	loop_remove(api->loop, &c->watch);
	fd_close(&c->watch.fd);
	unlink_client(c);
	api->client_count--;
	loop_defer(api->loop, &c->reap);
}

static void on_deadline(struct timer *t)
{
	close_client(LOOP_OWNER(t, struct client, deadline));
}

/* A deadline runs while something is unfinished, and only then. */
static void want_events(struct client *c)
{
	struct loop *loop = c->api->loop;

	if (c->watch.fd < 0)
		return;
	if (c->out == NULL && c->in_len == 0 && !c->leaving)
		loop_cancel(loop, &c->deadline);
	else if (c->deadline.slot == 0 && loop_timer(loop, &c->deadline, DEADLINE_MS) < 0)
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
	unlink_client(c); /* the newest from now on */
	link_client(c);
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
		loop_cancel(c->api->loop, &c->deadline);
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
		loop_cancel(c->api->loop, &c->deadline); /* the request's; now for the answer */
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
		n = recv(w->fd, c->in + c->in_len, c->in_cap - c->in_len, MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
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

static int start_client(struct api *api, int fd)
{
	struct client *c = calloc(1, sizeof(*c));

	if (c == NULL) {
		close(fd);
		return -ENOMEM;
	}
	c->api = api;
	c->watch = (struct watch){ .fd = fd, .events = POLLIN, .on_event = on_client };
	c->deadline.on_due = on_deadline;
	c->reap.run = free_client;
	if (loop_add(api->loop, &c->watch) < 0) {
		close(fd);
		free(c);
		return -ENOMEM;
	}
	link_client(c);
	api->client_count++;
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
static bool make_place(struct api *api)
{
	for (struct client *c = api->oldest; c != NULL; c = c->newer) {
		if (is_idle(c)) {
			close_client(c);
			return true;
		}
	}
	return false;
}

static void on_resume(struct timer *t)
{
	struct api *api = LOOP_OWNER(t, struct api, resume);

	loop_want(api->loop, &api->listener, POLLIN);
}

static void pause_accepting(struct api *api)
{
	if (loop_timer(api->loop, &api->resume, PAUSE_MS) == 0)
		loop_want(api->loop, &api->listener, 0);
}

static void on_listener(struct watch *w, short revents)
{
	struct api *api = LOOP_OWNER(w, struct api, listener);
	int fd;

	(void)revents;
	if (api->client_count >= MAX_CLIENTS && !make_place(api)) {
		pause_accepting(api);
		return;
	}
	fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0 && !unixsock_is_same_user(fd)) {
		close(fd);
		return;
	}
	if (fd >= 0 && start_client(api, fd) == 0)
		return;
	if (fd < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED))
		return;
	if (fd < 0 && errno == EMFILE && make_place(api))
		return;
	pause_accepting(api);
}

/* ---- start and stop ---- */

static int listen_on(struct api *api, const char *path, struct err *e)
{
	api->listener.fd = unixsock_listen(path, e);
	return api->listener.fd < 0 ? api->listener.fd : loop_add(api->loop, &api->listener);
}

struct api *api_start(struct loop *loop, const char *path, const struct api_info *info,
		      struct ports *ports, struct err *e)
{
	struct api *api = calloc(1, sizeof(*api));

	if (api == NULL) {
		err_sys(e, ENOMEM, "starting the API");
		return NULL;
	}
	api->loop = loop;
	api->info = info_to_json(info, ports);
	api->ports = ports;
	api->listener = (struct watch){ .fd = -1, .events = POLLIN, .on_event = on_listener };
	api->resume.on_due = on_resume;
	if (api->info == NULL)
		err_sys(e, ENOMEM, "starting the API");
	if (api->info == NULL || listen_on(api, path, e) < 0) {
		fd_close(&api->listener.fd);
		free(api->info);
		free(api);
		return NULL;
	}
	return api;
}

void api_stop(struct api *api)
{
	if (api == NULL)
		return;
	while (api->newest != NULL)
		close_client(api->newest);
	loop_run_tasks(api->loop);
	loop_cancel(api->loop, &api->resume);
	loop_remove(api->loop, &api->listener);
	fd_close(&api->listener.fd);
	free(api->info);
	free(api);
}
