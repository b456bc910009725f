/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets that are bound to a client's address. See transparent.h; srcroute.c has the theory. */
#include "ports/transparent.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter_ipv4.h>
#include <string.h>

/* ---- addresses ---- */

socklen_t transparent_length(const struct sockaddr_storage *sa)
{
	return sa->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

bool transparent_is_same(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	return a->ss_family == b->ss_family && memcmp(a, b, transparent_length(a)) == 0;
}

/* Can a client have this address, and does it mean the same client inside? False for unspecified,
 * loopback, multicast, broadcast and IPv6 link-local addresses. */
static bool is_global_v4(struct in_addr addr)
{
	uint32_t host = ntohl(addr.s_addr);

	return host != INADDR_ANY && host >> 24 != IN_LOOPBACKNET && host < INADDR_UNSPEC_GROUP;
}

static bool is_global_v6(const struct in6_addr *addr)
{
	return !IN6_IS_ADDR_UNSPECIFIED(addr) && !IN6_IS_ADDR_LOOPBACK(addr) &&
	       !IN6_IS_ADDR_MULTICAST(addr) && !IN6_IS_ADDR_LINKLOCAL(addr);
}

int transparent_check(const struct sockaddr_storage *from, const struct sockaddr_storage *to,
		      struct err *e)
{
	const struct sockaddr_in *v4 = (const void *)from;
	const struct sockaddr_in6 *v6 = (const void *)from;

	if (from->ss_family != to->ss_family)
		return err_set(e, EAFNOSUPPORT, "client and target are not of the same family");
	if (from->ss_family == AF_INET ? !is_global_v4(v4->sin_addr) || v4->sin_port == 0
				       : !is_global_v6(&v6->sin6_addr) || v6->sin6_port == 0)
		return err_set(e, EADDRNOTAVAIL, "not an address to come from");
	/* The socket would be connected to itself. */
	if (transparent_is_same(from, to))
		return err_set(e, EADDRINUSE, "the target's own address");
	return 0;
}

/* ---- sockets ---- */

/* Only a tracked connection has an original destination. (SO_ORIGINAL_DST is also the number of
 * IP6T_SO_ORIGINAL_DST.) */
bool transparent_is_tracked(int fd, int family)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);

	return getsockopt(fd, family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6, SO_ORIGINAL_DST, &sa,
			  &len) == 0;
}

static int set(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value));
}

int transparent_bind(int fd, const struct sockaddr_storage *from, int mark, struct err *e)
{
	bool v6 = from->ss_family == AF_INET6;

	/* SO_REUSEADDR: a client may have connections to two targets from the same port. */
	if (set(fd, SOL_SOCKET, SO_MARK, mark) < 0 || set(fd, SOL_SOCKET, SO_REUSEADDR, 1) < 0 ||
	    set(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_TRANSPARENT : IP_TRANSPARENT, 1) < 0)
		return err_sys(e, errno, "setsockopt");
	if (bind(fd, (const struct sockaddr *)from, transparent_length(from)) < 0)
		return err_sys(e, errno, "bind");
	return 0;
}

int transparent_mark(int fd)
{
	int mark = 0;
	socklen_t len = sizeof(mark);

	return getsockopt(fd, SOL_SOCKET, SO_MARK, &mark, &len) == 0 ? mark : 0;
}

bool transparent_has_valid_mark(int fd, int family, int mark)
{
	/* TRANSPARENT_MARK_IN is wrong if an address was translated, and the kernel translates only
	 * tracked connections. With TRANSPARENT_MARK_OUT the server's answer has come back already.
	 */
	return mark != TRANSPARENT_MARK_IN || !transparent_is_tracked(fd, family);
}
