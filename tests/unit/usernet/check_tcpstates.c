/* SPDX-License-Identifier: Apache-2.0 */

/* What a TCP flow answers to a segment in each state (RFC 9293 3.10.7, RFC 5961), and its timers.
 * The host's socket and the wire to the inside are fakes. */
#include <errno.h>
#include <poll.h>

#include "tests/unit/fixture.h"
#include "usernet/tcpflow.h"

#define IRS    1000U /* the inside's first sequence number */
#define ISS    5000U /* ours */
#define WINDOW 4000U
#define MSS    1000
#define MINUTE 60000U

static struct tcpflow f;
static unsigned long long now_ms;

static struct {
	struct tcpseg sent[64]; /* what we have sent to the inside */
	size_t count;
	size_t readable, room;
	bool end, has_ended, closed, was_reset;
	int error;
	size_t taken;
	size_t memory;
} fake;

/* ---- fakes ---- */

uint8_t *tcpwire_buffer(struct tcpwire *wire)
{
	static uint8_t buffer[TCPWIRE_DATA_MAX];

	(void)wire;
	return buffer;
}

void tcpwire_send(struct tcpwire *wire, const struct tcpflow *flow, struct tcpseg *seg)
{
	(void)wire;
	ck_assert_ptr_eq(flow, &f);
	ck_assert_uint_lt(fake.count, COUNT(fake.sent));
	fake.sent[fake.count++] = *seg;
}

bool tcpwire_take_memory(struct tcpwire *wire, size_t len)
{
	(void)wire;
	fake.memory += len;
	return true;
}

void tcpwire_give_memory(struct tcpwire *wire, size_t len)
{
	(void)wire;
	fake.memory -= len;
}

ssize_t hostsock_send(struct hostsock *h, const void *bytes, size_t len)
{
	size_t n = len < fake.room ? len : fake.room;

	(void)h;
	(void)bytes;
	ck_assert(!fake.closed && !fake.has_ended);
	if (fake.error != 0)
		return -fake.error;
	fake.room -= n;
	fake.taken += n;
	return n > 0 ? (ssize_t)n : -EAGAIN;
}

size_t hostsock_room(const struct hostsock *h)
{
	(void)h;
	return fake.room;
}

bool hostsock_ask_room(const struct hostsock *h)
{
	(void)h;
	return fake.room > 0;
}

void hostsock_end(const struct hostsock *h)
{
	(void)h;
	ck_assert(!fake.has_ended);
	fake.has_ended = true;
}

ssize_t hostsock_peek(struct hostsock *h, size_t skip, void *buf, size_t len)
{
	size_t n = fake.readable - skip;

	(void)h;
	ck_assert_uint_le(skip, fake.readable);
	if (n > len)
		n = len;
	memset(buf, 0, n);
	if (n > 0)
		return (ssize_t)n;
	if (fake.error != 0)
		return -fake.error;
	return fake.end ? 0 : -EAGAIN;
}

void hostsock_drop(struct hostsock *h, size_t len)
{
	(void)h;
	ck_assert_uint_le(len, fake.readable);
	fake.readable -= len;
}

void hostsock_leave(struct hostsock *h)
{
	hostsock_close(h, false);
}

void hostsock_close(struct hostsock *h, bool reset)
{
	(void)h;
	fake.was_reset |= reset && !fake.closed;
	fake.closed = true;
}

/* ---- the inside ---- */

static void flush(void)
{
	tcpflow_flush(&f, now_ms);
}

static void inside_sends_data(uint8_t flags, uint32_t seq, uint32_t ack, size_t len)
{
	static const uint8_t data[UINT16_MAX];
	const struct tcpseg seg = {
		.seq = seq, .ack = ack, .flags = flags, .window = WINDOW, .data = data, .len = len
	};

	tcpflow_on_segment(&f, &seg, now_ms);
	flush();
}

static void inside_sends(uint8_t flags, uint32_t seq, uint32_t ack)
{
	inside_sends_data(flags, seq, ack, 0);
}

static void host_sends(size_t len, bool end)
{
	fake.readable += len;
	fake.end = end;
	tcpflow_on_host(&f, end ? POLLIN | POLLRDHUP : POLLIN, now_ms);
	flush();
}

