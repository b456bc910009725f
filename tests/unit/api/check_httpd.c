/* SPDX-License-Identifier: Apache-2.0 */

/* The HTTP server, with clients on a real UNIX socket. Server and clients run in this thread, a
 * step at a time. */
#include "tests/unit/httpclient.h"

#include "api/httpd.h"
#include "msg.h"

#define DEADLINE_MS 10000 /* as in httpd.c */

#define SOME_CLIENTS 8
#define BIG_BODY     (900 * 1024) /* bytes: more than a socket buffer holds */

#define GET(path)	"GET " path " HTTP/1.1\r\nHost: h\r\n\r\n"
#define POST(len, body) "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: " len "\r\n\r\n" body

static struct httpd *httpd;
static struct http_client clients[SOME_CLIENTS];
static struct http_client *const client = &clients[0];

/* What the handler saw. */
static struct {
	int count;
	char method[HTTP_MAX_METHOD];
	char path[HTTP_MAX_PATH];
} seen;

static void answer_big(struct httpd_answer *a)
{
	a->body = malloc(BIG_BODY);
	ck_assert_ptr_nonnull(a->body);
	memset(a->body, 'b', BIG_BODY);
	a->body_len = BIG_BODY;
	a->status = 200;
}

/* /echo: the body of the request. /big: a big body. /none: leaves the answer as it is. Others: the
 * path. */
static void handle(void *arg, const struct http_request *req, struct httpd_answer *a)
{
	char body[HTTP_MAX_BODY + 1];

	ck_assert_ptr_eq(arg, &seen);
	seen.count++;
	strcpy(seen.method, req->method);
	strcpy(seen.path, req->path);
	if (strcmp(req->path, "/none") == 0)
		return;
	if (strcmp(req->path, "/big") == 0) {
		answer_big(a);
		return;
	}
	snprintf(body, sizeof(body), "%.*s", (int)req->body_len, req->body);
	httpd_answer_text(a, 200, "text/x-test",
			  strcmp(req->path, "/echo") == 0 ? body : req->path);
}

static void start_server(void)
{
	struct err e;

	memset(&seen, 0, sizeof(seen));
	loop = loop_new(LOOP_POLL);
	ck_assert_msg(httpd_new(&httpd, loop, fixture_path("s"), handle, &seen, &e) == 0, "%s",
		      e.msg);
	open_client(client, fixture_path("s"));
}

static void stop_server(void)
{
	httpd_free(httpd);
	loop_free(loop);
	close(client->fd);
}

/* ---- answers ---- */

START_TEST(the_handler_sees_the_request_and_its_answer_arrives)
{
	struct http_response res;
	const char *answer;

	send_text(client, POST("5", "hello"));
	answer = next_answer(client, &res);
	ck_assert_str_eq(seen.method, "POST");
	ck_assert_str_eq(seen.path, "/echo");
	ck_assert_int_eq(res.status, 200);
	ck_assert_uint_eq(res.body_len, 5);
	ck_assert_int_eq(memcmp(res.body, "hello", 5), 0);
	ck_assert_int_eq(strncmp(answer, "HTTP/1.1 200 OK\r\n", 17), 0);
	ck_assert_ptr_nonnull(strstr(answer, "Content-Type: text/x-test\r\n"));
	ck_assert_ptr_nonnull(strstr(answer, "Content-Length: 5\r\n"));
}
END_TEST

START_TEST(an_answer_that_the_handler_leaves_is_an_empty_500)
{
	send_text(client, GET("/none"));
	expect_answer(client, 500, "");
	ck_assert(is_open(client));
}
END_TEST

START_TEST(a_head_request_gets_the_length_but_no_body)
{
	send_text(client, "HEAD /abc HTTP/1.1\r\nHost: h\r\n\r\n" GET("/b"));
	settle();
	receive(client);
	client->in[client->len] = '\0';
	ck_assert_ptr_nonnull(strstr(client->in, "Content-Length: 4\r\n"));
	ck_assert_ptr_nonnull(strstr(client->in, "\r\n\r\nHTTP/1.1 200 OK\r\n"));
	ck_assert_ptr_null(strstr(client->in, "/abc"));
}
END_TEST

