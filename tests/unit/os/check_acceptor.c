/* SPDX-License-Identifier: Apache-2.0 */

/* Accepting clients: in batches, with a reservation for each, and with a pause when something has
 * run out. */
#include "base/fd.h"
#include "os/acceptor.h"
#include "os/unixsock.h"
#include "tests/unit/fixture.h"

#define BATCH 64 /* as in acceptor.c */

static struct loop *loop;
static struct acceptor acceptor;
static struct watch listener;
static struct sockaddr_un address;

static int clients, pauses, resumes; /* so far */
static int reserved;		     /* now */
static int wants;		     /* reserve says -EAGAIN after this many clients */
static int client_result, shortage;  /* what on_client returns; the last on_shortage */
static int resume_fails;	     /* number of failures left */
static bool makes_room;

static int reserve(struct acceptor *a, struct watch *socket)
{
	ck_assert_ptr_eq(a, &acceptor);
	ck_assert_ptr_eq(socket, &listener);
	if (clients >= wants)
		return -EAGAIN;
	reserved++;
	return 0;
}

static void release(struct acceptor *a)
{
	(void)a;
	reserved--;
}

static int on_client(struct acceptor *a, struct watch *socket, int fd,
		     const struct sockaddr_storage *from, socklen_t from_len)
{
	(void)a;
	ck_assert_ptr_eq(socket, &listener);
	ck_assert_int_eq(from->ss_family, AF_UNIX);
	ck_assert_uint_gt(from_len, 0);
	ck_assert(fixture_is_cloexec(fd));
	close(fd);
	clients++;
	return client_result;
}

static bool on_shortage(struct acceptor *a, int errnum)
{
	(void)a;
	shortage = errnum;
	return makes_room;
}

static void on_pause(struct acceptor *a)
{
	ck_assert(a->paused);
	loop_want(loop, &listener, 0);
	pauses++;
}

static int on_resume(struct acceptor *a)
{
	ck_assert(!a->paused);
	loop_want(loop, &listener, POLLIN);
	resumes++;
	return resume_fails-- > 0 ? -ENOMEM : 0;
}

static const struct acceptor_calls calls = { reserve,	  release,  on_client,
					     on_shortage, on_pause, on_resume };

static void on_clients(struct watch *w, short revents)
{
	(void)revents;
	acceptor_accept(&acceptor, w);
}

static void set_up(void)
{
	struct err e;

	loop = loop_new(LOOP_POLL);
	ck_assert_ptr_nonnull(loop);
	acceptor = (struct acceptor){ .loop = loop, .calls = &calls };
	listener = (struct watch){ .fd = unixsock_listen(fixture_path("s"), SOCK_STREAM, &e),
				   .events = POLLIN,
				   .on_event = on_clients };
	ck_assert_int_ge(listener.fd, 0);
	ck_assert_int_eq(loop_add(loop, &listener), 0);
	ck_assert_int_eq(unixsock_address(&address, fixture_path("s")), 0);
	clients = pauses = resumes = reserved = 0;
	client_result = shortage = resume_fails = 0;
	makes_room = false;
	wants = INT_MAX;
}

static void tear_down(void)
{
	acceptor_stop(&acceptor);
	loop_remove(loop, &listener);
	fd_close(&listener.fd);
	loop_free(loop);
}

static void connect_clients(int count)
{
	for (int i = 0; i < count; i++) {
		int fd = unixsock_connect(&address);

		ck_assert_int_ge(fd, 0);
		close(fd);
	}
}

static void step(void)
{
	ck_assert_int_eq(loop_step(loop, 0), 0);
}

static void step_until_resumed(int times)
{
	while (resumes < times)
		ck_assert_int_eq(loop_step(loop, -1), 0);
}

START_TEST(all_clients_that_wait_are_accepted)
{
	connect_clients(3);
	step();
	ck_assert_int_eq(clients, 3);
	/* The reservation for a fourth client is given back. */
	ck_assert_int_eq(reserved, 3);
	ck_assert_int_eq(pauses, 0);
}
END_TEST