static void host_fails(int error)
{
	fake.error = error;
	tcpflow_on_host(&f, POLLIN | POLLERR | POLLHUP | POLLRDHUP, now_ms);
	flush();
}

/* Lets the flow's timer run out, `count` times. */
static void pass_timeouts(int count)
{
	for (; count > 0 && f.state != TCPFLOW_DEAD; count--) {
		ck_assert_uint_gt(f.due_ms, now_ms);
		now_ms = f.due_ms;
		tcpflow_on_timer(&f, now_ms);
		flush();
	}
}

/* Asserts that exactly one segment was sent since the last call, and returns it. */
static struct tcpseg only_answer(void)
{
	struct tcpseg seg = fake.sent[0];

	ck_assert_uint_eq(fake.count, 1);
	fake.count = 0;
	return seg;
}

static void assert_no_answer(void)
{
	ck_assert_uint_eq(fake.count, 0);
}

/* ---- states ---- */

enum rfc_state {
	CONNECTING, /* has no name in the RFC: its SYN is not answered yet */
	SYN_RECEIVED,
	ESTABLISHED,
	FIN_WAIT_1,
	FIN_WAIT_2,
	CLOSE_WAIT,
	CLOSING,
	LAST_ACK,
	TIME_WAIT,
	CLOSED,
	RFC_STATES,
};

static const char *const names[] = {
	"CONNECTING", "SYN_RECEIVED", "ESTABLISHED", "FIN_WAIT_1", "FIN_WAIT_2",
	"CLOSE_WAIT", "CLOSING",      "LAST_ACK",    "TIME_WAIT",  "CLOSED",
};
_Static_assert(COUNT(names) == RFC_STATES, "each state has a name");

static enum rfc_state rfc_state(void)
{
	switch (f.state) {
	case TCPFLOW_CONNECTING:
		return CONNECTING;
	case TCPFLOW_SYN_RCVD:
		return SYN_RECEIVED;
	case TCPFLOW_TIME_WAIT:
		return TIME_WAIT;
	case TCPFLOW_DEAD:
		return CLOSED;
	default:
		break;
	}
	if (!f.fin_sent)
		return f.fin_received ? CLOSE_WAIT : ESTABLISHED;
	if (!f.fin_received)
		return f.fin_acked ? FIN_WAIT_2 : FIN_WAIT_1;
	return f.closed_first ? CLOSING : LAST_ACK;
}

/* Brings a new flow to a state. Afterwards the inside's next sequence number is IRS + 1, or + 2
 * after its FIN. Ours is ISS + 1, or + 2 after our FIN. */
static void bring_to(enum rfc_state state)
{
	const struct tcpseg syn = {
		.seq = IRS, .flags = TH_SYN, .window = WINDOW, .mss = MSS, .scale = TCPSEG_NO_SCALE
	};
	const bool inside_first = state == CLOSE_WAIT || state == LAST_ACK;

	memset(&f, 0, sizeof(f));
	memset(&fake, 0, sizeof(fake));
	fake.room = WINDOW;
	now_ms = 1000;
	tcpflow_init(&f, NULL, &syn, ISS, MSS);
	if (state != CONNECTING)
		tcpflow_on_connected(&f, now_ms);
	flush();
	if (state >= ESTABLISHED)
		inside_sends(TH_ACK, IRS + 1, ISS + 1);
	if (inside_first)
		inside_sends(TH_ACK | TH_FIN, IRS + 1, ISS + 1);
	if (state == FIN_WAIT_1 || state == FIN_WAIT_2 || state >= CLOSING)
		host_sends(0, true);
	if (state == FIN_WAIT_2)
		inside_sends(TH_ACK, IRS + 1, ISS + 2);
	if (state == CLOSING)
		inside_sends(TH_ACK | TH_FIN, IRS + 1, ISS + 1);
	if (state == TIME_WAIT)
		inside_sends(TH_ACK | TH_FIN, IRS + 1, ISS + 2);
	ck_assert_str_eq(names[rfc_state()], names[state]);
	fake.count = 0;
}

enum answer {
	NONE,
	ACK,   /* of what is expected next */
	SYN,   /* ours again */
	RESET, /* with the sequence number that was acknowledged */
};

