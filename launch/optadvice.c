/* SPDX-License-Identifier: Apache-2.0 */
/* Advice about options of other programs. See optadvice.h. */
#include "launch/optadvice.h"

#include <string.h>

#include "base/array.h"

#define NAMES_MAX 6

static const struct {
	const char *names[NAMES_MAX];
	const char *advice;
} foreign[] = {
	{ { "i", "t", "it", "ti", "tty", "interactive" },
	  "leave it out: the command uses this terminal" },
	{ { "rm" }, "leave it out: nothing is left at the end" },
	{ { "d", "detach", "background" },
	  "try `rootlesskit ... &`, or a service: the launcher stays in the foreground" },
	{ { "P", "ports", "port", "expose", "publish-all" },
	  "each port takes a -p of its own, such as -p 127.0.0.1:8080:80/tcp" },
	{ { "volume", "mount", "bind", "tmpfs" },
	  "leave it out: the command sees the files of the host; --copy-up=DIR makes a directory "
	  "writable" },
	{ { "e", "env" }, "try env NAME=VALUE COMMAND" },
	{ { "w", "workdir", "cwd" }, "try env -C DIR COMMAND" },
	{ { "u", "user", "map-root-user", "r" },
	  "leave it out: the command is root inside, and this user outside" },
	{ { "privileged", "cap-add" }, "leave it out: the command has all capabilities inside" },
	{ { "userns", "uidmap", "gidmap" },
	  "--subid-source says which IDs the new user namespace has" },
	{ { "hostname" }, "try --utsns with sh -c 'hostname NAME; exec COMMAND'" },
	{ { "name" }, "try --state-dir=DIR, by which other programs find the launcher" },
	{ { "D", "verbose", "log-level" }, "try --debug" },
	{ { "6", "enable-ipv6" }, "try --ipv6" },
	{ { "enable-sandbox" }, "try --slirp4netns-sandbox=true" },
	{ { "enable-seccomp" }, "try --slirp4netns-seccomp=true" },
	{ { "a", "api-socket", "socket" }, "try --state-dir=DIR: the sockets are in DIR" },
	{ { "dns" }, "try --copy-up=/etc, and change /etc/resolv.conf inside" },
	{ { "init" }, "try --pidns, or --reaper=true" },
	{ { "m", "memory", "cpus" },
	  "try systemd-run --user --scope -p MemoryMax=... rootlesskit: the launcher sets no "
	  "limits" },
	{ { "c" }, "options stand before the command: try sh -c '...'" },
};

const char *optadvice_foreign(const char *name, size_t len)
{
	for (size_t i = 0; i < COUNT_OF(foreign); i++) {
		for (size_t n = 0; n < NAMES_MAX && foreign[i].names[n] != NULL; n++) {
			const char *known = foreign[i].names[n];

			if (strlen(known) == len && strncmp(known, name, len) == 0)
				return foreign[i].advice;
		}
	}
	return NULL;
}
