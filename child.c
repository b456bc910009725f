/* SPDX-License-Identifier: Apache-2.0 */
/* The child process. See child.h.
 *
 * The child is root of its user namespace and sees the host's files through its own mount
 * namespace. `steps` lists what it sets up, in order, and where it exchanges messages with the
 * parent. With --detach-netns the process itself stays in the host's network namespace; threads
 * that enter the detached one work there (netns.h).
 *
 * Nothing is cleaned up: mounts, links and namespaces disappear with the last process in them.
 */
#include "child.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/array.h"
#include "base/fd.h"
#include "base/log.h"
#include "launch/execadvice.h"
#include "launch/handshake.h"
#include "launch/reexec.h"
#include "net/netopts.h"
#include "net/network.h"
#include "netns.h"
#include "os/cgroup.h"
#include "os/jobcontrol.h"
#include "os/mount.h"
#include "os/proc.h"
#include "os/signals.h"
#include "os/statedir.h"
#include "os/userns.h"
#include "ports/portservice.h"

#define UP_TIMEOUT_MS 500 /* timeout for a link that has a carrier; it takes 4 ms at most */
#define SIGNALS_TURN  32  /* signals that are passed on before other events get their turn */

struct child {
	const struct opts *o;
	struct reexec reexec;
	int signal_fd;
	struct network net;
	/* Used by path, which is safe. The launcher has refused directories above it in which
	 * another user (except root) could rename something (safedir.h). A copied-up directory
	 * above it has the original's owner and mode, and contains a symbolic link that we made.
	 * And the path is not used after the command has started. */
	char state_dir[PATH_MAX];
	char netns[PATH_MAX]; /* file of the detached network namespace, "" if not detached */
	pid_t command;
};

/* ---- the network namespace ---- */

static int detach(void *arg, struct err *e)
{
	const struct child *c = arg;

	return netns_detach(c->netns, e);
}

/* Prepares the network namespace for the network program, before that is started.
 *
 * slirp4netns must find the TAP device up. A TAP device has no carrier until a program attaches to
 * it. When the carrier of a link that is up appears, the kernel handles the event at once; other
 * link events wait for up to a second (net/core/link_watch.c). IPv6 starts with the carrier. pasta
 * sets the device up itself, because it makes IPv6 settings before that.
 */
static int prepare_network(void *arg, struct err *e)
{
	const struct child *c = arg;
	const char *dev = c->o->net.ifname != NULL ? c->o->net.ifname : NETWORK_DEFAULT_DEV;
	int r = c->netns[0] != '\0' ? netns_enter(c->netns, e) : 0;

	if (r == 0)
		r = netns_link_up("lo", e);
	if (r == 0 && netopts_has_program(&c->o->net))
		r = netns_make_tap(dev, e);
	if (r == 0 && c->o->net.driver == NET_SLIRP4NETNS)
		r = netns_link_up(dev, e);
	return r;
}

static int configure_network(void *arg, struct err *e)
{
	const struct child *c = arg;
	int r = c->netns[0] != '\0' ? netns_enter(c->netns, e) : 0;

	if (r < 0)
		return r;
	/* pasta has configured the link. With timeout 0 its state is only queried, which makes
	 * Linux 6.8 and later update it. Older kernels may take a second, which is not worth
	 * waiting for. */
	if (c->o->net.driver != NET_PASTA)
		r = network_configure(&c->net, e);
	if (r == 0)
		network_wait_up(&c->net, c->o->net.driver == NET_PASTA ? 0 : UP_TIMEOUT_MS);
	return r;
}

/* Runs a function for the network namespace: directly, or with a detached namespace in a thread
 * that can enter it. */
static int in_netns(struct child *c, int (*fn)(void *arg, struct err *e), struct err *e)
{
	return c->netns[0] != '\0' ? netns_run(fn, c, e) : fn(c, e);
}

