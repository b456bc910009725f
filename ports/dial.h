/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_DIAL_H
#define PORTS_DIAL_H

#include <stdbool.h>
#include <sys/socket.h>

#include "base/err.h"
#include "base/loop.h"
#include "formats/target.h"
#include "msg.h"
#include "ports/dialler.h"
#include "ports/sockpool.h"

/* A dial gets a socket of the child's network namespace that is connected to a target. Normally the
 * parent takes a socket from the pool (sockpool.h) and connects it. If the pool has none, or if
 * only the child can decide (source addresses), the parent asks the child over .bp.sock for a
 * connected socket. A dial makes several tries, each with a new socket. It does not block, except
 * as worker.h describes for sockets that a process inside has tampered with.
 *
 *              ┌─────── a try failed: 5, 10, ... ms later ◄───────────┐
 *              ▼                                                      │
 *     start ── WAITING ── a socket ──► CONNECTING ── connected ──► on_done(fd)
 *              │   └── pool has none ──┐      └── not from the client's address
 *              │                      ▼      ▼
 *              │                    ASKING the child ── its answer ──► on_done(fd)
 *              ├── no try is left, or no time ──► on_done(-errno)
 *              └── dial_cancel ──► on_done(-ECANCELED)
 *
 * If the choice of the address depends on the child's routes (choose_target in dial.c), each try
 * first looks at the routes through a probe: a UDP socket of the child's namespace (reach.h). The
 * first such dial of a worker asks the child for the probe, which the dialler keeps.
 *
 * All functions belong to the thread of the loop.
 */

/* The most descriptors that a dial holds, including the one that it delivers. The dial's owner
 * takes this many from the quota before it starts the dial. */
#define DIAL_FDS 2

/* Embedded in memory of the owner. Before the start the owner may set `loop_suspected`,
 * `source_ip` and `source_port`. When the dial is done, it may read `why` and `to`. The other
 * members belong to the dial. */
struct dial {
	bool loop_suspected;	 /* fail with -ELOOP if the target leads out of the namespace
				    (listener.h) */
	struct ipaddr source_ip; /* the client's address; AF_UNSPEC: the server need not see it */
	int source_port;
	struct err why;		    /* reason of the last failure */
	struct sockaddr_storage to; /* target of the last try; AF_UNSPEC if none was chosen */
	const struct dialler *dialler;
	struct sockpool_waiter waiter; /* for a socket of the pool */
	struct watch watch;	       /* owned: the connection to the child or to the target */
	struct timer timer;	       /* the deadline of a try, or the pause before the next */
	struct msg_reader reader;
	struct task task; /* calls on_done */
	const struct target *target;
	struct ipaddr host_gateway_ip; /* as this try found it */
	struct ipaddr ip;	       /* the address that this try connects to */
	bool ip_is_chosen;	       /* `ip` was chosen by the child's routes */
	socklen_t to_len;
	struct sockaddr_storage from; /* connect from this client address; AF_UNSPEC: from any */
	int mark;	 /* fwmark for connecting from `from`; 0: do not bind to `from` */
	bool via_child;	 /* the parent's connect(2) failed: ask the child */
	bool timed_out;	 /* the parent's connect(2) from `from` got no answer */
	bool asks_probe; /* the child is being asked for a probe */
	int port_id;	 /* for log lines */
	int tries;
	unsigned long long until_ms; /* the deadline of all tries, in clock_now_ms()'s clock */
	bool done;
	int result; /* of on_done */
	void (*on_done)(struct dial *d, int result);
};

/* Starts a dial. `d` is zero except for what the owner may set. `d` and `target` (borrowed) must
 * stay valid until on_done. `port_id` is for log lines. `on_done` is called once, in a task of the
 * loop, and may free the dial. Its `result` is a descriptor, which the owner takes, and which the
 * dial has checked to be a TCP or a UDP socket, as the target needs it; or -errno, with the reason
 * in d->why. */
void dial_start(struct dial *d, const struct dialler *dialler, int port_id,
		const struct target *target, void (*on_done)(struct dial *d, int result));

/* Ends a dial now and closes its descriptors, even if it is done and on_done is still to come.
 * on_done follows, with -ECANCELED. Does nothing to a dial that was cancelled before. Must not be
 * called after on_done. */
void dial_cancel(struct dial *d);

#endif
