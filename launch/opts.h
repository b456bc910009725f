/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCH_OPTS_H
#define LAUNCH_OPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "net/netopts.h"

/* The launcher's command line. One table of options (opts.c) is used for parsing and for --help.
 * The parent and the child parse the same command line and get the same result. Everything here
 * runs in the main thread; only opts_check and opts_warn look at files. */

enum subid_source {
	SUBID_AUTO,
	SUBID_DYNAMIC,
	SUBID_STATIC,
	SUBID_SELF,
	SUBID_SOURCE_COUNT,
};

struct opts {
	/* As given on the command line. Strings are borrowed from argv; items of lists are
	 * owned. */
	bool help;
	bool version;
	bool debug;
	const char *print_semver;
	const char *state_dir;
	struct netopts net;
	struct string_list copy_up;
	const char *copy_up_mode;
	int64_t workers;
	bool pidns;
	bool cgroupns;
	bool utsns;
	bool ipcns;
	const char *reaper;
	const char *evacuate_cgroup2;
	const char *propagation;
	const char *subid_source_name;
	char *const *command; /* NULL-terminated, in argv */
	/* The last option whose value was a separate word, which may have been meant as the
	 * command. `word` is NULL if there was no such option. */
	struct {
		const char *word;
		const char *option;
		const char *value; /* placeholder of the value in the help */
	} taken;

	/* derived from the above by opts_check */
	bool checked; /* opts_check succeeded */
	enum subid_source subid_source;
	bool reaps;	/* the child reaps orphans, and the command runs in a new session */
	bool evacuates; /* all processes move to the cgroup evacuate_cgroup2 */
};

/* Parses a command line. `argv` must outlive `o`. Free `o` with opts_free, also after a failure.
 * Returns 0, or -errno with a reason in RootlessKit's words (flags_next): -EINVAL for a malformed
 * line, -ENOENT for an unknown option, -ENOMEM. After a failure callers also call flags_complain,
 * as RootlessKit prints the reason on standard output too. */
int opts_parse(struct opts *o, int argc, char *const *argv, struct err *e);

/* Returns 0 if there is a command. Else returns -EINVAL with a reason, which names the option that
 * may have taken the command as its value. */
int opts_check_command(const struct opts *o, struct err *e);

/* Checks all values and their combinations, before anything is created. Returns 0, or -EINVAL or
 * -ENOTSUP with a reason that names the options. */
int opts_check(struct opts *o, struct err *e);

/* Logs warnings about options that are valid but have no effect or are discouraged. May be called
 * after opts_check has failed, before its reason is logged: then it gives the warnings that
 * RootlessKit gives before that error. */
void opts_warn(const struct opts *o);

/* Prints the help to standard output. */
void opts_print_help(void);

/* Is `dir`, which has no trailing slash, in the list of --copy-up? Trailing slashes in the list are
 * ignored. */
bool opts_copies_up(const struct opts *o, const char *dir);

/* Frees the items of the lists. */
void opts_free(struct opts *o);

#endif
