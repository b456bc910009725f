/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_DIAL_H
#define PORTS_DIAL_H

#include <stdbool.h>
#include <sys/un.h>

#include "base/err.h"
#include "base/loop.h"
#include "formats/bpmsg.h"
#include "msg.h"
#include "ports/fdquota.h"
#include "ports/markcache.h"
#include "ports/sockpool.h"

/* Getting a socket of the child's network namespace that is connected to a target. The usual way is
 * to connect one that the child has handed over before (sockpool.h). Where there is none, and for
 * what only the child can decide, it is asked over .bp.sock for a connected one. A dial tries
 * several times where that fails, each time with a socket of its own, and never blocks.
 *
 *              ┌────── refused, no answer: 5, 10, ... ms later ◄──────┐
 *              ▼                                                      │
 *     start ── WAITING ── a socket ──► CONNECTING ── connected ──► on_done(fd)
 *              │   └── none to be had │      └── not from the client's address
 *              │                      ▼      ▼
 *              │                    ASKING the child ── its answer ──► on_done(fd)
 *              ├── no try is left, or no time ──► on_done(-errno)
 *              └── dial_cancel ──► on_done(-ECANCELED)
 *
 * Where the target depends on the routes inside, each try first looks at these, by a UDP socket of
 * the namespace. The first such dial of a worker asks the child for that socket.
 */

/* What the dials of a worker have in common. */
struct dialler {
	struct loop *loop;	       /* borrowed */
	struct fdquota *quota;	       /* borrowed; paused when a dial finds no descriptor left */
	struct sockaddr_un bp_address; /* .bp.sock */
	struct sockpool *pool;	       /* owned; NULL: the child is asked for each connection */
	struct markcache *marks;       /* owned, likewise */
	struct dial_probes {
		int v4, v6; /* UDP sockets of the child's namespace (reach.h); -1: none yet */
	} * probes;	    /* owned, likewise */
};

/* Gives a dialler whose other members are set a pool. Returns 0 or -ENOMEM. */
int dialler_open(struct dialler *dialler);
/* No dial is left. */
void dialler_close(struct dialler *dialler);

/* Descriptors that a dial holds at most, the one that it brings among them: its owner takes them
 * from the quota before it starts one. */
#define DIAL_FDS 2

/* Embedded in what the owner allocates for it. All members but the first three, which the owner may
 * set before or read when it is done, are the dial's own. */
struct dial {
	bool loop_suspected;	    /* set before: fail with -ELOOP if the target leads out */
	struct err why;		    /* of the last failure */
	struct sockaddr_storage to; /* the target of the last try; AF_UNSPEC if it had none */
	const struct dialler *dialler;
	struct sockpool_waiter waiter;
	struct watch watch; /* on the connection to the child or the target, which it owns */
	struct timer timer; /* the deadline of a try, or the pause before the next */
	struct msg_reader reader;
	struct task task; /* the report */
	struct bpmsg req;
	socklen_t to_len;
	struct sockaddr_storage from; /* the client's address; AF_UNSPEC if it is not to be kept */
	int mark;		      /* what it connects from there with; 0: it does not */
	bool via_child;		      /* connecting is the child's */
	bool has_ip;		      /* the request came with a child IP, which stays as it is */
	bool timed_out;		      /* from the client's address there was no answer */
	bool asks_probe;	      /* what the child is asked for is a probe */
	int port_id;		      /* for log lines */
	int tries;
	unsigned long long until_ms; /* no try goes on after this, clock_now_ms()'s clock */
	bool done;
	int result;
	void (*on_done)(struct dial *d, int result);
};

/* Starts to dial; `d` is zeroed memory but for `loop_suspected`. `req` is copied; HostGatewayIP is
 * filled in for each try. `on_done` is called once, in a task of the loop, and may free the dial:
 * with a descriptor, which is of the kind that the request's proto says (checked) and belongs to
 * the owner from then on, or with -errno and a reason in d->why. */
void dial_start(struct dial *d, const struct dialler *dialler, int port_id, const struct bpmsg *req,
		void (*on_done)(struct dial *d, int result));

/* Ends a dial now: it holds no descriptor any more. on_done follows, with -ECANCELED. Does nothing
 * to one that was cancelled before. */
void dial_cancel(struct dial *d);

#endif
