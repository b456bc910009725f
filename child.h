/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CHILD_H
#define CHILD_H

#include "launch/opts.h"

/* The launcher's child process, in its namespaces. It sets them up as the parent tells it, runs the
 * command and passes signals on to it. `o` must have passed opts_check; it is borrowed. Runs in the
 * main thread, once per process. Returns the exit status: the command's, or 1 for a failure of the
 * launcher. */
int child_main(const struct opts *o);

#endif