static void assert_answer(const struct tcpseg *seg, enum answer answer, uint32_t ack)
{
	const uint8_t flags[] = { [ACK] = TH_ACK, [SYN] = TH_SYN | TH_ACK, [RESET] = TH_RST };
	const uint32_t seqs[] = { [ACK] = f.out.nxt, [SYN] = ISS, [RESET] = ack };

	ck_assert_uint_eq(seg->flags, flags[answer]);
	ck_assert_uint_eq(seg->seq, seqs[answer]);
	if (seg->flags & TH_ACK)
		ck_assert_uint_eq(seg->ack, f.in.nxt);
}

/* Sequence and acknowledgement numbers in the table are counted from what is expected. */
static const struct {
	const char *what;
	enum rfc_state state;
	uint8_t flags;
	int seq, ack;
	size_t len;
	enum answer answer;
	enum rfc_state after;
} segments[] = {
	{ "the SYN again", CONNECTING, TH_SYN, -1, 0, 0, NONE, CONNECTING },
	{ "a reset", CONNECTING, TH_RST, 0, 0, 0, NONE, CLOSED },
	{ "another reset", CONNECTING, TH_RST, 1, 0, 0, NONE, CONNECTING },
	{ "data", CONNECTING, TH_ACK, 0, 0, 10, NONE, CONNECTING },

	{ "the SYN again", SYN_RECEIVED, TH_SYN, -1, 0, 0, SYN, SYN_RECEIVED },
	{ "another SYN", SYN_RECEIVED, TH_SYN, 7, 0, 0, ACK, SYN_RECEIVED },
	{ "the ACK of our SYN", SYN_RECEIVED, TH_ACK, 0, 0, 0, NONE, ESTABLISHED },
	{ "the ACK with data", SYN_RECEIVED, TH_ACK, 0, 0, 10, ACK, ESTABLISHED },
	{ "the ACK with a FIN", SYN_RECEIVED, TH_ACK | TH_FIN, 0, 0, 0, ACK, CLOSE_WAIT },
	{ "an ACK too high", SYN_RECEIVED, TH_ACK, 0, 1, 0, RESET, SYN_RECEIVED },
	{ "an ACK too low", SYN_RECEIVED, TH_ACK, 0, -1, 0, RESET, SYN_RECEIVED },
	{ "an ACK outside of the window", SYN_RECEIVED, TH_ACK, -1, 0, 0, ACK, SYN_RECEIVED },
	{ "a reset", SYN_RECEIVED, TH_RST, 0, 0, 0, NONE, CLOSED },
	{ "a reset that is also a SYN", SYN_RECEIVED, TH_RST | TH_SYN, 0, 0, 0, NONE, CLOSED },
	{ "a reset in the window", SYN_RECEIVED, TH_RST, 9, 0, 0, ACK, SYN_RECEIVED },
	{ "no flags at all", SYN_RECEIVED, 0, 0, 0, 0, NONE, SYN_RECEIVED },

	{ "data", ESTABLISHED, TH_ACK, 0, 0, 10, ACK, ESTABLISHED },
	{ "urgent data", ESTABLISHED, TH_ACK | TH_URG, 0, 0, 10, ACK, ESTABLISHED },
	{ "data without ACK", ESTABLISHED, 0, 0, 0, 10, NONE, ESTABLISHED },
	{ "an ACK of nothing new", ESTABLISHED, TH_ACK, 0, 0, 0, NONE, ESTABLISHED },
	{ "data again", ESTABLISHED, TH_ACK, -10, 0, 10, ACK, ESTABLISHED },
	{ "data after a gap", ESTABLISHED, TH_ACK, 10, 0, 10, ACK, ESTABLISHED },
	{ "data behind the window", ESTABLISHED, TH_ACK, WINDOW, 0, 10, ACK, ESTABLISHED },
	{ "a keep-alive probe", ESTABLISHED, TH_ACK, -1, 0, 0, ACK, ESTABLISHED },
	{ "a FIN", ESTABLISHED, TH_ACK | TH_FIN, 0, 0, 0, ACK, CLOSE_WAIT },
	{ "a FIN with data", ESTABLISHED, TH_ACK | TH_FIN, 0, 0, 10, ACK, CLOSE_WAIT },
	{ "a FIN after a gap", ESTABLISHED, TH_ACK | TH_FIN, 10, 0, 0, ACK, ESTABLISHED },
	{ "a reset", ESTABLISHED, TH_RST, 0, 0, 0, NONE, CLOSED },
	{ "a reset in the window", ESTABLISHED, TH_RST, 1, 0, 0, ACK, ESTABLISHED },
	{ "a reset at the edge", ESTABLISHED, TH_RST, WINDOW - 1, 0, 0, ACK, ESTABLISHED },
	{ "a reset behind the window", ESTABLISHED, TH_RST, 70000, 0, 0, NONE, ESTABLISHED },
	{ "an old reset", ESTABLISHED, TH_RST, -1, 0, 0, NONE, ESTABLISHED },
	{ "a SYN", ESTABLISHED, TH_SYN, 0, 0, 0, ACK, ESTABLISHED },
	{ "a SYN behind the window", ESTABLISHED, TH_SYN, 70000, 0, 0, ACK, ESTABLISHED },
	{ "a SYN with ACK", ESTABLISHED, TH_SYN | TH_ACK, 0, 0, 0, ACK, ESTABLISHED },
	{ "an ACK of what was not sent", ESTABLISHED, TH_ACK, 0, 1, 10, ACK, ESTABLISHED },
	{ "an ACK older than windows", ESTABLISHED, TH_ACK, 0, -5000, 10, ACK, ESTABLISHED },
	{ "all flags", ESTABLISHED, 0xff, 0, 0, 10, NONE, CLOSED },

	{ "the ACK of our FIN", FIN_WAIT_1, TH_ACK, 0, 0, 0, NONE, FIN_WAIT_2 },
	{ "a FIN with that ACK", FIN_WAIT_1, TH_ACK | TH_FIN, 0, 0, 0, ACK, TIME_WAIT },
	{ "a FIN without it", FIN_WAIT_1, TH_ACK | TH_FIN, 0, -1, 0, ACK, CLOSING },
	{ "data", FIN_WAIT_1, TH_ACK, 0, -1, 10, ACK, FIN_WAIT_1 },
	{ "a reset", FIN_WAIT_1, TH_RST, 0, 0, 0, NONE, CLOSED },
	{ "a SYN", FIN_WAIT_1, TH_SYN, 0, 0, 0, ACK, FIN_WAIT_1 },

	{ "data", FIN_WAIT_2, TH_ACK, 0, 0, 10, ACK, FIN_WAIT_2 },
	{ "a FIN", FIN_WAIT_2, TH_ACK | TH_FIN, 0, 0, 0, ACK, TIME_WAIT },
	{ "a reset", FIN_WAIT_2, TH_RST, 0, 0, 0, NONE, CLOSED },
	{ "a SYN", FIN_WAIT_2, TH_SYN, 0, 0, 0, ACK, FIN_WAIT_2 },

	{ "the FIN again", CLOSE_WAIT, TH_ACK | TH_FIN, -1, 0, 0, ACK, CLOSE_WAIT },
	{ "data after the FIN", CLOSE_WAIT, TH_ACK, 0, 0, 10, ACK, CLOSE_WAIT },
	{ "a reset", CLOSE_WAIT, TH_RST, 0, 0, 0, NONE, CLOSED },
	{ "a SYN", CLOSE_WAIT, TH_SYN, 0, 0, 0, ACK, CLOSE_WAIT },

	{ "the ACK of our FIN", CLOSING, TH_ACK, 0, 0, 0, NONE, TIME_WAIT },
	{ "the FIN again", CLOSING, TH_ACK | TH_FIN, -1, -1, 0, ACK, CLOSING },
	{ "a reset", CLOSING, TH_RST, 0, 0, 0, NONE, CLOSED },

	{ "the ACK of our FIN", LAST_ACK, TH_ACK, 0, 0, 0, NONE, CLOSED },
	{ "another ACK", LAST_ACK, TH_ACK, 0, -1, 0, NONE, LAST_ACK },
	{ "the FIN again", LAST_ACK, TH_ACK | TH_FIN, -1, -1, 0, ACK, LAST_ACK },
	{ "a reset", LAST_ACK, TH_RST, 0, 0, 0, NONE, CLOSED },

	{ "the FIN again", TIME_WAIT, TH_ACK | TH_FIN, -1, 0, 0, ACK, TIME_WAIT },
	{ "an ACK", TIME_WAIT, TH_ACK, 0, 0, 0, NONE, TIME_WAIT },
	{ "the SYN again", TIME_WAIT, TH_SYN, -2, 0, 0, ACK, TIME_WAIT },
	{ "a reset", TIME_WAIT, TH_RST, 0, 0, 0, NONE, CLOSED },
};

