/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_NETSUPERVISOR_H
#define NET_NETSUPERVISOR_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/loop.h"
#include "net/netprog.h"

/* Supervises the launcher's network program. During the start, the caller waits for the program to
 * become ready. After netsupervisor_watch, the loop restarts it whenever it exits.
 *
 * Without a network program (netsupervisor_is_wanted) netsupervisor_name, netsupervisor_start and
 * netsupervisor_ready must not be called, and the other functions do nothing. Runs in the parent's
 * main thread, which owns the struct.
 */

struct netsupervisor {
	struct netprog prog;
	struct loop *loop; /* borrowed; NULL before netsupervisor_watch */
	struct watch log;
	struct watch ready;
	struct timer timer; /* time of the next start, or deadline of the start under way */
	enum {
		NETSUPERVISOR_PAUSED, /* waiting for `timer` to restart it */
		NETSUPERVISOR_STARTING,
		NETSUPERVISOR_UP,
	} state;
	unsigned int pause_ms; /* delay before the next restart */
	unsigned long long up_since_ms;
	/* Called when a restarted program is ready. Set by the owner; may be NULL. */
	void (*on_again)(struct netsupervisor *k);
};

#define NETSUPERVISOR_DEADLINE_MS 30000 /* timeout for the program to become ready */

/* Initialises `k->prog` and finds the program that the options ask for, if any. Borrows `o`. Blocks
 * as netprog_find does. Returns 0 or -errno with a reason. */
int netsupervisor_find(struct netsupervisor *k, const struct netopts *o, struct err *e);

bool netsupervisor_is_wanted(const struct netsupervisor *k);
/* The program's name, for messages. Call it only if netsupervisor_is_wanted. */
const char *netsupervisor_name(const struct netsupervisor *k);

/* Starts the program for the child; the arguments are borrowed for as long as `k` lives. Does not
 * wait. After that, the caller polls `prog.ready_fd` and `prog.log_fd` (netprog_log), and calls
 * netsupervisor_check when a child process may have exited. Returns 0 or -errno with a reason. */
int netsupervisor_start(struct netsupervisor *k, const struct network *net, const char *state_dir,
			pid_t child, struct err *e);

/* During the start: returns -ECHILD with a reason if the program has exited, else 0. */
int netsupervisor_check(struct netsupervisor *k, struct err *e);

/* During the start, when `prog.ready_fd` is readable. Returns 0 if the program is ready, -EAGAIN if
 * it is not yet, or another -errno with a reason; the program has been killed then. */
int netsupervisor_ready(struct netsupervisor *k, struct err *e);

/* Lets `loop` (borrowed) supervise the program, which is ready. Returns 0 or -errno with a
 * reason. */
int netsupervisor_watch(struct netsupervisor *k, struct loop *loop, struct err *e);

/* Call it with the PID of a child process that has exited and is not reaped yet. If it is the
 * program, reaps it, schedules a restart and returns true. */
bool netsupervisor_reap(struct netsupervisor *k, pid_t pid);

/* Kills a program that does not answer; the usual restart follows. */
void netsupervisor_renew(struct netsupervisor *k);

/* Stops supervising, and kills the program. Blocks as netprog_stop does. */
void netsupervisor_stop(struct netsupervisor *k);

#endif
