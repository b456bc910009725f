/* SPDX-License-Identifier: Apache-2.0 */

/* Traceroute by UDP from inside: the time to live of datagrams, and errors that come back for them.
 * The host's network is a namespace in which all addresses are local. */
#include "formats/icmpmsg.h"
#include "formats/udpseg.h"
#include "tests/unit/addresses.h"
#include "tests/unit/loopclock.h"
#include "tests/unit/ownnet.h"
#include "tests/unit/usernet/taplink.h"
#include "usernet/udpnat.h"

#include <linux/rtnetlink.h>
#include <netinet/ip_icmp.h>

#define PORT	     33434
#define DEFAULT_HOPS 64

static struct taplink t;
static struct icmperr_sender errors;
static struct fdquota quota;
static struct udpsocks *socks;
static struct udpnat *nat;

static void open_nat(void)
{
	struct udpnat_setup setup = {
		.link = &t.link, .errors = &errors, .quota = &quota, .max = 16
	};

	taplink_open(&t);
	errors = (struct icmperr_sender){ .link = &t.link };
	quota = (struct fdquota){ .max = 100 };
	setup.socks = socks = udpsocks_new();
	setup.loop = loop = loop_new(LOOP_EPOLL);
	nat = udpnat_new(&setup);
	ck_assert_ptr_nonnull(nat);
}

static void close_nat(void)
{
	udpnat_free(nat);
	udpsocks_free(socks);
	loop_free(loop);
	taplink_close(&t);
}

/* Makes all addresses local. Returns false if the test must return. */
static bool enter_host_network(void)
{
	struct err e;
	int fd, lo;

	if (!enter_bare_network())
		return false;
	fd = rtnl_open(&e);
	lo = rtnl_link_index("lo", &e);
	ck_assert_int_eq(rtnl_local_default_add(fd, AF_INET, lo, RT_TABLE_LOCAL, &e), 0);
	if (fixture_has_ipv6())
		ck_assert_int_eq(rtnl_local_default_add(fd, AF_INET6, lo, RT_TABLE_LOCAL, &e), 0);
	close(fd);
	return true;
}

/* ---- both sides ---- */

static const struct {
	const char *inside, *target;
	sa_family_t family;
	uint8_t refused[2]; /* type and code of port unreachable */
	/* Who refuses: with IPv6 the target has no address of its own here, so the kernel answers
	 * from ::1, which the inside must not see. */
	const char *refuser;
} sides[] = {
	{ "10.0.2.100", "192.0.2.1", AF_INET, { 3, 3 }, "192.0.2.1" },
	{ "fd00::100", "2001:db8::1", AF_INET6, { 1, 4 }, "fd00::2" },
};

static void send_probe(int side, uint16_t src_port, uint8_t hops)
{
	const struct packet_addrs addrs = addrs_of(sides[side].inside, sides[side].target);
	const struct udpseg seg = { src_port, PORT, NULL, 4 };
	uint8_t bytes[UDPSEG_HEAD_LEN + 4] = { [UDPSEG_HEAD_LEN] = hops };
	struct packet p;

	udpseg_put(bytes, &seg, &addrs);
	p = taplink_packet(&addrs, IPPROTO_UDP, hops, bytes, sizeof(bytes));
	udpnat_on_packet(nat, &p, 0);
}

