/* SPDX-License-Identifier: Apache-2.0 */
#include "formats/target.h"

#include <errno.h>

/* Parses an address. An empty text gives AF_UNSPEC. */
static int parse_given(struct ipaddr *ip, const char *text, const char *which, struct err *e)
{
	*ip = (struct ipaddr){ .family = AF_UNSPEC };
	if (text[0] != '\0' && ipaddr_parse(ip, text) < 0)
		return err_set(e, EINVAL, "invalid %s: \"%s\"", which, text);
	return 0;
}

int target_from_spec(struct target *t, const struct portspec *spec, struct err *e)
{
	int r;

	*t = (struct target){ .proto = spec->proto,
			      .port = spec->child_port,
			      .ip_text = spec->child_ip,
			      .parent_ip_text = spec->parent_ip };
	r = parse_given(&t->ip, spec->child_ip, "ChildIP", e);
	if (r == 0)
		r = parse_given(&t->parent_ip, spec->parent_ip, "ParentIP", e);
	return r;
}

int target_check(const struct target *t, struct err *e)
{
	if (proto_is_tcp(t->proto) || proto_is_udp(t->proto))
		return 0;
	return err_set(e, ENOTSUP, "unsupported port protocol %s", proto_name(t->proto));
}

struct ipaddr target_address(const struct target *t, const struct ipaddr *host_gateway_ip)
{
	const struct ipaddr *parent = &t->parent_ip;

	if (t->ip.family != AF_UNSPEC)
		return t->ip;
	if (parent->family == AF_UNSPEC || ipaddr_equal(parent, host_gateway_ip) ||
	    (parent->family == AF_INET && ipaddr_is_any(parent)))
		return ipaddr_loopback(AF_INET);
	return *parent;
}

bool target_depends_on_child(const struct target *t, const struct ipaddr *ip)
{
	return t->ip.family == AF_UNSPEC && !ipaddr_is_loopback(ip) && !ipaddr_is_any(ip);
}

socklen_t target_sockaddr(const struct target *t, const struct ipaddr *ip,
			  struct sockaddr_storage *to)
{
	const struct ipaddr loopback = ipaddr_loopback(ip->family);

	/* A connect to 0.0.0.0 or :: goes to the socket's own source address. If the socket is
	 * bound to the client's address, that is the client, so use the loopback address. */
	return ipaddr_sockaddr(ipaddr_is_any(ip) ? &loopback : ip, t->port, to);
}

int target_dial_error(const struct target *t, const struct ipaddr *ip, int errnum, struct err *e)
{
	char text[IPADDR_ENDPOINT_LEN];

	return err_sys(e, errnum, "dial %s %s: connect", proto_name(t->proto),
		       ipaddr_endpoint_text(ip, t->port, text, sizeof(text)));
}
