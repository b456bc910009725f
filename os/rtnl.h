/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_RTNL_H
#define OS_RTNL_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Links, addresses and routes by rtnetlink(7), in the network namespace of the thread that opened
 * the socket. Each call sends one request and blocks until the kernel has acknowledged it.
 * They return 0 or -errno with a reason.
 */

/* Returns a socket, or -errno. Closed with close(2). */
int rtnl_open(struct err *e);

/* The index of a link of this thread's namespace, or -errno. */
int rtnl_link_index(const char *name, struct err *e);

/* Sets a link up; `mtu` 0 leaves the MTU as it is. */
int rtnl_link_up(int fd, int index, unsigned int mtu, struct err *e);
/* Waits until the link's operational state (Documentation/networking/operstates.rst) is up, which
 * the kernel reports some time after a carrier has come. Returns 0, -ETIMEDOUT or another -errno.
 */
int rtnl_wait_up(int index, int timeout_ms);
int rtnl_addr_add(int fd, int index, struct in_addr addr, int prefix_len, struct err *e);
int rtnl_default_route_add(int fd, int index, struct in_addr gateway, struct err *e);

/* Policy routing, ip-rule(8), for AF_INET or AF_INET6: packets with this mark go by this table; and
 * in this table every destination is this host's own, by the loopback link `index`. Rules with a
 * lower `priority` are asked first. */
int rtnl_mark_rule_add(int fd, int family, uint32_t priority, uint32_t mark, uint8_t table,
		       struct err *e);
int rtnl_local_default_add(int fd, int family, int index, uint8_t table, struct err *e);

/* Is the address (network byte order, 4 or 16 bytes) one of this namespace's own? Returns 1, 0, or
 * -errno where no route leads there. */
int rtnl_is_local(int fd, int family, const void *addr, size_t len);

/* Goes through the IPv4 addresses of this namespace in the kernel's order until `is_it` says so.
 * Returns 1 with the address, 0 if there is none, or -errno. */
int rtnl_find_address(bool (*is_it)(struct in_addr addr), struct in_addr *addr);
/* The same within one part of the kernel's answer, bytes[len], aligned as a struct nlmsghdr.
 * Returns -EAGAIN if the list goes on in a further part, -EPROTO if this one is cut or malformed.
 */
int rtnl_find_in(const void *bytes, size_t len, bool (*is_it)(struct in_addr addr),
		 struct in_addr *addr);

/* A non-blocking socket that becomes readable whenever an IPv4 address comes or goes, or -errno. */
int rtnl_watch_addresses(void);
/* Reads all that is there. Returns 1 if addresses may have changed, 0 if not. */
int rtnl_drain(int fd);

#endif
