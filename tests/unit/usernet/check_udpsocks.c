/* SPDX-License-Identifier: Apache-2.0 */

/* Sockets of UDP flows that several queues use. Each queue has a loop. */
#include "usernet/udpsocks.h"

#include "os/sockopt.h"
#include "tests/unit/addresses.h"
#include "tests/unit/fixture.h"

#define QUEUES 4

/* A queue, with a flow for each key */
#define KEYS 8
struct side {
	struct loop *loop;
	struct udpsocks_queue queue;
	struct flow {
		struct udpsocks_user user;
		int told; /* how often it was told that it is the reader */
		bool is_reader;
	} flows[KEYS];
};

static struct udpsocks *socks;
static struct side sides[QUEUES];
static struct sockaddr_storage peer;
static int peer_fd;

/* ---- connect(2) may fail, or take long ---- */

static int connect_errno;
static void (*meanwhile)(void);

int connect(int fd, const struct sockaddr *sa, socklen_t len)
{
	void (*call)(void) = meanwhile;

	if (call != NULL) {
		meanwhile = NULL;
		call();
	}
	if (connect_errno == 0)
		return (int)syscall(SYS_connect, fd, sa, len);
	errno = connect_errno;
	return -1;
}

/* ---- start and end ---- */

static void on_reader(struct udpsocks_user *user)
{
	struct flow *f = LOOP_OWNER(user, struct flow, user);

	f->told++;
	f->is_reader = true;
}

static void open_peer(void)
{
	socklen_t len = sizeof(struct sockaddr_in);

	peer = address_of("127.0.0.1", 0);
	peer_fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(peer_fd, (struct sockaddr *)&peer, len), 0);
	ck_assert_int_eq(getsockname(peer_fd, (struct sockaddr *)&peer, &len), 0);
}

static void open_all(void)
{
	open_peer();
	connect_errno = 0;
	meanwhile = NULL;
	socks = udpsocks_new();
	ck_assert_ptr_nonnull(socks);
	memset(sides, 0, sizeof(sides));
	for (int i = 0; i < QUEUES; i++) {
		sides[i].loop = loop_new(LOOP_EPOLL);
		sides[i].queue.on_reader = on_reader;
		ck_assert_int_eq(udpsocks_attach(socks, &sides[i].queue, sides[i].loop), 0);
	}
}

static void leave(struct side *s, int key)
{
	udpsocks_leave(&s->flows[key].user);
	s->flows[key].is_reader = false;
}

static void close_all(void)
{
	for (int i = 0; i < QUEUES; i++) {
		for (int key = 0; key < KEYS; key++)
			if (sides[i].flows[key].user.sock != NULL)
				leave(&sides[i], key);
		udpsocks_detach(&sides[i].queue, sides[i].loop);
		loop_free(sides[i].loop);
	}
	udpsocks_free(socks);
	close(peer_fd);
}

static int join(struct side *s, int number)
{
	struct flow_key key = { .port_be = htons((uint16_t)(4000 + number)) };
	struct flow *f = &s->flows[number];
	int r;

	key.local.s6_addr16[5] = UINT16_MAX;
	r = udpsocks_join(&s->queue, &f->user, &key, &peer, sizeof(struct sockaddr_in));
	f->is_reader = r == 1;
	return r;
}

static int fd_of(const struct side *s, int key)
{
	return s->flows[key].user.sock->fd;
}

/* Runs all loops until nothing is left to be told. */
static void step_all(void)
{
	for (int i = 0; i < QUEUES; i++)
		ck_assert_int_eq(loop_step(sides[i].loop, 0), 0);
}

static void assert_told(int a, int b, int c)
{
	step_all();
	ck_assert_int_eq(sides[0].flows[0].told, a);
	ck_assert_int_eq(sides[1].flows[0].told, b);
	ck_assert_int_eq(sides[2].flows[0].told, c);
}

/* ---- sharing ---- */

