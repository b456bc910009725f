/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_SLIRP4NETNS_H
#define PORTS_SLIRP4NETNS_H

#include "ports/portdriver.h"

/* The port driver slirp4netns. The network program slirp4netns itself listens on the host; this
 * driver tells it about ports through its API socket. Each open and close blocks until slirp4netns
 * answers, at most 2 s. */
extern const struct portdriver slirp4netns_ports;

#endif
