/* SPDX-License-Identifier: Apache-2.0 */

/* Interrupt coalescing: when a busy socket is called by a timer instead of being polled, and when
 * it is polled again. Each socket is one end of a pair; datagrams are written to the other end. */
#include "base/fd.h"
#include "ports/coalesce.h"
#include "tests/unit/fixture.h"

#define BUSY_FROM  32 /* as in coalesce.c */
#define IDLE_BELOW 8
#define TICKS	   5 /* of the timer, for tests of what happens at each of them */

static struct loop *loop;
static struct coalesce coalesce;
static unsigned long long now_ms; /* the time that the callbacks note */

struct receiver {
	struct coalesced c;
	int other_end;
	int calls;
	unsigned int received;
	struct receiver *removes; /* at its next call */
};
static struct receiver one, two, three;

static void on_datagrams(struct watch *w, short revents)
{
	struct receiver *r = LOOP_OWNER(LOOP_OWNER(w, struct coalesced, watch), struct receiver, c);
	unsigned int count = 0;
	char buf[16];

	(void)revents;
	r->calls++;
	while (recv(w->fd, buf, sizeof(buf), 0) > 0)
		count++;
	r->received += count;
	if (r->removes != NULL) {
		coalesce_remove(&coalesce, &r->removes->c);
		if (r->removes == r)
			return;
		r->removes = NULL;
	}
	coalesce_note(&coalesce, &r->c, count, now_ms);
}

static void open_receiver(struct receiver *r)
{
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	*r = (struct receiver){
		.c.watch = { .fd = fds[0], .events = POLLIN, .on_event = on_datagrams },
		.other_end = fds[1]
	};
	ck_assert_int_eq(coalesce_add(&coalesce, &r->c), 0);
}

static void close_receiver(struct receiver *r)
{
	coalesce_remove(&coalesce, &r->c);
	ck_assert(!r->c.busy);
	close(r->c.watch.fd);
	close(r->other_end);
}

static void begin(void)
{
	now_ms = 1000;
	loop = loop_new(LOOP_EPOLL);
	ck_assert_ptr_nonnull(loop);
	coalesce_init(&coalesce, loop);
	open_receiver(&one);
	open_receiver(&two);
	open_receiver(&three);
}

static void end(void)
{
	close_receiver(&one);
	close_receiver(&two);
	close_receiver(&three);
	ck_assert_uint_eq(coalesce.busy_count, 0);
	coalesce_reset(&coalesce);
	loop_free(loop);
}

/* Sends datagrams one by one, each of which a polled socket must receive at once. */
static void send_each(struct receiver *r, int count)
{
	for (int i = 0; i < count; i++) {
		ck_assert_int_eq(send(r->other_end, "x", 1, 0), 1);
		ck_assert_int_eq(loop_step(loop, 0), 0);
	}
}

static void make_busy(struct receiver *r)
{
	send_each(r, BUSY_FROM);
	ck_assert(r->c.busy);
}

/* Runs the loop until the timer has called `r` `count` more times. */
static void await_ticks(const struct receiver *r, int count)
{
	for (int until = r->calls + count; r->calls < until;)
		ck_assert_int_eq(loop_step(loop, -1), 0);
}

/* ---- becoming busy ---- */

START_TEST(a_slow_socket_is_polled_for_each_datagram)
{
	send_each(&one, BUSY_FROM - 1);
	ck_assert_int_eq(one.calls, BUSY_FROM - 1);
	ck_assert(!one.c.busy);
	ck_assert_int_eq(one.c.watch.events, POLLIN);
	ck_assert_int_eq(coalesce.timer.fd, -1); /* it costs no descriptor */
}
END_TEST

static const struct {
	int counts[3]; /* of datagrams that are received in three milliseconds */
	bool is_busy;
} rates[] = {
	{ { 0, 0, 0 }, false },	       { { BUSY_FROM - 1, 0, 0 }, false },
	{ { 0, 0, BUSY_FROM }, true }, { { BUSY_FROM - 1, BUSY_FROM - 1, BUSY_FROM - 1 }, false },
	{ { 1, 0, BUSY_FROM }, true }, { { BUSY_FROM - 1, 1, BUSY_FROM - 1 }, false },
};

/* The counts are noted as they are: in one call, and in a call for each datagram. */
START_TEST(datagrams_are_counted_for_each_millisecond)
{
	for (int ms = 0; ms < COUNT(rates[_i].counts); ms++) {
		coalesce_note(&coalesce, &one.c, (unsigned int)rates[_i].counts[ms], now_ms);
		for (int i = 0; i < rates[_i].counts[ms]; i++)
			coalesce_note(&coalesce, &two.c, 1, now_ms);
		now_ms++;
	}
	ck_assert_int_eq(one.c.busy, rates[_i].is_busy);
	ck_assert_int_eq(two.c.busy, rates[_i].is_busy);
}
END_TEST

START_TEST(a_busy_socket_is_called_by_the_timer_and_not_polled)
{
	make_busy(&one);
	ck_assert_int_eq(one.c.watch.events, 0);
	one.calls = 0;
	ck_assert_int_eq(send(one.other_end, "x", 1, 0), 1);
	await_ticks(&one, TICKS); /* also without a datagram */
	ck_assert_uint_eq(one.received, BUSY_FROM + 1);
	ck_assert_int_eq(two.calls, 0);
}
END_TEST

