/* SPDX-License-Identifier: Apache-2.0 */
/* Accepting, dialling and copying. See worker.h.
 *
 * A connection (struct conn) is made when a client was accepted. While the child is asked for the
 * other socket it has a `dial`, which is freed when that is done: what stays is the pair of pumps.
 *
 *     accept ──► DIALLING ── descriptor came ──► COPYING ── both ends shut ──► freed
 *                  │  ▲                            │
 *                  └──┘ refused: try again         └─ a reset, or the port is removed ──► freed
 *                  │ no try is left: the client is reset
 *
 * Descriptors. A connection needs two for its life and a third while it is dialled, and a
 * descriptor that comes when there is no room for it is lost. So a worker counts: it accepts only
 * what it can bring to an end, and lets the others wait in the kernel's queue. Should the system
 * run out all the same, or out of memory, accepting pauses for a moment. A listener is never closed
 * for it.
 */
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bicopy.h"
#include "fd.h"
#include "hostaddr.h"
#include "log.h"
#include "loop.h"
#include "msg.h"
#include "unixsock.h"

#define COPY_BUFFER	 (64 * 1024) /* bytes of one read */
#define ACCEPT_BATCH	 64	     /* clients accepted before others get their turn */
#define PAUSE_MS	 100	     /* of accepting, when the system is out of something */
#define COMPLAIN_MS	 60000	     /* between two log lines about that */
#define DIAL_TRIES	 10	     /* compat: 3.0.1, the i-th */
#define DIAL_STEP_MS	 5	     /* after a further 5 * i ms */
#define DIAL_DEADLINE_MS 30000	     /* for all tries together; the child gives one up after 20 s */
#define FDS_DIALLING	 3	     /* client, request, target */
#define FDS_COPYING	 2
#define DRAIN_MS	 5000	      /* for connections to take what was sent before the end */
#define DRAIN_LOOK_MS	 20	      /* between two looks at them */
#define THREAD_STACK	 (256 * 1024) /* bytes; nothing in a worker recurses */

struct conn;

struct port {
	struct watch watch; /* on the listening socket */
	struct worker *worker;
	int id;
	struct bpreq target;
	struct conn *conns;
	size_t dialling; /* of them have no target yet */
	bool full;	 /* as many as it may have: its clients wait */
	struct port *next;
};

/* A connection on its way to a target. */
struct dial {
	struct watch watch; /* on the request's socket, which it owns */
	struct timer timer; /* the deadline of a try, or the pause before the next */
	struct msg_reader reader;
	int tries;
	unsigned long long until_ms; /* no try goes on after this, fd_now_ms()'s clock */
	struct err why;
	struct conn *conn;
};

struct conn {
	struct bicopy copy;
	struct port *port;
	struct conn *prev, *next; /* among the port's */
	int client;		  /* while dialling; then the pair owns it */
	struct dial *dial;	  /* NULL when copying */
	struct task reap;
};

struct worker {
	struct loop *loop;
	struct bicopy_buffer *buffer;
	pthread_t thread;
	struct sockaddr_un bp_address;
	struct watch calls; /* pipe of pointers to struct call */
	int calls_in;
	struct port *ports;
	size_t fds_used;
	size_t fds_max;
	bool paused;
	bool stopping;
	struct timer resume;
	struct timer drain;		   /* when stopping: looks whether connections have ended */
	unsigned long long drain_until_ms; /* none is waited for any longer */
	unsigned long long complained_ms;
};

/* ---- calls from the main thread ---- */

struct call {
	void (*run)(struct worker *w, struct call *call);
	sem_t done;
	int id;
	int listen_fd;
	const struct bpreq *target;
	int result;
};

static void on_calls(struct watch *watch, short revents)
{
	struct worker *w = LOOP_OWNER(watch, struct worker, calls);
	struct call *call;

	(void)revents;
	/* A write of a pointer is below PIPE_BUF, so that it comes in one piece. */
	while (read(watch->fd, &call, sizeof(call)) == (ssize_t)sizeof(call)) {
		call->run(w, call);
		sem_post(&call->done);
	}
}

/* Runs a function in the worker's thread and waits for it. */
static int call_worker(struct worker *w, struct call *call)
{
	int r;

	sem_init(&call->done, 0, 0);
	r = fd_write_all(w->calls_in, &call, sizeof(call));
	if (r == 0) {
		while (sem_wait(&call->done) < 0 && errno == EINTR)
			;
		r = call->result;
	}
	sem_destroy(&call->done);
	return r;
}

