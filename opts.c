/* SPDX-License-Identifier: Apache-2.0 */
/* The launcher's options. See opts.h.
 *
 * Lines are read as Go's flag package reads them, since scripts are written for that: one dash or
 * two, "--opt=value" or "--opt value", booleans without a value or with "=true". The first word
 * that is no option, or the one after "--", begins the command.
 */
#include "opts.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mount.h"
#include "portspec.h"
#include "version.h"

#define MTU_MAX		    65521 /* bytes; slirp4netns(1) takes no larger one */
#define MTU_MIN		    68	  /* bytes; the least that IPv4 works with, RFC 791 */
/* slirp4netns' guest is address 100 of the network. */
#define CIDR_MAX_PREFIX_LEN 25
#define IFNAME_MAX	    15 /* characters, IFNAMSIZ without the NUL */

enum opt_type {
	OPT_BOOL,
	OPT_INT,
	OPT_STRING,
	OPT_LIST,
};

/* Options whose work is not done yet are refused, never ignored. */
enum opt_state {
	DONE,
	NOT_YET,
};

struct option {
	const char *group; /* begins a group of the help if not NULL */
	const char *name;
	const char *alias; /* NULL if none */
	enum opt_type type;
	enum opt_state state;
	size_t offset; /* of the value in struct opts */
	const char *value;
	const char *help;
};

#define FIELD(name) offsetof(struct opts, name)

