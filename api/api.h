/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_API_H
#define API_API_H

#include <sys/types.h>

#include "base/err.h"
#include "base/loop.h"
#include "ports/ports.h"

/* The REST API on `api.sock` (HTTP/1.1 over a UNIX socket), served in the parent's main loop:
 *
 *     GET    /v1/info       what runs here
 *     GET    /v1/ports      the published ports, by ID
 *     POST   /v1/ports      publishes a port
 *     DELETE /v1/ports/ID   closes one
 *
 * How it treats its clients is in httpd.h.
 */

#define API_MAX_DNS 4

/* What /v1/info tells. NULL leaves a member out. */
struct api_info {
	const char *state_dir;
	pid_t child_pid;
	const char *network_driver;	  /* NULL: the host's network */
	const char *dns[API_MAX_DNS + 1]; /* up to the first NULL */
	const char *child_ip;
	const char *port_driver; /* NULL: none; the rest is asked of `ports` */
};

struct api;

/* Listens on `path` and serves in `loop`. `ports` is NULL without a port driver. Returns 0 and
 * sets *out, or -errno with a reason. */
int api_new(struct api **out, struct loop *loop, const char *path, const struct api_info *info,
	    struct ports *ports, struct err *e);

/* Closes the socket and all clients. NULL is fine. */
void api_free(struct api *api);

#endif
