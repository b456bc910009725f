/* SPDX-License-Identifier: Apache-2.0 */

/* The builtin port driver's messages: that requests and answers arrive as they were sent, what is
 * refused and in which words. A message under test lies in a heap buffer of exactly its size, so
 * that reading past it is seen. */
#include "formats/bpmsg.h"
#include "formats/ipaddr.h"
#include "tests/unit/fixture.h"

static int decode(struct bpmsg *req, const char *text, size_t len, struct err *e)
{
	char *copy = malloc(len > 0 ? len : 1);
	int r;

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, text, len);
	memset(req, 0x5a, sizeof(*req));
	e->msg[0] = '\0';
	r = bpmsg_decode(req, copy, len, e);
	free(copy);
	return r;
}

static int decode_answer(const char *text, size_t len, struct err *e)
{
	char *copy = malloc(len > 0 ? len : 1);
	int r;

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, text, len);
	e->msg[0] = '\0';
	r = bpmsg_decode_answer(copy, len, e);
	free(copy);
	return r;
}

static void assert_request(const struct bpmsg *req, const struct bpmsg *want)
{
	ck_assert_int_eq(req->type, want->type);
	ck_assert_int_eq(req->proto, want->proto);
	ck_assert_str_eq(req->ip, want->ip);
	ck_assert_int_eq(req->port, want->port);
	ck_assert_str_eq(req->parent_ip, want->parent_ip);
	ck_assert_str_eq(req->host_gateway_ip, want->host_gateway_ip);
	ck_assert_str_eq(req->source_ip, want->source_ip);
	ck_assert_int_eq(req->source_port, want->source_port);
	ck_assert_int_eq(req->count, want->count);
}

/* ---- requests ---- */

#define LONGEST_IP "0000:0000:0000:0000:0000:ffff:255.255.255.255"

#define SOCKETS "\"Type\":\"sockets\""

static const struct {
	struct bpmsg req;
	const char *text;
} requests[] = {
	{ { .type = BPMSG_SOCKETS, .proto = PROTO_TCP4, .count = 1 },
	  "{" SOCKETS ",\"Proto\":\"tcp4\",\"Count\":1}" },
	{ { .type = BPMSG_SOCKETS, .proto = PROTO_UDP6, .count = BPMSG_SOCKETS_MAX },
	  "{" SOCKETS ",\"Proto\":\"udp6\",\"Count\":252}" },
	{ { .type = BPMSG_INIT },
	  "{\"Type\":\"init\",\"Proto\":\"\",\"IP\":\"\",\"Port\":0,\"ParentIP\":\"\","
	  "\"HostGatewayIP\":\"\"}" },
	{ { BPMSG_CONNECT, PROTO_TCP, "", 8080, "127.0.0.2", "172.31.36.62", "192.0.2.7", 40000,
	    0 },
	  "{\"Type\":\"connect\",\"Proto\":\"tcp\",\"IP\":\"\",\"Port\":8080,"
	  "\"ParentIP\":\"127.0.0.2\",\"HostGatewayIP\":\"172.31.36.62\","
	  "\"SourceIP\":\"192.0.2.7\",\"SourcePort\":40000}" },
	{ { BPMSG_CONNECT, PROTO_UDP6, "::1", 1, "::", "", "", 0, 0 },
	  "{\"Type\":\"connect\",\"Proto\":\"udp6\",\"IP\":\"::1\",\"Port\":1,"
	  "\"ParentIP\":\"::\",\"HostGatewayIP\":\"\"}" },
	{ { BPMSG_CONNECT, PROTO_SCTP, "", 65535, "", "", "::1", 65535, 0 },
	  "{\"Type\":\"connect\",\"Proto\":\"sctp\",\"IP\":\"\",\"Port\":65535,"
	  "\"ParentIP\":\"\",\"HostGatewayIP\":\"\",\"SourceIP\":\"::1\",\"SourcePort\":65535}" },
	{ { BPMSG_CONNECT, PROTO_TCP, "", 1, "", "", "", 7, 0 },
	  "{\"Type\":\"connect\",\"Proto\":\"tcp\",\"IP\":\"\",\"Port\":1,"
	  "\"ParentIP\":\"\",\"HostGatewayIP\":\"\",\"SourcePort\":7}" },
	{ { BPMSG_CONNECT, PROTO_SCTP4, LONGEST_IP, 65535, LONGEST_IP, LONGEST_IP, LONGEST_IP,
	    65535, 0 },
	  "{\"Type\":\"connect\",\"Proto\":\"sctp4\",\"IP\":\"" LONGEST_IP "\",\"Port\":65535,"
	  "\"ParentIP\":\"" LONGEST_IP "\",\"HostGatewayIP\":\"" LONGEST_IP "\","
	  "\"SourceIP\":\"" LONGEST_IP "\",\"SourcePort\":65535}" },
};

