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
#include "launch/publisher.h"
#include "launch/reexec.h"
#include "msg.h"
#include "net/lease.h"
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
#include "usernet/usernet.h"

#define UP_TIMEOUT_MS 500 /* for a link with a carrier to come up, which takes 4 ms at most */
#define SIGNALS_TURN  32  /* signals that are passed on before other events get their turn */

struct child {
	const struct opts *o;
	struct reexec reexec;
	int signal_fd;
	struct network net;
	/* A path is safe here. The parent has refused directories above it in which another user
	 * (except root) could rename something (safedir.h). --copy-up may replace such a directory,
	 * but the new one has the same owner and mode, and leads to the old one by a symbolic link
	 * that we made. Nothing uses the path after the command has started. */
	char state_dir[PATH_MAX];
	/* Of our own network: the queues of its TAP, and after them the network namespace. */
	int queues[USERNET_MAX_QUEUES + 1];
	char netns[PATH_MAX]; /* file of the detached network namespace, "" if not detached */
	pid_t command;
};

/* ---- the network namespace ---- */

static int detach(void *arg, struct err *e)
{
	const struct child *c = arg;

	return netns_detach(c->netns, e);
}

static size_t queue_count(const struct child *c)
{
	return (size_t)c->o->workers;
}

static int make_queues(struct child *c, const char *dev, struct err *e)
{
	int *netns_fd = &c->queues[queue_count(c)];

	*netns_fd = netns_open(e);
	return *netns_fd < 0 ? *netns_fd : netns_make_queues(dev, c->queues, queue_count(c), e);
}

/* Prepares the network namespace for the network program, before that is started.
 *
 * slirp4netns must find the TAP device up. A TAP device has no carrier until a program attaches to
 * it. When the carrier of a link that is up appears, the kernel handles the event at once; other
 * link events wait for up to a second (net/core/link_watch.c). The kernel starts IPv6 on the device
 * when the carrier appears. pasta sets the device up itself, after it has made IPv6 settings.
 */
static int prepare_network(void *arg, struct err *e)
{
	struct child *c = arg;
	const char *dev = c->o->net.ifname != NULL ? c->o->net.ifname : NETWORK_DEFAULT_DEV;
	int r = c->netns[0] != '\0' ? netns_enter(c->netns, e) : 0;

	if (r == 0)
		r = netns_link_up("lo", e);
	if (r == 0 && netopts_has_program(&c->o->net))
		r = netns_make_tap(dev, e);
	if (r == 0 && c->o->net.driver == NET_SLIRP4NETNS)
		r = netns_link_up(dev, e);
	if (r == 0 && netopts_is_own(&c->o->net))
		r = make_queues(c, dev, e);
	return r;
}

static int configure_network(void *arg, struct err *e)
{
	const struct child *c = arg;
	int r = c->netns[0] != '\0' ? netns_enter(c->netns, e) : 0;

	if (r < 0)
		return r;
	/* pasta has configured the link. Timeout 0 only queries its state, which makes Linux 6.8
	 * and later update it. Older kernels may need a second to do so; do not wait for that. */
	if (c->o->net.driver != NET_PASTA)
		r = network_configure(&c->net, e);
	if (r == 0)
		network_wait_up(&c->net, c->o->net.driver == NET_PASTA ? 0 : UP_TIMEOUT_MS);
	return r;
}

/* Runs a function that works in the network namespace. If the namespace is detached, runs it in a
 * thread of its own, which the function moves to that namespace. */
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

/* Gets an address for the interface that lxc-user-nic has made, from a DHCP server on its bridge.
 */
static int lease_network(struct child *c, struct err *e)
{
	int r = lease_start(&c->net, c->netns[0] != '\0' ? c->netns : NULL, e);

	if (r == -ETIMEDOUT)
		err_add(e,
			"; does a DHCP server run on the host's bridge %s, and does the firewall "
			"let it hear UDP port 67? Try, as root, `systemctl restart lxc-net`, or "
			"take --net=builtin or --net=slirp4netns, which need no server",
			c->o->net.lxc_user_nic_bridge);
	return r;
}

