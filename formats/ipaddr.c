/* SPDX-License-Identifier: Apache-2.0 */
#include "formats/ipaddr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Converts an IPv4-mapped IPv6 address to IPv4 (RFC 4291, 2.5.5.2). */
static void unmap(struct ipaddr *ip)
{
	if (ip->family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&ip->v6))
		return;
	ip->family = AF_INET;
	memmove(&ip->v4, &ip->v6.s6_addr[12], sizeof(ip->v4));
}

int ipaddr_parse(struct ipaddr *ip, const char *text)
{
	struct ipaddr new = { .family = AF_INET };

	if (inet_pton(AF_INET, text, &new.v4) != 1) {
		new.family = AF_INET6;
		if (inet_pton(AF_INET6, text, &new.v6) != 1)
			return -EINVAL;
		unmap(&new);
	}
	*ip = new;
	return 0;
}

bool ipaddr_is_loopback(const struct ipaddr *ip)
{
	switch (ip->family) {
	case AF_INET:
		return ntohl(ip->v4.s_addr) >> 24 == IN_LOOPBACKNET;
	case AF_INET6:
		return IN6_IS_ADDR_LOOPBACK(&ip->v6);
	default:
		return false;
	}
}

bool ipaddr_is_any(const struct ipaddr *ip)
{
	switch (ip->family) {
	case AF_INET:
		return ip->v4.s_addr == htonl(INADDR_ANY);
	case AF_INET6:
		return IN6_IS_ADDR_UNSPECIFIED(&ip->v6);
	default:
		return false;
	}
}

struct ipaddr ipaddr_loopback(sa_family_t family)
{
	struct ipaddr ip = { .family = family };

	if (family == AF_INET)
		ip.v4.s_addr = htonl(INADDR_LOOPBACK);
	else if (family == AF_INET6)
		ip.v6 = in6addr_loopback;
	return ip;
}

bool ipaddr_equal(const struct ipaddr *a, const struct ipaddr *b)
{
	if (a->family != b->family)
		return false;
	switch (a->family) {
	case AF_INET:
		return a->v4.s_addr == b->v4.s_addr;
	case AF_INET6:
		return IN6_ARE_ADDR_EQUAL(&a->v6, &b->v6);
	default:
		return true;
	}
}

socklen_t ipaddr_sockaddr(const struct ipaddr *ip, int port, struct sockaddr_storage *sa)
{
	struct sockaddr_in *sin = (struct sockaddr_in *)sa;
	struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *)sa;

	memset(sa, 0, sizeof(*sa));
	sa->ss_family = ip->family;
	switch (ip->family) {
	case AF_INET:
		sin->sin_port = htons((uint16_t)port);
		sin->sin_addr = ip->v4;
		return sizeof(*sin);
	case AF_INET6:
		sin6->sin6_port = htons((uint16_t)port);
		sin6->sin6_addr = ip->v6;
		return sizeof(*sin6);
	default:
		return 0;
	}
}

int ipaddr_from_sockaddr(struct ipaddr *ip, const struct sockaddr_storage *sa)
{
	const struct sockaddr_in *sin = (const struct sockaddr_in *)sa;
	const struct sockaddr_in6 *sin6 = (const struct sockaddr_in6 *)sa;

	*ip = (struct ipaddr){ .family = AF_UNSPEC };
	if (sa->ss_family == AF_INET) {
		ip->family = AF_INET;
		ip->v4 = sin->sin_addr;
		return ntohs(sin->sin_port);
	}
	if (sa->ss_family != AF_INET6)
		return 0;
	ip->family = AF_INET6;
	ip->v6 = sin6->sin6_addr;
	unmap(ip);
	return ntohs(sin6->sin6_port);
}

const char *ipaddr_text(const struct ipaddr *ip, char *buf, size_t cap)
{
	const void *addr = ip->family == AF_INET ? (const void *)&ip->v4 : &ip->v6;

	buf[0] = '\0';
	if (ip->family != AF_UNSPEC)
		inet_ntop(ip->family, addr, buf, (socklen_t)cap);
	return buf;
}

const char *ipaddr_endpoint_text(const struct ipaddr *ip, int port, char *buf, size_t cap)
{
	char text[INET6_ADDRSTRLEN];

	ipaddr_text(ip, text, sizeof(text));
	snprintf(buf, cap, ip->family == AF_INET6 ? "[%s]:%d" : "%s:%d", text, port);
	return buf;
}
