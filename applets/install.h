/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APPLETS_INSTALL_H
#define APPLETS_INSTALL_H

#include <stdbool.h>

struct install_name {
	const char *name; /* NULL ends a list */
	bool wanted;	  /* make the link; --with NAME sets this */
};

/* Creates links to the running program in a directory: `rlkbox --install [-s] [-f] [--with NAME]
 * DIR`. argv[0] is "--install". The links are hard links, or symbolic links with -s. Other files
 * with these names are replaced only with -f. Prints errors to standard error. Returns the exit
 * status. Blocks as long as the file system does. */
int install_main(int argc, char **argv, struct install_name *names);

#endif
