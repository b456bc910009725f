/* SPDX-License-Identifier: Apache-2.0 */
/* Starting the same program again, as the child. See reexec.h. */
#include "launch/reexec.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "launch/handshake.h"
#include "os/proc.h"
#include "os/signals.h"
#include "os/userns.h"

#define SELF	    "/proc/self/exe"
#define VARIABLE    "_RLKBOX_CHILD" /* "PARENT,FROM,TO,TAPS,FDS;KEPT"; KEPT: signals_kept_text() */
#define VALUE_LEN   (SIGNALS_KEPT_LEN + 64)
#define ID_TEXT_LEN 16 /* bytes of a decimal UID or GID with the NUL */

/* Checks argv[0], too: the variable alone could be inherited by accident. */
bool reexec_is_child(char *const *argv)
{
	return strcmp(argv[0], SELF) == 0 && getenv(VARIABLE) != NULL;
}

/* Clears close-on-exec of the descriptors that the child needs. */
static int inherit(const struct reexec *r)
{
	int result = fd_set_cloexec(r->from_parent, false);

	if (result == 0)
		result = fd_set_cloexec(r->to_parent, false);
	if (result == 0 && r->taps >= 0)
		result = fd_set_cloexec(r->taps, false);
	for (int i = 0; result == 0 && i < r->activation_fds; i++)
		result = fd_set_cloexec(FD_FIRST + i, false);
	return result;
}

/* Executes the program as the child. Returns only on failure. */
static int execute(const struct reexec *r, char *const *argv, struct err *e)
{
	char kept[SIGNALS_KEPT_LEN];
	char value[VALUE_LEN];
	char self[] = SELF;
	char **args;
	size_t argc = 0;
	int result = inherit(r);

	if (result < 0)
		return err_sys(e, -result, "handing descriptors to the child");
	signals_kept_text(kept, sizeof(kept));
	snprintf(value, sizeof(value), "%d,%d,%d,%d,%d;%s", (int)r->parent, r->from_parent,
		 r->to_parent, r->taps, r->activation_fds, kept);
	while (argv[argc] != NULL)
		argc++;
	args = calloc(argc + 1, sizeof(*args));
	if (args == NULL || setenv(VARIABLE, value, 1) < 0) {
		free(args);
		return err_sys(e, ENOMEM, "executing the child");
	}
	memcpy(args, argv, argc * sizeof(*args));
	args[0] = self;
	execv(SELF, args);
	result = err_sys(e, errno, "executing " SELF);
	free(args);
	return result;
}

/* ---- the new process ---- */

static int namespaces(const struct opts *o)
{
	int flags = CLONE_NEWNS;

	if (o->net.driver != NET_HOST && !o->net.detach_netns)
		flags |= CLONE_NEWNET;
	if (o->pidns)
		flags |= CLONE_NEWPID;
	if (o->cgroupns)
		flags |= CLONE_NEWCGROUP;
	if (o->utsns)
		flags |= CLONE_NEWUTS;
	if (o->ipcns)
		flags |= CLONE_NEWIPC;
	return flags;
}

/* The arguments of the cloned process, which has a copy of the parent's memory until execve(2). */
struct clone_args {
	struct reexec reexec;
	const struct opts *o;
	char *const *argv;
	struct reexec_ends parents; /* the cloned process closes its copies */
};

/* In the cloned process: waits for the ID maps, becomes root of its user namespace, and executes
 * the program. Returns only on failure. */
static int child_entry(const struct clone_args *a, struct err *e)
{
	const struct reexec *r = &a->reexec;
	int result;

	/* Executing a program with file capabilities (such as CAP_NET_BIND_SERVICE) makes the
	 * process not dumpable. Its files in /proc then belong to root, and newuidmap(1) refuses
	 * it. */
	prctl(PR_SET_DUMPABLE, 1);
	proc_die_with_parent(r->parent);
	result = handshake_recv(r->from_parent, HS_PARENT_HELLO, NULL, e);
	if (result == 0)
		result = handshake_send(r->to_parent, HS_CHILD_HELLO, NULL, e);
	if (result == 0)
		result = handshake_recv(r->from_parent, HS_IDMAP_COMPLETED, NULL, e);
	if (result < 0)
		return result;
	if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		return err_sys(e, errno, "becoming root of the user namespace");
	proc_die_with_parent(r->parent);
	return execute(r, a->argv, e);
}

