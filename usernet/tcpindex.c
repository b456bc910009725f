/* SPDX-License-Identifier: Apache-2.0 */
/* The index of TCP flows. See tcpindex.h.
 *
 * A hash table with chains, whose buckets are doubled when there are as many flows as buckets.
 * Programs inside choose the IDs, so the hash resists chosen collisions, as that of
 * ports/flowtable.c does, where the source is named.
 */
#include "usernet/tcpindex.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/array.h"
#include "base/clock.h"

#define BUCKETS_FIRST 64
#define RELIST_MS     1000 /* a list is reordered at most once in this time for a flow */

_Static_assert(sizeof(struct tcpflow_id) == 36, "an ID has no padding");

int tcpindex_init(struct tcpindex *x, size_t max)
{
	*x = (struct tcpindex){ .max = max, .bucket_count = BUCKETS_FIRST };
	x->buckets = calloc(x->bucket_count, sizeof(struct tcpindex_entry *));
	if (x->buckets == NULL)
		return -ENOMEM;
	/* If the kernel has no random bytes yet, take the time as seed. */
	if (getrandom(x->seed, sizeof(x->seed), GRND_NONBLOCK) != (ssize_t)sizeof(x->seed))
		for (size_t i = 0; i < COUNT_OF(x->seed); i++)
			x->seed[i] ^= clock_now_ms() * 0x9e3779b97f4a7c15U * (i + 1);
	return 0;
}

void tcpindex_reset(struct tcpindex *x)
{
	free(x->buckets);
	*x = (struct tcpindex){ 0 };
}

/* ---- the hash table ---- */

static size_t bucket_of(const struct tcpindex *x, const struct tcpflow_id *id)
{
	uint32_t words[sizeof(*id) / sizeof(uint32_t)];
	uint64_t sum = x->seed[0];

	memcpy(words, id, sizeof(words));
	for (size_t i = 0; i < COUNT_OF(words); i++)
		sum += x->seed[i + 1] * words[i];
	return (size_t)(sum >> 32) & (x->bucket_count - 1);
}

struct tcpindex_entry *tcpindex_find(const struct tcpindex *x, const struct tcpflow_id *id)
{
	struct tcpindex_entry *e = x->buckets[bucket_of(x, id)];

	while (e != NULL && memcmp(&e->flow.id, id, sizeof(*id)) != 0)
		e = e->chain;
	return e;
}

static void chain(struct tcpindex *x, struct tcpindex_entry *e)
{
	struct tcpindex_entry **at = &x->buckets[bucket_of(x, &e->flow.id)];

	e->chain = *at;
	*at = e;
}

static void unchain(struct tcpindex *x, const struct tcpindex_entry *e)
{
	struct tcpindex_entry **at = &x->buckets[bucket_of(x, &e->flow.id)];

	while (*at != e)
		at = &(*at)->chain;
	*at = e->chain;
}

/* Doubles the buckets. If there is no memory for that, chains just grow longer. */
static void grow(struct tcpindex *x)
{
	struct tcpindex_entry **old = x->buckets;
	size_t old_count = x->bucket_count;
	struct tcpindex_entry **buckets = calloc(2 * old_count, sizeof(struct tcpindex_entry *));

	if (buckets == NULL)
		return;
	x->buckets = buckets;
	x->bucket_count = 2 * old_count;
	for (size_t i = 0; i < old_count; i++) {
		struct tcpindex_entry *next;

		for (struct tcpindex_entry *e = old[i]; e != NULL; e = next) {
			next = e->chain;
			chain(x, e);
		}
	}
	free(old);
}

/* ---- the lists ---- */

static enum tcpindex_kind kind_of(const struct tcpflow *f)
{
	switch (f->state) {
	case TCPFLOW_CONNECTING:
	case TCPFLOW_SYN_RCVD:
		return TCPINDEX_HALF_OPEN;
	case TCPFLOW_TIME_WAIT:
		return TCPINDEX_TIME_WAIT;
	default:
		return TCPINDEX_OPEN;
	}
}

static void enlist(struct tcpindex *x, struct tcpindex_entry *e, unsigned long long now_ms)
{
	e->kind = kind_of(&e->flow);
	e->listed_ms = now_ms;
	list_append(&x->kinds[e->kind].flows, &e->node);
	x->kinds[e->kind].count++;
}

static void unlist(struct tcpindex *x, struct tcpindex_entry *e)
{
	list_remove(&x->kinds[e->kind].flows, &e->node);
	x->kinds[e->kind].count--;
}

void tcpindex_add(struct tcpindex *x, struct tcpindex_entry *e, unsigned long long now_ms)
{
	if (tcpindex_count(x) >= x->bucket_count)
		grow(x);
	chain(x, e);
	enlist(x, e, now_ms);
}

void tcpindex_remove(struct tcpindex *x, struct tcpindex_entry *e)
{
	unchain(x, e);
	unlist(x, e);
}

/* A half-open flow keeps its place: retransmitted SYNs are no reason to stay. */
void tcpindex_use(struct tcpindex *x, struct tcpindex_entry *e, unsigned long long now_ms)
{
	if (e->kind != TCPINDEX_OPEN || now_ms < e->listed_ms + RELIST_MS)
		return;
	unlist(x, e);
	enlist(x, e, now_ms);
}

bool tcpindex_update(struct tcpindex *x, struct tcpindex_entry *e, unsigned long long now_ms)
{
	if (kind_of(&e->flow) == e->kind)
		return false;
	unlist(x, e);
	enlist(x, e, now_ms);
	return true;
}

/* ---- limits ---- */

static size_t quarter(const struct tcpindex *x)
{
	return x->max / 4 > 0 ? x->max / 4 : 1;
}

size_t tcpindex_count(const struct tcpindex *x)
{
	size_t count = 0;

	for (size_t i = 0; i < TCPINDEX_KINDS; i++)
		count += x->kinds[i].count;
	return count;
}

struct tcpindex_entry *tcpindex_oldest(const struct tcpindex *x, enum tcpindex_kind kind)
{
	struct list_node *first = x->kinds[kind].flows.first;

	return first == NULL ? NULL : LIST_OWNER(first, struct tcpindex_entry, node);
}

struct tcpindex_entry *tcpindex_before_add(const struct tcpindex *x)
{
	struct tcpindex_entry *waiting = tcpindex_oldest(x, TCPINDEX_TIME_WAIT);

	if (x->kinds[TCPINDEX_HALF_OPEN].count >= quarter(x))
		return tcpindex_oldest(x, TCPINDEX_HALF_OPEN);
	return tcpindex_count(x) >= x->max ? waiting : NULL;
}

struct tcpindex_entry *tcpindex_idle(const struct tcpindex *x, unsigned long long now_ms)
{
	struct tcpindex_entry *e = tcpindex_oldest(x, TCPINDEX_OPEN);

	return e != NULL && now_ms >= e->listed_ms + TCPINDEX_IDLE_MS ? e : NULL;
}

struct tcpindex_entry *tcpindex_after_update(const struct tcpindex *x, struct tcpindex_entry *e,
					     unsigned long long now_ms)
{
	struct tcpindex_entry *idle = tcpindex_idle(x, now_ms);
	const size_t count = x->kinds[e->kind].count;

	if (e->kind == TCPINDEX_TIME_WAIT)
		return count > quarter(x) ? tcpindex_oldest(x, e->kind) : NULL;
	if (e->kind != TCPINDEX_OPEN || count == 1 || count + quarter(x) <= x->max)
		return NULL;
	return idle != NULL ? idle : e;
}