/* ---- accepting, pausing ---- */

/* Goes on accepting. Where that fails for want of memory it is tried again. */
static void resume_accepting(struct worker *w)
{
	int r = 0;

	loop_cancel(w->loop, &w->resume);
	w->paused = false;
	for (struct port *p = w->ports; p != NULL; p = p->next)
		if (!p->full && loop_want(w->loop, &p->watch, POLLIN) < 0)
			r = -ENOMEM;
	if (r < 0)
		w->paused = loop_timer(w->loop, &w->resume, PAUSE_MS) == 0;
}

static void on_resume(struct timer *t)
{
	resume_accepting(LOOP_OWNER(t, struct worker, resume));
}

/* Lets new clients wait, for a while or until a connection ends. */
static void pause_accepting(struct worker *w, const char *why)
{
	unsigned long long now = fd_now_ms();

	if (w->complained_ms == 0 || now - w->complained_ms > COMPLAIN_MS) {
		log_warn("cannot accept connections for now: %s (%zu of %zu descriptors in use); "
			 "they wait",
			 why, w->fds_used, w->fds_max);
		w->complained_ms = now;
	}
	/* Without a timer to end the pause there is none. */
	if (loop_timer(w->loop, &w->resume, PAUSE_MS) < 0)
		return;
	w->paused = true;
	for (struct port *p = w->ports; p != NULL; p = p->next)
		loop_want(w->loop, &p->watch, 0);
}

static void use_fds(struct worker *w, size_t count)
{
	w->fds_used += count;
}

static void release_fds(struct worker *w, size_t count)
{
	w->fds_used -= count;
	if (w->paused && w->fds_used + FDS_DIALLING <= w->fds_max)
		resume_accepting(w);
}

/* A port whose target does not answer must leave descriptors for the others. */
static size_t max_dialling(const struct worker *w)
{
	size_t max = w->fds_max / (4 * FDS_DIALLING);

	return max > 0 ? max : 1;
}

static void begin_dial(struct port *p)
{
	p->dialling++;
	use_fds(p->worker, FDS_DIALLING);
}

static void end_dial(struct port *p)
{
	struct worker *w = p->worker;

	p->dialling--;
	if (!p->full || w->stopping)
		return;
	p->full = false;
	if (!w->paused && loop_want(w->loop, &p->watch, POLLIN) < 0)
		w->paused = loop_timer(w->loop, &w->resume, PAUSE_MS) == 0;
}

/* ---- the life of a connection ---- */

static void link_conn(struct conn *c)
{
	c->next = c->port->conns;
	if (c->next != NULL)
		c->next->prev = c;
	c->port->conns = c;
}

/* A worker that is stopping ends with its last connection. */
static void end_if_idle(struct worker *w)
{
	if (!w->stopping)
		return;
	for (struct port *p = w->ports; p != NULL; p = p->next)
		if (p->conns != NULL)
			return;
	loop_stop(w->loop);
}

static void unlink_conn(struct conn *c)
{
	if (c->next != NULL)
		c->next->prev = c->prev;
	if (c->prev != NULL)
		c->prev->next = c->next;
	else
		c->port->conns = c->next;
	end_if_idle(c->port->worker);
}

static void on_copy_end(struct bicopy *b)
{
	struct conn *c = LOOP_OWNER(b, struct conn, copy);
	struct worker *w = c->port->worker;

	unlink_conn(c);
	free(c);
	release_fds(w, FDS_COPYING);
}

static void reap_conn(struct task *t)
{
	struct conn *c = LOOP_OWNER(t, struct conn, reap);
	struct worker *w = c->port->worker;

	unlink_conn(c);
	free(c->dial);
	free(c);
	release_fds(w, FDS_DIALLING);
}

/* Lets go of what a dial holds but its memory. */
static void end_try(struct dial *d)
{
	struct loop *loop = d->conn->port->worker->loop;

	loop_cancel(loop, &d->timer);
	loop_remove(loop, &d->watch);
	fd_close(&d->watch.fd);
	msg_reader_reset(&d->reader);
}

/* Ends a connection that has no target; the client gets a reset, not a clean end. */
static void give_up(struct conn *c)
{
	struct loop *loop = c->port->worker->loop;

	end_try(c->dial);
	end_dial(c->port);
	bicopy_reset(&c->client);
	c->reap.run = reap_conn;
	loop_defer(loop, &c->reap);
}

