/* SPDX-License-Identifier: Apache-2.0 */

/* The state directory: who gets it, what is cleared, and that nothing else is touched. */
#include "os/atomicfile.h"
#include "os/statedir.h"
#include "tests/unit/capturedlog.h"

#include <sys/file.h>
#include <sys/un.h>
#include <sys/wait.h>

static struct statedir sd;
static struct err e;

static void assert_mode(const char *path, mode_t mode)
{
	struct stat st;

	ck_assert_msg(lstat(path, &st) == 0, "%s: %s", path, strerror(errno));
	ck_assert_msg((st.st_mode & 07777) == mode, "%s: mode %o", path, st.st_mode & 07777);
}

static bool exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

static void open_ok(const char *path)
{
	int r = statedir_open(&sd, path, &e);

	ck_assert_msg(r == 0, "%s: %s", path, e.msg);
}

/* Fails with this reason and leaves nothing open. */
static void open_fails(const char *path, int code, const char *reason)
{
	struct statedir refused;

	e.msg[0] = '\0';
	ck_assert_int_eq(statedir_open(&refused, path, &e), -code);
	ck_assert_msg(strstr(e.msg, reason) != NULL, "not \"%s\": \"%s\"", reason, e.msg);
	ck_assert_int_eq(refused.dir_fd, -1);
	ck_assert_int_eq(refused.lock_fd, -1);
}

/* Warnings of this test go nowhere. */
static void hush(void)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	dup2(null, STDERR_FILENO);
	close(null);
}

/* ---- a new directory ---- */

static const mode_t umasks[] = { 022, 002, 0 };

START_TEST(a_new_directory_is_made_and_removed)
{
	const char *dir = fixture_path("new");
	char path[PATH_MAX];

	umask(umasks[_i]);
	open_ok(dir);
	umask(022);
	ck_assert_str_eq(sd.path, dir);
	assert_mode(dir, 0755);
	assert_mode(statedir_path(dir, STATE_LOCK, path), 0600);
	ck_assert(fixture_is_cloexec(sd.dir_fd));
	ck_assert(fixture_is_cloexec(sd.lock_fd));
	statedir_remove(&sd);
	ck_assert(!exists(dir));
	ck_assert_int_eq(sd.dir_fd, -1);
	ck_assert_int_eq(sd.lock_fd, -1);
	statedir_remove(&sd);
}
END_TEST

static const struct {
	const char *given; /* below the fixture's directory */
	const char *path;
} spellings[] = {
	{ "a", "a" },		{ "a/", "a" },
	{ "a///", "a" },	{ "b/c/d", "b/c/d" },
	{ "b/c/d//", "b/c/d" }, { "b//c/./d", "b/c/d" },
	{ "b/x/../c", "b/c" },	{ "./b/x/y/../../", "b" },
	{ "../d/b", "b" },
};

START_TEST(missing_parents_are_made)
{
	open_ok(fixture_path(spellings[_i].given));
	ck_assert_str_eq(sd.path, fixture_path(spellings[_i].path));
	assert_mode(sd.path, 0755);
	statedir_remove(&sd);
	ck_assert(!exists(fixture_path(spellings[_i].path)));
}
END_TEST

START_TEST(a_relative_path_becomes_absolute)
{
	ck_assert_int_eq(chdir(fixture_dir), 0);
	open_ok("x/y/");
	ck_assert_int_eq(chdir("/"), 0);
	ck_assert_str_eq(sd.path, fixture_path("x/y"));
	statedir_remove(&sd);
	ck_assert(!exists(fixture_path("x/y")));
}
END_TEST

START_TEST(a_temporary_directory_is_private)
{
	const char *prefix = fixture_path("rootlesskit");
	char path[PATH_MAX];

	setenv("TMPDIR", fixture_dir, 1);
	umask(0);
	open_ok(NULL);
	umask(022);
	ck_assert_int_eq(strncmp(sd.path, prefix, strlen(prefix)), 0);
	ck_assert_uint_gt(strlen(sd.path), strlen(prefix));
	assert_mode(sd.path, 0700);
	strcpy(path, sd.path);
	statedir_remove(&sd);
	ck_assert(!exists(path));
}
END_TEST

static const char *const no_tmpdirs[] = { NULL, "", "relative" };

START_TEST(without_tmpdir_temporary_directories_are_in_tmp)
{
	if (no_tmpdirs[_i] == NULL)
		unsetenv("TMPDIR");
	else
		setenv("TMPDIR", no_tmpdirs[_i], 1);
	open_ok(NULL);
	ck_assert_int_eq(strncmp(sd.path, "/tmp/rootlesskit", 16), 0);
	statedir_remove(&sd);
}
END_TEST

