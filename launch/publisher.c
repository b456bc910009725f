/* SPDX-License-Identifier: Apache-2.0 */
#include "launch/publisher.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "os/closer.h"
#include "ports/builtin.h"
#include "ports/pesto.h"
#include "ports/slirp4netns.h"
#include "ports/worker.h"

#define FIFO_MODE  0600
#define BLOCKED_MS 200	/* for close(2) calls; after that, kill the processes inside */
#define FREEING_MS 3000 /* for close(2) calls after the kill; after that, give up */
#define LOOK_MS	   20	/* interval of these checks */

static const struct portdriver *const drivers[PORT_DRIVER_COUNT] = {
	[PORT_BUILTIN] = &builtin_ports,
	[PORT_GVISOR] = &builtin_ports,
	[PORT_SLIRP4NETNS] = &slirp4netns_ports,
	[PORT_PESTO] = &pesto_ports,
};

void publisher_init(struct publisher *p, const struct opts *o, const struct statedir *sd,
		    const struct network *net, struct netsupervisor *supervisor)
{
	*p = (struct publisher){
		.driver = drivers[o->net.port_driver],
		.ready_fd = -1,
		.service_fd = -1,
		.o = o,
		.sd = sd,
		.net = net,
		.supervisor = supervisor,
	};
}

/* ---- the port service ---- */

bool publisher_uses_service(enum port_driver driver)
{
	return drivers[driver] != NULL && drivers[driver]->uses_port_service;
}

int publisher_expect_service(struct publisher *p, struct err *e)
{
	const struct statedir *sd = p->sd;

	if (!publisher_uses_service(p->o->net.port_driver))
		return 0;
	if (mkfifoat(sd->dir_fd, STATE_BP_READY, FIFO_MODE) < 0)
		return err_add_room(e, err_sys(e, errno, "mkfifo %s/" STATE_BP_READY, sd->path));
	p->ready_fd = openat(sd->dir_fd, STATE_BP_READY,
			     O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	return p->ready_fd < 0 ? err_sys(e, errno, "open %s/" STATE_BP_READY, sd->path) : 0;
}

int publisher_check_service(struct publisher *p, struct err *e)
{
	FD_AUTO int ready = fd_take(&p->ready_fd);

	/* the port service has closed the fifo before the child sent HS_CHILD_COMPLETED */
	if (ready >= 0 && !(fd_wait(ready, POLLIN, 0) & POLLHUP))
		return err_set(e, EPROTO, "the child's port service is not up");
	return 0;
}

/* Writes the path of the port service's socket to `path`, and returns it; "" if the port driver
 * does not use the port service. The path is /proc/self/fd/N, where N is a descriptor of the
 * socket's file (proc_pid_fd(5)). It works even after the file was removed or the state directory
 * was renamed. If the file cannot be opened, the path is that of the file in the state directory.
 */
static const char *service_path(struct publisher *p, char *path)
{
	path[0] = '\0';
	if (!publisher_uses_service(p->o->net.port_driver))
		return path;
	p->service_fd = openat(p->sd->dir_fd, STATE_BP_SOCKET, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (p->service_fd < 0)
		return statedir_path(p->sd->path, STATE_BP_SOCKET, path);
	snprintf(path, PATH_MAX, "/proc/self/fd/%d", p->service_fd);
	return path;
}

/* ---- ports ---- */

static int publish(struct ports *ports, const char *text, struct err *e)
{
	char brief[PORTSPEC_TEXT_LEN];
	struct portspec spec;
	int r = portspec_parse(&spec, text, e);

	if (r < 0)
		return r;
	r = ports_add(ports, &spec, e);
	if (r > 0)
		log_debug("published port %d: %s", r, text);
	else
		err_wrap(e, "failed to expose port %s",
			 portspec_brief(&spec, brief, sizeof(brief)));
	return r;
}

static void on_network_stuck(void *arg)
{
	netsupervisor_restart(arg);
}

int publisher_start(struct publisher *p, struct err *e)
{
	const struct netopts *o = &p->o->net;
	char service[PATH_MAX], api[PATH_MAX], ip[INET_ADDRSTRLEN];
	const struct port_setup setup = {
		.program = "rootlesskit",
		.child_socket = service_path(p, service),
		.workers = (size_t)p->o->workers,
		.fds = p->fds,
		.source_ip = o->source_ip_transparent,
		.api_socket = statedir_path(p->sd->path,
					    o->port_driver == PORT_PESTO ? STATE_PASTA_SOCKET
									 : STATE_SLIRP_SOCKET,
					    api),
		.ipv6 = o->ipv6,
		.child_ip = inet_ntop(AF_INET, &p->net->ip, ip, sizeof(ip)),
		.on_stuck = on_network_stuck,
		.arg = p->supervisor,
	};
	int r;

	if (p->driver == NULL)
		return 0;
	r = ports_new(&p->ports, p->driver, &setup, e);
	for (size_t i = 0; r >= 0 && i < o->publish.count; i++)
		r = publish(p->ports, o->publish.items[i], e);
	return r < 0 ? r : 0;
}

/* ---- the end ---- */

/* Ends the workers, and waits for them for at most `wait_ms`. Returns false if, after that, a
 * worker still runs or a closer process still closes a descriptor from inside. */
static bool end_workers(struct publisher *p, unsigned int wait_ms)
{
	if (ports_free(p->ports, wait_ms))
		p->ports = NULL;
	return p->ports == NULL && closer_pending() == 0;
}

void publisher_end(struct publisher *p)
{
	end_workers(p, WORKER_END_MS);
}

/* Ends the workers. If a descriptor from inside keeps a worker or a closer process from ending,
 * kills the processes inside. */
static void free_blocked(struct publisher *p, const struct childproc *child)
{
	unsigned long long began = clock_now_ms(), killed = 0;

	while (!end_workers(p, 0)) {
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
		if (killed != 0)
			childproc_kill_inside(child);
		poll(NULL, 0, LOOK_MS);
	}
}

void publisher_free(struct publisher *p, const struct childproc *child)
{
	free_blocked(p, child);
	fd_close(&p->ready_fd);
	fd_close(&p->service_fd);
}
