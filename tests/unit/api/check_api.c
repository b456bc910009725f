/* SPDX-License-Identifier: Apache-2.0 */

/* The routes of the REST API and their answers, byte for byte. The port table has a driver that
 * opens no sockets. */
#include "tests/unit/fakedriver.h"
#include "tests/unit/httpclient.h"

#include "api/api.h"
#include "base/version.h"

#define JSON "application/json"
#define TEXT "text/plain; charset=utf-8"

static const struct api_info info = {
	.state_dir = "/run/\"state\"",
	.child_pid = 4711,
	.network_driver = "slirp4netns",
	.dns = { "10.0.2.3", "fd00::3" },
	.child_ip = "10.0.2.100",
	.port_driver = "fake",
};

static const struct api_info host_network_info = { .state_dir = "/s", .child_pid = 1 };

static struct ports *ports;
static struct api *api;
static struct http_client client;

static void start_api(const struct api_info *about)
{
	struct err e;

	loop = loop_new(LOOP_POLL);
	ck_assert_msg(api_new(&api, loop, fixture_path("s"), about, ports, &e) == 0, "%s", e.msg);
	open_client(&client, fixture_path("s"));
}

static void start_with_ports(void)
{
	struct err e;

	fake_driver = (struct fake_driver){ 0 };
	ck_assert_int_eq(ports_new(&ports, &fake_portdriver, &(struct port_setup){ 0 }, &e), 0);
	start_api(&info);
}

static void start_without_ports(void)
{
	ports = NULL;
	start_api(&host_network_info);
}

static void stop(void)
{
	api_free(api);
	loop_free(loop);
	close(client.fd);
	unlink(fixture_path("s"));
	ck_assert(ports_free(ports, 0));
}

/* Sends a request; `body` may be NULL. */
static void ask(const char *method, const char *path, const char *body)
{
	char text[4096];

	snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n%s",
		 method, path, body != NULL ? strlen(body) : 0, body != NULL ? body : "");
	send_text(&client, text);
}

/* Has the last answer this header line? */
static bool has_header(const char *answer, const char *name, const char *value)
{
	char line[128];
	const char *at;

	snprintf(line, sizeof(line), "\r\n%s: %s\r\n", name, value);
	at = strstr(answer, line);
	return at != NULL && at < strstr(answer, "\r\n\r\n");
}

/* Asserts the status, type and body of the answer. */
static void expect(int status, const char *type, const char *body)
{
	struct http_response res;
	const char *answer = next_answer(&client, &res);

	ck_assert_int_eq(res.status, status);
	ck_assert(has_header(answer, "Content-Type", type));
	ck_assert_msg(res.body_len == strlen(body) && memcmp(res.body, body, res.body_len) == 0,
		      "body: %.*s", (int)res.body_len, res.body);
}

/* ---- /v1/info ---- */

START_TEST(info_describes_the_launcher)
{
	ask("GET", "/v1/info", NULL);
	expect(200, JSON,
	       "{\"apiVersion\":\"" API_VERSION "\",\"version\":\"" COMPAT_VERSION
	       "\",\"stateDir\":\"/run/\\\"state\\\"\",\"childPID\":4711,"
	       "\"networkDriver\":{\"driver\":\"slirp4netns\",\"dns\":[\"10.0.2.3\",\"fd00::3\"],"
	       "\"childIP\":\"10.0.2.100\"},"
	       "\"portDriver\":{\"driver\":\"fake\",\"protos\":[\"tcp\",\"udp\"],"
	       "\"disallowLoopbackChildIP\":true}}");
}
END_TEST

#define INFO_BEGIN                                                                \
	"{\"apiVersion\":\"" API_VERSION "\",\"version\":\"" COMPAT_VERSION "\"," \
	"\"stateDir\":\"/s\",\"childPID\":1"

START_TEST(info_tells_of_ipv6_and_of_kept_client_addresses)
{
	struct api_info about = info;

	api_free(api);
	loop_free(loop);
	close(client.fd);
	unlink(fixture_path("s"));
	about.ipv6 = true;
	fake_driver.source_ip_backend = "nft";
	start_api(&about);
	ask("GET", "/v1/info", NULL);
	expect(200, JSON,
	       "{\"apiVersion\":\"" API_VERSION "\",\"version\":\"" COMPAT_VERSION
	       "\",\"stateDir\":\"/run/\\\"state\\\"\",\"childPID\":4711,"
	       "\"networkDriver\":{\"driver\":\"slirp4netns\",\"dns\":[\"10.0.2.3\",\"fd00::3\"],"
	       "\"childIP\":\"10.0.2.100\",\"ipv6\":true},"
	       "\"portDriver\":{\"driver\":\"fake\",\"protos\":[\"tcp\",\"udp\"],"
	       "\"disallowLoopbackChildIP\":true,"
	       "\"extra\":{\"sourceIPTransparentBackend\":\"nft\"}}}");
}
END_TEST

