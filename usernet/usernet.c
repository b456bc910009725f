/* SPDX-License-Identifier: Apache-2.0 */
/* The threads of our own network. See usernet.h. */
#include "usernet/usernet.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/loop.h"
#include "os/thread.h"
#include "usernet/dnsservers.h"
#include "usernet/pcap.h"
#include "usernet/stack.h"

#define RESOLV	      "/etc/resolv.conf"
#define QUEUE_FDS     4	 /* the TAP, two eventfds and the epoll instance */
#define DRAIN_STEP_MS 20 /* interval at which a thread looks whether everything is delivered */

/* A thread that serves one queue. */
struct server {
	struct usernet *net;
	int tap; /* -1: the stack has it */
	struct loop *loop;
	struct stack *stack;
	struct watch end; /* an eventfd(2), written when the network is to end */
	struct timer drain;
	pthread_t thread;
	bool started;
};

struct usernet {
	struct netconf conf;
	struct pcap *pcap;
	struct dnsservers *servers;
	struct udpsocks *udpsocks;
	struct frags *frags;
	struct fdtotal *fds;		   /* borrowed */
	_Atomic unsigned long long end_ms; /* when the threads must have ended */
	size_t count;
	struct server server[];
};

/* ---- a thread ---- */

static void drain(struct server *s)
{
	if (!stack_drain(s->stack) || clock_now_ms() >= s->net->end_ms)
		loop_stop(s->loop);
	else
		loop_timer(s->loop, &s->drain, DRAIN_STEP_MS);
}

static void on_drain(struct timer *t)
{
	drain(LOOP_OWNER(t, struct server, drain));
}

static void on_end(struct watch *w, short revents)
{
	struct server *s = LOOP_OWNER(w, struct server, end);

	(void)revents;
	loop_remove(s->loop, w);
	drain(s);
}

static void *run_thread(void *arg)
{
	struct server *s = arg;
	char why[128];
	int r;

	pthread_setname_np(pthread_self(), "network");
	r = loop_run(s->loop);
	if (r < 0)
		log_error("network: %s", err_text(-r, why, sizeof(why)));
	return NULL;
}

/* ---- start and end ---- */

static int start_server(struct server *s, const struct usernet_setup *setup)
{
	struct stack_setup stack = { .conf = &s->net->conf,
				     .fds = setup->fds,
				     .queues = setup->count,
				     .servers = s->net->servers,
				     .udpsocks = s->net->udpsocks,
				     .frags = s->net->frags,
				     .pcap = s->net->pcap };
	int r;

	s->loop = stack.loop = loop_new(LOOP_EPOLL);
	if (s->loop == NULL)
		return -errno;
	s->end = (struct watch){ .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
				 .events = POLLIN,
				 .on_event = on_end };
	s->drain.on_due = on_drain;
	if (s->end.fd < 0)
		return -errno;
	r = loop_add(s->loop, &s->end);
	if (r < 0)
		return r;
	s->stack = stack_new(&stack, fd_take(&s->tap));
	if (s->stack == NULL)
		return -errno;
	r = thread_start(&s->thread, run_thread, s);
	s->started = r == 0;
	return r;
}

static void free_shared(const struct usernet *u)
{
	dnsservers_free(u->servers);
	udpsocks_free(u->udpsocks);
	frags_free(u->frags);
}

static struct usernet *new_net(const struct usernet_setup *setup)
{
	struct usernet *u = calloc(1, sizeof(*u) + setup->count * sizeof(u->server[0]));

	if (u == NULL)
		return NULL;
	u->servers = dnsservers_new(RESOLV);
	u->udpsocks = udpsocks_new();
	u->frags = frags_new();
	if (u->servers == NULL || u->udpsocks == NULL || u->frags == NULL) {
		free_shared(u);
		free(u);
		return NULL;
	}
	u->conf = setup->conf;
	u->fds = setup->fds;
	u->count = setup->count;
	fdtotal_charge(u->fds, QUEUE_FDS * u->count);
	for (size_t i = 0; i < u->count; i++)
		u->server[i] =
			(struct server){ .net = u, .tap = setup->taps[i], .end = { .fd = -1 } };
	return u;
}

int usernet_start(struct usernet **out, const struct usernet_setup *setup, struct err *e)
{
	struct usernet *u = new_net(setup);
	int r = 0;

	if (u == NULL) {
		fd_close_all(setup->taps, setup->count);
		return err_sys(e, ENOMEM, "starting the network");
	}
	if (setup->pcap_path != NULL)
		r = pcap_open(&u->pcap, setup->pcap_path, e);
	for (size_t i = 0; r == 0 && i < u->count; i++) {
		r = start_server(&u->server[i], setup);
		if (r < 0)
			err_sys(e, -r, "starting the network");
	}
	if (r < 0)
		usernet_free(u, 0);
	else
		*out = u;
	return r;
}

static void free_server(struct server *s)
{
	stack_free(s->stack);
	fd_close(&s->tap);
	fd_close(&s->end.fd);
	loop_free(s->loop);
}

void usernet_free(struct usernet *u, unsigned int drain_ms)
{
	const uint64_t one = 1;

	if (u == NULL)
		return;
	u->end_ms = clock_now_ms() + drain_ms;
	for (size_t i = 0; i < u->count; i++)
		if (u->server[i].started && write(u->server[i].end.fd, &one, sizeof(one)) < 0)
			log_error("ending the network: the eventfd is full");
	for (size_t i = 0; i < u->count; i++)
		if (u->server[i].started)
			pthread_join(u->server[i].thread, NULL);
	/* Not before all threads have ended: when a queue is closed, the kernel renumbers the
	 * others, and drops frames of theirs meanwhile. */
	for (size_t i = 0; i < u->count; i++)
		free_server(&u->server[i]);
	fdtotal_give(u->fds, QUEUE_FDS * u->count);
	free_shared(u);
	pcap_close(u->pcap);
	free(u);
}
