/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_FRAGS_H
#define USERNET_FRAGS_H

#include <stddef.h>

#include "base/loop.h"
#include "formats/packet.h"

/* Puts fragments of IP packets from inside together (RFC 791, RFC 8200 4.5), of one queue. Bounded:
 * at most FRAGS_MAX packets at a time, each for FRAGS_MS at most; a new packet pushes the oldest
 * out. Overlapping fragments drop the whole packet (RFC 5722), for IPv4, too; an exact copy of a
 * fragment is ignored. One thread uses a struct; nothing blocks. */

#define FRAGS_MAX 16
#define FRAGS_MS  5000

struct frags;

/* Returns an empty table, or NULL if out of memory. Buffers are allocated when they are needed, and
 * freed when they are not. */
struct frags *frags_new(struct loop *loop);
/* NULL is fine. */
void frags_free(struct frags *f);

/* Takes a fragment (p->is_fragment). When its packet is complete, returns true and makes *p that
 * packet, valid until the next call; else returns false. */
bool frags_on_packet(struct frags *f, struct packet *p);

#endif
