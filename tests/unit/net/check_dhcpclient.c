/* SPDX-License-Identifier: Apache-2.0 */

/* The states of the DHCP client, against a server that the test plays, on a clock that the test
 * sets. */
#include "net/dhcpclient.h"
#include "tests/unit/fixture.h"

#include <arpa/inet.h>

#define SECOND	UINT64_C(1000)
#define LEASE_S 600

static const unsigned char hwaddr[DHCP_HWADDR_LEN] = { 2, 0, 0, 0, 0, 1 };

static struct dhcpclient c;
static uint64_t now_ms;
static uint32_t next_random;

/* Counts, so that every transaction has an ID of its own, and no jitter is 0. */
static uint32_t count_up(void)
{
	return next_random++;
}

static void start(void)
{
	now_ms = 1000000;
	next_random = 1;
	dhcpclient_start(&c, hwaddr, count_up, now_ms);
}

/* Goes to the time when the client wants to act, and lets it. */
static struct dhcpclient_step next(void)
{
	ck_assert_uint_ne(c.due_ms, DHCPCLIENT_NEVER);
	ck_assert_uint_ge(c.due_ms, now_ms);
	now_ms = c.due_ms;
	return dhcpclient_tick(&c, now_ms);
}

/* A message of a server, "10.0.3.1" or another one, that answers what the client has just sent. */
static struct dhcp_reply reply(enum dhcp_type type, const char *server)
{
	struct dhcp_reply m = { .type = type, .xid = c.xid, .prefix_len = 24, .lease_s = LEASE_S };

	memcpy(m.hwaddr, hwaddr, sizeof(hwaddr));
	inet_pton(AF_INET, "10.0.3.10", &m.addr);
	inet_pton(AF_INET, server, &m.server);
	return m;
}

static struct dhcpclient_step hear(struct dhcp_reply m)
{
	return dhcpclient_receive(&c, &m, now_ms);
}

static void assert_quiet(struct dhcpclient_step step)
{
	ck_assert(!step.sends);
	ck_assert_int_eq(step.change, DHCPCLIENT_SAME);
}

static void assert_asks(struct dhcpclient_step step, enum dhcp_type type,
			enum dhcpclient_state state)
{
	ck_assert(step.sends);
	ck_assert_int_eq(step.msg.type, type);
	ck_assert_int_eq(c.state, state);
	ck_assert_uint_eq(step.msg.xid, c.xid);
	ck_assert_mem_eq(step.msg.hwaddr, hwaddr, sizeof(hwaddr));
}

static void assert_addr(struct in_addr addr, const char *want)
{
	ck_assert_uint_eq(addr.s_addr, inet_addr(want));
}

/* Takes the client to BOUND. */
static void get_lease(void)
{
	start();
	assert_asks(next(), DHCP_DISCOVER, DHCPCLIENT_SELECTING);
	assert_asks(hear(reply(DHCP_OFFER, "10.0.3.1")), DHCP_REQUEST, DHCPCLIENT_REQUESTING);
	ck_assert_int_eq(hear(reply(DHCP_ACK, "10.0.3.1")).change, DHCPCLIENT_GAINED);
	ck_assert_int_eq(c.state, DHCPCLIENT_BOUND);
}

static void assert_between(uint64_t value, uint64_t low, uint64_t high)
{
	ck_assert_msg(value >= low && value <= high, "%llu is not in %llu to %llu",
		      (unsigned long long)value, (unsigned long long)low, (unsigned long long)high);
}

/* ---- getting a lease ---- */

START_TEST(a_lease_is_asked_for)
{
	struct dhcpclient_step step;

	start();
	step = next();
	assert_asks(step, DHCP_DISCOVER, DHCPCLIENT_SELECTING);
	ck_assert(!step.to_server);
	ck_assert_uint_eq(step.msg.requested.s_addr, 0);
	now_ms += 2 * SECOND;
	step = hear(reply(DHCP_OFFER, "10.0.3.1"));
	assert_asks(step, DHCP_REQUEST, DHCPCLIENT_REQUESTING);
	ck_assert(!step.to_server);
	ck_assert_uint_eq(step.msg.secs, 2);
	ck_assert_uint_eq(step.msg.client.s_addr, 0);
	assert_addr(step.msg.requested, "10.0.3.10");
	assert_addr(step.msg.server, "10.0.3.1");
	step = hear(reply(DHCP_ACK, "10.0.3.1"));
	ck_assert(!step.sends);
	ck_assert_int_eq(step.change, DHCPCLIENT_GAINED);
	assert_addr(c.lease.addr, "10.0.3.10");
}
END_TEST

