/* SPDX-License-Identifier: Apache-2.0 */

/* The plan of the child's network, as JSON and as files, and a link that is configured by it. */
#include "tests/unit/ownmounts.h"
#include "tests/unit/ownnet.h"

#include <arpa/inet.h>

#include "net/network.h"
#include "netns.h"
#include "os/statedir.h"

#define TEXT_MAX 1024 /* bytes of JSON */

static struct err e;

/* Fills in options that netopts_check would have checked. */
static struct netopts options_of(enum net_driver driver, const char *net, int prefix_len)
{
	struct netopts o = { .driver = driver };

	ck_assert_int_eq(inet_pton(AF_INET, net, &o.cidr.net), 1);
	o.cidr.prefix_len = prefix_len;
	return o;
}

static const char *text_of(struct in_addr addr)
{
	return inet_ntoa(addr);
}

/* ---- the plan ---- */

static const struct {
	enum net_driver driver;
	const char *net;
	int prefix_len;
	bool ipv6;
	const char *ip, *gateway, *dns, *dns6;
} plans[] = {
	{ NET_SLIRP4NETNS, "10.0.2.0", 24, false, "10.0.2.100", "10.0.2.2", "10.0.2.3", "" },
	{ NET_SLIRP4NETNS, "10.0.2.0", 24, true, "10.0.2.100", "10.0.2.2", "10.0.2.3", "fd00::3" },
	{ NET_PASTA, "10.0.2.0", 24, true, "10.0.2.100", "10.0.2.2", "10.0.2.3", "" },
	{ NET_PASTA, "172.16.0.0", 12, false, "172.16.0.100", "172.16.0.2", "172.16.0.3", "" },
	{ NET_SLIRP4NETNS, "192.168.0.128", 25, false, "192.168.0.228", "192.168.0.130",
	  "192.168.0.131", "" },
	{ NET_BUILTIN, "10.0.2.0", 24, false, "10.0.2.100", "10.0.2.2", "10.0.2.3", "" },
	{ NET_BUILTIN, "10.9.0.0", 16, true, "10.9.0.100", "10.9.0.2", "10.9.0.3", "fd00::3" },
	{ NET_GVISOR, "10.0.2.0", 24, false, "10.0.2.100", "10.0.2.1", "10.0.2.1", "" },
	{ NET_GVISOR, "192.168.0.128", 25, true, "192.168.0.228", "192.168.0.129", "192.168.0.129",
	  "fd00::3" },
};

START_TEST(the_plan_has_host_numbers_of_the_address_range)
{
	struct netopts o = options_of(plans[_i].driver, plans[_i].net, plans[_i].prefix_len);
	struct network net;

	o.ipv6 = plans[_i].ipv6;
	network_plan(&net, &o);
	ck_assert_str_eq(net.dev, "tap0");
	ck_assert_str_eq(text_of(net.ip), plans[_i].ip);
	ck_assert_str_eq(text_of(net.gateway), plans[_i].gateway);
	ck_assert_int_eq(net.prefix_len, plans[_i].prefix_len);
	ck_assert_str_eq(net.dns[0], plans[_i].dns);
	ck_assert_str_eq(net.dns[1], plans[_i].dns6);
	ck_assert_str_eq(net.dns[2], "");
	ck_assert_uint_eq(net.mtu, 65520);
}
END_TEST

static const struct {
	enum net_driver driver;
	bool ipv6, configures_ipv6;
} families[] = {
	{ NET_BUILTIN, true, true },	  { NET_GVISOR, true, true }, { NET_BUILTIN, false, false },
	{ NET_SLIRP4NETNS, true, false }, { NET_PASTA, true, false },
};

/* slirp4netns announces its IPv6 network, and pasta configures it */
START_TEST(the_child_configures_ipv6_only_for_our_own_network)
{
	struct netopts o = options_of(families[_i].driver, "10.0.2.0", 24);
	struct in6_addr none = IN6ADDR_ANY_INIT, ip6, gateway6;
	struct network net;

	o.ipv6 = families[_i].ipv6;
	network_plan(&net, &o);
	inet_pton(AF_INET6, "fd00::100", &ip6);
	inet_pton(AF_INET6, "fd00::2", &gateway6);
	if (!families[_i].configures_ipv6)
		ip6 = gateway6 = none;
	ck_assert_int_eq(net.prefix6_len, families[_i].configures_ipv6 ? 64 : 0);
	ck_assert_mem_eq(&net.ip6, &ip6, sizeof(ip6));
	ck_assert_mem_eq(&net.gateway6, &gateway6, sizeof(gateway6));
}
END_TEST

