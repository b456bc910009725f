/* SPDX-License-Identifier: Apache-2.0 */
#include "formats/podmanconfig.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "formats/ipaddr.h"
#include "formats/jsonfield.h"

/* ---- the configuration ---- */

/* Reads a boolean; a missing one is false. */
static int read_bool(const struct json_doc *doc, const char *key, bool *value, struct err *e)
{
	const struct json_node *node = json_member(doc, &doc->nodes[0], key);

	*value = false;
	if (node == NULL || node->type == JSON_NULL || json_get_bool(doc, node, value) == 0)
		return 0;
	return err_set(e, EINVAL,
		       "json: cannot unmarshal %s into Go struct field Config.%s of type bool",
		       json_type_name(node->type), key);
}

/* Reads a descriptor number, which must be above 0. */
static int read_fd(const struct json_doc *doc, const char *key, int *fd, struct err *e)
{
	int64_t value;
	int r = json_field_int(doc, &doc->nodes[0], key, &value, e);

	if (r < 0)
		return r;
	if (value <= 0 || value > INT_MAX)
		return err_set(e, EINVAL, "missing %s", key);
	*fd = (int)value;
	return 0;
}

static int read_string(const struct json_doc *doc, const char *key, char *buf, size_t cap,
		       bool required, struct err *e)
{
	int r = json_field_string(doc, &doc->nodes[0], key, buf, cap, e);

	if (r == 0 && required && buf[0] == '\0')
		r = err_set(e, EINVAL, "missing %s", key);
	return r;
}

/* Checks an address, which may be empty. */
static int check_child_ip(const char *text, struct err *e)
{
	struct ipaddr ip;

	if (text[0] == '\0' || ipaddr_parse(&ip, text) == 0)
		return 0;
	return err_set(e, EINVAL, "invalid ChildIP: \"%s\"; it takes an IP address", text);
}

/* The ID is the name of the socket for reloads. */
static int check_container_id(const char *id, struct err *e)
{
	if (strchr(id, '/') == NULL && strcmp(id, ".") != 0 && strcmp(id, "..") != 0)
		return 0;
	return err_set(e, EINVAL, "ContainerID \"%s\" is not a file name", id);
}

static int read_mappings(struct podmanconfig *c, const struct json_doc *doc, struct err *e)
{
	const struct json_node *node = json_member(doc, &doc->nodes[0], "Mappings");

	c->mappings = (struct text){ NULL, 0 };
	if (node == NULL || node->type == JSON_NULL)
		return 0;
	if (node->type != JSON_ARRAY)
		return err_set(e, EINVAL,
			       "json: cannot unmarshal %s into Go struct field Config.Mappings of "
			       "type []PortMapping",
			       json_type_name(node->type));
	c->mappings.p = json_raw(doc, node, &c->mappings.len);
	return 0;
}

static int read_members(struct podmanconfig *c, const struct json_doc *doc, struct err *e)
{
	int r = read_string(doc, "NetNSPath", c->netns, sizeof(c->netns), true, e);

	if (r == 0)
		r = read_fd(doc, "ExitFD", &c->exit_fd, e);
	if (r == 0)
		r = read_fd(doc, "ReadyFD", &c->ready_fd, e);
	if (r == 0)
		r = read_string(doc, "TmpDir", c->tmp_dir, sizeof(c->tmp_dir), true, e);
	if (r == 0)
		r = read_string(doc, "ChildIP", c->child_ip, sizeof(c->child_ip), false, e);
	if (r == 0)
		r = read_bool(doc, "RootlessCNI", &c->has_reloads, e);
	if (r == 0)
		r = read_string(doc, "ContainerID", c->container_id, sizeof(c->container_id),
				c->has_reloads, e);
	return r == 0 ? read_mappings(c, doc, e) : r;
}

int podmanconfig_parse(struct podmanconfig *c, const char *text, size_t len, struct err *e)
{
	struct json_doc doc;
	int r = json_outline(&doc, text, len, e);

	if (r < 0)
		return r;
	if (doc.nodes[0].type != JSON_OBJECT && doc.nodes[0].type != JSON_NULL)
		return err_set(e, EINVAL, "json: cannot unmarshal %s into Go value of type Config",
			       json_type_name(doc.nodes[0].type));
	doc.go_type = "Config";
	r = read_members(c, &doc, e);
	if (r == 0 && c->exit_fd == c->ready_fd)
		r = err_set(e, EINVAL, "ExitFD and ReadyFD are both %d", c->exit_fd);
	if (r == 0)
		r = check_child_ip(c->child_ip, e);
	return r == 0 ? check_container_id(c->container_id, e) : r;
}

/* ---- ports ---- */

void podmanconfig_ports_init(struct podmanconfig_ports *p, const struct podmanconfig *c)
{
	*p = (struct podmanconfig_ports){ .config = c };
	if (c->mappings.p != NULL)
		json_walk_init(&p->walk, c->mappings.p, c->mappings.len);
}

