/* SPDX-License-Identifier: Apache-2.0 */

/* slirp4netns' API: writing requests, and reading answers. */
#include "formats/slirpapi.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/fixture.h"

#define CHILD_IP "10.0.2.100"

/* ---- requests ---- */

static const struct {
	struct portspec spec;
	const char *arguments;
} adds[] = {
	{ { PROTO_TCP, "127.0.0.1", 8080, "", 80 },
	  "\"proto\":\"tcp\",\"host_addr\":\"127.0.0.1\",\"host_port\":8080,"
	  "\"guest_addr\":\"10.0.2.100\",\"guest_port\":80" },
	{ { PROTO_TCP4, "0.0.0.0", 1, "10.0.2.7", 65535 },
	  "\"proto\":\"tcp\",\"host_addr\":\"0.0.0.0\",\"host_port\":1,"
	  "\"guest_addr\":\"10.0.2.7\",\"guest_port\":65535" },
	{ { PROTO_UDP, "", 53, "", 53 },
	  "\"proto\":\"udp\",\"host_addr\":\"0.0.0.0\",\"host_port\":53,"
	  "\"guest_addr\":\"10.0.2.100\",\"guest_port\":53" },
	/* Docker's form of an IPv4 address */
	{ { PROTO_UDP4, "::ffff:127.0.0.2", 53, "::ffff:10.0.2.100", 53 },
	  "\"proto\":\"udp\",\"host_addr\":\"127.0.0.2\",\"host_port\":53,"
	  "\"guest_addr\":\"10.0.2.100\",\"guest_port\":53" },
	/* slirp4netns refuses it */
	{ { PROTO_TCP, "::1", 80, "fd00::1", 80 },
	  "\"proto\":\"tcp\",\"host_addr\":\"::1\",\"host_port\":80,"
	  "\"guest_addr\":\"fd00::1\",\"guest_port\":80" },
};

START_TEST(a_request_to_add_a_port_is_written)
{
	char text[SLIRPAPI_REQUEST_MAX], want[SLIRPAPI_REQUEST_MAX];
	int len = slirpapi_add(&adds[_i].spec, CHILD_IP, text, sizeof(text));

	snprintf(want, sizeof(want), "{\"execute\":\"add_hostfwd\",\"arguments\":{%s}}",
		 adds[_i].arguments);
	ck_assert_int_eq(len, (int)strlen(want));
	ck_assert_str_eq(text, want);
	ck_assert_int_eq(slirpapi_add(&adds[_i].spec, CHILD_IP, text, (size_t)len), -ENOSPC);
	ck_assert_int_eq(slirpapi_add(&adds[_i].spec, CHILD_IP, text, (size_t)len + 1), len);
}
END_TEST

START_TEST(every_spec_fits_into_the_request)
{
	char text[SLIRPAPI_REQUEST_MAX];
	struct portspec spec = { PROTO_UDP4, "", 65535, "", 65535 };

	/* no addresses, each byte escaped as \u00XX */
	memset(spec.parent_ip, '\1', sizeof(spec.parent_ip) - 1);
	memset(spec.child_ip, '\1', sizeof(spec.child_ip) - 1);
	ck_assert_int_gt(slirpapi_add(&spec, CHILD_IP, text, sizeof(text)), 0);
}
END_TEST

START_TEST(a_request_to_remove_a_port_is_written)
{
	char text[SLIRPAPI_REQUEST_MAX];

	ck_assert_int_gt(slirpapi_remove(42, text, sizeof(text)), 0);
	ck_assert_str_eq(text, "{\"execute\":\"remove_hostfwd\",\"arguments\":{\"id\":42}}");
	ck_assert_int_eq(slirpapi_remove(42, text, 10), -ENOSPC);
}
END_TEST

/* ---- answers ---- */

