/* SPDX-License-Identifier: Apache-2.0 */

/* The port table, on top of a port driver that opens no sockets. */
#include "tests/unit/fakedriver.h"

#include "formats/portspec.h"
#include "ports/ports.h"

#define WAIT_MS	   1234
#define MANY	   1000
#define FIRST_PORT 1000

static struct ports *ports;
static struct err e;
static int stuck; /* calls of on_stuck */

static void on_stuck(void *arg)
{
	ck_assert_ptr_eq(arg, &stuck);
	stuck++;
}

static void open_table(void)
{
	static const struct port_setup setup = { .workers = 1,
						 .on_stuck = on_stuck,
						 .arg = &stuck };

	stuck = 0;
	fake_driver = (struct fake_driver){ 0 };
	ck_assert_int_eq(ports_new(&ports, &fake_portdriver, &setup, &e), 0);
	ck_assert_ptr_eq(fake_driver.setup, &setup);
}

static void close_table(void)
{
	fake_driver.is_busy = false;
	ck_assert(ports_free(ports, WAIT_MS));
}

/* Returns the ID of the new port, or -errno. */
static int add(const char *text)
{
	struct portspec spec;

	ck_assert_msg(portspec_parse(&spec, text, &e) == 0, "%s", e.msg);
	return ports_add(ports, &spec, &e);
}

/* Adds ports with the IDs 1 to `count`, and parent ports from FIRST_PORT + 1. */
static void add_many(int count)
{
	char text[32];

	for (int id = 1; id <= count; id++) {
		snprintf(text, sizeof(text), ":%d:80/tcp", FIRST_PORT + id);
		ck_assert_int_eq(add(text), id);
	}
}

/* Asserts that the table has exactly these IDs, in this order; 0 ends the list. */
static void assert_ids(const int *ids)
{
	size_t count = 0;

	for (; ids[count] != 0; count++) {
		ck_assert_uint_lt(count, ports_count(ports));
		ck_assert_int_eq(ports_at(ports, count)->id, ids[count]);
	}
	ck_assert_uint_eq(ports_count(ports), count);
	ck_assert_uint_eq(fake_driver.open_count, count);
}

#define ASSERT_IDS(...) assert_ids((const int[]){ __VA_ARGS__ __VA_OPT__(, ) 0 })

START_TEST(a_new_port_gets_the_next_id)
{
	ASSERT_IDS();
	ck_assert_int_eq(add("127.0.0.1:80:8080/tcp"), 1);
	ck_assert_int_eq(fake_driver.last.id, 1);
	ck_assert_int_eq(fake_driver.last.spec.parent_port, 80);
	ck_assert_int_eq(fake_driver.last.spec.child_port, 8080);
	ck_assert_int_eq(add(":81:81/udp"), 2);
	ASSERT_IDS(1, 2);
	ck_assert_str_eq(ports_at(ports, 0)->spec.parent_ip, "127.0.0.1");
	ck_assert_int_eq(ports_at(ports, 1)->spec.proto, PROTO_UDP);
}
END_TEST

START_TEST(an_id_is_never_used_again)
{
	for (int id = 1; id <= 3; id++) {
		ck_assert_int_eq(add(":80:80/tcp"), id);
		ck_assert_int_eq(ports_remove(ports, id, &e), 0);
	}
	ASSERT_IDS();
	ck_assert_int_eq(add(":80:80/tcp"), 4);
}
END_TEST

START_TEST(a_failed_open_uses_no_id_and_leaves_no_entry)
{
	fake_driver.fails_with = EACCES;
	ck_assert_int_eq(add(":80:80/tcp"), -EACCES);
	ck_assert_str_eq(e.msg, "the fake driver fails");
	ASSERT_IDS();
	fake_driver.fails_with = 0;
	ck_assert_int_eq(add(":80:80/tcp"), 1);
}
END_TEST