static const struct option options[] = {
	{ "General", "debug", NULL, OPT_BOOL, DONE, FIELD(debug), NULL, "log what is done" },
	{ NULL, "print-semver", NULL, OPT_STRING, DONE, FIELD(print_semver), "PART",
	  "print one part of the version as a number: major, minor or patch" },
	{ NULL, "help", "h", OPT_BOOL, DONE, FIELD(help), NULL, "show this help" },
	{ NULL, "version", "v", OPT_BOOL, DONE, FIELD(version), NULL, "show the version" },

	{ "Files", "state-dir", NULL, OPT_STRING, DONE, FIELD(state_dir), "DIR",
	  "directory of sockets and state (default: a new one in $TMPDIR)" },
	{ NULL, "copy-up", NULL, OPT_LIST, DONE, FIELD(copy_up), "DIR",
	  "make DIR writable inside: a tmpfs with links to its content; may be repeated" },
	{ NULL, "copy-up-mode", NULL, OPT_STRING, DONE, FIELD(copy_up_mode), "MODE",
	  "how: tmpfs+symlink, the only mode" },
	{ NULL, "propagation", NULL, OPT_STRING, DONE, FIELD(propagation), "KIND",
	  "mount propagation: [r]private, [r]slave, [r]shared (default: rprivate)" },

	{ "Network", "net", NULL, OPT_STRING, DONE, FIELD(net_name), "DRIVER",
	  "host, none or slirp4netns (default: host)" },
	{ NULL, "mtu", NULL, OPT_INT, DONE, FIELD(mtu), "N",
	  "MTU of the network (default: 65520 for slirp4netns)" },
	{ NULL, "cidr", NULL, OPT_STRING, DONE, FIELD(cidr_text), "NET",
	  "address range of the network (default: 10.0.2.0/24)" },
	{ NULL, "ifname", NULL, OPT_STRING, DONE, FIELD(ifname), "NAME",
	  "name of the interface inside (default: tap0)" },
	{ NULL, "disable-host-loopback", NULL, OPT_BOOL, DONE, FIELD(disable_host_loopback), NULL,
	  "keep the inside from the host's 127.0.0.1; recommended" },
	{ NULL, "ipv6", NULL, OPT_BOOL, NOT_YET, FIELD(ipv6), NULL, "route IPv6 inside too" },
	{ NULL, "detach-netns", NULL, OPT_BOOL, DONE, FIELD(detach_netns), NULL,
	  "leave the command in the host's network; the new one stands at DIR/netns" },
	{ NULL, "slirp4netns-binary", NULL, OPT_STRING, DONE, FIELD(slirp4netns_binary), "FILE",
	  "the program (default: slirp4netns in $PATH)" },
	{ NULL, "slirp4netns-sandbox", NULL, OPT_STRING, DONE, FIELD(slirp4netns_sandbox), "WHEN",
	  "confine it by namespaces: auto, true or false (default: false)" },
	{ NULL, "slirp4netns-seccomp", NULL, OPT_STRING, DONE, FIELD(slirp4netns_seccomp), "WHEN",
	  "confine it by seccomp: auto, true or false (default: false)" },
	{ NULL, "pasta-binary", NULL, OPT_STRING, NOT_YET, FIELD(pasta_binary), "FILE",
	  "the program (default: pasta in $PATH)" },
	{ NULL, "vpnkit-binary", NULL, OPT_STRING, NOT_YET, FIELD(vpnkit_binary), "FILE",
	  "the program" },
	{ NULL, "lxc-user-nic-binary", NULL, OPT_STRING, NOT_YET, FIELD(lxc_user_nic_binary),
	  "FILE", "the program" },
	{ NULL, "lxc-user-nic-bridge", NULL, OPT_STRING, NOT_YET, FIELD(lxc_user_nic_bridge),
	  "NAME", "the bridge" },

	{ "Ports", "port-driver", NULL, OPT_STRING, DONE, FIELD(port_driver_name), "DRIVER",
	  "who forwards ports: none or builtin (default: none)" },
	{ NULL, "publish", "p", OPT_LIST, DONE, FIELD(publish), "SPEC",
	  "publish a port, [IP]:PORT:[IP:]PORT/PROTO, such as 127.0.0.1:8080:80/tcp; may be "
	  "repeated" },
	{ NULL, "source-ip-transparent", NULL, OPT_BOOL, NOT_YET, FIELD(source_ip_transparent),
	  NULL, "show the client's address to the server inside" },

	{ "Processes", "pidns", NULL, OPT_BOOL, NOT_YET, FIELD(pidns), NULL,
	  "a new PID namespace" },
	{ NULL, "cgroupns", NULL, OPT_BOOL, NOT_YET, FIELD(cgroupns), NULL,
	  "a new cgroup namespace" },
	{ NULL, "utsns", NULL, OPT_BOOL, NOT_YET, FIELD(utsns), NULL, "a new UTS namespace" },
	{ NULL, "ipcns", NULL, OPT_BOOL, NOT_YET, FIELD(ipcns), NULL, "a new IPC namespace" },
	{ NULL, "reaper", NULL, OPT_STRING, DONE, FIELD(reaper), "WHEN",
	  "reap orphans as PID 1: auto, true or false (default: auto)" },
	{ NULL, "evacuate-cgroup2", NULL, OPT_STRING, NOT_YET, FIELD(evacuate_cgroup2), "NAME",
	  "move all processes to this subgroup" },

	{ "Users", "subid-source", NULL, OPT_STRING, DONE, FIELD(subid_source_name), "SOURCE",
	  "of subordinate IDs: auto, dynamic (getsubids), static (/etc/subuid), self (only the "
	  "user's "
	  "own ID) (default: auto)" },
};

#define OPTION_COUNT (sizeof(options) / sizeof(options[0]))

static void *field(struct opts *o, const struct option *opt)
{
	return (char *)o + opt->offset;
}

/* ---- reading ---- */

static void set_defaults(struct opts *o)
{
	*o = (struct opts){
		.net_name = "host",
		.slirp4netns_binary = "slirp4netns",
		.slirp4netns_sandbox = "false",
		.slirp4netns_seccomp = "false",
		.copy_up_mode = "tmpfs+symlink",
		.port_driver_name = "none",
		.source_ip_transparent = true,
		.reaper = "auto",
		.propagation = "rprivate",
		.subid_source_name = "auto",
	};
}

static const struct option *find(const char *name, size_t len)
{
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		const struct option *opt = &options[i];

		if (strlen(opt->name) == len && strncmp(opt->name, name, len) == 0)
			return opt;
		if (opt->alias != NULL && strlen(opt->alias) == len &&
		    strncmp(opt->alias, name, len) == 0)
			return opt;
	}
	return NULL;
}

