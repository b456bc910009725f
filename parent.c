/* SPDX-License-Identifier: Apache-2.0 */
/* The parent process. See parent.h.
 *
 * The start is a straight sequence of `steps`. Each step may wait for the child or for a helper
 * program; a wait ends early if the child dies or a signal tells the launcher to end. The child
 * runs the command only when all steps are done. From then on everything happens in one poll loop.
 * `end` undoes what was done, whether the start failed or the command ended. Its order is the
 * reverse of the start's, except that the child ends before its network does.
 */
#include "parent.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/api.h"
#include "base/array.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/loop.h"
#include "launch/handshake.h"
#include "launch/idmap.h"
#include "launch/reexec.h"
#include "net/netsupervisor.h"
#include "net/network.h"
#include "os/atomicfile.h"
#include "os/cgroup.h"
#include "os/closer.h"
#include "os/jobcontrol.h"
#include "os/proc.h"
#include "os/signals.h"
#include "os/statedir.h"
#include "os/userns.h"
#include "ports/builtin.h"
#include "ports/hostaddr.h"
#include "ports/ports.h"
#include "ports/slirp4netns.h"
#include "ports/worker.h"

#define DYING_MS       2000 /* for a child that has begun to exit to be gone */
#define BLOCKED_MS     200  /* until blocked close(2) calls are freed by force */
#define FREEING_MS     3000 /* after that, until we give up */
#define CLEARING_MS    5000 /* for the state directory to get empty, before we kill what is inside */
#define LOOK_MS	       20   /* interval of these checks */
#define SIGNALS_TURN   32   /* signals that are handled before other events get their turn */
#define CHILD_PID_MODE 0444
#define FIFO_MODE      0600
#define ID_TEXT_LEN    16 /* bytes of a decimal UID, GID or PID with the NUL */

struct parent {
	const struct opts *o;
	char *const *argv;
	int activation_fds;
	struct statedir sd;
	struct idmap map;
	struct cgroup_evacuation cgroup;
	struct network net;
	struct netsupervisor supervisor; /* supervises the network program */
	struct loop *loop;
	const struct portdriver *port_driver; /* NULL: no driver that publishes ports */
	struct ports *ports;
	struct api *api;

	pid_t child; /* 0: not started, or reaped */
	int to_child, from_child;
	int bp_fd; /* O_PATH descriptor of the port service's socket file */

	struct watch signals;
	struct watch job;
	struct timer look; /* at the child, after it was told to end */
	bool was_dying;	   /* at the last look */
	int child_status;
	struct stat userns; /* the child's user namespace; st_ino is 0 if unknown */
	struct err failed;  /* why the loop was stopped; empty if the child has ended */
};

/* ---- waiting during the start ---- */

/* Reaps the child, which is exiting; kills it if it does not. Returns -ECHILD with its exit status
 * as the reason. */
static int child_died(struct parent *p, struct err *e)
{
	char text[64];
	int status = proc_wait_ms(p->child, DYING_MS);

	if (status == -ETIMEDOUT)
		status = proc_end(p->child, false);
	p->child = 0;
	if (status < 0)
		return err_sys(e, -status, "killing the child, which does not end");
	p->child_status = status;
	return err_set(e, ECHILD, "child exited: %s", proc_status_text(status, text, sizeof(text)));
}

/* Handles signals during the start. Returns -EINTR with a reason for a signal that ends a program.
 * ^Z stops the launcher. Other signals are dropped: there is no command to pass them on to. Else
 * returns 0. */
