/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_TCPIN_H
#define USERNET_TCPIN_H

#include <stdbool.h>
#include <stdint.h>

#include "formats/tcpseg.h"
#include "usernet/tcpstate.h"

/* A flow's way from the inside: sequence numbers, the window that we offer, and the passing on of
 * data to the host. Nothing blocks. */

/* Prepares `f->in` for a flow that the segment `syn` opens. */
void tcpin_init(struct tcpflow *f, const struct tcpseg *syn);

/* Frees data that the host's socket has not taken. */
void tcpin_forget(struct tcpflow *f);

/* Is the segment at least partly inside of the window (RFC 9293 3.10.7.4)? */
bool tcpin_is_acceptable(const struct tcpflow *f, const struct tcpseg *seg);

/* Takes the data and the FIN of an acceptable segment, as far as they are next in order and inside
 * of the window, and passes them on to the host. */
void tcpin_on_data(struct tcpflow *f, const struct tcpseg *seg);

/* The host's socket has failed, with `errnum`. What the inside sends from now on is discarded. */
void tcpin_break(struct tcpflow *f, int errnum);

/* The host's socket has room again: passes on what was kept, and asks for an acknowledgement if the
 * window has grown enough. */
void tcpin_on_room(struct tcpflow *f);

/* Moves the window's right edge as far as the host's socket has room, and returns the window to
 * advertise, not scaled: bytes. */
uint32_t tcpin_window(struct tcpflow *f);

/* Data goes to the inside: is it the answer to what came from there? */
void tcpin_note_answer(struct tcpflow *f);
/* Sends the acknowledgement that was waiting for an answer, if its time has come. Returns false if
 * none was. */
bool tcpin_on_timer(struct tcpflow *f);

/* Our shift of the window. With it the largest window is 8 MiB, twice the default limit of a
 * socket's send buffer (tcp(7), tcp_wmem). */
#define TCPIN_SCALE 7

#endif
