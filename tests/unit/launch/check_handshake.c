/* SPDX-License-Identifier: Apache-2.0 */

/* The messages between parent and child: their form on the wire, and texts that are refused. */
#include "launch/handshake.h"
#include "msg.h"
#include "tests/unit/fixture.h"

#include <arpa/inet.h>

static struct err e;
static int fds[2]; /* a pipe, as between parent and child */

static void open_fds(void)
{
	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
}

static void close_fds(void)
{
	if (fds[0] >= 0)
		close(fds[0]);
	if (fds[1] >= 0)
		close(fds[1]);
}

static void end_writing(void)
{
	close(fds[1]);
	fds[1] = -1;
}

static void send_text(const char *text)
{
	ck_assert_int_eq(msg_send(fds[1], text, strlen(text)), 0);
}

static void assert_sent(const char *text)
{
	struct msg_reader r = { 0 };

	ck_assert_int_eq(msg_read(&r, fds[0]), 1);
	ck_assert_str_eq(r.body, text);
	msg_reader_reset(&r);
}

static struct in_addr address_of(const char *text)
{
	struct in_addr a;

	ck_assert_int_eq(inet_pton(AF_INET, text, &a), 1);
	return a;
}

static struct network make_network(void)
{
	struct network net = {
		.dev = "tap0",
		.ip = address_of("10.0.2.100"),
		.prefix_len = 24,
		.gateway = address_of("10.0.2.2"),
		.dns = { "10.0.2.3", "fd00::3" },
		.mtu = 65520,
	};

	return net;
}

/* ---- the messages ---- */

static const struct {
	enum handshake which;
	const char *name;
} messages[] = {
	{ HS_PARENT_HELLO, "ParentHello" },
	{ HS_CHILD_HELLO, "ChildHello" },
	{ HS_IDMAP_COMPLETED, "ParentInitIdmapCompleted" },
	{ HS_USERNS_COMPLETED, "ChildInitUserNSCompleted" },
	{ HS_PORTS_COMPLETED, "ParentInitPortDriverCompleted" },
	{ HS_INIT_COMPLETED, "ParentInitCompleted" },
};

START_TEST(a_message_has_its_name_twice)
{
	char text[256];

	snprintf(text, sizeof(text), "{\"Name\":\"%s\",\"U\":{\"%s\":{}}}", messages[_i].name,
		 messages[_i].name);
	ck_assert_int_eq(handshake_send(fds[1], messages[_i].which, NULL, &e), 0);
	assert_sent(text);
	/* The same text is accepted. */
	send_text(text);
	ck_assert_int_eq(handshake_recv(fds[0], messages[_i].which, NULL, &e), 0);
}
END_TEST

START_TEST(every_message_passes_and_no_other)
{
	enum handshake sent = (enum handshake)(_i / HS_COUNT);
	enum handshake awaited = (enum handshake)(_i % HS_COUNT);
	int r;

	ck_assert_int_eq(handshake_send(fds[1], sent, NULL, &e), 0);
	r = handshake_recv(fds[0], awaited, NULL, &e);
	ck_assert_int_eq(r, sent == awaited ? 0 : -EINVAL);
	if (r < 0)
		ck_assert_ptr_nonnull(strstr(e.msg, "waiting for "));
}
END_TEST

START_TEST(messages_are_read_one_by_one)
{
	for (int i = 0; i < HS_COUNT; i++)
		ck_assert_int_eq(handshake_send(fds[1], (enum handshake)i, NULL, &e), 0);
	for (int i = 0; i < HS_COUNT; i++)
		ck_assert_int_eq(handshake_recv(fds[0], (enum handshake)i, NULL, &e), 0);
}
END_TEST

/* Unknown members are ignored, since another version may send more. */
static const struct {
	const char *text;
	int r;
} texts[] = {
	{ "{\"Name\":\"ChildHello\",\"U\":{\"ChildHello\":{}}}", 0 },
	{ " {\n\"U\" : {\"ChildHello\":{\"More\":[1]},\"X\":null} , \"Y\":{}, "
	  "\"Name\":\"ChildHello\"} ",
	  0 },
	{ "null", -EINVAL },
	{ "[]", -EINVAL },
	{ "\"ChildHello\"", -EINVAL },
	{ "{}", -EINVAL },
	{ "{\"Name\":\"ChildHello\"}", -EINVAL },
	{ "{\"Name\":\"ChildHello\",\"U\":{}}", -EINVAL },
	{ "{\"Name\":\"ChildHello\",\"U\":[]}", -EINVAL },
	{ "{\"Name\":\"ChildHello\",\"U\":{\"ParentHello\":{}}}", -EINVAL },
	{ "{\"Name\":\"ParentHello\",\"U\":{\"ChildHello\":{}}}", -EINVAL },
	{ "{\"U\":{\"ChildHello\":{}}}", -EINVAL },
	{ "{\"Name\":1,\"U\":{\"ChildHello\":{}}}", -EINVAL },
	{ "{\"Name\":\"ChildHello\",\"U\":{\"ChildHello\":{}}", -EINVAL },
	{ "{\"Name\":\"ChildHelloChildHelloChildHelloChildHelloChildHelloChildHelloChildHello\","
	  "\"U\":{\"ChildHello\":{}}}",
	  -EINVAL },
	{ "words", -EINVAL },
};

