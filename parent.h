/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PARENT_H
#define PARENT_H

#include "launch/opts.h"

/* The launcher's parent process, on the host. It starts the child in its namespaces, gives it IDs
 * and a network, publishes ports and serves the API until the command ends. `o` must have passed
 * opts_check; `argv` is the whole command line, for the child. Both are borrowed. Runs in the main
 * thread, once per process. Returns the exit status: the command's, or 1 for a failure of the
 * launcher. */
int parent_main(const struct opts *o, char *const *argv);

#endif
