/* SPDX-License-Identifier: Apache-2.0 */
/* Where packets go. See reach.h.
 *
 * Why not rtnetlink(7), which could be asked for the route: the parent has no rtnetlink socket of
 * the child's namespace, while any child can hand over a UDP socket. Why not bind(2): with the
 * sysctl ip_nonlocal_bind it accepts any address.
 */
#include "ports/reach.h"
#include "formats/ipaddr.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>

#define ANY_PORT 9 /* discard (RFC 863); nothing is sent */

static void disconnect(int fd)
{
	const struct sockaddr nowhere = { .sa_family = AF_UNSPEC };

	(void)connect(fd, &nowhere, sizeof(nowhere));
}

/* Sets *source to the address from which the kernel would send to `to`. Returns false if there is
 * no route. */
static bool find_source(int fd, const struct ipaddr *to, struct ipaddr *source)
{
	struct sockaddr_storage sa = { .ss_family = AF_UNSPEC };
	socklen_t len = ipaddr_sockaddr(to, ANY_PORT, &sa);
	bool found;

	disconnect(fd); /* a connected socket would keep its source address */
	found = connect(fd, (const struct sockaddr *)&sa, len) == 0;
	memset(&sa, 0, sizeof(sa));
	len = sizeof(sa);
	found = found && getsockname(fd, (struct sockaddr *)&sa, &len) == 0;
	disconnect(fd); /* release the port as well */
	ipaddr_from_sockaddr(source, &sa);
	return found && source->family == to->family;
}

bool reach_is_local(int udp_fd, const struct ipaddr *ip)
{
	struct ipaddr source;

	/* To one of its own addresses a host sends from that same address; within the loopback
	 * network, from 127.0.0.1. */
	return ipaddr_is_loopback(ip) ||
	       (find_source(udp_fd, ip, &source) && ipaddr_equal(&source, ip));
}

bool reach_is_outside(int udp_fd, const struct ipaddr *ip)
{
	/* Addresses for documentation (RFC 5737, RFC 3849): only the default route leads there. */
	struct ipaddr elsewhere = { .family = ip->family }, source, usual;

	(void)inet_pton(ip->family, ip->family == AF_INET ? "198.51.100.1" : "2001:db8:ffff::1",
			&elsewhere.v6);
	return find_source(udp_fd, ip, &source) && !ipaddr_equal(&source, ip) &&
	       !ipaddr_is_loopback(ip) && find_source(udp_fd, &elsewhere, &usual) &&
	       ipaddr_equal(&source, &usual);
}