START_TEST(each_segment_has_its_answer_in_each_state)
{
	const uint32_t nxt = segments[_i].state == CONNECTING ? ISS : 0;
	uint32_t seq, ack;
	struct tcpseg seg;

	bring_to(segments[_i].state);
	seq = f.in.nxt + (uint32_t)segments[_i].seq;
	ack = (nxt != 0 ? nxt : f.out.max) + (uint32_t)segments[_i].ack;
	inside_sends_data(segments[_i].flags, seq, ack, segments[_i].len);
	ck_assert_msg(rfc_state() == segments[_i].after &&
			      (fake.count == 0) == (segments[_i].answer == NONE),
		      "%s in %s: %zu answers, then %s", segments[_i].what,
		      names[segments[_i].state], fake.count, names[rfc_state()]);
	if (segments[_i].answer == NONE)
		return;
	seg = only_answer();
	assert_answer(&seg, segments[_i].answer, ack);
}
END_TEST

START_TEST(data_with_an_impossible_ack_is_not_taken)
{
	bring_to(ESTABLISHED);
	inside_sends_data(TH_ACK, IRS + 1, ISS + 2, 10);
	inside_sends_data(TH_ACK, IRS + 1, ISS + 1 - WINDOW - 1, 10);
	ck_assert_uint_eq(fake.taken, 0);
	inside_sends_data(TH_ACK, IRS + 1, ISS + 1 - WINDOW, 10);
	ck_assert_uint_eq(fake.taken, 10);
}
END_TEST