START_TEST(a_request_arrives_as_it_was_sent)
{
	char buf[BPMSG_MAX];
	struct bpmsg req;
	struct err e;
	int len = bpmsg_encode(&requests[_i].req, buf, sizeof(buf));

	ck_assert_int_eq(len, (int)strlen(requests[_i].text));
	ck_assert_str_eq(buf, requests[_i].text);
	ck_assert_int_eq(decode(&req, buf, (size_t)len, &e), 0);
	assert_request(&req, &requests[_i].req);
}
END_TEST

START_TEST(a_request_must_fit)
{
	const int len = (int)strlen(requests[_i].text);

	for (int cap = 0; cap <= len + 1; cap++) {
		char *buf = malloc(cap > 0 ? (size_t)cap : 1);

		ck_assert_int_eq(bpmsg_encode(&requests[_i].req, buf, (size_t)cap),
				 cap > len ? len : -ENOSPC);
		free(buf);
	}
}
END_TEST

START_TEST(every_beginning_of_a_request_is_refused)
{
	const char *text = requests[_i].text;
	struct bpmsg req;
	struct err e;

	for (size_t len = 0; len < strlen(text); len++) {
		ck_assert_int_eq(decode(&req, text, len, &e), -EINVAL);
		ck_assert_str_eq(e.msg, len == 0 ? "EOF" : "unexpected EOF");
	}
}
END_TEST

#define CONNECT "\"Type\":\"connect\",\"Proto\":\"tcp\""

/* What other programs may send. */
static const struct {
	const char *text;
	struct bpmsg req;
} foreign[] = {
	{ "{\"Type\":\"init\"}", { .type = BPMSG_INIT } },
	{ "{\"type\":\"init\"} garbage", { .type = BPMSG_INIT } },
	/* Of "init" only the type matters. */
	{ "{\"Type\":\"init\",\"Proto\":\"foo\",\"IP\":\"foo\",\"Port\":-1,\"ParentIP\":1}",
	  { .type = BPMSG_INIT } },
	{ "{" CONNECT ",\"Port\":80}", { BPMSG_CONNECT, PROTO_TCP, "", 80, "", "", "", 0, 0 } },
	{ " {\"Port\":80,\"IP\":null,\"SourcePort\":null,\"ParentIP\":null," CONNECT "}\n",
	  { BPMSG_CONNECT, PROTO_TCP, "", 80, "", "", "", 0, 0 } },
	{ "{" CONNECT ",\"port\":80,\"ip\":\"::1\",\"parentip\":\"1.2.3.4\",\"x\":[{}]}",
	  { BPMSG_CONNECT, PROTO_TCP, "::1", 80, "1.2.3.4", "", "", 0, 0 } },
	{ "{" CONNECT ",\"Port\":80,\"SourcePort\":0,\"SourceIP\":\"\"}",
	  { BPMSG_CONNECT, PROTO_TCP, "", 80, "", "", "", 0, 0 } },
	/* Of "sockets" only these three. */
	{ "{" SOCKETS ",\"Port\":-1,\"IP\":\"foo\",\"Count\":7,\"Proto\":\"tcp6\"}",
	  { .type = BPMSG_SOCKETS, .proto = PROTO_TCP6, .count = 7 } },
	{ "{\"Type\":\"init\"," CONNECT ",\"Port\":1,\"Port\":2}",
	  { BPMSG_CONNECT, PROTO_TCP, "", 2, "", "", "", 0, 0 } },
};

