/* SPDX-License-Identifier: Apache-2.0 */
/* Several workers. See crew.h.
 *
 * Descriptors. What the limit allows is for connections, but for a reserve (reserve_of), and all
 * workers draw on one account: a share for each would be idle with one while another turns clients
 * away. Listening sockets are charged to it too, even when there is nothing left: a port that is
 * added then finds its descriptor in the reserve, and when connections end that is made up for.
 */
#include "ports/crew.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "base/fd.h"
#include "formats/portspec.h"

/* Descriptors that are not for connections.
 *
 * RESERVED, once: standard input, output and error, the signals, the host's addresses, the two
 * pipes of the child, state directory and its lock, the API's listener, some ten with the network
 * program (13 to 20); as many again while that is started anew; the rest, 24 at least, for API
 * clients and for ports that are added while all is in use. When that does not do, the API closes
 * its clients that are idle, and more ports are an error.
 *
 * RESERVED_WORKER for each: its epoll instance, the two of its inbox and the two of its pipe, the
 * clock of its UDP ports, and some to spare.
 *
 * NEEDED and NEEDED_WORKER: what there has to be of that for a start, and for one client. */
#define RESERVED	64
#define RESERVED_WORKER 11
#define NEEDED		20
#define NEEDED_WORKER	4

struct crew {
	size_t count;
	struct worker *workers[CREW_MAX];
	struct tcp *tcps[CREW_MAX]; /* theirs */
	size_t udp_ports[CREW_MAX]; /* that each has */
	struct account fds, udp_fds;
};

size_t crew_default_size(void)
{
	cpu_set_t set;
	int count = sched_getaffinity(0, sizeof(set), &set) < 0 ? 1 : CPU_COUNT(&set);

	return count < CREW_MAX_DEFAULT ? (size_t)count : CREW_MAX_DEFAULT;
}

/* A small limit leaves half of it. */
static size_t reserve_of(size_t count, size_t max_fds)
{
	size_t reserve = RESERVED + count * RESERVED_WORKER;

	return reserve < max_fds / 2 ? reserve : max_fds / 2;
}

/* With less a launcher would run that accepts nothing, not even what would end it. */
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

static int start_workers(struct crew *crew, const struct worker_setup *setup)
{
	int r = 0;

	for (size_t i = 0; i < crew->count; i++) {
		crew->workers[i] = worker_new(setup);
		if (crew->workers[i] == NULL)
			return -errno;
		crew->tcps[i] = worker_tcp(crew->workers[i]);
	}
	for (size_t i = 0; r == 0 && i < crew->count; i++)
		r = worker_start(crew->workers[i]);
	return r;
}

struct crew *crew_start(const char *bp_socket, size_t count, size_t max_fds, bool source_ip,
			struct err *e)
{
	struct worker_setup setup = { .bp_socket = bp_socket, .source_ip = source_ip };
	struct crew *crew;
	int r;

	if (check_limit(count, max_fds, e) < 0)
		return NULL;
	crew = calloc(1, sizeof(*crew));
	if (crew == NULL) {
		err_sys(e, ENOMEM, "starting workers");
		return NULL;
	}
	crew->count = count;
	crew->fds.max = max_fds - reserve_of(count, max_fds);
	crew->udp_fds.max = crew->fds.max / 2;
	crew->udp_fds.of = &crew->fds;
	setup.fds = &crew->fds;
	setup.udp_fds = &crew->udp_fds;
	setup.all = crew->tcps;
	setup.count = count;
	r = start_workers(crew, &setup);
	if (r == 0)
		return crew;
	err_sys(e, -r, "starting %zu workers", count);
	crew_end(crew);
	crew_free(crew, WORKER_END_MS);
	return NULL;
}

/* Calls workers at the same time, and waits until the last has answered or is late. Returns 0, or
 * what the first that failed said. */
static int call(struct worker *const *workers, size_t count, enum worker_order order,
		struct offer *offer)
{
	unsigned long long until_ms = fd_now_ms() + WORKER_DEADLINE_MS;
	struct worker_call *calls[CREW_MAX];
	int result = 0;

	for (size_t i = 0; i < count; i++)
		calls[i] = worker_call(workers[i], order, offer, until_ms);
	for (size_t i = 0; i < count; i++) {
		int r = worker_answer(workers[i], calls[i], until_ms);

		result = result < 0 ? result : r;
	}
	return result;
}

static size_t fewest_udp_ports(const struct crew *crew)
{
	size_t least = 0;

	for (size_t i = 1; i < crew->count; i++)
		if (crew->udp_ports[i] < crew->udp_ports[least])
			least = i;
	return least;
}

static int add_udp_port(struct crew *crew, struct offer *offer)
{
	size_t i = fewest_udp_ports(crew);
	int r = worker_add_port(crew->workers[i], offer);

	offer->worker = i;
	if (r == 0)
		crew->udp_ports[i]++;
	if (r == -ETIMEDOUT)
		call(&crew->workers[i], 1, WORKER_REMOVE_PORT, offer); /* when it comes to that */
	return r;
}

static int add_tcp_port(struct crew *crew, struct offer *offer)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < crew->count; i++)
		r = worker_add_port(crew->workers[i], offer);
	if (r == 0)
		atomic_store(&offer->everywhere, true);
	else if (call(crew->workers, crew->count, WORKER_REMOVE_PORT, offer) < 0)
		r = -ETIMEDOUT;
	return r;
}

int crew_add_port(struct crew *crew, struct offer *offer)
{
	int r = proto_is_udp(offer->target.proto) ? add_udp_port(crew, offer)
						  : add_tcp_port(crew, offer);

	if (r == 0)
		account_charge(&crew->fds, 1);
	return r;
}

int crew_remove_port(struct crew *crew, struct offer *offer)
{
	int r;

	if (proto_is_udp(offer->target.proto)) {
		r = call(&crew->workers[offer->worker], 1, WORKER_REMOVE_PORT, offer);
		crew->udp_ports[offer->worker]--;
	} else {
		r = call(crew->workers, crew->count, WORKER_REMOVE_PORT, offer);
	}
	/* A late worker keeps the number of the socket. */
	if (r == 0)
		account_give(&crew->fds, 1);
	return r;
}

bool crew_failed(const struct crew *crew)
{
	for (size_t i = 0; i < crew->count; i++)
		if (worker_failed(crew->workers[i]))
			return true;
	return false;
}

unsigned int crew_clients(const struct crew *crew, size_t worker)
{
	return tcp_clients(crew->tcps[worker]);
}

int crew_end(struct crew *crew)
{
	size_t running = 0;

	while (running < crew->count && worker_runs(crew->workers[running]))
		running++;
	return call(crew->workers, running, WORKER_END, NULL);
}

bool crew_free(struct crew *crew, unsigned int wait_ms)
{
	unsigned long long until_ms = fd_now_ms() + wait_ms;
	bool ended = true;

	if (crew == NULL)
		return true;
	for (size_t i = 0; i < crew->count; i++)
		ended = worker_join(crew->workers[i], until_ms) && ended;
	if (!ended)
		return false;
	for (size_t i = 0; i < crew->count; i++)
		worker_free(crew->workers[i]);
	free(crew);
	return true;
}
