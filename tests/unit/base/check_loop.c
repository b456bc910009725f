/* SPDX-License-Identifier: Apache-2.0 */

/* The event loop with both engines: which events are delivered, and which are not after a change.
 */
#include "base/loop.h"
#include "tests/unit/fixture.h"

#include <sys/eventfd.h>

#define ENGINE_COUNT 2
#define QUIET_MS     20
#define MANY	     600 /* watches: more than two batches of epoll events */

static const enum loop_engine engines[ENGINE_COUNT] = { LOOP_POLL, LOOP_EPOLL };

/* A watched descriptor that records its events. */
struct ear {
	struct watch watch;
	int peer; /* the other end of its socket pair */
	int calls;
	short heard;
	void (*then)(struct ear *e); /* what its callback does, if not NULL */
	struct ear *other;
};

static struct loop *loop;

static void open_loop(void)
{
	loop = NULL;
}

static void start(int i)
{
	loop = loop_new(engines[i]);
	ck_assert_ptr_nonnull(loop);
}

static void close_loop(void)
{
	loop_free(loop);
}

static void on_event(struct watch *w, short revents)
{
	struct ear *e = (struct ear *)((char *)w - offsetof(struct ear, watch));

	e->calls++;
	e->heard = revents;
	if (e->then != NULL)
		e->then(e);
}

static void ear_open(struct ear *e, short events)
{
	int fds[2];

	fixture_socketpair(fds);
	*e = (struct ear){ .peer = fds[1] };
	e->watch = (struct watch){ .fd = fds[0], .events = events, .on_event = on_event };
}

static void ear_add(struct ear *e, short events)
{
	ear_open(e, events);
	ck_assert_int_eq(loop_add(loop, &e->watch), 0);
}

static void ear_close(struct ear *e)
{
	loop_remove(loop, &e->watch);
	close(e->watch.fd);
	close(e->peer);
}

static void wake_ear(const struct ear *e)
{
	ck_assert_int_eq(write(e->peer, "x", 1), 1);
}

static void drain_ear(struct ear *e)
{
	char byte;

	ck_assert_int_eq(read(e->watch.fd, &byte, 1), 1);
}

static void step(void)
{
	ck_assert_int_eq(loop_step(loop, 0), 0);
}

/* ---- watches ---- */

static const struct {
	short wanted;
	bool poked;
	bool hung_up;
	short heard; /* 0: no call */
} interests[] = {
	{ POLLIN, false, false, 0 },
	{ POLLIN, true, false, POLLIN },
	{ POLLOUT, true, false, POLLOUT },
	{ POLLIN | POLLOUT, true, false, POLLIN | POLLOUT },
	{ POLLIN | POLLOUT, false, false, POLLOUT },
	{ POLLIN | POLLRDHUP, false, true, POLLIN | POLLRDHUP | POLLHUP },
	{ POLLIN, false, true, POLLIN | POLLHUP },
	{ POLLOUT, false, true, POLLOUT | POLLHUP },
	/* No interest means not polled, although POLLHUP cannot be masked out. */
	{ 0, true, false, 0 },
	{ 0, false, true, 0 },
};

START_TEST(a_watch_gets_the_events_that_it_waits_for)
{
	struct ear e;
	int i = _i / ENGINE_COUNT;

	start(_i % ENGINE_COUNT);
	ear_add(&e, interests[i].wanted);
	if (interests[i].poked)
		wake_ear(&e);
	if (interests[i].hung_up) {
		close(e.peer);
		e.peer = -1;
	}
	step();
	ck_assert_int_eq(e.calls, interests[i].heard != 0);
	ck_assert_int_eq(e.heard, interests[i].heard);
	/* The state counts, not its change. */
	step();
	ck_assert_int_eq(e.calls, interests[i].heard != 0 ? 2 : 0);
	ear_close(&e);
}
END_TEST

START_TEST(interest_changes)
{
	static const short wants[] = { 0, POLLIN, POLLOUT, 0, 0, POLLIN | POLLOUT, POLLIN, 0 };
	struct ear e;

	start(_i);
	ear_add(&e, POLLOUT);
	wake_ear(&e);
	for (int i = 0; i < COUNT(wants); i++) {
		ck_assert_int_eq(loop_want(loop, &e.watch, wants[i]), 0);
		ck_assert_int_eq(e.watch.events, wants[i]);
		e.calls = 0;
		e.heard = 0;
		step();
		ck_assert_int_eq(e.calls, wants[i] != 0);
		ck_assert_int_eq(e.heard, wants[i]);
	}
	ear_close(&e);
}
END_TEST

