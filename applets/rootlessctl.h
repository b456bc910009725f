/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APPLETS_ROOTLESSCTL_H
#define APPLETS_ROOTLESSCTL_H

/* The applet rootlessctl: sends requests to a running rootlesskit through its API socket.
 *
 * Returns the exit status: 0; 1 for any error, which is printed on standard error; 3 for an unknown
 * command or help topic (compat: 3.0.1). Blocks for CLIENT_DEADLINE_MS at most for each request
 * (client_call).
 */
int rootlessctl_main(int argc, char **argv);

#endif
