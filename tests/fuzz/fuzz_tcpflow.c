/* SPDX-License-Identifier: Apache-2.0 */

/* A TCP flow between a hostile inside and a fake socket of the host. The input is a list of events:
 * segments with any numbers near the expected ones, bytes and errors of the host, timeouts. Every
 * byte that reaches the host must be the one that the inside sent at its place of the stream; we
 * must not send what does not fit into the inside's window, nor use a closed socket. */
#include "usernet/tcpflow.h"

#include <errno.h>
#include <poll.h>

#include "fuzz.h"

#define EVENTS_MAX 2000
#define ROOM_MAX   100000U

static struct tcpflow f;
static unsigned long long now_ms;
static uint32_t
	edge; /* of the largest window that the inside has offered, where the flow sees it */

static struct {
	size_t made, dropped; /* bytes of the host */
	size_t room, got;     /* of the inside */
	size_t kept;
	bool end, failed, has_error, closed, has_ended;
	uint32_t irs;
} host;

/* ---- the input ---- */

static const uint8_t *input;
static size_t left;

static uint32_t take(size_t len)
{
	uint32_t value = 0;

	for (; len > 0; len--) {
		value = value << 8 | (left > 0 ? *input++ : 0);
		left -= left > 0;
	}
	return value;
}

/* Returns a number near `base`, or any. */
static uint32_t near(uint32_t base)
{
	switch (take(1) % 4) {
	case 0:
		return base;
	case 1:
		return base + take(1);
	case 2:
		return base + (uint32_t)(int16_t)take(2);
	default:
		return take(4);
	}
}

/* ---- the wire ---- */

static uint8_t buffer[TCPWIRE_DATA_MAX];

static uint8_t byte_at(uint32_t seq)
{
	return (uint8_t)(seq * 2654435761U >> 11);
}

uint8_t *tcpwire_buffer(struct tcpwire *wire)
{
	(void)wire;
	return buffer;
}

void tcpwire_send(struct tcpwire *wire, const struct tcpflow *flow, struct tcpseg *seg)
{
	(void)wire;
	REQUIRE(flow == &f);
	REQUIRE(seg->len <= TCPWIRE_DATA_MAX);
	REQUIRE(seg->len == 0 || !seq_after(seg->seq + (uint32_t)seg->len, edge));
	REQUIRE(!(seg->flags & TH_FIN) || host.end);
	for (size_t i = 0; i < seg->len; i++)
		REQUIRE(buffer[i] == 'h');
}

bool tcpwire_take_memory(struct tcpwire *wire, size_t len)
{
	(void)wire;
	if (take(1) % 8 == 0)
		return false;
	host.kept += len;
	return true;
}

void tcpwire_give_memory(struct tcpwire *wire, size_t len)
{
	(void)wire;
	REQUIRE(len <= host.kept);
	host.kept -= len;
}

/* ---- the host ---- */

ssize_t hostsock_send(struct hostsock *h, const void *bytes, size_t len)
{
	const uint8_t *b = bytes;
	size_t n = len < host.room ? len : host.room;

	(void)h;
	REQUIRE(!host.closed && !host.has_ended && len > 0);
	if (host.failed) {
		host.has_error = false;
		return -EPIPE;
	}
	for (size_t i = 0; i < n; i++)
		REQUIRE(b[i] == byte_at(host.irs + 1 + (uint32_t)(host.got + i)));
	host.got += n;
	host.room -= n;
	return n > 0 ? (ssize_t)n : -EAGAIN;
}

size_t hostsock_room(const struct hostsock *h)
{
	(void)h;
	return host.room;
}

bool hostsock_ask_room(const struct hostsock *h)
{
	(void)h;
	return host.room > 0;
}

void hostsock_end(const struct hostsock *h)
{
	(void)h;
	REQUIRE(!host.closed && !host.has_ended && host.kept == 0);
	host.has_ended = true;
}

ssize_t hostsock_peek(struct hostsock *h, size_t skip, void *buf, size_t len)
{
	size_t at = host.dropped + skip, n;

	(void)h;
	REQUIRE(!host.closed && len > 0 && at <= host.made);
	n = host.made - at < len ? host.made - at : len;
	if (n == 0 && host.has_error) {
		host.has_error = false;
		return -ECONNRESET;
	}
	if (n == 0)
		return host.end || host.failed ? 0 : -EAGAIN;
	memset(buf, 'h', n);
	return (ssize_t)n;
}

void hostsock_drop(struct hostsock *h, size_t len)
{
	(void)h;
	host.dropped += len;
	REQUIRE(!host.closed && host.dropped <= host.made);
}

