/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_DNS_H
#define USERNET_DNS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/loop.h"
#include "formats/packet.h"
#include "ports/fdquota.h"
#include "usernet/dnsservers.h"
#include "usernet/link.h"

/* The DNS service that the inside sees at the DNS address: queries go to the host's name servers,
 * as the host's resolv.conf(5) names them at that time. A server that does not answer, or refuses,
 * is followed by the next one. Without any server, the answer is SERVFAIL at once. Nothing is
 * cached or changed, except the ID of a query on its way to the server. A query that its client
 * repeats shares the answer of the first one. One thread uses a struct; nothing blocks, except that
 * resolv.conf is read, at most four times a second (dnsservers.h).
 */

#define DNS_PORT 53

struct dns;

struct dns_setup {
	struct loop *loop; /* all borrowed */
	struct link *link;
	struct fdquota *quota;	    /* one descriptor for each query under way */
	size_t max;		    /* queries under way, > 0; a new one pushes the oldest out */
	struct dnsservers *servers; /* of the host; shared by all queues */
};

/* Returns the service, or NULL if out of memory. */
struct dns *dns_new(const struct dns_setup *setup);
/* Drops the queries under way. NULL is fine. */
void dns_free(struct dns *d);

/* A UDP packet to port 53 of the DNS address came from inside, whole, with a correct checksum. */
void dns_on_packet(struct dns *d, const struct packet *p);

/* For a TCP connection to port 53 of the DNS address: writes the address of the name server that it
 * leads to. `tried` is the number of servers that could not be reached. Returns the address'
 * length, or 0 if there is no further server. */
socklen_t dns_server(struct dns *d, size_t tried, struct sockaddr_storage *to);

#endif