/* One second, and then RFC 2131, section 4.1: 4, 8, 16, 32, 64, 64... seconds, changed by up to
 * one. */
START_TEST(without_an_answer_the_client_backs_off)
{
	static const uint64_t delays_s[] = { 4, 8, 16, 32, 64, 64, 64, 64 };
	uint32_t xid;

	start();
	next();
	xid = c.xid;
	assert_between(c.due_ms - now_ms, SECOND, SECOND * 5 / 4);
	next();
	for (size_t i = 0; i < COUNT(delays_s); i++) {
		uint64_t before_ms = now_ms;

		next_random = (uint32_t)(i * 1000); /* extremes and the middle of the jitter */
		assert_asks(next(), DHCP_DISCOVER, DHCPCLIENT_SELECTING);
		assert_between(now_ms - before_ms, (delays_s[i] - 1) * SECOND,
			       (delays_s[i] + 1) * SECOND);
		ck_assert_uint_eq(c.xid, xid);
	}
}
END_TEST

START_TEST(the_first_of_several_offers_is_taken)
{
	struct dhcpclient_step step;

	start();
	next();
	step = hear(reply(DHCP_OFFER, "10.0.3.2"));
	assert_addr(step.msg.server, "10.0.3.2");
	assert_quiet(hear(reply(DHCP_OFFER, "10.0.3.1")));
	/* only the chosen server may confirm or refuse */
	assert_quiet(hear(reply(DHCP_ACK, "10.0.3.1")));
	assert_quiet(hear(reply(DHCP_NAK, "10.0.3.1")));
	ck_assert_int_eq(c.state, DHCPCLIENT_REQUESTING);
	ck_assert_int_eq(hear(reply(DHCP_ACK, "10.0.3.2")).change, DHCPCLIENT_GAINED);
}
END_TEST

/* Changes of an answer that make it none, in each state that waits for one. */
static void spoil(struct dhcp_reply *m, int how)
{
	switch (how) {
	case 0:
		m->xid++;
		break;
	case 1:
		m->hwaddr[5]++;
		break;
	case 2:
		m->type = m->type == DHCP_OFFER ? DHCP_ACK : DHCP_OFFER;
		break;
	default:
		m->addr.s_addr = inet_addr("10.0.3.11");
		break;
	}
}
#define SPOILS	     4
#define SPOILS_OFFER 3 /* an offer may have any address */

START_TEST(a_foreign_message_is_ignored)
{
	struct dhcp_reply m;

	start();
	next();
	for (int how = 0; how < SPOILS_OFFER; how++) {
		m = reply(DHCP_OFFER, "10.0.3.1");
		spoil(&m, how);
		assert_quiet(hear(m));
	}
	hear(reply(DHCP_OFFER, "10.0.3.1"));
	for (int how = 0; how < SPOILS; how++) {
		m = reply(DHCP_ACK, "10.0.3.1");
		spoil(&m, how);
		assert_quiet(hear(m));
	}
	hear(reply(DHCP_ACK, "10.0.3.1"));
	/* with a lease, nothing is waited for */
	assert_quiet(hear(reply(DHCP_NAK, "10.0.3.1")));
	assert_quiet(hear(reply(DHCP_ACK, "10.0.3.1")));
	assert_quiet(hear(reply(DHCP_OFFER, "10.0.3.1")));
	next();
	for (int how = 0; how < SPOILS; how++) {
		m = reply(DHCP_ACK, "10.0.3.1");
		spoil(&m, how);
		assert_quiet(hear(m));
	}
	ck_assert_int_eq(c.state, DHCPCLIENT_RENEWING);
}
END_TEST

/* A server that refuses each request is asked less and less often. */
START_TEST(refusals_do_not_make_the_client_busy)
{
	static const uint64_t delays_s[] = { 0, 4, 8, 16, 32, 64, 64 };

	start();
	for (size_t i = 0; i < COUNT(delays_s); i++) {
		uint32_t xid = c.xid;

		assert_asks(next(), DHCP_DISCOVER, DHCPCLIENT_SELECTING);
		hear(reply(DHCP_OFFER, "10.0.3.1"));
		assert_quiet(hear(reply(DHCP_NAK, "10.0.3.1")));
		ck_assert_int_eq(c.state, DHCPCLIENT_SELECTING);
		ck_assert_uint_ne(c.xid, xid);
		/* an offer that nobody has asked for yet does not shorten the pause */
		assert_quiet(hear(reply(DHCP_OFFER, "10.0.3.1")));
		assert_between(c.due_ms - now_ms, delays_s[i] > 0 ? (delays_s[i] - 1) * SECOND : 0,
			       delays_s[i] > 0 ? (delays_s[i] + 1) * SECOND : 0);
	}
}
END_TEST

