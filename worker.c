/* SPDX-License-Identifier: Apache-2.0 */
/* A thread with a loop, and what it is told. See worker.h. */
#include "worker.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "dial.h"
#include "inbox.h"
#include "log.h"
#include "loop.h"
#include "thread.h"
#include "udp.h"
#include "unixsock.h"

struct worker {
	struct loop *loop;
	pthread_t thread;
	bool started;
	struct dialler dialler;
	struct inbox inbox;
	struct tcp *tcp;
	struct udp *udp;
	struct budget udp_budget;
};

/* ---- ports ---- */

int worker_add_port(struct worker *w, struct offer *offer)
{
	struct worker_call call = { .order = WORKER_ADD_UDP_PORT, .offer = offer };

	if (!proto_is_udp(offer->target.proto))
		return tcp_add_port(w->tcp, offer);
	worker_call(w, &call);
	return worker_answer(&call);
}

struct tcp *worker_tcp(struct worker *w)
{
	return w->tcp;
}

/* ---- messages ---- */

static void on_call(struct worker *w, struct worker_call *call)
{
	call->result = 0;
	switch (call->order) {
	case WORKER_ADD_UDP_PORT:
		call->result = udp_add_port(w->udp, call->offer);
		break;
	case WORKER_REMOVE_PORT:
		if (!tcp_remove_port(w->tcp, call->offer->id))
			udp_remove_port(w->udp, call->offer->id);
		break;
	case WORKER_END:
		udp_end(w->udp);
		tcp_end(w->tcp);
		break;
	}
	sem_post(&call->done);
}

static void on_message(struct inbox *inbox, const struct inbox_message *m)
{
	struct worker *w = LOOP_OWNER(inbox, struct worker, inbox);

	if (m->call != NULL)
		on_call(w, m->call);
	else
		tcp_take_client(w->tcp, m);
}

void worker_call(struct worker *w, struct worker_call *call)
{
	struct inbox_message m = { .call = call };
	int r;

	sem_init(&call->done, 0, 0);
	r = inbox_send(&w->inbox, &m);
	if (r < 0) {
		call->result = r;
		sem_post(&call->done);
	}
}

int worker_answer(struct worker_call *call)
{
	while (sem_wait(&call->done) < 0 && errno == EINTR)
		;
	sem_destroy(&call->done);
	return call->result;
}

/* ---- the thread ---- */

static void *run_thread(void *arg)
{
	struct worker *w = arg;
	char why[128];
	int r;

	pthread_setname_np(pthread_self(), "worker");
	r = loop_run(w->loop);
	if (r < 0)
		log_error("worker: %s", err_text(-r, why, sizeof(why)));
	return NULL;
}

static int init_worker(struct worker *w, const struct worker_setup *setup)
{
	struct tcp_setup tcp = { .dialler = &w->dialler,
				 .inbox = &w->inbox,
				 .fds = setup->fds,
				 .source_ip = setup->source_ip,
				 .all = setup->all,
				 .count = setup->count };

	if (unixsock_address(&w->dialler.bp_address, setup->bp_socket) < 0)
		return -ENAMETOOLONG;
	w->loop = tcp.loop = w->dialler.loop = loop_new(LOOP_EPOLL);
	if (w->loop == NULL)
		return -errno;
	w->tcp = tcp_new(&tcp);
	if (w->tcp == NULL)
		return -ENOMEM;
	w->dialler.budget = tcp_budget(w->tcp);
	/* Nothing of UDP pauses; what it may have is a part of all. */
	w->udp_budget = (struct budget){ .loop = w->loop,
					 .account = setup->udp_fds,
					 .max = setup->fds->max };
	budget_init(&w->udp_budget);
	w->udp = udp_new(w->loop, &w->dialler, &w->udp_budget, setup->count);
	if (w->udp == NULL || dialler_open(&w->dialler) < 0)
		return -ENOMEM;
	return inbox_open(&w->inbox, w->loop, on_message);
}

struct worker *worker_new(const struct worker_setup *setup)
{
	struct worker *w = calloc(1, sizeof(*w));
	int r;

	if (w == NULL)
		return NULL;
	w->inbox.watch.fd = w->inbox.in = -1;
	r = init_worker(w, setup);
	if (r == 0)
		return w;
	worker_free(w);
	errno = -r;
	return NULL;
}

int worker_start(struct worker *w)
{
	int r = thread_start(&w->thread, run_thread, w);

	w->started = r == 0;
	return r;
}

bool worker_runs(const struct worker *w)
{
	return w != NULL && w->started;
}

void worker_join(struct worker *w)
{
	if (!worker_runs(w))
		return;
	pthread_join(w->thread, NULL);
	w->started = false;
}

void worker_free(struct worker *w)
{
	if (w == NULL)
		return;
	/* Others that had not ended yet may have handed clients to one that had. */
	inbox_drain(&w->inbox);
	udp_free(w->udp);
	dialler_close(&w->dialler);
	tcp_free(w->tcp);
	loop_free(w->loop);
	inbox_close(&w->inbox);
	free(w);
}
