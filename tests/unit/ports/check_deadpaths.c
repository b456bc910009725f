/* SPDX-License-Identifier: Apache-2.0 */

/* The list of dead paths, with the settable clock of loopclock.h. */
#include "tests/unit/addresses.h"
#include "tests/unit/loopclock.h"

#include "ports/deadpaths.h"

#define MINUTE_MS 60000 /* how long a path counts as dead */
#define PORT	  80
#define TARGET	  "10.0.2.100"
#define TARGET6	  "fd00::100"

static struct deadpaths dead;

static void clear_list(void)
{
	memset(&dead, 0, sizeof(dead));
}

static bool is_dead(const char *from, const char *to, int port)
{
	struct sockaddr_storage client = address_of(from, 40000), target = address_of(to, port);

	return deadpaths_has(&dead, &client, &target);
}

static void note(const char *from, const char *to, int port)
{
	struct sockaddr_storage client = address_of(from, 50000), target = address_of(to, port);

	deadpaths_note(&dead, &client, &target);
}

static void forget(const char *from, const char *to, int port)
{
	struct sockaddr_storage client = address_of(from, 60000), target = address_of(to, port);

	deadpaths_forget(&dead, &client, &target);
}

static const struct {
	const char *from, *to;
	int port;
	bool is_dead;
} paths[] = {
	{ "192.0.2.7", TARGET, PORT, true },
	{ "192.0.2.255", TARGET, PORT, true }, /* the same network */
	{ "192.0.3.7", TARGET, PORT, false },
	{ "192.0.2.7", TARGET, PORT + 1, false },
	{ "192.0.2.7", "10.0.2.101", PORT, false },
	{ "2001:db8:1:2::7", TARGET6, PORT, true },
	{ "2001:db8:1:2:ffff::", TARGET6, PORT, true },
	{ "2001:db8:1:3::7", TARGET6, PORT, false },
	{ "2001:db8:1:2::7", TARGET6, PORT + 1, false },
	{ "2001:db8:1:2::7", "fd00::101", PORT, false },
};

START_TEST(a_path_is_dead_for_the_clients_network_and_one_target)
{
	ck_assert(!is_dead(paths[_i].from, paths[_i].to, paths[_i].port));
	note("192.0.2.7", TARGET, PORT);
	note("2001:db8:1:2::7", TARGET6, PORT);
	ck_assert(is_dead(paths[_i].from, paths[_i].to, paths[_i].port) == paths[_i].is_dead);
}
END_TEST

START_TEST(a_path_is_dead_for_a_minute)
{
	note("192.0.2.7", TARGET, PORT);
	skipped_ms += MINUTE_MS - 1000;
	ck_assert(is_dead("192.0.2.7", TARGET, PORT));
	skipped_ms += 2000;
	ck_assert(!is_dead("192.0.2.7", TARGET, PORT));
}
END_TEST

START_TEST(a_path_that_is_dead_again_is_dead_for_another_minute)
{
	note("192.0.2.7", TARGET, PORT);
	skipped_ms += MINUTE_MS - 1000;
	note("192.0.2.8", TARGET, PORT);
	skipped_ms += MINUTE_MS - 1000;
	ck_assert(is_dead("192.0.2.7", TARGET, PORT));
}
END_TEST

START_TEST(a_path_that_works_is_forgotten)
{
	note("192.0.2.7", TARGET, PORT);
	note("192.0.3.7", TARGET, PORT);
	forget("192.0.2.9", TARGET, PORT);
	ck_assert(!is_dead("192.0.2.7", TARGET, PORT));
	ck_assert(is_dead("192.0.3.7", TARGET, PORT));
	forget("198.51.100.1", TARGET, PORT); /* was not noted */
}
END_TEST

/* Notes a path from each of `count` networks to the target. */
static void note_networks(int first, int count)
{
	char from[sizeof("192.0.-2147483648.1")];

	for (int i = first; i < first + count; i++) {
		snprintf(from, sizeof(from), "192.0.%d.1", i);
		note(from, TARGET, PORT);
	}
}

START_TEST(a_target_with_dead_paths_to_eight_networks_is_dead_for_all)
{
	note_networks(0, 7);
	note_networks(0, 7); /* they count once */
	ck_assert(!is_dead("198.51.100.1", TARGET, PORT));
	note_networks(7, 1);
	ck_assert(is_dead("198.51.100.1", TARGET, PORT));
	ck_assert(!is_dead("198.51.100.1", TARGET, PORT + 1));
	skipped_ms += MINUTE_MS + 1;
	ck_assert(!is_dead("198.51.100.1", TARGET, PORT));
}
END_TEST

START_TEST(the_oldest_path_is_overwritten)
{
	char to[sizeof("10.0.0.-2147483648")];

	for (int i = 0; i <= DEADPATHS_MAX; i++) {
		snprintf(to, sizeof(to), "10.0.0.%d", i);
		note("192.0.2.1", to, PORT);
	}
	ck_assert(!is_dead("192.0.2.1", "10.0.0.0", PORT));
	for (int i = 1; i <= DEADPATHS_MAX; i++) {
		snprintf(to, sizeof(to), "10.0.0.%d", i);
		ck_assert(is_dead("192.0.2.1", to, PORT));
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("deadpaths");
	TCase *tc = fixture_case("deadpaths");

	tcase_add_checked_fixture(tc, clear_list, NULL);
	tcase_add_loop_test(tc, a_path_is_dead_for_the_clients_network_and_one_target, 0,
			    COUNT(paths));
	tcase_add_test(tc, a_path_is_dead_for_a_minute);
	tcase_add_test(tc, a_path_that_is_dead_again_is_dead_for_another_minute);
	tcase_add_test(tc, a_path_that_works_is_forgotten);
	tcase_add_test(tc, a_target_with_dead_paths_to_eight_networks_is_dead_for_all);
	tcase_add_test(tc, the_oldest_path_is_overwritten);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