static int check_signals(struct parent *p, struct err *e)
{
	struct signalfd_siginfo info;
	char text[64];

	for (int i = 0; i < SIGNALS_TURN; i++) {
		if (read(p->signals.fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
			return 0;
		if (jobcontrol_stops_us(&info))
			jobcontrol_stop((int)info.ssi_signo);
		if (signals_is_fatal((int)info.ssi_signo))
			return err_set(e, EINTR, "terminated before the command started: %s",
				       proc_status_text((int)info.ssi_signo, text, sizeof(text)));
	}
	return 0;
}

/* Waits until `fd` is readable, for `deadline_ms` at most. Returns 0 then. Returns -errno with a
 * reason if the child or the network program exits, a signal ends the launcher, or `deadline_ms`
 * has passed. `what` names the wait in the reason. */
static int wait_for(struct parent *p, int fd, int deadline_ms, const char *what, struct err *e)
{
	unsigned long long until = clock_now_ms() + (unsigned long long)deadline_ms;

	for (;;) {
		struct pollfd polls[] = {
			{ .fd = fd, .events = POLLIN },
			{ .fd = p->signals.fd, .events = POLLIN },
			/* only to see the child hang up; hear() reads its messages */
			{ .fd = p->from_child, .events = 0 },
			{ .fd = p->supervisor.prog.log_fd, .events = POLLIN },
		};
		int left_ms = clock_left_ms(until);
		int r = poll(polls, 4, left_ms);

		if (r < 0 && errno != EINTR)
			return err_sys(e, errno, "poll");
		/* output of the network program does not extend the deadline */
		if (r == 0 || (left_ms == 0 && polls[0].revents == 0))
			return err_set(e, ETIMEDOUT, "%s: nothing happened for %d ms", what,
				       deadline_ms);
		if (r < 0)
			continue;
		r = check_signals(p, e);
		if (r == 0 && polls[2].revents != 0 && polls[0].revents == 0)
			return child_died(p, e);
		if (polls[3].revents != 0)
			netprog_log(&p->supervisor.prog);
		if (r == 0)
			r = netsupervisor_check(&p->supervisor, e);
		if (r < 0 || polls[0].revents != 0)
			return r;
	}
}

/* Waits for a message from the child. No deadline: the child's set-up may take long. The child's
 * death, and signals that end the launcher, interrupt the wait. */
static int hear(struct parent *p, enum handshake which, struct err *e)
{
	int r = wait_for(p, p->from_child, INT_MAX, "waiting for the child", e);

	if (r < 0)
		return r;
	r = handshake_recv(p->from_child, which, NULL, e);
	return r == -ENODATA ? child_died(p, e) : r;
}

static int tell(struct parent *p, enum handshake which, struct err *e)
{
	const struct network *net = which == HS_NETWORK_COMPLETED ? &p->net : NULL;
	int r = handshake_send(p->to_child, which, net, e);

	return r == -EPIPE ? child_died(p, e) : r;
}

/* ---- the child ---- */

static int start_child(struct parent *p, struct err *e)
{
	pid_t pid = reexec_start(p->o, p->argv, p->sd.path, p->activation_fds, &p->to_child,
				 &p->from_child, e);

	if (pid < 0)
		return pid;
	p->child = pid;
	log_debug("the child is PID %d, in new namespaces: user mnt%s%s%s%s%s", (int)pid,
		  p->o->net.driver != NET_HOST && !p->o->net.detach_netns ? " net" : "",
		  p->o->pidns ? " pid" : "", p->o->cgroupns ? " cgroup" : "",
		  p->o->utsns ? " uts" : "", p->o->ipcns ? " ipc" : "");
	return 0;
}

/* Logs an ID map from /proc: "0 2000 1, 1 100000 65536". */
static void log_map(pid_t pid, const char *file)
{
	char path[64], map[1024], text[sizeof(map)] = "";
	unsigned int inside, outside, count;
	size_t len = 0;
	char *save;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	if (fd_read_file(path, map, sizeof(map)) <= 0)
		return;
	for (char *line = strtok_r(map, "\n", &save); line != NULL && len < sizeof(text);
	     line = strtok_r(NULL, "\n", &save))
		if (sscanf(line, "%u %u %u", &inside, &outside, &count) == 3)
			len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%u %u %u",
						len > 0 ? ", " : "", inside, outside, count);
	log_debug("%s of the child: %s", file, text);
}

/* Opens the child's user namespace, in which files of subordinate IDs in the state directory are
 * removed at the end. On failure such files stay. */
static void keep_user_namespace(struct parent *p)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)p->child);
	p->sd.userns_fd = open(path, O_RDONLY | O_CLOEXEC);
}

static int give_ids(struct parent *p, struct err *e)
{
	int r = tell(p, HS_PARENT_HELLO, e);

	if (r == 0)
		r = hear(p, HS_CHILD_HELLO, e);
	if (r < 0)
		return r;
	r = idmap_write(&p->map, p->child, e);
	if (r < 0) {
		if (p->map.only_self)
			userns_explain(e, -r, 0);
		return r;
	}
	keep_user_namespace(p);
	if (p->o->debug) {
		log_map(p->child, "uid_map");
		log_map(p->child, "gid_map");
	}
	r = tell(p, HS_IDMAP_COMPLETED, e);
	return r < 0 ? r : hear(p, HS_USERNS_COMPLETED, e);
}

