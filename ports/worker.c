/* SPDX-License-Identifier: Apache-2.0 */
/* A worker's thread with its loop, and the main thread's calls. See worker.h. */
#include "ports/worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "os/thread.h"
#include "os/unixsock.h"
#include "ports/dial.h"
#include "ports/inbox.h"
#include "ports/udp.h"

struct worker_call {
	enum worker_order order;
	struct listener *listener;
	int result;
	bool done, abandoned; /* if abandoned, the worker frees the call, else the main thread */
};

struct worker {
	struct loop *loop;
	pthread_t thread;
	bool started;
	pthread_mutex_t lock; /* protects `overdue`, `ended`, `failed`, and calls */
	pthread_cond_t changed;
	size_t overdue; /* calls that the main thread has abandoned and that are not answered yet */
	bool ended, failed;

	struct dialler dialler;
	struct inbox inbox;
	struct tcp *tcp;
	struct udp *udp;
	struct fdquota udp_quota;
};

/* ---- ports ---- */

int worker_add_port(struct worker *w, struct listener *listener)
{
	unsigned long long until_ms;

	if (!proto_is_udp(listener->target.proto))
		return tcp_add_port(w->tcp, listener);
	until_ms = clock_now_ms() + WORKER_DEADLINE_MS;
	return worker_answer(w, worker_call(w, WORKER_ADD_UDP_PORT, listener, until_ms), until_ms);
}

struct tcp *worker_tcp(struct worker *w)
{
	return w->tcp;
}

/* ---- messages ---- */

static void end_call(struct worker *w, struct worker_call *call)
{
	bool abandoned;

	pthread_mutex_lock(&w->lock);
	call->done = true;
	abandoned = call->abandoned;
	if (abandoned)
		w->overdue--;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
	if (abandoned)
		free(call);
}

static void on_call(struct worker *w, struct worker_call *call)
{
	switch (call->order) {
	case WORKER_ADD_UDP_PORT:
		call->result = udp_add_port(w->udp, call->listener);
		break;
	case WORKER_REMOVE_PORT:
		if (!tcp_remove_port(w->tcp, call->listener->id))
			udp_remove_port(w->udp, call->listener->id);
		break;
	case WORKER_END:
		udp_end(w->udp);
		tcp_end(w->tcp);
		break;
	}
	end_call(w, call);
}

static void on_message(struct inbox *inbox, const struct inbox_message *m)
{
	struct worker *w = LOOP_OWNER(inbox, struct worker, inbox);

	if (m->call != NULL)
		on_call(w, m->call);
	else
		tcp_take_client(w->tcp, m);
}

static bool is_late(struct worker *w)
{
	bool late;

	pthread_mutex_lock(&w->lock);
	late = w->overdue > 0;
	pthread_mutex_unlock(&w->lock);
	return late;
}

/* Waits until *flag is set, the thread has ended, or `until_ms`; not at all for a late worker.
 * Called with the lock held. Returns *flag. */
static bool wait_for(struct worker *w, const bool *flag, unsigned long long until_ms)
{
	const struct timespec until = { .tv_sec = (time_t)(until_ms / 1000),
					.tv_nsec = (long)(until_ms % 1000) * 1000000 };
	int r = 0;

	while (!*flag && !w->ended && w->overdue == 0 && r == 0)
		r = pthread_cond_timedwait(&w->changed, &w->lock, &until);
	return *flag;
}

struct worker_call *worker_call(struct worker *w, enum worker_order order,
				struct listener *listener, unsigned long long until_ms)
{
	struct worker_call *call = calloc(1, sizeof(*call));
	struct inbox_message m = { .call = call };

	if (call == NULL)
		return NULL;
	call->order = order;
	call->listener = listener;
	if (inbox_send(&w->inbox, &m, is_late(w) ? 0 : until_ms) == 0)
		return call;
	free(call);
	return NULL;
}

int worker_answer(struct worker *w, struct worker_call *call, unsigned long long until_ms)
{
	bool done;
	int r;

	if (call == NULL)
		return -ETIMEDOUT;
	pthread_mutex_lock(&w->lock);
	done = wait_for(w, &call->done, until_ms);
	if (!done) {
		call->abandoned = true;
		w->overdue++;
	}
	r = call->result;
	pthread_mutex_unlock(&w->lock);
	if (!done)
		return -ETIMEDOUT;
	free(call);
	return r;
}

/* ---- the thread ---- */

/* Tells the main thread, which asks worker_failed after each SIGCHLD. */
static void tell_failure(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	w->failed = true;
	pthread_mutex_unlock(&w->lock);
	kill(getpid(), SIGCHLD);
}

static void *run_thread(void *arg)
{
	struct worker *w = arg;
	char why[128];
	int r;

	pthread_setname_np(pthread_self(), "worker");
	r = loop_run(w->loop);
	if (r < 0) {
		log_error("worker: %s", err_text(-r, why, sizeof(why)));
		tell_failure(w);
	}
	/* Closing the child's sockets can block, which must not happen in the main thread. */
	dialler_close(&w->dialler);
	pthread_mutex_lock(&w->lock);
	w->ended = true;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

bool worker_failed(struct worker *w)
{
	bool failed;

	pthread_mutex_lock(&w->lock);
	failed = w->failed;
	pthread_mutex_unlock(&w->lock);
	return failed;
}

/* The condition uses CLOCK_MONOTONIC, the clock of clock_now_ms(). */
static void init_lock(struct worker *w)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&w->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->changed, &attr);
	pthread_condattr_destroy(&attr);
}

/* A dial of TCP or UDP found no descriptor left. Only TCP can pause: UDP drops datagrams. */
static void on_shortage(const struct dialler *dialler, const char *why)
{
	tcp_pause(LOOP_OWNER(dialler, struct worker, dialler)->tcp, why);
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
	w->dialler.quota = tcp_quota(w->tcp);
	w->dialler.on_shortage = on_shortage;
	/* UDP's total is a part of the workers' total. */
	w->udp_quota = (struct fdquota){ .total = setup->udp_fds, .max = setup->fds->max };
	w->udp = udp_new(w->loop, &w->dialler, &w->udp_quota, setup->count);
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
	init_lock(w);
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

bool worker_join(struct worker *w, unsigned long long until_ms)
{
	bool ended;

	if (!worker_runs(w))
		return true;
	pthread_mutex_lock(&w->lock);
	ended = wait_for(w, &w->ended, until_ms);
	pthread_mutex_unlock(&w->lock);
	if (!ended)
		return false;
	pthread_join(w->thread, NULL);
	w->started = false;
	return true;
}

void worker_free(struct worker *w)
{
	if (w == NULL)
		return;
	/* Workers that had not ended yet may have handed clients over to this one after it ended.
	 */
	inbox_drain(&w->inbox);
	udp_free(w->udp);
	dialler_close(&w->dialler); /* has an effect only if the thread was never started */
	tcp_free(w->tcp);
	loop_free(w->loop);
	inbox_close(&w->inbox);
	pthread_cond_destroy(&w->changed);
	pthread_mutex_destroy(&w->lock);
	free(w);
}
