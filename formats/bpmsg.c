/* SPDX-License-Identifier: Apache-2.0 */

/* The builtin port driver's requests and answers as JSON.
 *
 * Usually rlkbox is at both ends, but other programs may speak this protocol, too. So members are
 * checked as strictly as those of an API client: a decoded request has a known proto, ports in
 * range, and addresses that are valid or empty.
 */
#include "formats/bpmsg.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/array.h"
#include "formats/ipaddr.h"
#include "formats/json.h"
#include "formats/jsonfield.h"
#include "formats/jsonout.h"

#define UNKNOWN_TYPE "unknown request type: "
#define FIELD_LEN    256 /* bytes; room to quote an invalid address in the error */

static const char *const type_names[] = {
	[BPMSG_INIT] = "init",
	[BPMSG_CONNECT] = "connect",
	[BPMSG_SOCKETS] = "sockets",
};

_Static_assert(COUNT_OF(type_names) == BPMSG_TYPE_COUNT, "a name per type");

/* ---- writing ---- */

static int written(const struct jsonout *out)
{
	return out->overflow ? -ENOSPC : (int)out->len;
}

static void put_addresses(struct jsonout *out, const struct bpmsg *req)
{
	jsonout_put_string(out, "IP", req->ip);
	jsonout_put_int(out, "Port", req->port);
	jsonout_put_string(out, "ParentIP", req->parent_ip);
	jsonout_put_string(out, "HostGatewayIP", req->host_gateway_ip);
	if (req->source_ip[0] != '\0')
		jsonout_put_string(out, "SourceIP", req->source_ip);
	if (req->source_port != 0)
		jsonout_put_int(out, "SourcePort", req->source_port);
}

int bpmsg_encode(const struct bpmsg *req, char *buf, size_t cap)
{
	struct jsonout out;

	jsonout_init(&out, buf, cap);
	jsonout_begin_object(&out, NULL);
	jsonout_put_string(&out, "Type", type_names[req->type]);
	jsonout_put_string(&out, "Proto", req->type == BPMSG_INIT ? "" : proto_name(req->proto));
	if (req->type == BPMSG_SOCKETS)
		jsonout_put_int(&out, "Count", req->count);
	else
		put_addresses(&out, req);
	jsonout_end_object(&out);
	return written(&out);
}

int bpmsg_encode_error(const struct err *reason, char *buf, size_t cap)
{
	struct jsonout out;

	jsonout_init(&out, buf, cap);
	jsonout_begin_object(&out, NULL);
	jsonout_put_string(&out, "Error", reason->msg);
	jsonout_end_object(&out);
	return written(&out);
}

/* ---- reading ---- */

/* Parses a text whose root is an object, or null, which counts as an empty object. */
static int parse_object(struct json_doc *doc, const char *text, size_t len, const char *what,
			struct err *e)
{
	enum json_type type;

	if (json_parse(doc, text, len, e) < 0)
		return -EINVAL;
	type = doc->nodes[0].type;
	if (type != JSON_OBJECT && type != JSON_NULL)
		return err_set(e, EINVAL, "json: cannot unmarshal %s into %s", json_type_name(type),
			       what);
	return 0;
}

/* Reads an address or an empty string into ip[PORTSPEC_IP_LEN]. */
static int read_ip(const struct json_doc *doc, const char *key, char *ip, struct err *e)
{
	char text[FIELD_LEN];
	struct ipaddr addr;
	int r = json_field_string(doc, &doc->nodes[0], key, text, sizeof(text), e);

	if (r < 0)
		return r;
	if (text[0] != '\0' && ipaddr_parse(&addr, text) < 0)
		return err_set(e, EINVAL, "invalid %s: \"%s\"", key, text);
	snprintf(ip, PORTSPEC_IP_LEN, "%.*s", PORTSPEC_IP_LEN - 1, text);
	return 0;
}

static int read_number(const struct json_doc *doc, const char *key, int least, int most,
		       int *number, struct err *e)
{
	int64_t value;
	int r = json_field_int(doc, &doc->nodes[0], key, &value, e);

	if (r < 0)
		return r;
	if (value < least || value > most)
		return err_set(e, EINVAL, "invalid %s: %" PRId64, key, value);
	*number = (int)value;
	return 0;
}

static int read_type(const struct json_doc *doc, enum bpmsg_type *type, struct err *e)
{
	char text[FIELD_LEN];
	int r = json_field_string(doc, &doc->nodes[0], "Type", text, sizeof(text), e);

	if (r < 0)
		return r;
	for (int i = 0; i < BPMSG_TYPE_COUNT; i++) {
		if (strcmp(text, type_names[i]) == 0) {
			*type = (enum bpmsg_type)i;
			return 0;
		}
	}
	return err_set(e, EINVAL, UNKNOWN_TYPE "\"%s\"", text);
}

static int read_proto(const struct json_doc *doc, enum proto *proto, struct err *e)
{
	char text[FIELD_LEN];
	int r = json_field_string(doc, &doc->nodes[0], "Proto", text, sizeof(text), e);

	return r < 0 ? r : proto_parse(proto, text, e);
}

