/* SPDX-License-Identifier: Apache-2.0 */
/* The port driver pesto. See pesto.h.
 *
 * pasta serves one client of its configuration socket at a time, in the thread that forwards
 * packets: while a client has sent only a part of its answer, all traffic stands still. So the
 * driver sends the whole answer by one send(2), as soon as it has read pasta's rules.
 *
 * pasta does not report whether it could listen. A port that it cannot open stays in its table, and
 * pasta then opens none of the ports after it. So the driver does three things for each port.
 * Before it adds the port, it binds the address for a moment, which gives the exact reason if that
 * fails. After pasta has closed the connection, the driver looks for the port among the host's
 * sockets. If the port is not there, the driver removes it from the table again.
 *
 * A slot needs no data of the driver: pasta's rules are found by the port's spec.
 */
#include "ports/pesto.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "formats/ipaddr.h"
#include "formats/pestomsg.h"
#include "os/unixsock.h"
#include "ports/listen.h"

#define DEADLINE_MS 2000 /* for pasta to send its rules, and again to replace them */
#define OPEN_MS	    1000 /* for a port to be open after that */
#define LOOK_MS	    5	 /* between two looks */

struct pesto {
	struct sockaddr_un socket;
	char *child_ip;
	bool ipv6;
};

static const char *const protos[] = { "tcp", "tcp4", "udp", "udp4", NULL };
static const char *const protos_ipv6[] = { "tcp", "tcp4", "udp", "udp4", "tcp6", "udp6", NULL };

/* ---- talking to pasta ---- */

/* Reads until pasta's message is complete. Returns 0 or -errno with a reason. */
static int read_rules(int fd, unsigned char *buf, struct pestomsg *m, struct err *e)
{
	unsigned long long until = clock_now_ms() + DEADLINE_MS;
	size_t len = 0;
	int r = 0;

	while (r == 0) {
		ssize_t n = fd_recv_until(fd, buf + len, PESTOMSG_MAX - len, until);

		if (n == -ETIMEDOUT)
			return err_set(e, ETIMEDOUT, "pasta did not answer for %d ms", DEADLINE_MS);
		if (n < 0)
			return err_sys(e, (int)-n, "asking pasta");
		if (n == 0)
			return err_set(e, EPROTO, "pasta hung up before it had sent its rules");
		len += (size_t)n;
		r = pestomsg_read(m, buf, len, e);
	}
	return r < 0 ? r : 0;
}

/* Waits until pasta closes the connection, which says that it uses the new rules. */
static int await_end(int fd, struct err *e)
{
	unsigned long long until = clock_now_ms() + DEADLINE_MS;
	ssize_t n;
	char byte;

	do
		n = fd_recv_until(fd, &byte, 1, until);
	while (n > 0);
	if (n == -ETIMEDOUT)
		return err_set(e, ETIMEDOUT, "pasta did not take its new rules in %d ms",
			       DEADLINE_MS);
	return n == 0 || n == -ECONNRESET ? 0 : err_sys(e, (int)-n, "asking pasta");
}

enum change { ADD, REMOVE };

/* Reads pasta's rules, changes them and sends them back. Returns 0 or -errno with a reason. */
static int exchange(int fd, enum change change, const struct pestomsg_port *port, unsigned char *in,
		    unsigned char *out, struct err *e)
{
	struct pestomsg m;
	int len, r = read_rules(fd, in, &m, e);

	if (r < 0)
		return r;
	len = change == ADD ? pestomsg_add(&m, port, out) : pestomsg_remove(&m, port, out);
	if (len < 0)
		return err_set(e, -len, "pasta forwards %d ports at most", PESTOMSG_RULES_MAX);
	/* a fresh socket has room for the answer */
	if (send(fd, out, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT) != len)
		return err_sys(e, errno, "asking pasta");
	return await_end(fd, e);
}

static int change_rules(const struct pesto *p, enum change change, const struct pestomsg_port *port,
			struct err *e)
{
	FD_AUTO int fd = unixsock_connect(&p->socket);
	unsigned char *buf;
	int r;

