/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OFFER_H
#define OFFER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "formats/bpreq.h"
#include "formats/portspec.h"

#define OFFER_PLACES 64

/* A published port, as all workers see it. */
struct offer {
	int id;			      /* unique among the ports, growing */
	char name[PORTSPEC_TEXT_LEN]; /* "127.0.0.1:8080/tcp" */
	int listen_fd;		      /* borrowed */
	struct bpreq target;	      /* what to ask the child for */
	size_t worker;		      /* the index of the worker: which one has a port of UDP */
	_Atomic bool everywhere;      /* all workers serve it: clients may be handed over */
	bool may_lead_out;
	_Atomic unsigned int crowds[OFFER_PLACES]; /* see offer_enter */
	atomic_uint complained_s;		   /* when offer_complain has logged last */
};

/* Loops. A port whose child IP leads out of the network namespace may lead back to itself, through
 * the network program and an address of the host, through other ports and through other launchers.
 * Nothing marks such a connection: the network program makes a new one. But in a loop many have the
 * same client address, and none is answered. So a port that may lead out counts, for each client
 * address, its TCP connections and its UDP flows without an answer; above OFFER_CROWD, the dial is
 * told (struct dial, crowded) to connect no further one that leads out. The reset, or the loss of
 * the datagram, ends the whole loop. Ports with other targets neither count nor are they limited.
 *
 * Addresses share OFFER_PLACES counters. */
#define OFFER_CROWD 128

/* Counts a client in, and sets *place to where it is counted. Is it one too many, if its connection
 * leads out? */
bool offer_enter(struct offer *o, const struct sockaddr_storage *client, unsigned char *place);
void offer_leave(struct offer *o, unsigned char place);

/* Sets whether the port may lead out, by its target. */
void offer_note_target(struct offer *o);

/* Names the port for log lines, by its address on the host. */
void offer_name(struct offer *o, const struct portspec *spec);

/* Warns that clients of the port get no connection to `to` (AF_UNSPEC if that is not known) for the
 * reason `errnum`, of which `reason` is the text: at most once a minute for each port. Cheap when
 * it logs nothing. Any thread. */
void offer_complain(struct offer *o, const struct sockaddr_storage *to, int errnum,
		    const char *reason);

#endif
