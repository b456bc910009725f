/* SPDX-License-Identifier: Apache-2.0 */

/* Port specs as text and as JSON, and the addresses and protos in them.
 *
 * A text is split at the colons outside of brackets into three or four parts, and each part is
 * checked separately. Both readers fill in a local spec, and copy it to the caller's spec only if
 * all of it is valid. An address stays in the form that the user gave; code that needs a `struct
 * ipaddr` converts it.
 */
#include "formats/portspec.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/text.h"
#include "formats/jsonfield.h"

#define PORTS_ARE "; ports are 1 to 65535"
#define PROTOS	  "tcp, tcp4, tcp6, udp, udp4 or udp6"
#define PARTS_MAX 4 /* parent IP, parent port, child IP, child port */
/* Bytes of a JSON string; room to quote an invalid address in the error. */
#define FIELD_LEN 256

/* ---- protos ---- */

static const char *const proto_names[] = {
	[PROTO_TCP] = "tcp",   [PROTO_TCP4] = "tcp4",	[PROTO_TCP6] = "tcp6",
	[PROTO_UDP] = "udp",   [PROTO_UDP4] = "udp4",	[PROTO_UDP6] = "udp6",
	[PROTO_SCTP] = "sctp", [PROTO_SCTP4] = "sctp4", [PROTO_SCTP6] = "sctp6",
};

_Static_assert(COUNT_OF(proto_names) == PROTO_COUNT, "a name per proto");

const char *proto_name(enum proto proto)
{
	return proto_names[proto];
}

int proto_parse(enum proto *proto, const char *text, struct err *e)
{
	for (int i = 0; i < PROTO_COUNT; i++) {
		if (strcmp(text, proto_names[i]) == 0) {
			*proto = (enum proto)i;
			return 0;
		}
	}
	return err_set(e, EINVAL, "unknown proto: \"%s\"", text);
}

bool proto_is_tcp(enum proto proto)
{
	return proto == PROTO_TCP || proto == PROTO_TCP4 || proto == PROTO_TCP6;
}

bool proto_is_udp(enum proto proto)
{
	return proto == PROTO_UDP || proto == PROTO_UDP4 || proto == PROTO_UDP6;
}

/* ---- the text form ---- */

/* Splits [p, end) at the colons outside of brackets. Returns the number of parts. It may exceed
 * PARTS_MAX, but only the first PARTS_MAX are stored in `parts`. */
static size_t split(const char *p, const char *end, struct text *parts)
{
	const char *start = p;
	size_t count = 0;
	bool inside = false;

	for (;; p++) {
		if (p == end || (*p == ':' && !inside)) {
			if (count < PARTS_MAX)
				parts[count] = (struct text){ start, (size_t)(p - start) };
			count++;
			start = p + 1;
		}
		if (p == end)
			return count;
		if (*p == '[' || *p == ']')
			inside = *p == '[';
	}
}

/* Checks an address, which may be empty, and copies it without its brackets to ip[PORTSPEC_IP_LEN].
 * Returns 0 or -EINVAL. */
static int read_ip(struct text part, char *ip)
{
	struct ipaddr addr;

	if (part.len > 0 && part.p[0] == '[') {
		if (part.len < 3 || part.p[part.len - 1] != ']')
			return -EINVAL;
		part.p++;
		part.len -= 2;
	}
	if (part.len >= PORTSPEC_IP_LEN)
		return -EINVAL;
	memcpy(ip, part.p, part.len);
	ip[part.len] = '\0';
	return part.len == 0 ? 0 : ipaddr_parse(&addr, ip);
}

/* Returns 0, -EINVAL if the part is not a plain decimal number, or -ERANGE if it is not a port
 * number. */
static int read_port(struct text part, int *port)
{
	int value = 0;

	if (part.len == 0 || (part.len > 1 && part.p[0] == '0'))
		return -EINVAL;
	for (size_t i = 0; i < part.len; i++) {
		if (!text_is_digit(part.p[i]))
			return -EINVAL;
		if (value <= PORT_MAX)
			value = value * 10 + (part.p[i] - '0');
	}
	if (value < 1 || value > PORT_MAX)
		return -ERANGE;
	*port = value;
	return 0;
}

/* The text being parsed; every reason quotes all of it. */
struct reading {
	const char *text;
	struct err *e;
};

