/* SPDX-License-Identifier: Apache-2.0 */

/* Network namespaces that are pinned to a file, and the devices in them. */
#include "netns.h"
#include "os/rtnl.h"
#include "tests/unit/ownmounts.h"

#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

static struct err e;
static char pin[PATH_MAX];

/* The namespace of this thread, as an inode number. */
static unsigned long long current(void)
{
	struct stat st;

	ck_assert_int_eq(stat("/proc/thread-self/ns/net", &st), 0);
	return st.st_ino;
}

static int detach(void *arg, struct err *why)
{
	int r = netns_detach(pin, why);

	*(unsigned long long *)arg = current();
	return r;
}

static int enter(void *arg, struct err *why)
{
	int r = netns_enter(pin, why);

	*(unsigned long long *)arg = current();
	return r;
}

/* Sets lo up in the detached namespace, and stores its flags. */
static int link_up(void *arg, struct err *why)
{
	struct ifreq ifr = { .ifr_name = "lo" };
	int fd, r = netns_enter(pin, why);

	if (r == 0)
		r = netns_link_up("lo", why);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(ioctl(fd, SIOCGIFFLAGS, &ifr), 0);
	close(fd);
	*(int *)arg = ifr.ifr_flags;
	return r;
}

static bool become_root(void)
{
	snprintf(pin, sizeof(pin), "%s", fixture_path("pin"));
	return enter_own_mounts(CLONE_NEWNET, 0, 0);
}

static void unpin(void)
{
	ck_assert_int_eq(umount2(pin, MNT_DETACH), 0);
	ck_assert_int_eq(unlink(pin), 0);
}

START_TEST(a_namespace_outlives_the_thread_that_made_it_and_can_be_entered_again)
{
	unsigned long long own, made, entered;
	struct stat st;

	if (!become_root())
		return;
	own = current();
	ck_assert_msg(netns_run(detach, &made, &e) == 0, "%s", e.msg);
	ck_assert(made != own);
	ck_assert_int_eq(stat(pin, &st), 0);
	ck_assert_uint_eq(st.st_ino, made);
	ck_assert_msg(netns_run(enter, &entered, &e) == 0, "%s", e.msg);
	ck_assert_uint_eq(entered, made);
	ck_assert_uint_eq(current(), own); /* only the threads have moved */
	unpin();
}
END_TEST

START_TEST(a_link_is_set_up_in_the_namespace_of_the_thread_only)
{
	struct ifreq ifr = { .ifr_name = "lo" };
	unsigned long long made;
	int fd, flags = 0;

	if (!become_root())
		return;
	ck_assert_msg(netns_run(detach, &made, &e) == 0, "%s", e.msg);
	ck_assert_msg(netns_run(link_up, &flags, &e) == 0, "%s", e.msg);
	ck_assert(flags & IFF_UP);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(ioctl(fd, SIOCGIFFLAGS, &ifr), 0);
	ck_assert(!(ifr.ifr_flags & IFF_UP));
	close(fd);
	unpin();
}
END_TEST

START_TEST(a_file_that_exists_is_not_covered)
{
	unsigned long long made;

	if (!become_root())
		return;
	fixture_file("pin", "kept", 0644);
	ck_assert_int_eq(netns_run(detach, &made, &e), -EEXIST);
	ck_assert_int_eq(strncmp(e.msg, "creating /", 10), 0);
	fixture_assert_content(pin, "kept");
	ck_assert_int_eq(unlink(pin), 0);
}
END_TEST

static const struct {
	const char *content; /* NULL: the file does not exist */
	int result;
	const char *why;
} wrong_pins[] = {
	{ NULL, -ENOENT, "open /" },
	{ "text", -EINVAL, "entering the network namespace /" },
};

START_TEST(a_file_that_is_no_namespace_cannot_be_entered)
{
	unsigned long long entered;

	snprintf(pin, sizeof(pin), "%s", fixture_path("pin"));
	if (wrong_pins[_i].content != NULL)
		fixture_file("pin", wrong_pins[_i].content, 0644);
	ck_assert_int_eq(netns_run(enter, &entered, &e), wrong_pins[_i].result);
	ck_assert_int_eq(strncmp(e.msg, wrong_pins[_i].why, strlen(wrong_pins[_i].why)), 0);
	unlink(pin);
}
END_TEST

START_TEST(a_link_that_does_not_exist_is_named)
{
	ck_assert_int_lt(netns_link_up("nosuch0", &e), 0);
	ck_assert_ptr_nonnull(strstr(e.msg, "nosuch0"));
}
END_TEST

/* ---- TAP devices ---- */

static const struct {
	const char *source; /* covers /dev/net/tun; NULL: /dev/net is empty */
	const char *beginning;
} wrong_devices[] = {
	{ NULL, "open /dev/net/tun: no such file or directory (" },
	{ "/dev/null", "creating the TAP device tap0: inappropriate ioctl for device (/dev/net/tun "
		       "is another device: as root, run `rm /dev/net/tun && mknod -m 666 "
		       "/dev/net/tun c 10 200`)" },
};