/* systemd-tmpfiles(8) passes over what it cannot lock. */
START_TEST(the_directory_is_held_shared)
{
	int fd;

	open_ok(fixture_path("d"));
	fd = open(sd.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_eq(flock(fd, LOCK_EX | LOCK_NB), -1);
	ck_assert_int_eq(errno, EWOULDBLOCK);
	ck_assert_int_eq(flock(fd, LOCK_SH | LOCK_NB), 0);
	close(fd);
	statedir_remove(&sd);
}
END_TEST

/* ---- a path that cannot be used ---- */

static const struct {
	const char *given; /* absolute, or below the fixture's directory */
	int code;
	const char *reason; /* %s: the path */
} bad_paths[] = {
	{ "file", ENOTDIR, "mkdir %s: not a directory" },
	{ "file/x", ENOTDIR, "/file: not a directory; try another --state-dir" },
	{ "/proc/foo", ENOENT, "mkdir %s: no such file or directory" },
	{ "dangling", ENOENT, "%s" },
	{ "readonly/x", EACCES, "mkdir %s: permission denied" },
	{ "readonly/x/y", EACCES, "permission denied" },
	{ "readonly", EACCES,
	  "/readonly/lock: permission denied; try `chmod u+rwx %s`, or another "
	  "--state-dir" },
	{ "closed", EACCES,
	  "/closed: permission denied; try `chmod u+rwx %s`, or another "
	  "--state-dir" },
	{ "closed/x", EACCES, "mkdir %s: permission denied; try another --state-dir" },
	{ "/rootlesskit-top", EACCES,
	  "mkdir %s: permission denied; try another --state-dir (is a variable in it, such as "
	  "$XDG_RUNTIME_DIR, empty?)" },
};

START_TEST(a_bad_path_is_named)
{
	const char *given = bad_paths[_i].given;
	char path[PATH_MAX];
	char reason[PATH_MAX + 64];

	snprintf(path, sizeof(path), "%s", *given == '/' ? given : fixture_path(given));
	fixture_file("file", "text", 0644);
	ck_assert_int_eq(symlink("/nowhere/at/all", fixture_path("dangling")), 0);
	ck_assert_int_eq(mkdir(fixture_path("readonly"), 0555), 0);
	ck_assert_int_eq(mkdir(fixture_path("closed"), 0), 0);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* the table's own */
	snprintf(reason, sizeof(reason), bad_paths[_i].reason, path);
#pragma GCC diagnostic pop
	fixture_drop_root();
	open_fails(path, bad_paths[_i].code, reason);
	fixture_regain_root();
	fixture_assert_content(fixture_path("file"), "text");
	ck_assert_int_eq(chmod(fixture_path("closed"), 0700), 0);
	ck_assert_int_eq(rmdir(fixture_path("readonly")), 0);
	ck_assert_int_eq(rmdir(fixture_path("closed")), 0);
}
END_TEST

START_TEST(a_relative_path_needs_a_current_directory)
{
	ck_assert_int_eq(mkdir(fixture_path("gone"), 0755), 0);
	ck_assert_int_eq(chdir(fixture_path("gone")), 0);
	ck_assert_int_eq(rmdir(fixture_path("gone")), 0);
	open_fails("d", ENOENT,
		   "current directory (try another one, or an absolute --state-dir): no such file "
		   "or directory");
	ck_assert_int_eq(chdir("/"), 0);
}
END_TEST

START_TEST(a_directory_that_is_called_tilde_causes_a_warning)
{
	char want[PATH_MAX + 128];

	capture_log(false);
	ck_assert_int_eq(chdir(fixture_dir), 0);
	open_ok("~/d");
	snprintf(want, sizeof(want),
		 "the state directory is %s/~/d, since no shell expands ~ behind an equals sign; "
		 "try --state-dir=$HOME/...",
		 fixture_dir);
	ck_assert_ptr_nonnull(strstr(take_log(), want));
	statedir_remove(&sd);
	/* A name that only begins with it. */
	open_ok("~d");
	ck_assert_str_eq(read_log(), "");
	statedir_remove(&sd);
	ck_assert_int_eq(rmdir("~"), 0);
	ck_assert_int_eq(chdir("/"), 0);
	release_log();
}
END_TEST

START_TEST(an_empty_path_means_a_temporary_directory)
{
	setenv("TMPDIR", fixture_dir, 1);
	open_ok("");
	ck_assert_ptr_nonnull(strstr(sd.path, fixture_path("rootlesskit")));
	statedir_remove(&sd);
}
END_TEST

static const struct {
	mode_t above, dir;
	const char *reason; /* NULL: it is taken */
} writable[] = {
	{ 0755, 0755, NULL },
	{ 01777, 0755, NULL },
	{ 01777, 0700, NULL },
	{ 0777, 0755, "above may be written by others and has no sticky bit" },
	{ 0757, 0700, "above may be written by others and has no sticky bit" },
	{ 0755, 0777, "d may be written by others" },
	{ 0755, 01777, "d may be written by others" },
	{ 0755, 0702, "d may be written by others" },
};

START_TEST(a_directory_that_others_may_write_or_replace_is_refused)
{
	char path[PATH_MAX];

	strcpy(path, fixture_path("above/d"));
	ck_assert_int_eq(mkdir(fixture_path("above"), 0755), 0);
	ck_assert_int_eq(mkdir(path, 0755), 0);
	ck_assert_int_eq(chmod(path, writable[_i].dir), 0);
	ck_assert_int_eq(chmod(fixture_path("above"), writable[_i].above), 0);
	if (writable[_i].reason == NULL) {
		open_ok(path);
		statedir_remove(&sd);
		ck_assert(!exists(path));
	} else {
		open_fails(path, EPERM, writable[_i].reason);
		ck_assert(!exists(fixture_path("above/d/" STATE_LOCK)));
	}
}
END_TEST

START_TEST(a_tmpdir_that_others_may_write_is_refused)
{
	ck_assert_int_eq(chmod(fixture_dir, 0777), 0);
	setenv("TMPDIR", fixture_dir, 1);
	open_fails(NULL, EPERM, "has no sticky bit");
	ck_assert_ptr_nonnull(strstr(e.msg, "; try another TMPDIR, or --state-dir"));
	ck_assert_int_eq(rmdir(fixture_dir), 0);
	ck_assert_int_eq(mkdir(fixture_dir, 0755), 0);
}
END_TEST

#define SOCKET_ROOM (sizeof(((struct sockaddr_un *)0)->sun_path) - sizeof("/" STATE_SLIRP_SOCKET))

/* A path below the fixture's directory of this length. */
static char *long_path(char *buf, size_t len)
{
	memset(buf, 'x', len);
	buf[len] = '\0';
	memcpy(buf, fixture_dir, strlen(fixture_dir));
	buf[strlen(fixture_dir)] = '/';
	return buf;
}

START_TEST(a_path_too_long_for_the_sockets_is_refused)
{
	char path[PATH_MAX];
	char socket_path[PATH_MAX];
	struct sockaddr_un sa;

	open_ok(long_path(path, SOCKET_ROOM));
	statedir_path(sd.path, STATE_SLIRP_SOCKET, socket_path);
	ck_assert_uint_lt(strlen(socket_path), sizeof(sa.sun_path));
	statedir_remove(&sd);
	open_fails(long_path(path, SOCKET_ROOM + 1), ENAMETOOLONG, "--state-dir");
	ck_assert_ptr_nonnull(strstr(e.msg, path));
	ck_assert(!exists(path));
}
END_TEST

START_TEST(a_path_beyond_all_limits_is_refused)
{
	static char path[2 * PATH_MAX];

	memset(path, 'x', sizeof(path) - 1);
	open_fails(path, ENAMETOOLONG, "too long");
	path[0] = '/';
	open_fails(path, ENAMETOOLONG, "too long");
}
END_TEST

/* The directory was made before its length was known. */
START_TEST(a_long_tmpdir_leaves_nothing)
{
	char path[PATH_MAX];

	ck_assert_int_eq(mkdir(long_path(path, SOCKET_ROOM), 0755), 0);
	setenv("TMPDIR", path, 1);
	open_fails(NULL, ENAMETOOLONG, "too long");
	ck_assert_int_eq(rmdir(path), 0);
}
END_TEST

/* ---- the lock ---- */

#define OTHER_RUNS "another RootlessKit is running with the same state directory"

START_TEST(a_second_launcher_fails)
{
	const char *dir = fixture_path("d");

	open_ok(dir);
	ck_assert_int_eq(atomicfile_write(dir, STATE_CHILD_PID, 0444, "42", &e), 0);
	open_fails(dir, EBUSY, OTHER_RUNS);
	ck_assert_ptr_nonnull(strstr(e.msg, fixture_path("d/" STATE_LOCK)));
	fixture_assert_content(fixture_path("d/" STATE_CHILD_PID), "42");
	/* The lock is still there. */
	open_fails(dir, EBUSY, OTHER_RUNS);
	statedir_remove(&sd);
	open_ok(dir);
	statedir_remove(&sd);
}
END_TEST

START_TEST(the_lock_of_a_killed_launcher_is_free)
{
	const char *dir = fixture_path("d");
	int ready[2];
	char byte;
	pid_t pid;

	ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		if (statedir_open(&sd, dir, NULL) == 0 &&
		    atomicfile_write(dir, STATE_CHILD_PID, 0444, "1", NULL) == 0)
			close(ready[1]);
		for (;;)
			pause();
	}
	close(ready[1]);
	ck_assert_int_eq(read(ready[0], &byte, 1), 0);
	open_fails(dir, EBUSY, OTHER_RUNS);
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	open_ok(dir);
	ck_assert(!exists(fixture_path("d/" STATE_CHILD_PID)));
	statedir_remove(&sd);
	close(ready[0]);
}
END_TEST

