/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APPLETS_ROOTLESSKIT_H
#define APPLETS_ROOTLESSKIT_H

#include <stdbool.h>

/* The applet rootlesskit: reads the command line, and becomes the parent, or, executed by a parent
 * in new namespaces, the child. */
int rootlesskit_main(int argc, char **argv);

/* Was this process executed by a parent to be its child? */
bool launcher_is_child(char *const *argv);

#endif