static const struct {
	const char *method, *target, *location, *body;
} unclean[] = {
	{ "GET", "//a", "/a", "<a href=\"/a\">Temporary Redirect</a>.\n\n" },
	{ "GET", "/a/../b", "/b", "<a href=\"/b\">Temporary Redirect</a>.\n\n" },
	{ "GET", "/a/.?x=1", "/a?x=1", "<a href=\"/a?x=1\">Temporary Redirect</a>.\n\n" },
	{ "GET", "/./a%20b/", "/a%20b/", "<a href=\"/a%20b/\">Temporary Redirect</a>.\n\n" },
	{ "POST", "//a", "/a", "" },
	{ "DELETE", "/a/../b", "/b", "" },
};

START_TEST(an_unclean_path_is_redirected_without_the_handler)
{
	char text[128], location[64];
	struct http_response res;
	const char *answer;

	snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\nHost: h\r\n\r\n", unclean[_i].method,
		 unclean[_i].target);
	snprintf(location, sizeof(location), "Location: %s\r\n", unclean[_i].location);
	send_text(client, text);
	answer = next_answer(client, &res);
	ck_assert_int_eq(res.status, 307);
	ck_assert_ptr_nonnull(strstr(answer, location));
	ck_assert_uint_eq(res.body_len, strlen(unclean[_i].body));
	ck_assert_int_eq(memcmp(res.body, unclean[_i].body, res.body_len), 0);
	ck_assert_int_eq(seen.count, 0);
}
END_TEST

/* ---- several requests ---- */

START_TEST(a_connection_serves_many_requests)
{
	for (int i = 0; i < 100; i++) {
		send_text(client, GET("/a"));
		expect_answer(client, 200, "/a");
	}
	ck_assert(is_open(client));
}
END_TEST

START_TEST(pipelined_requests_are_answered_in_order)
{
	struct http_response res;

	send_text(client, GET("/1") POST("1", "2") GET("/big") GET("/4") GET("/5"));
	expect_answer(client, 200, "/1");
	expect_answer(client, 200, "2");
	next_answer(client, &res);
	ck_assert_uint_eq(res.body_len, BIG_BODY);
	expect_answer(client, 200, "/4");
	expect_answer(client, 200, "/5");
	ck_assert(is_open(client));
}
END_TEST

START_TEST(a_request_may_arrive_byte_by_byte)
{
	static const char text[] = POST("5", "hello") GET("/a");

	for (size_t i = 0; i + 1 < sizeof(text); i++) {
		send_bytes(client, &text[i], 1);
		step();
	}
	expect_answer(client, 200, "hello");
	expect_answer(client, 200, "/a");
}
END_TEST

/* A client that writes the next requests while the server writes an answer. */
START_TEST(a_request_during_an_answer_waits_for_its_end)
{
	struct http_response res;

	send_text(client, GET("/big"));
	settle();
	send_text(client, GET("/a"));
	settle();
	ck_assert_int_eq(seen.count, 1);
	next_answer(client, &res);
	ck_assert_uint_eq(res.body_len, BIG_BODY);
	expect_answer(client, 200, "/a");
}
END_TEST

START_TEST(clients_do_not_wait_for_each_other)
{
	for (int i = 1; i < SOME_CLIENTS; i++)
		open_client(&clients[i], fixture_path("s"));
	send_text(client, "GET /a"); /* and does not go on */
	send_text(&clients[1], GET("/big"));
	settle();
	for (int i = 2; i < SOME_CLIENTS; i++)
		send_text(&clients[i], GET("/b"));
	for (int i = 2; i < SOME_CLIENTS; i++)
		expect_answer(&clients[i], 200, "/b");
	for (int i = 1; i < SOME_CLIENTS; i++)
		close_client(&clients[i]);
}
END_TEST

/* ---- the end of a connection ---- */