static int make_network(struct child *c, struct err *e)
{
	int r = 0;

	if (c->o->net.driver == NET_HOST && !c->o->net.detach_netns)
		return 0;
	if (c->o->net.detach_netns) {
		statedir_path(c->state_dir, STATE_NETNS, c->netns);
		r = netns_run(detach, c, e);
		if (r == 0)
			log_debug("detached network namespace: %s", c->netns);
	}
	return r < 0 ? r : in_netns(c, prepare_network, e);
}

static void log_network(const struct network *net)
{
	char ip[INET_ADDRSTRLEN], gateway[INET_ADDRSTRLEN];

	log_debug("network: %s has %s/%d, MTU %u, gateway %s, DNS %s", net->dev,
		  inet_ntop(AF_INET, &net->ip, ip, sizeof(ip)), net->prefix_len, net->mtu,
		  inet_ntop(AF_INET, &net->gateway, gateway, sizeof(gateway)), net->dns[0]);
}

static int use_network(struct child *c, struct err *e)
{
	int r;

	if (c->net.dev[0] == '\0')
		return 0;
	r = in_netns(c, configure_network, e);
	if (r == 0)
		log_network(&c->net);
	if (r == 0)
		r = network_write_files(&c->net, c->state_dir, e);
	if (r == 0 && !c->o->net.detach_netns)
		r = network_mount_files(c->state_dir, opts_copies_up(c->o, "/etc"), e);
	return r;
}

/* ---- mounts ---- */

static void explain_copy_up(const char *dir, struct err *e)
{
	struct stat st;

	err_add(e, " (--copy-up=%.200s)", dir);
	if (stat(dir, &st) < 0 && errno == ENOENT)
		err_add(e, "; try a directory that exists");
	else if (stat(dir, &st) == 0 && !S_ISDIR(st.st_mode))
		err_add(e, "; try the directory that it is in");
}

static int copy_up(struct child *c, struct err *e)
{
	char aside[PATH_MAX];
	int r = 0;

	statedir_path(c->state_dir, STATE_COPY_UP_TMP, aside);
	for (size_t i = 0; r == 0 && i < c->o->copy_up.count; i++) {
		r = mount_copy_up(c->o->copy_up.items[i], aside, e);
		if (r == 0)
			log_debug("copied up %s", c->o->copy_up.items[i]);
		else
			explain_copy_up(c->o->copy_up.items[i], e);
	}
	return r;
}

/* Mounts /proc for the new PID namespace. Before this step, and if the mount is denied, /proc shows
 * the outer PID namespace. Only /proc/self and /proc/thread-self are correct there, /proc/PID is
 * not. */
static int show_processes(struct child *c, struct err *e)
{
	return c->o->pidns ? mount_proc(e) : 0;
}

static int mount_sys(struct child *c, struct err *e)
{
	int r = 0;

	if (c->o->net.driver != NET_HOST && !c->o->net.detach_netns)
		r = mount_sysfs(e);
	if (r == 0 && c->o->evacuates && cgroup_is_evacuated(c->o->evacuate_cgroup2))
		r = mount_cgroup2(e);
	return r;
}

/* ---- the start ---- */

static int tell(struct child *c, enum handshake which, struct err *e)
{
	return handshake_send(c->reexec.to_parent, which, NULL, e);
}

static int hear(struct child *c, enum handshake which, struct err *e)
{
	struct network *net = which == HS_NETWORK_COMPLETED ? &c->net : NULL;

	return handshake_recv(c->reexec.from_parent, which, net, e);
}

static int start_port_service(struct child *c, struct err *e)
{
	char socket[PATH_MAX], ready[PATH_MAX];
	const struct portservice_setup setup = {
		.socket = statedir_path(c->state_dir, STATE_BP_SOCKET, socket),
		.ready = statedir_path(c->state_dir, STATE_BP_READY, ready),
		.netns = c->netns[0] != '\0' ? c->netns : NULL,
		.source_ip_backend = c->o->net.source_ip_transparent ? "nft" : NULL,
	};
	int r;

	if (c->o->net.port_driver != PORT_BUILTIN)
		return 0;
	r = portservice_start(&setup, e);
	if (r == 0)
		log_debug("the port service is up: %s/" STATE_BP_SOCKET, c->state_dir);
	return r;
}

