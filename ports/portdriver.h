/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_PORTDRIVER_H
#define PORTS_PORTDRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "formats/portspec.h"

/* What serves published ports. The table of ports (ports.h) calls its driver by this interface, in
 * the parent's main thread, and knows no driver by name.
 */

/* What drivers need to start. The strings are copied. */
struct port_setup {
	const char *child_socket; /* path of the child's port service */
	size_t workers;		  /* 1 to WORKERS_MAX */
	bool source_ip;		  /* show clients' addresses to servers inside */
	const char *api_socket;	  /* path of slirp4netns' API socket */
	const char *child_ip;	  /* where slirp4netns' ports lead that name no child IP */
	/* Called when the network program does not answer: it is not known what it will do, so it
	 * should be started again. */
	void (*on_stuck)(void *arg);
	void *arg;
};

struct port_entry {
	int id; /* counts from 1, never used twice */
	struct portspec spec;
};

/* A port with what its driver knows it by. */
struct port_slot {
	struct port_entry entry;
	void *data;
	int64_t number;
};

struct portdriver {
	const char *const *protos; /* names of the protocols that it forwards, ended by NULL */
	bool disallows_loopback;   /* no port can lead to a loopback address inside */
	bool uses_port_service;	   /* the child's */

	/* Sets *driver. Returns 0 or -errno with a reason. */
	int (*start)(void **driver, const struct port_setup *setup, struct err *e);
	/* Opens the port of a slot whose entry is filled in, the rest zero; closes it. Both return
	 * 0 or -errno with a reason. */
	int (*open)(void *driver, struct port_slot *slot, struct err *e);
	int (*close)(void *driver, struct port_slot *slot, struct err *e);
	/* The program that listens has been started again and has no port: opens all, and logs what
	 * fails. NULL: there is no such program. */
	void (*restore)(void *driver, struct port_slot *slots, size_t count);
	/* Are ports not served any more? NULL: never. */
	bool (*failed)(const void *driver);
	/* As ports_free. Closes all ports. */
	bool (*free)(void *driver, struct port_slot *slots, size_t count, unsigned int wait_ms);
};

#endif
