/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCH_ACTIVATION_H
#define LAUNCH_ACTIVATION_H

#include "base/err.h"

/* Socket activation: a service manager starts the launcher with listening sockets, which the
 * launcher hands on to the command (sd_listen_fds(3)). */

/* Returns how many descriptors, from FD_FIRST on, LISTEN_PID and LISTEN_FDS announce to this
 * process; 0 if these variables are missing or are for another process. Returns -errno with a
 * reason if there are too many to be handed on, or if one is not open. */
int activation_count(struct err *e);

#endif