START_TEST(a_removed_watch_gets_no_event)
{
	unsigned long long begin;
	struct ear e;

	start(_i);
	ear_open(&e, POLLOUT);
	loop_remove(loop, &e.watch); /* is not watched */
	ck_assert_int_eq(loop_want(loop, &e.watch, POLLIN), 0);
	ck_assert_int_eq(loop_add(loop, &e.watch), 0);
	wake_ear(&e);
	loop_remove(loop, &e.watch);
	loop_remove(loop, &e.watch);
	begin = fixture_now_ms();
	ck_assert_int_eq(loop_want(loop, &e.watch, POLLIN | POLLOUT), 0);
	/* The descriptor does not wake the loop either. */
	ck_assert_int_eq(loop_step(loop, QUIET_MS), 0);
	ck_assert_uint_ge(fixture_now_ms() - begin, QUIET_MS);
	ck_assert_int_eq(e.calls, 0);
	/* Neither does an idle watch that is removed and added again. */
	ck_assert_int_eq(loop_want(loop, &e.watch, 0), 0);
	ck_assert_int_eq(loop_add(loop, &e.watch), 0);
	loop_remove(loop, &e.watch);
	ck_assert_int_eq(loop_want(loop, &e.watch, POLLIN), 0);
	ck_assert_int_eq(loop_add(loop, &e.watch), 0);
	step();
	ck_assert_int_eq(e.calls, 1);
	ear_close(&e);
}
END_TEST

static void then_remove_self(struct ear *e)
{
	loop_remove(loop, &e->watch);
}

START_TEST(a_callback_may_remove_itself)
{
	struct ear a, b;

	start(_i);
	ear_add(&a, POLLIN);
	ear_add(&b, POLLIN);
	a.then = then_remove_self;
	wake_ear(&a);
	wake_ear(&b);
	step();
	step();
	ck_assert_int_eq(a.calls, 1);
	ck_assert_int_eq(b.calls, 2);
	ear_close(&a);
	ear_close(&b);
}
END_TEST

static void then_remove_other(struct ear *e)
{
	loop_remove(loop, &e->other->watch);
}

/* Both are ready in the same round. The one that is called first removes the other. */
START_TEST(a_callback_may_remove_another_that_is_ready)
{
	struct ear a, b;

	start(_i);
	ear_add(&a, POLLIN);
	ear_add(&b, POLLIN);
	a.then = b.then = then_remove_other;
	a.other = &b;
	b.other = &a;
	wake_ear(&a);
	wake_ear(&b);
	step();
	ck_assert_int_eq(a.calls + b.calls, 1);
	step();
	ck_assert_int_eq(a.calls + b.calls, 2);
	ck_assert_int_ne(a.calls, b.calls);
	ear_close(&a);
	ear_close(&b);
}
END_TEST

static struct ear late;

/* A watch that is not ready gets the same descriptor number immediately. */
static void then_replace_other(struct ear *e)
{
	struct ear *other = e->other;
	int fd = other->watch.fd;

	if (late.watch.slot != 0)
		return;
	loop_remove(loop, &other->watch);
	close(other->watch.fd);
	close(other->peer);
	other->watch.fd = other->peer = -1;
	ear_add(&late, POLLIN);
	ck_assert_int_eq(late.watch.fd < fd ? fd : late.watch.fd, fd);
}

START_TEST(a_reused_descriptor_number_gets_no_event_of_the_old_one)
{
	struct ear a, b;

	start(_i);
	late = (struct ear){ .peer = -1 };
	ear_add(&a, POLLIN);
	ear_add(&b, POLLIN);
	a.then = b.then = then_replace_other;
	a.other = &b;
	b.other = &a;
	wake_ear(&a);
	wake_ear(&b);
	step();
	ck_assert_int_eq(a.calls + b.calls, 1);
	step();
	ck_assert_int_eq(late.calls, 0);
	wake_ear(&late);
	step();
	ck_assert_int_eq(late.calls, 1);
	ear_close(&a);
	ear_close(&b);
	ear_close(&late);
}
END_TEST

