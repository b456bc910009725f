/* SPDX-License-Identifier: Apache-2.0 */
/* Reassembly of fragments. See frags.h.
 *
 * A packet that is not complete yet has a buffer of the greatest size, of which the kernel provides
 * only the pages that are written to. Two bit maps say which units of 8 bytes have arrived, and at
 * which of them a fragment begins: by them a copy of a fragment is told from one that overlaps.
 *
 * The complete payload gets new headers and is read again, so that what follows sees a packet like
 * any other, and the extension headers of IPv6 behind the fragment header are skipped.
 */
#include "usernet/frags.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/list.h"

#define UNIT	  8U /* bytes; all fragments but the last are multiples of it */
#define UNITS	  ((PACKET_IP_MAX + UNIT - 1) / UNIT)
#define WORD_BITS 64
#define WORDS	  ((UNITS + WORD_BITS - 1) / WORD_BITS)

struct frags_buffer {
	uint64_t has[WORDS];		 /* units that have arrived */
	uint64_t begins[WORDS];		 /* units at which a fragment begins */
	uint8_t bytes[PACKET_FRAME_MAX]; /* of them, room for headers first */
};

struct slot {
	struct list_node node; /* in `busy`, or in `free` */
	unsigned long long began_ms;
	struct packet_addrs addrs;
	uint32_t id;
	uint8_t proto, hops;
	struct frags_buffer
		*buffer; /* NULL: the packet is dropped, and so is what is still to come */
	size_t units;	 /* that have arrived */
	size_t len;	 /* bytes of the payload; 0: the last fragment has not arrived */
	size_t end;	 /* bytes until the end of the last one that has arrived */
};

struct frags {
	pthread_mutex_t lock; /* guards what follows */
	struct list busy;     /* in the order of their beginning */
	struct list free;
	struct slot slots[FRAGS_MAX];
};

/* ---- bit maps ---- */

static bool is_set(const uint64_t *map, size_t unit)
{
	return (map[unit / WORD_BITS] >> unit % WORD_BITS & 1) != 0;
}

static void set(uint64_t *map, size_t unit)
{
	map[unit / WORD_BITS] |= (uint64_t)1 << unit % WORD_BITS;
}

/* ---- slots ---- */

static void put_spare(struct frags_queue *q, struct frags_buffer *b)
{
	if (b == NULL)
		return;
	if (q->spare == NULL) {
		q->spare = b;
		q->spare_is_new = true;
	} else {
		free(b);
	}
}

static struct frags_buffer *take_buffer(struct frags_queue *q)
{
	struct frags_buffer *b = q->spare;

	q->spare = NULL;
	if (b == NULL)
		b = malloc(sizeof(*b));
	if (b != NULL) {
		memset(b->has, 0, sizeof(b->has));
		memset(b->begins, 0, sizeof(b->begins));
	}
	return b;
}

/* Makes the slot's buffer, in which the caller's packet is, the spare one, which lives until it is
 * used again. */
static void keep_buffer(struct frags_queue *q, struct slot *s)
{
	free(q->spare);
	q->spare = NULL;
	put_spare(q, s->buffer);
	s->buffer = NULL;
}

/* Drops what has arrived, and what will arrive. */
static void drop(struct frags_queue *q, struct slot *s)
{
	put_spare(q, s->buffer);
	s->buffer = NULL;
}

static void end_slot(struct frags_queue *q, struct slot *s)
{
	drop(q, s);
	list_remove(&q->frags->busy, &s->node);
	list_append(&q->frags->free, &s->node);
}

static struct slot *oldest(const struct frags *f)
{
	return f->busy.first == NULL ? NULL : LIST_OWNER(f->busy.first, struct slot, node);
}

/* IPv4: RFC 791 3.2. IPv6: RFC 8200 4.5; fragments but the first may say another protocol. */
static bool is_of(const struct slot *s, const struct packet *p)
{
	return s->id == p->fragment_id && memcmp(&s->addrs, &p->addrs, sizeof(s->addrs)) == 0 &&
	       (s->proto == p->proto || !packet_is_v4(&p->addrs));
}

static struct slot *find(const struct frags *f, const struct packet *p)
{
	for (struct list_node *n = f->busy.first; n != NULL; n = n->next)
		if (is_of(LIST_OWNER(n, struct slot, node), p))
			return LIST_OWNER(n, struct slot, node);
	return NULL;
}

static struct slot *begin(struct frags_queue *q, const struct packet *p)
{
	struct frags *f = q->frags;
	struct slot *s;

	if (f->free.first == NULL)
		end_slot(q, oldest(f));
	s = LIST_OWNER(f->free.first, struct slot, node);
	list_remove(&f->free, &s->node);
	*s = (struct slot){ .began_ms = clock_now_ms(),
			    .addrs = p->addrs,
			    .id = p->fragment_id,
			    .proto = p->proto,
			    .hops = p->hops,
			    .buffer = take_buffer(q) };
	list_append(&f->busy, &s->node);
	return s;
}

/* Forgets packets that have waited for FRAGS_MS, of all queues. Returns the milliseconds until the
 * next one will have, or 0 if none waits. */
static unsigned int forget_old(struct frags_queue *q)
{
	const unsigned long long now = clock_now_ms();
	struct slot *s;

	while ((s = oldest(q->frags)) != NULL && now - s->began_ms >= FRAGS_MS)
		end_slot(q, s);
	return s == NULL ? 0 : (unsigned int)(s->began_ms + FRAGS_MS - now);
}