/* Uses the directory over and over, with files of a command in it. */
static void use_directory(const char *dir)
{
	char path[PATH_MAX];

	for (;;) {
		int fd;

		if (statedir_open(&sd, dir, NULL) < 0 ||
		    atomicfile_write(dir, STATE_CHILD_PID, 0444, "1", NULL) < 0)
			_exit(1);
		fd = open(statedir_path(dir, "my.pid", path), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
		close(fd);
		mkdir(statedir_path(dir, "sub", path), 0755);
		mkdir(statedir_path(dir, "sub/deep", path), 0);
		statedir_remove(&sd);
	}
}

#define KILLS	      200
#define LIFE_STEPS_NS 37000

/* Whatever it was doing: the next launcher takes the directory. */
START_TEST(a_launcher_may_be_killed_at_any_time)
{
	for (int i = 0; i < KILLS; i++) {
		const struct timespec life = { .tv_nsec = i * LIFE_STEPS_NS };
		int status;
		pid_t pid = fork();

		if (pid == 0)
			use_directory(fixture_path("d"));
		nanosleep(&life, NULL);
		kill(pid, SIGKILL);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert(WIFSIGNALED(status));
		open_ok(fixture_path("d"));
		ck_assert(!exists(fixture_path("d/my.pid")) && !exists(fixture_path("d/sub")));
		statedir_remove(&sd);
		ck_assert(!exists(fixture_path("d")));
	}
}
END_TEST

#define CONTENDERS 4
#define ROUNDS	   300

/* Opens and removes, again and again; returns false if somebody else was there meanwhile. */
static bool contend(const char *dir, unsigned int id)
{
	char mine[16], got[16];
	char path[PATH_MAX];
	unsigned int had = 0;

	snprintf(mine, sizeof(mine), "%u", id);
	for (int i = 0; i < ROUNDS || had == 0; i++) {
		int fd;
		ssize_t n;

		if (statedir_open(&sd, dir, &e) < 0) {
			if (strstr(e.msg, OTHER_RUNS) == NULL)
				return false;
			continue;
		}
		had++;
		if (atomicfile_write(dir, STATE_CHILD_PID, 0444, mine, &e) < 0)
			return false;
		fd = open(statedir_path(dir, STATE_CHILD_PID, path), O_RDONLY | O_CLOEXEC);
		n = read(fd, got, sizeof(got));
		close(fd);
		if (n != (ssize_t)strlen(mine) || memcmp(got, mine, (size_t)n) != 0)
			return false;
		statedir_remove(&sd);
	}
	return true;
}

START_TEST(launchers_that_come_and_go_exclude_each_other)
{
	const char *dir = fixture_path("d");
	pid_t pids[CONTENDERS];
	int status;

	for (unsigned int i = 0; i < CONTENDERS; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			int report = dup(STDERR_FILENO);
			bool ok;

			hush();
			ok = contend(dir, i);
			if (!ok)
				dprintf(report, "contender %u: %s\n", i, e.msg);
			_exit(ok ? 0 : 1);
		}
	}
	for (int i = 0; i < CONTENDERS; i++) {
		ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
		ck_assert_int_eq(status, 0);
	}
}
END_TEST

