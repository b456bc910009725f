/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORMATS_BPMSG_H
#define FORMATS_BPMSG_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "base/err.h"
#include "formats/ipaddr.h"
#include "formats/portspec.h"

/* A request of the builtin port driver, as it stands in one frame on .bp.sock:
 *
 *     {"Type":"connect","Proto":"tcp","IP":"","Port":8080,"ParentIP":"127.0.0.2",
 *      "HostGatewayIP":"172.31.36.62","SourceIP":"192.0.2.7","SourcePort":40000}
 *
 * SourceIP and SourcePort are left out when empty. "init" has only Type that matters.
 *
 * "connect" is the protocol of record. "sockets" asks for sockets that are not connected, which
 * makes many of them cheaper; who answers that it is unknown is asked no more:
 *
 *     {"Type":"sockets","Proto":"tcp4","Count":32}
 *
 * The byte that comes with them is BPMSG_KEEPS_SOURCE if SourceIP is heeded.
 */

#define BPMSG_KEEPS_SOURCE 1

enum bpmsg_type {
	BPMSG_INIT,
	BPMSG_CONNECT,
	BPMSG_SOCKETS,
	BPMSG_TYPE_COUNT,
};

struct bpmsg {
	enum bpmsg_type type;
	enum proto proto;
	char ip[PORTSPEC_IP_LEN]; /* child IP, "" if none */
	int port;
	char parent_ip[PORTSPEC_IP_LEN];
	char host_gateway_ip[PORTSPEC_IP_LEN];
	char source_ip[PORTSPEC_IP_LEN]; /* "" if the client's address is not to be kept */
	int source_port;
	int count; /* of sockets */
};

#define BPMSG_SOCKETS_MAX 252 /* SCM_MAX_FD is 253, but musl sends 1 kB at most */

#define BPMSG_MAX	1024 /* bytes of any request that bpmsg_encode makes */
/* Bytes of any answer that bpmsg_encode_error makes: each byte of the reason may be \u00XX. */
#define BPMSG_ERROR_MAX (ERR_LEN * 6 + 32)

/* Writes the JSON text, NUL-terminated. Returns its length, or -ENOSPC. For "init" the other fields
 * are written as they are (empty strings, 0, and Proto ""); for "sockets" only those above. */
int bpmsg_encode(const struct bpmsg *req, char *buf, size_t cap);

/* Reads a request. Unknown members are ignored, and of "init" all but the Type. Returns 0, or
 * -EINVAL with a reason: malformed JSON, not an object, unknown Type ("unknown request type:
 * \"foo\""), for connect an unknown Proto, Port out of 1..65535, an IP text that is neither empty
 * nor an address; for sockets a Proto that is not one of TCP or UDP and of one family, Count out of
 * 1..BPMSG_SOCKETS_MAX. */
int bpmsg_decode(struct bpmsg *req, const char *text, size_t len, struct err *e);

/* Where a connect request leads: fills a socket address and sets *len. Returns 0, or -errno with a
 * reason for a proto that nobody can connect with. */
int bpmsg_target(const struct bpmsg *req, struct sockaddr_storage *to, socklen_t *len,
		 struct err *e);
/* Is the parent IP the target, since there is no child IP, and is it an address that the child's
 * network namespace may or may not have? Then that is to be found out (reach.h): it is the target
 * only if it is local there, and bpmsg_use_loopback else. */
bool bpmsg_is_by_parent_ip(const struct bpmsg *req, struct ipaddr *parent_ip);
/* Makes 127.0.0.1 or ::1 the target, whichever is of the family. */
void bpmsg_use_loopback(struct bpmsg *req, sa_family_t family);
/* The reason why that failed: "dial tcp 127.0.0.1:80: connect: connection refused". Returns
 * -errnum. */
int bpmsg_dial_error(const struct bpmsg *req, int errnum, struct err *e);

/* The answer to a request that failed: {"Error":"..."}. Returns its length, or -ENOSPC, which
 * BPMSG_ERROR_MAX bytes never give. */
int bpmsg_encode_error(const struct err *reason, char *buf, size_t cap);
/* Reads an answer frame. Returns 0 if it is no error (null, an object without one), -EREMOTEIO with
 * the reason that it holds in `e`, or -EINVAL. */
int bpmsg_decode_answer(const char *text, size_t len, struct err *e);
/* Is it the reason of one who does not know the type of the request? */
bool bpmsg_is_unknown_type(const struct err *reason);

#endif
