/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_PORTDRIVER_H
#define PORTS_PORTDRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "formats/portspec.h"

/* The interface of a port driver, which serves published ports. The port table (ports.h) calls its
 * driver through it, in the parent's main thread, and knows no driver by name. */

/* What drivers need to start. The driver copies the strings. */
struct port_setup {
	const char *child_socket; /* path of the child's port service */
	size_t workers;		  /* 1 to WORKERS_MAX */
	bool source_ip;		  /* servers inside see the addresses of their clients */
	const char *api_socket;	  /* path of slirp4netns' API socket */
	const char *child_ip;	  /* slirp4netns: target of ports without a child IP */
	/* Called when the network program does not answer. Its state is unknown then, so it should
	 * be restarted. */
	void (*on_stuck)(void *arg);
	void *arg;
};

struct port_entry {
	int id; /* counts from 1, never reused */
	struct portspec spec;
};

/* A port, and its driver's own data about it. */
struct port_slot {
	struct port_entry entry;
	void *data;	/* builtin: the struct listener */
	int64_t number; /* slirp4netns: its ID of the port */
};

struct portdriver {
	const char *const *protos; /* names of the protocols that it forwards; ends with NULL */
	bool disallows_loopback;   /* ports cannot lead to a loopback address inside */
	bool uses_port_service;	   /* it needs the port service in the child */

	/* Starts the driver and sets *driver, which the caller passes to the other functions. May
	 * block. Returns 0 or -errno with a reason. */
	int (*start)(void **driver, const struct port_setup *setup, struct err *e);
	/* open: opens the port of a slot, whose entry is filled in and whose other members are
	 * zero. close: closes it. Both may block until the workers or the network program answer.
	 * Both return 0 or -errno with a reason. */
	int (*open)(void *driver, struct port_slot *slot, struct err *e);
	int (*close)(void *driver, struct port_slot *slot, struct err *e);
	/* Called after the network program was restarted and has lost its ports: opens all of them,
	 * and logs failures. NULL: the driver depends on no such program. */
	void (*restore)(void *driver, struct port_slot *slots, size_t count);
	/* Has the driver failed, so that ports are no longer served? NULL: it cannot fail. */
	bool (*failed)(const void *driver);
	/* Closes all ports and frees the driver, as ports_free describes. */
	bool (*free)(void *driver, struct port_slot *slots, size_t count, unsigned int wait_ms);
};

#endif
