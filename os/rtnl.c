/* SPDX-License-Identifier: Apache-2.0 */
/* Configures a network by rtnetlink. See rtnl.h and rtnetlink(7). */
#include "os/rtnl.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/netlink.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

/* Bytes. An acknowledgement quotes the request, and our requests have less than 128 bytes. A part
 * of a list has at most a page, or this many bytes if pages are larger. */
#define RTNL_BUF 8192

/* IF_OPER_UNKNOWN and IF_OPER_UP of linux/if.h. Not all systems can include that together with
 * net/if.h. */
#define OPER_UNKNOWN 0
#define OPER_UP	     6

/* A request under construction. */
struct request {
	struct nlmsghdr head;
	char payload[256];
};

static void *begin(struct request *req, uint16_t type, uint16_t flags, size_t len)
{
	memset(req, 0, sizeof(*req));
	req->head.nlmsg_type = type;
	req->head.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
	req->head.nlmsg_len = (uint32_t)NLMSG_LENGTH(len);
	return NLMSG_DATA(&req->head);
}

static void add_attr(struct request *req, uint16_t type, const void *data, size_t len)
{
	struct rtattr *rta = (struct rtattr *)((char *)req + NLMSG_ALIGN(req->head.nlmsg_len));

	rta->rta_type = type;
	rta->rta_len = (uint16_t)RTA_LENGTH(len);
	memcpy(RTA_DATA(rta), data, len);
	req->head.nlmsg_len = NLMSG_ALIGN(req->head.nlmsg_len) + (uint32_t)RTA_ALIGN(rta->rta_len);
}

union reply {
	char bytes[RTNL_BUF];
	struct nlmsghdr head;
};

/* Waits for a message from the kernel. Ignores messages from processes, which root of the namespace
 * may send. Returns the length in bytes; -EMSGSIZE if the message does not fit, or another
 * -errno. */
static int receive(int fd, union reply *reply)
{
	struct sockaddr_nl from;
	socklen_t from_len;
	ssize_t n;

	do {
		from = (struct sockaddr_nl){ 0 };
		from_len = sizeof(from);
		reply->head = (struct nlmsghdr){ 0 };
		n = recvfrom(fd, reply, sizeof(*reply), MSG_TRUNC, (struct sockaddr *)&from,
			     &from_len);
	} while (n < 0 ? errno == EINTR : from.nl_pid != 0);
	if (n < 0)
		return -errno;
	return n > (ssize_t)sizeof(*reply) ? -EMSGSIZE : (int)n;
}

/* Is the message complete within `left` bytes, with a payload of at least `payload`? */
static bool is_message(const struct nlmsghdr *msg, size_t left, size_t payload)
{
	return left >= sizeof(*msg) && msg->nlmsg_len >= NLMSG_LENGTH(payload) &&
	       msg->nlmsg_len <= left;
}

/* The number of bytes from an item to the next one; `aligned` is the item's length rounded up to a
 * multiple of 4. The last item of a list may end before such a multiple. NLMSG_NEXT and RTA_NEXT
 * would then step beyond the end and underflow an unsigned number of bytes left. */
static size_t step_of(size_t aligned, size_t left)
{
	return aligned < left ? aligned : left;
}

/* Sends the request and waits for the reply. Returns the reply's length in bytes or -errno. */
static int exchange(int fd, const struct request *req, union reply *reply)
{
	ssize_t n;

	do
		n = send(fd, req, req->head.nlmsg_len, 0);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : receive(fd, reply);
}

/* The result in an acknowledgement of `len` bytes: 0 or -errno. */
static int ack_of(const union reply *reply, int len)
{
	const struct nlmsgerr *ack = NLMSG_DATA(&reply->head);

	if (!is_message(&reply->head, (size_t)len, sizeof(*ack)) ||
	    reply->head.nlmsg_type != NLMSG_ERROR || ack->error > 0)
		return -EPROTO;
	return ack->error;
}

/* Sends the request and waits for its acknowledgement. Returns 0 or -errno. */
static int talk(int fd, const struct request *req)
{
	union reply reply;
	int n = exchange(fd, req, &reply);

	return n < 0 ? n : ack_of(&reply, n);
}

int rtnl_open(struct err *e)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	return fd < 0 ? err_sys(e, errno, "netlink socket") : fd;
}

int rtnl_link_index(const char *name, struct err *e)
{
	unsigned int index = if_nametoindex(name);

	return index == 0 ? err_sys(e, errno, "network interface %s", name) : (int)index;
}

