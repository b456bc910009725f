/* SPDX-License-Identifier: Apache-2.0 */

/* The launcher's command line: parsing, and the reasons of refusals. If RootlessKit refuses the
 * same, our reason begins with its words. */
#include <fnmatch.h>

#include "base/fd.h"
#include "launch/opts.h"
#include "os/cgroup.h"
#include "tests/unit/fixture.h"

#define MAX_ARGS 12

typedef const char *args_t[MAX_ARGS]; /* without argv[0]; ends with NULL */

static struct opts o;
static struct err e;

static int parse(const args_t args)
{
	static const char *argv[MAX_ARGS + 1];
	int argc = 1;

	argv[0] = "rootlesskit";
	while (args[argc - 1] != NULL) {
		argv[argc] = args[argc - 1];
		argc++;
	}
	argv[argc] = NULL;
	e.msg[0] = '\0';
	return opts_parse(&o, argc, (char *const *)argv, &e);
}

static int parse_and_check(const args_t args)
{
	int r = parse(args);

	return r < 0 ? r : opts_check(&o, &e);
}

static void forget(void)
{
	opts_free(&o);
}

/* ---- reading ---- */

START_TEST(defaults_are_those_of_rootlesskit)
{
	ck_assert_int_eq(parse_and_check((args_t){ "true" }), 0);
	ck_assert(!o.help && !o.version && !o.debug);
	ck_assert_ptr_null(o.print_semver);
	ck_assert_ptr_null(o.state_dir);
	ck_assert_str_eq(o.net.driver_name, "host");
	ck_assert_int_eq(o.net.driver, NET_HOST);
	ck_assert_str_eq(o.net.slirp4netns_binary, "slirp4netns");
	ck_assert_str_eq(o.net.slirp4netns_sandbox, "false");
	ck_assert_str_eq(o.net.slirp4netns_seccomp, "false");
	ck_assert_int_eq(o.net.mtu, 0);
	ck_assert_ptr_null(o.net.ifname);
	ck_assert_uint_eq(ntohl(o.net.cidr.net.s_addr), 0x0a000200);
	ck_assert_int_eq(o.net.cidr.prefix_len, 24);
	ck_assert(!o.net.disable_host_loopback && !o.net.ipv6 && !o.net.detach_netns);
	ck_assert_uint_eq(o.copy_up.count, 0);
	ck_assert_str_eq(o.copy_up_mode, "tmpfs+symlink");
	ck_assert_int_eq(o.net.port_driver, PORT_NONE);
	ck_assert_int_ge(o.workers, 1);
	ck_assert_int_le(o.workers, 8);
	ck_assert_uint_eq(o.net.publish.count, 0);
	ck_assert(o.net.source_ip_transparent);
	ck_assert(!o.pidns && !o.cgroupns && !o.utsns && !o.ipcns);
	ck_assert_str_eq(o.reaper, "auto");
	ck_assert_ptr_null(o.evacuate_cgroup2);
	ck_assert_str_eq(o.propagation, "rprivate");
	ck_assert_int_eq(o.subid_source, SUBID_AUTO);
}
END_TEST

static const struct {
	args_t args;
	const char *backend;
} backends[] = {
	{ { "--net=none", "--port-driver=builtin", "true" }, "nft" },
	{ { "--net=none", "--port-driver=builtin", "--source-ip-transparent-backend=nft", "true" },
	  "nft" },
	{ { "--net=pasta", "--port-driver=builtin", "--source-ip-transparent-backend=iptables",
	    "true" },
	  "iptables" },
	{ { "--net=none", "--port-driver=builtin", "--source-ip-transparent=false", "true" },
	  NULL },
	{ { "--net=slirp4netns", "--port-driver=slirp4netns", "true" }, NULL },
	{ { "--net=gvisor-tap-vsock", "--port-driver=gvisor-tap-vsock", "true" }, "nft" },
};

START_TEST(the_backend_of_kept_client_addresses_is_named)
{
	ck_assert_int_eq(parse_and_check(backends[_i].args), 0);
	ck_assert_pstr_eq(o.net.source_ip_backend, backends[_i].backend);
}
END_TEST

static const args_t state_dirs[] = {
	{ "--state-dir=/x=y", "cmd" },
	{ "--state-dir", "/x=y", "cmd" },
	{ "-state-dir=/x=y", "cmd" },
	{ "-state-dir", "/x=y", "cmd" },
	{ "--state-dir=/old", "--state-dir=/x=y", "cmd" },
	{ "--debug", "-state-dir=/x=y", "--", "cmd" },
};

START_TEST(a_value_may_be_given_in_four_ways)
{
	ck_assert_int_eq(parse(state_dirs[_i]), 0);
	ck_assert_str_eq(o.state_dir, "/x=y");
	ck_assert_str_eq(o.command[0], "cmd");
}
END_TEST

static const args_t empty_values[] = {
	{ "--state-dir=", "true" },
	{ "--state-dir", "", "true" },
	{ "--state-dir=/x", "--state-dir=", "true" },
	{ "--cidr=", "true" },
	{ "--ifname=", "true" },
	{ "--slirp4netns-sandbox=", "--slirp4netns-seccomp=", "true" },
	{ "--slirp4netns-binary=", "--pasta-binary=", "true" },
	{ "--subid-source=self", "--subid-source=", "true" },
	{ "--propagation=rslave", "--propagation=", "true" },
	{ "--reaper=", "--copy-up-mode=", "--evacuate-cgroup2=", "--print-semver=", "true" },
};

START_TEST(an_empty_value_means_not_given)
{
	ck_assert_int_eq(parse_and_check(empty_values[_i]), 0);
	ck_assert_ptr_null(o.print_semver);
	ck_assert_ptr_null(o.state_dir);
	ck_assert_ptr_null(o.net.ifname);
	ck_assert_ptr_null(o.net.cidr_text);
	ck_assert_ptr_null(o.evacuate_cgroup2);
	ck_assert_str_eq(o.net.slirp4netns_binary, "slirp4netns");
	ck_assert_str_eq(o.net.pasta_binary, "pasta");
	ck_assert_str_eq(o.net.slirp4netns_sandbox, "false");
	ck_assert_str_eq(o.net.slirp4netns_seccomp, "false");
	ck_assert_str_eq(o.reaper, "auto");
	ck_assert_str_eq(o.propagation, "rprivate");
	ck_assert_int_eq(o.subid_source, SUBID_AUTO);
	ck_assert_str_eq(o.command[0], "true");
}
END_TEST

static const struct {
	args_t args;
	bool debug;
} booleans[] = {
	{ { "--debug" }, true },
	{ { "-debug" }, true },
	{ { "--debug=1" }, true },
	{ { "--debug=t" }, true },
	{ { "--debug=T" }, true },
	{ { "--debug=true" }, true },
	{ { "--debug=TRUE" }, true },
	{ { "--debug=True" }, true },
	{ { "--debug=0" }, false },
	{ { "--debug=f" }, false },
	{ { "--debug=F" }, false },
	{ { "--debug=false" }, false },
	{ { "--debug=FALSE" }, false },
	{ { "--debug=False" }, false },
	{ { "--debug", "--debug=false" }, false },
	{ { "--debug=false", "--debug" }, true },
	{ { "--debug", "false" }, true }, /* "false" is the command */
};

START_TEST(a_boolean_may_have_a_value)
{
	o.debug = !booleans[_i].debug;
	ck_assert_int_eq(parse(booleans[_i].args), 0);
	ck_assert_int_eq(o.debug, booleans[_i].debug);
}
END_TEST

static const struct {
	args_t args;
	args_t command;
} commands[] = {
	{ { NULL }, { NULL } },
	{ { "--" }, { NULL } },
	{ { "--debug" }, { NULL } },
	{ { "true" }, { "true" } },
	{ { "" }, { "" } },
	{ { "-" }, { "-" } },
	{ { "echo", "--net=none", "--help" }, { "echo", "--net=none", "--help" } },
	{ { "--", "echo", "--help", "-v" }, { "echo", "--help", "-v" } },
	{ { "--", "--help" }, { "--help" } },
	{ { "--", "--", "x" }, { "--", "x" } },
	{ { "echo", "--", "x" }, { "echo", "--", "x" } },
	{ { "--net", "--", "x" }, { "x" } }, /* "--" is the value */
};

START_TEST(the_command_begins_with_the_first_other_word)
{
	size_t i = 0;

	ck_assert_int_eq(parse(commands[_i].args), 0);
	for (; commands[_i].command[i] != NULL; i++)
		ck_assert_str_eq(o.command[i], commands[_i].command[i]);
	ck_assert_ptr_null(o.command[i]);
	ck_assert(!o.help);
}
END_TEST

