/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_TCPTABLE_H
#define USERNET_TCPTABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/loop.h"
#include "formats/packet.h"
#include "ports/fdquota.h"
#include "usernet/dns.h"
#include "usernet/icmperr.h"
#include "usernet/link.h"

/* All TCP flows of one worker's queue: finds the flow of a segment, opens flows, and gives them the
 * events of their host's sockets and their timers. A connection to port 53 of the DNS address leads
 * to the host's name server; if that cannot be reached, to the next one.
 *
 * tcpindex.h says which flow is pushed out when there are too many, or when descriptors run out. A
 * flow without a descriptor is only one in TIME_WAIT. Everything runs in the worker's thread;
 * nothing blocks. */

struct tcptable;

struct tcptable_setup {
	struct loop *loop; /* all borrowed; an epoll loop */
	struct link *link;
	struct icmperr_sender *errors;
	struct dns *dns;
	struct fdquota *quota; /* one descriptor for each flow */
	size_t max;	       /* flows, > 0 */
};

/* Returns a table, or NULL if out of memory. */
struct tcptable *tcptable_new(const struct tcptable_setup *setup);
/* Resets all flows, towards the inside and the host. Only where the inside has finished sending,
 * the host still gets all of that. Must not be called from a task; afterwards the caller runs the
 * loop's tasks (loop_run_tasks). NULL is fine. */
void tcptable_free(struct tcptable *t);

/* A TCP packet came from inside, whose checksum is right and whose addresses are allowed
 * (policy.h). */
void tcptable_on_packet(struct tcptable *t, const struct packet *p);
/* Sends what all flows with events since the last call have to send. */
void tcptable_flush(struct tcptable *t);

/* Is there anything from the inside that a flow has not passed on to the host's socket yet? */
bool tcptable_is_draining(const struct tcptable *t);
/* Has the inside sent a segment in the last TCPTABLE_LIVELY_MS, on a flow whose end it has not sent
 * yet? Then more may follow: the kernel inside still has data of a program that has exited, and
 * sends it bit by bit, paced, or again after 200 ms where a segment was lost. */
bool tcptable_is_lively(const struct tcptable *t);
#define TCPTABLE_LIVELY_MS 300

#endif
