/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APPLETS_ROOTLESSCTL_H
#define APPLETS_ROOTLESSCTL_H

/* The applet rootlessctl: asks a running rootlesskit through its API socket.
 *
 * Returns the exit status: 0; 1 for any error, which stands on standard error; 3 for an unknown
 * command (compat: 3.0.1). Blocks at most CLIENT_DEADLINE_MS for each port. */
int rootlessctl_main(int argc, char **argv);

#endif
