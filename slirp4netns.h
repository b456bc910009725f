/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SLIRP4NETNS_H
#define SLIRP4NETNS_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "err.h"
#include "network.h"
#include "opts.h"

/* slirp4netns(1), which gives a network namespace its network. Run and owned by the parent's main
 * thread. It ends with us, whatever ends us: it watches a pipe whose other end only we hold.
 */

struct slirp4netns {
	char program[PATH_MAX];
	pid_t pid;	      /* 0: not running */
	int ready_fd;	      /* one byte comes when it is ready, end of file if it fails */
	int exit_fd;	      /* open as long as it shall run */
	int log_fd;	      /* what it prints; non-blocking */
	char command[1024];   /* for messages */
	char last_words[256]; /* the end of what it printed, lines joined by "; " */
};

/* Finds the program. Returns 0 or -errno with a reason that says how to get it. */
int slirp4netns_find(struct slirp4netns *s, const struct opts *o, struct err *e);

/* Starts it for the network namespace of the child `child_pid`, or the one that is pinned in its
 * state directory if that is detached. Returns 0 or -errno with a reason. */
int slirp4netns_start(struct slirp4netns *s, const struct opts *o, const struct network *net,
		      const char *state_dir, pid_t child_pid, struct err *e);

/* When `ready_fd` is readable: did it come up? Returns 0, or -errno with a reason; then it has
 * been ended. */
int slirp4netns_ready(struct slirp4netns *s, struct err *e);

/* When `log_fd` is readable: logs what it printed, with --debug. Closes `log_fd` at its end. */
void slirp4netns_log(struct slirp4netns *s);

/* Ends it and waits for it. Does nothing if it is not running. */
void slirp4netns_stop(struct slirp4netns *s);

#endif
