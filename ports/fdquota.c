/* SPDX-License-Identifier: Apache-2.0 */
/* File descriptor quotas. See fdquota.h. */
#include "ports/fdquota.h"

#include <stdint.h>

#include "base/log.h"

#define PAUSE_MS   100 /* the length of a pause */
#define COMPLAIN_S 60  /* between two log lines about shortages */

/* Ends a pause. If a part of on_resume fails for lack of memory, it is called again later; the
 * other parts do not wait for it. */
static void resume(struct fdquota *q)
{
	loop_cancel(q->loop, &q->resume);
	q->paused = false;
	if (q->on_resume(q) < 0)
		loop_timer(q->loop, &q->resume, PAUSE_MS);
}

static void on_resume(struct timer *t)
{
	resume(LOOP_OWNER(t, struct fdquota, resume));
}

/* ---- the total ---- */

static bool try_charge(struct fdtotal *total, size_t count)
{
	size_t used = atomic_load_explicit(&total->used, memory_order_relaxed);

	do
		if (used + count > total->max)
			return false;
	while (!atomic_compare_exchange_weak_explicit(&total->used, &used, used + count,
						      memory_order_relaxed, memory_order_relaxed));
	if (total->of == NULL || try_charge(total->of, count))
		return true;
	atomic_fetch_sub_explicit(&total->used, count, memory_order_relaxed);
	return false;
}

void fdtotal_charge(struct fdtotal *total, size_t count)
{
	for (; total != NULL; total = total->of)
		atomic_fetch_add_explicit(&total->used, count, memory_order_relaxed);
}

void fdtotal_give(struct fdtotal *total, size_t count)
{
	for (; total != NULL; total = total->of)
		atomic_fetch_sub_explicit(&total->used, count, memory_order_relaxed);
}

static size_t room_in(const struct fdtotal *total)
{
	size_t room = SIZE_MAX;

	for (; total != NULL; total = total->of) {
		size_t used = atomic_load_explicit(&total->used, memory_order_relaxed);
		size_t left = used < total->max ? total->max - used : 0;

		room = left < room ? left : room;
	}
	return room;
}

/* ---- a worker's quota ---- */

size_t fdquota_room(const struct fdquota *q)
{
	size_t own = q->reserved > q->used ? q->reserved - q->used : 0;

	if (q->total != NULL)
		return own + room_in(q->total);
	return q->used < q->max ? q->max - q->used : 0;
}

void fdquota_init(struct fdquota *q)
{
	q->resume.on_due = on_resume;
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
	if (q->paused && fdquota_room(q) >= q->enough)
		resume(q);
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

void fdquota_complain(struct fdquota *q, const char *what, const char *why, const char *then)
{
	atomic_uint *told = q->total != NULL ? &q->total->complained_s : &q->complained_s;
	size_t used = q->total != NULL ? atomic_load(&q->total->used) : q->used;
	size_t max = q->total != NULL ? q->total->max : q->max;

	if (log_is_due(told, COMPLAIN_S))
		log_warn("%s: %s (%zu of %zu descriptors in use); %s", what, why, used, max, then);
}

void fdquota_pause(struct fdquota *q, const char *why)
{
	fdquota_complain(q, "cannot accept new connections", why, "they stay queued");
	if (loop_timer(q->loop, &q->resume, PAUSE_MS) < 0)
		return;
	q->paused = true;
	q->on_pause(q);
}

void fdquota_stop(struct fdquota *q)
{
	loop_cancel(q->loop, &q->resume);
	q->paused = false;
}
