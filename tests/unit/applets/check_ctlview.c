/* SPDX-License-Identifier: Apache-2.0 */

/* What rootlessctl prints of the API's answers. */
#include "tests/unit/fixture.h"

#include "applets/ctlview.h"

typedef int print_function(FILE *out, const char *json, size_t len, bool as_json, struct err *e);

static struct err e;

/* Returns what `print` printed. The next call frees it. */
static const char *print(print_function *function, const char *json, bool as_json, int *result)
{
	static char *text;
	size_t len = 0;
	FILE *out;

	free(text);
	out = open_memstream(&text, &len);
	ck_assert_ptr_nonnull(out);
	*result = function(out, fixture_exact_copy(json, strlen(json)), strlen(json), as_json, &e);
	ck_assert_int_eq(fclose(out), 0);
	return text;
}

static void assert_prints(print_function *function, const char *json, bool as_json,
			  const char *expected)
{
	int r;
	const char *text = print(function, json, as_json, &r);

	ck_assert_msg(r == 0, "%s", e.msg);
	ck_assert_str_eq(text, expected);
}

/* Asserts that nothing is printed of a bad answer. */
static void assert_refuses(print_function *function, const char *json, bool as_json,
			   const char *reason)
{
	int r;
	const char *text = print(function, json, as_json, &r);

	ck_assert_int_lt(r, 0);
	ck_assert_str_eq(e.msg, reason);
	ck_assert_str_eq(text, "");
}

/* ---- ports ---- */

#define PORT(id, spec) "{\"id\":" id ",\"spec\":{" spec "}}"
#define TCP	       "\"proto\":\"tcp\",\"parentIP\":\"127.0.0.1\",\"parentPort\":8080,\"childPort\":80"
#define UDP	       "\"proto\":\"udp\",\"parentPort\":53,\"childPort\":5353,\"childIP\":\"10.0.2.100\""

static const struct {
	const char *json;
	const char *table;
	const char *lines;
} lists[] = {
	{ "[]", "ID    PROTO    PARENTIP    PARENTPORT    CHILDIP    CHILDPORT    \n", "" },
	{ "[" PORT("1", TCP) "]",
	  "ID    PROTO    PARENTIP     PARENTPORT    CHILDIP    CHILDPORT    \n"
	  "1     tcp      127.0.0.1    8080                     80           \n",
	  PORT("1", TCP) "\n" },
	{ "[" PORT("1", TCP) "," PORT("12345", UDP) "]",
	  "ID       PROTO    PARENTIP     PARENTPORT    CHILDIP       CHILDPORT    \n"
	  "1        tcp      127.0.0.1    8080                        80           \n"
	  "12345    udp                   53            10.0.2.100    5353         \n",
	  PORT("1", TCP) "\n" PORT("12345", UDP) "\n" },
	/* White space, unknown members and another order of the members. */
	{ "[ { \"new\" : [1] , \"spec\" : {\"childPort\":80,\"parentPort\":1,\"x\":{},"
	  "\"proto\":\"sctp6\"} , \"id\" : 7 } ]\n",
	  "ID    PROTO    PARENTIP    PARENTPORT    CHILDIP    CHILDPORT    \n"
	  "7     sctp6                1                        80           \n",
	  PORT("7", "\"proto\":\"sctp6\",\"parentPort\":1,\"childPort\":80") "\n" },
	/* Missing members and null count as empty. */
	{ "[" PORT("1", "\"parentIP\":null") "]",
	  "ID    PROTO    PARENTIP    PARENTPORT    CHILDIP    CHILDPORT    \n"
	  "1                          0                        0            \n",
	  PORT("1", "\"proto\":\"\",\"parentPort\":0,\"childPort\":0") "\n" },
	/* A character of two bytes takes one column. */
	{ "[" PORT("1",
		   "\"proto\":\"tcp\",\"parentIP\":\"\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4"
		   "\u00e4\u00e4\",\"parentPort\":1,\"childPort\":1") "]",
	  "ID    PROTO    PARENTIP     PARENTPORT    CHILDIP    CHILDPORT    \n"
	  "1     tcp      \u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4    1           "
	  "             1            \n",
	  PORT("1", "\"proto\":\"tcp\",\"parentIP\":\"\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4"
		    "\u00e4\u00e4\",\"parentPort\":1,\"childPort\":1") "\n" },
};

START_TEST(a_list_of_ports_is_a_table)
{
	assert_prints(ctlview_ports, lists[_i].json, false, lists[_i].table);
}
END_TEST

