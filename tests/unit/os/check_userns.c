/* SPDX-License-Identifier: Apache-2.0 */

/* Processes in new user namespaces, and what forbids them. Each test that changes its own
 * namespaces runs in a process of its own. */
#include "base/fd.h"
#include "os/userns.h"
#include "tests/unit/ownmounts.h"

#define REASON "reason"
#define STATUS 42

static struct err e;

static void begin(void)
{
	e.msg[0] = '\0';
}

/* Returns the exit status of a child, or 128 and the signal that ended it. */
static int await(pid_t pid)
{
	int status = 0;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* ---- starting ---- */

static const struct {
	int flag;
	const char *file; /* in /proc/self/ns */
} namespaces[] = {
	{ CLONE_NEWUSER, "user" },     { CLONE_NEWNS, "mnt" },
	{ CLONE_NEWNET, "net" },       { CLONE_NEWPID, "pid_for_children" },
	{ CLONE_NEWUTS, "uts" },       { CLONE_NEWIPC, "ipc" },
	{ CLONE_NEWCGROUP, "cgroup" },
};

static ino_t inode_of(const char *file)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/self/ns/%s", file);
	return stat(path, &st) == 0 ? st.st_ino : 0;
}

/* The namespaces of the test, for comparison in the cloned process. */
static ino_t own[COUNT(namespaces)];

static void note_own(void)
{
	for (int i = 0; i < COUNT(namespaces); i++)
		own[i] = inode_of(namespaces[i].file);
}

/* Returns 0 if exactly the namespaces of *arg (CLONE_NEW*) are new, or 1 + the index of one that is
 * wrong. */
static int compare_namespaces(void *arg)
{
	const int *flags = arg;

	for (int i = 0; i < COUNT(namespaces); i++)
		if ((inode_of(namespaces[i].file) != own[i]) !=
		    ((*flags & namespaces[i].flag) != 0))
			return 1 + i;
	return 0;
}

static const int wanted[] = {
	0,
	CLONE_NEWNS,
	CLONE_NEWNET,
	CLONE_NEWPID,
	CLONE_NEWUTS,
	CLONE_NEWIPC,
	CLONE_NEWCGROUP,
	CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP,
};

START_TEST(a_process_starts_in_the_namespaces_that_are_asked_for)
{
	int flags = wanted[_i] | CLONE_NEWUSER;
	pid_t pid;

	if (!need_userns())
		return;
	note_own();
	pid = userns_clone(wanted[_i], compare_namespaces, &flags, &e);
	ck_assert_msg(pid > 0, "%s", e.msg);
	ck_assert_int_eq(await(pid), 0);
}
END_TEST

static int shared_number;

static void on_exit_handler(void)
{
	_exit(1); /* would become the status */
}

static int change_memory(void *arg)
{
	(void)arg;
	shared_number++;
	return STATUS + shared_number;
}

START_TEST(the_process_has_a_copy_of_the_memory_and_runs_no_exit_handler)
{
	pid_t pid;

	if (!need_userns())
		return;
	/* The handler must not end this process: Check calls exit(3), too. */
	pid = fork();
	if (pid == 0) {
		int status = 0;

		atexit(on_exit_handler);
		pid = userns_clone(0, change_memory, NULL, &e);
		if (pid <= 0 || waitpid(pid, &status, 0) != pid || shared_number != 0)
			_exit(2);
		_exit(WEXITSTATUS(status));
	}
	ck_assert_int_eq(await(pid), STATUS + 1);
}
END_TEST

/* ---- limits ---- */

static bool write_limit(const char *name, int value)
{
	char path[64], text[16];

	snprintf(path, sizeof(path), "/proc/sys/user/max_%s_namespaces", name);
	snprintf(text, sizeof(text), "%d", value);
	return own_mounts_write(path, text);
}

