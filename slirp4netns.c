/* SPDX-License-Identifier: Apache-2.0 */
/* Running slirp4netns. See slirp4netns.h. */
#include "slirp4netns.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fd.h"
#include "log.h"
#include "proc.h"
#include "statedir.h"

/* Numbers of the two pipes in the program. */
#define READY_FD 3
#define EXIT_FD	 4
#define MAX_ARGS 24
#define ARGS_LEN (3 * PATH_MAX)
#define LOG_LEN	 2048 /* bytes of its output that are read at once */

/* A command line under construction; the words lie one behind the other in `text`. */
struct args {
	char *argv[MAX_ARGS + 1];
	size_t count;
	char text[ARGS_LEN];
	size_t len;
};

static void __attribute__((format(printf, 2, 3))) add(struct args *args, const char *fmt, ...)
{
	char *word = args->text + args->len;
	size_t left = sizeof(args->text) - args->len;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(word, left, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= left || args->count == MAX_ARGS)
		return; /* paths are bounded, so this cannot be */
	args->argv[args->count++] = word;
	args->len += (size_t)n + 1;
}

static bool is_wanted(const char *when, bool by_auto)
{
	return strcmp(when, "true") == 0 || (strcmp(when, "auto") == 0 && by_auto);
}

/* The file of the detached network namespace as seen from outside. No absolute link may be in its
 * path: it would lead out of the child's root again. */
static void add_netns(struct args *args, const char *state_dir, pid_t child_pid)
{
	char real[PATH_MAX];

	add(args, "--netns-type=path");
	add(args, "/proc/%d/root%s/" STATE_NETNS, (int)child_pid,
	    realpath(state_dir, real) != NULL ? real : state_dir);
}

static void build(struct args *args, const struct slirp4netns *s, const struct opts *o,
		  const struct network *net, const char *state_dir, pid_t child_pid)
{
	add(args, "%s", s->program);
	add(args, "--mtu");
	add(args, "%u", net->mtu);
	add(args, "-r");
	add(args, "%d", READY_FD);
	add(args, "-e");
	add(args, "%d", EXIT_FD);
	if (o->disable_host_loopback)
		add(args, "--disable-host-loopback");
	if (o->cidr_text != NULL) {
		add(args, "--cidr");
		add(args, "%s", o->cidr_text);
	}
	if (is_wanted(o->slirp4netns_sandbox, !o->detach_netns))
		add(args, "--enable-sandbox");
	if (is_wanted(o->slirp4netns_seccomp, true))
		add(args, "--enable-seccomp");
	if (o->detach_netns) {
		add(args, "--userns-path=/proc/%d/ns/user", (int)child_pid);
		add_netns(args, state_dir, child_pid);
	} else {
		add(args, "%d", (int)child_pid);
	}
	add(args, "%s", net->dev);
	args->argv[args->count] = NULL;
}

static void describe(struct slirp4netns *s, const struct args *args)
{
	size_t len = 0;

	s->command[0] = '\0';
	for (size_t i = 0; i < args->count && len < sizeof(s->command); i++)
		len += (size_t)snprintf(s->command + len, sizeof(s->command) - len, "%s%s",
					i > 0 ? " " : "", args->argv[i]);
}

int slirp4netns_find(struct slirp4netns *s, const struct opts *o, struct err *e)
{
	int r;

	*s = (struct slirp4netns){ .ready_fd = -1, .exit_fd = -1, .log_fd = -1 };
	r = proc_find(o->slirp4netns_binary, s->program, sizeof(s->program), e);
	if (r < 0)
		err_add(e, " (--net=slirp4netns: install the package slirp4netns, or name the "
			   "program by --slirp4netns-binary)");
	return r;
}

/* Makes pipes until one fails; the caller closes what is there. */
static int make_pipes(int pipes[][2], size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (pipe2(pipes[i], O_CLOEXEC) < 0)
			return -errno;
	return 0;
}

enum { READY, EXIT, LOG, PIPES };