int rtnl_link_up(int fd, int index, unsigned int mtu, struct err *e)
{
	struct request req;
	struct ifinfomsg *ifi = begin(&req, RTM_NEWLINK, 0, sizeof(*ifi));
	uint32_t value = mtu;
	int r;

	ifi->ifi_family = AF_UNSPEC;
	ifi->ifi_index = index;
	ifi->ifi_flags = IFF_UP;
	ifi->ifi_change = IFF_UP;
	if (mtu != 0)
		add_attr(&req, IFLA_MTU, &value, sizeof(value));
	r = talk(fd, &req);
	return r < 0 ? err_sys(e, -r, "setting link %d up with MTU %u", index, mtu) : 0;
}

int rtnl_one_qdisc(int fd, int index, struct err *e)
{
	static const char kind[] = "pfifo_fast";
	struct request req;
	struct tcmsg *tcm = begin(&req, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*tcm));
	int r;

	tcm->tcm_family = AF_UNSPEC;
	tcm->tcm_ifindex = index;
	tcm->tcm_parent = TC_H_ROOT;
	add_attr(&req, TCA_KIND, kind, sizeof(kind));
	r = talk(fd, &req);
	return r < 0 ? err_sys(e, -r, "setting the queueing discipline of link %d", index) : 0;
}

int rtnl_link_remove(int fd, int index, struct err *e)
{
	struct request req;
	struct ifinfomsg *ifi = begin(&req, RTM_DELLINK, 0, sizeof(*ifi));
	int r;

	ifi->ifi_family = AF_UNSPEC;
	ifi->ifi_index = index;
	r = talk(fd, &req);
	return r < 0 ? err_sys(e, -r, "removing link %d", index) : 0;
}

/* An address or a gateway, of either family */
struct rtnl_ip {
	uint8_t family;
	size_t len; /* bytes */
	const void *addr;
};

static struct rtnl_ip ip4_of(const struct in_addr *addr)
{
	return (struct rtnl_ip){ AF_INET, sizeof(*addr), addr };
}

static struct rtnl_ip ip6_of(const struct in6_addr *addr)
{
	return (struct rtnl_ip){ AF_INET6, sizeof(*addr), addr };
}

/* Adds or removes an address, by `type`. Returns 0 or -errno. */
static int change_addr(int fd, uint16_t type, uint16_t flags, int index, struct rtnl_ip ip,
		       int prefix_len)
{
	struct request req;
	struct ifaddrmsg *ifa = begin(&req, type, flags, sizeof(*ifa));

	ifa->ifa_family = ip.family;
	ifa->ifa_prefixlen = (uint8_t)prefix_len;
	ifa->ifa_flags = ip.family == AF_INET6 ? IFA_F_NODAD : 0;
	ifa->ifa_index = (uint32_t)index;
	add_attr(&req, IFA_LOCAL, ip.addr, ip.len);
	add_attr(&req, IFA_ADDRESS, ip.addr, ip.len);
	return talk(fd, &req);
}

static int add_addr(int fd, int index, struct rtnl_ip ip, int prefix_len, struct err *e)
{
	int r = change_addr(fd, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, index, ip, prefix_len);

	return r < 0 ? err_sys(e, -r, "adding an address to link %d", index) : 0;
}

int rtnl_addr_add(int fd, int index, struct in_addr addr, int prefix_len, struct err *e)
{
	return add_addr(fd, index, ip4_of(&addr), prefix_len, e);
}

int rtnl_addr6_add(int fd, int index, const struct in6_addr *addr, int prefix_len, struct err *e)
{
	return add_addr(fd, index, ip6_of(addr), prefix_len, e);
}

int rtnl_addr_remove(int fd, int index, struct in_addr addr, int prefix_len, struct err *e)
{
	int r = change_addr(fd, RTM_DELADDR, 0, index, ip4_of(&addr), prefix_len);

	return r < 0 ? err_sys(e, -r, "removing an address from link %d", index) : 0;
}