static const struct {
	args_t args;
	args_t items;
} lists[] = {
	{ { "x" }, { NULL } },
	{ { "--copy-up=/etc", "x" }, { "/etc" } },
	{ { "--copy-up", "/etc", "-copy-up=/run", "x" }, { "/etc", "/run" } },
	{ { "--copy-up=/etc,/run", "--copy-up=/var/lib", "x" }, { "/etc", "/run", "/var/lib" } },
	{ { "--copy-up=,a,", "x" }, { "", "a", "" } },
	{ { "--copy-up=", "x" }, { "" } },
};

START_TEST(a_repeated_option_appends_to_its_list)
{
	size_t i = 0;

	ck_assert_int_eq(parse(lists[_i].args), 0);
	for (; lists[_i].items[i] != NULL; i++) {
		ck_assert_uint_lt(i, o.copy_up.count);
		ck_assert_str_eq(o.copy_up.items[i], lists[_i].items[i]);
	}
	ck_assert_uint_eq(o.copy_up.count, i);
}
END_TEST

START_TEST(short_names_stand_for_long_ones)
{
	ck_assert_int_eq(parse((args_t){ "-p", "1:2:3/tcp", "-p=a,b", "--p=c", "-h", "-v" }), 0);
	ck_assert_uint_eq(o.net.publish.count, 4);
	ck_assert_str_eq(o.net.publish.items[0], "1:2:3/tcp");
	ck_assert_str_eq(o.net.publish.items[2], "b");
	ck_assert_str_eq(o.net.publish.items[3], "c");
	ck_assert(o.help && o.version);
}
END_TEST

static const struct {
	const char *value;
	int64_t mtu; /* -1: refused */
} numbers[] = {
	{ "0", 0 },
	{ "1500", 1500 },
	{ "65521", 65521 },
	{ "", -1 },
	{ "abc", -1 },
	{ "1500x", -1 },
	{ " 5", -1 },
	{ "\t5", -1 },
	{ "5 ", -1 },
	{ "1.5", -1 },
	{ "99999999999999999999", -1 },
};

START_TEST(a_number_is_read_and_anything_else_refused)
{
	char reason[256];

	snprintf(
		reason, sizeof(reason),
		"invalid value \"%s\" for flag -mtu: parse error; --mtu takes a number: MTU of the "
		"network in bytes, 68 to 65521, with builtin from 576 (default: 65520; "
		"lxc-user-nic: 1500)",
		numbers[_i].value);
	if (numbers[_i].mtu < 0) {
		ck_assert_int_eq(parse((args_t){ "--mtu", numbers[_i].value, "x" }), -EINVAL);
		ck_assert_str_eq(e.msg, reason);
		return;
	}
	ck_assert_int_eq(parse((args_t){ "--mtu", numbers[_i].value, "x" }), 0);
	ck_assert_int_eq(o.net.mtu, numbers[_i].mtu);
}
END_TEST

#define NO_C "flag provided but not defined: -c; options stand before the command: try sh -c '...'"
#define EQUALS(option, value)                                                                  \
	"--" option " took the equals sign as its value; try --" option "=" value ", without " \
	"blanks"

static const struct {
	args_t args;
	const char *msg;
} unreadable[] = {
	{ { "--no-such-flag", "true" }, "flag provided but not defined: -no-such-flag" },
	{ { "--no-such-flag=x", "true" }, "flag provided but not defined: -no-such-flag" },
	{ { "-Z", "true" }, "flag provided but not defined: -Z" },
	{ { "--ne", "none", "true" }, "flag provided but not defined: -ne; did you mean --net?" },
	{ { "--nets", "none", "true" },
	  "flag provided but not defined: -nets; did you mean --net?" },
	{ { "--NET=none", "true" }, "flag provided but not defined: -NET; did you mean --net?" },
	{ { "--debug", "-x" }, "flag provided but not defined: -x" },
	{ { "--network=none", "true" },
	  "flag provided but not defined: -network; did you mean --net?" },
	{ { "--state-directory=/x", "true" },
	  "flag provided but not defined: -state-directory; did you mean --state-dir?" },
	{ { "--copy-up-modes=x", "true" },
	  "flag provided but not defined: -copy-up-modes; did you mean --copy-up-mode?" },
	{ { "--net" }, "flag needs an argument: -net; try --net=DRIVER" },
	{ { "--debug", "-copy-up" }, "flag needs an argument: -copy-up; try --copy-up=DIR" },
	{ { "-p" }, "flag needs an argument: -p; try --publish=SPEC" },
	{ { "--pesto-binary" }, "flag needs an argument: -pesto-binary; try --pesto-binary=FILE" },
	{ { "--source-ip-transparent-backend" },
	  "flag needs an argument: -source-ip-transparent-backend; try "
	  "--source-ip-transparent-backend=BACKEND" },
	{ { "--subid-source" },
	  "flag needs an argument: -subid-source; try --subid-source=SOURCE" },
	{ { "--pesto=x", "true" },
	  "flag provided but not defined: -pesto; did you mean --pesto-binary?" },
	{ { "--source-ip-transparent-backends=nft", "true" },
	  "flag provided but not defined: -source-ip-transparent-backends; did you mean "
	  "--source-ip-transparent-backend?" },
	{ { "--source-ip-transparent=nft", "true" },
	  "invalid boolean value \"nft\" for -source-ip-transparent: parse error; "
	  "--source-ip-transparent takes true or false" },
	{ { "--ipv6=yes", "true" },
	  "invalid boolean value \"yes\" for -ipv6: parse error; --ipv6 takes true or false" },
	{ { "--pesto-binary", "--ipv6", "true" },
	  "--pesto-binary took the option --ipv6 as its value; try --pesto-binary=FILE --ipv6" },
	{ { "--pidns=maybe", "true" },
	  "invalid boolean value \"maybe\" for -pidns: parse error; --pidns takes true or false" },
	{ { "--debug=", "true" },
	  "invalid boolean value \"\" for -debug: parse error; --debug takes true or false" },
	{ { "--workers=x", "true" },
	  "invalid value \"x\" for flag -workers: parse error; --workers takes a number: "
	  "builtin, network and ports: number of threads of each, 1 to 64 (default: one per CPU, "
	  "at "
	  "most 8)" },
	/* The value is missing, so that the next option, or the command, was taken as the value. */
	{ { "--state-dir", "--net=none", "true" },
	  "--state-dir took the option --net=none as its value; try --state-dir=DIR --net=none" },
	{ { "--evacuate-cgroup2", "--pidns", "--cgroupns", "true" },
	  "--evacuate-cgroup2 took the option --pidns as its value; try --evacuate-cgroup2=NAME "
	  "--pidns" },
	{ { "--publish", "--debug", "true" },
	  "--publish took the option --debug as its value; try --publish=SPEC --debug" },
	{ { "--net", "sh", "-c", "x" },
	  "flag provided but not defined: -c; --net took \"sh\" as its value: if that is the "
	  "command, try --net=DRIVER sh" },
	{ { "--net=sh", "-c", "x" }, NO_C },
	{ { "--net", "none", "--debug", "-c" }, NO_C },
	{ { "-c", "echo hello" }, NO_C },
	/* options of other programs */
	{ { "-it", "sh" },
	  "flag provided but not defined: -it; leave it out: the command uses this terminal" },
	{ { "--rm", "sh" },
	  "flag provided but not defined: -rm; leave it out: nothing is left at the end" },
	{ { "--state-dir", "/x", "--detach", "sh" },
	  "flag provided but not defined: -detach; try `rootlesskit ... &`, or a service: the "
	  "launcher stays in the foreground" },
	{ { "-P", "sh" },
	  "flag provided but not defined: -P; each port takes a -p of its own, such as -p "
	  "127.0.0.1:8080:80/tcp" },
	{ { "--volume=/a:/b", "sh" },
	  "flag provided but not defined: -volume; leave it out: the command sees the files of "
	  "the host; --copy-up=DIR makes a directory writable" },
	{ { "--log-level=debug", "sh" }, "flag provided but not defined: -log-level; try --debug" },
	{ { "--enable-ipv6", "sh" }, "flag provided but not defined: -enable-ipv6; try --ipv6" },
	/* values and equals signs in wrong places */
	{ { "-p127.0.0.1:8080:80/tcp", "sh" },
	  "flag provided but not defined: -p127.0.0.1:8080:80/tcp; did you mean -p "
	  "127.0.0.1:8080:80/tcp?" },
	{ { "--net", "=", "none", "sh" }, EQUALS("net", "none") },
	{ { "--net", "=none", "sh" }, EQUALS("net", "none") },
	{ { "--net", "=" }, EQUALS("net", "DRIVER") },
	{ { "--state-dir", "=", "/tmp/x", "sh" }, EQUALS("state-dir", "/tmp/x") },
	{ { "-p", "=", ":8080:80/tcp", "sh" }, EQUALS("publish", ":8080:80/tcp") },
	{ { "--net", "none", "--publsh", "x" },
	  "flag provided but not defined: -publsh; did you mean --publish?" },
};

