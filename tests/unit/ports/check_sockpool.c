/* SPDX-License-Identifier: Apache-2.0 */

/* The pool of the child's sockets, with a child that gives good sockets, bad ones or none. After
 * each test the fixture checks for leaked descriptors, and close_child checks the quota. */
#include "tests/unit/fakechild.h"

#include "ports/sockpool.h"

#define QUOTA 4096

static struct sockpool *pool;

static struct taker {
	struct sockpool_waiter waiter;
	int got; /* a descriptor or -errno; 0: nothing yet */
} takers[8];

static void open_all(void)
{
	open_child(QUOTA);
	pool = sockpool_new(loop, &quota, &bp_address);
	ck_assert_ptr_nonnull(pool);
	memset(takers, 0, sizeof(takers));
}

static void close_all(void)
{
	sockpool_free(pool);
	close_child();
}

static void on_socket(struct sockpool_waiter *w, int fd)
{
	struct taker *t = LOOP_OWNER(w, struct taker, waiter);

	ck_assert_int_eq(t->got, 0);
	t->got = fd;
}

static void wait_for(struct taker *t, enum sockpool_kind kind)
{
	t->got = 0;
	t->waiter.on_socket = on_socket;
	sockpool_wait(pool, kind, &t->waiter);
}

static int get_option(int fd, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, name, &value, &len), 0);
	return value;
}

/* Takes a socket, and waits for it if need be. Returns it, or -errno. */
static int take_socket(enum sockpool_kind kind)
{
	unsigned long long until = fixture_now_ms() + FIXTURE_DEADLINE_S / 4 * 1000;
	int fd = sockpool_take(pool, kind);

	if (fd != -EAGAIN)
		return fd;
	wait_for(&takers[7], kind);
	while (takers[7].got == 0) {
		ck_assert(fixture_now_ms() < until);
		step();
	}
	return takers[7].got;
}

static void take_and_close(enum sockpool_kind kind)
{
	int fd = take_socket(kind);

	ck_assert_int_ge(fd, 0);
	close(fd);
}

static const struct {
	bool udp;
	int family, type, protocol;
} kind_rows[] = {
	{ false, AF_INET, SOCK_STREAM, IPPROTO_TCP },
	{ false, AF_INET6, SOCK_STREAM, IPPROTO_TCP },
	{ true, AF_INET, SOCK_DGRAM, IPPROTO_UDP },
	{ true, AF_INET6, SOCK_DGRAM, IPPROTO_UDP },
};

START_TEST(a_socket_of_the_requested_kind_is_given)
{
	int fd;

	if (kind_rows[_i].family == AF_INET6 && !fixture_need_ipv6())
		return;
	fd = take_socket(sockpool_kind(kind_rows[_i].udp, (sa_family_t)kind_rows[_i].family));
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(get_option(fd, SO_DOMAIN), kind_rows[_i].family);
	ck_assert_int_eq(get_option(fd, SO_TYPE), kind_rows[_i].type);
	ck_assert_int_eq(get_option(fd, SO_PROTOCOL), kind_rows[_i].protocol);
	ck_assert(fixture_is_cloexec(fd));
	ck_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
	close(fd);
	settle();
	/* This socket is no longer charged to the quota, but the others are. The first batch is
	 * small. */
	ck_assert_uint_le(child.sockets, 4);
	ck_assert_uint_eq(quota.used, child.sockets - 1);
}
END_TEST

START_TEST(a_batch_is_requested_before_the_pool_is_empty)
{
	take_and_close(SOCKPOOL_TCP4);
	for (int i = 0; i < 20; i++) {
		int fd;

		/* A socket is available immediately. */
		settle();
		fd = sockpool_take(pool, SOCKPOOL_TCP4);
		ck_assert_int_ge(fd, 0);
		close(fd);
	}
	ck_assert_uint_le(quota.used, 9);
	ck_assert_uint_lt(child.batches, 12);
}
END_TEST

