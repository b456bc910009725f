/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCH_REEXEC_H
#define LAUNCH_REEXEC_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"
#include "launch/opts.h"

/* How the parent starts its own program anew as the child, in new namespaces: it executes
 * /proc/self/exe. What the new process needs to know beyond the command line, which it reads again,
 * stands in one private variable of its environment, and is taken out of it before anything else is
 * executed.
 */

struct reexec {
	pid_t parent;	 /* 0 if the child is in another PID namespace */
	int from_parent; /* descriptors of two pipes */
	int to_parent;
	int activation_fds; /* descriptors 3.. of socket activation, sd_listen_fds(3) */
};

/* Was this process started by reexec_start? */
bool reexec_is_child(char *const *argv);

/* Starts the child in the namespaces that the options ask for, with the arguments of `argv` behind
 * the name and ROOTLESSKIT_* in its environment. It waits for the ID maps (handshake.h, up to
 * HS_IDMAP_COMPLETED) and then executes the program, as root of its user namespace. Socket
 * activation's descriptors are handed on. Returns its PID and the parent's ends of the two pipes,
 * which the caller owns, or -errno with a reason. */
pid_t reexec_start(const struct opts *o, char *const *argv, const char *state_dir,
		   int activation_fds, int *to_child, int *from_child, struct err *e);

/* In the child: reads what the parent has left and takes it out of the environment; the two pipes
 * are close-on-exec from now on. Takes over signals (proc.h) and returns the signalfd, or -errno
 * with a reason. */
int reexec_take(struct reexec *r, struct err *e);

#endif
