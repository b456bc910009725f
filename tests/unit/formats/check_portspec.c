/* SPDX-License-Identifier: Apache-2.0 */

/* Port specs: reading them as text and as JSON, the reasons of refusals, and writing them. */
#include "formats/ipaddr.h"
#include "formats/portspec.h"
#include "tests/unit/fixture.h"

#include <arpa/inet.h>

/* A spec that no text produces, to see whether a function changes it. */
static struct portspec make_untouched_spec(void)
{
	struct portspec spec;

	memset(&spec, 0x5a, sizeof(spec));
	return spec;
}

static void assert_untouched(const struct portspec *spec)
{
	const struct portspec want = make_untouched_spec();

	ck_assert_mem_eq(spec, &want, sizeof(want));
}

static void assert_spec(const struct portspec *spec, const struct portspec *want)
{
	ck_assert_int_eq(spec->proto, want->proto);
	ck_assert_str_eq(spec->parent_ip, want->parent_ip);
	ck_assert_int_eq(spec->parent_port, want->parent_port);
	ck_assert_str_eq(spec->child_ip, want->child_ip);
	ck_assert_int_eq(spec->child_port, want->child_port);
}

/* ---- the text form ---- */

static const struct {
	const char *text;
	struct portspec spec;
} specs[] = {
	{ "127.0.0.1:8080:80/tcp", { PROTO_TCP, "127.0.0.1", 8080, "", 80 } },
	{ "127.0.0.1:8080:10.0.2.100:80/tcp", { PROTO_TCP, "127.0.0.1", 8080, "10.0.2.100", 80 } },
	{ ":18080:80/tcp", { PROTO_TCP, "", 18080, "", 80 } },
	{ ":18080::80/tcp", { PROTO_TCP, "", 18080, "", 80 } },
	{ ":+18080:+80/tcp", { PROTO_TCP, "", 18080, "", 80 } },
	{ ":18080:10.0.2.100:80/udp", { PROTO_UDP, "", 18080, "10.0.2.100", 80 } },
	{ "127.0.0.1:18080::80/tcp", { PROTO_TCP, "127.0.0.1", 18080, "", 80 } },
	{ "[::1]:8080:[::2]:80/udp", { PROTO_UDP, "::1", 8080, "::2", 80 } },
	{ "[::]:18080:80/tcp6", { PROTO_TCP6, "::", 18080, "", 80 } },
	{ "0.0.0.0:18080:[fe80::1]:80/tcp4", { PROTO_TCP4, "0.0.0.0", 18080, "fe80::1", 80 } },
	{ "[127.0.0.1]:18080:[10.0.2.100]:80/udp4",
	  { PROTO_UDP4, "127.0.0.1", 18080, "10.0.2.100", 80 } },
	{ "127.0.0.1:1:65535/udp6", { PROTO_UDP6, "127.0.0.1", 1, "", 65535 } },
	{ "127.0.0.1:65535:1/sctp", { PROTO_SCTP, "127.0.0.1", 65535, "", 1 } },
	{ ":1:1/sctp4", { PROTO_SCTP4, "", 1, "", 1 } },
	{ ":1:1/sctp6", { PROTO_SCTP6, "", 1, "", 1 } },
	/* The text of an address is kept unchanged. */
	{ "[0:0:0:0:0:0:0:1]:1:[::FFFF:1.2.3.4]:2/tcp",
	  { PROTO_TCP, "0:0:0:0:0:0:0:1", 1, "::FFFF:1.2.3.4", 2 } },
	{ "[0000:0000:0000:0000:0000:ffff:255.255.255.255]:65535:"
	  "[0000:0000:0000:0000:0000:ffff:255.255.255.255]:65535/sctp4",
	  { PROTO_SCTP4, "0000:0000:0000:0000:0000:ffff:255.255.255.255", 65535,
	    "0000:0000:0000:0000:0000:ffff:255.255.255.255", 65535 } },
};

START_TEST(a_spec_is_read)
{
	struct portspec spec = make_untouched_spec();
	char *text = strdup(specs[_i].text);
	struct err e = { "" };

	ck_assert_msg(portspec_parse(&spec, text, &e) == 0, "%s", e.msg);
	assert_spec(&spec, &specs[_i].spec);
	ck_assert_uint_lt(strlen(text), PORTSPEC_TEXT_LEN);
	free(text);
}
END_TEST

/* No beginning of a spec is a spec, except where one proto is the beginning of another. */
START_TEST(every_beginning_of_a_spec_is_refused)
{
	for (size_t len = 0; len < strlen(specs[_i].text); len++) {
		char *text = strndup(specs[_i].text, len);
		struct portspec spec = make_untouched_spec();
		struct err e = { "" };
		const char *slash = strchr(text, '/');

		if (slash == NULL || (strcmp(slash, "/tcp") != 0 && strcmp(slash, "/udp") != 0 &&
				      strcmp(slash, "/sctp") != 0)) {
			ck_assert_int_eq(portspec_parse(&spec, text, &e), -EINVAL);
			assert_untouched(&spec);
			ck_assert_ptr_nonnull(strstr(e.msg, text));
		}
		free(text);
	}
}
END_TEST

