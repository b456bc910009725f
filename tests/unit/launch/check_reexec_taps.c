/* SPDX-License-Identifier: Apache-2.0 */

/* The socket by which the child hands the queues of our own network over. This test program starts
 * itself as the child (be_child), which says by its exit status what it found. check_reexec.c has
 * the rest. */
#include "launch/reexec.h"

#include <poll.h>

#include "base/fd.h"
#include "launch/handshake.h"
#include "msg.h"
#include "os/signals.h"
#include "tests/unit/fixture.h"

#define VARIABLE "_RLKBOX_CHILD"
#define HANDED	 65 /* descriptors that the child hands over, as many as it ever does */

static struct err e;

/* ---- the child ---- */

enum finding { FINE = 10, NOT_TAKEN, VARIABLE_LEFT, WRONG_SOCKET, INHERITED, NOT_SENT };

static int hand_over(int sock)
{
	int fds[HANDED];

	for (int i = 0; i < HANDED; i++)
		fds[i] = sock;
	return msg_send_fds(sock, fds, HANDED, 0);
}

static bool is_seqpacket(int fd)
{
	int type = 0;
	socklen_t len = sizeof(type);

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_SEQPACKET;
}

/* argv[1] says whether the child gets a socket. */
static int be_child(char *const *argv)
{
	const bool wants_socket = strcmp(argv[1], "socket") == 0;
	struct reexec r;

	if (reexec_take(&r, &e) < 0)
		return NOT_TAKEN;
	if (getenv(VARIABLE) != NULL)
		return VARIABLE_LEFT;
	if ((r.taps >= 0) != wants_socket || (wants_socket && !is_seqpacket(r.taps)))
		return WRONG_SOCKET;
	if (!fixture_is_cloexec(r.from_parent) || !fixture_is_cloexec(r.to_parent) ||
	    (wants_socket && !fixture_is_cloexec(r.taps)))
		return INHERITED;
	if (wants_socket && hand_over(r.taps) < 0)
		return NOT_SENT;
	return FINE;
}

/* ---- the parent ---- */

static void write_file(pid_t pid, const char *name, const char *text)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static void map_ids(pid_t pid)
{
	char map[32];

	write_file(pid, "setgroups", "deny");
	snprintf(map, sizeof(map), "0 %u 1", (unsigned int)geteuid());
	write_file(pid, "uid_map", map);
	snprintf(map, sizeof(map), "0 %u 1", (unsigned int)getegid());
	write_file(pid, "gid_map", map);
}

/* Starts the child. Returns 0 if there can be none: then the test has been reported as skipped, or
 * runs under valgrind, which does not follow clone(2). */
static pid_t start(enum net_driver driver, struct reexec_ends *ends)
{
	char program[] = "rootlesskit", with[] = "socket", without[] = "none";
	char *const argv[] = { program, driver == NET_BUILTIN ? with : without, NULL };
	struct opts o = { .net.driver = driver };
	int signal_fd;
	pid_t pid;

	if (!fixture_is_forked())
		return 0;
	signal_fd = signals_block();
	pid = reexec_start(&o, argv, "/nonexistent", 0, ends, &e);
	if (signal_fd >= 0)
		close(signal_fd);
	if (pid == -EPERM || pid == -ENOSPC) {
		fixture_skip("userns", "a user namespace cannot be made");
		return 0;
	}
	ck_assert_msg(pid > 0, "%s", e.msg);
	return pid;
}

static void run_child(pid_t pid, const struct reexec_ends *ends)
{
	ck_assert_int_eq(handshake_send(ends->to_child, HS_PARENT_HELLO, NULL, &e), 0);
	ck_assert_int_eq(handshake_recv(ends->from_child, HS_CHILD_HELLO, NULL, &e), 0);
	map_ids(pid);
	ck_assert_int_eq(handshake_send(ends->to_child, HS_IDMAP_COMPLETED, NULL, &e), 0);
}

static void await_exit(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == FINE, "wait status 0x%x", status);
}

static void close_pipes(struct reexec_ends *ends)
{
	fd_close(&ends->to_child);
	fd_close(&ends->from_child);
}

START_TEST(the_child_hands_descriptors_over)
{
	struct pollfd p = { .events = POLLIN };
	int fds[HANDED + 1];
	struct reexec_ends ends;
	size_t count;
	char byte;
	pid_t pid = start(NET_BUILTIN, &ends);

	if (pid == 0)
		return;
	ck_assert(fixture_is_cloexec(ends.taps));
	ck_assert_int_eq(msg_recv_fds(ends.taps, &byte, 1, fds, HANDED, &count), -EAGAIN);
	run_child(pid, &ends);
	p.fd = ends.taps;
	ck_assert_int_eq(poll(&p, 1, 1000 * FIXTURE_DEADLINE_S), 1);
	ck_assert_int_eq(msg_recv_fds(ends.taps, &byte, 1, fds, HANDED, &count), 1);
	ck_assert_uint_eq(count, HANDED);
	fd_close_all(fds, count);
	await_exit(pid);
	/* Nobody else has the child's end. */
	ck_assert_int_eq(msg_recv_fds(ends.taps, &byte, 1, fds, HANDED, &count), 0);
	fd_close(&ends.taps);
	close_pipes(&ends);
}
END_TEST

START_TEST(there_is_no_socket_without_a_network_of_our_own)
{
	struct reexec_ends ends;
	pid_t pid = start(NET_NONE, &ends);

	if (pid == 0)
		return;
	ck_assert_int_eq(ends.taps, -1);
	run_child(pid, &ends);
	await_exit(pid);
	close_pipes(&ends);
}
END_TEST

/* The parent may end before the child has handed anything over. */
START_TEST(a_child_whose_parent_ends_exits)
{
	struct reexec_ends ends;
	int status;
	pid_t pid = start(NET_BUILTIN, &ends);

	if (pid == 0)
		return;
	close_pipes(&ends);
	fd_close(&ends.taps);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1);
}
END_TEST

/* Two pipes and a pair of sockets */
START_TEST(a_shortage_of_descriptors_leaves_nothing_behind)
{
	const char advice[] = "; try a higher limit of file descriptors: ulimit -n";
	struct opts o = { .net.driver = NET_BUILTIN };
	struct reexec_ends ends;
	struct rlimit old = fixture_limit_fds(_i);
	pid_t pid = reexec_start(&o, FIXTURE_ARGV("rootlesskit"), "/nonexistent", 0, &ends, &e);

	fixture_restore_fds(&old);
	ck_assert_int_eq(pid, -EMFILE);
	ck_assert_msg(strlen(e.msg) > sizeof(advice) &&
			      strcmp(e.msg + strlen(e.msg) - sizeof(advice) + 1, advice) == 0,
		      "%s", e.msg);
}
END_TEST

int main(int argc, char **argv)
{
	Suite *s;
	TCase *tc;

	if (argc == 2 && reexec_is_child(argv))
		return be_child(argv);
	s = suite_create("reexec_taps");
	tc = fixture_case("reexec_taps");
	tcase_add_test(tc, the_child_hands_descriptors_over);
	tcase_add_test(tc, there_is_no_socket_without_a_network_of_our_own);
	tcase_add_test(tc, a_child_whose_parent_ends_exits);
	tcase_add_loop_test(tc, a_shortage_of_descriptors_leaves_nothing_behind, 0, 6);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