/* Moves our processes to a subgroup. The root of the child's cgroup namespace stays where we are
 * now, since the namespace exists already. */
static int evacuate(struct parent *p, struct err *e)
{
	int r;

	if (!p->o->evacuates)
		return 0;
	r = cgroup_evacuate(&p->cgroup, p->o->evacuate_cgroup2, p->child, e);
	if (r == 0)
		log_debug("the processes of our cgroup are in its subgroup %s",
			  p->o->evacuate_cgroup2);
	return r;
}

/* ---- network ---- */

static int wait_for_network(struct parent *p, struct err *e)
{
	char what[64];
	int r;

	snprintf(what, sizeof(what), "waiting for %s", netsupervisor_name(&p->supervisor));
	do {
		r = wait_for(p, p->supervisor.prog.ready_fd, NETSUPERVISOR_DEADLINE_MS, what, e);
		if (r == 0)
			r = netsupervisor_ready(&p->supervisor, e);
	} while (r == -EAGAIN);
	if (r == -ETIMEDOUT) {
		err_add(e, "; %.200s runs, but does not say that it is ready: is it %s?",
			p->supervisor.prog.program, netsupervisor_name(&p->supervisor));
		if (p->supervisor.prog.last_words[0] != '\0')
			err_add(e, " It said: %s", p->supervisor.prog.last_words);
	}
	return r;
}

static int start_network(struct parent *p, struct err *e)
{
	int r = 0;

	if (netsupervisor_is_wanted(&p->supervisor)) {
		r = netsupervisor_start(&p->supervisor, &p->net, p->sd.path, p->child, e);
		if (r == 0)
			r = wait_for_network(p, e);
		if (r == 0)
			r = netsupervisor_watch(&p->supervisor, p->loop, e);
		if (r < 0)
			return r;
		log_debug("%s is ready", netsupervisor_name(&p->supervisor));
	}
	return tell(p, HS_NETWORK_COMPLETED, e);
}

/* ---- ports ---- */

static const struct portdriver *const port_drivers[PORT_DRIVER_COUNT] = {
	[PORT_BUILTIN] = &builtin_ports,
	[PORT_SLIRP4NETNS] = &slirp4netns_ports,
};

static bool uses_port_service(const struct parent *p)
{
	return p->port_driver != NULL && p->port_driver->uses_port_service;
}

/* Creates the fifo on which the child's port service reports that it is up. Returns the reading end
 * or -errno. */
