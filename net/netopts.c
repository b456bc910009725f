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
#define MTU_MIN_OWN	    576	  /* bytes; what every host must take in one piece, RFC 791 */
#define MTU_MIN_IPV6	    1280  /* bytes; the minimum of IPv6, RFC 8200 */
/* The network must include host number 100, the address of the namespace. */
#define CIDR_MAX_PREFIX_LEN 25
#define IFNAME_MAX	    15 /* characters, IFNAMSIZ without the NUL */

#define NEEDS_ADDRESSES	   "; it takes --net=builtin, slirp4netns or pasta"
#define NEEDS_INTERFACE	   "; it takes --net=builtin, slirp4netns, pasta or lxc-user-nic"
#define NET_VALUES	   "host, none, builtin, auto, slirp4netns, pasta, lxc-user-nic or gvisor-tap-vsock"
#define PORT_DRIVER_VALUES "none, builtin, implicit, slirp4netns, pesto or gvisor-tap-vsock"

/* ---- drivers ---- */

static const char *const net_names[] = {
	[NET_HOST] = "host",
	[NET_NONE] = "none",
	[NET_SLIRP4NETNS] = "slirp4netns",
	[NET_PASTA] = "pasta",
	[NET_LXC_USER_NIC] = "lxc-user-nic",
	[NET_BUILTIN] = "builtin",
	[NET_GVISOR] = "gvisor-tap-vsock",
};
_Static_assert(COUNT_OF(net_names) == NET_DRIVER_COUNT, "a name for each");

static const char *const port_driver_names[] = {
	[PORT_NONE] = "none",	      [PORT_BUILTIN] = "builtin",
	[PORT_IMPLICIT] = "implicit", [PORT_SLIRP4NETNS] = "slirp4netns",
	[PORT_PESTO] = "pesto",	      [PORT_GVISOR] = "gvisor-tap-vsock",
};
_Static_assert(COUNT_OF(port_driver_names) == PORT_DRIVER_COUNT, "a name for each");

/* Drivers that RootlessKit has and this program does not. */
static const char *const foreign_net_names[] = { "vpnkit" };

const char *netopts_net_name(size_t index)
{
	return index < COUNT_OF(net_names) ? net_names[index] : NULL;
}

const char *netopts_port_driver_name(size_t index)
{
	return index < COUNT_OF(port_driver_names) ? port_driver_names[index] : NULL;
}

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

bool netopts_is_own(const struct netopts *o)
{
	return o->driver == NET_BUILTIN || o->driver == NET_GVISOR;
}

bool netopts_has_interface(const struct netopts *o)
{
	return o->driver != NET_HOST && o->driver != NET_NONE;
}

bool netopts_has_addresses(const struct netopts *o)
{
	return netopts_has_program(o) || netopts_is_own(o);
}

/* For `--net= none`: the value ends at the blank. */
static const char *advice_on_empty(const char *value)
{
	return *value == '\0' ? ", behind = without a blank" : "";
}

/* The network of --net=auto: our own, unless the port driver belongs to another one. Options of a
 * network program, such as --slirp4netns-sandbox=auto, do not choose it: start scripts give them
 * with every network. */
static enum net_driver choose_net(const struct netopts *o)
{
	static const enum net_driver needed[] = {
		[PORT_NONE] = NET_BUILTIN,
		[PORT_BUILTIN] = NET_BUILTIN,
		[PORT_IMPLICIT] = NET_PASTA,
		[PORT_PESTO] = NET_PASTA,
		[PORT_SLIRP4NETNS] = NET_SLIRP4NETNS,
		[PORT_GVISOR] = NET_GVISOR,
	};
	int port = index_of(port_driver_names, COUNT_OF(port_driver_names), o->port_driver_name);

	_Static_assert(COUNT_OF(needed) == PORT_DRIVER_COUNT, "one for each");
	return port < 0 ? NET_BUILTIN : needed[port];
}

