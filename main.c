/* SPDX-License-Identifier: Apache-2.0 */
/* rlkbox: RootlessKit in one program. The name by which it is called chooses what it is:
 *
 *     rootlesskit ARGS             a link by that name
 *     rlkbox rootlesskit ARGS      the same
 *     ANYTHING ARGS                the same again, by rootlesskit-3.0 or any other name:
 *                                  RootlessKit does not ask for its name
 *
 * Only by a name that begins with "rlkbox" an applet is chosen by the first word. This file has the
 * table of those names (applets), and makes links for them.
 */
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl.h"
#include "demo.h"
#include "dockerproxy.h"
#include "launcher.h"
#include "version.h"

static const struct applet {
	const char *name;
	int (*main)(int argc, char **argv);
	bool installed; /* has a link of its own */
	const char *help;
} applets[] = {
	{ "rootlesskit", launcher_main, true, "runs a command in a user namespace" },
	{ "docker-rootlesskit", launcher_main, true, "the same; Docker looks for this name too" },
	{ "rootlessctl", ctl_main, true, "client of a launcher's API: ports and information" },
	{ "rootlesskit-docker-proxy", dockerproxy_main, true,
	  "publishes ports for Docker before version 28" },
	{ "demo-httpd", demo_server_main, false, "a tiny web server that tells what it sees" },
	{ "demo-get", demo_client_main, false, "fetches a page of it" },
};

#define APPLET_COUNT (sizeof(applets) / sizeof(applets[0]))

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
		if (applets[i].installed)
			printf("%s\n", applets[i].name);
	return 0;
}

/* ---- links ---- */

static int complain(const char *what, const char *path)
{
	fprintf(stderr, "rlkbox: %s %s: %s\n", what, path, strerror(errno));
	return 1;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* May a link be put at `path`? Nothing is there, or a link of ours, or something that may go.
 * Returns 1, 0 if our own program is there already, or -1 with a complaint. */
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

/* Makes one link. It is made under another name first, so that what it replaces is lost only when
 * it is there. `target` is what a symbolic link says. */
static int make_link(const char *self, const char *target, const char *path, bool symbolic,
		     bool force)
{
	char new[PATH_MAX + sizeof("..new")];
	struct stat ours;
	int place;

	if (stat(self, &ours) < 0)
		return complain("reading", self);
	place = check_place(&ours, path, force);
	if (place <= 0)
		return place < 0;
	snprintf(new, sizeof(new), "%.*s.%s.new", (int)(base_name(path) - path), path,
		 base_name(path));
	unlink(new); /* of an earlier try */
	if ((symbolic ? symlink(target, new) : link(self, new)) < 0)
		return complain("creating", path);
	if (rename(new, path) < 0) {
		int status = complain("creating", path);

		unlink(new);
		return status;
	}
	return 0;
}

/* What a symbolic link in `dir` to `self` shall say: just its name if that is in the same
 * directory, so that the directory may be moved. */
static const char *link_target(const char *self, const char *dir)
{
	char parent[PATH_MAX];
	struct stat a, b;

	snprintf(parent, sizeof(parent), "%.*s", (int)(base_name(self) - self), self);
	if (stat(parent, &a) == 0 && stat(dir, &b) == 0 && is_same(&a, &b))
		return base_name(self);
	return self;
}

static int install_links(const char *dir, bool symbolic, bool force)
{
	char self[PATH_MAX];
	char path[PATH_MAX];
	const char *target;
	int status = 0;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0)
		return complain("reading", "/proc/self/exe");
	self[n] = '\0';
	target = link_target(self, dir);
	for (size_t i = 0; i < APPLET_COUNT; i++) {
		if (!applets[i].installed)
			continue;
		if (snprintf(path, sizeof(path), "%s/%s", dir, applets[i].name) >=
		    (int)sizeof(path)) {
			errno = ENAMETOOLONG;
			return complain("creating", dir);
		}
		status |= make_link(self, target, path, symbolic, force);
	}
	return status;
}

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
			fprintf(stderr, "rlkbox: unknown option %s of --install\n", argv[i]);
			return 1;
		}
	}
	if (i + 1 != argc) {
		fprintf(stderr, "Usage: rlkbox --install [-s] [-f] DIR\n");
		return 1;
	}
	return install_links(argv[i], symbolic, force);
}

/* ---- which one? ---- */

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
	fprintf(stderr, "rlkbox: no applet is called %s; `rlkbox --help` lists them\n", argv[1]);
	return 1;
}

int main(int argc, char **argv)
{
	const struct applet *applet;

	if (argc < 1)
		return 1;
	if (launcher_is_child(argv))
		return launcher_main(argc, argv);
	applet = find_applet(base_name(argv[0]));
	if (applet != NULL)
		return applet->main(argc, argv);
	if (strncmp(base_name(argv[0]), "rlkbox", strlen("rlkbox")) == 0)
		return rlkbox_main(argc, argv);
	return launcher_main(argc, argv);
}
