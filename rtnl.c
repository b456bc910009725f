/* SPDX-License-Identifier: Apache-2.0 */
/* Configuring a network by rtnetlink. See rtnl.h and rtnetlink(7). */
#include "rtnl.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Bytes; an acknowledgement quotes the request, and all of ours are below 128. */
#define RTNL_BUF 4096

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

/* Sends the request and waits for its acknowledgement. */
static int talk(int fd, const struct request *req)
{
	union {
		char bytes[RTNL_BUF];
		struct nlmsghdr head;
	} reply;
	const struct nlmsgerr *ack;
	ssize_t n;

	do
		n = send(fd, req, req->head.nlmsg_len, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	do
		n = recv(fd, &reply, sizeof(reply), 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n < (ssize_t)NLMSG_LENGTH(sizeof(*ack)) || reply.head.nlmsg_type != NLMSG_ERROR)
		return -EPROTO;
	ack = NLMSG_DATA(&reply.head);
	return ack->error;
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

int rtnl_addr_add(int fd, int index, struct in_addr addr, int prefix_len, struct err *e)
{
	struct request req;
	struct ifaddrmsg *ifa = begin(&req, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, sizeof(*ifa));
	int r;

	ifa->ifa_family = AF_INET;
	ifa->ifa_prefixlen = (uint8_t)prefix_len;
	ifa->ifa_index = (uint32_t)index;
	add_attr(&req, IFA_LOCAL, &addr, sizeof(addr));
	add_attr(&req, IFA_ADDRESS, &addr, sizeof(addr));
	r = talk(fd, &req);
	return r < 0 ? err_sys(e, -r, "adding an address to link %d", index) : 0;
}

int rtnl_default_route_add(int fd, int index, struct in_addr gateway, struct err *e)
{
	struct request req;
	struct rtmsg *rtm = begin(&req, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, sizeof(*rtm));
	uint32_t oif = (uint32_t)index;
	int r;

	rtm->rtm_family = AF_INET;
	rtm->rtm_table = RT_TABLE_MAIN;
	rtm->rtm_protocol = RTPROT_BOOT;
	rtm->rtm_scope = RT_SCOPE_UNIVERSE;
	rtm->rtm_type = RTN_UNICAST;
	add_attr(&req, RTA_GATEWAY, &gateway, sizeof(gateway));
	add_attr(&req, RTA_OIF, &oif, sizeof(oif));
	r = talk(fd, &req);
	return r < 0 ? err_sys(e, -r, "adding the default route by link %d", index) : 0;
}

int rtnl_watch_addresses(void)
{
	struct sockaddr_nl sa = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_IPV4_IFADDR };
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

int rtnl_drain(int fd)
{
	char buf[RTNL_BUF];
	int changed = 0;

	for (;;) {
		ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		/* ENOBUFS: the kernel had more to say than the socket could hold. */
		if (n < 0 && errno != ENOBUFS)
			return changed;
		changed = 1;
	}
}