/* The parts of the reason before and after "PortSpec string: SPEC". */
#define ATOI(text)	": strconv.Atoi: parsing \"" text "\": invalid syntax"
#define TOO_LARGE(text) ": strconv.Atoi: parsing \"" text "\": value out of range"

static const struct {
	const char *text;
	const char *before;
	const char *after;
} malformed[] = {
	{ "", "missing proto in", "" },
	{ "80", "missing proto in", "" },
	{ "18080:80", "missing proto in", "" },
	{ "127.0.0.1:18080:80", "missing proto in", "" },
	{ "127.0.0.1:18080:80/foo", "invalid", ": unknown proto: \"foo\"" },
	{ "127.0.0.1:18080:80/TCP", "invalid", ": unknown proto: \"TCP\"" },
	{ "127.0.0.1:18080:80/tcp ", "invalid", ": unknown proto: \"tcp \"" },
	{ "127.0.0.1:18080:80/tcp46", "invalid", ": unknown proto: \"tcp46\"" },
	{ "127.0.0.1:18080:80/tc", "invalid", ": unknown proto: \"tc\"" },
	{ "127.0.0.1:18080:80/", "invalid", ": unknown proto: \"\"" },
	{ "/", "invalid", ": unknown proto: \"\"" },
	/* The parent IP, and too few parts. */
	{ "/tcp", "unexpected", "" },
	{ "80/tcp", "unexpected", "" },
	{ "18080:80/tcp", "unexpected ParentIP in", "" },
	{ ":80/tcp", "unexpected ParentPort in", ATOI("") },
	{ "127.0.0.1:18080/tcp", "unexpected ParentPort in", ATOI("") },
	{ "300.0.0.1:18080:80/tcp", "unexpected ParentIP in", "" },
	{ "localhost:18080:80/tcp", "unexpected ParentIP in", "" },
	{ "*:18080:80/tcp", "unexpected ParentIP in", "" },
	{ "0:18080:80/tcp", "unexpected ParentIP in", "" },
	{ "127.1:18080:80/tcp", "unexpected ParentIP in", "" },
	{ "127.000.000.001:18080:80/tcp", "unexpected ParentIP in", "" },
	{ "127.0.0.1.1:18080:80/tcp", "unexpected ParentIP in", "" },
	{ " 127.0.0.1:18080:80/tcp", "unexpected ParentIP in", "" },
	{ "127.0.0.1 :18080:80/tcp", "unexpected ParentIP in", "" },
	{ "::1:18080:80/tcp", "unexpected ChildIP in", "" },
	{ "fe80::1:18080:80/tcp", "unexpected ParentIP in", "" },
	{ "[::1:18080:80/tcp", "unexpected ParentIP in", "" },
	{ "::1]:18080:80/tcp", "unexpected ChildIP in", "" },
	{ "[::1]", "missing proto in", "" },
	{ "[]:18080:80/tcp", "unexpected ParentIP in", "" },
	{ "[:18080:80/tcp", "unexpected ParentIP in", "" },
	{ "]:18080:80/tcp", "unexpected ParentIP in", "" },
	{ "[[::1]]:18080:80/tcp", "unexpected ParentIP in", "" },
	{ "[::1]x:18080:80/tcp", "unexpected ParentIP in", "" },
	{ "x[::1]:18080:80/tcp", "unexpected ParentIP in", "" },
	{ "[fe80::1%eth0]:18080:80/tcp", "unexpected ParentIP in", "" },
	{ "[fe80::1%1]:18080:80/tcp", "unexpected ParentIP in", "" },
	/* 64 bytes, one more than an address may have. */
	{ "0000000000000000000000000000000000000000000000000000000000000000:1:2/tcp",
	  "unexpected ParentIP in", "" },
	/* Too many parts. */
	{ "127.0.0.1:18080:1.2.3.4:5:80/tcp", "unexpected format of", "" },
	{ "127.0.0.1:18080:::1:80/tcp", "unexpected", "" },
	{ "::ffff:127.0.0.1:18080:80/tcp", "unexpected", "" },
	{ "127.0.0.1:18080:80:/tcp", "unexpected ChildIP in", "" },
	{ "127.0.0.1:18080:80::/tcp", "unexpected ChildIP in", "" },
	{ ":1:2:3:4:5:6:7:8:9:10:11:12/tcp", "unexpected", "" },
	/* The child IP. */
	{ "127.0.0.1:18080:999.1.1.1:80/tcp", "unexpected ChildIP in", "" },
	{ "127.0.0.1:18080:[]:80/tcp", "unexpected ChildIP in", "" },
	{ "127.0.0.1:18080:[::1]]:80/tcp", "unexpected ChildIP in", "" },
	{ "127.0.0.1:18080:[::1%lo]:80/tcp", "unexpected ChildIP in", "" },
	{ "127.0.0.1:18080: :80/tcp", "unexpected ChildIP in", "" },
	{ "::18080:80/tcp", "unexpected ChildIP in", "" },
	{ "[::1]:18080:[::1]/tcp", "unexpected ChildIP in", "" },
	{ "127.0.0.1:70000:x:y/tcp", "unexpected ChildIP in", "" },
	/* The ports. */
	{ "127.0.0.1::80/tcp", "unexpected ParentPort in", ATOI("") },
	{ ":::80/tcp", "unexpected ParentPort in", ATOI("") },
	{ "127.0.0.1:abc:80/tcp", "unexpected ParentPort in", ATOI("abc") },
	{ "127.0.0.1:-:80/tcp", "unexpected ParentPort in", ATOI("-") },
	{ "127.0.0.1:+-8080:80/tcp", "unexpected ParentPort in", ATOI("+-8080") },
	{ "127.0.0.1:+08080:80/tcp", "unexpected ParentPort in", ATOI("+08080") },
	{ "127.0.0.1:018080:80/tcp", "unexpected ParentPort in", ATOI("018080") },
	{ "127.0.0.1:00:80/tcp", "unexpected ParentPort in", ATOI("00") },
	{ "127.0.0.1:0x46a0:80/tcp", "unexpected ParentPort in", ATOI("0x46a0") },
	{ "127.0.0.1: 18080:80/tcp", "unexpected ParentPort in", ATOI(" 18080") },
	{ "127.0.0.1:18080 :80/tcp", "unexpected ParentPort in", ATOI("18080 ") },
	{ "127.0.0.1:99999x:80/tcp", "unexpected ParentPort in", ATOI("99999x") },
	{ "[::1]:[::2]:80/tcp", "unexpected ParentPort in", ATOI("::2") },
	{ "127.0.0.1:70000:x/tcp", "unexpected ChildPort in", ATOI("x") },
	{ "127.0.0.1:9223372036854775808:80/tcp", "unexpected ParentPort in",
	  TOO_LARGE("9223372036854775808") },
	{ "127.0.0.1:18080:18446744073709551696/tcp", "unexpected ChildPort in",
	  TOO_LARGE("18446744073709551696") },
	{ "127.0.0.1:18080:-9223372036854775809/tcp", "unexpected ChildPort in",
	  TOO_LARGE("-9223372036854775809") },
	{ "127.0.0.1:80-90:80/tcp", "unexpected ParentPort in", ATOI("80-90") },
	{ "127.0.0.1:18080:/tcp", "unexpected ChildPort in", ATOI("") },
	{ "127.0.0.1:18080:abc/tcp", "unexpected ChildPort in", ATOI("abc") },
	{ "127.0.0.1:18080:080/tcp", "unexpected ChildPort in", ATOI("080") },
	{ "127.0.0.1:18080::+/tcp", "unexpected ChildPort in", ATOI("+") },
	{ "127.0.0.1:18080:80/tcp/udp", "unexpected ChildPort in", ATOI("80/tcp") },
};

