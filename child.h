/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CHILD_H
#define CHILD_H

#include "launch/opts.h"

/* The launcher's child process, in its namespaces: sets them up as the parent says, runs the
 * command and passes signals on to it. Returns the exit status of the command, 1 for a failure of
 * our own. */
int child_main(const struct opts *o);

#endif
