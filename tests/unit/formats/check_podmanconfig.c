/* SPDX-License-Identifier: Apache-2.0 */

/* What Podman sends to rootlessport. Each text is in a heap buffer of exactly its size, so that
 * sanitizers notice a read past its end. */
#include "formats/podmanconfig.h"
#include "tests/unit/fixture.h"

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* Members without which a configuration is refused. */
#define NEEDED \
	"\"NetNSPath\":\"/run/netns/x\",\"ExitFD\":3,\"ReadyFD\":4,\"TmpDir\":\"/run/libpod\""

static struct podmanconfig config;
static struct err e;

static int parse(const char *text)
{
	const char *copy = fixture_exact_copy(text, strlen(text));

	e.msg[0] = '\0';
	return podmanconfig_parse(&config, copy, strlen(text), &e);
}

/* ---- the configuration ---- */

/* Recorded from Podman 4.3. */
START_TEST(what_podman_sends_is_read)
{
	int r = parse(
		"{\"Mappings\":[{\"host_ip\":\"\",\"container_port\":80,\"host_port\":8080,"
		"\"range\":1,\"protocol\":\"tcp\"}],\"NetNSPath\":\"/run/user/1000/netns/netns-1\","
		"\"ExitFD\":3,\"ReadyFD\":4,\"TmpDir\":\"/run/user/1000/libpod/tmp\","
		"\"ChildIP\":\"10.89.0.2\",\"ContainerID\":\"" ID "\",\"RootlessCNI\":true}");

	ck_assert_msg(r == 0, "%s", e.msg);
	ck_assert_str_eq(config.netns, "/run/user/1000/netns/netns-1");
	ck_assert_str_eq(config.tmp_dir, "/run/user/1000/libpod/tmp");
	ck_assert_str_eq(config.container_id, ID);
	ck_assert_str_eq(config.child_ip, "10.89.0.2");
	ck_assert_int_eq(config.exit_fd, 3);
	ck_assert_int_eq(config.ready_fd, 4);
	ck_assert(config.has_reloads);
	ck_assert_int_eq(podmanconfig_check(&config, &e), 1);
}
END_TEST

START_TEST(optional_members_may_be_missing_or_null)
{
	static const char *const texts[] = {
		"{" NEEDED "}",
		"{" NEEDED ",\"Mappings\":null,\"ChildIP\":null,\"ContainerID\":null,"
		"\"RootlessCNI\":null}",
		"{" NEEDED ",\"Mappings\":[],\"RootlessCNI\":false,\"Unknown\":[{}]} trailing",
	};

	for (size_t i = 0; i < COUNT(texts); i++) {
		int r = parse(texts[i]);

		ck_assert_msg(r == 0, "%zu: %s", i, e.msg);
		ck_assert_str_eq(config.child_ip, "");
		ck_assert_str_eq(config.container_id, "");
		ck_assert(!config.has_reloads);
		ck_assert_int_eq(podmanconfig_check(&config, &e), 0);
	}
}
END_TEST

