/* SPDX-License-Identifier: Apache-2.0 */
/* All workers as a group. See workers.h.
 *
 * Descriptors. All descriptors of the process, except for a reserve (reserve_of), are for
 * connections. All workers share one total: with a fixed share for each, descriptors of one worker
 * would be idle while another turns clients away. Listening sockets are charged to the total as
 * well, even if no descriptor is left in it. Then a new port uses a descriptor of the reserve,
 * which is restored when connections end.
 */
#include "ports/workers.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "base/clock.h"
#include "formats/portspec.h"

/* Descriptors that are not for connections.
 *
 * RESERVED, once a process:
 *
 *   - 13 to 20 while the launcher runs: standard input, output and error, the signalfd, the socket
 *     that reports changes of the host's addresses, the two pipes of the child, the state directory
 *     and its lock, the API's listening socket, and those for the network program;
 *   - up to 20 more while the network program is restarted;
 *   - the rest, at least 24, for API clients and for ports that are added while everything is in
 *     use. If that is not enough, the API closes idle clients, and further ports are an error.
 *
 * RESERVED_WORKER, for each worker: its epoll instance, the two descriptors of its inbox and the
 * two of its pipe for splice(2), the timer of its UDP ports, and some to spare.
 *
 * NEEDED and NEEDED_WORKER: the part of both without which the launcher could not start and serve
 * one client. */
#define RESERVED	64
#define RESERVED_WORKER 11
#define NEEDED		20
#define NEEDED_WORKER	4

struct workers {
	size_t count;
	struct worker *worker[WORKERS_MAX];
	struct tcp *tcps[WORKERS_MAX]; /* of the workers */
	size_t udp_ports[WORKERS_MAX]; /* UDP ports of each worker */
	struct fdtotal fds, udp_fds;
};

size_t workers_default_size(void)
{
	cpu_set_t set;
	int count = sched_getaffinity(0, sizeof(set), &set) < 0 ? 1 : CPU_COUNT(&set);

	return count < WORKERS_MAX_DEFAULT ? (size_t)count : WORKERS_MAX_DEFAULT;
}

/* Returns how many descriptors are not for connections: at most half of `max_fds`, in case that is
 * small. */
static size_t reserve_of(size_t count, size_t max_fds)
{
	size_t reserve = RESERVED + count * RESERVED_WORKER;

	return reserve < max_fds / 2 ? reserve : max_fds / 2;
}

size_t workers_fd_room(size_t count, size_t max_fds)
{
	return max_fds - reserve_of(count, max_fds);
}

/* With fewer descriptors the launcher would run, but accept nothing, not even the API request that
 * ends it. */
static int check_limit(size_t count, size_t max_fds, struct err *e)
{
	size_t needed = NEEDED + count * NEEDED_WORKER;

	if (max_fds >= needed)
		return 0;
	return err_set(e, EMFILE,
		       "starting %zu workers: too many open files: the limit is %zu, and they need "
		       "%zu (ulimit -Hn; with --workers=1: %d)",
		       count, max_fds, needed, NEEDED + NEEDED_WORKER);
}

static int start_workers(struct workers *ws, const struct worker_setup *setup)
{
	int r = 0;

	for (size_t i = 0; i < ws->count; i++) {
		ws->worker[i] = worker_new(setup);
		if (ws->worker[i] == NULL)
			return -errno;
		ws->tcps[i] = worker_tcp(ws->worker[i]);
	}
	for (size_t i = 0; r == 0 && i < ws->count; i++)
		r = worker_start(ws->worker[i]);
	return r;
}

int workers_new(struct workers **out, const char *bp_socket, size_t count, size_t max_fds,
		struct fdtotal *fds, bool source_ip, struct err *e)
{
	struct worker_setup setup = { .bp_socket = bp_socket, .source_ip = source_ip };
	struct workers *ws;
	int r = check_limit(count, max_fds, e);