static int report_namespaces(struct child *c, struct err *e)
{
	int r = tell(c, HS_USERNS_COMPLETED, e);

	if (r == 0)
		r = hear(c, HS_NETWORK_COMPLETED, e);
	return r < 0 ? r : hear(c, HS_PORTS_COMPLETED, e);
}

static int report_ready(struct child *c, struct err *e)
{
	int r = tell(c, HS_CHILD_COMPLETED, e);

	return r < 0 ? r : hear(c, HS_INIT_COMPLETED, e);
}

static int init(struct child *c, struct err *e)
{
	const char *state_dir = getenv("ROOTLESSKIT_STATE_DIR");

	c->signal_fd = reexec_take(&c->reexec, e);
	if (c->signal_fd < 0)
		return c->signal_fd;
	/* Executing a program file without read permission makes the process not dumpable. The
	 * network program could not enter our namespaces then. */
	prctl(PR_SET_DUMPABLE, 1);
	proc_die_with_parent(c->reexec.parent);
	if (state_dir == NULL || strlen(state_dir) >= sizeof(c->state_dir))
		return err_set(e, EINVAL, "ROOTLESSKIT_STATE_DIR is not set");
	strcpy(c->state_dir, state_dir);
	return 0;
}

static int set_propagation(struct child *c, struct err *e)
{
	int r = mount_set_propagation(c->o->propagation, e);

	if (r == 0)
		log_debug("mount propagation of /: %s", c->o->propagation);
	return r;
}

static const struct {
	int (*take)(struct child *c, struct err *e);
	const char *done; /* for the debug log; NULL: the step logs for itself, or nothing */
} steps[] = {
	{ init, NULL },
	{ show_processes, NULL },
	{ make_network, NULL },
	{ report_namespaces, NULL },
	{ set_propagation, NULL },
	{ copy_up, NULL },
	{ mount_sys, NULL },
	{ use_network, NULL },
	{ start_port_service, NULL },
	{ report_ready, "the parent lets the command start" },
};

static int set_up(struct child *c, struct err *e)
{
	for (size_t i = 0; i < COUNT_OF(steps); i++) {
		int r = steps[i].take(c, e);

		if (r < 0)
			return r;
		if (steps[i].done != NULL)
			log_debug("%s", steps[i].done);
	}
	return 0;
}

/* ---- the command ---- */

/* Starts the command. Returns 0 or -errno with a reason. */
static int start_command(struct child *c, struct err *e)
{
	const char *name = c->o->command[0];
	struct proc_spec spec = PROC_SPEC_INIT;
	struct proc_fd fds[PROC_MAX_FDS];
	char path[PATH_MAX];
	int r;

	if (*name == '\0') {
		err_set(e, EINVAL, "exec: no command");
		execadvice_not_found(name, e);
		return -EINVAL;
	}
	for (int i = 0; i < c->reexec.activation_fds && i < PROC_MAX_FDS; i++)
		fds[i] = (struct proc_fd){ FD_FIRST + i, FD_FIRST + i };
	spec.path = name;
	spec.argv = c->o->command;
	spec.fds = fds;
	spec.fd_count = (size_t)c->reexec.activation_fds;
	spec.listen_pid = c->reexec.activation_fds > 0;
	spec.die_with_us = true;
	spec.own_session = c->o->reaps;
	if (strchr(name, '/') == NULL) {
		r = proc_find(name, path, sizeof(path), e);
		if (r < 0) {
			execadvice_not_found(name, e);
			return r;
		}
		spec.path = path;
	}
	r = proc_spawn(&spec, e);
	if (r < 0) {
		execadvice_failed(spec.path, -r, e);
		return r;
	}
	c->command = r;
	return 0;
}

/* Reaps children: as PID 1 (--pidns) we inherit every orphan. If the command has stopped or
 * continued, tells the parent. Returns 1 with the wait status if the command has exited, 0 if not,
 * or -errno: then its exit would never be seen. */