START_TEST(a_malformed_spec_is_refused_with_a_reason)
{
	struct portspec spec = make_untouched_spec();
	char *text = strdup(malformed[_i].text);
	char want[ERR_LEN];
	struct err e = { "" };

	snprintf(want, sizeof(want), "%s PortSpec string: \"%s\"%s", malformed[_i].before, text,
		 malformed[_i].after);
	ck_assert_int_eq(portspec_parse(&spec, text, &e), -EINVAL);
	ck_assert_msg(strncmp(e.msg, want, strlen(want)) == 0, "%s", e.msg);
	ck_assert_msg(strncmp(e.msg + strlen(want), "; ", 2) == 0, "%s", e.msg);
	assert_untouched(&spec);
	free(text);
}
END_TEST

#define FORM                                                                          \
	"; the form is [PARENT_IP]:PARENT_PORT:[CHILD_IP:]CHILD_PORT/PROTO, such as " \
	"127.0.0.1:8080:80/tcp"
#define RANGES                                                                             \
	"; ranges of ports are not supported: each port takes a spec of its own, such as " \
	"127.0.0.1:8080:80/tcp"
#define BLANKS "; blanks are not allowed, and each spec takes a -p, or an argument, of its own"
#define PROTOS "; PROTO is tcp, tcp4, tcp6, udp, udp4 or udp6, as in 127.0.0.1:8080:80/tcp"

