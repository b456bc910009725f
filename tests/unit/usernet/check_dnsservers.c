/* SPDX-License-Identifier: Apache-2.0 */

/* The list of the host's name servers: following resolv.conf(5), and which server comes when. */
#include "tests/unit/capturedlog.h"
#include "tests/unit/loopclock.h"
#include "usernet/dnsservers.h"

#include "base/clock.h"

#define PORT 53

static struct dnsservers *servers;
static char conf_path[PATH_MAX];

static void write_conf(const char *text)
{
	fixture_file("resolv.conf", text, 0644);
}

static void begin(const char *text)
{
	snprintf(conf_path, sizeof(conf_path), "%s", fixture_path("resolv.conf"));
	servers = dnsservers_new(conf_path);
	ck_assert_ptr_nonnull(servers);
	if (text != NULL)
		write_conf(text);
}

static void end(void)
{
	dnsservers_free(servers);
	servers = NULL;
}

static void wait_for_reading(void)
{
	skipped_ms += DNSSERVERS_READ_MS + 50;
}

static const char *show_list(const struct resolvconf *conf)
{
	static char buf[256];
	char ip[INET6_ADDRSTRLEN];

	buf[0] = '\0';
	for (size_t i = 0; i < conf->count; i++)
		snprintf(buf + strlen(buf), sizeof(buf) - strlen(buf), "%s%s", i > 0 ? " " : "",
			 ipaddr_text(&conf->servers[i].ip, ip, sizeof(ip)));
	return buf;
}

static const char *list(void)
{
	struct resolvconf conf;

	dnsservers_get(servers, &conf);
	return show_list(&conf);
}

/* For connections */
static const char *addresses_of_all(void)
{
	static char buf[256];
	struct sockaddr_storage to;
	struct ipaddr ip;

	buf[0] = '\0';
	for (size_t i = 0; dnsservers_address(servers, i, PORT, &to) > 0; i++) {
		char text[INET6_ADDRSTRLEN];

		ck_assert_int_eq(ipaddr_from_sockaddr(&ip, &to), PORT);
		snprintf(buf + strlen(buf), sizeof(buf) - strlen(buf), "%s%s", i > 0 ? " " : "",
			 ipaddr_text(&ip, text, sizeof(text)));
	}
	return buf;
}

static void after_change(const char *wanted)
{
	wait_for_reading();
	ck_assert_str_eq(list(), wanted);
}

/* ---- the file ---- */

START_TEST(a_changed_file_is_followed)
{
	begin("nameserver 10.0.0.1\n");
	ck_assert_str_eq(list(), "10.0.0.1");
	write_conf("nameserver 10.0.0.2\n"); /* of the same size, in the same millisecond */
	after_change("10.0.0.2");
	write_conf("nameserver 10.0.0.2\nnameserver ::1\n");
	after_change("10.0.0.2 ::1");
	ck_assert_int_eq(unlink(conf_path), 0);
	after_change("");
	write_conf("nameserver 10.0.0.3\n");
	after_change("10.0.0.3");
}
END_TEST

START_TEST(a_replaced_file_is_followed)
{
	begin("nameserver 10.0.0.1\n");
	ck_assert_str_eq(list(), "10.0.0.1");
	ck_assert_int_eq(rename(fixture_file("new", "nameserver 10.0.0.2\n", 0600), conf_path), 0);
	after_change("10.0.0.2");
}
END_TEST

/* As systemd-resolved and NetworkManager do */
START_TEST(a_symbolic_link_is_followed)
{
	begin(NULL);
	fixture_file("a", "nameserver 10.0.0.1\n", 0600);
	fixture_file("b", "nameserver 10.0.0.2\n", 0600);
	ck_assert_int_eq(symlink("a", conf_path), 0);
	ck_assert_str_eq(list(), "10.0.0.1");
	fixture_file("a", "nameserver 10.0.0.9\n", 0600);
	after_change("10.0.0.9");
	ck_assert_int_eq(unlink(conf_path), 0);
	ck_assert_int_eq(symlink("b", conf_path), 0);
	after_change("10.0.0.2");
	ck_assert_int_eq(unlink(fixture_path("b")), 0);
	after_change("");
}
END_TEST