START_TEST(a_missing_or_wrong_device_file_is_reported_with_the_fix)
{
	const char *source = wrong_devices[_i].source;

	if (access("/dev/net/tun", F_OK) < 0) {
		fixture_skip("tun", "there is no /dev/net/tun");
		return;
	}
	if (!become_root())
		return;
	if (source == NULL)
		ck_assert_int_eq(mount("none", "/dev/net", "tmpfs", 0, NULL), 0);
	else
		ck_assert_int_eq(mount(source, "/dev/net/tun", NULL, MS_BIND, NULL), 0);
	ck_assert_int_lt(netns_make_tap("tap0", &e), 0);
	ck_assert_msg(strncmp(e.msg, wrong_devices[_i].beginning,
			      strlen(wrong_devices[_i].beginning)) == 0,
		      "%s", e.msg);
}
END_TEST

START_TEST(a_device_stays_without_a_descriptor)
{
	if (access("/dev/net/tun", R_OK | W_OK) < 0) {
		fixture_skip("tun", "/dev/net/tun cannot be opened");
		return;
	}
	if (!become_root())
		return;
	ck_assert_msg(netns_make_tap("tap7", &e) == 0, "%s", e.msg);
	ck_assert_uint_ne(if_nametoindex("tap7"), 0);
	ck_assert_int_eq(netns_make_tap("a-name-too-long0", &e), -ENAMETOOLONG);
	ck_assert_str_eq(e.msg, "interface name a-name-too-long0 is longer than 15 characters");
}
END_TEST

/* ---- queues ---- */

static bool can_make_queues(void)
{
	if (access("/dev/net/tun", R_OK | W_OK) < 0) {
		fixture_skip("tun", "/dev/net/tun cannot be opened");
		return false;
	}
	return become_root();
}

static const size_t queue_counts[] = { 1, 2, 64 };