/* ---- what is found there ---- */

static const char *const stale_names[] = {
	STATE_CHILD_PID,    STATE_API_SOCKET, STATE_BP_SOCKET, STATE_BP_READY,
	STATE_SLIRP_SOCKET, STATE_NETNS,      STATE_HOSTS,     STATE_RESOLV,
	STATE_COPY_UP_TMP,  ATOMICFILE_TMP,   STATE_NET_READY,
};

enum stale {
	STALE_FILE,
	STALE_READONLY,
	STALE_FIFO,
	STALE_SOCKET,
	STALE_LINK,
	STALE_DIR_LINK,
	STALE_COUNT,
};

static void make_stale(const char *name, enum stale kind)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "d/%s", name);
	switch (kind) {
	case STALE_FILE:
		fixture_file(path, "old", 0644);
		break;
	case STALE_READONLY:
		fixture_file(path, "old", 0);
		break;
	case STALE_FIFO:
		ck_assert_int_eq(mkfifo(fixture_path(path), 0600), 0);
		break;
	case STALE_SOCKET:
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		snprintf(sa.sun_path, sizeof(sa.sun_path), "%.90s", fixture_path(path));
		ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
		close(fd);
		break;
	case STALE_LINK:
		ck_assert_int_eq(symlink(fixture_path("kept"), fixture_path(path)), 0);
		break;
	case STALE_DIR_LINK:
		ck_assert_int_eq(symlink(fixture_path("kept.d"), fixture_path(path)), 0);
		break;
	case STALE_COUNT:
		break;
	}
}

static void make_kept(void)
{
	fixture_file("kept", "kept", 0644);
	ck_assert_int_eq(mkdir(fixture_path("kept.d"), 0755), 0);
	fixture_file("kept.d/file", "kept", 0644);
}

static void assert_kept(void)
{
	fixture_assert_content(fixture_path("kept"), "kept");
	fixture_assert_content(fixture_path("kept.d/file"), "kept");
}

START_TEST(stale_files_are_cleared)
{
	char path[PATH_MAX];

	make_kept();
	ck_assert_int_eq(mkdir(fixture_path("d"), 0700), 0);
	fixture_file("d/" STATE_LOCK, "", 0600);
	for (int i = 0; i < COUNT(stale_names); i++)
		make_stale(stale_names[i], (enum stale)_i);
	open_ok(fixture_path("d"));
	for (int i = 0; i < COUNT(stale_names); i++)
		ck_assert(!exists(statedir_path(sd.path, stale_names[i], path)));
	ck_assert(exists(fixture_path("d/" STATE_LOCK)));
	assert_mode(sd.path, 0700); /* stays as the user made it */
	for (int i = 0; i < COUNT(stale_names); i++)
		make_stale(stale_names[i], (enum stale)_i);
	statedir_remove(&sd);
	ck_assert(!exists(fixture_path("d")));
	assert_kept();
}
END_TEST

START_TEST(an_empty_directory_of_a_copy_up_is_removed)
{
	ck_assert_int_eq(mkdir(fixture_path("d"), 0755), 0);
	fixture_file("d/" STATE_LOCK, "", 0600);
	ck_assert_int_eq(mkdir(fixture_path("d/" STATE_COPY_UP_TMP), 0755), 0);
	open_ok(fixture_path("d"));
	ck_assert(!exists(fixture_path("d/" STATE_COPY_UP_TMP)));
	statedir_remove(&sd);
}
END_TEST

static const struct {
	const char *name;
	const char *text;
	const char *reason;
} not_ours[] = {
	{ STATE_HOSTS, "127.0.0.1 localhost\n", "holds hosts without a lock" },
	{ STATE_CHILD_PID, "4711", "holds child_pid without a lock" }, /* its owner may write it */
	{ STATE_CHILD_PID, "47 11", "holds child_pid without a lock" },
	{ STATE_LOCK, "a poem", "holds a file lock with content" },
};

START_TEST(files_without_a_lock_are_not_ours)
{
	char path[64];

	snprintf(path, sizeof(path), "d/%s", not_ours[_i].name);
	ck_assert_int_eq(mkdir(fixture_path("d"), 0755), 0);
	fixture_file(path, not_ours[_i].text, 0644);
	open_fails(fixture_path("d"), EEXIST, not_ours[_i].reason);
	fixture_assert_content(fixture_path(path), not_ours[_i].text);
}
END_TEST

