/* SPDX-License-Identifier: Apache-2.0 */
/* The parent process. See parent.h.
 *
 * The start is a straight sequence of `steps`. The child runs the command only when all steps are
 * done. `end` undoes what was done, whether the start failed or the command ended. Its order is the
 * reverse of the start's, with one exception: the child ends directly after the API and the ports,
 * before the network program and before the cgroup is restored.
 *
 * All events come from one loop. The loop runs while a step waits for an event (wait_for_event),
 * and from the end of the start until the child has ended (run). Steps that wait for a helper
 * program or for the port driver block without it; events that arrive then are handled later.
 *
 * So callbacks also run before later steps have been taken. What later steps make is still NULL or
 * 0 then, and `is_running` says whether the start is over.
 */
#include "parent.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/api.h"
#include "base/array.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/loop.h"
#include "launch/activation.h"
#include "launch/childproc.h"
#include "launch/idmap.h"
#include "launch/publisher.h"
#include "net/lxcusernic.h"
#include "net/netsupervisor.h"
#include "net/network.h"
#include "net/ownnet.h"
#include "os/atomicfile.h"
#include "os/cgroup.h"
#include "os/jobcontrol.h"
#include "os/proc.h"
#include "os/signals.h"
#include "os/statedir.h"
#include "os/userns.h"
#include "ports/hostaddr.h"
#include "ports/ports.h"
#include "ports/workers.h"

#define CLEARING_MS    5000 /* for clearing the state directory; then we kill what is left inside */
#define SIGNALS_TURN   32   /* signals that are handled before other events get their turn */
#define CHILD_PID_MODE 0444
#define ID_TEXT_LEN    16 /* bytes of a decimal UID, GID or PID with the NUL */

struct parent {
	const struct opts *o;
	char *const *argv;
	int activation_fds; /* number of descriptors of socket activation */

	struct loop *loop;
	struct watch signals;
	bool is_running;   /* the start is over, and the command may run */
	struct err failed; /* the failure that stopped the loop; empty: none */

	struct statedir sd;
	struct childproc child;
	struct idmap map;
	struct cgroup_evacuation cgroup;
	struct network net;
	struct netsupervisor supervisor; /* supervises the network program */
	struct lxcusernic lxc;
	struct ownnet own;  /* our own network */
	struct fdtotal fds; /* of the connections of our own network and of published ports */
	struct publisher publisher;
	struct api *api;
};

/* ---- waiting ---- */

static bool has_failed(const struct parent *p)
{
	return p->failed.msg[0] != '\0';
}

/* Stops the loop because of a failure. If there are several, the first one counts. */
static void stop_with(struct parent *p, const struct err *why)
{
	if (!has_failed(p))
		p->failed = *why;
	loop_stop(p->loop);
}

static void stop_with_errno(struct parent *p, int errnum, const char *what)
{
	struct err why;

	err_sys(&why, errnum, "%s", what);
	stop_with(p, &why);
}

static int add_watch(struct parent *p, struct watch *w, struct err *e)
{
	int r = loop_add(p->loop, w);

	return r < 0 ? err_sys(e, -r, "starting") : 0;
}

/* Runs the loop until a callback stops it. If a callback has reported a failure, now or earlier,
 * returns -ECANCELED with its reason; does not run the loop after an earlier one. Otherwise returns
 * 0, or -errno with a reason if the loop itself failed. */
static int wait_for_event(struct parent *p, struct err *e)
{
	int r = has_failed(p) ? 0 : loop_run(p->loop);

	if (r < 0)
		return err_sys(e, -r, "poll");
	if (!has_failed(p))
		return 0;
	*e = p->failed;
	return -ECANCELED;
}

/* ---- processes that end ---- */

/* Returns the PID of a child process that has exited and is not reaped yet, or 0. */
static pid_t find_ended(struct parent *p)
{
	siginfo_t info = { .si_pid = 0 };

	if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0)
		return info.si_pid;
	/* without waitid(2) the child's exit would go unnoticed */
	if (p->child.pid > 0)
		stop_with_errno(p, errno, "looking for processes that have ended");
	return 0;
}

