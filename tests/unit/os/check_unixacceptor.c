/* SPDX-License-Identifier: Apache-2.0 */

/* A listening UNIX socket in a loop: who is a client, and what happens when there is no room for
 * one. Batches and the end of a pause are tested in check_acceptor.c. */
#include "base/fd.h"
#include "os/unixacceptor.h"
#include "os/unixsock.h"
#include "tests/unit/fixture.h"

#define CLIENTS_MAX 8

static struct loop *loop;
static struct unixacceptor acceptor;
static struct sockaddr_un address;
static uid_t foreign; /* what the kernel says about clients; 0: the truth */

static int clients[CLIENTS_MAX], client_count; /* passed on */
static int results[CLIENTS_MAX];	       /* what on_client returns for each of them */
static int asked[CLIENTS_MAX], ask_count;      /* what make_room was asked with */
static bool has_room;			       /* make_room's answer before a client */
static bool makes_room;			       /* make_room's answer after a failure */

/* Replaces the function for the code under test: a client of another user, without privileges. */
int getsockopt(int fd, int level, int name, void *restrict value, socklen_t *restrict len)
{
	long r = syscall(SYS_getsockopt, fd, level, name, value, len);

	if (r == 0 && level == SOL_SOCKET && name == SO_PEERCRED && foreign != 0)
		((struct ucred *)value)->uid = foreign;
	return (int)r;
}

/* Returns -errno as a full system would. */
static int on_client(struct unixacceptor *u, int fd)
{
	ck_assert_ptr_eq(u, &acceptor);
	ck_assert(fixture_is_cloexec(fd));
	ck_assert_int_lt(client_count, CLIENTS_MAX);
	clients[client_count] = fd;
	return results[client_count++];
}

static bool make_room(struct unixacceptor *u, int errnum)
{
	ck_assert_ptr_eq(u, &acceptor);
	ck_assert_int_lt(ask_count, CLIENTS_MAX);
	asked[ask_count++] = errnum;
	return errnum == 0 ? has_room : makes_room;
}

static void begin(void)
{
	loop = loop_new(LOOP_POLL);
	ck_assert_ptr_nonnull(loop);
	acceptor = (struct unixacceptor){ .on_client = on_client, .make_room = make_room };
	ck_assert_int_eq(unixsock_address(&address, fixture_path("s")), 0);
	memset(results, 0, sizeof(results));
	client_count = ask_count = 0;
	has_room = true;
	makes_room = false;
	foreign = 0;
}

static void listen_here(void)
{
	struct err e;

	ck_assert_msg(unixacceptor_listen(&acceptor, loop, fixture_path("s"), &e) == 0, "%s",
		      e.msg);
}

static void end(void)
{
	for (int i = 0; i < client_count; i++)
		close(clients[i]);
	loop_free(loop);
}

