/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_FRAGS_H
#define USERNET_FRAGS_H

#include <stdbool.h>

#include "base/loop.h"
#include "formats/packet.h"

/* Puts fragments of IP packets from inside together (RFC 791, RFC 8200 4.5). All queues share one
 * table, because the kernel may change the queue in the middle of a packet: it sends to the queue
 * that sent last with the same addresses, and fragments have no ports. Bounded: at most FRAGS_MAX
 * packets at a time, each for FRAGS_MS at most; a new packet pushes the oldest out. Overlapping
 * fragments drop the whole packet (RFC 5722), for IPv4, too; an exact copy of a fragment is
 * ignored.
 *
 * A queue belongs to one thread. The table is locked while a fragment is copied; nothing else
 * blocks. */

#define FRAGS_MAX 64
#define FRAGS_MS  5000

struct frags;
struct frags_buffer;

/* The side of a queue. All members are private. */
struct frags_queue {
	struct frags *frags; /* borrowed, as the loop */
	struct loop *loop;
	struct timer timer;	    /* runs while there are incomplete packets, or a spare buffer */
	struct frags_buffer *spare; /* has the packet that was returned last; is used next */
	bool spare_is_new;	    /* since the timer was started */
};

/* Returns an empty table, or NULL if out of memory. Buffers are allocated when they are needed, and
 * freed when they are not. */
struct frags *frags_new(void);
/* All queues must be detached. NULL is fine. */
void frags_free(struct frags *f);

/* Prepares a queue. `f` and `loop` are borrowed until frags_detach. */
void frags_attach(struct frags_queue *q, struct frags *f, struct loop *loop);
/* Zeroed is fine. */
void frags_detach(struct frags_queue *q);

/* Takes a fragment (p->is_fragment). When its packet is complete, returns true and makes *p that
 * packet, valid until the queue's next call; else returns false. */
bool frags_on_packet(struct frags_queue *q, struct packet *p);

#endif