	if (fd == -ENOENT || fd == -ECONNREFUSED)
		return err_set(e, ENOTCONN, "pasta is not running now");
	if (fd < 0)
		return err_sys(e, -fd, "asking pasta");
	buf = malloc(2 * PESTOMSG_MAX);
	if (buf == NULL)
		return err_sys(e, ENOMEM, "asking pasta");
	r = exchange(fd, change, port, buf, buf + PESTOMSG_MAX, e);
	free(buf);
	return r;
}

/* ---- is a port open? ---- */

/* Writes the address and port as they stand in /proc/net/tcp: each 32-bit word of the address in
 * host byte order, "0100007F:1F90". */
static void write_socket_name(char *out, size_t cap, const struct pestomsg_port *port)
{
	const unsigned char *bytes = (const unsigned char *)&port->ip.v6;
	size_t size = port->ip.family == AF_INET6 ? sizeof(port->ip.v6) : sizeof(port->ip.v4);
	size_t len = 0;
	uint32_t word;

	for (size_t i = 0; i < size && len < cap; i += sizeof(word)) {
		memcpy(&word, bytes + i, sizeof(word));
		len += (size_t)snprintf(out + len, cap - len, "%08X", word);
	}
	if (len < cap)
		snprintf(out + len, cap - len, ":%04X", (unsigned int)port->parent_port);
}

/* The columns of /proc/net/tcp and udp (proc_net_tcp(5)): "sl local rem st". State 0A is LISTEN, 07
 * an unconnected UDP socket. */
static bool has_line(FILE *f, const char *name, const char *state)
{
	char line[512], local[64], st[8];

	while (fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, " %*[0-9]: %63s %*s %7s", local, st) == 2 &&
		    strcmp(local, name) == 0 && strcmp(st, state) == 0)
			return true;
	return false;
}

static bool is_open(const struct pestomsg_port *port)
{
	static const char *const files[2][2] = { { "/proc/net/tcp", "/proc/net/tcp6" },
						 { "/proc/net/udp", "/proc/net/udp6" } };
	char name[64];
	FILE *f = fopen(files[port->udp][port->ip.family == AF_INET6], "re");
	bool found;

	if (f == NULL)
		return true; /* cannot be checked */
	write_socket_name(name, sizeof(name), port);
	found = has_line(f, name, port->udp ? "07" : "0A");
	fclose(f);
	return found;
}

static bool await_open(const struct pestomsg_port *port)
{
	unsigned long long until = clock_now_ms() + OPEN_MS;

	while (!is_open(port)) {
		if (clock_left_ms(until) == 0)
			return false;
		poll(NULL, 0, LOOK_MS);
	}
	return true;
}

/* ---- ports ---- */

/* Is this a protocol for one family only, for this one? "tcp" is not, "tcp4" is for AF_INET. */
static bool is_one_family(enum proto proto, sa_family_t family)
{
	const char *name = proto_name(proto);
	char last = name[strlen(name) - 1];

	return family == AF_INET6 ? last == '6' : last == '4';
}

/* Converts a spec to a port of pasta's table. Returns 0, or -EINVAL or -ENOTSUP with a reason in
 * RootlessKit's words. */
static int read_spec(const struct pesto *p, const struct portspec *spec, struct pestomsg_port *port,
		     struct err *e)
{
	const char *proto = proto_name(spec->proto);
	const char *text = spec->parent_ip;
	sa_family_t family;

	if (strncmp(proto, "sctp", 4) == 0)
		return err_set(e, ENOTSUP, "unsupported protocol: %s; pasta forwards TCP and UDP",
			       proto);
	if (*text == '\0')
		text = is_one_family(spec->proto, AF_INET6) ? "::" : "0.0.0.0";
	if (ipaddr_parse(&port->ip, text) < 0)
		return err_set(e, EINVAL, "invalid IP: \"%s\"", text);
	family = port->ip.family;
	if (family == AF_INET6 && !p->ipv6)
		return err_set(
			e, ENOTSUP,
			"IPv6 port forwarding (proto \"%s\", parent IP \"%s\") requires --ipv6",
			proto, text);
	if (is_one_family(spec->proto, family == AF_INET6 ? AF_INET : AF_INET6))
		return err_set(e, EINVAL, "unsupported IP: %s; %s does not go with it", text,
			       proto);
	port->udp = proto_is_udp(spec->proto);
	port->parent_port = spec->parent_port;
	port->child_port = spec->child_port;
	return 0;
}

