/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_NETWORK_H
#define NET_NETWORK_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"
#include "formats/json.h"
#include "formats/jsonout.h"
#include "net/netopts.h"

/* The settings of our own network, or of one that a network program makes. The parent derives
 * them from the options and sends them to the child, which configures its network namespace with
 * them. With lxc-user-nic only the device and the MTU are known then: the child gets the rest by
 * DHCP (lease.h). */

#define NETWORK_DEV_LEN	    16 /* IFNAMSIZ */
#define NETWORK_DEFAULT_DEV "tap0"
#define NETWORK_LXC_DEV	    "eth0" /* the default with lxc-user-nic */
#define NETWORK_MAX_DNS	    4

struct network {
	char dev[NETWORK_DEV_LEN]; /* "" if there is no such network; the rest is unset then */
	bool by_dhcp;		   /* the members from `ip` to `dns` are unset in the parent */
	struct in_addr ip;
	int prefix_len;
	struct in_addr gateway;			     /* 0: none, only by DHCP */
	char dns[NETWORK_MAX_DNS][INET6_ADDRSTRLEN]; /* ends at the first "" */
	/* by DHCP, 0: the usual one of an Ethernet, or the bridge's if that is less */
	unsigned int mtu;
	/* IPv6, for the child to configure: only with our own network. Network programs announce
	 * their IPv6 settings by router advertisements, or make them themselves. */
	int prefix6_len; /* 0: the two that follow are not set */
	struct in6_addr ip6;
	struct in6_addr gateway6;
};

/* In the parent: derives the settings from the options, which netopts_check has checked. */
void network_plan(struct network *net, const struct netopts *o);

/* In the parent: writes the path of a detached network namespace's file, as seen from the host, to
 * buf[cap]. Returns `buf`. */
const char *network_netns_path(char *buf, size_t cap, pid_t child, const char *state_dir);

/* Writes the settings as members of the current object: Dev, IP, Netmask, Gateway, DNS, MTU, and,
 * if there are IPv6 settings, IP6, Netmask6, Gateway6. By DHCP, the child fills in the addresses,
 * and the parent writes them empty, as RootlessKit does. */
void network_to_json(const struct network *net, struct jsonout *out);
/* Reads the settings from an object. If Dev is "", there is nothing else to read. Returns 0, or
 * -EINVAL if a member is missing or malformed. */
int network_from_json(struct network *net, const struct json_doc *doc,
		      const struct json_node *node);

/* In the child, in a thread that is in the network namespace: sets the link up, with MTU, addresses
 * and default routes. Where the kernel has no IPv6, a warning says so. Returns 0 or -errno with a
 * reason. */
int network_configure(const struct network *net, struct err *e);
/* In the same thread: removes the address, and with it the default route. */
int network_unconfigure(const struct network *net, struct err *e);

/* In the same thread: waits until the kernel reports the link as up, so that the command does not
 * see it without a carrier. Gives up after `timeout_ms`, with a line in the debug log. */
void network_wait_up(const struct network *net, int timeout_ms);

/* In the child: writes `resolv.conf` and `hosts` into the state directory. Returns 0 or -errno with
 * a reason. */
int network_write_files(const struct network *net, const char *state_dir, struct err *e);

/* In the child: makes these two files of the state directory appear in /etc. If /etc is copied up,
 * copies replace the symbolic links there. Else bind mounts cover the files, and a warning
 * recommends --copy-up=/etc. Returns 0 or -errno with a reason. */
int network_mount_files(const char *state_dir, bool etc_is_copied_up, struct err *e);

#endif
