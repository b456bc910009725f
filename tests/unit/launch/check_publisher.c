/* SPDX-License-Identifier: Apache-2.0 */

/* The parent's ports, with a driver that opens no sockets: which driver needs the port service,
 * when that is up, what the driver is told, and what happens if a port cannot be published. */
#include "launch/publisher.h"

#include <arpa/inet.h>

#include "base/fd.h"
#include "ports/worker.h"
#include "tests/unit/capturedlog.h"
#include "tests/unit/fakedriver.h"
#include "tests/unit/ownmounts.h"

static struct opts opts;
static struct statedir sd;
static struct network net;
static struct publisher publisher;
static struct err e;

static struct portdriver driver;
static struct port_setup setup; /* what the driver was started with */
static char child_socket[PATH_MAX], api_socket[PATH_MAX], child_ip[INET6_ADDRSTRLEN];
static int service; /* what child_socket led to at the start, O_PATH; -1: nothing */

/* The strings are valid only during the call. */
static int start(void **out, const struct port_setup *given, struct err *err)
{
	setup = *given;
	snprintf(child_socket, sizeof(child_socket), "%s", given->child_socket);
	snprintf(api_socket, sizeof(api_socket), "%s", given->api_socket);
	snprintf(child_ip, sizeof(child_ip), "%s", given->child_ip);
	service = open(child_socket, O_PATH | O_CLOEXEC);
	return fake_start(out, given, err);
}

