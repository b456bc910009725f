/* SPDX-License-Identifier: Apache-2.0 */
/* UDP ports. See udp.h; udpflow.h has the flows.
 *
 * The datagrams of one dgrams_receive are sorted by flow, and those of a flow are sent by one call
 * (dgram.h). All ports of a worker share one set of buffers. The buffers occupy only the memory
 * that datagrams have been written to.
 *
 * Limits:
 *
 *   - Flows of a port: at most FLOWS_MAX, and at most a quarter of all workers' descriptors.
 *     Half of that is the limit of new flows, and half the limit of established flows
 *     (flowtable.h).
 *   - Descriptors: at most half of all workers' descriptors for all UDP ports together, so that the
 *     rest stays for TCP. A few are guaranteed to each worker that has UDP ports (RESERVED).
 *   - Turns: a callback calls dgrams_receive UDP_TURN times, or passes on UDP_TURN_BYTES, before
 *     other watches get their turn. A busy socket is drained by a timer (coalesce.h).
 */
#include "ports/udp.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "ports/udpflow.h"

#define FLOWS_MAX   8192 /* of a port: half of them new, half established */
#define FLOWS_LEAST 4	 /* of a port, of each kind, however low the descriptor limit is */
#define RESERVED    32	 /* descriptors that are guaranteed to the flows of a worker */
#define RESERVED_OF 8	 /* for all workers together at most this part of all descriptors: 1/8 */

/* ---- the listening socket ---- */

/* Sends the datagrams of all groups, each group by one call. */
static void send_groups(struct udp *u)
{
	for (int i = 0; i < u->group_count; i++)
		udpflow_send(u->groups[i].flow, u->groups[i].first);
	u->group_count = 0;
}

/* Appends a datagram to the group of its flow. */
static void add_to_group(struct udp *u, struct udpflow *f, struct dgram *d, unsigned long long now)
{
	struct udp_group *g = &u->groups[f->group];

	if (f->group >= u->group_count || g->flow != f) {
		f->group = (unsigned char)u->group_count++;
		g = &u->groups[f->group];
		*g = (struct udp_group){ .flow = f, .end = &g->first };
		flowtable_note_request(&f->port->flows, &f->entry, now);
	}
	d->next = NULL;
	*g->end = d;
	g->end = &d->next;
}

/* Adds a received datagram to its flow's group, or to its queue if the flow is not open yet. */
static void pass_on(struct udp_port *p, int index, unsigned long long now)
{
	struct dgram *d = dgrams_at(p->udp->buffers, index);
	const struct flow_key *key = dgrams_key(p->udp->buffers, index);
	struct flow_entry *e = flowtable_find(&p->flows, key);
	struct udpflow *f = e != NULL ? udpflow_of(e) : NULL;

	if (f == NULL) {
		/* udpflow_new may end a flow that has a group, so send the groups first. */
		send_groups(p->udp);
		f = udpflow_new(p, key, now);
	}
	if (f == NULL)
		return;
	if (f->opening == NULL) {
		add_to_group(p->udp, f, d, now);
		return;
	}
	flowtable_note_request(&p->flows, &f->entry, now);
	udpflow_queue(f->opening, d);
}

static void on_datagrams(struct watch *watch, short revents)
{
	struct udp_port *p = LOOP_OWNER(watch, struct udp_port, coalesced.watch);
	unsigned long long now = clock_now_ms();
	unsigned int count = 0;
	size_t bytes = 0;

	(void)revents;
	for (int i = 0; i < UDP_TURN && bytes < UDP_TURN_BYTES; i++) {
		int n = dgrams_receive(p->udp->buffers, watch->fd, true);

		for (int at = 0; at < n; at++) {
			bytes += dgrams_at(p->udp->buffers, at)->len;
			pass_on(p, at, now);
		}
		send_groups(p->udp);
		count += n > 0 ? (unsigned int)n : 0;
		if (!dgrams_may_be_more(p->udp->buffers))
			break;
	}
	coalesce_note(&p->udp->coalesce, &p->coalesced, count, now);
}

