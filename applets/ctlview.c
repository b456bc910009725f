/* SPDX-License-Identifier: Apache-2.0 */
/* Prints the API's answers for rootlessctl. See ctlview.h.
 *
 * A list of ports is parsed twice: first to check it and to measure the columns, then to print it.
 * A list of any length therefore needs no memory besides its text.
 */
#include "applets/ctlview.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>

#include "base/array.h"
#include "formats/json.h"
#include "formats/jsonfield.h"
#include "formats/jsonout.h"
#include "formats/portspec.h"

#define PROTO_LEN   16	 /* bytes with the NUL; "sctp4" has 6 */
#define NAME_LEN    256	 /* bytes of a driver's name, a version or an address, with the NUL */
#define PADDING	    4	 /* blanks after the widest cell; compat */
#define JSON_BLANKS 4	 /* blanks per level of indented JSON; compat */
#define LINE_LEN    2048 /* bytes of a port's JSON, escaped */

/* ---- control characters ---- */

/* Returns the length of the control character at `s`, 0 if there is none. In UTF-8 U+0080 to U+009F
 * take two bytes. */
static size_t control_len(const char *s)
{
	const unsigned char *b = (const unsigned char *)s;

	if (b[0] == 0xc2 && b[1] >= 0x80 && b[1] <= 0x9f)
		return 2;
	return b[0] < 0x20 || b[0] == 0x7f ? 1 : 0;
}

void ctlview_clean(char *text)
{
	char *to = text;

	while (*text != '\0') {
		size_t n = control_len(text);

		*to++ = n > 0 ? '?' : *text;
		text += n > 0 ? n : 1;
	}
	*to = '\0';
}

/* Prints JSON and a line feed. jsonout has escaped the characters that JSON requires to be escaped.
 * Other control characters can occur in strings only; they are escaped here. Line feeds are layout
 * and stay. */
static void print_json(FILE *out, const char *text)
{
	for (; *text != '\0'; text++) {
		size_t n = control_len(text);

		if (n == 0 || *text == '\n') {
			putc(*text, out);
			continue;
		}
		text += n - 1;
		fprintf(out, "\\u%04x", (unsigned char)*text);
	}
	putc('\n', out);
}

/* ---- ports ---- */

/* A port as the server describes it. Not a struct portspec, because that has no room for future
 * protocols. */
struct port {
	int64_t id;
	char proto[PROTO_LEN];
	char parent_ip[PORTSPEC_IP_LEN];
	int64_t parent_port;
	char child_ip[PORTSPEC_IP_LEN];
	int64_t child_port;
};

static int read_port(struct port *p, const struct json_doc *doc, struct err *e)
{
	const struct json_node *root = &doc->nodes[0];
	const struct json_node *spec = json_member(doc, root, "spec");
	int r;

	if (root->type != JSON_OBJECT || spec == NULL || spec->type != JSON_OBJECT)
		return err_set(e, EPROTO, "not a port entry");
	r = json_field_int(doc, root, "id", &p->id, e);
	if (r == 0)
		r = json_field_string(doc, spec, "proto", p->proto, sizeof(p->proto), e);
	if (r == 0)
		r = json_field_string(doc, spec, "parentIP", p->parent_ip, sizeof(p->parent_ip), e);
	if (r == 0)
		r = json_field_int(doc, spec, "parentPort", &p->parent_port, e);
	if (r == 0)
		r = json_field_string(doc, spec, "childIP", p->child_ip, sizeof(p->child_ip), e);
	if (r == 0)
		r = json_field_int(doc, spec, "childPort", &p->child_port, e);
	return r;
}

static void print_port_json(FILE *out, const struct port *p)
{
	char line[LINE_LEN];
	struct jsonout j;

	jsonout_init(&j, line, sizeof(line));
	jsonout_begin_object(&j, NULL);
	jsonout_put_int(&j, "id", p->id);
	jsonout_begin_object(&j, "spec");
	jsonout_put_string(&j, "proto", p->proto);
	if (p->parent_ip[0] != '\0')
		jsonout_put_string(&j, "parentIP", p->parent_ip);
	jsonout_put_int(&j, "parentPort", p->parent_port);
	jsonout_put_int(&j, "childPort", p->child_port);
	if (p->child_ip[0] != '\0')
		jsonout_put_string(&j, "childIP", p->child_ip);
	jsonout_end_object(&j);
	jsonout_end_object(&j);
	print_json(out, line);
}

enum column {
	COLUMN_ID,
	COLUMN_PROTO,
	COLUMN_PARENT_IP,
	COLUMN_PARENT_PORT,
	COLUMN_CHILD_IP,
	COLUMN_CHILD_PORT,
	COLUMN_COUNT,
};

static const char *const titles[] = {
	[COLUMN_ID] = "ID",
	[COLUMN_PROTO] = "PROTO",
	[COLUMN_PARENT_IP] = "PARENTIP",
	[COLUMN_PARENT_PORT] = "PARENTPORT",
	[COLUMN_CHILD_IP] = "CHILDIP",
	[COLUMN_CHILD_PORT] = "CHILDPORT",
};

