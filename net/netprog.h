/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_NETPROG_H
#define NET_NETPROG_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"
#include "net/netopts.h"
#include "net/network.h"

/* A network program: what gives a network namespace its network, such as slirp4netns(1) or
 * pasta(1). Here is what all of them have in common: how one is started, how it says that it is
 * ready, what it prints, and how it ends. What is particular to one is a `struct netprog_driver`.
 *
 * It works on a TAP device that the child has made and that stays when the program ends, so one
 * that has died can be started again (netsupervisor.h). It does not outlive us, whatever ends us:
 * the kernel kills it. Run and owned by the parent's main thread.
 */

#define NETPROG_MAX_ARGS 32
#define NETPROG_ARGS_LEN (3 * PATH_MAX)

/* A command line under construction; the words lie one behind the other in `text`. */
struct netprog_args {
	char *argv[NETPROG_MAX_ARGS + 1];
	size_t count;
	char text[NETPROG_ARGS_LEN];
	size_t len;
};

/* Numbers of two pipes in the program, for those that use them. */
#define NETPROG_READY_FD 3 /* the program writes a byte when it is ready */
#define NETPROG_EXIT_FD	 4 /* the program ends when this does */

struct netprog;

struct netprog_driver {
	const char *name;    /* of the driver and of the program */
	const char *option;  /* names another program */
	const char *package; /* where to get it */
	/* The program by the command line. */
	const char *(*binary)(const struct netopts *o);
	/* After it has been found: finds out what it can do. NULL: nothing to find out. */
	int (*probe)(struct netprog *n, struct err *e);
	void (*build)(struct netprog_args *args, const struct netprog *n);
	/* A file of the state directory that is its own and that a run before may have left. */
	const char *file;
	/* It says that it is ready by that file, a fifo, not by NETPROG_READY_FD. */
	bool by_fifo;
	/* A line that tells of its daily life, and would not explain an end. NULL: there is none.
	 */
	bool (*is_banner)(const char *line);
	/* After an end during the start: what to try, by its last words, or NULL. NULL: no advice.
	 */
	const char *(*advice)(const struct netprog *n);
	/* After an end during the start, if no signal ended it: is the program what it should be?
	 * If not, says so in the reason. May block for NETPROG_ASK_MS. NULL: probe has found out.
	 */
	void (*diagnose)(struct netprog *n, struct err *e);
};

#define NETPROG_ASK_MS 5000 /* for an answer to --help or --version */

struct netprog {
	const struct netprog_driver *driver; /* NULL: there is no network program */
	/* what it works on; borrowed */
	const struct netopts *o;
	const struct network *net;
	const char *state_dir;
	pid_t child_pid;
	bool again; /* the network has been configured by a run before */

	char program[PATH_MAX];
	unsigned int features; /* the driver's own */
	pid_t pid;	       /* 0: not running */
	int status;	       /* wait status of the last end */
	int ready_fd;	       /* readable when it is ready, or has closed it */
	int exit_fd;	       /* open as long as it shall run */
	int log_fd;	       /* what it prints; non-blocking */
	char command[1024];    /* for messages */
	char last_words[256];  /* the end of what it printed, lines joined by "; " */
};

/* No program, no descriptor. */
#define NETPROG_INIT                                        \
	{                                                   \
		.ready_fd = -1, .exit_fd = -1, .log_fd = -1 \
	}

/* Appends a word. */
void netprog_add(struct netprog_args *args, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Appends the path of the detached network namespace's file as seen from outside, with `option` in
 * front of it. */
void netprog_add_netns(struct netprog_args *args, const struct netprog *n, const char *option);

/* Finds the program and what it can do. Returns 0 or -errno with a reason that says how to get it.
 * Blocks while it asks the program. */
int netprog_find(struct netprog *n, const struct netopts *o, struct err *e);

/* Runs the program with one option, such as --help, and collects what it prints, cut to cap - 1
 * bytes. Blocks for NETPROG_ASK_MS. Returns its wait status or -errno with a reason. */
int netprog_ask(struct netprog *n, const char *option, char *out, size_t cap, struct err *e);

/* Does the text of a --help name the option, and not only a longer one? */
bool netprog_names_option(const char *help, const char *option);

/* Sets the reason to RootlessKit's words for a program that fails when it is asked: the option,
 * what is wanted ("slirp4netns v0.4.0+"), what it printed and its wait status. */
void netprog_say_refused(const struct netprog *n, const char *option, const char *wanted,
			 const char *output, int status, struct err *e);

/* Adds where to get the program. */
void netprog_add_source(const struct netprog *n, struct err *e);

/* Adds what to try if a signal that a small stack brings ended the program. */
void netprog_advise_stack(int status, struct err *e);

/* Starts it. Returns 0 or -errno with a reason. */
int netprog_start(struct netprog *n, struct err *e);

/* When `ready_fd` is readable: did it come up? Returns 0 and closes `ready_fd`; -EAGAIN if nothing
 * has been said yet; -ENODATA if it will never be ready, then it is ended by netprog_stop. */
int netprog_ready(struct netprog *n);

/* When `log_fd` is readable: logs what it printed, with --debug. Closes `log_fd` at its end. */
void netprog_log(struct netprog *n);

/* Closes the pipe whose end ends slirp4netns. Others do not heed it. */
void netprog_ask_to_end(struct netprog *n);

/* Ends it if it has not ended, together with what it has started, waits for it, closes what
 * belonged to it, and sets the reason to "exit status 1: LAST WORDS". Does nothing if it was not
 * started. Blocks for PROC_END_MS at most; a program that cannot be killed is left, with a line in
 * the log, to its parent-death signal. */
void netprog_stop(struct netprog *n, struct err *e);

#endif
