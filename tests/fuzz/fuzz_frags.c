/* SPDX-License-Identifier: Apache-2.0 */

/* Reassembly: the input is a list of fragments of a few packets, and of pauses. The table must do
 * what a model does, which keeps a list of the fragments of each packet. */
#include "usernet/frags.h"

#include "base/clock.h"

#include "fuzz.h"

#define PACKETS	   8 /* fewer than FRAGS_MAX, so that none is pushed out */
#define PIECES_MAX 512
#define UNIT	   8

/* ---- the loop ---- */

static unsigned long long now_ms;
static struct timer *timer;

int loop_timer(struct loop *loop, struct timer *t, unsigned int delay_ms)
{
	(void)loop;
	t->due_ms = now_ms + delay_ms;
	t->slot = 1;
	timer = t;
	return 0;
}

void loop_cancel(struct loop *loop, struct timer *t)
{
	(void)loop;
	t->slot = 0;
	timer = NULL;
}

bool timer_is_set(const struct timer *t)
{
	return t->slot != 0;
}

unsigned long long clock_now_ms(void)
{
	return now_ms;
}

static void advance(unsigned int ms)
{
	const unsigned long long until = now_ms + ms;

	while (timer != NULL && timer->due_ms <= until) {
		struct timer *t = timer;

		now_ms = t->due_ms;
		t->slot = 0;
		timer = NULL;
		t->on_due(t);
	}
	now_ms = until;
}

/* ---- the model ---- */

struct piece {
	size_t at, len;
	bool more, differs;
};

static struct model {
	struct piece pieces[PIECES_MAX];
	size_t count, len;
	unsigned long long began_ms;
	bool busy, dropped;
} models[PACKETS];

static uint8_t byte_at(unsigned int id, size_t at, bool differs)
{
	return (uint8_t)((at * 2654435761U + id) >> 11 ^ (differs ? 1 : 0));
}

static void expire(void)
{
	for (int i = 0; i < PACKETS; i++)
		if (models[i].busy && now_ms - models[i].began_ms >= FRAGS_MS)
			models[i] = (struct model){ .count = 0 };
}

static bool conflicts(const struct piece *old, const struct piece *new)
{
	const size_t old_end = old->at + old->len, end = new->at + new->len;

	return (new->at < old_end && old->at < end) || (!new->more &&old_end > end) ||
	       (!old->more && (end > old_end || (end == old_end && new->more)));
}

/* An exact copy; that it is the last one may be known from another. */
static bool is_copy(const struct model *m, const struct piece *new)
{
	for (size_t i = 0; i < m->count; i++) {
		const struct piece *o = &m->pieces[i];

		if (o->at == new->at && o->len == new->len && o->differs == new->differs)
			return o->more == new->more ||
			       (!new->more &&new->at + new->len >= m->len && m->len == 0);
	}
	return false;
}

static bool is_furthest(const struct model *m, const struct piece *new)
{
	for (size_t i = 0; i < m->count; i++)
		if (m->pieces[i].at + m->pieces[i].len > new->at + new->len)
			return false;
	return true;
}

/* Returns whether the fragment completes the packet. */
static bool model_takes(struct model *m, struct piece new, size_t max)
{
	size_t sum = new.len;

	if (!m->busy)
		m->began_ms = now_ms;
	m->busy = true;
	if (m->dropped)
		return false;
	if (is_copy(m, &new) && (new.more || is_furthest(m, &new)))
		return false;
	for (size_t i = 0; i < m->count; i++) {
		m->dropped = m->dropped || conflicts(&m->pieces[i], &new);
		sum += m->pieces[i].len;
	}
	m->dropped = m->dropped || new.at + new.len > max;
	if (m->dropped || m->count == PIECES_MAX)
		return false;
	m->pieces[m->count++] = new;
	if (!new.more)
		m->len = new.at + new.len;
	return m->len != 0 && sum == m->len;
}

static void check_whole(const struct model *m, const struct packet *p, unsigned int id)
{
	REQUIRE(!p->is_fragment && p->payload_len == m->len && p->hops == 7);
	for (size_t i = 0; i < m->count; i++)
		for (size_t k = 0; k < m->pieces[i].len; k++) {
			size_t at = m->pieces[i].at + k;

			REQUIRE(p->payload[at] == byte_at(id, at, m->pieces[i].differs));
		}
}

/* ---- fragments ---- */

static struct packet_head head_of(unsigned int id)
{
	static const uint8_t mac[ETH_ALEN] = { 2 };
	struct packet_head head = { .src_mac = mac,
				    .dst_mac = mac,
				    .proto = IPPROTO_UDP,
				    .hops = 7,
				    .fragment_id = id / 2 };

	if (id % 2 == 0)
		head.addrs.src.s6_addr[10] = head.addrs.src.s6_addr[11] =
			head.addrs.dst.s6_addr[10] = head.addrs.dst.s6_addr[11] = 0xff;
	else
		head.addrs.src.s6_addr[0] = head.addrs.dst.s6_addr[0] = 0xfd;
	return head;
}

static void give(struct frags_queue *q, unsigned int id, struct piece piece)
{
	struct packet_head head = head_of(id);
	uint8_t *frame = malloc(PACKET_HEAD_MAX + 8 + piece.len);
	struct packet p;
	size_t n;
	bool done;

	REQUIRE(frame != NULL);
	head.fragment_at = piece.at;
	head.has_more = piece.more;
	n = packet_put_fragment_head(frame, &head, piece.len);
	for (size_t i = 0; i < piece.len; i++)
		frame[n + i] = byte_at(id, piece.at + i, piece.differs);
	if (packet_read(&p, frame, n + piece.len) == PACKET_IP && p.is_fragment) {
		done = model_takes(&models[id], piece, PACKET_IP_MAX - (id % 2 == 0 ? 20 : 0));
		REQUIRE(frags_on_packet(q, &p) == done);
		if (done) {
			check_whole(&models[id], &p, id);
			models[id] = (struct model){ .count = 0 };
		}
	}
	free(frame);
}

/* STEP bytes: what to do, then place and length in units, then how the end is. */
static void run(struct frags_queue *q, const uint8_t *at)
{
	struct piece piece = { .at = (size_t)(at[1] << 8 | at[2]) % 8192 * UNIT,
			       .len = (at[3] + 1U) * UNIT,
			       .more = (at[4] & 1) != 0,
			       .differs = (at[4] & 0x1e) == 0x1e };

	if (at[0] == 0xff) {
		advance((unsigned int)at[1] * 32);
		expire();
		return;
	}
	if (!piece.more)
		piece.len -= at[4] >> 5;
	give(q, at[0] % PACKETS, piece);
}

#define STEP 5 /* bytes of the input */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct frags *f = frags_new();
	struct frags_queue q;

	REQUIRE(f != NULL);
	frags_attach(&q, f, NULL);
	memset(models, 0, sizeof(models));
	for (size_t i = 0; i + STEP <= size && i / STEP < PIECES_MAX; i += STEP)
		run(&q, data + i);
	advance(3 * FRAGS_MS);
	REQUIRE(timer == NULL); /* nothing is kept */
	frags_detach(&q);
	frags_free(f);
	return 0;
}