static int set_bool(bool *to, const struct option *opt, const char *value, struct err *e)
{
	static const char *const yes[] = { "1", "t", "T", "true", "TRUE", "True" };
	static const char *const no[] = { "0", "f", "F", "false", "FALSE", "False" };

	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
		if (value == NULL || strcmp(value, yes[i]) == 0) {
			*to = true;
			return 0;
		}
		if (strcmp(value, no[i]) == 0) {
			*to = false;
			return 0;
		}
	}
	return err_set(e, EINVAL, "invalid boolean value \"%s\" for -%s: parse error", value,
		       opt->name);
}

static int set_int(int64_t *to, const struct option *opt, const char *value, struct err *e)
{
	char *end;

	errno = 0;
	*to = strtoll(value, &end, 10);
	if (errno != 0 || end == value || *end != '\0' || isspace((unsigned char)*value))
		return err_set(e, EINVAL, "invalid value \"%s\" for flag -%s: parse error", value,
			       opt->name);
	return 0;
}

/* Appends the entries of a value, which commas part. */
static int add_to_list(struct string_list *list, const char *value, struct err *e)
{
	for (;;) {
		size_t len = strcspn(value, ",");
		char **items = realloc(list->items, (list->count + 1) * sizeof(*items));

		if (items == NULL)
			return err_sys(e, ENOMEM, "reading options");
		list->items = items;
		items[list->count] = strndup(value, len);
		if (items[list->count] == NULL)
			return err_sys(e, ENOMEM, "reading options");
		list->count++;
		if (value[len] == '\0')
			return 0;
		value += len + 1;
	}
}

static int set_option(struct opts *o, const struct option *opt, const char *value, struct err *e)
{
	switch (opt->type) {
	case OPT_BOOL:
		return set_bool(field(o, opt), opt, value, e);
	case OPT_INT:
		return set_int(field(o, opt), opt, value, e);
	case OPT_STRING:
		*(const char **)field(o, opt) = value;
		return 0;
	case OPT_LIST:
		return add_to_list(field(o, opt), value, e);
	}
	return -EINVAL;
}

/* Notes the first option that is not done yet; that a switch is off is fine. */
static void note_not_yet(struct opts *o, const struct option *opt)
{
	if (opt->state == NOT_YET && o->not_yet == NULL &&
	    (opt->type != OPT_BOOL || *(const bool *)field(o, opt)))
		o->not_yet = opt->name;
}

int opts_parse(struct opts *o, int argc, char *const *argv, struct err *e)
{
	int i = 1;

	set_defaults(o);
	while (i < argc && argv[i][0] == '-' && argv[i][1] != '\0') {
		const char *name = argv[i] + (argv[i][1] == '-' ? 2 : 1);
		size_t len = strcspn(name, "=");
		const char *value = name[len] == '=' ? name + len + 1 : NULL;
		const struct option *opt = find(name, len);
		int r;

		i++;
		if (*name == '\0') /* "--" */
			break;
		if (opt == NULL)
			return err_set(e, EINVAL, "flag provided but not defined: -%.*s", (int)len,
				       name);
		if (value == NULL && opt->type != OPT_BOOL) {
			if (i == argc)
				return err_set(e, EINVAL, "flag needs an argument: -%.*s", (int)len,
					       name);
			value = argv[i++];
		}
		r = set_option(o, opt, value, e);
		if (r < 0)
			return r;
		note_not_yet(o, opt);
	}
	o->command = argv + i;
	return 0;
}

/* ---- checking ---- */

static const char *const net_names[] = {
	[NET_HOST] = "host",
	[NET_NONE] = "none",
	[NET_SLIRP4NETNS] = "slirp4netns",
};
_Static_assert(sizeof(net_names) / sizeof(net_names[0]) == NET_DRIVER_COUNT, "a name for each");

static const char *const port_driver_names[] = {
	[PORT_NONE] = "none",
	[PORT_BUILTIN] = "builtin",
};
_Static_assert(sizeof(port_driver_names) / sizeof(port_driver_names[0]) == PORT_DRIVER_COUNT,
	       "a name for each");

