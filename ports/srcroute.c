/* SPDX-License-Identifier: Apache-2.0 */
/* Routes and connection tracking for sockets that speak from a client's address. See srcroute.h.
 *
 * A packet may be sent from any address; the answer is what has to find its way back, since by the
 * routes of the namespace it would leave for the client. Packets with the mark 100 go by table 100
 * instead, in which every destination is local. There are two ways for an answer to get that mark:
 *
 * - DIRECT: The socket's own packets have it, and the server's socket takes it over from them
 *   (tcp_fwmark_accept), as does a reset where there is no server (fwmark_reflect). Nothing else is
 *   needed, but with that mark every target is local: this is for targets that are, and nobody may
 *   translate their addresses (DNAT) on the way.
 *
 * - TRACKED: The socket's packets have the mark 101, which no route cares for, and netfilter keeps
 *   the connection's mark (netfilter.h). This is for the others: containers behind a bridge, by
 *   their own addresses or behind DNAT.
 *
 * Addresses can only be translated where the kernel tracks connections. So that is what we look at:
 * where it does, which is when there are rules that need it, ours cost nothing more; and elsewhere
 * nobody should pay for them. There is no way to ask whether it does, and the kinds of rules are
 * many (nft, iptables of two kinds, ip6tables), but a connection can be asked whether it is
 * tracked.
 *
 * The mark, the table and the rule's priority are compat: 3.0.1.
 */
#include "ports/srcroute.h"

#include <errno.h>

#include "base/clock.h"
#include "base/fd.h"
#include "os/rtnl.h"
#include "os/sockopt.h"
#include "ports/transparent.h"

#define TABLE	 100
#define PRIORITY 100 /* of the rule: before those of a VPN inside, which have 1000 and more */
#define LOOK_MS	 10  /* in which nobody makes rules and relies on them */

/* ---- the routes ---- */

static int allow_marks(struct err *e)
{
	int r = fd_write_file("/proc/sys/net/ipv4/tcp_fwmark_accept", "1", e);

	return r < 0 ? r : fd_write_file("/proc/sys/net/ipv4/fwmark_reflect", "1", e);
}

static int add_routes(int fd, int family, int lo, struct err *e)
{
	int r = rtnl_mark_rule_add(fd, family, PRIORITY, TRANSPARENT_MARK_IN, TABLE, e);

	return r < 0 ? r : rtnl_local_default_add(fd, family, lo, TABLE, e);
}

int srcroute_start(struct srcroute *t, struct err *e)
{
	int lo, r;

	*t = (struct srcroute){ .rtnl_fd = -1, .netfilter = NETFILTER_INIT };
	lo = rtnl_link_index("lo", e);
	if (lo < 0)
		return lo;
	t->rtnl_fd = rtnl_open(e);
	if (t->rtnl_fd < 0)
		return t->rtnl_fd;
	r = allow_marks(e);
	if (r == 0)
		r = add_routes(t->rtnl_fd, AF_INET, lo, e);
	if (r < 0) {
		fd_close(&t->rtnl_fd);
		return r;
	}
	/* A namespace without IPv6 needs none of it. */
	t->v6 = fd_write_file("/proc/sys/net/ipv6/fwmark_reflect", "1", NULL) == 0 &&
		add_routes(t->rtnl_fd, AF_INET6, lo, NULL) == 0;
	return 0;
}

/* ---- targets ---- */

static bool is_loopback(const struct sockaddr_storage *to)
{
	if (to->ss_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(
			&((const struct sockaddr_in6 *)(const void *)to)->sin6_addr);
	return ntohl(((const struct sockaddr_in *)(const void *)to)->sin_addr.s_addr) >> 24 ==
	       IN_LOOPBACKNET;
}

/* Is the target an address of this namespace? */
static bool is_local(const struct srcroute *t, const struct sockaddr_storage *to)
{
	const struct sockaddr_in *v4 = (const void *)to;
	const struct sockaddr_in6 *v6 = (const void *)to;

	if (is_loopback(to))
		return true;
	if (to->ss_family == AF_INET6)
		return rtnl_is_local(t->rtnl_fd, AF_INET6, &v6->sin6_addr, sizeof(v6->sin6_addr)) ==
		       1;
	return rtnl_is_local(t->rtnl_fd, AF_INET, &v4->sin_addr, sizeof(v4->sin_addr)) == 1;
}

/* ---- tracking ---- */

/* Connects a socket to itself, and asks whether that was tracked. A connection to where
 * nobody listens would not do, since the kernel forgets that at once. */
static bool is_seen_tracked(int family)
{
	struct sockaddr_storage sa = { .ss_family = (sa_family_t)family };
	struct sockaddr_in *v4 = (struct sockaddr_in *)&sa;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&sa;
	FD_AUTO int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(sa);

	if (family == AF_INET)
		v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else
		v6->sin6_addr = in6addr_loopback;
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, transparent_length(&sa)) < 0 ||
	    getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
		return false;
	sockopt_tcp_reset_on_close(fd);
	(void)connect(fd, (struct sockaddr *)&sa, len); /* in progress, or never tracked */
	return transparent_is_tracked(fd, family);
}

/* Does the kernel track connections of this family here? Once it did we have rules of our own, so
 * that it goes on. */
static bool is_tracking(struct srcroute *t, int family)
{
	struct tracking *k = family == AF_INET ? &t->v4_tracking : &t->v6_tracking;
	unsigned long long now = clock_now_ms();

	if (k->active || now - k->looked_ms < LOOK_MS)
		return k->active;
	k->looked_ms = now;
	k->active = is_seen_tracked(family);
	return k->active;
}

/* ---- sockets ---- */

/* Which mark makes the answers come back? Returns it, or -errno. */
static int choose_mark(struct srcroute *t, const struct sockaddr_storage *to, struct err *e)
{
	int r;

	if (is_local(t, to) && !is_tracking(t, to->ss_family))
		return TRANSPARENT_MARK_IN;
	r = netfilter_keep_marks(&t->netfilter, TRANSPARENT_MARK_OUT, TRANSPARENT_MARK_IN, e);
	return r < 0 ? r : TRANSPARENT_MARK_OUT;
}

int srcroute_socket(struct srcroute *t, const struct sockaddr_storage *from,
		    const struct sockaddr_storage *to, struct err *e)
{
	FD_AUTO int fd = -1;
	int mark = transparent_check(from, to, e);

	if (mark == 0 && from->ss_family == AF_INET6 && !t->v6)
		mark = err_set(e, EAFNOSUPPORT, "no routes for IPv6");
	if (mark == 0 && deadpaths_has(&t->dead, from, to))
		mark = err_set(e, EHOSTUNREACH, "answers did not find their way back lately");
	if (mark == 0)
		mark = choose_mark(t, to, e);
	if (mark < 0)
		return mark;
	fd = socket(from->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(e, errno, "socket");
	mark = transparent_bind(fd, from, mark, e);
	return mark < 0 ? mark : fd_take(&fd);
}
