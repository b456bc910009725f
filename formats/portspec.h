/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORMATS_PORTSPEC_H
#define FORMATS_PORTSPEC_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "formats/ipaddr.h"
#include "formats/json.h"
#include "formats/jsonout.h"

/* Port specs: what a user writes after -p, and what the API takes and gives back as JSON.
 *
 *     [PARENT_IP]:PARENT_PORT:[CHILD_IP:]CHILD_PORT/PROTO
 *
 * The colon before the parent port is required, even without an address: ":8080:80/tcp".
 * Addresses are kept as the text that the user gave: clients compare what they sent with what they
 * find in the list.
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
/* The longest spec: two bracketed addresses, two ports, a proto. */
#define PORTSPEC_TEXT_LEN 192

struct portspec {
	enum proto proto;
	char parent_ip[PORTSPEC_IP_LEN]; /* "" if not given; without brackets */
	int parent_port;
	char child_ip[PORTSPEC_IP_LEN]; /* "" if not given; without brackets */
	int child_port;
};

const char *proto_name(enum proto proto);
/* Returns 0 or -EINVAL ("unknown proto: \"foo\""). Small letters only. */
int proto_parse(enum proto *proto, const char *text, struct err *e);
bool proto_is_tcp(enum proto proto);
bool proto_is_udp(enum proto proto);

#define PORTSPEC_FORM	 "[PARENT_IP]:PARENT_PORT:[CHILD_IP:]CHILD_PORT/PROTO"
#define PORTSPEC_EXAMPLE "127.0.0.1:8080:80/tcp"

/* Reads the text form. Errors begin with these words of RootlessKit's, with the whole spec quoted
 * as SPEC, and go on with "; " and what would be right: no slash:                 missing proto in
 * PortSpec string: "SPEC" unknown proto:            invalid PortSpec string: "SPEC": unknown proto:
 * "foo" a bad parent IP, one of IPv6 without brackets, or too few parts: unexpected ParentIP in
 * PortSpec string: "SPEC" too many parts:           unexpected format of PortSpec string: "SPEC" a
 * bad child IP:           unexpected ChildIP in PortSpec string: "SPEC" a parent port that is not a
 * number: unexpected ParentPort in PortSpec string: "SPEC": strconv.Atoi: parsing "abc": invalid
 * syntax a child port that is not: unexpected ChildPort in PortSpec string: ... a port out
 * of 1..65535:   invalid ParentPort: 70000   (or invalid ChildPort: 0) The proto is what follows
 * the last slash. "18080:80/tcp" (no leading colon) is refused as RootlessKit does (unexpected
 * ParentIP); ":18080:80/tcp" has an empty parent IP, and
 * ":18080::80/tcp" an empty child IP too. IPv6 addresses stand in brackets; IPv4 ones may. Blanks,
 * signs and leading zeros in ports are refused ("+18080", "018080", " 80"). A zone is refused.
 * Returns 0 or -EINVAL; `spec` is complete or untouched. */
int portspec_parse(struct portspec *spec, const char *text, struct err *e);

/* Checks what a client sent as JSON: proto known, IPs valid or empty, ports in range. Messages as
 * above for ports, "invalid ParentIP: \"foo\"", "invalid ChildIP: \"foo\"", "unknown proto: \"\"";
 * for members of a wrong type those of json_field_string, for a root that is not an object "json:
 * cannot unmarshal number into Go value of type port.Spec"; null is the same as an empty object.
 * Names the root's type in `doc`. Returns 0 or -EINVAL; `spec` is complete or untouched. */
int portspec_from_json(struct portspec *spec, struct json_doc *doc, const struct json_node *node,
		       struct err *e);
/* Members in this order, empty strings left out: proto, parentIP, parentPort, childPort, childIP.
 * `key` as for jsonout_begin_object. */
void portspec_to_json(const struct portspec *spec, struct jsonout *out, const char *key);

/* The text form, which portspec_parse reads: "[::1]:8080:80/tcp". `cap` is PORTSPEC_TEXT_LEN at
 * least. Returns buf. */
const char *portspec_text(const struct portspec *spec, char *buf, size_t cap);

/* Reads the ID of a published port as Go's strconv.Atoi does: a sign is fine, blanks are not.
 * Returns 0, or -EINVAL or -ERANGE with Go's reason and what an ID is. */
int port_id_parse(long long *id, const char *text, struct err *e);

/* The short form of RootlessKit's messages: "{tcp 127.0.0.1 8080 80 }". Returns buf. */
const char *portspec_brief(const struct portspec *spec, char *buf, size_t cap);

/* Do the two occupy the same place: proto, parent IP (as text) and parent port all equal? */
bool portspec_conflicts(const struct portspec *a, const struct portspec *b);

/* The address that is dialled inside, contract of RootlessKit 3.0.1: the child IP if one is given;
 * else 127.0.0.1, unless the parent IP is given, is not "0.0.0.0" and is not the host's gateway IP:
 * then the parent IP. Texts may be empty. Returns 0, or -EINVAL for an address that is none. */
int portspec_dial_ip(struct ipaddr *ip, const char *child_ip, const char *parent_ip,
		     const char *host_gateway_ip, struct err *e);

#endif