static const char *const subid_source_names[] = {
	[SUBID_AUTO] = "auto",
	[SUBID_DYNAMIC] = "dynamic",
	[SUBID_STATIC] = "static",
	[SUBID_SELF] = "self",
};
_Static_assert(sizeof(subid_source_names) / sizeof(subid_source_names[0]) == SUBID_SOURCE_COUNT,
	       "a name for each");

/* What the reference has and we do not have yet. */
static const char *const later_net_names[] = { "pasta", "vpnkit", "lxc-user-nic",
					       "gvisor-tap-vsock" };
static const char *const later_port_driver_names[] = { "implicit", "slirp4netns",
						       "gvisor-tap-vsock" };

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

/* The index of a name in a table, or -1. */
static int index_of(const char *const *names, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(names[i], name) == 0)
			return (int)i;
	return -1;
}

static int check_names(struct opts *o, struct err *e)
{
	int net = index_of(net_names, COUNT_OF(net_names), o->net_name);
	int port = index_of(port_driver_names, COUNT_OF(port_driver_names), o->port_driver_name);
	int subid = index_of(subid_source_names, COUNT_OF(subid_source_names),
			     o->subid_source_name);

	if (index_of(later_net_names, COUNT_OF(later_net_names), o->net_name) >= 0)
		return err_set(e, ENOTSUP, "not supported yet: --net=%s", o->net_name);
	if (net < 0)
		return err_set(e, EINVAL,
			       "unknown network mode: %s (--net takes host, none or slirp4netns)",
			       o->net_name);
	if (index_of(later_port_driver_names, COUNT_OF(later_port_driver_names),
		     o->port_driver_name) >= 0)
		return err_set(e, ENOTSUP, "not supported yet: --port-driver=%s",
			       o->port_driver_name);
	if (port < 0 && net == NET_NONE)
		return err_set(e, EINVAL,
			       "network \"none\" requires either port driver \"none\" or "
			       "\"builtin\", not --port-driver=%s",
			       o->port_driver_name);
	if (port < 0)
		return err_set(e, EINVAL,
			       "unknown port driver: %s (--port-driver takes none or builtin)",
			       o->port_driver_name);
	if (subid < 0)
		return err_set(e, EINVAL,
			       "unknown subid source: %s (--subid-source takes auto, dynamic, "
			       "static or self)",
			       o->subid_source_name);
	o->net = (enum net_driver)net;
	o->port_driver = (enum port_driver)port;
	o->subid_source = (enum subid_source)subid;
	return 0;
}

static int check_cidr(struct opts *o, struct err *e)
{
	const char *text = o->cidr_text != NULL ? o->cidr_text : "10.0.2.0/24";
	char addr[INET_ADDRSTRLEN];
	size_t len = strcspn(text, "/");
	char *end = NULL;
	long prefix_len = text[len] == '/' ? strtol(text + len + 1, &end, 10) : -1;

	if (len >= sizeof(addr) || end == NULL || end == text + len + 1 || *end != '\0' ||
	    prefix_len < 0 || prefix_len > 32 || text[len + 1] < '0' || text[len + 1] > '9')
		return err_set(e, EINVAL, "invalid CIDR address: %s", text);
	memcpy(addr, text, len);
	addr[len] = '\0';
	if (inet_pton(AF_INET, addr, &o->cidr.net) != 1)
		return err_set(e, EINVAL, "invalid CIDR address: %s", text);
	o->cidr.prefix_len = (int)prefix_len;
	if (prefix_len < 32 && (ntohl(o->cidr.net.s_addr) & (UINT32_MAX >> prefix_len)) != 0)
		return err_set(e, EINVAL, "--cidr=%s has host bits set", text);
	if (prefix_len > CIDR_MAX_PREFIX_LEN)
		return err_set(e, EINVAL,
			       "--cidr=%s is too small: its address 100 is used, so it takes a "
			       "/%d or larger",
			       text, CIDR_MAX_PREFIX_LEN);
	return 0;
}

static bool has_network_program(const struct opts *o)
{
	return o->net == NET_SLIRP4NETNS;
}

