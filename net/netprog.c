/* SPDX-License-Identifier: Apache-2.0 */
/* Running a network program. See netprog.h. */
#include "net/netprog.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/array.h"
#include "base/fd.h"
#include "base/log.h"
#include "os/proc.h"
#include "os/statedir.h"

#define LOG_ROUNDS 32 /* reads in a row, so that endless output cannot hold up the loop */
#define FIFO_MODE  0600
#define ASKED_MS   1000 /* for an exit after netprog_ask_to_end(), if kill(2) is denied */

#define QUOTED_LEN  768		    /* bytes of --help output in a message */
#define SMALL_STACK (1024 * 1024UL) /* bytes; 8 MiB are usual */

/* ---- command lines ---- */

void netprog_add(struct netprog_args *args, const char *fmt, ...)
{
	char *word = args->text + args->len;
	size_t left = sizeof(args->text) - args->len;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(word, left, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= left || args->count == NETPROG_MAX_ARGS)
		return; /* cannot happen, since paths are bounded */
	args->argv[args->count++] = word;
	args->len += (size_t)n + 1;
}

void netprog_add_netns(struct netprog_args *args, const struct netprog *n, const char *option)
{
	char path[2 * PATH_MAX];

	netprog_add(args, "%s%s", option,
		    network_netns_path(path, sizeof(path), n->child_pid, n->state_dir));
}

/* Joins the words in n->command, for messages. */
static void describe(struct netprog *n, const struct netprog_args *args)
{
	size_t len = 0;

	n->command[0] = '\0';
	for (size_t i = 0; i < args->count && len < sizeof(n->command); i++)
		len += (size_t)snprintf(n->command + len, sizeof(n->command) - len, "%s%s",
					i > 0 ? " " : "", args->argv[i]);
}

/* ---- finding ---- */

/* The options of a network that needs no program, for a program that is missing */
static const char *own_network(const struct netopts *o)
{
	if (o->port_driver == PORT_NONE || o->port_driver == PORT_BUILTIN)
		return "--net=builtin";
	return "--net=builtin --port-driver=builtin";
}

void netprog_add_source(const struct netprog *n, struct err *e)
{
	err_add(e,
		" (--net=%s: install the package %s, or name the program by %s; or try %s, which "
		"needs no program)",
		n->driver->name, n->driver->package, n->driver->option, own_network(n->o));
}

int netprog_find(struct netprog *n, const struct netopts *o, struct err *e)
{
	const struct netprog_driver *d = n->driver;
	int r;

	n->o = o;
	r = proc_find(d->binary(o), n->program, sizeof(n->program), e);
	if (r == 0 && d->probe != NULL)
		r = d->probe(n, e);
	if (r < 0)
		netprog_add_source(n, e);
	return r;
}

/* ---- probing ---- */

int netprog_ask(struct netprog *n, const char *option, char *out, size_t cap, struct err *e)
{
	char *const argv[] = { n->program, (char *)option, NULL };

	return proc_run(argv, out, cap, NETPROG_ASK_MS, e);
}

bool netprog_names_option(const char *help, const char *option)
{
	size_t len = strlen(option);

	for (const char *at = strstr(help, option); at != NULL; at = strstr(at + 1, option)) {
		char next = at[len];

		if (next == '\0' || strchr(" \t\n,=", next) != NULL)
			return true;
	}
	return false;
}

/* Quotes a text as Go does, on one line, cut to the room in `out`. */
static void quote(char *out, size_t cap, const char *text)
{
	size_t len = 0;

	for (; *text != '\0' && len + 3 < cap; text++) {
		if (*text == '\n' || *text == '"' || *text == '\\')
			out[len++] = '\\';
		out[len++] = *text == '\n' ? 'n' : *text;
	}
	out[len] = '\0';
}

void netprog_say_refused(const struct netprog *n, const char *option, const char *wanted,
			 const char *output, int status, struct err *e)
{
	char quoted[QUOTED_LEN], why[64];

	quote(quoted, sizeof(quoted), output);
	err_set(e, ENOEXEC, "command \"%.200s %s\" failed, make sure %s is installed: \"%s\": %s",
		n->program, option, wanted, quoted, proc_status_text(status, why, sizeof(why)));
}

