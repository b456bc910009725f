/* SPDX-License-Identifier: Apache-2.0 */

/* Finding this machine's addresses, and malformed answers. The end-to-end tests cover changes of a
 * network. */
#include "os/rtnl.h"
#include "tests/unit/fixture.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <sys/socket.h>

static int asked;
static struct in_addr first; /* that the kernel has reported */

static bool is_any(struct in_addr addr)
{
	if (asked++ == 0)
		first = addr;
	return true;
}

static bool match_nothing(struct in_addr addr)
{
	(void)addr;
	asked++;
	return false;
}

static bool is_beyond_loopback(struct in_addr addr)
{
	return ntohl(addr.s_addr) >> 24 != 127;
}

/* Returns the number of IPv4 addresses that getifaddrs(3) reports, and the first one that passes.
 */
static int count_addresses(bool (*is_it)(struct in_addr addr), struct in_addr *found)
{
	struct ifaddrs *list;
	int count = 0;

	ck_assert_int_eq(getifaddrs(&list), 0);
	for (const struct ifaddrs *ifa = list; ifa != NULL; ifa = ifa->ifa_next) {
		const struct sockaddr_in *sin = (const void *)ifa->ifa_addr;

		if (sin == NULL || sin->sin_family != AF_INET || !is_it(sin->sin_addr))
			continue;
		if (count++ == 0)
			*found = sin->sin_addr;
	}
	freeifaddrs(list);
	return count;
}

START_TEST(the_first_address_is_that_of_getifaddrs)
{
	struct in_addr expected, addr;
	int count = count_addresses(is_beyond_loopback, &expected);

	ck_assert_int_eq(rtnl_find_address(is_beyond_loopback, &addr), count > 0);
	if (count > 0)
		ck_assert_uint_eq(addr.s_addr, expected.s_addr);
}
END_TEST

START_TEST(the_search_stops_at_the_first_match)
{
	struct in_addr addr;

	asked = 0;
	if (rtnl_find_address(is_any, &addr) == 1) {
		ck_assert_int_eq(asked, 1);
		ck_assert_uint_eq(addr.s_addr, first.s_addr);
	}
}
END_TEST

START_TEST(without_a_match_all_addresses_are_offered)
{
	struct in_addr addr, ignored;
	int count = count_addresses(is_any, &ignored);

	asked = 0;
	ck_assert_int_eq(rtnl_find_address(match_nothing, &addr), 0);
	ck_assert_int_eq(asked, count);
}
END_TEST

/* ---- answers ---- */

/* An answer under construction. Bytes behind its end belong to the buffer, too. */
static union {
	struct nlmsghdr head;
	char bytes[1024];
} answer;
static size_t answer_len;

static void begin_answer(void)
{
	memset(&answer, 0, sizeof(answer));
	answer_len = 0;
}

/* Adds a message at the next multiple of 4. Returns it. */
static struct nlmsghdr *add_message(uint16_t type, const void *payload, size_t len)
{
	struct nlmsghdr *m;

	answer_len = NLMSG_ALIGN(answer_len);
	m = (struct nlmsghdr *)(void *)(answer.bytes + answer_len);
	m->nlmsg_type = type;
	m->nlmsg_len = (uint32_t)NLMSG_LENGTH(len);
	memcpy(NLMSG_DATA(m), payload, len);
	answer_len += m->nlmsg_len;
	return m;
}

/* Adds an attribute to the last message. */
static struct rtattr *add_attribute(struct nlmsghdr *m, uint16_t type, const void *data, size_t len)
{
	char *end = (char *)m + NLMSG_ALIGN(m->nlmsg_len);
	struct rtattr *rta = (struct rtattr *)(void *)end;

	rta->rta_type = type;
	rta->rta_len = (uint16_t)RTA_LENGTH(len);
	memcpy(RTA_DATA(rta), data, len);
	m->nlmsg_len = (uint32_t)((size_t)(end - (char *)m) + rta->rta_len);
	answer_len = (size_t)(end - answer.bytes) + rta->rta_len;
	return rta;
}

static struct nlmsghdr *add_address(const char *text)
{
	const struct ifaddrmsg ifa = { .ifa_family = AF_INET };
	struct nlmsghdr *m = add_message(RTM_NEWADDR, &ifa, sizeof(ifa));
	struct in_addr addr;

	ck_assert_int_eq(inet_pton(AF_INET, text, &addr), 1);
	add_attribute(m, IFA_LOCAL, &addr, sizeof(addr));
	return m;
}

