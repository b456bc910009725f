/* SPDX-License-Identifier: Apache-2.0 */

/* Where a published port leads: which address is chosen, and how it is shown. */
#include "formats/target.h"
#include "tests/unit/fixture.h"

#define GATEWAY "172.31.36.62"

static struct ipaddr address(const char *text)
{
	struct ipaddr ip = { .family = AF_UNSPEC };

	if (text[0] != '\0')
		ck_assert_int_eq(ipaddr_parse(&ip, text), 0);
	return ip;
}

/* Returns the target of a port with these addresses. */
static struct target target_of(enum proto proto, const char *child_ip, const char *parent_ip)
{
	static struct portspec spec;
	struct target t;
	struct err e = { "" };

	spec = (struct portspec){ .proto = proto, .child_port = 80 };
	snprintf(spec.child_ip, sizeof(spec.child_ip), "%s", child_ip);
	snprintf(spec.parent_ip, sizeof(spec.parent_ip), "%s", parent_ip);
	ck_assert_msg(target_from_spec(&t, &spec, &e) == 0, "%s", e.msg);
	return t;
}

static const struct {
	const char *child_ip;
	const char *parent_ip;
	const char *gateway_ip;
	const char *address;
	bool depends_on_child;
} choices[] = {
	{ "", "", "", "127.0.0.1", false },
	{ "", "", GATEWAY, "127.0.0.1", false },
	{ "", "0.0.0.0", GATEWAY, "127.0.0.1", false },
	{ "", "0.0.0.0", "", "127.0.0.1", false },
	{ "", "::ffff:0.0.0.0", GATEWAY, "127.0.0.1", false },
	{ "", GATEWAY, GATEWAY, "127.0.0.1", false },
	{ "", "::ffff:" GATEWAY, GATEWAY, "127.0.0.1", false },
	{ "", GATEWAY, "", GATEWAY, true },
	{ "", "172.31.36.63", GATEWAY, "172.31.36.63", true },
	{ "", "fd00::1", GATEWAY, "fd00::1", true },
	{ "", "127.0.0.1", GATEWAY, "127.0.0.1", false },
	{ "", "127.0.0.2", GATEWAY, "127.0.0.2", false },
	{ "", "127.0.0.2", "", "127.0.0.2", false },
	{ "", "::1", GATEWAY, "::1", false },
	{ "", "::", GATEWAY, "::", false },
	{ "10.0.2.100", "", GATEWAY, "10.0.2.100", false },
	{ "10.0.2.100", GATEWAY, GATEWAY, "10.0.2.100", false },
	{ "10.0.2.100", "127.0.0.2", "", "10.0.2.100", false },
	{ "10.0.2.100", "172.31.36.63", "", "10.0.2.100", false },
	{ GATEWAY, "127.0.0.2", GATEWAY, GATEWAY, false },
	{ "0.0.0.0", "127.0.0.2", "", "0.0.0.0", false },
	{ "::1", "127.0.0.1", GATEWAY, "::1", false },
};

START_TEST(the_target_is_the_address_that_rootlesskit_chooses)
{
	const struct target t = target_of(PROTO_TCP, choices[_i].child_ip, choices[_i].parent_ip);
	const struct ipaddr gateway = address(choices[_i].gateway_ip);
	const struct ipaddr ip = target_address(&t, &gateway);
	char text[INET6_ADDRSTRLEN];

	ck_assert_str_eq(ipaddr_text(&ip, text, sizeof(text)), choices[_i].address);
	ck_assert_int_eq(target_depends_on_child(&t, &ip), choices[_i].depends_on_child);
}
END_TEST

static const struct {
	enum proto proto;
	const char *ip;
	const char *connects_to;
	const char *error;
} addresses[] = {
	{ PROTO_TCP, "127.0.0.1", "127.0.0.1", "dial tcp 127.0.0.1:80: connect: " },
	{ PROTO_UDP4, "127.0.0.2", "127.0.0.2", "dial udp4 127.0.0.2:80: connect: " },
	{ PROTO_TCP, "192.0.2.1", "192.0.2.1", "dial tcp 192.0.2.1:80: connect: " },
	{ PROTO_TCP, "0.0.0.0", "127.0.0.1", "dial tcp 0.0.0.0:80: connect: " },
	{ PROTO_TCP6, "::", "::1", "dial tcp6 [::]:80: connect: " },
	{ PROTO_TCP6, "fd00::2", "fd00::2", "dial tcp6 [fd00::2]:80: connect: " },
};