START_TEST(a_bad_command_line_is_refused_with_a_reason)
{
	int r = parse(unreadable[_i].args);

	ck_assert(r == -EINVAL || r == -ENOENT);
	ck_assert_str_eq(e.msg, unreadable[_i].msg);
}
END_TEST

#define NO_COMMAND(why) "no command specified" why "; see `rootlesskit --help`"

static const struct {
	args_t args;
	const char *msg;
} commandless[] = {
	{ { NULL }, NO_COMMAND("") },
	{ { "--" }, NO_COMMAND("") },
	{ { "--net=sh", "--debug" }, NO_COMMAND("") },
	{ { "--net", "sh" },
	  NO_COMMAND("; --net took \"sh\" as its value: if that is the command, "
		     "try --net=DRIVER sh") },
	{ { "--net", "sh", "--debug", "--" },
	  NO_COMMAND("; --net took \"sh\" as its value: if that is the command, try "
		     "--net=DRIVER sh") },
	{ { "--net", "none", "-p", "true" },
	  NO_COMMAND("; --publish took \"true\" as its value: if that is the command, try "
		     "--publish=SPEC true") },
	{ { "--copy-up", "bash" },
	  NO_COMMAND("; --copy-up took \"bash\" as its value: if that is "
		     "the command, try --copy-up=DIR bash") },
	{ { "--mtu", "1500" },
	  NO_COMMAND("; --mtu took \"1500\" as its value: if that is the "
		     "command, try --mtu=N 1500") },
};

START_TEST(a_missing_command_names_the_option_that_took_it)
{
	ck_assert_int_eq(parse(commandless[_i].args), 0);
	ck_assert_int_eq(opts_check_command(&o, &e), -EINVAL);
	ck_assert_str_eq(e.msg, commandless[_i].msg);
	opts_free(&o);
	ck_assert_int_eq(parse((args_t){ "--net", "none", "true" }), 0);
	ck_assert_int_eq(opts_check_command(&o, &e), 0);
}
END_TEST

/* RootlessKit's options, and our own. */
static const char *const names[] = {
	"debug",
	"print-semver",
	"state-dir",
	"net",
	"net-pcap",
	"slirp4netns-binary",
	"pasta-binary",
	"pesto-binary",
	"vpnkit-binary",
	"lxc-user-nic-binary",
	"slirp4netns-sandbox",
	"slirp4netns-seccomp",
	"lxc-user-nic-bridge",
	"mtu",
	"cidr",
	"ifname",
	"disable-host-loopback",
	"ipv6",
	"detach-netns",
	"copy-up",
	"copy-up-mode",
	"port-driver",
	"p",
	"publish",
	"source-ip-transparent",
	"source-ip-transparent-backend",
	"workers",
	"pidns",
	"cgroupns",
	"utsns",
	"ipcns",
	"reaper",
	"evacuate-cgroup2",
	"propagation",
	"subid-source",
	"help",
	"h",
	"version",
	"v",
};

/* Runs `print` with a standard descriptor redirected to a file. Returns the output, which the
 * caller frees. */
static char *written_by(void (*print)(void), int fd)
{
	char path[] = "/tmp/rlkbox-check-XXXXXX";
	const size_t cap = 65536;
	char *text = calloc(1, cap);
	int saved = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	int file = mkostemp(path, O_CLOEXEC);

	ck_assert_int_ge(file, 0);
	ck_assert_int_eq(unlink(path), 0);
	fflush(stdout);
	ck_assert_int_eq(dup2(file, fd), fd);
	print();
	fflush(stdout);
	ck_assert_int_eq(dup2(saved, fd), fd);
	ck_assert_int_ge(pread(file, text, cap - 1, 0), 0);
	close(saved);
	close(file);
	return text;
}

/* As `grep -w` does, with which set-up scripts look for options. */
static bool has_word(const char *text, const char *word)
{
	size_t len = strlen(word);

	for (const char *p = text; (p = strstr(p, word)) != NULL; p++)
		if ((p == text || strchr(" \n", p[-1]) != NULL) && strchr(" ,\n", p[len]) != NULL)
			return true;
	return false;
}

START_TEST(every_option_is_known_and_in_the_help)
{
	char word[64];
	char arg[80];
	char *help = written_by(opts_print_help, STDOUT_FILENO);

	snprintf(word, sizeof(word), "%s%s", strlen(names[_i]) == 1 ? "-" : "--", names[_i]);
	ck_assert_msg(has_word(help, word), "no %s in the help", word);
	free(help);
	/* Neither a boolean nor a number. */
	snprintf(arg, sizeof(arg), "%s=//", word);
	parse((args_t){ arg, "true" });
	ck_assert_ptr_null(strstr(e.msg, "not defined"));
}
END_TEST

/* ---- checking ---- */

static const args_t accepted[] = {
	{ "true" },
	{ "--net=none", "true" },
	{ "--net=none", "--port-driver=none", "true" },
	{ "--net=none", "--port-driver=builtin", "-p", "127.0.0.1:8080:80/tcp", "true" },
	{ "--net=slirp4netns", "--port-driver=builtin", "-p=0.0.0.0:1:2/udp,[::1]:1:2/tcp6", "x" },
	{ "--net=slirp4netns", "--mtu=65521", "--cidr=10.9.0.0/16", "--ifname=abcdefghijklmno" },
	{ "--net=slirp4netns", "--cidr=192.168.0.128/25", "true" },
	{ "--net=slirp4netns", "--slirp4netns-sandbox=auto", "--slirp4netns-seccomp=true",
	  "--detach-netns" },
	{ "--net=slirp4netns", "--slirp4netns-sandbox=true", "true" },
	{ "--slirp4netns-sandbox=true", "--detach-netns", "true" },
	{ "--mtu=1500", "true" }, /* only causes a warning */
	{ "--ipv6", "true" },	  /* the same */
	{ "--net=pasta", "true" },
	{ "--net=pasta", "--port-driver=none", "--ipv6", "--mtu=1280", "true" },
	{ "--net=pasta", "--port-driver=implicit", "--cidr=10.9.0.0/16", "--ifname=eth0", "true" },
	{ "--net=pasta", "--detach-netns", "--slirp4netns-sandbox=true", "true" },
	{ "--net=pasta", "--port-driver=builtin", "-p", "127.0.0.1:1:2/tcp", "true" },
	{ "--net=pasta", "--port-driver=pesto", "-p", "127.0.0.1:1:2/udp", "true" },
	{ "--net=pasta", "--port-driver=pesto", "--pesto-binary=/nowhere", "true" },
	/* compat: only the builtin port driver reads this option */
	{ "--net=pasta", "--port-driver=pesto", "--source-ip-transparent-backend=x", "true" },
	{ "--net=slirp4netns", "--port-driver=slirp4netns", "-p", "127.0.0.1:1:2/tcp", "true" },
	{ "--net=slirp4netns", "--ipv6", "true" },
	{ "--net=builtin", "--mtu=576", "true" },
	{ "--net=builtin", "--ipv6", "--mtu=1280", "--cidr=10.9.0.0/16", "--ifname=eth0", "true" },
	{ "--net=builtin", "--port-driver=builtin", "-p", "127.0.0.1:1:2/tcp", "--detach-netns" },
	{ "--net=builtin", "--net-pcap=frames.pcap", "--mtu=65521", "true" },
	{ "--net=gvisor-tap-vsock", "--net-pcap=/tmp/frames.pcap", "--ipv6", "true" },
	{ "--net=gvisor-tap-vsock", "--port-driver=builtin", "-p", "127.0.0.1:1:2/tcp", "true" },
	{ "--net=gvisor-tap-vsock", "--port-driver=gvisor-tap-vsock", "-p", "[::1]:1:2/udp6" },
	{ "--net=auto", "--net-pcap=x", "true" },
	{ "--net=host", "--net-pcap=", "true" }, /* the same as no option */
	/* options of other drivers; scripts may always pass them */
	{ "--net=builtin", "--slirp4netns-sandbox=auto", "--slirp4netns-seccomp=auto", "true" },
	{ "--vpnkit-binary=x", "--lxc-user-nic-binary=x", "--lxc-user-nic-bridge=", "true" },
	{ "--net=lxc-user-nic", "--ifname=net0", "--mtu=9000", "--ipv6", "--detach-netns",
	  "--port-driver=builtin", "-p", "127.0.0.1:1:2/tcp", "true" },
	{ "--copy-up=/etc", "--copy-up=/run/", "--propagation=rslave", "true" },
	{ "--copy-up=/tmpfile,/tmp/x", "--propagation=private", "true" },
	{ "--propagation=slave", "true" },
	{ "--propagation=shared", "true" },
	{ "--propagation=rshared", "true" },
	{ "--workers=1", "true" },
	{ "--workers", "64", "true" },
	{ "--reaper=false", "true" },
	{ "--pidns", "--reaper=true", "true" },
	{ "--pidns", "--reaper=false", "--cgroupns", "--utsns", "--ipcns", "true" },
	{ "--evacuate-cgroup2=", "true" },
	/* the lines of usernetes and k3s */
	{ "--net=slirp4netns", "--cgroupns", "--pidns", "--ipcns", "--utsns",
	  "--evacuate-cgroup2=k3s_evac", "--cidr=10.0.42.0/24", "--slirp4netns-sandbox=true" },
	{ "--subid-source=dynamic", "true" },
	{ "--subid-source=static", "true" },
	{ "--subid-source=", "true" },
	{ "--net=none", "--port-driver=builtin", "--source-ip-transparent-backend=", "true" },
	{ "--pesto-binary=", "true" },
	{ "--source-ip-transparent-backend=pf", "true" }, /* no port driver reads it */
	/* the line of nerdctl */
	{ "--state-dir=/run/user/1000/containerd-rootless", "--net=slirp4netns", "--mtu=65520",
	  "--slirp4netns-sandbox=auto", "--slirp4netns-seccomp=auto", "--disable-host-loopback",
	  "--port-driver=builtin", "--copy-up=/etc", "--copy-up=/run", "--propagation=rslave",
	  "--detach-netns" },
};

