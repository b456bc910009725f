/* SPDX-License-Identifier: Apache-2.0 */

/* The HTTP client. Where an answer fits into a socket buffer, the server is the other end of a
 * socket pair, which has written its answer before the client asks. Otherwise the server is a
 * thread. */
#include "tests/unit/fixture.h"

#include <poll.h>

#include "api/client.h"
#include "base/clock.h"
#include "base/fd.h"
#include "os/unixsock.h"

#define REQUEST	     "GET / HTTP/1.1\r\nConnection: close\r\n\r\n"
#define SHORT_MS     50
#define ENOUGH_MS    (1000ULL * FIXTURE_DEADLINE_S)
#define PIECE	     65536 /* bytes that a server writes at once */
#define BODY_TOO_BIG (CLIENT_MAX_ANSWER + 1)

static struct client_answer answer;
static struct err e;

static void assert_body(const char *body)
{
	ck_assert_msg(answer.body_len == strlen(body) &&
			      memcmp(answer.body, body, answer.body_len) == 0,
		      "body: %.*s", (int)answer.body_len, answer.body);
}

/* ---- one exchange ---- */

/* Asks a server that has already sent `text`, and that then closes the connection unless it
 * `stays`. */
static int exchange(const char *text, bool stays, unsigned long long timeout_ms)
{
	int fds[2];
	int r;

	fixture_socketpair(fds);
	ck_assert_int_eq(write(fds[1], text, strlen(text)), (ssize_t)strlen(text));
	if (!stays)
		shutdown(fds[1], SHUT_WR);
	r = client_exchange(fds[0], REQUEST, strlen(REQUEST), clock_now_ms() + timeout_ms, &answer,
			    &e);
	close(fds[0]);
	close(fds[1]);
	return r;
}

static const struct {
	const char *text;
	bool stays;
	int status;
	const char *body;
} answers[] = {
	{ "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", true, 200, "hello" },
	{ "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more", true, 200, "hello" },
	{ "HTTP/1.1 200 OK\r\n\r\nuntil the end", false, 200, "until the end" },
	{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
	  true, 200, "abcde" },
	{ "HTTP/1.1 204 No Content\r\n\r\n", true, 204, "" },
	{ "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\nx", true,
	  201, "x" },
	{ "HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno", true, 400, "no" },
};

START_TEST(an_answer_is_read_to_its_end)
{
	ck_assert_msg(exchange(answers[_i].text, answers[_i].stays, ENOUGH_MS) == 0, "%s", e.msg);
	ck_assert_int_eq(answer.status, answers[_i].status);
	assert_body(answers[_i].body);
	client_answer_free(&answer);
}
END_TEST

static const struct {
	const char *text;
	const char *reason;
} bad_answers[] = {
	{ "", "EOF" },
	{ "HTTP/1.1 200", "unexpected EOF" },
	{ "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", "unexpected EOF" },
	{ "SSH-2.0-OpenSSH_9.2\r\n\r\n", "malformed HTTP response" },
	{ "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "malformed HTTP response" },
};

START_TEST(a_bad_answer_is_an_error)
{
	ck_assert_int_eq(exchange(bad_answers[_i].text, false, ENOUGH_MS), -EPROTO);
	ck_assert_str_eq(e.msg, bad_answers[_i].reason);
	ck_assert_ptr_null(answer.buf);
}
END_TEST

static const char *const silences[] = {
	"",
	"HTTP/1.1 200 OK\r\n",
	"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
	"HTTP/1.1 100 Continue\r\n\r\n",
};

START_TEST(a_server_that_does_not_finish_its_answer_is_a_timeout)
{
	ck_assert_int_eq(exchange(silences[_i], true, SHORT_MS), -ETIMEDOUT);
	ck_assert_str_eq(e.msg, "no answer in time");
	ck_assert_ptr_null(answer.buf);
}
END_TEST

START_TEST(a_server_that_does_not_read_the_request_is_a_timeout)
{
	size_t len = 4 * 1024 * 1024;
	char *request = calloc(1, len);
	int fds[2];

	ck_assert_ptr_nonnull(request);
	fixture_socketpair(fds);
	ck_assert_int_eq(
		client_exchange(fds[0], request, len, clock_now_ms() + SHORT_MS, &answer, &e),
		-ETIMEDOUT);
	close(fds[0]);
	close(fds[1]);
	free(request);
}
END_TEST

/* A server may refuse a request before it has read all of it. */
START_TEST(an_answer_of_a_server_that_closed_its_reading_side_is_read)
{
	static const char text[] = "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno";
	int fds[2];

	fixture_socketpair(fds);
	ck_assert_int_eq(write(fds[1], text, strlen(text)), (ssize_t)strlen(text));
	shutdown(fds[1], SHUT_RDWR);
	ck_assert_int_eq(client_exchange(fds[0], REQUEST, strlen(REQUEST),
					 clock_now_ms() + ENOUGH_MS, &answer, &e),
			 0);
	ck_assert_int_eq(answer.status, 413);
	client_answer_free(&answer);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

/* ---- a server in a thread ---- */

static struct server {
	int listener;
	pthread_t thread;
	const char *head;
	size_t body_len;    /* bytes 'b' that follow the head */
	bool repeats;	    /* sends the head until the client goes away */
	char request[4096]; /* what the client has sent */
} server;

static bool send_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n < 0)
			return false;
		data += n;
		len -= (size_t)n;
	}
	return true;
}

