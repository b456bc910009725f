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

/* A network program connects a network namespace to the host's network: slirp4netns(1) or pasta(1).
 * This file has what they have in common: how one is started, how it reports that it is ready, what
 * it prints, and how it ends. A `struct netprog_driver` describes what differs.
 *
 * The program attaches to a TAP device, which the child has created and which stays when the
 * program exits. A program that has died can therefore be restarted (netsupervisor.h). It never
 * outlives the launcher: the kernel kills it (parent-death signal, PR_SET_PDEATHSIG(2const)).
 *
 * All of this runs in the parent's main thread, which owns the struct and its descriptors.
 */

#define NETPROG_MAX_ARGS 32
#define NETPROG_ARGS_LEN (3 * PATH_MAX)

/* A command line under construction. `argv` points into `text`, which holds the words, each with
 * its NUL. */
struct netprog_args {
	char *argv[NETPROG_MAX_ARGS + 1];
	size_t count;
	char text[NETPROG_ARGS_LEN];
	size_t len;
};

/* Descriptor numbers of two pipes in the program. Only slirp4netns uses them. */
#define NETPROG_READY_FD 3 /* the program writes a byte here when it is ready */
#define NETPROG_EXIT_FD	 4 /* the program exits when the other end is closed */

struct netprog;

struct netprog_driver {
	const char *name;    /* name of the driver and of the program */
	const char *option;  /* the option that names another program file */
	const char *package; /* the distribution package that has it */
	/* Returns the program that the options name. */
	const char *(*binary)(const struct netopts *o);
	/* Called when the program has been found: finds out which features it has. Blocks while it
	 * runs the program (NETPROG_ASK_MS a run). Returns 0 or -errno with a reason. NULL: nothing
	 * to find out. */
	int (*probe)(struct netprog *n, struct err *e);
	/* Appends the arguments of the program to `args`. */
	void (*build)(struct netprog_args *args, const struct netprog *n);
	/* Called before each start: prepares the state directory. Returns 0 or -errno with a
	 * reason. NULL: nothing to prepare. */
	int (*prepare)(const struct netprog *n, struct err *e);
	/* A file of the state directory that belongs to the program. It is removed before each
	 * start, since an earlier run may have left it. */
	const char *file;
	/* The program reports readiness by writing to `file`, which is a fifo, and not to
	 * NETPROG_READY_FD. */
	bool by_fifo;
	/* True for routine output, which does not explain why the program ended. NULL: it prints
	 * none. */
	bool (*is_routine)(const char *line);
	/* Called if the program ended during the start: returns what to try, judged by its last
	 * words, or NULL. NULL: never any advice. */
	const char *(*advice)(const struct netprog *n);
	/* Called if the program ended during the start and no signal killed it: checks that it is
	 * the right program and recent enough, and says so in the reason if not. May block for
	 * NETPROG_ASK_MS. NULL: `probe` has checked that. */
	void (*diagnose)(struct netprog *n, struct err *e);
};

#define NETPROG_ASK_MS 5000 /* timeout for an answer to --help or --version */

struct netprog {
	const struct netprog_driver *driver; /* NULL: no network program */
	/* what the program is started with; borrowed */
	const struct netopts *o;
	const struct network *net;
	const char *state_dir;
	pid_t child_pid;
	bool was_ready; /* the program was ready once, so the network is configured */

	char program[PATH_MAX];
	unsigned int features; /* a set of the driver's own flags */
	pid_t pid;	       /* 0: not running */
	int status;	       /* wait status of the last exit; 0 if it could not be killed */
	int ready_fd;	       /* readable when the program is ready, or has closed its end */
	int exit_fd;	       /* closing it makes slirp4netns exit */
	int log_fd;	       /* its standard output and error; non-blocking */
	char command[1024];    /* for messages */
	char last_words[256];  /* the end of its output, lines joined by "; " */
	char output[2048];     /* what was read of it behind the last newline */
	size_t output_len;
};

/* No program is running, no descriptor is open. */
#define NETPROG_INIT                                        \
	{                                                   \
		.ready_fd = -1, .exit_fd = -1, .log_fd = -1 \
	}

/* Appends a word, formatted as by printf(3). */
void netprog_add(struct netprog_args *args, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Appends a word: `option` and then the path of the detached network namespace's file, as seen from
 * the host. */
void netprog_add_netns(struct netprog_args *args, const struct netprog *n, const char *option);

/* Finds the program in $PATH and probes its features. Borrows `o` from now on. Blocks while it runs
 * the program (NETPROG_ASK_MS a run). Returns 0 or -errno with a reason that says how to get the
 * program. */
int netprog_find(struct netprog *n, const struct netopts *o, struct err *e);

/* Runs the program with one option, such as --help, and collects its output in `out`, cut to cap -
 * 1 bytes. Blocks for NETPROG_ASK_MS at most. Returns its wait status, or -errno with a reason. */
int netprog_ask(struct netprog *n, const char *option, char *out, size_t cap, struct err *e);

/* Does `help`, the output of --help, have this option as a whole word (not as a part of a longer
 * option)? */
bool netprog_names_option(const char *help, const char *option);

/* Sets the reason to RootlessKit's words for a program that fails when run with `option`. `wanted`
 * is the required program, such as "slirp4netns v0.4.0+"; `output` is what it printed; `status` is
 * its wait status. */
void netprog_say_refused(const struct netprog *n, const char *option, const char *wanted,
			 const char *output, int status, struct err *e);

/* For `is_routine`: does the line begin with one of these texts? */
bool netprog_begins_with(const char *line, const char *const *beginnings, size_t count);

/* Appends how to get the program. */
void netprog_add_source(const struct netprog *n, struct err *e);

/* Appends advice if the program was killed by a signal that a stack overflow causes and the stack
 * limit is low. `status` is its wait status. */
void netprog_advise_stack(int status, struct err *e);

/* Starts the program. Does not wait until it is ready. Returns 0 or -errno with a reason. */
int netprog_start(struct netprog *n, struct err *e);

/* Call it when `ready_fd` is readable. Returns 0 if the program is ready, and closes `ready_fd`.
 * Returns -EAGAIN if it has not said anything yet, and -ENODATA if it will never be ready: then
 * call netprog_stop. Does not block. */
int netprog_ready(struct netprog *n);

/* Call it when `log_fd` is readable. Logs what the program printed (with --debug) and remembers the
 * end of it. Closes `log_fd` at the end of file. Does not block. */
void netprog_log(struct netprog *n);

/* Asks the program to exit, by closing the pipe `exit_fd`. Only slirp4netns obeys. */
void netprog_ask_to_end(struct netprog *n);

/* Kills the program and its process group, reaps it, and closes its descriptors. Sets `status`, and
 * the reason to "exit status 1: LAST WORDS". Does nothing if no program runs. Blocks for
 * PROC_END_MS at most, or for a second at most if kill(2) is denied. A program that cannot be
 * killed is left to its parent-death signal, with an error in the log. */
void netprog_stop(struct netprog *n, struct err *e);

#endif
