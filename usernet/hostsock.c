/* SPDX-License-Identifier: Apache-2.0 */
/* The host's socket of a TCP flow. See hostsock.h, tcp(7) and socket(7). */
#include "usernet/hostsock.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/fd.h"
#include "os/sockopt.h"

/* Without SO_PEEK_OFF, what was peeked at before is copied again, to here. Any thread may write,
 * and nobody reads. */
static uint8_t waste[65536];
#define WASTE_PARTS 64 /* 4 MiB are skipped; more waits until the inside has acknowledged some */

#define LEAVE_MAX   (1 << 20) /* bytes that are dropped at a time */
#define LEAVE_TURNS 64	      /* a peer may send faster than we drop */

/* ---- connecting ---- */

/* TCP sockets have SO_PEEK_OFF since Linux 6.9. */
static bool enable_peek_off(int fd)
{
	const int from = 0;

	return setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &from, sizeof(from)) == 0;
}

static bool is_loopback(const struct sockaddr_storage *to)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)to;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)to;

	return to->ss_family == AF_INET ? ntohl(v4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET
					: IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

int hostsock_connect(struct hostsock *h, const struct sockaddr_storage *to, socklen_t len)
{
	FD_AUTO int fd = socket(to->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	*h = (struct hostsock){ .fd = -1 };
	if (fd < 0)
		return -errno;
	sockopt_tcp_defaults(fd);
	sockopt_tcp_reset_on_close(fd);
	if (is_loopback(to))
		sockopt_tcp_local(fd);
	if (connect(fd, (const struct sockaddr *)to, len) < 0 && errno != EINPROGRESS)
		return -errno;
	h->has_peek_off = enable_peek_off(fd);
	h->fd = fd_take(&fd);
	return 0;
}

int hostsock_connected(const struct hostsock *h)
{
	int errnum = sockopt_take_error(h->fd);

	return errnum == 0 && sockopt_is_own_peer(h->fd) ? -ECONNREFUSED : -errnum;
}

/* ---- to the host ---- */

ssize_t hostsock_send(struct hostsock *h, const void *bytes, size_t len)
{
	ssize_t n = send(h->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	return n < 0 ? -errno : n;
}

size_t hostsock_room(const struct hostsock *h)
{
	uint32_t info[SK_MEMINFO_VARS] = { 0 };
	socklen_t len = sizeof(info);

	if (getsockopt(h->fd, SOL_SOCKET, SO_MEMINFO, info, &len) < 0 ||
	    info[SK_MEMINFO_WMEM_QUEUED] >= info[SK_MEMINFO_SNDBUF])
		return 0;
	return info[SK_MEMINFO_SNDBUF] - info[SK_MEMINFO_WMEM_QUEUED];
}

bool hostsock_ask_room(const struct hostsock *h)
{
	struct pollfd p = { .fd = h->fd, .events = POLLOUT };

	return poll(&p, 1, 0) == 1;
}

void hostsock_end(const struct hostsock *h)
{
	shutdown(h->fd, SHUT_WR);
}

/* ---- from the host ---- */

/* Has the host sent its end, and are there only `skip` bytes before it? */
static bool is_at_end(const struct hostsock *h, size_t skip)
{
	struct pollfd p = { .fd = h->fd, .events = POLLRDHUP };
	int waiting;

	return poll(&p, 1, 0) == 1 && ioctl(h->fd, FIONREAD, &waiting) == 0 &&
	       (size_t)waiting == skip;
}

static ssize_t peek_from_start(const struct hostsock *h, size_t skip, void *buf, size_t len)
{
	struct iovec parts[WASTE_PARTS + 1];
	struct msghdr msg = { .msg_iov = parts };
	size_t left = skip;
	ssize_t n;

	for (; left > 0; msg.msg_iovlen++) {
		size_t part = left < sizeof(waste) ? left : sizeof(waste);

		if (msg.msg_iovlen == WASTE_PARTS)
			return -EAGAIN;
		parts[msg.msg_iovlen] = (struct iovec){ waste, part };
		left -= part;
	}
	parts[msg.msg_iovlen++] = (struct iovec){ buf, len };
	n = recvmsg(h->fd, &msg, MSG_PEEK | MSG_DONTWAIT);
	if (n < 0)
		return -errno;
	if ((size_t)n > skip)
		return n - (ssize_t)skip;
	return skip == 0 || is_at_end(h, skip) ? 0 : -EAGAIN;
}

static ssize_t peek_on(struct hostsock *h, size_t skip, void *buf, size_t len)
{
	const int from = (int)skip;
	ssize_t n;

	if (skip != h->peeked &&
	    setsockopt(h->fd, SOL_SOCKET, SO_PEEK_OFF, &from, sizeof(from)) < 0)
		return -errno;
	h->peeked = skip;
	n = recv(h->fd, buf, len, MSG_PEEK | MSG_DONTWAIT);
	if (n < 0)
		return -errno;
	h->peeked += (size_t)n;
	return n;
}

ssize_t hostsock_peek(struct hostsock *h, size_t skip, void *buf, size_t len)
{
	return h->has_peek_off ? peek_on(h, skip, buf, len) : peek_from_start(h, skip, buf, len);
}

/* The kernel moves the peek offset back by as much. */
void hostsock_drop(struct hostsock *h, size_t len)
{
	while (len > 0) {
		ssize_t n = recv(h->fd, NULL, len, MSG_TRUNC | MSG_DONTWAIT);

		if (n <= 0)
			return;
		len -= (size_t)n;
		h->peeked -= (size_t)n < h->peeked ? (size_t)n : h->peeked;
	}
}

/* To close a socket with unread bytes sends a reset, and drops what is not delivered yet (RFC 2525
 * 2.17). */
void hostsock_leave(struct hostsock *h)
{
	for (int i = 0; i < LEAVE_TURNS && h->fd >= 0; i++)
		if (recv(h->fd, NULL, LEAVE_MAX, MSG_TRUNC | MSG_DONTWAIT) <= 0)
			break;
	hostsock_close(h, false);
}

void hostsock_close(struct hostsock *h, bool reset)
{
	if (reset)
		sockopt_reset(&h->fd);
	else
		sockopt_close(&h->fd);
}
