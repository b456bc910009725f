/* SPDX-License-Identifier: Apache-2.0 */
/* How lxc-user-nic is run. See lxcusernic.h, lxc-user-nic(1) and lxc-usernet(5).
 *
 * The program takes the number of a process whose network namespace gets the interface. It checks
 * that its user may trace that process (ptrace(2)). No process is in a detached namespace for long,
 * so a process of ours goes there and waits until the program is done.
 *
 * The program says "Quota reached" for almost everything: no line in its configuration, too few
 * links in that line, no such bridge, and a bridge that it may not use. So this file finds out
 * itself which one it is.
 */
#include "net/lxcusernic.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/array.h"
#include "base/fd.h"
#include "base/log.h"
#include "formats/subid.h"
#include "os/proc.h"

#define USERNET	   "/etc/lxc/lxc-usernet"
#define FILE_MAX   (1U << 20) /* bytes of USERNET, and of /etc/passwd */
#define OUTPUT_LEN 1024
#define NAME_LEN   256
#define PID_LEN	   16
#define WORD_LEN   64 /* a word of USERNET, with the NUL; see the format in may_use() */

#define QUOTA	 "Quota reached"
#define NO_LINK	 "Failed to create new nic" /* printed before QUOTA if the quota is not reached */
/* A veth of a launcher that was killed takes some milliseconds to disappear. */
#define RETRY_MS 100
#define RETRIES	 10

/* ---- finding the program ---- */

/* compat: RootlessKit's places. The program is not in $PATH on any distribution. */
static bool find_default(char *buf, size_t cap)
{
	struct utsname names = { .machine = "" };
	char ubuntu[sizeof("/usr/lib/-linux-gnu/lxc/lxc-user-nic") + sizeof(names.machine)];
	const char *const paths[] = {
		"/usr/libexec/lxc/lxc-user-nic",     /* Debian, Fedora */
		ubuntu, "/usr/lib/lxc/lxc-user-nic", /* Arch Linux */
	};

	uname(&names);
	snprintf(ubuntu, sizeof(ubuntu), "/usr/lib/%s-linux-gnu/lxc/lxc-user-nic", names.machine);
	for (size_t i = 0; i < COUNT_OF(paths); i++) {
		snprintf(buf, cap, "%s", paths[i]);
		if (access(buf, F_OK) == 0)
			return true;
	}
	return false;
}

int lxcusernic_find(struct lxcusernic *l, const struct netopts *o, struct err *e)
{
	const char *name = o->lxc_user_nic_binary;
	char found[PATH_MAX];
	int r;

	l->o = o;
	if (name == NULL)
		name = find_default(found, sizeof(found)) ? found : "";
	r = proc_find(name, l->program, sizeof(l->program), e);
	if (r < 0)
		err_add(e,
			" (--net=lxc-user-nic: install the package liblxc-common, or on Fedora "
			"and Arch Linux lxc, or name the program by --lxc-user-nic-binary; or try "
			"--net=builtin, which needs no program)");
	return r;
}

/* ---- advice ---- */

/* Does the program refuse another link, and not only fail to make it? */
static bool is_quota(const char *output)
{
	return strstr(output, QUOTA) != NULL && strstr(output, NO_LINK) == NULL;
}

/* Our user's name, or "USER" if /etc/passwd does not have it. */
static void user_name(char *name, size_t cap)
{
	size_t len;
	char *text = fd_load_file("/etc/passwd", FILE_MAX, &len);

	if (text == NULL || !subid_find_user(text, len, (uint32_t)geteuid(), name, cap))
		snprintf(name, cap, "USER");
	free(text);
}

/* Does USERNET have a line that lets the user make links in the bridge? */
static bool may_use(const char *user, const char *bridge)
{
	char name[WORD_LEN], type[WORD_LEN], where[WORD_LEN];
	size_t len;
	char *text = fd_load_file(USERNET, FILE_MAX, &len);
	char *rest = text, *line;
	bool found = false;

	while (!found && (line = strsep(&rest, "\n")) != NULL)
		found = sscanf(line, " %63s %63s %63s", name, type, where) == 3 &&
			strcmp(name, user) == 0 && strcmp(where, bridge) == 0;
	free(text);
	return found;
}

/* Appends how to get more links. */
static void advise_quota(const char *bridge, struct err *e)
{
	char name[NAME_LEN];

	user_name(name, sizeof(name));
	if (may_use(name, bridge))
		err_add(e,
			"; all links that " USERNET " gives %s are in use: as root, raise the last "
			"number of the line \"%s veth %s\"",
			name, name, bridge);
	else
		err_add(e,
			"; " USERNET " does not let %s use %s: as root, run `echo '%s veth %s "
			"10' >>" USERNET "`",
			name, bridge, name, bridge);
}

/* Appends why the program runs without root's privileges. Returns false if it has them. */
static bool advise_suid(const char *program, struct err *e)
{
	struct statvfs fs = { .f_flag = 0 };
	struct stat st = { .st_mode = 0 };
	bool is_suid;

	if (stat(program, &st) < 0)
		return false;
	is_suid = st.st_uid == 0 && (st.st_mode & S_ISUID);
	statvfs(program, &fs);
	if (!is_suid)
		err_add(e,
			"; %s must be set-UID root: as root, run `chown root %s && chmod u+s "
			"%s`",
			program, program, program);
	else if (fs.f_flag & ST_NOSUID)
		err_add(e, "; %s is on a file system that is mounted nosuid", program);
	else if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1)
		err_add(e, "; a process with no_new_privs cannot run set-UID programs: run the "
			   "launcher without it (systemd: NoNewPrivileges=no)");
	else
		return false;
	return true;
}