/* As the kernel's dev_valid_name(); and "lo" is taken in every network namespace. */
static bool is_ifname(const char *name)
{
	return *name != '\0' && strlen(name) <= IFNAME_MAX && strcmp(name, ".") != 0 &&
	       strcmp(name, "..") != 0 && strcmp(name, "lo") != 0 &&
	       strpbrk(name, " \t\n:%") == NULL;
}

static int check_network(struct opts *o, struct err *e)
{
	if (o->mtu > MTU_MAX || o->mtu < 0)
		return err_set(e, EINVAL, "mtu must be <= %d, got %lld", MTU_MAX,
			       (long long)o->mtu);
	if (o->mtu != 0 && o->mtu < MTU_MIN && has_network_program(o))
		return err_set(e, EINVAL, "mtu must be >= %d, got %lld", MTU_MIN,
			       (long long)o->mtu);
	if (o->cidr_text != NULL && !has_network_program(o))
		return err_set(e, EINVAL, "custom cidr is not supported for --net=%s", o->net_name);
	if (o->ifname != NULL && !has_network_program(o))
		return err_set(e, EINVAL, "ifname cannot be specified for --net=%s", o->net_name);
	if (o->ifname != NULL && strchr(o->ifname, '/') != NULL)
		return err_set(e, EINVAL, "ifname must not contain \"/\"");
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
	return err_set(e, EINVAL, "unsupported %s mode: \"%s\" (auto, true or false)", option,
		       value);
}

static int check_slirp4netns(const struct opts *o, struct err *e)
{
	int r = check_when("slirp4netns-sandbox", o->slirp4netns_sandbox, e);

	if (r == 0)
		r = check_when("slirp4netns-seccomp", o->slirp4netns_seccomp, e);
	if (r == 0 && o->net == NET_SLIRP4NETNS && o->detach_netns &&
	    strcmp(o->slirp4netns_sandbox, "true") == 0)
		r = err_set(e, EINVAL,
			    "--slirp4netns-sandbox conflicts with --detach-netns "
			    "(https://github.com/rootless-containers/slirp4netns/issues/317)");
	return r;
}

static int check_ports(const struct opts *o, struct err *e)
{
	struct portspec spec;

	if (o->port_driver == PORT_BUILTIN && o->net == NET_HOST)
		return err_set(e, EINVAL,
			       "port driver requires non-host network "
			       "(--port-driver=builtin with --net=host)");
	if (o->publish.count > 0 && o->port_driver == PORT_NONE)
		return err_set(e, EINVAL,
			       "port driver \"none\" does not support publishing ports "
			       "(--publish needs --port-driver=builtin)");
	for (size_t i = 0; i < o->publish.count; i++) {
		int r = portspec_parse(&spec, o->publish.items[i], e);

		if (r < 0)
			return r;
	}
	return 0;
}

static int check_copy_up(const struct opts *o, struct err *e)
{
	if (strcmp(o->copy_up_mode, "tmpfs+symlink") != 0)
		return err_set(e, EINVAL,
			       "unknown copy-up mode: %s (--copy-up-mode takes "
			       "tmpfs+symlink)",
			       o->copy_up_mode);
	if (!mount_is_propagation(o->propagation))
		return err_set(e, EINVAL,
			       "unknown propagation: \"%s\" (--propagation takes private, "
			       "rprivate, slave, rslave, shared or rshared)",
			       o->propagation);
	if (o->copy_up.count > 0 && mount_is_shared(o->propagation))
		return err_set(e, EINVAL,
			       "propagation %s does not support copy-up driver %s "
			       "(--propagation=%s with --copy-up)",
			       o->propagation, o->copy_up_mode, o->propagation);
	for (size_t i = 0; i < o->copy_up.count; i++) {
		const char *dir = o->copy_up.items[i];

		if (dir[0] != '/')
			return err_set(e, EINVAL, "--copy-up=%s is not an absolute path", dir);
		if (!mount_may_be_covered(dir))
			return err_set(e, EINVAL, "%s cannot be copied up", dir);
	}
	return 0;
}