static const struct {
	const char *text;
	const char *advice; /* the end of the reason */
} advised[] = {
	{ "80", FORM },
	{ "", FORM },
	{ "foo", FORM },
	{ "80/tcp", FORM },
	{ "--json", FORM },
	{ "8080:80", "; did you mean \":8080:80/tcp\"?" },
	{ "8080:80/tcp", "; did you mean \":8080:80/tcp\"?" },
	{ "8080:80/udp", "; did you mean \":8080:80/udp\"?" },
	{ ":8080:80", "; did you mean \":8080:80/tcp\"?" },
	{ "127.0.0.1:8080:80", "; did you mean \"127.0.0.1:8080:80/tcp\"?" },
	{ "[::1]:8080:80", "; did you mean \"[::1]:8080:80/tcp\"?" },
	{ "*:8080:80/tcp", "; did you mean \":8080:80/tcp\"?" },
	{ "localhost:8080:80/tcp",
	  "; names are not resolved; did you mean \"127.0.0.1:8080:80/tcp\"?" },
	{ "myhost:8080:80", "; names are not resolved; did you mean \"127.0.0.1:8080:80/tcp\"?" },
	{ "::1:8080:80/tcp",
	  "; IPv6 addresses stand in brackets; did you mean \"[::1]:8080:80/tcp\"?" },
	{ "fe80::1:8080:80",
	  "; IPv6 addresses stand in brackets; did you mean \"[fe80::1]:8080:80/tcp\"?" },
	{ "127.0.0.1:8080:80/tcp/udp",
	  "; each spec has one PROTO; did you mean \"127.0.0.1:8080:80/udp\"?" },
	{ "127.1:8080:80/tcp", FORM },
	{ "300.0.0.1:8080:80/tcp", FORM },
	{ "127.0.0.1:abc:80/tcp", FORM },
	{ "127.0.0.1:++8080:80/tcp", FORM },
	{ "8080-8090:80-90/tcp", RANGES },
	{ "127.0.0.1:8080-8090:80-90/tcp", RANGES },
	{ "127.0.0.1:8080:80/tcp 127.0.0.1:8081:81/tcp", BLANKS },
	{ " 127.0.0.1:8080:80/tcp", BLANKS },
	{ "127.0.0.1:8080:80/TCP", PROTOS },
	{ "127.0.0.1:8080:80/http", PROTOS },
	{ "127.0.0.1:8080:80/", PROTOS },
};

START_TEST(a_refusal_says_what_would_be_right)
{
	struct portspec spec = make_untouched_spec();
	const char *advice = advised[_i].advice;
	struct err e = { "" };
	size_t len;

	ck_assert_int_eq(portspec_parse(&spec, advised[_i].text, &e), -EINVAL);
	len = strlen(e.msg);
	ck_assert_msg(len > strlen(advice) && strcmp(e.msg + len - strlen(advice), advice) == 0,
		      "%s: %s", advised[_i].text, e.msg);
}
END_TEST

static const struct {
	const char *text;
	long long id;
	const char *why; /* NULL: the text is an ID */
} ids[] = {
	{ "1", 1, NULL },
	{ "+7", 7, NULL },
	{ "-1", -1, NULL },
	{ "0003", 3, NULL },
	{ "9223372036854775807", INT64_MAX, NULL },
	{ "9223372036854775808", 0, "value out of range" },
	{ "", 0, "invalid syntax" },
	{ "-", 0, "invalid syntax" },
	{ "abc", 0, "invalid syntax" },
	{ "1.5", 0, "invalid syntax" },
	{ " 1", 0, "invalid syntax" },
	{ "1 ", 0, "invalid syntax" },
	{ "0x1", 0, "invalid syntax" },
	{ "127.0.0.1:8080:80/tcp", 0, "invalid syntax" },
};

START_TEST(the_id_of_a_port_is_read)
{
	char want[ERR_LEN];
	long long id = 0;
	struct err e;
	int r = port_id_parse(&id, ids[_i].text, &e);

	if (ids[_i].why == NULL) {
		ck_assert_int_eq(r, 0);
		ck_assert_int_eq(id, ids[_i].id);
		return;
	}
	ck_assert_int_lt(r, 0);
	snprintf(
		want, sizeof(want),
		"strconv.Atoi: parsing \"%s\": %s; an ID is a number that `rootlessctl list-ports` "
		"shows",
		ids[_i].text, ids[_i].why);
	ck_assert_str_eq(e.msg, want);
}
END_TEST

static const char *const same_texts[] = {
	":8080:80/tcp",
	"127.0.0.1:8080:80/udp4",
	"[::1]:8080:[fd00::100]:80/tcp6",
	"127.0.0.1:8080:10.0.2.100:80/sctp",
};

START_TEST(a_spec_is_written_as_it_was_read)
{
	struct portspec spec;
	char text[PORTSPEC_TEXT_LEN];

	ck_assert_int_eq(portspec_parse(&spec, same_texts[_i], NULL), 0);
	ck_assert_str_eq(portspec_text(&spec, text, sizeof(text)), same_texts[_i]);
}
END_TEST

