/* SPDX-License-Identifier: Apache-2.0 */
/* The launcher's options. See opts.h. */
#include "launch/opts.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/flags.h"
#include "base/log.h"
#include "base/text.h"
#include "base/version.h"
#include "launch/optadvice.h"
#include "os/cgroup.h"
#include "os/mount.h"
#include "ports/workers.h"

#define FIELD(name) offsetof(struct opts, name)

static const struct flag options[] = {
	{ "General", "debug", NULL, FLAG_BOOL, FIELD(debug), NULL, "log each step" },
	{ NULL, "print-semver", NULL, FLAG_STRING, FIELD(print_semver), "PART",
	  "print one part of the version as a number: major, minor or patch" },
	{ NULL, "help", "h", FLAG_BOOL, FIELD(help), NULL, "show this help" },
	{ NULL, "version", "v", FLAG_BOOL, FIELD(version), NULL, "show the version" },

	{ "Files", "state-dir", NULL, FLAG_STRING, FIELD(state_dir), "DIR",
	  "directory of sockets and state (default: a new one in $TMPDIR or /tmp)" },
	{ NULL, "copy-up", NULL, FLAG_LIST, FIELD(copy_up), "DIR",
	  "make DIR writable inside, by a tmpfs with links to its content; may be repeated" },
	{ NULL, "copy-up-mode", NULL, FLAG_STRING, FIELD(copy_up_mode), "MODE",
	  "how to make it writable: tmpfs+symlink, the only mode" },
	{ NULL, "propagation", NULL, FLAG_STRING, FIELD(propagation), "KIND",
	  "mount propagation: [r]private, [r]slave, [r]shared (default: rprivate)" },

	{ "Network", "net", NULL, FLAG_STRING, FIELD(net.driver_name), "DRIVER",
	  "host, none, builtin (nothing to install), slirp4netns, pasta, lxc-user-nic, "
	  "gvisor-tap-vsock (builtin under that name), or auto (builtin, or what the port driver "
	  "needs) (default: host)" },
	{ NULL, "mtu", NULL, FLAG_INT, FIELD(net.mtu), "N",
	  "MTU of the network in bytes, 68 to 65521, with builtin from 576 (default: 65520; "
	  "lxc-user-nic: 1500)" },
	{ NULL, "cidr", NULL, FLAG_STRING, FIELD(net.cidr_text), "NET",
	  "address range of the network (default: 10.0.2.0/24)" },
	{ NULL, "ifname", NULL, FLAG_STRING, FIELD(net.ifname), "NAME",
	  "name of the interface inside (default: tap0; lxc-user-nic: eth0)" },
	{ NULL, "disable-host-loopback", NULL, FLAG_BOOL, FIELD(net.disable_host_loopback), NULL,
	  "do not let programs inside reach the host's 127.0.0.1; recommended" },
	{ NULL, "ipv6", NULL, FLAG_BOOL, FIELD(net.ipv6), NULL, "IPv6 inside, too" },
	{ NULL, "net-pcap", NULL, FLAG_STRING, FIELD(net.pcap_path), "FILE",
	  "builtin: record all frames of the interface in FILE, for tcpdump -r" },
	{ NULL, "detach-netns", NULL, FLAG_BOOL, FIELD(net.detach_netns), NULL,
	  "leave the command in the host's network; the new one is netns in the state directory" },
	{ NULL, "slirp4netns-binary", NULL, FLAG_STRING, FIELD(net.slirp4netns_binary), "FILE",
	  "the program (default: slirp4netns in $PATH)" },
	{ NULL, "slirp4netns-sandbox", NULL, FLAG_STRING, FIELD(net.slirp4netns_sandbox), "WHEN",
	  "confine it by namespaces: auto, true or false (default: false)" },
	{ NULL, "slirp4netns-seccomp", NULL, FLAG_STRING, FIELD(net.slirp4netns_seccomp), "WHEN",
	  "confine it by seccomp: auto, true or false (default: false)" },
	{ NULL, "pasta-binary", NULL, FLAG_STRING, FIELD(net.pasta_binary), "FILE",
	  "the program (default: pasta in $PATH)" },
	{ NULL, "pesto-binary", NULL, FLAG_STRING, FIELD(net.pesto_binary), "FILE",
	  "ignored: pasta is told about ports without it" },
	{ NULL, "vpnkit-binary", NULL, FLAG_STRING, FIELD(net.vpnkit_binary), "FILE",
	  "ignored: there is no vpnkit driver" },
	{ NULL, "lxc-user-nic-binary", NULL, FLAG_STRING, FIELD(net.lxc_user_nic_binary), "FILE",
	  "lxc-user-nic's program (default: in /usr/libexec/lxc or /usr/lib/lxc)" },
	{ NULL, "lxc-user-nic-bridge", NULL, FLAG_STRING, FIELD(net.lxc_user_nic_bridge), "NAME",
	  "bridge of the host that lxc-user-nic joins (default: lxcbr0)" },

	{ "Ports", "port-driver", NULL, FLAG_STRING, FIELD(net.port_driver_name), "DRIVER",
	  "what forwards ports: none, builtin, slirp4netns, for pasta implicit or pesto, or "
	  "gvisor-tap-vsock (builtin under that name) (default: none)" },
	{ NULL, "publish", "p", FLAG_LIST, FIELD(net.publish), "SPEC",
	  "publish a port, [IP]:PORT:[IP:]PORT/PROTO, such as 127.0.0.1:8080:80/tcp; may be "
	  "repeated" },
	{ NULL, "source-ip-transparent", NULL, FLAG_BOOL, FIELD(net.source_ip_transparent), NULL,
	  "builtin, TCP: show the client's address to the server inside (default: true)" },
	{ NULL, "source-ip-transparent-backend", NULL, FLAG_STRING,
	  FIELD(net.source_ip_backend_name), "BACKEND",
	  "auto, nft or iptables; no program is run, so this only changes what the API reports "
	  "(default: auto)" },
	{ NULL, "workers", NULL, FLAG_INT, FIELD(workers), "N",
	  "builtin, network and ports: number of threads of each, 1 to 64 (default: one per CPU, "
	  "at "
	  "most 8)" },

	{ "Processes", "pidns", NULL, FLAG_BOOL, FIELD(pidns), NULL, "a new PID namespace" },
	{ NULL, "cgroupns", NULL, FLAG_BOOL, FIELD(cgroupns), NULL, "a new cgroup namespace" },
	{ NULL, "utsns", NULL, FLAG_BOOL, FIELD(utsns), NULL, "a new UTS namespace" },
	{ NULL, "ipcns", NULL, FLAG_BOOL, FIELD(ipcns), NULL, "a new IPC namespace" },
	{ NULL, "reaper", NULL, FLAG_STRING, FIELD(reaper), "WHEN",
	  "run the command in a new session, as an init does: auto (with --pidns), true or false "
	  "(default: auto)" },
	{ NULL, "evacuate-cgroup2", NULL, FLAG_STRING, FIELD(evacuate_cgroup2), "NAME",
	  "move all processes of the launcher's cgroup to its new subgroup NAME, and enable its "
	  "controllers; needs --cgroupns and --pidns" },

	{ "Users", "subid-source", NULL, FLAG_STRING, FIELD(subid_source_name), "SOURCE",
	  "where subordinate IDs come from: auto, dynamic (getsubids), static (/etc/subuid), or "
	  "self (only the user's own ID) (default: auto)" },
	FLAGS_END,
};