static void *serve(void *arg)
{
	static char piece[PIECE];
	ssize_t n;
	int fd;

	(void)arg;
	memset(piece, 'b', sizeof(piece));
	while (fd_wait(server.listener, POLLIN, -1) < 0)
		;
	fd = accept4(server.listener, NULL, NULL, SOCK_CLOEXEC);
	n = read(fd, server.request, sizeof(server.request) - 1);
	server.request[n > 0 ? n : 0] = '\0';
	while (send_all(fd, server.head, strlen(server.head)) && server.repeats)
		;
	for (size_t left = server.body_len, len; left > 0; left -= len) {
		len = left < sizeof(piece) ? left : sizeof(piece);
		if (!send_all(fd, piece, len))
			break;
	}
	close(fd);
	return NULL;
}

/* Calls the API of a server that answers with `head` and `body_len` bytes. */
static int call(const char *method, const char *json, const char *head, size_t body_len)
{
	int r;

	server.head = head;
	server.body_len = body_len;
	server.listener = unixsock_listen(fixture_path("s"), SOCK_STREAM, &e);
	server.thread = fixture_thread(serve, NULL);
	r = client_call(fixture_path("s"), method, "/v1/ports", json, &answer, &e);
	pthread_join(server.thread, NULL);
	close(server.listener);
	unlink(fixture_path("s"));
	return r;
}

static const struct {
	const char *method, *json;
	const char *request;
} requests[] = {
	{ "GET", NULL, "GET /v1/ports HTTP/1.1\r\nHost: rootlesskit\r\nConnection: close\r\n\r\n" },
	{ "POST", "{\"a\":1}",
	  "POST /v1/ports HTTP/1.1\r\nHost: rootlesskit\r\nConnection: close\r\n"
	  "Content-Type: application/json\r\nContent-Length: 7\r\n\r\n{\"a\":1}" },
	{ "POST", "",
	  "POST /v1/ports HTTP/1.1\r\nHost: rootlesskit\r\nConnection: close\r\n"
	  "Content-Type: application/json\r\nContent-Length: 0\r\n\r\n" },
};

START_TEST(a_call_sends_its_request_and_returns_the_answer)
{
	ck_assert_msg(call(requests[_i].method, requests[_i].json,
			   "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n[]", 0) == 0,
		      "%s", e.msg);
	ck_assert_str_eq(server.request, requests[_i].request);
	ck_assert_int_eq(answer.status, 201);
	assert_body("[]");
	client_answer_free(&answer);
}
END_TEST

#define ANSWER(status, body) "HTTP/1.1 " status " X\r\n\r\n" body

static const struct {
	const char *head;
	const char *reason;
} refusals[] = {
	{ ANSWER("400", "{\"message\":\"conflict with ID 1\"}"), "conflict with ID 1" },
	{ ANSWER("404", "404 page not found\n"),
	  "unexpected HTTP status 404 Not Found, body=\"404 page not found\\n\"" },
	{ ANSWER("400", "{\"message\":\"\"}"),
	  "unexpected HTTP status 400 Bad Request, body=\"{\\\"message\\\":\\\"\\\"}\"" },
	{ ANSWER("400", "{\"message\":5}"),
	  "unexpected HTTP status 400 Bad Request, body=\"{\\\"message\\\":5}\"" },
	{ ANSWER("302", ""), "unexpected HTTP status 302 Unknown, body=\"\"" },
	{ ANSWER("600", ""), "unexpected HTTP status 600 Unknown, body=\"\"" },
};

START_TEST(an_answer_other_than_success_is_an_error_with_the_servers_message)
{
	ck_assert_int_eq(call("GET", NULL, refusals[_i].head, 0), -EREMOTEIO);
	ck_assert_str_eq(e.msg, refusals[_i].reason);
	ck_assert_ptr_null(answer.buf);
}
END_TEST

START_TEST(a_long_body_of_a_refusal_is_quoted_in_part)
{
	char body[201] = "";

	ck_assert_int_eq(call("GET", NULL, "HTTP/1.1 500 X\r\n\r\n", 100000), -EREMOTEIO);
	memset(body, 'b', 200);
	ck_assert_ptr_nonnull(strstr(e.msg, body));
	ck_assert_ptr_null(strstr(strstr(e.msg, body) + 1, body));
}
END_TEST

