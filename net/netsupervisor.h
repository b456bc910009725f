/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_NETSUPERVISOR_H
#define NET_NETSUPERVISOR_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/loop.h"
#include "net/netprog.h"

/* Supervises the launcher's network program in the loop of the parent's main thread, which owns the
 * struct. During the start of the launcher, the owner learns whether the program becomes ready
 * (on_up) or fails (on_failed). After netsupervisor_keep_up, the program is restarted whenever it
 * exits.
 *
 * Without a network program (netsupervisor_is_wanted), netsupervisor_name and netsupervisor_start
 * must not be called, and the other functions do nothing.
 */

struct netsupervisor {
	/* Two callbacks, which the owner sets before netsupervisor_start. They run in the loop. */
	/* The program is ready, for the first time or again. */
	void (*on_up)(struct netsupervisor *s);
	/* Only before netsupervisor_keep_up: the program has exited, is not ready in time, or was
	 * killed because it will never be ready. */
	void (*on_failed)(struct netsupervisor *s, const struct err *why);

	struct netprog prog;
	struct loop *loop;  /* borrowed; NULL before netsupervisor_start */
	struct watch log;   /* of the program's output (prog.log_fd) */
	struct watch ready; /* of its report that it is ready (prog.ready_fd) */
	struct timer timer; /* time of the next start, or deadline of the start under way */
	enum {
		NETSUPERVISOR_PAUSED, /* not running; with `restarts`, `timer` starts it again */
		NETSUPERVISOR_STARTING,
		NETSUPERVISOR_UP,
	} state;
	bool restarts;	       /* netsupervisor_keep_up was called */
	unsigned int pause_ms; /* delay before the next restart */
	unsigned long long up_since_ms;
};

#define NETSUPERVISOR_DEADLINE_MS 30000 /* timeout for the program to become ready */

/* Initialises `s->prog` and finds the program that the options ask for, if any. Borrows `o`. Blocks
 * as netprog_find does. Returns 0 or -errno with a reason. */
int netsupervisor_find(struct netsupervisor *s, const struct netopts *o, struct err *e);

/* Do the options ask for a network program? Call it after netsupervisor_find. */
bool netsupervisor_is_wanted(const struct netsupervisor *s);
/* The program's name, for messages. Call it only if netsupervisor_is_wanted. */
const char *netsupervisor_name(const struct netsupervisor *s);

/* Starts the program for the child, and watches it in `loop`. The arguments are borrowed for as
 * long as `s` lives. Does not wait: `on_up` or `on_failed` follows. Returns 0 or -errno with a
 * reason. */
int netsupervisor_start(struct netsupervisor *s, struct loop *loop, const struct network *net,
			const char *state_dir, pid_t child, struct err *e);

/* Does the program run, and has it been ready? */
bool netsupervisor_is_up(const struct netsupervisor *s);

/* From now on, restarts the program when it exits or is not ready in time. */
void netsupervisor_keep_up(struct netsupervisor *s);

/* Call it with the PID of a child process that has exited and is not reaped yet. If it is the
 * program, reaps it, and returns true; a restart or `on_failed` follows. */
bool netsupervisor_reap(struct netsupervisor *s, pid_t pid);

/* Kills a program that does not answer. What follows is the same as after any other exit: a
 * restart, or `on_failed` during the start. Does nothing if the program does not run. */
void netsupervisor_restart(struct netsupervisor *s);

/* Stops supervising, and kills the program. Blocks as netprog_stop does. */
void netsupervisor_stop(struct netsupervisor *s);

#endif
