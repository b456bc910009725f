/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_PORTDRIVER_H
#define PORTS_PORTDRIVER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "formats/portspec.h"
#include "ports/fdquota.h"

/* The interface of a port driver, which serves published ports. The port table (ports.h) calls its
 * driver through this interface, in the parent's main thread, and knows no driver by name. */

/* What the port table and its driver need to start. The driver copies the strings. */
struct port_setup {
	const char *program;	  /* listen_explain; a string that is never freed */
	const char *child_socket; /* path of the child's port service */
	size_t workers;		  /* 1 to WORKERS_MAX */
	struct fdtotal *fds;	  /* shared with others; the driver borrows it. NULL: with none */
	bool source_ip;		  /* servers inside see the addresses of their clients */
	const char *api_socket;	  /* path of the network program's API socket */
	const char *child_ip;	  /* the namespace's address */
	bool ipv6;		  /* the network has IPv6 */
	/* Called when the network program does not answer the driver. Its state is unknown then, so
	 * it should be restarted. May be NULL for a driver without `forget`. */
	void (*on_stuck)(void *arg);
	void *arg;
};

struct port_entry {
	int id; /* counts from 1, never reused */
	struct portspec spec;
};

/* A port, and what its driver keeps about it. */
struct port_slot {
	struct port_entry entry;
	/* The driver sets it in `open`, and frees it in `close`, `forget` or `free`. NULL before
	 * `open`, after `forget`, and if `open` has failed. */
	void *data;
};

struct portdriver {
	const char *const *protos; /* names of the protocols that it forwards; ends with NULL */
	const char *const *protos_ipv6; /* the same for a network with IPv6; NULL: as without */
	bool disallows_loopback;	/* ports cannot lead to a loopback address inside */
	const char *unknown_id; /* the error for an ID that no port has; NULL: "unknown id" */
	bool uses_port_service; /* the child must run its port service (portservice.h) */

	/* Starts the driver and sets *driver, which the caller passes to the other functions. May
	 * block. Returns 0 or -errno with a reason. */
	int (*start)(void **driver, const struct port_setup *setup, struct err *e);
	/* open: opens the port of a slot, whose entry is filled in. close: closes it; if that
	 * fails, the port stays published. Both may block until the workers or the network program
	 * answer. Both return 0 or -errno with a reason; if the network program does not answer,
	 * -ETIMEDOUT. */
	int (*open)(void *driver, struct port_slot *slot, struct err *e);
	int (*close)(void *driver, struct port_slot *slot, struct err *e);
	/* The network program was restarted and has lost its ports. Forgets what the driver keeps
	 * about one of them; does not block. `open` follows for each port, unless the program is
	 * gone again: then `open` has returned -ENOTCONN or -ETIMEDOUT for an earlier port.
	 * NULL: the driver does not depend on that program. */
	void (*forget)(struct port_slot *slot);
	/* Makes a port lead to what `spec` says, which differs from the slot's in the child IP
	 * only. The port's connections are closed, and clients wait in the listen backlog
	 * meanwhile. Blocks as `open`. Returns 0 or -errno with a reason; after a failure the port
	 * is closed, as by `close`. NULL: not possible. */
	int (*retarget)(void *driver, struct port_slot *slot, const struct portspec *spec,
			struct err *e);
	/* Has the driver failed, so that ports are no longer served? NULL: it cannot fail. */
	bool (*failed)(const void *driver);
	/* As ports_source_ip_backend (ports.h). NULL: the driver does not keep addresses. */
	const char *(*source_ip_backend)(const void *driver);
	/* Closes all ports and frees the driver, as ports_free describes. */
	bool (*free)(void *driver, struct port_slot *slots, size_t count, unsigned int wait_ms);
};

#endif
