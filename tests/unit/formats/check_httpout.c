/* SPDX-License-Identifier: Apache-2.0 */

/* Answers of HTTP: dates, paths as they are cleaned and escaped, and whole heads in the
 * reference's order of headers. */
#include "formats/httpout.h"
#include "tests/unit/fixture.h"

/* ---- dates ---- */

static const struct {
	time_t when;
	const char *text;
} dates[] = {
	{ 0, "Thu, 01 Jan 1970 00:00:00 GMT" },
	{ -1, "Wed, 31 Dec 1969 23:59:59 GMT" },
	{ 951782400, "Tue, 29 Feb 2000 00:00:00 GMT" },
	{ 1795437684, "Mon, 23 Nov 2026 12:41:24 GMT" },
	{ 1798761599, "Thu, 31 Dec 2026 23:59:59 GMT" },
	{ 253402300799, "Fri, 31 Dec 9999 23:59:59 GMT" },
};

START_TEST(writes_a_date_whatever_the_time_zone)
{
	char *buf = malloc(30);

	setenv("TZ", "XYZ5", 1);
	tzset();
	ck_assert_ptr_eq(httpout_date(dates[_i].when, buf, 30), buf);
	ck_assert_str_eq(buf, dates[_i].text);
	free(buf);
}
END_TEST

/* ---- paths ---- */

static const struct {
	const char *path;
	const char *clean;
} paths[] = {
	{ "/", "/" },
	{ "", "/" },
	{ "a", "/a" },
	{ "a/", "/a/" },
	{ ".", "/" },
	{ "..", "/" },
	{ "/v1/info", "/v1/info" },
	{ "/v1/ports/", "/v1/ports/" },
	{ "//", "/" },
	{ "///a//b//", "/a/b/" },
	{ "//v1/info", "/v1/info" },
	{ "/.", "/" },
	{ "/./", "/" },
	{ "/a/.", "/a" },
	{ "/a/./b", "/a/b" },
	{ "/..", "/" },
	{ "/../../a", "/a" },
	{ "/a/..", "/" },
	{ "/a/../", "/" },
	{ "/a/b/..", "/a" },
	{ "/a/b/../", "/a/" },
	{ "/a/b/../../c", "/c" },
	{ "/a//../b", "/b" },
	{ "/...", "/..." },
	{ "/.a/..b/c.", "/.a/..b/c." },
};

START_TEST(cleans_a_path)
{
	char out[HTTP_MAX_PATH];
	char *path = strdup(paths[_i].path);

	memset(out, '#', sizeof(out));
	ck_assert_int_eq(httpout_clean_path(path, out), strcmp(path, paths[_i].clean) != 0);
	ck_assert_str_eq(out, paths[_i].clean);
	free(path);
}
END_TEST

/* The longest path that a request can have stays; what is longer is cut, within the buffer. */
START_TEST(a_long_path_is_cut)
{
	for (size_t len = HTTP_MAX_PATH - 3; len < HTTP_MAX_PATH + 3; len++) {
		for (int slash = 0; slash <= 1; slash++) {
			char *out = malloc(HTTP_MAX_PATH);
			char *path = malloc(len + 1);
			bool differs;

			memset(path, 'a', len);
			path[0] = path[len / 2] = '/';
			if (slash)
				path[len - 1] = '/';
			path[len] = '\0';
			differs = httpout_clean_path(path, out);
			ck_assert_int_eq(differs, len >= HTTP_MAX_PATH);
			ck_assert_uint_lt(strlen(out), HTTP_MAX_PATH);
			ck_assert_int_eq(strncmp(out, path, strlen(out)), 0);
			free(path);
			free(out);
		}
	}
}
END_TEST

static const struct {
	const char *path;
	const char *escaped;
} escapes[] = {
	{ "/v1/info", "/v1/info" },
	{ "/a-b._~C9", "/a-b._~C9" },
	{ "/a b", "/a%20b" },
	{ "/%\xff?#", "/%25%FF%3F%23" },
	{ "", "" },
};

START_TEST(escapes_a_path)
{
	char out[HTTPOUT_MAX_LOCATION];

	httpout_escape_path(escapes[_i].path, out);
	ck_assert_str_eq(out, escapes[_i].escaped);
}
END_TEST

/* The longest path has room, and one that is longer stays within the buffer. */
START_TEST(a_path_of_any_length_is_escaped_within_the_buffer)
{
	for (size_t len = HTTP_MAX_PATH - 2; len < HTTP_MAX_PATH + 2; len++) {
		char *out = malloc(HTTPOUT_MAX_LOCATION);
		char *path = calloc(1, len + 1);

		memset(path, ' ', len);
		httpout_escape_path(path, out);
		ck_assert_uint_eq(strlen(out), 3 * (len < HTTP_MAX_PATH ? len : HTTP_MAX_PATH - 1));
		free(path);
		free(out);
	}
}
END_TEST

/* ---- heads ---- */