/* ---- reading ---- */

static void set_defaults(struct opts *o)
{
	*o = (struct opts){
		.net.driver_name = "host",
		.net.slirp4netns_binary = "slirp4netns",
		.net.pasta_binary = "pasta",
		.net.lxc_user_nic_bridge = "lxcbr0",
		.net.slirp4netns_sandbox = "false",
		.net.slirp4netns_seccomp = "false",
		.copy_up_mode = "tmpfs+symlink",
		.net.port_driver_name = "none",
		.net.source_ip_transparent = true,
		.net.source_ip_backend_name = "auto",
		.workers = (int64_t)workers_default_size(),
		.reaper = "auto",
		.propagation = "rprivate",
		.subid_source_name = "auto",
	};
}

/* Scripts write `--cidr="$CIDR"`, so an option with an empty value counts as not given. Exceptions
 * are the two drivers: RootlessKit rejects an empty driver name. */
static bool is_not_given(const struct flag *flag, const char *value)
{
	return flag->type == FLAG_STRING && *value == '\0' &&
	       flag->offset != FIELD(net.driver_name) &&
	       flag->offset != FIELD(net.port_driver_name);
}

/* Appends the comma-separated entries of a value. Each is copied. */
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

/* Remembers an option whose value was a separate word: that word may be meant as the command. */
static void note_taken(struct opts *o, const struct flag *flag, const char *value, const char *word)
{
	if (value != word || flag->type == FLAG_BOOL)
		return;
	o->taken.word = word;
	o->taken.option = flag->name;
	o->taken.value = flag->value;
}

/* Rejects an option name in the place of a value, as in `--state-dir --net=none`, and an equals
 * sign with blanks around it, as in `--net = none`. `next` is the word behind `word`, or NULL. */
static int check_taken(const struct flag *flag, const char *value, const char *word,
		       const char *next, struct err *e)
{
	if (value == word && word[0] == '=') {
		if (word[1] == '\0' && next != NULL)
			word = next;
		else
			word++;
		return err_set(e, EINVAL,
			       "--%s took the equals sign as its value; try --%s=%.200s, without "
			       "blanks",
			       flag->name, flag->name, *word != '\0' ? word : flag->value);
	}
	if (value != word || strncmp(word, "--", 2) != 0 || !flags_has(options, word))
		return 0;
	return err_set(e, EINVAL, "--%s took the option %.200s as its value; try --%s=%s %.200s",
		       flag->name, word, flag->name, flag->value, word);
}

