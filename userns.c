/* SPDX-License-Identifier: Apache-2.0 */
/* Starting a process in a new user namespace. See userns.h. */
#include "userns.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "fd.h"

#define STACK_LEN   (256 * 1024) /* bytes; a frame of 64 KiB is built on it */
#define STACK_ALIGN 16		 /* what every processor's calls are content with */

/* What may forbid user namespaces: a sysctl, the value that does, and the way out. */
static const struct {
	const char *path;
	long forbids;
	const char *advice;
} obstacles[] = {
	{ "/proc/sys/user/max_user_namespaces", 0,
	  "user.max_user_namespaces is 0: as root, run `sysctl -w "
	  "user.max_user_namespaces=28633`" },
	{ "/proc/sys/kernel/unprivileged_userns_clone", 0,
	  "kernel.unprivileged_userns_clone is 0: as root, run `sysctl -w "
	  "kernel.unprivileged_userns_clone=1`" },
	{ "/proc/sys/kernel/apparmor_restrict_unprivileged_userns", 1,
	  "AppArmor restricts user namespaces: as root, run `sysctl -w "
	  "kernel.apparmor_restrict_unprivileged_userns=0`, or add an AppArmor profile for this "
	  "program with the rule `userns,`" },
};

void userns_explain(struct err *e)
{
	char text[32];

	for (size_t i = 0; i < sizeof(obstacles) / sizeof(obstacles[0]); i++) {
		if (fd_read_file(obstacles[i].path, text, sizeof(text)) <= 0)
			continue;
		if (strtol(text, NULL, 10) == obstacles[i].forbids)
			err_add(e, " (%s)", obstacles[i].advice);
	}
}

/* The new process is on a copy of this stack, of which we ourselves touch nothing. */
pid_t userns_clone(int flags, int (*run)(void *arg), void *arg, struct err *e)
{
	static _Alignas(STACK_ALIGN) char stack[STACK_LEN];
	pid_t pid;

	pid = clone(run, stack + STACK_LEN, CLONE_NEWUSER | flags | SIGCHLD, arg);
	if (pid < 0) {
		pid = err_sys(e, errno, "starting the child in a new user namespace");
		userns_explain(e);
	}
	return pid;
}