static int add_default_route(int fd, int index, struct rtnl_ip gateway, bool on_link, struct err *e)
{
	struct request req;
	struct rtmsg *rtm = begin(&req, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, sizeof(*rtm));
	uint32_t oif = (uint32_t)index;
	int r;

	rtm->rtm_family = gateway.family;
	rtm->rtm_table = RT_TABLE_MAIN;
	rtm->rtm_protocol = RTPROT_BOOT;
	rtm->rtm_scope = RT_SCOPE_UNIVERSE;
	rtm->rtm_type = RTN_UNICAST;
	rtm->rtm_flags = on_link ? RTNH_F_ONLINK : 0;
	add_attr(&req, RTA_GATEWAY, gateway.addr, gateway.len);
	add_attr(&req, RTA_OIF, &oif, sizeof(oif));
	r = talk(fd, &req);
	return r < 0 ? err_sys(e, -r, "adding the default route by link %d", index) : 0;
}

int rtnl_default_route_add(int fd, int index, struct in_addr gateway, bool on_link, struct err *e)
{
	return add_default_route(fd, index, ip4_of(&gateway), on_link, e);
}

int rtnl_default_route6_add(int fd, int index, const struct in6_addr *gateway, struct err *e)
{
	return add_default_route(fd, index, ip6_of(gateway), false, e);
}

int rtnl_mark_rule_add(int fd, int family, uint32_t priority, uint32_t mark, uint8_t table,
		       struct err *e)
{
	struct request req;
	struct fib_rule_hdr *rule = begin(&req, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL,
					  sizeof(*rule));
	int r;

	rule->family = (uint8_t)family;
	rule->table = table;
	rule->action = FR_ACT_TO_TBL;
	add_attr(&req, FRA_PRIORITY, &priority, sizeof(priority));
	add_attr(&req, FRA_FWMARK, &mark, sizeof(mark));
	r = talk(fd, &req);
	return r < 0 ? err_sys(e, -r, "adding a rule for packets marked %u", mark) : 0;
}

int rtnl_local_default_add(int fd, int family, int index, uint8_t table, struct err *e)
{
	struct request req;
	struct rtmsg *rtm = begin(&req, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, sizeof(*rtm));
	uint32_t oif = (uint32_t)index;
	int r;

	rtm->rtm_family = (uint8_t)family;
	rtm->rtm_table = table;
	rtm->rtm_protocol = RTPROT_BOOT;
	rtm->rtm_scope = RT_SCOPE_HOST;
	rtm->rtm_type = RTN_LOCAL;
	add_attr(&req, RTA_OIF, &oif, sizeof(oif));
	r = talk(fd, &req);
	return r < 0 ? err_sys(e, -r, "adding a local route to table %u", table) : 0;
}

int rtnl_is_local(int fd, int family, const void *addr, size_t len)
{
	struct request req;
	struct rtmsg *rtm = begin(&req, RTM_GETROUTE, 0, sizeof(*rtm));
	union reply reply;
	int r;

	/* Without NLM_F_ACK: the answer is the route, and an acknowledgement would be a second
	 * message. */
	req.head.nlmsg_flags = NLM_F_REQUEST;
	rtm->rtm_family = (uint8_t)family;
	rtm->rtm_dst_len = (uint8_t)(len * 8);
	add_attr(&req, RTA_DST, addr, len);
	r = exchange(fd, &req, &reply);
	if (r < 0)
		return r;
	if (reply.head.nlmsg_type == NLMSG_ERROR)
		return ack_of(&reply, r);
	if (reply.head.nlmsg_type != RTM_NEWROUTE ||
	    !is_message(&reply.head, (size_t)r, sizeof(*rtm)))
		return -EPROTO;
	rtm = NLMSG_DATA(&reply.head);
	return rtm->rtm_type == RTN_LOCAL;
}

/* ---- addresses ---- */

/* The payload of the first attribute of this type that has at least `need` bytes. The message is
 * complete, and its fixed part has `fixed` bytes. Returns NULL if there is no such attribute. */
static const void *find_attr(const struct nlmsghdr *msg, size_t fixed, uint16_t type, size_t need)
{
	const char *at = (const char *)NLMSG_DATA(msg) + NLMSG_ALIGN(fixed);
	const char *end = (const char *)msg + msg->nlmsg_len;

	while (at < end) {
		const struct rtattr *rta = (const void *)at;
		size_t left = (size_t)(end - at);

		if (!RTA_OK(rta, left))
			break;
		if (rta->rta_type == type && RTA_PAYLOAD(rta) >= need)
			return RTA_DATA(rta);
		at += step_of(RTA_ALIGN((size_t)rta->rta_len), left);
	}
	return NULL;
}

/* The address in one message of the list, or 0. */
static struct in_addr address_of(const struct nlmsghdr *part)
{
	struct in_addr addr = { 0 };
	const void *found = NULL;

