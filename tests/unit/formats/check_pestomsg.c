/* SPDX-License-Identifier: Apache-2.0 */

/* pasta's configuration protocol: what pasta sends, and the answers that change its rules. The
 * bytes of version 2 were recorded from pasta 2026-10-02. */
#include "formats/pestomsg.h"
#include "tests/unit/fixture.h"

#include <arpa/inet.h>

#define HOST   1
#define SPLICE 3

static unsigned char buf[PESTOMSG_MAX + 1024];
static size_t len;

static void add_bytes(const void *bytes, size_t count)
{
	memcpy(buf + len, bytes, count);
	len += count;
}

static void add_u32(unsigned int value)
{
	uint32_t be = htonl(value);

	add_bytes(&be, sizeof(be));
}

static void start_message(unsigned int version)
{
	len = 0;
	add_bytes("basil:s", 8);
	add_u32(version);
	add_u32(128);
	add_u32(16);
}

static void add_table(unsigned char kind, unsigned int count)
{
	char name[128] = "";

	snprintf(name, sizeof(name), "%s", kind == HOST ? "HOST" : "SPLICE");
	add_bytes(&kind, 1);
	add_bytes(name, sizeof(name));
	add_u32(0x3d);
	add_u32(count);
}

static void end_message(void)
{
	add_bytes("", 1);
}

static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };

/* A rule for 127.0.0.1 in version 2: parent port, child port, protocol. */
static void add_rule(unsigned int parent_port, unsigned int child_port, unsigned char proto)
{
	const unsigned char ports[] = { (unsigned char)(parent_port >> 8),
					(unsigned char)parent_port,
					(unsigned char)(parent_port >> 8),
					(unsigned char)parent_port,
					(unsigned char)(child_port >> 8),
					(unsigned char)child_port,
					proto,
					0 };
	const unsigned char address[4] = { 127, 0, 0, 1 }, none[32] = { 0 };

	add_bytes(mapped, sizeof(mapped));
	add_bytes(address, sizeof(address));
	add_bytes(none, sizeof(none));
	add_bytes(ports, sizeof(ports));
}

static struct pestomsg_port a_port(const char *ip, int parent_port, bool udp)
{
	struct pestomsg_port port = { .udp = udp, .parent_port = parent_port, .child_port = 80 };

	ck_assert_int_eq(ipaddr_parse(&port.ip, ip), 0);
	return port;
}

/* Two tables as pasta sends them: 18080/tcp and 18081/udp on the host, and one rule in SPLICE. */
static void make_message(void)
{
	start_message(2);
	add_table(HOST, 2);
	add_rule(18080, 80, IPPROTO_TCP);
	add_rule(18081, 53, IPPROTO_UDP);
	add_table(SPLICE, 1);
	add_rule(9, 9, IPPROTO_TCP);
	end_message();
}

static void read_message(struct pestomsg *m)
{
	struct err e = { "" };

	ck_assert_msg(pestomsg_read(m, buf, len, &e) == 1, "%s", e.msg);
}

/* ---- reading ---- */

START_TEST(both_tables_are_read)
{
	struct pestomsg m;

	make_message();
	read_message(&m);
	ck_assert_uint_eq(m.version, 2);
	ck_assert_uint_eq(m.host.count, 2);
	ck_assert_uint_eq(m.splice.count, 1);
}
END_TEST

/* Each beginning needs more bytes; nothing is read beyond it. */
START_TEST(a_beginning_is_incomplete)
{
	struct err e = { "" };
	struct pestomsg m;

	make_message();
	for (size_t i = 0; i < len; i++) {
		const char *copy = fixture_exact_copy((const char *)buf, i);

		ck_assert_msg(pestomsg_read(&m, (const unsigned char *)copy, i, &e) == 0,
			      "%zu bytes: %s", i, e.msg);
	}
}
END_TEST

static void break_magic(void)
{
	buf[0] = 'B';
}

static void set_version_0(void)
{
	buf[11] = 0;
}

static void set_version_3(void)
{
	buf[11] = 3;
}

static void set_name_length(void)
{
	buf[15] = 1;
}

static void set_ifname_length(void)
{
	buf[19] = 1;
}

static void set_kind(void)
{
	buf[20] = 2;
}

static void set_count(void)
{
	buf[20 + 1 + 128 + 4 + 2] = 0xff;
}

static void repeat_table(void)
{
	start_message(2);
	add_table(HOST, 0);
	add_table(HOST, 0);
	end_message();
}

static void leave_out_host(void)
{
	start_message(2);
	add_table(SPLICE, 0);
	end_message();
}

static const struct {
	void (*spoil)(void);
	const char *why;
} bad_messages[] = {
	{ break_magic, "it is not pasta's configuration socket" },
	{ set_version_0, "pasta speaks version 0 of its configuration protocol, and this program "
			 "versions 1 and 2; try --port-driver=builtin" },
	{ set_version_3, "pasta speaks version 3 of its configuration protocol, and this program "
			 "versions 1 and 2; try --port-driver=builtin" },
	{ set_name_length, "pasta's greeting has unexpected lengths" },
	{ set_ifname_length, "pasta's greeting has unexpected lengths" },
	{ set_kind, "pasta sends an unexpected table 2" },
	{ set_count, "pasta sends a table of 65282 rules" },
	{ repeat_table, "pasta sends an unexpected table 1" },
	{ leave_out_host, "pasta sends no table of ports on the host" },
};