/* Reaps processes that have ended. During the start the child is left to childproc_died(): a
 * message that it sent before its end must be read first, and steps still use its PID. */
static void reap(struct parent *p)
{
	int status;
	pid_t pid;

	while ((pid = find_ended(p)) > 0 && (pid != p->child.pid || p->is_running)) {
		if (netsupervisor_reap(&p->supervisor, pid))
			continue;
		if (waitpid(pid, &status, 0) != pid) {
			stop_with_errno(p, errno, "looking for processes that have ended");
			return;
		}
		if (pid == p->child.pid) {
			p->child.pid = 0;
			p->child.status = status;
			loop_stop(p->loop);
		}
	}
}

/* ---- signals ---- */

/* During the start no command runs that a signal could be passed on to. So a signal that would end
 * a program ends the start, and ^Z stops the launcher. */
static void handle_in_start(struct parent *p, const struct signalfd_siginfo *info)
{
	char text[64];
	struct err why;

	if (jobcontrol_stops_us(info))
		jobcontrol_stop((int)info->ssi_signo);
	if (!signals_is_fatal((int)info->ssi_signo))
		return;
	err_set(&why, EINTR, "terminated before the command started: %s",
		proc_status_text((int)info->ssi_signo, text, sizeof(text)));
	stop_with(p, &why);
}

/* Must this signal be passed on to the child? The child is always in our process group, so it has
 * already received what the terminal sent. */
static bool is_for_child(const struct parent *p, const struct signalfd_siginfo *info)
{
	return p->child.pid > 0 && signals_is_forwarded((int)info->ssi_signo) &&
	       !jobcontrol_is_from_terminal(info) && !jobcontrol_is_wake_up(info);
}

/* Passes a signal on to the child, unless the terminal has sent it there already. If the signal may
 * make the child exit, also watches whether something inside blocks the exit. */
static void pass_on(struct parent *p, const struct signalfd_siginfo *info)
{
	if (is_for_child(p, info) && kill(p->child.pid, (int)info->ssi_signo) < 0)
		stop_with_errno(p, errno, "passing a signal to the child");
	else if (signals_is_fatal((int)info->ssi_signo))
		childproc_free_if_blocked(&p->child, p->loop);
}

static void on_signal(struct parent *p, const struct signalfd_siginfo *info)
{
	if (info->ssi_signo == SIGCHLD) {
		reap(p);
		if (ports_failed(p->publisher.ports))
			stop_with_errno(p, EIO, "a worker has failed");
	} else if (p->is_running) {
		pass_on(p, info);
	} else {
		handle_in_start(p, info);
	}
}

/* Handles SIGNALS_TURN signals at most: a flood of signals must not keep the API waiting. */
static void on_signals(struct watch *w, short revents)
{
	struct parent *p = LOOP_OWNER(w, struct parent, signals);
	struct signalfd_siginfo infos[SIGNALS_TURN];
	ssize_t len = read(w->fd, infos, sizeof(infos));

	(void)revents;
	for (size_t i = 0; len > 0 && i < (size_t)len / sizeof(infos[0]) && !has_failed(p); i++)
		on_signal(p, &infos[i]);
}

/* ---- messages of the child ---- */

/* During the start: the child has sent a message or has closed its pipe. Ends the wait; the step
 * that waits finds out which. */
static void on_child(struct watch *w, short revents)
{
	(void)revents;
	loop_stop(LOOP_OWNER(w, struct parent, child.from)->loop);
}

/* While the command runs: the command has stopped or continued, or the child is exiting. */
static void on_job(struct watch *w, short revents)
{
	struct parent *p = LOOP_OWNER(w, struct parent, child.from);

	(void)revents;
	if (jobcontrol_handle_reports(w->fd) == 0)
		return;
	loop_remove(p->loop, w);
	childproc_pipe_closed(&p->child);
}

/* From now on the child's pipe carries job control only (jobcontrol.h). If it cannot be watched,
 * the launcher works, but does not stop together with the command. */