static void then_come_back(struct ear *e)
{
	loop_remove(loop, &e->watch);
	ck_assert_int_eq(loop_add(loop, &e->watch), 0);
	loop_remove(loop, &e->other->watch);
	ck_assert_int_eq(loop_add(loop, &e->other->watch), 0);
}

/* A watch that is added again is called once, in the next round. */
START_TEST(a_watch_may_be_removed_and_added_in_one_round)
{
	struct ear a, b;

	start(_i);
	ear_add(&a, POLLIN);
	ear_add(&b, POLLIN);
	a.then = b.then = then_come_back;
	a.other = &b;
	b.other = &a;
	wake_ear(&a);
	wake_ear(&b);
	for (int i = 1; i <= 5; i++) {
		step();
		ck_assert_int_eq(a.calls + b.calls, i);
	}
	ear_close(&a);
	ear_close(&b);
}
END_TEST

static void then_want_nothing(struct ear *e)
{
	loop_want(loop, &e->watch, 0);
}

START_TEST(a_callback_may_change_its_interest)
{
	struct ear e;

	start(_i);
	ear_add(&e, POLLIN);
	e.then = then_want_nothing;
	wake_ear(&e);
	step();
	step();
	ck_assert_int_eq(e.calls, 1);
	ck_assert_int_eq(loop_want(loop, &e.watch, POLLIN), 0);
	step();
	ck_assert_int_eq(e.calls, 2);
	ear_close(&e);
}
END_TEST

#define BROOD 100 /* more than the first array of the poll engine holds */

static struct ear brood[BROOD];

static void then_add_many(struct ear *e)
{
	e->then = NULL;
	for (int i = 0; i < BROOD; i++)
		ear_add(&brood[i], POLLOUT);
}

START_TEST(a_callback_may_add_many)
{
	struct ear a, b;

	start(_i);
	ear_add(&a, POLLIN);
	ear_add(&b, POLLIN);
	a.then = then_add_many;
	wake_ear(&a);
	wake_ear(&b);
	step();
	ck_assert_int_eq(a.calls, 1);
	ck_assert_int_eq(b.calls, 1);
	for (int i = 0; i < BROOD; i++)
		ck_assert_int_eq(brood[i].calls, 0);
	step();
	for (int i = 0; i < BROOD; i++) {
		ck_assert_int_eq(brood[i].calls, 1);
		ear_close(&brood[i]);
	}
	ear_close(&a);
	ear_close(&b);
}
END_TEST

static struct ear crowd[MANY];
static int crowd_calls;

/* The second half is removed when the first is called. */
static void then_thin_out(struct ear *e)
{
	(void)e;
	if (crowd_calls++ == 0)
		for (int i = 0; i < MANY; i++)
			if (&crowd[i] != e && i % 3 != 0)
				loop_remove(loop, &crowd[i].watch);
}

START_TEST(many_watches_get_events_and_are_removed)
{
	int fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
	int left = 0;

	start(_i);
	crowd_calls = 0;
	for (int i = 0; i < MANY; i++) {
		crowd[i] = (struct ear){ .peer = -1, .then = then_thin_out };
		crowd[i].watch = (struct watch){ .fd = fcntl(fd, F_DUPFD_CLOEXEC, 0),
						 .events = POLLIN,
						 .on_event = on_event };
		ck_assert_int_ge(crowd[i].watch.fd, 0);
		ck_assert_int_eq(loop_add(loop, &crowd[i].watch), 0);
	}
	for (int i = 0; i < 10; i++)
		step();
	for (int i = 0; i < MANY; i++) {
		bool is_left = crowd[i].watch.slot != 0;

		left += is_left;
		ck_assert(is_left ? crowd[i].calls > 0 : crowd[i].calls == 0);
		loop_remove(loop, &crowd[i].watch);
		close(crowd[i].watch.fd);
	}
	ck_assert_int_ge(left, MANY / 3);
	ck_assert_int_le(left, MANY / 3 + 1);
	step();
	close(fd);
}
END_TEST

/* poll(2) refuses an array that is longer than the limit of descriptors. */
START_TEST(removed_watches_leave_no_trace)
{
	struct rlimit old;
	struct ear e;

	start(_i);
	ear_add(&e, POLLIN);
	old = fixture_limit_fds(0);
	for (rlim_t i = 0; i < 1000; i++) {
		loop_remove(loop, &e.watch);
		ck_assert_int_eq(loop_add(loop, &e.watch), 0);
		step();
	}
	fixture_restore_fds(&old);
	ear_close(&e);
}
END_TEST

