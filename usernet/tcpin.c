/* SPDX-License-Identifier: Apache-2.0 */
/* Data from the inside. See tcpin.h. */
#include "usernet/tcpin.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_MAX   (65535U << TCPIN_SCALE)
#define UNIT	     (1U << TCPIN_SCALE) /* bytes; a smaller window is 0 when it is scaled */
#define WINDOW_FIRST 65535U		 /* until the host's socket is connected */

#define ACK_DELAY_MS  3
#define SMALL_MAX     1400U /* bytes of a request; more is acknowledged at once */
#define ANSWERS_FIRST 4
#define ANSWERS_MAX   4096

/* ---- the window ---- */

void tcpin_init(struct tcpflow *f, const struct tcpseg *syn)
{
	f->in = (struct tcpflow_in){ .irs = syn->seq, .nxt = syn->seq + 1 };
	f->sacks = syn->sack_permitted;
	f->in.edge = f->in.nxt + WINDOW_FIRST;
	f->in.offered = WINDOW_FIRST;
	f->in.acked = syn->seq;
	f->in.answers_needed = ANSWERS_FIRST;
}

static uint32_t max_window(const struct tcpflow *f)
{
	return f->out.scale == TCPSEG_NO_SCALE ? 65535U : WINDOW_MAX;
}

/* Returns how much of the window is left. */
static uint32_t left(const struct tcpflow *f)
{
	return f->in.edge - f->in.nxt;
}

/* Returns how much data we may take: nothing while data is kept. */
static uint32_t room(const struct tcpflow *f)
{
	size_t bytes = f->in.kept != NULL || f->broken != 0 ? 0 : hostsock_room(&f->host);

	return bytes < max_window(f) ? (uint32_t)bytes : max_window(f);
}

/* The smallest useful growth of the window (RFC 9293 3.8.6.2.2): a sender that gets less sends tiny
 * segments. */
static uint32_t step(const struct tcpflow *f)
{
	uint32_t half = f->in.offered / 2;

	return half < f->out.mss && half > 0 ? half : f->out.mss;
}

/* The room is asked for when half of the window is used up, since that is a system call. If little
 * is left, we want to know when there is more. */
uint32_t tcpin_window(struct tcpflow *f)
{
	uint32_t now;

	if (f->state != TCPFLOW_OPEN || (left(f) > f->in.offered / 2 && left(f) >= UNIT))
		return left(f);
	now = room(f);
	if (now < left(f) + step(f) && f->broken == 0)
		f->wants_room = f->in.kept != NULL || !hostsock_ask_room(&f->host);
	/* A small buffer never has room for a step, even if it is empty. */
	if (now >= left(f) + step(f) || (now > left(f) && !f->wants_room)) {
		f->in.edge = f->in.nxt + now;
		f->in.offered = now;
	}
	return left(f);
}

/* ---- passing on ---- */

static void forget_kept(struct tcpflow *f)
{
	tcpwire_give_memory(f->wire, f->in.kept_len);
	free(f->in.kept);
	f->in.kept = NULL;
	f->in.kept_at = f->in.kept_len = 0;
}

void tcpin_forget(struct tcpflow *f)
{
	forget_kept(f);
	tcpgaps_free(&f->in.gaps, f->wire);
}

void tcpin_break(struct tcpflow *f, int errnum)
{
	if (f->broken != 0)
		return;
	f->broken = errnum;
	f->wants_room = false;
	tcpin_forget(f);
	/* What the host has sent before can still be read, up to the error. */
	f->is_special = f->readable = true;
}

/* Keeps data that the socket has not taken. Returns false if there is no memory for it. */
static bool keep(struct tcpflow *f, const uint8_t *data, size_t len)
{
	uint8_t *more = NULL;

	if (!tcpwire_take_memory(f->wire, len))
		return false;
	more = realloc(f->in.kept, f->in.kept_len + len);
	if (more == NULL) {
		tcpwire_give_memory(f->wire, len);
		return false;
	}
	memcpy(more + f->in.kept_len, data, len);
	f->in.kept = more;
	f->in.kept_len += len;
	f->wants_room = true;
	return true;
}

/* Passes data on, and keeps what the socket does not take. Returns how much is taken care of: all
 * of it, unless there is no memory for that: then the inside sends it again. */
static size_t pass(struct tcpflow *f, const uint8_t *data, size_t len)
{
	size_t done = 0;
	ssize_t n = 0;

	while (f->broken == 0 && f->in.kept == NULL && done < len) {
		n = hostsock_send(&f->host, data + done, len - done);
		if (n < 0)
			break;
		done += (size_t)n;
	}
	if (n < 0 && n != -EAGAIN)
		tcpin_break(f, (int)-n);
	if (f->broken != 0 || done == len || keep(f, data + done, len - done))
		return len;
	return done;
}

static void end_when_passed(struct tcpflow *f)
{
	if (!f->fin_received || f->fin_passed || f->in.kept != NULL || f->broken != 0)
		return;
	hostsock_end(&f->host);
	f->fin_passed = true;
}