static void follow_command(struct parent *p)
{
	p->child.from.on_event = on_job;
	if (jobcontrol_enable_wake_up(p->child.from.fd) < 0)
		loop_remove(p->loop, &p->child.from);
}

/* Waits for a message from the child. No deadline: the child's set-up may take long. */
static int hear(struct parent *p, enum handshake which, struct err *e)
{
	int r = wait_for_event(p, e);

	return r < 0 ? r : childproc_hear(&p->child, which, e);
}

static int tell(struct parent *p, enum handshake which, struct err *e)
{
	const struct network *net = which == HS_NETWORK_COMPLETED ? &p->net : NULL;

	return childproc_tell(&p->child, which, net, e);
}

/* ---- the child ---- */

static int start_child(struct parent *p, struct err *e)
{
	int r = childproc_start(&p->child, p->o, p->argv, p->sd.path, p->activation_fds, e);

	return r < 0 ? r : add_watch(p, &p->child.from, e);
}

/* Writes the ID maps of the cloned process, and lets it execute the child. Waits until the child
 * has made its namespaces and devices. */
static int give_ids(struct parent *p, struct err *e)
{
	int r = tell(p, HS_PARENT_HELLO, e);

	if (r == 0)
		r = hear(p, HS_CHILD_HELLO, e);
	if (r < 0)
		return r;
	r = idmap_write(&p->map, p->child.pid, e);
	if (r < 0) {
		if (p->map.only_self)
			userns_explain(e, -r, 0);
		return r;
	}
	/* Files of subordinate IDs can only be removed in this namespace. */
	p->sd.userns_fd = childproc_open_userns(&p->child);
	if (p->o->debug)
		idmap_log(p->child.pid);
	r = tell(p, HS_IDMAP_COMPLETED, e);
	return r < 0 ? r : hear(p, HS_USERNS_COMPLETED, e);
}

/* Moves the processes of our cgroup to a subgroup. The child's cgroup namespace exists already, so
 * its root stays the cgroup that they leave. */
static int evacuate(struct parent *p, struct err *e)
{
	int r;

	if (!p->o->evacuates)
		return 0;
	r = cgroup_evacuate(&p->cgroup, p->o->evacuate_cgroup2, p->child.pid, e);
	if (r == 0)
		log_debug("the processes of our cgroup are in its subgroup %s",
			  p->o->evacuate_cgroup2);
	return r;
}

/* ---- network ---- */

static void on_network_up(struct netsupervisor *supervisor)
{
	struct parent *p = LOOP_OWNER(supervisor, struct parent, supervisor);

	if (!p->is_running)
		loop_stop(p->loop); /* start_network waits */
	else if (p->publisher.ports != NULL)
		ports_restore(p->publisher.ports);
}

static void on_network_failed(struct netsupervisor *supervisor, const struct err *why)
{
	stop_with(LOOP_OWNER(supervisor, struct parent, supervisor), why);
}

/* Starts the network program, and waits until it is ready. */
static int start_network_program(struct parent *p, struct err *e)
{
	int r = netsupervisor_start(&p->supervisor, p->loop, &p->net, p->sd.path, p->child.pid, e);

	if (r == 0)
		r = wait_for_event(p, e);
	/* If the program is not up, on_child has ended the wait. The child sends no message at this
	 * point, so it has closed its pipe. */
	if (r == 0 && !netsupervisor_is_up(&p->supervisor))
		r = childproc_died(&p->child, e);
	return r;
}

static int attach_to_bridge(struct parent *p, struct err *e)
{
	const struct lxcusernic_child child = { .pid = p->child.pid,
						.state_dir = p->sd.path,
						.userns_fd = p->sd.userns_fd };

	return lxcusernic_attach(&p->lxc, &p->net, &child, e);
}

/* Our own network and published ports share the descriptors. */
static int start_own_network(struct parent *p, struct err *e)
{
	p->fds.max = workers_fd_room((size_t)p->o->workers, proc_max_fds());
	p->publisher.fds = &p->fds;
	return ownnet_start(&p->own, &p->o->net, &p->net, p->child.taps, &p->fds, e);
}

