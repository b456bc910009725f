/* SPDX-License-Identifier: Apache-2.0 */
/* UDP flows. See udpflow.h.
 *
 *     first datagram ──► WAITING ── fewer than DIALS_MAX dial ──► DIALLING ── socket came ──► OPEN
 *                           │                                        │ none   idle or evicted │
 *                           └──────────── evicted ───────────────────┴──────► freed ◄─────────┘
 *
 * While a flow waits or is dialled it has an `opening`, which queues its datagrams in order, within
 * limits. An open flow is an entry of the port's flow table, a descriptor and a watch: 200 bytes.
 * Its socket keeps the default buffers until it is busy. One timer for each port checks the flow
 * that has been unused longest.
 *
 * At most DIALS_MAX dials of a port are under way, so that an unreachable target or a flood delays
 * only its own port. If no descriptor is left, the port with the most new flows loses its oldest
 * new flow.
 *
 * Sockets from the child are not trusted. A socket that the child has shut down, or whose error
 * queue it fills, would be reported as readable for ever; such a flow ends.
 */
#include "ports/udpflow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"

#define IDLE_MS	     90000 /* compat: 3.0.1; a flow unused for this long ends */
#define IDLE_BATCH   256   /* flows ended before other watches get their turn */
#define DIALS_MAX    32	   /* of a port at a time; the child answers one in less than 1 ms */
#define LAST_TURN    32	   /* calls for the last answers of a flow: more than its buffer holds */
#define BUSY	     (DGRAMS_MAX / 2)	/* answers in one call: the flow needs larger buffers */
#define QUEUE_FLOW   (256 * 1024)	/* bytes of datagrams that wait for a flow to open */
#define QUEUE_PORT   (4 * 1024 * 1024)	/* for all flows of a port */
#define QUEUE_WORKER (16 * 1024 * 1024) /* for all ports of a worker */

struct packet {
	struct dgram dgram; /* linked by its `next` */
	char bytes[];
};

/* ---- queued datagrams ---- */

/* Returns the memory that a queued datagram takes, in bytes. */
static size_t cost_of(const struct dgram *d)
{
	return sizeof(struct packet) + d->len;
}

void udpflow_queue(struct udpflow_opening *o, const struct dgram *d)
{
	struct udp_port *p = o->port;
	size_t cost = cost_of(d);
	struct packet *packet;

	if (o->queued + cost > QUEUE_FLOW || p->queued + cost > QUEUE_PORT ||
	    p->udp->queued + cost > QUEUE_WORKER)
		return;
	packet = malloc(cost);
	if (packet == NULL)
		return;
	packet->dgram = (struct dgram){ NULL, packet->bytes, d->len, d->segment };
	memcpy(packet->bytes, d->bytes, d->len);
	*o->end = &packet->dgram;
	o->end = &packet->dgram.next;
	o->queued += cost;
	p->queued += cost;
	p->udp->queued += cost;
}

static void drop_queued(struct udpflow_opening *o)
{
	struct dgram *d;

	while ((d = o->first) != NULL) {
		size_t cost = cost_of(d);

		o->first = d->next;
		o->queued -= cost;
		o->port->queued -= cost;
		o->port->udp->queued -= cost;
		free(LOOP_OWNER(d, struct packet, dgram));
	}
	o->end = &o->first;
}

/* ---- the life of a flow ---- */

static void release_fds(struct udp *u, size_t count)
{
	u->fds -= count;
	fdquota_give(u->quota, count);
}

static void free_opening(struct udpflow_opening *o)
{
	drop_queued(o);
	o->port->alive--;
	free(o);
}

/* Takes an opening out of its port's `waiting`. */
static void leave_queue(struct udpflow_opening *o)
{
	list_remove(&o->port->waiting, &o->node);
	o->waits = false;
}

static void reap_flow(struct task *t)
{
	struct udpflow *f = LOOP_OWNER(t, struct udpflow, reap);

	f->port->alive--;
	free(f);
}

