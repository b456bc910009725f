/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORMATS_PORTSPEC_H
#define FORMATS_PORTSPEC_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "formats/ipaddr.h"
#include "formats/json.h"
#include "formats/jsonout.h"

/* Port specs, as users write them after -p, and as the API reads and writes them as JSON.
 *
 *     [PARENT_IP]:PARENT_PORT:[CHILD_IP:]CHILD_PORT/PROTO
 *
 * The colon before the parent port is required, even without an address: ":8080:80/tcp". Addresses
 * are kept as the text that the user gave, because clients compare the list of ports with what they
 * sent.
 *
 * Nothing here blocks, allocates or has state. Any thread.
 */

enum proto {
	PROTO_TCP,
	PROTO_TCP4,
	PROTO_TCP6,
	PROTO_UDP,
	PROTO_UDP4,
	PROTO_UDP6,
	PROTO_SCTP,
	PROTO_SCTP4,
	PROTO_SCTP6,
	PROTO_COUNT,
};

#define PORTSPEC_IP_LEN	  64 /* bytes with NUL; the longest IPv6 text has 46 */
/* Bytes of the longest spec with NUL: two bracketed addresses, two ports, a proto. */
#define PORTSPEC_TEXT_LEN 192

struct portspec {
	enum proto proto;
	char parent_ip[PORTSPEC_IP_LEN]; /* "" if not given; without brackets */
	int parent_port;
	char child_ip[PORTSPEC_IP_LEN]; /* "" if not given; without brackets */
	int child_port;
};

/* "tcp", "tcp4", ...: a static string. */
const char *proto_name(enum proto proto);
/* Reads the name of a proto, in lower case only. Returns 0, or -EINVAL ("unknown proto:
 * \"foo\""). */
int proto_parse(enum proto *proto, const char *text, struct err *e);
/* tcp, tcp4 or tcp6; udp, udp4 or udp6. */
bool proto_is_tcp(enum proto proto);
bool proto_is_udp(enum proto proto);

#define PORTSPEC_FORM	 "[PARENT_IP]:PARENT_PORT:[CHILD_IP:]CHILD_PORT/PROTO"
#define PORTSPEC_EXAMPLE "127.0.0.1:8080:80/tcp"

/* Reads the text form. Returns 0 or -EINVAL; on failure `spec` is unchanged.
 *
 *   - The proto is the part behind the last slash.
 *   - Each address may be empty: ":18080:80/tcp" has no parent IP, ":18080::80/tcp" no child IP
 *     either.
 *   - The first colon is required: "18080:80/tcp" is refused (unexpected ParentIP), as by
 *     RootlessKit.
 *   - IPv6 addresses need brackets, IPv4 addresses may have them. A zone is refused.
 *   - Blanks and leading zeros in ports are refused: " 80", "018080". Signs are read as by Go's
 *     strconv.Atoi: "+80" is port 80, and "-80" is a number, but not a port.
 *
 * Each reason begins with RootlessKit's words, and advice follows behind "; ". SPEC is the whole
 * text:
 *   - no slash: missing proto in PortSpec string: "SPEC"
 *   - unknown proto: invalid PortSpec string: "SPEC": unknown proto: "foo"
 *   - bad parent IP, IPv6 without brackets, or too few parts:
 *     unexpected ParentIP in PortSpec string: "SPEC"
 *   - too many parts: unexpected format of PortSpec string: "SPEC"
 *   - bad child IP: unexpected ChildIP in PortSpec string: "SPEC"
 *   - parent port is not a number (a child port: the same with ChildPort):
 *     unexpected ParentPort in PortSpec string: "SPEC": strconv.Atoi: parsing "abc": invalid syntax
 *   - port is not 1 to 65535: invalid ParentPort: 70000 (or: invalid ChildPort: 0) */
int portspec_parse(struct portspec *spec, const char *text, struct err *e);

/* Reads and checks a spec that a client sent as JSON; null counts as an empty object. Sets
 * doc->go_type. Returns 0 or -EINVAL; on failure `spec` is unchanged. The reasons, of which the
 * first three kinds have advice behind "; ":
 *   - unknown proto: "foo"
 *   - invalid ParentIP: "foo", invalid ChildIP: "foo" (an IP may be empty)
 *   - invalid ParentPort: 70000, invalid ChildPort: 0
 *   - a member of another type: see json_field_string
 *   - a root that is not an object:
 *     json: cannot unmarshal number into Go value of type port.Spec */
int portspec_from_json(struct portspec *spec, struct json_doc *doc, const struct json_node *node,
		       struct err *e);
/* Writes a spec as a JSON object with its members in this order: proto, parentIP, parentPort,
 * childPort, childIP. Empty addresses are left out. `key` is as for jsonout_begin_object. */
void portspec_to_json(const struct portspec *spec, struct jsonout *out, const char *key);

/* Writes the text form, "[::1]:8080:80/tcp", which portspec_parse reads. `cap` is at least
 * PORTSPEC_TEXT_LEN. Returns buf. */
const char *portspec_text(const struct portspec *spec, char *buf, size_t cap);

/* Reads the ID of a published port as Go's strconv.Atoi does: a sign is allowed, blanks are not.
 * Returns 0, or -EINVAL or -ERANGE with Go's reason and a hint where to find IDs. */
int port_id_parse(long long *id, const char *text, struct err *e);

/* Writes the short form that RootlessKit's messages have: "{tcp 127.0.0.1 8080 80 }". Returns
 * buf. */
const char *portspec_brief(const struct portspec *spec, char *buf, size_t cap);

/* Do two specs conflict: are their proto, parent IP (as text) and parent port equal? */
bool portspec_conflicts(const struct portspec *a, const struct portspec *b);

#endif