START_TEST(an_edge_is_reported_once)
{
	struct ear e;

	start(1);
	ear_open(&e, 0);
	e.watch.edge = true;
	ck_assert_int_eq(loop_add(loop, &e.watch), 0);
	step();
	ck_assert_int_eq(e.heard, POLLOUT);
	step();
	ck_assert_int_eq(e.calls, 1);
	wake_ear(&e);
	step();
	ck_assert_int_eq(e.calls, 2);
	ck_assert(e.heard & POLLIN);
	ck_assert_int_eq(loop_want(loop, &e.watch, POLLIN), 0); /* `edge` makes no difference */
	step();
	ck_assert_int_eq(e.calls, 2);
	wake_ear(&e);
	step();
	ck_assert_int_eq(e.calls, 3);
	ck_assert_int_eq(shutdown(e.peer, SHUT_WR), 0);
	step();
	ck_assert_int_eq(e.calls, 4);
	ck_assert(e.heard & POLLRDHUP);
	loop_remove(loop, &e.watch);
	wake_ear(&(struct ear){ .peer = e.watch.fd });
	close(e.peer);
	e.peer = -1;
	step();
	ck_assert_int_eq(e.calls, 4);
	ear_close(&e);
}
END_TEST

/* With poll(2) an edge-triggered watch is an ordinary one. */
START_TEST(poll_ignores_edge)
{
	struct ear e;

	start(0);
	ear_open(&e, POLLIN);
	e.watch.edge = true;
	ck_assert_int_eq(loop_add(loop, &e.watch), 0);
	wake_ear(&e);
	step();
	step();
	ck_assert_int_eq(e.calls, 2);
	ck_assert_int_eq(e.heard, POLLIN);
	ear_close(&e);
}
END_TEST

START_TEST(what_epoll_refuses_is_reported)
{
	int file = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	struct watch w = { .fd = file, .events = POLLIN, .on_event = on_event };

	start(1);
	ck_assert_int_eq(loop_add(loop, &w), -EPERM);
	ck_assert_uint_eq(w.slot, 0);
	w.events = 0;
	ck_assert_int_eq(loop_add(loop, &w), 0);
	ck_assert_int_eq(loop_want(loop, &w, POLLIN), -EPERM);
	loop_remove(loop, &w);
	close(file);
	w.events = POLLIN;
	ck_assert_int_eq(loop_add(loop, &w), -EBADF);
	step();
}
END_TEST

START_TEST(a_signal_ends_a_round)
{
	struct ear e;

	start(_i);
	ear_add(&e, POLLIN);
	fixture_start_ticks();
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(loop_step(loop, -1), 0);
	fixture_stop_ticks();
	ck_assert_int_eq(e.calls, 0);
	ear_close(&e);
}
END_TEST

START_TEST(a_round_waits_no_longer_than_asked)
{
	unsigned long long begin = fixture_now_ms();

	start(_i);
	ck_assert_int_eq(loop_step(loop, QUIET_MS), 0);
	ck_assert_uint_ge(fixture_now_ms() - begin, QUIET_MS);
}
END_TEST

START_TEST(a_loop_may_be_freed_with_watches_and_timers_left)
{
	struct timer t = { 0 };
	struct task task = { 0 };
	struct ear e;

	start(_i);
	ear_add(&e, POLLIN);
	ck_assert_int_eq(loop_timer(loop, &t, 1000), 0);
	loop_defer(loop, &task);
	loop_free(loop);
	loop_free(NULL);
	loop = NULL;
	close(e.watch.fd);
	close(e.peer);
}
END_TEST

START_TEST(an_exclusive_watch_may_be_switched_off_and_on)
{
	struct ear e;

	start(_i);
	ear_open(&e, POLLIN);
	e.watch.exclusive = true;
	ck_assert_int_eq(loop_add(loop, &e.watch), 0);
	wake_ear(&e);
	step();
	ck_assert_int_eq(e.calls, 1);
	ck_assert_int_eq(loop_want(loop, &e.watch, 0), 0);
	step();
	ck_assert_int_eq(e.calls, 1);
	ck_assert_int_eq(loop_want(loop, &e.watch, POLLIN), 0);
	step();
	ck_assert_int_eq(e.calls, 2);
	drain_ear(&e);
	step();
	ck_assert_int_eq(e.calls, 2);
	ear_close(&e);
}
END_TEST

