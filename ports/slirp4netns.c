/* SPDX-License-Identifier: Apache-2.0 */
/* The port driver slirp4netns. See slirp4netns.h.
 *
 * A slot's `data` is a struct slirp_port; NULL if the port is not open, after a restart.
 */
#include "ports/slirp4netns.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "formats/ipaddr.h"
#include "formats/slirpapi.h"
#include "os/unixsock.h"
#include "ports/listen.h"

#define DEADLINE_MS 2000 /* for an answer */

struct slirp {
	char *api_socket;
	char *child_ip;
};

struct slirp_port {
	int64_t id; /* slirp4netns' ID of the port */
};

static const char *const protos[] = { "tcp", "tcp4", "udp", "udp4", NULL };

/* ---- asking ---- */

/* Returns a non-blocking connection, or -errno. connect(2) on a UNIX socket succeeds or fails at
 * once (unix(7)). */
static int connect_to_api(const char *path)
{
	struct sockaddr_un address;
	int r = unixsock_address(&address, path);

	if (r == 0)
		r = unixsock_connect(&address);
	return r == -ENOENT || r == -ECONNREFUSED ? -ENOTCONN : r;
}

/* Reads to the end of the stream. Returns the length in bytes, or -errno. */
static ssize_t read_answer(int fd, char *answer, size_t cap)
{
	unsigned long long until = clock_now_ms() + DEADLINE_MS;
	size_t len = 0;
	ssize_t n;

	while ((n = fd_recv_until(fd, answer + len, cap - len, until)) > 0) {
		len += (size_t)n;
		if (len == cap)
			return -EMSGSIZE;
	}
	if (n < 0)
		return n == -ECONNRESET ? -ENOTCONN : n;
	return (ssize_t)len;
}

/* Sends the request and receives the answer. Returns the answer's length in bytes, or -errno. */
static ssize_t talk(const char *path, const char *request, size_t len, char *answer, size_t cap)
{
	FD_AUTO int fd = connect_to_api(path);

	if (fd < 0)
		return fd;
	/* A fresh socket has room for the request. */
	if (send(fd, request, len, MSG_NOSIGNAL) != (ssize_t)len)
		return errno == EPIPE ? -ENOTCONN : -errno;
	if (shutdown(fd, SHUT_WR) < 0)
		return -errno;
	return read_answer(fd, answer, cap);
}

/* Sends a request and decodes the answer. `len`: the request's length in bytes, or the -errno with
 * which its encoding failed. Sets *id to the port's ID if `id` is not NULL. Returns 0 or -errno
 * with a reason: -ENOTCONN if slirp4netns does not run, -ETIMEDOUT if it does not answer. */
static int ask(const char *path, const char *request, int len, int64_t *id, struct err *e)
{
	char answer[SLIRPAPI_ANSWER_MAX];
	ssize_t n = len < 0 ? len : talk(path, request, (size_t)len, answer, sizeof(answer));
	int r;

	if (n == -ENOTCONN || n == 0)
		return err_set(e, ENOTCONN, "slirp4netns is not running now");
	if (n == -ETIMEDOUT)
		return err_set(e, ETIMEDOUT, "slirp4netns did not answer for %d ms", DEADLINE_MS);
	if (n < 0)
		return err_sys(e, (int)-n, "asking slirp4netns");
	r = slirpapi_decode(answer, (size_t)n, id, e);
	if (r == -EPROTO)
		err_wrap(e, "asking slirp4netns");
	return r;
}

/* ---- ports ---- */

#define TAKES	  "; the slirp4netns port driver takes tcp, tcp4, udp and udp4"
#define IPV4_ONLY "; slirp4netns forwards IPv4 only; try --port-driver=builtin"

/* slirp4netns does not say why it cannot listen. So this tries to bind the same address, and adds
 * the reason of the failure to `e`. */
static void explain(const struct portspec *spec, struct err *e)
{
	const char *text = spec->parent_ip[0] != '\0' ? spec->parent_ip : "0.0.0.0";
	struct ipaddr ip;
	struct err why;
	char why_text[128];
	int reason;

	if (ipaddr_parse(&ip, text) < 0)
		return;
	if (ip.family != AF_INET) {
		err_add(e, IPV4_ONLY);
		return;
	}
	reason = -listen_try_bind(&ip, spec->parent_port, proto_is_udp(spec->proto));
	if (reason == 0)
		return;
	err_set(&why, reason, "listen %s %s:%d: bind: %s", proto_name(spec->proto), text,
		spec->parent_port, err_text(reason, why_text, sizeof(why_text)));
	listen_explain(spec, reason, "slirp4netns", &why);
	err_add(e, ": %s", why.msg);
}