static void explain_taken(const struct opts *o, struct err *e)
{
	err_add(e,
		"; --%s took \"%.200s\" as its value: if that is the command, try --%s=%s %.200s",
		o->taken.option, o->taken.word, o->taken.option, o->taken.value, o->taken.word);
}

/* For an option that does not exist. `word` follows the last option that exists. */
static void explain_unknown(const struct opts *o, char *const *word, struct err *e)
{
	/* in `--net sh -c COMMAND`, --net took "sh", so that -c is an unknown option */
	bool may_be_command = o->taken.word != NULL && o->taken.word == word[-1];
	const char *name = *word + strspn(*word, "-");
	size_t len = strcspn(name, "=");
	const char *advice = optadvice_foreign(name, len);

	if (advice != NULL && !(may_be_command && len == 1))
		err_set(e, ENOENT, "flag provided but not defined: -%.*s; %s", (int)len, name,
			advice);
	else if (may_be_command && e->msg[strlen(e->msg) - 1] != '?')
		explain_taken(o, e);
}

int opts_parse(struct opts *o, int argc, char *const *argv, struct err *e)
{
	char *const *words = argv + (argc > 0);
	struct opts defaults;
	const struct flag *flag;
	const char *value;
	int r;

	set_defaults(o);
	set_defaults(&defaults);
	while ((r = flags_next(options, &words, &flag, &value, e)) > 0) {
		r = check_taken(flag, value, words[-1], words[0], e);
		if (r < 0)
			return r;
		note_taken(o, flag, value, words[-1]);
		if (is_not_given(flag, value))
			value = *(const char **)((char *)&defaults + flag->offset);
		if (flag->type == FLAG_LIST)
			r = add_to_list((void *)((char *)o + flag->offset), value, e);
		else
			r = flags_set(o, flag, value, e);
		if (r < 0)
			return r;
	}
	if (r == -ENOENT)
		explain_unknown(o, words, e);
	o->command = words;
	return r;
}

/* ---- checking ---- */

static const char *const subid_source_names[] = {
	[SUBID_AUTO] = "auto",
	[SUBID_DYNAMIC] = "dynamic",
	[SUBID_STATIC] = "static",
	[SUBID_SELF] = "self",
};
_Static_assert(COUNT_OF(subid_source_names) == SUBID_SOURCE_COUNT, "a name for each");

static int check_subid_source(struct opts *o, struct err *e)
{
	struct text given = { o->subid_source_name, strlen(o->subid_source_name) };

	for (int i = 0; i < SUBID_SOURCE_COUNT; i++) {
		if (strcmp(subid_source_names[i], o->subid_source_name) == 0) {
			o->subid_source = (enum subid_source)i;
			return 0;
		}
	}
	err_set(e, EINVAL,
		"failed to setup UID/GID map: failed to compute uid/gid map: unknown subid source "
		"\"%s\" (--subid-source takes auto, dynamic, static or self)",
		o->subid_source_name);
	for (int i = 0; i < SUBID_SOURCE_COUNT; i++) {
		if (text_typing_errors(given, subid_source_names[i]) >= 0) {
			err_add(e, "; did you mean %s?", subid_source_names[i]);
			break;
		}
	}
	return -EINVAL;
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
			       "(--propagation=%s with --copy-up); try --propagation=%s",
			       o->propagation, o->copy_up_mode, o->propagation,
			       o->propagation[0] == 'r' ? "rslave" : "slave");
	for (size_t i = 0; i < o->copy_up.count; i++) {
		const char *dir = o->copy_up.items[i], *why;

		if (dir[0] != '/')
			return err_set(e, EINVAL,
				       "--copy-up=%s is not an absolute path; --copy-up takes a "
				       "directory such as /etc%s",
				       dir,
				       dir[0] == '~' ? ", or $HOME/... (no shell expands ~ "
						       "behind an equals sign)"
						     : "");
		why = mount_why_no_copy_up(dir);
		if (why != NULL)
			return err_set(e, EINVAL,
				       "%s cannot be copied up (--copy-up=%s): %s; try a directory "
				       "in it",
				       dir, dir, why);
	}
	return 0;
}

/* Is this a single path component, and not one that names a file of the kernel in every cgroup,
 * such as "cgroup.procs"? */
static bool is_cgroup_name(const char *name)
{
	return strlen(name) <= NAME_MAX && strpbrk(name, "/\n") == NULL && strcmp(name, ".") != 0 &&
	       strcmp(name, "..") != 0 && strncmp(name, "cgroup.", strlen("cgroup.")) != 0;
}