/* Pairs of specs of which the second is added after the first. */
static const struct {
	const char *first, *second;
	const char *conflict; /* NULL: there is none */
} pairs[] = {
	{ ":80:80/tcp", ":80:80/tcp", "conflict with ID 1; that is :80:80/tcp" },
	{ ":80:80/tcp", ":80:1.2.3.4:81/tcp", "conflict with ID 1; that is :80:80/tcp" },
	{ "1.2.3.4:80:80/udp", "1.2.3.4:80:90/udp",
	  "conflict with ID 1; that is 1.2.3.4:80:80/udp" },
	{ ":80:80/tcp", ":81:80/tcp", NULL },
	{ ":80:80/tcp", ":80:80/udp", NULL },
	{ ":80:80/tcp4", ":80:80/tcp6", NULL },
	{ ":80:80/tcp", "0.0.0.0:80:80/tcp", NULL }, /* the driver finds out */
	{ "127.0.0.1:80:80/tcp", "127.0.0.2:80:80/tcp", NULL },
};

START_TEST(a_second_port_with_the_same_parent_address_is_a_conflict)
{
	ck_assert_int_eq(add(pairs[_i].first), 1);
	if (pairs[_i].conflict == NULL) {
		ck_assert_int_eq(add(pairs[_i].second), 2);
		return;
	}
	ck_assert_int_eq(add(pairs[_i].second), -EEXIST);
	ck_assert_str_eq(e.msg, pairs[_i].conflict);
	ck_assert_uint_eq(fake_driver.opened, 1);
	ck_assert_int_eq(ports_remove(ports, 1, &e), 0);
	ck_assert_int_eq(add(pairs[_i].second), 2);
}
END_TEST

/* The driver finds the address in use. Which of the launcher's own ports can be the reason? */
static const struct {
	const char *first, *second;
	const char *reason;
} users[] = {
	{ ":80:80/tcp", "127.0.0.1:80:80/tcp4",
	  "the fake driver fails; ID 1 of this launcher is :80:80/tcp" },
	{ ":80:80/udp", ":80:80/udp6",
	  "the fake driver fails; ID 1 of this launcher is :80:80/udp" },
	{ ":80:80/tcp", ":80:80/udp", "the fake driver fails" },
	{ ":80:80/tcp", ":81:80/tcp", "the fake driver fails" },
};

START_TEST(an_address_in_use_names_the_port_that_may_use_it)
{
	ck_assert_int_eq(add(users[_i].first), 1);
	fake_driver.fails_with = EADDRINUSE;
	ck_assert_int_eq(add(users[_i].second), -EADDRINUSE);
	ck_assert_str_eq(e.msg, users[_i].reason);
	ASSERT_IDS(1);
}
END_TEST

START_TEST(an_address_in_use_names_no_port_with_another_number)
{
	ck_assert_int_eq(add(":81:80/tcp"), 1);
	ck_assert_int_eq(add(":80:80/udp"), 2);
	fake_driver.fails_with = EADDRINUSE;
	ck_assert_int_eq(add(":80:80/tcp"), -EADDRINUSE);
	ck_assert_str_eq(e.msg, "the fake driver fails");
}
END_TEST

START_TEST(a_conflict_is_found_after_a_port_with_the_same_number_was_removed)
{
	ck_assert_int_eq(add(":80:80/tcp"), 1);
	ck_assert_int_eq(add(":80:80/udp"), 2);
	ck_assert_int_eq(ports_remove(ports, 1, &e), 0);
	ck_assert_int_eq(add(":80:80/udp"), -EEXIST);
}
END_TEST

START_TEST(a_removed_port_is_closed_and_the_others_stay)
{
	add_many(4);
	ck_assert_int_eq(ports_remove(ports, 2, &e), 0);
	ck_assert_int_eq(fake_driver.last.id, 2);
	ck_assert_int_eq(fake_driver.last_number, 20);
	ASSERT_IDS(1, 3, 4);
	ck_assert_int_eq(ports_at(ports, 1)->spec.parent_port, FIRST_PORT + 3);
	ck_assert_int_eq(ports_remove(ports, 4, &e), 0);
	ck_assert_int_eq(fake_driver.last_number, 40);
	ASSERT_IDS(1, 3);
}
END_TEST

