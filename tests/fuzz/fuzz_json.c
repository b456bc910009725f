/* SPDX-License-Identifier: Apache-2.0 */

/* JSON. The nodes of an accepted text form a tree within the text. Where a value ends does not
 * depend on what follows. A document that is written again parses to the same tree. */
#include "formats/json.h"
#include "formats/jsonout.h"

#include <errno.h>

#include "fuzz.h"

#define ESCAPED_MAX 6 /* bytes that the writer prints for one, as in \u00XX */

/* Nodes are in the order of their texts, and each lies within its container. */
static void check_tree(const struct json_doc *doc, uint32_t index, size_t len)
{
	const struct json_node *node = &doc->nodes[index];
	const struct json_node *child;
	uint32_t children = 0, next = index + 1;

	REQUIRE(node->type < JSON_TYPE_COUNT);
	REQUIRE(node->next > index && node->next <= doc->count);
	REQUIRE((size_t)node->start + node->len <= len);
	for (child = json_first(doc, node); child != NULL; child = json_next(doc, node, child)) {
		REQUIRE(child == &doc->nodes[next]);
		REQUIRE(child->start > node->start);
		REQUIRE(child->start + child->len < node->start + node->len);
		if (node->type == JSON_OBJECT && children % 2 == 0)
			REQUIRE(child->type == JSON_STRING);
		check_tree(doc, next, len);
		next = child->next;
		children++;
	}
	REQUIRE(next == node->next);
	REQUIRE(node->type != JSON_OBJECT || children % 2 == 0);
}

/* Returns a string's value, or NULL if it contains a NUL. The caller frees it. */
static char *string_value(const struct json_doc *doc, const struct json_node *node)
{
	size_t cap = (size_t)node->len * 3 + 1; /* each byte may become U+FFFD */
	char *value = malloc(cap);
	int len = json_get_string(doc, node, value, cap);

	REQUIRE(len >= 0 || len == -EINVAL);
	if (len < 0) {
		free(value);
		return NULL;
	}
	REQUIRE(strlen(value) == (size_t)len);
	REQUIRE(json_get_string(doc, node, value, (size_t)len) == -ENOSPC);
	REQUIRE(json_get_string(doc, node, value, (size_t)len + 1) == len);
	return value;
}

/* Writes a value again. Numbers that are not integers, and strings with a NUL, which the writer
 * cannot print, become other strings. */
static void write_value(struct jsonout *out, const struct json_doc *doc,
			const struct json_node *node, const char *key)
{
	const struct json_node *child;
	char *text;
	int64_t number;
	size_t len;
	bool truth;

	switch (node->type) {
	case JSON_NULL:
		jsonout_put_null(out, key);
		break;
	case JSON_BOOL:
		REQUIRE(json_get_bool(doc, node, &truth) == 0);
		jsonout_put_bool(out, key, truth);
		break;
	case JSON_NUMBER:
		json_raw(doc, node, &len);
		REQUIRE(len > 0);
		if (json_get_int(doc, node, &number) == 0)
			jsonout_put_int(out, key, number);
		else
			jsonout_put_string(out, key, "number");
		break;
	case JSON_STRING:
		text = string_value(doc, node);
		jsonout_put_string(out, key, text != NULL ? text : "string");
		free(text);
		break;
	case JSON_ARRAY:
		jsonout_begin_array(out, key);
		for (child = json_first(doc, node); child != NULL;
		     child = json_next(doc, node, child))
			write_value(out, doc, child, NULL);
		jsonout_end_array(out);
		break;
	default:
		jsonout_begin_object(out, key);
		for (child = json_first(doc, node); child != NULL;
		     child = json_next(doc, node, child)) {
			text = string_value(doc, child);
			child = json_next(doc, node, child);
			write_value(out, doc, child, text != NULL ? text : "key");
			free(text);
		}
		jsonout_end_object(out);
	}
}

static char *write_root(const struct json_doc *doc, size_t cap, size_t *len)
{
	char *buf = malloc(cap);
	struct jsonout out;

	jsonout_init(&out, buf, cap);
	write_value(&out, doc, &doc->nodes[0], NULL);
	REQUIRE(!out.overflow);
	REQUIRE(out.len == strlen(buf));
	*len = out.len;
	return buf;
}

static void check_round_trip(const struct json_doc *doc, size_t size)
{
	size_t cap = (size + 64) * ESCAPED_MAX, len, len_again;
	char *text = write_root(doc, cap, &len);
	char *copy = exact_copy(text, len);
	struct json_doc again;
	char *text_again;

	REQUIRE(json_parse(&again, copy, len, NULL) == 0);
	REQUIRE(again.count == doc->count);
	for (uint32_t i = 0; i < doc->count; i++)
		REQUIRE(again.nodes[i].next == doc->nodes[i].next);
	text_again = write_root(&again, cap, &len_again);
	REQUIRE(strcmp(text, text_again) == 0);
	free(text_again);
	free(copy);
	free(text);
}

/* Without the bytes after the root value, the nodes are the same. Without the root's last byte, the
 * text is incomplete, unless the root is a number, which may be a number with fewer digits, too. */
static void check_end(const struct json_doc *doc, const uint8_t *data)
{
	const struct json_node *root = &doc->nodes[0];
	size_t end = root->start + root->len + (root->type == JSON_STRING);
	char *copy = exact_copy(data, end);
	struct json_doc again;
	struct err e;

	REQUIRE(json_parse(&again, copy, end, &e) == 0);
	REQUIRE(again.count == doc->count);
	REQUIRE(memcmp(again.nodes, doc->nodes, doc->count * sizeof(doc->nodes[0])) == 0);
	free(copy);
	if (root->type == JSON_NUMBER)
		return;
	copy = exact_copy(data, end - 1);
	REQUIRE(json_parse(&again, copy, end - 1, &e) == -EINVAL);
	REQUIRE(strcmp(e.msg, "unexpected EOF") == 0);
	REQUIRE(again.count == 0);
	free(copy);
}

/* The outline of a text that json_parse accepts has the root's members, in the same places. */
static void check_outline(const struct json_doc *doc, const char *text, size_t size)
{
	const struct json_node *root = &doc->nodes[0], *node = json_first(doc, root);
	struct json_doc outline;

	REQUIRE(json_outline(&outline, text, size, NULL) == 0);
	for (uint32_t i = 1; i < outline.count; i++) {
		REQUIRE(node != NULL && node->type == outline.nodes[i].type);
		REQUIRE(node->start == outline.nodes[i].start && node->len == outline.nodes[i].len);
		REQUIRE(outline.nodes[i].next == i + 1);
		node = json_next(doc, root, node);
	}
	REQUIRE(node == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = exact_copy(data, size);
	struct json_doc doc;
	struct err e = { "" };
	int r = json_parse(&doc, text, size, &e);

	if (r == 0) {
		check_outline(&doc, text, size);
		REQUIRE(e.msg[0] == '\0');
		REQUIRE(doc.nodes[0].next == doc.count);
		check_tree(&doc, 0, size);
		check_end(&doc, data);
		check_round_trip(&doc, size);
	} else {
		REQUIRE(r == -EINVAL || r == -E2BIG);
		REQUIRE(e.msg[0] != '\0');
		REQUIRE(doc.count == 0);
	}
	free(text);
	return 0;
}