START_TEST(the_hosts_network_and_no_port_driver_are_left_out_of_info)
{
	ask("GET", "/v1/info", NULL);
	expect(200, JSON, INFO_BEGIN "}");
}
END_TEST

START_TEST(a_network_without_dns_and_address_has_only_a_driver_in_info)
{
	struct api_info none = host_network_info;

	stop();
	none.network_driver = "none";
	start_api(&none);
	ask("GET", "/v1/info", NULL);
	expect(200, JSON, INFO_BEGIN ",\"networkDriver\":{\"driver\":\"none\"}}");
}
END_TEST

/* ---- ports ---- */

START_TEST(a_port_is_added_listed_and_removed)
{
	ask("GET", "/v1/ports", NULL);
	expect(200, JSON, "[]");
	ask("POST", "/v1/ports",
	    "{\"proto\":\"tcp\",\"parentIP\":\"127.0.0.1\",\"parentPort\":8080,"
	    "\"childIP\":\"10.0.2.100\",\"childPort\":80}");
	expect(201, JSON,
	       "{\"id\":1,\"spec\":{\"proto\":\"tcp\",\"parentIP\":\"127.0.0.1\","
	       "\"parentPort\":8080,\"childPort\":80,\"childIP\":\"10.0.2.100\"}}");
	ask("POST", "/v1/ports", "{\"proto\":\"udp\",\"parentPort\":53,\"childPort\":53}");
	expect(201, JSON,
	       "{\"id\":2,\"spec\":{\"proto\":\"udp\",\"parentPort\":53,\"childPort\":53}}");
	ask("GET", "/v1/ports", NULL);
	expect(200, JSON,
	       "[{\"id\":1,\"spec\":{\"proto\":\"tcp\",\"parentIP\":\"127.0.0.1\","
	       "\"parentPort\":8080,\"childPort\":80,\"childIP\":\"10.0.2.100\"}},"
	       "{\"id\":2,\"spec\":{\"proto\":\"udp\",\"parentPort\":53,\"childPort\":53}}]");
	ask("DELETE", "/v1/ports/1", NULL);
	expect_answer(&client, 200, "");
	ck_assert_int_eq(fake_driver.last.id, 1);
	ask("GET", "/v1/ports", NULL);
	expect(200, JSON,
	       "[{\"id\":2,\"spec\":{\"proto\":\"udp\",\"parentPort\":53,\"childPort\":53}}]");
}
END_TEST

START_TEST(many_ports_with_the_longest_addresses_fit_into_the_list)
{
	static const char longest[] = "1111:1111:2222:3333:4444:5555:255.255.255.255";
	struct portspec spec = { .proto = PROTO_TCP6, .child_port = 65535 };
	struct http_response res;
	struct err e;

	strcpy(spec.parent_ip, longest);
	strcpy(spec.child_ip, longest);
	for (spec.parent_port = 60000; spec.parent_port < 60500; spec.parent_port++)
		ck_assert_int_gt(ports_add(ports, &spec, &e), 0);
	ask("GET", "/v1/ports", NULL);
	next_answer(&client, &res);
	ck_assert_int_eq(res.status, 200);
	ck_assert_uint_gt(res.body_len, 500 * 2 * strlen(longest));
	ck_assert_int_eq(res.body[res.body_len - 1], ']');
}
END_TEST

static const struct {
	const char *body;
	const char *message; /* in JSON */
} bad_specs[] = {
	{ "", "EOF" },
	{ "{", "unexpected EOF" },
	{ "null", "unknown proto: \\\"\\\"" },
	{ "[]", "json: cannot unmarshal array into Go value of type port.Spec" },
	{ "{\"proto\":\"foo\",\"parentPort\":1,\"childPort\":1}", "unknown proto: \\\"foo\\\"" },
	{ "{\"proto\":\"tcp\",\"parentPort\":1,\"childPort\":1,\"childIP\":\"x\"}",
	  "invalid ChildIP: \\\"x\\\"" },
};

START_TEST(a_bad_spec_is_refused_with_a_message)
{
	char body[256];
	struct http_response res;
	const char *answer;

	snprintf(body, sizeof(body), "{\"message\":\"%s", bad_specs[_i].message);
	ask("POST", "/v1/ports", bad_specs[_i].body);
	answer = next_answer(&client, &res);
	ck_assert_int_eq(res.status, 400);
	ck_assert(has_header(answer, "Content-Type", TEXT));
	ck_assert_msg(strncmp(res.body, body, strlen(body)) == 0, "%.*s", (int)res.body_len,
		      res.body);
	ck_assert_int_eq(memcmp(res.body + res.body_len - 3, "\"}\n", 3), 0);
	ck_assert_uint_eq(fake_driver.opened, 0);
	ck_assert_uint_eq(ports_count(ports), 0);
}
END_TEST

