/* SPDX-License-Identifier: Apache-2.0 */
#include "os/stateclear.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "os/proc.h"
#include "os/rmtree.h"
#include "os/statefiles.h"

struct clearing {
	const struct stateclear *what;
	bool with_child_pid;
};

static enum rmtree_how how_to_clear(const char *name, const void *arg)
{
	const struct clearing *c = arg;

	if (strcmp(name, STATE_LOCK) == 0 ||
	    (strcmp(name, STATE_CHILD_PID) == 0 && !c->with_child_pid))
		return RMTREE_KEEP;
	if (statefiles_is_leftover(name))
		return c->what->keeps_leftovers ? RMTREE_KEEP : RMTREE_TRY;
	if (!c->what->deep && !statefiles_is_own(name))
		return RMTREE_KEEP;
	if (strcmp(name, STATE_GVISOR_DIR) == 0)
		return RMTREE_DEEP;
	/* During a copy-up a directory of the user is mounted here. Never remove its content. */
	if (strcmp(name, STATE_COPY_UP_TMP) == 0 || !c->what->deep)
		return RMTREE_FLAT;
	return RMTREE_DEEP;
}

int stateclear(const struct stateclear *what, int within_ms, struct err *e)
{
	const unsigned long long until_ms = clock_now_ms() + (unsigned long long)within_ms;
	struct clearing c = { .what = what };
	int r = rmtree_clear(what->dir_fd, how_to_clear, &c, until_ms, e);

	if (r == -ETIMEDOUT)
		return err_set(e, ETIMEDOUT,
			       "it does not get empty within %d ms: is a process "
			       "making files in it?",
			       within_ms);
	if (r < 0 || unlinkat(what->dir_fd, STATE_CHILD_PID, 0) == 0 || errno == ENOENT)
		return r;
	/* The command may have replaced it by a directory. */
	c.with_child_pid = true;
	return rmtree_clear(what->dir_fd, how_to_clear, &c, until_ms, e);
}

/* Clears the directory in a process of its own. Processes that are left inside have every
 * capability over a process that joins their user namespace, and this one is in the host's network
 * namespace and holds our descriptors. So make it not dumpable first: then only a process with
 * capabilities on the host may trace it or access it in /proc (ptrace(2), access mode checking).
 */
static bool join_and_clear(const struct stateclear *what, int userns_fd, int within_ms)
{
	return prctl(PR_SET_DUMPABLE, 0) == 0 && setns(userns_fd, CLONE_NEWUSER) == 0 &&
	       stateclear(what, within_ms, NULL) == 0;
}

bool stateclear_in_userns(const struct stateclear *what, int userns_fd, int within_ms)
{
	pid_t pid = userns_fd < 0 ? -1 : fork();

	if (pid == 0)
		_exit(join_and_clear(what, userns_fd, within_ms) ? 0 : 1);
	return pid > 0 && proc_wait(pid) == 0;
}