/* The files may be those of somebody's /etc. */
START_TEST(a_directory_of_a_copy_up_with_files_in_it_is_refused)
{
	hush();
	ck_assert_int_eq(mkdir(fixture_path("d"), 0755), 0);
	fixture_file("d/" STATE_LOCK, "", 0600);
	ck_assert_int_eq(mkdir(fixture_path("d/" STATE_COPY_UP_TMP), 0755), 0);
	fixture_file("d/" STATE_COPY_UP_TMP "/passwd", "kept", 0644);
	open_fails(fixture_path("d"), ENOTEMPTY, STATE_COPY_UP_TMP ": directory not empty");
	fixture_assert_content(fixture_path("d/" STATE_COPY_UP_TMP "/passwd"), "kept");
	/* The mark stays, so that the next launcher says the same. */
	open_fails(fixture_path("d"), ENOTEMPTY, STATE_COPY_UP_TMP ": directory not empty");
}
END_TEST

/* Marks of a launcher: what else is there goes too. */
static const struct {
	const char *lock; /* content, NULL: there is none */
	mode_t lock_mode;
	const char *child_pid;
	mode_t pid_mode;
	bool is_launchers;
} marks[] = {
	{ "", 0600, NULL, 0, false },	     { "", 0600, "4711", 0444, true },
	{ "", 0600, "a poem", 0444, false }, { NULL, 0, "4711", 0444, true },
	{ NULL, 0, "4711", 0400, true },     { "", 0644, "4711\n", 0644, true },
	{ "", 0644, NULL, 0, false },	     { "x", 0600, NULL, 0, false },
	{ "x", 0600, "4711", 0444, false },  { NULL, 0, "4711", 0644, false },
	{ NULL, 0, "a poem", 0444, false },  { NULL, 0, "-1", 0444, false },
	{ "", 0644, "-1", 0444, false },
};

START_TEST(a_launchers_directory_is_cleared_with_all_in_it)
{
	ck_assert_int_eq(mkdir(fixture_path("d"), 0755), 0);
	make_kept();
	if (marks[_i].lock != NULL)
		fixture_file("d/" STATE_LOCK, marks[_i].lock, marks[_i].lock_mode);
	if (marks[_i].child_pid != NULL)
		fixture_file("d/" STATE_CHILD_PID, marks[_i].child_pid, marks[_i].pid_mode);
	fixture_file("d/my.pid", "1", 0644);
	ck_assert_int_eq(mkdir(fixture_path("d/sub"), 0755), 0);
	fixture_file("d/sub/file", "x", 0644);
	ck_assert_int_eq(symlink(fixture_path("kept.d"), fixture_path("d/sub/link")), 0);
	if (marks[_i].is_launchers) {
		open_ok(fixture_path("d"));
		ck_assert(!exists(fixture_path("d/my.pid")) && !exists(fixture_path("d/sub")));
		statedir_remove(&sd);
		ck_assert(!exists(fixture_path("d")));
	} else {
		open_fails(fixture_path("d"), EEXIST, "which is not a launcher's");
		fixture_assert_content(fixture_path("d/sub/file"), "x");
		fixture_assert_content(fixture_path("d/my.pid"), "1");
	}
	assert_kept();
}
END_TEST

/* A directory that bears no PID: what in it counts as a launcher's. */
static const struct {
	mode_t lock_mode;
	const char *file;
	bool has_socket;
	bool is_taken;
} half_marks[] = {
	{ 0644, NULL, false, true },
	{ 0644, STATE_HOSTS, false, false },
	{ 0644, STATE_RESOLV, false, false },
	{ 0644, STATE_NETNS, false, false },
	{ 0644, STATE_HOSTS, true, true },
	{ 0600, STATE_HOSTS, false, true }, /* killed before a port driver was there */
	{ 0600, STATE_HOSTS, true, true },
};

START_TEST(names_of_a_launcher_need_its_lock_or_a_socket)
{
	char path[64];

	ck_assert_int_eq(mkdir(fixture_path("d"), 0755), 0);
	fixture_file("d/" STATE_LOCK, "", half_marks[_i].lock_mode);
	snprintf(path, sizeof(path), "d/%s",
		 half_marks[_i].file == NULL ? "." : half_marks[_i].file);
	if (half_marks[_i].file != NULL)
		fixture_file(path, "content", 0644);
	if (half_marks[_i].has_socket)
		make_stale(STATE_BP_READY, STALE_FIFO);
	if (half_marks[_i].is_taken) {
		open_ok(fixture_path("d"));
		ck_assert(half_marks[_i].file == NULL || !exists(fixture_path(path)));
		statedir_remove(&sd);
		ck_assert(!exists(fixture_path("d")));
		return;
	}
	open_fails(fixture_path("d"), EEXIST, "beside a lock of mode 0644, which is not");
	fixture_assert_content(fixture_path(path), "content");
}
END_TEST

/* child_pid says that a command may have left files of any name. */
START_TEST(a_directory_that_cannot_be_cleared_stays_marked_as_a_launchers)
{
	hush();
	open_ok(fixture_path("d"));
	ck_assert_int_eq(atomicfile_write(sd.path, STATE_CHILD_PID, 0444, "4711", &e), 0);
	ck_assert_int_eq(mkdir(fixture_path("d/" STATE_COPY_UP_TMP), 0755), 0);
	fixture_file("d/" STATE_COPY_UP_TMP "/passwd", "kept", 0644);
	statedir_remove(&sd);
	fixture_assert_content(fixture_path("d/" STATE_CHILD_PID), "4711");
	ck_assert(exists(fixture_path("d/" STATE_LOCK)));
	fixture_file("d/my.pid", "1", 0644);
	open_fails(fixture_path("d"), ENOTEMPTY, STATE_COPY_UP_TMP ": directory not empty");
	ck_assert(!exists(fixture_path("d/my.pid")));
	fixture_assert_content(fixture_path("d/" STATE_CHILD_PID), "4711");
	ck_assert_int_eq(unlink(fixture_path("d/" STATE_COPY_UP_TMP "/passwd")), 0);
	open_ok(fixture_path("d"));
	ck_assert(!exists(fixture_path("d/" STATE_CHILD_PID)));
	/* The command may put a directory in its place. */
	ck_assert_int_eq(mkdir(fixture_path("d/" STATE_CHILD_PID), 0755), 0);
	ck_assert_int_eq(mkdir(fixture_path("d/" STATE_CHILD_PID "/sub"), 0755), 0);
	statedir_remove(&sd);
	ck_assert(!exists(fixture_path("d")));
}
END_TEST