static int start_network(struct parent *p, struct err *e)
{
	int r = 0;

	if (netsupervisor_is_wanted(&p->supervisor))
		r = start_network_program(p, e);
	else if (p->o->net.driver == NET_LXC_USER_NIC)
		r = attach_to_bridge(p, e);
	else if (netopts_is_own(&p->o->net))
		r = start_own_network(p, e);
	return r < 0 ? r : tell(p, HS_NETWORK_COMPLETED, e);
}

/* ---- ports ---- */

/* Lets the child continue, and waits until its set-up is complete. */
static int finish_child(struct parent *p, struct err *e)
{
	int r = publisher_expect_service(&p->publisher, e);

	if (r == 0)
		r = tell(p, HS_PORTS_COMPLETED, e);
	/* this does not depend on the child, so do it while the child sets itself up */
	if (r == 0 && publisher_uses_service(p->o->net.port_driver))
		hostaddr_watch(p->loop);
	if (r == 0)
		r = hear(p, HS_CHILD_COMPLETED, e);
	return r < 0 ? r : publisher_check_service(&p->publisher, e);
}

static int start_ports(struct parent *p, struct err *e)
{
	return publisher_start(&p->publisher, e);
}

/* ---- API ---- */

_Static_assert(NETWORK_MAX_DNS <= API_MAX_DNS, "start_api stores each server of the network");

static int start_api(struct parent *p, struct err *e)
{
	char path[PATH_MAX];
	char ip[INET_ADDRSTRLEN];
	struct api_info info = { .state_dir = p->sd.path, .child_pid = p->child.pid };
	int r;

	if (p->o->net.driver != NET_HOST)
		info.network_driver = p->o->net.driver_name;
	info.dynamic_child_ip = p->net.by_dhcp;
	if (p->net.dev[0] != '\0' && !p->net.by_dhcp) {
		for (size_t i = 0; i < NETWORK_MAX_DNS && p->net.dns[i][0] != '\0'; i++)
			info.dns[i] = p->net.dns[i];
		info.child_ip = inet_ntop(AF_INET, &p->net.ip, ip, sizeof(ip));
		info.ipv6 = p->o->net.ipv6;
	}
	if (p->publisher.ports != NULL)
		info.port_driver = p->o->net.port_driver_name;
	statedir_path(p->sd.path, STATE_API_SOCKET, path);
	r = api_new(&p->api, p->loop, path, &info, p->publisher.ports, e);
	if (r == 0)
		log_debug("the API is up: %s", path);
	return r;
}

/* Writes child_pid, which shows users that everything is ready, and lets the child start the
 * command.
 */
static int announce(struct parent *p, struct err *e)
{
	char text[ID_TEXT_LEN];
	int r;

	snprintf(text, sizeof(text), "%d", (int)p->child.pid);
	r = atomicfile_write_at(p->sd.dir_fd, p->sd.path, STATE_CHILD_PID, CHILD_PID_MODE, text, e);
	return r < 0 ? err_add_room(e, r) : tell(p, HS_INIT_COMPLETED, e);
}

/* ---- start and end ---- */

static int init(struct parent *p, struct err *e)
{
	int r;

	p->activation_fds = activation_count(e);
	if (p->activation_fds < 0)
		return p->activation_fds;
	r = fd_open_std();
	if (r == 0)
		r = fd_cloexec_from(FD_FIRST);
	if (r < 0)
		return err_sys(e, -r, "descriptors");
	p->loop = loop_new(LOOP_POLL);
	if (p->loop == NULL)
		return err_sys(e, errno, "starting");
	p->signals.fd = signals_block();
	if (p->signals.fd < 0)
		return err_sys(e, -p->signals.fd, "taking over signals");
	return add_watch(p, &p->signals, e);
}

/* Finds what the start needs on the host, before anything is created. */
static int find_helpers(struct parent *p, struct err *e)
{
	int r = idmap_find(&p->map, p->o->subid_source, e);

	if (r == 0 && p->o->net.driver == NET_LXC_USER_NIC)
		r = lxcusernic_find(&p->lxc, &p->o->net, e);
	return r < 0 ? r : netsupervisor_find(&p->supervisor, &p->o->net, e);
}

