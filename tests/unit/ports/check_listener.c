/* SPDX-License-Identifier: Apache-2.0 */

/* What is logged about a port whose clients get no connection, and how often. */
#include "tests/unit/capturedlog.h"

#include <sys/syscall.h>
#include <time.h>

#include "formats/ipaddr.h"
#include "ports/listener.h"

#define MINUTE_S 60

static time_t skipped_s;
static struct listener listener;
static struct sockaddr_storage target;

/* Replaces libc's function for the code under test. */
int clock_gettime(clockid_t id, struct timespec *ts)
{
	long r = syscall(SYS_clock_gettime, id, ts);

	if (id == CLOCK_MONOTONIC)
		ts->tv_sec += skipped_s;
	return (int)r;
}

/* From now on standard error is a file. */
static void open_log(void)
{
	const struct portspec spec = { PROTO_TCP, "127.0.0.1", 8080, "", 80 };
	struct ipaddr ip;

	capture_log(false);
	memset(&listener, 0, sizeof(listener));
	listener_set_name(&listener, &spec);
	ck_assert_int_eq(ipaddr_parse(&ip, "127.0.0.1"), 0);
	ipaddr_sockaddr(&ip, 80, &target);
}

static void assert_logged(const char *message)
{
	char line[1024];
	const char *text = take_log();

	snprintf(line, sizeof(line), "level=warning msg=\"[rootlesskit:parent] %s\"\n", message);
	ck_assert_msg(strstr(text, line) != NULL, "%s", text);
	ck_assert_ptr_eq(strchr(text, '\n') + 1, text + strlen(text));
}

static const struct {
	int errnum;
	const char *reason;
	const char *message;
} failures[] = {
	{ ECONNREFUSED, "dial tcp 127.0.0.1:80: connect: connection refused",
	  "port 127.0.0.1:8080/tcp: nobody listens at 127.0.0.1:80 inside (connection refused)" },
	/* as the child reports it */
	{ EREMOTEIO, "dial tcp 127.0.0.1:80: connect: connection refused",
	  "port 127.0.0.1:8080/tcp: nobody listens at 127.0.0.1:80 inside (connection refused)" },
	{ ETIMEDOUT, "no answer from the child",
	  "port 127.0.0.1:8080/tcp: 127.0.0.1:80 does not answer inside (connection timed out)" },
	{ EHOSTUNREACH, "",
	  "port 127.0.0.1:8080/tcp: 127.0.0.1:80 cannot be reached inside "
	  "(no route to host)" },
	{ ENETUNREACH, "",
	  "port 127.0.0.1:8080/tcp: 127.0.0.1:80 cannot be reached inside "
	  "(network is unreachable)" },
	/* The child has exited. That says nothing about the server. */
	{ ECONNREFUSED, "asking the child: connection refused",
	  "port 127.0.0.1:8080/tcp: no connection to 127.0.0.1:80 inside: asking the child: "
	  "connection refused" },
};

START_TEST(a_failed_connection_is_logged_with_its_reason)
{
	listener_log_failure(&listener, &target, failures[_i].errnum, failures[_i].reason);
	assert_logged(failures[_i].message);
}
END_TEST

static const struct {
	struct portspec spec;
	const char *name;
} names[] = {
	{ { PROTO_TCP4, "", 8080, "", 80 }, ":8080/tcp4" },
	{ { PROTO_UDP, "0.0.0.0", 53, "10.0.2.100", 53 }, "0.0.0.0:53/udp" },
	{ { PROTO_TCP6, "::1", 65535, "", 80 }, "[::1]:65535/tcp6" },
};

START_TEST(the_log_names_the_port_as_it_was_published)
{
	listener_set_name(&listener, &names[_i].spec);
	ck_assert_str_eq(listener.name, names[_i].name);
}
END_TEST

START_TEST(an_IPv6_target_stands_in_brackets)
{
	struct ipaddr ip;

	ck_assert_int_eq(ipaddr_parse(&ip, "::1"), 0);
	ipaddr_sockaddr(&ip, 80, &target);
	listener_log_failure(&listener, &target, ECONNREFUSED, "connection refused");
	assert_logged("port 127.0.0.1:8080/tcp: nobody listens at [::1]:80 inside "
		      "(connection refused)");
}
END_TEST

