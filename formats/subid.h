/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORMATS_SUBID_H
#define FORMATS_SUBID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

/* Reads the texts that list subordinate IDs: subuid(5), subgid(5), the output of getsubids(1), and
 * the lines of passwd(5) and nsswitch.conf(5) that are needed to find them. Takes text, gives
 * ranges: nothing here opens files, blocks, allocates or has state. All lengths are in bytes.
 */

struct subid_range {
	uint32_t start;
	uint32_t count;
};

#define SUBID_MAX_RANGES 1024 /* of one user; a map has room for fewer, see subid_fit */

struct subid_ranges {
	size_t count;
	size_t dropped; /* number of ranges beyond SUBID_MAX_RANGES */
	struct subid_range range[SUBID_MAX_RANGES];
};

/* Adds the ranges that /etc/subuid or /etc/subgid gives to the user, by name or by UID in decimal,
 * to `out`. `name` may be NULL. Skips comments, empty and malformed lines, ranges of zero IDs or
 * beyond 2^32, and ranges that `out` already has. Returns the number of ranges added. Ranges beyond
 * SUBID_MAX_RANGES are only counted in out->dropped. */
size_t subid_read_file(struct subid_ranges *out, const char *text, size_t len, const char *name,
		       uint32_t uid);

/* Finds the user's first malformed line behind line number `after` (0: from the beginning);
 * subid_read_file skips such lines. Returns the line's number and sets *why to what is wrong with
 * it (a static string), or returns 0. */
size_t subid_find_bad_line(const char *text, size_t len, const char *name, uint32_t uid,
			   size_t after, const char **why);

/* Adds the ranges of getsubids' output to `out`: lines like "0: user 100000 65536". The rules are
 * those of subid_read_file. */
size_t subid_read_getsubids(struct subid_ranges *out, const char *text, size_t len);

/* Finds the name of a UID in passwd(5) text and writes it to buf[cap]. Returns false if there is
 * none, or if it does not fit. */
bool subid_find_user(const char *text, size_t len, uint32_t uid, char *buf, size_t cap);

/* Does nsswitch.conf's text list a source for subordinate IDs other than "files"? */
bool subid_has_nss(const char *text, size_t len);

/* ---- maps ---- */

/* Why a part of a range cannot be mapped. */
#define SUBID_HAS_OWN  1U /* it contains the user's own ID, which is mapped already */
#define SUBID_OVERLAPS 2U /* an earlier range contains the same IDs */
#define SUBID_NO_ID    4U /* it contains 4294967295 (not an ID), or more IDs than fit in a map */

/* Cuts out of `in` what cannot be mapped; the rest goes to `out`, in the same order, to be mapped
 * one behind the other from ID 1 on. `own` is the user's own ID, which is mapped to 0. cut[i] is
 * set to the reasons (SUBID_*) why a part of range i of `in` was cut, or 0. */
void subid_cut(struct subid_ranges *out, const struct subid_ranges *in, uint32_t own,
	       unsigned char cut[SUBID_MAX_RANGES]);

/* Makes the ranges fit into a map of at most `max_lines` lines and fewer than `max_bytes` bytes.
 * The first line is for the user's own ID. If the ranges do not fit, joins adjacent ones, then
 * drops the last ones. Returns the number of ranges dropped, including those in ranges->dropped. */
size_t subid_fit(struct subid_ranges *ranges, uint32_t own, size_t max_lines, size_t max_bytes);

/* Does one line of a /proc/PID/uid_map text contain all IDs of the range? The kernel demands this
 * of each range that is mapped in a new namespace (user_namespaces(7)). */
bool subid_is_in_map(const char *text, size_t len, const struct subid_range *range);

/* ---- free IDs ---- */

/* The IDs of one kind, UIDs or GIDs, of the namespace in which the launcher runs. All texts are
 * borrowed. */
struct subid_space {
	struct text map;      /* which IDs exist: a /proc/PID/uid_map or gid_map text */
	struct text ranges;   /* /etc/subuid or /etc/subgid; the ranges of all users are taken */
	struct text accounts; /* passwd(5) or group(5) text; its IDs are taken */
	uint32_t own;	      /* the user's own ID; taken, too */
};

/* Finds `wanted` consecutive IDs that exist and are free in each of the spaces, within one line of
 * each map, from 100000 on. If there are not that many, finds the longest free range from 10000 on.
 * Returns false if that has fewer than 1000 IDs. */
bool subid_find_free(const struct subid_space *spaces, size_t count, uint32_t wanted,
		     struct subid_range *out);

#endif