static int refuse(const struct reading *in, const char *what)
{
	return err_set(in->e, EINVAL, "unexpected %s PortSpec string: \"%s\"", what, in->text);
}

/* `which` is "ParentPort" or "ChildPort". */
static int check_port(const struct reading *in, struct text part, const char *which, int *port)
{
	int r = read_port(part, port);

	if (r == -ERANGE)
		return err_set(in->e, ERANGE, "invalid %s: %.*s", which, (int)part.len, part.p);
	if (r < 0)
		return err_set(in->e, EINVAL,
			       "unexpected %s in PortSpec string: \"%s\": strconv.Atoi: parsing "
			       "\"%.*s\": invalid syntax",
			       which, in->text, (int)part.len, part.p);
	return 0;
}

/* Reads the addresses and ports, which are before the slash at `end`. */
static int read_places(const struct reading *in, const char *end, struct portspec *spec)
{
	struct text parts[PARTS_MAX];
	size_t count = split(in->text, end, parts);
	int r;

	if (count < PARTS_MAX - 1 || read_ip(parts[0], spec->parent_ip) < 0)
		return refuse(in, "ParentIP in");
	/* In "::1:8080:80" the IPv6 address lacks its brackets. */
	if (count > PARTS_MAX)
		return refuse(in, strncmp(in->text, "::", 2) == 0 ? "ParentIP in" : "format of");
	r = check_port(in, parts[1], "ParentPort", &spec->parent_port);
	if (r < 0)
		return r;
	if (count == PARTS_MAX && read_ip(parts[2], spec->child_ip) < 0)
		return refuse(in, "ChildIP in");
	return check_port(in, parts[count - 1], "ChildPort", &spec->child_port);
}

static int parse(struct portspec *spec, const char *text, struct err *e)
{
	const struct reading in = { text, e };
	const char *slash = strrchr(text, '/');
	struct portspec new = { 0 };
	int r;

	if (slash == NULL)
		return err_set(e, EINVAL, "missing proto in PortSpec string: \"%s\"", text);
	r = proto_parse(&new.proto, slash + 1, e);
	if (r < 0) {
		err_wrap(e, "invalid PortSpec string: \"%s\"", text);
		return r;
	}
	r = read_places(&in, slash, &new);
	if (r == 0)
		*spec = new;
	return r;
}

/* ---- advice ---- */

/* If the guess, formatted from `fmt`, is a valid spec, appends "; did you mean "GUESS"?", with
 * `why` before the "did". Returns whether it is. `why` is empty or ends with "; ". */
__attribute__((format(printf, 3, 4))) static bool suggest(struct err *e, const char *why,
							  const char *fmt, ...)
{
	char guess[PORTSPEC_TEXT_LEN];
	struct portspec spec;
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(guess, sizeof(guess), fmt, ap);
	va_end(ap);
	if (len < 0 || (size_t)len >= sizeof(guess) || parse(&spec, guess, NULL) < 0)
		return false;
	err_add(e, "; %sdid you mean \"%s\"?", why, guess);
	return true;
}

/* Suggests brackets for an IPv6 address: "[::1]:8080:80" for "::1:8080:80". `proto` begins with
 * '/'. */
static bool suggest_brackets(struct err *e, const char *text, const char *proto)
{
	const char *end = text + strcspn(text, "/");
	const char *colon = end;
	int len;

	for (int left = 2; left > 0 && colon > text;)
		if (*--colon == ':')
			left--;
	len = (int)(colon - text);
	return suggest(e, "IPv6 addresses stand in brackets; ", "[%.*s]%.*s%s", len, text,
		       (int)(end - colon), colon, proto);
}

/* Is it "8080-8090" or "8080-8090:80-90/tcp"? */
static bool has_range(const char *text)
{
	for (const char *dash = strchr(text, '-'); dash != NULL; dash = strchr(dash + 1, '-'))
		if (dash > text && text_is_digit(dash[-1]) && text_is_digit(dash[1]))
			return true;
	return false;
}

/* Appends advice to the reason: what is wrong with `text`, a spec that was probably meant, or else
 * the form of a spec. */