START_TEST(a_port_that_the_driver_cannot_open_is_refused)
{
	fake_driver.fails_with = EACCES;
	ask("POST", "/v1/ports", "{\"proto\":\"tcp\",\"parentPort\":1,\"childPort\":1}");
	expect(400, TEXT, "{\"message\":\"the fake driver fails\"}\n");
}
END_TEST

static const struct {
	const char *id;
	const char *message; /* its beginning */
} bad_ids[] = {
	{ "2", "unknown id: 2\"" },
	{ "0", "unknown id: 0\"" },
	{ "-1", "unknown id: -1\"" },
	{ "2147483648", "unknown id: 2147483648\"" },
	{ "4294967297", "unknown id: 4294967297\"" }, /* 1 in 32 bits */
	{ "x", "bad id x: strconv.Atoi: parsing \\\"x\\\": invalid syntax" },
	{ "1x", "bad id 1x: strconv.Atoi: parsing \\\"1x\\\": invalid syntax" },
	{ "99999999999999999999",
	  "bad id 99999999999999999999: strconv.Atoi: parsing \\\"99999999999999999999\\\": "
	  "value out of range" },
};

START_TEST(an_id_that_is_not_in_use_cannot_be_removed)
{
	char path[64], body[256];
	struct http_response res;

	ask("POST", "/v1/ports", "{\"proto\":\"tcp\",\"parentPort\":1,\"childPort\":1}");
	next_answer(&client, &res);
	snprintf(path, sizeof(path), "/v1/ports/%s", bad_ids[_i].id);
	snprintf(body, sizeof(body), "{\"message\":\"%s", bad_ids[_i].message);
	ask("DELETE", path, NULL);
	next_answer(&client, &res);
	ck_assert_int_eq(res.status, 400);
	ck_assert_msg(strncmp(res.body, body, strlen(body)) == 0, "%.*s", (int)res.body_len,
		      res.body);
	ck_assert_uint_eq(ports_count(ports), 1);
}
END_TEST

START_TEST(a_port_that_the_driver_cannot_close_stays)
{
	struct http_response res;

	ask("POST", "/v1/ports", "{\"proto\":\"tcp\",\"parentPort\":1,\"childPort\":1}");
	next_answer(&client, &res);
	fake_driver.fails_with = EIO;
	ask("DELETE", "/v1/ports/1", NULL);
	expect(400, TEXT, "{\"message\":\"the fake driver fails\"}\n");
	ck_assert_uint_eq(ports_count(ports), 1);
}
END_TEST

/* ---- other requests ---- */

static const struct {
	const char *method, *path;
} other_rows[] = {
	{ "GET", "/" },		 { "GET", "/v1" },	     { "GET", "/v1/" },
	{ "GET", "/v1/infos" },	 { "GET", "/v1/info/" },     { "GET", "/V1/INFO" },
	{ "GET", "/v1/ports/" }, { "DELETE", "/v1/ports/" }, { "DELETE", "/v1/ports/1/2" },
};

START_TEST(other_requests_are_not_found)
{
	struct http_response res;
	const char *answer;

	ask(other_rows[_i].method, other_rows[_i].path, NULL);
	answer = next_answer(&client, &res);
	ck_assert_int_eq(res.status, 404);
	ck_assert_uint_eq(res.body_len, strlen("404 page not found\n"));
	ck_assert_int_eq(memcmp(res.body, "404 page not found\n", res.body_len), 0);
	ck_assert(has_header(answer, "Content-Type", TEXT));
	ck_assert(has_header(answer, "X-Content-Type-Options", "nosniff"));
}
END_TEST

static const struct {
	const char *method, *path, *allow;
} wrong_methods[] = {
	{ "POST", "/v1/info", "GET, HEAD" },	   { "get", "/v1/info", "GET, HEAD" },
	{ "PUT", "/v1/ports", "GET, HEAD, POST" }, { "DELETE", "/v1/ports", "GET, HEAD, POST" },
	{ "get", "/v1/ports", "GET, HEAD, POST" }, { "GET", "/v1/ports/1", "DELETE" },
	{ "POST", "/v1/ports/1", "DELETE" },	   { "OPTIONS", "/v1/ports/1", "DELETE" },
};

