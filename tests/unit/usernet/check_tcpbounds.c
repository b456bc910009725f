/* SPDX-License-Identifier: Apache-2.0 */

/* The limits of TCP flows: how many there may be, and which one makes room for another. */
#include "tests/unit/usernet/tcpinside.h"

#include "usernet/tcpindex.h"

START_TEST(a_flood_of_syns_does_not_harm_established_connections)
{
	struct conn c[12], d;
	int hosts[12];

	for (int i = 0; i < 12; i++)
		hosts[i] = establish(&c[i]);
	open_slow();
	skip_ms(100000); /* all are idle */
	for (int i = 0; i < 200; i++) {
		d = conn_to(SERVER, slow.port);
		send_flags(&d, TH_SYN);
		ck_assert_uint_le(quota.used, MAX);
	}
	assert_quiet();
	ck_assert_uint_eq(quota.used, MAX);
	for (int i = 0; i < 12; i++)
		assert_works(&c[i], hosts[i]);
	for (int i = 0; i < 12; i++)
		close(hosts[i]);
	close_slow();
}
END_TEST

START_TEST(the_oldest_half_open_connection_makes_room)
{
	struct conn c[5];

	open_slow();
	for (int i = 0; i < 5; i++) {
		c[i] = conn_to(SERVER, slow.port);
		send_flags(&c[i], TH_SYN);
		settle();
	}
	ck_assert_uint_eq(quota.used, 4);
	/* only the oldest is forgotten */
	for (int i = 0; i < 5; i++) {
		send_at(&c[i], TH_ACK, c[i].seq, 7);
		if (i == 0)
			ck_assert_uint_eq(receive(&c[i]).flags, TH_RST);
	}
	assert_quiet();
	close_slow();
}
END_TEST

START_TEST(a_new_connection_pushes_out_the_one_idle_longest)
{
	struct conn c[13];
	int hosts[13];
	char byte;

	for (int i = 0; i < 12; i++)
		hosts[i] = establish(&c[i]);
	skip_ms(TCPINDEX_IDLE_MS / 2);
	for (int i = 0; i < 12; i++)
		if (i != 7)
			assert_works(&c[i], hosts[i]);
	skip_ms(TCPINDEX_IDLE_MS / 2);
	c[12] = conn_to(SERVER, port);
	send_flags(&c[12], TH_SYN);
	expect(&c[12], TH_SYN | TH_ACK);
	assert_quiet(); /* a mere SYN has not pushed one out */
	send_flags(&c[12], TH_ACK);
	expect(&c[7], TH_RST | TH_ACK);
	ck_assert_int_eq(read_host(hosts[7], &byte, 1), -ECONNRESET);
	hosts[12] = accept_client();
	for (int i = 0; i < 13; i++)
		if (i != 7)
			assert_works(&c[i], hosts[i]);
	for (int i = 0; i < 13; i++)
		close(hosts[i]);
}
END_TEST

START_TEST(a_new_connection_is_reset_if_none_is_idle)
{
	struct conn c[13];
	int hosts[13];

	for (int i = 0; i < 13; i++)
		hosts[i] = establish(&c[i]);
	expect(&c[12], TH_RST | TH_ACK);
	for (int i = 0; i < 12; i++)
		assert_works(&c[i], hosts[i]);
	for (int i = 0; i < 13; i++)
		close(hosts[i]);
}
END_TEST

START_TEST(without_descriptors_a_syn_waits)
{
	struct conn c[4], d = conn_to(SERVER, port);
	int hosts[4], host;

	free_table();
	make_table(1000, 4);
	for (int i = 0; i < 3; i++)
		hosts[i] = establish(&c[i]);
	fdquota_take(&quota, 1); /* another protocol has the last one */
	skip_ms(100000);
	send_flags(&d, TH_SYN);
	assert_quiet();
	fdquota_give(&quota, 1);
	d.seq = IRS;
	shake_hands(&d);
	host = accept_client();
	/* now the longest idle connection leaves a descriptor for the next SYN */
	expect(&c[0], TH_RST | TH_ACK);
	assert_quiet();
	ck_assert_uint_eq(quota.used, 3);
	assert_works(&d, host);
	close(host);
	for (int i = 0; i < 3; i++)
		close(hosts[i]);
}
END_TEST

START_TEST(without_descriptors_a_half_open_connection_makes_room)
{
	struct conn c, d;
	int host;

	free_table();
	make_table(1000, 1);
	open_slow();
	c = conn_to(SERVER, slow.port);
	send_flags(&c, TH_SYN);
	assert_quiet();
	host = establish(&d);
	assert_works(&d, host);
	ck_assert_uint_eq(quota.used, 1);
	close(host);
	close_slow();
}
END_TEST

START_TEST(waiting_connections_are_bounded_and_make_room)
{
	struct conn c[6];

	for (int i = 0; i < 6; i++)
		c[i] = conn_in_time_wait();
	for (int i = 0; i < 6; i++) {
		send_at(&c[i], TH_ACK | TH_FIN, c[i].seq - 1, c[i].ack);
		ck_assert_uint_eq(receive(&c[i]).flags, i < 2 ? TH_RST : TH_ACK);
	}
}
END_TEST

/* ---- the index ---- */

START_TEST(the_index_finds_each_of_many_flows)
{
	enum { COUNT_MANY = 5000 };
	static struct tcpindex_entry entries[COUNT_MANY];
	struct tcpindex x;

	ck_assert_int_eq(tcpindex_init(&x, COUNT_MANY), 0);
	memset(entries, 0, sizeof(entries));
	for (int i = 0; i < COUNT_MANY; i++) {
		entries[i].flow.id = (struct tcpflow_id){ addrs_of("10.0.2.100", "192.0.2.1"),
							  (uint16_t)i, (uint16_t)(i / 7) };
		ck_assert_ptr_null(tcpindex_find(&x, &entries[i].flow.id));
		tcpindex_add(&x, &entries[i], (unsigned long long)i);
	}
	for (int i = 0; i < COUNT_MANY; i += 2)
		tcpindex_remove(&x, &entries[i]);
	for (int i = 0; i < COUNT_MANY; i++)
		ck_assert_ptr_eq(tcpindex_find(&x, &entries[i].flow.id),
				 i % 2 == 0 ? NULL : &entries[i]);
	ck_assert_uint_eq(tcpindex_count(&x), COUNT_MANY / 2);
	ck_assert_ptr_eq(tcpindex_oldest(&x, TCPINDEX_HALF_OPEN), &entries[1]);
	tcpindex_reset(&x);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tcpbounds");
	TCase *tc = fixture_case("tcpbounds");

	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, a_flood_of_syns_does_not_harm_established_connections);
	tcase_add_test(tc, the_oldest_half_open_connection_makes_room);
	tcase_add_test(tc, a_new_connection_pushes_out_the_one_idle_longest);
	tcase_add_test(tc, a_new_connection_is_reset_if_none_is_idle);
	tcase_add_test(tc, without_descriptors_a_syn_waits);
	tcase_add_test(tc, without_descriptors_a_half_open_connection_makes_room);
	tcase_add_test(tc, waiting_connections_are_bounded_and_make_room);
	tcase_add_test(tc, the_index_finds_each_of_many_flows);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