void netprog_advise_stack(int status, struct err *e)
{
	struct rlimit stack;

	if (WIFSIGNALED(status) && (WTERMSIG(status) == SIGSEGV || WTERMSIG(status) == SIGBUS) &&
	    getrlimit(RLIMIT_STACK, &stack) == 0 && stack.rlim_cur < SMALL_STACK)
		err_add(e, "; try a larger stack: `ulimit -s` is %llu here",
			(unsigned long long)stack.rlim_cur / 1024);
}

/* ---- starting ---- */

enum { READY, EXIT, LOG, PIPES };

static void remove_file(const struct netprog *n)
{
	char path[PATH_MAX];

	if (n->driver->file != NULL)
		unlink(statedir_path(n->state_dir, n->driver->file, path));
}

/* Creates the fifo on which the program reports that it is ready, and opens its reading end. */
static int make_fifo(const struct netprog *n, int *reading_end, struct err *e)
{
	char path[PATH_MAX];

	if (mkfifo(statedir_path(n->state_dir, n->driver->file, path), FIFO_MODE) < 0)
		return err_add_room(e, err_sys(e, errno, "mkfifo %s", path));
	*reading_end = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	return *reading_end < 0 ? err_sys(e, errno, "open %s", path) : 0;
}

/* Creates the pipes. Our ends do not block, because a blocking read(2) would stop the launcher. On
 * failure the caller closes those that exist. */
static int make_pipes(const struct netprog *n, int pipes[][2], struct err *e)
{
	int r = n->driver->by_fifo ? make_fifo(n, &pipes[READY][0], e) : 0;

	if (r < 0)
		return r;
	if ((!n->driver->by_fifo && pipe2(pipes[READY], O_CLOEXEC) < 0) ||
	    pipe2(pipes[EXIT], O_CLOEXEC) < 0 || pipe2(pipes[LOG], O_CLOEXEC) < 0)
		return err_sys(e, errno, "starting %s: pipe", n->driver->name);
	r = fd_set_nonblock(pipes[READY][0]);
	if (r == 0)
		r = fd_set_nonblock(pipes[LOG][0]);
	return r < 0 ? err_sys(e, -r, "starting %s: pipe", n->driver->name) : 0;
}

static pid_t spawn(const struct netprog *n, struct netprog_args *args, int pipes[][2],
		   struct err *e)
{
	const struct proc_fd fds[] = { { pipes[READY][1], NETPROG_READY_FD },
				       { pipes[EXIT][0], NETPROG_EXIT_FD } };
	struct proc_spec spec = PROC_SPEC_INIT;

	spec.path = n->program;
	spec.argv = args->argv;
	spec.fds = fds;
	spec.fd_count = n->driver->by_fifo ? 0 : COUNT_OF(fds);
	spec.out = pipes[LOG][1];
	spec.die_with_us = true;
	spec.own_group = true;
	return proc_spawn(&spec, e);
}

int netprog_start(struct netprog *n, struct err *e)
{
	int pipes[PIPES][2] = { { -1, -1 }, { -1, -1 }, { -1, -1 } };
	struct netprog_args args = { .count = 0 };
	pid_t pid;

	netprog_add(&args, "%s", n->program);
	n->driver->build(&args, n);
	describe(n, &args);
	n->last_words[0] = '\0';
	n->output_len = 0;
	remove_file(n);
	pid = n->driver->prepare != NULL ? n->driver->prepare(n, e) : 0;
	if (pid < 0)
		return pid;
	pid = make_pipes(n, pipes, e);
	if (pid == 0)
		pid = spawn(n, &args, pipes, e);
	if (pid > 0) {
		n->pid = pid;
		n->ready_fd = fd_take(&pipes[READY][0]);
		n->exit_fd = fd_take(&pipes[EXIT][1]);
		n->log_fd = fd_take(&pipes[LOG][0]);
	}
	for (size_t i = 0; i < PIPES; i++) {
		fd_close(&pipes[i][0]);
		fd_close(&pipes[i][1]);
	}
	return pid < 0 ? pid : 0;
}

/* ---- what it prints ---- */

