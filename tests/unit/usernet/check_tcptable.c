/* SPDX-License-Identifier: Apache-2.0 */

/* TCP flows between the inside and servers of the host: how they begin, how they end. */
#include "tests/unit/usernet/tcpinside.h"

#include <netinet/ip_icmp.h>

/* ---- connecting ---- */

START_TEST(a_connection_works_in_both_directions)
{
	struct conn c = conn_to(SERVER, port);
	struct tcpseg seg;
	int host;

	send_flags(&c, TH_SYN);
	seg = expect(&c, TH_SYN | TH_ACK);
	ck_assert_uint_eq(seg.mss, 1000); /* as the inside said, which is less than its MTU */
	ck_assert_int_eq(seg.scale, TCPSEG_NO_SCALE);
	send_flags(&c, TH_ACK);
	host = accept_client();
	assert_works(&c, host);
	ck_assert_uint_eq(quota.used, 1);
	send_flags(&c, TH_RST);
	settle();
	ck_assert_uint_eq(quota.used, 0);
	close(host);
}
END_TEST

START_TEST(a_connection_over_ipv6_works)
{
	struct conn c;
	int host;

	if (!fixture_need_ipv6())
		return;
	close(listener);
	listener = listen_on("::1", 100, &port);
	c = conn_to("fd00::2", port);
	shake_hands(&c);
	host = accept_client();
	assert_works(&c, host);
	close(host);
}
END_TEST

START_TEST(much_data_comes_in_segments_that_the_kernel_cuts)
{
	static char bytes[60000];
	struct conn c;
	int host = establish(&c);
	size_t got = 0;

	ck_assert_int_eq(send(host, bytes, sizeof(bytes), 0), sizeof(bytes));
	while (got < sizeof(bytes)) {
		struct tcpseg seg = receive(&c);

		ck_assert_uint_eq(seg.seq, c.ack);
		c.ack += (uint32_t)seg.len;
		got += seg.len;
		ck_assert_int_eq(tap.header.gso_type,
				 seg.len > 1000 ? VIRTIO_NET_HDR_GSO_TCPV4 : 0);
		ck_assert_int_eq(tap.header.gso_size, seg.len > 1000 ? 1000 : 0);
		send_flags(&c, TH_ACK);
	}
	close(host);
}
END_TEST

START_TEST(a_refusal_is_a_reset)
{
	uint16_t nobody;
	int fd = closed_port(&nobody);
	struct conn c = conn_to(SERVER, nobody);

	send_flags(&c, TH_SYN);
	expect(&c, TH_RST | TH_ACK);
	assert_quiet();
	ck_assert_uint_eq(quota.used, 0);
	close(fd);
}
END_TEST

/* The error quotes the IP header and the ports and sequence number of the SYN. */
START_TEST(an_unreachable_host_is_an_icmp_error)
{
	struct conn c = conn_to("192.0.2.1", 80);
	const uint16_t ports[] = { htons(c.src_port), htons(c.dst_port) };
	const uint32_t seq = htonl(IRS);
	struct packet p;

	connect_error = EHOSTUNREACH;
	send_flags(&c, TH_SYN);
	ck_assert(taplink_receive_packet(&tap, &p));
	ck_assert_int_eq(p.proto, IPPROTO_ICMP);
	ck_assert_mem_eq(&p.addrs.dst, &c.addrs.src, sizeof(p.addrs.dst));
	ck_assert_uint_ge(p.payload_len, 8 + 20 + 8);
	ck_assert_int_eq(p.payload[0], ICMP_DEST_UNREACH);
	ck_assert_int_eq(p.payload[1], ICMP_HOST_UNREACH);
	ck_assert_mem_eq(p.payload + 8 + 12, &c.addrs.src.s6_addr[12], 4);
	ck_assert_mem_eq(p.payload + 8 + 16, &c.addrs.dst.s6_addr[12], 4);
	ck_assert_mem_eq(p.payload + 8 + 20, ports, sizeof(ports));
	ck_assert_mem_eq(p.payload + 8 + 24, &seq, sizeof(seq));
	assert_quiet();
	ck_assert_uint_eq(quota.used, 0);
}
END_TEST

START_TEST(another_failure_is_a_reset)
{
	struct conn c = conn_to("192.0.2.1", 80);

	connect_error = EPROTOTYPE;
	send_flags(&c, TH_SYN);
	expect(&c, TH_RST | TH_ACK);
}
END_TEST