static void pass_kept(struct tcpflow *f)
{
	while (f->in.kept != NULL) {
		ssize_t n = hostsock_send(&f->host, f->in.kept + f->in.kept_at,
					  f->in.kept_len - f->in.kept_at);

		if (n == -EAGAIN)
			f->wants_room = true;
		else if (n < 0)
			tcpin_break(f, (int)-n);
		if (n < 0)
			return;
		f->in.kept_at += (size_t)n;
		if (f->in.kept_at == f->in.kept_len)
			forget_kept(f);
	}
}

void tcpin_on_room(struct tcpflow *f)
{
	uint32_t before = left(f);

	f->wants_room = false;
	pass_kept(f);
	end_when_passed(f);
	if (!f->fin_received && tcpin_window(f) > before)
		f->ack_now = true;
}

/* ---- acknowledgements ---- */

/* To acknowledge a small request at once costs a frame, which the answer of the host could save if
 * it comes soon. So after some quick answers the acknowledgement of less than a full segment waits.
 * A sender that waits for it before it sends more (Nagle's algorithm) loses some milliseconds then,
 * and each time it takes twice as many quick answers until we wait again. */
static void acknowledge(struct tcpflow *f)
{
	uint32_t due = f->in.nxt - f->in.acked;

	if (f->in.asked_ms == 0)
		f->in.asked_ms = f->now_ms;
	if (f->in.answers < f->in.answers_needed || due >= SMALL_MAX || due >= f->out.mss ||
	    f->fin_received || left(f) <= f->in.offered / 2 || f->broken != 0)
		f->ack_now = true;
	else if (f->in.ack_due_ms == 0)
		f->in.ack_due_ms = f->now_ms + ACK_DELAY_MS;
}

void tcpin_note_answer(struct tcpflow *f)
{
	if (f->in.asked_ms == 0)
		return;
	if (f->now_ms >= f->in.asked_ms + ACK_DELAY_MS)
		f->in.answers = 0;
	else if (f->in.answers < ANSWERS_MAX)
		f->in.answers++;
	f->in.asked_ms = 0;
}

bool tcpin_on_timer(struct tcpflow *f)
{
	if (f->in.ack_due_ms == 0 || f->in.ack_due_ms > f->now_ms)
		return false;
	f->in.ack_due_ms = 0;
	f->ack_now = true;
	f->in.answers = 0;
	if (f->in.answers_needed < ANSWERS_MAX)
		f->in.answers_needed *= 2;
	return true;
}

/* ---- segments ---- */

bool tcpin_is_acceptable(const struct tcpflow *f, const struct tcpseg *seg)
{
	uint32_t span = tcpseg_span(seg);
	uint32_t last = seg->seq + (span > 0 ? span - 1 : 0);

	if (left(f) == 0)
		return seg->seq == f->in.nxt;
	/* the first or the last of its sequence numbers is in the window */
	return seg->seq - f->in.nxt < left(f) || (span > 0 && last - f->in.nxt < left(f));
}

static void receive_fin(struct tcpflow *f)
{
	f->in.nxt++;
	if (seq_after(f->in.nxt, f->in.edge))
		f->in.edge = f->in.nxt;
	f->fin_received = true;
	f->closed_first = f->fin_sent;
}

/* Cuts off what is not inside of the window: what we have already, and what comes after its right
 * edge. Returns false if nothing is left. */
static bool trim(const struct tcpflow *f, struct tcpseg *seg)
{
	uint32_t old = f->in.nxt - seg->seq;
	uint32_t room;

	if (!seq_after(seg->seq, f->in.nxt)) {
		if (old > seg->len)
			return false;
		seg->seq = f->in.nxt;
		seg->data += old;
		seg->len -= old;
	}
	room = f->in.edge - seg->seq;
	if (seg->len > room) {
		seg->len = room;
		seg->flags &= (uint8_t)~TH_FIN;
	}
	return true;
}

/* Takes data that are next in order. Returns false if there is no memory for all of them. */
static bool take(struct tcpflow *f, const uint8_t *data, size_t len)
{
	size_t taken = pass(f, data, len);

	f->in.nxt += (uint32_t)taken;
	return taken == len;
}

/* Takes what has waited for the data that came just now. */
static void take_waiting(struct tcpflow *f)
{
	const uint8_t *data;
	size_t len;

	while ((data = tcpgaps_next(f->in.gaps, f->wire, f->in.nxt, &len)) != NULL &&
	       take(f, data, len))
		;
	if (tcpgaps_fin_is_next(f->in.gaps, f->in.nxt))
		receive_fin(f);
}

void tcpin_on_data(struct tcpflow *f, const struct tcpseg *segment)
{
	struct tcpseg seg = *segment;

	if (tcpseg_span(&seg) == 0)
		return;
	/* what was sent again, or came before or after a gap, must be known at once */
	if (seg.seq != f->in.nxt || f->fin_received || tcpgaps_has_data(f->in.gaps))
		f->ack_now = true;
	if (f->fin_received || !trim(f, &seg))
		return;
	if (seg.seq != f->in.nxt) {
		if (f->broken == 0)
			tcpgaps_add(&f->in.gaps, f->wire, &seg);
		return;
	}
	if (!take(f, seg.data, seg.len))
		f->ack_now = true;
	else if (seg.flags & TH_FIN)
		receive_fin(f);
	else
		take_waiting(f);
	acknowledge(f);
	end_when_passed(f);
}
