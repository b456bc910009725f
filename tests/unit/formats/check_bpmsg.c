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

/* A request with its addresses as text; NULL and "" for none. */
struct request {
	enum bpmsg_type type;
	enum proto proto;
	const char *ip;
	int port;
	const char *parent_ip, *host_gateway_ip, *source_ip;
	int source_port;
	int count;
};

static struct ipaddr address(const char *text)
{
	struct ipaddr ip = { .family = AF_UNSPEC };

	if (text != NULL && text[0] != '\0')
		ck_assert_int_eq(ipaddr_parse(&ip, text), 0);
	return ip;
}

/* As the parent makes it, with the target's texts. */
static struct bpmsg message(const struct request *r)
{
	return (struct bpmsg){ .type = r->type,
			       .target = { .proto = r->proto,
					   .port = r->port,
					   .ip = address(r->ip),
					   .parent_ip = address(r->parent_ip),
					   .ip_text = r->ip,
					   .parent_ip_text = r->parent_ip },
			       .host_gateway_ip = address(r->host_gateway_ip),
			       .source_ip = address(r->source_ip),
			       .source_port = r->source_port,
			       .count = r->count };
}

static void assert_address(const struct ipaddr *ip, const char *want)
{
	const struct ipaddr wanted = address(want);

	ck_assert(ipaddr_equal(ip, &wanted));
}

static void assert_request(const struct bpmsg *req, const struct request *want)
{
	ck_assert_int_eq(req->type, want->type);
	ck_assert_int_eq(req->target.proto, want->proto);
	assert_address(&req->target.ip, want->ip);
	ck_assert_int_eq(req->target.port, want->port);
	assert_address(&req->target.parent_ip, want->parent_ip);
	ck_assert_ptr_null(req->target.ip_text);
	ck_assert_ptr_null(req->target.parent_ip_text);
	assert_address(&req->host_gateway_ip, want->host_gateway_ip);
	assert_address(&req->source_ip, want->source_ip);
	ck_assert_int_eq(req->source_port, want->source_port);
	ck_assert_int_eq(req->count, want->count);
}

/* ---- requests ---- */

#define LONGEST_IP    "0000:0000:0000:0000:0000:ffff:255.255.255.255"
#define LONG_USUAL_IP "1111:2222:3333:4444:5555:6666:7777:8888" /* the longest of inet_ntop(3) */

#define SOCKETS "\"Type\":\"sockets\""

static const struct {
	struct request req;
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
	{ { BPMSG_CONNECT, PROTO_SCTP4, LONGEST_IP, 65535, LONGEST_IP, LONG_USUAL_IP, LONG_USUAL_IP,
	    65535, 0 },
	  "{\"Type\":\"connect\",\"Proto\":\"sctp4\",\"IP\":\"" LONGEST_IP "\",\"Port\":65535,"
	  "\"ParentIP\":\"" LONGEST_IP "\",\"HostGatewayIP\":\"" LONG_USUAL_IP "\","
	  "\"SourceIP\":\"" LONG_USUAL_IP "\",\"SourcePort\":65535}" },
	{ { BPMSG_CONNECT, PROTO_TCP6, "0:0::1", 1, "FD00:0::2", "", "", 0, 0 },
	  "{\"Type\":\"connect\",\"Proto\":\"tcp6\",\"IP\":\"0:0::1\",\"Port\":1,"
	  "\"ParentIP\":\"FD00:0::2\",\"HostGatewayIP\":\"\"}" },
};

START_TEST(a_request_arrives_as_it_was_sent)
{
	const struct bpmsg sent = message(&requests[_i].req);
	char buf[BPMSG_MAX];
	struct bpmsg req;
	struct err e;
	int len = bpmsg_encode(&sent, buf, sizeof(buf));

	ck_assert_int_eq(len, (int)strlen(requests[_i].text));
	ck_assert_str_eq(buf, requests[_i].text);
	ck_assert_int_eq(decode(&req, buf, (size_t)len, &e), 0);
	assert_request(&req, &requests[_i].req);
}
END_TEST

START_TEST(without_a_text_an_address_has_its_usual_form)
{
	const struct request r = { .ip = "0:0::1", .parent_ip = "::FFFF:127.0.0.2" };
	struct bpmsg req = message(&r);
	char buf[BPMSG_MAX];

	req.type = BPMSG_CONNECT;
	req.target.ip_text = req.target.parent_ip_text = NULL;
	ck_assert_int_gt(bpmsg_encode(&req, buf, sizeof(buf)), 0);
	ck_assert_str_eq(buf, "{\"Type\":\"connect\",\"Proto\":\"tcp\",\"IP\":\"::1\",\"Port\":0,"
			      "\"ParentIP\":\"127.0.0.2\",\"HostGatewayIP\":\"\"}");
}
END_TEST

