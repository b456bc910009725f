/* SPDX-License-Identifier: Apache-2.0 */
/* The error queue of a socket. See errqueue.h. */
#include "os/errqueue.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

/* With musl it needs time.h before it. */
#include <linux/errqueue.h>

int errqueue_enable(int fd, sa_family_t family)
{
	const int on = 1;
	int r = family == AF_INET ? setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof(on))
				  : setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof(on));

	return r < 0 ? -errno : 0;
}

/* The address follows the error in the message (SO_EE_OFFENDER). */
static void read_offender(struct errqueue_entry *e, const uint8_t *at, size_t len)
{
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	sa_family_t family = AF_UNSPEC;

	if (len >= sizeof(v4))
		memcpy(&family, at, sizeof(family));
	if (family == AF_INET) {
		memcpy(&v4, at, sizeof(v4));
		e->from.s6_addr[10] = e->from.s6_addr[11] = 0xff;
		memcpy(&e->from.s6_addr[12], &v4.sin_addr, sizeof(v4.sin_addr));
	} else if (family == AF_INET6 && len >= sizeof(v6)) {
		memcpy(&v6, at, sizeof(v6));
		e->from = v6.sin6_addr;
	}
}

static void read_error(struct errqueue_entry *e, const uint8_t *data, size_t len)
{
	struct sock_extended_err error;

	if (len < sizeof(error))
		return;
	memcpy(&error, data, sizeof(error));
	e->errnum = (int)error.ee_errno;
	e->is_icmp = error.ee_origin == SO_EE_ORIGIN_ICMP || error.ee_origin == SO_EE_ORIGIN_ICMP6;
	e->type = error.ee_type;
	e->code = error.ee_code;
	e->mtu = error.ee_info;
	read_offender(e, data + sizeof(error), len - sizeof(error));
}

static bool is_error(const struct cmsghdr *c)
{
	return (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) ||
	       (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR);
}

int errqueue_take(int fd, struct errqueue_entry *e)
{
	union {
		struct cmsghdr align;
		uint8_t bytes[512];
	} control;
	struct iovec iov = { e->bytes, sizeof(e->bytes) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	ssize_t n;

	memset(e, 0, sizeof(*e));
	n = recvmsg(fd, &msg, MSG_ERRQUEUE | MSG_DONTWAIT);
	if (n < 0)
		return 0;
	e->len = (size_t)n < sizeof(e->bytes) ? (size_t)n : sizeof(e->bytes);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c != NULL; c = CMSG_NXTHDR(&msg, c))
		if (is_error(c))
			read_error(e, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
	return 1;
}
