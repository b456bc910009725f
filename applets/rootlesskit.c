/* SPDX-License-Identifier: Apache-2.0 */
/* Handles the launcher's command line and starts one of its two processes. See rootlesskit.h. */
#include "applets/rootlesskit.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "applets/versionview.h"
#include "base/array.h"
#include "base/flags.h"
#include "base/log.h"
#include "base/version.h"
#include "child.h"
#include "launch/opts.h"
#include "launch/reexec.h"
#include "parent.h"

static int print_semver(const char *part)
{
	static const struct {
		const char *name;
		const char *value;
	} parts[] = {
		{ "major", COMPAT_MAJOR },
		{ "minor", COMPAT_MINOR },
		{ "patch", COMPAT_PATCH },
	};

	for (size_t i = 0; i < COUNT_OF(parts); i++) {
		if (strcmp(parts[i].name, part) == 0) {
			printf("%s\n", parts[i].value);
			return 0;
		}
	}
	log_fatal("expected --print-semver=(major|minor|patch), got \"%s\"", part);
	return 1;
}

/* Handles the options that only print something. Returns the exit status, or -1 to continue. */
static int run_printing(const struct opts *o)
{
	if (o->help) {
		opts_print_help();
		return 0;
	}
	if (o->version) {
		versionview_print("rootlesskit version " COMPAT_VERSION);
		return 0;
	}
	return o->print_semver != NULL && o->print_semver[0] != '\0' ? print_semver(o->print_semver)
								     : -1;
}

static int run(struct opts *o, char **argv, bool is_child)
{
	struct err e;
	int status, r;

	if (getuid() != geteuid() || getgid() != getegid()) {
		log_fatal("this program must not be set-UID or set-GID");
		return 1;
	}
	status = is_child ? -1 : run_printing(o);
	if (status >= 0)
		return status;
	if (!is_child && opts_check_command(o, &e) < 0) {
		log_fatal("%s", e.msg);
		return 1;
	}
	r = opts_check(o, &e);
	if (!is_child)
		opts_warn(o);
	if (r < 0) {
		log_fatal("%s", e.msg);
		return 1;
	}
	if (is_child)
		return child_main(o);
	return parent_main(o, argv);
}

bool rootlesskit_is_child(char *const *argv)
{
	return reexec_is_child(argv);
}

int rootlesskit_main(int argc, char **argv)
{
	bool is_child = reexec_is_child(argv);
	struct opts o;
	struct err e;
	int status;
	int r = opts_parse(&o, argc, argv, &e);

	log_init(is_child ? "child " : "parent", o.debug);
	if (r < 0) {
		flags_complain("rootlesskit", &e);
		fflush(stdout);
		log_fatal("%s", e.msg);
		status = 1;
	} else {
		status = run(&o, argv, is_child);
	}
	opts_free(&o);
	return status;
}
