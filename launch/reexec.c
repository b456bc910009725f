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
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "launch/handshake.h"
#include "os/proc.h"
#include "os/signals.h"
#include "os/userns.h"

#define SELF	    "/proc/self/exe"
#define VARIABLE    "_RLKBOX_CHILD" /* "PARENT,FROM,TO,FDS;KEPT" */
#define VALUE_LEN   (SIGNALS_KEPT_LEN + 64)
#define ID_TEXT_LEN 16 /* bytes of a decimal UID or GID with the NUL */

/* Checks both: the variable alone could be inherited by accident. */
bool reexec_is_child(char *const *argv)
{
	return strcmp(argv[0], SELF) == 0 && getenv(VARIABLE) != NULL;
}

static int inherit(const struct reexec *r)
{
	int result = fd_set_cloexec(r->from_parent, false);

	if (result == 0)
		result = fd_set_cloexec(r->to_parent, false);
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
	snprintf(value, sizeof(value), "%d,%d,%d,%d;%s", (int)r->parent, r->from_parent,
		 r->to_parent, r->activation_fds, kept);
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

/* What the cloned process works with. It has a copy of the parent's memory until execve(2). */
struct clone_args {
	struct reexec reexec;
	const struct opts *o;
	char *const *argv;
	int parents_ends[2];
};

/* In the cloned process: waits for the ID maps, becomes root of its user namespace, and executes
 * the program. Returns only on failure. */
static int child_entry(const struct clone_args *b, struct err *e)
{
	const struct reexec *r = &b->reexec;
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
	return execute(r, b->argv, e);
}

static int run_cloned(void *arg)
{
	const struct clone_args *b = arg;
	struct err e;
	int r;

	close(b->parents_ends[0]);
	close(b->parents_ends[1]);
	log_init("child ", b->o->debug);
	r = child_entry(b, &e);
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

static int no_pipe(struct err *e)
{
	int r = err_sys(e, errno, "pipe");

	if (r == -EMFILE)
		err_add(e, "; try a higher limit of file descriptors: ulimit -n");
	return r;
}

pid_t reexec_start(const struct opts *o, char *const *argv, const char *state_dir,
		   int activation_fds, int *to_child, int *from_child, struct err *e)
{
	struct clone_args b = { .o = o, .argv = argv };
	int down[2], up[2];
	pid_t pid;

	if (set_environment(state_dir) < 0)
		return err_sys(e, ENOMEM, "setting the environment");
	if (pipe2(down, O_CLOEXEC) < 0)
		return no_pipe(e);
	if (pipe2(up, O_CLOEXEC) < 0) {
		pid = no_pipe(e);
		close(down[0]);
		close(down[1]);
		return pid;
	}
	b.reexec = (struct reexec){ o->pidns ? 0 : getpid(), down[0], up[1], activation_fds };
	b.parents_ends[0] = down[1];
	b.parents_ends[1] = up[0];
	pid = userns_clone(namespaces(o), run_cloned, &b, e);
	close(down[0]);
	close(up[1]);
	if (pid < 0) {
		close(down[1]);
		close(up[0]);
		return pid;
	}
	*to_child = down[1];
	*from_child = up[0];
	return pid;
}

/* ---- the child ---- */

int reexec_take(struct reexec *r, struct err *e)
{
	const char *value = getenv(VARIABLE);
	const char *kept = value != NULL ? strchr(value, ';') : NULL;
	int parent, signal_fd, result;

	if (kept == NULL || sscanf(value, "%d,%d,%d,%d;", &parent, &r->from_parent, &r->to_parent,
				   &r->activation_fds) != 4)
		return err_set(e, EINVAL, VARIABLE " is set, but not by rootlesskit; unset it");
	r->parent = parent;
	signal_fd = signals_block_kept(kept + 1);
	unsetenv(VARIABLE);
	if (signal_fd < 0)
		return err_sys(e, -signal_fd, "taking over signals");
	result = fd_cloexec_from(FD_FIRST);
	return result < 0 ? err_sys(e, -result, "closing descriptors") : signal_fd;
}