static const struct {
	args_t args;
	bool reaps, evacuates;
} process_lines[] = {
	{ { "true" }, false, false },
	{ { "--reaper=false", "true" }, false, false },
	{ { "--reaper=true", "true" }, true, false },
	{ { "--pidns", "true" }, true, false },
	{ { "--pidns", "--reaper=auto", "true" }, true, false },
	{ { "--pidns", "--reaper=true", "true" }, true, false },
	{ { "--pidns", "--reaper=false", "true" }, false, false },
	{ { "--pidns", "--cgroupns", "--evacuate-cgroup2=x", "true" }, true, true },
	{ { "--pidns", "--cgroupns", "--evacuate-cgroup2=", "true" }, true, false },
};

START_TEST(reaping_and_evacuation_follow_from_the_options)
{
	ck_assert_int_eq(parse_and_check(process_lines[_i].args), 0);
	ck_assert_int_eq(o.reaps, process_lines[_i].reaps);
	ck_assert_int_eq(o.evacuates, process_lines[_i].evacuates);
}
END_TEST

START_TEST(valid_combinations_are_accepted)
{
	int r = parse_and_check(accepted[_i]);

	ck_assert_msg(r == 0, "%s", e.msg);
}
END_TEST

#define SUBID_FAILURE "failed to setup UID/GID map: failed to compute uid/gid map: "

