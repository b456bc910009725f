/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REEXEC_H
#define REEXEC_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "err.h"

/* How the parent executes its own program anew, /proc/self/exe, as the child: what the new process
 * needs to know beyond the command line, which it reads again, stands in one private variable of
 * its environment, and is taken out of it before anything else is executed.
 */

struct reexec {
	pid_t parent;	 /* 0 if the child is in another PID namespace */
	int from_parent; /* descriptors of two pipes */
	int to_parent;
	int activation_fds; /* descriptors 3.. of socket activation, sd_listen_fds(3) */
};

/* Was this process executed by reexec_exec? */
bool reexec_is_child(char *const *argv);

/* Executes the program as the child, with the arguments of `argv` behind the name. The descriptors
 * named in `r` are inherited. Returns only on failure: -errno with a reason. */
int reexec_exec(const struct reexec *r, char *const *argv, struct err *e);

/* In the child: reads what the parent has left and takes it out of the environment; the two pipes
 * are close-on-exec from now on. Takes over signals (proc.h) and returns the signalfd, or -errno
 * with a reason. */
int reexec_take(struct reexec *r, struct err *e);

#endif
