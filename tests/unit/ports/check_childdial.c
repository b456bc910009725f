/* SPDX-License-Identifier: Apache-2.0 */

/* Connecting in the child: the result, what an abandoned dial does, and how long it goes on. What a
 * server sees of the client's address is in tests/e2e/54-source-ip.sh. */
#include "tests/unit/addresses.h"
#include "tests/unit/loopclock.h"
#include "tests/unit/ownnet.h"

#include "ports/childdial.h"
#include "ports/transparent.h"

#define CLIENT	     "198.51.100.7"
#define CLIENT_PORT  40000
#define IMMEDIATE_MS 500
#define CONNECT_MS   20000
#define LINGER_MS    2700
#define MARGIN_MS    10

static struct err e;
static struct bpmsg req;
static struct childdial dial;
static struct srcroute routes;
static int server, filler;

static struct {
	int count; /* calls of on_result */
	bool is_connected;
	struct sockaddr_storage peer;
	char why[128];
	bool has_ended;
} result;

static void on_result(struct childdial *d, int fd, const struct err *why)
{
	socklen_t len = sizeof(result.peer);

	ck_assert_ptr_eq(d, &dial);
	ck_assert(!result.has_ended);
	result.count++;
	if (fd < 0)
		snprintf(result.why, sizeof(result.why), "%.120s", why->msg);
	else
		result.is_connected = getpeername(fd, (struct sockaddr *)&result.peer, &len) == 0;
}

static void on_end(struct childdial *d)
{
	ck_assert_ptr_eq(d, &dial);
	ck_assert(!result.has_ended);
	result.has_ended = true;
}

/* Opens the server, with a listen backlog or (-1) without listening. */
static void open_server(const char *ip_text, enum proto proto, int backlog)
{
	struct sockaddr_storage sa = address_of(ip_text, 0);
	int type = proto == PROTO_UDP ? SOCK_DGRAM : SOCK_STREAM;
	socklen_t len = sizeof(sa);

	server = socket(AF_INET, type | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(server, (struct sockaddr *)&sa, sizeof(struct sockaddr_in)), 0);
	ck_assert_int_eq(getsockname(server, (struct sockaddr *)&sa, &len), 0);
	if (backlog >= 0)
		ck_assert_int_eq(listen(server, backlog), 0);
	req = (struct bpmsg){ .type = BPMSG_CONNECT, .target.proto = proto };
	req.target.port = ntohs(((struct sockaddr_in *)&sa)->sin_port);
	ck_assert_int_eq(ipaddr_parse(&req.target.ip, ip_text), 0);
}

/* Opens a server that answers no SYN, since its queue is full. */
static void open_silent_server(const char *ip_text)
{
	struct sockaddr_storage sa;

	open_server(ip_text, PROTO_TCP, 0);
	sa = address_of(ip_text, req.target.port);
	filler = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(connect(filler, (struct sockaddr *)&sa, sizeof(struct sockaddr_in)), 0);
}

static void start_dial(void)
{
	dial.loop = loop;
	dial.on_result = on_result;
	dial.on_end = on_end;
	childdial_start(&dial, &req);
}

/* Starts a dial from a client's address to a silent server, in a network of our own. Returns false
 * if the test must return. */
static bool start_from_client(void)
{
	int r;

	if (!enter_own_network())
		return false;
	r = srcroute_start(&routes, &e);
	if (r == -EROFS || r == -EACCES) {
		fixture_skip("sysctl", "sysctls cannot be written");
		return false;
	}
	ck_assert_msg(r == 0, "%s", e.msg);
	open_silent_server(OWN_ADDRESS);
	ck_assert_int_eq(ipaddr_parse(&req.source_ip, CLIENT), 0);
	req.source_port = CLIENT_PORT;
	dial.srcroute = &routes;
	start_dial();
	ck_assert(dial.from_client);
	return true;
}

static void set_up(void)
{
	fixture_note_fds();
	memset(&dial, 0, sizeof(dial));
	memset(&result, 0, sizeof(result));
	routes.rtnl_fd = server = filler = -1;
	loop = loop_new(LOOP_EPOLL);
	ck_assert_ptr_nonnull(loop);
}

static void tear_down(void)
{
	loop_free(loop);
	fd_close(&server);
	fd_close(&filler);
	fd_close(&routes.rtnl_fd);
	fixture_check_fds();
}

