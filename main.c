/* SPDX-License-Identifier: Apache-2.0 */
/* rlkbox: RootlessKit in one program. The name by which it is called selects an applet:
 *
 *     rootlesskit ARGS             a link with that name
 *     rlkbox rootlesskit ARGS      the same
 *     ANYTHING ARGS                the same for any other name, such as rootlesskit-3.0:
 *                                  RootlessKit does not look at its name
 *
 * Only if the name begins with "rlkbox" does the first word select the applet. This file has the
 * table of applets and creates the links.
 */
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "applets/dockerproxy.h"
#include "applets/rootlessctl.h"
#include "applets/rootlesskit.h"
#include "base/array.h"
#include "base/err.h"
#include "base/text.h"
#include "base/version.h"

static const struct applet {
	const char *name;
	int (*main)(int argc, char **argv);
	const char *help;
} applets[] = {
	{ "rootlesskit", rootlesskit_main, "runs a command in a user namespace" },
	{ "docker-rootlesskit", rootlesskit_main, "the same; Docker looks for this name too" },
	{ "rootlessctl", rootlessctl_main, "client of a launcher's API: ports and information" },
	{ "rootlesskit-docker-proxy", dockerproxy_main,
	  "publishes ports for Docker before version 28" },
};

#define APPLET_COUNT COUNT_OF(applets)

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash != NULL ? slash + 1 : path;
}

static const struct applet *find_applet(const char *name)
{
	for (size_t i = 0; i < APPLET_COUNT; i++)
		if (strcmp(applets[i].name, name) == 0)
			return &applets[i];
	return NULL;
}

static void print_usage(FILE *to)
{
	fprintf(to,
		"rlkbox %s: RootlessKit in one program\n"
		"\n"
		"Usage: rlkbox APPLET [ARGUMENTS]\n"
		"       rlkbox --list                    the names that it is to be called by\n"
		"       rlkbox --install [-s] [-f] DIR   makes hard links for them in DIR;\n"
		"                                        -s: symbolic ones, -f: over other files "
		"too\n"
		"       rlkbox --help | --version\n"
		"\n"
		"Applets:\n",
		RLKBOX_VERSION);
	for (size_t i = 0; i < APPLET_COUNT; i++)
		fprintf(to, "  %-24s %s\n", applets[i].name, applets[i].help);
}

static int print_list(void)
{
	for (size_t i = 0; i < APPLET_COUNT; i++)
		printf("%s\n", applets[i].name);
	return 0;
}

/* ---- links ---- */

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
	if (errno == EACCES || errno == EROFS)
		return "; try it as root, or with a directory of your own";
	/* EPERM: fs.protected_hardlinks (proc_sys_fs(5)) forbids links to files of another user */
	if (!symbolic && (errno == EXDEV || errno == EPERM || errno == EMLINK))
		return "; try symbolic links: rlkbox --install -s DIR";
	return "";
}

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* May a link be created at `path`? Returns 1 if nothing is there, or a link to this program, or
 * `force` is set. Returns 0 if this program is there already, or -1 after an error message. */
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

/* Creates one link. It gets another name first and is then renamed, so that the file it replaces is
 * lost only on success. `target` is the content of a symbolic link. Returns 0, 1 if this link
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
	dir_len = (int)(base_name(path) - path) - 1;
	snprintf(new, sizeof(new), "%.*s", dir_len > 0 ? dir_len : 1, path);
	if (access(new, W_OK | X_OK) < 0) {
		complain("writing to", new, link_advice(symbolic));
		return -1;
	}
	snprintf(new, sizeof(new), "%.*s.%s.new", (int)(base_name(path) - path), path,
		 base_name(path));
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

	snprintf(parent, sizeof(parent), "%.*s", (int)(base_name(self) - self), self);
	if (stat(parent, &a) == 0 && stat(dir, &b) == 0 && is_same(&a, &b))
		return base_name(self);
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

static int install_links(const char *dir, bool symbolic, bool force)
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
	for (size_t i = 0; r >= 0 && i < APPLET_COUNT; i++) {
		if (snprintf(path, sizeof(path), "%.*s/%s", (int)dir_len, dir, applets[i].name) >=
		    (int)sizeof(path)) {
			errno = ENAMETOOLONG;
			return complain("creating", dir, "");
		}
		r = make_link(self, target, path, symbolic, force);
		status |= r != 0;
	}
	return status;
}

#define INSTALL_USAGE "rlkbox --install [-s] [-f] DIR"

static int install_main(int argc, char **argv)
{
	bool symbolic = false, force = false;
	int i = 2;

	for (; i < argc && argv[i][0] == '-'; i++) {
		if (strcmp(argv[i], "-s") == 0) {
			symbolic = true;
		} else if (strcmp(argv[i], "-f") == 0) {
			force = true;
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
	return install_links(argv[i], symbolic, force);
}

/* ---- choosing the applet ---- */

/* Reports an unknown applet, and suggests what may have been meant. */
static void tell_unknown(const char *word)
{
	static const char *const options[] = { "--list", "--install", "--help", "--version" };
	const char *letters = word + strspn(word, "-");
	struct text typed = { letters, strlen(letters) };
	const char *meant = NULL;

	for (size_t i = 0; i < COUNT_OF(options); i++)
		if (text_typing_errors(typed, options[i] + strlen("--")) >= 0)
			meant = options[i];
	for (size_t i = 0; meant == NULL && i < APPLET_COUNT; i++)
		if (text_typing_errors(typed, applets[i].name) >= 0)
			meant = applets[i].name;
	fprintf(stderr, "rlkbox: no applet is called %s", word);
	if (meant != NULL)
		fprintf(stderr, "; did you mean %s?", meant);
	fprintf(stderr, "%s `rlkbox --help` lists them\n", meant != NULL ? "" : ";");
}

static int rlkbox_main(int argc, char **argv)
{
	const struct applet *applet;

	if (argc < 2) {
		print_usage(stderr);
		return 1;
	}
	if (strcmp(argv[1], "--list") == 0)
		return print_list();
	if (strcmp(argv[1], "--install") == 0)
		return install_main(argc, argv);
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		print_usage(stdout);
		return 0;
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-v") == 0) {
		printf("rlkbox %s\n", RLKBOX_VERSION);
		return 0;
	}
	applet = find_applet(argv[1]);
	if (applet != NULL)
		return applet->main(argc - 1, argv + 1);
	tell_unknown(argv[1]);
	return 1;
}

int main(int argc, char **argv)
{
	const struct applet *applet;

	if (argc < 1)
		return 1;
	if (launcher_is_child(argv))
		return rootlesskit_main(argc, argv);
	applet = find_applet(base_name(argv[0]));
	if (applet != NULL)
		return applet->main(argc, argv);
	if (strncmp(base_name(argv[0]), "rlkbox", strlen("rlkbox")) == 0)
		return rlkbox_main(argc, argv);
	return rootlesskit_main(argc, argv);
}