static struct loop *sleepers[2];
static _Atomic int woken;

static void on_wake(struct watch *w, short revents)
{
	(void)w;
	(void)revents;
	woken++;
}

static _Atomic pid_t sleeper_tids[2];

static void *sleep_once(void *arg)
{
	int i = arg == sleepers[1];

	sleeper_tids[i] = gettid();
	loop_step(arg, -1);
	return NULL;
}

/* Waits until a thread sleeps in the kernel (proc(5): state S). */
static void await_sleep(const _Atomic pid_t *tid)
{
	unsigned long long until = fixture_now_ms() + FIXTURE_DEADLINE_S * 1000ULL;
	char path[64];
	char state = '?';

	while (*tid == 0)
		usleep(1000);
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)*tid);
	while (state != 'S') {
		FILE *f = fopen(path, "re");

		ck_assert_ptr_nonnull(f);
		ck_assert_int_eq(fscanf(f, "%*d (%*[^)]) %c", &state), 1);
		fclose(f);
		ck_assert_uint_lt(fixture_now_ms(), until);
	}
}

/* The kernel wakes only one thread if both sleep in epoll_wait(2). A thread may sleep for another
 * reason (a lock), so one of several attempts must succeed. */
START_TEST(one_of_two_threads_is_woken)
{
	bool shown = false;
	pthread_t threads[2];
	struct watch watches[2];

	for (int i = 0; i < 20 && !shown; i++) {
		int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

		woken = 0;
		for (int t = 0; t < 2; t++) {
			sleeper_tids[t] = 0;
			sleepers[t] = loop_new(LOOP_EPOLL);
			watches[t] = (struct watch){
				.fd = fd, .events = POLLIN, .exclusive = true, .on_event = on_wake
			};
			ck_assert_int_eq(loop_add(sleepers[t], &watches[t]), 0);
			ck_assert_int_eq(pthread_create(&threads[t], NULL, sleep_once, sleepers[t]),
					 0);
		}
		for (int t = 0; t < 2; t++)
			await_sleep(&sleeper_tids[t]);
		ck_assert_int_eq(eventfd_write(fd, 1), 0);
		while (woken == 0)
			usleep(1000);
		usleep(QUIET_MS * 1000);
		shown = woken == 1;
		/* wake the other one */
		ck_assert_int_eq(eventfd_write(fd, 1), 0);
		for (int t = 0; t < 2; t++) {
			pthread_join(threads[t], NULL);
			loop_free(sleepers[t]);
		}
		close(fd);
	}
	ck_assert(shown);
}
END_TEST

/* ---- timers ---- */

#define TIMERS 200

struct alarm {
	struct timer timer;
	int fired;
	void (*then)(struct alarm *a);
	struct alarm *other;
};

static unsigned long long last_due_ms;
static int fired;

static void on_due(struct timer *t)
{
	struct alarm *a = (struct alarm *)((char *)t - offsetof(struct alarm, timer));

	a->fired++;
	fired++;
	ck_assert_uint_ge(t->due_ms, last_due_ms);
	ck_assert_uint_ge(fixture_now_ms(), t->due_ms);
	ck_assert_uint_eq(t->slot, 0);
	last_due_ms = t->due_ms;
	if (a->then != NULL)
		a->then(a);
}

static void alarm_set(struct alarm *a, unsigned int delay_ms)
{
	a->timer.on_due = on_due;
	ck_assert_int_eq(loop_timer(loop, &a->timer, delay_ms), 0);
}

static void start_timers(int i)
{
	start(i);
	last_due_ms = 0;
	fired = 0;
}

/* Runs the loop until `count` timers have fired in total. */
static void await_fired(int count)
{
	unsigned long long until = fixture_now_ms() + FIXTURE_DEADLINE_S * 1000ULL;

	while (fired < count) {
		ck_assert_uint_lt(fixture_now_ms(), until);
		ck_assert_int_eq(loop_step(loop, -1), 0);
	}
	ck_assert_int_eq(fired, count);
}

