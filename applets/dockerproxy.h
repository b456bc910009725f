/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APPLETS_DOCKERPROXY_H
#define APPLETS_DOCKERPROXY_H

/* The applet rootlesskit-docker-proxy: what dockerd before version 28 runs inside, once for each
 * port and family that it publishes, in place of docker-proxy. It publishes the port on the host
 * through the launcher's API, and has docker-proxy take it from there to the container. */
int dockerproxy_main(int argc, char **argv);

#endif