START_TEST(the_pool_grows_with_its_use)
{
	size_t batches;

	for (int i = 0; i < 2000; i++)
		take_and_close(SOCKPOOL_TCP4);
	settle();
	ck_assert_uint_le(quota.used, SOCKPOOL_HELD_MAX);
	ck_assert_uint_gt(quota.used, SOCKPOOL_HELD_MAX / 2 - 1);
	batches = child.batches;
	for (int i = 0; i < 2000; i++)
		take_and_close(SOCKPOOL_TCP4);
	ck_assert_uint_le(child.batches - batches, 2000 / (SOCKPOOL_HELD_MAX / 2) + 1);
}
END_TEST

START_TEST(waiting_callers_are_served_in_order)
{
	ck_assert_int_eq(sockpool_take(pool, SOCKPOOL_TCP4), -EAGAIN);
	for (int i = 0; i < 6; i++)
		wait_for(&takers[i], SOCKPOOL_TCP4);
	/* One caller gives up. */
	sockpool_cancel_wait(&takers[2].waiter);
	sockpool_cancel_wait(&takers[2].waiter);
	settle();
	for (int i = 0; i < 6; i++) {
		if (i == 2) {
			ck_assert_int_eq(takers[i].got, 0);
			continue;
		}
		ck_assert_int_gt(takers[i].got, 0);
		close(takers[i].got);
	}
}
END_TEST

START_TEST(an_idle_pool_closes_its_sockets)
{
	for (int i = 0; i < 500; i++)
		take_and_close(SOCKPOOL_TCP4);
	take_and_close(SOCKPOOL_UDP4);
	settle();
	ck_assert_uint_gt(quota.used, 30);
	skip_ms(3000); /* the pool was used since the last check */
	skip_ms(3000);
	ck_assert_uint_eq(quota.used, 0);
	/* The next batch is small again. */
	child.sockets = 0;
	take_and_close(SOCKPOOL_TCP4);
	settle();
	ck_assert_uint_le(child.sockets, 12);
}
END_TEST

START_TEST(the_pool_shrinks_with_its_use)
{
	for (int i = 0; i < 500; i++)
		take_and_close(SOCKPOOL_TCP4);
	for (int i = 0; i < 6; i++) {
		skip_ms(3000);
		take_and_close(SOCKPOOL_TCP4);
	}
	settle();
	ck_assert_uint_le(quota.used, 8);
}
END_TEST

START_TEST(a_child_that_does_not_know_the_request_is_asked_once)
{
	child.way = IS_OLD;
	ck_assert_int_eq(take_socket(SOCKPOOL_TCP4), -EREMOTEIO);
	ck_assert_uint_eq(quota.used, 0);
	for (int i = 0; i < 10; i++) {
		ck_assert_int_eq(take_socket(SOCKPOOL_TCP4), -ENOTSUP);
		ck_assert_int_eq(take_socket(SOCKPOOL_UDP4), -ENOTSUP);
		skip_ms(20000);
	}
	ck_assert_uint_eq(child.batches, 1);
}
END_TEST

static const struct {
	enum child_way way;
	int result;
} bad_ways[] = {
	{ REFUSES, -EREMOTEIO },   { CLOSES, -EPIPE },	       { TALKS_GARBAGE, -EPROTO },
	{ SAYS_NULL, -EPROTO },	   { GIVES_SURPLUS, -EPROTO }, { GIVES_PIPES, -EPROTO },
	{ GIVES_UNIX, -EPROTO },   { GIVES_UDP, -EPROTO },     { GIVES_RAW, -EPROTO },
	{ IS_SILENT, -ETIMEDOUT },
};

/* All waiting callers get the error, no socket is kept, and the next request comes after a pause.
 */
