/* SPDX-License-Identifier: Apache-2.0 */

/* A TCP flow between a model of the inside and a model of the host's socket, over a simulated wire
 * that loses, doubles, delays, reorders, cuts and forges segments. Each schedule is drawn from its
 * number; every byte, every window and the end are checked. Most schedules end with the end of both
 * streams. In the others one side resets the connection or disappears, at any moment.
 * SCHEDULES=1000000 runs that many, from FIRST on. */
#include <errno.h>
#include <poll.h>

#include "tests/unit/fixture.h"
#include "usernet/tcpflow.h"

#define WIRE_MAX   64	   /* segments under way in a direction */
#define STREAM_MAX 300000  /* bytes */
#define STEPS_MAX  1000000 /* a long stream through a window of 256 bytes takes 200,000 */
#define ROUGH	   4000	   /* steps; then the wire is good, so that each schedule ends */
#define RTO_MS	   300	   /* of the inside */

/* ---- random numbers ---- */

static uint64_t state;

static uint32_t draw(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 16);
}

static uint32_t below(uint32_t n)
{
	return n == 0 ? 0 : draw() % n;
}

static bool one_in(uint32_t n)
{
	return n != 0 && below(n) == 0;
}

/* ---- the model ---- */

/* The byte at a place of a stream */
static uint8_t byte_at(uint32_t salt, size_t at)
{
	return (uint8_t)((at * 2654435761U + salt) >> 11);
}

struct frame {
	struct tcpseg seg; /* without data: it follows from `seq` */
};

struct wire {
	struct frame frames[WIRE_MAX];
	size_t count;
};

/* How a schedule ends */
enum ending {
	BOTH_FINISH,
	HOST_FAILS, /* a reset, or a peer that does not answer */
	INSIDE_RESETS,
	INSIDE_VANISHES,
	ENDINGS,
};

static struct sim {
	struct tcpflow f;
	unsigned long long now_ms;
	uint32_t number, steps;
	bool is_rough;
	uint32_t loss, twice, order, cut, forged; /* one in so many */
	enum ending ending;
	uint32_t ends_at;    /* step */
	bool ended;	     /* what `ending` says has happened */
	size_t kept;	     /* memory of the wire */
	struct wire in, out; /* from inside, to the inside */

	/* the host: `sends` bytes, then the end; what it receives goes through a buffer */
	struct {
		size_t sends, made, dropped;
		size_t receives, got, buffered, capacity;
		bool end_is_made, got_end, waits_for_room, closed, was_reset;
		bool failed, has_error, reported; /* the error: has occurred, was not returned by a
						     call yet, and was an event */
	} host;

	/* the inside */
	struct {
		uint32_t iss, una, nxt, max, irs;
		size_t sends;
		uint32_t window, scale, mss; /* ours, of what it sends */
		uint32_t rcv_nxt, rcv_buffer, read, edge;
		bool has[STREAM_MAX + 2]; /* what of the stream, and the end, has arrived */
		bool established, fin_known, got_fin;
		uint32_t fin_seq;
		unsigned long long sent_ms;
		bool ack_now, got_rst;
	} inside;
	uint8_t buffer[TCPWIRE_DATA_MAX];
} sim;