/* A server that offers but never confirms does not win again, if another one offers too. Alone, it
 * gets another chance. */
START_TEST(a_server_that_falls_silent_is_passed_over_once)
{
	start();
	next();
	hear(reply(DHCP_OFFER, "10.0.3.66"));
	assert_asks(next(), DHCP_REQUEST, DHCPCLIENT_REQUESTING);
	assert_asks(next(), DHCP_DISCOVER, DHCPCLIENT_SELECTING);
	ck_assert_uint_le(now_ms - 1000000, 14 * SECOND);
	assert_quiet(hear(reply(DHCP_OFFER, "10.0.3.66")));
	next();
	assert_asks(hear(reply(DHCP_OFFER, "10.0.3.66")), DHCP_REQUEST, DHCPCLIENT_REQUESTING);

	next();
	next();
	assert_quiet(hear(reply(DHCP_OFFER, "10.0.3.66")));
	assert_asks(hear(reply(DHCP_OFFER, "10.0.3.1")), DHCP_REQUEST, DHCPCLIENT_REQUESTING);
}
END_TEST

/* ---- keeping it ---- */

START_TEST(a_lease_is_renewed_at_its_server)
{
	struct dhcpclient_step step;
	uint64_t bound_ms;
	uint32_t xid;

	get_lease();
	bound_ms = now_ms;
	xid = c.xid;
	step = next();
	assert_between(now_ms - bound_ms, LEASE_S * SECOND * 49 / 100, LEASE_S * SECOND / 2);
	assert_asks(step, DHCP_REQUEST, DHCPCLIENT_RENEWING);
	ck_assert(step.to_server);
	ck_assert_uint_ne(step.msg.xid, xid);
	assert_addr(step.msg.client, "10.0.3.10");
	/* RFC 2131, section 4.3.2: these two must not be in a renewal */
	ck_assert_uint_eq(step.msg.requested.s_addr, 0);
	ck_assert_uint_eq(step.msg.server.s_addr, 0);
	ck_assert_int_eq(hear(reply(DHCP_ACK, "10.0.3.1")).change, DHCPCLIENT_GAINED);
	ck_assert_uint_gt(c.expire_ms, bound_ms + LEASE_S * SECOND);
}
END_TEST

START_TEST(the_servers_times_count_if_they_are_in_order)
{
	struct dhcp_reply m;

	get_lease();
	next();
	m = reply(DHCP_ACK, "10.0.3.1");
	m.renew_s = 100;
	m.rebind_s = 200;
	hear(m);
	assert_between(c.renew_ms - now_ms, 98 * SECOND, 100 * SECOND);
	ck_assert_uint_eq(c.rebind_ms - now_ms, 200 * SECOND);
	next();
	m.xid = c.xid;
	m.rebind_s = LEASE_S + 1;
	hear(m);
	assert_between(c.renew_ms - now_ms, 294 * SECOND, 300 * SECOND);
	ck_assert_uint_eq(c.rebind_ms - now_ms, 525 * SECOND);
}
END_TEST

/* The server is gone: half of the time that is left, a minute at least, between messages; then all
 * servers are asked; then the address is given up, and a new one asked for. */
START_TEST(a_lease_that_nobody_renews_expires)
{
	struct dhcpclient_step step;
	uint64_t bound_ms, before_ms;
	int renewals = 0, rebinds = 0;

	get_lease();
	bound_ms = now_ms;
	for (;;) {
		before_ms = now_ms;
		step = next();
		if (step.change == DHCPCLIENT_LOST)
			break;
		ck_assert_uint_ge(now_ms - before_ms, 7 * SECOND);
		renewals += c.state == DHCPCLIENT_RENEWING;
		rebinds += c.state == DHCPCLIENT_REBINDING;
		ck_assert_int_eq(step.to_server, c.state == DHCPCLIENT_RENEWING);
		ck_assert_uint_eq(step.msg.server.s_addr, 0);
	}
	ck_assert_uint_eq(now_ms - bound_ms, LEASE_S * SECOND);
	ck_assert_int_ge(renewals, 3);
	ck_assert_int_eq(rebinds, 2);
	assert_asks(step, DHCP_DISCOVER, DHCPCLIENT_SELECTING);
	ck_assert_uint_eq(c.lease.addr.s_addr, 0);
}
END_TEST

