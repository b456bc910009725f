/* SPDX-License-Identifier: Apache-2.0 */

/* refuse NAME=ERRNO... -- COMMAND...: runs a command under a seccomp filter, as container engines
 * and systemd install one, which makes the named system calls fail with that error number.
 *
 * `clone_user` is a clone(2) that creates a user namespace. clone3(2) passes its flags in memory,
 * which a filter cannot read, so refuse `clone3` too. `socket_inet6` is a socket(2) for IPv6.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAX_RULES 16

static const struct rule {
	const char *name;
	unsigned int number;
	unsigned int arg;     /* refused only if the first argument matches this; 0: always */
	unsigned short match; /* BPF_JSET: it has that flag; BPF_JEQ: it equals that value */
} known[] = {
	{ "clone_user", SYS_clone, CLONE_NEWUSER, BPF_JSET },
	{ "clone3", SYS_clone3, 0, 0 },
	{ "unshare", SYS_unshare, 0, 0 },
	{ "mount", SYS_mount, 0, 0 },
	{ "pivot_root", SYS_pivot_root, 0, 0 },
	{ "setns", SYS_setns, 0, 0 },
	{ "socket_inet6", SYS_socket, AF_INET6, BPF_JEQ },
};

static struct sock_filter filter[1 + 4 * MAX_RULES + 1];
static unsigned short count;

static void add(struct sock_filter f)
{
	filter[count++] = f;
}

static void refuse(const struct rule *rule, unsigned int why)
{
	const unsigned int nr = offsetof(struct seccomp_data, nr);
	const unsigned int arg = offsetof(struct seccomp_data, args[0]);

	add((struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, nr));
	add((struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, rule->number, 0,
					 (unsigned char)(rule->arg != 0 ? 3 : 1)));
	if (rule->arg != 0) {
		add((struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, arg));
		add((struct sock_filter)BPF_JUMP(BPF_JMP | rule->match | BPF_K, rule->arg, 0, 1));
	}
	add((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | why));
}

static void take_rule(char *rule)
{
	char *equals = strchr(rule, '=');

	for (size_t i = 0; equals != NULL && i < sizeof(known) / sizeof(known[0]); i++) {
		if (strlen(known[i].name) == (size_t)(equals - rule) &&
		    strncmp(known[i].name, rule, (size_t)(equals - rule)) == 0) {
			refuse(&known[i], (unsigned int)strtoul(equals + 1, NULL, 10));
			return;
		}
	}
	fprintf(stderr, "refuse: %s is not a rule\n", rule);
	exit(99);
}

int main(int argc, char **argv)
{
	struct sock_fprog prog = { 0, filter };
	int i = 1;

	for (; i < argc && i <= MAX_RULES && strcmp(argv[i], "--") != 0; i++)
		take_rule(argv[i]);
	add((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
	prog.len = count;
	/* root of a user namespace does not need no_new_privs, seccomp(2) */
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0 &&
	    (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	     prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0)) {
		perror("refuse: seccomp");
		return 99;
	}
	if (i + 1 < argc)
		execvp(argv[i + 1], argv + i + 1);
	perror("refuse");
	return 99;
}
