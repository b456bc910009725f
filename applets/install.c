/* SPDX-License-Identifier: Apache-2.0 */
/* Links for the names of the applets. See install.h. */
#include "applets/install.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/text.h"

/* Prints an error message with the reason of errno. Returns the exit status. */
static int complain(const char *what, const char *path, const char *advice)
{
	char why[128];

	fprintf(stderr, "rlkbox: %s %s: %s%s\n", what, path, err_text(errno, why, sizeof(why)),
		advice);
	return 1;
}

/* Returns advice for the errno of a failed link, or "". */
static const char *link_advice(bool symbolic)
{
	if (errno == EACCES)
		return "; try it as root, or with a directory of your own";
	if (errno == EROFS)
		return "; try a directory that can be written";
	/* EPERM: fs.protected_hardlinks (proc_sys_fs(5)) forbids links to files of another user */
	if (!symbolic && (errno == EXDEV || errno == EPERM || errno == EMLINK))
		return "; try symbolic links: rlkbox --install -s DIR";
	return "";
}

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* May a link be created at `path`? Returns 0 if a hard link to this program is there already; 1 if
 * nothing is there, or a symbolic link to this program, or another file and `force` is set;
 * otherwise -1, after an error message. */
static int check_place(const struct stat *ours, const char *path, bool force)
{
	struct stat there, leads_to;

	if (lstat(path, &there) < 0)
		return 1;
	if (is_same(&there, ours))
		return 0; /* a hard link, or the program itself */
	if (force || (stat(path, &leads_to) == 0 && is_same(&leads_to, ours)))
		return 1;
	fprintf(stderr,
		"rlkbox: %s is there already and is no link to this rlkbox: use -f to replace it\n",
		path);
	return -1;
}

/* Creates one link: under another name, and then renames it, so that a file of the final name is
 * replaced only on success. `target` is the content of a symbolic link. Returns 0, 1 if this link
 * cannot be created, or -1 if none can. */
static int make_link(const char *self, const char *target, const char *path, bool symbolic,
		     bool force)
{
	char new[PATH_MAX + sizeof("..new")];
	struct stat ours;
	int place, dir_len;

	if (stat(self, &ours) < 0)
		return complain("reading", self, "");
	place = check_place(&ours, path, force);
	if (place <= 0)
		return place < 0;
	dir_len = (int)(text_base_name(path) - path) - 1;
	snprintf(new, sizeof(new), "%.*s", dir_len > 0 ? dir_len : 1, path);
	if (access(new, W_OK | X_OK) < 0) {
		complain("writing to", new, link_advice(symbolic));
		return -1;
	}
	snprintf(new, sizeof(new), "%.*s.%s.new", (int)(text_base_name(path) - path), path,
		 text_base_name(path));
	unlink(new); /* left by an earlier attempt */
	if ((symbolic ? symlink(target, new) : link(self, new)) < 0) {
		complain("creating", path, link_advice(symbolic));
		return -1; /* the others would fail as well */
	}
	if (rename(new, path) < 0) {
		int status = complain("creating", path, "");

		unlink(new);
		return status;
	}
	return 0;
}

/* Returns the content of a symbolic link in `dir` to `self`: only the file name if both are in the
 * same directory, so that the directory can be moved. */
static const char *link_target(const char *self, const char *dir)
{
	char parent[PATH_MAX];
	struct stat a, b;

	snprintf(parent, sizeof(parent), "%.*s", (int)(text_base_name(self) - self), self);
	if (stat(parent, &a) == 0 && stat(dir, &b) == 0 && is_same(&a, &b))
		return text_base_name(self);
	return self;
}

/* Returns 0 if links can be created in `dir`, or 1 after an error message. */
static int check_directory(const char *dir)
{
	struct stat st;

	if (stat(dir, &st) < 0 && errno == ENOENT) {
		fprintf(stderr, "rlkbox: directory %s does not exist; try `mkdir -p %s`\n", dir,
			dir);
		return 1;
	}
	if (stat(dir, &st) < 0)
		return complain("reading", dir, "");
	if (!S_ISDIR(st.st_mode)) {
		fprintf(stderr, "rlkbox: %s is not a directory; links are made in a directory\n",
			dir);
		return 1;
	}
	return 0;
}

static int install_links(const char *dir, bool symbolic, bool force,
			 const struct install_name *names)
{
	size_t dir_len = strlen(dir);
	char self[PATH_MAX];
	char path[PATH_MAX];
	const char *target;
	int status = 0, r = 0;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0)
		return complain("reading", "/proc/self/exe", "");
	self[n] = '\0';
	if (check_directory(dir) != 0)
		return 1;
	target = link_target(self, dir);
	while (dir_len > 0 && dir[dir_len - 1] == '/')
		dir_len--;
	for (; r >= 0 && names->name != NULL; names++) {
		if (!names->wanted)
			continue;
		if (snprintf(path, sizeof(path), "%.*s/%s", (int)dir_len, dir, names->name) >=
		    (int)sizeof(path)) {
			errno = ENAMETOOLONG;
			return complain("creating", dir, "");
		}
		r = make_link(self, target, path, symbolic, force);
		status |= r != 0;
	}
	return status;
}

#define INSTALL_USAGE "rlkbox --install [-s] [-f] [--with APPLET] DIR"

/* Marks an applet as wanted. Returns false after an error message. */
static bool add_name(struct install_name *names, const char *name)
{
	for (; name != NULL && names->name != NULL; names++) {
		if (strcmp(names->name, name) == 0) {
			names->wanted = true;
			return true;
		}
	}
	if (name == NULL)
		fprintf(stderr, "rlkbox: --with takes a name; the usage is " INSTALL_USAGE "\n");
	else
		fprintf(stderr, "rlkbox: no applet is called %s; `rlkbox --help` lists them\n",
			name);
	return false;
}

int install_main(int argc, char **argv, struct install_name *names)
{
	bool symbolic = false, force = false;
	int i = 1;

	for (; i < argc && argv[i][0] == '-'; i++) {
		if (strcmp(argv[i], "-s") == 0) {
			symbolic = true;
		} else if (strcmp(argv[i], "-f") == 0) {
			force = true;
		} else if (strcmp(argv[i], "--with") == 0) {
			if (!add_name(names, argv[++i]))
				return 1;
		} else {
			fprintf(stderr,
				"rlkbox: unknown option %s of --install; the usage "
				"is " INSTALL_USAGE "\n",
				argv[i]);
			return 1;
		}
	}
	if (i + 1 != argc) {
		fprintf(stderr,
			"rlkbox: --install takes one directory%s; the usage is " INSTALL_USAGE "\n",
			i == argc ? "" : " and options in front of it");
		return 1;
	}
	return install_links(argv[i], symbolic, force, names);
}