/* Reads a number from 0 to PORT_MAX. `name`: for the reason. */
static int read_number(const struct json_doc *doc, const char *key, const char *name, int *number,
		       struct err *e)
{
	int64_t value;
	int r = json_field_int(doc, &doc->nodes[0], key, &value, e);

	if (r < 0)
		return r;
	if (value < 0 || value > PORT_MAX)
		return err_set(e, EINVAL, "invalid %s: %" PRId64 "; it is 1 to 65535", name, value);
	*number = (int)value;
	return 0;
}

static int read_host_ip(const struct json_doc *doc, char *buf, struct err *e)
{
	struct ipaddr ip;
	int r = json_field_string(doc, &doc->nodes[0], "host_ip", buf, PORTSPEC_IP_LEN, e);

	if (r < 0)
		return r;
	if (buf[0] == '\0')
		strcpy(buf, "0.0.0.0");
	if (ipaddr_parse(&ip, buf) == 0)
		return 0;
	return err_set(e, EINVAL, "invalid ParentIP: \"%s\"; it takes an IP address", buf);
}

/* Reads a mapping, the root of `doc`. Only the protocols are not checked yet. */
static int read_mapping(struct podmanconfig_ports *p, struct json_doc *doc, struct err *e)
{
	struct portspec *first = &p->first;
	int r;

	doc->go_type = "PortMapping";
	if (doc->nodes[0].type != JSON_OBJECT)
		return err_set(e, EINVAL,
			       "json: cannot unmarshal %s into Go value of type PortMapping",
			       json_type_name(doc->nodes[0].type));
	r = read_host_ip(doc, first->parent_ip, e);
	if (r == 0)
		r = read_number(doc, "host_port", "ParentPort", &first->parent_port, e);
	if (r == 0)
		r = read_number(doc, "container_port", "ChildPort", &first->child_port, e);
	if (r == 0)
		r = read_number(doc, "range", "range", &p->range, e);
	if (r == 0)
		r = json_field_string(doc, &doc->nodes[0], "protocol", p->protocols,
				      sizeof(p->protocols), e);
	if (p->range == 0)
		p->range = 1;
	strcpy(first->child_ip, p->config->child_ip);
	return r;
}

/* Reads the name of the next protocol of the mapping. */
static int read_protocol(struct podmanconfig_ports *p, struct err *e)
{
	size_t len = strcspn(p->protocol, ",");
	char name[sizeof(p->protocols)];

	memcpy(name, p->protocol, len);
	name[len] = '\0';
	p->protocol = p->protocol[len] == ',' ? p->protocol + len + 1 : NULL;
	return proto_parse(&p->first.proto, name, e);
}

/* Goes to the next protocol, maybe that of the next mapping. Returns 1, 0 at the end, or -errno. */
static int next_protocol(struct podmanconfig_ports *p, struct err *e)
{
	struct json_doc doc;
	int r = 1;

	if (p->protocol == NULL) {
		r = p->walk.text != NULL ? json_walk_next(&p->walk, &doc, e) : 0;
		if (r == 1)
			r = read_mapping(p, &doc, e) < 0 ? -EINVAL : 1;
		p->protocol = p->protocols;
	}
	if (r == 1)
		r = read_protocol(p, e) < 0 ? -EINVAL : 1;
	p->done = 0;
	return r;
}

static int check_port(int port, const char *name, struct err *e)
{
	if (port >= 1 && port <= PORT_MAX)
		return 0;
	return err_set(e, EINVAL, "invalid %s: %d; ports are 1 to 65535", name, port);
}

int podmanconfig_ports_next(struct podmanconfig_ports *p, struct portspec *spec, struct err *e)
{
	int r;

	if (p->done == p->range) {
		r = next_protocol(p, e);
		if (r <= 0)
			return r;
	}
	*spec = p->first;
	spec->parent_port += p->done;
	spec->child_port += p->done;
	p->done++;
	r = check_port(spec->parent_port, "ParentPort", e);
	if (r == 0)
		r = check_port(spec->child_port, "ChildPort", e);
	return r == 0 ? 1 : r;
}

int podmanconfig_check(const struct podmanconfig *c, struct err *e)
{
	struct podmanconfig_ports ports;
	struct portspec spec;
	int count = 0;
	int r;

	podmanconfig_ports_init(&ports, c);
	while ((r = podmanconfig_ports_next(&ports, &spec, e)) > 0)
		count++;
	return r < 0 ? r : count;
}

/* ---- reloads ---- */

int podmanconfig_child_ip(char ip[PORTSPEC_IP_LEN], const char *text, size_t len, struct err *e)
{
	struct json_doc doc;
	int r = json_parse(&doc, text, len, e);

	if (r < 0)
		return r;
	if (doc.nodes[0].type != JSON_STRING)
		return err_set(e, EINVAL, "json: cannot unmarshal %s into Go value of type string",
			       json_type_name(doc.nodes[0].type));
	if (json_get_string(&doc, &doc.nodes[0], ip, PORTSPEC_IP_LEN) < 0)
		return err_set(e, EINVAL,
			       "invalid ChildIP: it is too long or holds a NUL character");
	return check_child_ip(ip, e);
}