static const char *const leftovers[] = { ".nfs0000000000a1b2c300000001",
					 ".fuse_hidden0000000500000002" };

/* Of file systems, after a crash. */
START_TEST(leftovers_of_file_systems_are_cleared)
{
	char path[PATH_MAX];

	ck_assert_int_eq(mkdir(fixture_path("d"), 0755), 0);
	snprintf(path, sizeof(path), "d/%s", leftovers[_i]);
	fixture_file("d/" STATE_LOCK, "", 0600);
	fixture_file(path, "", 0600);
	open_ok(fixture_path("d"));
	ck_assert(!exists(fixture_path(path)));
	fixture_file(path, "", 0600);
	statedir_remove(&sd);
	ck_assert(!exists(fixture_path("d")));
}
END_TEST

/* Another program may have such a file open. */
START_TEST(leftovers_without_a_lock_are_kept)
{
	char path[PATH_MAX];

	hush();
	ck_assert_int_eq(mkdir(fixture_path("d"), 0755), 0);
	snprintf(path, sizeof(path), "d/%s", leftovers[_i]);
	fixture_file(path, "kept", 0600);
	open_ok(fixture_path("d"));
	fixture_assert_content(fixture_path(path), "kept");
	fixture_file("d/my.pid", "1", 0644);
	statedir_remove(&sd);
	fixture_assert_content(fixture_path(path), "kept");
	ck_assert(!exists(fixture_path("d/my.pid")) && !exists(fixture_path("d/" STATE_LOCK)));
}
END_TEST

static const char *const no_leftovers[] = {
	".nfsexports",
	".nfs4.conf",
	".nfs0123456789abcde",	  /* 15 digits */
	".nfs0123456789abcdef.x", /* and something after them */
	".fuse_hidden_files",
	".fuse_hidden0",
};

START_TEST(names_like_a_leftover_are_foreign)
{
	char path[PATH_MAX];

	ck_assert_int_eq(mkdir(fixture_path("d"), 0755), 0);
	snprintf(path, sizeof(path), "d/%s", no_leftovers[_i]);
	fixture_file("d/" STATE_LOCK, "", 0600);
	fixture_file(path, "kept", 0600);
	open_fails(fixture_path("d"), EEXIST, no_leftovers[_i]);
	fixture_assert_content(fixture_path(path), "kept");
}
END_TEST

/* A leftover that cannot be removed yet: a directory that is not empty plays it. */
#define STUBBORN "d/.nfs0000000000a1b2c300000001"

static void make_stubborn(void)
{
	ck_assert_int_eq(mkdir(fixture_path(STUBBORN), 0755), 0);
	fixture_file(STUBBORN "/open", "", 0600);
}

static void end_stubborn(void)
{
	unlink(fixture_path(STUBBORN "/open"));
	rmdir(fixture_path(STUBBORN));
}

/* Removes it when the lock, the last of the other files, is gone. */
static void *end_stubborn_last(void *arg)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	char lock[PATH_MAX];

	snprintf(lock, sizeof(lock), "%s/d/" STATE_LOCK, fixture_dir);
	while (access(lock, F_OK) == 0)
		nanosleep(&pause, NULL);
	end_stubborn();
	return arg;
}

/* FUSE removes a file that was unlinked while it was open a little after it was closed. */
START_TEST(a_leftover_that_goes_a_little_later_does_not_stay)
{
	pthread_t thread;

	open_ok(fixture_path("d"));
	make_stubborn();
	thread = fixture_thread(end_stubborn_last, NULL);
	statedir_remove(&sd);
	ck_assert(!exists(fixture_path("d")));
	pthread_join(thread, NULL);
}
END_TEST

START_TEST(a_leftover_that_stays_is_no_obstacle)
{
	hush();
	open_ok(fixture_path("d"));
	make_stubborn();
	statedir_remove(&sd);
	ck_assert(exists(fixture_path(STUBBORN "/open")));
	ck_assert(!exists(fixture_path("d/" STATE_LOCK)));
	open_ok(fixture_path("d"));
	end_stubborn();
	statedir_remove(&sd);
	ck_assert(!exists(fixture_path("d")));
}
END_TEST

START_TEST(other_launchers_sockets_are_cleared)
{
	ck_assert_int_eq(mkdir(fixture_path("d"), 0755), 0);
	fixture_file("d/" STATE_LOCK, "", 0600);
	ck_assert_int_eq(mkdir(fixture_path("d/gvisortapvsock"), 0755), 0);
	fixture_file("d/gvisortapvsock/tap.sock", "", 0755);
	fixture_file("d/vpnkit-ethernet.sock", "", 0755);
	open_ok(fixture_path("d"));
	statedir_remove(&sd);
	ck_assert(!exists(fixture_path("d")));
}
END_TEST

static const char *const foreign_names[] = { "junk", "sub/", ".hidden", "lock2", "Lock", "..." };

