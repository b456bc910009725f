/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORMATS_RESOLVCONF_H
#define FORMATS_RESOLVCONF_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>

#include "formats/ipaddr.h"

/* Reads resolv.conf(5), as far as it says which name servers there are and how they are asked.
 * Nothing here blocks, allocates or has state. */

#define RESOLVCONF_MAX_SERVERS	3 /* MAXNS of resolv.conf(5): programs use no more */
#define RESOLVCONF_TIMEOUT_S	5 /* the defaults and limits of resolv.conf(5) */
#define RESOLVCONF_TIMEOUT_MAX	30
#define RESOLVCONF_ATTEMPTS	2
#define RESOLVCONF_ATTEMPTS_MAX 5

struct resolvconf_server {
	struct ipaddr ip;
	char zone[IF_NAMESIZE]; /* after '%': an interface's name or index (RFC 4007 11); or "" */
};

struct resolvconf {
	size_t count; /* of servers, in their order; 0: the text names none */
	struct resolvconf_server servers[RESOLVCONF_MAX_SERVERS];
	unsigned int timeout_s; /* how long to wait for a server, 1 to RESOLVCONF_TIMEOUT_MAX */
	unsigned int attempts;	/* rounds through the servers, 1 to RESOLVCONF_ATTEMPTS_MAX */
	bool rotate;		/* each query begins with another server */
};

/* Reads a text of `len` bytes. Skips what it does not know, malformed addresses, and servers behind
 * RESOLVCONF_MAX_SERVERS. Limits numbers that are too small or too large. */
void resolvconf_read(struct resolvconf *c, const char *text, size_t len);

/* Are they the same server? */
bool resolvconf_is_same(const struct resolvconf_server *a, const struct resolvconf_server *b);

#endif