static int read_connect(const struct json_doc *doc, struct bpmsg *req, struct err *e)
{
	int r = read_proto(doc, &req->proto, e);

	if (r == 0)
		r = read_ip(doc, "IP", req->ip, e);
	if (r == 0)
		r = read_number(doc, "Port", 1, PORT_MAX, &req->port, e);
	if (r == 0)
		r = read_ip(doc, "ParentIP", req->parent_ip, e);
	if (r == 0)
		r = read_ip(doc, "HostGatewayIP", req->host_gateway_ip, e);
	if (r == 0)
		r = read_ip(doc, "SourceIP", req->source_ip, e);
	if (r == 0)
		r = read_number(doc, "SourcePort", 0, PORT_MAX, &req->source_port, e);
	return r;
}

static int read_sockets(const struct json_doc *doc, struct bpmsg *req, struct err *e)
{
	int r = read_proto(doc, &req->proto, e);

	if (r < 0)
		return r;
	switch (req->proto) {
	case PROTO_TCP4:
	case PROTO_TCP6:
	case PROTO_UDP4:
	case PROTO_UDP6:
		return read_number(doc, "Count", 1, BPMSG_SOCKETS_MAX, &req->count, e);
	default:
		return err_set(e, EINVAL, "no sockets for Proto \"%s\"", proto_name(req->proto));
	}
}

int bpmsg_decode(struct bpmsg *req, const char *text, size_t len, struct err *e)
{
	struct json_doc doc;
	int r;

	memset(req, 0, sizeof(*req));
	r = parse_object(&doc, text, len, "a request", e);
	if (r == 0)
		r = read_type(&doc, &req->type, e);
	if (r == 0 && req->type == BPMSG_CONNECT)
		r = read_connect(&doc, req, e);
	if (r == 0 && req->type == BPMSG_SOCKETS)
		r = read_sockets(&doc, req, e);
	return r;
}

int bpmsg_decode_answer(const char *text, size_t len, struct err *e)
{
	char reason[BPMSG_ERROR_MAX] = ""; /* rlkbox sends no longer ones */
	struct json_doc doc;
	int r = parse_object(&doc, text, len, "an answer", e);

	if (r == 0)
		r = json_field_string(&doc, &doc.nodes[0], "Error", reason, sizeof(reason), e);
	if (r < 0)
		return r;
	return reason[0] == '\0' ? 0 : err_set(e, EREMOTEIO, "%s", reason);
}

bool bpmsg_is_unknown_type(const struct err *reason)
{
	return strncmp(reason->msg, UNKNOWN_TYPE, strlen(UNKNOWN_TYPE)) == 0;
}

/* ---- the target ---- */

static int find_target(const struct bpmsg *req, struct ipaddr *ip, struct err *e)
{
	if (!proto_is_tcp(req->proto) && !proto_is_udp(req->proto))
		return err_set(e, ENOTSUP, "unsupported port protocol %s", proto_name(req->proto));
	return portspec_dial_ip(ip, req->ip, req->parent_ip, req->host_gateway_ip, e);
}

int bpmsg_target(const struct bpmsg *req, struct sockaddr_storage *to, socklen_t *len,
		 struct err *e)
{
	struct ipaddr ip = { .family = AF_UNSPEC };
	int r = find_target(req, &ip, e);

	if (r < 0)
		return r;
	/* A connect to 0.0.0.0 or :: reaches the socket's own source address. With source addresses
	 * kept that would be the client's, so use the loopback address. */
	if (ipaddr_is_any(&ip))
		ip = ip.family == AF_INET
			     ? (struct ipaddr){ .family = AF_INET,
						.v4 = { htonl(INADDR_LOOPBACK) } }
			     : (struct ipaddr){ .family = AF_INET6, .v6 = in6addr_loopback };
	*len = ipaddr_sockaddr(&ip, req->port, to);
	return 0;
}

bool bpmsg_is_by_parent_ip(const struct bpmsg *req, struct ipaddr *parent_ip)
{
	return req->ip[0] == '\0' && find_target(req, parent_ip, NULL) == 0 &&
	       !ipaddr_is_loopback(parent_ip) && !ipaddr_is_any(parent_ip);
}

void bpmsg_use_loopback(struct bpmsg *req, sa_family_t family)
{
	strcpy(req->ip, family == AF_INET ? "127.0.0.1" : "::1");
}

int bpmsg_dial_error(const struct bpmsg *req, int errnum, struct err *e)
{
	char text[INET6_ADDRSTRLEN] = "";
	struct ipaddr ip = { .family = AF_UNSPEC };
	int r = find_target(req, &ip, e);

	if (r < 0)
		return r;
	ipaddr_text(&ip, text, sizeof(text));
	return err_sys(e, errnum,
		       ip.family == AF_INET6 ? "dial %s [%s]:%d: connect"
					     : "dial %s %s:%d: connect",
		       proto_name(req->proto), text, req->port);
}
