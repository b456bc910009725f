/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_RELOAD_H
#define API_RELOAD_H

#include "base/err.h"
#include "base/loop.h"
#include "ports/ports.h"

/* rootlessport's socket for reloads (SOCK_SEQPACKET). When Podman has changed a container's
 * networks, it sends one packet with the container's new IP, a JSON string, and reads the answer
 * until end of file: "OK", or the reason of a failure.
 *
 * Only processes of the same user are heard. A client that sends nothing for RELOAD_MS is closed,
 * and the oldest one if there are too many. Everything belongs to the main thread. */

#define RELOAD_MS 5000

struct reload;

/* Listens on `path`, where nothing may exist yet, and serves requests in `loop`. `loop` and `ports`
 * are borrowed until reload_free. Requests block as ports_retarget. Returns 0 and sets *out, or
 * -errno with a reason. */
int reload_new(struct reload **out, struct loop *loop, const char *path, struct ports *ports,
	       struct err *e);

/* Closes the socket, but does not remove the file, and all clients; frees `reload`. NULL is
 * allowed. No task of the loop may run after that. */
void reload_free(struct reload *reload);

#endif