static const struct {
	args_t args;
	const char *msg; /* beginning of the reason */
} refused[] = {
	/* our own network */
	{ { "--net=builtin", "--mtu=575" },
	  "mtu must be >= 576, got 575 (--mtu takes 576 to 65521)" },
	{ { "--net=gvisor-tap-vsock", "--mtu=68" },
	  "mtu must be >= 576, got 68 (--mtu takes 576 to 65521)" },
	{ { "--net=auto", "--mtu=100" }, "mtu must be >= 576, got 100" },
	{ { "--net=builtin", "--ipv6", "--mtu=1279" },
	  "--ipv6 needs an --mtu of at least 1280, got 1279" },
	{ { "--net=builtin", "--mtu=65522" }, "mtu must be <= 65521, got 65522" },
	{ { "--net=builtin", "--cidr=10.9.0.0/26" }, "--cidr=10.9.0.0/26 is too small" },
	{ { "--net=builtin", "--ifname=lo" }, "--ifname=lo is not a valid interface name" },
	{ { "--net=builtin", "--port-driver=slirp4netns" },
	  "port driver requires slirp4netns network (--port-driver=slirp4netns with "
	  "--net=builtin); --port-driver=slirp4netns works with --net=slirp4netns; --net=builtin "
	  "works with --port-driver=none or builtin" },
	{ { "--net=builtin", "--port-driver=implicit" },
	  "port driver \"implicit\" requires --net=pasta (--port-driver=implicit with "
	  "--net=builtin)" },
	{ { "--net=gvisor-tap-vsock", "--port-driver=pesto" },
	  "port driver \"pesto\" requires --net=pasta (--port-driver=pesto with "
	  "--net=gvisor-tap-vsock); --port-driver=pesto works with --net=pasta; "
	  "--net=gvisor-tap-vsock works with --port-driver=none, builtin or gvisor-tap-vsock" },
	{ { "--net=builtin", "--port-driver=gvisor-tap-vsock" },
	  "port driver \"gvisor-tap-vsock\" requires --net=gvisor-tap-vsock "
	  "(--port-driver=gvisor-tap-vsock with --net=builtin); --port-driver=gvisor-tap-vsock "
	  "works with --net=gvisor-tap-vsock; --net=builtin works with --port-driver=none or "
	  "builtin" },
	{ { "--net=slirp4netns", "--port-driver=gvisor-tap-vsock" },
	  "port driver \"gvisor-tap-vsock\" requires --net=gvisor-tap-vsock (" },
	{ { "--net=pasta", "--port-driver=gvisor-tap-vsock" },
	  "network \"pasta\" requires port driver \"none\" or \"implicit\" or \"pesto\" (" },
	{ { "--net=none", "--port-driver=gvisor-tap-vsock" },
	  "network \"none\" requires either port driver \"none\" or \"builtin\" (" },
	{ { "--port-driver=gvisor-tap-vsock" },
	  "port driver requires non-host network (--port-driver=gvisor-tap-vsock with "
	  "--net=host); --port-driver=gvisor-tap-vsock works with --net=gvisor-tap-vsock; "
	  "--net=host works with --port-driver=none" },
	{ { "--net=auto", "--port-driver=foo" },
	  "unknown port driver: foo (--port-driver takes none, builtin" },
	{ { "--net=auto", "-p", "127.0.0.1:1:2/tcp" },
	  "port driver \"none\" does not support publishing ports (--publish needs "
	  "--port-driver=builtin)" },
	{ { "--net=gvisor-tap-vsock", "-p", "127.0.0.1:1:2/tcp" },
	  "port driver \"none\" does not support publishing ports (--publish needs "
	  "--port-driver=gvisor-tap-vsock or --port-driver=builtin)" },
	{ { "--net=auto", "--port-driver=implicit", "-p", "127.0.0.1:1:2/tcp" },
	  "port driver \"implicit\" does not support publishing ports (" },
	{ { "--net=auto", "--port-driver=slirp4netns", "--slirp4netns-sandbox=true",
	    "--detach-netns" },
	  "--slirp4netns-sandbox conflicts with --detach-netns (" },
	{ { "--net-pcap=x" },
	  "--net-pcap records the frames of --net=builtin, but the network is --net=host" },
	{ { "--net=slirp4netns", "--net-pcap=x" },
	  "--net-pcap records the frames of --net=builtin, but the network is --net=slirp4netns; "
	  "try tcpdump(8) inside" },
	{ { "--net=auto", "--port-driver=pesto", "--net-pcap=x" },
	  "--net-pcap records the frames of --net=builtin, but the network is --net=pasta; try" },
	{ { "--net=bultin" },
	  "unknown network mode: bultin (--net takes host, none, builtin, auto" },
	{ { "--net=built-in" }, "unknown network mode: built-in (" },
	{ { "--net=Auto" }, "unknown network mode: Auto (" },
	{ { "--net=gvisor" }, "unknown network mode: gvisor (" },
	/* in RootlessKit's words */
	{ { "--net=foo" }, "unknown network mode: foo" },
	{ { "--net=" }, "unknown network mode: " },
	{ { "--net=HOST" }, "unknown network mode: HOST" },
	{ { "--net=none", "--port-driver=foo" },
	  "network \"none\" requires either port driver \"none\" or \"builtin\"" },
	{ { "--port-driver=builtin" },
	  "port driver requires non-host network (--port-driver=builtin with --net=host); "
	  "--port-driver=builtin works with --net=builtin, slirp4netns, pasta, lxc-user-nic, "
	  "gvisor-tap-vsock or none; "
	  "--net=host works with --port-driver=none" },
	{ { "-p", "127.0.0.1:18001:80/tcp" },
	  "port driver \"none\" does not support publishing ports (--publish needs a network and a "
	  "port driver: --net=builtin --port-driver=builtin)" },
	{ { "--net=none", "-p", "127.0.0.1:18001:80/tcp" },
	  "port driver \"none\" does not support publishing ports (--publish needs "
	  "--port-driver=builtin)" },
	{ { "--net=pasta", "-p", "127.0.0.1:18001:80/tcp" },
	  "port driver \"none\" does not support publishing ports (--publish needs "
	  "--port-driver=builtin; --port-driver=implicit opens every port that is listened on "
	  "inside)" },
	{ { "--net=none", "--port-driver=builtin", "-p", "80" },
	  "missing proto in PortSpec string: \"80\"" },
	{ { "--net=none", "--port-driver=builtin", "-p", "127.0.0.1:1:1/tcp,127.0.0.1:0:1/tcp" },
	  "invalid ParentPort: 0" },
	{ { "--net=slirp4netns", "--mtu=65522" }, "mtu must be <= 65521, got 65522" },
	{ { "--net=slirp4netns", "--mtu=-1" }, "mtu must be <= 65521, got -1" },
	{ { "--cidr=10.0.2.0/24" },
	  "custom cidr is not supported for --net=host; it takes --net=builtin, slirp4netns or "
	  "pasta" },
	{ { "--net=none", "--cidr=10.0.2.0/24" },
	  "custom cidr is not supported for --net=none; it takes --net=builtin, slirp4netns or "
	  "pasta" },
	{ { "--ifname=foo0" },
	  "ifname cannot be specified for --net=host; it takes --net=builtin, slirp4netns, pasta "
	  "or "
	  "lxc-user-nic" },
	{ { "--net=none", "--ifname=foo0" },
	  "ifname cannot be specified for --net=none; it takes --net=builtin, slirp4netns, pasta "
	  "or "
	  "lxc-user-nic" },
	{ { "--net=lxc-user-nic", "--cidr=10.0.2.0/24" },
	  "custom cidr is not supported for --net=lxc-user-nic; it takes --net=builtin, "
	  "slirp4netns or pasta" },
	{ { "--net=lxc-user-nic", "--ifname=lo" }, "--ifname=lo is not a valid interface name" },
	{ { "--net=lxc-user-nic", "--mtu=67" }, "mtu must be >= 68, got 67" },
	{ { "--net=lxc-user-nic", "--port-driver=slirp4netns" },
	  "port driver requires slirp4netns network (--port-driver=slirp4netns with "
	  "--net=lxc-user-nic); --port-driver=slirp4netns works with --net=slirp4netns; "
	  "--net=lxc-user-nic works with --port-driver=none or builtin" },
	{ { "--net=lxc-user-nic", "--port-driver=implicit" },
	  "port driver \"implicit\" requires --net=pasta" },
	{ { "--net=lxc-user-nic", "--port-driver=pesto" },
	  "port driver \"pesto\" requires --net=pasta" },
	{ { "--net=lxc-user-nic", "-p", "127.0.0.1:18001:80/tcp" },
	  "port driver \"none\" does not support publishing ports (--publish needs "
	  "--port-driver=builtin)" },
	{ { "--net=slirp4netns", "--ifname=a/b" },
	  "ifname must not contain \"/\" (--ifname=a/b); try a name such as tap0" },
	{ { "--net=slirp4netns", "--slirp4netns-sandbox=foo" },
	  "unsupported slirp4netns-sandbox mode: \"foo\" (--slirp4netns-sandbox takes auto, true "
	  "or false)" },
	{ { "--net=slirp4netns", "--slirp4netns-seccomp=foo" },
	  "unsupported slirp4netns-seccomp mode: \"foo\"" },
	{ { "--net=slirp4netns", "--slirp4netns-sandbox=true", "--detach-netns" },
	  "--slirp4netns-sandbox conflicts with --detach-netns" },
	{ { "--copy-up-mode=foo" }, "unknown copy-up mode: foo" },
	{ { "--copy-up=/tmp" },
	  "/tmp cannot be copied up (--copy-up=/tmp): programs share files and sockets in it, and "
	  "new ones would not be seen inside; try a directory in it" },
	{ { "--copy-up=/etc,/tmp/" }, "/tmp/ cannot be copied up" },
	{ { "--copy-up=//tmp/." }, "//tmp/. cannot be copied up" },
	{ { "--copy-up=/etc/.." }, "/etc/.. cannot be copied up" },
	{ { "--propagation=rshared", "--copy-up=/etc" },
	  "propagation rshared does not support copy-up driver tmpfs+symlink "
	  "(--propagation=rshared with --copy-up); try --propagation=rslave" },
	{ { "--propagation=shared", "--copy-up=/etc" },
	  "propagation shared does not support copy-up driver tmpfs+symlink "
	  "(--propagation=shared with --copy-up); try --propagation=slave" },
	{ { "--workers=0" }, "--workers=0 is out of range: it takes 1 to 64 threads" },
	{ { "--workers=65" }, "--workers=65 is out of range: it takes 1 to 64 threads" },
	{ { "--workers=-1" }, "--workers=-1 is out of range: it takes 1 to 64 threads" },
	{ { "--net=" },
	  "unknown network mode:  (--net takes host, none, builtin, auto, slirp4netns, pasta, "
	  "lxc-user-nic or gvisor-tap-vsock, "
	  "behind = without a blank)" },
	{ { "--port-driver=" },
	  "unknown port driver:  (--port-driver takes none, builtin, implicit, slirp4netns, pesto "
	  "or gvisor-tap-vsock, behind = without a blank)" },
	{ { "--copy-up=~/x" },
	  "--copy-up=~/x is not an absolute path; --copy-up takes a directory such as /etc, or "
	  "$HOME/... (no shell expands ~ behind an equals sign)" },
	{ { "--reaper=foo" }, "unknown reaper mode: foo (--reaper takes auto, true or false)" },
	{ { "--pidns", "--reaper=foo" }, "unknown reaper mode: foo" },
	{ { "--evacuate-cgroup2=x" },
	  "evacuate-cgroup2 requires --cgroupns (and --pidns, for --evacuate-cgroup2=x)" },
	{ { "--evacuate-cgroup2=x", "--pidns" },
	  "evacuate-cgroup2 requires --cgroupns (--evacuate-cgroup2=x)" },
	{ { "--evacuate-cgroup2=x", "--cgroupns" },
	  "evacuate-cgroup2 requires --pidns (--evacuate-cgroup2=x)" },
	{ { "--net=pasta", "--port-driver=slirp4netns" },
	  "network \"pasta\" requires port driver \"none\" or \"implicit\" or \"pesto\" "
	  "(--port-driver=slirp4netns with --net=pasta); --port-driver=slirp4netns works with "
	  "--net=slirp4netns; --net=pasta works with --port-driver=none, builtin, pesto or "
	  "implicit" },
	{ { "--net=pasta", "--port-driver=bultin" },
	  "network \"pasta\" requires port driver \"none\" or \"implicit\" or \"pesto\" "
	  "(--port-driver=bultin with --net=pasta); --net=pasta works with --port-driver=none, "
	  "builtin, pesto or implicit; did you mean builtin?" },
	{ { "--net=pasta", "--port-driver=pasta" },
	  "unknown port driver \"pasta\": did you mean \"pesto\"? (--port-driver takes none, "
	  "builtin, implicit, slirp4netns, pesto or gvisor-tap-vsock)" },
	{ { "--net=slirp4netns", "--port-driver=pesto" },
	  "port driver \"pesto\" requires --net=pasta (--port-driver=pesto with "
	  "--net=slirp4netns); --port-driver=pesto works with --net=pasta; --net=slirp4netns works "
	  "with --port-driver=none, builtin or slirp4netns" },
	{ { "--port-driver=pesto" }, "port driver \"pesto\" requires --net=pasta" },
	{ { "--net=none", "--port-driver=pesto" },
	  "network \"none\" requires either port driver \"none\" or \"builtin\"" },
	{ { "--net=none", "--port-driver=builtin", "--source-ip-transparent-backend=pf" },
	  "unknown source-ip-transparent-backend: pf (--source-ip-transparent-backend takes auto, "
	  "nft or iptables)" },
	{ { "--net=none", "--port-driver=builtin", "--source-ip-transparent-backend=iptable" },
	  "unknown source-ip-transparent-backend: iptable (--source-ip-transparent-backend takes "
	  "auto, nft or iptables); did you mean iptables?" },
	{ { "--net=none", "--port-driver=builtin", "--source-ip-transparent-backend=NFT" },
	  "unknown source-ip-transparent-backend: NFT (--source-ip-transparent-backend takes auto, "
	  "nft or iptables); did you mean nft?" },
	{ { "--net=none", "--port-driver=builtin", "--source-ip-transparent-backend=nft,iptables" },
	  "unknown source-ip-transparent-backend: nft,iptables (--source-ip-transparent-backend "
	  "takes auto, nft or iptables)" },
	{ { "--net=none", "--port-driver=builtin", "--source-ip-transparent-backend=none" },
	  "unknown source-ip-transparent-backend: none (--source-ip-transparent-backend takes "
	  "auto, nft or iptables)" },
	{ { "--net=none", "--port-driver=builtin", "--source-ip-transparent-backend= nft" },
	  "unknown source-ip-transparent-backend:  nft (--source-ip-transparent-backend takes "
	  "auto, nft or iptables)" },
	{ { "--net=none", "--port-driver=builtin", "--source-ip-transparent-backend=nftables" },
	  "unknown source-ip-transparent-backend: nftables (--source-ip-transparent-backend takes "
	  "auto, nft or iptables)" },
	{ { "--net=none", "--port-driver=builtin", "--source-ip-transparent-backend=auto " },
	  "unknown source-ip-transparent-backend: auto  (--source-ip-transparent-backend takes "
	  "auto, nft or iptables)" },
	{ { "--net=none", "--port-driver=builtin", "--source-ip-transparent-backend=-" },
	  "unknown source-ip-transparent-backend: - (--source-ip-transparent-backend takes auto, "
	  "nft or iptables)" },
	{ { "--net=none", "--port-driver=builtin", "--source-ip-transparent=false",
	    "--source-ip-transparent-backend=pf" },
	  "unknown source-ip-transparent-backend: pf (" },
	{ { "--net=pasta", "--port-driver=pesto", "--ipv6", "--mtu=1279" },
	  "--ipv6 needs an --mtu of at least 1280, got 1279" },
	{ { "--port-driver=pasta" }, "unknown port driver \"pasta\": did you mean \"pesto\"? (" },
	{ { "--net=foo", "--port-driver=pasta" },
	  "unknown port driver \"pasta\": did you mean \"pesto\"? (" },
	{ { "--net=pasta", "--port-driver=Pesto" },
	  "network \"pasta\" requires port driver \"none\" or \"implicit\" or \"pesto\" (" },
	{ { "--net=pasta", "--port-driver=pesto", "-p", "127.0.0.1:1:2/sctp6", "-p", "x" },
	  "missing proto in PortSpec string: \"x\"" },
	{ { "--net=none", "--port-driver=implicit" },
	  "network \"none\" requires either port driver \"none\" or \"builtin\"" },
	{ { "--net=none", "--port-driver=slirp4netns" },
	  "network \"none\" requires either port driver \"none\" or \"builtin\"" },
	{ { "--net=slirp4netns", "--port-driver=implicit" },
	  "port driver \"implicit\" requires --net=pasta (--port-driver=implicit with "
	  "--net=slirp4netns); --port-driver=implicit works with --net=pasta; --net=slirp4netns "
	  "works with --port-driver=none, builtin or slirp4netns" },
	{ { "--port-driver=implicit" }, "port driver \"implicit\" requires --net=pasta" },
	{ { "--port-driver=slirp4netns" },
	  "port driver requires slirp4netns network (--port-driver=slirp4netns with --net=host)" },
	/* in our own words */
	{ { "--net=pasta", "--port-driver=implicit", "-p", "127.0.0.1:1:2/tcp" },
	  "port driver \"implicit\" does not support publishing ports (--publish with "
	  "--port-driver=implicit" },
	{ { "--net=slirp4netns", "--ipv6", "--mtu=1279" },
	  "--ipv6 needs an --mtu of at least 1280, got 1279" },
	{ { "--net=pasta", "--mtu=67" }, "mtu must be >= 68, got 67" },
	{ { "--net=pasta", "--ifname=a/b" }, "ifname must not contain \"/\"" },
	{ { "--net=pasta", "--cidr=10.0.0.0/26" }, "--cidr=10.0.0.0/26 is too small" },
	{ { "--net=slirp4netns", "--port-driver=foo" }, "unknown port driver: foo" },
	{ { "--net=slirp4netns", "--port-driver=slirp" },
	  "unknown port driver: slirp (--port-driver takes none, builtin, implicit, slirp4netns, "
	  "pesto or gvisor-tap-vsock); did you mean slirp4netns?" },
	{ { "--net=slirp" },
	  "unknown network mode: slirp (--net takes host, none, builtin, auto, slirp4netns, pasta, "
	  "lxc-user-nic or gvisor-tap-vsock); did you mean slirp4netns?" },
	{ { "--mtu=70000" }, "mtu must be <= 65521, got 70000 (--mtu takes 68 to 65521)" },
	{ { "--net=slirp4netns", "--port-driver=" }, "unknown port driver: " },
	{ { "--subid-source=STATIC" },
	  SUBID_FAILURE
	  "unknown subid source \"STATIC\" (--subid-source takes auto, dynamic, static or self); "
	  "did you mean static?" },
	{ { "--subid-source=stati" },
	  SUBID_FAILURE
	  "unknown subid source \"stati\" (--subid-source takes auto, dynamic, static or self); "
	  "did you mean static?" },
	{ { "--subid-source=static,dynamic" },
	  SUBID_FAILURE
	  "unknown subid source \"static,dynamic\" (--subid-source takes auto, dynamic, static or "
	  "self)" },
	{ { "--subid-source= auto" },
	  SUBID_FAILURE
	  "unknown subid source \" auto\" (--subid-source takes auto, dynamic, static or self)" },
	{ { "--subid-source=none" },
	  SUBID_FAILURE
	  "unknown subid source \"none\" (--subid-source takes auto, dynamic, static or self)" },
	{ { "--subid-source=slef" },
	  SUBID_FAILURE
	  "unknown subid source \"slef\" (--subid-source takes auto, dynamic, static or self); did "
	  "you mean self?" },
	{ { "--net=slirp4netns", "--ifname=abcdefghijklmnop" },
	  "--ifname=abcdefghijklmnop is not a valid interface name" },
	{ { "--net=slirp4netns", "--ifname=a b" }, "--ifname=a b is not a valid" },
	{ { "--net=slirp4netns", "--ifname=a%d" }, "--ifname=a%d is not a valid" },
	{ { "--net=slirp4netns", "--ifname=a:1" }, "--ifname=a:1 is not a valid" },
	{ { "--net=slirp4netns", "--ifname=." }, "--ifname=. is not a valid" },
	{ { "--net=slirp4netns", "--ifname=.." }, "--ifname=.. is not a valid" },
	{ { "--copy-up=/" },
	  "/ cannot be copied up (--copy-up=/): nothing can be mounted over the root directory of "
	  "a process; try a directory in it" },
	{ { "--copy-up=///" }, "/// cannot be copied up" },
	{ { "--copy-up=/proc" }, "/proc cannot be copied up (--copy-up=/proc): the links in it" },
	{ { "--copy-up=etc" },
	  "--copy-up=etc is not an absolute path; --copy-up takes a directory such as /etc" },
	{ { "--copy-up=" }, "--copy-up= is not an absolute path" },
	{ { "--propagation=foo" }, "unknown propagation: \"foo\"" },
	{ { "--cgroupns", "--pidns", "--evacuate-cgroup2=a/b" },
	  "unexpected evacuation group name \"a/b\": must not contain \"/\"" },
	{ { "--cgroupns", "--pidns", "--evacuate-cgroup2=.." }, "--evacuate-cgroup2=.. is not" },
	{ { "--cgroupns", "--pidns", "--evacuate-cgroup2=." }, "--evacuate-cgroup2=. is not" },
	{ { "--cgroupns", "--pidns", "--evacuate-cgroup2=a\nb" },
	  "--evacuate-cgroup2=a\nb is not" },
	{ { "--cgroupns", "--pidns", "--evacuate-cgroup2=cgroup.procs" },
	  "--evacuate-cgroup2=cgroup.procs is not the name of a cgroup" },
};

