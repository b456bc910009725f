/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_BUILTIN_H
#define PORTS_BUILTIN_H

#include "ports/portdriver.h"

/* The builtin port driver. The parent listens, its worker threads (workers.h) copy the bytes, and
 * the port service in the child (portservice.h) makes the sockets in the child's network namespace.
 */
extern const struct portdriver builtin_ports;

#endif