static void advise(const char *text, struct err *e)
{
	const char *slash = strrchr(text, '/');
	const char *proto = slash != NULL ? "" : "/tcp";
	const char *rest = text + strcspn(text, ":");
	struct err ignored;
	enum proto known;

	if (text[strcspn(text, " \t\n")] != '\0') {
		err_add(e, "; blanks are not allowed, and each spec takes a -p, or an argument, of "
			   "its own");
	} else if (has_range(text)) {
		err_add(e,
			"; ranges of ports are not supported: each port takes a spec of its own, "
			"such as " PORTSPEC_EXAMPLE);
	} else if (slash != NULL && proto_parse(&known, slash + 1, &ignored) < 0) {
		err_add(e, "; PROTO is " PROTOS ", as in " PORTSPEC_EXAMPLE);
	} else if (!suggest(e, "", "%s%s", text, proto) && !suggest(e, "", ":%s%s", text, proto) &&
		   !(text[0] == '*' && suggest(e, "", "%s%s", rest, proto)) &&
		   !(text_is_letter(text[0]) &&
		     suggest(e, "names are not resolved; ", "127.0.0.1%s%s", rest, proto)) &&
		   !suggest_brackets(e, text, slash != NULL ? slash : proto)) {
		err_add(e, "; the form is " PORTSPEC_FORM ", such as " PORTSPEC_EXAMPLE);
	}
}

int portspec_parse(struct portspec *spec, const char *text, struct err *e)
{
	int r = parse(spec, text, e);

	if (r == -ERANGE) {
		err_add(e, PORTS_ARE);
		return -EINVAL;
	}
	if (r < 0)
		advise(text, e);
	return r;
}

int port_id_parse(long long *id, const char *text, struct err *e)
{
	const char *digits = text + (*text == '-' || *text == '+');
	const char *why = NULL;

	errno = 0;
	*id = strtoll(text, NULL, 10);
	if (*digits == '\0' || digits[strspn(digits, "0123456789")] != '\0')
		why = "invalid syntax";
	else if (errno != 0)
		why = "value out of range";
	if (why == NULL)
		return 0;
	return err_set(e, errno == ERANGE ? ERANGE : EINVAL,
		       "strconv.Atoi: parsing \"%s\": %s; an ID is a number that `rootlessctl "
		       "list-ports` shows",
		       text, why);
}

/* ---- JSON ---- */

/* The members of a JSON spec, of the right types but not yet validated. */
struct fields {
	char proto[FIELD_LEN];
	char parent_ip[FIELD_LEN];
	int64_t parent_port;
	int64_t child_port;
	char child_ip[FIELD_LEN];
};

static int read_fields(struct fields *f, const struct json_doc *doc, const struct json_node *node,
		       struct err *e)
{
	int r = json_field_string(doc, node, "proto", f->proto, sizeof(f->proto), e);

	if (r == 0)
		r = json_field_string(doc, node, "parentIP", f->parent_ip, sizeof(f->parent_ip), e);
	if (r == 0)
		r = json_field_int(doc, node, "parentPort", &f->parent_port, e);
	if (r == 0)
		r = json_field_int(doc, node, "childPort", &f->child_port, e);
	if (r == 0)
		r = json_field_string(doc, node, "childIP", f->child_ip, sizeof(f->child_ip), e);
	return r;
}

/* Checks an address, which may be empty, and copies it to ip[PORTSPEC_IP_LEN]. `which` is
 * "ParentIP" or "ChildIP". */
static int check_ip_field(const char *text, const char *which, char *ip, struct err *e)
{
	struct ipaddr addr;

	if (text[0] != '\0' && ipaddr_parse(&addr, text) < 0)
		return err_set(e, EINVAL, "invalid %s: \"%s\"; it takes an IP address", which,
			       text);
	snprintf(ip, PORTSPEC_IP_LEN, "%s", text);
	return 0;
}

static int check_port_field(int64_t value, const char *which, int *port, struct err *e)
{
	if (value < 1 || value > PORT_MAX)
		return err_set(e, EINVAL, "invalid %s: %" PRId64 PORTS_ARE, which, value);
	*port = (int)value;
	return 0;
}

int portspec_from_json(struct portspec *spec, struct json_doc *doc, const struct json_node *node,
		       struct err *e)
{
	struct portspec new = { 0 };
	struct fields f;
	int r;