static const int unknown_ids[] = { 0, -1, 1, 2, 4, INT_MAX, INT_MIN };

START_TEST(an_unknown_id_cannot_be_removed)
{
	char reason[64];

	add_many(3);
	ck_assert_int_eq(ports_remove(ports, 1, &e), 0);
	ck_assert_int_eq(ports_remove(ports, 2, &e), 0);
	ck_assert_int_eq(ports_remove(ports, unknown_ids[_i], &e), -ENOENT);
	snprintf(reason, sizeof(reason), "unknown id: %d", unknown_ids[_i]);
	ck_assert_str_eq(e.msg, reason);
	ASSERT_IDS(3);
}
END_TEST

START_TEST(a_port_that_cannot_be_closed_stays_in_the_table)
{
	ck_assert_int_eq(add(":80:80/tcp"), 1);
	fake_driver.fails_with = EIO;
	ck_assert_int_eq(ports_remove(ports, 1, &e), -EIO);
	ck_assert_str_eq(e.msg, "the fake driver fails");
	ASSERT_IDS(1);
	ck_assert_int_eq(add(":80:80/tcp"), -EEXIST);
	fake_driver.fails_with = 0;
	ck_assert_int_eq(ports_remove(ports, 1, &e), 0);
}
END_TEST

/* Entries keep their order and the driver's data. */
START_TEST(the_table_grows)
{
	add_many(MANY);
	ck_assert_uint_eq(ports_count(ports), MANY);
	for (int id = 1; id <= MANY; id++) {
		ck_assert_int_eq(ports_at(ports, (size_t)id - 1)->id, id);
		ck_assert_int_eq(ports_at(ports, (size_t)id - 1)->spec.parent_port,
				 FIRST_PORT + id);
	}
	ports_restore(ports); /* fake_forget checks the data */
	ck_assert_uint_eq(fake_driver.forgotten, MANY);
	for (int id = MANY; id >= 1; id--) {
		ck_assert_int_eq(ports_remove(ports, id, &e), 0);
		ck_assert_int_eq(fake_driver.last_number, id * 10);
	}
	ASSERT_IDS();
}
END_TEST

START_TEST(restore_opens_all_ports_again)
{
	add_many(3);
	ports_remove(ports, 2, &e);
	ports_restore(ports);
	ck_assert_uint_eq(fake_driver.forgotten, 2);
	ck_assert_uint_eq(fake_driver.opened, 3 + 2);
	ck_assert_int_eq(fake_driver.last.id, 3);
	ASSERT_IDS(1, 3);
}
END_TEST

/* The second of three ports cannot be opened again. Is the third one tried? */
static const struct {
	int error;
	size_t opened;
} lost[] = { { EADDRINUSE, 2 }, { EREMOTEIO, 2 }, { ENOTCONN, 1 }, { ETIMEDOUT, 1 } };

START_TEST(restore_goes_on_after_a_failure_unless_the_program_is_gone)
{
	add_many(3);
	fake_driver.opened = 0;
	fake_driver.fails_with = lost[_i].error;
	fake_driver.fails_at = 2;
	ports_restore(ports);
	ck_assert_uint_eq(fake_driver.forgotten, 3);
	ck_assert_uint_eq(fake_driver.opened, lost[_i].opened);
	ck_assert_int_eq(stuck, lost[_i].error == ETIMEDOUT);
	ck_assert_uint_eq(ports_count(ports), 3); /* for the next restore */
}
END_TEST