START_TEST(a_failed_call_names_the_request)
{
	ck_assert_int_eq(call("DELETE", NULL, "nonsense\r\n\r\n", 0), -EPROTO);
	ck_assert_str_eq(e.msg, "Delete \"http://rootlesskit/v1/ports\": malformed HTTP response");
}
END_TEST

START_TEST(a_long_answer_is_read)
{
	size_t len = 6 * 1024 * 1024;

	ck_assert_msg(call("GET", NULL, "HTTP/1.1 200 OK\r\n\r\n", len) == 0, "%s", e.msg);
	ck_assert_uint_eq(answer.body_len, len);
	ck_assert_int_eq(answer.body[len - 1], 'b');
	client_answer_free(&answer);
}
END_TEST

START_TEST(too_long_an_answer_is_an_error)
{
	ck_assert_int_eq(call("GET", NULL, "HTTP/1.1 200 OK\r\n\r\n", BODY_TOO_BIG), -EMSGSIZE);
	ck_assert_ptr_nonnull(strstr(e.msg, "the answer is longer than 16777216 bytes"));
	ck_assert_ptr_null(answer.buf);
}
END_TEST

START_TEST(endless_interim_answers_are_an_error)
{
	server.repeats = true;
	ck_assert_int_eq(call("GET", NULL, "HTTP/1.1 100 Continue\r\n\r\n", 0), -EPROTO);
	server.repeats = false;
}
END_TEST

START_TEST(too_long_a_request_is_an_error)
{
	char json[4096];

	memset(json, 'x', sizeof(json) - 1);
	json[sizeof(json) - 1] = '\0';
	ck_assert_int_eq(client_call(fixture_path("s"), "POST", "/", json, &answer, &e), -EMSGSIZE);
	ck_assert_str_eq(e.msg, "the request is too long");
}
END_TEST

/* ---- without a server ---- */

/* Asserts a reason of the form BEGIN PATH END. */
static void expect_no_server(const char *path, int errnum, const char *begin, const char *end)
{
	char text[ERR_LEN];

	ck_assert_int_eq(client_call(path, "GET", "/v1/info", NULL, &answer, &e), -errnum);
	snprintf(text, sizeof(text), "%s%s%s", begin, path, end);
	ck_assert_str_eq(e.msg, text);
	ck_assert_ptr_null(answer.buf);
}

START_TEST(a_missing_socket_is_an_error)
{
	expect_no_server(fixture_path("none"), ENOENT, "stat ", ": no such file or directory");
}
END_TEST

#define DIALLED "Get \"http://rootlesskit/v1/info\": dial unix "

START_TEST(a_socket_without_a_server_is_an_error)
{
	close(unixsock_listen(fixture_path("s"), SOCK_STREAM, &e));
	expect_no_server(fixture_path("s"), ECONNREFUSED, DIALLED, ": connect: connection refused");
	unlink(fixture_path("s"));
}
END_TEST

START_TEST(a_file_that_is_not_a_socket_is_an_error)
{
	char *path = fixture_file("f", "", 0600);

	expect_no_server(path, ECONNREFUSED, DIALLED, ": connect: connection refused");
	unlink(path);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("client");
	TCase *tc = fixture_case_with_dir("client");

	tcase_add_loop_test(tc, an_answer_is_read_to_its_end, 0, COUNT(answers));
	tcase_add_loop_test(tc, a_bad_answer_is_an_error, 0, COUNT(bad_answers));
	tcase_add_loop_test(tc, a_server_that_does_not_finish_its_answer_is_a_timeout, 0,
			    COUNT(silences));
	tcase_add_test(tc, a_server_that_does_not_read_the_request_is_a_timeout);
	tcase_add_test(tc, an_answer_of_a_server_that_closed_its_reading_side_is_read);
	tcase_add_loop_test(tc, a_call_sends_its_request_and_returns_the_answer, 0,
			    COUNT(requests));
	tcase_add_loop_test(tc, an_answer_other_than_success_is_an_error_with_the_servers_message,
			    0, COUNT(refusals));
	tcase_add_test(tc, a_long_body_of_a_refusal_is_quoted_in_part);
	tcase_add_test(tc, a_failed_call_names_the_request);
	tcase_add_test(tc, a_long_answer_is_read);
	tcase_add_test(tc, too_long_an_answer_is_an_error);
	tcase_add_test(tc, endless_interim_answers_are_an_error);
	tcase_add_test(tc, too_long_a_request_is_an_error);
	tcase_add_test(tc, a_missing_socket_is_an_error);
	tcase_add_test(tc, a_socket_without_a_server_is_an_error);
	tcase_add_test(tc, a_file_that_is_not_a_socket_is_an_error);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
