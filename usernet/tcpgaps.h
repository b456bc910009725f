/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_TCPGAPS_H
#define USERNET_TCPGAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/tcpseg.h"
#include "usernet/tcpwire.h"

/* Data of a TCP connection that came before its time, because something in front of it is missing:
 * it waits here, in blocks, until the gap is filled. Behind a bridge inside, packets are lost and
 * overtake each other when the CPUs are busy; without these blocks the inside would have to send
 * everything after a gap again.
 *
 * One thread uses a struct; nothing blocks. Memory is counted by tcpwire_take_memory.
 */

#define TCPGAPS_MAX 64 /* blocks; data that would begin another one is dropped */

struct tcpgaps; /* NULL: nothing waits */

/* Keeps the data of a segment that begins after `nxt`, the next sequence number in order, and its
 * FIN. What is there already is not replaced. */
void tcpgaps_add(struct tcpgaps **g, struct tcpwire *wire, const struct tcpseg *seg);

/* Returns the data that is next in order now, after freeing what is before `nxt`, and sets *len;
 * NULL if there is none. Valid until the next call. */
const uint8_t *tcpgaps_next(struct tcpgaps *g, struct tcpwire *wire, uint32_t nxt, size_t *len);

/* Does data wait? */
bool tcpgaps_has_data(const struct tcpgaps *g);
/* Is the FIN next in order? */
bool tcpgaps_fin_is_next(const struct tcpgaps *g, uint32_t nxt);

/* Writes the ranges of the blocks, the newest first (RFC 2018 4), at most TCPSEG_SACKS. Returns how
 * many. */
size_t tcpgaps_ranges(const struct tcpgaps *g, struct tcpseg_range *ranges);

/* Frees everything, and sets *g to NULL. */
void tcpgaps_free(struct tcpgaps **g, struct tcpwire *wire);

#endif