START_TEST(a_request_must_fit)
{
	const struct bpmsg req = message(&requests[_i].req);
	const int len = (int)strlen(requests[_i].text);

	for (int cap = 0; cap <= len + 1; cap++) {
		char *buf = malloc(cap > 0 ? (size_t)cap : 1);

		ck_assert_int_eq(bpmsg_encode(&req, buf, (size_t)cap), cap > len ? len : -ENOSPC);
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
	struct request req;
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

START_TEST(a_request_of_another_program_is_read)
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
	{ "{\"Type\":\"init \"}", "unknown request type: \"init \"" },
	{ "{\"Type\":[\"init\"]}", "json: cannot unmarshal array into field Type of type string" },
	{ "{\"Type\":{\"init\":1}}",
	  "json: cannot unmarshal object into field Type of type string" },
	{ "{\"Type\":true}", "json: cannot unmarshal bool into field Type of type string" },
	{ "{\"Type\":\"init\\u0000\"}", "json: field Type holds a NUL character" },
	{ "{\"Type\":\"init\"", "unexpected EOF" },
	{ "{\"Type\":\"init\",\"IP\":}", "invalid character '}' looking for beginning of value" },
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

START_TEST(a_bad_request_is_refused_with_a_reason)
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

START_TEST(an_answer_is_read_or_refused_with_a_reason)
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

START_TEST(an_answer_to_an_unknown_type_is_recognized)
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

static const struct {
	const char *backend;
	const char *text;
} inits[] = {
	{ "", "{\"Error\":\"\"}" },
	{ "nft", "{\"Error\":\"\",\"SourceIPTransparentBackend\":\"nft\"}" },
	{ "a \"name\" of 15b", "{\"Error\":\"\",\"SourceIPTransparentBackend\":"
			       "\"a \\\"name\\\" of 15b\"}" },
};

START_TEST(the_answer_to_init_names_the_backend)
{
	char text[BPMSG_MAX], backend[BPMSG_BACKEND_LEN];
	int len = bpmsg_encode_init(inits[_i].backend, text, sizeof(text));

	ck_assert_str_eq(text, inits[_i].text);
	ck_assert_int_eq(len, (int)strlen(text));
	ck_assert_int_eq(bpmsg_decode_init(text, (size_t)len, backend, sizeof(backend), NULL), 0);
	ck_assert_str_eq(backend, inits[_i].backend);
	ck_assert_int_eq(bpmsg_decode_answer(text, (size_t)len, NULL), 0);
	ck_assert_int_eq(bpmsg_encode_init(inits[_i].backend, text, (size_t)len), -ENOSPC);
}
END_TEST

/* All other answers are read as answers to any request are. */
START_TEST(an_answer_to_init_is_read_or_refused)
{
	const char *text = answers[_i].text;
	char backend[BPMSG_BACKEND_LEN] = "x";
	struct err e = { "" };
	int r = bpmsg_decode_init(fixture_exact_copy(text, strlen(text)), strlen(text), backend,
				  sizeof(backend), &e);

	ck_assert_int_eq(r, answers[_i].r);
	ck_assert_str_eq(e.msg, answers[_i].msg);
	ck_assert_str_eq(backend, r == 0 ? "" : "x");
}
END_TEST

static TCase *request_case(void)
{
	TCase *tc = tcase_create("requests");

	tcase_add_loop_test(tc, a_request_arrives_as_it_was_sent, 0, COUNT(requests));
	tcase_add_test(tc, without_a_text_an_address_has_its_usual_form);
	tcase_add_loop_test(tc, a_request_must_fit, 0, COUNT(requests));
	tcase_add_loop_test(tc, every_beginning_of_a_request_is_refused, 0, COUNT(requests));
	tcase_add_loop_test(tc, a_request_of_another_program_is_read, 0, COUNT(foreign));
	tcase_add_loop_test(tc, a_bad_request_is_refused_with_a_reason, 0, COUNT(bad_requests));
	tcase_add_loop_test(tc, an_address_of_any_length_is_refused, 0, COUNT(text_fields));
	return tc;
}

static TCase *answer_case(void)
{
	TCase *tc = tcase_create("answers");

	tcase_add_loop_test(tc, a_reason_arrives_as_it_was_sent, 0, COUNT(reasons));
	tcase_add_test(tc, an_answer_looks_as_documented);
	tcase_add_loop_test(tc, any_reason_fits, 0, COUNT(worst_bytes));
	tcase_add_loop_test(tc, an_answer_is_read_or_refused_with_a_reason, 0, COUNT(answers));
	tcase_add_test(tc, a_long_reason_is_cut);
	tcase_add_loop_test(tc, the_answer_to_init_names_the_backend, 0, COUNT(inits));
	tcase_add_loop_test(tc, an_answer_to_init_is_read_or_refused, 0, COUNT(answers));
	tcase_add_test(tc, an_answer_to_an_unknown_type_is_recognized);
	return tc;
}

int main(void)
{
	Suite *s = suite_create("bpmsg");

	suite_add_tcase(s, request_case());
	suite_add_tcase(s, answer_case());
	return fixture_run(s);
}
