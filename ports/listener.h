/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_LISTENER_H
#define PORTS_LISTENER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/log.h"
#include "formats/portspec.h"
#include "formats/target.h"

#define LISTENER_BUCKETS 64

/* A published port, as all workers see it. The port driver owns it; the workers borrow it. */
struct listener {
	int id;			      /* the port's ID */
	char name[PORTSPEC_TEXT_LEN]; /* "127.0.0.1:8080/tcp" */
	int listen_fd;		      /* owned by the port driver, as the listener is */
	struct portspec spec;	      /* as published */
	struct target target;	      /* where it leads; its texts are those of `spec` */
	size_t worker;		      /* UDP only: index of the worker that serves it */
	_Atomic bool on_all_workers;  /* TCP only: all serve the port, and may hand over clients */
	bool may_lead_out;	      /* see "Loop protection"; set by listener_note_target */
	_Atomic unsigned int clients[LISTENER_BUCKETS]; /* see listener_count_in */
	struct log_limit failures;			/* of listener_log_failure */
};

/* Loop protection. A port whose child IP is outside the network namespace may lead back to itself:
 * through the network program and an address of the host, or through other ports and other
 * launchers. A connection cannot carry a mark around such a loop, because the network program makes
 * a new connection. But a loop shows itself: many connections have the same client address, and
 * none is answered.
 *
 * So a port that may lead out counts, for each client address, its TCP connections and its
 * unanswered UDP flows. Above LISTENER_LOOP_LIMIT the dial (struct dial, loop_suspected) makes no
 * further connection that leads out. The resulting reset, or the loss of the datagram, ends the
 * whole loop. Clients of other ports are neither counted nor limited.
 *
 * Client addresses are hashed to LISTENER_BUCKETS counters. */
#define LISTENER_LOOP_LIMIT 128

/* Counts a client of address `client`, and sets *bucket to the index of its counter, for
 * listener_count_out. Returns true if a loop is suspected; then the client's connection must not
 * lead out. For a port that cannot lead out both functions do nothing. Any thread. */
bool listener_count_in(struct listener *l, const struct sockaddr_storage *client,
		       unsigned char *bucket);
/* Takes a client off the counter at `bucket`. Any thread. */
void listener_count_out(struct listener *l, unsigned char bucket);

/* Sets `may_lead_out` according to `target`. Before the workers know the port. */
void listener_note_target(struct listener *l);

/* Sets `name`, for log lines, to the port's address on the host. Before the workers know the port.
 */
void listener_set_name(struct listener *l, const struct portspec *spec);

/* Logs a warning, at most once a minute for each port, that clients get no connection to `to`
 * (AF_UNSPEC if unknown). `errnum` (an errno value) and `reason` say why. Cheap when it logs
 * nothing. Any thread. */
void listener_log_failure(struct listener *l, const struct sockaddr_storage *to, int errnum,
			  const char *reason);

#endif
