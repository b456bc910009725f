/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCH_REEXEC_H
#define LAUNCH_REEXEC_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"
#include "launch/opts.h"

/* How the parent starts the same program again as the child, in new namespaces: it clones a
 * process, which executes /proc/self/exe. The child parses the command line again. Everything else
 * that it needs is in one private environment variable, which the child removes before it executes
 * anything.
 */

struct reexec {
	pid_t parent;	 /* PID as the child sees it; 0 if the child is in another PID namespace */
	int from_parent; /* the child's ends of the two pipes (handshake.h); owned by the child */
	int to_parent;
	int activation_fds; /* how many, from descriptor 3 on; see sd_listen_fds(3) */
};

/* Was this process started by reexec_start? `argv` is main's. */
bool reexec_is_child(char *const *argv);

/* In the parent: starts the child in the namespaces that the options ask for, with ROOTLESSKIT_* in
 * its environment. The child gets the arguments of `argv`, but argv[0] is /proc/self/exe. It first
 * waits for its ID maps (handshake.h, up to HS_IDMAP_COMPLETED), then becomes root of its user
 * namespace and executes the program. It inherits the descriptors of socket activation,
 * `activation_fds` of them from 3 on.
 *
 * Main thread only, since the child's parent-death signal follows the thread that cloned it. Does
 * not wait for the child. Returns the child's PID, and in *to_child and *from_child the parent's
 * ends of the pipes, which the caller owns; or -errno with a reason, and nothing to clean up.
 */
pid_t reexec_start(const struct opts *o, char *const *argv, const char *state_dir,
		   int activation_fds, int *to_child, int *from_child, struct err *e);

/* In the child: reads the variable that the parent has set, removes it from the environment, and
 * makes all descriptors from 3 on close-on-exec. Takes over signals (proc.h). Does not block.
 * Returns the signalfd, which the caller owns, or -errno with a reason. */
int reexec_take(struct reexec *r, struct err *e);

#endif
