/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ADDRESSES_H
#define ADDRESSES_H

/* Socket addresses from text. */
#include <netinet/in.h>
#include <sys/socket.h>

#include "formats/ipaddr.h"
#include "tests/unit/fixture.h"

/* Returns the address of "1.2.3.4" or "fd00::1" and a port. */
static inline struct sockaddr_storage address_of(const char *text, int port)
{
	struct sockaddr_storage sa = { 0 };
	struct ipaddr ip;

	ck_assert_msg(ipaddr_parse(&ip, text) == 0, "%s", text);
	ipaddr_sockaddr(&ip, port, &sa);
	return sa;
}

#endif
