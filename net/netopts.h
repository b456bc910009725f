/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_NETOPTS_H
#define NET_NETOPTS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* The part of the command line that is about the network and its ports: which drivers there are,
 * and which of them go together.
 */

enum net_driver {
	NET_HOST,
	NET_NONE,
	NET_SLIRP4NETNS,
	NET_PASTA,
	NET_DRIVER_COUNT,
};

enum port_driver {
	PORT_NONE,
	PORT_BUILTIN,
	PORT_IMPLICIT,
	PORT_SLIRP4NETNS,
	PORT_DRIVER_COUNT,
};

struct string_list {
	char **items;
	size_t count;
};

struct cidr {
	struct in_addr net;
	int prefix_len;
};

struct netopts {
	/* as given; strings are borrowed from argv but for the items of the list */
	const char *driver_name;
	const char *slirp4netns_binary;
	const char *slirp4netns_sandbox;
	const char *slirp4netns_seccomp;
	const char *pasta_binary;
	const char *vpnkit_binary;
	const char *lxc_user_nic_binary;
	const char *lxc_user_nic_bridge;
	int64_t mtu; /* bytes; 0: not given */
	const char *cidr_text;
	const char *ifname;
	bool disable_host_loopback;
	bool ipv6;
	bool detach_netns;
	const char *port_driver_name;
	struct string_list publish;
	bool source_ip_transparent;

	/* what it means, set by netopts_check */
	enum net_driver driver;
	enum port_driver port_driver;
	struct cidr cidr;
	/* The network is known, so that netopts_warn may be called. compat: RootlessKit warns while
	 * it checks, so that an error may follow after warnings about other options; but not about
	 * a network that does not exist. */
	bool known;
};

/* Checks it and sets what it means. Returns 0, -EINVAL, or -ENOTSUP for a driver of the reference
 * that is not here, with a reason that names the options. */
int netopts_check(struct netopts *o, struct err *e);

/* What the user should know although it is no error, one warning each by log_warn. Only after
 * netopts_check has set `known`. */
void netopts_warn(const struct netopts *o);

/* Does a program give the namespace its network? */
bool netopts_has_program(const struct netopts *o);

#endif