	/* On a point-to-point link IFA_ADDRESS is the peer's address. */
	if (part->nlmsg_type == RTM_NEWADDR)
		found = find_attr(part, sizeof(struct ifaddrmsg), IFA_LOCAL, sizeof(addr));
	if (found != NULL)
		memcpy(&addr, found, sizeof(addr));
	return addr;
}

int rtnl_find_in_answer(const void *bytes, size_t len, bool (*matches)(struct in_addr addr),
			struct in_addr *addr)
{
	const struct nlmsghdr *part = bytes;

	while (is_message(part, len, 0)) {
		size_t step = step_of(NLMSG_ALIGN((size_t)part->nlmsg_len), len);

		if (part->nlmsg_type == NLMSG_ERROR)
			return -EPROTO;
		if (part->nlmsg_type == NLMSG_DONE)
			return 0;
		*addr = address_of(part);
		if (addr->s_addr != 0 && matches(*addr))
			return 1;
		part = (const void *)((const char *)part + step);
		len -= step;
	}
	/* With trailing bytes that are not a message, the end of the list cannot be found; do not
	 * wait for it. */
	return len == 0 ? -EAGAIN : -EPROTO;
}

int rtnl_find_address(bool (*matches)(struct in_addr addr), struct in_addr *addr)
{
	FD_AUTO int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	struct request req;
	struct ifaddrmsg *ifa = begin(&req, RTM_GETADDR, 0, sizeof(*ifa));
	union reply reply = { .head = { 0 } };
	int r;

	if (fd < 0)
		return -errno;
	req.head.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	ifa->ifa_family = AF_INET;
	r = exchange(fd, &req, &reply);
	while (r >= 0) {
		r = rtnl_find_in_answer(&reply, (size_t)r, matches, addr);
		if (r != -EAGAIN)
			return r;
		r = receive(fd, &reply);
	}
	return r;
}

/* A non-blocking socket that receives notifications of these groups (RTMGRP_*), or -errno. */
static int watch_groups(uint32_t groups)
{
	struct sockaddr_nl sa = { .nl_family = AF_NETLINK, .nl_groups = groups };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	int saved;

	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
		return fd;
	saved = errno;
	close(fd);
	return -saved;
}

int rtnl_watch_addresses(void)
{
	return watch_groups(RTMGRP_IPV4_IFADDR);
}

int rtnl_drain(int fd)
{
	char buf[RTNL_BUF];
	int changed = 0;

	for (;;) {
		ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		/* ENOBUFS: notifications were lost, because the socket's buffer was full. */
		if (n < 0 && errno != ENOBUFS)
			return changed;
		changed = 1;
	}
}

/* The operational state in a description of a link, OPER_UNKNOWN if there is none. */
static int oper_state_of(const union reply *reply, int len)
{
	const unsigned char *state = NULL;

	if (is_message(&reply->head, (size_t)len, sizeof(struct ifinfomsg)) &&
	    reply->head.nlmsg_type == RTM_NEWLINK)
		state = find_attr(&reply->head, sizeof(struct ifinfomsg), IFLA_OPERSTATE, 1);
	return state != NULL ? *state : OPER_UNKNOWN;
}

/* Gets the operational state of a link, or -errno. Linux 6.8 and later update it first. */
static int get_oper_state(int index)
{
	FD_AUTO int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	struct request req;
	struct ifinfomsg *ifi = begin(&req, RTM_GETLINK, 0, sizeof(*ifi));
	union reply reply = { .head = { 0 } };
	int r;

	if (fd < 0)
		return -errno;
	req.head.nlmsg_flags = NLM_F_REQUEST;
	ifi->ifi_family = AF_UNSPEC;
	ifi->ifi_index = index;
	r = exchange(fd, &req, &reply);
	return r < 0 ? r : oper_state_of(&reply, r);
}

int rtnl_wait_up(int index, int timeout_ms)
{
	unsigned long long until = clock_now_ms() + (unsigned long long)timeout_ms;
	FD_AUTO int changes = watch_groups(RTMGRP_LINK);

	if (changes < 0)
		return changes;
	for (;;) {
		int left_ms = clock_left_ms(until);
		int r = get_oper_state(index);

		if (r < 0 || r == OPER_UP)
			return r < 0 ? r : 0;
		if (left_ms == 0)
			return -ETIMEDOUT;
		r = fd_wait(changes, POLLIN, left_ms);
		if (r < 0)
			return r;
		rtnl_drain(changes);
	}
}