static const struct {
	const char *text;
	const char *msg;
} out_of_range[] = {
	{ "127.0.0.1:0:80/tcp", "invalid ParentPort: 0; ports are 1 to 65535" },
	{ "127.0.0.1:-1:80/tcp", "invalid ParentPort: -1; ports are 1 to 65535" },
	{ "127.0.0.1:18080:-1/tcp", "invalid ChildPort: -1; ports are 1 to 65535" },
	{ "127.0.0.1:65536:80/tcp", "invalid ParentPort: 65536; ports are 1 to 65535" },
	{ "127.0.0.1:70000:80/tcp", "invalid ParentPort: 70000; ports are 1 to 65535" },
	{ "127.0.0.1:-0:80/tcp", "invalid ParentPort: 0; ports are 1 to 65535" },
	{ "127.0.0.1:70000:0/tcp", "invalid ParentPort: 70000; ports are 1 to 65535" },
	{ "127.0.0.1:18080:0/tcp", "invalid ChildPort: 0; ports are 1 to 65535" },
	{ "127.0.0.1:18080:65536/tcp", "invalid ChildPort: 65536; ports are 1 to 65535" },
	{ "127.0.0.1:18080:10.0.2.100:70000/tcp",
	  "invalid ChildPort: 70000; ports are 1 to 65535" },
	/* The first two would be 80 in 16 and 32 bits. */
	{ "127.0.0.1:18080:65616/tcp", "invalid ChildPort: 65616; ports are 1 to 65535" },
	{ "127.0.0.1:18080:4294967376/tcp", "invalid ChildPort: 4294967376; ports are 1 to 65535" },
	{ "127.0.0.1:18080:9223372036854775807/tcp",
	  "invalid ChildPort: 9223372036854775807; ports are 1 to 65535" },
};

START_TEST(a_port_out_of_range_is_refused)
{
	struct portspec spec = make_untouched_spec();
	struct err e = { "" };

	ck_assert_int_eq(portspec_parse(&spec, out_of_range[_i].text, &e), -EINVAL);
	ck_assert_str_eq(e.msg, out_of_range[_i].msg);
	assert_untouched(&spec);
}
END_TEST

START_TEST(a_reason_may_be_left_out_or_too_long)
{
	struct portspec spec = make_untouched_spec();
	char text[3 * ERR_LEN];
	struct err e;

	memset(text, ':', sizeof(text) - 5);
	strcpy(text + sizeof(text) - 5, "/tcp");
	ck_assert_int_eq(portspec_parse(&spec, text, &e), -EINVAL);
	ck_assert_uint_eq(strlen(e.msg), ERR_LEN - 1);
	ck_assert_int_eq(portspec_parse(&spec, "x", NULL), -EINVAL);
	ck_assert_int_eq(portspec_parse(&spec, "x/x", NULL), -EINVAL);
	ck_assert_int_eq(portspec_parse(&spec, "x/tcp", NULL), -EINVAL);
	assert_untouched(&spec);
}
END_TEST

/* ---- JSON ---- */

static int parse_json_spec(struct portspec *spec, const char *text, struct err *e)
{
	struct json_doc doc;

	ck_assert_int_eq(json_parse(&doc, text, strlen(text), e), 0);
	e->msg[0] = '\0';
	return portspec_from_json(spec, &doc, &doc.nodes[0], e);
}

static const struct {
	const char *text;
	struct portspec spec;
} json_specs[] = {
	{ "{\"proto\":\"tcp\",\"parentIP\":\"127.0.0.1\",\"parentPort\":18100,\"childPort\":80}",
	  { PROTO_TCP, "127.0.0.1", 18100, "", 80 } },
	{ "{\"childPort\":53,\"childIP\":\"10.0.2.100\",\"parentPort\":18102,\"proto\":\"udp\"}",
	  { PROTO_UDP, "", 18102, "10.0.2.100", 53 } },
	{ "{\"PROTO\":\"tcp6\",\"ParentIp\":\"::1\",\"parentport\":1,\"CHILDPORT\":65535}",
	  { PROTO_TCP6, "::1", 1, "", 65535 } },
	{ "{\"proto\":\"udp\",\"proto\":\"tcp\",\"parentPort\":2,\"parentPort\":3,\"childPort\":4}",
	  { PROTO_TCP, "", 3, "", 4 } },
	{ "{\"proto\":\"tcp\",\"parentIP\":null,\"parentPort\":18107,\"childIP\":\"\","
	  "\"childPort\":80}",
	  { PROTO_TCP, "", 18107, "", 80 } },
	{ "{\"proto\":\"sctp\",\"parentPort\":1,\"childPort\":2,\"foo\":\"bar\",\"id\":[{}]}",
	  { PROTO_SCTP, "", 1, "", 2 } },
	{ "{\"proto\":\"\\u0074cp\",\"parentPort\":1,\"childPort\":2,\"childIP\":\"::ffff:1.2.3."
	  "4\"}",
	  { PROTO_TCP, "", 1, "::ffff:1.2.3.4", 2 } },
};

