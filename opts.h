/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OPTS_H
#define OPTS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

/* The command line of the launcher: one table of options, from which lines are read and --help is
 * printed. Parent and child read the same line and come to the same result.
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

enum subid_source {
	SUBID_AUTO,
	SUBID_DYNAMIC,
	SUBID_STATIC,
	SUBID_SELF,
	SUBID_SOURCE_COUNT,
};

struct string_list {
	char **items;
	size_t count;
};

struct cidr {
	struct in_addr net;
	int prefix_len;
};

/* How far opts_check has come. compat: RootlessKit warns while it checks, so that an error may
 * follow after warnings about other options; but not about a network that does not exist. */
enum opts_checked {
	OPTS_UNCHECKED,
	OPTS_VALUES_CHECKED, /* and the network is known: now RootlessKit warns about it */
	OPTS_CHECKED,
};

struct opts {
	/* as given; strings are borrowed from argv but for the items of lists */
	bool help;
	bool version;
	bool debug;
	const char *print_semver;
	const char *state_dir;
	const char *net_name;
	const char *slirp4netns_binary;
	const char *slirp4netns_sandbox;
	const char *slirp4netns_seccomp;
	const char *pasta_binary;
	const char *vpnkit_binary;
	const char *lxc_user_nic_binary;
	const char *lxc_user_nic_bridge;
	int64_t mtu;
	const char *cidr_text;
	const char *ifname;
	bool disable_host_loopback;
	bool ipv6;
	bool detach_netns;
	struct string_list copy_up;
	const char *copy_up_mode;
	const char *port_driver_name;
	struct string_list publish;
	bool source_ip_transparent;
	int64_t workers;
	bool pidns;
	bool cgroupns;
	bool utsns;
	bool ipcns;
	const char *reaper;
	const char *evacuate_cgroup2;
	const char *propagation;
	const char *subid_source_name;
	char *const *command; /* ends with NULL */
	/* the last option whose value is a word of its own; `word` is NULL if there is none */
	struct {
		const char *word;
		const char *option;
		const char *value; /* its name in the help */
	} taken;

	/* what it means, set by opts_check */
	enum opts_checked checked;
	enum net_driver net;
	enum port_driver port_driver;
	enum subid_source subid_source;
	struct cidr cidr;
	bool reaps;	/* the child reaps orphans, and the command gets a session of its own */
	bool evacuates; /* all processes go to the cgroup evacuate_cgroup2 */
};

/* Reads a command line. Returns 0; -EINVAL for a line that cannot be read, -ENOENT for an option
 * that is not there, with the reason in the reference's words (flags_next), after which users
 * expect the help on standard output; -ENOMEM. */
int opts_parse(struct opts *o, int argc, char *const *argv, struct err *e);

/* Is there a command? Returns 0, or -EINVAL with a reason that names the option that may have taken
 * it as its value. */
int opts_check_command(const struct opts *o, struct err *e);

/* Checks all values and combinations before anything is created. Returns 0 or -EINVAL with a
 * reason that names the options. */
int opts_check(struct opts *o, struct err *e);

/* What the user should know although it is no error, one warning each by log_warn. Also after
 * opts_check has failed, before its reason is shown: gives the warnings that RootlessKit gives by
 * then. */
void opts_warn(const struct opts *o);

/* Prints the help to standard output. */
void opts_print_help(void);

/* Is the directory, cleaned of trailing slashes, one of those to be copied up? */
bool opts_copies_up(const struct opts *o, const char *dir);

void opts_free(struct opts *o);

#endif
