/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_HOSTADDR_H
#define PORTS_HOSTADDR_H

#include <netinet/in.h>
#include <stddef.h>

#include "base/loop.h"

/* The host's own first non-loopback IPv4 address ("HostGatewayIP"), which decides where a
 * connection to a port that was published on it goes inside. Reading the host's addresses is slow,
 * so it is done once and when they change, by the main thread; any thread may ask.
 */

/* Reads the host's addresses, now and whenever the kernel reports a change to the loop. Blocks a
 * little. Where the kernel reports no changes they go unnoticed. */
void hostaddr_watch(struct loop *loop);
/* Ends that; without hostaddr_watch it does nothing. */
void hostaddr_unwatch(struct loop *loop);

/* Writes the address to buf, "" if there is none. Returns buf, which has INET_ADDRSTRLEN bytes. */
const char *hostaddr_gateway(char *buf, size_t cap);

#endif