START_TEST(the_file_is_not_read_for_each_query)
{
	begin("nameserver 10.0.0.1\n");
	ck_assert_str_eq(list(), "10.0.0.1");
	write_conf("nameserver 10.0.0.2\n");
	skipped_ms += DNSSERVERS_READ_MS / 2;
	ck_assert_str_eq(list(), "10.0.0.1");
	ck_assert_str_eq(addresses_of_all(), "10.0.0.1");
	wait_for_reading();
	ck_assert_str_eq(addresses_of_all(), "10.0.0.2");
}
END_TEST

START_TEST(the_end_of_a_huge_file_is_ignored)
{
	static char text[40000];
	size_t n = (size_t)sprintf(text, "nameserver 10.0.0.1\n");

	memset(text + n, '#', sizeof(text) - 1 - n);
	memcpy(text + sizeof(text) - 30, "\nnameserver 10.0.0.2\n", 21);
	begin(text);
	ck_assert_str_eq(list(), "10.0.0.1");
}
END_TEST

/* ---- no servers ---- */

static void make_nothing(const char *path)
{
	(void)path;
}

static void make_unreadable(const char *path)
{
	fixture_file("resolv.conf", "nameserver 10.0.0.1\n", 0);
	ck_assert_int_eq(chmod(path, 0), 0);
}

static void make_directory(const char *path)
{
	ck_assert_int_eq(mkdir(path, 0755), 0);
}

static void make_dangling(const char *path)
{
	ck_assert_int_eq(symlink("nowhere", path), 0);
}

static void make_empty(const char *path)
{
	(void)path;
	write_conf("");
}

static void make_without_servers(const char *path)
{
	(void)path;
	write_conf("search example.org\noptions timeout:1\n#nameserver 10.0.0.1\n");
}

static const struct {
	void (*make)(const char *path);
	const char *before, *after; /* of the path in the message */
} without[] = {
	{ make_nothing, "cannot read ", ": no such file or directory" },
	{ make_unreadable, "cannot read ", ": permission denied" },
	{ make_directory, "cannot read ", ": is a directory" },
	{ make_dangling, "cannot read ", ": no such file or directory" },
	{ make_empty, "", " has no nameserver line" },
	{ make_without_servers, "", " has no nameserver line" },
};

START_TEST(a_file_without_servers_is_reported)
{
	char line[2 * PATH_MAX];

	begin(NULL);
	without[_i].make(conf_path);
	snprintf(line, sizeof(line),
		 "level=warning msg=\"[rootlesskit:parent] programs inside cannot look up names: "
		 "%s%s%s\"",
		 without[_i].before, conf_path, without[_i].after);
	capture_log(false);
	fixture_drop_root();
	ck_assert_str_eq(list(), "");
	wait_for_reading();
	ck_assert_str_eq(addresses_of_all(), "");
	fixture_regain_root();
	ck_assert_msg(strstr(read_log(), line) != NULL, "%s: %s", line, read_log());
	ck_assert_ptr_null(strchr(strchr(read_log(), '\n') + 1, '\n')); /* one line a minute */
	release_log();
}
END_TEST

/* ---- which server comes when ---- */

START_TEST(rotation_begins_with_each_in_turn)
{
	begin("nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\noptions rotate\n");
	ck_assert_str_eq(list(), "10.0.0.1 10.0.0.2 10.0.0.3");
	ck_assert_str_eq(list(), "10.0.0.2 10.0.0.3 10.0.0.1");
	ck_assert_str_eq(list(), "10.0.0.3 10.0.0.1 10.0.0.2");
	ck_assert_str_eq(list(), "10.0.0.1 10.0.0.2 10.0.0.3");
	write_conf("options rotate\n");
	after_change("");
}
END_TEST

/* Connections ask for the same list several times. */
START_TEST(connections_do_not_rotate)
{
	begin("nameserver 10.0.0.1\nnameserver 10.0.0.2\noptions rotate\n");
	ck_assert_str_eq(addresses_of_all(), "10.0.0.1 10.0.0.2");
	ck_assert_str_eq(list(), "10.0.0.1 10.0.0.2");
	ck_assert_str_eq(addresses_of_all(), "10.0.0.1 10.0.0.2");
}
END_TEST

static struct resolvconf get(void)
{
	struct resolvconf conf;

	dnsservers_get(servers, &conf);
	return conf;
}