static void begin(void)
{
	memset(&fake_driver, 0, sizeof(fake_driver));
	opts = (struct opts){ .workers = 3 };
	sd = (struct statedir)STATEDIR_INIT;
	sd.dir_fd = open(fixture_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	snprintf(sd.path, sizeof(sd.path), "%s", fixture_dir);
	memset(&net, 0, sizeof(net));
	inet_pton(AF_INET, "10.0.2.100", &net.ip);
	driver = fake_portdriver;
	driver.start = start;
	service = -1;
	e.msg[0] = '\0';
	capture_log(true);
}

static void end(void)
{
	publisher_free(&publisher, NULL);
	release_log();
	fd_close(&service);
	close(sd.dir_fd);
}

/* Makes the publisher, with the driver of the test unless there is none. */
static void make_publisher(enum port_driver port_driver)
{
	opts.net.port_driver = port_driver;
	publisher_init(&publisher, &opts, &sd, &net, NULL);
	if (publisher.driver != NULL)
		publisher.driver = &driver;
}

static void start_publisher(int result)
{
	ck_assert_msg(publisher_start(&publisher, &e) == result, "%s", e.msg);
}

/* ---- the port service ---- */

static const struct {
	enum port_driver driver;
	bool uses_service;
} services[] = {
	{ PORT_NONE, false },	     { PORT_BUILTIN, true }, { PORT_IMPLICIT, false },
	{ PORT_SLIRP4NETNS, false }, { PORT_PESTO, false },
};

START_TEST(only_the_builtin_driver_needs_the_port_service)
{
	struct stat st;

	make_publisher(services[_i].driver);
	ck_assert_int_eq(publisher_uses_service(services[_i].driver), services[_i].uses_service);
	ck_assert_msg(publisher_expect_service(&publisher, &e) == 0, "%s", e.msg);
	if (!services[_i].uses_service) {
		ck_assert_int_eq(access(fixture_path(STATE_BP_READY), F_OK), -1);
		ck_assert_int_eq(publisher_check_service(&publisher, &e), 0);
		return;
	}
	ck_assert_int_eq(stat(fixture_path(STATE_BP_READY), &st), 0);
	ck_assert_uint_eq(st.st_mode, S_IFIFO | 0600);
	ck_assert(fixture_is_cloexec(publisher.ready_fd));
}
END_TEST

enum service_way {
	NEVER_CAME,
	IS_STARTING,
	IS_UP,
};

static const struct {
	enum service_way way;
	int result;
} states[] = {
	{ NEVER_CAME, -EPROTO },
	{ IS_STARTING, -EPROTO },
	{ IS_UP, 0 },
};

START_TEST(the_port_service_is_up_when_it_has_closed_the_fifo)
{
	int fifo = -1;

	make_publisher(PORT_BUILTIN);
	ck_assert_int_eq(publisher_expect_service(&publisher, &e), 0);
	if (states[_i].way != NEVER_CAME)
		fifo = open(fixture_path(STATE_BP_READY), O_WRONLY | O_CLOEXEC);
	if (states[_i].way == IS_UP)
		fd_close(&fifo);
	ck_assert_int_eq(publisher_check_service(&publisher, &e), states[_i].result);
	if (states[_i].result != 0)
		ck_assert_str_eq(e.msg, "the child's port service is not up");
	ck_assert_int_eq(publisher.ready_fd, -1); /* it is needed only once */
	fd_close(&fifo);
}
END_TEST

START_TEST(a_fifo_that_cannot_be_made_is_an_error)
{
	char why[PATH_MAX + 64];

	fixture_file(STATE_BP_READY, "", 0600);
	make_publisher(PORT_BUILTIN);
	ck_assert_int_eq(publisher_expect_service(&publisher, &e), -EEXIST);
	snprintf(why, sizeof(why), "mkfifo %s: file exists", fixture_path(STATE_BP_READY));
	ck_assert_str_eq(e.msg, why);
}
END_TEST

/* ---- the driver ---- */

START_TEST(without_a_driver_nothing_is_started)
{
	make_publisher(_i == 0 ? PORT_NONE : PORT_IMPLICIT);
	start_publisher(0);
	ck_assert_ptr_null(publisher.ports);
	publisher_end(&publisher);
}
END_TEST

static const struct {
	enum port_driver driver;
	const char *api; /* name of the network program's socket */
} sockets[] = {
	{ PORT_BUILTIN, STATE_SLIRP_SOCKET },
	{ PORT_SLIRP4NETNS, STATE_SLIRP_SOCKET },
	{ PORT_PESTO, STATE_PASTA_SOCKET },
};

START_TEST(the_driver_is_told_what_it_needs)
{
	make_publisher(sockets[_i].driver);
	opts.net.source_ip_transparent = true;
	opts.net.ipv6 = true;
	start_publisher(0);
	ck_assert_str_eq(setup.program, "rootlesskit");
	ck_assert_uint_eq(setup.workers, 3);
	ck_assert(setup.source_ip);
	ck_assert(setup.ipv6);
	ck_assert_str_eq(child_ip, "10.0.2.100");
	ck_assert_str_eq(api_socket, fixture_path(sockets[_i].api));
	if (sockets[_i].driver != PORT_BUILTIN)
		ck_assert_str_eq(child_socket, "");
	else
		ck_assert_str_eq(child_socket, fixture_path(STATE_BP_SOCKET)); /* not there yet */
}
END_TEST

/* Programs that clean /tmp remove files and directories, or move them. */
START_TEST(the_socket_of_the_port_service_is_found_after_it_was_removed)
{
	struct stat before, after;

	ck_assert_int_eq(stat(fixture_file(STATE_BP_SOCKET, "", 0600), &before), 0);
	make_publisher(PORT_BUILTIN);
	start_publisher(0);
	ck_assert_int_eq(unlink(fixture_path(STATE_BP_SOCKET)), 0);
	ck_assert_int_eq(stat(child_socket, &after), 0);
	ck_assert_uint_eq(after.st_ino, before.st_ino);
	ck_assert_int_ge(service, 0);
}
END_TEST

START_TEST(a_driver_that_cannot_start_is_an_error)
{
	make_publisher(PORT_BUILTIN);
	fake_driver.fails_with = ENOENT;
	start_publisher(-ENOENT);
	ck_assert_str_eq(e.msg, "the fake driver fails");
	ck_assert_ptr_null(publisher.ports);
}
END_TEST

/* ---- ports ---- */

#define PORTS_MAX 3

static const struct {
	const char *ports[PORTS_MAX]; /* of the command line */
	int refused_id;		      /* of the port that the driver refuses; 0: none */
	int result;
	size_t opened;
	const char *text; /* the reason, or the last line of the log */
} lines[] = {
	{ { NULL }, 0, 0, 0, "" },
	{ { "127.0.0.1:8080:80/tcp" }, 0, 0, 1, "published port 1: 127.0.0.1:8080:80/tcp" },
	{ { "127.0.0.1:8080:80/tcp", ":53:53/udp" }, 0, 0, 2, "published port 2: :53:53/udp" },
	/* the first mistake ends the start */
	{ { "127.0.0.1:8080:80/tcp", "8081/tcp", "127.0.0.1:8082:80/tcp" },
	  0,
	  -EINVAL,
	  1,
	  "unexpected PortSpec string: \"8081/tcp\"" },
	{ { "127.0.0.1:8080:80/tcp", "127.0.0.1:8081:80/tcp", "127.0.0.1:8082:80/tcp" },
	  2,
	  -EADDRINUSE,
	  1,
	  "failed to expose port {tcp 127.0.0.1 8081 80 }: the fake driver fails" },
	{ { "127.0.0.1:8080:80/tcp", "127.0.0.1:8080:81/tcp" },
	  0,
	  -EEXIST,
	  1,
	  "failed to expose port {tcp 127.0.0.1 8080 81 }: " },
};

static int refused_id;

static int open_or_fail(void *arg, struct port_slot *slot, struct err *err)
{
	fake_driver.fails_with = slot->entry.id == refused_id ? EADDRINUSE : 0;
	return fake_open(arg, slot, err);
}

START_TEST(the_ports_of_the_command_line_are_published_in_order)
{
	char *items[PORTS_MAX];
	const char *where;

	make_publisher(PORT_BUILTIN);
	opts.net.publish.items = items;
	for (size_t i = 0; i < PORTS_MAX && lines[_i].ports[i] != NULL; i++)
		items[opts.net.publish.count++] = strdup(lines[_i].ports[i]);
	driver.open = open_or_fail;
	refused_id = lines[_i].refused_id;
	ck_assert_int_eq(publisher_start(&publisher, &e), lines[_i].result);
	ck_assert_uint_eq(fake_driver.opened, lines[_i].opened);
	where = lines[_i].result == 0 ? read_log() : e.msg;
	ck_assert_msg(strstr(where, lines[_i].text) != NULL, "%s", where);
	for (size_t i = 0; i < opts.net.publish.count; i++)
		free(items[i]);
}
END_TEST

/* ---- the end ---- */

START_TEST(at_the_end_connections_have_time_to_deliver_what_was_sent)
{
	make_publisher(PORT_BUILTIN);
	start_publisher(0);
	publisher_end(&publisher);
	ck_assert_uint_eq(fake_driver.freed_ms, WORKER_END_MS);
	ck_assert_ptr_null(publisher.ports);
}
END_TEST

START_TEST(ports_that_cannot_be_freed_yet_are_freed_later)
{
	make_publisher(PORT_BUILTIN);
	start_publisher(0);
	fake_driver.is_busy = true;
	publisher_end(&publisher);
	ck_assert_ptr_nonnull(publisher.ports);
	fake_driver.is_busy = false;
	publisher_free(&publisher, NULL);
	ck_assert_ptr_null(publisher.ports);
	ck_assert_uint_eq(fake_driver.freed_ms, 0);
}
END_TEST

static pid_t inside;

/* The worker is blocked until the process inside has ended. */
static bool free_if_unblocked(void *arg, struct port_slot *slots, size_t count,
			      unsigned int wait_ms)
{
	fake_driver.is_busy = kill(inside, 0) == 0 && waitpid(inside, NULL, WNOHANG) != inside;
	return fake_free(arg, slots, count, wait_ms);
}

/* Starts a process in a user namespace of its own. */
static void start_inside(struct childproc *child)
{
	char path[64], byte = '-';
	int ready[2];

	ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
	inside = fork();
	if (inside == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* if the test fails */
		if (unshare(CLONE_NEWUSER) == 0 && write(ready[1], "y", 1) == 1)
			pause();
		_exit(1);
	}
	close(ready[1]);
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)inside);
	ck_assert_int_eq(stat(path, &child->userns), 0);
}

