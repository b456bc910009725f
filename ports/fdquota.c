/* SPDX-License-Identifier: Apache-2.0 */
/* Counting descriptors. See fdquota.h.
 *
 * A quota charges max(used, reserved) to its total.
 */
#include "ports/fdquota.h"

/* ---- the total ---- */

/* Charges `count` descriptors to a total and its parents. Returns false, and charges nothing, if
 * one of them has no room. */
static bool try_charge(struct fdtotal *total, size_t count)
{
	size_t used = atomic_load_explicit(&total->used, memory_order_relaxed);

	do
		if (used + count > total->max)
			return false;
	while (!atomic_compare_exchange_weak_explicit(&total->used, &used, used + count,
						      memory_order_relaxed, memory_order_relaxed));
	if (total->parent == NULL || try_charge(total->parent, count))
		return true;
	atomic_fetch_sub_explicit(&total->used, count, memory_order_relaxed);
	return false;
}

void fdtotal_charge(struct fdtotal *total, size_t count)
{
	for (; total != NULL; total = total->parent)
		atomic_fetch_add_explicit(&total->used, count, memory_order_relaxed);
}

void fdtotal_give(struct fdtotal *total, size_t count)
{
	for (; total != NULL; total = total->parent)
		atomic_fetch_sub_explicit(&total->used, count, memory_order_relaxed);
}

static size_t room_of(const struct fdtotal *total)
{
	size_t used = atomic_load_explicit(&total->used, memory_order_relaxed);

	return used < total->max ? total->max - used : 0;
}

/* Returns the total or the parent of it that has the least room. */
static const struct fdtotal *tightest(const struct fdtotal *total)
{
	const struct fdtotal *found = total;

	while ((total = total->parent) != NULL)
		if (room_of(total) < room_of(found))
			found = total;
	return found;
}

/* ---- a worker's quota ---- */

size_t fdquota_room(const struct fdquota *q)
{
	size_t own = q->reserved > q->used ? q->reserved - q->used : 0;

	if (q->total != NULL)
		return own + room_of(tightest(q->total));
	return q->used < q->max ? q->max - q->used : 0;
}

/* Returns what this quota charges to the total when `used` descriptors are in use. */
static size_t charged(const struct fdquota *q, size_t used)
{
	return used > q->reserved ? used : q->reserved;
}

bool fdquota_take(struct fdquota *q, size_t count)
{
	size_t more = charged(q, q->used + count) - charged(q, q->used);

	if (q->total != NULL ? more > 0 && !try_charge(q->total, more) : fdquota_room(q) < count)
		return false;
	q->used += count;
	return true;
}

void fdquota_give(struct fdquota *q, size_t count)
{
	size_t before = charged(q, q->used);

	q->used -= count;
	fdtotal_give(q->total, before - charged(q, q->used));
	if (q->wanted == 0 || fdquota_room(q) < q->wanted)
		return;
	q->wanted = 0;
	q->on_room(q);
}

void fdquota_want_room(struct fdquota *q, size_t count)
{
	q->wanted = count;
}

void fdquota_reserve(struct fdquota *q, size_t count)
{
	size_t before = charged(q, q->used), after;

	q->reserved = count;
	after = charged(q, q->used);
	if (after > before)
		fdtotal_charge(q->total, after - before);
	else
		fdtotal_give(q->total, before - after);
}

void fdquota_transfer_out(struct fdquota *q, size_t count)
{
	q->used -= count;
}

void fdquota_transfer_in(struct fdquota *q, size_t count)
{
	q->used += count;
}

struct fdquota_usage fdquota_usage(const struct fdquota *q)
{
	const struct fdtotal *total;

	if (q->total == NULL)
		return (struct fdquota_usage){ q->used, q->max };
	total = tightest(q->total);
	return (struct fdquota_usage){ atomic_load(&total->used), total->max };
}