START_TEST(reads_what_others_send)
{
	struct bpmsg req;
	struct err e;

	ck_assert_msg(decode(&req, foreign[_i].text, strlen(foreign[_i].text), &e) == 0, "%s",
		      e.msg);
	assert_request(&req, &foreign[_i].req);
}
END_TEST

static const struct {
	const char *text;
	const char *msg;
} bad_requests[] = {
	{ "garbage", "invalid character 'g' looking for beginning of value" },
	{ "{\"Type\":\"connect\",}",
	  "invalid character '}' looking for beginning of object key string" },
	{ "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "exceeded max depth" },
	{ "1", "json: cannot unmarshal number into a request" },
	{ "[]", "json: cannot unmarshal array into a request" },
	{ "\"connect\"", "json: cannot unmarshal string into a request" },
	{ "null", "unknown request type: \"\"" },
	{ "{}", "unknown request type: \"\"" },
	{ "{\"Type\":\"foo\"}", "unknown request type: \"foo\"" },
	{ "{\"Type\":\"Init\"}", "unknown request type: \"Init\"" },
	{ "{\"Type\":1}", "json: cannot unmarshal number into field Type of type string" },
	{ "{\"Type\":\"connect\",\"Port\":80}", "unknown proto: \"\"" },
	{ "{\"Type\":\"connect\",\"Proto\":\"foo\",\"Port\":80}", "unknown proto: \"foo\"" },
	{ "{\"Type\":\"connect\",\"Proto\":null,\"Port\":80}", "unknown proto: \"\"" },
	{ "{" CONNECT "}", "invalid Port: 0" },
	{ "{" CONNECT ",\"Port\":0}", "invalid Port: 0" },
	{ "{" CONNECT ",\"Port\":-1}", "invalid Port: -1" },
	{ "{" CONNECT ",\"Port\":65536}", "invalid Port: 65536" },
	{ "{" CONNECT ",\"Port\":4294967376}", "invalid Port: 4294967376" },
	{ "{" CONNECT ",\"Port\":8e1}",
	  "json: cannot unmarshal number 8e1 into field Port of type int" },
	{ "{" CONNECT ",\"Port\":\"80\"}",
	  "json: cannot unmarshal string into field Port of type int" },
	{ "{" CONNECT ",\"Port\":80,\"IP\":\"foo\"}", "invalid IP: \"foo\"" },
	{ "{" CONNECT ",\"Port\":80,\"IP\":\"[::1]\"}", "invalid IP: \"[::1]\"" },
	{ "{" CONNECT ",\"Port\":80,\"IP\":\"::1\\u0000\"}",
	  "json: field IP holds a NUL character" },
	{ "{" CONNECT ",\"Port\":80,\"IP\":80}",
	  "json: cannot unmarshal number into field IP of type string" },
	{ "{" CONNECT ",\"Port\":80,\"ParentIP\":\"foo\"}", "invalid ParentIP: \"foo\"" },
	{ "{" CONNECT ",\"Port\":80,\"HostGatewayIP\":\"foo\"}", "invalid HostGatewayIP: \"foo\"" },
	{ "{" CONNECT ",\"Port\":80,\"SourceIP\":\"foo\"}", "invalid SourceIP: \"foo\"" },
	{ "{" CONNECT ",\"Port\":80,\"SourcePort\":-1}", "invalid SourcePort: -1" },
	{ "{" CONNECT ",\"Port\":80,\"SourcePort\":65536}", "invalid SourcePort: 65536" },
	{ "{" SOCKETS ",\"Count\":1}", "unknown proto: \"\"" },
	{ "{" SOCKETS ",\"Count\":1,\"Proto\":\"foo\"}", "unknown proto: \"foo\"" },
	{ "{" SOCKETS ",\"Count\":1,\"Proto\":\"tcp\"}", "no sockets for Proto \"tcp\"" },
	{ "{" SOCKETS ",\"Count\":1,\"Proto\":\"udp\"}", "no sockets for Proto \"udp\"" },
	{ "{" SOCKETS ",\"Count\":1,\"Proto\":\"sctp4\"}", "no sockets for Proto \"sctp4\"" },
	{ "{" SOCKETS ",\"Proto\":\"tcp4\"}", "invalid Count: 0" },
	{ "{" SOCKETS ",\"Proto\":\"tcp4\",\"Count\":-1}", "invalid Count: -1" },
	{ "{" SOCKETS ",\"Proto\":\"tcp4\",\"Count\":253}", "invalid Count: 253" },
	{ "{" SOCKETS ",\"Proto\":\"tcp4\",\"Count\":4294967297}", "invalid Count: 4294967297" },
	{ "{" SOCKETS ",\"Proto\":\"tcp4\",\"Count\":\"1\"}",
	  "json: cannot unmarshal string into field Count of type int" },
};

START_TEST(refuses_a_request)
{
	const char *text = bad_requests[_i].text;
	struct bpmsg req;
	struct err e;

	ck_assert_int_eq(decode(&req, text, strlen(text), &e), -EINVAL);
	ck_assert_str_eq(e.msg, bad_requests[_i].msg);
	ck_assert_int_eq(bpmsg_decode(&req, text, strlen(text), NULL), -EINVAL);
}
END_TEST

static const char *const text_fields[] = { "IP", "ParentIP", "HostGatewayIP", "SourceIP" };

/* Longer than any address, and than what is shown of one. */
START_TEST(an_address_of_any_length_is_refused)
{
	for (int len = PORTSPEC_IP_LEN - 1; len <= 1024; len += len) {
		char text[2048];
		struct bpmsg req;
		struct err e;
		int n = snprintf(text, sizeof(text), "{" CONNECT ",\"Port\":80,\"%s\":\"%0*d\"}",
				 text_fields[_i], len, 0);

		ck_assert_int_eq(decode(&req, text, (size_t)n, &e), -EINVAL);
		ck_assert_ptr_nonnull(strstr(e.msg, text_fields[_i]));
	}
}
END_TEST

/* ---- answers ---- */

static const char *const reasons[] = {
	"dial tcp 127.0.0.1:80: connect: connection refused",
	"x",
	"\"quoted\" \\ / <a>&b \t\r\n\b\f\x01\x1f\x7f",
	"é€😀\u2028\u2029",
};

START_TEST(a_reason_arrives_as_it_was_sent)
{
	char buf[BPMSG_ERROR_MAX];
	struct err sent, got;
	int len;

	err_set(&sent, EIO, "%s", reasons[_i]);
	len = bpmsg_encode_error(&sent, buf, sizeof(buf));
	ck_assert_int_eq(len, (int)strlen(buf));
	ck_assert_int_eq(decode_answer(buf, (size_t)len, &got), -EREMOTEIO);
	ck_assert_str_eq(got.msg, reasons[_i]);
	for (int cut = 0; cut < len; cut++)
		ck_assert_int_eq(decode_answer(buf, (size_t)cut, &got), -EINVAL);
}
END_TEST

START_TEST(an_answer_looks_as_documented)
{
	char buf[BPMSG_ERROR_MAX];
	const struct err e = { "a \"b\"" };

	ck_assert_int_eq(bpmsg_encode_error(&e, buf, sizeof(buf)), 19);
	ck_assert_str_eq(buf, "{\"Error\":\"a \\\"b\\\"\"}");
	for (size_t cap = 0; cap <= 20; cap++) {
		char *small = malloc(cap > 0 ? cap : 1);

		ck_assert_int_eq(bpmsg_encode_error(&e, small, cap), cap > 19 ? 19 : -ENOSPC);
		free(small);
	}
}
END_TEST

static const char worst_bytes[] = { '\x01', '<', '\x80', '\xff', '"' };

/* A reason of ERR_LEN, each byte of which takes the most room. */
START_TEST(any_reason_fits)
{
	char *buf = malloc(BPMSG_ERROR_MAX);
	struct err sent, got;
	int len;

	memset(sent.msg, worst_bytes[_i], ERR_LEN - 1);
	sent.msg[ERR_LEN - 1] = '\0';
	len = bpmsg_encode_error(&sent, buf, BPMSG_ERROR_MAX);
	ck_assert_int_gt(len, ERR_LEN);
	ck_assert_int_eq(decode_answer(buf, (size_t)len, &got), -EREMOTEIO);
	ck_assert_uint_eq(strlen(got.msg), ERR_LEN - 1);
	free(buf);
}
END_TEST

static const struct {
	const char *text;
	int r;
	const char *msg;
} answers[] = {
	{ "null", 0, "" },
	{ "{}", 0, "" },
	{ "{\"Error\":\"\"}", 0, "" },
	{ "{\"Error\":null}", 0, "" },
	{ "{\"Foo\":\"bar\"}", 0, "" },
	{ "null garbage", 0, "" },
	{ "{\"Error\":\"x\"}", -EREMOTEIO, "x" },
	{ "{\"error\":\"x\"}", -EREMOTEIO, "x" },
	{ "{\"Foo\":{\"Error\":\"y\"},\"Error\":\"x\"}", -EREMOTEIO, "x" },
	{ "{\"Error\":\"%s%n\"}", -EREMOTEIO, "%s%n" },
	{ "", -EINVAL, "EOF" },
	{ "x", -EINVAL, "invalid character 'x' looking for beginning of value" },
	{ "{\"Error\":\"x\"", -EINVAL, "unexpected EOF" },
	{ "{\"Error\":1}", -EINVAL,
	  "json: cannot unmarshal number into field Error of type string" },
	{ "{\"Error\":{}}", -EINVAL,
	  "json: cannot unmarshal object into field Error of type string" },
	{ "{\"Error\":\"\\u0000\"}", -EINVAL, "json: field Error holds a NUL character" },
	{ "[]", -EINVAL, "json: cannot unmarshal array into an answer" },
	{ "\"x\"", -EINVAL, "json: cannot unmarshal string into an answer" },
	{ "true", -EINVAL, "json: cannot unmarshal bool into an answer" },
};

START_TEST(reads_an_answer)
{
	const char *text = answers[_i].text;
	struct err e;

	ck_assert_int_eq(decode_answer(text, strlen(text), &e), answers[_i].r);
	ck_assert_str_eq(e.msg, answers[_i].msg);
	ck_assert_int_eq(bpmsg_decode_answer(text, strlen(text), NULL), answers[_i].r);
}
END_TEST

/* A reason of another program, longer than ours can be, is cut. */
START_TEST(a_long_reason_is_cut)
{
	char text[4 * ERR_LEN];
	struct err e;
	int len = snprintf(text, sizeof(text), "{\"Error\":\"%0*d\"}", 3 * ERR_LEN, 0);

	ck_assert_int_eq(decode_answer(text, (size_t)len, &e), -EREMOTEIO);
	ck_assert_uint_eq(strspn(e.msg, "0"), ERR_LEN - 1);
}
END_TEST

/* ---- targets ---- */

static const struct {
	struct bpmsg req;
	const char *address; /* and the family that its text has */
	const char *text;
} targets[] = {
	{ { .proto = PROTO_TCP }, "127.0.0.1", "dial tcp 127.0.0.1:80: connect: " },
	{ { .proto = PROTO_UDP4, .ip = "127.0.0.2" },
	  "127.0.0.2",
	  "dial udp4 127.0.0.2:80: connect: " },
	{ { .proto = PROTO_TCP, .parent_ip = "192.0.2.1", .host_gateway_ip = "192.0.2.1" },
	  "127.0.0.1",
	  "dial tcp 127.0.0.1:80: connect: " },
	{ { .proto = PROTO_TCP, .parent_ip = "192.0.2.1" },
	  "192.0.2.1",
	  "dial tcp 192.0.2.1:80: connect: " },
	{ { .proto = PROTO_TCP, .ip = "0.0.0.0" }, "127.0.0.1", "dial tcp 0.0.0.0:80: connect: " },
	{ { .proto = PROTO_TCP6, .parent_ip = "::" }, "::1", "dial tcp6 [::]:80: connect: " },
	{ { .proto = PROTO_TCP6, .ip = "fd00::2" },
	  "fd00::2",
	  "dial tcp6 [fd00::2]:80: connect: " },
};

START_TEST(a_request_leads_to_a_target)
{
	struct bpmsg req = targets[_i].req;
	struct sockaddr_storage to;
	char text[INET6_ADDRSTRLEN];
	struct ipaddr ip;
	socklen_t len;
	struct err e;

	req.type = BPMSG_CONNECT;
	req.port = 80;
	ck_assert_int_eq(bpmsg_target(&req, &to, &len, &e), 0);
	ck_assert_int_eq(ipaddr_from_sockaddr(&ip, &to), 80);
	ck_assert_str_eq(ipaddr_text(&ip, text, sizeof(text)), targets[_i].address);
	ck_assert_uint_eq(len, ip.family == AF_INET ? sizeof(struct sockaddr_in)
						    : sizeof(struct sockaddr_in6));
	ck_assert_int_eq(bpmsg_dial_error(&req, ECONNREFUSED, &e), -ECONNREFUSED);
	ck_assert_int_eq(strncmp(e.msg, targets[_i].text, strlen(targets[_i].text)), 0);
	ck_assert_str_eq(e.msg + strlen(targets[_i].text), "connection refused");
}
END_TEST

START_TEST(nobody_connects_with_sctp)
{
	const struct bpmsg req = { .type = BPMSG_CONNECT, .proto = PROTO_SCTP, .port = 80 };
	struct sockaddr_storage to;
	socklen_t len;
	struct err e;

	ck_assert_int_eq(bpmsg_target(&req, &to, &len, &e), -ENOTSUP);
	ck_assert_str_eq(e.msg, "unsupported port protocol sctp");
}
END_TEST

START_TEST(who_does_not_know_a_type_is_told_apart)
{
	static const char foo[] = "{\"Type\":\"foo\"}", bad[] = "{" SOCKETS ",\"Proto\":\"foo\"}";
	char buf[BPMSG_ERROR_MAX];
	struct bpmsg req;
	struct err e, got;
	int len;

	ck_assert_int_lt(decode(&req, foo, strlen(foo), &e), 0);
	len = bpmsg_encode_error(&e, buf, sizeof(buf));
	ck_assert_int_eq(decode_answer(buf, (size_t)len, &got), -EREMOTEIO);
	ck_assert(bpmsg_is_unknown_type(&got));
	ck_assert_int_lt(decode(&req, bad, strlen(bad), &e), 0);
	ck_assert(!bpmsg_is_unknown_type(&e));
}
END_TEST

static TCase *target_case(void)
{
	TCase *tc = tcase_create("targets");

	tcase_add_loop_test(tc, a_request_leads_to_a_target, 0, COUNT(targets));
	tcase_add_test(tc, nobody_connects_with_sctp);
	tcase_add_test(tc, who_does_not_know_a_type_is_told_apart);
	return tc;
}

static TCase *request_case(void)
{
	TCase *tc = tcase_create("requests");

	tcase_add_loop_test(tc, a_request_arrives_as_it_was_sent, 0, COUNT(requests));
	tcase_add_loop_test(tc, a_request_must_fit, 0, COUNT(requests));
	tcase_add_loop_test(tc, every_beginning_of_a_request_is_refused, 0, COUNT(requests));
	tcase_add_loop_test(tc, reads_what_others_send, 0, COUNT(foreign));
	tcase_add_loop_test(tc, refuses_a_request, 0, COUNT(bad_requests));
	tcase_add_loop_test(tc, an_address_of_any_length_is_refused, 0, COUNT(text_fields));
	return tc;
}

static TCase *answer_case(void)
{
	TCase *tc = tcase_create("answers");

	tcase_add_loop_test(tc, a_reason_arrives_as_it_was_sent, 0, COUNT(reasons));
	tcase_add_test(tc, an_answer_looks_as_documented);
	tcase_add_loop_test(tc, any_reason_fits, 0, COUNT(worst_bytes));
	tcase_add_loop_test(tc, reads_an_answer, 0, COUNT(answers));
	tcase_add_test(tc, a_long_reason_is_cut);
	return tc;
}

int main(void)
{
	Suite *s = suite_create("bpmsg");

	suite_add_tcase(s, request_case());
	suite_add_tcase(s, answer_case());
	suite_add_tcase(s, target_case());
	return fixture_run(s);
}