/* ---- windows ---- */

START_TEST(what_is_partly_in_the_window_is_taken_as_far)
{
	bring_to(ESTABLISHED);
	inside_sends_data(TH_ACK, IRS + 1, ISS + 1, 65535);
	ck_assert_uint_eq(fake.taken, WINDOW);
	ck_assert_uint_eq(f.in.nxt, IRS + 1 + 65535); /* the first window: the rest is kept */
	ck_assert_uint_eq(fake.memory, 65535 - WINDOW);
	ck_assert_uint_eq(only_answer().window, 0);
	/* nothing more fits */
	inside_sends_data(TH_ACK, f.in.nxt, ISS + 1, 10);
	ck_assert_uint_eq(only_answer().ack, IRS + 1 + 65535);
	/* the socket takes what was kept, and the inside learns of the room */
	fake.room = 100000;
	tcpflow_on_host(&f, POLLOUT, now_ms);
	flush();
	ck_assert_uint_eq(fake.memory, 0);
	ck_assert_uint_eq(fake.taken, 65535);
	ck_assert_uint_gt(only_answer().window, 0);
}
END_TEST

START_TEST(a_closed_window_is_probed_until_it_opens)
{
	struct tcpseg seg;

	bring_to(ESTABLISHED);
	host_sends(2 * WINDOW, false);
	ck_assert_uint_gt(fake.count, 0);
	fake.count = 0;
	tcpflow_on_segment(
		&f,
		&(struct tcpseg){
			.seq = IRS + 1, .ack = ISS + 1 + WINDOW, .flags = TH_ACK, .window = 0 },
		now_ms);
	flush();
	assert_no_answer();
	for (int i = 0; i < 100; i++) {
		pass_timeouts(1);
		seg = only_answer();
		ck_assert_uint_eq(seg.len, 0);
		ck_assert_uint_eq(seg.seq, ISS + WINDOW); /* not acceptable: it is answered */
		tcpflow_on_segment(&f,
				   &(struct tcpseg){ .seq = IRS + 1,
						     .ack = ISS + 1 + WINDOW,
						     .flags = TH_ACK,
						     .window = 0 },
				   now_ms);
		flush();
		assert_no_answer();
	}
	inside_sends(TH_ACK, IRS + 1, ISS + 1 + WINDOW);
	ck_assert_uint_gt(fake.count, 0);
	ck_assert_uint_eq(fake.sent[0].seq, ISS + 1 + WINDOW);
}
END_TEST

