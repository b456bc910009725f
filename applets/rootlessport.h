/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APPLETS_ROOTLESSPORT_H
#define APPLETS_ROOTLESSPORT_H

/* The applet rootlessport: publishes the ports of a rootless container of Podman 4 and 5, in place
 * of Podman's own program of that name. Podman starts it in its user namespace and in the network
 * namespace of the host:
 *
 *   - standard input: the configuration, JSON up to end of file (podmanconfig.h);
 *   - standard output: the reason of a failed start, a line;
 *   - ExitFD: end of file means that the container has stopped;
 *   - ReadyFD: gets "1" when the ports are published, and is closed;
 *   - TmpDir/rp/CONTAINERID: the socket for reloads (reload.h), if RootlessCNI is true.
 *
 * Blocks until the container has stopped, or a signal ends the program. Returns the exit status: 0
 * after that, 1 if the start or the workers failed. */
int rootlessport_main(int argc, char **argv);

#endif