START_TEST(a_name_and_an_mtu_can_be_chosen)
{
	struct netopts o = options_of(NET_PASTA, "10.0.2.0", 24);
	struct network net;

	o.ifname = "abcdefghijklmno"; /* as long as the kernel allows */
	o.mtu = 1500;
	network_plan(&net, &o);
	ck_assert_str_eq(net.dev, "abcdefghijklmno");
	ck_assert_uint_eq(net.mtu, 1500);
}
END_TEST

static const enum net_driver without_program[] = { NET_HOST, NET_NONE };

START_TEST(without_a_network_program_there_is_no_plan)
{
	static const struct network none;
	struct netopts o = options_of(without_program[_i], "10.0.2.0", 24);
	struct network net;

	memset(&net, 'x', sizeof(net));
	network_plan(&net, &o);
	ck_assert_int_eq(memcmp(&net, &none, sizeof(net)), 0);
}
END_TEST

/* ---- JSON ---- */

static int parse(const char *json, struct network *net)
{
	struct json_doc doc;

	ck_assert_msg(json_parse(&doc, json, strlen(json), &e) == 0, "%s: %s", json, e.msg);
	return network_from_json(net, &doc, &doc.nodes[0]);
}

static const char *format(const struct network *net)
{
	static char text[TEXT_MAX];
	struct jsonout out;

	jsonout_init(&out, text, sizeof(text));
	jsonout_begin_object(&out, NULL);
	network_to_json(net, &out);
	jsonout_end_object(&out);
	ck_assert(!out.overflow);
	return text;
}

START_TEST(json_has_all_settings)
{
	struct netopts o = options_of(NET_SLIRP4NETNS, "10.0.2.0", 24);
	struct network net, copy;

	o.ipv6 = true;
	network_plan(&net, &o);
	ck_assert_str_eq(format(&net),
			 "{\"Dev\":\"tap0\",\"IP\":\"10.0.2.100\",\"Netmask\":24,"
			 "\"Gateway\":\"10.0.2.2\",\"DNS\":[\"10.0.2.3\",\"fd00::3\"],"
			 "\"MTU\":65520}");
	ck_assert_int_eq(parse(format(&net), &copy), 0);
	ck_assert_int_eq(memcmp(&net, &copy, sizeof(net)), 0);
}
END_TEST

START_TEST(json_has_ipv6_settings_if_there_are_any)
{
	struct netopts o = options_of(NET_BUILTIN, "10.0.2.0", 24);
	struct network net, copy;

	o.ipv6 = true;
	network_plan(&net, &o);
	ck_assert_str_eq(format(&net),
			 "{\"Dev\":\"tap0\",\"IP\":\"10.0.2.100\",\"Netmask\":24,"
			 "\"Gateway\":\"10.0.2.2\",\"DNS\":[\"10.0.2.3\",\"fd00::3\"],"
			 "\"MTU\":65520,\"IP6\":\"fd00::100\",\"Netmask6\":64,"
			 "\"Gateway6\":\"fd00::2\"}");
	ck_assert_int_eq(parse(format(&net), &copy), 0);
	ck_assert_int_eq(memcmp(&net, &copy, sizeof(net)), 0);
}
END_TEST

/* With DHCP the parent knows the name and maybe the MTU. The rest is empty, as in RootlessKit's
 * message, and the child fills it in. */
START_TEST(a_network_by_dhcp_has_no_addresses_yet)
{
	struct netopts o = options_of(NET_LXC_USER_NIC, "10.0.2.0", 24);
	struct network net, copy;

	network_plan(&net, &o);
	ck_assert_str_eq(net.dev, "eth0");
	ck_assert_uint_eq(net.mtu, 0);
	o.ifname = "net5";
	o.mtu = 1400;
	network_plan(&net, &o);
	ck_assert(net.by_dhcp);
	ck_assert_str_eq(format(&net), "{\"Dev\":\"net5\",\"IP\":\"\",\"Netmask\":0,"
				       "\"Gateway\":\"\",\"DNS\":[],\"MTU\":1400}");
	ck_assert_int_eq(parse(format(&net), &copy), 0);
	ck_assert_int_eq(memcmp(&net, &copy, sizeof(net)), 0);
}
END_TEST

