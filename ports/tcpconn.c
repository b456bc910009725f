/* SPDX-License-Identifier: Apache-2.0 */
/* Dialling and copying. See tcpconn.h.
 *
 * Each accepted client has a connection (struct conn). Until the target is connected, the
 * connection also has a `dialling`. After that only the pair of pumps (bicopy.h) remains.
 *
 *     accept ──► DIALLING ── target connected ─► COPYING ── both ends shut ──► freed
 *                  │                               │
 *                  └─ none: the client is reset    └─ a reset, or the port is removed ──► freed
 */
#include "ports/tcpconn.h"

#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "formats/ipaddr.h"
#include "os/sockopt.h"

#define FDS_COPYING 2

/* A connection that has no target yet. */
struct dialling {
	struct dial dial;
	struct conn *conn;
};

struct conn {
	struct bicopy copy;
	struct tcpconns *conns;
	struct list_node node;	   /* in the list of `conns` */
	int client;		   /* owned while dialling; then bicopy owns it */
	unsigned char bucket;	   /* of listener_count_in */
	struct dialling *dialling; /* NULL when copying */
};

static void free_conn(struct conn *c, size_t fds)
{
	struct tcpconns *conns = c->conns;

	list_remove(&conns->list, &c->node);
	listener_count_out(conns->listener, c->bucket);
	free(c);
	conns->on_conn_end(conns);
	fdquota_give(conns->shared->quota, fds);
}

static void on_copy_end(struct bicopy *b)
{
	free_conn(LOOP_OWNER(b, struct conn, copy), FDS_COPYING);
}

/* Starts to copy between the client and its target. `target` is taken. */
static void connected(struct conn *c, int target)
{
	const struct tcpconn_shared *shared = c->conns->shared;
	char why[128];
	int r;

	r = bicopy_start(&c->copy, shared->loop, shared->copy, fd_take(&c->client), target,
			 on_copy_end);
	if (r < 0) {
		log_debug("port %d: %s", c->conns->listener->id, err_text(-r, why, sizeof(why)));
		free_conn(c, TCPCONN_FDS_DIALLING);
		return;
	}
	fdquota_give(shared->quota, TCPCONN_FDS_DIALLING - FDS_COPYING);
}

static void on_dialled(struct dial *d, int result)
{
	struct dialling *dialling = LOOP_OWNER(d, struct dialling, dial);
	struct conn *c = dialling->conn;

	if (result < 0 && result != -ECANCELED)
		listener_log_failure(c->conns->listener, &d->to, -result, d->why.msg);
	free(dialling);
	c->dialling = NULL;
	c->conns->dialling--;
	c->conns->on_dial_end(c->conns);
	if (result >= 0) {
		connected(c, result);
		return;
	}
	/* Without a target the client gets a reset, not a clean end of stream. */
	sockopt_reset(&c->client);
	free_conn(c, TCPCONN_FDS_DIALLING);
}

/* Asks the dial to connect from the client's address, but not from a loopback address: inside, that
 * names another host. */
static void ask_for_source(struct dial *d, const struct sockaddr_storage *from)
{
	struct ipaddr ip;
	int port = ipaddr_from_sockaddr(&ip, from);

	if (ip.family == AF_UNSPEC || ipaddr_is_loopback(&ip))
		return;
	d->source_ip = ip;
	d->source_port = port;
}

int tcpconns_start(struct tcpconns *conns, int client, const struct sockaddr_storage *from)
{
	const struct tcpconn_shared *shared = conns->shared;
	struct listener *listener = conns->listener;
	struct conn *c = calloc(1, sizeof(*c));
	struct dialling *dialling = c == NULL ? NULL : calloc(1, sizeof(*dialling));

	if (dialling == NULL) {
		free(c);
		return -ENOMEM;
	}
	c->conns = conns;
	c->client = client;
	c->dialling = dialling;
	dialling->conn = c;
	list_prepend(&conns->list, &c->node);
	conns->dialling++;
	if (shared->source_ip)
		ask_for_source(&dialling->dial, from);
	dialling->dial.loop_suspected = listener_count_in(listener, from, &c->bucket);
	dial_start(&dialling->dial, shared->dialler, listener->id, &listener->target, on_dialled);
	return 0;
}

/* Cancels connections without a target, and calls `end_pair` for the others. */
static void end_conns(struct tcpconns *conns, void (*end_pair)(struct bicopy *b))
{
	struct list_node *next;

	for (struct list_node *node = conns->list.first; node != NULL; node = next) {
		struct conn *c = LIST_OWNER(node, struct conn, node);

		next = node->next;
		if (c->dialling != NULL)
			dial_cancel(&c->dialling->dial);
		else
			end_pair(&c->copy);
	}
}

/* Drains a pair, unless its server is still sending. */
static void drain_pair(struct bicopy *b)
{
	if (!bicopy_is_flowing(b))
		bicopy_drain(b);
}

void tcpconns_cancel(struct tcpconns *conns)
{
	end_conns(conns, bicopy_cancel);
}

void tcpconns_drain(struct tcpconns *conns)
{
	end_conns(conns, drain_pair);
}
