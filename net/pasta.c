/* SPDX-License-Identifier: Apache-2.0 */
/* How pasta is run. See pasta(1) and netprog.h.
 *
 * pasta stays in the foreground, so that we see it exit and the kernel kills it with us. As a
 * daemon, some versions (Debian 12's) outlive the namespace that they were started for. pasta
 * reports readiness by its PID file, which every version writes when everything is set up, also in
 * the foreground. The PID file is a fifo of ours. A pipe would not do: newer versions close
 * inherited descriptors.
 *
 * The first run configures the interface (--config-net), since with IPv6 only pasta knows the
 * addresses and routes. They stay with the TAP device. Later runs must not configure it: pasta
 * would fail on what exists.
 */
#include "net/pasta.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/array.h"
#include "base/fd.h"
#include "base/log.h"
#include "os/proc.h"
#include "os/statedir.h"

#define HELP_LEN       (64 * 1024) /* bytes of two --help outputs; the longest known has 10 kB */
#define HELP	       "--help"
#define PASTA_DIR_MODE 0700
#define VERSION_LEN    1024 /* bytes of --version */

static const char *binary(const struct netopts *o)
{
	return o->pasta_binary;
}

/* ---- features ---- */

unsigned int pasta_features(const char *help)
{
	static const struct {
		const char *option;
		enum pasta_feature feature;
	} known[] = {
		{ "--stderr", PASTA_STDERR },
		{ "--host-lo-to-ns-lo", PASTA_HOST_LO_TO_NS_LO },
		{ "--config-net", PASTA_CONFIG_NET },
		{ "--conf-path", PASTA_CONF_PATH },
	};
	unsigned int found = 0;

	for (size_t i = 0; i < COUNT_OF(known); i++)
		if (netprog_names_option(help, known[i].option))
			found |= known[i].feature;
	return found;
}

/* Waits for a started program and appends its output to `text`. Returns its wait status or
 * -errno. */
static int finish_help(struct proc_run *run, char *text, struct err *e)
{
	size_t len = strlen(text);

	return proc_run_finish(run, text + len, HELP_LEN - len, NETPROG_ASK_MS, e);
}

/* Collects the help text. Debian 13's pasta loses the end of --help if standard output is not a
 * terminal. Its answer to an unknown option has the same text, goes to standard error and is
 * complete, so both are collected. Returns a wait status or -errno. */
static int read_help(struct netprog *n, char *text, struct err *e)
{
	char help[] = HELP, unknown[] = "--this-is-no-option";
	char *const first[] = { n->program, help, NULL };
	char *const second[] = { n->program, unknown, NULL };
	struct proc_run runs[2];
	int r = proc_run_start(&runs[0], first, e);
	int r2;

	text[0] = '\0';
	if (r < 0)
		return r;
	r2 = proc_run_start(&runs[1], second, e);
	r = finish_help(&runs[0], text, e);
	if (r2 == 0)
		r2 = finish_help(&runs[1], text, e);
	/* a death by a signal is the most informative status */
	return r < 0 || WIFSIGNALED(r) ? r : r2;
}

/* Explains why the program is not usable, after its --help has not named --config-net. */
static int say_not_pasta(struct netprog *n, int help_status, struct err *e)
{
	char text[VERSION_LEN], why[64];
	int status;

	if (WIFSIGNALED(help_status)) {
		err_set(e, ENOEXEC, "\"%s " HELP "\" ended: %s", n->program,
			proc_status_text(help_status, why, sizeof(why)));
		netprog_advise_stack(help_status, e);
		return -ENOEXEC;
	}
	status = netprog_ask(n, "--version", text, sizeof(text), NULL);
	if (status > 0) {
		netprog_say_refused(n, "--version", "pasta", text, status, e);
		return -ENOEXEC;
	}
	err_set(e, ENOTSUP,
		"\"%s " HELP "\" does not know --config-net: it is not pasta, or too old",
		n->program);
	if (status == 0 && text[strcspn(text, "\n")] != '\0')
		err_add(e, "; its --version says: %.*s", (int)strcspn(text, "\n"), text);
	return -ENOTSUP;
}

/* Can --disable-host-loopback be honoured? --tcp-ns=none keeps the namespace from reaching servers
 * on the host's loopback at its own 127.0.0.1. But with that option some versions (Debian 12's) no
 * longer open the ports that are listened on inside. */
static bool can_close_loopback(const struct netprog *n)
{
	return n->o->port_driver != PORT_IMPLICIT || (n->features & PASTA_HOST_LO_TO_NS_LO);
}

/* Must pasta leave the namespace's loopback alone? By default, if a process listens on a port of
 * the host's loopback, pasta listens on the same port of the namespace's loopback. With the builtin
 * port driver these ports include the published ones, and a server inside could not listen on a
 * port of the same number. */
static bool closes_loopback(const struct netprog *n)
{
	return n->o->port_driver == PORT_BUILTIN ||
	       (n->o->disable_host_loopback && can_close_loopback(n));
}

/* Finds the program's features, and refuses one that is not pasta or too old. */
static int probe(struct netprog *n, struct err *e)
{
	char *text = malloc(HELP_LEN);
	int status, r;

	if (text == NULL)
		return err_sys(e, ENOMEM, "%s " HELP, n->program);
	r = status = read_help(n, text, e);
	if (r >= 0) {
		n->features = pasta_features(text);
		r = 0;
		if (!(n->features & PASTA_CONFIG_NET))
			r = say_not_pasta(n, status, e);
		else if (n->o->port_driver == PORT_PESTO && !(n->features & PASTA_CONF_PATH))
			r = err_set(e, ENOTSUP,
				    "port driver \"pesto\" requires pasta with --conf-path support "
				    "(passt >= 2026_05_07.1afd4ed); try --port-driver=builtin");
	}
	free(text);
	if (r == 0 && n->o->disable_host_loopback && !can_close_loopback(n))
		log_warn("this version of pasta cannot keep what listens on the host's 127.0.0.1 "
			 "from being reached on 127.0.0.1 inside (--disable-host-loopback with "
			 "--port-driver=implicit)");
	return r;
}