static int open_target(int side)
{
	const struct sockaddr_storage sa =
		address_of(sides[side].family == AF_INET ? "0.0.0.0" : "::", PORT);
	const int on = 1;
	int fd = socket(sides[side].family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (sides[side].family == AF_INET)
		setsockopt(fd, IPPROTO_IP, IP_RECVTTL, &on, sizeof(on));
	else
		setsockopt(fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, &on, sizeof(on));
	ck_assert_int_eq(bind(fd, (const struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

/* Receives a datagram. Sets *sent to the time to live that it had inside. Returns that with which
 * it came. */
static int receive_probe(int fd, uint8_t *sent)
{
	unsigned long long until = fixture_now_ms() + 1000 * FIXTURE_DEADLINE_S;
	union {
		struct cmsghdr align;
		uint8_t bytes[64];
	} control;
	struct iovec iov = { sent, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	int hops;

	do {
		ck_assert_uint_lt(fixture_now_ms(), until);
		step();
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
	} while (recvmsg(fd, &msg, 0) < 0);
	memcpy(&hops, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(hops));
	return hops;
}

/* ---- tests ---- */

/* Those of one round, which are sent together, each have their own. */
START_TEST(probes_keep_their_time_to_live)
{
	static const struct {
		uint8_t inside;
		int outside;
	} rows[] = { { 64, DEFAULT_HOPS },
		     { 2, 1 },
		     { 3, 2 },
		     { 32, 31 },
		     { 33, DEFAULT_HOPS },
		     { 255, DEFAULT_HOPS },
		     { 2, 1 },
		     { 128, DEFAULT_HOPS } };
	uint8_t inside;
	int fd;

	if ((_i == 1 && !fixture_need_ipv6()) || !enter_host_network())
		return;
	fd = open_target(_i);
	for (int i = 0; i < COUNT(rows); i++)
		send_probe(_i, 1, rows[i].inside);
	for (int i = 0; i < COUNT(rows); i++) {
		ck_assert_int_eq(receive_probe(fd, &inside), rows[i].outside);
		ck_assert_uint_eq(inside, rows[i].inside);
	}
	ck_assert_uint_eq(quota.used, 1);
	close(fd);
}
END_TEST

static void await_refusal(int side, uint16_t src_port, uint8_t hops)
{
	const uint8_t *quoted;
	unsigned long long until = fixture_now_ms() + 1000 * FIXTURE_DEADLINE_S;
	struct packet p;
	struct icmpmsg m;

	while (!taplink_receive_packet(&t, &p)) {
		ck_assert_uint_lt(fixture_now_ms(), until);
		step();
	}
	ck_assert_int_eq(icmpmsg_read(&m, &p), 0);
	ck_assert_uint_eq(m.type, sides[side].refused[0]);
	ck_assert_uint_eq(m.code, sides[side].refused[1]);
	assert_addr(&p.addrs.src, sides[side].refuser);
	quoted = m.payload + (side == 0 ? 20 : 40); /* the datagram */
	ck_assert_uint_eq(quoted[0] << 8 | quoted[1], src_port);
	ck_assert_uint_eq(quoted[2] << 8 | quoted[3], PORT);
	ck_assert_uint_eq(quoted[5], UDPSEG_HEAD_LEN + 4);
	ck_assert_uint_eq(m.len, (side == 0 ? 20 : 40) + UDPSEG_HEAD_LEN + 4);
	ck_assert_uint_eq(quoted[UDPSEG_HEAD_LEN], hops); /* its data */
}

START_TEST(each_refused_probe_gets_one_error)
{
	if ((_i == 1 && !fixture_need_ipv6()) || !enter_host_network())
		return;
	for (uint16_t i = 0; i < 3; i++) {
		send_probe(_i, (uint16_t)(10 + i), 5);
		await_refusal(_i, (uint16_t)(10 + i), 5);
		send_probe(_i, (uint16_t)(10 + i), 6); /* the same flow */
		await_refusal(_i, (uint16_t)(10 + i), 6);
	}
	settle();
	ck_assert(!taplink_receive(&t));
}
END_TEST

/* A router on the way, which the host's network does not have, sends time exceeded. */
START_TEST(time_exceeded_comes_from_its_router)
{
	struct {
		struct icmphdr head;
		uint8_t about[28];
	} message = { .head.type = ICMP_TIME_EXCEEDED };
	struct sockaddr_in router = { .sin_family = AF_INET,
				      .sin_addr.s_addr = inet_addr("198.51.100.9") };
	struct sockaddr_in from = { 0 };
	int raw, target;
	uint8_t datagram[64];
	struct packet p;
	struct icmpmsg m;

	if (!enter_host_network())
		return;
	target = open_target(0);
	raw = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_UDP);
	send_probe(0, 1, 2);
	settle();
	ck_assert_int_ge(recv(raw, datagram, sizeof(datagram), 0), 28);
	close(raw);
	raw = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
	memcpy(message.about, datagram, sizeof(message.about));
	message.head.checksum = inetsum_finish(inetsum_add(0, &message, sizeof(message)));
	ck_assert_int_eq(bind(raw, (struct sockaddr *)&router, sizeof(router)), 0);
	from.sin_family = AF_INET;
	memcpy(&from.sin_addr, datagram + 12, sizeof(from.sin_addr));
	ck_assert_int_eq(
		sendto(raw, &message, sizeof(message), 0, (struct sockaddr *)&from, sizeof(from)),
		sizeof(message));
	settle();
	ck_assert(taplink_receive_packet(&t, &p));
	ck_assert_int_eq(icmpmsg_read(&m, &p), 0);
	ck_assert_uint_eq(m.type, ICMP_TIME_EXCEEDED);
	assert_addr(&p.addrs.src, "198.51.100.9");
	ck_assert(!taplink_receive(&t));
	close(raw);
	close(target);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("udptrace");
	TCase *tc = fixture_case("udptrace");

	tcase_add_checked_fixture(tc, open_nat, close_nat);
	tcase_add_loop_test(tc, probes_keep_their_time_to_live, 0, COUNT(sides));
	tcase_add_loop_test(tc, each_refused_probe_gets_one_error, 0, COUNT(sides));
	tcase_add_test(tc, time_exceeded_comes_from_its_router);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