/* Counts a new flow for its client's address. Returns whether a loop is suspected (listener.h). */
static bool count_flow(struct udpflow *f)
{
	struct sockaddr_storage client = { .ss_family = AF_INET6 };

	((struct sockaddr_in6 *)&client)->sin6_addr = f->entry.key.client;
	f->is_counted = true;
	return listener_count_in(f->port->listener, &client, &f->bucket);
}

/* Called when the flow is answered or ends: from then on it is not counted. */
static void uncount_flow(struct udpflow *f)
{
	if (f->is_counted)
		listener_count_out(f->port->listener, f->bucket);
	f->is_counted = false;
}

void udpflow_end(struct udpflow *f)
{
	struct udp_port *p = f->port;
	struct udpflow_opening *o = f->opening;

	uncount_flow(f);
	flowtable_remove(&p->flows, &f->entry);
	coalesce_remove(&p->udp->coalesce, &f->coalesced);
	fd_close(&f->coalesced.watch.fd);
	f->reap.run = reap_flow;
	loop_defer(p->udp->loop, &f->reap);
	if (o == NULL) {
		release_fds(p->udp, 1);
		return;
	}
	f->opening = NULL;
	o->flow = NULL;
	if (o->waits) {
		leave_queue(o);
		free_opening(o);
	} else {
		dial_cancel(&o->dial); /* on_dialled follows, and frees the opening */
	}
	release_fds(p->udp, DIAL_FDS);
}

void udpflow_on_idle(struct timer *t)
{
	struct udp_port *p = LOOP_OWNER(t, struct udp_port, idle);
	unsigned long long now = clock_now_ms();
	struct flow_entry *e;

	for (int i = 0; (e = flowtable_oldest(&p->flows)) != NULL; i++) {
		unsigned long long idle_ms = now - e->used_ms;

		if (idle_ms < IDLE_MS || i == IDLE_BATCH) {
			loop_timer(p->udp->loop, t,
				   idle_ms < IDLE_MS ? (unsigned int)(IDLE_MS - idle_ms) : 0);
			return;
		}
		udpflow_end(udpflow_of(e));
	}
}

/* ---- passing on ---- */

static void end_unusable(struct udpflow *f, int errnum)
{
	char why[128];

	log_debug("port %d: a UDP flow ends: %s", f->port->listener->id,
		  err_text(errnum, why, sizeof(why)));
	udpflow_end(f);
}

void udpflow_send(struct udpflow *f, struct dgram *first)
{
	const struct dgram_dest dest = { .fd = f->coalesced.watch.fd,
					 .segment_max = &f->segment_max };
	int r = dgrams_send(f->port->udp->buffers, &dest, first);

	if (r < 0 && !dgram_is_transient(-r))
		end_unusable(f, -r);
}

/* Receives answers by one dgrams_receive and sends them to the client. Adds their bytes to *bytes.
 * Returns as dgrams_receive. */
static int pass_answers(struct udpflow *f, size_t *bytes)
{
	struct udp_port *p = f->port;
	const struct dgram_dest dest = { p->coalesced.watch.fd, p->family, &f->entry.key,
					 &f->answer_max, NULL };
	struct dgrams *buffers = p->udp->buffers;
	struct dgram *first = NULL;
	int n = dgrams_receive(buffers, f->coalesced.watch.fd, false);

	for (int i = n - 1; i >= 0; i--) {
		struct dgram *d = dgrams_at(buffers, i);

		d->next = first;
		first = d;
		*bytes += d->len;
	}
	/* Answers that cannot be sent are dropped. */
	dgrams_send(buffers, &dest, first);
	if (!f->is_busy && (n >= BUSY || dgrams_may_be_more(buffers))) {
		f->is_busy = true;
		dgram_enlarge_buffers(f->coalesced.watch.fd);
	}
	return n;
}

