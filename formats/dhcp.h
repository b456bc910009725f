/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORMATS_DHCP_H
#define FORMATS_DHCP_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Messages of DHCP for IPv4, as a client writes and reads them (RFC 2131, RFC 2132). The network is
 * an Ethernet. Nothing here blocks, allocates or has state; any thread may call it. */

#define DHCP_SERVER_PORT 67
#define DHCP_CLIENT_PORT 68
#define DHCP_HWADDR_LEN	 6
#define DHCP_MAX_DNS	 4
#define DHCP_TEXT_LEN	 128		      /* bytes of a server's message, with the NUL */
#define DHCP_FOREVER	 UINT32_C(0xffffffff) /* a lease time without an end */

/* Bytes of a message to a server. Shorter ones are dropped by some relays, which expect the size of
 * a BOOTP message (RFC 1542, section 2.1). */
#define DHCP_REQUEST_LEN 300

enum dhcp_type {
	DHCP_DISCOVER = 1,
	DHCP_OFFER = 2,
	DHCP_REQUEST = 3,
	DHCP_ACK = 5,
	DHCP_NAK = 6,
	DHCP_RELEASE = 7,
};

/* A message to a server. Addresses that are 0 are left out. */
struct dhcp_request {
	enum dhcp_type type; /* DHCP_DISCOVER, DHCP_REQUEST or DHCP_RELEASE */
	uint32_t xid;
	uint16_t secs; /* since the client began to ask */
	unsigned char hwaddr[DHCP_HWADDR_LEN];
	struct in_addr client;	  /* `ciaddr`: the address that the client has and answers for */
	struct in_addr requested; /* option 50 */
	struct in_addr server;	  /* option 54 */
};

/* What a server sent. In a DHCP_NAK only type, xid, hwaddr, server and text are set. */
struct dhcp_reply {
	enum dhcp_type type; /* DHCP_OFFER, DHCP_ACK or DHCP_NAK */
	uint32_t xid;
	unsigned char hwaddr[DHCP_HWADDR_LEN];
	struct in_addr addr; /* `yiaddr` */
	int prefix_len;
	struct in_addr server;
	struct in_addr router; /* the first one; 0: none */
	struct in_addr dns[DHCP_MAX_DNS];
	size_t dns_count;
	uint32_t lease_s;	  /* at least 1; DHCP_FOREVER: without an end */
	uint32_t renew_s;	  /* T1; 0: not given */
	uint32_t rebind_s;	  /* T2; 0: not given */
	char text[DHCP_TEXT_LEN]; /* option 56, printable ASCII; "": none */
};

/* Writes a message to out[DHCP_REQUEST_LEN]. Messages that ask have the broadcast flag, because a
 * client without an address may not get packets for it (RFC 2131, section 4.1). */
void dhcp_write(const struct dhcp_request *m, unsigned char *out);

/* Reads a server's message from msg[0..len). Everything in it is checked: lengths, and that the
 * addresses can be used by a host. Options may also be in the fields `file` and `sname`. Returns 0,
 * or -EPROTO with a reason if the message is malformed, or not for a client. */
int dhcp_read(struct dhcp_reply *m, const unsigned char *msg, size_t len, struct err *e);

#endif
