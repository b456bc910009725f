/* SPDX-License-Identifier: Apache-2.0 */
#include "formats/slirpapi.h"

#include <errno.h>

#include "formats/ipaddr.h"
#include "formats/json.h"
#include "formats/jsonout.h"

/* ---- requests ---- */

static void begin(struct jsonout *out, char *buf, size_t cap, const char *what)
{
	jsonout_init(out, buf, cap);
	jsonout_begin_object(out, NULL);
	jsonout_put_string(out, "execute", what);
	jsonout_begin_object(out, "arguments");
}

static int end(struct jsonout *out)
{
	jsonout_end_object(out);
	jsonout_end_object(out);
	return out->overflow ? -ENOSPC : (int)out->len;
}

/* Writes an address in inet_ntop(3)'s form. Passes other text on: slirp4netns refuses it. */
static void put_address(struct jsonout *out, const char *key, const char *text)
{
	char plain[INET6_ADDRSTRLEN];
	struct ipaddr ip;

	if (ipaddr_parse(&ip, text) == 0)
		text = ipaddr_text(&ip, plain, sizeof(plain));
	jsonout_put_string(out, key, text);
}

int slirpapi_add(const struct portspec *spec, const char *child_ip, char *buf, size_t cap)
{
	struct jsonout out;

	begin(&out, buf, cap, "add_hostfwd");
	jsonout_put_string(&out, "proto", proto_is_udp(spec->proto) ? "udp" : "tcp");
	put_address(&out, "host_addr", spec->parent_ip[0] != '\0' ? spec->parent_ip : "0.0.0.0");
	jsonout_put_int(&out, "host_port", spec->parent_port);
	put_address(&out, "guest_addr", spec->child_ip[0] != '\0' ? spec->child_ip : child_ip);
	jsonout_put_int(&out, "guest_port", spec->child_port);
	return end(&out);
}

int slirpapi_remove(int64_t id, char *buf, size_t cap)
{
	struct jsonout out;

	begin(&out, buf, cap, "remove_hostfwd");
	jsonout_put_int(&out, "id", id);
	return end(&out);
}

/* ---- answers ---- */

static int refusal(const struct json_doc *doc, const struct json_node *error, struct err *e)
{
	char desc[ERR_LEN / 2];

	if (json_get_string(doc, json_member(doc, error, "desc"), desc, sizeof(desc)) < 0)
		return err_set(e, EREMOTEIO, "reply.Error without a reason");
	return err_set(e, EREMOTEIO, "reply.Error: map[desc:%s]", desc);
}

int slirpapi_decode(const char *text, size_t len, int64_t *id, struct err *e)
{
	const struct json_node *error, *value;
	struct json_doc doc;

	if (json_parse(&doc, text, len, e) < 0) {
		err_wrap(e, "the answer is not JSON");
		return -EPROTO;
	}
	error = json_member(&doc, &doc.nodes[0], "error");
	if (error != NULL && error->type != JSON_NULL)
		return refusal(&doc, error, e);
	value = json_member(&doc, &doc.nodes[0], "return");
	if (value == NULL || value->type != JSON_OBJECT)
		return err_set(e, EPROTO, "unexpected answer (neither \"return\" nor \"error\")");
	if (id != NULL && json_get_int(&doc, json_member(&doc, value, "id"), id) < 0)
		return err_set(e, EPROTO, "the answer has no id");
	return 0;
}
