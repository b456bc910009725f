/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORMATS_SUBID_H
#define FORMATS_SUBID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

/* The texts that name subordinate IDs: subuid(5), subgid(5), the output of getsubids(1), and the
 * lines of passwd(5) and nsswitch.conf(5) that are needed to find them. Text in, ranges out.
 */

struct subid_range {
	uint32_t start;
	uint32_t count;
};

#define SUBID_MAX_RANGES 1024 /* of one user; a map has fewer lines, see subid_fit */

struct subid_ranges {
	size_t count;
	size_t dropped; /* ranges beyond SUBID_MAX_RANGES */
	struct subid_range range[SUBID_MAX_RANGES];
};

/* Adds the ranges of /etc/subuid's or /etc/subgid's text that belong to the user, by name or by UID
 * in decimal. `name` may be NULL. Lines that are malformed, comments and empty ones are skipped; a
 * range of zero IDs or one that passes 2^32 is skipped; a range that is there already is not added
 * twice. Returns the number of ranges added. Ranges beyond SUBID_MAX_RANGES are counted in
 * `dropped`. */
size_t subid_read_file(struct subid_ranges *out, const char *text, size_t len, const char *name,
		       uint32_t uid);

/* Finds the first malformed line of the user behind line `after` (0: from the beginning), which
 * subid_read_file skips. Returns its number and says in *why what is wrong with it, or 0. */
size_t subid_find_bad_line(const char *text, size_t len, const char *name, uint32_t uid,
			   size_t after, const char **why);

/* Adds the ranges of getsubids' output: lines "0: user 100000 65536". Same rules. */
size_t subid_read_getsubids(struct subid_ranges *out, const char *text, size_t len);

/* Finds the name of a UID in passwd(5) text. Returns true and the name in buf, or false. */
bool subid_find_user(const char *text, size_t len, uint32_t uid, char *buf, size_t cap);

/* Does nsswitch.conf's text name a source of subordinate IDs other than "files"? */
bool subid_has_nss(const char *text, size_t len);

/* ---- maps ---- */

/* Why a part of a range cannot be mapped. */
#define SUBID_HAS_OWN  1U /* it holds the user's own ID, which is mapped already */
#define SUBID_OVERLAPS 2U /* a range before it holds the same IDs */
#define SUBID_NO_ID    4U /* it holds 4294967295, which is not an ID, or more than fit in a map */

/* Makes of `in` the ranges that can be mapped one behind the other from ID 1 on, in the same order.
 * What cannot be mapped is cut out, and cut[i] says why for range i of `in`. */
void subid_cut(struct subid_ranges *out, const struct subid_ranges *in, uint32_t own,
	       unsigned char cut[SUBID_MAX_RANGES]);

/* Makes the ranges fit into a map of `max_lines` lines and fewer than `max_bytes` bytes, of which
 * the first line is for the user's own ID: adjacent ranges become one, then the last ones are
 * dropped. Returns the number of ranges dropped. */
size_t subid_fit(struct subid_ranges *ranges, uint32_t own, size_t max_lines, size_t max_bytes);

/* Does the text of /proc/PID/uid_map (user_namespaces(7)) hold all IDs of the range in one of its
 * lines, as the kernel demands it of a range that is to be mapped in a new namespace? */
bool subid_is_in_map(const char *text, size_t len, const struct subid_range *range);

/* ---- free IDs ---- */

/* The IDs of one kind, UIDs or GIDs. */
struct subid_space {
	struct text map;    /* which there are, as subid_is_in_map takes it */
	struct text ranges; /* /etc/subuid's or /etc/subgid's text: those of all users are taken */
	struct text accounts; /* passwd(5) or group(5) text, whose IDs are taken */
	uint32_t own;	      /* is taken, too */
};

/* Finds `wanted` IDs that are there and free in each of the spaces, in one line of each map; from
 * 100000 on, if there are so many. If there are not, the most that are free in one piece from 10000
 * on. Returns false if even those are fewer than 1000. */
bool subid_find_free(const struct subid_space *spaces, size_t count, uint32_t wanted,
		     struct subid_range *out);

#endif
