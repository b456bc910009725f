/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_SLIRP4NETNS_H
#define NET_SLIRP4NETNS_H

#include "net/netprog.h"

/* The network driver "slirp4netns", see slirp4netns(1). */
extern const struct netprog_driver slirp4netns_driver;

#endif
