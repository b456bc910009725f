/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_TCPWIRE_H
#define USERNET_TCPWIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/tcpseg.h"

/* The way of a flow's segments to the inside. A segment may be longer than the inside's maximum
 * segment size: the kernel cuts it (TSO). */

struct tcpflow;
struct tcpwire;

/* Returns where the data of the next segment must be, TCPWIRE_DATA_MAX bytes. Valid until
 * tcpwire_send. */
uint8_t *tcpwire_buffer(struct tcpwire *wire);
#define TCPWIRE_DATA_MAX (PACKET_IP_MAX - 40 - TCPSEG_HEAD_LEN)

/* Sends a segment of the flow, whose data is in the buffer. Ports are filled in. A segment that
 * cannot be sent is lost, as on any wire. Does not block. */
void tcpwire_send(struct tcpwire *wire, const struct tcpflow *f, struct tcpseg *seg);

/* Counts memory that the flows of a wire use for data which the host's sockets have not taken yet.
 * Returns false, and counts nothing, if `len` bytes more are too much. */
bool tcpwire_take_memory(struct tcpwire *wire, size_t len);
void tcpwire_give_memory(struct tcpwire *wire, size_t len);

#endif