/* ---- results ---- */

static const enum proto protos[] = { PROTO_TCP, PROTO_UDP };

START_TEST(the_result_is_a_connected_socket)
{
	struct sockaddr_storage sa;

	open_server("127.0.0.1", protos[_i], protos[_i] == PROTO_TCP ? 1 : -1);
	sa = address_of("127.0.0.1", req.target.port);
	start_dial();
	settle();
	ck_assert_int_eq(result.count, 1);
	ck_assert(result.is_connected);
	ck_assert(transparent_is_same(&result.peer, &sa));
	ck_assert(result.has_ended);
}
END_TEST

START_TEST(a_refused_connection_is_the_reason)
{
	char why[128];

	open_server("127.0.0.1", PROTO_TCP, -1);
	start_dial();
	settle();
	snprintf(why, sizeof(why), "dial tcp 127.0.0.1:%d: connect: connection refused",
		 req.target.port);
	ck_assert_int_eq(result.count, 1);
	ck_assert_str_eq(result.why, why);
	ck_assert(result.has_ended);
}
END_TEST

START_TEST(a_silent_server_is_given_up)
{
	open_silent_server("127.0.0.1");
	start_dial();
	skip_ms(CONNECT_MS - IMMEDIATE_MS);
	ck_assert_int_eq(result.count, 0);
	skip_ms(IMMEDIATE_MS + MARGIN_MS);
	ck_assert_int_eq(result.count, 1);
	ck_assert_ptr_nonnull(strstr(result.why, ": connection timed out"));
	ck_assert(result.has_ended);
}
END_TEST

/* ---- abandoned dials ---- */

START_TEST(an_abandoned_dial_ends_at_once)
{
	open_silent_server("127.0.0.1");
	start_dial();
	settle();
	childdial_abandon(&dial);
	ck_assert(result.has_ended);
	ck_assert_int_eq(result.count, 0);
}
END_TEST

/* The outcome of the fallback shows whether the client's address is the reason why there is no
 * answer. */
START_TEST(an_abandoned_dial_from_a_clients_address_goes_on_for_a_while)
{
	if (!start_from_client())
		return;
	settle();
	childdial_abandon(&dial);
	ck_assert(!result.has_ended);
	skip_ms(TRANSPARENT_DEADLINE_MS + MARGIN_MS);
	ck_assert(!dial.from_client);
	ck_assert(!result.has_ended);
	skip_ms(IMMEDIATE_MS + MARGIN_MS);
	ck_assert(result.has_ended);
	ck_assert_int_eq(result.count, 0);
}
END_TEST

/* As long as the first socket may still connect, the dial does not end. */
START_TEST(the_socket_with_the_clients_address_lingers)
{
	if (!start_from_client())
		return;
	skip_ms(TRANSPARENT_DEADLINE_MS + MARGIN_MS);
	skip_ms(IMMEDIATE_MS + MARGIN_MS);
	ck_assert_int_eq(result.count, 0);
	skip_ms(CONNECT_MS + MARGIN_MS);
	ck_assert_int_eq(result.count, 1);
	ck_assert_ptr_nonnull(strstr(result.why, ": connection timed out"));
	ck_assert(!result.has_ended);
	skip_ms(LINGER_MS + MARGIN_MS);
	ck_assert(result.has_ended);
	ck_assert_int_eq(result.count, 1);
	ck_assert(!deadpaths_has(&routes.dead, &dial.from, &dial.to)); /* the server is silent */
}
END_TEST

int main(void)
{
	Suite *s = suite_create("childdial");
	TCase *tc = fixture_case("results");
	TCase *abandoned = fixture_case("abandoned");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_loop_test(tc, the_result_is_a_connected_socket, 0, COUNT(protos));
	tcase_add_test(tc, a_refused_connection_is_the_reason);
	tcase_add_test(tc, a_silent_server_is_given_up);
	suite_add_tcase(s, tc);
	tcase_add_checked_fixture(abandoned, set_up, tear_down);
	tcase_add_test(abandoned, an_abandoned_dial_ends_at_once);
	tcase_add_test(abandoned, an_abandoned_dial_from_a_clients_address_goes_on_for_a_while);
	tcase_add_test(abandoned, the_socket_with_the_clients_address_lingers);
	suite_add_tcase(s, abandoned);
	return fixture_run(s);
}
