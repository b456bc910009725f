/* SPDX-License-Identifier: Apache-2.0 */
#include "os/sockopt.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"

#define CONGESTION_LEN 16 /* bytes of the name of a congestion control algorithm, with the NUL */
#define KEEPALIVE_S    15 /* compat: Go's net.Dialer and net.ListenConfig */

static void set(int fd, int level, int name, int value)
{
	setsockopt(fd, level, name, &value, sizeof(value));
}

void sockopt_oob_inline(int fd)
{
	set(fd, SOL_SOCKET, SO_OOBINLINE, 1);
}

void sockopt_tcp_defaults(int fd)
{
	set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	sockopt_oob_inline(fd);
	set(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_S);
	set(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_S);
}

static void set_linger(int fd, struct linger how)
{
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &how, sizeof(how));
}

void sockopt_tcp_reset_on_close(int fd)
{
	set_linger(fd, (struct linger){ .l_onoff = 1, .l_linger = 0 });
}

void sockopt_forget_linger(int fd)
{
	set_linger(fd, (struct linger){ 0 });
}

void sockopt_close(int *fd)
{
	if (*fd < 0)
		return;
	sockopt_forget_linger(*fd);
	fd_close(fd);
}

void sockopt_reset(int *fd)
{
	if (*fd < 0)
		return;
	sockopt_tcp_reset_on_close(*fd);
	fd_close(fd);
}

void sockopt_set_hops(int fd, int family, int hops)
{
	if (family == AF_INET)
		setsockopt(fd, IPPROTO_IP, IP_TTL, &hops, sizeof(hops));
	else
		setsockopt(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, &hops, sizeof(hops));
}

void sockopt_report_hops(int fd, int family)
{
	if (family == AF_INET)
		set(fd, IPPROTO_IP, IP_RECVTTL, 1);
	else
		set(fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1);
}

static bool has_hops(const struct cmsghdr *c)
{
	return c->cmsg_len >= CMSG_LEN(sizeof(int)) &&
	       ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL) ||
		(c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_HOPLIMIT));
}

int sockopt_reported_hops(struct msghdr *msg)
{
	int hops = SOCKOPT_ANY_HOPS;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c))
		if (has_hops(c))
			memcpy(&hops, CMSG_DATA(c), sizeof(hops));
	return hops;
}

bool sockopt_is_own_peer(int fd)
{
	struct sockaddr_storage own = { 0 }, peer = { 0 };
	socklen_t own_len = sizeof(own), peer_len = sizeof(peer);

	return getsockname(fd, (struct sockaddr *)&own, &own_len) == 0 &&
	       getpeername(fd, (struct sockaddr *)&peer, &peer_len) == 0 && own_len == peer_len &&
	       memcmp(&own, &peer, own_len) == 0;
}

int sockopt_take_error(int fd)
{
	int errnum = 0;
	socklen_t len = sizeof(errnum);

	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &errnum, &len) < 0 ? errno : errnum;
}

void sockopt_tcp_local(int fd)
{
	static const char pacing[] = "bbr", plain[] = "reno"; /* every kernel has "reno" */
	char name[CONGESTION_LEN] = "";
	socklen_t len = sizeof(name);

	if (getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len) == 0 &&
	    strncmp(name, pacing, sizeof(pacing) - 1) == 0)
		setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, plain, sizeof(plain) - 1);
}