START_TEST(probes_of_the_inside_are_answered)
{
	bring_to(ESTABLISHED);
	fake.room = 0;
	inside_sends_data(TH_ACK, IRS + 1, ISS + 1, 65535);
	ck_assert_uint_eq(only_answer().window, 0);
	inside_sends(TH_ACK, f.in.nxt - 1, ISS + 1);
	ck_assert_uint_eq(only_answer().window, 0);
	inside_sends_data(TH_ACK, f.in.nxt, ISS + 1, 1);
	ck_assert_uint_eq(only_answer().ack, IRS + 1 + 65535);
}
END_TEST

/* ---- delayed acknowledgements ---- */

/* A request of 10 bytes, which the host answers with 20 after `ms` milliseconds. Returns whether
 * the request was acknowledged before the answer. */
static bool exchange(unsigned int ms)
{
	bool is_acked;

	inside_sends_data(TH_ACK, f.in.nxt, f.out.max, 10);
	now_ms += ms;
	if (f.due_ms <= now_ms)
		tcpflow_on_timer(&f, now_ms);
	flush();
	is_acked = fake.count == 1;
	host_sends(20, false);
	ck_assert_uint_eq(fake.sent[fake.count - 1].len, 20);
	ck_assert_uint_eq(fake.sent[fake.count - 1].ack, f.in.nxt);
	ck_assert_uint_eq(fake.count, is_acked ? 2 : 1);
	fake.count = 0;
	return is_acked;
}

static void bring_to_conversation(void)
{
	bring_to(ESTABLISHED);
	fake.room = 100000;
	for (int i = 0; i < 4; i++)
		ck_assert(exchange(1));
	ck_assert(!exchange(1));
}

START_TEST(a_quick_answer_carries_the_acknowledgement)
{
	bring_to_conversation();
	for (int i = 0; i < 100; i++)
		ck_assert(!exchange(2));
}
END_TEST

START_TEST(an_acknowledgement_waits_only_for_milliseconds)
{
	bring_to_conversation();
	inside_sends_data(TH_ACK, f.in.nxt, f.out.max, 10);
	assert_no_answer();
	ck_assert_uint_eq(f.due_ms, now_ms + 3);
	pass_timeouts(1);
	ck_assert_uint_eq(only_answer().ack, f.in.nxt);
	/* the rest of the timers is as before */
	ck_assert_uint_ge(f.due_ms, now_ms + 100);
}
END_TEST

START_TEST(each_slow_answer_makes_acknowledgements_quick_for_longer)
{
	bring_to_conversation();
	for (int needed = 8; needed <= 64; needed *= 2) {
		ck_assert(exchange(5)); /* too slow */
		for (int i = 0; i < needed; i++)
			ck_assert(exchange(1));
		ck_assert(!exchange(1));
	}
}
END_TEST

START_TEST(only_small_requests_wait)
{
	bring_to_conversation();
	inside_sends_data(TH_ACK, f.in.nxt, f.out.max, 500);
	assert_no_answer();
	inside_sends_data(TH_ACK, f.in.nxt, f.out.max, 500);
	ck_assert_uint_eq(only_answer().ack, f.in.nxt);
	inside_sends_data(TH_ACK, f.in.nxt - 10, f.out.max, 10); /* sent again */
	ck_assert_uint_eq(only_answer().ack, f.in.nxt);
	inside_sends_data(TH_ACK, f.in.nxt + 10, f.out.max, 10); /* after a gap */
	ck_assert_uint_eq(only_answer().ack, f.in.nxt);
	inside_sends_data(TH_ACK | TH_FIN, f.in.nxt, f.out.max, 10);
	ck_assert_uint_eq(only_answer().ack, f.in.nxt);
}
END_TEST

/* ---- limits ---- */

START_TEST(answers_to_what_does_not_fit_are_limited)
{
	bring_to(ESTABLISHED);
	for (int i = 0; i < 50; i++)
		inside_sends(TH_ACK, IRS + 1, ISS + 100);
	ck_assert_uint_eq(fake.count, 10);
	inside_sends(TH_RST, IRS + 2, 0);
	inside_sends(TH_SYN, IRS + 2, 0);
	ck_assert_uint_eq(fake.count, 10);
	/* what was sent again is always answered, or it would be sent for ever */
	inside_sends_data(TH_ACK, IRS - 10, ISS + 1, 5);
	ck_assert_uint_eq(fake.count, 11);
	now_ms += 1000;
	inside_sends(TH_SYN, IRS + 2, 0);
	ck_assert_uint_eq(fake.count, 12);
}
END_TEST

