/* SPDX-License-Identifier: Apache-2.0 */

/* DHCP messages: what a server sends, and what we send. */
#include "formats/dhcp.h"
#include "tests/unit/dhcpmessage.h"
#include "tests/unit/fixture.h"

#include <arpa/inet.h>

static struct dhcpmessage msg;

/* Reads the message from a buffer of exactly its size. */
static int read_it(struct dhcp_reply *m, struct err *e)
{
	*e = (struct err){ "" };
	return dhcp_read(m, (unsigned char *)fixture_exact_copy((char *)msg.bytes, msg.len),
			 msg.len, e);
}

static void must_read(struct dhcp_reply *m)
{
	struct err e;

	ck_assert_msg(read_it(m, &e) == 0, "%s", e.msg);
}

static void usual(const char *type)
{
	dhcpmessage_begin(&msg);
	DHCPMESSAGE_ADD(&msg, DHCPMESSAGE_USUAL);
	dhcpmessage_add(&msg, type, 3);
}

static void assert_addr(struct in_addr addr, const char *want)
{
	char text[INET_ADDRSTRLEN];

	ck_assert_str_eq(inet_ntop(AF_INET, &addr, text, sizeof(text)), want);
}

/* ---- reading ---- */

START_TEST(an_offer_is_read)
{
	struct dhcp_reply m;

	usual(DHCPMESSAGE_OFFER);
	DHCPMESSAGE_ADD(&msg, "\xff");
	must_read(&m);
	ck_assert_int_eq(m.type, DHCP_OFFER);
	ck_assert_uint_eq(m.xid, 0x12345678);
	ck_assert_mem_eq(m.hwaddr, DHCPMESSAGE_HWADDR, DHCP_HWADDR_LEN);
	assert_addr(m.addr, "10.0.3.10");
	ck_assert_int_eq(m.prefix_len, 24);
	assert_addr(m.router, "10.0.3.1");
	assert_addr(m.server, "10.0.3.1");
	ck_assert_uint_eq(m.dns_count, 2);
	assert_addr(m.dns[0], "10.0.3.1");
	assert_addr(m.dns[1], "8.8.8.8");
	ck_assert_uint_eq(m.lease_s, 600);
	ck_assert_uint_eq(m.renew_s, 300);
	ck_assert_uint_eq(m.rebind_s, 525);
}
END_TEST

START_TEST(a_nak_needs_no_lease)
{
	struct dhcp_reply m;

	dhcpmessage_begin(&msg);
	memset(msg.bytes + 16, 0, 4);
	DHCPMESSAGE_ADD(&msg, DHCPMESSAGE_NAK "\x36\x04\x0a\x00\x03\x01\x38\x06no\n\x80`$");
	must_read(&m);
	ck_assert_int_eq(m.type, DHCP_NAK);
	assert_addr(m.server, "10.0.3.1");
	ck_assert_str_eq(m.text, "no??`$");
}
END_TEST

/* A server puts options into `file` and `sname` if the packet is full. Pads may be anywhere, and
 * what follows the end is not read. */
START_TEST(options_continue_in_other_fields)
{
	struct dhcp_reply m;

	dhcpmessage_begin(&msg);
	DHCPMESSAGE_ADD(&msg, "\x00\x00\x34\x01\x03" DHCPMESSAGE_ACK "\xff\x33\x04");
	memcpy(msg.bytes + DHCPMESSAGE_FILE,
	       "\x33\x04\x00\x00\x0e\x10\x36\x04\x0a\x00\x03\x01\xff\x33", 14);
	memcpy(msg.bytes + DHCPMESSAGE_SNAME, "\x00\x01\x04\xff\xff\x00\x00\xff", 8);
	must_read(&m);
	ck_assert_int_eq(m.type, DHCP_ACK);
	ck_assert_uint_eq(m.lease_s, 3600);
	assert_addr(m.server, "10.0.3.1");
	ck_assert_int_eq(m.prefix_len, 16);
	ck_assert_uint_eq(m.dns_count, 0);
	ck_assert_uint_eq(m.router.s_addr, 0);
}
END_TEST

