/* SPDX-License-Identifier: Apache-2.0 */
/* Starts a process in a new user namespace, and explains what forbids that. See userns.h. */
#include "os/userns.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/array.h"
#include "base/fd.h"
#include "base/text.h"
#include "formats/subid.h"
#include "os/proc.h"

#define NESTED_MAX  33 /* the kernel allows 32 levels below the first (user_namespaces(7)) */
#define STACK_LEN   (256 * 1024) /* bytes; one function has a frame of 64 KiB */
#define STACK_ALIGN 16		 /* enough for the calling conventions of all processors */
#define TEXT_LEN    8192	 /* bytes of /proc/self/status or a map */
#define MANY	    28633	 /* namespaces: the default of a host with 8 GB */

static _Alignas(STACK_ALIGN) char stack[STACK_LEN];

/* ---- limits ---- */

static const struct {
	int flag;
	const char *name; /* the NAME in user.max_NAME_namespaces, namespaces(7) */
} kinds[] = {
	{ CLONE_NEWUSER, "user" },     { CLONE_NEWNS, "mnt" },	{ CLONE_NEWNET, "net" },
	{ CLONE_NEWPID, "pid" },       { CLONE_NEWUTS, "uts" }, { CLONE_NEWIPC, "ipc" },
	{ CLONE_NEWCGROUP, "cgroup" },
};
#define KIND_COUNT COUNT_OF(kinds)

static long read_number(const char *path, long otherwise)
{
	char text[32];

	return fd_read_file(path, text, sizeof(text)) > 0 ? strtol(text, NULL, 10) : otherwise;
}

/* Runs in a separate process: makes one namespace of each kind in *arg. Returns 1 + the index of
 * the kind that is at its limit, or 0. */
static int try_kinds(void *arg)
{
	const int *flags = arg;

	for (size_t i = 0; i < KIND_COUNT; i++)
		if ((*flags & kinds[i].flag) != 0 && unshare(kinds[i].flag) < 0 && errno == ENOSPC)
			return (int)i + 1;
	return 0;
}

/* Explains ENOSPC: finds the kind of namespace that is at its limit, and appends its sysctl. */
static void explain_limit(struct err *e, int flags)
{
	pid_t pid = clone(try_kinds, stack + STACK_LEN, SIGCHLD, &flags);
	int status = pid < 0 ? -1 : proc_wait(pid);
	const char *name;
	char path[64];
	long value;

	if (status < 0 || !WIFEXITED(status) || WEXITSTATUS(status) == 0)
		return;
	name = kinds[WEXITSTATUS(status) - 1].name;
	snprintf(path, sizeof(path), "/proc/sys/user/max_%s_namespaces", name);
	value = read_number(path, 0);
	/* A new user namespace starts with this value, so an outer namespace has the limit. */
	if (value == INT_MAX)
		err_add(e, "; user.max_%s_namespaces is reached outside of this user namespace",
			name);
	else if (value == 0)
		err_add(e, "; user.max_%s_namespaces is 0", name);
	else
		err_add(e,
			"; user.max_%s_namespaces, which is %ld here, is reached, here or in an "
			"outer namespace",
			name, value);
	err_add(e, "; try, as root there, `sysctl -w user.max_%s_namespaces=%ld`", name,
		value < MANY || value > INT_MAX / 2 ? (long)MANY : 2 * value);
}