START_TEST(json_of_no_network_has_an_empty_link_name_only)
{
	struct network net = { 0 };

	ck_assert_str_eq(format(&net), "{\"Dev\":\"\"}");
	memset(&net, 'x', sizeof(net));
	ck_assert_int_eq(parse("{\"Dev\":\"\"}", &net), 0);
	ck_assert_str_eq(net.dev, "");
}
END_TEST

#define DEV  "\"Dev\":\"tap0\""
#define IP   ",\"IP\":\"10.0.2.100\""
#define MASK ",\"Netmask\":24"
#define GW   ",\"Gateway\":\"10.0.2.2\""
#define DNS  ",\"DNS\":[\"10.0.2.3\"]"
#define MTU  ",\"MTU\":1500"

#define ALL4 DEV IP MASK GW DNS MTU
#define IP6  ",\"IP6\":\"fd00::100\""
#define M6   ",\"Netmask6\":64"
#define GW6  ",\"Gateway6\":\"fd00::2\""

static const struct {
	const char *json;
	int result;
} texts[] = {
	{ "{" ALL4 IP6 M6 GW6 "}", 0 },
	{ "{" ALL4 M6 GW6 "}", 0 }, /* the address decides */
	{ "{" ALL4 IP6 GW6 "}", -EINVAL },
	{ "{" ALL4 IP6 M6 "}", -EINVAL },
	{ "{" ALL4 ",\"IP6\":\"10.0.2.100\"" M6 GW6 "}", -EINVAL },
	{ "{" ALL4 ",\"IP6\":\"\"" M6 GW6 "}", -EINVAL },
	{ "{" ALL4 ",\"IP6\":6" M6 GW6 "}", -EINVAL },
	{ "{" ALL4 IP6 M6 ",\"Gateway6\":\"fd00::2%tap0\"}", -EINVAL },
	{ "{" ALL4 IP6 M6 ",\"Gateway6\":\"10.0.2.2\"}", -EINVAL },
	{ "{" ALL4 IP6 ",\"Netmask6\":0" GW6 "}", -EINVAL },
	{ "{" ALL4 IP6 ",\"Netmask6\":129" GW6 "}", -EINVAL },
	{ "{" ALL4 IP6 ",\"Netmask6\":-1" GW6 "}", -EINVAL },
	{ "{" DEV IP MASK GW DNS MTU "}", 0 },
	{ "{" DEV IP MASK GW DNS ",\"MTU\":65535}", 0 },
	{ "{" DEV IP MASK GW ",\"DNS\":[\"1.1.1.1\",\"::1\",\"2.2.2.2\",\"::2\"]" MTU "}", 0 },
	{ "{}", -EINVAL },
	{ "{\"Dev\":5}", -EINVAL },
	{ "{\"Dev\":\"a-name-with-16-ch\"" IP MASK GW DNS MTU "}", -EINVAL },
	{ "{" DEV MASK GW DNS MTU "}", -EINVAL },
	{ "{" DEV IP GW DNS MTU "}", -EINVAL },
	{ "{" DEV IP MASK DNS MTU "}", -EINVAL },
	{ "{" DEV IP MASK GW MTU "}", -EINVAL },
	{ "{" DEV IP MASK GW DNS "}", -EINVAL },
	{ "{" DEV ",\"IP\":\"fd00::1\"" MASK GW DNS MTU "}", -EINVAL },
	{ "{" DEV ",\"IP\":\"10.0.2\"" MASK GW DNS MTU "}", -EINVAL },
	{ "{" DEV IP ",\"Netmask\":33" GW DNS MTU "}", -EINVAL },
	{ "{" DEV IP ",\"Netmask\":-1" GW DNS MTU "}", -EINVAL },
	{ "{" DEV IP ",\"Netmask\":\"24\"" GW DNS MTU "}", -EINVAL },
	{ "{" DEV IP MASK GW ",\"DNS\":[]" MTU "}", -EINVAL },
	{ "{" DEV IP MASK GW ",\"DNS\":\"10.0.2.3\"" MTU "}", -EINVAL },
	{ "{" DEV IP MASK GW ",\"DNS\":[\"localhost\"]" MTU "}", -EINVAL },
	{ "{" DEV IP MASK GW ",\"DNS\":[\"1.1.1.1\\nsearch x\"]" MTU "}", -EINVAL },
	{ "{" DEV IP MASK GW ",\"DNS\":[\"::1\",\"::1\",\"::1\",\"::1\",\"::1\"]" MTU "}",
	  -EINVAL },
	{ "{" DEV IP MASK GW DNS ",\"MTU\":65536}", -EINVAL },
	{ "{" DEV IP MASK GW DNS ",\"MTU\":-1}", -EINVAL },
};