START_TEST(a_json_spec_is_read)
{
	struct portspec spec = make_untouched_spec();
	struct err e = { "" };

	ck_assert_msg(parse_json_spec(&spec, json_specs[_i].text, &e) == 0, "%s", e.msg);
	assert_spec(&spec, &json_specs[_i].spec);
}
END_TEST

#define UNMARSHAL(what, field) "json: cannot unmarshal " what " into Go struct field Spec." field
#define PORTS		       "\"parentPort\":18100,\"childPort\":80"

static const struct {
	const char *text;
	const char *msg;
} bad_json_specs[] = {
	{ "{}", "unknown proto: \"\"; proto is tcp, tcp4, tcp6, udp, udp4 or udp6" },
	{ "null", "unknown proto: \"\"; proto is tcp, tcp4, tcp6, udp, udp4 or udp6" },
	{ "1", "json: cannot unmarshal number into Go value of type port.Spec" },
	{ "\"x\"", "json: cannot unmarshal string into Go value of type port.Spec" },
	{ "true", "json: cannot unmarshal bool into Go value of type port.Spec" },
	{ "[]", "json: cannot unmarshal array into Go value of type port.Spec" },
	{ "{" PORTS "}", "unknown proto: \"\"; proto is tcp, tcp4, tcp6, udp, udp4 or udp6" },
	{ "{\"proto\":\"foo\"," PORTS "}",
	  "unknown proto: \"foo\"; proto is tcp, tcp4, tcp6, udp, udp4 or udp6" },
	{ "{\"proto\":\"TCP\"," PORTS "}",
	  "unknown proto: \"TCP\"; proto is tcp, tcp4, tcp6, udp, udp4 or udp6" },
	{ "{\"proto\":null," PORTS "}",
	  "unknown proto: \"\"; proto is tcp, tcp4, tcp6, udp, udp4 or udp6" },
	{ "{\"proto\":6," PORTS "}", UNMARSHAL("number", "proto of type string") },
	{ "{\"proto\":\"tcp\\u0000\"," PORTS "}", "json: field proto holds a NUL character" },
	{ "{\"proto\":\"tcp\",\"parentIP\":\"foo\"," PORTS "}",
	  "invalid ParentIP: \"foo\"; it takes an IP address" },
	{ "{\"proto\":\"tcp\",\"parentIP\":\"[::1]\"," PORTS "}",
	  "invalid ParentIP: \"[::1]\"; it takes an IP address" },
	{ "{\"proto\":\"tcp\",\"parentIP\":\" \"," PORTS "}",
	  "invalid ParentIP: \" \"; it takes an IP address" },
	{ "{\"proto\":\"tcp\",\"parentIP\":false," PORTS "}",
	  UNMARSHAL("bool", "parentIP of type string") },
	{ "{\"proto\":\"tcp\",\"childIP\":\"foo\"," PORTS "}",
	  "invalid ChildIP: \"foo\"; it takes an IP address" },
	{ "{\"proto\":\"tcp\",\"childIP\":\"::1%lo\"," PORTS "}",
	  "invalid ChildIP: \"::1%lo\"; it takes an IP address" },
	{ "{\"proto\":\"tcp\",\"childIP\":[]," PORTS "}",
	  UNMARSHAL("array", "childIP of type string") },
	{ "{\"proto\":\"tcp\",\"childPort\":80}", "invalid ParentPort: 0; ports are 1 to 65535" },
	{ "{\"proto\":\"tcp\",\"parentPort\":0,\"childPort\":80}",
	  "invalid ParentPort: 0; ports are 1 to 65535" },
	{ "{\"proto\":\"tcp\",\"parentPort\":-5,\"childPort\":80}",
	  "invalid ParentPort: -5; ports are 1 to 65535" },
	{ "{\"proto\":\"tcp\",\"parentPort\":65536,\"childPort\":80}",
	  "invalid ParentPort: 65536; ports are 1 to 65535" },
	{ "{\"proto\":\"tcp\",\"parentPort\":4294967376,\"childPort\":80}",
	  "invalid ParentPort: 4294967376; ports are 1 to 65535" },
	{ "{\"proto\":\"tcp\",\"parentPort\":\"18110\",\"childPort\":80}",
	  UNMARSHAL("string", "parentPort of type int") },
	{ "{\"proto\":\"tcp\",\"parentPort\":1e4,\"childPort\":80}",
	  UNMARSHAL("number 1e4", "parentPort of type int") },
	{ "{\"proto\":\"tcp\",\"parentPort\":18110.5,\"childPort\":80}",
	  UNMARSHAL("number 18110.5", "parentPort of type int") },
	{ "{\"proto\":\"tcp\",\"parentPort\":99999999999999999999,\"childPort\":80}",
	  UNMARSHAL("number 99999999999999999999", "parentPort of type int") },
	{ "{\"proto\":\"tcp\",\"parentPort\":18110}",
	  "invalid ChildPort: 0; ports are 1 to 65535" },
	{ "{\"proto\":\"tcp\",\"parentPort\":18110,\"childPort\":70000}",
	  "invalid ChildPort: 70000; ports are 1 to 65535" },
	{ "{\"proto\":\"tcp\",\"parentPort\":18110,\"childPort\":{}}",
	  UNMARSHAL("object", "childPort of type int") },
};

