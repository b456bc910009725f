/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APPLETS_DOCKERPROXY_H
#define APPLETS_DOCKERPROXY_H

/* The applet rootlesskit-docker-proxy. dockerd before version 28 runs it instead of docker-proxy,
 * inside the namespaces, once for each published port and address family. It publishes the port on
 * the host through the launcher's API, and runs docker-proxy, which forwards from there to the
 * container. Returns the exit status. Blocks until dockerd tells it to end or docker-proxy
 * exits. */
int dockerproxy_main(int argc, char **argv);

#endif
