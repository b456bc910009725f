/* SPDX-License-Identifier: Apache-2.0 */
/* Starts, watches and restarts the network program. See netsupervisor.h.
 *
 *                  started                   ready
 *        PAUSED ──────────────► STARTING ──────────────► UP
 *          ▲  ▲  start failed      │  exit, or            │
 *          │  └────────────────┘   │  deadline            │ exit
 *          └───────────────────────┴──────────────────────┘
 *
 * Until the launcher has started (netsupervisor_keep_up), an exit and a missed deadline are
 * reported to the owner instead, and nothing is restarted.
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
#define STABLE_MS    60000 /* time in UP after which the delay is PAUSE_MIN_MS again */

static const struct netprog_driver *const drivers[NET_DRIVER_COUNT] = {
	[NET_SLIRP4NETNS] = &slirp4netns_driver,
	[NET_PASTA] = &pasta_driver,
};

/* ---- finding the program ---- */

int netsupervisor_find(struct netsupervisor *s, const struct netopts *o, struct err *e)
{
	s->prog = (struct netprog)NETPROG_INIT;
	s->prog.driver = drivers[o->driver];
	s->pause_ms = PAUSE_MIN_MS;
	return netsupervisor_is_wanted(s) ? netprog_find(&s->prog, o, e) : 0;
}

bool netsupervisor_is_wanted(const struct netsupervisor *s)
{
	return s->prog.driver != NULL;
}

const char *netsupervisor_name(const struct netsupervisor *s)
{
	return s->prog.driver->name;
}

/* ---- failures during the launcher's start ---- */

/* Appends what to try. */
static void advise(const struct netsupervisor *s, struct err *e)
{
	const struct netprog *n = &s->prog;
	const char *advice = n->driver->advice != NULL ? n->driver->advice(n) : NULL;

	netprog_advise_stack(n->status, e);
	if (advice != NULL)
		err_add(e, "; try %s", advice);
	else if (strcasestr(n->last_words, "operation not permitted") != NULL ||
		 strcasestr(n->last_words, "permission denied") != NULL)
		userns_explain(e, EPERM, 0);
}

/* Sets the reason for an exit during the start. `why` has the program's last words. */
static void explain_exit(struct netsupervisor *s, struct err *why)
{
	struct netprog *n = &s->prog;

	if (n->was_ready)
		err_wrap(why, "%s ended during the start", netsupervisor_name(s));
	else
		err_wrap(why, "failed to setup network: %s ended before it was ready (%.150s)",
			 netsupervisor_name(s), n->command);
	advise(s, why);
	if (!n->was_ready && !WIFSIGNALED(n->status) && n->driver->diagnose != NULL)
		n->driver->diagnose(n, why);
}

/* Reports to the owner that the program is not ready in time. The program still runs. */
static void fail_late(struct netsupervisor *s)
{
	const struct netprog *n = &s->prog;
	struct err why;

	err_set(&why, ETIMEDOUT,
		"waiting for %s: nothing happened for %d ms; %.200s runs, but does not say that it "
		"is ready: is it %s?",
		netsupervisor_name(s), NETSUPERVISOR_DEADLINE_MS, n->program,
		netsupervisor_name(s));
	if (n->last_words[0] != '\0')
		err_add(&why, " It said: %s", n->last_words);
	s->on_failed(s, &why);
}

/* ---- watching ---- */

static void unwatch(struct netsupervisor *s, struct watch *w)
{
	loop_remove(s->loop, w);
	w->fd = -1;
}

static void on_log(struct watch *w, short revents)
{
	struct netsupervisor *s = LOOP_OWNER(w, struct netsupervisor, log);

	(void)revents;
	netprog_log(&s->prog);
	if (s->prog.log_fd < 0)
		unwatch(s, w);
}

/* Adds a watch. Does nothing if `fd` is -1: the program may have closed its output. */
static int watch(struct netsupervisor *s, struct watch *w, int fd,
		 void (*on_event)(struct watch *w, short revents))
{
	if (fd < 0)
		return 0;
	*w = (struct watch){ .fd = fd, .events = POLLIN, .on_event = on_event };
	return loop_add(s->loop, w);
}

/* Sets the timer of the next start, and logs why. */
static void schedule(struct netsupervisor *s, const struct err *why)
{
	if (s->state == NETSUPERVISOR_UP && clock_now_ms() - s->up_since_ms >= STABLE_MS)
		s->pause_ms = PAUSE_MIN_MS;
	s->state = NETSUPERVISOR_PAUSED;
	if (loop_timer(s->loop, &s->timer, s->pause_ms) < 0)
		log_error("%s; not restarting: out of memory", why->msg);
	else
		log_error("%s; restarting in %u ms", why->msg, s->pause_ms);
	s->pause_ms = s->pause_ms < PAUSE_MAX_MS / 2 ? 2 * s->pause_ms : PAUSE_MAX_MS;
}

