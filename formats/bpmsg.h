/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORMATS_BPMSG_H
#define FORMATS_BPMSG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "formats/ipaddr.h"
#include "formats/target.h"

/* A request of the builtin port driver, as sent in one frame on .bp.sock:
 *
 *     {"Type":"connect","Proto":"tcp","IP":"","Port":8080,"ParentIP":"127.0.0.2",
 *      "HostGatewayIP":"172.31.36.62","SourceIP":"192.0.2.7","SourcePort":40000}
 *
 * SourceIP and SourcePort are left out if empty. Of an "init" request only Type matters.
 *
 * "init" and "connect" are RootlessKit's protocol. "sockets" is an addition: it asks for
 * unconnected sockets, which the parent connects itself. That makes each connection cheaper. A
 * child that answers "unknown request type" is not asked for sockets again.
 *
 *     {"Type":"sockets","Proto":"tcp4","Count":32}
 *
 * The sockets arrive with one byte (SCM_RIGHTS needs one): BPMSG_KEEPS_SOURCE if the child honours
 * SourceIP, else 0.
 *
 * Nothing here blocks, allocates or has state. Any thread.
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
	struct target target; /* BPMSG_SOCKETS: only its proto */
	struct ipaddr host_gateway_ip;
	struct ipaddr source_ip; /* AF_UNSPEC: the child need not keep the client's address */
	int source_port;
	int count; /* BPMSG_SOCKETS: how many */
};

#define BPMSG_SOCKETS_MAX 252 /* SCM_MAX_FD is 253 (unix(7)), but musl sends 1 kB at most */

#define BPMSG_BACKEND_LEN 16 /* bytes of a backend's name, with the NUL */

#define BPMSG_MAX	1024 /* bytes of any request that bpmsg_encode makes */
/* Bytes of any answer that bpmsg_encode_error makes: each byte of the reason may become \u00XX. */
#define BPMSG_ERROR_MAX (ERR_LEN * 6 + 32)

/* Writes a request as NUL-terminated JSON to buf[cap]. Returns its length in bytes, or -ENOSPC. For
 * "init" the other fields are written as they are, with Proto "". For "sockets" only Proto and
 * Count are written. */
int bpmsg_encode(const struct bpmsg *req, char *buf, size_t cap);

/* Reads a request from text[0..len). Ignores unknown members; of "init" it reads Type only. The
 * target has no texts. Returns 0, or -EINVAL with a reason for:
 *   - malformed JSON, or a root that is not an object;
 *   - an unknown Type ("unknown request type: \"foo\"");
 *   - a member of another type;
 *   - "connect": an unknown Proto, a Port that is not 1 to 65535, a SourcePort that is not 0 to
 *     65535, or one of the four IPs that is neither valid nor empty;
 *   - "sockets": a Proto other than tcp4, tcp6, udp4 or udp6, or a Count that is not 1 to
 *     BPMSG_SOCKETS_MAX. */
int bpmsg_decode(struct bpmsg *req, const char *text, size_t len, struct err *e);

/* Writes the answer to a request that failed, {"Error":"..."}, to buf[cap]. Returns its length in
 * bytes, or -ENOSPC, which cannot happen with BPMSG_ERROR_MAX bytes. */
int bpmsg_encode_error(const struct err *reason, char *buf, size_t cap);
/* Reads an answer from text[0..len). Returns 0 for success (null, or an object without Error),
 * -EREMOTEIO for an error, with the peer's reason in `e`, or -EINVAL with a reason for any other
 * text. */
int bpmsg_decode_answer(const char *text, size_t len, struct err *e);

/* The answer to "init", {"Error":"","SourceIPTransparentBackend":"nft"}. `backend` says what keeps
 * the clients' addresses, as --source-ip-transparent-backend names it. "" is left out: the child
 * does not keep them. At most BPMSG_MAX bytes. Returns as bpmsg_encode does. */
int bpmsg_encode_init(const char *backend, char *buf, size_t cap);
/* Reads that answer, as bpmsg_decode_answer does. On success the name is in backend[cap], "" if
 * there is none. compat: before RootlessKit 3.3.0 the answer is null. */
int bpmsg_decode_init(const char *text, size_t len, char *backend, size_t cap, struct err *e);
/* Does the reason say that the peer does not know this type of request? */
bool bpmsg_is_unknown_type(const struct err *reason);

#endif