START_TEST(json_with_a_missing_or_malformed_setting_is_refused)
{
	struct network net;

	ck_assert_int_eq(parse(texts[_i].json, &net), texts[_i].result);
}
END_TEST

/* ---- files ---- */

START_TEST(the_files_have_dns_servers_and_the_hosts_names)
{
	struct network net = { .dev = "tap0", .dns = { "10.0.2.3", "fd00::3" } };
	char name[HOST_NAME_MAX + 1] = "", end[2 * sizeof(name) + 64];
	char last[sizeof(end)] = "";
	FILE *f;

	ck_assert_msg(network_write_files(&net, fixture_dir, &e) == 0, "%s", e.msg);
	fixture_assert_content(fixture_path(STATE_RESOLV),
			       "nameserver 10.0.2.3\nnameserver fd00::3\n");
	ck_assert_int_eq(gethostname(name, sizeof(name) - 1), 0);
	snprintf(end, sizeof(end), "\n127.0.0.1 %s\n::1 %s\n", name, name);
	f = fopen(fixture_path(STATE_HOSTS), "re");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fseek(f, -(long)strlen(end), SEEK_END), 0);
	ck_assert_uint_eq(fread(last, 1, strlen(end), f), strlen(end));
	fclose(f);
	ck_assert_str_eq(last, end);
	unlink(fixture_path(STATE_RESOLV));
	unlink(fixture_path(STATE_HOSTS));
}
END_TEST

START_TEST(a_directory_that_cannot_be_written_is_an_error)
{
	struct network net = { .dev = "tap0", .dns = { "10.0.2.3" } };

	ck_assert_int_eq(network_write_files(&net, fixture_path("none"), &e), -ENOENT);
}
END_TEST

/* Covers /etc with a tmpfs that has room for no file, in a mount namespace of the test's own.
 * Returns false if the test must return. */
static bool fill_etc(void)
{
	if (!enter_own_mounts(0, 0, 0))
		return false;
	if (mount("none", "/etc", "tmpfs", 0, "nr_inodes=1") == 0)
		return true;
	fixture_skip("userns", "a tmpfs cannot be mounted");
	return false;
}

/* The advice for a full state directory would not help. */
START_TEST(a_full_tmpfs_of_copy_up_is_named_in_the_reason)
{
	fixture_file(STATE_RESOLV, "nameserver 10.0.2.3\n", 0644);
	if (!fill_etc())
		return;
	ck_assert_int_eq(network_mount_files(fixture_dir, true, &e), -ENOSPC);
	ck_assert_str_eq(e.msg, "creating /etc/resolv.conf: no space left on device; the tmpfs of "
				"--copy-up=/etc is full, try to free memory");
}
END_TEST

/* ---- a link ---- */

#define OPTIMISTIC_OR_TENTATIVE 0x44 /* IFA_F_OPTIMISTIC | IFA_F_TENTATIVE of linux/if_addr.h */

/* Looks for an address of `dev` in /proc/net/if_inet6 (32 hexadecimal digits). Returns its flags,
 * or -1. */
static int flags_of_address(const char *digits, const char *dev)
{
	char line[256], found[64], name[32];
	unsigned int flags;
	FILE *f = fopen("/proc/net/if_inet6", "re");
	int result = -1;

	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, "%63s %*x %*x %*x %x %31s", found, &flags, name) == 3 &&
		    strcmp(found, digits) == 0 && strcmp(name, dev) == 0)
			result = (int)flags;
	fclose(f);
	return result;
}

