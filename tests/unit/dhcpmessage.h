/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DHCPMESSAGE_H
#define DHCPMESSAGE_H

#include <stddef.h>
#include <string.h>

/* A DHCP server's messages, made byte by byte, so that the tests do not depend on the code that
 * they test. */

#define DHCPMESSAGE_OPTIONS 240 /* where the options begin */
#define DHCPMESSAGE_FILE    108 /* the field `file` */
#define DHCPMESSAGE_SNAME   44
#define DHCPMESSAGE_XID	    "\x12\x34\x56\x78"
#define DHCPMESSAGE_HWADDR  "\x02\x00\x00\x00\x00\x01"

/* The options of a usual offer of 10.0.3.10, up to the type: mask, router, DNS servers, lease, T1,
 * T2 and server. */
#define DHCPMESSAGE_USUAL                                                  \
	"\x01\x04\xff\xff\xff\x00\x03\x04\x0a\x00\x03\x01\x06\x08\x0a\x00" \
	"\x03\x01\x08\x08\x08\x08\x33\x04\x00\x00\x02\x58\x3a\x04\x00\x00" \
	"\x01\x2c\x3b\x04\x00\x00\x02\x0d\x36\x04\x0a\x00\x03\x01"
#define DHCPMESSAGE_OFFER "\x35\x01\x02"
#define DHCPMESSAGE_ACK	  "\x35\x01\x05"
#define DHCPMESSAGE_NAK	  "\x35\x01\x06"

struct dhcpmessage {
	unsigned char bytes[1024];
	size_t len;
};

/* Begins a message for 10.0.3.10, without options. */
static inline void dhcpmessage_begin(struct dhcpmessage *m)
{
	*m = (struct dhcpmessage){ .len = DHCPMESSAGE_OPTIONS };
	memcpy(m->bytes, "\x02\x01\x06", 3);
	memcpy(m->bytes + 4, DHCPMESSAGE_XID, 4);
	memcpy(m->bytes + 16, "\x0a\x00\x03\x0a", 4);
	memcpy(m->bytes + 28, DHCPMESSAGE_HWADDR, 6);
	memcpy(m->bytes + 236, "\x63\x82\x53\x63", 4);
}

static inline void dhcpmessage_add(struct dhcpmessage *m, const void *bytes, size_t len)
{
	memcpy(m->bytes + m->len, bytes, len);
	m->len += len;
}

/* Appends the bytes of a string literal, which may have NULs. */
#define DHCPMESSAGE_ADD(m, literal) dhcpmessage_add(m, literal, sizeof(literal) - 1)

#endif