/* Parses a copy of the first `len` bytes, so that sanitizers notice a read past its end. */
static int find(size_t len, bool (*is_it)(struct in_addr addr), struct in_addr *addr)
{
	char *copy = malloc(len > 0 ? len : 1);
	int r, exact;

	memcpy(copy, answer.bytes, len);
	asked = 0;
	exact = rtnl_find_in_answer(copy, len, is_it, addr);
	free(copy);
	asked = 0;
	r = rtnl_find_in_answer(&answer, len, is_it, addr);
	ck_assert_int_eq(r, exact);
	return r;
}

START_TEST(a_list_continues_until_its_end_message)
{
	struct in_addr addr;

	begin_answer();
	ck_assert_int_eq(find(0, is_any, &addr), -EAGAIN);
	add_address("192.0.2.1");
	add_address("192.0.2.2");
	ck_assert_int_eq(find(answer_len, match_nothing, &addr), -EAGAIN);
	ck_assert_int_eq(asked, 2);
	add_message(NLMSG_DONE, "", 1);
	add_address("192.0.2.3");
	ck_assert_int_eq(find(answer_len, match_nothing, &addr), 0);
	ck_assert_int_eq(asked, 2);
}
END_TEST

START_TEST(the_last_message_may_end_at_any_byte)
{
	struct in_addr addr;
	struct nlmsghdr *m;
	size_t end;

	begin_answer();
	m = add_address("192.0.2.1");
	add_attribute(m, IFA_LABEL, "label-of-any-length", 1 + (size_t)_i);
	end = answer_len;
	/* beyond the end */
	for (int i = 0; i < 8; i++)
		add_address("203.0.113.1");
	ck_assert_int_eq(find(end, match_nothing, &addr), -EAGAIN);
	ck_assert_int_eq(asked, 1);
}
END_TEST

START_TEST(the_last_attribute_may_end_at_any_byte)
{
	const struct ifaddrmsg ifa = { .ifa_family = AF_INET };
	struct nlmsghdr *m;
	struct in_addr addr;
	uint32_t len;

	begin_answer();
	m = add_message(RTM_NEWADDR, &ifa, sizeof(ifa));
	add_attribute(m, IFA_LABEL, "label-of-any-length", 1 + (size_t)_i);
	len = m->nlmsg_len;
	/* beyond the end */
	ck_assert_int_eq(inet_pton(AF_INET, "203.0.113.1", &addr), 1);
	add_attribute(m, IFA_LOCAL, &addr, sizeof(addr));
	m->nlmsg_len = len;
	ck_assert_int_eq(find(len, is_any, &addr), -EAGAIN);
	ck_assert_int_eq(asked, 0);
}
END_TEST

START_TEST(a_list_that_is_cut_is_an_error)
{
	struct in_addr addr;
	size_t whole, len;

	begin_answer();
	add_address("192.0.2.1");
	whole = answer_len;
	add_address("192.0.2.2");
	for (len = 1; len < answer_len; len++) {
		ck_assert_int_eq(find(len, match_nothing, &addr), len == whole ? -EAGAIN : -EPROTO);
		ck_assert_int_eq(asked, len >= whole);
	}
}
END_TEST

static const uint32_t bad_lengths[] = { 0, 1, 15, 16, 17, 23, 25, 27, 0x7fffffff, 0xffffffff };

START_TEST(a_message_with_a_wrong_length_is_not_read_beyond_the_buffer)
{
	struct in_addr addr;
	struct nlmsghdr *m;

	begin_answer();
	m = add_address("192.0.2.1");
	m->nlmsg_len = bad_lengths[_i];
	find(answer_len, is_any, &addr);
	ck_assert_int_eq(asked, 0);
}
END_TEST

START_TEST(an_attribute_with_a_wrong_length_is_not_read_beyond_the_buffer)
{
	const struct ifaddrmsg ifa = { .ifa_family = AF_INET };
	const struct in_addr addr = { htonl(0xc0000201) };
	struct in_addr found;

	for (unsigned int len = 0; len <= UINT16_MAX; len++) {
		struct nlmsghdr *m;
		struct rtattr *rta;

		begin_answer();
		m = add_message(RTM_NEWADDR, &ifa, sizeof(ifa));
		rta = add_attribute(m, IFA_LOCAL, &addr, sizeof(addr));
		rta->rta_len = (uint16_t)len;
		find(answer_len, is_any, &found);
		ck_assert_int_eq(asked, len == RTA_LENGTH(sizeof(addr)));
	}
}
END_TEST

