/* SPDX-License-Identifier: Apache-2.0 */

/* The start of the builtin port driver with a child of another program or version: what it makes of
 * answers to "init". Ports are tested in check_workers.c and tests/e2e/50-ports.sh.
 */
#include <poll.h>

#include "base/fd.h"
#include "formats/bpmsg.h"
#include "msg.h"
#include "os/statedir.h"
#include "os/unixsock.h"
#include "ports/builtin.h"
#include "tests/unit/fixture.h"

#define DEADLINE_MS (FIXTURE_DEADLINE_S / 4 * 1000)

static struct err e;
static pid_t child;

/* Reads one request, which must be "init", and writes `text` as the answer: in a frame, unless it
 * begins with a NUL. Returns the exit status of the child. */
static int answer_init(int listener, const char *text, size_t len)
{
	struct msg_reader reader = { 0 };
	struct bpmsg req;
	FD_AUTO int client = -1;

	if (fd_wait(listener, POLLIN, DEADLINE_MS) <= 0)
		return 1;
	client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (client < 0 || msg_read(&reader, client) != 1)
		return 2;
	if (bpmsg_decode(&req, reader.body, reader.len, NULL) < 0 || req.type != BPMSG_INIT)
		return 3;
	msg_reader_reset(&reader);
	if (text == NULL)
		return 0;
	return (*text == '\0' ? fd_write_all(client, text, len) : msg_send(client, text, len)) < 0;
}

/* Starts a child that answers one request. */
static void start_child(const char *text, size_t len)
{
	FD_AUTO int listener = unixsock_listen(fixture_path(STATE_BP_SOCKET), SOCK_STREAM, &e);

	ck_assert_msg(listener >= 0, "%s", e.msg);
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* if the test fails */
		_exit(answer_init(listener, text, len));
	}
}

static void end_child(void)
{
	int status;

	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, W_EXITCODE(0, 0));
	unlink(fixture_path(STATE_BP_SOCKET));
}

static int start_driver(void **driver, bool source_ip)
{
	char path[PATH_MAX];
	const struct port_setup setup = { .child_socket = path,
					  .workers = 1,
					  .source_ip = source_ip };

	snprintf(path, sizeof(path), "%s", fixture_path(STATE_BP_SOCKET));
	return builtin_ports.start(driver, &setup, &e);
}

/* ---- good answers ---- */

static const struct {
	const char *answer;
	const char *backend;
} good[] = {
	/* RootlessKit before 3.3.0 */
	{ "null", "none" },
	{ "{}", "none" },
	{ "{\"Error\":\"\"}", "none" },
	{ "{\"Error\":\"\",\"SourceIPTransparentBackend\":\"\"}", "none" },
	{ "{\"Error\":null,\"SourceIPTransparentBackend\":null}", "none" },
	{ "{\"Error\":\"\",\"SourceIPTransparentBackend\":\"nft\"}", "nft" },
	{ "{\"SourceIPTransparentBackend\":\"iptables\"}", "iptables" },
	/* A newer child may know more. */
	{ "{\"Error\":\"\",\"Foo\":[1],\"SourceIPTransparentBackend\":\"fifteen letters\"}",
	  "fifteen letters" },
};

START_TEST(the_child_names_the_backend_of_kept_client_addresses)
{
	void *driver = NULL;

	start_child(good[_i].answer, strlen(good[_i].answer));
	ck_assert_msg(start_driver(&driver, true) == 0, "%s", e.msg);
	ck_assert_str_eq(builtin_ports.source_ip_backend(driver), good[_i].backend);
	ck_assert(builtin_ports.free(driver, NULL, 0, DEADLINE_MS));
	end_child();
}
END_TEST

START_TEST(no_backend_is_named_if_client_addresses_are_not_kept)
{
	void *driver = NULL;

	start_child(good[_i].answer, strlen(good[_i].answer));
	ck_assert_msg(start_driver(&driver, false) == 0, "%s", e.msg);
	ck_assert_ptr_null(builtin_ports.source_ip_backend(driver));
	ck_assert(builtin_ports.free(driver, NULL, 0, DEADLINE_MS));
	end_child();
}
END_TEST

/* ---- bad answers ---- */

#define BACKEND "SourceIPTransparentBackend"
#define TEXT(t) (t), sizeof(t) - 1

static const struct {
	const char *answer;
	size_t len;
	const char *why;
} bad[] = {
	{ TEXT("{\"Error\":\"no way\"}"), "no way" },
	{ TEXT("{\"Error\":\"no way\",\"" BACKEND "\":\"nft\"}"), "no way" },
	{ TEXT("[]"), "json: cannot unmarshal array into an answer" },
	{ TEXT("nul"), "unexpected EOF" },
	{ TEXT("{\"" BACKEND "\":1}"),
	  "json: cannot unmarshal number into field " BACKEND " of type string" },
	{ TEXT("{\"" BACKEND "\":[\"nft\"]}"),
	  "json: cannot unmarshal array into field " BACKEND " of type string" },
	{ TEXT("{\"" BACKEND "\":\"sixteen  letters\"}"), "json: field " BACKEND " is too long" },
	{ TEXT("{\"" BACKEND "\":\"nft\\u0000\"}"),
	  "json: field " BACKEND " holds a NUL character" },
	/* not frames */
	{ NULL, 0, "answer of the port service: no data available" },
	{ TEXT("\0\0\0\0"), "answer of the port service: protocol error" },
	{ TEXT("\0\0\2\0null"), "answer of the port service: protocol error" },
};

START_TEST(a_bad_answer_to_init_ends_the_start)
{
	void *driver = NULL;

	start_child(bad[_i].answer, bad[_i].len);
	ck_assert_int_lt(start_driver(&driver, true), 0);
	ck_assert_str_eq(e.msg, bad[_i].why);
	ck_assert_ptr_null(driver);
	end_child();
}
END_TEST

START_TEST(no_port_service_ends_the_start)
{
	char why[PATH_MAX + 64];
	void *driver = NULL;

	snprintf(why, sizeof(why), "connect %s: no such file or directory",
		 fixture_path(STATE_BP_SOCKET));
	ck_assert_int_eq(start_driver(&driver, true), -ENOENT);
	ck_assert_str_eq(e.msg, why);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("builtin");
	TCase *tc = fixture_case_with_dir("start");

	tcase_add_loop_test(tc, the_child_names_the_backend_of_kept_client_addresses, 0,
			    COUNT(good));
	tcase_add_loop_test(tc, no_backend_is_named_if_client_addresses_are_not_kept, 0,
			    COUNT(good));
	tcase_add_loop_test(tc, a_bad_answer_to_init_ends_the_start, 0, COUNT(bad));
	tcase_add_test(tc, no_port_service_ends_the_start);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
