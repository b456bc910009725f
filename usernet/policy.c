/* SPDX-License-Identifier: Apache-2.0 */
/* What packets from inside may reach. See policy.h. */
#include "usernet/policy.h"

#include <arpa/inet.h>
#include <string.h>

#include "usernet/dns.h"

static uint32_t v4_of(const struct in6_addr *addr)
{
	uint32_t be;

	memcpy(&be, &addr->s6_addr[12], sizeof(be));
	return ntohl(be);
}

static bool is_same(const struct in6_addr *a, const struct in6_addr *b)
{
	return IN6_ARE_ADDR_EQUAL(a, b);
}

/* ---- kinds of addresses ---- */

/* 0.0.0.0/8 ("this host", where Linux connects to its loopback), 127.0.0.0/8, and multicast and all
 * above it, which includes broadcast (RFC 6890, RFC 1112). */
static bool is_odd_v4(uint32_t addr)
{
	uint32_t net = addr >> 24;

	return net == 0 || net == 127 || net >= 224;
}

/* Unspecified, loopback, multicast, link-local (it has no meaning beyond a link), and all of ::/96,
 * which IPv4-compatible addresses were (RFC 4291 2.5.5.1). */
static bool is_odd_v6(const struct in6_addr *addr)
{
	static const struct in6_addr zero;

	return memcmp(addr, &zero, 12) == 0 || IN6_IS_ADDR_MULTICAST(addr) ||
	       IN6_IS_ADDR_LINKLOCAL(addr);
}

static bool is_odd(const struct in6_addr *addr)
{
	return IN6_IS_ADDR_V4MAPPED(addr) ? is_odd_v4(v4_of(addr)) : is_odd_v6(addr);
}

/* The network and broadcast addresses of the inside's IPv4 network. Networks of one or two
 * addresses have none (RFC 3021). */
static bool is_broadcast(const struct netconf *conf, const struct in6_addr *addr)
{
	uint32_t host_bits, a;

	if (!IN6_IS_ADDR_V4MAPPED(addr) || conf->prefix_len > 30)
		return false;
	host_bits = UINT32_MAX >> conf->prefix_len;
	a = v4_of(addr);
	return ((a ^ v4_of(&conf->gateway)) & ~host_bits) == 0 &&
	       ((a & host_bits) == 0 || (a & host_bits) == host_bits);
}

static bool is_gateway(const struct netconf *conf, const struct in6_addr *addr)
{
	return is_same(addr, &conf->gateway) || (conf->ipv6 && is_same(addr, &conf->gateway6));
}

/* A family without a DNS address has :: there, which is no destination. */
static bool is_dns(const struct netconf *conf, const struct in6_addr *addr)
{
	return !IN6_IS_ADDR_UNSPECIFIED(addr) &&
	       (is_same(addr, &conf->dns) || (conf->ipv6 && is_same(addr, &conf->dns6)));
}

bool policy_is_ours(const struct netconf *conf, const struct in6_addr *addr)
{
	return is_gateway(conf, addr) || is_dns(conf, addr) ||
	       (conf->ipv6 && is_same(addr, &conf->router6));
}

/* ---- decisions ---- */

bool policy_is_dns(const struct netconf *conf, const struct in6_addr *dst, uint16_t port)
{
	return port == DNS_PORT && is_dns(conf, dst);
}

static struct in6_addr loopback_of(const struct in6_addr *gateway)
{
	struct in6_addr v4 = { .s6_addr = { [10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1 } };

	return IN6_IS_ADDR_V4MAPPED(gateway) ? v4 : in6addr_loopback;
}

/* A source address that no packet on this link may have */
static bool is_bad_source(const struct netconf *conf, const struct in6_addr *src)
{
	return is_odd(src) || policy_is_ours(conf, src) || is_broadcast(conf, src);
}

/* Link-local addresses of the inside may talk to ours, for example to ping the router. */
static bool is_on_link(const struct netconf *conf, const struct packet_addrs *addrs)
{
	return conf->ipv6 && is_same(&addrs->dst, &conf->router6) &&
	       IN6_IS_ADDR_LINKLOCAL(&addrs->src) && !is_same(&addrs->src, &addrs->dst);
}

enum policy policy_decide(const struct netconf *conf, const struct packet_addrs *addrs,
			  struct in6_addr *host)
{
	const struct in6_addr *dst = &addrs->dst;

	if (is_on_link(conf, addrs))
		return POLICY_SELF;
	if (is_bad_source(conf, &addrs->src) || is_broadcast(conf, dst) ||
	    is_same(&addrs->src, dst))
		return POLICY_IGNORED;
	if (is_gateway(conf, dst)) {
		*host = loopback_of(dst);
		return conf->host_loopback ? POLICY_HOST : POLICY_SELF;
	}
	if (is_dns(conf, dst))
		return POLICY_DNS;
	if (is_odd(dst))
		return POLICY_IGNORED;
	if (!IN6_IS_ADDR_V4MAPPED(dst) && !conf->ipv6)
		return POLICY_REFUSED;
	*host = *dst;
	return POLICY_HOST;
}

socklen_t policy_sockaddr(struct sockaddr_storage *to, const struct in6_addr *host, uint16_t port)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };

	memset(to, 0, sizeof(*to));
	if (IN6_IS_ADDR_V4MAPPED(host)) {
		v4.sin_addr.s_addr = htonl(v4_of(host));
		memcpy(to, &v4, sizeof(v4));
		return sizeof(v4);
	}
	v6.sin6_addr = *host;
	memcpy(to, &v6, sizeof(v6));
	return sizeof(v6);
}
