/* SPDX-License-Identifier: Apache-2.0 */
/* The events of a flow. See tcpflow.h. */
#include "usernet/tcpflow.h"

#include <errno.h>
#include <poll.h>

#include "usernet/tcpin.h"
#include "usernet/tcpout.h"

#define CHALLENGE_MS   1000
#define CHALLENGES_MAX 10U /* answers in that time */

void tcpflow_init(struct tcpflow *f, struct tcpwire *wire, const struct tcpseg *syn, uint32_t iss,
		  uint32_t mss_max)
{
	f->wire = wire;
	f->state = TCPFLOW_CONNECTING;
	tcpout_init(f, syn, iss, mss_max);
	tcpin_init(f, syn);
}

void tcpflow_reset(struct tcpflow *f)
{
	hostsock_close(&f->host, f->state == TCPFLOW_DEAD && !f->fin_acked);
	tcpin_forget(f);
}

void tcpflow_abort(struct tcpflow *f)
{
	tcpout_abort(f);
}

void tcpflow_end(struct tcpflow *f)
{
	if (f->state == TCPFLOW_OPEN && f->fin_passed && f->broken == 0)
		hostsock_leave(&f->host);
	tcpout_abort(f);
}

bool tcpflow_is_draining(const struct tcpflow *f)
{
	if (f->state != TCPFLOW_OPEN || f->broken != 0 || f->fin_passed)
		return false;
	return f->fin_received || f->in.kept != NULL || f->wants_room;
}

void tcpflow_on_connected(struct tcpflow *f, unsigned long long now_ms)
{
	f->now_ms = f->active_ms = now_ms;
	f->state = TCPFLOW_SYN_RCVD;
	tcpout_send_syn(f);
}

/* ---- segments ---- */

/* Answers a segment that does not fit with what we expect. Data that was sent again needs its
 * answer; for others the rate is limited (RFC 5961 7). */
static void challenge(struct tcpflow *f, const struct tcpseg *seg)
{
	bool is_data = tcpseg_span(seg) > 0 && (seg->flags & (TH_SYN | TH_RST)) == 0;

	if (f->now_ms >= f->challenged_ms + CHALLENGE_MS) {
		f->challenged_ms = f->now_ms;
		f->challenges = 0;
	}
	if (is_data || f->challenges++ < CHALLENGES_MAX)
		f->ack_now = true;
}

/* The inside's reset. Only the exact sequence number is believed (RFC 5961 3.2). */
static void on_rst(struct tcpflow *f, const struct tcpseg *seg)
{
	if (seg->seq != f->in.nxt) {
		challenge(f, seg);
		return;
	}
	hostsock_close(&f->host, true);
	f->state = TCPFLOW_DEAD;
}

/* While the host connects, only a reset counts. */
static void on_segment_while_connecting(struct tcpflow *f, const struct tcpseg *seg)
{
	if ((seg->flags & TH_RST) && seg->seq == f->in.nxt)
		on_rst(f, seg);
}

static void on_syn(struct tcpflow *f, const struct tcpseg *seg)
{
	if (f->state == TCPFLOW_SYN_RCVD && seg->seq == f->in.irs)
		tcpout_send_syn(f);
	else
		challenge(f, seg); /* RFC 5961 4.2 */
}

/* Our SYN must be acknowledged before anything else counts. */
static void on_first_ack(struct tcpflow *f, const struct tcpseg *seg)
{
	if (seg->ack != f->out.max) {
		tcpout_refuse(f, seg);
		return;
	}
	tcpout_on_ack(f, seg);
	f->state = TCPFLOW_OPEN;
	f->out.acked = 0; /* the SYN was no data */
	tcpin_on_data(f, seg);
}

static void on_ack(struct tcpflow *f, const struct tcpseg *seg)
{
	if (f->state == TCPFLOW_SYN_RCVD)
		on_first_ack(f, seg);
	else if (tcpout_on_ack(f, seg))
		tcpin_on_data(f, seg);
	else
		challenge(f, seg); /* RFC 5961 5.2 */
}

