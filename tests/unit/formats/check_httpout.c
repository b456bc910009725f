/* SPDX-License-Identifier: Apache-2.0 */

/* HTTP answers: dates, cleaned and escaped paths, and complete heads with the headers in
 * RootlessKit's order. */
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

START_TEST(a_date_is_written_in_gmt_in_every_time_zone)
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

START_TEST(a_path_is_cleaned)
{
	char out[HTTP_MAX_PATH];
	char *path = strdup(paths[_i].path);

	memset(out, '#', sizeof(out));
	ck_assert_int_eq(httpout_clean_path(path, out), strcmp(path, paths[_i].clean) != 0);
	ck_assert_str_eq(out, paths[_i].clean);
	free(path);
}
END_TEST

/* The longest path of a request is unchanged; a longer one is cut within the buffer. */
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

static struct text text_of(const char *text)
{
	return (struct text){ text, strlen(text) };
}

static const struct {
	const char *path;
	const char *query;
	const char *location;
} locations[] = {
	{ "/v1/info", "", "/v1/info" },
	{ "/a-b._~C9", "", "/a-b._~C9" },
	{ "/a b", "", "/a%20b" },
	{ "/%\xff?#", "", "/%25%FF%3F%23" },
	{ "", "", "" },
	{ "/v1/info", "a=b%20c&d", "/v1/info?a=b%20c&d" },
};

START_TEST(a_location_is_the_escaped_path_and_the_query)
{
	char out[HTTPOUT_MAX_LOCATION];

	httpout_location(locations[_i].path, text_of(locations[_i].query), out);
	ck_assert_str_eq(out, locations[_i].location);
}
END_TEST

/* The longest path and query have room, and a longer query is cut. */
START_TEST(a_location_stays_within_its_buffer)
{
	char path[HTTP_MAX_PATH] = "";
	const size_t path_len = 3 * (sizeof(path) - 1);

	memset(path, ' ', sizeof(path) - 1);
	for (size_t len = HTTP_MAX_HEAD - 2; len < HTTP_MAX_HEAD + 8; len++) {
		char *out = malloc(HTTPOUT_MAX_LOCATION);
		char *query = calloc(1, len + 1);
		size_t whole = path_len + 1 + len;

		memset(query, 'q', len);
		httpout_location(path, text_of(query), out);
		ck_assert_uint_eq(strlen(out),
				  whole < HTTPOUT_MAX_LOCATION ? whole : HTTPOUT_MAX_LOCATION - 1);
		free(query);
		free(out);
	}
}
END_TEST

START_TEST(a_link_is_escaped)
{
	char out[HTTPOUT_MAX_LINK];
	size_t len = httpout_link("/v1/info?a=\"1\"&b='<2>'", out);

	ck_assert_str_eq(out, "<a href=\"/v1/info?a=&#34;1&#34;&amp;b=&#39;&lt;2&gt;&#39;\">"
			      "Temporary Redirect</a>.\n\n");
	ck_assert_uint_eq(len, strlen(out));
}
END_TEST

START_TEST(the_longest_link_fits)
{
	char *out = malloc(HTTPOUT_MAX_LINK);
	char location[HTTPOUT_MAX_LOCATION] = "";

	memset(location, '"', sizeof(location) - 1);
	ck_assert_uint_lt(httpout_link(location, out), HTTPOUT_MAX_LINK);
	free(out);
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
	{ { .status = 405, .minor = 1, .keep_alive = true, .allow = "GET, HEAD" },
	  "HTTP/1.1 405 Method Not Allowed\r\n"
	  "Allow: GET, HEAD\r\n"
	  "Date: ",
	  "\r\n\r\n" },
	{ { .status = 307,
	    .minor = 0,
	    .type = HTTPOUT_HTML,
	    .location = "/v1/info",
	    .has_length = true },
	  "HTTP/1.0 307 Temporary Redirect\r\n"
	  "Content-Type: text/html; charset=utf-8\r\n"
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

START_TEST(a_head_is_written)
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

/* A head that does not fit is cut, and the returned length is that of the cut text. */
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

/* With the longest location the head fits into the size that httpout.h promises. */
START_TEST(the_longest_head_fits)
{
	char path[HTTP_MAX_PATH] = "", location[HTTPOUT_MAX_LOCATION];
	char buf[HTTPOUT_MAX_HEAD + HTTPOUT_MAX_LOCATION];
	struct httpout_head head = { .status = 307, .minor = 1, .location = location };
	size_t len;

	memset(path, ' ', sizeof(path) - 1);
	httpout_location(path, (struct text){ 0 }, location);
	len = httpout_head(buf, sizeof(buf), &head);
	ck_assert_uint_lt(len, sizeof(buf) - 1);
	ck_assert_str_eq(buf + len - 4, "\r\n\r\n");
}
END_TEST

START_TEST(a_refusal_is_written)
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

	tcase_add_loop_test(tc, a_date_is_written_in_gmt_in_every_time_zone, 0, COUNT(dates));
	return tc;
}

static TCase *path_case(void)
{
	TCase *tc = tcase_create("paths");

	tcase_add_loop_test(tc, a_path_is_cleaned, 0, COUNT(paths));
	tcase_add_test(tc, a_long_path_is_cut);
	tcase_add_loop_test(tc, a_location_is_the_escaped_path_and_the_query, 0, COUNT(locations));
	tcase_add_test(tc, a_location_stays_within_its_buffer);
	tcase_add_test(tc, a_link_is_escaped);
	tcase_add_test(tc, the_longest_link_fits);
	return tc;
}

static TCase *head_case(void)
{
	TCase *tc = tcase_create("heads");

	tcase_add_loop_test(tc, a_head_is_written, 0, COUNT(heads));
	tcase_add_test(tc, a_head_is_cut_within_its_buffer);
	tcase_add_test(tc, the_longest_head_fits);
	tcase_add_test(tc, a_refusal_is_written);
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
