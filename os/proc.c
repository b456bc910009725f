/* SPDX-License-Identifier: Apache-2.0 */
/* Starts programs, waits for them and ends them. See proc.h.
 *
 * A new process shares our memory until it executes its program, while the thread that started it
 * waits (clone(2) with CLONE_VM and CLONE_VFORK, as posix_spawn(3) does it). So the new process
 * makes only system calls, and reports a failure by setting a variable.
 */
#include "os/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/array.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "os/signals.h"

#define LOGGED_COMMAND_LEN  700		/* bytes of a command in the debug log */
#define EXIT_NOT_EXECUTED   127		/* as in shells; nothing reads it */
#define LOOK_MS		    200		/* interval of checks for signals while a program runs */
#define WAIT_LOOK_MS	    5		/* interval of waitpid(2) without a pidfd */
#define SPAWN_STACK	    (64 * 1024) /* bytes; used until the program is executed */
#define LISTEN_PID_KEY	    "LISTEN_PID="
#define LISTEN_PID_LEN	    (sizeof(LISTEN_PID_KEY) + 20) /* a 64-bit decimal and the NUL */
/* Also identifies the process, from systemd 258 on. */
#define LISTEN_PIDFDID_KEY  "LISTEN_PIDFDID="
#define LISTEN_PIDFDID_LEN  (sizeof(LISTEN_PIDFDID_KEY) + 20)
#define PID_FS_MAGIC_NUMBER 0x50494446 /* PID_FS_MAGIC, statfs(2); new in <linux/magic.h> */

extern char **environ;

/* ---- finding programs ---- */

static int is_program(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	return access(path, X_OK) < 0 ? -EACCES : 0;
}

static int find_in_path(const char *name, char *buf, size_t cap)
{
	const char *dirs = getenv("PATH");

	if (dirs == NULL)
		return -ENOENT;
	for (const char *next; dirs != NULL; dirs = next) {
		size_t len = strcspn(dirs, ":");
		int n = snprintf(buf, cap, "%.*s%s%s", (int)len, dirs, len > 0 ? "/" : "./", name);

		if (n > 0 && (size_t)n < cap && is_program(buf) == 0)
			return 0;
		next = dirs[len] == ':' ? dirs + len + 1 : NULL;
	}
	return -ENOENT;
}

int proc_find(const char *name, char *buf, size_t cap, struct err *e)
{
	char why[128];
	struct stat st;
	int r;

	if (strchr(name, '/') == NULL) {
		if (*name != '\0' && find_in_path(name, buf, cap) == 0)
			return 0;
		return err_set(e, ENOENT, "exec: \"%s\": executable file not found in $PATH", name);
	}
	if (strlen(name) >= cap)
		return err_sys(e, ENAMETOOLONG, "exec: \"%s\"", name);
	strcpy(buf, name);
	if (stat(name, &st) < 0)
		return err_sys(e, errno, "exec: \"%s\": stat %s", name, name);
	r = is_program(name);
	if (r < 0)
		return err_set(e, -r, "exec: \"%s\": %s", name, err_text(-r, why, sizeof(why)));
	return 0;
}

/* ---- starting programs ---- */

/* The variables that tell a service which process its descriptors are for (sd_listen_fds(3)): the
 * PID, and since systemd 258 also the inode number of its pidfd. Both are known only in the new
 * process, which shares our memory until execve(2). Only functions that are safe there may write
 * to them. */
struct listen_texts {
	char pid[LISTEN_PID_LEN];
	char pidfd_id[LISTEN_PIDFDID_LEN];
	char **pidfd_id_slot; /* the environment's entry for `pidfd_id`; NULL: it has none */
};

/* Writes a number in decimal to `text`. snprintf(3) is not async-signal-safe. */
static void write_number(char *text, unsigned long long number)
{
	char digits[20];
	size_t n = 0;

	do
		digits[n++] = (char)('0' + number % 10);
	while ((number /= 10) > 0);
	while (n > 0)
		*text++ = digits[--n];
	*text = '\0';
}