static void on_acceptable(struct tcpflow *f, const struct tcpseg *seg)
{
	if (seg->flags & TH_RST) {
		on_rst(f, seg);
	} else if (seg->flags & TH_SYN) {
		on_syn(f, seg);
	} else if (seg->flags & TH_ACK) {
		on_ack(f, seg);
	}
}

void tcpflow_on_segment(struct tcpflow *f, const struct tcpseg *seg, unsigned long long now_ms)
{
	f->now_ms = f->active_ms = now_ms;
	if (f->state == TCPFLOW_DEAD)
		return;
	if (f->state == TCPFLOW_TIME_WAIT && (seg->flags & TH_FIN))
		f->due_ms = now_ms + TCPFLOW_TIME_WAIT_MS;
	if (f->state == TCPFLOW_CONNECTING)
		on_segment_while_connecting(f, seg);
	else if (f->state == TCPFLOW_SYN_RCVD && (seg->flags & (TH_SYN | TH_RST)) == TH_SYN)
		on_syn(f, seg);
	else if (tcpin_is_acceptable(f, seg))
		on_acceptable(f, seg);
	else if (!(seg->flags & TH_RST))
		challenge(f, seg);
}

/* ---- the host ---- */

void tcpflow_on_host(struct tcpflow *f, short revents, unsigned long long now_ms)
{
	f->now_ms = now_ms;
	if (revents & (POLLIN | POLLPRI | POLLRDHUP | POLLHUP | POLLERR))
		f->readable = true;
	if (revents & (POLLPRI | POLLRDHUP | POLLHUP | POLLERR))
		f->is_special = true;
	if (revents & POLLERR)
		tcpin_break(f, ECONNRESET);
	if (f->state == TCPFLOW_OPEN && (revents & (POLLOUT | POLLHUP | POLLERR)) && f->wants_room)
		tcpin_on_room(f);
}

/* ---- time ---- */

void tcpflow_on_timer(struct tcpflow *f, unsigned long long now_ms)
{
	f->now_ms = now_ms;
	if (f->state == TCPFLOW_OPEN && tcpin_on_timer(f))
		return; /* if more is due, that is next */
	if (f->state == TCPFLOW_TIME_WAIT)
		f->state = TCPFLOW_DEAD;
	else if (f->state != TCPFLOW_DEAD && f->state != TCPFLOW_CONNECTING && !tcpout_on_timer(f))
		tcpout_abort(f);
}

/* Both directions have ended. If the inside's FIN came last, our acknowledgement of it may get
 * lost.
 */
static void finish(struct tcpflow *f)
{
	hostsock_close(&f->host, false);
	if (f->ack_now)
		tcpout_send_ack(f);
	f->state = f->closed_first ? TCPFLOW_TIME_WAIT : TCPFLOW_DEAD;
	f->due_ms = f->now_ms + TCPFLOW_TIME_WAIT_MS;
}

static void flush_open(struct tcpflow *f)
{
	if (f->out.acked > 0)
		hostsock_drop(&f->host, f->out.acked);
	f->out.acked = 0;
	tcpout_send_data(f);
	/* What could be sent is acknowledged, and nothing more can be sent now. */
	if (f->broken != 0 && f->out.una == f->out.max)
		tcpout_abort(f);
	if (f->state == TCPFLOW_OPEN && f->fin_acked && f->fin_passed)
		finish(f);
}

void tcpflow_flush(struct tcpflow *f, unsigned long long now_ms)
{
	f->now_ms = now_ms;
	if (f->state == TCPFLOW_OPEN)
		flush_open(f);
	if (f->ack_now && f->state != TCPFLOW_DEAD && f->state != TCPFLOW_CONNECTING)
		tcpout_send_ack(f);
	tcpout_set_timer(f);
}
