/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_HOSTADDR_H
#define PORTS_HOSTADDR_H

#include "base/loop.h"
#include "formats/ipaddr.h"

/* The host's first non-loopback IPv4 address ("HostGatewayIP"). A port that was published on this
 * address, without a child IP, leads to 127.0.0.1 inside (target_address). Reading the host's
 * addresses is slow, so the main thread reads them once and after each change; any thread may ask
 * for the result. */

/* Reads the host's addresses now, and again whenever the kernel reports a change to the loop
 * (rtnetlink(7)). Blocks for the kernel's answer only. If the kernel does not report changes, they
 * go unnoticed. Main thread. */
void hostaddr_watch(struct loop *loop);
/* Stops watching. Does nothing without hostaddr_watch. Main thread. */
void hostaddr_unwatch(struct loop *loop);

/* Returns the address, or AF_UNSPEC if there is none. Any thread; does not block. */
struct ipaddr hostaddr_gateway(void);

#endif