START_TEST(invalid_values_and_combinations_are_refused_with_a_reason)
{
	const char *msg = refused[_i].msg;

	ck_assert_int_eq(parse(refused[_i].args), 0);
	ck_assert_int_eq(opts_check(&o, &e), -EINVAL);
	ck_assert_msg(strncmp(e.msg, msg, strlen(msg)) == 0, "not \"%s\" but \"%s\"", msg, e.msg);
}
END_TEST

/* Finds an interface file of our own cgroup whose name does not begin with "cgroup.", as
 * "cpu.stat". Returns false if there is no cgroup2 hierarchy. */
static bool find_cgroup_file(char *name, size_t cap)
{
	char text[PATH_MAX + 4096], line[4096], path[PATH_MAX], dir_path[PATH_MAX];
	FILE *mounts = fopen("/proc/self/mountinfo", "re");
	struct dirent *entry;
	DIR *dir = NULL;

	ck_assert_ptr_nonnull(mounts);
	ck_assert_int_gt(fd_read_file("/proc/self/cgroup", text, sizeof(text)), 0);
	while (cgroup_parse_own(text, path, sizeof(path)) && dir == NULL &&
	       fgets(line, sizeof(line), mounts) != NULL)
		if (cgroup_parse_mount(line, path, dir_path, sizeof(dir_path)))
			dir = opendir(dir_path);
	fclose(mounts);
	while (dir != NULL && (entry = readdir(dir)) != NULL)
		if (entry->d_type == DT_REG && strncmp(entry->d_name, "cgroup.", 7) != 0)
			break;
	if (dir == NULL)
		return false;
	snprintf(name, cap, "%s", entry != NULL ? entry->d_name : "");
	closedir(dir);
	return name[0] != '\0';
}

