/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APPLETS_CTLVIEW_H
#define APPLETS_CTLVIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/err.h"

/* How rootlessctl shows what the API answers. Text in, text out; the answers are not trusted: what
 * does not fit is refused, control characters do not reach the terminal. Output begins when all of
 * an answer has been read and found good. All return 0 or -errno with the reason.
 */

/* The list of GET /v1/ports: a table, or with `as_json` an object a line. */
int ctlview_ports(FILE *out, const char *json, size_t len, bool as_json, struct err *e);

/* The answer to POST /v1/ports: the ID, or the object, on one line. */
int ctlview_port(FILE *out, const char *json, size_t len, bool as_json, struct err *e);

/* The answer to GET /v1/info: lines of text, or with `as_json` all of it, unknown members too. */
int ctlview_info(FILE *out, const char *json, size_t len, bool as_json, struct err *e);

/* Replaces the control characters of a text by question marks, in place. */
void ctlview_clean(char *text);

#endif