static int check_processes(const struct opts *o, struct err *e)
{
	if (strcmp(o->reaper, "true") == 0 && !o->pidns)
		return err_set(e, EINVAL, "reaper requires --pidns (--reaper=true)");
	if (strcmp(o->reaper, "auto") != 0 && strcmp(o->reaper, "true") != 0 &&
	    strcmp(o->reaper, "false") != 0)
		return err_set(e, EINVAL, "unknown reaper mode: %s (auto, true or false)",
			       o->reaper);
	return 0;
}

int opts_check(struct opts *o, struct err *e)
{
	int r = 0;

	if (o->not_yet != NULL)
		r = err_set(e, ENOTSUP, "not supported yet: --%s", o->not_yet);
	if (r == 0)
		r = check_names(o, e);
	if (r == 0)
		r = check_network(o, e);
	if (r == 0)
		r = check_slirp4netns(o, e);
	if (r == 0)
		r = check_ports(o, e);
	if (r == 0)
		r = check_copy_up(o, e);
	if (r == 0)
		r = check_processes(o, e);
	return r;
}

void opts_warn(const struct opts *o)
{
	bool wants_propagation = strcmp(o->propagation, "rprivate") != 0 &&
				 strcmp(o->propagation, "private") != 0;
	char host[64];

	if (has_network_program(o) && !o->disable_host_loopback)
		log_warn("specifying --disable-host-loopback is highly recommended to prohibit "
			 "connecting to 127.0.0.1:* on the host namespace (requires slirp4netns)");
	if (o->mtu != 0 && !has_network_program(o))
		log_warn("unsupported mtu for --net=%s: %lld", o->net_name, (long long)o->mtu);
	if (!wants_propagation)
		return;
	mount_root_propagation(host, sizeof(host));
	if (host[0] == '\0')
		log_warn(
			"The host root filesystem is mounted as \"\". Setting child propagation to "
			"\"%s\" is not supported.",
			o->propagation);
}

bool opts_copies_up(const struct opts *o, const char *dir)
{
	size_t want = strlen(dir);

	for (size_t i = 0; i < o->copy_up.count; i++) {
		const char *item = o->copy_up.items[i];
		size_t len = strlen(item);

		while (len > 1 && item[len - 1] == '/')
			len--;
		if (len == want && strncmp(item, dir, len) == 0)
			return true;
	}
	return false;
}

static void free_list(struct string_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->items[i]);
	free(list->items);
	*list = (struct string_list){ 0 };
}

void opts_free(struct opts *o)
{
	free_list(&o->copy_up);
	free_list(&o->publish);
}

/* ---- help ---- */

static void print_option(const struct option *opt)
{
	char left[64];
	int n = snprintf(left, sizeof(left), "  --%s", opt->name);

	if (opt->value != NULL)
		n += snprintf(left + n, sizeof(left) - (size_t)n, " %s", opt->value);
	if (opt->alias != NULL)
		snprintf(left + n, sizeof(left) - (size_t)n, ", -%s%s%s", opt->alias,
			 opt->value != NULL ? " " : "", opt->value != NULL ? opt->value : "");
	printf("%-32s %s%s\n", left, opt->help,
	       opt->state == NOT_YET ? " (not supported yet)" : "");
}

void opts_print_help(void)
{
	printf("Usage: rootlesskit [OPTIONS] [--] COMMAND [ARGUMENTS]\n"
	       "\n"
	       "Runs COMMAND as root of a new user namespace, without privileges on the host.\n"
	       "rlkbox %s, compatible with RootlessKit %s.%s.%s.\n",
	       RLKBOX_VERSION, COMPAT_MAJOR, COMPAT_MINOR, COMPAT_PATCH);
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		if (options[i].group != NULL)
			printf("\n%s:\n", options[i].group);
		print_option(&options[i]);
	}
	printf("\nExample:\n"
	       "  rootlesskit --net=slirp4netns --disable-host-loopback --copy-up=/etc \\\n"
	       "    --port-driver=builtin -p 127.0.0.1:8080:80/tcp sh\n");
}