START_TEST(any_server_may_extend_the_lease_in_the_end)
{
	get_lease();
	while (c.state != DHCPCLIENT_REBINDING)
		next();
	ck_assert_int_eq(hear(reply(DHCP_ACK, "10.0.3.2")).change, DHCPCLIENT_GAINED);
	assert_addr(c.lease.server, "10.0.3.2");
}
END_TEST

START_TEST(a_renewal_that_is_refused_ends_the_lease)
{
	struct dhcpclient_step step;

	get_lease();
	next();
	assert_quiet(hear(reply(DHCP_NAK, "10.0.3.2")));
	step = hear(reply(DHCP_NAK, "10.0.3.1"));
	ck_assert_int_eq(step.change, DHCPCLIENT_LOST);
	assert_asks(step, DHCP_DISCOVER, DHCPCLIENT_SELECTING);
}
END_TEST

/* A suspended machine wakes up after the end of the lease. */
START_TEST(a_lease_may_expire_unseen)
{
	get_lease();
	now_ms += 10 * LEASE_S * SECOND;
	ck_assert_int_eq(dhcpclient_tick(&c, now_ms).change, DHCPCLIENT_LOST);
}
END_TEST

static const uint32_t lease_times_s[] = { 1, 2, 3, 60, 86400, DHCP_FOREVER - 1 };

/* Whatever a server grants, the times are in order, and the client does not send without a pause.
 */
START_TEST(every_lease_time_works)
{
	struct dhcp_reply m;

	start();
	next();
	hear(reply(DHCP_OFFER, "10.0.3.1"));
	m = reply(DHCP_ACK, "10.0.3.1");
	m.lease_s = lease_times_s[_i];
	hear(m);
	for (int i = 0; i < 10; i++) {
		ck_assert_uint_ge(c.renew_ms, now_ms + SECOND);
		ck_assert_uint_ge(c.rebind_ms, c.renew_ms);
		ck_assert_uint_ge(c.expire_ms, c.rebind_ms);
		next();
		if (c.state != DHCPCLIENT_RENEWING && c.state != DHCPCLIENT_REBINDING)
			break; /* a lease of a second may be over before it can be renewed */
		m.xid = c.xid;
		ck_assert_int_eq(hear(m).change, DHCPCLIENT_GAINED);
	}
}
END_TEST

START_TEST(a_lease_may_have_no_end)
{
	struct dhcp_reply m;

	start();
	next();
	hear(reply(DHCP_OFFER, "10.0.3.1"));
	m = reply(DHCP_ACK, "10.0.3.1");
	m.lease_s = DHCP_FOREVER;
	hear(m);
	ck_assert_uint_eq(c.due_ms, DHCPCLIENT_NEVER);
}
END_TEST

START_TEST(a_lease_is_given_back)
{
	struct dhcpclient_step step;

	start();
	next();
	assert_quiet(dhcpclient_release(&c));
	get_lease();
	step = dhcpclient_release(&c);
	ck_assert(step.sends);
	ck_assert(step.to_server);
	ck_assert_int_eq(step.msg.type, DHCP_RELEASE);
	assert_addr(step.msg.client, "10.0.3.10");
	assert_addr(step.msg.server, "10.0.3.1");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("dhcpclient");
	TCase *tc = fixture_case("dhcpclient");

	tcase_add_test(tc, a_lease_is_asked_for);
	tcase_add_test(tc, without_an_answer_the_client_backs_off);
	tcase_add_test(tc, the_first_of_several_offers_is_taken);
	tcase_add_test(tc, a_foreign_message_is_ignored);
	tcase_add_test(tc, refusals_do_not_make_the_client_busy);
	tcase_add_test(tc, a_server_that_falls_silent_is_passed_over_once);
	tcase_add_test(tc, a_lease_is_renewed_at_its_server);
	tcase_add_test(tc, the_servers_times_count_if_they_are_in_order);
	tcase_add_test(tc, a_lease_that_nobody_renews_expires);
	tcase_add_test(tc, any_server_may_extend_the_lease_in_the_end);
	tcase_add_test(tc, a_renewal_that_is_refused_ends_the_lease);
	tcase_add_test(tc, a_lease_may_expire_unseen);
	tcase_add_loop_test(tc, every_lease_time_works, 0, COUNT(lease_times_s));
	tcase_add_test(tc, a_lease_may_have_no_end);
	tcase_add_test(tc, a_lease_is_given_back);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
