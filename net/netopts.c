/* SPDX-License-Identifier: Apache-2.0 */
/* Options of the network and of ports. See netopts.h. */
#include "net/netopts.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/portspec.h"

#define MTU_MAX		    65521 /* bytes; the maximum of slirp4netns(1) */
#define MTU_MIN		    68	  /* bytes; the minimum of IPv4, RFC 791 */
#define MTU_MIN_IPV6	    1280  /* bytes; the minimum of IPv6, RFC 8200 */
/* The network must include host number 100, the address of the namespace. */
#define CIDR_MAX_PREFIX_LEN 25
#define IFNAME_MAX	    15 /* characters, IFNAMSIZ without the NUL */

#define NEEDS_PROGRAM "; it takes --net=slirp4netns or pasta"

/* ---- drivers ---- */

static const char *const net_names[] = {
	[NET_HOST] = "host",
	[NET_NONE] = "none",
	[NET_SLIRP4NETNS] = "slirp4netns",
	[NET_PASTA] = "pasta",
};
_Static_assert(COUNT_OF(net_names) == NET_DRIVER_COUNT, "a name for each");

static const char *const port_driver_names[] = {
	[PORT_NONE] = "none",
	[PORT_BUILTIN] = "builtin",
	[PORT_IMPLICIT] = "implicit",
	[PORT_SLIRP4NETNS] = "slirp4netns",
};
_Static_assert(COUNT_OF(port_driver_names) == PORT_DRIVER_COUNT, "a name for each");

/* Drivers that RootlessKit has and this program does not. */
static const char *const foreign_net_names[] = { "vpnkit", "lxc-user-nic", "gvisor-tap-vsock" };
static const char *const foreign_port_driver_names[] = { "gvisor-tap-vsock" };

/* Returns the index of a name in a table, or -1. */
static int index_of(const char *const *names, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(names[i], name) == 0)
			return (int)i;
	return -1;
}

/* Appends the name that the user may have meant. */
static void suggest(const char *given, const char *const *names, size_t count, struct err *e)
{
	struct text text = { given, strlen(given) };

	for (size_t i = 0; i < count; i++) {
		if (text_typing_errors(text, names[i]) >= 0) {
			err_add(e, "; did you mean %s?", names[i]);
			return;
		}
	}
}

bool netopts_has_program(const struct netopts *o)
{
	return o->driver == NET_SLIRP4NETNS || o->driver == NET_PASTA;
}

static int check_net(struct netopts *o, struct err *e)
{
	int net = index_of(net_names, COUNT_OF(net_names), o->driver_name);

	if (index_of(foreign_net_names, COUNT_OF(foreign_net_names), o->driver_name) >= 0)
		return err_set(e, ENOTSUP,
			       "--net=%s is not in this program: --net takes host, none, "
			       "slirp4netns or pasta",
			       o->driver_name);
	if (net < 0) {
		err_set(e, EINVAL,
			"unknown network mode: %s (--net takes host, none, slirp4netns or pasta)",
			o->driver_name);
		suggest(o->driver_name, net_names, COUNT_OF(net_names), e);
		return -EINVAL;
	}
	o->driver = (enum net_driver)net;
	return 0;
}

/* For messages: the port drivers that work with each network driver, and the reverse. */
static const char *const port_drivers_of_net[] = {
	[NET_HOST] = "none",
	[NET_NONE] = "none or builtin",
	[NET_SLIRP4NETNS] = "none, builtin or slirp4netns",
	[NET_PASTA] = "none or implicit",
};
_Static_assert(COUNT_OF(port_drivers_of_net) == NET_DRIVER_COUNT, "one for each");

static const char *const nets_of_port_driver[] = {
	[PORT_NONE] = "any",
	[PORT_BUILTIN] = "slirp4netns or none",
	[PORT_IMPLICIT] = "pasta",
	[PORT_SLIRP4NETNS] = "slirp4netns",
};
_Static_assert(COUNT_OF(nets_of_port_driver) == PORT_DRIVER_COUNT, "one for each");

/* Returns the rule that this combination of drivers breaks, in RootlessKit's words, or NULL.
 * `known`: the port driver exists. */
static const char *broken_rule(const struct netopts *o, bool known)
{
	enum port_driver port = o->port_driver;

	if (o->driver == NET_NONE && (!known || (port != PORT_NONE && port != PORT_BUILTIN)))
		return "network \"none\" requires either port driver \"none\" or \"builtin\"";
	if (o->driver == NET_PASTA && (!known || (port != PORT_NONE && port != PORT_IMPLICIT)))
		return "network \"pasta\" requires port driver \"none\" or \"implicit\"";
	if (port == PORT_IMPLICIT && o->driver != NET_PASTA)
		return "port driver requires pasta network";
	if (port == PORT_SLIRP4NETNS && o->driver != NET_SLIRP4NETNS)
		return "port driver requires slirp4netns network";
	if (port == PORT_BUILTIN && o->driver == NET_HOST)
		return "port driver requires non-host network";
	return NULL;
}