static const struct {
	const char *name; /* of the sysctl: user.max_NAME_namespaces */
	int flag;
	int limit;
	bool is_held; /* there is a namespace of this kind already */
	const char *advice;
} limits[] = {
	{ "user", CLONE_NEWUSER, 0, false,
	  "; user.max_user_namespaces is 0; try, as root there, `sysctl -w "
	  "user.max_user_namespaces=28633`" },
	{ "uts", CLONE_NEWUTS, 0, false,
	  "; user.max_uts_namespaces is 0; try, as root there, `sysctl -w "
	  "user.max_uts_namespaces=28633`" },
	{ "net", CLONE_NEWNET, 0, false,
	  "; user.max_net_namespaces is 0; try, as root there, `sysctl -w "
	  "user.max_net_namespaces=28633`" },
	{ "mnt", CLONE_NEWNS, 0, false,
	  "; user.max_mnt_namespaces is 0; try, as root there, `sysctl -w "
	  "user.max_mnt_namespaces=28633`" },
	{ "pid", CLONE_NEWPID, 0, false,
	  "; user.max_pid_namespaces is 0; try, as root there, `sysctl -w "
	  "user.max_pid_namespaces=28633`" },
	{ "ipc", CLONE_NEWIPC, 0, false,
	  "; user.max_ipc_namespaces is 0; try, as root there, `sysctl -w "
	  "user.max_ipc_namespaces=28633`" },
	{ "cgroup", CLONE_NEWCGROUP, 0, false,
	  "; user.max_cgroup_namespaces is 0; try, as root there, `sysctl -w "
	  "user.max_cgroup_namespaces=28633`" },
	{ "uts", CLONE_NEWUTS, 1, true,
	  "; user.max_uts_namespaces, which is 1 here, is reached, here or in an outer "
	  "namespace; try, as root there, `sysctl -w user.max_uts_namespaces=28633`" },
};

static int do_nothing(void *arg)
{
	(void)arg;
	return 0;
}

START_TEST(a_limit_that_is_reached_is_named_with_its_sysctl)
{
	static const char before[] = "starting the child in a new user namespace: no space left on "
				     "device";

	if (!enter_own_mounts(0, 0, 0))
		return;
	if (limits[_i].is_held)
		ck_assert_int_eq(unshare(limits[_i].flag), 0);
	if (!write_limit(limits[_i].name, limits[_i].limit)) {
		fixture_skip("userns", "/proc/sys/user cannot be written");
		return;
	}
	ck_assert_int_eq(userns_clone(limits[_i].flag, do_nothing, NULL, &e), -ENOSPC);
	ck_assert_msg(strncmp(e.msg, before, strlen(before)) == 0, "%s", e.msg);
	ck_assert_str_eq(e.msg + strlen(before), limits[_i].advice);
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1); /* nothing is left to be reaped */
}
END_TEST

START_TEST(the_limit_of_processes_is_named_with_its_value)
{
	struct rlimit old, limit;
	char want[512];

	ck_assert_int_eq(getrlimit(RLIMIT_NPROC, &old), 0);
	limit = old;
	limit.rlim_cur = 77;
	ck_assert_int_eq(setrlimit(RLIMIT_NPROC, &limit), 0);
	err_set(&e, EAGAIN, REASON);
	userns_explain(&e, EAGAIN, CLONE_NEWUSER);
	ck_assert_int_eq(setrlimit(RLIMIT_NPROC, &old), 0);
	snprintf(want, sizeof(want),
		 REASON
		 "; the limit of processes is reached (`ulimit -u` is 77 for this user); try "
		 "to end processes, or to raise `ulimit -u`, TasksMax= of the service or "
		 "--pids-limit of the container");
	ck_assert_str_eq(e.msg, want);
}
END_TEST

/* ---- prohibitions ---- */

#define SERVICE                                                                                  \
	"; try without RestrictNamespaces= and SystemCallFilter= of the service, or outside of " \
	"the sandbox"