/* Returns the client's end of a new connection. */
static int connect_client(void)
{
	int type = acceptor.by_packet ? SOCK_SEQPACKET : SOCK_STREAM;
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* Connects, and lets the loop accept. The connection stays in the backlog if accepting pauses. */
static void connect_and_step(void)
{
	int fd = connect_client();

	ck_assert_int_eq(loop_step(loop, 0), 0);
	close(fd);
}

static void step_until_clients(int count)
{
	while (client_count < count)
		ck_assert_int_eq(loop_step(loop, -1), 0);
}

/* ---- clients ---- */

START_TEST(a_client_is_passed_on_with_its_connection)
{
	int one = 1, oob_inline = 0, fd;
	socklen_t len = sizeof(oob_inline);
	char byte = '-';

	acceptor.by_packet = _i == 1;
	listen_here();
	fd = connect_client();
	step_until_clients(1);
	ck_assert_int_eq(write(fd, "x", 1), 1);
	ck_assert_int_eq(read(clients[0], &byte, 1), 1);
	ck_assert_int_eq(byte, 'x');
	/* An urgent byte stays in the stream. */
	ck_assert_int_eq(getsockopt(clients[0], SOL_SOCKET, SO_OOBINLINE, &oob_inline, &len), 0);
	ck_assert_int_eq(oob_inline, one);
	ck_assert_int_eq(fcntl(clients[0], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	close(fd);
	unixacceptor_close(&acceptor);
}
END_TEST

static const struct {
	unsigned int uid; /* of the client; added to our own, unless it is 0 */
	bool is_heard;
} users[] = {
	{ 0, true },
	{ 1, false },
	{ 65536, false },
};

START_TEST(only_clients_of_the_same_user_are_passed_on)
{
	char byte;
	int fd;

	listen_here();
	foreign = users[_i].uid == 0 ? 0 : geteuid() + users[_i].uid;
	fd = connect_client();
	ck_assert_int_eq(loop_step(loop, -1), 0);
	ck_assert_int_eq(client_count, users[_i].is_heard ? 1 : 0);
	if (!users[_i].is_heard)
		ck_assert_int_eq(read(fd, &byte, 1), 0); /* it is told by the end of the stream */
	ck_assert(!acceptor.acceptor.paused);
	close(fd);
	unixacceptor_close(&acceptor);
}
END_TEST

/* ---- no room ---- */

START_TEST(without_room_a_client_waits_until_there_is_some)
{
	listen_here();
	has_room = false;
	connect_and_step();
	ck_assert_int_eq(client_count, 0);
	ck_assert(acceptor.acceptor.paused);
	ck_assert_int_eq(acceptor.socket.events, 0);
	/* make_room has refused already, so it is not asked for EBUSY. */
	ck_assert_int_eq(ask_count, 1);
	ck_assert_int_eq(asked[0], 0);
	has_room = true;
	step_until_clients(1);
	ck_assert(!acceptor.acceptor.paused);
	ck_assert_int_eq(acceptor.socket.events, POLLIN);
	unixacceptor_close(&acceptor);
}
END_TEST

static const struct {
	int result; /* of on_client */
	bool has_callback, makes_room;
	bool pauses;
} failures[] = {
	{ 0, true, false, false },	 { 0, false, false, false },
	{ -ENOMEM, true, false, true },	 { -ENOMEM, true, true, false },
	{ -EMFILE, true, true, false },	 { -ENOMEM, false, false, true },
	{ -EAGAIN, true, false, false },
};

START_TEST(a_client_that_cannot_be_served_pauses_accepting_unless_room_is_made)
{
	bool is_asked = failures[_i].has_callback && failures[_i].result != 0 &&
			failures[_i].result != -EAGAIN;
	bool was_asked = false;

	listen_here();
	acceptor.make_room = failures[_i].has_callback ? make_room : NULL;
	makes_room = failures[_i].makes_room;
	results[0] = failures[_i].result;
	connect_and_step();
	ck_assert_int_eq(client_count, 1);
	ck_assert_int_eq(acceptor.acceptor.paused, failures[_i].pauses);
	for (int i = 0; i < ask_count; i++)
		was_asked = was_asked || asked[i] == -failures[_i].result;
	if (failures[_i].result != 0)
		ck_assert_int_eq(was_asked, is_asked);
	unixacceptor_close(&acceptor);
}
END_TEST

START_TEST(the_limit_of_descriptors_pauses_accepting)
{
	struct rlimit old;
	int fd;

	if (fixture_is_valgrind())
		return;
	listen_here();
	fd = connect_client();
	old = fixture_limit_fds(0);
	ck_assert_int_eq(loop_step(loop, 0), 0);
	fixture_restore_fds(&old);
	ck_assert(acceptor.acceptor.paused);
	ck_assert_int_eq(asked[ask_count - 1], EMFILE);
	step_until_clients(1);
	close(fd);
	unixacceptor_close(&acceptor);
}
END_TEST

/* ---- begin and end ---- */

START_TEST(a_path_that_exists_is_an_error)
{
	const char *path = fixture_file("s", "", 0600);
	char why[PATH_MAX + 64];
	struct err e;

	ck_assert_int_eq(unixacceptor_listen(&acceptor, loop, path, &e), -EADDRINUSE);
	snprintf(why, sizeof(why), "listening on %s: address already in use", path);
	ck_assert_str_eq(e.msg, why);
	fixture_assert_content(path, "");
}
END_TEST

START_TEST(after_the_end_clients_are_refused_and_the_file_stays)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	listen_here();
	has_room = false;
	connect_and_step(); /* begins a pause, whose timer ends, too */
	unixacceptor_close(&acceptor);
	ck_assert(!timer_is_set(&acceptor.acceptor.resume));
	ck_assert_int_eq(acceptor.socket.fd, -1);
	ck_assert_int_eq(access(fixture_path("s"), F_OK), 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), -1);
	ck_assert_int_eq(errno, ECONNREFUSED);
	close(fd);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("unixacceptor");
	TCase *tc = fixture_case_with_dir("unixacceptor");

	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_loop_test(tc, a_client_is_passed_on_with_its_connection, 0, 2);
	tcase_add_loop_test(tc, only_clients_of_the_same_user_are_passed_on, 0, COUNT(users));
	tcase_add_test(tc, without_room_a_client_waits_until_there_is_some);
	tcase_add_loop_test(tc, a_client_that_cannot_be_served_pauses_accepting_unless_room_is_made,
			    0, COUNT(failures));
	tcase_add_test(tc, the_limit_of_descriptors_pauses_accepting);
	tcase_add_test(tc, a_path_that_exists_is_an_error);
	tcase_add_test(tc, after_the_end_clients_are_refused_and_the_file_stays);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