/* Returns the inode number of this process' pidfd, or 0 if such numbers are not unique (before
 * Linux 6.9, pidfs). */
static unsigned long long own_pidfd_id(void)
{
	int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	struct statfs fs;
	struct stat st;
	bool is_unique;

	if (fd < 0)
		return 0;
	is_unique = fstatfs(fd, &fs) == 0 && fs.f_type == PID_FS_MAGIC_NUMBER &&
		    fstat(fd, &st) == 0;
	close(fd);
	return is_unique ? (unsigned long long)st.st_ino : 0;
}

/* In the new process: completes the variables. If there is no inode number, ends the environment
 * before LISTEN_PIDFDID, which is its last variable. */
static void write_listen_texts(struct listen_texts *t)
{
	unsigned long long id = t->pidfd_id_slot != NULL ? own_pidfd_id() : 0;

	write_number(t->pid + sizeof(LISTEN_PID_KEY) - 1, (unsigned long long)getpid());
	if (id != 0)
		write_number(t->pidfd_id + sizeof(LISTEN_PIDFDID_KEY) - 1, id);
	else if (t->pidfd_id_slot != NULL)
		*t->pidfd_id_slot = NULL;
}

static bool has_key(const char *variable, const char *key)
{
	return strncmp(variable, key, strlen(key)) == 0;
}

/* Copies the array `envp`, but not its strings. In the copy, the texts of `t` replace LISTEN_PID
 * and LISTEN_PIDFDID. Returns NULL if there is no memory. The caller frees the copy. */
static char **env_with_listen_texts(char *const *envp, struct listen_texts *t)
{
	size_t n = 0, kept_count = 0;
	bool has_pidfd_id = false;
	char **copy;

	while (envp[n] != NULL)
		n++;
	copy = calloc(n + 3, sizeof(*copy));
	if (copy == NULL)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		if (has_key(envp[i], LISTEN_PIDFDID_KEY))
			has_pidfd_id = true;
		else if (!has_key(envp[i], LISTEN_PID_KEY))
			copy[kept_count++] = envp[i];
	}
	*t = (struct listen_texts){ LISTEN_PID_KEY, LISTEN_PIDFDID_KEY, NULL };
	copy[kept_count++] = t->pid;
	if (has_pidfd_id) {
		t->pidfd_id_slot = &copy[kept_count];
		copy[kept_count] = t->pidfd_id;
	}
	return copy;
}

/* Gives the program its descriptors. First moves all of them above the highest target number, so
 * that no dup2(2) overwrites one that is needed later. Returns 0 or -errno. */
static int place_fds(const struct proc_spec *spec)
{
	int above = FD_FIRST;
	int moved[PROC_MAX_FDS];

	if (spec->out >= 0 &&
	    (dup2(spec->out, STDOUT_FILENO) < 0 || dup2(spec->out, STDERR_FILENO) < 0))
		return -errno;
	for (size_t i = 0; i < spec->fd_count; i++)
		if (spec->fds[i].to >= above)
			above = spec->fds[i].to + 1;
	for (size_t i = 0; i < spec->fd_count; i++) {
		moved[i] = fcntl(spec->fds[i].from, F_DUPFD_CLOEXEC, above);
		if (moved[i] < 0)
			return -errno;
	}
	for (size_t i = 0; i < spec->fd_count; i++)
		if (dup2(moved[i], spec->fds[i].to) < 0)
			return -errno;
	return 0;
}

/* What the new process needs. It sets `why`: 0, or the errno if it cannot execute the program. */
struct clone_args {
	const struct proc_spec *spec;
	char *const *envp;
	struct listen_texts *listen;
	pid_t parent;
	int why;
};

/* Discards pending stop signals. If the new process stopped before it executes its program, the
 * thread that starts it would wait for ever. Nothing is lost: the process that starts it has got
 * the stop signals of the process group, too. */
static void forget_stops(void)
{
	static const int stops[] = { SIGTSTP, SIGTTIN, SIGTTOU };
	const struct sigaction ignore = { .sa_handler = SIG_IGN };
	struct sigaction old;

	for (size_t i = 0; i < COUNT_OF(stops); i++) {
		sigaction(stops[i], &ignore, &old);
		sigaction(stops[i], &old, NULL);
	}
}

