/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APPLETS_ROOTLESSKIT_H
#define APPLETS_ROOTLESSKIT_H

#include <stdbool.h>

/* The applet rootlesskit: parses the command line and becomes the parent. In a process that the
 * parent has executed in new namespaces, it becomes the child. Returns the exit status. */
int rootlesskit_main(int argc, char **argv);

/* Was this process executed by a parent, to become its child? */
bool rootlesskit_is_child(char *const *argv);

#endif