static void free_dial(struct task *t)
{
	struct conn *c = LOOP_OWNER(t, struct conn, reap);

	free(c->dial);
	c->dial = NULL;
}

static void connected(struct conn *c, int target)
{
	struct worker *w = c->port->worker;
	int client = fd_take(&c->client);
	char why[128];
	int r;

	end_try(c->dial);
	end_dial(c->port);
	r = bicopy_start(&c->copy, w->loop, w->buffer, client, target, on_copy_end);
	if (r < 0) {
		log_debug("port %d: %s", c->port->id, err_text(-r, why, sizeof(why)));
		c->copy.loop = NULL; /* there is no pair */
		c->reap.run = reap_conn;
		loop_defer(w->loop, &c->reap);
		return;
	}
	/* The callback that brought us here still stands on the dial. */
	c->reap.run = free_dial;
	loop_defer(w->loop, &c->reap);
	release_fds(w, FDS_DIALLING - FDS_COPYING);
}

/* ---- dialling ---- */

static void try_dial(struct dial *d);

static void on_next_try(struct timer *t)
{
	try_dial(LOOP_OWNER(t, struct dial, timer));
}

static void on_deadline(struct timer *t)
{
	struct dial *d = LOOP_OWNER(t, struct dial, timer);

	log_debug("port %d: no answer from the child in %d ms", d->conn->port->id,
		  DIAL_DEADLINE_MS);
	give_up(d->conn);
}

/* A try failed with the error number -`result`, for the reason in d->why. Where it was for want of
 * descriptors the target is not to blame: that is no try, and new clients wait meanwhile. */
static void try_again(struct dial *d, int result)
{
	struct worker *w = d->conn->port->worker;
	bool is_short = result == -EMFILE || result == -ENFILE;
	unsigned int delay_ms = is_short ? PAUSE_MS : (unsigned int)(DIAL_STEP_MS * d->tries);

	end_try(d);
	if (is_short) {
		pause_accepting(w, d->why.msg);
		d->tries--;
	} else {
		log_debug("port %d: try %d: %s", d->conn->port->id, d->tries, d->why.msg);
	}
	d->timer.on_due = on_next_try;
	if (d->tries < DIAL_TRIES && fd_now_ms() < d->until_ms &&
	    loop_timer(w->loop, &d->timer, delay_ms) == 0)
		return;
	log_debug("port %d: giving up after %d tries", d->conn->port->id, d->tries);
	give_up(d->conn);
}

static bool has_option(int fd, int name, int value)
{
	int is = 0;
	socklen_t len = sizeof(is);

	return getsockopt(fd, SOL_SOCKET, name, &is, &len) == 0 && is == value;
}

/* Is it what was asked for: a TCP socket, and not a raw one of that protocol? */
static bool is_tcp_socket(int fd)
{
	return has_option(fd, SO_PROTOCOL, IPPROTO_TCP) && has_option(fd, SO_TYPE, SOCK_STREAM);
}

/* Reads a piece of the answer. Returns the target's descriptor; -EINPROGRESS if it should be called
 * again, -EAGAIN if there is nothing more for now, or -errno with the reason in d->why. */
static int read_answer(struct dial *d)
{
	char bytes[1024];
	int fd;
	ssize_t n = msg_recv_fd(d->watch.fd, bytes, sizeof(bytes), &fd);
	int r;

	if (n < 0)
		return n == -EAGAIN ? -EAGAIN : err_sys(&d->why, (int)-n, "answer of the child");
	if (fd >= 0 && is_tcp_socket(fd))
		return fd;
	fd_close(&fd);
	if (n == 0)
		return err_set(&d->why, EPIPE, "the child closed the connection");
	r = msg_feed(&d->reader, bytes, (size_t)n);
	if (r == 0)
		return -EINPROGRESS;
	if (r < 0)
		return err_sys(&d->why, -r, "answer of the child");
	r = bpreq_decode_answer(d->reader.body, d->reader.len, &d->why);
	return r < 0 ? r : err_set(&d->why, EPROTO, "the child sent no descriptor");
}

static void on_answer(struct watch *watch, short revents)
{
	struct dial *d = LOOP_OWNER(watch, struct dial, watch);
	int r;

	(void)revents;
	do
		r = read_answer(d);
	while (r == -EINPROGRESS);
	if (r >= 0)
		connected(d->conn, r);
	else if (r != -EAGAIN)
		try_again(d, r);
}

