/* SPDX-License-Identifier: Apache-2.0 */
/* Opening listening sockets. See listen.h. */
#include "ports/listen.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "formats/ipaddr.h"
#include "os/sockopt.h"
#include "ports/dgram.h"

#define UNPRIVILEGED_PORT_START	  "/proc/sys/net/ipv4/ip_unprivileged_port_start"
#define UNPRIVILEGED_PORT_DEFAULT 1024

/* The address that a spec listens on. */
struct endpoint {
	struct ipaddr ip;
	bool both_families; /* an IPv6 socket that accepts IPv4 too */
	bool udp;
};

/* "127.0.0.1:80", "[::1]:80", ":80". compat: for tcp, Go prints :: as 0.0.0.0. */
static const char *address_text(const struct portspec *spec, const struct endpoint *endpoint,
				char *buf)
{
	struct ipaddr ip = endpoint->ip;

	if (endpoint->both_families && !endpoint->udp)
		ip = (struct ipaddr){ .family = AF_INET };
	if (spec->parent_ip[0] == '\0')
		snprintf(buf, IPADDR_ENDPOINT_LEN, ":%d", spec->parent_port);
	else
		ipaddr_endpoint_text(&ip, spec->parent_port, buf, IPADDR_ENDPOINT_LEN);
	return buf;
}

static int choose_endpoint(const struct portspec *spec, struct endpoint *endpoint, struct err *e)
{
	bool v4_only = spec->proto == PROTO_TCP4 || spec->proto == PROTO_UDP4;
	bool v6_only = spec->proto == PROTO_TCP6 || spec->proto == PROTO_UDP6;
	bool given = spec->parent_ip[0] != '\0';

	*endpoint = (struct endpoint){ .ip = { .family = v4_only ? AF_INET : AF_INET6 },
				       .udp = proto_is_udp(spec->proto) };
	if (given && ipaddr_parse(&endpoint->ip, spec->parent_ip) < 0)
		return err_set(e, EINVAL, "invalid ParentIP: \"%s\"", spec->parent_ip);
	/* compat: :: is any address, also with tcp4 and udp4. */
	if (v4_only && ipaddr_is_any(&endpoint->ip))
		endpoint->ip = (struct ipaddr){ .family = AF_INET };
	if ((v4_only && endpoint->ip.family != AF_INET) ||
	    (v6_only && endpoint->ip.family != AF_INET6))
		return err_set(e, EADDRNOTAVAIL,
			       "listen %s: address %s: no suitable address found; it is an IPv%s "
			       "address: try %.3s or %.3s%s",
			       proto_name(spec->proto), spec->parent_ip, v4_only ? "6" : "4",
			       proto_name(spec->proto), proto_name(spec->proto),
			       v4_only ? "6" : "4");
	if (!v4_only && !v6_only && (!given || ipaddr_is_any(&endpoint->ip))) {
		endpoint->ip = (struct ipaddr){ .family = AF_INET6 };
		endpoint->both_families = true;
	}
	return 0;
}

static int set_options(int fd, const struct endpoint *endpoint)
{
	int one = 1;
	int v6_only = !endpoint->both_families;

	if (endpoint->ip.family == AF_INET6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof(v6_only)) < 0)
		return -errno;
	if (endpoint->udp)
		return dgram_set_listener_options(fd, endpoint->ip.family);
	/* Not for UDP, where SO_REUSEADDR would let two sockets share a port. */
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0)
		return -errno;
	sockopt_tcp_defaults(fd);
	sockopt_tcp_reset_on_close(fd);
	if (ipaddr_is_loopback(&endpoint->ip))
		sockopt_tcp_local(fd);
	return 0;
}

/* Returns a listening socket, or -errno; *step then names the call that failed. */
static int open_socket(const struct endpoint *endpoint, int port, const char **step)
{
	struct sockaddr_storage sa;
	socklen_t len = ipaddr_sockaddr(&endpoint->ip, port, &sa);
	int type = endpoint->udp ? SOCK_DGRAM : SOCK_STREAM;
	FD_AUTO int fd = -1;
	int r;

	*step = "socket";
	fd = socket(endpoint->ip.family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	*step = "setsockopt";
	r = set_options(fd, endpoint);
	if (r < 0)
		return r;
	*step = "bind";
	if (bind(fd, (struct sockaddr *)&sa, len) < 0)
		return -errno;
	*step = "listen";
	if (!endpoint->udp && listen(fd, SOCKOPT_BACKLOG) < 0)
		return -errno;
	return fd_take(&fd);
}

/* Does the result `r` of open_socket mean that this host has no IPv6? */
static bool is_without_ipv6(int r)
{
	return r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL || r == -EPROTONOSUPPORT;
}

static void explain_privileged(int port, const char *program, struct err *e)
{
	char text[32], grant[128] = "";
	long start = UNPRIVILEGED_PORT_DEFAULT;

	if (fd_read_file(UNPRIVILEGED_PORT_START, text, sizeof(text)) > 0)
		start = strtol(text, NULL, 10);
	if (port >= start)
		return;
	if (program != NULL)
		snprintf(grant, sizeof(grant), ", or set CAP_NET_BIND_SERVICE on %s binary",
			 program);
	err_wrap(e,
		 "cannot expose privileged port %d, you can add "
		 "'net.ipv4.ip_unprivileged_port_start=%d' to /etc/sysctl.conf (currently %ld)%s, "
		 "or choose a larger port number (>= %ld)",
		 port, port, start, grant, start);
}

void listen_explain(const struct portspec *spec, int reason, const char *program, struct err *e)
{
	int port = spec->parent_port;

	if (reason == EACCES)
		explain_privileged(port, program, e);
	else if (reason == EADDRINUSE)
		err_add(e, "; see who has it: ss -l%cnp 'sport = :%d' (as root)",
			proto_is_udp(spec->proto) ? 'u' : 't', port);
	else if (reason == EADDRNOTAVAIL)
		err_add(e, "; it is not an address of this host (ip addr lists those)");
}

int listen_try_bind(const struct ipaddr *ip, int port, bool udp)
{
	struct sockaddr_storage sa;
	socklen_t len = ipaddr_sockaddr(ip, port, &sa);
	FD_AUTO int fd = socket(ip->family, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
	int one = 1;

	if (fd < 0)
		return -errno;
	if (ip->family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (!udp)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	return bind(fd, (struct sockaddr *)&sa, len) < 0 ? -errno : 0;
}

int listen_port(const struct portspec *spec, const char *program, struct err *e)
{
	char address[IPADDR_ENDPOINT_LEN];
	struct endpoint endpoint;
	const char *step;
	int fd = choose_endpoint(spec, &endpoint, e);

	if (fd < 0)
		return fd;
	fd = open_socket(&endpoint, spec->parent_port, &step);
	if (endpoint.both_families && is_without_ipv6(fd)) {
		endpoint = (struct endpoint){ .ip = { .family = AF_INET }, .udp = endpoint.udp };
		fd = open_socket(&endpoint, spec->parent_port, &step);
	}
	if (fd >= 0)
		return fd;
	err_sys(e, -fd, "listen %s %s: %s", proto_name(spec->proto),
		address_text(spec, &endpoint, address), step);
	listen_explain(spec, -fd, program, e);
	return fd;
}