static int check_net(struct netopts *o, struct err *e)
{
	int net = index_of(net_names, COUNT_OF(net_names), o->driver_name);

	o->is_auto = strcmp(o->driver_name, "auto") == 0;
	if (o->is_auto) {
		o->driver = choose_net(o);
		o->driver_name = net_names[o->driver];
		return 0;
	}
	if (index_of(foreign_net_names, COUNT_OF(foreign_net_names), o->driver_name) >= 0)
		return err_set(e, ENOTSUP,
			       "--net=%s is not in this program: --net takes " NET_VALUES
			       "; try --net=builtin, which also needs no privileges",
			       o->driver_name);
	if (net < 0) {
		err_set(e, EINVAL, "unknown network mode: %s (--net takes " NET_VALUES "%s)",
			o->driver_name, advice_on_empty(o->driver_name));
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
	[NET_PASTA] = "none, builtin, pesto or implicit",
	[NET_LXC_USER_NIC] = "none or builtin",
	[NET_BUILTIN] = "none or builtin",
	[NET_GVISOR] = "none, builtin or gvisor-tap-vsock",
};
_Static_assert(COUNT_OF(port_drivers_of_net) == NET_DRIVER_COUNT, "one for each");

static const char *const nets_of_port_driver[] = {
	[PORT_NONE] = "any",
	[PORT_BUILTIN] = "builtin, slirp4netns, pasta, lxc-user-nic, gvisor-tap-vsock or none",
	[PORT_IMPLICIT] = "pasta",
	[PORT_SLIRP4NETNS] = "slirp4netns",
	[PORT_PESTO] = "pasta",
	[PORT_GVISOR] = "gvisor-tap-vsock",
};
_Static_assert(COUNT_OF(nets_of_port_driver) == PORT_DRIVER_COUNT, "one for each");

/* Returns the rule that this combination of drivers breaks, in RootlessKit's words, or NULL.
 * `known`: the port driver exists. */
static const char *broken_rule(const struct netopts *o, bool known)
{
	enum port_driver port = o->port_driver;

	if (o->driver == NET_NONE && (!known || (port != PORT_NONE && port != PORT_BUILTIN)))
		return "network \"none\" requires either port driver \"none\" or \"builtin\"";
	if (o->driver == NET_PASTA && (!known || port == PORT_SLIRP4NETNS || port == PORT_GVISOR))
		return "network \"pasta\" requires port driver \"none\" or \"implicit\" or "
		       "\"pesto\"";
	if (port == PORT_IMPLICIT && o->driver != NET_PASTA)
		return "port driver \"implicit\" requires --net=pasta";
	if (port == PORT_PESTO && o->driver != NET_PASTA)
		return "port driver \"pesto\" requires --net=pasta";
	if (port == PORT_SLIRP4NETNS && o->driver != NET_SLIRP4NETNS)
		return "port driver requires slirp4netns network";
	if ((port == PORT_BUILTIN || port == PORT_GVISOR) && o->driver == NET_HOST)
		return "port driver requires non-host network";
	if (port == PORT_GVISOR && o->driver != NET_GVISOR)
		return "port driver \"gvisor-tap-vsock\" requires --net=gvisor-tap-vsock";
	return NULL;
}

/* Sets the reason for a combination of drivers that breaks a rule, and says what works. `port`: the
 * port driver, or -1 if it does not exist. */
static void explain_rule(const struct netopts *o, int port, const char *rule, struct err *e)
{
	err_set(e, EINVAL, "%s (--port-driver=%s with --net=%s)", rule, o->port_driver_name,
		o->driver_name);
	if (port >= 0)
		err_add(e, "; --port-driver=%s works with --net=%s", o->port_driver_name,
			nets_of_port_driver[port]);
	err_add(e, "; --net=%s works with --port-driver=%s", o->driver_name,
		port_drivers_of_net[o->driver]);
}

/* compat: RootlessKit names this one mistake before it looks at the network. */
static int check_mistaken_name(const struct netopts *o, struct err *e)
{
	if (strcmp(o->port_driver_name, "pasta") != 0)
		return 0;
	return err_set(e, EINVAL,
		       "unknown port driver \"pasta\": did you mean \"pesto\"? "
		       "(--port-driver takes " PORT_DRIVER_VALUES ")");
}

static int check_port_driver(struct netopts *o, struct err *e)
{
	int port = index_of(port_driver_names, COUNT_OF(port_driver_names), o->port_driver_name);
	const char *rule;

	o->port_driver = port >= 0 ? (enum port_driver)port : PORT_NONE;
	rule = broken_rule(o, port >= 0);
	if (rule != NULL)
		explain_rule(o, port, rule, e);
	else if (port < 0)
		err_set(e, EINVAL,
			"unknown port driver: %s (--port-driver takes " PORT_DRIVER_VALUES "%s)",
			o->port_driver_name, advice_on_empty(o->port_driver_name));
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
	if (prefix_len < 32 && (ntohl(o->cidr.net.s_addr) & (UINT32_MAX >> prefix_len)) != 0)
		return err_set(
			e, EINVAL,
			"cidr must be like 10.0.2.0/24, not like 10.0.2.100/24 (--cidr=%s has "
			"host bits set)",
			o->cidr_text);
	return 0;
}

static int check_network_size(const struct netopts *o, struct err *e)
{
	if (o->cidr.prefix_len > CIDR_MAX_PREFIX_LEN)
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

static int check_mtu(const struct netopts *o, struct err *e)
{
	int min = netopts_is_own(o) ? MTU_MIN_OWN : MTU_MIN;

	if (o->mtu == 0)
		return 0;
	if (o->mtu < min && netopts_has_interface(o))
		return err_set(e, EINVAL, "mtu must be >= %d, got %lld (--mtu takes %d to %d)", min,
			       (long long)o->mtu, min, MTU_MAX);
	if (o->ipv6 && o->mtu < MTU_MIN_IPV6 && netopts_has_addresses(o))
		return err_set(e, EINVAL, "--ipv6 needs an --mtu of at least %d, got %lld",
			       MTU_MIN_IPV6, (long long)o->mtu);
	return 0;
}

static int check_pcap(const struct netopts *o, struct err *e)
{
	if (o->pcap_path == NULL || netopts_is_own(o))
		return 0;
	err_set(e, EINVAL,
		"--net-pcap records the frames of --net=builtin, but the network is --net=%s",
		o->driver_name);
	if (netopts_has_interface(o))
		err_add(e, "; try tcpdump(8) inside");
	return -EINVAL;
}

static int check_network(const struct netopts *o, struct err *e)
{
	int r = check_mtu(o, e);

	if (r < 0)
		return r;
	if (o->cidr_text != NULL && !netopts_has_addresses(o))
		return err_set(e, EINVAL,
			       "custom cidr is not supported for --net=%s" NEEDS_ADDRESSES,
			       o->driver_name);
	if (o->ifname != NULL && !netopts_has_interface(o))
		return err_set(e, EINVAL, "ifname cannot be specified for --net=%s" NEEDS_INTERFACE,
			       o->driver_name);
	if (o->ifname != NULL && !is_ifname(o->ifname))
		return err_set(e, EINVAL,
			       "--ifname=%s is not a valid interface name: 1 to %d characters, no "
			       "blanks, colons or percent signs, and not lo",
			       o->ifname, IFNAME_MAX);
	r = check_network_size(o, e);
	return r < 0 ? r : check_pcap(o, e);
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

static const char pasta_publishes[] =
	"--port-driver=builtin; --port-driver=implicit opens every port that is listened on "
	"inside";

/* What to add to the command line for -p to work, by network driver. */
static const char *const what_publishes[] = {
	[NET_HOST] = "a network and a port driver: --net=builtin --port-driver=builtin",
	[NET_NONE] = "--port-driver=builtin",
	[NET_SLIRP4NETNS] = "--port-driver=builtin",
	[NET_PASTA] = pasta_publishes,
	[NET_LXC_USER_NIC] = "--port-driver=builtin",
	[NET_BUILTIN] = "--port-driver=builtin",
	[NET_GVISOR] = "--port-driver=gvisor-tap-vsock or --port-driver=builtin",
};
_Static_assert(COUNT_OF(what_publishes) == NET_DRIVER_COUNT, "one for each");

/* compat: RootlessKit runs nft(8) or iptables(8). This program speaks to the kernel itself, so the
 * choice only changes what /v1/info shows. */
static int check_source_ip_backend(struct netopts *o, struct err *e)
{
	static const char *const names[] = { "auto", "nft", "iptables" };
	const char *name = o->source_ip_backend_name;

	if (o->port_driver != PORT_BUILTIN && o->port_driver != PORT_GVISOR)
		return 0;
	if (index_of(names, COUNT_OF(names), name) < 0) {
		err_set(e, EINVAL,
			"unknown source-ip-transparent-backend: %s "
			"(--source-ip-transparent-backend "
			"takes auto, nft or iptables)",
			name);
		suggest(name, names, COUNT_OF(names), e);
		return -EINVAL;
	}
	if (o->source_ip_transparent)
		o->source_ip_backend = strcmp(name, "iptables") == 0 ? "iptables" : "nft";
	return 0;
}

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
	o->may_warn = true;
	r = check_mistaken_name(o, e);
	if (r == 0)
		r = check_net(o, e);
	if (r < 0)
		return r;
	o->driver_exists = true;
	r = check_network(o, e);
	if (r == 0)
		r = check_slirp4netns(o, e);
	if (r == 0)
		r = check_port_driver(o, e);
	if (r == 0)
		r = check_source_ip_backend(o, e);
	return r < 0 ? r : check_ports(o, e);
}

/* ---- warnings ---- */

/* Warnings about single options, which RootlessKit gives before it looks at the network driver. */
static void warn_of_options(const struct netopts *o)
{
	bool wants_network = strcmp(o->driver_name, "host") != 0 &&
			     strcmp(o->driver_name, "none") != 0;
	bool is_own = o->driver_exists && netopts_is_own(o);
	bool routes_ipv6 = o->driver_exists && netopts_has_addresses(o);

	if (o->ipv6 && !is_own)
		log_warn("ipv6 is experimental");
	if (o->ipv6 && !routes_ipv6)
		log_warn("--ipv6 is discarded for --net=%s", o->driver_name);
	if (wants_network && !o->disable_host_loopback)
		log_warn("specifying --disable-host-loopback is highly recommended to prohibit "
			 "connecting to 127.0.0.1:* on the host namespace%s",
			 is_own && o->driver == NET_BUILTIN
				 ? ""
				 : " (requires pasta, slirp4netns, or VPNKit)");
}

/* compat: RootlessKit calls these drivers experimental. The networks none and pasta refuse the port
 * driver before it could warn. */
static void warn_of_driver(const struct netopts *o)
{
	if (o->driver == NET_PASTA)
		log_warn("\"pasta\" network driver is experimental. Needs very recent version of "
			 "pasta "
			 "(see docs/network.md). That file is RootlessKit's; this program works "
			 "with the pasta of Debian 12 (package passt) and later.");
	if (o->driver == NET_LXC_USER_NIC)
		log_warn("\"lxc-user-nic\" network driver is experimental");
	if (o->driver == NET_LXC_USER_NIC && !o->disable_host_loopback && o->cidr_text == NULL)
		log_warn("--disable-host-loopback is implicitly set for lxc-user-nic");
	if (o->driver == NET_GVISOR)
		log_warn(
			"\"gvisor-tap-vsock\" network driver is experimental (in RootlessKit; here "
			"it is --net=builtin under this name)");
	if (o->port_driver == PORT_GVISOR && o->driver != NET_NONE && o->driver != NET_PASTA)
		log_warn(
			"\"gvisor-tap-vsock\" port driver is experimental (in RootlessKit; here it "
			"is --port-driver=builtin under this name)");
}

void netopts_warn(const struct netopts *o)
{
	warn_of_options(o);
	if (!o->driver_exists)
		return;
	if (o->is_auto)
		log_debug("--net=auto chooses --net=%s", o->driver_name);
	warn_of_driver(o);
	if (o->mtu != 0 && !netopts_has_interface(o))
		log_warn("unsupported mtu for --net=%s: %lld", o->driver_name, (long long)o->mtu);
	if (o->detach_netns && o->driver == NET_HOST)
		log_warn("--detach-netns has no effect with --net=host: there is no new network "
			 "namespace; try --net=none or --net=builtin");
}
