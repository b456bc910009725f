/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_DHCPCLIENT_H
#define NET_DHCPCLIENT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "formats/dhcp.h"

/* The states of a DHCP client (RFC 2131, section 4.4), without a socket and without a clock: the
 * owner (lease.h) passes in times and messages, and does what each step says. Nothing here blocks
 * or allocates. Times are in milliseconds on any clock that only goes forward. */

#define DHCPCLIENT_NEVER UINT64_MAX

enum dhcpclient_state {
	DHCPCLIENT_SELECTING,
	DHCPCLIENT_REQUESTING,
	DHCPCLIENT_BOUND,
	DHCPCLIENT_RENEWING,
	DHCPCLIENT_REBINDING,
};

enum dhcpclient_change {
	DHCPCLIENT_SAME,
	DHCPCLIENT_GAINED, /* `lease` is valid: a new one, or extended */
	DHCPCLIENT_LOST,   /* the address must not be used any more */
};

/* What to do after an event. */
struct dhcpclient_step {
	enum dhcpclient_change change;
	bool sends; /* send `msg` */
	/* to the server of the lease, from the address of the lease; else to all, from 0.0.0.0 */
	bool to_server;
	struct dhcp_request msg;
};

struct dhcpclient {
	unsigned char hwaddr[DHCP_HWADDR_LEN];
	uint32_t (*random)(void);
	enum dhcpclient_state state;
	struct dhcp_reply lease; /* REQUESTING: the offer; BOUND and later: the lease */
	uint32_t xid;
	uint64_t due_ms; /* when to call dhcpclient_tick; DHCPCLIENT_NEVER: not at all */

	unsigned int tries;    /* messages sent in this state */
	unsigned int refusals; /* requests that were refused since the last lease */
	struct in_addr silent; /* a server that offered, and then did not answer; 0: none */
	uint64_t began_ms;     /* when we began to ask for, or to renew, this lease */
	uint64_t asked_ms;     /* when the lease that is asked for will have begun */
	uint64_t renew_ms, rebind_ms, expire_ms;
};

/* Begins in SELECTING; dhcpclient_tick is due at once. random() returns 32 unpredictable bits. */
void dhcpclient_start(struct dhcpclient *c, const unsigned char *hwaddr, uint32_t (*random)(void),
		      uint64_t now_ms);

/* Call it when `due_ms` has come. */
struct dhcpclient_step dhcpclient_tick(struct dhcpclient *c, uint64_t now_ms);

/* Call it for each message. Those that answer nothing that we asked are ignored. */
struct dhcpclient_step dhcpclient_receive(struct dhcpclient *c, const struct dhcp_reply *m,
					  uint64_t now_ms);

/* Gives a lease back, if there is one: the step sends a message that needs no answer. Call nothing
 * else afterwards. */
struct dhcpclient_step dhcpclient_release(struct dhcpclient *c);

#endif