START_TEST(a_malformed_json_spec_is_refused_with_a_reason)
{
	struct portspec spec = make_untouched_spec();
	struct err e;

	ck_assert_int_eq(parse_json_spec(&spec, bad_json_specs[_i].text, &e), -EINVAL);
	ck_assert_str_eq(e.msg, bad_json_specs[_i].msg);
	assert_untouched(&spec);
}
END_TEST

static const char *const long_fields[] = { "proto", "parentIP", "childIP" };

/* The reason quotes up to 255 bytes of what the client sent. */
START_TEST(a_long_field_is_refused)
{
	char text[512], value[257] = "";
	struct portspec spec = make_untouched_spec();
	struct err e;

	for (size_t len = 255; len <= 256; len++) {
		memset(value, 'x', len);
		snprintf(text, sizeof(text), "{\"proto\":\"tcp\"," PORTS ",\"%s\":\"%s\"}",
			 long_fields[_i], value);
		ck_assert_int_eq(parse_json_spec(&spec, text, &e), -EINVAL);
		if (len == 255)
			ck_assert_ptr_nonnull(strstr(e.msg, value));
		else
			ck_assert_ptr_nonnull(strstr(e.msg, "is too long"));
	}
	assert_untouched(&spec);
}
END_TEST

static const struct {
	struct portspec spec;
	const char *text;
	const char *brief;
} json_texts[] = {
	{ { PROTO_TCP, "127.0.0.1", 8080, "", 80 },
	  "{\"proto\":\"tcp\",\"parentIP\":\"127.0.0.1\",\"parentPort\":8080,\"childPort\":80}",
	  "{tcp 127.0.0.1 8080 80 }" },
	{ { PROTO_UDP6, "::", 1, "::1", 65535 },
	  "{\"proto\":\"udp6\",\"parentIP\":\"::\",\"parentPort\":1,\"childPort\":65535,"
	  "\"childIP\":\"::1\"}",
	  "{udp6 :: 1 65535 ::1}" },
	{ { PROTO_SCTP4, "", 18080, "", 80 },
	  "{\"proto\":\"sctp4\",\"parentPort\":18080,\"childPort\":80}",
	  "{sctp4  18080 80 }" },
};

START_TEST(a_spec_is_written_as_json)
{
	char buf[256], with_key[300];
	struct jsonout out;

	jsonout_init(&out, buf, sizeof(buf));
	portspec_to_json(&json_texts[_i].spec, &out, NULL);
	ck_assert_str_eq(buf, json_texts[_i].text);

	jsonout_init(&out, buf, sizeof(buf));
	jsonout_begin_object(&out, NULL);
	portspec_to_json(&json_texts[_i].spec, &out, "spec");
	jsonout_end_object(&out);
	snprintf(with_key, sizeof(with_key), "{\"spec\":%s}", json_texts[_i].text);
	ck_assert_str_eq(buf, with_key);

	ck_assert_ptr_eq(portspec_brief(&json_texts[_i].spec, buf, sizeof(buf)), buf);
	ck_assert_str_eq(buf, json_texts[_i].brief);
}
END_TEST

START_TEST(a_spec_comes_back_from_json_unchanged)
{
	struct portspec spec = make_untouched_spec();
	char buf[512];
	struct jsonout out;
	struct err e;

	jsonout_init(&out, buf, sizeof(buf));
	portspec_to_json(&specs[_i].spec, &out, NULL);
	ck_assert(!out.overflow);
	ck_assert_int_eq(parse_json_spec(&spec, buf, &e), 0);
	assert_spec(&spec, &specs[_i].spec);
}
END_TEST

START_TEST(a_brief_is_cut)
{
	char *buf = malloc(8);

	portspec_brief(&specs[0].spec, buf, 8);
	ck_assert_str_eq(buf, "{tcp 12");
	free(buf);
}
END_TEST

/* ---- protos ---- */

static const struct {
	const char *name;
	bool is_tcp;
	bool is_udp;
} protos[] = {
	[PROTO_TCP] = { "tcp", true, false },	   [PROTO_TCP4] = { "tcp4", true, false },
	[PROTO_TCP6] = { "tcp6", true, false },	   [PROTO_UDP] = { "udp", false, true },
	[PROTO_UDP4] = { "udp4", false, true },	   [PROTO_UDP6] = { "udp6", false, true },
	[PROTO_SCTP] = { "sctp", false, false },   [PROTO_SCTP4] = { "sctp4", false, false },
	[PROTO_SCTP6] = { "sctp6", false, false },
};