/* ---- what another one answers ---- */

/* Asks a peer, which answers with the first `len` bytes of the answer, whether an address is local.
 */
static int ask_peer(size_t len)
{
	const struct in_addr addr = { htonl(INADDR_LOOPBACK) };
	int fds[2], r;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	ck_assert_int_eq(send(fds[1], &answer, len, 0), (ssize_t)len);
	r = rtnl_is_local(fds[0], AF_INET, &addr, sizeof(addr));
	close(fds[0]);
	close(fds[1]);
	return r;
}

START_TEST(a_route_that_is_cut_is_an_error)
{
	const struct rtmsg rtm = { .rtm_family = AF_INET, .rtm_type = RTN_LOCAL };

	begin_answer();
	add_message(RTM_NEWROUTE, &rtm, sizeof(rtm));
	ck_assert_int_eq(ask_peer(answer_len), 1);
	for (size_t len = 1; len < answer_len; len++)
		ck_assert_int_eq(ask_peer(len), -EPROTO);
	for (uint32_t len = 0; len < answer_len; len++) {
		answer.head.nlmsg_len = len;
		ck_assert_int_eq(ask_peer(answer_len), -EPROTO);
	}
	answer.head.nlmsg_len = (uint32_t)answer_len + 1;
	ck_assert_int_eq(ask_peer(answer_len), -EPROTO);
}
END_TEST

static const struct {
	int error;
	int result;
} acks[] = { { -ENETUNREACH, -ENETUNREACH }, { 0, 0 }, { 1, -EPROTO }, { INT32_MAX, -EPROTO } };

START_TEST(an_acknowledgement_carries_an_error_number_or_0)
{
	const struct nlmsgerr ack = { .error = acks[_i].error };

	begin_answer();
	add_message(NLMSG_ERROR, &ack, sizeof(ack));
	ck_assert_int_eq(ask_peer(answer_len), acks[_i].result);
	for (size_t len = 1; len < answer_len; len++)
		ck_assert_int_eq(ask_peer(len), -EPROTO);
}
END_TEST

/* The kernel lets root of a namespace send to netlink sockets of other processes. */
START_TEST(messages_of_other_processes_are_ignored)
{
	const struct in_addr loopback = { htonl(INADDR_LOOPBACK) };
	const struct nlmsgerr ack = { .error = -EPERM };
	struct sockaddr_nl to = { .nl_family = AF_NETLINK };
	socklen_t len = sizeof(to);
	struct err e;
	int fd, other;

	/* Root of an own namespace, if one can be made. */
	bool is_root = unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0;

	fd = rtnl_open(&e);
	other = rtnl_open(&e);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_ge(other, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&to, &len), 0);
	begin_answer();
	add_message(NLMSG_ERROR, &ack, sizeof(ack));
	if (is_root)
		ck_assert_int_eq(
			sendto(other, &answer, answer_len, 0, (struct sockaddr *)&to, sizeof(to)),
			(ssize_t)answer_len);
	ck_assert_int_ne(rtnl_is_local(fd, AF_INET, &loopback, sizeof(loopback)), -EPERM);
	close(fd);
	close(other);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("rtnl");
	TCase *tc = fixture_case("addresses");

	tcase_add_test(tc, the_first_address_is_that_of_getifaddrs);
	tcase_add_test(tc, the_search_stops_at_the_first_match);
	tcase_add_test(tc, without_a_match_all_addresses_are_offered);
	suite_add_tcase(s, tc);
	tc = fixture_case("answers");
	tcase_add_test(tc, a_list_continues_until_its_end_message);
	tcase_add_loop_test(tc, the_last_message_may_end_at_any_byte, 0, 8);
	tcase_add_loop_test(tc, the_last_attribute_may_end_at_any_byte, 0, 8);
	tcase_add_test(tc, a_list_that_is_cut_is_an_error);
	tcase_add_loop_test(tc, a_message_with_a_wrong_length_is_not_read_beyond_the_buffer, 0,
			    COUNT(bad_lengths));
	tcase_add_test(tc, an_attribute_with_a_wrong_length_is_not_read_beyond_the_buffer);
	tcase_add_test(tc, a_route_that_is_cut_is_an_error);
	tcase_add_loop_test(tc, an_acknowledgement_carries_an_error_number_or_0, 0, COUNT(acks));
	tcase_add_test(tc, messages_of_other_processes_are_ignored);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