/* ---- ports ---- */

/* Other workers draw on the same total, but a worker can evict only its own flows. So each worker
 * has a guaranteed share while it has ports. */
static void reserve_fds(struct udp *u)
{
	fdquota_reserve(u->quota, u->ports == NULL ? 0 : u->fds_own);
}

/* Returns the limit of new flows of a port, which is also the limit of its established flows. */
static size_t max_flows(const struct udp *u)
{
	size_t max = u->quota->max / 4 < FLOWS_MAX ? u->quota->max / 4 : FLOWS_MAX;

	return max / 2 > FLOWS_LEAST ? max / 2 : FLOWS_LEAST;
}

static int family_of(int fd, sa_family_t *family)
{
	int is;
	socklen_t len = sizeof(is);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &is, &len) < 0)
		return -errno;
	*family = (sa_family_t)is;
	return 0;
}

static int start_port(struct udp_port *p)
{
	struct udp *u = p->udp;
	int r = family_of(p->coalesced.watch.fd, &p->family);

	if (u->buffers == NULL)
		u->buffers = dgrams_new(p->coalesced.watch.fd);
	if (u->buffers == NULL)
		return -ENOMEM;
	if (r == 0)
		r = flowtable_init(&p->flows, max_flows(u), max_flows(u));
	return r < 0 ? r : coalesce_add(&u->coalesce, &p->coalesced);
}

int udp_add_port(struct udp *u, struct listener *listener)
{
	struct udp_port *p = calloc(1, sizeof(*p));
	int r;

	if (p == NULL)
		return -ENOMEM;
	p->udp = u;
	p->listener = listener;
	p->idle.on_due = udpflow_on_idle;
	p->coalesced.watch = (struct watch){ .fd = listener->listen_fd,
					     .events = POLLIN,
					     .on_event = on_datagrams };
	r = start_port(p);
	if (r < 0) {
		flowtable_reset(&p->flows);
		free(p);
		return r;
	}
	p->next = u->ports;
	u->ports = p;
	reserve_fds(u);
	return 0;
}

/* Frees a port, which was taken out of u->ports, and its flows. */
static void end_port(struct udp_port *p)
{
	struct loop *loop = p->udp->loop;
	struct flow_entry *e;

	coalesce_remove(&p->udp->coalesce, &p->coalesced);
	loop_cancel(loop, &p->idle);
	while ((e = flowtable_oldest(&p->flows)) != NULL)
		udpflow_end(udpflow_of(e));
	/* Only the tasks that free the flows are left, and they wait for nothing. */
	while (p->alive > 0)
		loop_run_tasks(loop);
	flowtable_reset(&p->flows);
	free(p);
}

bool udp_remove_port(struct udp *u, int id)
{
	struct udp_port **at = &u->ports;
	struct udp_port *p;

	while (*at != NULL && (*at)->listener->id != id)
		at = &(*at)->next;
	p = *at;
	if (p == NULL)
		return false;
	*at = p->next;
	end_port(p);
	reserve_fds(u);
	return true;
}

void udp_end(struct udp *u)
{
	struct udp_port *p;

	while ((p = u->ports) != NULL) {
		u->ports = p->next;
		coalesce_remove(&u->coalesce, &p->coalesced);
		udpflow_pass_last_answers(p);
		end_port(p);
	}
	reserve_fds(u);
}

/* ---- all ---- */

struct udp *udp_new(struct loop *loop, const struct dialler *dialler, struct fdquota *quota,
		    size_t workers)
{
	struct udp *u = calloc(1, sizeof(*u));
	size_t part = quota->max / (RESERVED_OF * workers);

	if (u == NULL)
		return NULL;
	u->loop = loop;
	u->dialler = dialler;
	u->quota = quota;
	u->fds_max = quota->max / 2;
	u->fds_own = part < RESERVED ? part : RESERVED;
	coalesce_init(&u->coalesce, loop);
	return u;
}

void udp_free(struct udp *u)
{
	if (u == NULL)
		return;
	coalesce_reset(&u->coalesce);
	free(u->buffers);
	free(u);
}
