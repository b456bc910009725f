/* SPDX-License-Identifier: Apache-2.0 */

/* The rules that keep marks on connections, in a network namespace of the test's own, and answers
 * that the kernel does not give. */
#include "os/netfilter.h"
#include "tests/unit/loopclock.h"
#include "tests/unit/ownnet.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#define OUT	 101
#define IN	 100
#define RETRY_MS 60000
#define SYSCTL	 "/proc/sys/net/ipv4/tcp_fwmark_accept"

static struct netfilter nf = NETFILTER_INIT;
static struct err e;

/* ---- connections ---- */

/* Connects to a server on lo with this mark. Returns the mark that the accepted socket has, which
 * is that of the packet that opened the connection (ip-sysctl: tcp_fwmark_accept). */
static unsigned int mark_of_connection(unsigned int mark)
{
	struct sockaddr_in sa = { .sin_family = AF_INET };
	int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(sa), mark_len = sizeof(mark);
	int accepted;

	ck_assert_int_eq(inet_pton(AF_INET, OWN_ADDRESS, &sa.sin_addr), 1);
	ck_assert_int_eq(bind(server, (struct sockaddr *)&sa, sizeof(sa)), 0);
	ck_assert_int_eq(listen(server, 1), 0);
	ck_assert_int_eq(getsockname(server, (struct sockaddr *)&sa, &len), 0);
	ck_assert_int_eq(setsockopt(client, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)), 0);
	ck_assert_int_eq(connect(client, (struct sockaddr *)&sa, sizeof(sa)), 0);
	accepted = accept4(server, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(accepted, 0);
	ck_assert_int_eq(getsockopt(accepted, SOL_SOCKET, SO_MARK, &mark, &mark_len), 0);
	close(accepted);
	close(client);
	close(server);
	return mark;
}

/* Adds the rules in a network of our own. Returns false if the test must return. */
static bool start_rules(void)
{
	int fd, r;

	if (!enter_own_network())
		return false;
	fd = open(SYSCTL, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "1", 1) != 1) {
		fixture_skip("sysctl", "sysctls cannot be written");
		return false;
	}
	close(fd);
	r = netfilter_keep_marks(&nf, OUT, IN, &e);
	if (r == -EOPNOTSUPP || r == -EPROTONOSUPPORT || r == -ENOENT) {
		fixture_skip("nftables", "the kernel lacks a part of nf_tables");
		return false;
	}
	ck_assert_msg(r == 0, "%s", e.msg);
	return true;
}

/* Deletes all tables, as `nft flush ruleset` does. */
static void flush_ruleset(void)
{
	struct {
		struct nlmsghdr head;
		struct nfgenmsg gen;
	} batch[3];
	static const int types[] = { NFNL_MSG_BATCH_BEGIN,
				     NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELTABLE,
				     NFNL_MSG_BATCH_END };
	char answer[256];
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);

	memset(batch, 0, sizeof(batch));
	for (int i = 0; i < 3; i++) {
		batch[i].head.nlmsg_len = sizeof(batch[0]);
		batch[i].head.nlmsg_type = (uint16_t)types[i];
		batch[i].head.nlmsg_flags = NLM_F_REQUEST | (i == 1 ? NLM_F_ACK : 0);
		batch[i].gen.res_id = i == 1 ? 0 : htons(NFNL_SUBSYS_NFTABLES);
	}
	ck_assert_int_eq(send(fd, batch, sizeof(batch), 0), sizeof(batch));
	ck_assert_int_gt(recv(fd, answer, sizeof(answer), MSG_DONTWAIT), 0);
	close(fd);
}

START_TEST(connections_with_the_mark_keep_it_and_others_get_none)
{
	if (!start_rules())
		return;
	ck_assert_uint_eq(mark_of_connection(OUT), IN);
	ck_assert_uint_eq(mark_of_connection(0), 0);
	ck_assert_uint_eq(mark_of_connection(7), 7);
	close(nf.fd);
}
END_TEST

START_TEST(the_rules_are_added_once)
{
	uint32_t generation, before;

	if (!start_rules())
		return;
	ck_assert_int_eq(netfilter_keep_marks(&nf, OUT, IN, &e), 0);
	before = nf.generation;
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(netfilter_keep_marks(&nf, OUT, IN, &e), 0);
	generation = nf.generation;
	ck_assert_uint_ne(before, 0);
	ck_assert_uint_eq(generation, before); /* it counts changes of the rules */
	close(nf.fd);
}
END_TEST

START_TEST(rules_that_somebody_deletes_come_back)
{
	if (!start_rules())
		return;
	flush_ruleset();
	ck_assert_uint_eq(mark_of_connection(OUT), OUT);
	ck_assert_msg(netfilter_keep_marks(&nf, OUT, IN, &e) == 0, "%s", e.msg);
	ck_assert_uint_eq(mark_of_connection(OUT), IN);
	close(nf.fd);
}
END_TEST

/* ---- failures ---- */