START_TEST(a_shortage_of_ours_is_no_answer)
{
	static const int shortages[] = { ENOBUFS, EAGAIN, ENOMEM };
	struct conn c = conn_to(SERVER, port);

	for (size_t i = 0; i < COUNT(shortages); i++) {
		c.seq = IRS;
		connect_error = shortages[i];
		send_flags(&c, TH_SYN);
		assert_quiet();
		ck_assert_uint_eq(quota.used, 0);
	}
	connect_error = 0;
	c.seq = IRS;
	shake_hands(&c);
	close(accept_client());
}
END_TEST

START_TEST(the_gateway_has_no_ports_without_the_host_loopback)
{
	struct conn c = conn_to(SERVER, port);

	tap.conf.host_loopback = false;
	send_flags(&c, TH_SYN);
	expect(&c, TH_RST | TH_ACK);
}
END_TEST

/* RFC 9293 3.10.7.1 */
static const struct {
	uint8_t flags, answer;
	bool is_acked; /* the answer's sequence number is what was acknowledged */
} without_flow[] = {
	{ TH_ACK, TH_RST, true },
	{ TH_ACK | TH_FIN, TH_RST, true },
	{ TH_SYN | TH_ACK, TH_RST, true },
	{ TH_FIN, TH_RST | TH_ACK, false },
	{ TH_SYN | TH_FIN, TH_RST | TH_ACK, false },
	{ 0, TH_RST | TH_ACK, false },
	{ TH_RST, 0, false },
	{ TH_RST | TH_ACK, 0, false },
};

START_TEST(a_segment_of_no_connection_is_answered_by_a_reset)
{
	struct conn c = conn_to(SERVER, port);
	struct tcpseg seg;

	c.ack = 77;
	send_data(&c, without_flow[_i].flags, "four");
	if (without_flow[_i].answer == 0) {
		assert_quiet();
		return;
	}
	seg = receive(&c);
	ck_assert_uint_eq(seg.flags, without_flow[_i].answer);
	ck_assert_uint_eq(seg.seq, without_flow[_i].is_acked ? 77 : 0);
	if (!without_flow[_i].is_acked)
		ck_assert_uint_eq(seg.ack, c.seq);
	assert_quiet();
	ck_assert_uint_eq(quota.used, 0);
}
END_TEST

START_TEST(a_malformed_segment_is_ignored)
{
	static const uint8_t bytes[TCPSEG_HEAD_LEN]; /* a header of 0 words */
	struct conn c = conn_to(SERVER, port);

	for (size_t len = 0; len <= sizeof(bytes); len++) {
		struct packet p = taplink_packet(&c.addrs, IPPROTO_TCP, 64, bytes, len);

		tcptable_on_packet(table, &p);
	}
	assert_quiet();
}
END_TEST

START_TEST(a_syn_again_does_not_disturb_a_slow_connect)
{
	struct conn c;

	open_slow();
	c = conn_to(SERVER, slow.port);
	send_flags(&c, TH_SYN);
	send_at(&c, TH_SYN, IRS, 0);
	send_at(&c, TH_SYN, IRS, 0);
	assert_quiet();
	ck_assert_uint_eq(quota.used, 1);
	/* a reset ends it */
	send_flags(&c, TH_RST);
	settle();
	ck_assert_uint_eq(quota.used, 0);
	close_slow();
}
END_TEST

START_TEST(a_new_syn_during_a_connect_is_the_one_that_is_answered)
{
	struct conn c = conn_to(SERVER, port);

	send_flags(&c, TH_SYN);
	c.seq = 5000;
	send_flags(&c, TH_SYN); /* before the loop has seen that the host is connected */
	expect(&c, TH_SYN | TH_ACK);
	ck_assert_uint_eq(c.seq, 5001);
	close(accept_client());
}
END_TEST

START_TEST(the_inside_may_change_its_mac_address)
{
	struct conn c;
	int host = establish(&c);
	struct tcpseg seg = { .src_port = c.src_port,
			      .dst_port = c.dst_port,
			      .seq = c.seq,
			      .ack = c.ack,
			      .flags = TH_ACK,
			      .window = 1000 };
	uint8_t bytes[TCPSEG_HEAD_MAX];
	struct packet p = taplink_packet(&c.addrs, IPPROTO_TCP, 64, bytes,
					 tcpseg_put(bytes, &seg, &c.addrs));

	p.src_mac[5] = 77;
	tcptable_on_packet(table, &p);
	tcptable_flush(table);
	ck_assert_int_eq(send(host, "a", 1, 0), 1);
	expect(&c, TH_ACK | TH_PUSH);
	ck_assert_uint_eq(tap.frame[5], 77);
	close(host);
}
END_TEST

/* ---- name servers ---- */