START_TEST(a_list_of_ports_as_json_is_one_object_a_line)
{
	assert_prints(ctlview_ports, lists[_i].json, true, lists[_i].lines);
}
END_TEST

/* An escape sequence in an answer must not reach the terminal. */
START_TEST(control_characters_in_a_list_do_not_reach_the_terminal)
{
	static const char json[] =
		"[" PORT("1", "\"proto\":\"\\u001b[2J\\u009b\\u007f\",\"parentPort\":1,"
			      "\"childPort\":1") "]";

	assert_prints(ctlview_ports, json, false,
		      "ID    PROTO     PARENTIP    PARENTPORT    CHILDIP    CHILDPORT    \n"
		      "1     ?[2J??                1                        1            \n");
	assert_prints(ctlview_ports, json, true,
		      PORT("1", "\"proto\":\"\\u001b[2J\\u009b\\u007f\",\"parentPort\":1,"
				"\"childPort\":1") "\n");
}
END_TEST

static const struct {
	const char *json;
	const char *reason; /* behind "the list of ports cannot be read: " */
} bad_lists[] = {
	{ "", "EOF" },
	{ "[", "unexpected EOF" },
	{ "[" PORT("1", TCP) ",", "unexpected EOF" },
	{ "{}", "json: cannot unmarshal object into an array" },
	{ "[1]", "not a port entry" },
	{ "[null]", "not a port entry" },
	{ "[{}]", "not a port entry" },
	{ "[{\"id\":1,\"spec\":[]}]", "not a port entry" },
	{ "[" PORT("\"1\"", TCP) "]", "" },
	{ "[" PORT("1.5", TCP) "]", "" },
	{ "[" PORT("1", "\"proto\":1") "]", "" },
	{ "[" PORT("1", "\"proto\":\"a name of more than 15 bytes\"") "]", "" },
	{ "[" PORT("1", TCP) "," PORT("2", "\"parentPort\":\"80\"") "]", "" },
};

/* Nothing is printed even if the first ports of the list are good. */
START_TEST(a_bad_list_prints_nothing)
{
	static const char begin[] = "the list of ports cannot be read: ";
	char reason[ERR_LEN];
	int r;

	for (int as_json = 0; as_json <= 1; as_json++) {
		if (bad_lists[_i].reason[0] != '\0') {
			snprintf(reason, sizeof(reason), "%s%s", begin, bad_lists[_i].reason);
			assert_refuses(ctlview_ports, bad_lists[_i].json, as_json, reason);
			continue;
		}
		ck_assert_str_eq(print(ctlview_ports, bad_lists[_i].json, as_json, &r), "");
		ck_assert_int_lt(r, 0);
		ck_assert_int_eq(strncmp(e.msg, begin, strlen(begin)), 0);
		ck_assert_uint_gt(strlen(e.msg), strlen(begin));
	}
}
END_TEST

/* ---- one port ---- */

START_TEST(a_new_port_is_printed_as_its_id)
{
	assert_prints(ctlview_port, PORT("12", TCP), false, "12\n");
	assert_prints(ctlview_port, PORT("12", TCP), true, PORT("12", TCP) "\n");
}
END_TEST

START_TEST(a_bad_answer_to_a_new_port_says_that_the_port_was_added)
{
	assert_refuses(ctlview_port, "{}", false,
		       "the port was added, but the answer cannot be read: not a port entry");
	assert_refuses(ctlview_port, "", true,
		       "the port was added, but the answer cannot be read: EOF");
}
END_TEST

/* ---- info ---- */

#define BASE "\"apiVersion\":\"1.1.1\",\"version\":\"3.0.1\",\"stateDir\":\"/s\",\"childPID\":47"
#define BASE_LINES                          \
	"- REST API version: 1.1.1\n"       \
	"- Implementation version: 3.0.1\n" \
	"- State Directory: /s\n"           \
	"- Child PID: 47\n"