START_TEST(after_a_bad_answer_the_child_is_asked_again_after_a_pause)
{
	size_t batches;

	if (bad_ways[_i].way == GIVES_RAW && geteuid() != 0)
		return;
	child.way = bad_ways[_i].way;
	ck_assert_int_eq(sockpool_take(pool, SOCKPOOL_TCP4), -EAGAIN);
	for (int i = 0; i < 3; i++)
		wait_for(&takers[i], SOCKPOOL_TCP4);
	settle();
	if (child.way == IS_SILENT)
		skip_ms(3000);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(takers[i].got, bad_ways[_i].result);
	ck_assert_uint_eq(quota.used, 0);
	ck_assert_uint_eq(child.batches, 1);
	ck_assert_int_eq(sockpool_take(pool, SOCKPOOL_TCP4), -ENOTCONN);
	ck_assert_uint_eq(child.batches, 1);
	/* Other kinds are not affected. */
	if (child.way != IS_SILENT)
		child.way = GIVES;
	ck_assert_int_eq(sockpool_take(pool, SOCKPOOL_UDP4), -EAGAIN);
	settle();
	for (int i = 0; i < 30; i++) {
		child.way = bad_ways[_i].way == IS_SILENT ? REFUSES : bad_ways[_i].way;
		if (sockpool_take(pool, SOCKPOOL_TCP4) == -EAGAIN)
			settle();
		skip_ms(1000);
	}
	batches = child.batches;
	ck_assert_uint_gt(batches, 3);
	ck_assert_uint_lt(batches, 14);
	child.way = GIVES;
	skip_ms(20000);
	take_and_close(SOCKPOOL_TCP4);
}
END_TEST

START_TEST(a_smaller_batch_is_used_and_not_repeated_immediately)
{
	child.way = GIVES_ONE;
	take_and_close(SOCKPOOL_TCP4);
	ck_assert_uint_eq(quota.used, 0);
	/* The child may be short of descriptors, so it is not asked again immediately. */
	ck_assert_int_eq(sockpool_take(pool, SOCKPOOL_TCP4), -ENOTCONN);
	skip_ms(1000);
	take_and_close(SOCKPOOL_TCP4);
}
END_TEST

START_TEST(sockets_that_arrive_without_descriptors_left_are_an_error)
{
	struct rlimit old;

	if (fixture_is_valgrind())
		return;
	ck_assert_int_eq(sockpool_take(pool, SOCKPOOL_TCP4), -EAGAIN);
	wait_for(&takers[0], SOCKPOOL_TCP4);
	/* The child sends four sockets. It belongs to this process and needs descriptors itself, so
	 * the limit is set only after it has sent them. */
	while (child.batches == 0)
		step();
	old = fixture_limit_fds(2);
	settle();
	fixture_restore_fds(&old);
	/* Either the answer was read in the same step, or two of the four sockets did not fit. */
	ck_assert_int_ne(takers[0].got, 0);
	if (takers[0].got > 0) {
		close(takers[0].got);
	} else {
		ck_assert_int_eq(takers[0].got, -EMFILE);
		ck_assert_uint_eq(quota.used, 0);
		ck_assert_int_eq(sockpool_take(pool, SOCKPOOL_TCP4), -ENOTCONN);
	}
}
END_TEST

START_TEST(without_descriptors_no_batch_is_requested)
{
	struct rlimit old = fixture_limit_fds(0);

	ck_assert_int_eq(sockpool_take(pool, SOCKPOOL_TCP4), -ENOTCONN);
	fixture_restore_fds(&old);
	ck_assert_uint_eq(quota.used, 0);
}
END_TEST