/* Does a socket report an error or a shutdown that reading does not clear? Looks again, because the
 * error in `revents` may have been an ICMP error that a send has returned since. */
static bool is_broken(const struct udpflow *f, short revents)
{
	const short bad = POLLERR | POLLHUP | POLLRDHUP;

	return (revents & bad) != 0 && (fd_wait(f->coalesced.watch.fd, POLLRDHUP, 0) & bad) != 0;
}

/* Does an ICMP error mean that the server is not there? */
static bool is_target_error(int errnum)
{
	return errnum == ECONNREFUSED || errnum == EHOSTUNREACH || errnum == ENETUNREACH;
}

static void log_failure(const struct udpflow *f, int errnum)
{
	struct sockaddr_storage to = { .ss_family = AF_UNSPEC };
	socklen_t len = sizeof(to);
	char why[128];

	(void)getpeername(f->coalesced.watch.fd, (struct sockaddr *)&to, &len);
	listener_log_failure(f->port->listener, &to, errnum, err_text(errnum, why, sizeof(why)));
}

static void on_answers(struct watch *watch, short revents)
{
	struct udpflow *f = LOOP_OWNER(watch, struct udpflow, coalesced.watch);
	struct udp *u = f->port->udp;
	unsigned long long now = clock_now_ms();
	unsigned int count = 0;
	size_t bytes = 0;
	int n = 0;

	for (int i = 0; i < UDP_TURN && bytes < UDP_TURN_BYTES; i++) {
		n = pass_answers(f, &bytes);
		count += n > 0 ? (unsigned int)n : 0;
		if (n == -EAGAIN || (n >= 0 && !dgrams_may_be_more(u->buffers)))
			break;
		if (is_target_error(-n))
			log_failure(f, -n);
		if (n < 0 && !dgram_is_transient(-n)) {
			end_unusable(f, -n);
			return;
		}
	}
	if (count == 0 && n == -EAGAIN && is_broken(f, revents)) {
		end_unusable(f, EPIPE);
		return;
	}
	if (count > 0) {
		flowtable_note_answer(&f->port->flows, &f->entry, now);
		uncount_flow(f);
	}
	coalesce_note(&u->coalesce, &f->coalesced, count, now);
}

/* ---- opening ---- */

/* The dial has brought a socket. Starts to receive answers, and sends the queued datagrams. `fd` is
 * taken. The caller frees the opening. */
static void open_flow(struct udpflow *f, int fd)
{
	struct udp_port *p = f->port;
	struct udpflow_opening *o = f->opening;
	int r;

	f->opening = NULL;
	release_fds(p->udp, DIAL_FDS - 1);
	f->coalesced.watch =
		(struct watch){ .fd = fd, .events = POLLIN | POLLRDHUP, .on_event = on_answers };
	dgram_enable_gro(fd);
	r = coalesce_add(&p->udp->coalesce, &f->coalesced);
	if (r < 0) {
		end_unusable(f, -r);
		return;
	}
	udpflow_send(f, o->first);
}

static void start_dials(struct udp_port *p);

/* The dial has ended. The flow may have ended before: then it has cancelled the dial. */
static void on_dialled(struct dial *d, int result)
{
	struct udpflow_opening *o = LOOP_OWNER(d, struct udpflow_opening, dial);
	struct udp_port *p = o->port;
	struct udpflow *f = o->flow;

	p->dialling--;
	if (result < 0 && result != -ECANCELED)
		listener_log_failure(p->listener, &d->to, -result, d->why.msg);
	if (f != NULL && result >= 0)
		open_flow(f, result);
	else if (f != NULL)
		udpflow_end(f);
	free_opening(o);
	start_dials(p);
}