static int send_request(struct dial *d)
{
	const struct worker *w = d->conn->port->worker;
	struct bpreq req = d->conn->port->target;
	char text[BPREQ_MAX];
	int len;

	hostaddr_gateway(req.host_gateway_ip, sizeof(req.host_gateway_ip));
	len = bpreq_encode(&req, text, sizeof(text));
	if (len < 0)
		return len;
	d->watch.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (d->watch.fd < 0)
		return -errno;
	/* Fails with EAGAIN when too many requests wait for the child: that is worth a try later.
	 */
	if (connect(d->watch.fd, (const struct sockaddr *)&w->bp_address, sizeof(w->bp_address)) <
	    0)
		return -errno;
	len = msg_send_now(d->watch.fd, text, (size_t)len);
	if (len == 0 && shutdown(d->watch.fd, SHUT_WR) < 0)
		len = -errno;
	return len;
}

static void try_dial(struct dial *d)
{
	struct loop *loop = d->conn->port->worker->loop;
	unsigned long long now = fd_now_ms();
	int r;

	d->tries++;
	r = send_request(d);
	if (r == 0)
		r = loop_add(loop, &d->watch);
	d->timer.on_due = on_deadline;
	if (r == 0)
		r = loop_timer(loop, &d->timer,
			       now < d->until_ms ? (unsigned int)(d->until_ms - now) : 0);
	if (r < 0) {
		err_sys(&d->why, -r, "asking the child");
		try_again(d, r);
	}
}

/* Takes an accepted client. */
static int start_conn(struct port *p, int client)
{
	struct conn *c = calloc(1, sizeof(*c));
	struct dial *d = c == NULL ? NULL : calloc(1, sizeof(*d));

	if (d == NULL) {
		free(c);
		bicopy_reset(&client);
		return -ENOMEM;
	}
	c->port = p;
	c->client = client;
	c->dial = d;
	d->conn = c;
	d->until_ms = fd_now_ms() + DIAL_DEADLINE_MS;
	d->watch =
		(struct watch){ .fd = -1, .events = POLLIN, .edge = true, .on_event = on_answer };
	link_conn(c);
	begin_dial(p);
	try_dial(d);
	return 0;
}

/* Errors of accept4(2) that concern one client that has gone away, or a network that is down. */
static bool is_client_error(int why)
{
	switch (why) {
	case EINTR:
	case ECONNABORTED:
	case EPROTO:
	case ENOPROTOOPT:
	case ENETDOWN:
	case EHOSTDOWN:
	case ENONET:
	case EHOSTUNREACH:
	case EOPNOTSUPP:
	case ENETUNREACH:
	case EPERM: /* a firewall rule */
		return true;
	default:
		return false;
	}
}

static void on_clients(struct watch *watch, short revents)
{
	struct port *p = LOOP_OWNER(watch, struct port, watch);
	struct worker *w = p->worker;
	char why[128];

	(void)revents;
	for (int i = 0; i < ACCEPT_BATCH; i++) {
		int fd;

		if (w->fds_used + FDS_DIALLING > w->fds_max) {
			pause_accepting(w, "too many connections are open");
			return;
		}
		if (p->dialling >= max_dialling(w)) {
			p->full = true;
			loop_want(w->loop, watch, 0);
			return;
		}
		fd = accept4(watch->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0 && start_conn(p, fd) == 0)
			continue;
		if (fd < 0 && errno == EAGAIN)
			return;
		if (fd < 0 && is_client_error(errno))
			continue;
		pause_accepting(w, err_text(fd < 0 ? errno : ENOMEM, why, sizeof(why)));
		return;
	}
}

/* ---- ports ---- */

static void run_add_port(struct worker *w, struct call *call)
{
	struct port *p = calloc(1, sizeof(*p));

	call->result = -ENOMEM;
	if (p == NULL)
		return;
	p->worker = w;
	p->id = call->id;
	p->target = *call->target;
	p->watch = (struct watch){ .fd = call->listen_fd,
				   .events = w->paused ? 0 : POLLIN,
				   .on_event = on_clients };
	call->result = loop_add(w->loop, &p->watch);
	if (call->result < 0) {
		free(p);
		return;
	}
	p->next = w->ports;
	w->ports = p;
}

