/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORMATS_TARGET_H
#define FORMATS_TARGET_H

#include <stdbool.h>
#include <sys/socket.h>

#include "base/err.h"
#include "formats/ipaddr.h"
#include "formats/portspec.h"

/* Where a published port leads: a port spec with its addresses parsed. They are parsed once for a
 * port, so that no connection does it again. Nothing here blocks, allocates or has state. */

struct target {
	enum proto proto;
	int port;		 /* inside */
	struct ipaddr ip;	 /* child IP; AF_UNSPEC: not given */
	struct ipaddr parent_ip; /* AF_UNSPEC: not given */
	/* compat: the two addresses as the user wrote them, for requests to the child (bpmsg.h).
	 * Borrowed; NULL: requests have the usual text form. */
	const char *ip_text, *parent_ip_text;
};

/* Sets *t according to a port spec, which must live as long as *t: its texts are borrowed. Returns
 * 0, or -EINVAL with a reason for an invalid address ("invalid ChildIP: \"foo\""). */
int target_from_spec(struct target *t, const struct portspec *spec, struct err *e);

/* Is the target's protocol one that the port service can connect? Returns 0, or -ENOTSUP with a
 * reason for SCTP. */
int target_check(const struct target *t, struct err *e);

/* Returns the address to connect to in the child, as RootlessKit chooses it:
 *   - the child IP, if one is given;
 *   - 127.0.0.1, if no parent IP is given, or it is 0.0.0.0 or the host's gateway IP;
 *   - otherwise the parent IP.
 * `host_gateway_ip` may be AF_UNSPEC. */
struct ipaddr target_address(const struct target *t, const struct ipaddr *host_gateway_ip);
/* Must the child's addresses be known before a connect to `ip`, which target_address has chosen?
 * True if there is no child IP, and the parent IP is an address that the child's network namespace
 * may or may not have. The caller looks that up (reach.h): if the address is local in the
 * namespace, connect to it, otherwise to the loopback address of its family. */
bool target_depends_on_child(const struct target *t, const struct ipaddr *ip);

/* Fills in the socket address of `ip` and the target's port; for 0.0.0.0 and ::, that of the
 * loopback address. Returns its length. */
socklen_t target_sockaddr(const struct target *t, const struct ipaddr *ip,
			  struct sockaddr_storage *to);
/* Sets the reason for a failed connect: "dial tcp 127.0.0.1:80: connect: connection refused".
 * Returns -errnum. */
int target_dial_error(const struct target *t, const struct ipaddr *ip, int errnum, struct err *e);

#endif