/* The second name server is the IPv6 one if there are IPv6 settings (network_plan). */
static void log_network(const struct network *net)
{
	char ip[INET6_ADDRSTRLEN], gateway[INET6_ADDRSTRLEN];

	log_debug("network: %s has %s/%d, MTU %u, gateway %s, DNS %s", net->dev,
		  inet_ntop(AF_INET, &net->ip, ip, sizeof(ip)), net->prefix_len, net->mtu,
		  inet_ntop(AF_INET, &net->gateway, gateway, sizeof(gateway)), net->dns[0]);
	if (net->prefix6_len == 0)
		return;
	log_debug("network: %s has %s/%d, gateway %s, DNS %s", net->dev,
		  inet_ntop(AF_INET6, &net->ip6, ip, sizeof(ip)), net->prefix6_len,
		  inet_ntop(AF_INET6, &net->gateway6, gateway, sizeof(gateway)), net->dns[1]);
}

static int use_network(struct child *c, struct err *e)
{
	int r;

	if (c->net.dev[0] == '\0')
		return 0;
	r = c->net.by_dhcp ? lease_network(c, e) : in_netns(c, configure_network, e);
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
		.source_ip_backend = c->o->net.source_ip_backend,
	};
	int r;

	if (!publisher_uses_service(c->o->net.port_driver))
		return 0;
	r = portservice_start(&setup, e);
	if (r == 0)
		log_debug("the port service is up: %s/" STATE_BP_SOCKET, c->state_dir);
	return r;
}

/* Hands the queues of the TAP over to the parent, which serves them. */
static int hand_over_queues(struct child *c, struct err *e)
{
	int r;

	if (!netopts_is_own(&c->o->net))
		return 0;
	r = msg_send_fds(c->reexec.taps, c->queues, queue_count(c) + 1, 0);
	fd_close_all(c->queues, queue_count(c) + 1);
	fd_close(&c->reexec.taps);
	return r < 0 ? err_sys(e, -r, "handing the TAP device over") : 0;
}

static int report_namespaces(struct child *c, struct err *e)
{
	int r = hand_over_queues(c, e);

	if (r == 0)
		r = tell(c, HS_USERNS_COMPLETED, e);
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
	/* PID 1 inherits orphans anyway */
	if (c->o->reaps && !c->o->pidns)
		prctl(PR_SET_CHILD_SUBREAPER, 1);
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

/* Reaps children that have exited, until it finds the command: as PID 1 (--pidns) or subreaper
 * (--reaper=true) we inherit all orphans. If the command has stopped or continued, tells the
 * parent. Returns 1 with the wait status if the command has exited, 0 if not, or -errno if that
 * cannot be found out. */
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
 * If the command is in our process group, it has received the terminal's signals already, and they
 * are only passed on with `all`. */
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

/* Passes signals on until the command has exited. Returns 0 and sets its wait status. Returns
 * -errno with a reason if a signal cannot be passed on (the user could not end the command then),
 * or if the exit cannot be seen. */
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

/* Logs why the command has exited or could not be started. */
static void log_exit(const struct child *c, const char *why)
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
		log_exit(c, e.msg);
		return 1;
	}
	if (wait_for_command(c, &status, &e) < 0) {
		log_fatal("%s", e.msg);
		return 1;
	}
	if (status == 0)
		return 0;
	log_exit(c, proc_status_text(status, text, sizeof(text)));
	return proc_exit_code(status);
}

int child_main(const struct opts *o)
{
	static struct child c; /* too large for a small stack (ulimit -s) */
	struct err e;
	int r, status;

	c.o = o;
#ifdef M_ARENA_MAX
	/* only one thread at a time works, so a heap per thread would waste memory */
	mallopt(M_ARENA_MAX, 1);
#endif
	r = set_up(&c, &e);
	status = r == 0 ? run_command(&c) : 1;
	lease_end();
	if (r == 0)
		return status;
	/* the parent has exited and has logged why */
	if (r == -ENODATA || r == -EPIPE)
		return 1;
	if (r == -EPERM || r == -EACCES)
		userns_explain(&e, -r, 0);
	log_fatal("%s", e.msg);
	return 1;
}
