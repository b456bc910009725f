/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_TCPFLOW_H
#define USERNET_TCPFLOW_H

#include <stdint.h>

#include "formats/tcpseg.h"
#include "usernet/tcpstate.h"

/* A TCP connection that a program inside has opened (RFC 9293, as the passive end), and the socket
 * that continues it on the host's side. "We" are the end that the program inside talks to.
 *
 *      SYN            the host's connect(2)        ACK of our SYN
 *   ----------> CONNECTING ------------> SYN_RCVD ----------------> OPEN
 *                                                                    | FIN of both sides
 * acknowledged ours was first: TIME_WAIT <----------+----------> else: DEAD
 *
 * RST in any state, and too many retransmissions: DEAD. An error of the host's socket, for example
 * a reset, is passed on as RST, but after the data that came before it, as far as the inside's
 * window has room for that. Segments that do not fit are answered as RFC 5961 says, at most
 * some in a second, so that two ends that disagree do not answer each other for ever. In state OPEN
 * three facts stand for the states ESTABLISHED to LAST_ACK of the RFC: `fin_received`, `fin_sent`
 * and `fin_acked`.
 *
 * Sequence numbers are named as in RFC 9293 3.3.1. Data of the host is in the host's socket from
 * `una` on; `nxt` is the next to send. After a timeout `nxt` goes back to `una` (go back N), so
 * `max` remembers how far we have been. After three duplicate acknowledgements the segment at `una`
 * is sent again (NewReno, RFC 6582); the congestion window is that of RFC 5681.
 *
 * Who uses a flow: the stack of one worker (tcptable.c). It calls a function for each event, in any
 * number, and then tcpflow_flush once, which sends what is to be sent and acknowledged. Time is
 * passed in, in milliseconds. Nothing blocks.
 */

/* Initialises a flow whose host socket is connecting. `syn` is the segment that opens it, `iss` our
 * first sequence number (random, RFC 6528), `mss_max` what the inside's interface takes. */
void tcpflow_init(struct tcpflow *f, struct tcpwire *wire, const struct tcpseg *syn, uint32_t iss,
		  uint32_t mss_max);
/* Frees what the flow owns, and closes the host's socket. */
void tcpflow_reset(struct tcpflow *f);

/* The host's connect has succeeded: sends our SYN. */
void tcpflow_on_connected(struct tcpflow *f, unsigned long long now_ms);
/* A segment of this flow came from inside. */
void tcpflow_on_segment(struct tcpflow *f, const struct tcpseg *seg, unsigned long long now_ms);
/* Events of poll(2) on the host's connected socket. */
void tcpflow_on_host(struct tcpflow *f, short revents, unsigned long long now_ms);
/* due_ms has come. */
void tcpflow_on_timer(struct tcpflow *f, unsigned long long now_ms);

/* Sends everything that may be sent now, acknowledges what must be acknowledged, and sets due_ms.
 * Afterwards the state may be TCPFLOW_DEAD. */
void tcpflow_flush(struct tcpflow *f, unsigned long long now_ms);

/* Ends the flow with a reset to both sides. */
void tcpflow_abort(struct tcpflow *f);
/* The same, but if the inside has finished sending, the host gets all of that and then the end of
 * the stream, not a reset. */
void tcpflow_end(struct tcpflow *f);
/* Has the inside sent something that the host's socket has not taken yet, or would it perhaps send
 * more if the socket took it? */
bool tcpflow_is_draining(const struct tcpflow *f);

#endif