START_TEST(a_malformed_message_is_refused)
{
	struct err e = { "" };
	struct pestomsg m;

	make_message();
	bad_messages[_i].spoil();
	ck_assert_int_eq(pestomsg_read(&m, buf, len, &e), -EPROTO);
	ck_assert_str_eq(e.msg, bad_messages[_i].why);
}
END_TEST

/* ---- answers ---- */

static void assert_answer(const unsigned char *answer, int answer_len, const unsigned char *want,
			  size_t want_len)
{
	ck_assert_int_eq(answer_len, (int)want_len);
	ck_assert_mem_eq(answer, want, want_len);
}

/* Builds the wanted answer in `buf`: kind and count, without the name and the capabilities. */
static void add_answer_table(unsigned char kind, unsigned int count)
{
	add_bytes(&kind, 1);
	add_u32(count);
}

START_TEST(a_port_is_added_behind_the_others)
{
	static unsigned char answer[PESTOMSG_MAX];
	static unsigned char message[sizeof(buf)];
	const struct pestomsg_port port = a_port("127.0.0.1", 18082, false);
	struct pestomsg m;
	int answer_len;

	make_message();
	memcpy(message, buf, len);
	ck_assert_int_eq(pestomsg_read(&m, message, len, NULL), 1);
	answer_len = pestomsg_add(&m, &port, answer);
	len = 0;
	add_answer_table(HOST, 3);
	add_rule(18080, 80, IPPROTO_TCP);
	add_rule(18081, 53, IPPROTO_UDP);
	add_rule(18082, 80, IPPROTO_TCP);
	add_answer_table(SPLICE, 1);
	add_rule(9, 9, IPPROTO_TCP);
	end_message();
	assert_answer(answer, answer_len, buf, len);
}
END_TEST

/* Whose rule is removed: the same address, port and protocol. */
static const struct {
	const char *ip;
	int parent_port;
	bool udp;
	bool is_there;
} removals[] = {
	{ "127.0.0.1", 18080, false, true },
	{ "127.0.0.1", 18080, true, false },
	{ "127.0.0.1", 18081, false, false },
	{ "127.0.0.2", 18080, false, false },
	{ "::1", 18080, false, false },
	{ "0.0.0.0", 18080, false, false },
	{ "127.0.0.1", 18081 + 256, true, false },
};

START_TEST(only_the_rule_of_the_port_is_removed)
{
	static unsigned char answer[PESTOMSG_MAX];
	static unsigned char message[sizeof(buf)];
	const struct pestomsg_port port = a_port(removals[_i].ip, removals[_i].parent_port,
						 removals[_i].udp);
	struct pestomsg m;
	int answer_len;

	make_message();
	memcpy(message, buf, len);
	ck_assert_int_eq(pestomsg_read(&m, message, len, NULL), 1);
	answer_len = pestomsg_remove(&m, &port, answer);
	len = 0;
	add_answer_table(HOST, removals[_i].is_there ? 1 : 2);
	if (!removals[_i].is_there)
		add_rule(18080, 80, IPPROTO_TCP);
	add_rule(18081, 53, IPPROTO_UDP);
	add_answer_table(SPLICE, 1);
	add_rule(9, 9, IPPROTO_TCP);
	end_message();
	assert_answer(answer, answer_len, buf, len);
}
END_TEST

/* Version 1 has rules without a target address. */
START_TEST(version_1_is_spoken_too)
{
	static unsigned char answer[PESTOMSG_MAX];
	struct pestomsg_port port = a_port("::1", 0x1234, true);
	struct pestomsg m;
	unsigned char want[1 + 4 + 40 + 1] = { HOST, 0, 0, 0, 1 };

	start_message(1);
	add_table(HOST, 0);
	end_message();
	read_message(&m);
	want[5 + 15] = 1; /* ::1 */
	memcpy(want + 5 + 32, "\x12\x34\x12\x34\x00\x50\x11\x00", 8);
	assert_answer(answer, pestomsg_add(&m, &port, answer), want, sizeof(want));
}
END_TEST

START_TEST(a_full_table_takes_no_more)
{
	static unsigned char answer[PESTOMSG_MAX];
	struct pestomsg_port port = a_port("127.0.0.1", 80, false);
	struct pestomsg m;

	start_message(2);
	add_table(HOST, PESTOMSG_RULES_MAX - 1);
	for (unsigned int i = 0; i < PESTOMSG_RULES_MAX - 1; i++)
		add_rule(1000 + i, 80, IPPROTO_TCP);
	add_table(SPLICE, PESTOMSG_RULES_MAX);
	for (unsigned int i = 0; i < PESTOMSG_RULES_MAX; i++)
		add_rule(1000 + i, 80, IPPROTO_TCP);
	end_message();
	read_message(&m);
	ck_assert_int_gt(pestomsg_add(&m, &port, answer), 0);
	ck_assert_uint_le((size_t)pestomsg_add(&m, &port, answer), PESTOMSG_MAX);
	m.host.count = PESTOMSG_RULES_MAX;
	ck_assert_int_eq(pestomsg_add(&m, &port, answer), -ENOSPC);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("pestomsg");
	TCase *tc = fixture_case("pestomsg");

	tcase_add_test(tc, both_tables_are_read);
	tcase_add_test(tc, a_beginning_is_incomplete);
	tcase_add_loop_test(tc, a_malformed_message_is_refused, 0, COUNT(bad_messages));
	tcase_add_test(tc, a_port_is_added_behind_the_others);
	tcase_add_loop_test(tc, only_the_rule_of_the_port_is_removed, 0, COUNT(removals));
	tcase_add_test(tc, version_1_is_spoken_too);
	tcase_add_test(tc, a_full_table_takes_no_more);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