/* Runs in the new process, while its parent waits (CLONE_VFORK). Both share their memory. */
static int exec_program(void *arg)
{
	struct clone_args *a = arg;
	const struct proc_spec *spec = a->spec;

	a->why = -place_fds(spec);
	if (a->why == 0) {
		if (spec->listen_pid)
			write_listen_texts(a->listen);
		if (spec->die_with_us)
			proc_die_with_parent(a->parent);
		if (spec->own_group)
			setpgid(0, 0);
		if (spec->own_session)
			setsid();
		forget_stops();
		signals_restore();
		execve(spec->path, spec->argv, a->envp);
		a->why = errno;
	}
	return EXIT_NOT_EXECUTED;
}

/* ThreadSanitizer would take the new process for a thread of this one, so give it a copy of our
 * memory, as fork(2) does. It sets `why` in shared memory in either case. */
#ifdef __SANITIZE_THREAD__
#define SPAWN_FLAGS (CLONE_VFORK | SIGCHLD)
#else
#define SPAWN_FLAGS (CLONE_VM | CLONE_VFORK | SIGCHLD)
#endif

/* A stack that is kept for the next process. Unmapping it would cost more than keeping its few
 * touched pages: a TLB shootdown on every CPU that runs our threads. */
static _Atomic(char *) spare_stack;

static char *take_stack(void)
{
	char *stack = atomic_exchange(&spare_stack, NULL);

	if (stack == NULL)
		stack = mmap(NULL, SPAWN_STACK, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			     -1, 0);
	return stack;
}

static void put_stack(char *stack)
{
	char *other = atomic_exchange(&spare_stack, stack);

	if (other != NULL)
		munmap(other, SPAWN_STACK);
}

/* Starts the process. It costs a third of fork(2), because no memory is copied. */
static pid_t start(const struct clone_args *what, struct err *e)
{
	const char *path = what->spec->path;
	char *stack = take_stack();
	struct clone_args *a = (struct clone_args *)stack; /* the stack grows from the other end */
	pid_t pid;

	if (stack == MAP_FAILED)
		return err_sys(e, errno, "fork/exec %s", path);
	*a = *what;
	pid = clone(exec_program, stack + SPAWN_STACK, SPAWN_FLAGS, a);
	if (pid < 0) {
		pid = err_sys(e, errno, "fork/exec %s", path);
	} else if (a->why != 0) {
		proc_wait(pid);
		pid = err_sys(e, a->why, "fork/exec %s", path);
	}
	put_stack(stack);
	return pid;
}

/* Logs the command that was executed, cut to the length of a log line. */
static void log_program(const struct proc_spec *spec, pid_t pid)
{
	char text[LOGGED_COMMAND_LEN];
	size_t len = 0;

	for (size_t i = 1; spec->argv[i - 1] != NULL && spec->argv[i] != NULL && len < sizeof(text);
	     i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, " %s", spec->argv[i]);
	log_debug("executed %s%s%s: PID %d", spec->path, len > 0 ? text : "",
		  len < sizeof(text) ? "" : "...", (int)pid);
}

pid_t proc_spawn(const struct proc_spec *spec, struct err *e)
{
	struct listen_texts listen;
	struct clone_args a = { .spec = spec,
				.envp = spec->envp != NULL ? spec->envp : environ,
				.listen = &listen,
				.parent = getpid() };
	char **own_env = NULL;
	pid_t pid;

	if (spec->fd_count > PROC_MAX_FDS)
		return err_sys(e, E2BIG, "fork/exec %s", spec->path);
	if (spec->listen_pid) {
		own_env = env_with_listen_texts(a.envp, &listen);
		if (own_env == NULL)
			return err_sys(e, ENOMEM, "fork/exec %s", spec->path);
		a.envp = own_env;
	}
	pid = start(&a, e);
	free(own_env);
	if (pid > 0)
		log_program(spec, pid);
	return pid;
}

/* ---- running to the end ---- */

