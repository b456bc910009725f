/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SUBID_H
#define SUBID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The texts that name subordinate IDs: subuid(5), subgid(5), the output of getsubids(1), and the
 * lines of passwd(5) and nsswitch.conf(5) that are needed to find them. Text in, ranges out.
 */

struct subid_range {
	uint32_t start;
	uint32_t count;
};

#define SUBID_MAX_RANGES 128 /* the kernel takes 340 lines in a map, newuidmap fewer */

struct subid_ranges {
	size_t count;
	struct subid_range range[SUBID_MAX_RANGES];
};

/* Adds the ranges of /etc/subuid's or /etc/subgid's text that belong to the user, by name or by UID
 * in decimal. `name` may be NULL. Lines that are malformed, comments and empty ones are skipped; a
 * range of zero IDs or one that passes 2^32 is skipped; a range that is there already is not added
 * twice. Returns the number of ranges added. Ranges beyond SUBID_MAX_RANGES are dropped. */
size_t subid_read_file(struct subid_ranges *out, const char *text, size_t len, const char *name,
		       uint32_t uid);

/* Adds the ranges of getsubids' output: lines "0: user 100000 65536". Same rules. */
size_t subid_read_getsubids(struct subid_ranges *out, const char *text, size_t len);

/* Finds the name of a UID in passwd(5) text. Returns true and the name in buf, or false. */
bool subid_find_user(const char *text, size_t len, uint32_t uid, char *buf, size_t cap);

/* Does nsswitch.conf's text name a source of subordinate IDs other than "files"? */
bool subid_has_nss(const char *text, size_t len);

#endif