static int check_port_driver(struct netopts *o, struct err *e)
{
	int port = index_of(port_driver_names, COUNT_OF(port_driver_names), o->port_driver_name);
	const char *rule;

	if (index_of(foreign_port_driver_names, COUNT_OF(foreign_port_driver_names),
		     o->port_driver_name) >= 0)
		return err_set(e, ENOTSUP,
			       "--port-driver=%s is not in this program: --port-driver takes none, "
			       "builtin, slirp4netns or, with --net=pasta, implicit",
			       o->port_driver_name);
	o->port_driver = port >= 0 ? (enum port_driver)port : PORT_NONE;
	rule = broken_rule(o, port >= 0);
	if (rule != NULL) {
		err_set(e, EINVAL, "%s (--port-driver=%s with --net=%s)", rule, o->port_driver_name,
			o->driver_name);
		if (port >= 0)
			err_add(e, "; --port-driver=%s works with --net=%s", o->port_driver_name,
				nets_of_port_driver[port]);
		err_add(e, "; --net=%s works with --port-driver=%s", o->driver_name,
			port_drivers_of_net[o->driver]);
	} else if (port < 0) {
		err_set(e, EINVAL,
			"unknown port driver: %s (--port-driver takes none, builtin, implicit or "
			"slirp4netns)",
			o->port_driver_name);
	}
	if (port < 0)
		suggest(o->port_driver_name, port_driver_names, COUNT_OF(port_driver_names), e);
	return rule != NULL || port < 0 ? -EINVAL : 0;
}

/* ---- the network ---- */

static int bad_cidr(const char *text, struct err *e)
{
	return err_set(e, EINVAL,
		       "invalid CIDR address: %s; --cidr takes an IPv4 network such as 10.0.2.0/24",
		       text);
}

static int read_cidr(struct netopts *o, struct err *e)
{
	const char *text = o->cidr_text != NULL ? o->cidr_text : "10.0.2.0/24";
	char addr[INET_ADDRSTRLEN];
	size_t len = strcspn(text, "/");
	char *end = NULL;
	long prefix_len = text[len] == '/' ? strtol(text + len + 1, &end, 10) : -1;

	if (len >= sizeof(addr) || end == NULL || end == text + len + 1 || *end != '\0' ||
	    prefix_len < 0 || prefix_len > 32 || text[len + 1] < '0' || text[len + 1] > '9')
		return bad_cidr(text, e);
	memcpy(addr, text, len);
	addr[len] = '\0';
	if (inet_pton(AF_INET, addr, &o->cidr.net) != 1)
		return bad_cidr(text, e);
	o->cidr.prefix_len = (int)prefix_len;
	return 0;
}

static int check_cidr(const struct netopts *o, struct err *e)
{
	int prefix_len = o->cidr.prefix_len;

	if (prefix_len < 32 && (ntohl(o->cidr.net.s_addr) & (UINT32_MAX >> prefix_len)) != 0)
		return err_set(
			e, EINVAL,
			"cidr must be like 10.0.2.0/24, not like 10.0.2.100/24 (--cidr=%s has "
			"host bits set)",
			o->cidr_text);
	if (prefix_len > CIDR_MAX_PREFIX_LEN)
		return err_set(e, EINVAL,
			       "--cidr=%s is too small: its address 100 is used, so it takes a "
			       "/%d or larger",
			       o->cidr_text, CIDR_MAX_PREFIX_LEN);
	return 0;
}

/* The rules of the kernel's dev_valid_name(); also, "lo" exists in every network namespace. */
static bool is_ifname(const char *name)
{
	return *name != '\0' && strlen(name) <= IFNAME_MAX && strcmp(name, ".") != 0 &&
	       strcmp(name, "..") != 0 && strcmp(name, "lo") != 0 &&
	       strpbrk(name, " \t\n:%") == NULL;
}

/* The checks that RootlessKit makes with every driver, before it logs any warning. */
static int check_values(struct netopts *o, struct err *e)
{
	int r = 0;

	if (o->mtu > MTU_MAX || o->mtu < 0)
		r = err_set(e, EINVAL, "mtu must be <= %d, got %lld (--mtu takes %d to %d)",
			    MTU_MAX, (long long)o->mtu, MTU_MIN, MTU_MAX);
	if (r == 0)
		r = read_cidr(o, e);
	if (r == 0 && o->ifname != NULL && strchr(o->ifname, '/') != NULL)
		r = err_set(e, EINVAL,
			    "ifname must not contain \"/\" (--ifname=%s); try a name such as tap0",
			    o->ifname);
	return r;
}

