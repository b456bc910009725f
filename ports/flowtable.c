/* SPDX-License-Identifier: Apache-2.0 */
/* The table of UDP flows. See flowtable.h.
 *
 * A hash table with chains, whose buckets are doubled when there are as many flows as buckets. The
 * senders of datagrams choose the keys, so the hash must resist chosen collisions. It comes from a
 * strongly universal family (Lemire and Kaser, "Strongly universal string hashing is fast", 2014):
 * the upper half of a sum of products with random 64-bit factors. Without knowing the factors, an
 * attacker cannot make keys collide.
 */
#include "ports/flowtable.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/array.h"
#include "base/clock.h"

#define BUCKETS_FIRST 16 /* most ports have few clients */

_Static_assert(sizeof(struct flow_key) == 40, "a key has no padding");

int flowtable_init(struct flowtable *t, size_t max_new, size_t max_established)
{
	*t = (struct flowtable){ .fresh.max = max_new, .established.max = max_established };
	t->bucket_count = BUCKETS_FIRST;
	t->buckets = calloc(t->bucket_count, sizeof(struct flow_entry *));
	if (t->buckets == NULL)
		return -ENOMEM;
	/* If the kernel has no random bytes yet, take the time as seed. */
	if (getrandom(t->seed, sizeof(t->seed), GRND_NONBLOCK) != (ssize_t)sizeof(t->seed))
		for (size_t i = 0; i < sizeof(t->seed) / sizeof(t->seed[0]); i++)
			t->seed[i] ^= clock_now_ms() * 0x9e3779b97f4a7c15U * (i + 1);
	return 0;
}

void flowtable_reset(struct flowtable *t)
{
	free(t->buckets);
	*t = (struct flowtable){ 0 };
}

/* ---- the hash table ---- */

static size_t bucket_of(const struct flowtable *t, const struct flow_key *key)
{
	uint32_t words[sizeof(*key) / sizeof(uint32_t)];
	uint64_t sum = t->seed[0];

	memcpy(words, key, sizeof(words));
	for (size_t i = 0; i < COUNT_OF(words); i++)
		sum += t->seed[i + 1] * words[i];
	return (size_t)(sum >> 32) & (t->bucket_count - 1);
}

struct flow_entry *flowtable_find(const struct flowtable *t, const struct flow_key *key)
{
	struct flow_entry *e = t->buckets[bucket_of(t, key)];

	while (e != NULL && memcmp(&e->key, key, sizeof(*key)) != 0)
		e = e->chain;
	return e;
}

static void chain(struct flowtable *t, struct flow_entry *e)
{
	struct flow_entry **at = &t->buckets[bucket_of(t, &e->key)];

	e->chain = *at;
	*at = e;
}

static void unchain(struct flowtable *t, const struct flow_entry *e)
{
	struct flow_entry **at = &t->buckets[bucket_of(t, &e->key)];

	while (*at != e)
		at = &(*at)->chain;
	*at = e->chain;
}

/* Doubles the buckets. If there is no memory for that, chains just grow longer. */
static void grow(struct flowtable *t)
{
	struct flow_entry **old = t->buckets;
	size_t old_count = t->bucket_count;
	struct flow_entry **buckets = calloc(2 * old_count, sizeof(struct flow_entry *));

	if (buckets == NULL)
		return;
	t->buckets = buckets;
	t->bucket_count = 2 * old_count;
	for (size_t i = 0; i < old_count; i++) {
		struct flow_entry *next;

		for (struct flow_entry *e = old[i]; e != NULL; e = next) {
			next = e->chain;
			chain(t, e);
		}
	}
	free(old);
}

/* ---- the lists ---- */

static void push(struct flow_list *l, struct flow_entry *e)
{
	list_prepend(&l->flows, &e->node);
	l->count++;
}

static void take(struct flow_list *l, struct flow_entry *e)
{
	list_remove(&l->flows, &e->node);
	l->count--;
}

static struct flow_entry *oldest_of(const struct flow_list *l)
{
	return l->flows.last == NULL ? NULL : LIST_OWNER(l->flows.last, struct flow_entry, node);
}

static struct flow_list *list_of(struct flowtable *t, const struct flow_entry *e)
{
	return e->established ? &t->established : &t->fresh;
}

/* Moves a flow to the head of one of the two lists, which may be the list that it is in. */
static void use(struct flowtable *t, struct flow_entry *e, bool established,
		unsigned long long now_ms)
{
	e->used_ms = now_ms;
	take(list_of(t, e), e);
	e->established = established;
	push(list_of(t, e), e);
}

/* Makes room for a new flow in the list of established flows. If that list is full, the established
 * flow that has been unused longest becomes a new flow, provided that it has been unused for
 * FLOWTABLE_LONG_MS. It goes to the head of the list of new flows, so it counts as used now.
 * Returns false if there is no room. */
static bool make_room(struct flowtable *t, unsigned long long now_ms)
{
	struct flow_entry *oldest = oldest_of(&t->established);

	if (t->established.count < t->established.max)
		return true;
	if (now_ms - oldest->used_ms < FLOWTABLE_LONG_MS)
		return false;
	oldest->answered = false;
	use(t, oldest, false, now_ms);
	return true;
}

/* ---- flows ---- */

struct flow_entry *flowtable_victim(const struct flowtable *t)
{
	return t->fresh.count < t->fresh.max ? NULL : oldest_of(&t->fresh);
}

void flowtable_add(struct flowtable *t, struct flow_entry *e, unsigned long long now_ms)
{
	if (t->fresh.count + t->established.count >= t->bucket_count)
		grow(t);
	e->used_ms = now_ms;
	e->answered = e->established = false;
	chain(t, e);
	push(&t->fresh, e);
}

void flowtable_remove(struct flowtable *t, struct flow_entry *e)
{
	unchain(t, e);
	take(list_of(t, e), e);
}

void flowtable_note_request(struct flowtable *t, struct flow_entry *e, unsigned long long now_ms)
{
	bool established = e->established || (e->answered && make_room(t, now_ms));

	use(t, e, established, now_ms);
}

void flowtable_note_answer(struct flowtable *t, struct flow_entry *e, unsigned long long now_ms)
{
	e->answered = true;
	use(t, e, e->established, now_ms);
}

struct flow_entry *flowtable_oldest_new(const struct flowtable *t)
{
	return oldest_of(&t->fresh);
}

struct flow_entry *flowtable_oldest(const struct flowtable *t)
{
	struct flow_entry *a = oldest_of(&t->fresh);
	struct flow_entry *b = oldest_of(&t->established);

	if (a == NULL || b == NULL)
		return a != NULL ? a : b;
	return a->used_ms <= b->used_ms ? a : b;
}