START_TEST(an_address_becomes_a_socket_address_and_a_reason)
{
	const struct target t = { .proto = addresses[_i].proto, .port = 80 };
	const struct ipaddr ip = address(addresses[_i].ip);
	struct sockaddr_storage to;
	char text[INET6_ADDRSTRLEN];
	struct ipaddr got;
	struct err e;

	ck_assert_uint_eq(target_sockaddr(&t, &ip, &to), ip.family == AF_INET
								 ? sizeof(struct sockaddr_in)
								 : sizeof(struct sockaddr_in6));
	ck_assert_int_eq(ipaddr_from_sockaddr(&got, &to), 80);
	ck_assert_str_eq(ipaddr_text(&got, text, sizeof(text)), addresses[_i].connects_to);
	ck_assert_int_eq(target_dial_error(&t, &ip, ECONNREFUSED, &e), -ECONNREFUSED);
	ck_assert_int_eq(strncmp(e.msg, addresses[_i].error, strlen(addresses[_i].error)), 0);
	ck_assert_str_eq(e.msg + strlen(addresses[_i].error), "connection refused");
}
END_TEST

START_TEST(the_texts_of_the_spec_are_kept)
{
	const struct target t = target_of(PROTO_UDP, "0:0::1", "FD00:0::2");
	char text[INET6_ADDRSTRLEN];

	ck_assert_int_eq(t.proto, PROTO_UDP);
	ck_assert_int_eq(t.port, 80);
	ck_assert_str_eq(t.ip_text, "0:0::1");
	ck_assert_str_eq(ipaddr_text(&t.ip, text, sizeof(text)), "::1");
	ck_assert_str_eq(t.parent_ip_text, "FD00:0::2");
	ck_assert_str_eq(ipaddr_text(&t.parent_ip, text, sizeof(text)), "fd00::2");
}
END_TEST

static const struct {
	struct portspec spec;
	const char *msg;
} bad_specs[] = {
	{ { PROTO_TCP, "127.0.0.1", 80, "x", 80 }, "invalid ChildIP: \"x\"" },
	{ { PROTO_TCP, "[::1]", 80, "127.0.0.1", 80 }, "invalid ParentIP: \"[::1]\"" },
};

START_TEST(a_spec_with_an_invalid_address_is_refused)
{
	struct target t;
	struct err e;

	ck_assert_int_eq(target_from_spec(&t, &bad_specs[_i].spec, &e), -EINVAL);
	ck_assert_str_eq(e.msg, bad_specs[_i].msg);
	ck_assert_int_eq(target_from_spec(&t, &bad_specs[_i].spec, NULL), -EINVAL);
}
END_TEST

START_TEST(sockets_connect_with_tcp_and_udp_only)
{
	const struct target t = { .proto = (enum proto)_i };
	struct err e = { "" };
	char reason[64];

	if (_i < PROTO_SCTP) {
		ck_assert_int_eq(target_check(&t, &e), 0);
		return;
	}
	snprintf(reason, sizeof(reason), "unsupported port protocol %s", proto_name(t.proto));
	ck_assert_int_eq(target_check(&t, &e), -ENOTSUP);
	ck_assert_str_eq(e.msg, reason);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("target");
	TCase *tc = fixture_case("target");

	tcase_add_loop_test(tc, the_target_is_the_address_that_rootlesskit_chooses, 0,
			    COUNT(choices));
	tcase_add_loop_test(tc, an_address_becomes_a_socket_address_and_a_reason, 0,
			    COUNT(addresses));
	tcase_add_test(tc, the_texts_of_the_spec_are_kept);
	tcase_add_loop_test(tc, a_spec_with_an_invalid_address_is_refused, 0, COUNT(bad_specs));
	tcase_add_loop_test(tc, sockets_connect_with_tcp_and_udp_only, 0, PROTO_COUNT);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