static void start_dials(struct udp_port *p)
{
	while (p->waiting.first != NULL && p->dialling < DIALS_MAX) {
		struct udpflow_opening *o = LIST_OWNER(p->waiting.first, struct udpflow_opening,
						       node);

		leave_queue(o);
		p->dialling++;
		dial_start(&o->dial, p->udp->dialler, p->listener->id, &p->listener->target,
			   on_dialled);
	}
}

static void join_queue(struct udpflow_opening *o)
{
	o->waits = true;
	list_append(&o->port->waiting, &o->node);
}

/* Takes the descriptors of one dial from the quota. Returns false if there is no room. */
static bool take_fds(struct udp *u)
{
	if (u->fds + DIAL_FDS > u->fds_max || !fdquota_take(u->quota, DIAL_FDS))
		return false;
	u->fds += DIAL_FDS;
	return true;
}

/* Returns the oldest new flow of the port that has the most new flows; NULL if there is none. */
static struct flow_entry *oldest_of_busiest_port(const struct udp *u)
{
	struct flow_entry *oldest = NULL;
	size_t most = 0;

	for (const struct udp_port *p = u->ports; p != NULL; p = p->next) {
		if (p->flows.fresh.count > most) {
			most = p->flows.fresh.count;
			oldest = flowtable_oldest_new(&p->flows);
		}
	}
	return oldest;
}

static void warn_of_shortage(const struct udp *u)
{
	static struct log_limit limit; /* of all workers */
	struct fdquota_usage usage = fdquota_usage(u->quota);

	if (log_is_due(&limit))
		log_warn("cannot open new UDP flows: too many are in use (%zu of %zu descriptors "
			 "in use); their datagrams are dropped",
			 usage.used, usage.max);
}

/* Makes room for one more flow of a port, and takes descriptors for it. Returns false if that is
 * not possible. */
static bool make_room(struct udp_port *p)
{
	struct flow_entry *victim = flowtable_victim(&p->flows);

	if (victim != NULL)
		udpflow_end(udpflow_of(victim));
	/* Ending an open flow frees only one descriptor. */
	for (size_t i = 0; !take_fds(p->udp); i++) {
		victim = i < DIAL_FDS ? oldest_of_busiest_port(p->udp) : NULL;
		if (victim == NULL) {
			warn_of_shortage(p->udp);
			return false;
		}
		udpflow_end(udpflow_of(victim));
	}
	return true;
}

struct udpflow *udpflow_new(struct udp_port *p, const struct flow_key *key, unsigned long long now)
{
	struct udpflow *f = calloc(1, sizeof(*f));
	struct udpflow_opening *o = f == NULL ? NULL : calloc(1, sizeof(*o));

	if (o == NULL || !make_room(p)) {
		free(o);
		free(f);
		return NULL;
	}
	f->entry.key = *key;
	f->coalesced.watch.fd = -1;
	f->port = o->port = p;
	f->opening = o;
	f->segment_max = f->answer_max = DGRAM_ANY_SEGMENT;
	o->flow = f;
	o->end = &o->first;
	o->dial.loop_suspected = count_flow(f);
	p->alive += 2;
	flowtable_add(&p->flows, &f->entry, now);
	if (!timer_is_set(&p->idle))
		loop_timer(p->udp->loop, &p->idle, IDLE_MS);
	join_queue(o);
	start_dials(p);
	return f;
}

void udpflow_pass_last_answers(struct udp_port *p)
{
	struct flow_entry *e;

	while ((e = flowtable_oldest(&p->flows)) != NULL) {
		struct udpflow *f = udpflow_of(e);
		size_t bytes = 0;

		for (int i = 0; f->opening == NULL && i < LAST_TURN; i++) {
			int n = pass_answers(f, &bytes);

			/* An ICMP error is returned before datagrams that arrived earlier. */
			if (n < 0 && n != -EAGAIN && dgram_is_transient(-n))
				continue;
			if (n < 0 || !dgrams_may_be_more(p->udp->buffers))
				break;
		}
		udpflow_end(f);
	}
}
