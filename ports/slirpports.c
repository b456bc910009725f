/* SPDX-License-Identifier: Apache-2.0 */
/* Ports that slirp4netns forwards. See slirpports.h. */
#include "ports/slirpports.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "formats/ipaddr.h"
#include "formats/slirpapi.h"
#include "os/unixsock.h"
#include "ports/listen.h"

const char *const slirpports_protos[] = { "tcp", "tcp4", "udp", "udp4", NULL };

/* ---- asking ---- */

/* Returns a non-blocking connection. One to a UNIX socket is made at once or not at all. */
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

/* Reads up to the end of the stream. Returns the length or -errno. */
static ssize_t read_answer(int fd, char *answer, size_t cap)
{
	unsigned long long until = clock_now_ms() + SLIRPPORTS_DEADLINE_MS;
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

/* Sends the request and receives the answer. Returns the answer's length or -errno. */
static ssize_t talk(const char *path, const char *request, size_t len, char *answer, size_t cap)
{
	FD_AUTO int fd = dial(path);

	if (fd < 0)
		return fd;
	/* A fresh socket has room for it. */
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
		return err_set(e, ETIMEDOUT, "slirp4netns did not answer for %d ms",
			       SLIRPPORTS_DEADLINE_MS);
	if (n < 0)
		return err_sys(e, (int)-n, "asking slirp4netns");
	r = slirpapi_decode(answer, (size_t)n, id, e);
	if (r == -EPROTO)
		err_wrap(e, "asking slirp4netns");
	return r;
}

/* ---- ports ---- */

/* It does not say why it cannot listen. Tries the same, and adds what comes of it. */
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

	if (ipaddr_parse(&ip, text) < 0 || ip.family != AF_INET)
		return;
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
	for (size_t i = 0; slirpports_protos[i] != NULL; i++)
		if (strcmp(slirpports_protos[i], proto_name(proto)) == 0)
			return true;
	return false;
}

int slirpports_add(const char *socket, const struct portspec *spec, const char *child_ip,
		   int64_t *id, struct err *e)
{
	char request[SLIRPAPI_REQUEST_MAX];
	int r;

	if (!is_supported(spec->proto))
		return err_set(e, ENOTSUP,
			       "unsupported port protocol %s; the slirp4netns port driver takes "
			       "tcp, tcp4, "
			       "udp and udp4",
			       proto_name(spec->proto));
	r = slirpapi_add(spec, child_ip, request, sizeof(request));
	r = ask(socket, request, r, id, e);
	if (r == -EREMOTEIO)
		explain(spec, e);
	return r;
}

int slirpports_remove(const char *socket, int64_t id, struct err *e)
{
	char request[SLIRPAPI_REQUEST_MAX];
	int len = slirpapi_remove(id, request, sizeof(request));

	return ask(socket, request, len, NULL, e);
}
