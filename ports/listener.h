/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_LISTENER_H
#define PORTS_LISTENER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "formats/bpmsg.h"
#include "formats/portspec.h"

#define LISTENER_BUCKETS 64

/* A published port, as all workers see it. The port driver owns it; the workers borrow it. */
struct listener {
	int id;			      /* the port's ID */
	char name[PORTSPEC_TEXT_LEN]; /* "127.0.0.1:8080/tcp" */
	int listen_fd;		      /* owned by the port driver, as the listener is */
	struct bpmsg target;	      /* the request for its target */
	size_t worker;		      /* UDP only: index of the worker that serves it */
	_Atomic bool on_all_workers;  /* all workers know it: they may hand over its clients */
	bool may_lead_out;	      /* see below; set by listener_note_target */
	_Atomic unsigned int clients[LISTENER_BUCKETS]; /* see listener_count_in */
	atomic_uint complained_s; /* time of listener_complain's last log line, in seconds */
};

/* Loop protection. A port whose child IP is outside the network namespace may lead back to itself:
 * through the network program and an address of the host, or through other ports and other
 * launchers. Such a connection cannot be marked, because the network program makes a new one. But a
 * loop shows itself: many of its connections have the same client address, and none is answered.
 *
 * So a port that may lead out counts, for each client address, its TCP connections and its
 * unanswered UDP flows. Above LISTENER_LOOP_LIMIT the dial is told (struct dial, loop_suspected) to
 * make no further connection that leads out. The resulting reset, or the loss of the datagram, ends
 * the whole loop. Ports with other targets are neither counted nor limited.
 *
 * Client addresses are hashed to LISTENER_BUCKETS counters. */
#define LISTENER_LOOP_LIMIT 128

/* Counts a client of address `client`, and sets *place to the index of its counter, for
 * listener_count_out. Returns whether a loop is suspected: the client's connection must not lead
 * out. Any thread. */
bool listener_count_in(struct listener *l, const struct sockaddr_storage *client,
		       unsigned char *place);
/* Takes a client off the counter at `place`. Any thread. */
void listener_count_out(struct listener *l, unsigned char place);

/* Sets `may_lead_out` according to `target`. Before the workers know the port. */
void listener_note_target(struct listener *l);

/* Sets `name`, for log lines, to the port's address on the host. Before the workers know the port.
 */
void listener_name(struct listener *l, const struct portspec *spec);

/* Logs a warning, at most once a minute for each port, that clients get no connection to `to`
 * (AF_UNSPEC if unknown). `errnum` (an errno value) and `reason` say why. Cheap when it logs
 * nothing. Any thread. */
void listener_complain(struct listener *l, const struct sockaddr_storage *to, int errnum,
		       const char *reason);

#endif
