/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORMATS_PESTOMSG_H
#define FORMATS_PESTOMSG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "formats/ipaddr.h"

/* The protocol of pasta's configuration socket (pasta(1), --conf-path), over which its companion
 * program pesto(1) replaces the rules of port forwarding. All numbers are big-endian.
 *
 * pasta speaks first, and sends its rules:
 *
 *     "basil:s\0"  u32 version  u32 length of a table's name  u32 length of an interface name
 *     for each table:  u8 kind (1 HOST, 3 SPLICE)  name[128]  u32 capabilities  u32 count  rules
 *     u8 0
 *
 * The client answers with the tables that it replaces, and pasta closes the connection when the new
 * rules are in force:
 *
 *     for each table:  u8 kind  u32 count  rules
 *     u8 0
 *
 * A rule: address[16]  target address[16], not in version 1  interface[16]
 *         u16 first port  u16 last port  u16 first target port  u8 protocol  u8 flags
 *
 * IPv4 addresses are mapped into IPv6 (::ffff:1.2.3.4). The HOST table opens ports on the host; the
 * rules of the SPLICE table are passed back as they came. Nothing here blocks, allocates or has
 * state.
 */

#define PESTOMSG_RULES_MAX 256 /* of a table */
#define PESTOMSG_RULE_MAX  56  /* bytes of a rule in version 2; 40 in version 1 */
/* Bytes of the longest message of either side: what pasta sends, with two full tables. */
#define PESTOMSG_MAX	   (20 + 2 * (1 + 128 + 8 + PESTOMSG_RULES_MAX * PESTOMSG_RULE_MAX) + 1)

/* A published port as a rule of the HOST table. */
struct pestomsg_port {
	bool udp;
	struct ipaddr ip; /* on the host */
	int parent_port;
	int child_port;
};

/* The table of a kind in pasta's message: bytes that are not copied. */
struct pestomsg_table {
	unsigned char kind;
	size_t count;
	const unsigned char *rules; /* `count` rules; point into the message */
};

struct pestomsg {
	unsigned int version;		    /* 1 or 2 */
	size_t rule_len;		    /* bytes */
	struct pestomsg_table host, splice; /* kind 0: pasta has not sent it */
};

/* Reads what pasta sends from msg[0..len). Returns 1 if the message is complete, 0 if more bytes
 * are needed, or -EPROTO with a reason if it is malformed or of an unknown version. */
int pestomsg_read(struct pestomsg *m, const unsigned char *msg, size_t len, struct err *e);

/* Write the answer that adds a port to the HOST table, or removes it, to out[PESTOMSG_MAX]. Return
 * the length in bytes. pestomsg_add returns -ENOSPC if the table is full. */
int pestomsg_add(const struct pestomsg *m, const struct pestomsg_port *port, unsigned char *out);
int pestomsg_remove(const struct pestomsg *m, const struct pestomsg_port *port, unsigned char *out);

#endif
