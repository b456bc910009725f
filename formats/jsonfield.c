/* SPDX-License-Identifier: Apache-2.0 */
#include "formats/jsonfield.h"

#include <errno.h>
#include <stdio.h>

/* The member's value, or NULL if it is missing or null: RootlessKit treats both the same. */
static const struct json_node *field(const struct json_doc *doc, const struct json_node *obj,
				     const char *key)
{
	const struct json_node *node = json_member(doc, obj, key);

	return node != NULL && node->type == JSON_NULL ? NULL : node;
}

static int wrong_type(const struct json_doc *doc, const char *what, const char *key,
		      const char *want, struct err *e)
{
	if (doc->go_type != NULL)
		return err_set(e, EINVAL,
			       "json: cannot unmarshal %s into Go struct field %s.%s of type %s",
			       what, doc->go_type, key, want);
	return err_set(e, EINVAL, "json: cannot unmarshal %s into field %s of type %s", what, key,
		       want);
}

int json_field_string(const struct json_doc *doc, const struct json_node *obj, const char *key,
		      char *buf, size_t cap, struct err *e)
{
	const struct json_node *node = field(doc, obj, key);
	int len;

	buf[0] = '\0';
	if (node == NULL)
		return 0;
	if (node->type != JSON_STRING)
		return wrong_type(doc, json_type_name(node->type), key, "string", e);
	len = json_get_string(doc, node, buf, cap);
	if (len == -ENOSPC)
		return err_set(e, EINVAL, "json: field %s is too long", key);
	if (len < 0)
		return err_set(e, EINVAL, "json: field %s holds a NUL character", key);
	return 0;
}

int json_field_int(const struct json_doc *doc, const struct json_node *obj, const char *key,
		   int64_t *value, struct err *e)
{
	const struct json_node *node = field(doc, obj, key);
	char what[ERR_LEN / 4]; /* leaves room for the rest of the reason */
	const char *raw;
	size_t len;

	*value = 0;
	if (node == NULL)
		return 0;
	if (node->type != JSON_NUMBER)
		return wrong_type(doc, json_type_name(node->type), key, "int", e);
	if (json_get_int(doc, node, value) == 0)
		return 0;
	raw = json_raw(doc, node, &len);
	if (len >= sizeof(what) - sizeof("number ")) /* a number of any length is JSON */
		len = sizeof(what) - sizeof("number ") - 1;
	snprintf(what, sizeof(what), "number %.*s", (int)len, raw);
	return wrong_type(doc, what, key, "int", e);
}
