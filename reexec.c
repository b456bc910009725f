/* SPDX-License-Identifier: Apache-2.0 */
/* Executing ourselves as the child. See reexec.h. */
#include "reexec.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fd.h"
#include "proc.h"

#define SELF	  "/proc/self/exe"
#define VARIABLE  "_RLKBOX_CHILD" /* "PARENT,FROM,TO,FDS;KEPT" */
#define VALUE_LEN (PROC_KEPT_LEN + 64)
#define FIRST_FD  (STDERR_FILENO + 1)

/* Both are needed: the variable alone might come from a confused caller. */
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
		result = fd_set_cloexec(FIRST_FD + i, false);
	return result;
}

int reexec_exec(const struct reexec *r, char *const *argv, struct err *e)
{
	char kept[PROC_KEPT_LEN];
	char value[VALUE_LEN];
	char self[] = SELF;
	char **args;
	size_t argc = 0;
	int result = inherit(r);

	if (result < 0)
		return err_sys(e, -result, "handing descriptors to the child");
	proc_kept_text(kept, sizeof(kept));
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

int reexec_take(struct reexec *r, struct err *e)
{
	const char *value = getenv(VARIABLE);
	const char *kept = value != NULL ? strchr(value, ';') : NULL;
	int parent, signal_fd, result;

	if (kept == NULL || sscanf(value, "%d,%d,%d,%d;", &parent, &r->from_parent, &r->to_parent,
				   &r->activation_fds) != 4)
		return err_set(e, EINVAL, VARIABLE " is set for no good reason");
	r->parent = parent;
	signal_fd = proc_take_over_kept(kept + 1);
	unsetenv(VARIABLE);
	if (signal_fd < 0)
		return err_sys(e, -signal_fd, "taking over signals");
	result = fd_cloexec_from(FIRST_FD);
	return result < 0 ? err_sys(e, -result, "closing descriptors") : signal_fd;
}
