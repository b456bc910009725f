/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_UDPFLOW_H
#define PORTS_UDPFLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/list.h"
#include "base/loop.h"
#include "ports/coalesce.h"
#include "ports/dgram.h"
#include "ports/dial.h"
#include "ports/fdquota.h"
#include "ports/flowtable.h"
#include "ports/listener.h"

/* The flows of UDP ports. udp.c has the ports: it receives the clients' datagrams, finds or makes
 * their flow, and passes them to it. This unit opens and ends flows, and passes on the answers. The
 * structs are those of udp.c and udpflow.c; nothing else includes this header.
 *
 * All functions belong to the thread of the loop; none blocks.
 */

/* A callback calls dgrams_receive at most UDP_TURN times, and not again after UDP_TURN_BYTES,
 * before other watches get their turn. */
#define UDP_TURN       4
#define UDP_TURN_BYTES (256 * 1024)

struct udpflow;

/* A flow that has no socket yet. */
struct udpflow_opening {
	struct dial dial;
	struct udp_port *port;
	struct udpflow *flow;	    /* NULL: the flow has ended, and the dial is being cancelled */
	bool waits;		    /* the dial has not begun: `node` is in the port's `waiting` */
	struct list_node node;	    /* in the port's `waiting` */
	struct dgram *first, **end; /* queued datagrams, and the link to append to */
	size_t queued;		    /* bytes */
};

struct udpflow {
	struct flow_entry entry;
	struct coalesced coalesced; /* owns the socket inside; -1 while it opens */
	struct udp_port *port;
	struct udpflow_opening *opening; /* NULL: the flow is open */
	uint16_t segment_max;		 /* of batches to the server (dgram.h) */
	uint16_t answer_max;		 /* of batches to the client */
	bool is_busy;			 /* its socket has enlarged buffers */
	unsigned char group;  /* index in u->groups; valid if that group names this flow */
	unsigned char bucket; /* of listener_count_in */
	bool is_counted;      /* for loop protection (listener.h): the flow was not answered yet */
	struct task reap;
};

/* The received datagrams of one flow, in order, that are not sent yet. */
struct udp_group {
	struct udpflow *flow;
	struct dgram *first, **end; /* and the link to append to */
};

struct udp_port {
	struct coalesced coalesced; /* on the listening socket */
	struct udp *udp;
	struct listener *listener;
	sa_family_t family; /* of the listening socket */
	struct flowtable flows;
	struct timer idle;   /* when the flow that has been unused longest may end */
	struct list waiting; /* openings whose dial has not begun */
	size_t dialling;     /* dials under way */
	size_t queued;	     /* bytes of memory for datagrams that wait for flows to open */
	size_t alive;	     /* flows and openings that are not freed yet */
	struct udp_port *next;
};

struct udp {
	struct loop *loop;
	const struct dialler *dialler;
	struct fdquota *quota;
	struct dgrams *buffers; /* owned; allocated for the first port */
	struct coalesce coalesce;
	struct udp_group groups[DGRAMS_MAX];
	int group_count;
	struct udp_port *ports;
	size_t fds;	/* descriptors taken from the quota */
	size_t fds_max; /* limit of `fds` */
	size_t fds_own; /* descriptors guaranteed while there are ports */
	size_t queued;	/* as udp_port.queued, of all ports */
};

static inline struct udpflow *udpflow_of(struct flow_entry *e)
{
	return LOOP_OWNER(e, struct udpflow, entry);
}

/* Returns a new flow that is being opened, or NULL if there is no room for it. May end other flows
 * of the worker to make room. */
struct udpflow *udpflow_new(struct udp_port *p, const struct flow_key *key, unsigned long long now);

/* Queues a copy of a datagram for a flow that is being opened; drops it if a queue is full. */
void udpflow_queue(struct udpflow_opening *o, const struct dgram *d);

/* Sends a list of datagrams to the server of an open flow. Ends the flow if its socket is
 * unusable. */
void udpflow_send(struct udpflow *f, struct dgram *first);

/* Ends a flow in any state, and drops its queued datagrams. Its memory stays valid until the loop
 * has run its tasks. */
void udpflow_end(struct udpflow *f);

/* The port's timer: ends the flows that have been unused for too long. */
void udpflow_on_idle(struct timer *t);

/* Passes on the answers that servers have sent so far, and ends the port's flows. */
void udpflow_pass_last_answers(struct udp_port *p);

#endif