START_TEST(an_inside_that_does_not_answer_our_syn_is_given_up)
{
	bring_to(SYN_RECEIVED);
	pass_timeouts(5);
	ck_assert_uint_eq(fake.count, 5);
	for (size_t i = 0; i < 5; i++)
		ck_assert_uint_eq(fake.sent[i].flags, TH_SYN | TH_ACK);
	ck_assert_uint_le(now_ms, 1000 + MINUTE);
	ck_assert_str_eq(names[rfc_state()], "SYN_RECEIVED");
	pass_timeouts(1);
	ck_assert_str_eq(names[rfc_state()], "CLOSED");
	ck_assert(fake.was_reset);
}
END_TEST

START_TEST(an_inside_that_does_not_answer_data_is_given_up)
{
	bring_to(ESTABLISHED);
	host_sends(10, false);
	pass_timeouts(12);
	ck_assert_str_eq(names[rfc_state()], "ESTABLISHED");
	ck_assert_uint_ge(now_ms, 5 * MINUTE);
	pass_timeouts(1);
	ck_assert_str_eq(names[rfc_state()], "CLOSED");
	ck_assert(fake.was_reset);
	ck_assert_uint_eq(fake.sent[fake.count - 1].flags, TH_RST | TH_ACK);
	ck_assert_uint_eq(fake.sent[fake.count - 1].seq, ISS + 11); /* what it expects next */
}
END_TEST

START_TEST(an_idle_inside_is_asked_and_given_up)
{
	bring_to(ESTABLISHED);
	for (int i = 0; i < 20; i++) { /* it answers */
		pass_timeouts(1);
		ck_assert_uint_eq(only_answer().seq, ISS);
		inside_sends(TH_ACK, IRS + 1, ISS + 1);
	}
	ck_assert_uint_ge(now_ms, 20 * 10 * MINUTE);
	pass_timeouts(5);
	ck_assert_str_eq(names[rfc_state()], "ESTABLISHED");
	pass_timeouts(1);
	ck_assert_str_eq(names[rfc_state()], "CLOSED");
	ck_assert(fake.was_reset);
}
END_TEST

START_TEST(time_wait_lasts_from_the_last_fin_on)
{
	bring_to(TIME_WAIT);
	ck_assert(fake.closed && !fake.was_reset);
	now_ms += TCPFLOW_TIME_WAIT_MS - 1;
	inside_sends(TH_ACK | TH_FIN, IRS + 1, ISS + 2);
	ck_assert_uint_eq(f.due_ms, now_ms + TCPFLOW_TIME_WAIT_MS);
	pass_timeouts(1);
	ck_assert_str_eq(names[rfc_state()], "CLOSED");
}
END_TEST

/* ---- the host fails ---- */

START_TEST(a_failure_of_the_host_resets_the_inside_in_each_state)
{
	for (enum rfc_state state = ESTABLISHED; state < CLOSED; state++) {
		bring_to(state);
		if (state == TIME_WAIT) /* the socket has gone */
			continue;
		host_fails(ECONNRESET);
		/* if our FIN is under way, it comes first */
		if (f.out.una != f.out.max)
			inside_sends(TH_ACK, f.in.nxt, f.out.max);
		ck_assert_str_eq(names[rfc_state()], "CLOSED");
		ck_assert_uint_eq(fake.sent[fake.count - 1].flags, TH_RST | TH_ACK);
		ck_assert_uint_eq(fake.sent[fake.count - 1].seq, f.out.max);
	}
}
END_TEST

START_TEST(what_the_host_sent_before_its_failure_arrives_before_the_reset)
{
	struct tcpseg seg;

	bring_to(ESTABLISHED);
	fake.readable = 1500;
	host_fails(ETIMEDOUT);
	ck_assert_uint_eq(only_answer().len, 1500);
	/* lost, and sent again */
	pass_timeouts(1);
	ck_assert_uint_eq(only_answer().len, 1000);
	inside_sends(TH_ACK, IRS + 1, ISS + 1501);
	seg = only_answer();
	ck_assert_uint_eq(seg.flags, TH_RST | TH_ACK);
	ck_assert_uint_eq(seg.seq, ISS + 1501);
	ck_assert_str_eq(names[rfc_state()], "CLOSED");
}
END_TEST

