/* SPDX-License-Identifier: Apache-2.0 */
/* The answer to --version. See versionview.h. */
#include "applets/versionview.h"

#include <stdio.h>

#include "base/version.h"
#include "net/netopts.h"

static void print_names(const char *what, const char *(*name)(size_t index))
{
	printf("%s: %s", what, name(0));
	for (size_t i = 1; name(i) != NULL; i++)
		printf(",%s", name(i));
	printf("\n");
}

void versionview_print(const char *line)
{
	char libc[VERSION_LIBC_LEN];

	printf("%s\n", line);
	printf("commit: %s\n", version_commit());
	printf("libc: %s\n", version_libc(libc, sizeof(libc)));
	print_names("network-drivers", netopts_net_name);
	print_names("port-drivers", netopts_port_driver_name);
}