START_TEST(accepting_does_not_hold_up_other_events)
{
	connect_clients(BATCH + 1);
	step();
	ck_assert_int_eq(clients, BATCH);
	step();
	ck_assert_int_eq(clients, BATCH + 1);
}
END_TEST

START_TEST(the_owner_may_want_no_more_clients)
{
	wants = 2;
	connect_clients(3);
	step();
	ck_assert_int_eq(clients, 2);
	ck_assert_int_eq(pauses, 0);
	wants = 3;
	step();
	ck_assert_int_eq(clients, 3);
}
END_TEST

START_TEST(a_shortage_pauses_accepting)
{
	client_result = -ENOMEM;
	connect_clients(2);
	step();
	ck_assert_int_eq(shortage, ENOMEM);
	ck_assert(acceptor.paused);
	ck_assert_int_eq(clients, 1);
	step();
	ck_assert_int_eq(clients, 1);
	client_result = 0;
	step_until_resumed(1);
	ck_assert(!acceptor.paused);
	step();
	ck_assert_int_eq(clients, 2);
	ck_assert_int_eq(pauses, 1);
}
END_TEST

/* Clients stay in the backlog meanwhile, and nothing stays reserved. */
START_TEST(the_process_limit_pauses_accepting)
{
	struct rlimit old;

	if (fixture_is_valgrind())
		return;
	connect_clients(1);
	old = fixture_limit_fds(0);
	step();
	fixture_restore_fds(&old);
	ck_assert_int_eq(shortage, EMFILE);
	ck_assert(acceptor.paused);
	ck_assert_int_eq(reserved, 0);
	step_until_resumed(1);
	step();
	ck_assert_int_eq(clients, 1);
}
END_TEST

START_TEST(an_owner_that_makes_room_does_not_pause)
{
	makes_room = true;
	client_result = -ENOMEM;
	connect_clients(2);
	step();
	ck_assert_int_eq(clients, 2);
	ck_assert_int_eq(pauses, 0);
}
END_TEST

START_TEST(a_pause_can_end_early)
{
	acceptor_pause(&acceptor);
	acceptor_resume(&acceptor);
	ck_assert(!acceptor.paused);
	ck_assert_int_eq(resumes, 1);
	/* The pause is over, and its timer is gone. */
	acceptor_resume(&acceptor);
	ck_assert_int_eq(resumes, 1);
	ck_assert(!timer_is_set(&acceptor.resume));
}
END_TEST

START_TEST(a_socket_added_during_a_pause_waits)
{
	acceptor_pause(&acceptor);
	ck_assert_int_eq(loop_want(loop, &listener, POLLIN), 0);
	connect_clients(1);
	step();
	ck_assert_int_eq(clients, 0);
	ck_assert_int_eq(listener.events, 0);
	step_until_resumed(1);
	step();
	ck_assert_int_eq(clients, 1);
}
END_TEST

START_TEST(a_socket_that_cannot_resume_does_not_hold_up_the_others)
{
	resume_fails = 2;
	acceptor_pause(&acceptor);
	for (int i = 1; i <= 3; i++) {
		step_until_resumed(i);
		ck_assert(!acceptor.paused);
	}
	ck_assert_int_eq(resume_fails, -1);
	step();
	ck_assert_int_eq(resumes, 3);
	ck_assert_int_eq(pauses, 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("acceptor");
	TCase *tc = fixture_case_with_dir("acceptor");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, all_clients_that_wait_are_accepted);
	tcase_add_test(tc, accepting_does_not_hold_up_other_events);
	tcase_add_test(tc, the_owner_may_want_no_more_clients);
	tcase_add_test(tc, a_shortage_pauses_accepting);
	tcase_add_test(tc, the_process_limit_pauses_accepting);
	tcase_add_test(tc, an_owner_that_makes_room_does_not_pause);
	tcase_add_test(tc, a_pause_can_end_early);
	tcase_add_test(tc, a_socket_added_during_a_pause_waits);
	tcase_add_test(tc, a_socket_that_cannot_resume_does_not_hold_up_the_others);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
