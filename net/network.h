/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_NETWORK_H
#define NET_NETWORK_H

#include <netinet/in.h>
#include <stdbool.h>

#include "base/err.h"
#include "formats/json.h"
#include "formats/jsonout.h"
#include "net/netopts.h"

/* The settings of the network that a network program such as slirp4netns makes. The parent derives
 * them from the options and sends them to the child, which configures its network namespace with
 * them. */

#define NETWORK_DEV_LEN	    16 /* IFNAMSIZ */
#define NETWORK_DEFAULT_DEV "tap0"
#define NETWORK_MAX_DNS	    4

struct network {
	char dev[NETWORK_DEV_LEN]; /* "" if there is no such network; the rest is unset then */
	struct in_addr ip;
	int prefix_len;
	struct in_addr gateway;
	char dns[NETWORK_MAX_DNS][INET6_ADDRSTRLEN]; /* ends at the first "" */
	unsigned int mtu;
};

/* In the parent: derives the settings from the options, which netopts_check has checked. */
void network_plan(struct network *net, const struct netopts *o);

/* Writes the settings as members of the current object: Dev, IP, Netmask, Gateway, DNS, MTU. */
void network_to_json(const struct network *net, struct jsonout *out);
/* Reads them from an object. Returns 0, or -EINVAL if one is missing or malformed. */
int network_from_json(struct network *net, const struct json_doc *doc,
		      const struct json_node *node);

/* In the child, in a thread that is in the network namespace: sets the link up, with MTU, address
 * and default route. Returns 0 or -errno with a reason. */
int network_configure(const struct network *net, struct err *e);

/* In the same thread: waits until the kernel reports the link as up, so that the command does not
 * see it without a carrier. Gives up after `timeout_ms`, with a line in the debug log. */
void network_wait_up(const struct network *net, int timeout_ms);

/* In the child: writes `resolv.conf` and `hosts` into the state directory. Returns 0 or -errno with
 * a reason. */
int network_write_files(const struct network *net, const char *state_dir, struct err *e);

/* In the child: makes these two files appear in /etc. If /etc is copied up, copies replace the
 * symbolic links there. Else bind mounts cover the files, and a warning recommends --copy-up=/etc.
 * Returns 0 or -errno with a reason. */
int network_mount_files(const char *state_dir, bool etc_is_copied_up, struct err *e);

#endif
