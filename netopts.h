/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NETOPTS_H
#define NETOPTS_H

#include <stdbool.h>

#include "err.h"
#include "opts.h"

/* The part of the command line that is about the network and its ports: which drivers there are,
 * and which of them go together.
 */

/* Checks it and sets what it means. Returns 0, -EINVAL, or -ENOTSUP for a driver of the reference
 * that is not here, with a reason that names the options. */
int netopts_check(struct opts *o, struct err *e);

/* What the user should know although it is no error, one warning each by log_warn. Only after
 * netopts_check has got as far as OPTS_VALUES_CHECKED. */
void netopts_warn(const struct opts *o);

/* Does a program give the namespace its network? */
bool netopts_has_program(const struct opts *o);

#endif