START_TEST(there_is_a_pause_between_two_calls)
{
	struct timespec before, after;
	long long took_us;

	make_busy(&one);
	clock_gettime(CLOCK_MONOTONIC, &before);
	await_ticks(&one, TICKS);
	clock_gettime(CLOCK_MONOTONIC, &after);
	took_us = (after.tv_sec - before.tv_sec) * 1000000LL +
		  (after.tv_nsec - before.tv_nsec) / 1000;
	/* the first pause may have begun before */
	ck_assert_int_ge(took_us, (TICKS - 1) * COALESCE_US);
}
END_TEST

START_TEST(each_busy_socket_is_called_once_at_a_time)
{
	make_busy(&one);
	make_busy(&two);
	make_busy(&three);
	ck_assert_uint_eq(coalesce.busy_count, 3);
	one.calls = two.calls = three.calls = 0;
	await_ticks(&three, TICKS);
	ck_assert_int_eq(one.calls, TICKS);
	ck_assert_int_eq(two.calls, TICKS);
}
END_TEST

START_TEST(without_a_descriptor_for_the_timer_a_socket_stays_polled)
{
	struct rlimit old;

	if (fixture_is_valgrind())
		return;
	old = fixture_limit_fds(0);
	send_each(&one, BUSY_FROM + 1);
	fixture_restore_fds(&old);
	ck_assert(!one.c.busy);
	ck_assert_uint_eq(one.received, BUSY_FROM + 1);
	send_each(&one, 1);
	ck_assert(one.c.busy); /* it is tried again */
}
END_TEST

/* ---- becoming idle ---- */

static const struct {
	unsigned int count; /* of datagrams in a millisecond */
	bool stays_busy;
} idle_rates[] = {
	{ 0, false },
	{ IDLE_BELOW - 1, false },
	{ IDLE_BELOW, true },
	{ BUSY_FROM, true },
};

START_TEST(a_socket_below_the_lower_rate_is_polled_again)
{
	ck_assert_int_eq(loop_want(loop, &one.c.watch, POLLIN | POLLPRI), 0);
	make_busy(&one);
	now_ms++;
	coalesce_note(&coalesce, &one.c, idle_rates[_i].count, now_ms);
	now_ms++;
	coalesce_note(&coalesce, &one.c, 0, now_ms);
	ck_assert_int_eq(one.c.busy, idle_rates[_i].stays_busy);
	ck_assert_int_eq(one.c.watch.events, idle_rates[_i].stays_busy ? 0 : POLLIN | POLLPRI);
}
END_TEST

START_TEST(the_timer_is_closed_when_no_socket_is_busy)
{
	make_busy(&one);
	make_busy(&two);
	now_ms++;
	await_ticks(&one, 1);
	ck_assert_int_ge(coalesce.timer.fd, 0);
	now_ms++;
	await_ticks(&two, 1);
	ck_assert(!one.c.busy);
	ck_assert(!two.c.busy);
	ck_assert_int_eq(coalesce.timer.fd, -1);
	/* Both are polled, and can become busy again. */
	make_busy(&one);
	await_ticks(&one, 1);
}
END_TEST

/* ---- removing ---- */

static const struct {
	struct receiver *remover, *removed;
} removals[] = {
	{ &one, &one }, { &one, &two }, { &one, &three }, { &three, &one }, { &two, &two },
};

START_TEST(a_callback_may_remove_any_socket)
{
	struct receiver *removed = removals[_i].removed;
	struct receiver *other = removed == &two ? &three : &two;

	make_busy(&one);
	make_busy(&two);
	make_busy(&three);
	removals[_i].remover->removes = removed;
	await_ticks(other, 1);
	ck_assert(!removed->c.busy);
	ck_assert_uint_eq(coalesce.busy_count, 2);
	removed->calls = 0;
	await_ticks(other, TICKS);
	ck_assert_int_eq(removed->calls, 0);
}
END_TEST

START_TEST(the_timer_is_closed_after_the_removal_of_the_last_busy_socket)
{
	make_busy(&one);
	coalesce_remove(&coalesce, &one.c);
	ck_assert_uint_eq(coalesce.busy_count, 0);
	while (coalesce.timer.fd >= 0)
		ck_assert_int_eq(loop_step(loop, -1), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("coalesce");
	TCase *tc = fixture_case("coalesce");

	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, a_slow_socket_is_polled_for_each_datagram);
	tcase_add_loop_test(tc, datagrams_are_counted_for_each_millisecond, 0, COUNT(rates));
	tcase_add_test(tc, a_busy_socket_is_called_by_the_timer_and_not_polled);
	tcase_add_test(tc, there_is_a_pause_between_two_calls);
	tcase_add_test(tc, each_busy_socket_is_called_once_at_a_time);
	tcase_add_test(tc, without_a_descriptor_for_the_timer_a_socket_stays_polled);
	tcase_add_loop_test(tc, a_socket_below_the_lower_rate_is_polled_again, 0,
			    COUNT(idle_rates));
	tcase_add_test(tc, the_timer_is_closed_when_no_socket_is_busy);
	tcase_add_loop_test(tc, a_callback_may_remove_any_socket, 0, COUNT(removals));
	tcase_add_test(tc, the_timer_is_closed_after_the_removal_of_the_last_busy_socket);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