static int check_evacuation(const struct opts *o, struct err *e)
{
	const char *name = o->evacuate_cgroup2;

	if (name == NULL || *name == '\0')
		return 0;
	if (!o->cgroupns || !o->pidns)
		return err_set(e, EINVAL, "evacuate-cgroup2 requires %s (%s--evacuate-cgroup2=%s)",
			       o->cgroupns ? "--pidns" : "--cgroupns",
			       o->cgroupns || o->pidns ? "" : "and --pidns, for ", name);
	if (strchr(name, '/') != NULL)
		return err_set(e, EINVAL,
			       "unexpected evacuation group name \"%s\": must not contain \"/\" "
			       "(--evacuate-cgroup2=%s)",
			       name, name);
	if (!is_cgroup_name(name))
		return err_set(e, EINVAL, "--evacuate-cgroup2=%s is not the name of a cgroup",
			       name);
	/* "memory.max" and the like: which files exist depends on the controllers */
	if (cgroup_has_file(name))
		return err_set(
			e, EINVAL,
			"--evacuate-cgroup2=%s is not the name of a cgroup: this is a file of "
			"the cgroup that the launcher is in; try another name, such as evac",
			name);
	return 0;
}

static int check_workers(const struct opts *o, struct err *e)
{
	if (o->workers < 1 || o->workers > WORKERS_MAX)
		return err_set(e, EINVAL,
			       "--workers=%lld is out of range: it takes 1 to %d threads",
			       (long long)o->workers, WORKERS_MAX);
	return 0;
}

static int check_processes(struct opts *o, struct err *e)
{
	if (strcmp(o->reaper, "auto") != 0 && strcmp(o->reaper, "true") != 0 &&
	    strcmp(o->reaper, "false") != 0)
		return err_set(e, EINVAL,
			       "unknown reaper mode: %s (--reaper takes auto, true or false)",
			       o->reaper);
	o->reaps = strcmp(o->reaper, "auto") == 0 ? o->pidns : strcmp(o->reaper, "true") == 0;
	o->evacuates = o->evacuate_cgroup2 != NULL && o->evacuate_cgroup2[0] != '\0';
	return 0;
}

int opts_check_command(const struct opts *o, struct err *e)
{
	if (o->command[0] != NULL)
		return 0;
	err_set(e, EINVAL, "no command specified");
	if (o->taken.word != NULL)
		explain_taken(o, e);
	err_add(e, "; see `rootlesskit --help`");
	return -EINVAL;
}

int opts_check(struct opts *o, struct err *e)
{
	int r = check_evacuation(o, e);

	if (r == 0)
		r = netopts_check(&o->net, e);
	if (r == 0)
		r = check_subid_source(o, e);
	if (r == 0)
		r = check_copy_up(o, e);
	if (r == 0)
		r = check_processes(o, e);
	if (r == 0)
		r = check_workers(o, e);
	if (r == 0)
		o->checked = true;
	return r;
}

void opts_warn(const struct opts *o)
{
	bool wants_propagation = strcmp(o->propagation, "rprivate") != 0 &&
				 strcmp(o->propagation, "private") != 0;
	char host[64];

	if (o->net.may_warn)
		netopts_warn(&o->net);
	if (!o->checked || !wants_propagation)
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
	free_list(&o->net.publish);
}

/* ---- help ---- */

static void print_option(const struct flag *opt)
{
	char left[64];
	int n = snprintf(left, sizeof(left), "  --%s", opt->name);

	if (opt->value != NULL)
		n += snprintf(left + n, sizeof(left) - (size_t)n, " %s", opt->value);
	if (opt->alias != NULL)
		snprintf(left + n, sizeof(left) - (size_t)n, ", -%s%s%s", opt->alias,
			 opt->value != NULL ? " " : "", opt->value != NULL ? opt->value : "");
	printf("%-32s %s\n", left, opt->help);
}

void opts_print_help(void)
{
	printf("Usage: rootlesskit [OPTIONS] [--] COMMAND [ARGUMENTS]\n"
	       "\n"
	       "Runs COMMAND as root of a new user namespace, without privileges on the host.\n"
	       "rlkbox %s, compatible with RootlessKit %s.%s.%s.\n",
	       RLKBOX_VERSION, COMPAT_MAJOR, COMPAT_MINOR, COMPAT_PATCH);
	for (const struct flag *opt = options; opt->name != NULL; opt++) {
		if (opt->group != NULL)
			printf("\n%s:\n", opt->group);
		print_option(opt);
	}
	printf("\nExample:\n"
	       "  rootlesskit --net=builtin --disable-host-loopback --copy-up=/etc \\\n"
	       "    --port-driver=builtin -p 127.0.0.1:8080:80/tcp sh\n");
}
