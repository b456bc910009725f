/* SPDX-License-Identifier: Apache-2.0 */
/* Starts, watches and restarts the network program. See netsupervisor.h.
 *
 *                  started                   ready
 *        PAUSED ──────────────► STARTING ──────────────► UP
 *          ▲  ▲  start failed      │  exit, or            │
 *          │  └────────────────┘   │  deadline            │ exit
 *          └───────────────────────┴──────────────────────┘
 *
 * PAUSED lasts 100 ms the first time, twice as long each time after, and 30 s at most. After a
 * minute in UP it is 100 ms again. The TAP device outlives the program, and with it the addresses,
 * the routes and the sockets of processes inside, which only see lost packets. Connections that
 * went through the program's own sockets on the host are lost. The builtin port driver does not use
 * these.
 */
#include "net/netsupervisor.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/log.h"
#include "net/pasta.h"
#include "net/slirp4netns.h"
#include "os/userns.h"

#define PAUSE_MIN_MS 100
#define PAUSE_MAX_MS 30000
#define GOOD_LIFE_MS 60000 /* in UP, after which the delay is short again */

static const struct netprog_driver *const drivers[NET_DRIVER_COUNT] = {
	[NET_SLIRP4NETNS] = &slirp4netns_driver,
	[NET_PASTA] = &pasta_driver,
};

/* ---- the start ---- */

int netsupervisor_find(struct netsupervisor *k, const struct netopts *o, struct err *e)
{
	k->prog = (struct netprog)NETPROG_INIT;
	k->prog.driver = drivers[o->driver];
	k->pause_ms = PAUSE_MIN_MS;
	return netsupervisor_is_wanted(k) ? netprog_find(&k->prog, o, e) : 0;
}

bool netsupervisor_is_wanted(const struct netsupervisor *k)
{
	return k->prog.driver != NULL;
}

const char *netsupervisor_name(const struct netsupervisor *k)
{
	return k->prog.driver->name;
}

int netsupervisor_start(struct netsupervisor *k, const struct network *net, const char *state_dir,
			pid_t child, struct err *e)
{
	int r;

	k->prog.net = net;
	k->prog.state_dir = state_dir;
	k->prog.child_pid = child;
	r = netprog_start(&k->prog, e);
	if (r < 0)
		netprog_add_source(&k->prog, e);
	return r;
}

/* Appends what to try. */
static void advise(const struct netsupervisor *k, struct err *e)
{
	const struct netprog *n = &k->prog;
	const char *advice = n->driver->advice != NULL ? n->driver->advice(n) : NULL;

	netprog_advise_stack(n->status, e);
	if (advice != NULL)
		err_add(e, "; try %s", advice);
	else if (strcasestr(n->last_words, "operation not permitted") != NULL ||
		 strcasestr(n->last_words, "permission denied") != NULL)
		userns_explain(e, EPERM, 0);
}

static int explain(struct netsupervisor *k, struct err *e)
{
	struct netprog *n = &k->prog;

	if (k->prog.again)
		err_wrap(e, "%s ended during the start", netsupervisor_name(k));
	else
		err_wrap(e, "failed to setup network: %s ended before it was ready (%.150s)",
			 netsupervisor_name(k), k->prog.command);
	advise(k, e);
	if (!k->prog.again && !WIFSIGNALED(n->status) && n->driver->diagnose != NULL)
		n->driver->diagnose(n, e);
	return -ECHILD;
}

