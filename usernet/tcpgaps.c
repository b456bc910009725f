/* SPDX-License-Identifier: Apache-2.0 */
/* Data that came out of order. See tcpgaps.h. */
#include "usernet/tcpgaps.h"

#include <stdlib.h>
#include <string.h>

struct tcpgap_block {
	struct tcpgap_block *next;
	uint32_t seq;
	size_t len, cap; /* bytes of data, and bytes that `data` has room for */
	uint8_t data[];
};

struct tcpgaps {
	struct tcpgap_block *first; /* in the order of their sequence numbers; they do not touch */
	size_t count;
	uint32_t newest; /* a sequence number of the data that came last */
	bool has_fin;
	uint32_t fin_at; /* the FIN's sequence number */
};

static uint32_t end_of(const struct tcpgap_block *b)
{
	return b->seq + (uint32_t)b->len;
}

/* ---- memory ---- */

static void free_block(struct tcpgaps *g, struct tcpwire *wire, struct tcpgap_block **at)
{
	struct tcpgap_block *b = *at;

	*at = b->next;
	g->count--;
	tcpwire_give_memory(wire, b->cap);
	free(b);
}

/* Resizes a block, or makes one if *at is NULL. Returns false if there is no memory for it. */
static bool resize(struct tcpwire *wire, struct tcpgap_block **at, size_t cap)
{
	size_t before = *at != NULL ? (*at)->cap : 0;
	struct tcpgap_block *b;

	if (!tcpwire_take_memory(wire, cap - before))
		return false;
	b = realloc(*at, sizeof(*b) + cap);
	if (b == NULL) {
		tcpwire_give_memory(wire, cap - before);
		return false;
	}
	b->cap = cap;
	*at = b;
	return true;
}

/* ---- adding ---- */

/* Appends data to a block, which grows by half at least, so that long blocks are seldom copied. */
static bool append(struct tcpwire *wire, struct tcpgap_block **at, const uint8_t *data, size_t len)
{
	struct tcpgap_block *b = *at;

	if (b->cap - b->len < len &&
	    !resize(wire, at, b->len + (len > b->cap / 2 ? len : b->cap / 2)))
		return false;
	b = *at;
	memcpy(b->data + b->len, data, len);
	b->len += len;
	return true;
}

/* Inserts a new block in front of *at. */
static bool insert(struct tcpgaps *g, struct tcpwire *wire, struct tcpgap_block **at, uint32_t seq,
		   const uint8_t *data, size_t len)
{
	struct tcpgap_block *b = NULL;

	if (g->count == TCPGAPS_MAX || !resize(wire, &b, len))
		return false;
	b->next = *at;
	b->seq = seq;
	b->len = len;
	memcpy(b->data, data, len);
	*at = b;
	g->count++;
	return true;
}

/* Joins a block with the next one, if they touch. */
static void join(struct tcpgaps *g, struct tcpwire *wire, struct tcpgap_block **at)
{
	struct tcpgap_block *next = (*at)->next;

	if (next != NULL && end_of(*at) == next->seq && append(wire, at, next->data, next->len))
		free_block(g, wire, &(*at)->next);
}

static size_t min_size(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Removes bytes from the beginning of a segment. */
static void cut(struct tcpseg *seg, size_t len)
{
	len = min_size(len, seg->len);
	seg->seq += (uint32_t)len;
	seg->data += len;
	seg->len -= len;
}

/* Stores the part of the segment that lies in front of the block *at, and cuts it off. *before is
 * the block before that; both may be missing. */
static bool fill(struct tcpgaps *g, struct tcpwire *wire, struct tcpgap_block **before,
		 struct tcpgap_block **at, struct tcpseg *seg)
{
	size_t len = *at != NULL ? min_size(seg->len, (*at)->seq - seg->seq) : seg->len;

	if (before == NULL || end_of(*before) != seg->seq) {
		if (!insert(g, wire, at, seg->seq, seg->data, len))
			return false;
		before = at;
	} else if (!append(wire, before, seg->data, len)) {
		return false;
	}
	join(g, wire, before);
	cut(seg, len);
	return true;
}

/* Goes along the blocks, and fills the gaps between them that the segment covers. */
static void add_data(struct tcpgaps *g, struct tcpwire *wire, struct tcpseg seg)
{
	bool stored = true;

	while (stored && seg.len > 0) {
		struct tcpgap_block **before = NULL, **at = &g->first;

		for (; *at != NULL && !seq_after((*at)->seq, seg.seq); at = &(*at)->next)
			before = at;
		if (before != NULL && seq_after(end_of(*before), seg.seq))
			cut(&seg, end_of(*before) - seg.seq);
		else
			stored = fill(g, wire, before, at, &seg);
	}
}

void tcpgaps_add(struct tcpgaps **gaps, struct tcpwire *wire, const struct tcpseg *seg)
{
	struct tcpgaps *g = *gaps != NULL ? *gaps : calloc(1, sizeof(*g));

	if (g == NULL)
		return;
	*gaps = g;
	if ((seg->flags & TH_FIN) && !g->has_fin) {
		g->has_fin = true;
		g->fin_at = seg->seq + (uint32_t)seg->len;
	}
	if (seg->len == 0)
		return;
	g->newest = seg->seq;
	add_data(g, wire, *seg);
}

/* ---- taking ---- */

const uint8_t *tcpgaps_next(struct tcpgaps *g, struct tcpwire *wire, uint32_t nxt, size_t *len)
{
	const struct tcpgap_block *b;

	while (g != NULL && g->first != NULL && !seq_after(end_of(g->first), nxt))
		free_block(g, wire, &g->first);
	b = g != NULL ? g->first : NULL;
	if (b == NULL || seq_after(b->seq, nxt))
		return NULL;
	*len = end_of(b) - nxt;
	return b->data + (nxt - b->seq);
}

bool tcpgaps_has_data(const struct tcpgaps *g)
{
	return g != NULL && g->first != NULL;
}

bool tcpgaps_fin_is_next(const struct tcpgaps *g, uint32_t nxt)
{
	return g != NULL && g->has_fin && g->fin_at == nxt;
}

void tcpgaps_free(struct tcpgaps **g, struct tcpwire *wire)
{
	while (*g != NULL && (*g)->first != NULL)
		free_block(*g, wire, &(*g)->first);
	free(*g);
	*g = NULL;
}

/* ---- selective acknowledgements ---- */

static bool has(const struct tcpgap_block *b, uint32_t seq)
{
	return seq - b->seq < b->len;
}

size_t tcpgaps_ranges(const struct tcpgaps *g, struct tcpseg_range *ranges)
{
	size_t count = 1;

	if (g == NULL || g->first == NULL)
		return 0;
	ranges[0] = (struct tcpseg_range){ g->first->seq, end_of(g->first) };
	for (const struct tcpgap_block *b = g->first->next; b != NULL; b = b->next) {
		const struct tcpseg_range range = { b->seq, end_of(b) };

		if (has(b, g->newest)) {
			count += count < TCPSEG_SACKS;
			ranges[count - 1] = ranges[0];
			ranges[0] = range;
		} else if (count < TCPSEG_SACKS) {
			ranges[count++] = range;
		}
	}
	return count;
}
