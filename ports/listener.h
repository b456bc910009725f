/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_LISTENER_H
#define PORTS_LISTENER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "formats/bpmsg.h"
#include "formats/portspec.h"

#define LISTENER_BUCKETS 64

/* A published port, as all workers see it. */
struct listener {
	int id;			      /* unique among the ports, growing */
	char name[PORTSPEC_TEXT_LEN]; /* "127.0.0.1:8080/tcp" */
	int listen_fd;		      /* borrowed */
	struct bpmsg target;	      /* what to ask the child for */
	size_t worker;		      /* the index of the worker: which one has a port of UDP */
	_Atomic bool on_all_workers;  /* all workers serve it: clients may be handed over */
	bool may_lead_out;
	_Atomic unsigned int clients[LISTENER_BUCKETS]; /* see listener_count_in */
	atomic_uint complained_s;			/* when listener_complain has logged last */
};

/* Loops. A port whose child IP leads out of the network namespace may lead back to itself, through
 * the network program and an address of the host, through other ports and through other launchers.
 * Nothing marks such a connection: the network program makes a new one. But in a loop many have the
 * same client address, and none is answered. So a port that may lead out counts, for each client
 * address, its TCP connections and its UDP flows without an answer; above LISTENER_LOOP_LIMIT, the
 * dial is told (struct dial, loop_suspected) to connect no further one that leads out. The reset,
 * or the loss of the datagram, ends the whole loop. Ports with other targets neither count nor are
 * they limited.
 *
 * Addresses share LISTENER_BUCKETS counters. */
#define LISTENER_LOOP_LIMIT 128

/* Counts a client in, and sets *place to where it is counted. Is it one too many, if its connection
 * leads out? */
bool listener_count_in(struct listener *o, const struct sockaddr_storage *client,
		       unsigned char *place);
void listener_count_out(struct listener *o, unsigned char place);

/* Sets whether the port may lead out, by its target. */
void listener_note_target(struct listener *o);

/* Names the port for log lines, by its address on the host. */
void listener_name(struct listener *o, const struct portspec *spec);

/* Warns that clients of the port get no connection to `to` (AF_UNSPEC if that is not known) for the
 * reason `errnum`, of which `reason` is the text: at most once a minute for each port. Cheap when
 * it logs nothing. Any thread. */
void listener_complain(struct listener *o, const struct sockaddr_storage *to, int errnum,
		       const char *reason);

#endif