/* ck_assert() writes a line for each claim, which would take most of the time. */
#define REQUIRE(claim)                                                                           \
	do {                                                                                     \
		if (!(claim))                                                                    \
			ck_abort_msg("schedule %u, step %u: %s", sim.number, sim.steps, #claim); \
	} while (0)

/* ---- the wire ---- */

static void put(struct wire *w, const struct tcpseg *seg)
{
	if (w->count == WIRE_MAX || (sim.is_rough && one_in(sim.loss)))
		return;
	w->frames[w->count++].seg = *seg;
	if (sim.is_rough && one_in(sim.twice) && w->count < WIRE_MAX)
		w->frames[w->count++].seg = *seg;
}

static bool take(struct wire *w, struct tcpseg *seg)
{
	size_t i = sim.is_rough && one_in(sim.order) ? below((uint32_t)w->count) : 0;

	if (w->count == 0)
		return false;
	*seg = w->frames[i].seg;
	w->count--;
	memmove(&w->frames[i], &w->frames[i + 1], (w->count - i) * sizeof(w->frames[0]));
	return true;
}

uint8_t *tcpwire_buffer(struct tcpwire *wire)
{
	(void)wire;
	return sim.buffer;
}

bool tcpwire_take_memory(struct tcpwire *wire, size_t len)
{
	(void)wire;
	if (one_in(16))
		return false;
	sim.kept += len;
	return true;
}

void tcpwire_give_memory(struct tcpwire *wire, size_t len)
{
	(void)wire;
	REQUIRE(len <= sim.kept);
	sim.kept -= len;
}

/* A reset that we send ends the flow, unless it answers a forged segment. When the host has failed,
 * the inside has got what the host had sent before, as far as it had a window for that. */
static void check_reset(const struct tcpflow *f, const struct tcpseg *seg)
{
	if (!(seg->flags & TH_ACK))
		return;
	REQUIRE(sim.ended && sim.ending != INSIDE_RESETS);
	if (sim.ending == HOST_FAILS && f->state == TCPFLOW_OPEN) {
		REQUIRE(f->out.una == f->out.max);
		REQUIRE(sim.host.dropped == sim.host.made || f->out.window == 0);
	}
}

/* What we send: its bytes must be those of the stream, and inside of the window. The kernel cuts it
 * into segments of the inside's maximum size, of which some may be lost. */
void tcpwire_send(struct tcpwire *wire, const struct tcpflow *f, struct tcpseg *seg)
{
	size_t at = seg->seq - f->out.una + sim.host.dropped + f->out.acked;
	size_t len = seg->len;
	uint32_t seq = seg->seq;

	(void)wire;
	REQUIRE(f == &sim.f);
	if (seg->flags & TH_RST)
		check_reset(f, seg);
	for (size_t i = 0; i < len; i++)
		REQUIRE(sim.buffer[i] == byte_at(1, at + i));
	REQUIRE(len == 0 || !seq_after(seg->seq + (uint32_t)len, sim.inside.edge));
	do {
		struct tcpseg piece = *seg;

		piece.seq = seq;
		piece.len = len < sim.inside.mss ? len : sim.inside.mss;
		len -= piece.len;
		seq += (uint32_t)piece.len;
		put(&sim.out, &piece);
	} while (len > 0);
}

/* ---- the host's socket ---- */

ssize_t hostsock_send(struct hostsock *h, const void *bytes, size_t len)
{
	size_t room = sim.host.capacity - sim.host.buffered;
	const uint8_t *b = bytes;

	(void)h;
	REQUIRE(!sim.host.closed && !sim.host.got_end && len > 0);
	if (sim.host.failed) {
		ssize_t r = sim.host.has_error ? -ECONNRESET : -EPIPE;

		sim.host.has_error = false;
		return r;
	}
	if (room == 0) {
		sim.host.waits_for_room = true;
		return -EAGAIN;
	}
	if (len > room)
		len = room;
	if (one_in(8)) /* the kernel may take less */
		len = 1 + below((uint32_t)len);
	for (size_t i = 0; i < len; i++)
		REQUIRE(b[i] == byte_at(2, sim.host.got + i));
	sim.host.got += len;
	sim.host.buffered += len;
	REQUIRE(sim.host.got <= sim.inside.sends);
	return (ssize_t)len;
}

size_t hostsock_room(const struct hostsock *h)
{
	size_t room = sim.host.capacity - sim.host.buffered;

	(void)h;
	return room > 0 && one_in(8) ? room + below(1000) : room; /* it is an estimate */
}

bool hostsock_ask_room(const struct hostsock *h)
{
	(void)h;
	sim.host.waits_for_room = sim.host.buffered * 3 > sim.host.capacity * 2;
	return !sim.host.waits_for_room;
}

void hostsock_leave(struct hostsock *h)
{
	hostsock_close(h, false);
}

void hostsock_end(const struct hostsock *h)
{
	(void)h;
	REQUIRE(!sim.host.got_end && !sim.host.closed);
	REQUIRE(sim.host.got == sim.inside.sends);
	sim.host.got_end = true;
}

ssize_t hostsock_peek(struct hostsock *h, size_t skip, void *buf, size_t len)
{
	size_t at = sim.host.dropped + skip;
	size_t n;
	uint8_t *b = buf;

	(void)h;
	REQUIRE(!sim.host.closed && len > 0 && at <= sim.host.made);
	if (at == sim.host.made && sim.host.has_error) {
		sim.host.has_error = false;
		return -ECONNRESET;
	}
	if (at == sim.host.made)
		return sim.host.end_is_made || sim.host.failed ? 0 : -EAGAIN;
	n = sim.host.made - at < len ? sim.host.made - at : len;
	for (size_t i = 0; i < n; i++)
		b[i] = byte_at(1, at + i);
	return (ssize_t)n;
}

void hostsock_drop(struct hostsock *h, size_t len)
{
	(void)h;
	sim.host.dropped += len;
	REQUIRE(!sim.host.closed && sim.host.dropped <= sim.host.made);
	/* What is removed must have arrived. */
	REQUIRE(sim.host.dropped <= sim.inside.rcv_nxt - sim.inside.irs - 1);
}

void hostsock_close(struct hostsock *h, bool reset)
{
	(void)h;
	sim.host.was_reset |= reset && !sim.host.closed;
	sim.host.closed = true;
}

/* ---- the inside ---- */

/* Has the inside's end of the connection gone? */
static bool inside_is_gone(void)
{
	return sim.inside.got_rst ||
	       (sim.ended && (sim.ending == INSIDE_RESETS || sim.ending == INSIDE_VANISHES));
}

static uint32_t inside_window(void)
{
	uint32_t used = sim.inside.rcv_nxt - sim.inside.irs - 1 - sim.inside.read;
	uint32_t room = sim.inside.rcv_buffer > used ? sim.inside.rcv_buffer - used : 0;
	uint32_t window = room >> sim.inside.scale << sim.inside.scale;
	uint32_t edge = sim.inside.rcv_nxt + window;

	/* It never takes back a part of a window; a scaled window is rounded down. */
	if (seq_before(edge, sim.inside.edge))
		window = ((sim.inside.edge - sim.inside.rcv_nxt) >> sim.inside.scale)
			 << sim.inside.scale;
	else
		sim.inside.edge = edge;
	return window >> sim.inside.scale;
}

/* The window of a SYN, which is never scaled */
static uint16_t first_window(void)
{
	return (uint16_t)(sim.inside.rcv_buffer < 65535 ? sim.inside.rcv_buffer : 65535);
}

static void inside_send(uint32_t seq, uint8_t flags, size_t len)
{
	struct tcpseg seg = { .seq = seq,
			      .ack = sim.inside.rcv_nxt,
			      .flags = flags | (one_in(8) ? TH_URG : 0),
			      .window = (uint16_t)inside_window(),
			      .mss = (uint16_t)sim.inside.mss,
			      .scale = (int)sim.inside.scale,
			      .len = len };

	put(&sim.in, &seg);
	sim.inside.ack_now = false;
}

static uint32_t inside_end(void)
{
	return sim.inside.iss + 1 + (uint32_t)sim.inside.sends;
}

/* Sends up to one segment of random size within the window. */
static void inside_push(void)
{
	uint32_t edge = sim.inside.una + sim.inside.window;
	uint32_t end = inside_end();
	uint32_t n = 1 + below(one_in(3) ? 20000 : sim.inside.mss);

	if (!sim.inside.established || seq_after(sim.inside.nxt, end) || inside_is_gone())
		return;
	if (n > end - sim.inside.nxt)
		n = end - sim.inside.nxt;
	if (seq_after(sim.inside.nxt + n, edge))
		n = seq_after(edge, sim.inside.nxt) ? edge - sim.inside.nxt : 0;
	if (sim.inside.nxt + n == end && sim.f.in.nxt - sim.inside.iss > 0 && one_in(2)) {
		inside_send(sim.inside.nxt, TH_ACK | TH_FIN, n);
		n++;
	} else if (n > 0) {
		inside_send(sim.inside.nxt, TH_ACK, n);
	}
	sim.inside.nxt += n;
	if (seq_after(sim.inside.nxt, sim.inside.max))
		sim.inside.max = sim.inside.nxt;
}

/* Its timer: everything that is not acknowledged is sent again; a closed window is probed. If
 * our end has gone, it is asked whether it is still there (keep-alive). */
static void inside_timeout(void)
{
	if (inside_is_gone() || sim.now_ms < sim.inside.sent_ms + RTO_MS)
		return;
	sim.inside.sent_ms = sim.now_ms;
	if (!sim.inside.established) {
		inside_send(sim.inside.iss, TH_SYN, 0);
		return;
	}
	if (sim.inside.una != sim.inside.max)
		sim.inside.nxt = sim.inside.una;
	if (sim.inside.window == 0 || sim.f.state == TCPFLOW_DEAD)
		inside_send(sim.inside.una - 1, TH_ACK, 0);
}

static void inside_take_data(const struct tcpseg *seg)
{
	uint32_t at = seg->seq - sim.inside.irs - 1;

	if (seq_before(seg->seq, sim.inside.rcv_nxt) && tcpseg_span(seg) == 0)
		sim.inside.ack_now = true; /* a probe */
	for (size_t i = 0; i < seg->len; i++)
		if (at + i < STREAM_MAX)
			sim.inside.has[at + i] = true;
	if (seg->flags & TH_FIN) {
		sim.inside.fin_known = true;
		sim.inside.fin_seq = seg->seq + (uint32_t)seg->len;
		REQUIRE(sim.inside.fin_seq - sim.inside.irs - 1 == sim.host.sends);
	}
	if (tcpseg_span(seg) > 0)
		sim.inside.ack_now = true;
	at = sim.inside.rcv_nxt - sim.inside.irs - 1;
	while (at < sim.host.sends && sim.inside.has[at])
		at++;
	if (!sim.inside.got_fin)
		sim.inside.rcv_nxt = sim.inside.irs + 1 + at;
	if (sim.inside.fin_known && sim.inside.rcv_nxt == sim.inside.fin_seq) {
		sim.inside.got_fin = true;
		sim.inside.rcv_nxt++;
	}
}

static void inside_reset(uint32_t seq)
{
	const struct tcpseg rst = { .seq = seq, .flags = TH_RST };

	put(&sim.in, &rst);
}

/* A reset that is not exactly the next is answered (RFC 5961 3.2). */
static void inside_take_reset(const struct tcpseg *seg)
{
	if (!sim.inside.established)
		sim.inside.got_rst |= (seg->flags & TH_ACK) && seg->ack == sim.inside.iss + 1;
	else if (seg->seq == sim.inside.rcv_nxt)
		sim.inside.got_rst = true;
	else if (seg->seq - sim.inside.rcv_nxt < sim.inside.edge - sim.inside.rcv_nxt)
		sim.inside.ack_now = true;
}

static void inside_take(const struct tcpseg *seg)
{
	if (inside_is_gone()) {
		if (sim.ending == INSIDE_RESETS && !(seg->flags & TH_RST))
			inside_reset(seg->ack);
		return;
	}
	if (seg->flags & TH_RST) {
		inside_take_reset(seg);
		return;
	}
	if (seg->flags & TH_SYN) {
		if (!sim.inside.established) {
			sim.inside.irs = seg->seq;
			sim.inside.rcv_nxt = seg->seq + 1;
			/* what its SYN has promised */
			sim.inside.edge = sim.inside.rcv_nxt + first_window();
			sim.inside.established = true;
			sim.inside.una = sim.inside.nxt = sim.inside.max = sim.inside.iss + 1;
			sim.inside.window = seg->window;
		}
		sim.inside.ack_now = true;
		return;
	}
	if (!sim.inside.established)
		return;
	REQUIRE(!seq_after(seg->ack, sim.inside.max));
	if (seq_after(seg->ack, sim.inside.una)) {
		sim.inside.una = seg->ack;
		sim.inside.sent_ms = sim.now_ms;
		if (seq_before(sim.inside.nxt, seg->ack))
			sim.inside.nxt = seg->ack;
	}
	if (!seq_before(seg->ack, sim.inside.una))
		sim.inside.window = (uint32_t)seg->window << 7;
	inside_take_data(seg);
}

/* ---- the schedule ---- */

static void flush(void)
{
	tcpflow_flush(&sim.f, sim.now_ms);
}

/* What the table answers to a segment without a flow */
static void answer_without_flow(const struct tcpseg *seg)
{
	const struct tcpseg rst = { .seq = seg->ack, .flags = TH_RST };

	if ((seg->flags & (TH_ACK | TH_RST)) == TH_ACK)
		put(&sim.out, &rst);
}

/* An attacker who does not know the sequence numbers must not disturb the flow. */
static void forge(void)
{
	struct tcpseg seg = { .seq = sim.f.in.nxt + (one_in(2) ? draw() : 1 + below(70000)),
			      .ack = one_in(2) ? draw() : sim.f.out.una };

	switch (below(3)) {
	case 0:
		seg.flags = TH_RST | (one_in(2) ? TH_ACK : 0);
		seg.seq += seg.seq == sim.f.in.nxt;
		break;
	case 1:
		seg.flags = TH_SYN | (one_in(2) ? TH_ACK : 0);
		break;
	default:
		seg.flags = TH_ACK;
		seg.ack = sim.f.out.max + 1 + below(0x7fffffff);
		break;
	}
	tcpflow_on_segment(&sim.f, &seg, sim.now_ms);
}

static void step_in(void)
{
	static uint8_t data[STREAM_MAX];
	struct tcpseg seg;
	size_t at;

	if (sim.is_rough && one_in(sim.forged))
		forge();
	if (!take(&sim.in, &seg))
		return;
	if (sim.f.state == TCPFLOW_DEAD) {
		answer_without_flow(&seg);
		return;
	}
	at = seg.seq - sim.inside.iss - 1;
	if (sim.is_rough && seg.len > 0 && one_in(sim.cut)) {
		seg.len = below((uint32_t)seg.len);
		seg.flags &= (uint8_t)~TH_FIN;
	}
	for (size_t i = 0; i < seg.len; i++)
		data[i] = byte_at(2, at + i);
	seg.data = data;
	tcpflow_on_segment(&sim.f, &seg, sim.now_ms);
	if (!one_in(3))
		flush();
}

static void step_out(void)
{
	struct tcpseg seg;

	if (take(&sim.out, &seg))
		inside_take(&seg);
	if (sim.inside.established && !inside_is_gone() && sim.inside.ack_now && !one_in(4))
		inside_send(sim.inside.nxt, TH_ACK, 0);
}

static void step_host(void)
{
	short revents = 0;
	size_t n = below(one_in(4) ? 60000 : 2000);

	if (sim.f.state == TCPFLOW_CONNECTING) {
		tcpflow_on_connected(&sim.f, sim.now_ms);
		flush();
		return;
	}
	if (sim.f.state >= TCPFLOW_TIME_WAIT || sim.host.reported)
		return;
	if (sim.host.failed) {
		sim.host.reported = true;
		tcpflow_on_host(&sim.f, POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDHUP,
				sim.now_ms);
		flush();
		return;
	}
	if (one_in(2) && !sim.host.end_is_made) {
		sim.host.made += n < sim.host.sends - sim.host.made
					 ? n
					 : sim.host.sends - sim.host.made;
		sim.host.end_is_made = sim.host.made == sim.host.sends && one_in(2);
		revents |= (short)(sim.host.end_is_made ? POLLIN | POLLRDHUP : POLLIN);
	}
	sim.host.buffered -= below((uint32_t)sim.host.buffered + 1);
	if (sim.host.waits_for_room && sim.host.buffered * 3 <= sim.host.capacity * 2) {
		sim.host.waits_for_room = false;
		revents |= POLLOUT;
	}
	if (revents == 0)
		return;
	tcpflow_on_host(&sim.f, revents, sim.now_ms);
	flush();
}

static void step_time(void)
{
	sim.now_ms += one_in(4) ? below(sim.ended && !sim.is_rough ? 10000 : 400) : 1;
	inside_timeout();
	if (sim.f.due_ms != 0 && sim.f.due_ms <= sim.now_ms) {
		tcpflow_on_timer(&sim.f, sim.now_ms);
		flush();
	}
}

static void step_reader(void)
{
	uint32_t unread = sim.inside.rcv_nxt - sim.inside.irs - 1 - sim.inside.read;
	bool was_full = unread >= sim.inside.rcv_buffer / 2;

	if (!sim.inside.established || unread > STREAM_MAX)
		return;
	sim.inside.read += below(unread + 1);
	if (was_full)
		sim.inside.ack_now = true;
}

/* What the schedule's ending says happens now. A host that fails may have sent more before. */
static void step_ending(void)
{
	if (sim.ending == BOTH_FINISH || sim.ended || sim.steps < sim.ends_at ||
	    sim.f.state == TCPFLOW_CONNECTING || sim.f.state == TCPFLOW_DEAD)
		return;
	sim.ended = true;
	if (sim.ending == INSIDE_RESETS)
		inside_reset(sim.inside.established ? sim.inside.max : sim.inside.iss + 1);
	if (sim.ending != HOST_FAILS)
		return;
	sim.host.made += below((uint32_t)(sim.host.sends - sim.host.made) + 1);
	sim.host.failed = sim.host.has_error = true;
	sim.host.waits_for_room = false;
}

static void step(void)
{
	static void (*const steps[])(void) = { step_in,	  step_in,    step_in,	 step_out,
					       step_out,  step_out,   step_host, inside_push,
					       step_time, step_reader };

	steps[below(COUNT(steps))]();
}

/* After an ending that was not the end of both streams: our end has gone, and so has the inside's.
 */
static bool is_cut(void)
{
	return sim.ended && sim.f.state == TCPFLOW_DEAD && inside_is_gone();
}

/* After TIME_WAIT the inside may still wait for the acknowledgement of its FIN, if all were lost.
 */
static bool is_over(void)
{
	return sim.inside.got_fin && sim.host.got_end && sim.f.state >= TCPFLOW_TIME_WAIT &&
	       (sim.f.state == TCPFLOW_DEAD || sim.inside.una == inside_end() + 1);
}

static size_t stream_len(void)
{
	switch (below(4)) {
	case 0:
		return below(3);
	case 1:
		return below(2000);
	case 2:
		return below(20000);
	default:
		return below(one_in(10) ? STREAM_MAX : 60000);
	}
}

/* Draws everything of a schedule from its number. */
static void prepare(uint32_t number)
{
	struct tcpseg syn = { .flags = TH_SYN };

	memset(&sim.inside.has, 0, STREAM_MAX + 2);
	memset(&sim, 0, offsetof(struct sim, buffer));
	state = (uint64_t)number * 0x9e3779b97f4a7c15 + 1;
	for (int i = 0; i < 8; i++)
		draw();
	sim.number = number;
	sim.is_rough = true;
	sim.now_ms = 1000;
	sim.loss = one_in(3) ? 0 : 2 + below(60);
	sim.twice = one_in(2) ? 0 : 2 + below(60);
	sim.order = one_in(2) ? 0 : 1 + below(30);
	sim.cut = one_in(2) ? 0 : 2 + below(60);
	sim.forged = one_in(2) ? 0 : 2 + below(200);
	sim.ending = one_in(3) ? (enum ending)below(ENDINGS) : BOTH_FINISH;
	sim.ends_at = below(one_in(2) ? 100 : 3000);
	sim.host.sends = stream_len();
	sim.inside.sends = stream_len();
	sim.host.capacity = 512 + below(one_in(3) ? 3000 : 500000);
	sim.inside.rcv_buffer = 256 + below(one_in(3) ? 3000 : 500000);
	sim.inside.scale = below(15);
	while (sim.inside.rcv_buffer >> sim.inside.scale == 0)
		sim.inside.scale--;
	if (sim.inside.rcv_buffer > 65535U << sim.inside.scale)
		sim.inside.rcv_buffer = 65535U << sim.inside.scale;
	sim.inside.mss = 64 + below(one_in(2) ? 1400 : 65000);
	sim.inside.iss = sim.inside.una = sim.inside.nxt = sim.inside.max = draw() * (below(2) + 1);
	if (one_in(4))
		sim.inside.iss = sim.inside.una = sim.inside.nxt = sim.inside.max = -below(100000);
	syn.seq = sim.inside.iss;
	syn.window = first_window();
	syn.mss = (uint16_t)sim.inside.mss;
	syn.scale = (int)sim.inside.scale;
	sim.inside.sent_ms = sim.now_ms;
	tcpflow_init(&sim.f, NULL, &syn, one_in(4) ? -below(100000) : draw(), 65475);
}

static void run_schedule(uint32_t number)
{
	prepare(number);
	for (sim.steps = 0; sim.steps < STEPS_MAX && !is_over() && !is_cut(); sim.steps++) {
		sim.is_rough = sim.steps < ROUGH;
		step();
		step_ending();
		REQUIRE(sim.ended || (!sim.inside.got_rst && !sim.host.was_reset));
		REQUIRE(sim.f.in.kept_len - sim.f.in.kept_at <= 65535U << 7);
		REQUIRE(sim.f.in.gaps != NULL || sim.f.in.kept_len == sim.kept);
	}
	REQUIRE(is_over() || is_cut());
	REQUIRE(sim.host.closed);
	REQUIRE(is_over() || sim.host.was_reset);
	tcpflow_reset(&sim.f);
	REQUIRE(sim.kept == 0);
}

static uint32_t from_environment(const char *name, uint32_t otherwise)
{
	const char *text = getenv(name);

	return text != NULL ? (uint32_t)strtoul(text, NULL, 10) : otherwise;
}

START_TEST(no_byte_is_lost_doubled_or_changed_on_a_bad_wire)
{
	uint32_t first = from_environment("FIRST", 0);
	uint32_t count = from_environment("SCHEDULES", 3000);

	for (uint32_t i = 0; i < count; i++) {
		run_schedule(first + i);
		if (count >= 10000 && i % (count / 100) == 0)
			fprintf(stderr, "schedule %u\n", first + i);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tcpflow");
	TCase *tc = fixture_case("tcpflow");

	tcase_add_test(tc, no_byte_is_lost_doubled_or_changed_on_a_bad_wire);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
