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

/* Gets a socket of the child's network namespace that is connected to a target. Normally the parent
 * takes a socket from the pool (sockpool.h) and connects it. If the pool has none, or if only the
 * child can decide (source addresses), the parent asks the child over .bp.sock for a connected
 * socket. A dial makes several tries, each with a new socket, and never blocks.
 *
 *              ┌────── refused, no answer: 5, 10, ... ms later ◄──────┐
 *              ▼                                                      │
 *     start ── WAITING ── a socket ──► CONNECTING ── connected ──► on_done(fd)
 *              │   └── pool has none ──┐      └── not from the client's address
 *              │                      ▼      ▼
 *              │                    ASKING the child ── its answer ──► on_done(fd)
 *              ├── no try is left, or no time ──► on_done(-errno)
 *              └── dial_cancel ──► on_done(-ECANCELED)
 *
 * If the target depends on the routes of that namespace, each try first looks at them through a
 * probe: a UDP socket of the namespace (reach.h). The first such dial of a worker asks the child
 * for the probe.
 *
 * All functions belong to the thread of the loop.
 */

/* What the dials of a worker share. */
struct dialler {
	struct loop *loop;     /* borrowed */
	struct fdquota *quota; /* borrowed; paused when a dial finds that no descriptor is left */
	struct sockaddr_un bp_address; /* of .bp.sock */
	struct sockpool *pool;	       /* owned; NULL: ask the child for each connection */
	struct markcache *marks;       /* owned; NULL without a pool */
	struct dial_probes {
		int v4, v6; /* owned UDP sockets of the child's namespace (reach.h); -1: none yet */
	} * probes;	    /* owned; NULL without a pool */
};

/* Allocates the pool, marks and probes of a dialler whose other members are set. Returns 0 or
 * -ENOMEM; dialler_close must be called in either case. */
int dialler_open(struct dialler *dialler);
/* Frees what dialler_open allocated and closes its sockets. No dial may be left. Closing sockets of
 * the child can block (worker.h). */
void dialler_close(struct dialler *dialler);

/* The most descriptors that a dial holds, including the one that it delivers. Its owner takes that
 * many from the quota before it starts the dial. */
#define DIAL_FDS 2

/* Embedded in memory of the owner. The owner may set `loop_suspected` before the start, and read
 * `why` and `to` when the dial is done. The other members belong to the dial. */
struct dial {
	bool loop_suspected;	    /* fail with -ELOOP if the target leads out of the namespace
				       (listener.h) */
	struct err why;		    /* reason of the last failure */
	struct sockaddr_storage to; /* target of the last try; AF_UNSPEC if it had none */
	const struct dialler *dialler;
	struct sockpool_waiter waiter; /* for a socket of the pool */
	struct watch watch;	       /* owned: the connection to the child or to the target */
	struct timer timer;	       /* the deadline of a try, or the pause before the next */
	struct msg_reader reader;
	struct task task; /* calls on_done */
	struct bpmsg req;
	socklen_t to_len;
	struct sockaddr_storage from; /* connect from this client address; AF_UNSPEC: from any */
	int mark;		      /* fwmark to connect from `from` with; 0: not from there */
	bool via_child;		      /* connecting ourselves failed: ask the child */
	bool has_ip;	 /* the request came with a child IP; else each try chooses one */
	bool timed_out;	 /* connecting from the client's address got no answer */
	bool asks_probe; /* the child is being asked for a probe */
	int port_id;	 /* for log lines */
	int tries;
	unsigned long long until_ms; /* the deadline of all tries, in clock_now_ms()'s clock */
	bool done;
	int result; /* of on_done */
	void (*on_done)(struct dial *d, int result);
};

/* Starts a dial. `d` is zeroed memory, but for `loop_suspected`, and must stay valid until on_done.
 * `req` is copied; each try fills in its HostGatewayIP. `port_id` is for log lines. `on_done` is
 * called once, in a task of the loop, and may free the dial. Its `result` is a descriptor that the
 * owner takes, checked to be of the TCP or UDP kind that the request names; or -errno, with the
 * reason in d->why. */
void dial_start(struct dial *d, const struct dialler *dialler, int port_id, const struct bpmsg *req,
		void (*on_done)(struct dial *d, int result));

/* Ends a dial now and closes its descriptors. on_done follows, with -ECANCELED. Does nothing to a
 * dial that was cancelled before. */
void dial_cancel(struct dial *d);

#endif
