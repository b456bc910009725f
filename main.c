/* SPDX-License-Identifier: Apache-2.0 */
/* rlkbox: RootlessKit in one program. The name by which it is called selects an applet:
 *
 *     rootlesskit ARGS             a link with that name
 *     rlkbox rootlesskit ARGS      the same
 *     ANYTHING ARGS                the same for any other name, such as rootlesskit-3.0, because
 *                                  RootlessKit does not look at its name
 *
 * If the name begins with "rlkbox", the first word selects the applet.
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "applets/dockerproxy.h"
#include "applets/install.h"
#include "applets/rootlessctl.h"
#include "applets/rootlesskit.h"
#include "applets/rootlessport.h"
#include "applets/versionview.h"
#include "base/array.h"
#include "base/text.h"
#include "base/version.h"

static const struct applet {
	const char *name;
	int (*main)(int argc, char **argv);
	const char *help;
	bool on_demand; /* linked only by --install --with NAME */
} applets[] = {
	{ "rootlesskit", rootlesskit_main, "runs a command in a user namespace", false },
	{ "docker-rootlesskit", rootlesskit_main, "the same; Docker looks for this name too",
	  false },
	{ "rootlessctl", rootlessctl_main, "client of a launcher's API: ports and information",
	  false },
	{ "rootlesskit-docker-proxy", dockerproxy_main,
	  "publishes ports for Docker before version 28", false },
	{ "rootlessport", rootlessport_main,
	  "publishes ports for Podman; installed only by --with rootlessport", true },
};

#define APPLET_COUNT COUNT_OF(applets)

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
		"       rlkbox --list                    prints the names of the links\n"
		"       rlkbox --install [-s] [-f] [--with APPLET] DIR\n"
		"                                        makes hard links with these names in "
		"DIR;\n"
		"                                        -s: symbolic links, -f: replaces other "
		"files,\n"
		"                                        --with rootlessport: this name, too\n"
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
		if (!applets[i].on_demand)
			printf("%s\n", applets[i].name);
	return 0;
}

/* ---- choosing the applet ---- */

/* Reports an unknown applet, and suggests the word that the user may have meant. */
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

static int install(int argc, char **argv)
{
	struct install_name names[APPLET_COUNT + 1] = { { NULL, false } };

	for (size_t i = 0; i < APPLET_COUNT; i++)
		names[i] = (struct install_name){ applets[i].name, !applets[i].on_demand };
	return install_main(argc, argv, names);
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
		return install(argc - 1, argv + 1);
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		print_usage(stdout);
		return 0;
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-v") == 0) {
		versionview_print("rlkbox version " RLKBOX_VERSION);
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
	if (rootlesskit_is_child(argv))
		return rootlesskit_main(argc, argv);
	applet = find_applet(text_base_name(argv[0]));
	if (applet != NULL)
		return applet->main(argc, argv);
	if (strncmp(text_base_name(argv[0]), "rlkbox", strlen("rlkbox")) == 0)
		return rlkbox_main(argc, argv);
	return rootlesskit_main(argc, argv);
}