/* An option that says where options are does not count in these places. */
START_TEST(fields_do_not_lead_to_each_other)
{
	struct dhcp_reply m;

	usual(DHCPMESSAGE_ACK);
	memcpy(msg.bytes + DHCPMESSAGE_FILE, "\x34\x01\x02\xff", 4);
	memcpy(msg.bytes + DHCPMESSAGE_SNAME, "\x33\x01", 2);
	must_read(&m);
	DHCPMESSAGE_ADD(&msg, "\x34\x01\x01");
	memcpy(msg.bytes + DHCPMESSAGE_FILE, "\x0c\x02hi\xff", 5);
	must_read(&m);
}
END_TEST

/* A hundred DNS servers in several options: the first four that can be hosts are kept. */
START_TEST(a_long_list_of_dns_servers_is_cut)
{
	struct dhcp_reply m;

	usual(DHCPMESSAGE_ACK);
	DHCPMESSAGE_ADD(&msg, "\x06\x0c\x00\x00\x00\x00\xe0\x00\x00\x01\xff\xff\xff\xff");
	for (int i = 0; i < 2; i++) {
		DHCPMESSAGE_ADD(&msg, "\x06\xc8");
		for (int n = 0; n < 50; n++)
			DHCPMESSAGE_ADD(&msg, "\x09\x09\x09\x09");
	}
	must_read(&m);
	ck_assert_uint_eq(m.dns_count, DHCP_MAX_DNS);
	assert_addr(m.dns[1], "8.8.8.8");
	assert_addr(m.dns[2], "9.9.9.9");
	assert_addr(m.dns[3], "9.9.9.9");
}
END_TEST

static const struct {
	const char *addr; /* four bytes */
	int prefix_len;
} classes[] = {
	{ "\x0a\x00\x00\x01", 8 },
	{ "\xac\x10\x00\x01", 16 },
	{ "\xc0\xa8\x01\x02", 24 },
};

START_TEST(without_a_mask_the_class_counts)
{
	struct dhcp_reply m;

	dhcpmessage_begin(&msg);
	memcpy(msg.bytes + 16, classes[_i].addr, 4);
	DHCPMESSAGE_ADD(&msg, DHCPMESSAGE_ACK "\x33\x04\x00\x00\x02\x58\x36\x04\x0a\x00\x03\x01");
	must_read(&m);
	ck_assert_int_eq(m.prefix_len, classes[_i].prefix_len);
}
END_TEST

#define ADDRESS(bytes) bytes, sizeof(bytes) - 1

static const struct {
	const char *mask, *addr; /* four bytes each */
	const char *why;	 /* NULL: accepted */
} networks[] = {
	{ "\xff\xff\xff\xff", "\x0a\x00\x03\x0a", NULL },
	{ "\xff\xff\xff\xfe", "\x0a\x00\x03\x0a", NULL },
	{ "\xff\xff\xff\xfe", "\x0a\x00\x03\x0b", NULL },
	{ "\x80\x00\x00\x00", "\x0a\x00\x03\x0a", NULL },
	{ "\xff\xff\xff\x00", "\x0a\x00\x03\x00",
	  "its address is that of the network, or of all hosts" },
	{ "\xff\xff\xff\x00", "\x0a\x00\x03\xff",
	  "its address is that of the network, or of all hosts" },
	{ "\xff\x00\xff\x00", "\x0a\x00\x03\x0a", "the network mask ff00ff00 has gaps" },
	{ "\x00\x00\x00\x01", "\x0a\x00\x03\x0a", "the network mask 00000001 has gaps" },
	{ "\xff\xff\xff\x00", "\x00\x00\x00\x00", "no host can have its address" },
	{ "\xff\xff\xff\x00", "\x7f\x00\x00\x01", "no host can have its address" },
	{ "\xff\xff\xff\x00", "\xe0\x00\x00\x05", "no host can have its address" },
	{ "\xff\xff\xff\x00", "\xff\xff\xff\xff", "no host can have its address" },
};

START_TEST(the_address_fits_its_network)
{
	struct dhcp_reply m;
	struct err e;
	int r;

	dhcpmessage_begin(&msg);
	memcpy(msg.bytes + 16, networks[_i].addr, 4);
	DHCPMESSAGE_ADD(&msg, DHCPMESSAGE_ACK "\x33\x04\x00\x00\x02\x58\x36\x04\x0a\x00\x03\x01");
	DHCPMESSAGE_ADD(&msg, "\x01\x04");
	dhcpmessage_add(&msg, networks[_i].mask, 4);
	r = read_it(&m, &e);
	if (networks[_i].why == NULL) {
		ck_assert_msg(r == 0, "%s", e.msg);
		return;
	}
	ck_assert_int_eq(r, -EPROTO);
	ck_assert_str_eq(e.msg, networks[_i].why);
}
END_TEST