/* Reads the output that is available. Closes the pipe at its end. */
static void read_output(int *pipe, char *out, size_t cap, size_t *len)
{
	char sink[512] = ""; /* for output that does not fit */
	ssize_t n;

	do {
		bool full = *len + 1 >= cap;

		n = read(*pipe, full ? sink : out + *len, full ? sizeof(sink) : cap - 1 - *len);
		if (n > 0 && !full)
			*len += (size_t)n;
	} while (n > 0 || (n < 0 && errno == EINTR));
	out[*len] = '\0';
	if (n == 0 || errno != EAGAIN)
		fd_close(pipe);
}

/* Collects output until the program has ended, even if other processes still hold its pipe. Returns
 * 0, -ETIMEDOUT, or -EINTR for a signal that should end us. */
static int collect_output(struct proc_run *run, char *out, size_t cap, int timeout_ms)
{
	unsigned long long until = clock_now_ms() + (unsigned long long)timeout_ms;
	/* -1 before Linux 5.3; then the end of the pipe counts as the end of the program. */
	FD_AUTO int end = (int)syscall(SYS_pidfd_open, run->pid, 0);
	size_t len = 0;

	out[0] = '\0';
	for (;;) {
		struct pollfd polls[] = { { .fd = run->out, .events = POLLIN },
					  { .fd = end, .events = POLLIN } };
		int left_ms = clock_left_ms(until);

		if (left_ms == 0)
			return -ETIMEDOUT;
		if (signals_fatal_pending())
			return -EINTR;
		if (poll(polls, 2, left_ms < LOOK_MS ? left_ms : LOOK_MS) <= 0)
			continue;
		if (run->out >= 0)
			read_output(&run->out, out, cap, &len);
		if (end >= 0 ? polls[1].revents != 0 : run->out < 0)
			return 0;
	}
}

int proc_run_start(struct proc_run *run, char *const *argv, struct err *e)
{
	char path[PATH_MAX];
	struct proc_spec spec = PROC_SPEC_INIT;
	int pipe_fds[2];
	int r;

	*run = (struct proc_run){ .name = argv[0], .out = -1 };
	spec.path = path;
	spec.argv = argv;
	spec.die_with_us = true;
	spec.own_group = true; /* ^C and ^Z are for us, the waiting process */
	r = proc_find(argv[0], path, sizeof(path), e);
	if (r < 0)
		return r;
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return err_sys(e, errno, "%s: pipe", argv[0]);
	spec.out = pipe_fds[1];
	r = fd_set_nonblock(pipe_fds[0]);
	r = r < 0 ? err_sys(e, -r, "%s: fcntl", argv[0]) : proc_spawn(&spec, e);
	close(pipe_fds[1]);
	if (r < 0) {
		close(pipe_fds[0]);
		return r;
	}
	run->pid = r;
	run->out = pipe_fds[0];
	return 0;
}

/* Kills a program that has not ended, and sets the reason for `why`. Returns `why`. */
static int give_up(const struct proc_run *run, int why, int timeout_ms, struct err *e)
{
	char text[128];
	/* The group includes processes that a script waits for. */
	int r = proc_end(run->pid, true);

	if (why == -EINTR)
		err_set(e, EINTR, "%s was interrupted by a signal", run->name);
	else
		err_set(e, -why, "%s did not end within %d ms", run->name, timeout_ms);
	if (r < 0)
		err_add(e, ", and killing it failed: %s", err_text(-r, text, sizeof(text)));
	return why;
}

int proc_run_finish(struct proc_run *run, char *out, size_t cap, int timeout_ms, struct err *e)
{
	int r = collect_output(run, out, cap, timeout_ms);

	fd_close(&run->out);
	return r < 0 ? give_up(run, r, timeout_ms, e) : proc_wait(run->pid);
}

int proc_run(char *const *argv, char *out, size_t cap, int timeout_ms, struct err *e)
{
	struct proc_run run;
	int r;

	out[0] = '\0';
	r = proc_run_start(&run, argv, e);

	return r < 0 ? r : proc_run_finish(&run, out, cap, timeout_ms, e);
}