START_TEST(a_wrong_method_is_told_which_ones_are_allowed)
{
	struct http_response res;
	const char *answer;

	ask(wrong_methods[_i].method, wrong_methods[_i].path, NULL);
	answer = next_answer(&client, &res);
	ck_assert_int_eq(res.status, 405);
	ck_assert_uint_eq(res.body_len, strlen("Method Not Allowed\n"));
	ck_assert_int_eq(memcmp(res.body, "Method Not Allowed\n", res.body_len), 0);
	ck_assert(has_header(answer, "Allow", wrong_methods[_i].allow));
	ck_assert(has_header(answer, "Content-Type", TEXT));
	ck_assert(has_header(answer, "X-Content-Type-Options", "nosniff"));
}
END_TEST

static const struct {
	const char *path, *begin;
} heads[] = {
	{ "/v1/info", "HTTP/1.1 200 OK\r\nContent-Type: " JSON "\r\n" },
	{ "/v1/ports", "HTTP/1.1 200 OK\r\nContent-Type: " JSON "\r\n" },
	{ "/v1/ports/1", "HTTP/1.1 405 Method Not Allowed\r\nAllow: DELETE\r\n" },
	{ "/v1/nothing", "HTTP/1.1 404 Not Found\r\n" },
};

/* The answer to GET, without its body. */
START_TEST(head_is_answered_where_get_is)
{
	ask("HEAD", heads[_i].path, NULL);
	settle();
	receive(&client);
	client.in[client.len] = '\0';
	ck_assert_msg(strncmp(client.in, heads[_i].begin, strlen(heads[_i].begin)) == 0, "%s",
		      client.in);
	ck_assert_str_eq(client.in + client.len - 4, "\r\n\r\n");
	ck_assert_ptr_eq(strstr(client.in, "\r\n\r\n"), client.in + client.len - 4);
}
END_TEST

/* A query does not change the route. */
START_TEST(a_query_is_ignored)
{
	ask("GET", "/v1/ports?x=/v1/info", NULL);
	expect(200, JSON, "[]");
}
END_TEST

static const struct {
	const char *method, *path;
} port_routes[] = {
	{ "GET", "/v1/ports" },
	{ "POST", "/v1/ports" },
	{ "DELETE", "/v1/ports/1" },
};

START_TEST(without_a_port_driver_ports_are_refused)
{
	ask(port_routes[_i].method, port_routes[_i].path, NULL);
	expect(400, TEXT, "{\"message\":\"no PortDriver is available\"}\n");
}
END_TEST

/* ---- start ---- */

START_TEST(a_path_that_exists_is_an_error)
{
	struct api *second = NULL;
	struct err e;

	ck_assert_int_eq(api_new(&second, loop, fixture_path("s"), &host_network_info, NULL, &e),
			 -EADDRINUSE);
	ck_assert_ptr_null(second);
	api_free(NULL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("api");
	TCase *tc = fixture_case_with_dir("ports");
	TCase *plain = fixture_case_with_dir("no_ports");

	tcase_add_checked_fixture(tc, start_with_ports, stop);
	tcase_add_test(tc, info_describes_the_launcher);
	tcase_add_test(tc, info_tells_of_ipv6_and_of_kept_client_addresses);
	tcase_add_test(tc, a_port_is_added_listed_and_removed);
	tcase_add_test(tc, many_ports_with_the_longest_addresses_fit_into_the_list);
	tcase_add_loop_test(tc, a_bad_spec_is_refused_with_a_message, 0, COUNT(bad_specs));
	tcase_add_test(tc, a_port_that_the_driver_cannot_open_is_refused);
	tcase_add_loop_test(tc, an_id_that_is_not_in_use_cannot_be_removed, 0, COUNT(bad_ids));
	tcase_add_test(tc, a_port_that_the_driver_cannot_close_stays);
	tcase_add_loop_test(tc, other_requests_are_not_found, 0, COUNT(other_rows));
	tcase_add_loop_test(tc, a_wrong_method_is_told_which_ones_are_allowed, 0,
			    COUNT(wrong_methods));
	tcase_add_loop_test(tc, head_is_answered_where_get_is, 0, COUNT(heads));
	tcase_add_test(tc, a_query_is_ignored);
	suite_add_tcase(s, tc);
	tcase_add_checked_fixture(plain, start_without_ports, stop);
	tcase_add_test(plain, the_hosts_network_and_no_port_driver_are_left_out_of_info);
	tcase_add_test(plain, a_network_without_dns_and_address_has_only_a_driver_in_info);
	tcase_add_loop_test(plain, without_a_port_driver_ports_are_refused, 0, COUNT(port_routes));
	tcase_add_test(plain, a_path_that_exists_is_an_error);
	suite_add_tcase(s, plain);
	return fixture_run(s);
}
