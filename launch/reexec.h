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
 * that it needs is in its environment. ROOTLESSKIT_STATE_DIR has the path of the state directory;
 * the command sees this variable, too. One private variable has the rest; the child removes it
 * before it executes anything.
 */

struct reexec {
	pid_t parent;	 /* PID as the child sees it; 0 if the child is in another PID namespace */
	int from_parent; /* the child's ends of the two pipes (handshake.h); owned by the child */
	int to_parent;
	int taps; /* the child's end of a socket for the descriptors of our own network; -1: none */
	int activation_fds; /* how many, from descriptor 3 on; see sd_listen_fds(3) */
};

/* The parent's ends; owned by the caller. -1: not open. */
struct reexec_ends {
	int to_child; /* the two pipes */
	int from_child;
	int taps; /* only with our own network: a socket by which the child sends its TAP's queues
		   */
};

/* Was this process started by reexec_start? `argv` is main's. */
bool reexec_is_child(char *const *argv);

/* In the parent: sets ROOTLESSKIT_* in our environment, and starts the child, which inherits them,
 * in the namespaces that the options ask for. The child gets the arguments of `argv`, but argv[0]
 * is /proc/self/exe. It first waits for its ID maps (handshake.h, up to HS_IDMAP_COMPLETED), then
 * becomes root of its user namespace and executes the program. It inherits the descriptors of
 * socket activation, `activation_fds` of them from 3 on.
 *
 * Main thread only, since the child's parent-death signal follows the thread that cloned it. Does
 * not wait for the child. Returns the child's PID and sets *ends; or -errno with a reason, and
 * nothing to clean up.
 */
pid_t reexec_start(const struct opts *o, char *const *argv, const char *state_dir,
		   int activation_fds, struct reexec_ends *ends, struct err *e);

/* In the child: fills in *r from the private variable, and removes that from the environment. Takes
 * over signals (signals_block_kept), and makes all descriptors from 3 on close-on-exec. Does not
 * block. Returns the signalfd, which the caller owns, or -errno with a reason. */
int reexec_take(struct reexec *r, struct err *e);

#endif