_Static_assert(COUNT_OF(titles) == COLUMN_COUNT, "a title per column");

/* Writes a cell to buf[cap]. Returns `buf`. */
static const char *cell(const struct port *p, enum column column, char *buf, size_t cap)
{
	const char *const texts[COLUMN_COUNT] = {
		[COLUMN_PROTO] = p->proto,
		[COLUMN_PARENT_IP] = p->parent_ip,
		[COLUMN_CHILD_IP] = p->child_ip,
	};
	const int64_t numbers[COLUMN_COUNT] = {
		[COLUMN_ID] = p->id,
		[COLUMN_PARENT_PORT] = p->parent_port,
		[COLUMN_CHILD_PORT] = p->child_port,
	};

	if (texts[column] != NULL)
		snprintf(buf, cap, "%s", texts[column]);
	else
		snprintf(buf, cap, "%" PRId64, numbers[column]);
	ctlview_clean(buf);
	return buf;
}

/* The width of a UTF-8 text, counting one column for each character. */
static int width_of(const char *text)
{
	int width = 0;

	for (; *text != '\0'; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

static void widen(int *width, const char *text)
{
	int wanted = width_of(text) + PADDING;

	if (wanted > *width)
		*width = wanted;
}

static void measure(const struct port *p, int *widths)
{
	char buf[PORTSPEC_IP_LEN];

	for (int c = 0; c < COLUMN_COUNT; c++)
		widen(&widths[c], cell(p, (enum column)c, buf, sizeof(buf)));
}

static void print_cell(FILE *out, const char *text, int width)
{
	fprintf(out, "%s%*s", text, width - width_of(text), "");
}

static void print_titles(FILE *out, const int *widths)
{
	for (int c = 0; c < COLUMN_COUNT; c++)
		print_cell(out, titles[c], widths[c]);
	putc('\n', out);
}

static void print_row(FILE *out, const struct port *p, const int *widths)
{
	char buf[PORTSPEC_IP_LEN];

	for (int c = 0; c < COLUMN_COUNT; c++)
		print_cell(out, cell(p, (enum column)c, buf, sizeof(buf)), widths[c]);
	putc('\n', out);
}

/* Parses the list. If `out` is NULL, checks and measures the ports, else prints them. */
static int walk_ports(FILE *out, const char *json, size_t len, bool as_json, int *widths,
		      struct err *e)
{
	struct json_walk walk;
	struct json_doc doc;
	struct port p = { .id = 0 };
	int r;

	json_walk_init(&walk, json, len);
	while ((r = json_walk_next(&walk, &doc, e)) > 0) {
		r = read_port(&p, &doc, e);
		if (r < 0)
			return r;
		if (out == NULL)
			measure(&p, widths);
		else if (as_json)
			print_port_json(out, &p);
		else
			print_row(out, &p, widths);
	}
	return r;
}

int ctlview_ports(FILE *out, const char *json, size_t len, bool as_json, struct err *e)
{
	int widths[COLUMN_COUNT] = { 0 };
	int r;

	for (int c = 0; c < COLUMN_COUNT; c++)
		widen(&widths[c], titles[c]);
	r = walk_ports(NULL, json, len, as_json, widths, e);
	if (r < 0) {
		err_wrap(e, "the list of ports cannot be read");
		return r;
	}
	if (!as_json)
		print_titles(out, widths);
	return walk_ports(out, json, len, as_json, widths, e);
}

int ctlview_port(FILE *out, const char *json, size_t len, bool as_json, struct err *e)
{
	struct json_doc doc;
	struct port p = { .id = 0 };
	int r = json_parse(&doc, json, len, e);

	if (r == 0)
		r = read_port(&p, &doc, e);
	if (r < 0) {
		err_wrap(e, "the port was added, but the answer cannot be read");
		return r;
	}
	if (as_json)
		print_port_json(out, &p);
	else
		fprintf(out, "%" PRId64 "\n", p.id);
	return 0;
}

/* ---- info ---- */

static int print_info_json(FILE *out, const struct json_doc *doc, size_t len, struct err *e)
{
	size_t cap = jsonout_indented_cap(len, JSON_BLANKS);
	char *buf = malloc(cap);
	struct jsonout j;

	if (buf == NULL)
		return err_sys(e, ENOMEM, "laying out the answer");
	jsonout_init(&j, buf, cap);
	jsonout_put_indented(&j, doc, &doc->nodes[0], JSON_BLANKS);
	print_json(out, buf);
	free(buf);
	return 0;
}

/* Prints "LABEL: VALUE" of a string member; the value is empty if the member is missing. */
static int print_string(FILE *out, const char *label, const struct json_doc *doc,
			const struct json_node *obj, const char *key, struct err *e)
{
	char value[PATH_MAX];
	int r = json_field_string(doc, obj, key, value, sizeof(value), e);

	if (r < 0)
		return r;
	ctlview_clean(value);
	fprintf(out, "%s: %s\n", label, value);
	return 0;
}

/* Prints "LABEL: [A B]" of a member that is a list of strings, or missing, or null. */
static int print_list(FILE *out, const char *label, const struct json_doc *doc,
		      const struct json_node *obj, const char *key, struct err *e)
{
	const struct json_node *list = json_member(doc, obj, key);
	const struct json_node *item = json_first(doc, list);
	const char *blank = "";
	char text[NAME_LEN];

	if (list != NULL && list->type != JSON_ARRAY && list->type != JSON_NULL)
		return err_set(e, EPROTO, "json: cannot unmarshal %s into field %s of type list",
			       json_type_name(list->type), key);
	fprintf(out, "%s: [", label);
	for (; item != NULL; item = json_next(doc, list, item)) {
		if (json_get_string(doc, item, text, sizeof(text)) < 0)
			return err_set(e, EPROTO,
				       "json: an element of %s is not a string, or is too long",
				       key);
		ctlview_clean(text);
		fprintf(out, "%s%s", blank, text);
		blank = " ";
	}
	fprintf(out, "]\n");
	return 0;
}

/* Sets *obj to a member that is an object, or to NULL if it is missing or null. */
static int get_object(const struct json_node **obj, const struct json_doc *doc, const char *key,
		      struct err *e)
{
	*obj = json_member(doc, &doc->nodes[0], key);
	if (*obj != NULL && (*obj)->type == JSON_NULL)
		*obj = NULL;
	if (*obj != NULL && (*obj)->type != JSON_OBJECT)
		return err_set(e, EPROTO, "json: cannot unmarshal %s into field %s of type object",
			       json_type_name((*obj)->type), key);
	return 0;
}

static int print_network(FILE *out, const struct json_doc *doc, struct err *e)
{
	const struct json_node *net;
	char ip[NAME_LEN];
	int r = get_object(&net, doc, "networkDriver", e);

	if (r < 0 || net == NULL)
		return r;
	r = print_string(out, "- Network Driver", doc, net, "driver", e);
	if (r == 0)
		r = print_list(out, "  - DNS", doc, net, "dns", e);
	if (r == 0)
		r = json_field_string(doc, net, "childIP", ip, sizeof(ip), e);
	if (r == 0 && ip[0] != '\0')
		r = print_string(out, "  - IP", doc, net, "childIP", e);
	return r;
}

static int print_port_driver(FILE *out, const struct json_doc *doc, struct err *e)
{
	const struct json_node *driver;
	int r = get_object(&driver, doc, "portDriver", e);

	if (r < 0 || driver == NULL)
		return r;
	r = print_string(out, "- Port Driver", doc, driver, "driver", e);
	if (r == 0)
		r = print_list(out, "  - Supported protocols", doc, driver, "protos", e);
	return r;
}

static int print_info_text(FILE *out, const struct json_doc *doc, struct err *e)
{
	const struct json_node *root = &doc->nodes[0];
	int64_t pid;
	int r = print_string(out, "- REST API version", doc, root, "apiVersion", e);

	if (r == 0)
		r = print_string(out, "- Implementation version", doc, root, "version", e);
	if (r == 0)
		r = print_string(out, "- State Directory", doc, root, "stateDir", e);
	if (r == 0)
		r = json_field_int(doc, root, "childPID", &pid, e);
	if (r < 0)
		return r;
	fprintf(out, "- Child PID: %" PRId64 "\n", pid);
	r = print_network(out, doc, e);
	return r == 0 ? print_port_driver(out, doc, e) : r;
}

/* Prints to memory first, so that the user sees nothing of a bad answer. */
static int print_info_whole(FILE *out, const struct json_doc *doc, struct err *e)
{
	char *text = NULL;
	size_t len = 0;
	FILE *memory = open_memstream(&text, &len);
	int r;

	if (memory == NULL)
		return err_sys(e, errno, "laying out the answer");
	r = print_info_text(memory, doc, e);
	if (fclose(memory) != 0 && r == 0)
		r = err_sys(e, ENOMEM, "laying out the answer");
	if (r == 0)
		fwrite(text, 1, len, out);
	free(text);
	return r;
}

int ctlview_info(FILE *out, const char *json, size_t len, bool as_json, struct err *e)
{
	struct json_doc doc;
	int r = json_parse(&doc, json, len, e);

	if (r == 0 && doc.nodes[0].type != JSON_OBJECT)
		r = err_set(e, EPROTO, "json: cannot unmarshal %s into an object",
			    json_type_name(doc.nodes[0].type));
	if (r == 0)
		r = as_json ? print_info_json(out, &doc, doc.nodes[0].len, e)
			    : print_info_whole(out, &doc, e);
	if (r < 0)
		err_wrap(e, "the answer cannot be read");
	return r;
}