START_TEST(failures_are_logged_once_a_minute_for_each_port)
{
	struct listener other = { .id = 2, .name = ":81/tcp" };

	for (int minute = 0; minute < 3; minute++) {
		for (int i = 0; i < 1000; i++)
			listener_log_failure(&listener, &target, ECONNREFUSED,
					     "connection refused");
		assert_logged("port 127.0.0.1:8080/tcp: nobody listens at 127.0.0.1:80 inside "
			      "(connection refused)");
		listener_log_failure(&other, &target, ECONNREFUSED, "connection refused");
		assert_logged("port :81/tcp: nobody listens at 127.0.0.1:80 inside "
			      "(connection refused)");
		skipped_s += MINUTE_S - 5;
		listener_log_failure(&listener, &target, ECONNREFUSED, "connection refused");
		ck_assert_str_eq(take_log(), "");
		skipped_s += 6;
	}
}
END_TEST

/* ---- loops ---- */

static struct sockaddr_storage client_at(const char *text)
{
	struct sockaddr_storage sa;
	struct ipaddr ip;

	ck_assert_int_eq(ipaddr_parse(&ip, text), 0);
	ipaddr_sockaddr(&ip, 40000, &sa);
	return sa;
}

static const struct {
	const char *child_ip;
	bool may_lead_out;
} child_ips[] = {
	{ "", false },	       { "127.0.0.1", false }, { "127.0.0.9", false },
	{ "::1", false },      { "::", false },	       { "0.0.0.0", false },
	{ "192.0.2.3", true }, { "10.0.2.100", true }, { "fd00::3", true },
};

/* Makes the address the port's child IP; "" for none. */
static void lead_to(const char *child_ip)
{
	if (child_ip[0] != '\0')
		ck_assert_int_eq(ipaddr_parse(&listener.target.ip, child_ip), 0);
	listener_note_target(&listener);
}

START_TEST(clients_are_counted_if_the_target_may_be_outside)
{
	const struct sockaddr_storage client = client_at("192.0.2.7");
	unsigned char place;

	lead_to(child_ips[_i].child_ip);
	for (int i = 0; i < LISTENER_LOOP_LIMIT; i++)
		ck_assert(!listener_count_in(&listener, &client, &place));
	ck_assert_int_eq(listener_count_in(&listener, &client, &place), child_ips[_i].may_lead_out);
}
END_TEST

START_TEST(a_client_that_leaves_makes_room)
{
	const struct sockaddr_storage client = client_at("192.0.2.7"), other = client_at("fd00::9");
	unsigned char place, other_place;

	lead_to("192.0.2.3");
	for (int i = 0; i < LISTENER_LOOP_LIMIT; i++)
		ck_assert(!listener_count_in(&listener, &client, &place));
	ck_assert(!listener_count_in(&listener, &other, &other_place));
	ck_assert(listener_count_in(&listener, &client, &place));
	listener_count_out(&listener, place);
	ck_assert(listener_count_in(&listener, &client, &place));
	listener_count_out(&listener, place);
	listener_count_out(&listener, place);
	ck_assert(!listener_count_in(&listener, &client, &place));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("listener");
	TCase *tc = fixture_case_with_dir("listener");

	tcase_add_checked_fixture(tc, open_log, release_log);
	tcase_add_loop_test(tc, a_failed_connection_is_logged_with_its_reason, 0, COUNT(failures));
	tcase_add_loop_test(tc, the_log_names_the_port_as_it_was_published, 0, COUNT(names));
	tcase_add_test(tc, an_IPv6_target_stands_in_brackets);
	tcase_add_test(tc, failures_are_logged_once_a_minute_for_each_port);
	tcase_add_loop_test(tc, clients_are_counted_if_the_target_may_be_outside, 0,
			    COUNT(child_ips));
	tcase_add_test(tc, a_client_that_leaves_makes_room);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