int netsupervisor_check(struct netsupervisor *k, struct err *e)
{
	siginfo_t info = { .si_pid = 0 };

	if (k->prog.pid <= 0 ||
	    waitid(P_PID, (id_t)k->prog.pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 ||
	    info.si_pid == 0)
		return 0;
	netprog_stop(&k->prog, e);
	return explain(k, e);
}

int netsupervisor_ready(struct netsupervisor *k, struct err *e)
{
	int r = netprog_ready(&k->prog);

	if (r == 0 || r == -EAGAIN)
		return r;
	/* The program closed the pipe: either it is exiting, then killing it changes nothing, or it
	 * is useless. */
	netprog_stop(&k->prog, e);
	return explain(k, e);
}

/* ---- in the loop ---- */

static void unwatch(struct netsupervisor *k, struct watch *w)
{
	loop_remove(k->loop, w);
	w->fd = -1;
}

static void on_log(struct watch *w, short revents)
{
	struct netsupervisor *k = LOOP_OWNER(w, struct netsupervisor, log);

	(void)revents;
	netprog_log(&k->prog);
	if (k->prog.log_fd < 0)
		unwatch(k, w);
}

/* Adds a watch. Does nothing if `fd` is -1: the program may have closed its output. */
static int watch(struct netsupervisor *k, struct watch *w, int fd,
		 void (*on_event)(struct watch *w, short revents))
{
	if (fd < 0)
		return 0;
	*w = (struct watch){ .fd = fd, .events = POLLIN, .on_event = on_event };
	return loop_add(k->loop, w);
}

/* Sets the timer of the next start, and logs why. */
static void schedule(struct netsupervisor *k, const struct err *why)
{
	if (k->state == NETSUPERVISOR_UP && clock_now_ms() - k->up_since_ms >= GOOD_LIFE_MS)
		k->pause_ms = PAUSE_MIN_MS;
	k->state = NETSUPERVISOR_PAUSED;
	if (loop_timer(k->loop, &k->timer, k->pause_ms) < 0)
		log_error("%s; not restarting: out of memory", why->msg);
	else
		log_error("%s; restarting in %u ms", why->msg, k->pause_ms);
	k->pause_ms = k->pause_ms < PAUSE_MAX_MS / 2 ? 2 * k->pause_ms : PAUSE_MAX_MS;
}

static void on_end(struct netsupervisor *k)
{
	struct err why;

	unwatch(k, &k->ready);
	unwatch(k, &k->log);
	loop_cancel(k->loop, &k->timer);
	netprog_stop(&k->prog, &why);
	err_wrap(&why, "%s ended%s", netsupervisor_name(k),
		 k->state == NETSUPERVISOR_STARTING ? " before it was ready" : "");
	schedule(k, &why);
}

bool netsupervisor_reap(struct netsupervisor *k, pid_t pid)
{
	if (k->prog.pid <= 0 || pid != k->prog.pid)
		return false;
	on_end(k);
	return true;
}

/* Kills the program. The SIGCHLD that follows leads to its restart (netsupervisor_reap). */
static void give_up(struct netsupervisor *k)
{
	char why[128];

	unwatch(k, &k->ready);
	if (kill(-k->prog.pid, SIGKILL) == 0)
		return;
	log_error("killing %s in order to start it again: %s", netsupervisor_name(k),
		  err_text(errno, why, sizeof(why)));
	netprog_ask_to_end(&k->prog);
}

void netsupervisor_renew(struct netsupervisor *k)
{
	if (k->loop != NULL && k->prog.pid > 0)
		give_up(k);
}

static void on_ready(struct watch *w, short revents)
{
	struct netsupervisor *k = LOOP_OWNER(w, struct netsupervisor, ready);
	int r;

	(void)revents;
	loop_remove(k->loop, w); /* before netprog_ready closes the descriptor */
	r = netprog_ready(&k->prog);
	if (r == -EAGAIN && loop_add(k->loop, w) == 0)
		return;
	if (r < 0) {
		give_up(k);
		return;
	}
	w->fd = -1;
	if (k->prog.log_fd < 0)
		unwatch(k, &k->log);
	loop_cancel(k->loop, &k->timer);
	k->state = NETSUPERVISOR_UP;
	k->up_since_ms = clock_now_ms();
	log_debug("%s is up again", netsupervisor_name(k));
	if (k->on_again != NULL)
		k->on_again(k);
}

/* ---- starting again ---- */

static int start_again(struct netsupervisor *k, struct err *e)
{
	int r = netprog_start(&k->prog, e);

	if (r < 0)
		return r;
	k->state = NETSUPERVISOR_STARTING;
	/* without its watches and its deadline the program would run unsupervised, so kill it */
	if (watch(k, &k->log, k->prog.log_fd, on_log) < 0 ||
	    watch(k, &k->ready, k->prog.ready_fd, on_ready) < 0 ||
	    loop_timer(k->loop, &k->timer, NETSUPERVISOR_DEADLINE_MS) < 0)
		give_up(k);
	return 0;
}

static void on_timer(struct timer *t)
{
	struct netsupervisor *k = LOOP_OWNER(t, struct netsupervisor, timer);
	struct err why;

	if (k->state == NETSUPERVISOR_STARTING)
		give_up(k); /* the deadline */
	else if (start_again(k, &why) < 0)
		schedule(k, &why);
}

int netsupervisor_watch(struct netsupervisor *k, struct loop *loop, struct err *e)
{
	if (!netsupervisor_is_wanted(k))
		return 0;
	k->loop = loop;
	k->timer.on_due = on_timer;
	k->ready.fd = -1;
	k->state = NETSUPERVISOR_UP;
	k->up_since_ms = clock_now_ms();
	if (watch(k, &k->log, k->prog.log_fd, on_log) < 0)
		return err_sys(e, ENOMEM, "watching %s", netsupervisor_name(k));
	return 0;
}

void netsupervisor_stop(struct netsupervisor *k)
{
	if (k->loop != NULL) {
		loop_cancel(k->loop, &k->timer);
		unwatch(k, &k->ready);
		unwatch(k, &k->log);
	}
	netprog_stop(&k->prog, NULL);
}