static unsigned int wait_for(size_t i, unsigned int attempt)
{
	const struct resolvconf conf = get();

	return dnsservers_wait_ms(servers, &conf, &conf.servers[i], attempt);
}

static const struct {
	const char *options;
	size_t servers;
	unsigned int waits_ms[4]; /* of each round */
} waits[] = {
	{ "", 1, { 5000, 10000, 20000, 30000 } },
	{ "", 2, { DNSSERVERS_FIRST_MS, 5000, 10000, 20000 } },
	{ "", 3, { DNSSERVERS_FIRST_MS, 3000, 6000, 13000 } },
	{ "options timeout:1", 1, { 1000, 2000, 4000, 8000 } },
	{ "options timeout:1", 3, { 1000, 1000, 1000, 2000 } },
	{ "options timeout:30", 1, { 30000, 30000, 30000, 30000 } },
	{ "options timeout:30", 2, { DNSSERVERS_FIRST_MS, 30000, 30000, 30000 } },
};

START_TEST(waiting_times_are_those_of_the_host)
{
	char text[256] = "";

	for (size_t i = 0; i < waits[_i].servers; i++)
		sprintf(text + strlen(text), "nameserver 10.0.0.%zu\n", i);
	strcat(text, waits[_i].options);
	begin(text);
	for (unsigned int attempt = 0; attempt < 4; attempt++)
		ck_assert_uint_eq(wait_for(0, attempt), waits[_i].waits_ms[attempt]);
}
END_TEST

static void time_out(size_t i)
{
	const struct resolvconf conf = get();

	dnsservers_on_timeout(servers, &conf.servers[i], clock_now_ms());
}

static void answer(size_t i)
{
	const struct resolvconf conf = get();

	dnsservers_on_answer(servers, &conf.servers[i]);
}

START_TEST(a_silent_server_gets_less_time)
{
	begin("nameserver 10.0.0.1\nnameserver 10.0.0.2\n");
	time_out(0);
	ck_assert_uint_eq(wait_for(0, 0), DNSSERVERS_SUSPECT_MS);
	ck_assert_uint_eq(wait_for(0, 1), 5000); /* in the last resort it gets more */
	ck_assert_uint_eq(wait_for(1, 0), DNSSERVERS_FIRST_MS);
	ck_assert_str_eq(list(), "10.0.0.1 10.0.0.2"); /* but stays the first */
	ck_assert_str_eq(addresses_of_all(), "10.0.0.1 10.0.0.2");
	time_out(1);
	answer(0);
	ck_assert_uint_eq(wait_for(0, 0), DNSSERVERS_FIRST_MS);
	ck_assert_uint_eq(wait_for(1, 0), DNSSERVERS_SUSPECT_MS);
}
END_TEST

START_TEST(the_only_server_keeps_its_time)
{
	begin("nameserver 10.0.0.1\n");
	time_out(0);
	ck_assert_uint_eq(wait_for(0, 0), 5000);
}
END_TEST

/* A name of which the server itself gets no answer must not lead other queries away from it. */
START_TEST(a_server_that_answers_others_is_not_silent)
{
	unsigned long long sent_ms;
	struct resolvconf conf;

	begin("nameserver 10.0.0.1\nnameserver 10.0.0.2\n");
	conf = get();
	sent_ms = clock_now_ms();
	skipped_ms += 10;
	answer(0);
	dnsservers_on_timeout(servers, &conf.servers[0], sent_ms);
	ck_assert_uint_eq(wait_for(0, 0), DNSSERVERS_FIRST_MS);
	skipped_ms += 10;
	time_out(0);
	ck_assert_uint_eq(wait_for(0, 0), DNSSERVERS_SUSPECT_MS);
}
END_TEST

START_TEST(what_is_known_outlives_a_change_of_the_file)
{
	struct resolvconf old;

	begin("nameserver 10.0.0.1\nnameserver 10.0.0.2\n");
	time_out(0);
	write_conf("nameserver 10.0.0.3\nnameserver 10.0.0.1\n");
	wait_for_reading();
	ck_assert_uint_eq(wait_for(0, 0), DNSSERVERS_FIRST_MS);
	ck_assert_uint_eq(wait_for(1, 0), DNSSERVERS_SUSPECT_MS);
	/* A query may outlive its server. */
	old = get();
	write_conf("nameserver 10.0.0.4\n");
	wait_for_reading();
	ck_assert_str_eq(list(), "10.0.0.4");
	dnsservers_on_answer(servers, &old.servers[0]);
	dnsservers_on_timeout(servers, &old.servers[0], clock_now_ms());
	ck_assert_uint_eq(dnsservers_wait_ms(servers, &old, &old.servers[0], 0),
			  DNSSERVERS_FIRST_MS);
	ck_assert_str_eq(addresses_of_all(), "10.0.0.4");
}
END_TEST

