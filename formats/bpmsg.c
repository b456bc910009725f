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
#include <string.h>

#include "base/array.h"
#include "formats/ipaddr.h"
#include "formats/json.h"
#include "formats/jsonfield.h"
#include "formats/jsonout.h"

#define UNKNOWN_TYPE "unknown request type: "
#define BACKEND	     "SourceIPTransparentBackend"
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

/* `text`: how the user wrote the address, or NULL. */
static void put_ip(struct jsonout *out, const char *key, const struct ipaddr *ip, const char *text)
{
	char usual[INET6_ADDRSTRLEN];

	jsonout_put_string(out, key, text != NULL ? text : ipaddr_text(ip, usual, sizeof(usual)));
}

static void put_addresses(struct jsonout *out, const struct bpmsg *req)
{
	const struct target *t = &req->target;

	put_ip(out, "IP", &t->ip, t->ip_text);
	jsonout_put_int(out, "Port", t->port);
	put_ip(out, "ParentIP", &t->parent_ip, t->parent_ip_text);
	put_ip(out, "HostGatewayIP", &req->host_gateway_ip, NULL);
	if (req->source_ip.family != AF_UNSPEC)
		put_ip(out, "SourceIP", &req->source_ip, NULL);
	if (req->source_port != 0)
		jsonout_put_int(out, "SourcePort", req->source_port);
}

int bpmsg_encode(const struct bpmsg *req, char *buf, size_t cap)
{
	struct jsonout out;

	jsonout_init(&out, buf, cap);
	jsonout_begin_object(&out, NULL);
	jsonout_put_string(&out, "Type", type_names[req->type]);
	jsonout_put_string(&out, "Proto",
			   req->type == BPMSG_INIT ? "" : proto_name(req->target.proto));
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

int bpmsg_encode_init(const char *backend, char *buf, size_t cap)
{
	struct jsonout out;

	jsonout_init(&out, buf, cap);
	jsonout_begin_object(&out, NULL);
	jsonout_put_string(&out, "Error", "");
	if (*backend != '\0')
		jsonout_put_string(&out, BACKEND, backend);
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

/* Reads an address, or an empty string as AF_UNSPEC. *ip must be AF_UNSPEC before. */
static int read_ip(const struct json_doc *doc, const char *key, struct ipaddr *ip, struct err *e)
{
	char text[FIELD_LEN];
	int r = json_field_string(doc, &doc->nodes[0], key, text, sizeof(text), e);

	if (r < 0)
		return r;
	if (text[0] != '\0' && ipaddr_parse(ip, text) < 0)
		return err_set(e, EINVAL, "invalid %s: \"%s\"", key, text);
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
	struct target *t = &req->target;
	int r = read_proto(doc, &t->proto, e);

	if (r == 0)
		r = read_ip(doc, "IP", &t->ip, e);
	if (r == 0)
		r = read_number(doc, "Port", 1, PORT_MAX, &t->port, e);
	if (r == 0)
		r = read_ip(doc, "ParentIP", &t->parent_ip, e);
	if (r == 0)
		r = read_ip(doc, "HostGatewayIP", &req->host_gateway_ip, e);
	if (r == 0)
		r = read_ip(doc, "SourceIP", &req->source_ip, e);
	if (r == 0)
		r = read_number(doc, "SourcePort", 0, PORT_MAX, &req->source_port, e);
	return r;
}

static int read_sockets(const struct json_doc *doc, struct bpmsg *req, struct err *e)
{
	enum proto *proto = &req->target.proto;
	int r = read_proto(doc, proto, e);

	if (r < 0)
		return r;
	switch (*proto) {
	case PROTO_TCP4:
	case PROTO_TCP6:
	case PROTO_UDP4:
	case PROTO_UDP6:
		return read_number(doc, "Count", 1, BPMSG_SOCKETS_MAX, &req->count, e);
	default:
		return err_set(e, EINVAL, "no sockets for Proto \"%s\"", proto_name(*proto));
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

/* Parses an answer. Returns 0 for success, or -errno with a reason as bpmsg_decode_answer does. */
static int parse_answer(struct json_doc *doc, const char *text, size_t len, struct err *e)
{
	char reason[BPMSG_ERROR_MAX] = ""; /* the longest that rlkbox sends */
	int r = parse_object(doc, text, len, "an answer", e);

	if (r == 0)
		r = json_field_string(doc, &doc->nodes[0], "Error", reason, sizeof(reason), e);
	if (r < 0)
		return r;
	return reason[0] == '\0' ? 0 : err_set(e, EREMOTEIO, "%s", reason);
}

int bpmsg_decode_answer(const char *text, size_t len, struct err *e)
{
	struct json_doc doc;

	return parse_answer(&doc, text, len, e);
}

int bpmsg_decode_init(const char *text, size_t len, char *backend, size_t cap, struct err *e)
{
	struct json_doc doc;
	int r = parse_answer(&doc, text, len, e);

	return r < 0 ? r : json_field_string(&doc, &doc.nodes[0], BACKEND, backend, cap, e);
}

bool bpmsg_is_unknown_type(const struct err *reason)
{
	return strncmp(reason->msg, UNKNOWN_TYPE, strlen(UNKNOWN_TYPE)) == 0;
}
