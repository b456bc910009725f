/* SPDX-License-Identifier: Apache-2.0 */
/* File descriptor quotas. See fdquota.h. */
#include "ports/fdquota.h"

#include <stdint.h>

#include "base/log.h"

#define PAUSE_MS   100 /* the length of a pause */
#define COMPLAIN_S 60  /* between two log lines about shortages */

/* Ends a pause. If a part of on_resume fails for lack of memory, it is called again later; the
 * other parts do not wait for it. */
static void resume(struct fdquota *b)
{
	loop_cancel(b->loop, &b->resume);
	b->paused = false;
	if (b->on_resume(b) < 0)
		loop_timer(b->loop, &b->resume, PAUSE_MS);
}

static void on_resume(struct timer *t)
{
	resume(LOOP_OWNER(t, struct fdquota, resume));
}

/* ---- the total ---- */

static bool draw(struct fdtotal *a, size_t count)
{
	size_t used = atomic_load_explicit(&a->used, memory_order_relaxed);

	do
		if (used + count > a->max)
			return false;
	while (!atomic_compare_exchange_weak_explicit(&a->used, &used, used + count,
						      memory_order_relaxed, memory_order_relaxed));
	if (a->of == NULL || draw(a->of, count))
		return true;
	atomic_fetch_sub_explicit(&a->used, count, memory_order_relaxed);
	return false;
}

void fdtotal_charge(struct fdtotal *a, size_t count)
{
	for (; a != NULL; a = a->of)
		atomic_fetch_add_explicit(&a->used, count, memory_order_relaxed);
}

void fdtotal_give(struct fdtotal *a, size_t count)
{
	for (; a != NULL; a = a->of)
		atomic_fetch_sub_explicit(&a->used, count, memory_order_relaxed);
}

static size_t room_in(const struct fdtotal *a)
{
	size_t room = SIZE_MAX;

	for (; a != NULL; a = a->of) {
		size_t used = atomic_load_explicit(&a->used, memory_order_relaxed);
		size_t left = used < a->max ? a->max - used : 0;

		room = left < room ? left : room;
	}
	return room;
}

/* ---- a worker's quota ---- */

size_t fdquota_room(const struct fdquota *b)
{
	size_t own = b->reserved > b->used ? b->reserved - b->used : 0;

	if (b->total != NULL)
		return own + room_in(b->total);
	return b->used < b->max ? b->max - b->used : 0;
}

void fdquota_init(struct fdquota *b)
{
	b->resume.on_due = on_resume;
}

/* Returns what this quota charges to the total when `used` descriptors are in use. */
static size_t drawn(const struct fdquota *b, size_t used)
{
	return used > b->reserved ? used : b->reserved;
}

bool fdquota_take(struct fdquota *b, size_t count)
{
	size_t more = drawn(b, b->used + count) - drawn(b, b->used);

	if (b->total != NULL ? more > 0 && !draw(b->total, more) : fdquota_room(b) < count)
		return false;
	b->used += count;
	return true;
}

void fdquota_give(struct fdquota *b, size_t count)
{
	size_t before = drawn(b, b->used);

	b->used -= count;
	fdtotal_give(b->total, before - drawn(b, b->used));
	if (b->paused && fdquota_room(b) >= b->enough)
		resume(b);
}

void fdquota_reserve(struct fdquota *b, size_t count)
{
	size_t before = drawn(b, b->used), after;

	b->reserved = count;
	after = drawn(b, b->used);
	if (after > before)
		fdtotal_charge(b->total, after - before);
	else
		fdtotal_give(b->total, before - after);
}

void fdquota_transfer_out(struct fdquota *b, size_t count)
{
	b->used -= count;
}

void fdquota_transfer_in(struct fdquota *b, size_t count)
{
	b->used += count;
}

void fdquota_complain(struct fdquota *b, const char *what, const char *why, const char *then)
{
	atomic_uint *told = b->total != NULL ? &b->total->complained_s : &b->complained_s;
	size_t used = b->total != NULL ? atomic_load(&b->total->used) : b->used;
	size_t max = b->total != NULL ? b->total->max : b->max;

	if (log_is_due(told, COMPLAIN_S))
		log_warn("%s: %s (%zu of %zu descriptors in use); %s", what, why, used, max, then);
}

void fdquota_pause(struct fdquota *b, const char *why)
{
	fdquota_complain(b, "cannot accept connections for now", why, "they wait");
	if (loop_timer(b->loop, &b->resume, PAUSE_MS) < 0)
		return;
	b->paused = true;
	b->on_pause(b);
}

void fdquota_stop(struct fdquota *b)
{
	loop_cancel(b->loop, &b->resume);
	b->paused = false;
}
