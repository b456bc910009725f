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
struct place {
	struct ipaddr ip;
	bool both_families; /* an IPv6 socket that accepts IPv4 too */
	bool udp;
};

/* "127.0.0.1:80", "[::1]:80", ":80" */
static const char *address_text(const struct portspec *spec, char *buf, size_t cap)
{
	bool v6 = strchr(spec->parent_ip, ':') != NULL;

	snprintf(buf, cap, v6 ? "[%s]:%d" : "%s:%d", spec->parent_ip, spec->parent_port);
	return buf;
}

static int find_place(const struct portspec *spec, struct place *place, struct err *e)
{
	bool v4_only = spec->proto == PROTO_TCP4 || spec->proto == PROTO_UDP4;
	bool v6_only = spec->proto == PROTO_TCP6 || spec->proto == PROTO_UDP6;
	bool given = spec->parent_ip[0] != '\0';

	*place = (struct place){ .ip = { .family = v4_only ? AF_INET : AF_INET6 },
				 .udp = proto_is_udp(spec->proto) };
	if (given && ipaddr_parse(&place->ip, spec->parent_ip) < 0)
		return err_set(e, EINVAL, "invalid ParentIP: \"%s\"", spec->parent_ip);
	if ((v4_only && place->ip.family != AF_INET) || (v6_only && place->ip.family != AF_INET6))
		return err_set(e, EADDRNOTAVAIL,
			       "listen %s: address %s: no suitable address found; it is an IPv%s "
			       "address: try %.3s or %.3s%s",
			       proto_name(spec->proto), spec->parent_ip, v4_only ? "6" : "4",
			       proto_name(spec->proto), proto_name(spec->proto),
			       v4_only ? "6" : "4");
	if (!v4_only && !v6_only && (!given || ipaddr_is_any(&place->ip))) {
		place->ip = (struct ipaddr){ .family = AF_INET6 };
		place->both_families = true;
	}
	return 0;
}

static int set_options(int fd, const struct place *place)
{
	int one = 1;
	int v6_only = !place->both_families;

	if (place->ip.family == AF_INET6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof(v6_only)) < 0)
		return -errno;
	if (place->udp)
		return dgram_listener_options(fd, place->ip.family);
	/* Not for UDP, where it would let two sockets share a port. */
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0)
		return -errno;
	sockopt_tcp_defaults(fd);
	sockopt_tcp_reset_on_close(fd);
	if (ipaddr_is_loopback(&place->ip))
		sockopt_tcp_local(fd);
	return 0;
}

/* Returns a listening socket, or -errno; *step then names the call that failed. */
static int open_socket(const struct place *place, int port, const char **step)
{
	struct sockaddr_storage sa;
	socklen_t len = ipaddr_sockaddr(&place->ip, port, &sa);
	int type = place->udp ? SOCK_DGRAM : SOCK_STREAM;
	FD_AUTO int fd = -1;
	int r;

	*step = "socket";
	fd = socket(place->ip.family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	*step = "setsockopt";
	r = set_options(fd, place);
	if (r < 0)
		return r;
	*step = "bind";
	if (bind(fd, (struct sockaddr *)&sa, len) < 0)
		return -errno;
	*step = "listen";
	if (!place->udp && listen(fd, SOCKOPT_BACKLOG) < 0)
		return -errno;
	return fd_take(&fd);
}

/* Does the error `why` mean that this host has no IPv6? */
static bool is_without_ipv6(int why)
{
	return why == -EAFNOSUPPORT || why == -EADDRNOTAVAIL || why == -EPROTONOSUPPORT;
}

static void explain_privileged(int port, const char *program, struct err *e)
{
	char text[32];
	long start = UNPRIVILEGED_PORT_DEFAULT;

	if (fd_read_file(UNPRIVILEGED_PORT_START, text, sizeof(text)) > 0)
		start = strtol(text, NULL, 10);
	if (port >= start)
		return;
	err_wrap(e,
		 "cannot expose privileged port %d, you can add "
		 "'net.ipv4.ip_unprivileged_port_start=%d' to /etc/sysctl.conf (currently %ld), or "
		 "set CAP_NET_BIND_SERVICE on %s binary, or choose a larger port number (>= %ld)",
		 port, port, start, program, start);
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

int listen_port(const struct portspec *spec, struct err *e)
{
	char address[PORTSPEC_IP_LEN + sizeof("[]:65535")];
	struct place place;
	const char *step;
	int fd = find_place(spec, &place, e);

	if (fd < 0)
		return fd;
	fd = open_socket(&place, spec->parent_port, &step);
	if (place.both_families && is_without_ipv6(fd)) {
		place = (struct place){ .ip = { .family = AF_INET }, .udp = place.udp };
		fd = open_socket(&place, spec->parent_port, &step);
	}
	if (fd >= 0)
		return fd;
	err_sys(e, -fd, "listen %s %s: %s", proto_name(spec->proto),
		address_text(spec, address, sizeof(address)), step);
	listen_explain(spec, -fd, "rootlesskit", e);
	return fd;
}
