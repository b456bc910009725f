/* SPDX-License-Identifier: Apache-2.0 */
/* Starting programs and handling signals. See proc.h.
 *
 * Between fork(2) and execve(2) only async-signal-safe functions are called, since the process may
 * have threads. A failure there comes back as an errno through a pipe that execve closes.
 */
#include "proc.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fd.h"

#define MASK_SIGNALS   64 /* signals in a mask, signal(7); as many as bits in what passes it on */
#define LISTEN_PID_KEY "LISTEN_PID="
#define LISTEN_PID_LEN (sizeof(LISTEN_PID_KEY) + 20) /* a 64-bit decimal and the NUL */

extern char **environ;

static struct {
	bool taken;
	sigset_t mask;
	bool sigpipe_ignored;
	struct rlimit nofile;
} kept;

/* ---- finding ---- */

static int is_program(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode) || access(path, X_OK) < 0)
		return -EACCES;
	return 0;
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
	if (is_program(name) < 0)
		return err_set(e, EACCES, "exec: \"%s\": %s", name,
			       err_text(EACCES, why, sizeof(why)));
	return 0;
}

/* ---- starting ---- */

/* Writes a PID in decimal behind the key; snprintf(3) is not async-signal-safe. */
static void format_listen_pid(char *text, pid_t pid)
{
	char digits[20];
	size_t n = 0;
	size_t at = sizeof(LISTEN_PID_KEY) - 1;

	do
		digits[n++] = (char)('0' + pid % 10);
	while ((pid /= 10) > 0);
	while (n > 0)
		text[at++] = digits[--n];
	text[at] = '\0';
}

/* Copies the environment (not its strings) with LISTEN_PID pointing to `text`. The caller frees it.
 */
static char **env_with_listen_pid(char *const *envp, char *text)
{
	size_t n = 0;
	bool found = false;
	char **copy;

	while (envp[n] != NULL)
		n++;
	copy = calloc(n + 2, sizeof(*copy));
	if (copy == NULL)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		bool is_it = strncmp(envp[i], LISTEN_PID_KEY, sizeof(LISTEN_PID_KEY) - 1) == 0;

		copy[i] = is_it ? text : envp[i];
		found = found || is_it;
	}
	if (!found)
		copy[n] = text;
	return copy;
}

/* Gives the program its descriptors. They are moved out of the way of all target numbers first. */
static int place_fds(const struct proc_spec *spec, int *report)
{
	int above = STDERR_FILENO + 1;
	int moved[PROC_MAX_FDS];

	if (spec->fd_count > PROC_MAX_FDS)
		return -E2BIG;
	if (spec->out >= 0 &&
	    (dup2(spec->out, STDOUT_FILENO) < 0 || dup2(spec->out, STDERR_FILENO) < 0))
		return -errno;
	for (size_t i = 0; i < spec->fd_count; i++)
		if (spec->fds[i].to >= above)
			above = spec->fds[i].to + 1;
	*report = fcntl(*report, F_DUPFD_CLOEXEC, above);
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

/* In the new process. Reports an errno and ends if the program cannot be executed. */
static void __attribute__((noreturn)) exec_program(const struct proc_spec *spec, char *const *envp,
						   char *listen_pid, pid_t parent, int report)
{
	int why = -place_fds(spec, &report);

	if (why == 0) {
		if (spec->listen_pid)
			format_listen_pid(listen_pid, getpid());
		if (spec->die_with_us)
			proc_die_with_parent(parent);
		proc_give_back();
		execve(spec->path, spec->argv, envp);
		why = errno;
	}
	while (write(report, &why, sizeof(why)) < 0 && errno == EINTR)
		;
	_exit(127);
}

static pid_t wait_for_exec(pid_t pid, int report, const struct proc_spec *spec, struct err *e)
{
	int why = 0;
	ssize_t n;

	do
		n = read(report, &why, sizeof(why));
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)sizeof(why))
		return pid;
	proc_wait(pid);
	return err_sys(e, why, "fork/exec %s", spec->path);
}

pid_t proc_spawn(const struct proc_spec *spec, struct err *e)
{
	char *const *envp = spec->envp != NULL ? spec->envp : environ;
	char listen_pid[LISTEN_PID_LEN] = LISTEN_PID_KEY;
	char **own_env = NULL;
	pid_t self = getpid();
	int report[2];
	pid_t pid;

	if (spec->listen_pid) {
		own_env = env_with_listen_pid(envp, listen_pid);
		if (own_env == NULL)
			return err_sys(e, ENOMEM, "fork/exec %s", spec->path);
		envp = own_env;
	}
	if (pipe2(report, O_CLOEXEC) < 0) {
		free(own_env);
		return err_sys(e, errno, "fork/exec %s: pipe", spec->path);
	}
	pid = fork();
	if (pid == 0)
		exec_program(spec, envp, listen_pid, self, report[1]);
	close(report[1]);
	if (pid < 0)
		pid = err_sys(e, errno, "fork/exec %s", spec->path);
	else
		pid = wait_for_exec(pid, report[0], spec, e);
	close(report[0]);
	free(own_env);
	return pid;
}

/* ---- running to the end ---- */