START_TEST(other_texts_are_refused)
{
	send_text(texts[_i].text);
	ck_assert_int_eq(handshake_recv(fds[0], HS_CHILD_HELLO, NULL, &e), texts[_i].r);
	if (texts[_i].r < 0)
		ck_assert_ptr_nonnull(strstr(e.msg, "waiting for ChildHello: "));
}
END_TEST

static const struct {
	const char *bytes;
	size_t len;
	int r;
	const char *msg;
} ends[] = {
	{ "", 0, -ENODATA, "EOF" },
	{ "\5", 1, -EPIPE, "waiting for ChildHello: broken pipe" },
	{ "\5\0\0\0{", 5, -EPIPE, "waiting for ChildHello: broken pipe" },
	{ "\0\0\0\0", 4, -EPROTO, "waiting for ChildHello: protocol error" },
	{ "\1\0\1\0", 4, -EPROTO, "waiting for ChildHello: protocol error" },
};

START_TEST(end_of_file_is_distinguished_from_an_error)
{
	ck_assert_int_eq(write(fds[1], ends[_i].bytes, ends[_i].len), (ssize_t)ends[_i].len);
	end_writing();
	ck_assert_int_eq(handshake_recv(fds[0], HS_CHILD_HELLO, NULL, &e), ends[_i].r);
	ck_assert_str_eq(e.msg, ends[_i].msg);
	ck_assert_int_eq(handshake_recv(fds[0], HS_CHILD_HELLO, NULL, NULL), -ENODATA);
}
END_TEST