START_TEST(queues_share_the_socket_of_a_key)
{
	ck_assert_int_eq(join(&sides[0], 0), 1);
	ck_assert_int_eq(join(&sides[1], 0), 0);
	ck_assert_int_eq(join(&sides[1], 1), 1);
	ck_assert_int_eq(join(&sides[2], 0), 0);
	ck_assert_int_eq(fd_of(&sides[0], 0), fd_of(&sides[1], 0));
	ck_assert_int_eq(fd_of(&sides[0], 0), fd_of(&sides[2], 0));
	ck_assert_int_ne(fd_of(&sides[0], 0), fd_of(&sides[1], 1));
	ck_assert(fixture_is_cloexec(fd_of(&sides[0], 0)));
	ck_assert_int_eq(send(fd_of(&sides[2], 0), "x", 1, 0), 1);
	assert_told(0, 0, 0);
}
END_TEST

START_TEST(a_socket_is_closed_when_its_last_user_leaves)
{
	int fd;

	join(&sides[0], 0);
	join(&sides[1], 0);
	fd = fd_of(&sides[0], 0);
	leave(&sides[0], 0);
	ck_assert(fixture_is_open(fd));
	leave(&sides[1], 0);
	ck_assert(!fixture_is_open(fd));
	ck_assert_int_eq(join(&sides[1], 0), 1);
}
END_TEST

static void join_second(void)
{
	ck_assert_int_eq(join(&sides[1], 0), 1);
}

START_TEST(of_two_queues_that_connect_at_once_both_use_one_socket)
{
	meanwhile = join_second;
	ck_assert_int_eq(join(&sides[0], 0), 0);
	ck_assert_int_eq(fd_of(&sides[0], 0), fd_of(&sides[1], 0));
}
END_TEST

START_TEST(a_failure_to_connect_is_returned)
{
	connect_errno = ENETUNREACH;
	ck_assert_int_eq(join(&sides[0], 0), -ENETUNREACH);
	ck_assert_ptr_null(sides[0].flows[0].user.sock);
	connect_errno = 0;
	ck_assert_int_eq(join(&sides[1], 0), 1);
}
END_TEST

/* ---- the reader ---- */

START_TEST(the_next_user_becomes_the_reader)
{
	for (int i = 0; i < 3; i++)
		join(&sides[i], 0);
	leave(&sides[0], 0);
	assert_told(0, 1, 0);
	leave(&sides[1], 0);
	assert_told(0, 1, 1);
	ck_assert_int_eq(join(&sides[0], 0), 0);
	leave(&sides[2], 0);
	assert_told(1, 1, 1);
}
END_TEST

START_TEST(a_user_that_only_sends_leaves_quietly)
{
	for (int i = 0; i < 3; i++)
		join(&sides[i], 0);
	leave(&sides[1], 0);
	leave(&sides[2], 0);
	assert_told(0, 0, 0);
}
END_TEST

START_TEST(a_reader_that_leaves_before_it_is_told_passes_it_on)
{
	for (int i = 0; i < 3; i++)
		join(&sides[i], 0);
	leave(&sides[0], 0);
	leave(&sides[1], 0);
	assert_told(0, 0, 1);
}
END_TEST

START_TEST(many_readers_are_told_in_one_round)
{
	for (int key = 0; key < KEYS; key++) {
		join(&sides[0], key);
		join(&sides[1], key);
	}
	for (int key = 0; key < KEYS; key++)
		leave(&sides[0], key);
	step_all();
	for (int key = 0; key < KEYS; key++)
		ck_assert_int_eq(sides[1].flows[key].told, 1);
}
END_TEST

/* ---- sockets that do not work ---- */

START_TEST(a_retired_socket_gets_no_further_users)
{
	int old;

	join(&sides[0], 0);
	join(&sides[1], 0);
	old = fd_of(&sides[0], 0);
	udpsocks_retire(&sides[0].flows[0].user);
	udpsocks_retire(&sides[1].flows[0].user);
	ck_assert_int_eq(join(&sides[2], 0), 1);
	ck_assert_int_ne(fd_of(&sides[2], 0), old);
	leave(&sides[0], 0);
	ck_assert(fixture_is_open(old));
	leave(&sides[1], 0);
	ck_assert(!fixture_is_open(old));
	ck_assert_int_eq(join(&sides[3], 0), 0);
	ck_assert_int_eq(fd_of(&sides[2], 0), fd_of(&sides[3], 0));
}
END_TEST

/* ---- options ---- */