START_TEST(timers_fire_in_order)
{
	static struct alarm a[TIMERS];
	unsigned int random = 7;

	start_timers(_i);
	memset(a, 0, sizeof(a));
	for (int i = 0; i < TIMERS; i++)
		alarm_set(&a[i], (random = random * 1103515245 + 12345) >> 16 & 63);
	/* One third of the timers is cancelled, another third is set again. */
	for (int i = 0; i < TIMERS; i++) {
		if (i % 3 == 0)
			loop_cancel(loop, &a[i].timer);
		if (i % 3 == 1)
			alarm_set(&a[i], (random = random * 1103515245 + 12345) >> 16 & 63);
	}
	await_fired(TIMERS - (TIMERS + 2) / 3);
	for (int i = 0; i < TIMERS; i++)
		ck_assert_int_eq(a[i].fired, i % 3 != 0);
	ck_assert_int_eq(loop_step(loop, 0), 0);
}
END_TEST

/* In this heap the last timer is due before the parent of the cancelled one, so it must move up. */
START_TEST(cancelling_keeps_the_order)
{
	static const unsigned int delays[] = {
		0, 40, 2, 41, 42, 3, 4, 43, 44, 45, 46, 5, 6, 7, 20
	};
	struct alarm a[COUNT(delays)] = { 0 };

	start_timers(_i);
	for (int i = 0; i < COUNT(delays); i++)
		alarm_set(&a[i], delays[i]);
	loop_cancel(loop, &a[3].timer);
	await_fired(COUNT(delays) - 1);
}
END_TEST

START_TEST(a_timer_fires_when_due_and_once)
{
	struct alarm a = { 0 };
	unsigned long long begin = fixture_now_ms();

	start_timers(_i);
	alarm_set(&a, QUIET_MS);
	step();
	ck_assert_int_le(a.fired, fixture_now_ms() - begin >= QUIET_MS);
	await_fired(1);
	ck_assert_uint_ge(fixture_now_ms() - begin, QUIET_MS);
	ck_assert_int_eq(loop_step(loop, QUIET_MS), 0);
	ck_assert_int_eq(a.fired, 1);
	alarm_set(&a, 0);
	step();
	ck_assert_int_eq(a.fired, 2);
}
END_TEST

START_TEST(all_due_timers_fire_in_one_round)
{
	struct alarm a[3] = { 0 };

	start_timers(_i);
	for (int i = 0; i < 3; i++)
		alarm_set(&a[i], 0);
	step();
	ck_assert_int_eq(fired, 3);
}
END_TEST

START_TEST(a_timer_ends_a_longer_wait)
{
	struct alarm a = { 0 };

	start_timers(_i);
	alarm_set(&a, 2);
	ck_assert_int_eq(loop_step(loop, FIXTURE_DEADLINE_S * 2000), 0);
	ck_assert_int_eq(fired, 1);
}
END_TEST

START_TEST(a_timer_that_is_set_again_forgets_its_old_time)
{
	struct alarm later = { 0 };
	struct alarm sooner = { 0 };
	unsigned long long begin = fixture_now_ms();

	start_timers(_i);
	alarm_set(&later, 0);
	alarm_set(&later, QUIET_MS);
	alarm_set(&sooner, FIXTURE_DEADLINE_S * 2000);
	alarm_set(&sooner, 1);
	/* Both may be due in one round if this process had to wait for a CPU. */
	while (fired < 2)
		ck_assert_int_eq(loop_step(loop, -1), 0);
	ck_assert_int_eq(sooner.fired, 1);
	ck_assert_int_eq(later.fired, 1);
	ck_assert_uint_ge(fixture_now_ms() - begin, QUIET_MS);
}
END_TEST

START_TEST(a_cancelled_timer_does_not_fire)
{
	struct alarm a = { 0 };

	start_timers(_i);
	loop_cancel(loop, &a.timer); /* is not set */
	alarm_set(&a, 0);
	loop_cancel(loop, &a.timer);
	loop_cancel(loop, &a.timer);
	ck_assert_int_eq(loop_step(loop, QUIET_MS), 0);
	ck_assert_int_eq(fired, 0);
}
END_TEST

static void then_cancel_other(struct alarm *a)
{
	loop_cancel(loop, &a->other->timer);
}

START_TEST(a_callback_may_cancel_another_that_is_due)
{
	struct alarm a = { .then = then_cancel_other };
	struct alarm b = { .then = then_cancel_other, .other = &a };

	a.other = &b;
	start_timers(_i);
	alarm_set(&a, 0);
	alarm_set(&b, 0);
	step();
	step();
	ck_assert_int_eq(fired, 1);
}
END_TEST

static void then_set_again(struct alarm *a)
{
	if (a->fired < 5)
		alarm_set(a, 1);
	else
		loop_stop(loop);
}

