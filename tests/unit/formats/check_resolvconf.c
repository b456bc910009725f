/* SPDX-License-Identifier: Apache-2.0 */

/* resolv.conf(5). */
#include "formats/resolvconf.h"
#include "tests/unit/fixture.h"

/* What was read, as one line: servers with their zones, timeout, attempts, "rotate". */
static const char *show(const struct resolvconf *c)
{
	static char buf[512];
	char ip[INET6_ADDRSTRLEN];
	int n = 0;

	for (size_t i = 0; i < c->count; i++) {
		const struct resolvconf_server *s = &c->servers[i];

		n += snprintf(buf + n, sizeof(buf) - (size_t)n, "%s%s%s ",
			      ipaddr_text(&s->ip, ip, sizeof(ip)), s->zone[0] != '\0' ? "%" : "",
			      s->zone);
	}
	snprintf(buf + n, sizeof(buf) - (size_t)n, "%u %u%s", c->timeout_s, c->attempts,
		 c->rotate ? " rotate" : "");
	return buf;
}

static const struct {
	const char *text, *result;
} texts[] = {
	{ "", "5 2" },
	{ "nameserver 192.0.2.1\n", "192.0.2.1 5 2" },
	{ "nameserver 192.0.2.1", "192.0.2.1 5 2" }, /* no newline at the end */
	{ "search example.org\nnameserver\t 192.0.2.1  \n", "192.0.2.1 5 2" },
	{ "nameserver 192.0.2.1\r\noptions timeout:3\r\n", "192.0.2.1 3 2" },
	{ "nameserver 127.0.0.53\nnameserver ::1\n", "127.0.0.53 ::1 5 2" },
	{ "nameserver 1.1.1.1\nnameserver 1.1.1.1\n", "1.1.1.1 1.1.1.1 5 2" },
	/* programs use three */
	{ "nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\nnameserver 10.0.0.4\n",
	  "10.0.0.1 10.0.0.2 10.0.0.3 5 2" },
	/* comments */
	{ "#nameserver 192.0.2.1\n;nameserver 192.0.2.2\n", "5 2" },
	{ "nameserver 192.0.2.1 # home\nnameserver 192.0.2.2;x\nnameserver 192.0.2.3#x",
	  "192.0.2.1 192.0.2.2 192.0.2.3 5 2" },
	/* zones */
	{ "nameserver fe80::1%eth0\nnameserver fe80::2%3\n", "fe80::1%eth0 fe80::2%3 5 2" },
	{ "nameserver fe80::1%\nnameserver 192.0.2.1%eth0\nnameserver ::ffff:192.0.2.1%eth0\n",
	  "5 2" },
	{ "nameserver fe80::1%fifteen-letters\n", "fe80::1%fifteen-letters 5 2" },
	{ "nameserver fe80::1%sixteen--letters\n", "5 2" },
	{ "nameserver ::ffff:192.0.2.1\n", "192.0.2.1 5 2" },
	/* malformed lines, each followed by a good one */
	{ "nameserver\nnameserver 192.0.2.1\n", "192.0.2.1 5 2" },
	{ "nameserver example.org\nnameserver 192.0.2.1\n", "192.0.2.1 5 2" },
	{ "nameserver 192.0.2\nnameserver 192.0.2.1\n", "192.0.2.1 5 2" },
	{ "nameserver 192.0.2.256\nnameserver 192.0.2.1\n", "192.0.2.1 5 2" },
	{ "nameserver 192.0.2.9:53\nnameserver 192.0.2.1\n", "192.0.2.1 5 2" },
	{ "nameserver192.0.2.9\nnameserver 192.0.2.1\n", "192.0.2.1 5 2" },
	{ "nameservers 192.0.2.9\nnameserver 192.0.2.1\n", "192.0.2.1 5 2" },
	{ " nameserver 192.0.2.9\nnameserver 192.0.2.1\n", "192.0.2.1 5 2" },
	{ "NAMESERVER 192.0.2.9\nnameserver 192.0.2.1\n", "192.0.2.1 5 2" },
	{ "nameserver 2001:db8:0000:0000:0000:0000:0000:00000000000000000001\nnameserver ::2\n",
	  "::2 5 2" },
	/* options */
	{ "options timeout:1 attempts:3 rotate\n", "1 3 rotate" },
	{ "options timeout:0 attempts:0\n", "1 1" },
	{ "options timeout:30 attempts:5\n", "30 5" },
	{ "options timeout:31 attempts:6\n", "30 5" },
	{ "options timeout:99999999999999999999\n", "30 2" },
	{ "options timeout: attempts:x timeout:-1 timeout:3s timeouts:4 xtimeout:4\n", "5 2" },
	{ "options edns0 trust-ad\noptions timeout:2\n", "2 2" },
	{ "options timeout:2\noptions timeout:4 ndots:1\n", "4 2" },
	{ "options\toff\n options timeout:2\noption timeout:2\n", "5 2" },
};

START_TEST(a_text_is_read)
{
	const char *text = texts[_i].text;
	struct resolvconf c;

	resolvconf_read(&c, fixture_exact_copy(text, strlen(text)), strlen(text));
	ck_assert_msg(strcmp(show(&c), texts[_i].result) == 0, "\"%s\": %s, not %s", text, show(&c),
		      texts[_i].result);
}
END_TEST

START_TEST(a_nul_byte_ends_no_address)
{
	static const char text[] =
		"nameserver 192.0.2.1\0x\nnameserver fe80::1%a\0b\nnameserver ::2";
	struct resolvconf c;

	resolvconf_read(&c, text, sizeof(text) - 1);
	ck_assert_str_eq(show(&c), "::2 5 2");
}
END_TEST

START_TEST(servers_differ_by_address_and_zone)
{
	static const char text[] =
		"nameserver fe80::1%a\nnameserver fe80::1%b\nnameserver fe80::2%a";
	struct resolvconf c;

	resolvconf_read(&c, text, sizeof(text) - 1);
	for (size_t i = 0; i < c.count; i++)
		for (size_t j = 0; j < c.count; j++)
			ck_assert(resolvconf_is_same(&c.servers[i], &c.servers[j]) == (i == j));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("resolvconf");
	TCase *tc = fixture_case("resolvconf");

	tcase_add_loop_test(tc, a_text_is_read, 0, COUNT(texts));
	tcase_add_test(tc, a_nul_byte_ends_no_address);
	tcase_add_test(tc, servers_differ_by_address_and_zone);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