/* Reaps the program, after killing it if it still runs. Schedules its restart, or reports a failure
 * to the owner if the launcher is still starting. */
static void on_end(struct netsupervisor *s)
{
	struct err why;

	unwatch(s, &s->ready);
	unwatch(s, &s->log);
	loop_cancel(s->loop, &s->timer);
	netprog_stop(&s->prog, &why);
	if (!s->restarts) {
		s->state = NETSUPERVISOR_PAUSED;
		explain_exit(s, &why);
		s->on_failed(s, &why);
		return;
	}
	err_wrap(&why, "%s ended%s", netsupervisor_name(s),
		 s->state == NETSUPERVISOR_STARTING ? " before it was ready" : "");
	schedule(s, &why);
}

bool netsupervisor_reap(struct netsupervisor *s, pid_t pid)
{
	if (s->prog.pid <= 0 || pid != s->prog.pid)
		return false;
	on_end(s);
	return true;
}

/* Kills the program. SIGCHLD follows, and netsupervisor_reap() schedules the restart. */
static void give_up(struct netsupervisor *s)
{
	char why[128];

	unwatch(s, &s->ready);
	if (kill(-s->prog.pid, SIGKILL) == 0)
		return;
	log_error("killing %s in order to start it again: %s", netsupervisor_name(s),
		  err_text(errno, why, sizeof(why)));
	netprog_ask_to_end(&s->prog);
}

void netsupervisor_restart(struct netsupervisor *s)
{
	if (s->loop != NULL && s->prog.pid > 0)
		give_up(s);
}

static void on_ready(struct watch *w, short revents)
{
	struct netsupervisor *s = LOOP_OWNER(w, struct netsupervisor, ready);
	int r;

	(void)revents;
	loop_remove(s->loop, w); /* before netprog_ready closes the descriptor */
	r = netprog_ready(&s->prog);
	if (r == -EAGAIN && loop_add(s->loop, w) == 0)
		return;
	if (r < 0) {
		/* It closed the pipe without a report: it is exiting, or will never be ready. */
		if (s->restarts)
			give_up(s);
		else
			on_end(s);
		return;
	}
	w->fd = -1;
	if (s->prog.log_fd < 0)
		unwatch(s, &s->log);
	loop_cancel(s->loop, &s->timer);
	s->state = NETSUPERVISOR_UP;
	s->up_since_ms = clock_now_ms();
	log_debug("%s is %s", netsupervisor_name(s), s->restarts ? "up again" : "ready");
	s->on_up(s);
}

/* ---- starting ---- */

/* Starts the program and watches it. Returns 0, or -errno with a reason. After a failure the
 * program may run unwatched: then prog.pid is set. */
static int start(struct netsupervisor *s, struct err *e)
{
	int r = netprog_start(&s->prog, e);

	if (r < 0)
		return r;
	s->state = NETSUPERVISOR_STARTING;
	if (watch(s, &s->log, s->prog.log_fd, on_log) < 0 ||
	    watch(s, &s->ready, s->prog.ready_fd, on_ready) < 0 ||
	    loop_timer(s->loop, &s->timer, NETSUPERVISOR_DEADLINE_MS) < 0)
		return err_sys(e, ENOMEM, "watching %s", netsupervisor_name(s));
	return 0;
}

static void start_again(struct netsupervisor *s)
{
	struct err why;

	if (start(s, &why) == 0)
		return;
	if (s->prog.pid > 0)
		give_up(s); /* it runs, but without a watch or a deadline */
	else
		schedule(s, &why);
}

static void on_timer(struct timer *t)
{
	struct netsupervisor *s = LOOP_OWNER(t, struct netsupervisor, timer);

	if (s->state != NETSUPERVISOR_STARTING)
		start_again(s);
	else if (s->restarts)
		give_up(s);
	else
		fail_late(s);
}

int netsupervisor_start(struct netsupervisor *s, struct loop *loop, const struct network *net,
			const char *state_dir, pid_t child, struct err *e)
{
	int r;

	s->prog.net = net;
	s->prog.state_dir = state_dir;
	s->prog.child_pid = child;
	s->loop = loop;
	s->timer.on_due = on_timer;
	r = start(s, e);
	if (r < 0 && s->prog.pid <= 0)
		netprog_add_source(&s->prog, e);
	return r;
}

bool netsupervisor_is_up(const struct netsupervisor *s)
{
	return s->state == NETSUPERVISOR_UP;
}

void netsupervisor_keep_up(struct netsupervisor *s)
{
	s->restarts = true;
}

void netsupervisor_stop(struct netsupervisor *s)
{
	if (s->loop != NULL) {
		loop_cancel(s->loop, &s->timer);
		unwatch(s, &s->ready);
		unwatch(s, &s->log);
	}
	netprog_stop(&s->prog, NULL);
}
