/* SPDX-License-Identifier: Apache-2.0 */

/* Runs a program without some system calls, as an old kernel or a container's seccomp profile
 * would:
 *
 *     without NAME=ERRNO... -- PROGRAM [ARGUMENT]...     without splice=ENOSYS -- rootlesskit ...
 *
 * NAME/NUMBER=ERRNO removes only calls whose first argument is NUMBER: kill/2=EPERM.
 *
 * The filter needs no_new_privs (PR_SET_NO_NEW_PRIVS(2const)), so set-UID programs such as
 * newuidmap do not work in it.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CALLS_MAX    16
#define RULE_MAX     5 /* instructions */
#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static const struct {
	const char *name;
	int nr;
} calls[] = {
	{ "accept4", SYS_accept4 },
	{ "clone3", SYS_clone3 },
	{ "close_range", SYS_close_range },
	{ "flock", SYS_flock },
	{ "getdents64", SYS_getdents64 },
	{ "getrandom", SYS_getrandom },
	{ "kill", SYS_kill },
	{ "pidfd_open", SYS_pidfd_open },
	{ "recvmmsg", SYS_recvmmsg },
	{ "sendmmsg", SYS_sendmmsg },
	{ "signalfd4", SYS_signalfd4 },
	{ "splice", SYS_splice },
	{ "statx", SYS_statx },
	{ "timerfd_create", SYS_timerfd_create },
	{ "wait4", SYS_wait4 },
	{ "waitid", SYS_waitid },
};

static const struct {
	const char *name;
	int value;
} errnos[] = { { "ENOSYS", ENOSYS },
	       { "EPERM", EPERM },
	       { "EINVAL", EINVAL },
	       { "EIO", EIO },
	       { "ENOLCK", ENOLCK } };

static int usage(const char *what)
{
	fprintf(stderr, "without: %s\n", what);
	return 2;
}

/* Writes the instructions of one rule: they skip to the next rule if the system call or its first
 * argument differs. Returns how many there are. */
static unsigned short write_rule(struct sock_filter *code, int nr, const char *number, int why)
{
	const unsigned int nr_at = offsetof(struct seccomp_data, nr);
	const unsigned int arg_at = offsetof(struct seccomp_data, args[0]);
	unsigned char last = number != NULL ? 4 : 2;
	unsigned char n = 0;

	code[n] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, nr_at);
	n++;
	code[n] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)nr, 0,
					       (unsigned char)(last - n));
	n++;
	if (number != NULL) {
		code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, arg_at);
		code[n] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
						       (unsigned int)strtoul(number, NULL, 10), 0,
						       (unsigned char)(last - n));
		n++;
	}
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
						 SECCOMP_RET_ERRNO | (unsigned int)why);
	return n;
}

/* Adds the instructions of one NAME=ERRNO. Returns how many there are, 0 if the text is not a
 * rule. */
static unsigned short deny(struct sock_filter *code, const char *text)
{
	const char *equals = strchr(text, '=');
	const char *number = strchr(text, '/');
	size_t call = 0, why = 0, len;

	if (equals == NULL)
		return 0;
	len = (size_t)((number != NULL && number < equals ? number : equals) - text);
	while (call < COUNT(calls) &&
	       (strlen(calls[call].name) != len || strncmp(calls[call].name, text, len) != 0))
		call++;
	while (why < COUNT(errnos) && strcmp(errnos[why].name, equals + 1) != 0)
		why++;
	if (call == COUNT(calls) || why == COUNT(errnos))
		return 0;
	return write_rule(code, calls[call].nr, number != NULL ? number + 1 : NULL,
			  errnos[why].value);
}

int main(int argc, char **argv)
{
	struct sock_filter code[RULE_MAX * CALLS_MAX + 1];
	struct sock_fprog prog = { .len = 0, .filter = code };
	int i = 1;

	for (; i < argc && strcmp(argv[i], "--") != 0; i++) {
		unsigned short added = i <= CALLS_MAX ? deny(code + prog.len, argv[i]) : 0;

		if (added == 0)
			return usage(argv[i]);
		prog.len = (unsigned short)(prog.len + added);
	}
	if (i + 1 >= argc)
		return usage("no program");
	code[prog.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0)
		return usage(strerror(errno));
	execvp(argv[i + 1], argv + i + 1);
	return usage(strerror(errno));
}