/* ---- several queues ---- */

static void *use(void *arg)
{
	(void)arg;
	for (int i = 0; i < 2000; i++) {
		const struct resolvconf conf = get();

		ck_assert_uint_eq(conf.count, 2);
		dnsservers_on_timeout(servers, &conf.servers[i % 2], clock_now_ms());
		dnsservers_on_answer(servers, &conf.servers[i % 2]);
		skipped_ms += i % 100 == 0 ? DNSSERVERS_READ_MS : 0;
	}
	return NULL;
}

/* For the thread sanitizer */
START_TEST(queues_share_the_list)
{
	pthread_t threads[3];

	begin("nameserver 10.0.0.1\nnameserver 10.0.0.2\n");
	for (int i = 0; i < COUNT(threads); i++)
		threads[i] = fixture_thread(use, NULL);
	for (int i = 0; i < COUNT(threads); i++)
		pthread_join(threads[i], NULL);
	ck_assert_str_eq(list(), "10.0.0.1 10.0.0.2");
}
END_TEST

/* ---- addresses ---- */

static const struct {
	const char *line;
	sa_family_t family;
	int scope; /* -1: of the interface lo */
} addresses[] = {
	{ "nameserver 192.0.2.1", AF_INET, 0 },
	{ "nameserver 2001:db8::1", AF_INET6, 0 },
	{ "nameserver fe80::1%lo", AF_INET6, -1 },
	{ "nameserver fe80::1%4711", AF_INET6, 4711 },
	{ "nameserver fe80::1%nosuchlink", AF_INET6, 0 },
	{ "nameserver fe80::1", AF_INET6, 0 },
};

START_TEST(an_address_has_its_zone)
{
	const struct sockaddr_in6 *v6;
	struct sockaddr_storage to;
	unsigned int scope = addresses[_i].scope < 0 ? if_nametoindex("lo")
						     : (unsigned int)addresses[_i].scope;

	begin(addresses[_i].line);
	memset(&to, 0xff, sizeof(to));
	ck_assert_uint_eq(dnsservers_address(servers, 0, PORT, &to),
			  addresses[_i].family == AF_INET ? sizeof(struct sockaddr_in)
							  : sizeof(struct sockaddr_in6));
	ck_assert_uint_eq(to.ss_family, addresses[_i].family);
	v6 = (const struct sockaddr_in6 *)&to;
	if (to.ss_family == AF_INET6)
		ck_assert_uint_eq(v6->sin6_scope_id, scope);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("dnsservers");
	TCase *tc = fixture_case_with_dir("dnsservers");

	tcase_add_checked_fixture(tc, NULL, end);
	tcase_add_test(tc, a_changed_file_is_followed);
	tcase_add_test(tc, a_replaced_file_is_followed);
	tcase_add_test(tc, a_symbolic_link_is_followed);
	tcase_add_test(tc, the_file_is_not_read_for_each_query);
	tcase_add_test(tc, the_end_of_a_huge_file_is_ignored);
	tcase_add_loop_test(tc, a_file_without_servers_is_reported, 0, COUNT(without));
	tcase_add_test(tc, rotation_begins_with_each_in_turn);
	tcase_add_test(tc, connections_do_not_rotate);
	tcase_add_loop_test(tc, waiting_times_are_those_of_the_host, 0, COUNT(waits));
	tcase_add_test(tc, a_silent_server_gets_less_time);
	tcase_add_test(tc, the_only_server_keeps_its_time);
	tcase_add_test(tc, a_server_that_answers_others_is_not_silent);
	tcase_add_test(tc, what_is_known_outlives_a_change_of_the_file);
	tcase_add_test(tc, queues_share_the_list);
	tcase_add_loop_test(tc, an_address_has_its_zone, 0, COUNT(addresses));
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