START_TEST(processes_inside_that_block_the_end_are_killed)
{
	struct childproc child = { 0 };

	make_publisher(PORT_BUILTIN);
	if (!need_userns())
		return;
	start_inside(&child);
	driver.free = free_if_unblocked;
	start_publisher(0);
	publisher_free(&publisher, &child);
	ck_assert_ptr_null(publisher.ports);
	ck_assert_int_eq(waitpid(inside, NULL, 0), -1); /* it has ended and is reaped */
	ck_assert_msg(strstr(read_log(), "a descriptor from inside is blocked; killing the "
					 "processes that are left there") != NULL,
		      "%s", read_log());
}
END_TEST

int main(void)
{
	Suite *s = suite_create("publisher");
	TCase *tc = fixture_case_with_dir("publisher");

	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_loop_test(tc, only_the_builtin_driver_needs_the_port_service, 0, COUNT(services));
	tcase_add_loop_test(tc, the_port_service_is_up_when_it_has_closed_the_fifo, 0,
			    COUNT(states));
	tcase_add_test(tc, a_fifo_that_cannot_be_made_is_an_error);
	tcase_add_loop_test(tc, without_a_driver_nothing_is_started, 0, 2);
	tcase_add_loop_test(tc, the_driver_is_told_what_it_needs, 0, COUNT(sockets));
	tcase_add_test(tc, the_socket_of_the_port_service_is_found_after_it_was_removed);
	tcase_add_test(tc, a_driver_that_cannot_start_is_an_error);
	tcase_add_loop_test(tc, the_ports_of_the_command_line_are_published_in_order, 0,
			    COUNT(lines));
	tcase_add_test(tc, at_the_end_connections_have_time_to_deliver_what_was_sent);
	tcase_add_test(tc, ports_that_cannot_be_freed_yet_are_freed_later);
	tcase_add_test(tc, processes_inside_that_block_the_end_are_killed);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
