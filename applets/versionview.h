/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APPLETS_VERSIONVIEW_H
#define APPLETS_VERSIONVIEW_H

/* Prints the answer to --version on standard output: `line`, and below it the commit, the C library
 * and the drivers.
 *
 * compat: scripts cut the third word out of RootlessKit's only line, often without `head -n 1`:
 * `$(rootlesskit --version | cut -d' ' -f3)`. So each further line has two words; cut(1) and awk(1)
 * make empty lines of them, which $() removes. */
void versionview_print(const char *line);

#endif