	if (node->type != JSON_OBJECT && node->type != JSON_NULL)
		return err_set(e, EINVAL,
			       "json: cannot unmarshal %s into Go value of type port.Spec",
			       json_type_name(node->type));
	doc->go_type = "Spec";
	r = read_fields(&f, doc, node, e);
	if (r < 0)
		return r;
	r = proto_parse(&new.proto, f.proto, e);
	if (r < 0)
		err_add(e, "; proto is " PROTOS);
	if (r == 0)
		r = check_ip_field(f.parent_ip, "ParentIP", new.parent_ip, e);
	if (r == 0)
		r = check_ip_field(f.child_ip, "ChildIP", new.child_ip, e);
	if (r == 0)
		r = check_port_field(f.parent_port, "ParentPort", &new.parent_port, e);
	if (r == 0)
		r = check_port_field(f.child_port, "ChildPort", &new.child_port, e);
	if (r == 0)
		*spec = new;
	return r;
}

void portspec_to_json(const struct portspec *spec, struct jsonout *out, const char *key)
{
	jsonout_begin_object(out, key);
	jsonout_put_string(out, "proto", proto_name(spec->proto));
	if (spec->parent_ip[0] != '\0')
		jsonout_put_string(out, "parentIP", spec->parent_ip);
	jsonout_put_int(out, "parentPort", spec->parent_port);
	jsonout_put_int(out, "childPort", spec->child_port);
	if (spec->child_ip[0] != '\0')
		jsonout_put_string(out, "childIP", spec->child_ip);
	jsonout_end_object(out);
}

/* ---- using a spec ---- */

/* Writes an address, with brackets if it is IPv6. */
static void put_ip(char *buf, size_t cap, const char *ip)
{
	snprintf(buf, cap, strchr(ip, ':') != NULL ? "[%s]" : "%s", ip);
}

const char *portspec_text(const struct portspec *spec, char *buf, size_t cap)
{
	char parent[PORTSPEC_IP_LEN + 2], child[PORTSPEC_IP_LEN + 2];

	put_ip(parent, sizeof(parent), spec->parent_ip);
	put_ip(child, sizeof(child), spec->child_ip);
	snprintf(buf, cap, "%s:%d:%s%s%d/%s", parent, spec->parent_port, child,
		 child[0] != '\0' ? ":" : "", spec->child_port, proto_name(spec->proto));
	return buf;
}

const char *portspec_brief(const struct portspec *spec, char *buf, size_t cap)
{
	snprintf(buf, cap, "{%s %s %d %d %s}", proto_name(spec->proto), spec->parent_ip,
		 spec->parent_port, spec->child_port, spec->child_ip);
	return buf;
}

bool portspec_conflicts(const struct portspec *a, const struct portspec *b)
{
	return a->proto == b->proto && a->parent_port == b->parent_port &&
	       strcmp(a->parent_ip, b->parent_ip) == 0;
}

/* Parses an address; an empty text gives AF_UNSPEC. */
static int parse_given(struct ipaddr *ip, const char *text, const char *which, struct err *e)
{
	*ip = (struct ipaddr){ .family = AF_UNSPEC };
	if (text[0] != '\0' && ipaddr_parse(ip, text) < 0)
		return err_set(e, EINVAL, "invalid %s: \"%s\"", which, text);
	return 0;
}

int portspec_dial_ip(struct ipaddr *ip, const char *child_ip, const char *parent_ip,
		     const char *host_gateway_ip, struct err *e)
{
	struct ipaddr child = { 0 }, parent = { 0 }, gateway = { 0 };
	int r = parse_given(&child, child_ip, "ChildIP", e);

	if (r == 0)
		r = parse_given(&parent, parent_ip, "ParentIP", e);
	if (r == 0)
		r = parse_given(&gateway, host_gateway_ip, "HostGatewayIP", e);
	if (r < 0)
		return r;
	if (child.family != AF_UNSPEC) {
		*ip = child;
	} else if (parent.family == AF_UNSPEC || ipaddr_equal(&parent, &gateway) ||
		   (parent.family == AF_INET && ipaddr_is_any(&parent))) {
		*ip = (struct ipaddr){ .family = AF_INET, .v4.s_addr = htonl(INADDR_LOOPBACK) };
	} else {
		*ip = parent;
	}
	return 0;
}