START_TEST(a_proto_is_recognized)
{
	enum proto proto = PROTO_COUNT;

	ck_assert_int_eq(COUNT(protos), PROTO_COUNT);
	ck_assert_str_eq(proto_name(_i), protos[_i].name);
	ck_assert_int_eq(proto_parse(&proto, protos[_i].name, NULL), 0);
	ck_assert_int_eq(proto, _i);
	ck_assert_int_eq(proto_is_tcp(_i), protos[_i].is_tcp);
	ck_assert_int_eq(proto_is_udp(_i), protos[_i].is_udp);
}
END_TEST

static const char *const no_protos[] = { "", "TCP", "tcp ", " tcp", "tcp5", "tc", "icmp" };

START_TEST(an_unknown_proto_is_refused)
{
	enum proto proto = PROTO_COUNT;
	char want[64];
	struct err e;

	snprintf(want, sizeof(want), "unknown proto: \"%s\"", no_protos[_i]);
	ck_assert_int_eq(proto_parse(&proto, no_protos[_i], &e), -EINVAL);
	ck_assert_str_eq(e.msg, want);
	ck_assert_int_eq(proto, PROTO_COUNT);
}
END_TEST

/* ---- what is done with them ---- */

static const struct {
	struct portspec other;
	bool conflict;
} neighbours[] = {
	{ { PROTO_TCP, "127.0.0.1", 8080, "", 80 }, true },
	{ { PROTO_TCP, "127.0.0.1", 8080, "10.0.2.100", 81 }, true },
	{ { PROTO_TCP4, "127.0.0.1", 8080, "", 80 }, false },
	{ { PROTO_UDP, "127.0.0.1", 8080, "", 80 }, false },
	{ { PROTO_TCP, "127.0.0.1", 8081, "", 80 }, false },
	{ { PROTO_TCP, "127.0.0.2", 8080, "", 80 }, false },
	{ { PROTO_TCP, "", 8080, "", 80 }, false },
	/* Addresses are compared as text, not by their meaning. */
	{ { PROTO_TCP, "::ffff:127.0.0.1", 8080, "", 80 }, false },
};

START_TEST(a_conflict_is_found)
{
	const struct portspec *spec = &neighbours[0].other;

	ck_assert_int_eq(portspec_conflicts(spec, &neighbours[_i].other), neighbours[_i].conflict);
	ck_assert_int_eq(portspec_conflicts(&neighbours[_i].other, spec), neighbours[_i].conflict);
}
END_TEST

static TCase *text_case(void)
{
	TCase *tc = tcase_create("text");

	tcase_add_loop_test(tc, a_spec_is_read, 0, COUNT(specs));
	tcase_add_loop_test(tc, every_beginning_of_a_spec_is_refused, 0, COUNT(specs));
	tcase_add_loop_test(tc, a_malformed_spec_is_refused_with_a_reason, 0, COUNT(malformed));
	tcase_add_loop_test(tc, the_id_of_a_port_is_read, 0, COUNT(ids));
	tcase_add_loop_test(tc, a_spec_is_written_as_it_was_read, 0, COUNT(same_texts));
	tcase_add_loop_test(tc, a_refusal_says_what_would_be_right, 0, COUNT(advised));
	tcase_add_loop_test(tc, a_port_out_of_range_is_refused, 0, COUNT(out_of_range));
	tcase_add_test(tc, a_reason_may_be_left_out_or_too_long);
	return tc;
}

static TCase *json_case(void)
{
	TCase *tc = tcase_create("json");

	tcase_add_loop_test(tc, a_json_spec_is_read, 0, COUNT(json_specs));
	tcase_add_loop_test(tc, a_malformed_json_spec_is_refused_with_a_reason, 0,
			    COUNT(bad_json_specs));
	tcase_add_loop_test(tc, a_long_field_is_refused, 0, COUNT(long_fields));
	tcase_add_loop_test(tc, a_spec_is_written_as_json, 0, COUNT(json_texts));
	tcase_add_loop_test(tc, a_spec_comes_back_from_json_unchanged, 0, COUNT(specs));
	tcase_add_test(tc, a_brief_is_cut);
	return tc;
}

static TCase *proto_case(void)
{
	TCase *tc = tcase_create("protos");

	tcase_add_loop_test(tc, a_proto_is_recognized, 0, PROTO_COUNT);
	tcase_add_loop_test(tc, an_unknown_proto_is_refused, 0, COUNT(no_protos));
	return tc;
}

static TCase *use_case(void)
{
	TCase *tc = tcase_create("use");

	tcase_add_loop_test(tc, a_conflict_is_found, 0, COUNT(neighbours));
	return tc;
}

int main(void)
{
	Suite *s = suite_create("portspec");

	suite_add_tcase(s, text_case());
	suite_add_tcase(s, json_case());
	suite_add_tcase(s, proto_case());
	suite_add_tcase(s, use_case());
	return fixture_run(s);
}
