/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORMATS_JSONFIELD_H
#define FORMATS_JSONFIELD_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "formats/json.h"

/* Members of JSON objects whose type is known, with the reasons of Go's encoding/json. */

/* Both read member `key` of the object `obj`; a member that is missing or null gives "" or 0. Both
 * return 0, or -EINVAL if the member has another type or does not fit, with a reason for clients:
 *   - "json: cannot unmarshal string into field parentPort of type int";
 *   - "json: cannot unmarshal number 1e4 into field parentPort of type int";
 *   - "json: field proto is too long", "json: field proto holds a NUL character".
 * If doc->go_type is "Spec", the reasons say "into Go struct field Spec.parentPort" instead. */
int json_field_string(const struct json_doc *doc, const struct json_node *obj, const char *key,
		      char *buf, size_t cap, struct err *e);
int json_field_int(const struct json_doc *doc, const struct json_node *obj, const char *key,
		   int64_t *value, struct err *e);

#endif