static const struct {
	const char *json;
	const char *lines;
} infos[] = {
	{ "{" BASE "}", BASE_LINES },
	{ "{" BASE ",\"networkDriver\":null,\"portDriver\":null}", BASE_LINES },
	{ "{" BASE ",\"networkDriver\":{\"driver\":\"pasta\",\"dns\":[\"10.0.2.3\",\"fd00::3\"],"
	  "\"childIP\":\"10.0.2.100\"},"
	  "\"portDriver\":{\"driver\":\"builtin\",\"protos\":[\"tcp\",\"udp\"]}}",
	  BASE_LINES "- Network Driver: pasta\n"
		     "  - DNS: [10.0.2.3 fd00::3]\n"
		     "  - IP: 10.0.2.100\n"
		     "- Port Driver: builtin\n"
		     "  - Supported protocols: [tcp udp]\n" },
	{ "{" BASE ",\"networkDriver\":{\"driver\":\"none\"},\"portDriver\":{\"driver\":\"x\","
	  "\"protos\":null}}",
	  BASE_LINES "- Network Driver: none\n"
		     "  - DNS: []\n"
		     "- Port Driver: x\n"
		     "  - Supported protocols: []\n" },
	{ "{}", "- REST API version: \n- Implementation version: \n- State Directory: \n"
		"- Child PID: 0\n" },
	{ "{\"version\":\"\\u001b[0m\\n\",\"stateDir\":\"\\u0085\",\"portDriver\":{\"protos\":["
	  "\"\\u0007\"]}}",
	  "- REST API version: \n- Implementation version: ?[0m?\n- State Directory: ?\n"
	  "- Child PID: 0\n- Port Driver: \n  - Supported protocols: [?]\n" },
};

START_TEST(info_is_printed_as_lines)
{
	assert_prints(ctlview_info, infos[_i].json, false, infos[_i].lines);
}
END_TEST

START_TEST(info_as_json_is_indented_and_complete)
{
	assert_prints(ctlview_info,
		      "{\"version\":\"3\",\"new\":[1,{\"a\":\"\xc2\x85\"}],\"none\":{}}", true,
		      "{\n"
		      "    \"version\": \"3\",\n"
		      "    \"new\": [\n"
		      "        1,\n"
		      "        {\n"
		      "            \"a\": \"\\u0085\"\n"
		      "        }\n"
		      "    ],\n"
		      "    \"none\": {}\n"
		      "}\n");
}
END_TEST

static const struct {
	const char *json;
	const char *reason;
} bad_infos[] = {
	{ "", "the answer cannot be read: EOF" },
	{ "[]", "the answer cannot be read: json: cannot unmarshal array into an object" },
	{ "{" BASE ",\"networkDriver\":5}",
	  "the answer cannot be read: json: cannot unmarshal number into field networkDriver of "
	  "type object" },
	{ "{" BASE ",\"networkDriver\":{\"driver\":\"x\",\"dns\":\"y\"}}",
	  "the answer cannot be read: json: cannot unmarshal string into field dns of type list" },
	{ "{" BASE ",\"portDriver\":{\"driver\":\"x\",\"protos\":[1]}}",
	  "the answer cannot be read: json: an element of protos is not a string, or is too long" },
};

START_TEST(bad_info_prints_nothing)
{
	assert_refuses(ctlview_info, bad_infos[_i].json, false, bad_infos[_i].reason);
}
END_TEST

/* ---- control characters ---- */

static const struct {
	const char *text, *cleaned;
} texts[] = {
	{ "", "" },
	{ "plain \u00e4 \u20ac", "plain \u00e4 \u20ac" },
	{ "\x01\x1f\x7f\t\n", "?????" },
	{ "a\xc2\x80"
	  "b\xc2\x9f"
	  "c",
	  "a?b?c" },
	{ "\u00a0", "\u00a0" },
	{ "\xc2", "\xc2" },
};

START_TEST(control_characters_become_question_marks)
{
	char text[32];

	strcpy(text, texts[_i].text);
	ctlview_clean(text);
	ck_assert_str_eq(text, texts[_i].cleaned);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ctlview");
	TCase *tc = fixture_case("ctlview");

	tcase_add_loop_test(tc, a_list_of_ports_is_a_table, 0, COUNT(lists));
	tcase_add_loop_test(tc, a_list_of_ports_as_json_is_one_object_a_line, 0, COUNT(lists));
	tcase_add_test(tc, control_characters_in_a_list_do_not_reach_the_terminal);
	tcase_add_loop_test(tc, a_bad_list_prints_nothing, 0, COUNT(bad_lists));
	tcase_add_test(tc, a_new_port_is_printed_as_its_id);
	tcase_add_test(tc, a_bad_answer_to_a_new_port_says_that_the_port_was_added);
	tcase_add_loop_test(tc, info_is_printed_as_lines, 0, COUNT(infos));
	tcase_add_test(tc, info_as_json_is_indented_and_complete);
	tcase_add_loop_test(tc, bad_info_prints_nothing, 0, COUNT(bad_infos));
	tcase_add_loop_test(tc, control_characters_become_question_marks, 0, COUNT(texts));
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