START_TEST(a_network_program_that_does_not_answer_is_restarted)
{
	ck_assert_int_eq(add(":80:80/tcp"), 1);
	fake_driver.fails_with = ENOTCONN;
	ck_assert_int_eq(add(":81:80/tcp"), -ENOTCONN);
	ck_assert_int_eq(stuck, 0);
	fake_driver.fails_with = ETIMEDOUT;
	ck_assert_int_eq(add(":81:80/tcp"), -ETIMEDOUT);
	ck_assert_int_eq(stuck, 1);
	ck_assert_int_eq(ports_remove(ports, 1, &e), -ETIMEDOUT);
	ck_assert_int_eq(stuck, 2);
}
END_TEST

START_TEST(a_failed_driver_is_reported)
{
	ck_assert(!ports_failed(ports));
	fake_driver.has_failed = true;
	ck_assert(ports_failed(ports));
	ck_assert(!ports_failed(NULL));
}
END_TEST

START_TEST(the_drivers_properties_are_those_of_the_table)
{
	ck_assert_ptr_eq(ports_protos(ports), fake_protos);
	ck_assert(ports_disallows_loopback(ports));
	ck_assert_ptr_null(ports_source_ip_backend(ports));
	fake_driver.source_ip_backend = "nft";
	ck_assert_str_eq(ports_source_ip_backend(ports), "nft");
}
END_TEST

START_TEST(a_table_with_a_running_worker_is_freed_later)
{
	add_many(2);
	fake_driver.is_busy = true;
	ck_assert(!ports_free(ports, WAIT_MS));
	ck_assert_uint_eq(fake_driver.freed_with, 2);
	ck_assert_uint_eq(fake_driver.freed_ms, WAIT_MS);
	ck_assert_uint_eq(ports_count(ports), 2); /* it is still there */
}
END_TEST

/* ---- without the table above ---- */

START_TEST(a_driver_that_cannot_start_gives_its_reason)
{
	struct ports *none = NULL;

	fake_driver = (struct fake_driver){ .fails_with = ENOSYS };
	ck_assert_int_eq(ports_new(&none, &fake_portdriver, &(struct port_setup){ 0 }, &e),
			 -ENOSYS);
	ck_assert_str_eq(e.msg, "the fake driver fails");
	ck_assert_ptr_null(none);
}
END_TEST

START_TEST(a_driver_may_do_without_optional_functions)
{
	struct portdriver driver = fake_portdriver;
	struct ports *plain;

	fake_driver = (struct fake_driver){ .has_failed = true };
	driver.forget = NULL;
	driver.failed = NULL;
	driver.source_ip_backend = NULL;
	ck_assert_int_eq(ports_new(&plain, &driver, &(struct port_setup){ 0 }, &e), 0);
	ports_restore(plain);
	ck_assert(!ports_failed(plain));
	ck_assert_ptr_null(ports_source_ip_backend(plain));
	fake_driver.fails_with = ETIMEDOUT; /* not the network program's: on_stuck is NULL */
	ck_assert_int_eq(ports_add(plain, &(struct portspec){ .parent_port = 80 }, &e), -ETIMEDOUT);
	ck_assert(ports_free(plain, 0));
}
END_TEST

START_TEST(no_table_is_freed_at_once)
{
	ck_assert(ports_free(NULL, WAIT_MS));
}
END_TEST

/* ---- another child IP ---- */

START_TEST(a_retarget_changes_the_child_ip_of_all_ports)
{
	add(":80:80/tcp");
	add("127.0.0.1:81:10.0.0.2:81/udp");
	ck_assert_int_eq(ports_retarget(ports, "10.0.0.2", &e), 0);
	/* The second port leads there already. */
	ck_assert_uint_eq(fake_driver.retargeted, 1);
	ck_assert_int_eq(fake_driver.last.id, 1);
	ck_assert_int_eq(ports_retarget(ports, "", &e), 0);
	ck_assert_uint_eq(fake_driver.retargeted, 3);
	ck_assert_int_eq(ports_retarget(ports, "fd00::2", &e), 0);
	ck_assert_uint_eq(fake_driver.retargeted, 5);
	ASSERT_IDS(1, 2);
	ck_assert_str_eq(ports_at(ports, 0)->spec.child_ip, "fd00::2");
	ck_assert_str_eq(ports_at(ports, 1)->spec.child_ip, "fd00::2");
	ck_assert_str_eq(ports_at(ports, 1)->spec.parent_ip, "127.0.0.1");
}
END_TEST