/* Options that make the message malformed, behind those of an offer without its end. */
static const struct {
	const char *options;
	size_t len;
	const char *why;
} bad_options[] = {
	{ ADDRESS("\x01"), "option 1 is cut off" },
	{ ADDRESS("\x01\x04"), "option 1 is cut off" },
	{ ADDRESS("\x0c\xff\x61"), "option 12 is cut off" },
	{ ADDRESS("\x03\x04\x0a\x00\x03"), "option 3 is cut off" },
	{ ADDRESS("\x03\x00"), "option 3 has 0 bytes" },
	{ ADDRESS("\x03\x05\x0a\x00\x03\x01\x01"), "option 3 has 5 bytes" },
	{ ADDRESS("\x06\x03\x0a\x00\x03"), "option 6 has 3 bytes" },
	{ ADDRESS("\x01\x03\xff\xff\xff"), "option 1 has 3 bytes" },
	{ ADDRESS("\x33\x05\x00\x00\x00\x00\x01"), "option 51 has 5 bytes" },
	{ ADDRESS("\x35\x02\x05\x05"), "option 53 has 2 bytes" },
	{ ADDRESS("\x36\x08\x0a\x00\x03\x01\x0a\x00\x03\x01"), "option 54 has 8 bytes" },
	{ ADDRESS("\x3a\x01\x01"), "option 58 has 1 bytes" },
	{ ADDRESS("\x3b\x00"), "option 59 has 0 bytes" },
	{ ADDRESS("\x33\x04\x00\x00\x02\x58"), "option 51 occurs twice" },
	{ ADDRESS("\x35\x01\x05"), "option 53 occurs twice" },
	{ ADDRESS("\x36\x04\x0a\x00\x03\x02"), "option 54 occurs twice" },
	{ ADDRESS("\x34\x01\x04"), "option 52 is 4" },
	{ ADDRESS("\x34\x02\x00\x01"), "option 52 has 2 bytes" },
};

START_TEST(a_malformed_option_is_refused)
{
	struct dhcp_reply m;
	struct err e;

	usual(DHCPMESSAGE_OFFER);
	dhcpmessage_add(&msg, bad_options[_i].options, bad_options[_i].len);
	ck_assert_int_eq(read_it(&m, &e), -EPROTO);
	ck_assert_str_eq(e.msg, bad_options[_i].why);
}
END_TEST

/* An option in `file` or `sname` must end there. */
START_TEST(an_option_must_not_leave_its_field)
{
	struct dhcp_reply m;
	struct err e;

	usual(DHCPMESSAGE_OFFER);
	DHCPMESSAGE_ADD(&msg, "\x34\x01\x02\xff");
	memcpy(msg.bytes + DHCPMESSAGE_SNAME + 61, "\x0c\x02\x61", 3);
	ck_assert_int_eq(read_it(&m, &e), -EPROTO);
	ck_assert_str_eq(e.msg, "option 12 is cut off");
}
END_TEST

/* A change of one byte of a complete offer. */
static const struct {
	size_t at;
	unsigned char value;
	const char *why;
} bad_bytes[] = {
	{ 0, 1, "it is not a reply on an Ethernet" },
	{ 1, 6, "it is not a reply on an Ethernet" },
	{ 2, 16, "it is not a reply on an Ethernet" },
	{ 236, 0, "it is BOOTP, not DHCP" },
	{ DHCPMESSAGE_OPTIONS + 46 + 2, 1, "its type 1 is not that of a reply" },
	{ DHCPMESSAGE_OPTIONS + 46 + 2, 8, "its type 8 is not that of a reply" },
	{ DHCPMESSAGE_OPTIONS + 46, 200, "its type 0 is not that of a reply" },
	{ DHCPMESSAGE_OPTIONS + 40, 200, "it does not say which server it is from" },
	{ DHCPMESSAGE_OPTIONS + 42, 240, "it does not say which server it is from" },
	{ DHCPMESSAGE_OPTIONS + 22, 200, "it has no lease time" },
};

START_TEST(a_message_that_is_no_offer_is_refused)
{
	struct dhcp_reply m;
	struct err e;

	usual(DHCPMESSAGE_OFFER);
	must_read(&m);
	msg.bytes[bad_bytes[_i].at] = bad_bytes[_i].value;
	ck_assert_int_eq(read_it(&m, &e), -EPROTO);
	ck_assert_str_eq(e.msg, bad_bytes[_i].why);
}
END_TEST