START_TEST(the_time_to_live_is_that_of_the_socket)
{
	const struct udpsock *sock;
	socklen_t len = sizeof(int);
	int ttl = 0;

	join(&sides[0], 0);
	join(&sides[1], 0);
	sock = sides[1].flows[0].user.sock;
	ck_assert_int_eq(sock->hops, SOCKOPT_ANY_HOPS);
	ck_assert(!sock->has_errqueue);
	udpsocks_set_hops(&sides[0].flows[0].user, 7);
	ck_assert_int_eq(sock->hops, 7);
	ck_assert(sock->has_errqueue);
	ck_assert_int_eq(getsockopt(sock->fd, IPPROTO_IP, IP_TTL, &ttl, &len), 0);
	ck_assert_int_eq(ttl, 7);
	ck_assert_uint_gt(udpsocks_path_mtu(&sides[0].flows[0].user), 1000);
}
END_TEST

/* ---- threads ---- */

#define ROUNDS 4000

static atomic_int readers[KEYS]; /* of each key */
static atomic_int faults;

/* Counts a user as its key's reader from when it knows to when it leaves. */
static void count_readers(struct side *s)
{
	loop_step(s->loop, 0);
	for (int key = 0; key < KEYS; key++) {
		struct flow *f = &s->flows[key];

		if (f->is_reader && f->told >= 0) {
			faults += atomic_fetch_add(&readers[key], 1) != 0;
			f->told = -1; /* counted */
		}
	}
}

static void toggle(struct side *s, int key)
{
	struct flow *f = &s->flows[key];

	if (f->user.sock == NULL) {
		f->told = 0;
		faults += join(s, key) < 0;
	} else {
		readers[key] -= f->is_reader;
		leave(s, key);
	}
}

/* The socket is open as long as there is a user, and nobody else's. */
static void use(const struct side *s, int key)
{
	const struct udpsocks_user *u = &s->flows[key].user;
	struct sockaddr_in to = { 0 };
	socklen_t len = sizeof(to);

	if (u->sock == NULL)
		return;
	send(u->sock->fd, "x", 1, MSG_DONTWAIT);
	faults += getpeername(u->sock->fd, (struct sockaddr *)&to, &len) < 0 ||
		  memcmp(&to, &peer, sizeof(to)) != 0;
}

static void *work(void *arg)
{
	struct side *s = arg;
	unsigned int random = (unsigned int)(s - sides) + 1;

	for (int i = 0; i < ROUNDS; i++) {
		int key = (int)((random = random * 1103515245 + 12345) >> 16) % KEYS;

		use(s, key);
		count_readers(s);
		toggle(s, key);
		count_readers(s);
	}
	return NULL;
}

/* At the end each socket with users has exactly one reader. */
START_TEST(threads_have_one_reader_for_each_socket)
{
	pthread_t threads[QUEUES];

	memset(readers, 0, sizeof(readers));
	for (int i = 0; i < QUEUES; i++)
		threads[i] = fixture_thread(work, &sides[i]);
	for (int i = 0; i < QUEUES; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < QUEUES; i++)
		count_readers(&sides[i]);
	ck_assert_int_eq(faults, 0);
	for (int key = 0; key < KEYS; key++) {
		bool is_used = false;

		for (int i = 0; i < QUEUES; i++)
			is_used = is_used || sides[i].flows[key].user.sock != NULL;
		ck_assert_int_eq(readers[key], is_used);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("udpsocks");
	TCase *tc = fixture_case("udpsocks");

	tcase_add_checked_fixture(tc, open_all, close_all);
	tcase_add_test(tc, queues_share_the_socket_of_a_key);
	tcase_add_test(tc, a_socket_is_closed_when_its_last_user_leaves);
	tcase_add_test(tc, of_two_queues_that_connect_at_once_both_use_one_socket);
	tcase_add_test(tc, a_failure_to_connect_is_returned);
	tcase_add_test(tc, the_next_user_becomes_the_reader);
	tcase_add_test(tc, a_user_that_only_sends_leaves_quietly);
	tcase_add_test(tc, a_reader_that_leaves_before_it_is_told_passes_it_on);
	tcase_add_test(tc, many_readers_are_told_in_one_round);
	tcase_add_test(tc, a_retired_socket_gets_no_further_users);
	tcase_add_test(tc, the_time_to_live_is_that_of_the_socket);
	tcase_add_test(tc, threads_have_one_reader_for_each_socket);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
