/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_API_H
#define API_API_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/loop.h"
#include "ports/ports.h"

/* The REST API on `api.sock`: HTTP/1.1 over a UNIX socket.
 *
 *     GET    /v1/info       describes the launcher
 *     GET    /v1/ports      lists the published ports, by ID
 *     POST   /v1/ports      publishes a port
 *     DELETE /v1/ports/ID   stops publishing it
 *
 * httpd.h says how clients are served. All of this runs in the loop of the parent's main thread.
 * POST and DELETE block it until the port driver is done (ports.h).
 */

#define API_MAX_DNS 4

/* The content of /v1/info. A member that is NULL is left out. Everything is borrowed, and used only
 * during api_new. */
struct api_info {
	const char *state_dir;
	pid_t child_pid;
	const char *network_driver;	  /* NULL with the host's network */
	const char *dns[API_MAX_DNS + 1]; /* ends with NULL */
	const char *child_ip;
	bool dynamic_child_ip;	 /* the network gets its address by DHCP */
	bool ipv6;		 /* the network routes IPv6 */
	const char *port_driver; /* NULL: none; what it supports comes from `ports` */
};

struct api;

/* Listens on `path`, where nothing may exist yet, and serves requests in `loop`. `loop` and `ports`
 * are borrowed until api_free; `ports` is NULL without a port driver. Returns 0 and sets *out, or
 * -errno with a reason. */
int api_new(struct api **out, struct loop *loop, const char *path, const struct api_info *info,
	    struct ports *ports, struct err *e);

/* Closes the socket and all client connections, and frees `api`. NULL is allowed. */
void api_free(struct api *api);

#endif