static void close_ends(struct reexec_ends ends)
{
	fd_close(&ends.to_child);
	fd_close(&ends.from_child);
	fd_close(&ends.taps);
}

static int run_cloned(void *arg)
{
	const struct clone_args *a = arg;
	struct err e;
	int r;

	close_ends(a->parents);
	log_init("child ", a->o->debug);
	r = child_entry(a, &e);
	if (r == -EPERM || r == -EACCES)
		userns_explain(&e, -r, 0);
	/* End of file: the parent has exited and has already logged why. */
	if (r != -ENODATA)
		log_fatal("%s", e.msg);
	return 1;
}

/* ---- the parent ---- */

static int set_environment(const char *state_dir)
{
	char euid[ID_TEXT_LEN], egid[ID_TEXT_LEN];

	snprintf(euid, sizeof(euid), "%u", (unsigned int)geteuid());
	snprintf(egid, sizeof(egid), "%u", (unsigned int)getegid());
	if (setenv("ROOTLESSKIT_STATE_DIR", state_dir, 1) < 0 ||
	    setenv("ROOTLESSKIT_PARENT_EUID", euid, 1) < 0 ||
	    setenv("ROOTLESSKIT_PARENT_EGID", egid, 1) < 0)
		return -errno;
	return 0;
}

static int open_pipe(int *in, int *out)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	*in = fds[0];
	*out = fds[1];
	return 0;
}

static int open_pair(int *a, int *b)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
		return -errno;
	*a = fds[0];
	*b = fds[1];
	return 0;
}

/* Opens the pipes, and the socket if there is a use for it. After a failure some may be open. */
static int open_ends(const struct opts *o, struct reexec_ends *ours, struct reexec_ends *childs)
{
	int r = open_pipe(&childs->to_child, &ours->to_child);

	if (r == 0)
		r = open_pipe(&ours->from_child, &childs->from_child);
	if (r == 0 && netopts_is_own(&o->net))
		r = open_pair(&ours->taps, &childs->taps);
	return r;
}

static int explain_ends(int r, struct err *e)
{
	err_sys(e, -r, "pipe");
	if (r == -EMFILE)
		err_add(e, "; try a higher limit of file descriptors: ulimit -n");
	return r;
}

pid_t reexec_start(const struct opts *o, char *const *argv, const char *state_dir,
		   int activation_fds, struct reexec_ends *ends, struct err *e)
{
	struct clone_args a = { .o = o, .argv = argv };
	struct reexec_ends ours = { -1, -1, -1 }, childs = ours;
	pid_t pid;
	int r;

	if (set_environment(state_dir) < 0)
		return err_sys(e, ENOMEM, "setting the environment");
	r = open_ends(o, &ours, &childs);
	a.reexec = (struct reexec){ .parent = o->pidns ? 0 : getpid(),
				    .from_parent = childs.to_child,
				    .to_parent = childs.from_child,
				    .taps = childs.taps,
				    .activation_fds = activation_fds };
	a.parents = ours;
	pid = r < 0 ? explain_ends(r, e) : userns_clone(namespaces(o), run_cloned, &a, e);
	close_ends(childs);
	if (pid < 0)
		close_ends(ours);
	else
		*ends = ours;
	return pid;
}

/* ---- the child ---- */

int reexec_take(struct reexec *r, struct err *e)
{
	const char *value = getenv(VARIABLE);
	const char *kept = value != NULL ? strchr(value, ';') : NULL;
	int parent, signal_fd, result;

	if (kept == NULL || sscanf(value, "%d,%d,%d,%d,%d;", &parent, &r->from_parent,
				   &r->to_parent, &r->taps, &r->activation_fds) != 5)
		return err_set(e, EINVAL, VARIABLE " is set, but not by rootlesskit; unset it");
	r->parent = parent;
	signal_fd = signals_block_kept(kept + 1);
	unsetenv(VARIABLE);
	if (signal_fd < 0)
		return err_sys(e, -signal_fd, "taking over signals");
	result = fd_cloexec_from(FD_FIRST);
	return result < 0 ? err_sys(e, -result, "closing descriptors") : signal_fd;
}
