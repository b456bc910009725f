/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_HOSTADDR_H
#define PORTS_HOSTADDR_H

#include <netinet/in.h>
#include <stddef.h>

#include "base/loop.h"

/* The host's first non-loopback IPv4 address ("HostGatewayIP"). It decides the target of a
 * connection to a port that was published on that address. Reading the host's addresses is slow, so
 * the main thread reads them once and after each change; any thread may ask for the result. */

/* Reads the host's addresses now, and again whenever the kernel reports a change to the loop
 * (rtnetlink(7)). Blocks for the kernel's answer only. If the kernel does not report changes, they
 * go unnoticed. Main thread. */
void hostaddr_watch(struct loop *loop);
/* Stops watching. Does nothing without hostaddr_watch. Main thread. */
void hostaddr_unwatch(struct loop *loop);

/* Writes the address as text to buf, or "" if there is none. `cap`: size of buf, at least
 * INET_ADDRSTRLEN bytes. Returns buf. Any thread; does not block. */
const char *hostaddr_gateway(char *buf, size_t cap);

#endif