int proc_wait(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return status;
}

int proc_wait_ms(pid_t pid, int timeout_ms)
{
	unsigned long long until = clock_now_ms() + (unsigned long long)timeout_ms;
	FD_AUTO int end = (int)syscall(SYS_pidfd_open, pid, 0);

	for (;;) {
		struct pollfd ended = { .fd = end, .events = POLLIN };
		unsigned long long now;
		int status, wait_ms;
		pid_t r = waitpid(pid, &status, WNOHANG);

		if (r == pid)
			return status;
		if (r < 0 && errno != EINTR)
			return -errno;
		now = clock_now_ms();
		if (now >= until)
			return -ETIMEDOUT;
		wait_ms = until - now < INT_MAX ? (int)(until - now) : INT_MAX;
		/* Without a pidfd, look often: before Linux 5.3, or if the pidfd has reported the
		 * exit, but a debugger must reap the process first. */
		if (end < 0 && wait_ms > WAIT_LOOK_MS)
			wait_ms = WAIT_LOOK_MS;
		if (poll(&ended, 1, wait_ms) > 0)
			fd_close(&end);
	}
}

int proc_end(pid_t pid, bool group)
{
	bool is_sent = (group && kill(-pid, SIGKILL) == 0) || kill(pid, SIGKILL) == 0;
	int why = is_sent ? 0 : errno;
	int r = proc_wait_ms(pid, why == 0 ? PROC_END_MS : 0);

	return r == -ETIMEDOUT && why != 0 ? -why : r;
}

#define PF_EXITING 0x4 /* linux/sched.h; one of the flags in /proc/PID/stat */

bool proc_is_dying(pid_t pid)
{
	char path[32], text[1024];
	unsigned int flags;
	const char *after;
	char state;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (fd_read_file(path, text, sizeof(text)) <= 0)
		return false;
	/* PID (NAME) STATE PPID PGRP SESSION TTY TPGID FLAGS; the name may hold anything. */
	after = strrchr(text, ')');
	return after != NULL && sscanf(after, ") %c %*d %*d %*d %*d %*d %u", &state, &flags) == 2 &&
	       (state == 'Z' || (flags & PF_EXITING) != 0);
}

/* ---- exit statuses ---- */

/* Go's names of signals, which RootlessKit prints; strsignal(3) has others and depends on the
 * locale. */
static const char *const signal_names[] = {
	[SIGHUP] = "hangup",
	[SIGINT] = "interrupt",
	[SIGQUIT] = "quit",
	[SIGILL] = "illegal instruction",
	[SIGTRAP] = "trace/breakpoint trap",
	[SIGABRT] = "aborted",
	[SIGBUS] = "bus error",
	[SIGFPE] = "floating point exception",
	[SIGKILL] = "killed",
	[SIGUSR1] = "user defined signal 1",
	[SIGSEGV] = "segmentation fault",
	[SIGUSR2] = "user defined signal 2",
	[SIGPIPE] = "broken pipe",
	[SIGALRM] = "alarm clock",
	[SIGTERM] = "terminated",
};

const char *proc_status_text(int status, char *buf, size_t cap)
{
	const char *core = WCOREDUMP(status) ? " (core dumped)" : "";
	int signo;

	if (!WIFSIGNALED(status)) {
		snprintf(buf, cap, "exit status %d", WEXITSTATUS(status));
		return buf;
	}
	signo = WTERMSIG(status);
	if ((size_t)signo < COUNT_OF(signal_names) && signal_names[signo] != NULL)
		snprintf(buf, cap, "signal: %s%s", signal_names[signo], core);
	else
		snprintf(buf, cap, "signal: signal %d%s", signo, core);
	return buf;
}

int proc_exit_code(int status)
{
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

/* ---- this process ---- */

void proc_die_with_parent(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* The parent may have died before the prctl. */
	if (getppid() != parent)
		_exit(255);
}

size_t proc_max_fds(void)
{
	struct rlimit lim;

	return getrlimit(RLIMIT_NOFILE, &lim) < 0 ? 0 : (size_t)lim.rlim_cur;
}