static int make_state_dir(struct parent *p, struct err *e)
{
	int r = statedir_open(&p->sd, p->o->state_dir, e);

	if (r == 0)
		log_debug("state directory: %s", p->sd.path);
	return r;
}

static const struct {
	int (*take)(struct parent *p, struct err *e);
	const char *done; /* for the debug log; NULL: the step logs for itself, or nothing */
} steps[] = {
	{ init, NULL },
	{ find_helpers, NULL },
	{ make_state_dir, NULL },
	{ start_child, NULL },
	{ give_ids, "the child has its IDs" },
	{ evacuate, NULL },
	{ start_network, NULL },
	{ finish_child, "the child is ready" },
	{ start_ports, NULL },
	{ start_api, NULL },
	{ announce, "the command may start" },
};

static int start(struct parent *p, struct err *e)
{
	for (size_t i = 0; i < COUNT_OF(steps); i++) {
		int r = steps[i].take(p, e);

		if (r < 0)
			return r;
		if (steps[i].done != NULL)
			log_debug("%s", steps[i].done);
	}
	return 0;
}

/* Runs the loop until the child has ended. Returns 0 if the command succeeded, else -errno with a
 * reason. */
static int run(struct parent *p, struct err *e)
{
	char text[64];
	int r;

	p->is_running = true;
	follow_command(p);
	netsupervisor_keep_up(&p->supervisor);
	reap(p); /* processes that have exited since a step waited */
	r = p->child.pid > 0 || has_failed(p) ? wait_for_event(p, e) : 0;
	if (r < 0 || p->child.status == 0)
		return r;
	return err_set(e, ECHILD, "child exited: %s",
		       proc_status_text(p->child.status, text, sizeof(text)));
}

/* Kills the processes that are left inside if they make files as fast as we remove them. */
static void remove_state_dir(struct parent *p)
{
	if (!statedir_clear(&p->sd, CLEARING_MS)) {
		log_warn("the state directory does not get empty; killing the processes that are "
			 "left inside");
		childproc_kill_inside(&p->child);
	}
	statedir_remove(&p->sd);
}

/* Undoes what the start has done, however far it came. */
static void end(struct parent *p)
{
	api_free(p->api);
	publisher_end(&p->publisher);
	childproc_end(&p->child);
	publisher_free(&p->publisher, &p->child);
	netsupervisor_stop(&p->supervisor);
	ownnet_end(&p->own);
	cgroup_restore(&p->cgroup);
	remove_state_dir(p);
	hostaddr_unwatch(p->loop);
	fd_close(&p->child.to);
	fd_close(&p->child.from.fd);
	fd_close(&p->child.taps);
	fd_close(&p->signals.fd);
	loop_free(p->loop);
}

int parent_main(const struct opts *o, char *const *argv)
{
	static struct parent p = {
		/* too large for a small stack (ulimit -s) */
		.sd = STATEDIR_INIT,
		.supervisor = {
			.prog = NETPROG_INIT,
			.on_up = on_network_up,
			.on_failed = on_network_failed,
		},
		.signals = { .fd = -1, .events = POLLIN, .on_event = on_signals },
		.child = {
			.to = -1,
			.taps = -1,
			.from = { .fd = -1, .events = POLLIN, .on_event = on_child },
		},
	};
	bool started;
	struct err e;
	int r;

	if (geteuid() == 0)
		log_warn("Running RootlessKit as the root user is unsupported.");
	p.o = o;
	p.argv = argv;
	network_plan(&p.net, &o->net);
	publisher_init(&p.publisher, o, &p.sd, &p.net, &p.supervisor);
	r = start(&p, &e);
	started = r == 0;
	if (started)
		r = run(&p, &e);
	end(&p);
	if (r == 0)
		return 0;
	log_fatal("%s", e.msg);
	return started && p.child.status != 0 ? proc_exit_code(p.child.status) : 1;
}
