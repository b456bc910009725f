/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PARENT_H
#define PARENT_H

#include "launch/opts.h"

/* The launcher's parent process, on the host: starts the child in its namespaces, gives it IDs and
 * a network, publishes ports and serves the API until the command ends. `argv` is the whole command
 * line, for the child. Returns the exit status: that of the command, 1 for a failure of our own. */
int parent_main(const struct opts *o, char *const *argv);

#endif
