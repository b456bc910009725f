/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SLIRPPORTS_H
#define SLIRPPORTS_H

#include <stdint.h>

#include "base/err.h"
#include "formats/portspec.h"

/* The port driver slirp4netns: the network program itself listens on the host, and is told where by
 * its API socket. All functions block until it has answered, for at most SLIRPPORTS_DEADLINE_MS.
 */

#define SLIRPPORTS_DEADLINE_MS 2000

/* Lets the program that listens on `socket` (a path) forward a port, to `child_ip` if the spec has
 * no child IP. Returns 0 and its own ID of the port, or -errno with a reason: -EREMOTEIO for a
 * refusal, -ENOTCONN if it is not running, -ETIMEDOUT if it does not answer. */
int slirpports_add(const char *socket, const struct portspec *spec, const char *child_ip,
		   int64_t *id, struct err *e);

/* Closes a port likewise. */
int slirpports_remove(const char *socket, int64_t id, struct err *e);

/* Names of the protocols that can be forwarded, ended by NULL. */
extern const char *const slirpports_protos[];

#endif