	if (r < 0)
		return r;
	ws = calloc(1, sizeof(*ws));
	if (ws == NULL)
		return err_sys(e, ENOMEM, "starting workers");
	ws->count = count;
	ws->fds.max = workers_fd_room(count, max_fds);
	ws->fds.parent = fds;
	ws->udp_fds.max = ws->fds.max / 2;
	ws->udp_fds.parent = &ws->fds;
	setup.fds = &ws->fds;
	setup.udp_fds = &ws->udp_fds;
	setup.all = ws->tcps;
	setup.count = count;
	r = start_workers(ws, &setup);
	if (r == 0) {
		*out = ws;
		return 0;
	}
	workers_end(ws);
	workers_free(ws, WORKER_END_MS);
	return err_sys(e, -r, "starting %zu workers", count);
}

/* Sends an order to workers, all at once, and waits until the last has answered or is late. Returns
 * 0, or the error of the first worker that failed. */
static int call(struct worker *const *worker, size_t count, enum worker_order order,
		struct listener *listener)
{
	unsigned long long until_ms = clock_now_ms() + WORKER_DEADLINE_MS;
	struct worker_call *calls[WORKERS_MAX];
	int result = 0;

	for (size_t i = 0; i < count; i++)
		calls[i] = worker_call(worker[i], order, listener, until_ms);
	for (size_t i = 0; i < count; i++) {
		int r = worker_answer(worker[i], calls[i], until_ms);

		result = result < 0 ? result : r;
	}
	return result;
}

static size_t fewest_udp_ports(const struct workers *ws)
{
	size_t least = 0;

	for (size_t i = 1; i < ws->count; i++)
		if (ws->udp_ports[i] < ws->udp_ports[least])
			least = i;
	return least;
}

static int add_udp_port(struct workers *ws, struct listener *listener)
{
	size_t i = fewest_udp_ports(ws);
	int r = worker_add_port(ws->worker[i], listener);

	listener->worker = i;
	if (r == 0)
		ws->udp_ports[i]++;
	/* The worker carries this out when it answers again. */
	if (r == -ETIMEDOUT)
		call(&ws->worker[i], 1, WORKER_REMOVE_PORT, listener);
	return r;
}

static int add_tcp_port(struct workers *ws, struct listener *listener)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < ws->count; i++)
		r = worker_add_port(ws->worker[i], listener);
	if (r == 0)
		atomic_store(&listener->on_all_workers, true);
	else if (call(ws->worker, ws->count, WORKER_REMOVE_PORT, listener) < 0)
		r = -ETIMEDOUT;
	return r;
}

int workers_add_port(struct workers *ws, struct listener *listener)
{
	int r = proto_is_udp(listener->target.proto) ? add_udp_port(ws, listener)
						     : add_tcp_port(ws, listener);

	if (r == 0)
		fdtotal_charge(&ws->fds, 1);
	return r;
}

int workers_remove_port(struct workers *ws, struct listener *listener)
{
	int r;

	if (proto_is_udp(listener->target.proto)) {
		r = call(&ws->worker[listener->worker], 1, WORKER_REMOVE_PORT, listener);
		ws->udp_ports[listener->worker]--;
	} else {
		r = call(ws->worker, ws->count, WORKER_REMOVE_PORT, listener);
	}
	/* A late worker keeps the descriptor number of the socket. */
	if (r == 0)
		fdtotal_give(&ws->fds, 1);
	return r;
}

bool workers_failed(const struct workers *ws)
{
	for (size_t i = 0; i < ws->count; i++)
		if (worker_failed(ws->worker[i]))
			return true;
	return false;
}

unsigned int workers_clients(const struct workers *ws, size_t worker)
{
	return tcp_clients(ws->tcps[worker]);
}

int workers_end(struct workers *ws)
{
	size_t running = 0;

	while (running < ws->count && worker_runs(ws->worker[running]))
		running++;
	return call(ws->worker, running, WORKER_END, NULL);
}

bool workers_free(struct workers *ws, unsigned int wait_ms)
{
	unsigned long long until_ms = clock_now_ms() + wait_ms;
	bool ended = true;

	if (ws == NULL)
		return true;
	for (size_t i = 0; i < ws->count; i++)
		ended = worker_join(ws->worker[i], until_ms) && ended;
	if (!ended)
		return false;
	for (size_t i = 0; i < ws->count; i++)
		worker_free(ws->worker[i]);
	free(ws);
	return true;
}