/* Ends the connections of a port: those that have no target yet, and the others by `end_pair`. */
static void end_conns(struct port *p, void (*end_pair)(struct bicopy *b))
{
	for (struct conn *c = p->conns; c != NULL; c = c->next) {
		if (c->client >= 0 && c->dial != NULL && !c->reap.queued)
			give_up(c);
		else if (c->copy.loop != NULL)
			end_pair(&c->copy);
	}
}

/* Frees a port when the last of its connections has been reaped. */
static void run_remove_port(struct worker *w, struct call *call)
{
	struct port **at = &w->ports;
	struct port *p;

	while (*at != NULL && (*at)->id != call->id)
		at = &(*at)->next;
	p = *at;
	call->result = 0;
	if (p == NULL)
		return;
	*at = p->next;
	loop_remove(w->loop, &p->watch);
	end_conns(p, bicopy_cancel);
	/* Nothing but the reaping tasks is left to run for them: a few rounds that wait for
	 * nothing. */
	while (p->conns != NULL)
		loop_run_tasks(w->loop);
	free(p);
}

int worker_add_port(struct worker *w, int id, int listen_fd, const struct bpreq *target)
{
	struct call call = {
		.run = run_add_port, .id = id, .listen_fd = listen_fd, .target = target
	};

	return call_worker(w, &call);
}

void worker_remove_port(struct worker *w, int id)
{
	struct call call = { .run = run_remove_port, .id = id };

	call_worker(w, &call);
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

static int start_thread(struct worker *w)
{
	pthread_attr_t attr;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, THREAD_STACK);
	r = pthread_create(&w->thread, &attr, run_thread, w);
	pthread_attr_destroy(&attr);
	return -r;
}

static void free_worker(struct worker *w)
{
	while (w->ports != NULL) {
		struct port *p = w->ports;

		w->ports = p->next;
		free(p);
	}
	loop_free(w->loop);
	free(w->buffer);
	fd_close(&w->calls.fd);
	fd_close(&w->calls_in);
	free(w);
}

static int init_worker(struct worker *w, const char *bp_socket, size_t max_fds)
{
	int pipe_fds[2];

	w->fds_max = max_fds;
	w->calls.fd = w->calls_in = -1;
	w->resume.on_due = on_resume;
	if (unixsock_address(&w->bp_address, bp_socket) < 0)
		return -ENAMETOOLONG;
	w->loop = loop_new(LOOP_EPOLL);
	w->buffer = bicopy_buffer_new(COPY_BUFFER);
	if (w->loop == NULL || w->buffer == NULL)
		return -ENOMEM;
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return -errno;
	w->calls_in = pipe_fds[1];
	w->calls = (struct watch){ .fd = pipe_fds[0], .events = POLLIN, .on_event = on_calls };
	fd_set_nonblock(w->calls.fd);
	return loop_add(w->loop, &w->calls);
}

struct worker *worker_start(const char *bp_socket, size_t max_fds, struct err *e)
{
	struct worker *w = calloc(1, sizeof(*w));
	int r = w == NULL ? -ENOMEM : init_worker(w, bp_socket, max_fds);

	if (r == 0)
		r = start_thread(w);
	if (r == 0)
		return w;
	if (w != NULL)
		free_worker(w);
	err_sys(e, -r, "starting a worker");
	return NULL;
}

static void drain_conns(struct worker *w)
{
	bool in_time = fd_now_ms() < w->drain_until_ms &&
		       loop_timer(w->loop, &w->drain, DRAIN_LOOK_MS) == 0;

	for (struct port *p = w->ports; p != NULL; p = p->next)
		end_conns(p, in_time ? bicopy_drain : bicopy_cancel);
}

static void on_drain(struct timer *t)
{
	drain_conns(LOOP_OWNER(t, struct worker, drain));
}

/* The servers inside have most likely ended, but what they sent last may still be on its way. */
static void run_end(struct worker *w, struct call *call)
{
	call->result = 0;
	w->stopping = true;
	loop_cancel(w->loop, &w->resume);
	for (struct port *p = w->ports; p != NULL; p = p->next)
		loop_remove(w->loop, &p->watch);
	w->drain.on_due = on_drain;
	w->drain_until_ms = fd_now_ms() + DRAIN_MS;
	drain_conns(w);
	end_if_idle(w);
}

void worker_end(struct worker *w)
{
	struct call call = { .run = run_end };

	call_worker(w, &call);
}

void worker_free(struct worker *w)
{
	if (w == NULL)
		return;
	pthread_join(w->thread, NULL);
	free_worker(w);
}