static const struct {
	const char *request;
	bool is_kept;
} keep_rows[] = {
	{ "GET /a HTTP/1.1\r\nHost: h\r\n\r\n", true },
	{ "GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", false },
	{ "GET /a HTTP/1.0\r\n\r\n", false },
	{ "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true },
};

START_TEST(the_client_decides_whether_the_connection_is_kept)
{
	send_text(client, keep_rows[_i].request);
	expect_answer(client, 200, "/a");
	ck_assert(keep_rows[_i].is_kept ? is_open(client) : is_closed(client));
}
END_TEST

START_TEST(requests_after_the_last_one_are_not_handled)
{
	send_text(client, "GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" GET("/b"));
	expect_answer(client, 200, "/a");
	ck_assert(is_closed(client));
	ck_assert_int_eq(seen.count, 1);
}
END_TEST

START_TEST(a_client_that_shuts_down_its_writing_side_gets_its_answers)
{
	send_text(client, GET("/a") GET("/b"));
	shutdown(client->fd, SHUT_WR);
	expect_answer(client, 200, "/a");
	expect_answer(client, 200, "/b");
	ck_assert(is_closed(client));
}
END_TEST

START_TEST(a_client_that_ends_within_a_request_is_closed_without_an_answer)
{
	send_text(client, "GET /a HTTP/1.1\r\nHo");
	shutdown(client->fd, SHUT_WR);
	ck_assert(is_closed(client));
	ck_assert_int_eq(seen.count, 0);
}
END_TEST

/* The fixture sees that its descriptor does not stay open. */
START_TEST(a_client_that_goes_away_during_an_answer_is_forgotten)
{
	open_client(&clients[1], fixture_path("s"));
	send_text(&clients[1], GET("/big") GET("/a"));
	settle();
	close_client(&clients[1]);
	send_text(client, GET("/b"));
	expect_answer(client, 200, "/b");
	ck_assert_int_eq(seen.count, 2);
}
END_TEST

START_TEST(the_server_may_end_with_clients_in_every_state)
{
	for (int i = 1; i < SOME_CLIENTS - 1; i++)
		open_client(&clients[i], fixture_path("s"));
	send_text(&clients[1], "GET /a");
	send_text(&clients[2], GET("/big"));
	send_text(&clients[3], "nonsense\r\n\r\n");
	shutdown(clients[4].fd, SHUT_WR);
	settle();
	/* The last one stays in the listen backlog. */
	open_client(&clients[SOME_CLIENTS - 1], fixture_path("s"));
	httpd_free(httpd);
	httpd = NULL;
	for (int i = 1; i < SOME_CLIENTS; i++) {
		receive(&clients[i]);
		ck_assert(clients[i].at_end);
		close(clients[i].fd);
	}
}
END_TEST

/* ---- malformed requests ---- */

static char *long_head(void)
{
	static char text[HTTP_MAX_HEAD + 64] = "GET / HTTP/1.1\r\nHost: h\r\nX: ";

	memset(text + strlen(text), 'x', HTTP_MAX_HEAD);
	return text;
}

static const struct {
	const char *text; /* NULL: too long a head */
	int status;
} bad_rows[] = {
	{ "nonsense\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n\r\n", 400 }, /* without a Host */
	{ "GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505 },
	{ "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", 501 },
	{ "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 65537\r\n\r\n", 413 },
	{ NULL, 431 },
};

static void send_bad(struct http_client *c, int row)
{
	send_text(c, bad_rows[row].text != NULL ? bad_rows[row].text : long_head());
}

/* Most clients read the answer only after they have written the whole request. */
START_TEST(a_malformed_request_is_refused_and_the_client_may_finish_writing)
{
	struct http_response res;

	send_bad(client, _i);
	for (int i = 0; i < 100; i++) {
		send_text(client, GET("/a"));
		step();
	}
	next_answer(client, &res);
	ck_assert_int_eq(res.status, bad_rows[_i].status);
	ck_assert(!res.keep_alive);
	ck_assert_int_eq(seen.count, 0);
	/* The server has shut down its side only: writing still succeeds. */
	settle();
	receive(client);
	ck_assert(client->at_end);
	send_text(client, GET("/a"));
	shutdown(client->fd, SHUT_WR);
	settle();
	ck_assert_int_eq(seen.count, 0);
	ck_assert_int_lt(send(client->fd, "x", 1, MSG_NOSIGNAL), 0);
}
END_TEST

START_TEST(requests_before_a_malformed_one_are_answered)
{
	struct http_response res;

	send_text(client, GET("/a") GET("/big"));
	send_text(client, "nonsense\r\n\r\n");
	expect_answer(client, 200, "/a");
	next_answer(client, &res);
	ck_assert_uint_eq(res.body_len, BIG_BODY);
	next_answer(client, &res);
	ck_assert_int_eq(res.status, 400);
}
END_TEST

/* ---- time limits ---- */

START_TEST(an_idle_client_stays_connected)
{
	send_text(client, GET("/a"));
	expect_answer(client, 200, "/a");
	for (int i = 0; i < 10; i++)
		skip_ms(DEADLINE_MS);
	ck_assert(is_open(client));
	send_text(client, GET("/b"));
	expect_answer(client, 200, "/b");
}
END_TEST

static const char *const unfinished[] = {
	"G",
	"GET / HTTP/1.1\r\nHost: h\r\n",
	"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n123",
	"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
	GET("/a") "GET", /* the first one is finished */
};

START_TEST(a_client_that_stops_within_a_request_is_disconnected)
{
	send_text(client, unfinished[_i]);
	settle();
	receive(client);
	client->used = client->len;
	skip_ms(DEADLINE_MS - 1000);
	ck_assert(is_open(client));
	skip_ms(2000);
	ck_assert(is_closed(client));
}
END_TEST

/* The deadline is for the whole request, so that a byte now and then does not extend it. */
START_TEST(a_client_that_sends_a_request_too_slowly_is_disconnected)
{
	static const char text[] = GET("/a");

	for (size_t i = 0; i < 4; i++) {
		send_bytes(client, &text[i], 1);
		skip_ms(DEADLINE_MS / 4 + 100);
	}
	ck_assert(is_closed(client));
	ck_assert_int_eq(seen.count, 0);
}
END_TEST

START_TEST(each_request_has_a_deadline_of_its_own)
{
	for (int i = 0; i < 4; i++) {
		send_text(client, "GET /a HTTP/1.1\r\n");
		skip_ms(DEADLINE_MS - 2000);
		send_text(client, "Host: h\r\n\r\n");
		expect_answer(client, 200, "/a");
	}
}
END_TEST

START_TEST(a_client_that_does_not_read_its_answer_is_disconnected)
{
	send_text(client, GET("/big"));
	skip_ms(DEADLINE_MS - 1000);
	ck_assert(!client->at_end);
	skip_ms(2000);
	receive(client);
	ck_assert(client->at_end);
	ck_assert_uint_lt(client->len, BIG_BODY);
}
END_TEST

START_TEST(an_answer_has_a_deadline_of_its_own)
{
	struct http_response res;

	send_text(client, "GET /big HTTP/1.1\r\n");
	skip_ms(DEADLINE_MS - 2000);
	send_text(client, "Host: h\r\n\r\n");
	skip_ms(DEADLINE_MS - 2000);
	next_answer(client, &res);
	ck_assert_uint_eq(res.body_len, BIG_BODY);
}
END_TEST

START_TEST(a_client_that_reads_slowly_gets_the_whole_answer)
{
	static char buf[BIG_BODY / 2]; /* more than the socket buffer holds */
	size_t got = 0;
	ssize_t n;

	send_text(client, "GET /big HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
	settle();
	while ((n = recv(client->fd, buf, sizeof(buf), 0)) > 0) {
		got += (size_t)n;
		skip_ms(DEADLINE_MS - 2000);
	}
	ck_assert_int_eq(n, 0);
	ck_assert_uint_gt(got, BIG_BODY);
}
END_TEST

START_TEST(a_refused_client_that_keeps_its_side_open_is_disconnected)
{
	struct http_response res;

	send_text(client, "nonsense\r\n\r\n");
	next_answer(client, &res);
	for (int i = 0; i < 12; i++) {
		send(client->fd, "x", 1, MSG_NOSIGNAL);
		skip_ms(DEADLINE_MS / 10);
	}
	ck_assert_int_lt(send(client->fd, "x", 1, MSG_NOSIGNAL), 0);
}
END_TEST

/* ---- "100 Continue" ---- */

START_TEST(a_client_that_waits_for_100_continue_gets_it_once)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";

	for (int i = 0; i < 2; i++) {
		client->len = client->used = 0;
		send_text(client, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n"
				  "Expect: 100-continue\r\n\r\n");
		settle();
		receive(client);
		ck_assert_uint_eq(client->len, sizeof(go_on) - 1);
		ck_assert_int_eq(memcmp(client->in, go_on, client->len), 0);
		send_text(client, "ab");
		settle();
		send_text(client, "cd");
		expect_answer(client, 200, "abcd"); /* skips the interim answer */
		client->in[client->len] = '\0';
		ck_assert_ptr_null(strstr(client->in + sizeof(go_on) - 1, go_on));
	}
}
END_TEST

/* ---- limits ---- */

START_TEST(descriptors_that_a_client_sends_are_closed)
{
	if (fixture_is_valgrind())
		return; /* it lacks the clone(2) of closer.c */
	ck_assert_int_eq(msg_send_fd(client->fd, STDERR_FILENO), 0);
	ck_assert(is_closed(client));
}
END_TEST

/* Both ends of a connection are in this process: only a new client's two descriptors are left. */
START_TEST(without_descriptors_the_client_that_was_idle_longest_is_closed)
{
	struct rlimit old;

	if (fixture_is_valgrind())
		return;
	for (int i = 1; i < 5; i++)
		open_client(&clients[i], fixture_path("s"));
	settle();
	send_text(&clients[0], "GET /a");  /* is not idle */
	send_text(&clients[1], GET("/a")); /* its request is more recent than that of the others */
	expect_answer(&clients[1], 200, "/a");
	old = fixture_limit_fds(1);
	open_client(&clients[5], fixture_path("s"));
	send_text(&clients[5], GET("/a"));
	expect_answer(&clients[5], 200, "/a");
	fixture_restore_fds(&old);
	ck_assert(is_closed(&clients[2]));
	ck_assert(is_open(&clients[0]));
	ck_assert(is_open(&clients[1]));
	/* The third may be closed, too: without a descriptor accept(2) fails even if no client
	 * waits. */
	ck_assert(is_open(&clients[4]));
	for (int i = 1; i < 6; i++)
		close_client(&clients[i]);
}
END_TEST

/* ---- start ---- */

START_TEST(a_path_that_exists_is_an_error)
{
	struct httpd *second = NULL;
	struct err e;

	ck_assert_int_eq(httpd_new(&second, loop, fixture_path("s"), handle, NULL, &e),
			 -EADDRINUSE);
	ck_assert_ptr_null(second);
	httpd_free(NULL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("httpd");
	TCase *tc = fixture_case_with_dir("httpd");

	tcase_add_checked_fixture(tc, start_server, stop_server);
	tcase_add_test(tc, the_handler_sees_the_request_and_its_answer_arrives);
	tcase_add_test(tc, an_answer_that_the_handler_leaves_is_an_empty_500);
	tcase_add_test(tc, a_head_request_gets_the_length_but_no_body);
	tcase_add_loop_test(tc, an_unclean_path_is_redirected_without_the_handler, 0,
			    COUNT(unclean));
	tcase_add_test(tc, a_connection_serves_many_requests);
	tcase_add_test(tc, pipelined_requests_are_answered_in_order);
	tcase_add_test(tc, a_request_may_arrive_byte_by_byte);
	tcase_add_test(tc, a_request_during_an_answer_waits_for_its_end);
	tcase_add_test(tc, clients_do_not_wait_for_each_other);
	tcase_add_loop_test(tc, the_client_decides_whether_the_connection_is_kept, 0,
			    COUNT(keep_rows));
	tcase_add_test(tc, requests_after_the_last_one_are_not_handled);
	tcase_add_test(tc, a_client_that_shuts_down_its_writing_side_gets_its_answers);
	tcase_add_test(tc, a_client_that_ends_within_a_request_is_closed_without_an_answer);
	tcase_add_test(tc, a_client_that_goes_away_during_an_answer_is_forgotten);
	tcase_add_test(tc, the_server_may_end_with_clients_in_every_state);
	tcase_add_loop_test(tc, a_malformed_request_is_refused_and_the_client_may_finish_writing, 0,
			    COUNT(bad_rows));
	tcase_add_test(tc, requests_before_a_malformed_one_are_answered);
	tcase_add_test(tc, an_idle_client_stays_connected);
	tcase_add_loop_test(tc, a_client_that_stops_within_a_request_is_disconnected, 0,
			    COUNT(unfinished));
	tcase_add_test(tc, a_client_that_sends_a_request_too_slowly_is_disconnected);
	tcase_add_test(tc, each_request_has_a_deadline_of_its_own);
	tcase_add_test(tc, a_client_that_does_not_read_its_answer_is_disconnected);
	tcase_add_test(tc, an_answer_has_a_deadline_of_its_own);
	tcase_add_test(tc, a_client_that_reads_slowly_gets_the_whole_answer);
	tcase_add_test(tc, a_refused_client_that_keeps_its_side_open_is_disconnected);
	tcase_add_test(tc, a_client_that_waits_for_100_continue_gets_it_once);
	tcase_add_test(tc, descriptors_that_a_client_sends_are_closed);
	tcase_add_test(tc, without_descriptors_the_client_that_was_idle_longest_is_closed);
	tcase_add_test(tc, a_path_that_exists_is_an_error);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