static struct conn conn_to_dns(void)
{
	return conn_to("10.0.2.3", 53);
}

START_TEST(a_refusing_name_server_is_followed_by_the_next)
{
	struct conn c = conn_to_dns();
	int fds[2], host;

	for (int i = 0; i < 2; i++)
		fds[i] = closed_port(&servers.ports[i]);
	servers.ports[2] = port;
	servers.count = 3;
	shake_hands(&c);
	host = accept_client();
	assert_works(&c, host);
	ck_assert_uint_eq(quota.used, 1);
	close(host);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

START_TEST(without_a_name_server_dns_is_refused)
{
	struct conn c = conn_to_dns();
	int fd;

	send_flags(&c, TH_SYN);
	expect(&c, TH_RST | TH_ACK);
	fd = closed_port(&servers.ports[0]);
	servers.count = 1;
	c = conn_to_dns();
	send_flags(&c, TH_SYN);
	expect(&c, TH_RST | TH_ACK);
	ck_assert_uint_eq(quota.used, 0);
	close(fd);
}
END_TEST

START_TEST(a_slow_name_server_is_followed_by_the_next)
{
	struct conn c = conn_to_dns();
	int host;

	open_slow();
	servers.ports[0] = slow.port;
	servers.ports[1] = port;
	servers.count = 2;
	send_flags(&c, TH_SYN);
	assert_quiet();
	skip_ms(2000);
	expect(&c, TH_SYN | TH_ACK);
	send_flags(&c, TH_ACK);
	host = accept_client();
	assert_works(&c, host);
	close(host);
	close_slow();
}
END_TEST

START_TEST(the_last_name_server_may_be_slow)
{
	struct conn c = conn_to_dns();

	open_slow();
	servers.ports[0] = slow.port;
	servers.count = 1;
	send_flags(&c, TH_SYN);
	skip_ms(2000);
	skip_ms(20000);
	assert_quiet();
	ck_assert_uint_eq(quota.used, 1);
	close_slow();
}
END_TEST

/* ---- ending ---- */

START_TEST(a_reset_of_the_inside_resets_the_host)
{
	struct conn c;
	int host = establish(&c);
	char byte;

	send_flags(&c, TH_RST);
	ck_assert_int_eq(read_host(host, &byte, 1), -ECONNRESET);
	ck_assert_uint_eq(quota.used, 0);
	close(host);
}
END_TEST

/* The new connection's socket gets the number of the one that was closed just before. */
START_TEST(a_reset_and_a_syn_may_come_in_one_burst)
{
	struct conn c, next = conn_to(SERVER, port);
	int host = establish(&c);

	is_burst = true;
	send_flags(&c, TH_RST);
	send_flags(&next, TH_SYN);
	is_burst = false;
	tcptable_flush(table);
	expect(&next, TH_SYN | TH_ACK);
	send_flags(&next, TH_ACK);
	close(host);
	host = accept_client();
	assert_works(&next, host);
	close(host);
}
END_TEST

static void reset_host(int fd)
{
	const struct linger now = { 1, 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
}

START_TEST(a_reset_of_the_host_comes_after_its_data)
{
	struct conn c;
	int host = establish(&c);
	struct tcpseg seg;

	ck_assert_int_eq(send(host, "last words", 10, 0), 10);
	reset_host(host);
	seg = receive(&c);
	ck_assert_uint_eq(seg.len, 10);
	ck_assert_mem_eq(seg.data, "last words", 10);
	c.ack += 10;
	send_flags(&c, TH_ACK);
	expect(&c, TH_RST | TH_ACK);
	ck_assert_uint_eq(quota.used, 0);
}
END_TEST

START_TEST(both_directions_end_apart)
{
	struct conn c;
	int host = establish(&c);
	char buf[8];

	send_data(&c, TH_ACK | TH_FIN, "question");
	expect(&c, TH_ACK);
	ck_assert_int_eq(read_host(host, buf, 8), 8);
	ck_assert_int_eq(read_host(host, buf, 1), 0);
	ck_assert_int_eq(send(host, "answer", 6, 0), 6);
	expect(&c, TH_ACK | TH_PUSH);
	close(host);
	expect(&c, TH_ACK | TH_FIN);
	send_flags(&c, TH_ACK);
	settle();
	ck_assert_uint_eq(quota.used, 0);
	/* our FIN was last, so nothing is left to remember */
	send_flags(&c, TH_ACK);
	expect(&c, TH_RST);
}
END_TEST

START_TEST(time_wait_has_no_descriptor_and_answers_a_fin)
{
	struct conn c = conn_in_time_wait();

	ck_assert_uint_eq(quota.used, 0);
	send_at(&c, TH_ACK | TH_FIN, c.seq - 1, c.ack);
	expect(&c, TH_ACK);
	skip_ms(10001);
	send_at(&c, TH_ACK | TH_FIN, c.seq - 1, c.ack);
	ck_assert_uint_eq(receive(&c).flags, TH_RST);
}
END_TEST

START_TEST(a_port_in_time_wait_may_be_used_again)
{
	struct conn c = conn_in_time_wait();
	int host;

	/* a late copy of the SYN is not a new connection */
	send_at(&c, TH_SYN, IRS, 0);
	expect(&c, TH_ACK);
	c.seq = 50; /* also if its number is lower */
	c.ack = 0;
	shake_hands(&c);
	host = accept_client();
	assert_works(&c, host);
	close(host);
}
END_TEST

START_TEST(what_the_inside_has_finished_arrives_after_the_end)
{
	struct conn c;
	int host = establish(&c);
	char buf[8];

	ck_assert_int_eq(send(host, "unread", 6, 0), 6);
	expect(&c, TH_ACK | TH_PUSH);
	send_data(&c, TH_ACK | TH_FIN, "question");
	free_table();
	ck_assert_uint_eq(expect_reset(&c).seq, c.ack);
	ck_assert_int_eq(read_host(host, buf, 8), 8);
	ck_assert_int_eq(read_host(host, buf, 1), 0);
	close(host);
}
END_TEST

START_TEST(an_open_connection_is_reset_at_the_end)
{
	struct conn c;
	int host = establish(&c);
	char byte;

	free_table();
	expect(&c, TH_RST | TH_ACK);
	ck_assert_int_eq(read_host(host, &byte, 1), -ECONNRESET);
	close(host);
}
END_TEST

START_TEST(a_connection_with_a_full_socket_drains)
{
	static char block[2001];
	struct conn c;
	int host = establish(&c);
	bool was_busy = false;

	memset(block, 'x', sizeof(block) - 1);
	ck_assert(!tcptable_is_draining(table));
	for (int i = 0; i < 100000 && !was_busy; i++) {
		send_data(&c, TH_ACK, block);
		was_busy = tcptable_is_draining(table);
		while (taplink_receive(&tap))
			;
	}
	ck_assert(was_busy);
	while (tcptable_is_draining(table)) {
		while (recv(host, block, sizeof(block), 0) > 0)
			;
		step();
	}
	close(host);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tcptable");
	TCase *tc = fixture_case("tcptable");

	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, a_connection_works_in_both_directions);
	tcase_add_test(tc, a_connection_over_ipv6_works);
	tcase_add_test(tc, much_data_comes_in_segments_that_the_kernel_cuts);
	tcase_add_test(tc, a_refusal_is_a_reset);
	tcase_add_test(tc, an_unreachable_host_is_an_icmp_error);
	tcase_add_test(tc, another_failure_is_a_reset);
	tcase_add_test(tc, a_shortage_of_ours_is_no_answer);
	tcase_add_test(tc, the_gateway_has_no_ports_without_the_host_loopback);
	tcase_add_loop_test(tc, a_segment_of_no_connection_is_answered_by_a_reset, 0,
			    COUNT(without_flow));
	tcase_add_test(tc, a_malformed_segment_is_ignored);
	tcase_add_test(tc, a_syn_again_does_not_disturb_a_slow_connect);
	tcase_add_test(tc, a_new_syn_during_a_connect_is_the_one_that_is_answered);
	tcase_add_test(tc, the_inside_may_change_its_mac_address);
	tcase_add_test(tc, a_refusing_name_server_is_followed_by_the_next);
	tcase_add_test(tc, without_a_name_server_dns_is_refused);
	tcase_add_test(tc, a_slow_name_server_is_followed_by_the_next);
	tcase_add_test(tc, the_last_name_server_may_be_slow);
	tcase_add_test(tc, a_reset_of_the_inside_resets_the_host);
	tcase_add_test(tc, a_reset_and_a_syn_may_come_in_one_burst);
	tcase_add_test(tc, a_reset_of_the_host_comes_after_its_data);
	tcase_add_test(tc, both_directions_end_apart);
	tcase_add_test(tc, time_wait_has_no_descriptor_and_answers_a_fin);
	tcase_add_test(tc, a_port_in_time_wait_may_be_used_again);
	tcase_add_test(tc, what_the_inside_has_finished_arrives_after_the_end);
	tcase_add_test(tc, an_open_connection_is_reset_at_the_end);
	tcase_add_test(tc, a_connection_with_a_full_socket_drains);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
