/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_PROC_H
#define OS_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

/* Processes: finds, starts, waits for and ends programs.
 *
 * Of our descriptors, a program that we start inherits only 0 to 2 and those in its list. It gets
 * the signal mask, SIGPIPE disposition and open file limit with which we were started, not those
 * that we have set since (signals.h). Call these functions from the main thread: the parent-death
 * signal (PR_SET_PDEATHSIG(2const)) is sent when the thread that forked ends.
 */

struct proc_fd {
	int from; /* borrowed */
	int to;	  /* its number in the new program */
};

struct proc_spec {
	const char *path; /* for execve(2) */
	char *const *argv;
	char *const *envp; /* NULL: our own environment */
	const struct proc_fd *fds;
	size_t fd_count;
	int out;	  /* standard output and error, borrowed; -1: our own */
	bool die_with_us; /* send SIGKILL when the calling thread ends */
	bool own_group;	  /* new process group, so that ^C at a terminal does not reach it */
	bool own_session; /* new session, without a controlling terminal (setsid(2)) */
	/* set LISTEN_PID in its environment to its PID, and LISTEN_PIDFDID, if it is there, to the
	 * inode number of its pidfd (sd_listen_fds(3)) */
	bool listen_pid;
};

#define PROC_MAX_FDS 256 /* more than services get by socket activation */
#define PROC_SPEC_INIT    \
	{                 \
		.out = -1 \
	}

/* Finds a program as execvp(3) does: a name with a slash is used as it is, any other name is
 * searched in PATH. Returns 0 and the path in buf[cap], or -errno with a reason in RootlessKit's
 * words: `exec: "x": executable file not found in $PATH`, `exec: "/x": stat /x: no such file or
 * directory`. */
int proc_find(const char *name, char *buf, size_t cap, struct err *e);

/* Starts a program. Blocks until it is executed. Returns its PID, or -errno with "fork/exec PATH:
 * reason" if it could not be executed. The caller must wait for the process (waitpid(2)). */
pid_t proc_spawn(const struct proc_spec *spec, struct err *e);

/* Runs a program to its end and collects its standard output and error in out[cap], cut to cap - 1
 * bytes. Blocks for at most timeout_ms, or until a signal arrives that should end us; then kills
 * the program. Returns its wait status, or -errno with a reason. */
int proc_run(char *const *argv, char *out, size_t cap, int timeout_ms, struct err *e);

/* proc_run() in two steps, to run programs in parallel. proc_run_start() returns 0 or -errno with a
 * reason. A program that was started must be finished: proc_run_finish() returns what proc_run()
 * returns. */
struct proc_run {
	const char *name; /* borrowed */
	pid_t pid;
	int out; /* the pipe with its output, owned; closed by proc_run_finish */
};
int proc_run_start(struct proc_run *run, char *const *argv, struct err *e);
int proc_run_finish(struct proc_run *run, char *out, size_t cap, int timeout_ms, struct err *e);

/* Waits for a process, without a timeout. Call it only for a process that is sure to end. Returns
 * the wait status or -errno. */
int proc_wait(pid_t pid);
/* Waits for a process for at most timeout_ms. Returns the wait status, -ETIMEDOUT, or another
 * -errno. */
int proc_wait_ms(pid_t pid, int timeout_ms);

/* Sends SIGKILL to a child process of ours, or with `group` to the process group that it leads, and
 * waits for the process. Returns the wait status, or -errno if the process has not ended: the error
 * of kill(2) (a seccomp profile may deny it), or -ETIMEDOUT after PROC_END_MS (a process in an
 * uninterruptible system call does not end). In that case it remains our child. */
#define PROC_END_MS 10000
int proc_end(pid_t pid, bool group);

/* Is a child exiting, or has it exited without being reaped? Reads /proc/PID/stat (proc(5));
 * returns false if that cannot be read. Does not block. */
bool proc_is_dying(pid_t pid);

/* Writes "exit status 42", or "signal: killed" with Go's names of signals, to buf[cap]. Returns
 * buf. */
const char *proc_status_text(int status, char *buf, size_t cap);
/* The exit status for a wait status: that of the process, or 255 if a signal ended it. */
int proc_exit_code(int status);

/* Asks the kernel for SIGKILL when the parent ends. `parent` is the parent's PID as this process
 * sees it, 0 if the parent is in an outer PID namespace. If the parent has ended already, exits;
 * but a process in a new PID namespace cannot see that, and must notice it in another way, such as
 * by the end of a pipe. The kernel clears the request when the UID changes or a set-UID program is
 * executed. */
void proc_die_with_parent(pid_t parent);

/* The soft limit of open files (RLIMIT_NOFILE); 0 if it is unknown. */
size_t proc_max_fds(void);

#endif