START_TEST(a_closed_window_does_not_delay_the_reset)
{
	bring_to(ESTABLISHED);
	host_sends(2 * WINDOW, false);
	fake.count = 0;
	tcpflow_on_segment(
		&f,
		&(struct tcpseg){
			.seq = IRS + 1, .ack = ISS + 1 + WINDOW, .flags = TH_ACK, .window = 0 },
		now_ms);
	host_fails(ECONNRESET);
	ck_assert_uint_eq(only_answer().flags, TH_RST | TH_ACK);
}
END_TEST

START_TEST(what_a_broken_host_does_not_take_is_forgotten)
{
	bring_to(ESTABLISHED);
	fake.room = 0;
	inside_sends_data(TH_ACK, IRS + 1, ISS + 1, 1000);
	ck_assert_uint_eq(fake.memory, 1000);
	fake.readable = 10;
	host_fails(EPIPE);
	ck_assert_uint_eq(fake.memory, 0);
	inside_sends_data(TH_ACK, IRS + 1001, ISS + 1, 1000);
	ck_assert_uint_eq(fake.memory, 0);
}
END_TEST

/* ---- the end of the launcher ---- */

START_TEST(only_a_finished_inside_spares_the_host_a_reset)
{
	for (enum rfc_state state = CONNECTING; state < CLOSED; state++) {
		const bool is_finished = state == CLOSE_WAIT || state >= CLOSING;

		bring_to(state);
		tcpflow_end(&f);
		ck_assert_str_eq(names[rfc_state()], "CLOSED");
		ck_assert(fake.closed);
		ck_assert_int_eq(fake.was_reset, !is_finished);
	}
}
END_TEST

START_TEST(a_flow_drains_until_the_host_has_taken_everything)
{
	bring_to(ESTABLISHED);
	ck_assert(!tcpflow_is_draining(&f));
	fake.room = 0;
	inside_sends_data(TH_ACK | TH_FIN, IRS + 1, ISS + 1, 100);
	ck_assert(tcpflow_is_draining(&f));
	fake.room = 1000;
	tcpflow_on_host(&f, POLLOUT, now_ms);
	flush();
	ck_assert(fake.has_ended);
	ck_assert(!tcpflow_is_draining(&f));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tcpstates");
	TCase *tc = fixture_case("tcpstates");

	tcase_add_loop_test(tc, each_segment_has_its_answer_in_each_state, 0, COUNT(segments));
	tcase_add_test(tc, data_with_an_impossible_ack_is_not_taken);
	tcase_add_test(tc, what_is_partly_in_the_window_is_taken_as_far);
	tcase_add_test(tc, a_closed_window_is_probed_until_it_opens);
	tcase_add_test(tc, probes_of_the_inside_are_answered);
	tcase_add_test(tc, a_quick_answer_carries_the_acknowledgement);
	tcase_add_test(tc, an_acknowledgement_waits_only_for_milliseconds);
	tcase_add_test(tc, each_slow_answer_makes_acknowledgements_quick_for_longer);
	tcase_add_test(tc, only_small_requests_wait);
	tcase_add_test(tc, answers_to_what_does_not_fit_are_limited);
	tcase_add_test(tc, an_inside_that_does_not_answer_our_syn_is_given_up);
	tcase_add_test(tc, an_inside_that_does_not_answer_data_is_given_up);
	tcase_add_test(tc, an_idle_inside_is_asked_and_given_up);
	tcase_add_test(tc, time_wait_lasts_from_the_last_fin_on);
	tcase_add_test(tc, a_failure_of_the_host_resets_the_inside_in_each_state);
	tcase_add_test(tc, what_the_host_sent_before_its_failure_arrives_before_the_reset);
	tcase_add_test(tc, a_closed_window_does_not_delay_the_reset);
	tcase_add_test(tc, what_a_broken_host_does_not_take_is_forgotten);
	tcase_add_test(tc, only_a_finished_inside_spares_the_host_a_reset);
	tcase_add_test(tc, a_flow_drains_until_the_host_has_taken_everything);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
