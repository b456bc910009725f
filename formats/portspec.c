/* SPDX-License-Identifier: Apache-2.0 */
/* Port specs as text and as JSON, and the addresses and protos in them.
 *
 * A text is split at its last colon, and before it at the colons outside of brackets. Each part is
 * checked separately. Both readers fill in a local spec, and copy it to the caller's spec only if
 * all of it is valid. An address stays in the form that the user gave; code that needs a `struct
 * ipaddr` converts it (target.h).
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
#define PLACES_MAX                                                                    \
	3 /* parent IP, parent port, child IP; the child port is after the last colon \
	   */
/* Longer numbers are not port numbers. The limit is above the 19 digits of a 64-bit number. */
#define PORT_DIGITS_MAX 64
/* Bytes of a JSON string; room to quote an invalid address in the error. */
#define FIELD_LEN	256

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
 * PLACES_MAX, but only the first PLACES_MAX are stored in `parts`. */
static size_t split(const char *p, const char *end, struct text *parts)
{
	const char *start = p;
	size_t count = 0;
	bool inside = false;

	for (;; p++) {
		if (p == end || (*p == ':' && !inside)) {
			if (count < PLACES_MAX)
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

/* Reads a decimal number with an optional sign, as Go's strconv.Atoi does, but without leading
 * zeros: they may be meant as octal. Returns 0, -EINVAL, or -ERANGE if it does not fit. */
static int read_number(struct text part, long long *value)
{
	char digits[PORT_DIGITS_MAX + 1];
	char *end;
	size_t sign = part.len > 0 && (part.p[0] == '-' || part.p[0] == '+');

	if (part.len == sign || part.len > PORT_DIGITS_MAX ||
	    (part.len > sign + 1 && part.p[sign] == '0') || !text_is_digit(part.p[sign]))
		return -EINVAL;
	memcpy(digits, part.p, part.len);
	digits[part.len] = '\0';
	errno = 0;
	*value = strtoll(digits, &end, 10);
	return *end != '\0' ? -EINVAL : -errno;
}

/* The text being parsed; every reason quotes all of it. */
struct reading {
	const char *text;
	struct err *e;
};

static int refuse(const struct reading *in, const char *what)
{
	return err_set(in->e, EINVAL, "unexpected %sPortSpec string: \"%s\"", what, in->text);
}

/* `which` is "ParentPort" or "ChildPort". */
static int check_port(const struct reading *in, struct text part, const char *which,
		      long long *port)
{
	int r;

	if (part.len > 1 && part.p[0] == '[' && part.p[part.len - 1] == ']')
		part = (struct text){ part.p + 1, part.len - 2 };
	r = read_number(part, port);
	if (r < 0)
		return err_set(in->e, EINVAL,
			       "unexpected %s in PortSpec string: \"%s\": strconv.Atoi: parsing "
			       "\"%.*s\": %s",
			       which, in->text, (int)part.len, part.p,
			       r == -ERANGE ? "value out of range" : "invalid syntax");
	return 0;
}

static int check_range(long long value, const char *which, int *port, struct err *e)
{
	if (value < 1 || value > PORT_MAX)
		return err_set(e, ERANGE, "invalid %s: %lld", which, value);
	*port = (int)value;
	return 0;
}

/* `count` places: parent IP, parent port, child IP, or the first of them. */
static int check_places(const struct reading *in, const struct text *places, size_t count,
			struct portspec *spec)
{
	if (count > PLACES_MAX + 1)
		return refuse(in, "");
	if (read_ip(places[0], spec->parent_ip) < 0)
		return refuse(in, "ParentIP in ");
	if (count > 2 && read_ip(places[2], spec->child_ip) < 0)
		return refuse(in, "ChildIP in ");
	/* compat: RootlessKit takes two child ports, and puts their digits together. */
	return count > PLACES_MAX ? refuse(in, "format of ") : 0;
}

/* Reads the addresses and ports, which are before the slash at `end`. The checks are in
 * RootlessKit's order, so that of several mistakes the same one is reported. */
static int read_places(const struct reading *in, const char *end, struct portspec *spec)
{
	const char *colon = memrchr(in->text, ':', (size_t)(end - in->text));
	struct text places[PLACES_MAX] = { { "", 0 }, { "", 0 }, { "", 0 } };
	struct text last;
	long long parent_port = 0, child_port = 0;
	int r;

	if (colon == NULL)
		return refuse(in, "");
	last = (struct text){ colon + 1, (size_t)(end - colon - 1) };
	r = check_places(in, places, split(in->text, colon, places), spec);
	if (r == 0)
		r = check_port(in, places[1], "ParentPort", &parent_port);
	if (r == 0)
		r = check_port(in, last, "ChildPort", &child_port);
	if (r == 0)
		r = check_range(parent_port, "ParentPort", &spec->parent_port, in->e);
	return r < 0 ? r : check_range(child_port, "ChildPort", &spec->child_port, in->e);
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
 * `why` before the "did". Returns whether the guess is valid. `why` is empty or ends with "; ". */
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
static void add_advice(const char *text, struct err *e)
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
	} else if (slash != NULL && strchr(text, '/') != slash &&
		   suggest(e, "each spec has one PROTO; ", "%.*s%s",
			   (int)(strchr(text, '/') - text), text, slash)) {
		return;
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
		add_advice(text, e);
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
