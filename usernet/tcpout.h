/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_TCPOUT_H
#define USERNET_TCPOUT_H

#include <stdbool.h>

#include "formats/tcpseg.h"
#include "usernet/tcpstate.h"

/* A flow's way to the inside: segments, acknowledgements of them, congestion control, timers.
 * Nothing blocks. */

/* Prepares `f->out` for a flow that the segment `syn` opens. */
void tcpout_init(struct tcpflow *f, const struct tcpseg *syn, uint32_t iss, uint32_t mss_max);

/* Sends our SYN, for the first time or again. */
void tcpout_send_syn(struct tcpflow *f);
/* Sends an acknowledgement without data. */
void tcpout_send_ack(struct tcpflow *f);
/* Answers the acknowledgement of something that was not sent with a reset (RFC 9293 3.10.7.4). The
 * flow goes on. */
void tcpout_refuse(struct tcpflow *f, const struct tcpseg *seg);
/* Ends the flow with a reset to both sides. */
void tcpout_abort(struct tcpflow *f);
/* Sends what the windows allow, and our FIN after the last byte. */
void tcpout_send_data(struct tcpflow *f);

/* Handles the acknowledgement and the window of a segment whose sequence number is acceptable.
 * Returns false if it acknowledges something that was never sent, or is older than any window
 * (RFC 5961 5.2): then nothing has changed. */
bool tcpout_on_ack(struct tcpflow *f, const struct tcpseg *seg);

/* Sets f->due_ms by what the flow waits for. */
void tcpout_set_timer(struct tcpflow *f);
/* due_ms has come: sends again, or probes. Returns false if the inside has not answered for so long
 * that the flow must end. */
bool tcpout_on_timer(struct tcpflow *f);

#endif