START_TEST(a_file_of_our_cgroup_is_not_the_name_of_one)
{
	char name[NAME_MAX + 1], option[NAME_MAX + 32], msg[NAME_MAX + 192];

	if (!find_cgroup_file(name, sizeof(name))) {
		fixture_skip("cgroup2", "no cgroup2 hierarchy is mounted");
		return;
	}
	snprintf(option, sizeof(option), "--evacuate-cgroup2=%s", name);
	snprintf(msg, sizeof(msg),
		 "--evacuate-cgroup2=%s is not the name of a cgroup: this is a file of the cgroup "
		 "that the launcher is in; try another name, such as evac",
		 name);
	ck_assert_int_eq(parse((args_t){ "--cgroupns", "--pidns", option }), 0);
	ck_assert_int_eq(opts_check(&o, &e), -EINVAL);
	ck_assert_str_eq(e.msg, msg);
	opts_free(&o);
	/* a longer name is another one */
	snprintf(option, sizeof(option), "--evacuate-cgroup2=%s.x", name);
	ck_assert_int_eq(parse((args_t){ "--cgroupns", "--pidns", option }), 0);
	ck_assert_int_eq(opts_check(&o, &e), 0);
}
END_TEST

static const struct {
	args_t args;
	const char *msg;
} foreign[] = {
	{ { "--net=vpnkit" },
	  "--net=vpnkit is not in this program: --net takes host, none, builtin, auto, "
	  "slirp4netns, pasta, lxc-user-nic or gvisor-tap-vsock; try --net=builtin, which also "
	  "needs no privileges" },
};

START_TEST(drivers_of_rootlesskit_that_are_missing_here_are_refused)
{
	const char *msg = foreign[_i].msg;

	ck_assert_int_eq(parse(foreign[_i].args), 0);
	ck_assert_int_eq(opts_check(&o, &e), -ENOTSUP);
	ck_assert_msg(strncmp(e.msg, msg, strlen(msg)) == 0, "not \"%s\" but \"%s\"", msg, e.msg);
}
END_TEST

static const struct {
	args_t args;
	const char *driver;
} autos[] = {
	{ { "--net=auto", "true" }, "builtin" },
	{ { "--net=auto", "--port-driver=none", "true" }, "builtin" },
	{ { "--net=auto", "--port-driver=builtin", "true" }, "builtin" },
	{ { "--net=auto", "--port-driver=slirp4netns", "true" }, "slirp4netns" },
	{ { "--net=auto", "--port-driver=implicit", "true" }, "pasta" },
	{ { "--net=auto", "--port-driver=pesto", "true" }, "pasta" },
	{ { "--net=auto", "--port-driver=gvisor-tap-vsock", "true" }, "gvisor-tap-vsock" },
	/* start scripts give these with every network */
	{ { "--net=auto", "--slirp4netns-sandbox=auto", "--slirp4netns-seccomp=true", "true" },
	  "builtin" },
	{ { "--net=auto", "--slirp4netns-binary=/x", "--pasta-binary=/x", "--ipv6", "true" },
	  "builtin" },
	{ { "--net=builtin", "--port-driver=builtin", "true" }, "builtin" },
	{ { "--net=gvisor-tap-vsock", "true" }, "gvisor-tap-vsock" },
};

START_TEST(auto_chooses_our_own_network_unless_the_port_driver_needs_another)
{
	int r = parse_and_check(autos[_i].args);

	ck_assert_msg(r == 0, "%s", e.msg);
	ck_assert_str_eq(o.net.driver_name, autos[_i].driver);
	ck_assert_str_eq(netopts_net_name(o.net.driver), autos[_i].driver);
	ck_assert_int_eq(o.net.is_auto, strcmp(autos[_i].args[0], "--net=auto") == 0);
}
END_TEST

static const struct {
	const char *text;
	uint32_t net; /* host order */
	int prefix_len;
	const char *msg; /* beginning of the reason, if prefix_len is -1 */
} cidrs[] = {
	{ "10.0.2.0/24", 0x0a000200, 24, NULL },
	{ "10.0.0.0/8", 0x0a000000, 8, NULL },
	{ "192.168.7.128/25", 0xc0a80780, 25, NULL },
	{ "10.9.0.0/30", 0, -1, "--cidr=10.9.0.0/30 is too small" },
	{ "10.9.0.0/26", 0, -1, "--cidr=10.9.0.0/26 is too small" },
	{ "10.9.0.0/32", 0, -1, "--cidr=10.9.0.0/32 is too small" },
	{ "10.0.2.1/24", 0, -1,
	  "cidr must be like 10.0.2.0/24, not like 10.0.2.100/24 (--cidr=10.0.2.1/24 has" },
	{ "10.0.2.128/24", 0, -1,
	  "cidr must be like 10.0.2.0/24, not like 10.0.2.100/24 (--cidr=10.0.2.128/24 has" },
	{ "foo", 0, -1,
	  "invalid CIDR address: foo; --cidr takes an IPv4 network such as 10.0.2.0/24" },
	{ "", 0x0a000200, 24, NULL }, /* the same as no option */
	{ "/", 0, -1, "invalid CIDR address: /" },
	{ "10.0.2.0", 0, -1, "invalid CIDR address: 10.0.2.0" },
	{ "10.0.2.0/", 0, -1, "invalid CIDR address: 10.0.2.0/" },
	{ "10.0.2.0/33", 0, -1, "invalid CIDR address: 10.0.2.0/33" },
	{ "10.0.2.0/-1", 0, -1, "invalid CIDR address: 10.0.2.0/-1" },
	{ "10.0.2.0/+24", 0, -1, "invalid CIDR address: 10.0.2.0/+24" },
	{ "10.0.2.0/ 24", 0, -1, "invalid CIDR address: 10.0.2.0/ 24" },
	{ "10.0.2.0/24 ", 0, -1, "invalid CIDR address: 10.0.2.0/24 " },
	{ "10.0.2.0/24/24", 0, -1, "invalid CIDR address: 10.0.2.0/24/24" },
	{ "10.0.2.0/4294967320", 0, -1, "invalid CIDR address: 10.0.2.0/4294967320" },
	{ "10.0.2/24", 0, -1, "invalid CIDR address: 10.0.2/24" },
	{ "256.0.2.0/24", 0, -1, "invalid CIDR address: 256.0.2.0/24" },
	{ "fd00::/64", 0, -1, "invalid CIDR address: fd00::/64" },
	{ "1111.1111.1111.1111/24", 0, -1, "invalid CIDR address: 1111.1111.1111.1111/24" },
};

START_TEST(an_address_range_is_checked)
{
	int r = parse_and_check((args_t){ "--net=slirp4netns", "--cidr", cidrs[_i].text, "x" });

	if (cidrs[_i].prefix_len < 0) {
		ck_assert_int_eq(r, -EINVAL);
		ck_assert_int_eq(strncmp(e.msg, cidrs[_i].msg, strlen(cidrs[_i].msg)), 0);
		return;
	}
	ck_assert_msg(r == 0, "%s", e.msg);
	ck_assert_uint_eq(ntohl(o.net.cidr.net.s_addr), cidrs[_i].net);
	ck_assert_int_eq(o.net.cidr.prefix_len, cidrs[_i].prefix_len);
}
END_TEST

static const struct {
	const char *dir;
	bool is_in;
} copied[] = {
	{ "/etc", true },   { "/run", true },	{ "/", false },	   { "/et", false },
	{ "/etc/", false }, { "/etcx", false }, { "/var", false }, { "/var/lib", true },
};

