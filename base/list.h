/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stddef.h>

/* A doubly linked list. Its nodes are embedded in the list's elements. A zero-initialised list
 * is empty. A node may be in one list at a time. The list owns nothing, and no function allocates
 * or locks.
 */
struct list_node {
	struct list_node *prev, *next;
};

struct list {
	struct list_node *first, *last; /* NULL: empty */
};

/* The element in which a node is embedded: LIST_OWNER(node, struct flow, node). `node` must not be
 * NULL. */
#define LIST_OWNER(node, type, member) ((type *)((char *)(node)-offsetof(type, member)))

/* Inserts `node`, which must not be in a list, behind `after`, or at the front if `after` is
 * NULL. */
static inline void list_insert(struct list *l, struct list_node *after, struct list_node *node)
{
	struct list_node *next = after != NULL ? after->next : l->first;

	node->prev = after;
	node->next = next;
	*(after != NULL ? &after->next : &l->first) = node;
	*(next != NULL ? &next->prev : &l->last) = node;
}

/* Inserts `node`, which must not be in a list, at the end. */
static inline void list_append(struct list *l, struct list_node *node)
{
	list_insert(l, l->last, node);
}

/* Inserts `node`, which must not be in a list, at the front. */
static inline void list_prepend(struct list *l, struct list_node *node)
{
	list_insert(l, NULL, node);
}

/* Removes a node from the list `l`, which it must be in. */
static inline void list_remove(struct list *l, struct list_node *node)
{
	*(node->prev != NULL ? &node->prev->next : &l->first) = node->next;
	*(node->next != NULL ? &node->next->prev : &l->last) = node->prev;
	node->prev = node->next = NULL;
}

#endif