static const struct {
	const char *text;
	int result;	 /* expected result if the answer should have an ID */
	int without;	 /* if it should not */
	const char *msg; /* beginning of the reason of the first result */
} answers[] = {
	{ "{\"return\":{\"id\":42}}", 0, 0, "" },
	{ " { \"return\" : { \"id\" : 42, \"more\": [1] } }\n", 0, 0, "" },
	{ "{\"error\":null,\"return\":{\"id\":42}}", 0, 0, "" },
	{ "{\"return\":{}}", -EPROTO, 0, "the answer has no id" },
	{ "{\"return\":{\"id\":\"42\"}}", -EPROTO, 0, "the answer has no id" },
	{ "{\"return\":{\"id\":4.2}}", -EPROTO, 0, "the answer has no id" },
	{ "{\"return\":{\"id\":99999999999999999999}}", -EPROTO, 0, "the answer has no id" },
	{ "{\"error\":{\"desc\":\"bad request: add_hostfwd: bad arguments.host_addr\"}}",
	  -EREMOTEIO, -EREMOTEIO,
	  "reply.Error: map[desc:bad request: add_hostfwd: bad arguments.host_addr]" },
	{ "{\"error\":{\"desc\":\"no\"},\"return\":{\"id\":42}}", -EREMOTEIO, -EREMOTEIO,
	  "reply.Error: map[desc:no]" },
	{ "{\"error\":{}}", -EREMOTEIO, -EREMOTEIO, "reply.Error without a reason" },
	{ "{\"error\":\"no\"}", -EREMOTEIO, -EREMOTEIO, "reply.Error without a reason" },
	{ "{\"error\":{\"desc\":7}}", -EREMOTEIO, -EREMOTEIO, "reply.Error without a reason" },
	{ "", -EPROTO, -EPROTO, "the answer is not JSON: EOF" },
	{ "{\"return\":{\"id\":42}", -EPROTO, -EPROTO, "the answer is not JSON: unexpected EOF" },
	{ "garbage", -EPROTO, -EPROTO, "the answer is not JSON: invalid character 'g'" },
	{ "[]", -EPROTO, -EPROTO, "unexpected answer (neither \"return\" nor \"error\")" },
	{ "{}", -EPROTO, -EPROTO, "unexpected answer (neither \"return\" nor \"error\")" },
	{ "{\"return\":42}", -EPROTO, -EPROTO,
	  "unexpected answer (neither \"return\" nor \"error\")" },
	{ "{\"return\":null}", -EPROTO, -EPROTO,
	  "unexpected answer (neither \"return\" nor \"error\")" },
};

START_TEST(an_answer_is_read)
{
	size_t len = strlen(answers[_i].text);
	char *text = malloc(len > 0 ? len : 1); /* a buffer of exactly its size */
	struct err e = { "" };
	int64_t id = -1;

	memcpy(text, answers[_i].text, len);
	ck_assert_int_eq(slirpapi_decode(text, len, &id, &e), answers[_i].result);
	ck_assert_msg(strncmp(e.msg, answers[_i].msg, strlen(answers[_i].msg)) == 0, "%s", e.msg);
	ck_assert_int_eq(answers[_i].result == 0, e.msg[0] == '\0');
	if (answers[_i].result == 0)
		ck_assert_int_eq(id, 42);
	ck_assert_int_eq(slirpapi_decode(text, len, NULL, NULL), answers[_i].without);
	free(text);
}
END_TEST

START_TEST(a_reason_that_is_too_long_is_left_out)
{
	char text[SLIRPAPI_ANSWER_MAX];
	struct err e;
	int len = snprintf(text, sizeof(text), "{\"error\":{\"desc\":\"%0*d\"}}", 2000, 0);

	ck_assert_int_eq(slirpapi_decode(text, (size_t)len, NULL, &e), -EREMOTEIO);
	ck_assert_str_eq(e.msg, "reply.Error without a reason");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("slirpapi");
	TCase *tc = tcase_create("messages");

	tcase_add_loop_test(tc, a_request_to_add_a_port_is_written, 0, COUNT(adds));
	tcase_add_test(tc, every_spec_fits_into_the_request);
	tcase_add_test(tc, a_request_to_remove_a_port_is_written);
	tcase_add_loop_test(tc, an_answer_is_read, 0, COUNT(answers));
	tcase_add_test(tc, a_reason_that_is_too_long_is_left_out);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