START_TEST(directories_that_are_copied_up_are_recognized)
{
	ck_assert_int_eq(
		parse_and_check((args_t){ "--copy-up=/etc/,/run", "--copy-up=/var/lib//" }), 0);
	ck_assert_int_eq(opts_copies_up(&o, copied[_i].dir), copied[_i].is_in);
}
END_TEST

/* ---- warnings ---- */

static void warn(void)
{
	opts_warn(&o);
}

static const struct {
	args_t args;
	const char *msg; /* NULL: none */
} warnings[] = {
	{ { "true" }, NULL },
	{ { "--net=none", "true" }, NULL },
	{ { "--net=slirp4netns", "--disable-host-loopback", "--mtu=1500", "true" }, NULL },
	{ { "--propagation=private", "true" }, NULL },
	{ { "--mtu=1500", "true" }, "unsupported mtu for --net=host: 1500" },
	{ { "--net=none", "--mtu=1500", "true" }, "unsupported mtu for --net=none: 1500" },
	{ { "--net=slirp4netns", "true" },
	  "specifying --disable-host-loopback is highly recommended to prohibit connecting to "
	  "127.0.0.1:[*] on the host namespace (requires pasta, slirp4netns, or VPNKit)" },
	{ { "--net=none", "--ipv6", "true" },
	  "ipv6 is experimental\"\n* --ipv6 is discarded for --net=none" },
	{ { "--net=pasta", "--ipv6", "--disable-host-loopback", "true" }, "ipv6 is experimental" },
	{ { "--net=pasta", "--disable-host-loopback", "true" },
	  "pasta\\\" network driver is experimental. Needs very recent version of pasta (see "
	  "docs/network.md). That file is RootlessKit's; this program works with the pasta of "
	  "Debian 12 (package passt) and later." },
	{ { "--net=lxc-user-nic", "--ipv6", "--mtu=1400", "--disable-host-loopback", "true" },
	  "ipv6 is experimental\"\n* --ipv6 is discarded for --net=lxc-user-nic\"\n* "
	  "\\\"lxc-user-nic\\\" network driver is experimental\"\n" },
	{ { "--net=lxc-user-nic", "true" },
	  "specifying --disable-host-loopback is highly recommended * network driver is "
	  "experimental\"\n* --disable-host-loopback is implicitly set for lxc-user-nic" },
	{ { "--net=builtin", "--disable-host-loopback", "--ipv6", "--mtu=1500", "true" }, NULL },
	{ { "--net=auto", "--disable-host-loopback", "--ipv6", "true" }, NULL },
	{ { "--net=builtin", "true" },
	  "specifying --disable-host-loopback is highly recommended to prohibit connecting to "
	  "127.0.0.1:[*] on the host namespace\"\n" },
	{ { "--net=gvisor-tap-vsock", "--port-driver=gvisor-tap-vsock", "true" },
	  "specifying --disable-host-loopback is highly recommended to prohibit connecting to "
	  "127.0.0.1:[*] on the host namespace (requires pasta, slirp4netns, or VPNKit)\"\n* "
	  "\\\"gvisor-tap-vsock\\\" network driver is experimental (in RootlessKit; *\n* "
	  "\\\"gvisor-tap-vsock\\\" port driver is experimental (in RootlessKit; *\n" },
	{ { "--port-driver=gvisor-tap-vsock", "true" },
	  "\\\"gvisor-tap-vsock\\\" port driver is experimental (in RootlessKit; " },
	{ { "--net=none", "--port-driver=gvisor-tap-vsock", "true" }, NULL },
	{ { "--detach-netns", "true" }, "--detach-netns has no effect with --net=host" },
	{ { "--net=none", "--detach-netns", "true" }, NULL },
	/* Warnings are printed even if an error follows. */
	{ { "--net=slirp4netns", "--slirp4netns-sandbox=foo", "true" },
	  "specifying --disable-host-loopback is highly" },
	{ { "--net=slirp4netns", "--port-driver=implicit", "true" },
	  "specifying --disable-host-loopback is highly" },
	{ { "--net=slirp4netns", "--port-driver=builtin", "-p", "80", "true" },
	  "specifying --disable-host-loopback is highly" },
	/* No warning if RootlessKit refuses the line before it warns. */
	{ { "--net=slirp4netns", "--mtu=-1", "true" }, NULL },
	{ { "--net=pasta", "--disable-host-loopback", "--port-driver=pasta", "true" }, NULL },
	{ { "--net=slirp4netns", "--cidr=foo", "true" }, NULL },
	/* Of a network that does not exist RootlessKit says what it says of each network. */
	{ { "--net=foo", "true" }, "specifying --disable-host-loopback is highly" },
	{ { "--net=", "--mtu=1500", "true" }, "specifying --disable-host-loopback is highly" },
	{ { "--net=vpnkit", "--disable-host-loopback", "--ipv6", "true" },
	  "ipv6 is experimental\"\n* --ipv6 is discarded for --net=vpnkit" },
	{ { "--net=slirp4netns", "--ifname=a/b", "true" }, NULL },
	{ { "--net=slirp4netns", "--evacuate-cgroup2=x", "true" }, NULL },
};

START_TEST(options_without_effect_cause_a_warning)
{
	char pattern[512];
	char *text;

	parse_and_check(warnings[_i].args);
	text = written_by(warn, STDERR_FILENO);
	snprintf(pattern, sizeof(pattern), "*%s*",
		 warnings[_i].msg != NULL ? warnings[_i].msg : "");
	if (warnings[_i].msg == NULL)
		ck_assert_str_eq(text, "");
	else
		ck_assert_msg(fnmatch(pattern, text, FNM_NOESCAPE) == 0, "%s", text);
	free(text);
}
END_TEST

static TCase *make_case(const char *name)
{
	TCase *tc = fixture_case(name);

	tcase_add_checked_fixture(tc, NULL, forget);
	return tc;
}

static TCase *reading_case(void)
{
	TCase *tc = make_case("reading");

	tcase_add_test(tc, defaults_are_those_of_rootlesskit);
	tcase_add_loop_test(tc, a_value_may_be_given_in_four_ways, 0, COUNT(state_dirs));
	tcase_add_loop_test(tc, the_backend_of_kept_client_addresses_is_named, 0, COUNT(backends));
	tcase_add_loop_test(tc, an_empty_value_means_not_given, 0, COUNT(empty_values));
	tcase_add_loop_test(tc, a_boolean_may_have_a_value, 0, COUNT(booleans));
	tcase_add_loop_test(tc, the_command_begins_with_the_first_other_word, 0, COUNT(commands));
	tcase_add_loop_test(tc, a_repeated_option_appends_to_its_list, 0, COUNT(lists));
	tcase_add_test(tc, short_names_stand_for_long_ones);
	tcase_add_loop_test(tc, a_number_is_read_and_anything_else_refused, 0, COUNT(numbers));
	tcase_add_loop_test(tc, a_missing_command_names_the_option_that_took_it, 0,
			    COUNT(commandless));
	tcase_add_loop_test(tc, a_bad_command_line_is_refused_with_a_reason, 0, COUNT(unreadable));
	tcase_add_loop_test(tc, every_option_is_known_and_in_the_help, 0, COUNT(names));
	return tc;
}

static TCase *checking_case(void)
{
	TCase *tc = make_case("checking");

	tcase_add_loop_test(tc, valid_combinations_are_accepted, 0, COUNT(accepted));
	tcase_add_loop_test(tc, reaping_and_evacuation_follow_from_the_options, 0,
			    COUNT(process_lines));
	tcase_add_loop_test(tc, invalid_values_and_combinations_are_refused_with_a_reason, 0,
			    COUNT(refused));
	tcase_add_test(tc, a_file_of_our_cgroup_is_not_the_name_of_one);
	tcase_add_loop_test(tc, drivers_of_rootlesskit_that_are_missing_here_are_refused, 0,
			    COUNT(foreign));
	tcase_add_loop_test(tc, auto_chooses_our_own_network_unless_the_port_driver_needs_another,
			    0, COUNT(autos));
	tcase_add_loop_test(tc, an_address_range_is_checked, 0, COUNT(cidrs));
	tcase_add_loop_test(tc, directories_that_are_copied_up_are_recognized, 0, COUNT(copied));
	tcase_add_loop_test(tc, options_without_effect_cause_a_warning, 0, COUNT(warnings));
	return tc;
}

int main(void)
{
	Suite *s = suite_create("opts");

	suite_add_tcase(s, reading_case());
	suite_add_tcase(s, checking_case());
	return fixture_run(s);
}