/* ---- the command line ---- */

static void add_address(struct netprog_args *args, const char *option, struct in_addr addr)
{
	char text[INET_ADDRSTRLEN];

	netprog_add(args, "%s=%s", option, inet_ntop(AF_INET, &addr, text, sizeof(text)));
}

/* compat: the addresses that RootlessKit gives to every namespace since 3.3.0. */
static void add_ipv6(struct netprog_args *args)
{
	netprog_add(args, "--address=fd00::100");
	netprog_add(args, "--gateway=fd00::2");
	netprog_add(args, "--dns-forward=fd00::3");
}

static void add_network(struct netprog_args *args, const struct netprog *n)
{
	const struct network *net = n->net;

	netprog_add(args, "--ns-ifname=%s", net->dev);
	netprog_add(args, "--mtu=%u", net->mtu);
	if (!n->was_ready)
		netprog_add(args, "--config-net");
	add_address(args, "--address", net->ip);
	netprog_add(args, "--netmask=%d", net->prefix_len);
	add_address(args, "--gateway", net->gateway);
	netprog_add(args, "--dns-forward=%s", net->dns[0]);
	if (n->o->ipv6)
		add_ipv6(args);
	else
		netprog_add(args, "--ipv4-only");
}

static void add_ports(struct netprog_args *args, const struct netprog *n)
{
	const char *ports = n->o->port_driver == PORT_IMPLICIT ? "auto" : "none";
	char path[PATH_MAX];

	netprog_add(args, "--tcp-ports=%s", ports);
	netprog_add(args, "--udp-ports=%s", ports);
	if (n->o->disable_host_loopback)
		netprog_add(args, "--no-map-gw");
	if (closes_loopback(n)) {
		netprog_add(args, "--tcp-ns=none");
		netprog_add(args, "--udp-ns=none");
	}
	if (n->o->port_driver == PORT_PESTO)
		netprog_add(args, "--conf-path=%s",
			    statedir_path(n->state_dir, STATE_PASTA_SOCKET, path));
	else if (n->features & PASTA_HOST_LO_TO_NS_LO)
		netprog_add(args, "--host-lo-to-ns-lo");
}

/* Prepares the place of the configuration socket, which pasta creates: a directory of its own,
 * because others may be allowed to look into the state directory. */
static int prepare(const struct netprog *n, struct err *e)
{
	char path[PATH_MAX];

	if (n->o->port_driver != PORT_PESTO)
		return 0;
	statedir_path(n->state_dir, STATE_PASTA_DIR, path);
	if (mkdir(path, PASTA_DIR_MODE) < 0 && errno != EEXIST)
		return err_add_room(e, err_sys(e, errno, "mkdir %s", path));
	/* left by an earlier run */
	if (unlink(statedir_path(n->state_dir, STATE_PASTA_SOCKET, path)) < 0 && errno != ENOENT)
		return err_sys(e, errno, "unlink %s", path);
	return 0;
}

static void build(struct netprog_args *args, const struct netprog *n)
{
	char path[PATH_MAX];

	netprog_add(args, "--foreground");
	netprog_add(args, "--pid=%s", statedir_path(n->state_dir, STATE_NET_READY, path));
	if (n->features & PASTA_STDERR)
		netprog_add(args, "--stderr");
	add_network(args, n);
	add_ports(args, n);
	if (n->o->detach_netns) {
		netprog_add(args, "--userns=/proc/%d/ns/user", (int)n->child_pid);
		netprog_add_netns(args, n, "--netns=");
	} else {
		netprog_add(args, "%d", (int)n->child_pid);
	}
}

/* ---- what it prints ---- */

/* True for a line about pasta's settings, or from a version that complains about a missing syslog.
 */
static bool is_routine(const char *line)
{
	static const char *const beginnings[] = {
		" ",
		"Template interface",
		"Namespace interface",
		"Outbound interface",
		"Failed to send ",
		"Inbound forwarding rules",
		"Outbound forwarding rules",
		"NDP: ",
		"No routable interface for IPv6",
	};
	size_t len = strlen(line);

	return (len > 0 && line[len - 1] == ':') ||
	       netprog_begins_with(line, beginnings, COUNT_OF(beginnings));
}

/* AppArmor confines a program by its path. The profile of Debian 12's pasta does not let it enter
 * the child's namespaces. */
static const char *advice(const struct netprog *n)
{
	char enabled[2] = "";

	if (strstr(n->last_words, "namespace") == NULL ||
	    strstr(n->last_words, "Permission denied") == NULL ||
	    fd_read_file("/sys/module/apparmor/parameters/enabled", enabled, sizeof(enabled)) < 0 ||
	    enabled[0] != 'Y')
		return NULL;
	return "a copy of pasta, which its AppArmor profile does not confine: `cp -L "
	       "/usr/bin/pasta ~/pasta` and --pasta-binary=$HOME/pasta";
}

const struct netprog_driver pasta_driver = {
	.name = "pasta",
	.option = "--pasta-binary",
	.package = "passt",
	.binary = binary,
	.probe = probe,
	.build = build,
	.prepare = prepare,
	.file = STATE_NET_READY,
	.by_fifo = true,
	.is_routine = is_routine,
	.advice = advice,
};