/* Appends a line to `last_words`, which keeps the end of the output. */
static void remember(struct netprog *n, const char *line)
{
	char text[sizeof(n->last_words) + sizeof(n->output)];
	int printed = snprintf(text, sizeof(text), "%s%s%s", n->last_words,
			       n->last_words[0] != '\0' ? "; " : "", line);
	size_t len = (size_t)printed < sizeof(text) ? (size_t)printed : sizeof(text) - 1;
	size_t cut = len < sizeof(n->last_words) ? 0 : len - (sizeof(n->last_words) - 1);

	memcpy(n->last_words, text + cut, len - cut + 1);
}

static void take_line(struct netprog *n, const char *line)
{
	bool (*is_routine)(const char *line) = n->driver->is_routine;

	if (*line == '\0')
		return;
	log_debug("%s: %s", n->driver->name, line);
	if (is_routine == NULL || !is_routine(line))
		remember(n, line);
}

/* Logs the complete lines of n->output, and keeps the rest. If `all` is set or the rest fills the
 * buffer, it counts as a line, too. */
static void take_lines(struct netprog *n, bool all)
{
	char *line = n->output, *const end = n->output + n->output_len;
	char *newline;

	while ((newline = memchr(line, '\n', (size_t)(end - line))) != NULL) {
		*newline = '\0';
		take_line(n, line);
		line = newline + 1;
	}
	if (all || end - line == sizeof(n->output) - 1) {
		*end = '\0';
		take_line(n, line);
		line = end;
	}
	n->output_len = (size_t)(end - line);
	memmove(n->output, line, n->output_len);
}

/* Reads and logs some output. Returns false if there is none for now. */
static bool read_log(struct netprog *n)
{
	ssize_t got;

	do
		got = read(n->log_fd, n->output + n->output_len,
			   sizeof(n->output) - 1 - n->output_len);
	while (got < 0 && errno == EINTR);
	if (got == 0 || (got < 0 && errno != EAGAIN)) {
		take_lines(n, true);
		fd_close(&n->log_fd);
	}
	if (got <= 0)
		return false;
	n->output_len += (size_t)got;
	take_lines(n, false);
	return true;
}

bool netprog_begins_with(const char *line, const char *const *beginnings, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strncmp(line, beginnings[i], strlen(beginnings[i])) == 0)
			return true;
	return false;
}

void netprog_log(struct netprog *n)
{
	for (int i = 0; i < LOG_ROUNDS && n->log_fd >= 0 && read_log(n); i++)
		;
}

/* ---- readiness and end ---- */

int netprog_ready(struct netprog *n)
{
	char text[32];
	ssize_t got;

	do
		got = read(n->ready_fd, text, sizeof(text));
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return errno == EAGAIN ? -EAGAIN : -ENODATA;
	if (got == 0)
		return -ENODATA;
	fd_close(&n->ready_fd);
	if (n->driver->by_fifo)
		remove_file(n);
	/* start-up messages must not be quoted as the reason of a later exit */
	netprog_log(n);
	take_lines(n, true);
	n->last_words[0] = '\0';
	n->was_ready = true;
	return 0;
}

void netprog_ask_to_end(struct netprog *n)
{
	fd_close(&n->exit_fd);
}

/* Kills and reaps the program. Returns its wait status, or -errno if it has not exited. */
static int end_program(struct netprog *n)
{
	char why[128];
	/* SIGKILL is enough: the program has no state to save. If it is a script, the processes
	 * that it started are in the same group; the kernel does not reuse the group's number
	 * before we have reaped the leader. */
	int status = proc_end(n->pid, true);
	int r = status;

	if (status == -EPERM) {
		netprog_ask_to_end(n);
		r = proc_wait_ms(n->pid, ASKED_MS);
	}
	if (r < 0)
		log_error("killing %s: %s", n->driver->name, err_text(-status, why, sizeof(why)));
	return r;
}

void netprog_stop(struct netprog *n, struct err *e)
{
	char why[64];
	int status;

	if (n->pid <= 0)
		return;
	status = end_program(n);
	n->status = status < 0 ? 0 : status;
	n->pid = 0;
	netprog_log(n);
	take_lines(n, true);
	remove_file(n);
	fd_close(&n->ready_fd);
	fd_close(&n->exit_fd);
	fd_close(&n->log_fd);
	err_set(e, ECHILD, "%s%s%s",
		status < 0 ? "it cannot be killed" : proc_status_text(status, why, sizeof(why)),
		n->last_words[0] != '\0' ? ": " : "", n->last_words);
}
