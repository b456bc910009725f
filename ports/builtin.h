/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_BUILTIN_H
#define PORTS_BUILTIN_H

#include "ports/portdriver.h"

/* The builtin port driver: listening sockets of our own, worker threads (workers.h), and the port
 * service in the child (portservice.h), which makes the sockets inside. */
extern const struct portdriver builtin_ports;

#endif
