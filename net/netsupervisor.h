/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_NETSUPERVISOR_H
#define NET_NETSUPERVISOR_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/loop.h"
#include "net/netprog.h"

/* The network program of a launcher, for as long as the launcher lives. During the start its owner
 * waits for it; once it is handed to the loop it is started again whenever it ends. Without such a
 * program all of this does nothing. Parent's main thread.
 */

struct netsupervisor {
	struct netprog prog;
	struct loop *loop; /* NULL: not yet handed over */
	struct watch log;
	struct watch ready;
	struct timer timer; /* of the next start, or the deadline of this one */
	enum {
		NETSUPERVISOR_PAUSED, /* it will be started when the timer is due */
		NETSUPERVISOR_STARTING,
		NETSUPERVISOR_UP,
	} state;
	unsigned int pause_ms; /* before the next start */
	unsigned long long up_since_ms;
	/* When it is up again; set by the owner, may be NULL. */
	void (*on_again)(struct netsupervisor *k);
};

#define NETSUPERVISOR_DEADLINE_MS 30000 /* for the program to be ready */

/* Finds the program that the options ask for, if any (netprog_find). */
int netsupervisor_find(struct netsupervisor *k, const struct netopts *o, struct err *e);

bool netsupervisor_is_wanted(const struct netsupervisor *k);
/* Of the program, for messages. */
const char *netsupervisor_name(const struct netsupervisor *k);

/* Starts it for the child; all is borrowed. Then `prog.ready_fd` is to be waited for, with
 * `prog.log_fd` and with an eye on its end. */
int netsupervisor_start(struct netsupervisor *k, const struct network *net, const char *state_dir,
			pid_t child, struct err *e);

/* During the start: has it ended? Returns 0, or -ECHILD with a reason. */
int netsupervisor_check(struct netsupervisor *k, struct err *e);

/* When `prog.ready_fd` is readable: is it up? Returns 0, -EAGAIN, or another -errno with a reason;
 * then it has been ended. */
int netsupervisor_ready(struct netsupervisor *k, struct err *e);

/* Hands it over to the loop. Returns 0 or -errno with a reason. */
int netsupervisor_watch(struct netsupervisor *k, struct loop *loop, struct err *e);

/* A process has ended and was not waited for yet. Waits for it and returns true if it is this one.
 */
bool netsupervisor_reap(struct netsupervisor *k, pid_t pid);

/* It does not answer: ends it, so that it is started again. */
void netsupervisor_renew(struct netsupervisor *k);

/* Ends it for good. */
void netsupervisor_stop(struct netsupervisor *k);

#endif