static int collect_output(int fd, char *out, size_t cap, int timeout_ms)
{
	unsigned long long until = fd_now_ms() + (unsigned long long)timeout_ms;
	size_t len = 0;

	for (;;) {
		unsigned long long now = fd_now_ms();
		char sink[512];
		bool full = len + 1 >= cap;
		ssize_t n;

		if (fd_wait(fd, POLLIN, now < until ? (int)(until - now) : 0) <= 0)
			return -ETIMEDOUT;
		n = read(fd, full ? sink : out + len, full ? sizeof(sink) : cap - 1 - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		if (!full)
			len += (size_t)n;
		out[len] = '\0';
	}
	return 0;
}

int proc_run(char *const *argv, char *out, size_t cap, int timeout_ms, struct err *e)
{
	char path[PATH_MAX];
	struct proc_spec spec = PROC_SPEC_INIT;
	int pipe_fds[2];
	pid_t pid;
	int r;

	spec.path = path;
	spec.argv = argv;
	spec.die_with_us = true;
	out[0] = '\0';
	r = proc_find(argv[0], path, sizeof(path), e);
	if (r < 0)
		return r;
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return err_sys(e, errno, "%s: pipe", argv[0]);
	spec.out = pipe_fds[1];
	pid = proc_spawn(&spec, e);
	close(pipe_fds[1]);
	if (pid >= 0) {
		r = collect_output(pipe_fds[0], out, cap, timeout_ms);
		if (r < 0)
			kill(pid, SIGKILL);
	}
	close(pipe_fds[0]);
	if (pid < 0)
		return pid;
	if (r < 0) {
		proc_wait(pid);
		return err_set(e, ETIMEDOUT, "%s did not end within %d ms", argv[0], timeout_ms);
	}
	return proc_wait(pid);
}

int proc_wait(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return status;
}

/* ---- statuses ---- */

/* The reference's words for signals (Go's); strsignal(3) has others, which depend on the locale. */
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
	if ((size_t)signo < sizeof(signal_names) / sizeof(signal_names[0]) &&
	    signal_names[signo] != NULL)
		snprintf(buf, cap, "signal: %s%s", signal_names[signo], core);
	else
		snprintf(buf, cap, "signal: signal %d%s", signo, core);
	return buf;
}

int proc_exit_code(int status)
{
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

/* ---- signals ---- */

/* Makes this process deaf to all signals but by the descriptor that is returned. */
static int block_signals(void)
{
	const struct sigaction ignore = { .sa_handler = SIG_IGN };
	const struct sigaction plain = { .sa_handler = SIG_DFL };
	sigset_t all;
	int fd;

	sigfillset(&all);
	fd = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	sigprocmask(SIG_SETMASK, &all, NULL);
	sigaction(SIGPIPE, &ignore, NULL);
	sigaction(SIGCHLD, &plain, NULL); /* an ignored one would lose exit statuses */
	return fd;
}

int proc_take_over(void)
{
	struct sigaction sigpipe;
	struct rlimit raised;

	sigprocmask(SIG_SETMASK, NULL, &kept.mask);
	sigaction(SIGPIPE, NULL, &sigpipe);
	kept.sigpipe_ignored = sigpipe.sa_handler == SIG_IGN;
	getrlimit(RLIMIT_NOFILE, &kept.nofile);
	kept.taken = true;
	raised = kept.nofile;
	raised.rlim_cur = raised.rlim_max;
	setrlimit(RLIMIT_NOFILE, &raised); /* a failure leaves fewer connections, no more */
	return block_signals();
}

/* The mask as a number, one bit a signal. */
static unsigned long long mask_bits(void)
{
	unsigned long long bits = 0;

	for (int signo = 1; signo <= MASK_SIGNALS; signo++)
		if (sigismember(&kept.mask, signo) == 1)
			bits |= 1ULL << (signo - 1);
	return bits;
}

void proc_kept_text(char *buf, size_t cap)
{
	snprintf(buf, cap, "%llx,%d,%llu", mask_bits(), kept.sigpipe_ignored,
		 (unsigned long long)kept.nofile.rlim_cur);
}

int proc_take_over_kept(const char *text)
{
	unsigned long long bits, soft;
	int ignored;

	if (sscanf(text, "%llx,%d,%llu", &bits, &ignored, &soft) != 3)
		return -EINVAL;
	sigemptyset(&kept.mask);
	for (int signo = 1; signo <= MASK_SIGNALS; signo++)
		if (bits & (1ULL << (signo - 1)))
			sigaddset(&kept.mask, signo);
	kept.sigpipe_ignored = ignored != 0;
	getrlimit(RLIMIT_NOFILE, &kept.nofile);
	kept.nofile.rlim_cur = (rlim_t)soft;
	kept.taken = true;
	return block_signals();
}

void proc_give_back(void)
{
	const struct sigaction plain = { .sa_handler = SIG_DFL };

	if (!kept.taken)
		return;
	if (!kept.sigpipe_ignored)
		sigaction(SIGPIPE, &plain, NULL);
	setrlimit(RLIMIT_NOFILE, &kept.nofile);
	sigprocmask(SIG_SETMASK, &kept.mask, NULL);
}

bool proc_is_forwarded(int signo)
{
	return signo != SIGCHLD && signo != SIGPIPE && signo != SIGURG;
}

void proc_die_with_parent(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* It may have died before the request. */
	if (getppid() != parent)
		_exit(255);
}

size_t proc_max_fds(void)
{
	struct rlimit lim;

	return getrlimit(RLIMIT_NOFILE, &lim) < 0 ? 0 : (size_t)lim.rlim_cur;
}
