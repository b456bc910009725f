/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_NETWORK_H
#define NET_NETWORK_H

#include <netinet/in.h>
#include <stdbool.h>

#include "base/err.h"
#include "formats/json.h"
#include "formats/jsonout.h"
#include "net/netopts.h"

/* The network that a network program such as slirp4netns makes: its settings, which the parent
 * knows and sends to the child, and what the child does with them.
 */

#define NETWORK_DEV_LEN	    16 /* IFNAMSIZ */
#define NETWORK_DEFAULT_DEV "tap0"
#define NETWORK_MAX_DNS	    4

struct network {
	char dev[NETWORK_DEV_LEN]; /* "" if there is none */
	struct in_addr ip;
	int prefix_len;
	struct in_addr gateway;
	char dns[NETWORK_MAX_DNS][INET6_ADDRSTRLEN]; /* up to the first that is "" */
	unsigned int mtu;
};

/* The settings by the command line. */
void network_plan(struct network *net, const struct netopts *o);

/* As members of an object: Dev, IP, Netmask, Gateway, DNS, MTU. */
void network_to_json(const struct network *net, struct jsonout *out);
/* Returns 0 or -EINVAL. */
int network_from_json(struct network *net, const struct json_doc *doc,
		      const struct json_node *node);

/* In the network namespace itself: link up, MTU, address, default route. Returns 0 or -errno with
 * a reason. */
int network_configure(const struct network *net, struct err *e);

/* In the network namespace: waits until the kernel reports the link as up, so that the command does
 * not see it without a carrier. After `timeout_ms` it goes on. */
void network_wait_up(const struct network *net, int timeout_ms);

/* Writes `resolv.conf` and `hosts` into the state directory. Returns 0 or -errno with a reason. */
int network_write_files(const struct network *net, const char *state_dir, struct err *e);

/* Mounts the two over those in /etc. If /etc is copied up, copies take the place of the links
 * there; else a warning says why that would be better. Returns 0 or -errno with a reason. */
int network_mount_files(const char *state_dir, bool etc_is_copied_up, struct err *e);

#endif