START_TEST(a_port_that_cannot_be_retargeted_leaves_the_table)
{
	add(":80:80/tcp");
	add(":81:10.0.0.2:81/tcp");
	add(":82:82/tcp");
	fake_driver.fails_with = ENOMEM;
	ck_assert_int_eq(ports_retarget(ports, "10.0.0.2", &e), -ENOMEM);
	ck_assert_str_eq(e.msg, "the fake driver fails");
	ASSERT_IDS(2);
	fake_driver.fails_with = 0;
	ck_assert_int_eq(add(":80:80/tcp"), 4);
}
END_TEST

START_TEST(a_wrong_child_ip_changes_nothing)
{
	struct portdriver driver = fake_portdriver;
	struct ports *plain;

	add(":80:80/tcp");
	ck_assert_int_eq(ports_retarget(ports, "foo", &e), -EINVAL);
	ck_assert_str_eq(e.msg, "invalid ChildIP: \"foo\"");
	ck_assert_uint_eq(fake_driver.retargeted, 0);
	ASSERT_IDS(1);
	driver.retarget = NULL;
	ck_assert_int_eq(ports_new(&plain, &driver, &(struct port_setup){ 0 }, &e), 0);
	ck_assert_int_eq(ports_retarget(plain, "10.0.0.2", &e), -ENOTSUP);
	ck_assert(ports_free(plain, 0));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ports");
	TCase *tc = fixture_case("table");
	TCase *start = fixture_case("start");

	tcase_add_checked_fixture(tc, open_table, close_table);
	tcase_add_test(tc, a_new_port_gets_the_next_id);
	tcase_add_test(tc, an_id_is_never_used_again);
	tcase_add_test(tc, a_failed_open_uses_no_id_and_leaves_no_entry);
	tcase_add_loop_test(tc, a_second_port_with_the_same_parent_address_is_a_conflict, 0,
			    COUNT(pairs));
	tcase_add_loop_test(tc, an_address_in_use_names_the_port_that_may_use_it, 0, COUNT(users));
	tcase_add_test(tc, an_address_in_use_names_no_port_with_another_number);
	tcase_add_test(tc, a_conflict_is_found_after_a_port_with_the_same_number_was_removed);
	tcase_add_test(tc, a_removed_port_is_closed_and_the_others_stay);
	tcase_add_loop_test(tc, an_unknown_id_cannot_be_removed, 0, COUNT(unknown_ids));
	tcase_add_test(tc, a_port_that_cannot_be_closed_stays_in_the_table);
	tcase_add_test(tc, the_table_grows);
	tcase_add_test(tc, restore_opens_all_ports_again);
	tcase_add_loop_test(tc, restore_goes_on_after_a_failure_unless_the_program_is_gone, 0,
			    COUNT(lost));
	tcase_add_test(tc, a_retarget_changes_the_child_ip_of_all_ports);
	tcase_add_test(tc, a_port_that_cannot_be_retargeted_leaves_the_table);
	tcase_add_test(tc, a_wrong_child_ip_changes_nothing);
	tcase_add_test(tc, a_network_program_that_does_not_answer_is_restarted);
	tcase_add_test(tc, a_failed_driver_is_reported);
	tcase_add_test(tc, the_drivers_properties_are_those_of_the_table);
	tcase_add_test(tc, a_table_with_a_running_worker_is_freed_later);
	suite_add_tcase(s, tc);
	tcase_add_test(start, a_driver_that_cannot_start_gives_its_reason);
	tcase_add_test(start, a_driver_may_do_without_optional_functions);
	tcase_add_test(start, no_table_is_freed_at_once);
	suite_add_tcase(s, start);
	return fixture_run(s);
}
