/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCH_CHILDPROC_H
#define LAUNCH_CHILDPROC_H

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/loop.h"
#include "launch/handshake.h"
#include "launch/opts.h"

/* The child as the parent sees it: its process, the messages of the start, and its end.
 *
 * Something inside can keep the child from exiting, even after SIGKILL: root inside may have given
 * it a descriptor whose close(2) blocks. Then the parent kills all processes inside, which unblocks
 * the child.
 *
 * Runs in the parent's main thread, which owns the struct and its descriptors.
 */

struct childproc {
	pid_t pid;  /* 0: not started, or it has exited and is reaped */
	int status; /* its wait status, set with `pid` = 0; childproc_end changes neither */
	int to;	    /* the pipe to the child */
	int taps;   /* the socket for the queues of the TAP (reexec.h), or -1 */
	/* The pipe from the child: messages of the start, then of job control. The parent watches
	 * it. */
	struct watch from;
	struct stat userns; /* its user namespace; st_ino is 0 if unknown */

	struct loop *loop; /* borrowed; NULL before childproc_free_if_blocked */
	struct timer look; /* when to look again whether the child is exiting */
	int looks_left;	   /* unless it is exiting */
	bool was_dying;	   /* the child was exiting at the last look */
};

/* Starts the child, and sets `pid`, both pipes and `taps` (reexec_start, which has the parameters).
 * Returns 0 or -errno with a reason. */
int childproc_start(struct childproc *c, const struct opts *o, char *const *argv,
		    const char *state_dir, int activation_fds, struct err *e);

/* Sends a message of the start to the child. `net` is that of handshake_send. Returns 0 or -errno
 * with a reason. If the child has closed its pipe, returns what childproc_died returns. */
int childproc_tell(struct childproc *c, enum handshake which, const struct network *net,
		   struct err *e);

/* Receives message `which`, which must be the next one of the start. Call it when `from` is
 * readable. Blocks until the whole message has arrived. Returns as childproc_tell does. */
int childproc_hear(struct childproc *c, enum handshake which, struct err *e);

/* Reaps the child, which has closed its pipe and is exiting, and sets `status`; kills it if it does
 * not end soon. Blocks meanwhile. Returns -ECHILD with its exit status as the reason, or another
 * -errno if it cannot be killed. */
int childproc_died(struct childproc *c, struct err *e);

/* Opens the child's user namespace, and notes which one it is for childproc_kill_inside. Returns a
 * descriptor that the caller owns, or -1. */
int childproc_open_userns(struct childproc *c);

/* Kills all processes in the child's user namespace, if that is known. */
void childproc_kill_inside(const struct childproc *c);

/* Call it each time when the child has been told to end. From then on, a timer of `loop` (borrowed)
 * checks every 2 s whether the child is blocked in its exit, and then kills the processes inside. A
 * child that has not begun to exit is left alone, because the command decides when to end; the
 * checks stop after 30 s. */
void childproc_free_if_blocked(struct childproc *c, struct loop *loop);

/* The child has closed its pipe, which says that it is exiting. If it was told to end, however long
 * ago, the checks of childproc_free_if_blocked begin again. */
void childproc_pipe_closed(struct childproc *c);

/* Kills and reaps the child, unless it has ended already. Kills the processes inside, too, if they
 * block it. Blocks for some seconds at most. Logs a failure. */
void childproc_end(struct childproc *c);

#endif