static const struct {
	const char *text;
	const char *reason;
} wrong[] = {
	{ "", "EOF" },
	{ " \n", "EOF" },
	{ "{", "unexpected EOF" },
	{ "{\"Mappings\":[", "unexpected EOF" },
	{ "{\"Mappings\":[{\"range\":1}", "unexpected EOF" },
	{ "garbage", "invalid character 'g' looking for beginning of value" },
	{ "{\"Mappings\":[}", "invalid character '}' looking for beginning of value" },
	{ "[]", "json: cannot unmarshal array into Go value of type Config" },
	{ "3", "json: cannot unmarshal number into Go value of type Config" },
	{ "null", "missing NetNSPath" },
	{ "{}", "missing NetNSPath" },
	{ "{\"NetNSPath\":\"\"}", "missing NetNSPath" },
	{ "{\"NetNSPath\":3}",
	  "json: cannot unmarshal number into Go struct field Config.NetNSPath of type string" },
	{ "{\"NetNSPath\":\"/a\\u0000b\"}", "json: field NetNSPath holds a NUL character" },
	{ "{\"NetNSPath\":\"/x\"}", "missing ExitFD" },
	{ "{\"NetNSPath\":\"/x\",\"ExitFD\":0}", "missing ExitFD" },
	{ "{\"NetNSPath\":\"/x\",\"ExitFD\":-1}", "missing ExitFD" },
	{ "{\"NetNSPath\":\"/x\",\"ExitFD\":\"3\"}",
	  "json: cannot unmarshal string into Go struct field Config.ExitFD of type int" },
	{ "{\"NetNSPath\":\"/x\",\"ExitFD\":3.5}",
	  "json: cannot unmarshal number 3.5 into Go struct field Config.ExitFD of type int" },
	{ "{\"NetNSPath\":\"/x\",\"ExitFD\":4294967299}", "missing ExitFD" },
	{ "{\"NetNSPath\":\"/x\",\"ExitFD\":3}", "missing ReadyFD" },
	{ "{\"NetNSPath\":\"/x\",\"ExitFD\":3,\"ReadyFD\":0}", "missing ReadyFD" },
	{ "{\"NetNSPath\":\"/x\",\"ExitFD\":3,\"ReadyFD\":4}", "missing TmpDir" },
	{ "{\"NetNSPath\":\"/x\",\"ExitFD\":3,\"ReadyFD\":3,\"TmpDir\":\"/x\"}",
	  "ExitFD and ReadyFD are both 3" },
	{ "{" NEEDED ",\"ChildIP\":\"foo\"}", "invalid ChildIP: \"foo\"; it takes an IP address" },
	{ "{" NEEDED ",\"ChildIP\":\"10.89.0.2/24\"}",
	  "invalid ChildIP: \"10.89.0.2/24\"; it takes an IP address" },
	{ "{" NEEDED ",\"RootlessCNI\":\"true\"}",
	  "json: cannot unmarshal string into Go struct field Config.RootlessCNI of type bool" },
	{ "{" NEEDED ",\"RootlessCNI\":true}", "missing ContainerID" },
	{ "{" NEEDED ",\"ContainerID\":\"../x\"}", "ContainerID \"../x\" is not a file name" },
	{ "{" NEEDED ",\"ContainerID\":\"..\"}", "ContainerID \"..\" is not a file name" },
	{ "{" NEEDED ",\"ContainerID\":\"" ID ID ID ID "\"}",
	  "json: field ContainerID is too long" },
	{ "{" NEEDED ",\"Mappings\":{}}",
	  "json: cannot unmarshal object into Go struct field Config.Mappings of type "
	  "[]PortMapping" },
};

START_TEST(a_wrong_configuration_is_refused_with_the_reason)
{
	ck_assert_int_eq(parse(wrong[_i].text), -EINVAL);
	ck_assert_str_eq(e.msg, wrong[_i].reason);
}
END_TEST

/* ---- ports ---- */

/* Writes the ports of a configuration with this array of mappings to `seen`, one a line. Returns
 * the last result of podmanconfig_ports_next. */
static int list_ports(const char *mappings, char *seen, size_t cap)
{
	char all[4096], one[PORTSPEC_TEXT_LEN];
	struct podmanconfig_ports ports;
	struct portspec spec;
	size_t used = 0;
	int r;

	snprintf(all, sizeof(all), "{" NEEDED ",\"ChildIP\":\"10.89.0.2\",\"Mappings\":%s}",
		 mappings);
	r = parse(all);
	ck_assert_msg(r == 0, "%s", e.msg);
	seen[0] = '\0';
	podmanconfig_ports_init(&ports, &config);
	while ((r = podmanconfig_ports_next(&ports, &spec, &e)) > 0) {
		ck_assert_int_eq(r, 1);
		used += (size_t)snprintf(seen + used, cap - used, "%s ",
					 portspec_text(&spec, one, sizeof(one)));
		ck_assert_uint_lt(used, cap);
	}
	ck_assert_int_eq(podmanconfig_check(&config, &e) < 0, r < 0);
	return r;
}

#define PORT(ip, host, container, range, protocol)                                     \
	"{\"host_ip\":\"" ip "\",\"host_port\":" host ",\"container_port\":" container \
	",\"range\":" range ",\"protocol\":\"" protocol "\"}"