/* No beginning is read beyond its end, and none without the last option is complete. */
START_TEST(a_cut_message_is_refused)
{
	struct dhcp_reply m;
	struct err e;

	usual(DHCPMESSAGE_OFFER);
	for (msg.len--; msg.len > 0; msg.len--)
		ck_assert_int_eq(read_it(&m, &e), -EPROTO);
	ck_assert_int_eq(read_it(&m, &e), -EPROTO);
	ck_assert_str_eq(e.msg, "0 bytes are too short for a message");
}
END_TEST

/* ---- writing ---- */

/* The fixed fields of a message that we send, and its options. */
static void assert_written(const struct dhcp_request *m, unsigned int flags, const char *options,
			   size_t len)
{
	unsigned char out[DHCP_REQUEST_LEN + 1];
	unsigned char want[DHCP_REQUEST_LEN] = { 1, 1, 6 };

	out[DHCP_REQUEST_LEN] = 0xaa;
	dhcp_write(m, out);
	memcpy(want + 4, DHCPMESSAGE_XID, 4);
	want[8] = 1;
	want[9] = 2;
	want[10] = (unsigned char)(flags >> 8);
	memcpy(want + 12, &m->client, 4);
	memcpy(want + 28, DHCPMESSAGE_HWADDR, 6);
	memcpy(want + 236, "\x63\x82\x53\x63", 4);
	memcpy(want + DHCPMESSAGE_OPTIONS, options, len);
	ck_assert_mem_eq(out, want, DHCP_REQUEST_LEN);
	ck_assert_uint_eq(out[DHCP_REQUEST_LEN], 0xaa);
}

static struct dhcp_request a_request(enum dhcp_type type)
{
	struct dhcp_request m = { .type = type, .xid = 0x12345678, .secs = 0x102 };

	memcpy(m.hwaddr, DHCPMESSAGE_HWADDR, DHCP_HWADDR_LEN);
	return m;
}

#define WANTED "\x37\x06\x01\x03\x06\x33\x3a\x3b\xff"

START_TEST(messages_are_written)
{
	struct dhcp_request m = a_request(DHCP_DISCOVER);

	assert_written(&m, 0x8000, ADDRESS("\x35\x01\x01" WANTED));
	m.type = DHCP_REQUEST;
	inet_pton(AF_INET, "10.0.3.10", &m.requested);
	inet_pton(AF_INET, "10.0.3.1", &m.server);
	assert_written(
		&m, 0x8000,
		ADDRESS("\x35\x01\x03\x32\x04\x0a\x00\x03\x0a\x36\x04\x0a\x00\x03\x01" WANTED));
	/* a renewal: the address is in the fixed fields, and answers may be sent to it */
	m = a_request(DHCP_REQUEST);
	inet_pton(AF_INET, "10.0.3.10", &m.client);
	assert_written(&m, 0, ADDRESS("\x35\x01\x03" WANTED));
	m.type = DHCP_RELEASE;
	inet_pton(AF_INET, "10.0.3.1", &m.server);
	assert_written(&m, 0, ADDRESS("\x35\x01\x07\x36\x04\x0a\x00\x03\x01\xff"));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("dhcp");
	TCase *tc = fixture_case("dhcp");

	tcase_add_test(tc, an_offer_is_read);
	tcase_add_test(tc, a_nak_needs_no_lease);
	tcase_add_test(tc, options_continue_in_other_fields);
	tcase_add_test(tc, fields_do_not_lead_to_each_other);
	tcase_add_test(tc, a_long_list_of_dns_servers_is_cut);
	tcase_add_loop_test(tc, without_a_mask_the_class_counts, 0, COUNT(classes));
	tcase_add_loop_test(tc, the_address_fits_its_network, 0, COUNT(networks));
	tcase_add_loop_test(tc, a_malformed_option_is_refused, 0, COUNT(bad_options));
	tcase_add_test(tc, an_option_must_not_leave_its_field);
	tcase_add_loop_test(tc, a_message_that_is_no_offer_is_refused, 0, COUNT(bad_bytes));
	tcase_add_test(tc, a_cut_message_is_refused);
	tcase_add_test(tc, messages_are_written);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
