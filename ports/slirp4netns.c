/* SPDX-License-Identifier: Apache-2.0 */
/* The port driver slirp4netns. See slirp4netns.h.
 *
 * A slot's `number` is the ID that slirp4netns gave the port. It is -1 for a port that slirp4netns
 * could not open again after a restart.
 */
#include "ports/slirp4netns.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "formats/ipaddr.h"
#include "formats/slirpapi.h"
#include "os/unixsock.h"
#include "ports/listen.h"

#define DEADLINE_MS 2000 /* for an answer */

struct slirp {
	char *api_socket;
	char *child_ip;
	void (*on_stuck)(void *arg);
	void *arg;
};

static const char *const protos[] = { "tcp", "tcp4", "udp", "udp4", NULL };

/* ---- asking ---- */

/* Returns a non-blocking connection, or -errno. connect(2) on a UNIX socket succeeds or fails at
 * once (unix(7)). */
static int dial(const char *path)
{
	struct sockaddr_un address;
	FD_AUTO int fd = -1;
	int r = unixsock_address(&address, path);

	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return errno == ENOENT || errno == ECONNREFUSED ? -ENOTCONN : -errno;
	return fd_take(&fd);
}

/* Reads to the end of the stream. Returns the length in bytes, or -errno. */
static ssize_t read_answer(int fd, char *answer, size_t cap)
{
	unsigned long long until = clock_now_ms() + DEADLINE_MS;
	size_t len = 0;

	for (;;) {
		int left_ms = clock_left_ms(until);
		ssize_t n;

		if (left_ms == 0 || fd_wait(fd, POLLIN, left_ms) == 0)
			return -ETIMEDOUT;
		n = recv(fd, answer + len, cap - len, MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n < 0)
			return errno == ECONNRESET ? -ENOTCONN : -errno;
		if (n == 0)
			return (ssize_t)len;
		len += (size_t)n;
		if (len == cap)
			return -EMSGSIZE;
	}
}

/* Sends the request and receives the answer. Returns the answer's length in bytes, or -errno. */
static ssize_t talk(const char *path, const char *request, size_t len, char *answer, size_t cap)
{
	FD_AUTO int fd = dial(path);

	if (fd < 0)
		return fd;
	/* A fresh socket has room for the request. */
	if (send(fd, request, len, MSG_NOSIGNAL) != (ssize_t)len)
		return errno == EPIPE ? -ENOTCONN : -errno;
	if (shutdown(fd, SHUT_WR) < 0)
		return -errno;
	return read_answer(fd, answer, cap);
}

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

#define IPV4_ONLY "; slirp4netns forwards IPv4 only; try --port-driver=builtin"

/* slirp4netns does not say why it cannot listen. Tries to bind the same address here, and adds the
 * reason to `e`. */
static void explain(const struct portspec *spec, struct err *e)
{
	const char *text = spec->parent_ip[0] != '\0' ? spec->parent_ip : "0.0.0.0";
	int type = proto_is_udp(spec->proto) ? SOCK_DGRAM : SOCK_STREAM;
	struct sockaddr_storage sa;
	struct ipaddr ip;
	FD_AUTO int fd = -1;
	char why[128];
	socklen_t len;
	int one = 1, reason;

	if (ipaddr_parse(&ip, text) < 0)
		return;
	if (ip.family != AF_INET) {
		err_add(e, IPV4_ONLY);
		return;
	}
	len = ipaddr_sockaddr(&ip, spec->parent_port, &sa);
	fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	if (type == SOCK_STREAM)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&sa, len) == 0)
		return;
	reason = errno;
	err_add(e, ": listen %s %s:%d: bind: %s", proto_name(spec->proto), text, spec->parent_port,
		err_text(reason, why, sizeof(why)));
	listen_explain(spec, reason, "slirp4netns", e);
}

static bool is_supported(enum proto proto)
{
	for (size_t i = 0; protos[i] != NULL; i++)
		if (strcmp(protos[i], proto_name(proto)) == 0)
			return true;
	return false;
}

static int add(const struct slirp *s, const struct portspec *spec, int64_t *id, struct err *e)
{
	char request[SLIRPAPI_REQUEST_MAX];
	int r;

	if (!is_supported(spec->proto))
		return err_set(e, ENOTSUP,
			       "unsupported port protocol %s; the slirp4netns port driver takes "
			       "tcp, tcp4, udp and udp4",
			       proto_name(spec->proto));
	r = slirpapi_add(spec, s->child_ip, request, sizeof(request));
	r = ask(s->api_socket, request, r, id, e);
	if (r == -EREMOTEIO)
		explain(spec, e);
	return r;
}

static int check_stuck(const struct slirp *s, int r)
{
	if (r == -ETIMEDOUT)
		s->on_stuck(s->arg);
	return r;
}

static int slirp_open(void *driver, struct port_slot *slot, struct err *e)
{
	const struct slirp *s = driver;

	slot->number = -1;
	return check_stuck(s, add(s, &slot->entry.spec, &slot->number, e));
}

static int slirp_close(void *driver, struct port_slot *slot, struct err *e)
{
	const struct slirp *s = driver;
	char request[SLIRPAPI_REQUEST_MAX];
	int r = 0;

	if (slot->number >= 0) {
		r = slirpapi_remove(slot->number, request, sizeof(request));
		r = ask(s->api_socket, request, r, NULL, e);
	}
	/* A program that is not running has no port. */
	return r == -ENOTCONN ? 0 : check_stuck(s, r);
}

static void slirp_restore(void *driver, struct port_slot *slots, size_t count)
{
	bool lost = false;

	for (size_t i = 0; i < count; i++) {
		char brief[PORTSPEC_TEXT_LEN];
		struct err why;
		int r;

		slots[i].number = -1;
		if (lost)
			continue;
		r = slirp_open(driver, &slots[i], &why);
		if (r < 0)
			log_error("port %d %s is closed: %s", slots[i].entry.id,
				  portspec_brief(&slots[i].entry.spec, brief, sizeof(brief)),
				  why.msg);
		/* If slirp4netns does not answer, do not ask again for each of the other ports. */
		lost = r == -ETIMEDOUT || r == -ENOTCONN;
	}
}

/* ---- start and end ---- */

/* The ports are closed when slirp4netns exits. */
static bool slirp_free(void *driver, struct port_slot *slots, size_t count, unsigned int wait_ms)
{
	struct slirp *s = driver;

	(void)slots;
	(void)count;
	(void)wait_ms;
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
	s->on_stuck = setup->on_stuck;
	s->arg = setup->arg;
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
	.start = slirp_start,
	.open = slirp_open,
	.close = slirp_close,
	.restore = slirp_restore,
	.free = slirp_free,
};
