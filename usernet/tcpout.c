/* SPDX-License-Identifier: Apache-2.0 */
/* Data to the inside. See tcpout.h. */
#include "usernet/tcpout.h"

#include <errno.h>

#include "usernet/tcpin.h"

#define MSS_DEFAULT   536U	  /* bytes, if the inside names none (RFC 9293 3.7.1) */
#define MSS_MIN	      64U	  /* bytes: less would cost more headers than data */
#define CWND_FIRST    65536U	  /* bytes; 10 segments at least (RFC 6928) */
#define CWND_MAX      (64U << 20) /* bytes: more than any window */
#define DUPACKS_MAX   3U
#define RTO_FIRST_MS  1000U /* RFC 6298 2.1 */
#define RTO_MIN_MS    200U  /* as Linux; the RFC's second is for networks with slow clocks */
#define RTO_MAX_MS    60000U
#define RETRIES_MAX   12U /* without an answer for about 6 minutes */
#define SYN_RETRIES   5U  /* a minute */
#define IDLE_RETRY_MS 30000U
#define IDLE_RETRIES  5U

static uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static uint32_t max_u32(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

void tcpout_init(struct tcpflow *f, const struct tcpseg *syn, uint32_t iss, uint32_t mss_max)
{
	uint32_t mss = min_u32(syn->mss != 0 ? syn->mss : MSS_DEFAULT,
			       min_u32(mss_max, TCPWIRE_DATA_MAX));

	f->out = (struct tcpflow_out){ .una = iss,
				       .nxt = iss,
				       .max = iss,
				       .window = syn->window,
				       .window_max = syn->window,
				       .wl = syn->seq,
				       .mss = max_u32(mss, MSS_MIN),
				       .scale = syn->scale,
				       .ssthresh = CWND_MAX,
				       .rto_ms = RTO_FIRST_MS };
	f->out.cwnd = max_u32(CWND_FIRST, 10 * f->out.mss);
}

/* ---- segments ---- */

static uint16_t advertised(struct tcpflow *f, bool syn)
{
	uint32_t window = tcpin_window(f);

	if (!syn && f->out.scale != TCPSEG_NO_SCALE)
		window >>= TCPIN_SCALE;
	return (uint16_t)min_u32(window, UINT16_MAX);
}

/* Sends a segment; its data is in the buffer. Each segment acknowledges what we have received. */
static void send_segment(struct tcpflow *f, uint32_t seq, uint8_t flags, size_t len)
{
	struct tcpseg seg = { .seq = seq,
			      .ack = f->in.nxt,
			      .flags = flags | TH_ACK,
			      .window = advertised(f, (flags & TH_SYN) != 0),
			      .mss = (uint16_t)min_u32(f->out.mss, UINT16_MAX),
			      .scale = f->out.scale != TCPSEG_NO_SCALE ? TCPIN_SCALE
								       : TCPSEG_NO_SCALE,
			      .sack_permitted = f->sacks,
			      .len = len };

	if (f->sacks)
		seg.sack_count = tcpgaps_ranges(f->in.gaps, seg.sacks);
	tcpwire_send(f->wire, f, &seg);
	f->in.acked = f->in.nxt;
	f->in.ack_due_ms = 0;
	f->ack_now = false;
}

void tcpout_send_syn(struct tcpflow *f)
{
	send_segment(f, f->out.una, TH_SYN, 0);
	f->out.nxt = f->out.max = f->out.una + 1;
}

void tcpout_send_ack(struct tcpflow *f)
{
	send_segment(f, f->out.nxt, 0, 0);
}

void tcpout_refuse(struct tcpflow *f, const struct tcpseg *seg)
{
	struct tcpseg rst = { .seq = seg->ack, .flags = TH_RST, .scale = TCPSEG_NO_SCALE };

	tcpwire_send(f->wire, f, &rst);
}

/* The inside believes only the sequence number that it expects next. After `nxt` went back, that
 * is probably still the highest. */
void tcpout_abort(struct tcpflow *f)
{
	if (f->state == TCPFLOW_DEAD)
		return;
	send_segment(f, f->out.max, TH_RST, 0);
	hostsock_close(&f->host, true);
	f->state = TCPFLOW_DEAD;
}

/* ---- data ---- */

/* Notes that everything before `nxt` has been sent, and begins to measure the RTT if this is new.
 */
static void set_next(struct tcpflow *f, uint32_t nxt)
{
	struct tcpflow_out *o = &f->out;

	if (o->max == o->una)
		o->since_ms = f->now_ms;
	o->nxt = nxt;
	if (!seq_after(nxt, o->max))
		return;
	if (!o->is_timed) {
		o->is_timed = true;
		o->timed = nxt;
		o->timed_ms = f->now_ms;
	}
	o->max = nxt;
}

/* Returns how many bytes from `nxt` on the two windows allow. */
static uint32_t sendable(const struct tcpflow *f)
{
	uint32_t window = min_u32(f->out.window, f->out.cwnd);
	uint32_t flight = f->out.nxt - f->out.una;

	return window > flight ? window - flight : 0;
}

/* Returns the largest segment: as many whole segments of the wire as TSO takes. */
static uint32_t largest(const struct tcpflow *f)
{
	return TCPWIRE_DATA_MAX / f->out.mss * f->out.mss;
}

static void send_fin(struct tcpflow *f)
{
	f->eof = f->fin_sent = true;
	f->out.fin = f->out.nxt;
	send_segment(f, f->out.nxt, TH_FIN, 0);
	set_next(f, f->out.nxt + 1);
}

/* Sends one segment of up to `max` bytes from `nxt` on, or our FIN. Returns false if there is
 * nothing to send. */
static bool send_next(struct tcpflow *f, uint32_t max)
{
	struct tcpflow_out *o = &f->out;
	const size_t skip = o->acked + (o->nxt - o->una);
	ssize_t n = hostsock_peek(&f->host, skip, tcpwire_buffer(f->wire), max);

	if (n > 0) {
		if (n < (ssize_t)max)
			f->readable = f->is_special;
		send_segment(f, o->nxt, n < (ssize_t)max ? TH_PUSH : 0, (size_t)n);
		set_next(f, o->nxt + (uint32_t)n);
		tcpin_note_answer(f);
		return true;
	}
	if (n == -EAGAIN) {
		/* What follows urgent data may be hidden until the inside has acknowledged all that
		 * is before it (hostsock.h). No event tells when. */
		f->readable = f->is_special && skip > 0;
		return false;
	}
	if (n < 0)
		tcpin_break(f, (int)-n);
	/* After an error was returned, the next call sees an end. An end that we have passed on
	 * already may have to be sent again. */
	f->readable = f->eof || (n == 0 && f->broken == 0);
	if (f->readable)
		send_fin(f);
	return f->readable;
}

/* A small rest of the window is not used while something is under way, since its acknowledgement
 * will open the window (RFC 9293 3.8.6.2.1). */
void tcpout_send_data(struct tcpflow *f)
{
	while (f->state == TCPFLOW_OPEN && f->readable) {
		uint32_t allowed = sendable(f);

		if (f->fin_sent && seq_after(f->out.nxt, f->out.fin))
			return;
		if (allowed == 0 || (allowed < f->out.mss && f->out.nxt != f->out.una))
			return;
		if (!send_next(f, min_u32(allowed, largest(f))))
			return;
	}
}

/* Sends the first segment that is not acknowledged again. */
static void send_again(struct tcpflow *f)
{
	uint32_t nxt = f->out.nxt;
	bool readable = f->readable;

	if (nxt == f->out.una)
		return;
	f->out.is_timed = false;
	f->out.nxt = f->out.una;
	send_next(f, min_u32(nxt - f->out.una, largest(f)));
	f->out.nxt = nxt;
	f->readable = readable;
}

/* ---- acknowledgements ---- */

/* RFC 6298 2 */
static void measure(struct tcpflow *f)
{
	struct tcpflow_out *o = &f->out;
	unsigned int rtt = (unsigned int)(f->now_ms - o->timed_ms);
	unsigned int delta = rtt > o->srtt_ms8 / 8 ? rtt - o->srtt_ms8 / 8 : o->srtt_ms8 / 8 - rtt;

	o->is_timed = false;
	if (o->srtt_ms8 == 0) {
		o->srtt_ms8 = rtt * 8;
		o->rttvar_ms4 = rtt * 2;
	} else {
		o->rttvar_ms4 = o->rttvar_ms4 - o->rttvar_ms4 / 4 + delta;
		o->srtt_ms8 = o->srtt_ms8 - o->srtt_ms8 / 8 + rtt;
	}
	o->rto_ms = max_u32(RTO_MIN_MS, o->srtt_ms8 / 8 + o->rttvar_ms4);
}

static void grow_cwnd(struct tcpflow *f, uint32_t acked)
{
	struct tcpflow_out *o = &f->out;

	if (o->cwnd >= CWND_MAX)
		return;
	if (o->cwnd < o->ssthresh)
		o->cwnd += acked;
	else
		o->cwnd += max_u32(1, (uint32_t)((uint64_t)o->mss * acked / o->cwnd));
}

static void halve_cwnd(struct tcpflow *f)
{
	uint32_t flight = f->out.nxt - f->out.una;

	f->out.ssthresh = max_u32(flight / 2, 2 * f->out.mss);
}

/* RFC 6582: a partial acknowledgement shows the next hole. */
static void recover(struct tcpflow *f)
{
	if (seq_before(f->out.una, f->out.recover)) {
		send_again(f);
		return;
	}
	f->out.recovering = false;
	f->out.cwnd = f->out.ssthresh;
}

static void on_progress(struct tcpflow *f, uint32_t ack)
{
	struct tcpflow_out *o = &f->out;
	uint32_t n = ack - o->una;

	o->una = ack;
	if (seq_before(o->nxt, ack))
		o->nxt = ack;
	o->dupacks = o->retries = 0;
	o->since_ms = f->now_ms;
	if (f->fin_sent && seq_after(ack, o->fin)) {
		f->fin_acked = true;
		n--;
	}
	o->acked += n;
	if (o->is_timed && !seq_before(ack, o->timed))
		measure(f);
	if (o->recovering)
		recover(f);
	else
		grow_cwnd(f, n);
}

static void on_duplicate(struct tcpflow *f)
{
	struct tcpflow_out *o = &f->out;

	o->dupacks++;
	if (o->recovering || o->dupacks != DUPACKS_MAX)
		return;
	halve_cwnd(f);
	o->cwnd = o->ssthresh;
	o->recover = o->max;
	o->recovering = true;
	send_again(f);
}

/* Takes the window of a segment, unless the segment is older than the one that has set it. The
 * RFC's rule (9293 3.10.7.4) looks at sequence numbers first, and so ignores the window of a
 * retransmission that acknowledges more than before; the old window would then count from the new
 * `una`. Returns true if the window has changed. */
static bool take_window(struct tcpflow *f, const struct tcpseg *seg)
{
	struct tcpflow_out *o = &f->out;
	uint32_t window = seg->window;

	if (o->scale != TCPSEG_NO_SCALE)
		window <<= o->scale;
	if (seq_before(seg->ack, o->una) || (seg->ack == o->una && !seq_after(seg->seq, o->wl) &&
					     !(seg->seq == o->wl && window > o->window)))
		return false;
	o->wl = seg->seq;
	if (window == o->window)
		return false;
	o->window = window;
	o->window_max = max_u32(o->window_max, window);
	return true;
}

bool tcpout_on_ack(struct tcpflow *f, const struct tcpseg *seg)
{
	struct tcpflow_out *o = &f->out;
	bool opened;

	if (seq_after(seg->ack, o->max) || seq_before(seg->ack, o->una - o->window_max))
		return false;
	o->unanswered = 0;
	opened = take_window(f, seg);
	if (seq_after(seg->ack, o->una))
		on_progress(f, seg->ack);
	else if (seg->ack == o->una && !opened && tcpseg_span(seg) == 0 && o->nxt != o->una)
		on_duplicate(f);
	if (opened && o->window > 0)
		o->retries = 0; /* it was blocked, and is no more */
	return true;
}

/* ---- timers ---- */

static unsigned int backed_off(unsigned int ms, unsigned int retries)
{
	while (retries-- > 0 && ms < RTO_MAX_MS)
		ms *= 2;
	return ms < RTO_MAX_MS ? ms : RTO_MAX_MS;
}

/* Is there data, but no window? */
static bool is_blocked(const struct tcpflow *f)
{
	return f->state == TCPFLOW_OPEN && f->readable && f->out.una == f->out.max &&
	       f->out.window == 0 && !f->fin_acked;
}

void tcpout_set_timer(struct tcpflow *f)
{
	struct tcpflow_out *o = &f->out;

	if (f->state == TCPFLOW_TIME_WAIT || f->state == TCPFLOW_DEAD)
		return;
	f->due_ms = 0;
	if (o->una != o->max || is_blocked(f)) {
		if (o->since_ms == 0)
			o->since_ms = f->now_ms;
		f->due_ms = o->since_ms + backed_off(o->rto_ms, o->retries);
	} else if (f->state == TCPFLOW_OPEN) {
		o->since_ms = 0;
		f->due_ms = f->active_ms + TCPFLOW_IDLE_MS +
			    o->unanswered * (unsigned long long)IDLE_RETRY_MS;
	}
	if (f->in.ack_due_ms != 0 && (f->due_ms == 0 || f->in.ack_due_ms < f->due_ms))
		f->due_ms = f->in.ack_due_ms;
}

/* Sends a segment that is never acceptable, so the inside answers with its state (RFC 9293
 * 3.8.4). */
static void probe(struct tcpflow *f)
{
	send_segment(f, f->out.una - 1, 0, 0);
}

/* Goes back to what is not acknowledged (RFC 5681 3.1, RFC 6298 5.4). */
static void go_back(struct tcpflow *f)
{
	struct tcpflow_out *o = &f->out;

	if (o->retries == 1)
		halve_cwnd(f);
	o->cwnd = o->mss;
	o->is_timed = o->recovering = false;
	o->dupacks = 0;
	if (f->state == TCPFLOW_SYN_RCVD) {
		tcpout_send_syn(f);
		return;
	}
	o->nxt = o->una;
	f->readable = true;
	if (o->window == 0)
		probe(f);
	else
		tcpout_send_data(f);
}

static unsigned int max_retries(const struct tcpflow *f, bool waits)
{
	if (f->state == TCPFLOW_SYN_RCVD)
		return SYN_RETRIES;
	return waits ? RETRIES_MAX : IDLE_RETRIES;
}

/* A closed window that is confirmed again and again is no reason to end, however long it takes. */
bool tcpout_on_timer(struct tcpflow *f)
{
	bool waits = f->out.una != f->out.max;
	bool blocked = is_blocked(f);

	if (++f->out.unanswered > max_retries(f, waits || blocked))
		return false;
	f->out.since_ms = f->now_ms;
	if (waits || blocked)
		f->out.retries++;
	if (waits)
		go_back(f);
	else
		probe(f);
	return true;
}