static void advise(const struct lxcusernic *l, const char *output, struct err *e)
{
	const char *bridge = l->o->lxc_user_nic_bridge;

	if (advise_suid(l->program, e))
		return;
	if (if_nametoindex(bridge) == 0)
		err_add(e,
			"; the host has no bridge %s: as root, start lxc-net (`systemctl start "
			"lxc-net`, package lxc), or name another by --lxc-user-nic-bridge",
			bridge);
	else if (strstr(output, NO_LINK) != NULL)
		err_add(e, "; is %s a bridge?", bridge);
	else if (is_quota(output))
		advise_quota(bridge, e);
}

/* ---- a process in the detached namespace ---- */

/* Enters the namespaces, reports 0 or an errno value, and waits to be killed. Does not return. */
static void hold(int userns_fd, int netns_fd, int report_fd, pid_t parent)
{
	int errnum = 0;

	if (setns(userns_fd, CLONE_NEWUSER) < 0 || setns(netns_fd, CLONE_NEWNET) < 0)
		errnum = errno;
	/* setns(2) may clear both. The program only accepts a process that its user may trace. */
	prctl(PR_SET_DUMPABLE, 1);
	proc_die_with_parent(parent);
	if (write(report_fd, &errnum, sizeof(errnum)) != sizeof(errnum) || errnum != 0)
		_exit(1);
	for (;;)
		pause();
}

/* Starts a process in the detached namespace. Returns its PID, or -errno with a reason. */
static pid_t start_holder(const struct lxcusernic_child *child, struct err *e)
{
	char path[2 * PATH_MAX];
	FD_AUTO int netns =
		open(network_netns_path(path, sizeof(path), child->pid, child->state_dir),
		     O_RDONLY | O_CLOEXEC);
	FD_AUTO int in = -1;
	FD_AUTO int out = -1;
	int errnum = EIO, report[2];
	pid_t parent = getpid(), pid;

	if (netns < 0)
		return err_sys(e, errno, "opening %s", path);
	if (pipe2(report, O_CLOEXEC) < 0)
		return err_sys(e, errno, "pipe");
	in = report[0];
	out = report[1];
	pid = fork();
	if (pid < 0)
		return err_sys(e, errno, "fork");
	if (pid == 0)
		hold(child->userns_fd, netns, out, parent);
	fd_close(&out); /* so that the read ends if the process has died */
	if (read(in, &errnum, sizeof(errnum)) == sizeof(errnum) && errnum == 0)
		return pid;
	proc_end(pid, false);
	return err_sys(e, errnum, "entering the detached network namespace");
}

/* ---- running the program ---- */

/* Joins the lines of the output. */
static void join_lines(char *text)
{
	size_t len = strlen(text);

	while (len > 0 && text[len - 1] == '\n')
		text[--len] = '\0';
	for (char *at = text; (at = strchr(at, '\n')) != NULL; at++)
		*at = ' ';
}

/* Runs the program once. Returns its wait status, or -errno with a reason. */
static int run(const struct lxcusernic *l, const char *dev, pid_t pid, char *output, struct err *e)
{
	char number[PID_LEN];
	/* compat: the path and the name of a container, which only the program's log shows */
	const char *const argv[] = { l->program,
				     "create",
				     "/dev/null",
				     "dummy",
				     number,
				     "veth",
				     l->o->lxc_user_nic_bridge,
				     dev,
				     NULL };
	int status;

	snprintf(number, sizeof(number), "%d", (int)pid);
	status = proc_run((char *const *)argv, output, OUTPUT_LEN, LXCUSERNIC_RUN_MS, e);
	join_lines(output);
	return status;
}

static int run_until_free(const struct lxcusernic *l, const char *dev, pid_t pid, char *output,
			  struct err *e)
{
	int status = run(l, dev, pid, output, e);
	char name[NAME_LEN];

	if (status <= 0 || !is_quota(output))
		return status;
	user_name(name, sizeof(name));
	if (!may_use(name, l->o->lxc_user_nic_bridge))
		return status;
	for (int i = 0; i < RETRIES && status > 0 && is_quota(output); i++) {
		usleep(RETRY_MS * 1000);
		status = run(l, dev, pid, output, e);
	}
	return status;
}

static int attach(const struct lxcusernic *l, const char *dev, pid_t pid, struct err *e)
{
	char output[OUTPUT_LEN] = "", why[64];
	int status = run_until_free(l, dev, pid, output, e);

	if (status == 0) {
		log_debug("lxc-user-nic: %s", output);
		return 0;
	}
	if (status > 0)
		err_set(e, ECHILD, "%.200s failed: %.400s: %s", l->program, output,
			proc_status_text(status, why, sizeof(why)));
	err_wrap(e, "failed to setup network");
	if (status > 0)
		advise(l, output, e);
	return status > 0 ? -ECHILD : status;
}

int lxcusernic_attach(const struct lxcusernic *l, const struct network *net,
		      const struct lxcusernic_child *child, struct err *e)
{
	pid_t holder;
	int r;

	if (!l->o->detach_netns)
		return attach(l, net->dev, child->pid, e);
	holder = start_holder(child, e);
	if (holder < 0)
		return holder;
	r = attach(l, net->dev, holder, e);
	proc_end(holder, false);
	return r;
}
