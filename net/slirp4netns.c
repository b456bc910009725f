/* SPDX-License-Identifier: Apache-2.0 */
/* How slirp4netns is run. See slirp4netns(1) and netprog.h. */
#include "net/slirp4netns.h"

#include <errno.h>
#include <string.h>

#include "base/array.h"
#include "os/statedir.h"

#define HELP	 "--help"
#define HELP_LEN 8192		/* bytes; version 1.2 prints 1,500 */
#define KNOWN_BY "--netns-type" /* an option that exists since 0.4.0 */

static const char *binary(const struct netopts *o)
{
	return o->slirp4netns_binary;
}

static bool is_wanted(const char *when, bool by_auto)
{
	return strcmp(when, "true") == 0 || (strcmp(when, "auto") == 0 && by_auto);
}

static bool is_sandboxed(const struct netopts *o)
{
	return is_wanted(o->slirp4netns_sandbox, !o->detach_netns);
}

static bool is_filtered(const struct netopts *o)
{
	return is_wanted(o->slirp4netns_seccomp, true);
}

static void build(struct netprog_args *args, const struct netprog *n)
{
	const struct netopts *o = n->o;
	char path[PATH_MAX];

	netprog_add(args, "--mtu");
	netprog_add(args, "%u", n->net->mtu);
	netprog_add(args, "-r");
	netprog_add(args, "%d", NETPROG_READY_FD);
	netprog_add(args, "-e");
	netprog_add(args, "%d", NETPROG_EXIT_FD);
	if (o->disable_host_loopback)
		netprog_add(args, "--disable-host-loopback");
	if (o->cidr_text != NULL) {
		netprog_add(args, "--cidr");
		netprog_add(args, "%s", o->cidr_text);
	}
	if (o->port_driver == PORT_SLIRP4NETNS) {
		netprog_add(args, "--api-socket");
		netprog_add(args, "%s", statedir_path(n->state_dir, STATE_SLIRP_SOCKET, path));
	}
	if (is_sandboxed(o))
		netprog_add(args, "--enable-sandbox");
	if (is_filtered(o))
		netprog_add(args, "--enable-seccomp");
	if (o->ipv6)
		netprog_add(args, "--enable-ipv6");
	if (o->detach_netns) {
		netprog_add(args, "--userns-path=/proc/%d/ns/user", (int)n->child_pid);
		netprog_add(args, "--netns-type=path");
		netprog_add_netns(args, n, "");
	} else {
		netprog_add(args, "%d", (int)n->child_pid);
	}
	netprog_add(args, "%s", n->net->dev);
}

/* True for a line about slirp4netns' settings, or about an API request. The settings arrive late,
 * because standard output is a pipe and is therefore buffered. */
static bool is_routine(const char *line)
{
	static const char *const beginnings[] = { "* ", "Starting slirp", "apifd event",
						  "api_handler: got request" };

	return netprog_begins_with(line, beginnings, COUNT_OF(beginnings));
}

static const char *advice(const struct netprog *n)
{
	if (is_sandboxed(n->o) && strstr(n->last_words, "sandbox") != NULL)
		return "--slirp4netns-sandbox=false";
	if (is_filtered(n->o) && strstr(n->last_words, "seccomp") != NULL)
		return "--slirp4netns-seccomp=false";
	return NULL;
}

/* compat: RootlessKit runs --help before each start and reports its failure in these words. Here it
 * is run only after a failure. A reason that the program printed itself comes first. */
static void diagnose(struct netprog *n, struct err *e)
{
	char help[HELP_LEN];
	int status = netprog_ask(n, HELP, help, sizeof(help), NULL);

	if (status < 0 || (status == 0 && netprog_names_option(help, KNOWN_BY)))
		return;
	if (n->last_words[0] == '\0' && status != 0) {
		netprog_say_refused(n, HELP, "slirp4netns v0.4.0+", help, status, e);
	} else {
		if (n->last_words[0] == '\0')
			err_set(e, ENOEXEC, "slirp4netns seems older than v0.4.0");
		err_add(e,
			"; \"%.200s " HELP "\" does not name " KNOWN_BY
			": it is not slirp4netns, or too old",
			n->program);
	}
	netprog_add_source(n, e);
}

const struct netprog_driver slirp4netns_driver = {
	.name = "slirp4netns",
	.option = "--slirp4netns-binary",
	.package = "slirp4netns",
	.file = STATE_SLIRP_SOCKET,
	.binary = binary,
	.build = build,
	.is_routine = is_routine,
	.advice = advice,
	.diagnose = diagnose,
};