static int check_network(const struct netopts *o, struct err *e)
{
	if (o->mtu != 0 && o->mtu < MTU_MIN && netopts_has_program(o))
		return err_set(e, EINVAL, "mtu must be >= %d, got %lld (--mtu takes %d to %d)",
			       MTU_MIN, (long long)o->mtu, MTU_MIN, MTU_MAX);
	if (o->ipv6 && o->mtu != 0 && o->mtu < MTU_MIN_IPV6 && netopts_has_program(o))
		return err_set(e, EINVAL, "--ipv6 needs an --mtu of at least %d, got %lld",
			       MTU_MIN_IPV6, (long long)o->mtu);
	if (o->cidr_text != NULL && !netopts_has_program(o))
		return err_set(e, EINVAL, "custom cidr is not supported for --net=%s" NEEDS_PROGRAM,
			       o->driver_name);
	if (o->ifname != NULL && !netopts_has_program(o))
		return err_set(e, EINVAL, "ifname cannot be specified for --net=%s" NEEDS_PROGRAM,
			       o->driver_name);
	if (o->ifname != NULL && !is_ifname(o->ifname))
		return err_set(e, EINVAL,
			       "--ifname=%s is not a valid interface name: 1 to %d characters, no "
			       "blanks, colons or percent signs, and not lo",
			       o->ifname, IFNAME_MAX);
	return check_cidr(o, e);
}

static int check_when(const char *option, const char *value, struct err *e)
{
	if (strcmp(value, "auto") == 0 || strcmp(value, "true") == 0 || strcmp(value, "false") == 0)
		return 0;
	return err_set(e, EINVAL, "unsupported %s mode: \"%s\" (--%s takes auto, true or false)",
		       option, value, option);
}

static int check_slirp4netns(const struct netopts *o, struct err *e)
{
	int r = check_when("slirp4netns-sandbox", o->slirp4netns_sandbox, e);

	if (r == 0)
		r = check_when("slirp4netns-seccomp", o->slirp4netns_seccomp, e);
	if (r == 0 && o->driver == NET_SLIRP4NETNS && o->detach_netns &&
	    strcmp(o->slirp4netns_sandbox, "true") == 0)
		r = err_set(e, EINVAL,
			    "--slirp4netns-sandbox conflicts with --detach-netns "
			    "(https://github.com/rootless-containers/slirp4netns/issues/317)");
	return r;
}

/* ---- ports ---- */

#define PASTA_PUBLISHES                                               \
	"--net=slirp4netns --port-driver=builtin; with --net=pasta, " \
	"--port-driver=implicit opens every port that is listened on inside"

/* What to add to the command line for -p to work, by network driver. */
static const char *const what_publishes[] = {
	[NET_HOST] = "a network and a port driver: --net=slirp4netns --port-driver=builtin",
	[NET_NONE] = "--port-driver=builtin",
	[NET_SLIRP4NETNS] = "--port-driver=builtin",
	[NET_PASTA] = PASTA_PUBLISHES,
};
_Static_assert(COUNT_OF(what_publishes) == NET_DRIVER_COUNT, "one for each");

static int check_ports(const struct netopts *o, struct err *e)
{
	struct portspec spec;

	if (o->publish.count > 0 && o->port_driver == PORT_NONE)
		return err_set(e, EINVAL,
			       "port driver \"none\" does not support publishing ports "
			       "(--publish needs %s)",
			       what_publishes[o->driver]);
	if (o->publish.count > 0 && o->port_driver == PORT_IMPLICIT)
		return err_set(e, EINVAL,
			       "port driver \"implicit\" does not support publishing ports "
			       "(--publish with --port-driver=implicit: every port that is "
			       "listened on inside is open on the host already)");
	for (size_t i = 0; i < o->publish.count; i++) {
		int r = portspec_parse(&spec, o->publish.items[i], e);

		if (r < 0)
			return r;
	}
	return 0;
}

/* compat: checks in RootlessKit's order, so that of several mistakes the same one is reported. */
int netopts_check(struct netopts *o, struct err *e)
{
	int r = check_values(o, e);

	if (r < 0)
		return r;
	r = check_net(o, e);
	if (r < 0)
		return r;
	o->known = true;
	r = check_network(o, e);
	if (r == 0)
		r = check_slirp4netns(o, e);
	if (r == 0)
		r = check_port_driver(o, e);
	return r < 0 ? r : check_ports(o, e);
}

void netopts_warn(const struct netopts *o)
{
	bool has_network = netopts_has_program(o);

	if (o->ipv6)
		log_warn("ipv6 is experimental");
	if (o->ipv6 && !has_network)
		log_warn("--ipv6 is discarded for --net=%s", o->driver_name);
	if (has_network && !o->disable_host_loopback)
		log_warn("specifying --disable-host-loopback is highly recommended to prohibit "
			 "connecting to 127.0.0.1:* on the host namespace (requires pasta, "
			 "slirp4netns, or VPNKit)");
	if (o->driver == NET_PASTA)
		log_warn("\"pasta\" network driver is experimental. Needs very recent version of "
			 "pasta "
			 "(see docs/network.md). That file is RootlessKit's; this program works "
			 "with the pasta of Debian 12 (package passt) and later.");
	if (o->mtu != 0 && !has_network)
		log_warn("unsupported mtu for --net=%s: %lld", o->driver_name, (long long)o->mtu);
	if (o->detach_netns && o->driver == NET_HOST)
		log_warn("--detach-netns has no effect with --net=host: there is no new network "
			 "namespace; try --net=none or --net=slirp4netns");
}
