/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stddef.h>

/* A doubly linked list of nodes that are embedded in what the list holds. A list that is all zero
 * is empty; a node may be in one list at a time. The list owns nothing, and no function allocates
 * or locks.
 */
struct list_node {
	struct list_node *prev, *next;
};

struct list {
	struct list_node *first, *last; /* NULL: empty */
};

/* What a node is embedded in: LIST_OWNER(node, struct flow, node). NULL is not allowed. */
#define LIST_OWNER(node, type, member) ((type *)((char *)(node)-offsetof(type, member)))

/* Adds a node that is in no list behind `after`, or as the first where that is NULL. */
static inline void list_insert(struct list *l, struct list_node *after, struct list_node *node)
{
	struct list_node *next = after != NULL ? after->next : l->first;

	node->prev = after;
	node->next = next;
	*(after != NULL ? &after->next : &l->first) = node;
	*(next != NULL ? &next->prev : &l->last) = node;
}

static inline void list_append(struct list *l, struct list_node *node)
{
	list_insert(l, l->last, node);
}

static inline void list_prepend(struct list *l, struct list_node *node)
{
	list_insert(l, NULL, node);
}

/* Takes a node out of the list in which it is. */
static inline void list_remove(struct list *l, struct list_node *node)
{
	*(node->prev != NULL ? &node->prev->next : &l->first) = node->next;
	*(node->next != NULL ? &node->next->prev : &l->last) = node->prev;
	node->prev = node->next = NULL;
}

#endif