/* Returns whether /proc/net/ipv6_route has a default route by this gateway (32 digits). */
static bool has_default_route6(const char *gateway)
{
	char line[256], dst[64], len[8], via[64];
	FILE *f = fopen("/proc/net/ipv6_route", "re");
	bool found = false;

	ck_assert_ptr_nonnull(f);
	while (!found && fgets(line, sizeof(line), f) != NULL)
		found = sscanf(line, "%63s %7s %*s %*s %63s", dst, len, via) == 3 &&
			strspn(dst, "0") == 32 && strcmp(len, "00") == 0 &&
			strcmp(via, gateway) == 0;
	fclose(f);
	return found;
}

/* Moves this process into a network namespace with a TAP device, and sets *net to our own network
 * with IPv6 on it. If it returns false, the test must return. */
static bool enter_tap_network(struct network *net)
{
	struct netopts o = options_of(NET_BUILTIN, "10.0.2.0", 24);

	o.ipv6 = true;
	network_plan(net, &o);
	if (access("/proc/net/if_inet6", F_OK) < 0) {
		fixture_skip("ipv6", "the kernel has no IPv6");
		return false;
	}
	if (access("/dev/net/tun", R_OK | W_OK) < 0) {
		fixture_skip("tun", "/dev/net/tun cannot be opened");
		return false;
	}
	if (!enter_bare_network())
		return false;
	ck_assert_msg(netns_make_tap(net->dev, &e) == 0, "%s", e.msg);
	return true;
}

#define GUEST6	 "fd000000000000000000000000000100"
#define GATEWAY6 "fd000000000000000000000000000002"

/* The device has no carrier, so duplicate address detection could not even begin. */
START_TEST(an_ipv6_address_can_be_used_at_once)
{
	struct network net;
	int flags;

	if (!enter_tap_network(&net))
		return;
	ck_assert_msg(network_configure(&net, &e) == 0, "%s", e.msg);
	flags = flags_of_address(GUEST6, "tap0");
	ck_assert_int_ge(flags, 0);
	ck_assert_int_eq(flags & OPTIMISTIC_OR_TENTATIVE, 0);
	ck_assert(has_default_route6(GATEWAY6));
}
END_TEST

START_TEST(a_link_that_may_not_have_ipv6_has_ipv4_only)
{
	struct network net;
	FILE *f;

	if (!enter_tap_network(&net))
		return;
	f = fopen("/proc/sys/net/ipv6/conf/tap0/disable_ipv6", "we");
	if (f == NULL) {
		fixture_skip("sysctl", "/proc/sys cannot be written");
		return;
	}
	ck_assert_int_gt(fputs("1", f), 0);
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_msg(network_configure(&net, &e) == 0, "%s", e.msg);
	ck_assert_int_eq(flags_of_address(GUEST6, "tap0"), -1);
	ck_assert(!has_default_route6(GATEWAY6));
}
END_TEST

START_TEST(a_missing_link_cannot_be_configured)
{
	struct network net = { .dev = "no-such-link" };

	ck_assert_int_lt(network_configure(&net, &e), 0);
	ck_assert_ptr_nonnull(strstr(e.msg, "no-such-link"));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("network");
	TCase *tc = fixture_case_with_dir("network");

	tcase_add_loop_test(tc, the_plan_has_host_numbers_of_the_address_range, 0, COUNT(plans));
	tcase_add_loop_test(tc, the_child_configures_ipv6_only_for_our_own_network, 0,
			    COUNT(families));
	tcase_add_test(tc, a_name_and_an_mtu_can_be_chosen);
	tcase_add_loop_test(tc, without_a_network_program_there_is_no_plan, 0,
			    COUNT(without_program));
	tcase_add_test(tc, json_has_all_settings);
	tcase_add_test(tc, json_has_ipv6_settings_if_there_are_any);
	tcase_add_test(tc, a_network_by_dhcp_has_no_addresses_yet);
	tcase_add_test(tc, json_of_no_network_has_an_empty_link_name_only);
	tcase_add_loop_test(tc, json_with_a_missing_or_malformed_setting_is_refused, 0,
			    COUNT(texts));
	tcase_add_test(tc, the_files_have_dns_servers_and_the_hosts_names);
	tcase_add_test(tc, a_directory_that_cannot_be_written_is_an_error);
	tcase_add_test(tc, a_full_tmpfs_of_copy_up_is_named_in_the_reason);
	tcase_add_test(tc, an_ipv6_address_can_be_used_at_once);
	tcase_add_test(tc, a_link_that_may_not_have_ipv6_has_ipv4_only);
	tcase_add_test(tc, a_missing_link_cannot_be_configured);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