START_TEST(a_directory_with_foreign_files_is_refused)
{
	char path[PATH_MAX];
	char reason[PATH_MAX];
	const char *name = foreign_names[_i];
	int len = (int)strcspn(name, "/");

	ck_assert_int_eq(mkdir(fixture_path("d"), 0755), 0);
	fixture_file("d/" STATE_CHILD_PID, "old", 0644);
	snprintf(path, sizeof(path), "d/%.*s", len, name);
	if (name[len] == '/')
		ck_assert_int_eq(mkdir(fixture_path(path), 0755), 0);
	else
		fixture_file(path, "kept", 0644);
	snprintf(reason, sizeof(reason), "state directory %s holds %.*s", fixture_path("d"), len,
		 name);
	open_fails(fixture_path("d"), EEXIST, reason);
	ck_assert(exists(fixture_path(path)));
	fixture_assert_content(fixture_path("d/" STATE_CHILD_PID), "old");
	ck_assert(!exists(fixture_path("d/" STATE_LOCK)));
}
END_TEST

START_TEST(a_lock_that_is_a_link_is_refused)
{
	ck_assert_int_eq(mkdir(fixture_path("d"), 0755), 0);
	ck_assert_int_eq(symlink(fixture_path("target"), fixture_path("d/" STATE_LOCK)), 0);
	open_fails(fixture_path("d"), ELOOP, STATE_LOCK);
	ck_assert(!exists(fixture_path("target")));
	fixture_file("target", "kept", 0644);
	open_fails(fixture_path("d"), ELOOP, STATE_LOCK);
	fixture_assert_content(fixture_path("target"), "kept");
}
END_TEST

/* Some NFS servers have no lock service. */
static int check_unlocked(void)
{
	struct statedir refused;

	return statedir_open(&refused, fixture_path("d"), &e) == -ENOLCK &&
			       strstr(e.msg, "/" STATE_LOCK ": no locks available") != NULL
		       ? 0
		       : 2;
}

START_TEST(a_lock_that_cannot_be_taken_leaves_nothing)
{
	fixture_without(SYS_flock, ENOLCK, check_unlocked);
	ck_assert(!exists(fixture_path("d")));
	ck_assert_int_eq(mkdir(fixture_path("d"), 0755), 0);
	fixture_without(SYS_flock, ENOLCK, check_unlocked);
	ck_assert(!exists(fixture_path("d/" STATE_LOCK)));
	/* A lock file that was there stays. */
	fixture_file("d/" STATE_LOCK, "", 0644);
	fixture_without(SYS_flock, ENOLCK, check_unlocked);
	ck_assert(exists(fixture_path("d/" STATE_LOCK)));
}
END_TEST

/* Such a directory may have files. */
static int check_unread(void)
{
	struct statedir refused;

	return statedir_open(&refused, fixture_path("d"), &e) == -EIO &&
			       strstr(e.msg, "reading state directory") != NULL
		       ? 0
		       : 2;
}

START_TEST(a_directory_that_cannot_be_read_is_refused)
{
	ck_assert_int_eq(mkdir(fixture_path("d"), 0755), 0);
	fixture_file("d/precious", "kept", 0644);
	fixture_without(SYS_getdents64, EIO, check_unread);
	fixture_assert_content(fixture_path("d/precious"), "kept");
}
END_TEST

/* ---- removing ---- */

static int check_stuck(void)
{
	FILE *log = fopen(fixture_path("log"), "we");

	if (log == NULL || dup2(fileno(log), STDERR_FILENO) < 0)
		return 2;
	fclose(log);
	statedir_remove(&sd);
	return 0;
}

START_TEST(a_lock_that_cannot_be_removed_is_logged)
{
	char text[PATH_MAX], *found;
	FILE *log;

	open_ok(fixture_path("d"));
	fixture_without(SYS_unlinkat, EIO, check_stuck);
	log = fopen(fixture_path("log"), "re");
	ck_assert_ptr_nonnull(log);
	found = fgets(text, sizeof(text), log);
	fclose(log);
	ck_assert_msg(found != NULL && strstr(text, "stays: input/output error") != NULL, "%s",
		      found != NULL ? text : "nothing");
	statedir_remove(&sd);
	ck_assert(!exists(fixture_path("d")));
}
END_TEST

START_TEST(files_of_the_command_go_with_the_directory)
{
	make_kept();
	open_ok(fixture_path("d"));
	ck_assert_int_eq(atomicfile_write(sd.path, STATE_HOSTS, 0644, "x", &e), 0);
	fixture_file("d/my.pid", "1", 0644);
	ck_assert_int_eq(mkdir(fixture_path("d/sub"), 0755), 0);
	ck_assert_int_eq(symlink(fixture_path("kept.d"), fixture_path("d/sub/link")), 0);
	fixture_file("d/sub/file", "x", 0);
	ck_assert_int_eq(chmod(fixture_path("d/sub"), 0), 0);
	statedir_remove(&sd);
	ck_assert(!exists(fixture_path("d")));
	assert_kept();
}
END_TEST

/* The target belongs to the user; the launcher leaves it empty. */
START_TEST(the_target_of_a_link_is_cleared_but_not_removed)
{
	ck_assert_int_eq(mkdir(fixture_path("real"), 0755), 0);
	ck_assert_int_eq(symlink("real", fixture_path("link")), 0);
	for (int i = 0; i < 2; i++) {
		open_ok(fixture_path("link"));
		ck_assert_str_eq(sd.path, fixture_path("link"));
		statedir_remove(&sd);
		ck_assert_int_eq(unlink(fixture_path("real/" STATE_LOCK)), -1);
	}
	ck_assert_int_eq(rmdir(fixture_path("real")), 0);
}
END_TEST