static void explain_processes(struct err *e)
{
	struct rlimit limit;

	err_add(e, "; the limit of processes is reached");
	if (getrlimit(RLIMIT_NPROC, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
		err_add(e, " (`ulimit -u` is %llu for this user)",
			(unsigned long long)limit.rlim_cur);
	err_add(e, "; try to end processes, or to raise `ulimit -u`, TasksMax= of the service or "
		   "--pids-limit of the container");
}

/* ---- prohibitions ---- */

/* Does a file have a line that begins with `beginning`? */
static bool has_line(const char *path, const char *beginning)
{
	char text[TEXT_LEN];
	const char *at = text;

	if (fd_read_file(path, text, sizeof(text)) <= 0)
		return false;
	while (at != NULL && strncmp(at, beginning, strlen(beginning)) != 0) {
		at = strchr(at, '\n');
		at = at == NULL ? NULL : at + 1;
	}
	return at != NULL;
}

static bool is_read_only(const char *path)
{
	struct statvfs fs;

	return statvfs(path, &fs) == 0 && (fs.f_flag & ST_RDONLY) != 0;
}

/* Which root user may set kernel.* sysctls: only that of the first user namespace, and not one in a
 * container, where /proc/sys is mounted read-only. */
static const char *root_of_kernel(void)
{
	static const char map_file[] = "/proc/self/uid_map";
	const struct subid_range all = { 0, UINT32_MAX };
	char map[TEXT_LEN];
	ssize_t len = fd_read_file(map_file, map, sizeof(map));
	bool is_first = len < 0 || subid_is_in_map(map, (size_t)len, &all);

	return is_first && !is_read_only("/proc/sys/kernel") ? "root" : "root on the host";
}

/* Explains sysctls. Each user namespace has its own values below user/. */
static void explain_sysctls(struct err *e)
{
	if (read_number("/proc/sys/kernel/unprivileged_userns_clone", 1) == 0)
		err_add(e,
			"; kernel.unprivileged_userns_clone is 0; try, as %s, `sysctl -w "
			"kernel.unprivileged_userns_clone=1`",
			root_of_kernel());
	if (read_number("/proc/sys/user/max_user_namespaces", 1) == 0)
		err_add(e,
			"; user.max_user_namespaces is 0; try, as root%s, `sysctl -w "
			"user.max_user_namespaces=%d`",
			is_read_only("/proc/sys/user") ? " on the host" : "", MANY);
}

/* The kernel shows only mount points below our root. So if nothing is mounted on "/", this is a
 * chroot. */
static bool is_in_chroot(void)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t size = 0;
	bool has_root = f == NULL;
	char point[3];

	while (!has_root && getline(&line, &size, f) >= 0)
		has_root = sscanf(line, "%*s %*s %*s %*s %2s", point) == 1 &&
			   strcmp(point, "/") == 0;
	free(line);
	if (f != NULL)
		fclose(f);
	return !has_root;
}

static bool has_id(const char *map_file, uint32_t id)
{
	const struct subid_range range = { id, 1 };
	char map[TEXT_LEN];
	ssize_t len = fd_read_file(map_file, map, sizeof(map));

	return len < 0 || subid_is_in_map(map, (size_t)len, &range);
}

bool userns_explain_user(struct err *e)
{
	if (has_id("/proc/self/uid_map", (uint32_t)geteuid()) &&
	    has_id("/proc/self/gid_map", (uint32_t)getegid()))
		return false;
	err_add(e, "; this user does not exist in its own user namespace (/proc/self/uid_map, "
		   "gid_map); try to map it there (`unshare -U` takes -r for that)");
	return true;
}

static void explain_place(struct err *e)
{
	if (is_in_chroot())
		err_add(e, "; this is a chroot, in which no user namespace can be made; try "
			   "pivot_root(8), or a container");
	userns_explain_user(e);
}

/* Writes the name of the AppArmor profile for the file `path`, as etc/apparmor.sh makes it:
 * usr.local.bin.rlkbox. */
static void profile_name(char *name, size_t len, const char *path)
{
	snprintf(name, len, "%s", path + strspn(path, "/"));
	for (char *c = name; *c != '\0'; c++)
		if (!isalnum((unsigned char)*c) && strchr("_.-", *c) == NULL)
			*c = '.';
}

/* Loads a profile that `make install` has left for the programs in this directory, or makes one for
 * this program alone. */
static void advise_profile(struct err *e)
{
	char path[PATH_MAX], name[PATH_MAX], file[2 * PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	int dir_len;

	path[n < 0 ? 0 : n] = '\0';
	dir_len = (int)(text_base_name(path) - path);
	snprintf(file, sizeof(file), "%.*srlkbox", dir_len, path);
	profile_name(name, sizeof(name), file);
	snprintf(file, sizeof(file), "/etc/apparmor.d/%s", name);
	if (access(file, F_OK) == 0) {
		err_add(e, "`apparmor_parser -r %.300s`", file);
		return;
	}
	profile_name(name, sizeof(name), path);
	err_add(e,
		"`echo 'abi <abi/4.0>, profile %.300s \"%.300s\" flags=(unconfined) { userns, }' "
		">/etc/apparmor.d/%.300s && apparmor_parser -r /etc/apparmor.d/%.300s`",
		name, path, name, name);
}

static void explain_apparmor(struct err *e)
{
	if (read_number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", 0) != 1)
		return;
	err_add(e, "; AppArmor restricts user namespaces to programs with a profile; try, as %s, ",
		root_of_kernel());
	advise_profile(e);
	err_add(e, ", or, for all programs, "
		   "`sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`");
}

static bool is_in_kubernetes(void)
{
	return getenv("KUBERNETES_SERVICE_HOST") != NULL;
}

static bool is_in_container(void)
{
	return getenv("container") != NULL || access("/.dockerenv", F_OK) == 0 ||
	       access("/run/.containerenv", F_OK) == 0;
}

/* Container engines set a seccomp filter and, where there is one, an AppArmor profile by
 * default. */
static void explain_confinement(struct err *e)
{
	bool has_filter = has_line("/proc/self/status", "Seccomp:\t2");
	char profile[128] = "";

	if (fd_read_file("/proc/self/attr/apparmor/current", profile, sizeof(profile)) < 0)
		profile[0] = '\0';
	profile[strcspn(profile, "\n")] = '\0';
	/* "unconfined", or a profile that only gives a name: "usr.bin.rlkbox (unconfined)" */
	if (strstr(profile, "unconfined") != NULL)
		profile[0] = '\0';
	if (!has_filter && profile[0] == '\0')
		return;
	err_add(e, "; this process has%s%s%s%s", has_filter ? " a seccomp filter" : "",
		has_filter && profile[0] != '\0' ? " and" : "",
		profile[0] != '\0' ? " the AppArmor profile " : "", profile);
	if (is_in_kubernetes())
		err_add(e, "; try seccompProfile: {type: Unconfined} and appArmorProfile: {type: "
			   "Unconfined} in the securityContext of the pod");
	else if (is_in_container())
		err_add(e, "; try --security-opt seccomp=unconfined --security-opt "
			   "apparmor=unconfined --security-opt systempaths=unconfined for the "
			   "container");
	else
		err_add(e, "; try without RestrictNamespaces= and SystemCallFilter= of the "
			   "service, or outside of the sandbox");
}

void userns_explain(struct err *e, int errnum, int flags)
{
	if (e == NULL)
		return;
	if (errnum == ENOSPC) {
		explain_limit(e, flags);
		return;
	}
	if (errnum == EAGAIN) {
		explain_processes(e);
		return;
	}
	if (access("/proc/self/ns/user", F_OK) < 0 && access("/proc/self/ns", F_OK) == 0)
		err_add(e, "; this kernel has no user namespaces; try one with CONFIG_USER_NS");
	explain_sysctls(e);
	explain_place(e);
	explain_apparmor(e);
	explain_confinement(e);
}

/* ---- starting ---- */

/* Without CLONE_VM the new process gets a copy of `stack`, so this process' own is not touched. */
pid_t userns_clone(int flags, int (*run)(void *arg), void *arg, struct err *e)
{
	pid_t pid = clone(run, stack + STACK_LEN, CLONE_NEWUSER | flags | SIGCHLD, arg);
	int why = errno;

	if (pid >= 0)
		return pid;
	err_sys(e, why, "starting the child in a new user namespace");
	userns_explain(e, why, CLONE_NEWUSER | flags);
	return -why;
}

/* ---- killing ---- */

static bool is_same(int fd, const struct stat *ns)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_ino == ns->st_ino && st.st_dev == ns->st_dev;
}

/* Is the process in this user namespace or in one below it? */
static bool is_inside(const char *pid, const struct stat *ns)
{
	char path[64];
	int fd;
	bool found = false;

	snprintf(path, sizeof(path), "/proc/%.20s/ns/user", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	for (int i = 0; fd >= 0 && !found && i < NESTED_MAX; i++) {
		int parent = -1;

		found = is_same(fd, ns);
		if (!found)
			parent = ioctl(fd, NS_GET_PARENT);
		fd_close(&fd);
		fd = parent;
	}
	fd_close(&fd);
	return found;
}

void userns_kill(const struct stat *ns)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;

	if (dir == NULL)
		return;
	while ((entry = readdir(dir)) != NULL) {
		pid_t pid = atoi(entry->d_name);

		if (pid > 0 && pid != getpid() && is_inside(entry->d_name, ns))
			kill(pid, SIGKILL);
	}
	closedir(dir);
}