START_TEST(a_callback_may_set_its_timer_again)
{
	struct alarm a = { .then = then_set_again };

	start_timers(_i);
	alarm_set(&a, 1);
	ck_assert_int_eq(loop_run(loop), 0);
	ck_assert_int_eq(a.fired, 5);
}
END_TEST

static void then_set_now(struct alarm *a)
{
	alarm_set(a, 0);
}

/* A round ends although a timer is due again and again, and a watch gets its turn. */
START_TEST(a_timer_cannot_hold_up_a_round)
{
	struct alarm a = { .then = then_set_now };
	struct ear e;

	start_timers(_i);
	ear_add(&e, POLLIN);
	wake_ear(&e);
	alarm_set(&a, 0);
	step();
	step();
	ck_assert_int_eq(e.calls, 2);
	loop_cancel(loop, &a.timer);
	ear_close(&e);
}
END_TEST

/* ---- tasks ---- */

struct job {
	struct task task;
	int at; /* when it ran, counting from 1 */
	void (*then)(struct job *j);
};

static int jobs_run;

static void run_job(struct task *t)
{
	struct job *j = (struct job *)((char *)t - offsetof(struct job, task));

	j->at = ++jobs_run;
	if (j->then != NULL)
		j->then(j);
}

static void jobcontrol_defer(struct job *j)
{
	j->task.run = run_job;
	loop_defer(loop, &j->task);
}

static void start_jobs(int i)
{
	start(i);
	jobs_run = 0;
}

START_TEST(tasks_run_in_order_and_once)
{
	struct job a = { 0 };
	struct job b = { 0 };
	struct job c = { 0 };

	start_jobs(_i);
	jobcontrol_defer(&a);
	jobcontrol_defer(&b);
	jobcontrol_defer(&a);
	jobcontrol_defer(&c);
	jobcontrol_defer(&b);
	ck_assert_int_eq(jobs_run, 0);
	ck_assert_int_eq(loop_step(loop, -1), 0); /* does not wait */
	ck_assert_int_eq(a.at, 1);
	ck_assert_int_eq(b.at, 2);
	ck_assert_int_eq(c.at, 3);
	step();
	ck_assert_int_eq(jobs_run, 3);
	jobcontrol_defer(&a);
	loop_run_tasks(loop);
	ck_assert_int_eq(a.at, 4);
}
END_TEST

static struct job late_job;

static void then_defer_another(struct ear *e)
{
	(void)e;
	jobcontrol_defer(&late_job);
	ck_assert_int_eq(late_job.at, 0);
}

static void then_defer_from_timer(struct alarm *a)
{
	(void)a;
	jobcontrol_defer(&late_job);
	ck_assert_int_eq(late_job.at, 0);
}

START_TEST(a_task_runs_in_the_round_that_queued_it)
{
	struct alarm a = { .then = then_defer_from_timer };
	struct ear e;

	start_jobs(_i);
	ear_add(&e, POLLIN);
	e.then = then_defer_another;
	wake_ear(&e);
	late_job = (struct job){ 0 };
	step();
	ck_assert_int_eq(late_job.at, 1);
	drain_ear(&e);
	late_job = (struct job){ 0 };
	last_due_ms = 0;
	alarm_set(&a, 0);
	step();
	ck_assert_int_eq(late_job.at, 2);
	ear_close(&e);
}
END_TEST

static void then_defer_self(struct job *j)
{
	jobcontrol_defer(j);
}

START_TEST(a_task_queued_by_a_task_waits_for_the_next_round)
{
	struct job j = { .then = then_defer_self };
	struct ear e;

	start_jobs(_i);
	ear_add(&e, POLLIN);
	wake_ear(&e);
	jobcontrol_defer(&j);
	for (int i = 1; i <= 3; i++) {
		ck_assert_int_eq(loop_step(loop, -1), 0);
		ck_assert_int_eq(jobs_run, i);
		ck_assert_int_eq(e.calls, i);
	}
	ear_close(&e);
}
END_TEST

static void then_free(struct job *j)
{
	free(j);
}

START_TEST(a_task_may_free_its_memory)
{
	struct job after = { 0 };
	struct job *j = calloc(1, sizeof(*j));

	start_jobs(_i);
	j->then = then_free;
	jobcontrol_defer(j);
	jobcontrol_defer(&after);
	step();
	ck_assert_int_eq(after.at, 2);
}
END_TEST

