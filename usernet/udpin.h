/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_UDPIN_H
#define USERNET_UDPIN_H

#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"
#include "ports/dgram.h"

/* The way of UDP datagrams from the inside. The frames that the TAP delivers in one round of the
 * loop are collected, and sent at its end: those of one socket by one call, as batches if they have
 * one size (UDP_SEGMENT). One thread uses a struct; nothing blocks.
 */

/* The socket of a flow. Embedded in the flow, which sets `fd`, and `segment_max` to
 * DGRAM_ANY_SEGMENT. */
struct udpin_dest {
	int fd;		      /* owned by the flow; connected */
	uint16_t segment_max; /* of batches (struct dgram_dest) */
	unsigned char group;  /* private */
};

/* Called after datagrams for a socket were sent or dropped: `count` (a batch counts as one).
 * `result` is that of dgrams_send, `error` what it noted, or 0. May call udpin_forget, and nothing
 * else here. */
typedef void udpin_on_sent(struct udpin_dest *dest, int count, int result, int error);

struct udpin;

/* Returns a collection, or NULL if out of memory. `buffers` is used for sending. Both are
 * borrowed. */
struct udpin *udpin_new(struct loop *loop, struct dgrams *buffers, udpin_on_sent *on_sent);
/* Drops what was not sent. Must not be called while a task of udpin_add is queued: after the end of
 * the round. NULL is fine. */
void udpin_free(struct udpin *in);

/* Sends a datagram or batch at the end of the round, or before if there are many. Its bytes are
 * copied if they are needed after this call. */
void udpin_add(struct udpin *in, struct udpin_dest *dest, const struct dgram *d);
/* Sends everything now. */
void udpin_flush(struct udpin *in);
/* Drops what is collected for a socket, which is about to be closed. */
void udpin_forget(struct udpin *in, const struct udpin_dest *dest);

#endif