#define CONTAINER                                                                     \
	"; try --security-opt seccomp=unconfined --security-opt apparmor=unconfined " \
	"--security-opt systempaths=unconfined for the container"
#define POD                                                                                 \
	"; try seccompProfile: {type: Unconfined} and appArmorProfile: {type: Unconfined} " \
	"in the securityContext of the pod"

static const struct {
	const char *variable, *value;
	const char *advice;
} places[] = {
	{ NULL, NULL, SERVICE },
	{ "container", "podman", CONTAINER },
	{ "KUBERNETES_SERVICE_HOST", "10.0.0.1", POD },
};
static int place;

/* Returns 0, or 1 if the process can be started, or 2 and prints the reason if it is wrong. */
static int check_refused(void)
{
	static const char before[] = "starting the child in a new user namespace: operation not "
				     "permitted";

	if (userns_clone(0, do_nothing, NULL, &e) != -EPERM)
		return 1;
	if (strncmp(e.msg, before, strlen(before)) == 0 &&
	    strstr(e.msg, "; this process has a seccomp filter") != NULL &&
	    strstr(e.msg, places[place].advice) != NULL)
		return 0;
	fprintf(stderr, "%s\n", e.msg);
	return 2;
}

START_TEST(a_seccomp_filter_is_named_with_what_helps_there)
{
	unsetenv("container");
	unsetenv("KUBERNETES_SERVICE_HOST");
	if (places[_i].variable != NULL)
		setenv(places[_i].variable, places[_i].value, 1);
	else if (access("/.dockerenv", F_OK) == 0 || access("/run/.containerenv", F_OK) == 0)
		return; /* this is a container */
	place = _i;
	fixture_without(SYS_clone, EPERM, check_refused);
}
END_TEST

static void explain(void)
{
	err_set(&e, EPERM, REASON);
	userns_explain(&e, EPERM, CLONE_NEWUSER);
}

static void assert_explains(const char *text, bool does)
{
	ck_assert_msg((strstr(e.msg, text) != NULL) == does, "%s", e.msg);
}

START_TEST(the_sysctl_that_forbids_user_namespaces_is_named)
{
	static const char advice[] = "; user.max_user_namespaces is 0; try, as root, `sysctl -w "
				     "user.max_user_namespaces=28633`";

	if (!enter_own_mounts(0, 0, 0))
		return;
	explain();
	assert_explains(advice, false);
	if (!write_limit("user", 0)) {
		fixture_skip("userns", "/proc/sys/user cannot be written");
		return;
	}
	explain();
	assert_explains(advice, true);
}
END_TEST

/* Returns 0 if the explanation of a failure in fixture_dir as the root directory names the chroot.
 */
static int check_chroot(void)
{
	if (chroot(fixture_dir) < 0)
		return 1;
	explain();
	return strstr(e.msg, "; this is a chroot, in which no user namespace can be made; try "
			     "pivot_root(8), or a container") != NULL
		       ? 0
		       : 2;
}

START_TEST(a_chroot_is_named)
{
	const char *proc = fixture_path("proc");
	pid_t pid;

	if (!enter_own_mounts(0, 0, 0))
		return;
	explain();
	assert_explains("chroot", false);
	ck_assert_int_eq(mkdir(proc, 0755), 0);
	ck_assert_int_eq(mount("/proc", proc, "none", MS_BIND | MS_REC, NULL), 0);
	pid = fork();
	if (pid == 0)
		_exit(check_chroot());
	ck_assert_int_eq(await(pid), 0);
	ck_assert_int_eq(umount2(proc, MNT_DETACH), 0);
}
END_TEST