void hostsock_leave(struct hostsock *h)
{
	hostsock_close(h, false);
}

void hostsock_close(struct hostsock *h, bool reset)
{
	(void)h;
	(void)reset;
	host.closed = true;
}

/* ---- events ---- */

static void flush(void)
{
	tcpflow_flush(&f, now_ms);
}

static void note_edge(const struct tcpseg *seg)
{
	uint32_t window = seg->window;

	if (f.out.scale != TCPSEG_NO_SCALE)
		window <<= f.out.scale;
	if (seg->ack - f.out.una > f.out.max - f.out.una) /* not an acknowledgement that counts */
		return;
	if (seq_after(seg->ack + window, edge))
		edge = seg->ack + window;
}

static void on_segment(void)
{
	static const uint8_t flags[] = { TH_ACK,	  TH_ACK,	   TH_ACK | TH_PUSH,
					 TH_ACK | TH_FIN, TH_ACK | TH_URG, TH_SYN,
					 TH_RST };
	struct tcpseg seg = { .seq = near(f.in.nxt),
			      .ack = near(take(1) % 2 ? f.out.max : f.out.una),
			      .window = (uint16_t)take(2) };
	uint32_t kind = take(1);
	uint8_t *data;

	seg.flags = kind < 240 ? flags[kind % sizeof(flags)] : (uint8_t)take(1);
	seg.len = take(1) % 2 ? take(2) : 0;
	data = malloc(seg.len + 1);
	REQUIRE(data != NULL);
	for (size_t i = 0; i < seg.len; i++)
		data[i] = byte_at(seg.seq + (uint32_t)i);
	seg.data = data;
	note_edge(&seg);
	tcpflow_on_segment(&f, &seg, now_ms);
	free(data);
}

static void on_host(void)
{
	uint32_t what = take(1);
	short revents = 0;

	if (f.state == TCPFLOW_CONNECTING) {
		tcpflow_on_connected(&f, now_ms);
		return;
	}
	if (f.state >= TCPFLOW_TIME_WAIT)
		return;
	if (what % 4 == 0 && !host.end && !host.failed) {
		host.made += take(2);
		host.end = take(1) % 4 == 0;
		revents |= (short)(host.end ? POLLIN | POLLRDHUP : POLLIN);
	}
	if (what % 4 == 1 && !host.failed) {
		host.room = take(2) % ROOM_MAX;
		revents |= POLLOUT;
	}
	if (what == 2 && !host.failed) {
		host.failed = host.has_error = true;
		revents |= POLLIN | POLLOUT | POLLERR | POLLHUP;
	}
	tcpflow_on_host(&f, revents, now_ms);
}

static void on_time(void)
{
	if (f.due_ms == 0)
		return;
	now_ms = f.due_ms > now_ms ? f.due_ms : now_ms;
	tcpflow_on_timer(&f, now_ms);
}

static void check(void)
{
	REQUIRE(f.in.kept_len == host.kept && (f.in.kept != NULL) == (host.kept > 0));
	REQUIRE(!seq_after(f.in.nxt, f.in.edge) && !seq_after(f.out.una, f.out.nxt));
	REQUIRE(!seq_after(f.out.nxt, f.out.max));
	/* A flow that waits for the inside has a timer. */
	if (f.state == TCPFLOW_SYN_RCVD || f.state == TCPFLOW_OPEN || f.state == TCPFLOW_TIME_WAIT)
		REQUIRE(f.due_ms != 0);
	REQUIRE((f.state >= TCPFLOW_TIME_WAIT) == host.closed);
	(void)tcpflow_is_draining(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tcpseg syn = { .flags = TH_SYN };

	input = data;
	left = size;
	memset(&f, 0, sizeof(f));
	memset(&host, 0, sizeof(host));
	now_ms = 1000;
	syn.seq = host.irs = take(4);
	syn.window = (uint16_t)take(2);
	syn.mss = (uint16_t)take(2);
	syn.scale = (int)(take(1) % (TCPSEG_SCALE_MAX + 2)) - 1;
	host.room = take(2);
	tcpflow_init(&f, NULL, &syn, take(4), 65475);
	edge = f.out.una + 1 + syn.window;
	for (int i = 0; left > 0 && i < EVENTS_MAX && f.state != TCPFLOW_DEAD; i++) {
		uint32_t event = take(1);

		if (event % 8 < 5)
			on_segment();
		else if (event % 8 < 7)
			on_host();
		else
			on_time();
		now_ms += event / 8;
		if (event % 3 != 0) {
			flush();
			check();
		}
	}
	tcpflow_end(&f);
	tcpflow_reset(&f);
	REQUIRE(host.closed && host.kept == 0);
	return 0;
}