static const struct {
	struct httpout_head head;
	const char *before; /* the date */
	const char *after;
} heads[] = {
	{ { .status = 200,
	    .minor = 1,
	    .keep_alive = true,
	    .type = HTTPOUT_JSON,
	    .has_length = true,
	    .body_len = 196 },
	  "HTTP/1.1 200 OK\r\n"
	  "Content-Type: application/json\r\n"
	  "Date: ",
	  "\r\n"
	  "Content-Length: 196\r\n\r\n" },
	{ { .status = 400,
	    .minor = 1,
	    .keep_alive = true,
	    .type = HTTPOUT_TEXT,
	    .has_length = true,
	    .body_len = 29 },
	  "HTTP/1.1 400 Bad Request\r\n"
	  "Date: ",
	  "\r\n"
	  "Content-Length: 29\r\n"
	  "Content-Type: text/plain; charset=utf-8\r\n\r\n" },
	{ { .status = 404,
	    .minor = 1,
	    .type = HTTPOUT_TEXT,
	    .nosniff = true,
	    .has_length = true,
	    .body_len = 19 },
	  "HTTP/1.1 404 Not Found\r\n"
	  "Content-Type: text/plain; charset=utf-8\r\n"
	  "X-Content-Type-Options: nosniff\r\n"
	  "Date: ",
	  "\r\n"
	  "Content-Length: 19\r\n"
	  "Connection: close\r\n\r\n" },
	{ { .status = 405, .minor = 1, .keep_alive = true },
	  "HTTP/1.1 405 Method Not Allowed\r\n"
	  "Date: ",
	  "\r\n\r\n" },
	{ { .status = 301, .minor = 0, .location = "/v1/info", .has_length = true },
	  "HTTP/1.0 301 Moved Permanently\r\n"
	  "Location: /v1/info\r\n"
	  "Date: ",
	  "\r\n"
	  "Content-Length: 0\r\n\r\n" },
	{ { .status = 200, .minor = 0, .keep_alive = true, .has_length = true },
	  "HTTP/1.0 200 OK\r\n"
	  "Date: ",
	  "\r\n"
	  "Content-Length: 0\r\n"
	  "Connection: keep-alive\r\n\r\n" },
};

START_TEST(writes_a_head)
{
	char buf[HTTPOUT_MAX_HEAD], want[HTTPOUT_MAX_HEAD], date[32];
	time_t before, after;
	size_t len;

	do { /* within one second */
		before = time(NULL);
		len = httpout_head(buf, sizeof(buf), &heads[_i].head);
		after = time(NULL);
	} while (before != after);
	snprintf(want, sizeof(want), "%s%s%s", heads[_i].before,
		 httpout_date(before, date, sizeof(date)), heads[_i].after);
	ck_assert_str_eq(buf, want);
	ck_assert_uint_eq(len, strlen(want));
}
END_TEST

/* A head that has no room is cut, and the length is that of what is there. */
START_TEST(a_head_is_cut_within_its_buffer)
{
	char whole[HTTPOUT_MAX_HEAD];
	const size_t len = httpout_head(whole, sizeof(whole), &heads[0].head);

	for (size_t cap = 1; cap <= len; cap++) {
		char *buf = malloc(cap);

		ck_assert_uint_eq(httpout_head(buf, cap, &heads[0].head), cap - 1);
		ck_assert_uint_eq(strlen(buf), cap - 1);
		free(buf);
	}
}
END_TEST

/* With the longest location it fits into what the header promises. */
START_TEST(the_longest_head_fits)
{
	char path[HTTP_MAX_PATH] = "", location[HTTPOUT_MAX_LOCATION];
	char buf[HTTPOUT_MAX_HEAD + HTTPOUT_MAX_LOCATION];
	struct httpout_head head = { .status = 301, .minor = 1, .location = location };
	size_t len;

	memset(path, ' ', sizeof(path) - 1);
	httpout_escape_path(path, location);
	len = httpout_head(buf, sizeof(buf), &head);
	ck_assert_uint_lt(len, sizeof(buf) - 1);
	ck_assert_str_eq(buf + len - 4, "\r\n\r\n");
}
END_TEST

START_TEST(writes_a_refusal)
{
	const struct http_request req = { .refusal = HTTP_BAD_REQUEST,
					  .problem = "Bad Request: missing required Host header" };
	char buf[HTTPOUT_MAX_HEAD];
	const size_t len = httpout_refusal(buf, sizeof(buf), &req);

	ck_assert_str_eq(buf, "HTTP/1.1 400 Bad Request: missing required Host header\r\n"
			      "Content-Type: text/plain; charset=utf-8\r\n"
			      "Connection: close\r\n\r\n"
			      "400 Bad Request: missing required Host header");
	ck_assert_uint_eq(len, strlen(buf));
}
END_TEST

static TCase *date_case(void)
{
	TCase *tc = tcase_create("dates");

	tcase_add_loop_test(tc, writes_a_date_whatever_the_time_zone, 0, COUNT(dates));
	return tc;
}

static TCase *path_case(void)
{
	TCase *tc = tcase_create("paths");

	tcase_add_loop_test(tc, cleans_a_path, 0, COUNT(paths));
	tcase_add_test(tc, a_long_path_is_cut);
	tcase_add_loop_test(tc, escapes_a_path, 0, COUNT(escapes));
	tcase_add_test(tc, a_path_of_any_length_is_escaped_within_the_buffer);
	return tc;
}

static TCase *head_case(void)
{
	TCase *tc = tcase_create("heads");

	tcase_add_loop_test(tc, writes_a_head, 0, COUNT(heads));
	tcase_add_test(tc, a_head_is_cut_within_its_buffer);
	tcase_add_test(tc, the_longest_head_fits);
	tcase_add_test(tc, writes_a_refusal);
	return tc;
}

int main(void)
{
	Suite *s = suite_create("httpout");

	suite_add_tcase(s, date_case());
	suite_add_tcase(s, path_case());
	suite_add_tcase(s, head_case());
	return fixture_run(s);
}
