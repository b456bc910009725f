/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORMATS_PODMANCONFIG_H
#define FORMATS_PODMANCONFIG_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/text.h"
#include "formats/json.h"
#include "formats/portspec.h"

/* What Podman tells its program rootlessport: the configuration on standard input, and the new
 * child IP in a reload. Podman 4 and 5 send the same members; see libnetwork/types and
 * pkg/rootlessport in github.com/containers/common. Nothing here blocks, allocates or has state. */

struct podmanconfig {
	char netns[PATH_MAX];		 /* NetNSPath: the container's network namespace */
	char tmp_dir[PATH_MAX];		 /* TmpDir */
	char container_id[NAME_MAX + 1]; /* ContainerID; a file name */
	char child_ip[PORTSPEC_IP_LEN];	 /* ChildIP; "": unknown */
	int exit_fd, ready_fd;		 /* ExitFD, ReadyFD: positive and different */
	bool has_reloads;		 /* RootlessCNI: Podman will send reloads */
	struct text mappings;		 /* Mappings: its JSON text, borrowed; empty: none */
};

/* Reads the configuration from text[0..len), which must live as long as *c. Ignores unknown
 * members and what follows the object. Does not look into the mappings, which podmanconfig_check
 * does. Returns 0, or -EINVAL or -E2BIG with a reason:
 *   - malformed JSON: see json_parse; a member of another type: see json_field_string;
 *   - missing NetNSPath, missing ExitFD, missing ReadyFD (compat: 4.3), missing TmpDir;
 *   - missing ContainerID, if RootlessCNI is true; ContainerID "a/b" is not a file name;
 *   - ExitFD and ReadyFD are both 3; invalid ChildIP: "foo". */
int podmanconfig_parse(struct podmanconfig *c, const char *text, size_t len, struct err *e);

/* Reads the ports of a configuration one by one. A mapping is several ports if it has a range, or
 * several protocols ("tcp,udp"). A mapping without a range is one port. */
struct podmanconfig_ports {
	const struct podmanconfig *config; /* borrowed */
	struct json_walk walk;
	struct portspec first; /* the first port of the current mapping */
	int range, done;       /* of the current mapping, for each protocol */
	char protocols[128];   /* of the current mapping */
	const char *protocol;  /* the next one; NULL: the mapping is finished */
};

void podmanconfig_ports_init(struct podmanconfig_ports *p, const struct podmanconfig *c);
/* Fills in the next port. An empty host_ip becomes 0.0.0.0 (compat: 4.3). Returns 1; 0 at the end;
 * or -EINVAL or -E2BIG with a reason: those of portspec_from_json, and "invalid range: 70000". */
int podmanconfig_ports_next(struct podmanconfig_ports *p, struct portspec *spec, struct err *e);

/* Checks all ports of a configuration. Returns their number, or -errno as above. */
int podmanconfig_check(const struct podmanconfig *c, struct err *e);

/* Reads the JSON string of a reload from text[0..len): the new child IP, which may be empty.
 * Returns 0, or -EINVAL with a reason. */
int podmanconfig_child_ip(char ip[PORTSPEC_IP_LEN], const char *text, size_t len, struct err *e);

#endif
