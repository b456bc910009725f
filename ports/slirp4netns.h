/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_SLIRP4NETNS_H
#define PORTS_SLIRP4NETNS_H

#include "ports/portdriver.h"

/* The port driver slirp4netns: the network program itself listens on the host, and is told where by
 * its API socket. Each call blocks until it has answered, for 2 s at most. */
extern const struct portdriver slirp4netns_ports;

#endif
