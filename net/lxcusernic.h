/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_LXCUSERNIC_H
#define NET_LXCUSERNIC_H

#include <limits.h>
#include <sys/types.h>

#include "base/err.h"
#include "net/netopts.h"
#include "net/network.h"

/* The network driver "lxc-user-nic": lxc-user-nic(1), a set-UID program, makes a veth(4) pair with
 * one end in a bridge of the host and the other in the child's network namespace. The child gets
 * its address from the DHCP server on that bridge (lease.h). The program ends at once; the pair
 * ends with the namespace.
 *
 * All of this runs in the parent's main thread. */

struct lxcusernic {
	const struct netopts *o; /* borrowed */
	char program[PATH_MAX];
};

/* Finds the program. Borrows `o` from now on. Returns 0, or -errno with a reason that says how to
 * get it. */
int lxcusernic_find(struct lxcusernic *l, const struct netopts *o, struct err *e);

/* What the child is, for lxcusernic_attach. All borrowed. */
struct lxcusernic_child {
	pid_t pid;
	const char *state_dir;
	int userns_fd;
};

/* Makes the interface net->dev in the child's network namespace, or with --detach-netns in the
 * detached one. Blocks for LXCUSERNIC_RUN_MS at most, while the program runs. Returns 0, or -errno
 * with a reason that says what to do. */
#define LXCUSERNIC_RUN_MS 30000
int lxcusernic_attach(const struct lxcusernic *l, const struct network *net,
		      const struct lxcusernic_child *child, struct err *e);

#endif