static const struct {
	const char *mappings;
	const char *seen;
	const char *reason; /* "": none */
} mappings[] = {
	{ "[]", "", "" },
	{ "[" PORT("", "8080", "80", "1", "tcp") "]", "0.0.0.0:8080:10.89.0.2:80/tcp ", "" },
	{ "[" PORT("::1", "8080", "80", "1", "udp") "]", "[::1]:8080:10.89.0.2:80/udp ", "" },
	{ "[" PORT("127.0.0.2", "65533", "1", "3", "tcp") "]",
	  "127.0.0.2:65533:10.89.0.2:1/tcp 127.0.0.2:65534:10.89.0.2:2/tcp "
	  "127.0.0.2:65535:10.89.0.2:3/tcp ",
	  "" },
	{ "[" PORT("", "1", "2", "2", "tcp,udp") "," PORT("", "9", "9", "1", "udp") "]",
	  "0.0.0.0:1:10.89.0.2:2/tcp 0.0.0.0:2:10.89.0.2:3/tcp 0.0.0.0:1:10.89.0.2:2/udp "
	  "0.0.0.0:2:10.89.0.2:3/udp 0.0.0.0:9:10.89.0.2:9/udp ",
	  "" },
	/* a range of 0, or none, is one port */
	{ "[" PORT("", "8080", "80", "0", "tcp") "]", "0.0.0.0:8080:10.89.0.2:80/tcp ", "" },
	{ "[{\"host_port\":1,\"container_port\":2,\"protocol\":\"tcp\",\"other\":{}}]",
	  "0.0.0.0:1:10.89.0.2:2/tcp ", "" },
	/* known, but the port driver refuses it */
	{ "[" PORT("", "1", "2", "1", "sctp") "]", "0.0.0.0:1:10.89.0.2:2/sctp ", "" },

	{ "[" PORT("", "8080", "80", "1", "foo") "]", "", "unknown proto: \"foo\"" },
	{ "[" PORT("", "8080", "80", "1", "TCP") "]", "", "unknown proto: \"TCP\"" },
	{ "[" PORT("", "8080", "80", "1", "") "]", "", "unknown proto: \"\"" },
	{ "[" PORT("", "8080", "80", "1", "tcp,") "]", "0.0.0.0:8080:10.89.0.2:80/tcp ",
	  "unknown proto: \"\"" },
	{ "[" PORT("foo", "8080", "80", "1", "tcp") "]", "",
	  "invalid ParentIP: \"foo\"; it takes an IP address" },
	{ "[" PORT("[::1]", "8080", "80", "1", "tcp") "]", "",
	  "invalid ParentIP: \"[::1]\"; it takes an IP address" },
	{ "[" PORT("", "0", "80", "1", "tcp") "]", "",
	  "invalid ParentPort: 0; ports are 1 to 65535" },
	{ "[" PORT("", "8080", "0", "1", "tcp") "]", "",
	  "invalid ChildPort: 0; ports are 1 to 65535" },
	{ "[" PORT("", "70000", "80", "1", "tcp") "]", "",
	  "invalid ParentPort: 70000; it is 1 to 65535" },
	{ "[" PORT("", "8080", "-80", "1", "tcp") "]", "",
	  "invalid ChildPort: -80; it is 1 to 65535" },
	{ "[" PORT("", "8080", "80", "70000", "tcp") "]", "",
	  "invalid range: 70000; it is 1 to 65535" },
	{ "[" PORT("", "65535", "80", "2", "tcp") "]", "0.0.0.0:65535:10.89.0.2:80/tcp ",
	  "invalid ParentPort: 65536; ports are 1 to 65535" },
	{ "[" PORT("", "8080", "65535", "2", "tcp") "]", "0.0.0.0:8080:10.89.0.2:65535/tcp ",
	  "invalid ChildPort: 65536; ports are 1 to 65535" },
	{ "[" PORT("", "\"80\"", "80", "1", "tcp") "]", "",
	  "json: cannot unmarshal string into Go struct field PortMapping.host_port of type int" },
	{ "[" PORT("", "1", "1", "1e1", "tcp") "]", "",
	  "json: cannot unmarshal number 1e1 into Go struct field PortMapping.range of type int" },
	{ "[null]", "", "json: cannot unmarshal null into Go value of type PortMapping" },
	{ "[" PORT("", "1", "1", "1", "tcp") ",3]", "0.0.0.0:1:10.89.0.2:1/tcp ",
	  "json: cannot unmarshal number into Go value of type PortMapping" },
};