static int has_ended(struct child *c, int *status)
{
	int other;
	pid_t pid;

	while ((pid = waitpid(-1, &other, WNOHANG | WUNTRACED | WCONTINUED)) != 0) {
		if (pid < 0 && errno != EINTR)
			return -errno;
		if (pid != c->command)
			continue;
		if (WIFSTOPPED(other) || WIFCONTINUED(other)) {
			jobcontrol_report(c->reexec.to_parent, c->command, other);
			continue;
		}
		*status = other;
		return 1;
	}
	return 0;
}

/* Passes on SIGNALS_TURN signals at most: a flood of signals must not hide the exit of the command.
 * `all`: also those that the terminal has sent to the command's process group as well as to
 * ours. */
static int forward_signals(struct child *c, bool all)
{
	struct signalfd_siginfo infos[SIGNALS_TURN];
	ssize_t len = read(c->signal_fd, infos, sizeof(infos));

	for (size_t i = 0; len > 0 && i < (size_t)len / sizeof(infos[0]); i++) {
		int signo = (int)infos[i].ssi_signo;

		if (!all && jobcontrol_is_from_terminal(&infos[i]) &&
		    getpgid(c->command) == getpgrp())
			continue;
		if (signals_is_forwarded(signo) && kill(c->command, signo) < 0 && errno != ESRCH)
			return -errno;
	}
	return 0;
}

/* Passes signals on until the command has exited, and sets its wait status. Returns 0. Returns
 * -errno with a reason if a signal cannot be passed on, since the command could not be ended any
 * more, or if its exit cannot be seen. */
static int wait_for_command(struct child *c, int *status, struct err *e)
{
	bool all = true; /* signals from before the start of the command have not reached it */

	fd_set_nonblock(c->reexec.to_parent);
	for (;;) {
		int r = forward_signals(c, all);

		if (r < 0)
			return err_sys(e, -r, "passing a signal to the command");
		r = has_ended(c, status);
		if (r < 0)
			return err_sys(e, -r, "looking for processes that have ended");
		if (r > 0)
			return 0;
		all = false;
		fd_wait(c->signal_fd, POLLIN, -1);
	}
}

/* Joins the command's words: "sh -c exit 42". Returns a text that the caller frees, or NULL. */
static char *command_text(char *const *command)
{
	size_t len = 1;
	char *text;

	for (size_t i = 0; command[i] != NULL; i++)
		len += strlen(command[i]) + 1;
	text = malloc(len);
	if (text == NULL)
		return NULL;
	text[0] = '\0';
	for (size_t i = 0; command[i] != NULL; i++) {
		strcat(text, i > 0 ? " " : "");
		strcat(text, command[i]);
	}
	return text;
}

static void report(const struct child *c, const char *why)
{
	char *text = command_text(c->o->command);

	log_fatal("command [%s] exited: %s", text != NULL ? text : c->o->command[0], why);
	free(text);
}

static int run_command(struct child *c)
{
	char text[64];
	struct err e;
	int status = 0;

	if (start_command(c, &e) < 0) {
		report(c, e.msg);
		return 1;
	}
	if (wait_for_command(c, &status, &e) < 0) {
		log_fatal("%s", e.msg);
		return 1;
	}
	if (status == 0)
		return 0;
	report(c, proc_status_text(status, text, sizeof(text)));
	return proc_exit_code(status);
}

int child_main(const struct opts *o)
{
	static struct child c; /* static: detached threads keep pointers into it */
	struct err e;
	int r;

	c.o = o;
#ifdef M_ARENA_MAX
	/* only one thread at a time works, so a heap per thread would waste memory */
	mallopt(M_ARENA_MAX, 1);
#endif
	r = set_up(&c, &e);
	if (r == 0)
		return run_command(&c);
	/* the parent has exited and has logged why */
	if (r == -ENODATA || r == -EPIPE)
		return 1;
	if (r == -EPERM || r == -EACCES)
		userns_explain(&e, -r, 0);
	log_fatal("%s", e.msg);
	return 1;
}