static pid_t spawn(struct slirp4netns *s, struct args *args, int pipes[][2], struct err *e)
{
	const struct proc_fd fds[] = { { pipes[READY][1], READY_FD }, { pipes[EXIT][0], EXIT_FD } };
	struct proc_spec spec = PROC_SPEC_INIT;

	spec.path = s->program;
	spec.argv = args->argv;
	spec.fds = fds;
	spec.fd_count = sizeof(fds) / sizeof(fds[0]);
	spec.out = pipes[LOG][1];
	spec.die_with_us = true;
	spec.own_group = true;
	log_debug("starting %s", s->command);
	return proc_spawn(&spec, e);
}

int slirp4netns_start(struct slirp4netns *s, const struct opts *o, const struct network *net,
		      const char *state_dir, pid_t child_pid, struct err *e)
{
	int pipes[PIPES][2] = { { -1, -1 }, { -1, -1 }, { -1, -1 } };
	struct args args = { .count = 0 };
	pid_t pid;

	build(&args, s, o, net, state_dir, child_pid);
	describe(s, &args);
	pid = make_pipes(pipes, PIPES);
	if (pid < 0)
		err_sys(e, -pid, "starting slirp4netns: pipe");
	else
		pid = spawn(s, &args, pipes, e);
	if (pid > 0) {
		s->pid = pid;
		s->ready_fd = fd_take(&pipes[READY][0]);
		s->exit_fd = fd_take(&pipes[EXIT][1]);
		s->log_fd = fd_take(&pipes[LOG][0]);
		fd_set_nonblock(s->log_fd);
	}
	for (size_t i = 0; i < PIPES; i++) {
		fd_close(&pipes[i][0]);
		fd_close(&pipes[i][1]);
	}
	return pid < 0 ? pid : 0;
}

/* What it says of its settings, which comes late when its standard output is a pipe. */
static bool is_banner(const char *line)
{
	return strncmp(line, "* ", 2) == 0 || strncmp(line, "Starting slirp", 14) == 0;
}

/* Keeps the end of what it printed, as one line. */
static void remember(struct slirp4netns *s, const char *line)
{
	char text[sizeof(s->last_words) + LOG_LEN];
	int n = snprintf(text, sizeof(text), "%s%s%s", s->last_words,
			 s->last_words[0] != '\0' ? "; " : "", line);
	size_t len = (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;
	size_t cut = len < sizeof(s->last_words) ? 0 : len - (sizeof(s->last_words) - 1);

	memcpy(s->last_words, text + cut, len - cut + 1);
}

/* Returns whether there was something. */
static bool read_log(struct slirp4netns *s)
{
	char text[LOG_LEN];
	char *rest = text;
	char *line;
	ssize_t n;

	do
		n = read(s->log_fd, text, sizeof(text) - 1);
	while (n < 0 && errno == EINTR);
	if (n == 0 || (n < 0 && errno != EAGAIN))
		fd_close(&s->log_fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	while ((line = strsep(&rest, "\n")) != NULL) {
		if (*line == '\0')
			continue;
		log_debug("slirp4netns: %s", line);
		if (!is_banner(line))
			remember(s, line);
	}
	return true;
}

void slirp4netns_log(struct slirp4netns *s)
{
	read_log(s);
}

int slirp4netns_ready(struct slirp4netns *s, struct err *e)
{
	char why[128];
	char byte;
	ssize_t n;
	int status;

	do
		n = read(s->ready_fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	fd_close(&s->ready_fd);
	if (n == 1) {
		/* How it started is of no interest when it ends one day. */
		while (read_log(s))
			;
		s->last_words[0] = '\0';
		return 0;
	}
	/* It has closed the pipe, so it is ending, and a signal changes nothing; if not, it is of
	 * no use. */
	fd_close(&s->exit_fd);
	kill(s->pid, SIGKILL);
	status = proc_wait(s->pid);
	s->pid = 0;
	while (read_log(s))
		;
	return err_set(
		e, ECHILD,
		"failed to setup network: slirp4netns ended before it was ready (%s): %s%s%s",
		s->command, proc_status_text(status, why, sizeof(why)),
		s->last_words[0] != '\0' ? ": " : "", s->last_words);
}

void slirp4netns_stop(struct slirp4netns *s)
{
	fd_close(&s->ready_fd);
	fd_close(&s->exit_fd);
	fd_close(&s->log_fd);
	if (s->pid <= 0)
		return;
	/* It keeps nothing that would need an orderly end. */
	kill(s->pid, SIGKILL);
	proc_wait(s->pid);
	s->pid = 0;
}