START_TEST(mappings_are_read_port_by_port)
{
	char seen[1024];
	int r = list_ports(mappings[_i].mappings, seen, sizeof(seen));

	ck_assert_str_eq(seen, mappings[_i].seen);
	ck_assert_int_eq(r, mappings[_i].reason[0] == '\0' ? 0 : -EINVAL);
	ck_assert_str_eq(e.msg, mappings[_i].reason);
}
END_TEST

/* More mappings than a JSON index holds, and a range of all ports. */
START_TEST(thousands_of_ports_are_read)
{
	const size_t cap = 1 << 20;
	char *all = malloc(cap);
	size_t len = (size_t)snprintf(all, cap, "{" NEEDED ",\"Mappings\":[");
	int r;

	for (int i = 1; i <= 3000; i++)
		len += (size_t)snprintf(all + len, cap - len,
					"{\"host_port\":%d,\"container_port\":%d,\"protocol\":"
					"\"tcp\"},",
					i, i);
	snprintf(all + len, cap - len, PORT("", "1", "1", "65535", "udp") "]}");
	r = parse(all);
	ck_assert_msg(r == 0, "%s", e.msg);
	ck_assert_int_eq(podmanconfig_check(&config, &e), 3000 + 65535);
	free(all);
}
END_TEST

/* ---- reloads ---- */

static const struct {
	const char *text;
	const char *ip;
	const char *reason; /* NULL: none */
} reloads[] = {
	{ "\"10.89.0.3\"\n", "10.89.0.3", NULL },
	{ "\"\"\n", "", NULL },
	{ "\"fd00::3\"", "fd00::3", NULL },
	{ "", NULL, "EOF" },
	{ "\"10.89", NULL, "unexpected EOF" },
	{ "10.89.0.3", NULL, "json: cannot unmarshal number into Go value of type string" },
	{ "garbage", NULL, "invalid character 'g' looking for beginning of value" },
	{ "3", NULL, "json: cannot unmarshal number into Go value of type string" },
	{ "null", NULL, "json: cannot unmarshal null into Go value of type string" },
	{ "{}", NULL, "json: cannot unmarshal object into Go value of type string" },
	{ "\"10.89.0.256\"", NULL, "invalid ChildIP: \"10.89.0.256\"; it takes an IP address" },
	{ "\"" ID "\"", NULL, "invalid ChildIP: it is too long or holds a NUL character" },
	{ "\"1\\u0000\"", NULL, "invalid ChildIP: it is too long or holds a NUL character" },
};

START_TEST(a_reload_names_the_new_child_ip)
{
	const char *text = fixture_exact_copy(reloads[_i].text, strlen(reloads[_i].text));
	char ip[PORTSPEC_IP_LEN];
	int r;

	e.msg[0] = '\0';
	r = podmanconfig_child_ip(ip, text, strlen(reloads[_i].text), &e);
	if (reloads[_i].reason == NULL) {
		ck_assert_msg(r == 0, "%s", e.msg);
		ck_assert_str_eq(ip, reloads[_i].ip);
	} else {
		ck_assert_int_eq(r, -EINVAL);
		ck_assert_str_eq(e.msg, reloads[_i].reason);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("podmanconfig");
	TCase *tc = tcase_create("podmanconfig");

	tcase_add_test(tc, what_podman_sends_is_read);
	tcase_add_test(tc, optional_members_may_be_missing_or_null);
	tcase_add_loop_test(tc, a_wrong_configuration_is_refused_with_the_reason, 0, COUNT(wrong));
	tcase_add_loop_test(tc, mappings_are_read_port_by_port, 0, COUNT(mappings));
	tcase_add_test(tc, thousands_of_ports_are_read);
	tcase_add_loop_test(tc, a_reload_names_the_new_child_ip, 0, COUNT(reloads));
	suite_add_tcase(suite, tc);
	return fixture_run(suite);
}
