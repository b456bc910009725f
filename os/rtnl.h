/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_RTNL_H
#define OS_RTNL_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Links, addresses and routes by rtnetlink(7), in the network namespace of the thread that opened
 * the socket. Each call sends a request and blocks until the kernel has answered. Functions with a
 * `struct err` return 0, or -errno with a reason. */

/* Opens a netlink socket, which the caller owns and closes with close(2). Returns it, or -errno
 * with a reason. */
int rtnl_open(struct err *e);

/* The index of a link in this thread's network namespace, or -errno with a reason. */
int rtnl_link_index(const char *name, struct err *e);

/* Sets a link up. `mtu` is in bytes; 0 leaves the MTU as it is. */
int rtnl_link_up(int fd, int index, unsigned int mtu, struct err *e);
/* Waits until the link's operational state (Documentation/networking/operstates.rst) is up. The
 * kernel reports this state some time after the link has got a carrier. Returns 0, -ETIMEDOUT or
 * another -errno. */
int rtnl_wait_up(int index, int timeout_ms);
/* Adds an IPv4 address; `prefix_len` is in bits. */
int rtnl_addr_add(int fd, int index, struct in_addr addr, int prefix_len, struct err *e);
/* Removes it; the kernel then also removes the routes that need it. */
int rtnl_addr_remove(int fd, int index, struct in_addr addr, int prefix_len, struct err *e);
/* Adds an IPv6 address that can be used at once: without duplicate address detection (RFC 4862
 * 5.4). The link must be up. Fails with -EOPNOTSUPP or -EAFNOSUPPORT if the kernel has no IPv6, and
 * with -EACCES if it is disabled for the link. */
int rtnl_addr6_add(int fd, int index, const struct in6_addr *addr, int prefix_len, struct err *e);
/* Adds an IPv4 default route through `gateway` on the link `index`. `on_link`: the gateway is on
 * the link, although no address of the link has its network. */
int rtnl_default_route_add(int fd, int index, struct in_addr gateway, bool on_link, struct err *e);
/* Adds an IPv6 default route; an address of the link has the gateway's network. */
int rtnl_default_route6_add(int fd, int index, const struct in6_addr *gateway, struct err *e);
/* Gives a link one queueing discipline for all its queues: "pfifo_fast" (tc-pfifo_fast(8)). Fails
 * with -EOPNOTSUPP if the kernel has no queueing disciplines. */
int rtnl_one_qdisc(int fd, int index, struct err *e);
/* Removes a link. A veth(4) takes its peer with it. */
int rtnl_link_remove(int fd, int index, struct err *e);

/* Policy routing (ip-rule(8)) for AF_INET or AF_INET6. rtnl_mark_rule_add: packets with the mark
 * `mark` use the routing table `table`; rules with a lower `priority` come first.
 * rtnl_local_default_add: in `table` every destination is local, through the loopback link
 * `index`. */
int rtnl_mark_rule_add(int fd, int family, uint32_t priority, uint32_t mark, uint8_t table,
		       struct err *e);
int rtnl_local_default_add(int fd, int family, int index, uint8_t table, struct err *e);

/* Is the address `addr` (network byte order, `len` is 4 or 16 bytes) local in this namespace?
 * Returns 1 or 0, or -errno, for example if no route leads there. */
int rtnl_is_local(int fd, int family, const void *addr, size_t len);

/* Finds the first IPv4 address of this thread's network namespace, in the kernel's order, for which
 * `matches` is true. Returns 1 and sets *addr; 0 if there is none; or -errno. */
int rtnl_find_address(bool (*matches)(struct in_addr addr), struct in_addr *addr);
/* rtnl_find_address() within one part of the kernel's answer: bytes[len], aligned like a struct
 * nlmsghdr. Also returns -EAGAIN if the list continues in another part, or -EPROTO if this part is
 * cut off or malformed. */
int rtnl_find_in_answer(const void *bytes, size_t len, bool (*matches)(struct in_addr addr),
			struct in_addr *addr);

/* A non-blocking socket that becomes readable when an IPv4 address is added or removed, or -errno.
 * The caller owns it. */
int rtnl_watch_addresses(void);
/* Reads all notifications without blocking. Returns 1 if addresses may have changed, else 0. */
int rtnl_drain(int fd);

#endif