START_TEST(a_user_that_is_not_mapped_is_named)
{
	static const char advice[] = REASON
		"; this user does not exist in its own user namespace (/proc/self/uid_map, "
		"gid_map); try to map it there (`unshare -U` takes -r for that)";

	if (!fixture_is_forked() || !need_userns())
		return;
	err_set(&e, EPERM, REASON);
	ck_assert(!userns_explain_user(&e));
	ck_assert_str_eq(e.msg, REASON);
	ck_assert_int_eq(unshare(CLONE_NEWUSER), 0);
	ck_assert(userns_explain_user(&e));
	ck_assert_str_eq(e.msg, advice);
}
END_TEST

/* ---- killing ---- */

static int wait_for_ever(void *arg)
{
	(void)arg;
	for (;;)
		pause();
	return 0;
}

static unsigned int own_uid, own_gid;

/* Starts a process in a user namespace below, and writes its PID to the pipe *arg. Only a mapped
 * user can make a namespace. Does not reap the process: the test does, as its subreaper. */
static int start_below(void *arg)
{
	const int *report = arg;
	pid_t pid = -1;

	if (own_mounts_map("/proc/self/uid_map", 0, own_uid) &&
	    own_mounts_write("/proc/self/setgroups", "deny") &&
	    own_mounts_map("/proc/self/gid_map", 0, own_gid))
		pid = userns_clone(0, wait_for_ever, NULL, NULL);
	if (write(*report, &pid, sizeof(pid)) != (ssize_t)sizeof(pid))
		return 1;
	return wait_for_ever(NULL);
}

static void stat_namespace(pid_t pid, struct stat *ns)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
	ck_assert_int_eq(stat(path, ns), 0);
}

START_TEST(all_processes_in_a_namespace_and_below_it_are_killed)
{
	pid_t inside, below = 0, beside, outside;
	int report[2];
	struct stat ns;

	if (!need_userns())
		return;
	own_uid = geteuid();
	own_gid = getegid();
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	ck_assert_int_eq(pipe2(report, O_CLOEXEC), 0);
	inside = userns_clone(0, start_below, &report[1], &e);
	beside = userns_clone(0, wait_for_ever, NULL, &e);
	outside = fork();
	if (outside == 0)
		_exit(wait_for_ever(NULL));
	ck_assert_int_gt(inside, 0);
	ck_assert_int_gt(beside, 0);
	ck_assert_int_eq(read(report[0], &below, sizeof(below)), (ssize_t)sizeof(below));
	ck_assert_int_gt(below, 0); /* as its parent sees it, which is in our PID namespace */
	stat_namespace(inside, &ns);
	userns_kill(&ns);
	ck_assert_int_eq(await(inside), 128 + SIGKILL);
	ck_assert_int_eq(await(below), 128 + SIGKILL);
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), 0); /* the others run */
	stat_namespace(beside, &ns);
	userns_kill(&ns);
	ck_assert_int_eq(await(beside), 128 + SIGKILL);
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), 0);
	ck_assert_int_eq(kill(outside, SIGKILL), 0);
	ck_assert_int_eq(await(outside), 128 + SIGKILL);
	close(report[0]);
	close(report[1]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("userns");
	TCase *tc = fixture_case_with_dir("userns");

	tcase_add_checked_fixture(tc, begin, NULL);
	tcase_add_loop_test(tc, a_process_starts_in_the_namespaces_that_are_asked_for, 0,
			    COUNT(wanted));
	tcase_add_test(tc, the_process_has_a_copy_of_the_memory_and_runs_no_exit_handler);
	tcase_add_loop_test(tc, a_limit_that_is_reached_is_named_with_its_sysctl, 0, COUNT(limits));
	tcase_add_test(tc, the_limit_of_processes_is_named_with_its_value);
	tcase_add_loop_test(tc, a_seccomp_filter_is_named_with_what_helps_there, 0, COUNT(places));
	tcase_add_test(tc, the_sysctl_that_forbids_user_namespaces_is_named);
	tcase_add_test(tc, a_chroot_is_named);
	tcase_add_test(tc, a_user_that_is_not_mapped_is_named);
	tcase_add_test(tc, all_processes_in_a_namespace_and_below_it_are_killed);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
