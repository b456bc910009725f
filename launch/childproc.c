/* SPDX-License-Identifier: Apache-2.0 */
#include "launch/childproc.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>

#include "base/log.h"
#include "launch/reexec.h"
#include "os/proc.h"
#include "os/userns.h"

#define DYING_MS   2000 /* for a child that is exiting; after that it counts as blocked */
#define LOOKS	   15	/* at a child that was told to end, every DYING_MS, until it exits */
#define FREEING_MS 3000 /* for a blocked child, after all processes inside were killed */

int childproc_start(struct childproc *c, const struct opts *o, char *const *argv,
		    const char *state_dir, int activation_fds, struct err *e)
{
	struct reexec_ends ends;
	pid_t pid = reexec_start(o, argv, state_dir, activation_fds, &ends, e);

	if (pid < 0)
		return pid;
	c->to = ends.to_child;
	c->from.fd = ends.from_child;
	c->taps = ends.taps;
	c->pid = pid;
	log_debug("the child is PID %d, in new namespaces: user mnt%s%s%s%s%s", (int)pid,
		  o->net.driver != NET_HOST && !o->net.detach_netns ? " net" : "",
		  o->pidns ? " pid" : "", o->cgroupns ? " cgroup" : "", o->utsns ? " uts" : "",
		  o->ipcns ? " ipc" : "");
	return 0;
}

/* ---- messages ---- */

int childproc_tell(struct childproc *c, enum handshake which, const struct network *net,
		   struct err *e)
{
	int r = handshake_send(c->to, which, net, e);

	return r == -EPIPE ? childproc_died(c, e) : r;
}

int childproc_hear(struct childproc *c, enum handshake which, struct err *e)
{
	int r = handshake_recv(c->from.fd, which, NULL, e);

	return r == -ENODATA ? childproc_died(c, e) : r;
}

int childproc_died(struct childproc *c, struct err *e)
{
	char text[64];
	int status = proc_wait_ms(c->pid, DYING_MS);

	if (status == -ETIMEDOUT)
		status = proc_end(c->pid, false);
	c->pid = 0;
	if (status < 0)
		return err_sys(e, -status, "killing the child, which does not end");
	c->status = status;
	return err_set(e, ECHILD, "child exited: %s", proc_status_text(status, text, sizeof(text)));
}

/* ---- its end ---- */

int childproc_open_userns(struct childproc *c)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)c->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &c->userns) < 0)
		c->userns.st_ino = 0;
	return fd;
}

void childproc_kill_inside(const struct childproc *c)
{
	if (c->userns.st_ino != 0)
		userns_kill(&c->userns);
}

/* Unblocks a child that something inside keeps from exiting. */
static void free_blocked(const struct childproc *c)
{
	log_warn("the child does not end; killing the processes that are left inside");
	childproc_kill_inside(c);
}

/* Looks whether the child is exiting. If it was exiting at the last look, too, it is blocked. If it
 * does not begin to exit for a while, it has survived the signal, and the looks end. */
static void on_look(struct timer *t)
{
	struct childproc *c = LOOP_OWNER(t, struct childproc, look);
	bool is_dying;

	if (c->pid <= 0)
		return;
	is_dying = proc_is_dying(c->pid);
	if (is_dying && c->was_dying)
		free_blocked(c);
	c->was_dying = is_dying;
	if (is_dying || --c->looks_left > 0)
		loop_timer(c->loop, t, DYING_MS);
}

void childproc_free_if_blocked(struct childproc *c, struct loop *loop)
{
	c->looks_left = LOOKS;
	if (timer_is_set(&c->look))
		return;
	c->loop = loop;
	c->look.on_due = on_look;
	loop_timer(loop, &c->look, DYING_MS);
}

void childproc_pipe_closed(struct childproc *c)
{
	if (c->loop != NULL)
		childproc_free_if_blocked(c, c->loop);
}

void childproc_end(struct childproc *c)
{
	char why[128];
	int denied, r;

	if (c->pid <= 0)
		return;
	denied = kill(c->pid, SIGKILL) < 0 ? -errno : 0;
	r = proc_wait_ms(c->pid, denied == 0 ? DYING_MS : 0);
	if (r == -ETIMEDOUT && denied == 0) {
		free_blocked(c);
		r = proc_wait_ms(c->pid, FREEING_MS);
	}
	if (r < 0)
		log_error("killing the child: %s",
			  err_text(denied < 0 ? -denied : -r, why, sizeof(why)));
}