START_TEST(a_directory_that_somebody_has_removed_is_no_error)
{
	open_ok(fixture_path("d"));
	ck_assert_int_eq(unlink(fixture_path("d/" STATE_LOCK)), 0);
	ck_assert_int_eq(rmdir(fixture_path("d")), 0);
	statedir_remove(&sd);
}
END_TEST

/* Ours was moved. */
START_TEST(a_directory_in_the_place_of_ours_is_not_cleared)
{
	hush();
	open_ok(fixture_path("d"));
	ck_assert_int_eq(rename(fixture_path("d"), fixture_path("moved")), 0);
	ck_assert_int_eq(mkdir(fixture_path("d"), 0755), 0);
	fixture_file("d/" STATE_CHILD_PID, "another's", 0644);
	statedir_remove(&sd);
	fixture_assert_content(fixture_path("d/" STATE_CHILD_PID), "another's");
}
END_TEST

static TCase *new_case(void)
{
	TCase *tc = fixture_case_with_dir("new");

	tcase_add_loop_test(tc, a_new_directory_is_made_and_removed, 0, COUNT(umasks));
	tcase_add_loop_test(tc, missing_parents_are_made, 0, COUNT(spellings));
	tcase_add_test(tc, a_relative_path_becomes_absolute);
	tcase_add_test(tc, a_temporary_directory_is_private);
	tcase_add_loop_test(tc, without_tmpdir_temporary_directories_are_in_tmp, 0,
			    COUNT(no_tmpdirs));
	tcase_add_test(tc, the_directory_is_held_shared);
	return tc;
}

static TCase *bad_paths_case(void)
{
	TCase *tc = fixture_case_with_dir("bad paths");

	tcase_add_loop_test(tc, a_bad_path_is_named, 0, COUNT(bad_paths));
	tcase_add_test(tc, a_relative_path_needs_a_current_directory);
	tcase_add_test(tc, a_directory_that_is_called_tilde_causes_a_warning);
	tcase_add_test(tc, an_empty_path_means_a_temporary_directory);
	tcase_add_loop_test(tc, a_directory_that_others_may_write_or_replace_is_refused, 0,
			    COUNT(writable));
	tcase_add_test(tc, a_tmpdir_that_others_may_write_is_refused);
	tcase_add_test(tc, a_path_too_long_for_the_sockets_is_refused);
	tcase_add_test(tc, a_path_beyond_all_limits_is_refused);
	tcase_add_test(tc, a_long_tmpdir_leaves_nothing);
	return tc;
}

static TCase *lock_case(void)
{
	TCase *tc = fixture_case_with_dir("lock");

	tcase_add_test(tc, a_second_launcher_fails);
	tcase_add_test(tc, the_lock_of_a_killed_launcher_is_free);
	tcase_add_test(tc, a_launcher_may_be_killed_at_any_time);
	tcase_add_test(tc, launchers_that_come_and_go_exclude_each_other);
	return tc;
}

static TCase *content_case(void)
{
	TCase *tc = fixture_case_with_dir("content");

	tcase_add_loop_test(tc, stale_files_are_cleared, 0, STALE_COUNT);
	tcase_add_loop_test(tc, files_without_a_lock_are_not_ours, 0, COUNT(not_ours));
	tcase_add_test(tc, an_empty_directory_of_a_copy_up_is_removed);
	tcase_add_test(tc, a_directory_of_a_copy_up_with_files_in_it_is_refused);
	tcase_add_loop_test(tc, a_directory_with_foreign_files_is_refused, 0, COUNT(foreign_names));
	tcase_add_test(tc, a_lock_that_is_a_link_is_refused);
	tcase_add_test(tc, a_lock_that_cannot_be_taken_leaves_nothing);
	tcase_add_test(tc, a_directory_that_cannot_be_read_is_refused);
	tcase_add_test(tc, a_lock_that_cannot_be_removed_is_logged);
	tcase_add_loop_test(tc, a_launchers_directory_is_cleared_with_all_in_it, 0, COUNT(marks));
	tcase_add_loop_test(tc, leftovers_of_file_systems_are_cleared, 0, COUNT(leftovers));
	tcase_add_loop_test(tc, leftovers_without_a_lock_are_kept, 0, COUNT(leftovers));
	tcase_add_loop_test(tc, names_like_a_leftover_are_foreign, 0, COUNT(no_leftovers));
	tcase_add_loop_test(tc, names_of_a_launcher_need_its_lock_or_a_socket, 0,
			    COUNT(half_marks));
	tcase_add_test(tc, a_directory_that_cannot_be_cleared_stays_marked_as_a_launchers);
	tcase_add_test(tc, a_leftover_that_goes_a_little_later_does_not_stay);
	tcase_add_test(tc, a_leftover_that_stays_is_no_obstacle);
	tcase_add_test(tc, other_launchers_sockets_are_cleared);
	tcase_add_test(tc, files_of_the_command_go_with_the_directory);
	tcase_add_test(tc, the_target_of_a_link_is_cleared_but_not_removed);
	tcase_add_test(tc, a_directory_that_somebody_has_removed_is_no_error);
	tcase_add_test(tc, a_directory_in_the_place_of_ours_is_not_cleared);
	return tc;
}

int main(void)
{
	Suite *s = suite_create("statedir");

	suite_add_tcase(s, new_case());
	suite_add_tcase(s, bad_paths_case());
	suite_add_tcase(s, lock_case());
	suite_add_tcase(s, content_case());
	return fixture_run(s);
}
