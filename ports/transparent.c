/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets that speak from a client's address. See transparent.h.
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
#include "ports/transparent.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter_ipv4.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "os/sockopt.h"

#define MARK_IN	      100
#define MARK_OUT      101
#define TABLE	      100
#define PRIORITY      100 /* of the rule: before those of a VPN inside, which have 1000 and more */
#define DEAD_MS	      60000 /* for which nobody waits for a target again */
#define NETWORK4_LEN  3	    /* bytes of an address that make the network of a client */
#define NETWORK6_LEN  8
#define MANY_NETWORKS 8	 /* with dead ways to a target: it is not for the network that they are */
#define LOOK_MS	      10 /* in which nobody makes rules and relies on them */

/* ---- the routes ---- */

static int allow_marks(struct err *e)
{
	int r = fd_write_file("/proc/sys/net/ipv4/tcp_fwmark_accept", "1", e);

	return r < 0 ? r : fd_write_file("/proc/sys/net/ipv4/fwmark_reflect", "1", e);
}

static int add_routes(int fd, int family, int lo, struct err *e)
{
	int r = rtnl_mark_rule_add(fd, family, PRIORITY, MARK_IN, TABLE, e);

	return r < 0 ? r : rtnl_local_default_add(fd, family, lo, TABLE, e);
}

int transparent_start(struct transparent *t, struct err *e)
{
	int lo, r;

	*t = (struct transparent){ .rtnl_fd = -1, .netfilter = NETFILTER_INIT };
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

/* ---- addresses ---- */

static socklen_t length_of(const struct sockaddr_storage *sa)
{
	return sa->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

bool transparent_is_same(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	return a->ss_family == b->ss_family && memcmp(a, b, length_of(a)) == 0;
}

/* Is it an address that one host has, and the same host from wherever it is seen? */
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
	/* It would be connected to itself. */
	if (transparent_is_same(from, to))
		return err_set(e, EADDRINUSE, "the target's own address");
	return 0;
}

static bool is_loopback(const struct sockaddr_storage *to)
{
	if (to->ss_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(
			&((const struct sockaddr_in6 *)(const void *)to)->sin6_addr);
	return ntohl(((const struct sockaddr_in *)(const void *)to)->sin_addr.s_addr) >> 24 ==
	       IN_LOOPBACKNET;
}

/* Is the target an address of this namespace? */
static bool is_local(const struct transparent *t, const struct sockaddr_storage *to)
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

/* Only a tracked connection has an original destination (SO_ORIGINAL_DST, which is
 * IP6T_SO_ORIGINAL_DST too). */
static bool is_tracked(int fd, int family)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);

	return getsockopt(fd, family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6, SO_ORIGINAL_DST, &sa,
			  &len) == 0;
}

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
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, length_of(&sa)) < 0 ||
	    getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
		return false;
	sockopt_tcp_reset_on_close(fd);
	(void)connect(fd, (struct sockaddr *)&sa, len); /* in progress, or never tracked */
	return is_tracked(fd, family);
}

/* Does the kernel track connections of this family here? Once it did we have rules of our own, so
 * that it goes on. */
static bool is_tracking(struct transparent *t, int family)
{
	struct tracking *k = family == AF_INET ? &t->v4_tracking : &t->v6_tracking;
	unsigned long long now = clock_now_ms();

	if (k->active || now - k->looked_ms < LOOK_MS)
		return k->active;
	k->looked_ms = now;
	k->active = is_seen_tracked(family);
	return k->active;
}

/* ---- ways that are dead ---- */

static bool is_same_network(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	const struct sockaddr_in *a4 = (const void *)a, *b4 = (const void *)b;
	const struct sockaddr_in6 *a6 = (const void *)a, *b6 = (const void *)b;

	if (a->ss_family != b->ss_family)
		return false;
	if (a->ss_family == AF_INET)
		return memcmp(&a4->sin_addr, &b4->sin_addr, NETWORK4_LEN) == 0;
	return memcmp(&a6->sin6_addr, &b6->sin6_addr, NETWORK6_LEN) == 0;
}