static bool is_supported(enum proto proto)
{
	for (size_t i = 0; protos[i] != NULL; i++)
		if (strcmp(protos[i], proto_name(proto)) == 0)
			return true;
	return false;
}

/* compat: RootlessKit refuses IPv6 protos, and leaves the others to slirp4netns, whose answer this
 * is. */
static int refuse_proto(enum proto proto, struct err *e)
{
	const char *name = proto_name(proto);

	if (strchr(name, '6') != NULL)
		return err_set(e, ENOTSUP, "unsupported protocol \"%s\"" TAKES, name);
	return err_set(e, ENOTSUP,
		       "reply.Error: map[desc:bad request: add_hostfwd: bad arguments.proto]: "
		       "unsupported port protocol %s" TAKES,
		       name);
}

static int add(const struct slirp *s, const struct portspec *spec, int64_t *id, struct err *e)
{
	char request[SLIRPAPI_REQUEST_MAX];
	struct ipaddr child;
	int r;

	if (!is_supported(spec->proto))
		return refuse_proto(spec->proto, e);
	if (spec->child_ip[0] != '\0' && ipaddr_parse(&child, spec->child_ip) == 0 &&
	    child.family != AF_INET)
		return err_set(e, ENOTSUP, "unsupported IP (v6?): %s" IPV4_ONLY, spec->child_ip);
	r = slirpapi_add(spec, s->child_ip, request, sizeof(request));
	r = ask(s->api_socket, request, r, id, e);
	if (r == -EREMOTEIO)
		explain(spec, e);
	return r;
}

static int slirp_open(void *driver, struct port_slot *slot, struct err *e)
{
	struct slirp_port *port = malloc(sizeof(*port));
	int r;

	if (port == NULL)
		return err_sys(e, ENOMEM, "publishing a port");
	r = add(driver, &slot->entry.spec, &port->id, e);
	if (r < 0)
		free(port);
	else
		slot->data = port;
	return r;
}

static int slirp_close(void *driver, struct port_slot *slot, struct err *e)
{
	const struct slirp *s = driver;
	struct slirp_port *port = slot->data;
	char request[SLIRPAPI_REQUEST_MAX];
	int r = 0;

	if (port != NULL) {
		r = slirpapi_remove(port->id, request, sizeof(request));
		r = ask(s->api_socket, request, r, NULL, e);
	}
	/* A program that is not running has no port. */
	if (r == -ENOTCONN)
		r = 0;
	if (r == 0)
		free(port);
	return r;
}

static void slirp_forget(struct port_slot *slot)
{
	free(slot->data);
	slot->data = NULL;
}

/* ---- start and end ---- */

/* The ports are closed when slirp4netns exits. */
static bool slirp_free(void *driver, struct port_slot *slots, size_t count, unsigned int wait_ms)
{
	struct slirp *s = driver;

	(void)wait_ms;
	for (size_t i = 0; i < count; i++)
		free(slots[i].data);
	free(s->api_socket);
	free(s->child_ip);
	free(s);
	return true;
}

static int slirp_start(void **driver, const struct port_setup *setup, struct err *e)
{
	struct slirp *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return err_sys(e, ENOMEM, "starting the port driver");
	s->api_socket = strdup(setup->api_socket);
	s->child_ip = strdup(setup->child_ip);
	if (s->api_socket == NULL || s->child_ip == NULL) {
		slirp_free(s, NULL, 0, 0);
		return err_sys(e, ENOMEM, "starting the port driver");
	}
	*driver = s;
	return 0;
}

const struct portdriver slirp4netns_ports = {
	.protos = protos,
	.disallows_loopback = true,
	/* compat: RootlessKit asks slirp4netns, which answers this. */
	.unknown_id = "reply.Error: map[desc:bad request: remove_hostfwd: bad arguments.id]",
	.start = slirp_start,
	.open = slirp_open,
	.close = slirp_close,
	.forget = slirp_forget,
	.free = slirp_free,
};