static int check_child_ip(const struct pesto *p, const struct portspec *spec, struct err *e)
{
	if (spec->child_ip[0] == '\0' || strcmp(spec->child_ip, p->child_ip) == 0)
		return 0;
	return err_set(
		e, ENOTSUP,
		"unsupported ChildIP \"%s\": the pesto port driver only supports the namespace "
		"address \"%s\"; --port-driver=builtin supports others",
		spec->child_ip, p->child_ip);
}

/* Checks that pasta will be able to listen. */
static int check_bind(const struct portspec *spec, const struct pestomsg_port *port, struct err *e)
{
	int r = listen_try_bind(&port->ip, port->parent_port, port->udp);
	char at[IPADDR_ENDPOINT_LEN];

	if (r == 0)
		return 0;
	err_sys(e, -r, "listen %s %s: bind", proto_name(spec->proto),
		ipaddr_endpoint_text(&port->ip, port->parent_port, at, sizeof(at)));
	listen_explain(spec, -r, "pasta", e);
	return r;
}

static int pesto_open(void *driver, struct port_slot *slot, struct err *e)
{
	const struct pesto *p = driver;
	struct pestomsg_port port = { 0 };
	int r = check_child_ip(p, &slot->entry.spec, e);

	if (r == 0)
		r = read_spec(p, &slot->entry.spec, &port, e);
	if (r == 0)
		r = check_bind(&slot->entry.spec, &port, e);
	if (r < 0)
		return r;
	r = change_rules(p, ADD, &port, e);
	if (r < 0 || await_open(&port))
		return r;
	change_rules(p, REMOVE, &port, NULL);
	return err_set(e, EIO, "pasta does not listen on this port; --debug shows what it says");
}

static int pesto_close(void *driver, struct port_slot *slot, struct err *e)
{
	const struct pesto *p = driver;
	struct pestomsg_port port = { 0 };
	int r = read_spec(p, &slot->entry.spec, &port, e);

	if (r == 0)
		r = change_rules(p, REMOVE, &port, e);
	/* a program that is not running has no port */
	return r == -ENOTCONN ? 0 : r;
}

/* The driver keeps nothing about a port. */
static void pesto_forget(struct port_slot *slot)
{
	(void)slot;
}

/* ---- start and end ---- */

/* The ports are closed when pasta exits. */
static bool pesto_free(void *driver, struct port_slot *slots, size_t count, unsigned int wait_ms)
{
	struct pesto *p = driver;

	(void)slots;
	(void)count;
	(void)wait_ms;
	free(p->child_ip);
	free(p);
	return true;
}

static int pesto_start(void **driver, const struct port_setup *setup, struct err *e)
{
	struct pesto *p = calloc(1, sizeof(*p));
	int r;

	if (p == NULL)
		return err_sys(e, ENOMEM, "starting the port driver");
	p->ipv6 = setup->ipv6;
	p->child_ip = strdup(setup->child_ip);
	r = p->child_ip != NULL ? unixsock_address(&p->socket, setup->api_socket) : -ENOMEM;
	if (r < 0) {
		pesto_free(p, NULL, 0, 0);
		return err_sys(e, -r, "starting the port driver");
	}
	*driver = p;
	return 0;
}

const struct portdriver pesto_ports = {
	.protos = protos,
	.protos_ipv6 = protos_ipv6,
	.disallows_loopback = true,
	.unknown_id = "invalid ID",
	.start = pesto_start,
	.open = pesto_open,
	.close = pesto_close,
	.forget = pesto_forget,
	.free = pesto_free,
};