bool transparent_is_dead(const struct transparent_dead *dead, const struct sockaddr_storage *from,
			 const struct sockaddr_storage *to)
{
	unsigned long long now = clock_now_ms();
	unsigned int networks = 0;

	for (const struct dead_way *w = dead->ways; w < dead->ways + TRANSPARENT_DEAD_WAYS; w++) {
		if (now >= w->until_ms || !transparent_is_same(&w->to, to))
			continue;
		if (++networks == MANY_NETWORKS || is_same_network(&w->from, from))
			return true;
	}
	return false;
}

/* Returns the place of the way, NULL if it is not there. */
static struct dead_way *find_way(struct transparent_dead *dead, const struct sockaddr_storage *from,
				 const struct sockaddr_storage *to)
{
	for (struct dead_way *w = dead->ways; w < dead->ways + TRANSPARENT_DEAD_WAYS; w++)
		if (transparent_is_same(&w->to, to) && is_same_network(&w->from, from))
			return w;
	return NULL;
}

void transparent_forget_dead(struct transparent_dead *dead, const struct sockaddr_storage *from,
			     const struct sockaddr_storage *to)
{
	struct dead_way *way = find_way(dead, from, to);

	if (way != NULL)
		way->until_ms = 0;
}

void transparent_note_dead(struct transparent_dead *dead, const struct sockaddr_storage *from,
			   const struct sockaddr_storage *to)
{
	struct dead_way *way = find_way(dead, from, to);

	if (way == NULL)
		way = &dead->ways[dead->next++ % TRANSPARENT_DEAD_WAYS];
	*way = (struct dead_way){ .from = *from, .to = *to, .until_ms = clock_now_ms() + DEAD_MS };
}

/* ---- sockets ---- */

/* Which mark makes the answers come back? Returns it, or -errno. */
static int choose_mark(struct transparent *t, const struct sockaddr_storage *to, struct err *e)
{
	int r;

	if (is_local(t, to) && !is_tracking(t, to->ss_family))
		return MARK_IN;
	r = netfilter_keep_marks(&t->netfilter, MARK_OUT, MARK_IN, e);
	return r < 0 ? r : MARK_OUT;
}

static int set(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value));
}

int transparent_bind(int fd, const struct sockaddr_storage *from, int mark, struct err *e)
{
	bool v6 = from->ss_family == AF_INET6;

	/* One client may be connected to two targets from the same port. */
	if (set(fd, SOL_SOCKET, SO_MARK, mark) < 0 || set(fd, SOL_SOCKET, SO_REUSEADDR, 1) < 0 ||
	    set(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_TRANSPARENT : IP_TRANSPARENT, 1) < 0)
		return err_sys(e, errno, "setsockopt");
	if (bind(fd, (const struct sockaddr *)from, length_of(from)) < 0)
		return err_sys(e, errno, "bind");
	return 0;
}

int transparent_mark(int fd)
{
	int mark = 0;
	socklen_t len = sizeof(mark);

	return getsockopt(fd, SOL_SOCKET, SO_MARK, &mark, &len) == 0 ? mark : 0;
}

bool transparent_is_right(int fd, int family, int mark)
{
	/* Where nothing is tracked nothing is translated; and who got an answer with the other mark
	 * has got it the right way. */
	return mark != MARK_IN || !is_tracked(fd, family);
}

int transparent_socket(struct transparent *t, const struct sockaddr_storage *from,
		       const struct sockaddr_storage *to, struct err *e)
{
	FD_AUTO int fd = -1;
	int mark = transparent_check(from, to, e);

	if (mark == 0 && from->ss_family == AF_INET6 && !t->v6)
		mark = err_set(e, EAFNOSUPPORT, "no routes for IPv6");
	if (mark == 0 && transparent_is_dead(&t->dead, from, to))
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
