/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_NETOPTS_H
#define NET_NETOPTS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* The options about the network and its ports: which drivers exist, and which network driver goes
 * with which port driver. Nothing here blocks or allocates memory. The parent and the child both
 * run it, in their main threads. */

enum net_driver {
	NET_HOST,
	NET_NONE,
	NET_SLIRP4NETNS,
	NET_PASTA,
	NET_LXC_USER_NIC,
	NET_BUILTIN,
	NET_GVISOR, /* NET_BUILTIN under the name, and with the addresses, of RootlessKit's driver
		     */
	NET_DRIVER_COUNT,
};

enum port_driver {
	PORT_NONE,
	PORT_BUILTIN,
	PORT_IMPLICIT,
	PORT_SLIRP4NETNS,
	PORT_PESTO,
	PORT_GVISOR, /* as PORT_BUILTIN, under the name of RootlessKit's driver */
	PORT_DRIVER_COUNT,
};

/* Return the name of a network driver (enum net_driver) or port driver (enum port_driver), as on
 * the command line. NULL if `index` is larger than any. */
const char *netopts_net_name(size_t index);
const char *netopts_port_driver_name(size_t index);

struct string_list {
	char **items;
	size_t count;
};

struct cidr {
	struct in_addr net;
	int prefix_len;
};

struct netopts {
	/* As given on the command line. Strings are borrowed from argv; items of the list are
	 * owned. */
	const char *driver_name;
	const char *slirp4netns_binary;
	const char *slirp4netns_sandbox;
	const char *slirp4netns_seccomp;
	const char *pasta_binary;
	const char *pesto_binary;
	const char *vpnkit_binary;
	const char *lxc_user_nic_binary; /* NULL: not given */
	const char *lxc_user_nic_bridge;
	int64_t mtu; /* bytes; 0 if not given */
	const char *cidr_text;
	const char *ifname;
	const char *pcap_path; /* NULL: frames are not recorded */
	bool disable_host_loopback;
	bool ipv6;
	bool detach_netns;
	const char *port_driver_name;
	struct string_list publish;
	bool source_ip_transparent;
	const char *source_ip_backend_name;

	/* Derived from the above by netopts_check. --net=auto makes `driver_name` the name of the
	 * driver that it chooses, and sets `is_auto`. */
	bool is_auto;
	enum net_driver driver;
	enum port_driver port_driver;
	struct cidr cidr;
	const char *source_ip_backend; /* "nft" or "iptables"; NULL: client addresses not kept */
	/* netopts_warn may be called. compat: RootlessKit logs warnings while it checks options, so
	 * they may precede an error about other options. */
	bool may_warn;
	bool driver_exists;
};

/* Checks the options and sets the derived members. Returns 0, -EINVAL, or -ENOTSUP for a driver
 * that RootlessKit has and this program does not, with a reason that names the options. */
int netopts_check(struct netopts *o, struct err *e);

/* Logs warnings about options that are valid but have no effect or are discouraged. Call it only if
 * netopts_check has set `may_warn`. */
void netopts_warn(const struct netopts *o);

/* Is the network made by a network program (slirp4netns, pasta)? */
bool netopts_has_program(const struct netopts *o);
/* Is it our own network (usernet.h)? */
bool netopts_is_own(const struct netopts *o);
/* Does the network have an interface whose name and MTU can be chosen? True for all but host and
 * none. */
bool netopts_has_interface(const struct netopts *o);
/* Do we choose the addresses of the network? True for our own network and for network programs. */
bool netopts_has_addresses(const struct netopts *o);

#endif
