/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_PING_H
#define USERNET_PING_H

#include <stddef.h>

#include "base/loop.h"
#include "formats/packet.h"
#include "ports/fdquota.h"
#include "usernet/icmperr.h"
#include "usernet/link.h"

/* ICMP and ICMPv6 echo (ping) from inside, of one queue. Our own addresses are answered here. What
 * is for others goes by ping sockets of the host, which need no privilege (icmp(7),
 * net.ipv4.ping_group_range); errors that such a socket reports, such as time exceeded, come back
 * as ICMP errors (ip(7), IP_RECVERR). Replies keep their time to live, less 1. Where the host
 * forbids ping sockets, one warning says so.
 *
 * One thread uses a struct; nothing blocks.
 */

struct ping;

struct ping_setup {
	struct loop *loop; /* all borrowed */
	struct link *link;
	struct icmperr_sender *errors;
	struct fdquota *quota; /* one descriptor for each flow */
	size_t max; /* flows: pairs of an inside's address with identifier, and a destination */
};

/* Returns a table without flows, or NULL if out of memory. */
struct ping *ping_new(const struct ping_setup *setup);
/* Ends all flows. NULL is fine. */
void ping_free(struct ping *ping);

/* An ICMP or ICMPv6 packet came from inside, whole, and not one for neighbour.h. Answers echo
 * requests; ignores all else. */
void ping_on_packet(struct ping *ping, const struct packet *p);

#endif
