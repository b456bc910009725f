/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_PROC_H
#define OS_PROC_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

/* Processes: how programs are found, started and waited for, and signals.
 *
 * A program that is started inherits descriptors 0 to 2 and those of its list, the signal mask and
 * the SIGPIPE disposition that we were started with, the limit of open files, and nothing else of
 * ours. All of this runs in the main thread, since the parent-death signal
 * (PR_SET_PDEATHSIG(2const)) goes by the thread that forked.
 */

struct proc_fd {
	int from; /* borrowed */
	int to;	  /* its number in the program */
};

struct proc_spec {
	const char *path; /* for execve(2) */
	char *const *argv;
	char *const *envp; /* NULL: our own */
	const struct proc_fd *fds;
	size_t fd_count;
	int out;	  /* standard output and error, -1: our own */
	bool die_with_us; /* SIGKILL when this thread ends */
	bool own_group; /* a process group of its own, so that ^C at a terminal does not reach it */
	bool own_session; /* a session of its own, without a controlling terminal, setsid(2) */
	bool listen_pid;  /* LISTEN_PID in its environment is its own PID, sd_listen_fds(3) */
};

#define PROC_MAX_FDS 256 /* more than any service gets by socket activation */
#define PROC_SPEC_INIT    \
	{                 \
		.out = -1 \
	}

/* Finds a program as execvp(3) would: a name with a slash is taken as it is, any other is sought in
 * PATH. Returns 0 and the path in buf, or -errno with a reason in the words of the reference:
 * `exec: "x": executable file not found in $PATH`, `exec: "/x": stat /x: no such file or
 * directory`. */
int proc_find(const char *name, char *buf, size_t cap, struct err *e);

/* Starts a program. Returns its PID, or -errno with "fork/exec PATH: reason" if it could not be
 * executed. */
pid_t proc_spawn(const struct proc_spec *spec, struct err *e);

/* Runs a program to its end and collects what it writes to standard output and error, cut to
 * cap - 1 bytes. Blocks for at most timeout_ms, or until a signal
 * comes that ends us; then the program is killed. Returns its wait
 * status, or -errno with a reason. */
int proc_run(char *const *argv, char *out, size_t cap, int timeout_ms, struct err *e);

/* The same in two steps, so that programs run side by side. Each that was started has to be
 * finished. */
struct proc_run {
	const char *name; /* borrowed */
	pid_t pid;
	int out;
};
int proc_run_start(struct proc_run *run, char *const *argv, struct err *e);
int proc_run_finish(struct proc_run *run, char *out, size_t cap, int timeout_ms, struct err *e);

/* Waits for one process, for ever: for those that end by themselves. Returns the wait status or
 * -errno. */
int proc_wait(pid_t pid);
/* The same for at most timeout_ms: -ETIMEDOUT if the process has not ended by then. */
int proc_wait_ms(pid_t pid, int timeout_ms);

/* Sends SIGKILL to a child process of ours, or with `group` to the process group that it leads, and
 * waits for the process. Returns the wait status, or -errno if the process has not ended: why
 * kill(2) failed (a seccomp profile may deny it), or -ETIMEDOUT after PROC_END_MS (a process in an
 * uninterruptible system call does not end). It stays a child of ours then. */
#define PROC_END_MS 10000
int proc_end(pid_t pid, bool group);

/* Has a child begun to end, or ended, and is not reaped yet? Reads /proc/PID/stat, proc(5). False
 * too where that cannot be read. Does not block. */
bool proc_is_dying(pid_t pid);

/* "exit status 42", or "signal: killed" with the reference's names. Returns buf. */
const char *proc_status_text(int status, char *buf, size_t cap);
/* The exit status that stands for a wait status: its own, or 255 for a signal. */
int proc_exit_code(int status);

/* Takes over signals and limits at the start of a launcher, before any thread is started: blocks
 * all signals, ignores SIGPIPE, raises the soft limit of open files to the hard one. What they were
 * is kept for the programs that we start. Returns a non-blocking signalfd(2) that hears of all
 * signals, or -errno. */
int proc_block_signals(void);

/* What proc_block_signals has kept, as a text for the environment of a process that goes on in our
 * place, and the other end, which is called there instead of proc_block_signals: returns the
 * signalfd, or -errno (-EINVAL for a text that is none). */
#define PROC_KEPT_LEN 64
void proc_kept_text(char *buf, size_t cap);
int proc_block_signals_kept(const char *text);

/* In a forked process, before it executes a program: everything as it was. Async-signal-safe. */
void proc_restore(void);

/* Does this signal end a launcher that has not started its command yet? Not one that was ignored
 * when we were started, as by nohup(1). */
bool proc_ends_us(int signo);

/* Shall this signal be passed on to the next process down? All but SIGCHLD, SIGPIPE and SIGURG. */
bool proc_is_forwarded(int signo);

/* Asks for SIGKILL when the parent ends. `parent` is its PID as seen here, 0 if it is in another
 * PID namespace: it must still be the same, else the function does not return. (From another
 * namespace a parent that died before the request is not seen; the child then finds the end of its
 * pipe, before it starts anything.) The kernel forgets the request when the UID changes or a
 * set-UID program is executed. */
void proc_die_with_parent(pid_t parent);

/* How many files this process may have open. */
size_t proc_max_fds(void);

#endif