static void then_stop(struct job *j)
{
	if (j->at < 3)
		jobcontrol_defer(j);
	else
		loop_stop(loop);
}

static void then_stop_loop(struct ear *e)
{
	(void)e;
	loop_stop(loop);
}

START_TEST(loop_stop_ends_loop_run)
{
	struct job j = { .then = then_stop };
	struct ear e;

	start_jobs(_i);
	jobcontrol_defer(&j);
	ck_assert_int_eq(loop_run(loop), 0);
	ck_assert_int_eq(jobs_run, 3);
	ear_add(&e, POLLIN);
	e.then = then_stop_loop;
	wake_ear(&e);
	ck_assert_int_eq(loop_run(loop), 0);
	ck_assert_int_eq(e.calls, 1);
	ear_close(&e);
}
END_TEST

static TCase *make_case(const char *name)
{
	TCase *tc = fixture_case(name);

	tcase_add_checked_fixture(tc, open_loop, close_loop);
	return tc;
}

/* The main thread adds a port to a worker's loop without a lock. epoll(7) allows that; the arrays
 * of poll(2) do not. */
START_TEST(another_thread_may_add_only_to_epoll)
{
	struct watch w = { .fd = STDIN_FILENO, .events = POLLIN };
	pid_t pid;
	int status;

	loop_free(loop);
	loop = loop_new(LOOP_POLL);
	pid = fork();
	if (pid == 0) {
		close(STDERR_FILENO);
		loop_add_from_thread(loop, &w);
		_exit(0);
	}
	ck_assert_int_gt(pid, 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}
END_TEST

static TCase *watches_case(void)
{
	TCase *tc = make_case("watches");

	tcase_add_loop_test(tc, a_watch_gets_the_events_that_it_waits_for, 0,
			    ENGINE_COUNT * COUNT(interests));
	tcase_add_loop_test(tc, interest_changes, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, a_removed_watch_gets_no_event, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, a_callback_may_remove_itself, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, a_callback_may_remove_another_that_is_ready, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, a_reused_descriptor_number_gets_no_event_of_the_old_one, 0,
			    ENGINE_COUNT);
	tcase_add_loop_test(tc, a_watch_may_be_removed_and_added_in_one_round, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, a_callback_may_change_its_interest, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, a_callback_may_add_many, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, many_watches_get_events_and_are_removed, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, removed_watches_leave_no_trace, 0, ENGINE_COUNT);
	tcase_add_test(tc, an_edge_is_reported_once);
	tcase_add_test(tc, poll_ignores_edge);
	tcase_add_test(tc, what_epoll_refuses_is_reported);
	tcase_add_loop_test(tc, a_signal_ends_a_round, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, a_round_waits_no_longer_than_asked, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, a_loop_may_be_freed_with_watches_and_timers_left, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, an_exclusive_watch_may_be_switched_off_and_on, 0, ENGINE_COUNT);
	tcase_add_test(tc, one_of_two_threads_is_woken);
	tcase_add_test(tc, another_thread_may_add_only_to_epoll);
	return tc;
}

static TCase *timers_case(void)
{
	TCase *tc = make_case("timers");

	tcase_add_loop_test(tc, timers_fire_in_order, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, cancelling_keeps_the_order, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, a_timer_fires_when_due_and_once, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, all_due_timers_fire_in_one_round, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, a_timer_ends_a_longer_wait, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, a_timer_that_is_set_again_forgets_its_old_time, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, a_cancelled_timer_does_not_fire, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, a_callback_may_cancel_another_that_is_due, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, a_callback_may_set_its_timer_again, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, a_timer_cannot_hold_up_a_round, 0, ENGINE_COUNT);
	return tc;
}

static TCase *tasks_case(void)
{
	TCase *tc = make_case("tasks");

	tcase_add_loop_test(tc, tasks_run_in_order_and_once, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, a_task_runs_in_the_round_that_queued_it, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, a_task_queued_by_a_task_waits_for_the_next_round, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, a_task_may_free_its_memory, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, loop_stop_ends_loop_run, 0, ENGINE_COUNT);
	return tc;
}

int main(void)
{
	Suite *s = suite_create("loop");

	suite_add_tcase(s, watches_case());
	suite_add_tcase(s, timers_case());
	suite_add_tcase(s, tasks_case());
	return fixture_run(s);
}
