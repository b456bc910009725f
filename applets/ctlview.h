/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APPLETS_CTLVIEW_H
#define APPLETS_CTLVIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/err.h"

/* Prints the API's answers for rootlessctl. The answers are not trusted: values that are too long
 * are rejected, and control characters do not reach the terminal. A function prints nothing until
 * it has checked the whole answer. `json` is borrowed and has `len` bytes. All return 0, or -errno
 * with a reason. */

/* The answer to GET /v1/ports: a table, or with `as_json` one object a line. */
int ctlview_ports(FILE *out, const char *json, size_t len, bool as_json, struct err *e);

/* The answer to POST /v1/ports, on one line: the ID, or with `as_json` the object. */
int ctlview_port(FILE *out, const char *json, size_t len, bool as_json, struct err *e);

/* The answer to GET /v1/info: lines of text, or with `as_json` the whole object, unknown members
 * included. */
int ctlview_info(FILE *out, const char *json, size_t len, bool as_json, struct err *e);

/* Replaces each control character of `text` by a question mark, in place. */
void ctlview_clean(char *text);

#endif