START_TEST(the_pool_leaves_the_last_descriptors_to_connections)
{
	size_t used;

	for (int i = 0; i < 500; i++)
		take_and_close(SOCKPOOL_TCP4);
	settle();
	ck_assert_uint_gt(quota.used, 30);
	/* Connections take descriptors until the pool must give its own back. */
	while (quota.max - quota.used > 256)
		ck_assert(fdquota_take(&quota, 1));
	used = quota.used;
	ck_assert_int_eq(sockpool_take(pool, SOCKPOOL_TCP4), -ENFILE);
	ck_assert_uint_lt(quota.used, used - 30);
	settle();
	child.batches = 0;
	/* The pool does not refill immediately. */
	ck_assert_int_eq(sockpool_take(pool, SOCKPOOL_TCP4), -ENOTCONN);
	skip_ms(1000);
	while (quota.max - quota.used > 258)
		ck_assert(fdquota_take(&quota, 1));
	ck_assert_int_eq(sockpool_take(pool, SOCKPOOL_TCP4), -ENOTCONN);
	ck_assert_uint_eq(child.batches, 0);
	fdquota_give(&quota, quota.used);
	take_and_close(SOCKPOOL_TCP4);
}
END_TEST

START_TEST(drop_closes_all_sockets)
{
	take_and_close(SOCKPOOL_TCP4);
	take_and_close(SOCKPOOL_UDP4);
	settle();
	ck_assert_uint_gt(quota.used, 2);
	sockpool_drop(pool);
	ck_assert_uint_eq(quota.used, 0);
}
END_TEST

START_TEST(the_pool_may_be_freed_during_a_request)
{
	child.way = IS_SILENT;
	ck_assert_int_eq(sockpool_take(pool, SOCKPOOL_TCP4), -EAGAIN);
	sockpool_warm(pool, SOCKPOOL_UDP6);
	settle();
	ck_assert_uint_eq(child.held_count, 2);
}
END_TEST

START_TEST(warm_requests_one_batch)
{
	for (int i = 0; i < 3; i++)
		sockpool_warm(pool, SOCKPOOL_UDP4);
	settle();
	sockpool_warm(pool, SOCKPOOL_UDP4);
	settle();
	ck_assert_uint_eq(child.batches, 1);
	ck_assert_int_ge(takers[0].got = sockpool_take(pool, SOCKPOOL_UDP4), 0);
	close(takers[0].got);
}
END_TEST

START_TEST(the_child_says_whether_it_keeps_clients_addresses)
{
	ck_assert(sockpool_keeps_source(pool));
	take_and_close(SOCKPOOL_TCP4);
	ck_assert(sockpool_keeps_source(pool));
	child.keeps_source = false;
	take_and_close(SOCKPOOL_UDP4);
	ck_assert(!sockpool_keeps_source(pool));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("sockpool");
	TCase *tc = fixture_case_with_dir("sockpool");

	tcase_add_checked_fixture(tc, open_all, close_all);
	tcase_add_loop_test(tc, a_socket_of_the_requested_kind_is_given, 0, COUNT(kind_rows));
	tcase_add_test(tc, a_batch_is_requested_before_the_pool_is_empty);
	tcase_add_test(tc, the_pool_grows_with_its_use);
	tcase_add_test(tc, waiting_callers_are_served_in_order);
	tcase_add_test(tc, an_idle_pool_closes_its_sockets);
	tcase_add_test(tc, the_pool_shrinks_with_its_use);
	tcase_add_test(tc, a_child_that_does_not_know_the_request_is_asked_once);
	tcase_add_loop_test(tc, after_a_bad_answer_the_child_is_asked_again_after_a_pause, 0,
			    COUNT(bad_ways));
	tcase_add_test(tc, a_smaller_batch_is_used_and_not_repeated_immediately);
	tcase_add_test(tc, sockets_that_arrive_without_descriptors_left_are_an_error);
	tcase_add_test(tc, without_descriptors_no_batch_is_requested);
	tcase_add_test(tc, the_pool_leaves_the_last_descriptors_to_connections);
	tcase_add_test(tc, drop_closes_all_sockets);
	tcase_add_test(tc, the_pool_may_be_freed_during_a_request);
	tcase_add_test(tc, warm_requests_one_batch);
	tcase_add_test(tc, the_child_says_whether_it_keeps_clients_addresses);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