static void on_timer(struct timer *t)
{
	struct frags_queue *q = LOOP_OWNER(t, struct frags_queue, timer);
	unsigned int left;

	pthread_mutex_lock(&q->frags->lock);
	left = forget_old(q);
	pthread_mutex_unlock(&q->frags->lock);
	if (!q->spare_is_new) {
		free(q->spare);
		q->spare = NULL;
	}
	q->spare_is_new = false;
	if (left > 0 || q->spare != NULL)
		loop_timer(q->loop, t, left > 0 ? left : FRAGS_MS);
}

/* ---- a fragment ---- */

enum fit { FITS, IS_COPY, OVERLAPS };

/* How does it fit to those that have arrived? */
static enum fit fit_of(const struct slot *s, const struct packet *p)
{
	const struct frags_buffer *b = s->buffer;
	const size_t first = p->fragment_at / UNIT;
	const size_t count = (p->payload_len + UNIT - 1) / UNIT;
	size_t there = 0, begins = 0;

	for (size_t i = first; i < first + count; i++) {
		there += is_set(b->has, i);
		begins += is_set(b->begins, i);
	}
	if (there == 0)
		return FITS;
	/* A copy has all units of exactly one fragment, which ends where it ends. */
	if (there != count || begins != 1 || !is_set(b->begins, first) ||
	    (first + count < UNITS && is_set(b->has, first + count) &&
	     !is_set(b->begins, first + count)) ||
	    memcmp(b->bytes + PACKET_HEAD_MAX + p->fragment_at, p->payload, p->payload_len) != 0)
		return OVERLAPS;
	return IS_COPY;
}

/* Does the end that it implies agree with what has arrived? */
static bool has_right_end(const struct slot *s, const struct packet *p)
{
	const size_t end = p->fragment_at + p->payload_len;

	if (p->has_more)
		return s->len == 0 || end < s->len;
	return (s->len == 0 || end == s->len) && end >= s->end;
}

static void add(struct slot *s, const struct packet *p)
{
	const size_t first = p->fragment_at / UNIT;
	const size_t count = (p->payload_len + UNIT - 1) / UNIT;
	const size_t end = p->fragment_at + p->payload_len;

	memcpy(s->buffer->bytes + PACKET_HEAD_MAX + p->fragment_at, p->payload, p->payload_len);
	set(s->buffer->begins, first);
	for (size_t i = first; i < first + count; i++)
		set(s->buffer->has, i);
	s->units += count;
	if (end > s->end)
		s->end = end;
	if (!p->has_more)
		s->len = end;
	if (p->fragment_at == 0) {
		s->proto = p->proto;
		s->hops = p->hops;
	}
}

static bool is_complete(const struct slot *s)
{
	return s->len != 0 && s->units == (s->len + UNIT - 1) / UNIT;
}

/* Makes *p the whole packet, which is in s->buffer. */
static bool read_whole(const struct slot *s, struct packet *p)
{
	const struct packet last = *p;
	const struct packet_head head = { .src_mac = last.src_mac,
					  .dst_mac = last.dst_mac,
					  .addrs = s->addrs,
					  .proto = s->proto,
					  .hops = s->hops };
	uint8_t bytes[PACKET_HEAD_MAX];
	const size_t n = packet_put_head(bytes, &head, s->len);
	uint8_t *frame = s->buffer->bytes + PACKET_HEAD_MAX - n;

	memcpy(frame, bytes, n);
	return packet_read(p, frame, n + s->len) == PACKET_IP && !p->is_fragment;
}

/* Returns true if *p is a whole packet now. */
static bool take_fragment(struct frags_queue *q, struct packet *p)
{
	struct slot *s = find(q->frags, p);
	enum fit fit;
	bool done;

	if (s == NULL)
		s = begin(q, p);
	if (s->buffer == NULL)
		return false;
	fit = fit_of(s, p);
	if (fit == IS_COPY && has_right_end(s, p))
		return false;
	if (fit != FITS || !has_right_end(s, p) ||
	    p->fragment_at + p->payload_len > packet_payload_max(&p->addrs)) {
		drop(q, s);
		return false;
	}
	add(s, p);
	if (!is_complete(s))
		return false;
	done = read_whole(s, p);
	keep_buffer(q, s);
	end_slot(q, s);
	return done;
}

bool frags_on_packet(struct frags_queue *q, struct packet *p)
{
	bool done;

	pthread_mutex_lock(&q->frags->lock);
	done = take_fragment(q, p);
	pthread_mutex_unlock(&q->frags->lock);
	if (!timer_is_set(&q->timer))
		loop_timer(q->loop, &q->timer, FRAGS_MS);
	return done;
}

/* ---- the table ---- */

struct frags *frags_new(void)
{
	struct frags *f = calloc(1, sizeof(*f));

	if (f == NULL)
		return NULL;
	pthread_mutex_init(&f->lock, NULL);
	for (size_t i = 0; i < FRAGS_MAX; i++)
		list_append(&f->free, &f->slots[i].node);
	return f;
}

void frags_free(struct frags *f)
{
	if (f == NULL)
		return;
	for (size_t i = 0; i < FRAGS_MAX; i++)
		free(f->slots[i].buffer);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

void frags_attach(struct frags_queue *q, struct frags *f, struct loop *loop)
{
	*q = (struct frags_queue){ .frags = f, .loop = loop, .timer = { .on_due = on_timer } };
}

void frags_detach(struct frags_queue *q)
{
	if (q->loop != NULL)
		loop_cancel(q->loop, &q->timer);
	free(q->spare);
	*q = (struct frags_queue){ .frags = NULL };
}
