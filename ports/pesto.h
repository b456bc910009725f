/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_PESTO_H
#define PORTS_PESTO_H

#include "ports/portdriver.h"

/* The port driver pesto: pasta itself listens on the host and forwards to the namespace's address.
 * This driver tells pasta about ports over its configuration socket (pestomsg.h), as pasta's
 * companion program pesto(1) does, but reports a port only when it is open. Each call blocks until
 * pasta has answered, a few seconds at most. */
extern const struct portdriver pesto_ports;

#endif
