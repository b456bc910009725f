/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCH_OPTS_H
#define LAUNCH_OPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "net/netopts.h"

/* The command line of the launcher: one table of options, from which lines are read and --help is
 * printed. Parent and child read the same line and come to the same result.
 */

enum subid_source {
	SUBID_AUTO,
	SUBID_DYNAMIC,
	SUBID_STATIC,
	SUBID_SELF,
	SUBID_SOURCE_COUNT,
};

struct opts {
	/* as given; strings are borrowed from argv but for the items of lists */
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
	char *const *command; /* ends with NULL */
	/* the last option whose value is a word of its own; `word` is NULL if there is none */
	struct {
		const char *word;
		const char *option;
		const char *value; /* its name in the help */
	} taken;

	/* what it means, set by opts_check */
	bool checked; /* without an error */
	enum subid_source subid_source;
	bool reaps;	/* the child reaps orphans, and the command gets a session of its own */
	bool evacuates; /* all processes go to the cgroup evacuate_cgroup2 */
};

/* Reads a command line. Returns 0; -EINVAL for a line that cannot be read, -ENOENT for an option
 * that is not there, with the reason in the reference's words (flags_next), after which users
 * expect the help on standard output; -ENOMEM. */
int opts_parse(struct opts *o, int argc, char *const *argv, struct err *e);

/* Is there a command? Returns 0, or -EINVAL with a reason that names the option that may have taken
 * it as its value. */
int opts_check_command(const struct opts *o, struct err *e);

/* Checks all values and combinations before anything is created. Returns 0 or -EINVAL with a
 * reason that names the options. */
int opts_check(struct opts *o, struct err *e);

/* What the user should know although it is no error, one warning each by log_warn. Also after
 * opts_check has failed, before its reason is shown: gives the warnings that RootlessKit gives by
 * then. */
void opts_warn(const struct opts *o);

/* Prints the help to standard output. */
void opts_print_help(void);

/* Is the directory, cleaned of trailing slashes, one of those to be copied up? */
bool opts_copies_up(const struct opts *o, const char *dir);

void opts_free(struct opts *o);

#endif
