/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_CHILDDIAL_H
#define PORTS_CHILDDIAL_H

#include <stdbool.h>
#include <sys/socket.h>

#include "base/err.h"
#include "base/loop.h"
#include "formats/bpmsg.h"
#include "formats/ipaddr.h"
#include "ports/srcroute.h"

/* Connecting in the child, for a "connect" request (portservice.h). The parent's half is dial.h.
 * All functions belong to the thread of the loop; none blocks.
 *
 *     start ── CONNECTING ── connected, refused, deadline ──► on_result ──► on_end
 *                  │                                             │            ▲
 *                  │                                             └─ LINGERING ┤
 *                  └── childdial_abandon ─────────────────────────────────────┘
 *
 * If the request names a client's address, the dial first connects from that address
 * (transparent.h). If that fails, for any reason, it connects from its own address at once: the
 * fallback. If the fallback fails, too, its error is the result.
 *
 * If the first socket got no answer in time, it stays open beside the second one, and the result is
 * the one that is connected first. If the first socket connects late, the server was just slow, and
 * answers to the client's address do come back. To find that out, the first socket lingers for a
 * while after the result.
 */

/* Embedded in memory of the owner, who zeroes it and sets the first members. */
struct childdial {
	struct loop *loop;	   /* borrowed */
	struct srcroute *srcroute; /* borrowed; NULL: never connect from a client's address */
	/* Called once, unless the dial is abandoned before. `fd` is a connected socket, which the
	 * owner may use until it returns; or -1, and `why` is the reason. */
	void (*on_result)(struct childdial *d, int fd, const struct err *why);
	/* Called once, as the last. The owner may free the dial in a task of the loop. */
	void (*on_end)(struct childdial *d);

	/* the other members belong to the dial */
	const struct target *target;
	struct watch watch;	 /* owned: the socket that is being connected */
	struct watch unanswered; /* owned: the first socket, if it did not connect in time */
	struct timer deadline;
	struct ipaddr ip;	      /* the address to connect to */
	struct sockaddr_storage to;   /* `ip` and the target's port */
	struct sockaddr_storage from; /* the client's address; AF_UNSPEC: connect from our own */
	socklen_t to_len;
	bool fell_back;	   /* connecting from `from` failed: connect from our own */
	bool from_client;  /* `watch` is a socket that is bound to `from` */
	bool is_done;	   /* on_result was called */
	bool is_abandoned; /* nobody waits for the result */
	/* When the fallback began; 0 unless the first socket got no answer in time. Becomes 0 again
	 * when the fallback gets no immediate answer either. */
	unsigned long long fallback_began_ms;
};

/* Starts a dial for a "connect" request. The target (target_check has accepted it) must stay valid
 * until on_end. May call on_result and on_end before it returns. */
void childdial_start(struct childdial *d, const struct bpmsg *req);

/* Nobody waits for the result any more. Ends the dial as soon as its outcome is of no use for later
 * requests, which is usually now. Not after on_result. */
void childdial_abandon(struct childdial *d);

/* Returns a non-blocking socket for connecting, with the options that all of the child's sockets
 * have, which the caller owns; or -errno. `family`: AF_INET or AF_INET6. */
int childdial_socket(enum proto proto, int family);

#endif