START_TEST(an_empty_pipe_is_no_message)
{
	ck_assert_int_eq(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
	ck_assert_int_eq(handshake_recv(fds[0], HS_CHILD_HELLO, NULL, &e), -EAGAIN);
}
END_TEST

START_TEST(errors_of_sending_are_reported)
{
	close(fds[0]);
	fds[0] = -1;
	signal(SIGPIPE, SIG_IGN);
	ck_assert_int_eq(handshake_send(fds[1], HS_CHILD_HELLO, NULL, &e), -EPIPE);
	ck_assert_str_eq(e.msg, "sending ChildHello: broken pipe");
}
END_TEST

/* ---- the network ---- */

#define NETWORK(members)                                         \
	"{\"Name\":\"ParentInitNetworkDriverCompleted\",\"U\":{" \
	"\"ParentInitNetworkDriverCompleted\":{" members "}}}"
#define FULL                                                                              \
	"\"Dev\":\"tap0\",\"IP\":\"10.0.2.100\",\"Netmask\":24,\"Gateway\":\"10.0.2.2\"," \
	"\"DNS\":[\"10.0.2.3\",\"fd00::3\"],\"MTU\":65520"

START_TEST(the_network_has_the_form_of_rootlesskits_message)
{
	struct network net = make_network();

	ck_assert_int_eq(handshake_send(fds[1], HS_NETWORK_COMPLETED, &net, &e), 0);
	assert_sent(NETWORK(FULL));
}
END_TEST

static void assert_same(const struct network *a, const struct network *b)
{
	ck_assert_str_eq(a->dev, b->dev);
	ck_assert_uint_eq(a->ip.s_addr, b->ip.s_addr);
	ck_assert_int_eq(a->prefix_len, b->prefix_len);
	ck_assert_uint_eq(a->gateway.s_addr, b->gateway.s_addr);
	for (size_t i = 0; i < NETWORK_MAX_DNS; i++)
		ck_assert_str_eq(a->dns[i], b->dns[i]);
	ck_assert_uint_eq(a->mtu, b->mtu);
}

START_TEST(a_network_is_read_as_it_was_sent)
{
	struct network all[] = { make_network(), make_network(), { .dev = "" } };

	strcpy(all[1].dev, "abcdefghijklmno");
	all[1].ip = address_of("255.255.255.255");
	all[1].gateway = address_of("0.0.0.0");
	all[1].prefix_len = 0;
	all[1].mtu = 65521;
	for (int i = 0; i < COUNT(all); i++) {
		struct network got;

		memset(&got, 0xa5, sizeof(got));
		ck_assert_int_eq(handshake_send(fds[1], HS_NETWORK_COMPLETED, &all[i], &e), 0);
		ck_assert_int_eq(handshake_recv(fds[0], HS_NETWORK_COMPLETED, &got, &e), 0);
		assert_same(&got, &all[i]);
	}
}
END_TEST

static const char *const bad_networks[] = {
	NETWORK(""),
	NETWORK("\"Dev\":1"),
	NETWORK("\"Dev\":\"abcdefghijklmnop\",\"IP\":\"10.0.2.100\",\"Netmask\":24,"
		"\"Gateway\":\"10.0.2.2\",\"DNS\":[\"10.0.2.3\"],\"MTU\":1500"),
	NETWORK("\"Dev\":\"tap0\""),
	NETWORK("\"Dev\":\"tap0\",\"Netmask\":24,\"Gateway\":\"10.0.2.2\",\"DNS\":[\"10.0.2.3\"],"
		"\"MTU\":1500"),
	NETWORK("\"Dev\":\"tap0\",\"IP\":\"10.0.2\",\"Netmask\":24,\"Gateway\":\"10.0.2.2\","
		"\"DNS\":[\"10.0.2.3\"],\"MTU\":1500"),
	NETWORK("\"Dev\":\"tap0\",\"IP\":\"10.0.2.100\",\"Netmask\":33,\"Gateway\":\"10.0.2.2\","
		"\"DNS\":[\"10.0.2.3\"],\"MTU\":1500"),
	NETWORK("\"Dev\":\"tap0\",\"IP\":\"10.0.2.100\",\"Netmask\":-1,\"Gateway\":\"10.0.2.2\","
		"\"DNS\":[\"10.0.2.3\"],\"MTU\":1500"),
	NETWORK("\"Dev\":\"tap0\",\"IP\":\"10.0.2.100\",\"Netmask\":24,\"Gateway\":\"fd00::2\","
		"\"DNS\":[\"10.0.2.3\"],\"MTU\":1500"),
	NETWORK("\"Dev\":\"tap0\",\"IP\":\"10.0.2.100\",\"Netmask\":24,\"Gateway\":\"10.0.2.2\","
		"\"DNS\":[],\"MTU\":1500"),
	NETWORK("\"Dev\":\"tap0\",\"IP\":\"10.0.2.100\",\"Netmask\":24,\"Gateway\":\"10.0.2.2\","
		"\"DNS\":[\"10.0.2.3\",\"foo\"],\"MTU\":1500"),
	NETWORK("\"Dev\":\"tap0\",\"IP\":\"10.0.2.100\",\"Netmask\":24,\"Gateway\":\"10.0.2.2\","
		"\"DNS\":[\"10.0.2.3\",7],\"MTU\":1500"),
	NETWORK("\"Dev\":\"tap0\",\"IP\":\"10.0.2.100\",\"Netmask\":24,\"Gateway\":\"10.0.2.2\","
		"\"DNS\":[\"10.0.2.3\",\"::1\",\"::1\",\"::1\",\"::1\"],\"MTU\":1500"),
	NETWORK("\"Dev\":\"tap0\",\"IP\":\"10.0.2.100\",\"Netmask\":24,\"Gateway\":\"10.0.2.2\","
		"\"DNS\":\"10.0.2.3\",\"MTU\":1500"),
	NETWORK("\"Dev\":\"tap0\",\"IP\":\"10.0.2.100\",\"Netmask\":24,\"Gateway\":\"10.0.2.2\","
		"\"MTU\":1500"),
	NETWORK("\"Dev\":\"tap0\",\"IP\":\"10.0.2.100\",\"Netmask\":24,\"Gateway\":\"10.0.2.2\","
		"\"DNS\":[\"10.0.2.3\"],\"MTU\":65536"),
	NETWORK("\"Dev\":\"tap0\",\"IP\":\"10.0.2.100\",\"Netmask\":24,\"Gateway\":\"10.0.2.2\","
		"\"DNS\":[\"10.0.2.3\"],\"MTU\":\"1500\""),
};

START_TEST(a_bad_network_is_refused)
{
	struct network net;

	send_text(bad_networks[_i]);
	ck_assert_int_eq(handshake_recv(fds[0], HS_NETWORK_COMPLETED, &net, &e), -EINVAL);
	/* A caller that does not want the network reads only the name. */
	send_text(bad_networks[_i]);
	ck_assert_int_eq(handshake_recv(fds[0], HS_NETWORK_COMPLETED, NULL, &e), 0);
}
END_TEST

static TCase *make_case(const char *name)
{
	TCase *tc = fixture_case(name);

	tcase_add_checked_fixture(tc, open_fds, close_fds);
	return tc;
}

static TCase *messages_case(void)
{
	TCase *tc = make_case("messages");

	tcase_add_loop_test(tc, a_message_has_its_name_twice, 0, COUNT(messages));
	tcase_add_loop_test(tc, every_message_passes_and_no_other, 0, HS_COUNT * HS_COUNT);
	tcase_add_test(tc, messages_are_read_one_by_one);
	tcase_add_loop_test(tc, other_texts_are_refused, 0, COUNT(texts));
	tcase_add_loop_test(tc, end_of_file_is_distinguished_from_an_error, 0, COUNT(ends));
	tcase_add_test(tc, an_empty_pipe_is_no_message);
	tcase_add_test(tc, errors_of_sending_are_reported);
	return tc;
}

static TCase *network_case(void)
{
	TCase *tc = make_case("network");

	tcase_add_test(tc, the_network_has_the_form_of_rootlesskits_message);
	tcase_add_test(tc, a_network_is_read_as_it_was_sent);
	tcase_add_loop_test(tc, a_bad_network_is_refused, 0, COUNT(bad_networks));
	return tc;
}

int main(void)
{
	Suite *s = suite_create("handshake");

	suite_add_tcase(s, messages_case());
	suite_add_tcase(s, network_case());
	return fixture_run(s);
}
