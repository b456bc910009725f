/* SPDX-License-Identifier: Apache-2.0 */
/* Routes and connection tracking for sockets that are bound to a client's address. See srcroute.h.
 *
 * A transparent socket can send packets from any address. The problem is the answer: by the routes
 * of the namespace it would leave for the client. So answers get the mark 100, and packets with
 * that mark use routing table 100, in which every destination is local. There are two ways to give
 * an answer that mark:
 *
 * - DIRECT: the socket's own packets have mark 100. The server's socket takes the mark over from
 *   them (tcp_fwmark_accept), and so does a reset if there is no server (fwmark_reflect). Nothing
 *   else is needed. But with that mark every target is local, so this is right only for a target
 *   that is local and whose address no rule translates (DNAT).
 *
 * - TRACKED: the socket's packets have mark 101, which no routing rule matches. netfilter stores
 *   the mark for the connection, and sets mark 100 on the answers (netfilter.h). This is for the
 *   other targets: containers behind a bridge, reached by their own addresses or by DNAT.
 *
 * Addresses can only be translated if the kernel tracks connections (conntrack). So a local target
 * is DIRECT if the kernel does not track. If it does, the target is TRACKED: other rules need
 * tracking already, so ours add no cost. (Without other rules ours would switch tracking on, and
 * all connections would pay for it.) The kernel does not say whether it tracks, and there are too
 * many kinds of rules to look for (nft, two kinds of iptables, ip6tables). But it does say whether
 * a given connection is tracked.
 *
 * Mark 100, the table and the rule's priority are compat: 3.0.1.
 */
#include "ports/srcroute.h"

#include <errno.h>

#include "base/clock.h"
#include "base/fd.h"
#include "os/rtnl.h"
#include "os/sockopt.h"
#include "ports/transparent.h"

#define TABLE	 100
#define PRIORITY 100 /* of the rule: before those of a VPN inside, which start at 1000 */
#define LOOK_MS	 10  /* between two checks; new rules may go unnoticed for this long */

/* ---- the routes ---- */

static int allow_marks(struct err *e)
{
	int r = fd_write_file("/proc/sys/net/ipv4/tcp_fwmark_accept", "1", e);

	return r < 0 ? r : fd_write_file("/proc/sys/net/ipv4/fwmark_reflect", "1", e);
}

/* If the rule is there already, an earlier port service in this namespace has made both. */
static int add_routes(int fd, int family, int lo, struct err *e)
{
	int rule = rtnl_mark_rule_add(fd, family, PRIORITY, TRANSPARENT_MARK_IN, TABLE, e);
	int r = rule;

	if (rule == 0 || rule == -EEXIST)
		r = rtnl_local_default_add(fd, family, lo, TABLE, e);
	return rule == -EEXIST && r == -EEXIST ? 0 : r;
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
	/* Not an error: a namespace without IPv6 does not need it. */
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

/* Connects a socket to itself, and asks the kernel whether it tracks that connection. A connection
 * to a closed port would not do: the kernel forgets it at once. */
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
	(void)connect(fd, (struct sockaddr *)&sa, len); /* a failed connection is not tracked */
	return transparent_is_tracked(fd, family);
}

/* Does the kernel track connections of this family here? Once it does, our own rules (choose_mark)
 * keep tracking on, so it is not checked again. */
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

/* Returns the mark that brings the answers back, or -errno with a reason. */
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