START_TEST(after_a_failure_a_minute_passes_until_the_next_attempt)
{
	fixture_drop_root();
	ck_assert_int_eq(netfilter_keep_marks(&nf, OUT, IN, &e), -EPERM);
	fixture_regain_root();
	ck_assert_str_eq(e.msg, "netfilter rules: operation not permitted");
	ck_assert_int_eq(nf.fd, -1);
	if (!enter_own_network()) /* in which it is permitted */
		return;
	ck_assert_int_eq(netfilter_keep_marks(&nf, OUT, IN, &e), -EPERM);
	ck_assert_str_eq(e.msg, "netfilter rules: operation not permitted");
	skipped_ms += RETRY_MS;
	ck_assert_int_ne(netfilter_keep_marks(&nf, OUT, IN, &e), -EPERM);
	if (nf.fd >= 0)
		close(nf.fd);
}
END_TEST

/* ---- answers ---- */

static union {
	char bytes[256];
	struct nlmsghdr head;
} answer;

/* Makes an answer with one attribute, or an acknowledgement if `type` is NLMSG_ERROR. */
static void make_answer(uint16_t type, uint16_t attr_type, uint16_t attr_len, int32_t value)
{
	struct nlattr attr = { attr_len, attr_type };
	size_t at = sizeof(answer.head);

	memset(&answer, 0, sizeof(answer));
	answer.head.nlmsg_type = type;
	if (type != NLMSG_ERROR) {
		at += sizeof(struct nfgenmsg);
		memcpy(answer.bytes + at, &attr, sizeof(attr));
		at += sizeof(attr);
	}
	memcpy(answer.bytes + at, &value, sizeof(value));
	answer.head.nlmsg_len = (uint32_t)(at + sizeof(value));
}

/* Asks for the rules with a socket whose peer has sent the first `len` bytes of the answer. */
static int ask_peer(size_t len)
{
	int fds[2], r;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	ck_assert_int_eq(send(fds[1], &answer, len, 0), (ssize_t)len);
	nf = (struct netfilter){ .fd = fds[0] };
	r = netfilter_keep_marks(&nf, OUT, IN, &e);
	ck_assert_int_eq(nf.fd, -1); /* closed after a failure */
	close(fds[1]);
	return r;
}

#define GENERATION (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN)

static const struct {
	uint16_t type, attr_type, attr_len;
	int32_t value;
	int result;
} answers[] = {
	{ NLMSG_ERROR, 0, 0, -EPERM, -EPERM },
	{ NLMSG_ERROR, 0, 0, -EOPNOTSUPP, -EOPNOTSUPP },
	{ GENERATION, NFTA_GEN_PROC_PID, 8, 1, -EPROTO }, /* another attribute */
	{ GENERATION, NFTA_GEN_ID, 6, 1, -EPROTO },	  /* too short */
	{ GENERATION, NFTA_GEN_ID, 3, 1, -EPROTO },	  /* shorter than an attribute can be */
	{ GENERATION, NFTA_GEN_ID, 9, 1, -EPROTO },	  /* longer than the message */
	{ GENERATION, NFTA_GEN_ID, 0, 1, -EPROTO },
	{ GENERATION, NFTA_GEN_PROC_PID, 0, 1, -EPROTO }, /* the next attribute is this one */
};

START_TEST(an_answer_that_the_kernel_does_not_give_is_an_error)
{
	make_answer(answers[_i].type, answers[_i].attr_type, answers[_i].attr_len,
		    answers[_i].value);
	ck_assert_int_eq(ask_peer(answer.head.nlmsg_len), answers[_i].result);
}
END_TEST

START_TEST(an_answer_that_is_cut_is_an_error)
{
	size_t whole;

	make_answer(NLMSG_ERROR, 0, 0, -EPERM);
	whole = answer.head.nlmsg_len;
	for (size_t len = 1; len < whole; len++)
		ck_assert_int_eq(ask_peer(len), -EPROTO);
	for (uint32_t len = 0; len < whole; len++) {
		answer.head.nlmsg_len = len;
		ck_assert_int_eq(ask_peer(whole), -EPROTO);
	}
}
END_TEST

START_TEST(a_kernel_without_an_answer_does_not_block)
{
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	nf = (struct netfilter){ .fd = fds[0] };
	ck_assert_int_eq(netfilter_keep_marks(&nf, OUT, IN, &e), -EAGAIN);
	close(fds[1]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("netfilter");
	TCase *tc = fixture_case("rules");

	tcase_add_test(tc, connections_with_the_mark_keep_it_and_others_get_none);
	tcase_add_test(tc, the_rules_are_added_once);
	tcase_add_test(tc, rules_that_somebody_deletes_come_back);
	tcase_add_test(tc, after_a_failure_a_minute_passes_until_the_next_attempt);
	suite_add_tcase(s, tc);
	tc = fixture_case("answers");
	tcase_add_loop_test(tc, an_answer_that_the_kernel_does_not_give_is_an_error, 0,
			    COUNT(answers));
	tcase_add_test(tc, an_answer_that_is_cut_is_an_error);
	tcase_add_test(tc, a_kernel_without_an_answer_does_not_block);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