/* Counts the queueing disciplines of a link in this namespace. */
static int count_qdiscs(int index)
{
	struct {
		struct nlmsghdr head;
		struct tcmsg tcm;
	} req = { .head = { .nlmsg_len = sizeof(req),
			    .nlmsg_type = RTM_GETQDISC,
			    .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		  .tcm = { .tcm_ifindex = index } };
	union {
		char bytes[65536];
		struct nlmsghdr head;
	} answer;
	int fd = rtnl_open(&e), count = 0;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(send(fd, &req, sizeof(req), 0), (ssize_t)sizeof(req));
	for (;;) {
		ssize_t left = recv(fd, &answer, sizeof(answer), 0);
		const struct nlmsghdr *part = &answer.head;

		ck_assert_int_gt(left, 0);
		for (; NLMSG_OK(part, left); part = NLMSG_NEXT(part, left)) {
			const struct tcmsg *tcm = NLMSG_DATA(part);

			if (part->nlmsg_type == NLMSG_DONE) {
				close(fd);
				return count;
			}
			ck_assert_int_eq(part->nlmsg_type, RTM_NEWQDISC);
			count += tcm->tcm_ifindex == index;
		}
	}
}

/* Otherwise there are 257 of them, with 6 MB. */
START_TEST(a_device_with_queues_has_one_queueing_discipline)
{
	int fds[2];

	if (!can_make_queues())
		return;
	ck_assert_msg(netns_make_queues("tap7", fds, 2, &e) == 0, "%s", e.msg);
	ck_assert_int_eq(count_qdiscs((int)if_nametoindex("tap7")), 1);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

#define RING_MAX 4000 /* frames; more than a queue's ring has, which is 500 or 1000 */

/* Nobody reads the queues, so packets get lost, as in a flood. The inside's TCP would end
 * connections if it were told of that. */
START_TEST(a_full_queue_is_no_error_of_the_sender)
{
	const struct sockaddr_in to = { .sin_family = AF_INET,
					.sin_port = htons(9),
					.sin_addr.s_addr = htonl(INADDR_ALLHOSTS_GROUP) };
	const int on = 1;
	struct ip_mreqn via = { .imr_ifindex = 0 };
	int fds[2], fd, s;

	if (!can_make_queues())
		return;
	ck_assert_msg(netns_make_queues("tap7", fds, 2, &e) == 0, "%s", e.msg);
	via.imr_ifindex = (int)if_nametoindex("tap7");
	fd = rtnl_open(&e);
	ck_assert_int_eq(
		rtnl_addr_add(fd, via.imr_ifindex, (struct in_addr){ htonl(0x0a090001) }, 24, &e),
		0);
	s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(setsockopt(s, IPPROTO_IP, IP_RECVERR, &on, sizeof(on)), 0);
	ck_assert_int_eq(setsockopt(s, IPPROTO_IP, IP_MULTICAST_IF, &via, sizeof(via)), 0);
	for (int i = 0; i < RING_MAX; i++)
		ck_assert_msg(sendto(s, "x", 1, 0, (const struct sockaddr *)&to, sizeof(to)) == 1,
			      "datagram %d: %s", i, strerror(errno));
	close(s);
	close(fd);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

START_TEST(a_device_has_queues_with_virtio_headers_and_is_up)
{
	const short flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE;
	const size_t count = queue_counts[_i];
	struct ifreq ifr = { .ifr_name = "tap7" };
	int fds[64], sock;

	if (!can_make_queues())
		return;
	ck_assert_msg(netns_make_queues("tap7", fds, count, &e) == 0, "%s", e.msg);
	sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(ioctl(sock, SIOCGIFFLAGS, &ifr), 0);
	ck_assert_int_eq(ifr.ifr_flags & (IFF_UP | IFF_RUNNING), IFF_UP | IFF_RUNNING);
	close(sock);
	for (size_t i = 0; i < count; i++) {
		ck_assert(fixture_is_cloexec(fds[i]));
		ck_assert(fcntl(fds[i], F_GETFL) & O_NONBLOCK);
		ck_assert_int_eq(ioctl(fds[i], TUNGETIFF, &ifr), 0);
		ck_assert_str_eq(ifr.ifr_name, "tap7");
		ck_assert_int_eq(ifr.ifr_flags & flags, flags);
		ck_assert(!(ifr.ifr_flags & IFF_PERSIST));
		close(fds[i]);
	}
	ck_assert_uint_eq(if_nametoindex("tap7"), 0);
}
END_TEST

static void make_other(const char *name)
{
	ck_assert_msg(netns_make_tap(name, &e) == 0, "%s", e.msg);
}

static const struct {
	const char *name;
	int room; /* for descriptors; -1: enough */
	int result;
	const char *beginning;
} wrong_queues[] = {
	{ "a-name-too-long0", -1, -ENAMETOOLONG, "interface name a-name-too-long0 is longer than" },
	{ "tap0", -1, -EINVAL, "creating the TAP device tap0: invalid argument" }, /* exists */
	{ "lo", -1, -EINVAL, "creating the TAP device lo: " },
	{ "tap1", 0, -ENODEV, "open /dev/net/tun: too many open files" },
	{ "tap1", 2, -ENODEV, "open /dev/net/tun: too many open files" },
	{ "tap1", 3, -EMFILE, "" }, /* no socket to set the link up */
};

START_TEST(queues_that_cannot_be_made_leave_nothing_behind)
{
	struct rlimit old;
	int fds[3];

	if (!can_make_queues())
		return;
	make_other("tap0");
	if (wrong_queues[_i].room >= 0)
		old = fixture_limit_fds(wrong_queues[_i].room);
	ck_assert_int_eq(netns_make_queues(wrong_queues[_i].name, fds, 3, &e),
			 wrong_queues[_i].result);
	if (wrong_queues[_i].room >= 0)
		fixture_restore_fds(&old);
	ck_assert_msg(
		strncmp(e.msg, wrong_queues[_i].beginning, strlen(wrong_queues[_i].beginning)) == 0,
		"%s", e.msg);
	ck_assert_uint_eq(if_nametoindex("tap1"), 0);
}
END_TEST

/* As long as the descriptor is open, the namespace lives. */
START_TEST(an_open_namespace_can_be_entered)
{
	unsigned long long own, made;
	int fd;

	if (!become_root())
		return;
	fd = netns_open(&e);
	ck_assert_int_ge(fd, 0);
	ck_assert(fixture_is_cloexec(fd));
	own = current();
	ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
	made = current();
	ck_assert(made != own);
	ck_assert_int_eq(setns(fd, CLONE_NEWNET), 0);
	ck_assert_uint_eq(current(), own);
	close(fd);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("netns");
	TCase *tc = fixture_case_with_dir("netns");

	tcase_add_test(tc, a_namespace_outlives_the_thread_that_made_it_and_can_be_entered_again);
	tcase_add_test(tc, a_link_is_set_up_in_the_namespace_of_the_thread_only);
	tcase_add_test(tc, a_file_that_exists_is_not_covered);
	tcase_add_loop_test(tc, a_file_that_is_no_namespace_cannot_be_entered, 0,
			    COUNT(wrong_pins));
	tcase_add_test(tc, a_link_that_does_not_exist_is_named);
	suite_add_tcase(s, tc);
	tc = fixture_case_with_dir("tap");
	tcase_add_loop_test(tc, a_missing_or_wrong_device_file_is_reported_with_the_fix, 0,
			    COUNT(wrong_devices));
	tcase_add_test(tc, a_device_stays_without_a_descriptor);
	tcase_add_test(tc, a_device_with_queues_has_one_queueing_discipline);
	tcase_add_test(tc, a_full_queue_is_no_error_of_the_sender);
	tcase_add_loop_test(tc, a_device_has_queues_with_virtio_headers_and_is_up, 0,
			    COUNT(queue_counts));
	tcase_add_loop_test(tc, queues_that_cannot_be_made_leave_nothing_behind, 0,
			    COUNT(wrong_queues));
	tcase_add_test(tc, an_open_namespace_can_be_entered);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