static int make_ready_fifo(const struct statedir *sd, struct err *e)
{
	int fd;

	if (mkfifoat(sd->dir_fd, STATE_BP_READY, FIFO_MODE) < 0)
		return err_sys(e, errno, "mkfifo %s/" STATE_BP_READY, sd->path);
	fd = openat(sd->dir_fd, STATE_BP_READY, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? err_sys(e, errno, "open %s/" STATE_BP_READY, sd->path) : fd;
}

/* Lets the child continue, and waits until its set-up is complete. */
static int finish_child(struct parent *p, struct err *e)
{
	FD_AUTO int ready = -1;
	int r;

	if (uses_port_service(p)) {
		ready = make_ready_fifo(&p->sd, e);
		if (ready < 0)
			return ready;
	}
	r = tell(p, HS_PORTS_COMPLETED, e);
	/* this does not depend on the child, so do it while the child sets itself up */
	if (r == 0 && uses_port_service(p))
		hostaddr_watch(p->loop);
	if (r == 0)
		r = hear(p, HS_CHILD_COMPLETED, e);
	/* the port service closes the fifo before the child sends that message */
	if (r == 0 && ready >= 0 && !(fd_wait(ready, POLLIN, 0) & POLLHUP))
		r = err_set(e, EPROTO, "the child's port service is not up");
	return r;
}

static int publish(struct parent *p, const char *text, struct err *e)
{
	char brief[PORTSPEC_TEXT_LEN];
	struct portspec spec;
	int r = portspec_parse(&spec, text, e);

	if (r < 0)
		return r;
	r = ports_add(p->ports, &spec, e);
	if (r > 0)
		log_debug("published port %d: %s", r, text);
	else
		err_wrap(e, "failed to expose port %s",
			 portspec_brief(&spec, brief, sizeof(brief)));
	return r;
}

/* Returns the path of the port service's socket, stored in `path`. It is /proc/self/fd/N, N being a
 * descriptor of the socket's file (proc_pid_fd(5)), and works even after the file was removed or
 * the state directory was renamed. If the file cannot be opened, the path is the one in the state
 * directory. */
static const char *port_service_path(struct parent *p, char *path)
{
	p->bp_fd = openat(p->sd.dir_fd, STATE_BP_SOCKET, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (p->bp_fd < 0)
		return statedir_path(p->sd.path, STATE_BP_SOCKET, path);
	snprintf(path, PATH_MAX, "/proc/self/fd/%d", p->bp_fd);
	return path;
}

static void on_network_again(struct netsupervisor *supervisor)
{
	struct parent *p = LOOP_OWNER(supervisor, struct parent, supervisor);

	if (p->ports != NULL)
		ports_restore(p->ports);
}

static void on_network_stuck(void *arg)
{
	netsupervisor_renew(arg);
}

static int start_ports(struct parent *p, struct err *e)
{
	char service[PATH_MAX] = "", api[PATH_MAX], ip[INET_ADDRSTRLEN];
	const struct port_setup setup = {
		.child_socket = uses_port_service(p) ? port_service_path(p, service) : service,
		.workers = (size_t)p->o->workers,
		.source_ip = p->o->net.source_ip_transparent,
		.api_socket = statedir_path(p->sd.path, STATE_SLIRP_SOCKET, api),
		.child_ip = inet_ntop(AF_INET, &p->net.ip, ip, sizeof(ip)),
		.on_stuck = on_network_stuck,
		.arg = &p->supervisor,
	};
	int r;

	if (p->port_driver == NULL)
		return 0;
	p->supervisor.on_again = on_network_again;
	r = ports_new(&p->ports, p->port_driver, &setup, e);
	for (size_t i = 0; r >= 0 && i < p->o->net.publish.count; i++)
		r = publish(p, p->o->net.publish.items[i], e);
	return r < 0 ? r : 0;
}

/* ---- API ---- */

static int start_api(struct parent *p, struct err *e)
{
	char path[PATH_MAX];
	char ip[INET_ADDRSTRLEN];
	struct api_info info = { .state_dir = p->sd.path, .child_pid = p->child };
	int r;

	if (p->o->net.driver != NET_HOST)
		info.network_driver = p->o->net.driver_name;
	if (p->net.dev[0] != '\0') {
		for (size_t i = 0; i < NETWORK_MAX_DNS && p->net.dns[i][0] != '\0'; i++)
			info.dns[i] = p->net.dns[i];
		info.child_ip = inet_ntop(AF_INET, &p->net.ip, ip, sizeof(ip));
	}
	if (p->ports != NULL)
		info.port_driver = p->o->net.port_driver_name;
	statedir_path(p->sd.path, STATE_API_SOCKET, path);
	r = api_new(&p->api, p->loop, path, &info, p->ports, e);
	if (r == 0)
		log_debug("the API is up: %s", path);
	return r;
}

static int announce(struct parent *p, struct err *e)
{
	char text[ID_TEXT_LEN];
	char ns[64];
	int r;

	snprintf(ns, sizeof(ns), "/proc/%d/ns/user", (int)p->child);
	if (stat(ns, &p->userns) < 0)
		p->userns.st_ino = 0;
	snprintf(text, sizeof(text), "%d", (int)p->child);
	r = atomicfile_write_at(p->sd.dir_fd, p->sd.path, STATE_CHILD_PID, CHILD_PID_MODE, text, e);
	return r < 0 ? r : tell(p, HS_INIT_COMPLETED, e);
}

/* ---- the loop ---- */

static void stop_with(struct parent *p, int errnum, const char *what)
{
	err_sys(&p->failed, errnum, "%s", what);
	loop_stop(p->loop);
}

/* Returns the PID of a child process that has exited and is not reaped yet, or 0. */
static pid_t find_ended(struct parent *p)
{
	siginfo_t info = { .si_pid = 0 };

	if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0)
		return info.si_pid;
	/* the child's exit would go unnoticed */
	if (p->child > 0)
		stop_with(p, errno, "looking for processes that have ended");
	return 0;
}

static void reap(struct parent *p)
{
	int status;
	pid_t pid;

	while ((pid = find_ended(p)) > 0) {
		if (netsupervisor_reap(&p->supervisor, pid))
			continue;
		if (waitpid(pid, &status, 0) != pid) {
			stop_with(p, errno, "looking for processes that have ended");
			return;
		}
		if (pid == p->child) {
			p->child = 0;
			p->child_status = status;
			loop_stop(p->loop);
		}
	}
}

/* Must this signal be passed on to the child? The child is always in our process group, so it has
 * already received what the terminal sent. */
static bool is_for_child(const struct parent *p, const struct signalfd_siginfo *info)
{
	return p->child > 0 && signals_is_forwarded((int)info->ssi_signo) &&
	       !jobcontrol_is_from_terminal(info) && !jobcontrol_is_wake_up(info);
}

/* Something inside can keep the child from ending, even after SIGKILL: root inside may have given
 * it a descriptor whose close(2) blocks. */
static void free_child(struct parent *p)
{
	log_warn("the child does not end; killing the processes that are left inside");
	if (p->userns.st_ino != 0)
		userns_kill(&p->userns);
}

/* A child that only takes its time is left alone: that is for the command to decide. */
static void on_look(struct timer *t)
{
	struct parent *p = LOOP_OWNER(t, struct parent, look);
	bool is_dying = p->child > 0 && proc_is_dying(p->child);

	if (is_dying && p->was_dying)
		free_child(p);
	p->was_dying = is_dying;
	loop_timer(p->loop, t, DYING_MS);
}

static void on_signal(struct parent *p, const struct signalfd_siginfo *info)
{
	if (info->ssi_signo == SIGCHLD) {
		reap(p);
		if (ports_failed(p->ports))
			stop_with(p, EIO, "a worker has failed");
	} else if (is_for_child(p, info) && kill(p->child, (int)info->ssi_signo) < 0) {
		stop_with(p, errno, "passing a signal to the child");
	} else if (signals_is_fatal((int)info->ssi_signo) && !timer_is_set(&p->look)) {
		p->look.on_due = on_look;
		loop_timer(p->loop, &p->look, DYING_MS);
	}
}

/* Handles SIGNALS_TURN signals at most: a flood of signals must not keep the API waiting. */
static void on_signals(struct watch *w, short revents)
{
	struct parent *p = LOOP_OWNER(w, struct parent, signals);
	struct signalfd_siginfo infos[SIGNALS_TURN];
	ssize_t len = read(w->fd, infos, sizeof(infos));

	(void)revents;
	for (size_t i = 0; len > 0 && i < (size_t)len / sizeof(infos[0]); i++)
		on_signal(p, &infos[i]);
}

static void on_job(struct watch *w, short revents)
{
	struct parent *p = LOOP_OWNER(w, struct parent, job);

	(void)revents;
	if (jobcontrol_handle_reports(w->fd) < 0)
		loop_remove(p->loop, w);
}

/* From now on the child's pipe carries job control only (jobcontrol.h). If it cannot be watched,
 * the launcher works, but does not stop together with the command. */
static void follow_command(struct parent *p)
{
	p->job = (struct watch){ .fd = p->from_child, .events = POLLIN, .on_event = on_job };
	if (jobcontrol_enable_wake_up(p->from_child) == 0)
		loop_add(p->loop, &p->job);
}

/* ---- start and end ---- */

/* Returns the number of descriptors passed to us by socket activation, sd_listen_fds(3), or -errno
 * with a reason. */
static int count_activation_fds(struct err *e)
{
	const char *pid = getenv("LISTEN_PID");
	const char *fds = getenv("LISTEN_FDS");
	long count;

	if (pid == NULL || fds == NULL || strtol(pid, NULL, 10) != (long)getpid())
		return 0;
	count = strtol(fds, NULL, 10);
	if (count < 0 || count > PROC_MAX_FDS)
		return err_set(e, EINVAL, "LISTEN_FDS=%s: 0 to %d descriptors can be passed on",
			       fds, PROC_MAX_FDS);
	for (int fd = FD_FIRST; fd < FD_FIRST + (int)count; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			return err_sys(e, errno, "LISTEN_FDS=%s, but descriptor %d", fds, fd);
	return (int)count;
}

static int init(struct parent *p, struct err *e)
{
	int r;

	p->activation_fds = count_activation_fds(e);
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
	p->signals = (struct watch){ .events = POLLIN, .on_event = on_signals };
	p->signals.fd = signals_block();
	if (p->signals.fd < 0)
		return err_sys(e, -p->signals.fd, "taking over signals");
	return loop_add(p->loop, &p->signals);
}

/* Finds what the start needs on the host, before anything is created. */
static int find_helpers(struct parent *p, struct err *e)
{
	int r = idmap_find(&p->map, p->o->subid_source, e);

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

	follow_command(p);
	reap(p); /* no watch saw processes that exited during the start */
	r = p->child > 0 && p->failed.msg[0] == '\0' ? loop_run(p->loop) : 0;

	if (r < 0)
		return err_sys(e, -r, "poll");
	if (p->failed.msg[0] != '\0') {
		*e = p->failed;
		return -ECANCELED;
	}
	if (p->child_status == 0)
		return 0;
	return err_set(e, ECHILD, "child exited: %s",
		       proc_status_text(p->child_status, text, sizeof(text)));
}

/* Kills and reaps the child, unless it has ended. */
static void end_child(struct parent *p)
{
	char why[128];
	int denied, r;

	if (p->child <= 0)
		return;
	denied = kill(p->child, SIGKILL) < 0 ? -errno : 0;
	r = proc_wait_ms(p->child, denied == 0 ? DYING_MS : 0);
	if (r == -ETIMEDOUT && denied == 0) {
		free_child(p);
		r = proc_wait_ms(p->child, FREEING_MS);
	}
	if (r < 0)
		log_error("killing the child: %s",
			  err_text(denied < 0 ? -denied : -r, why, sizeof(why)));
}

/* Ends the workers. Returns true if, after `wait_ms` at most, a worker still runs or a closer
 * process still closes a descriptor from inside (closer.h). */
static bool are_left(struct parent *p, unsigned int wait_ms)
{
	if (ports_free(p->ports, wait_ms))
		p->ports = NULL;
	return p->ports != NULL || closer_pending() > 0;
}

/* A process inside can block close(2) of a descriptor that it sent, and with it a worker or a
 * closer process. Waits BLOCKED_MS for these; then kills all processes inside, which unblocks
 * them. */
static void free_blocked(struct parent *p)
{
	unsigned long long began = clock_now_ms(), killed = 0;

	while (are_left(p, 0)) {
		unsigned long long now = clock_now_ms();

		if (killed != 0 && now - killed >= FREEING_MS) {
			log_error("a descriptor from inside is still blocked");
			return;
		}
		if (killed == 0 && now - began >= BLOCKED_MS) {
			killed = now;
			log_warn("a descriptor from inside is blocked; killing the processes that "
				 "are left there");
		}
		if (killed != 0 && p->userns.st_ino != 0)
			userns_kill(&p->userns);
		poll(NULL, 0, LOOK_MS);
	}
}

/* A process that is left inside may make files as fast as they are removed. */
static void remove_state_dir(struct parent *p)
{
	if (!statedir_clear(&p->sd, CLEARING_MS)) {
		log_warn("the state directory does not get empty; killing the processes that are "
			 "left inside");
		if (p->userns.st_ino != 0)
			userns_kill(&p->userns);
	}
	statedir_remove(&p->sd);
}

static void end(struct parent *p)
{
	api_free(p->api);
	are_left(p, WORKER_END_MS);
	end_child(p);
	free_blocked(p);
	netsupervisor_stop(&p->supervisor);
	cgroup_restore(&p->cgroup);
	fd_close(&p->bp_fd);
	remove_state_dir(p);
	hostaddr_unwatch(p->loop);
	fd_close(&p->to_child);
	fd_close(&p->from_child);
	fd_close(&p->signals.fd);
	loop_free(p->loop);
}

int parent_main(const struct opts *o, char *const *argv)
{
	static struct parent p = {
		/* too large for a small stack (ulimit -s) */
		.sd = STATEDIR_INIT, .supervisor = { .prog = NETPROG_INIT },
		.to_child = -1,	     .from_child = -1,
		.bp_fd = -1,	     .signals = { .fd = -1 },
	};
	bool started;
	struct err e;
	int r;

	if (geteuid() == 0)
		log_warn("Running RootlessKit as the root user is unsupported.");
	p.o = o;
	p.argv = argv;
	p.port_driver = port_drivers[o->net.port_driver];
	network_plan(&p.net, &o->net);
	r = start(&p, &e);
	started = r == 0;
	if (started)
		r = run(&p, &e);
	end(&p);
	if (r == 0)
		return 0;
	log_fatal("%s", e.msg);
	return started && p.child_status != 0 ? proc_exit_code(p.child_status) : 1;
}
