/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_POSIXACL_H
#define OS_POSIXACL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Access control lists (acl(5)) in the form in which the kernel passes them as extended attributes
 * (linux/posix_acl_xattr.h; all numbers are little-endian). Data in, data out.
 */

#define POSIXACL_ACCESS	 "system.posix_acl_access"
#define POSIXACL_DEFAULT "system.posix_acl_default"

#define POSIXACL_MAX_ENTRIES 512 /* more than a block of ext4 (4096 bytes) can hold */

struct posixacl {
	uint32_t version;
	struct posixacl_entry {
		uint16_t tag;
		uint16_t perm; /* as of one group of mode bits: 4 read, 2 write, 1 search */
		uint32_t id;   /* of a named user or group */
	} entry[POSIXACL_MAX_ENTRIES];
};

/* Removes the entries of users and groups who do not exist in our user namespace (the kernel shows
 * their ID as -1). `len` is the length of the attribute in bytes. Returns its new length, or
 * -EINVAL for something that is not an ACL. */
ssize_t posixacl_keep_mapped(struct posixacl *acl, size_t len);

/* What all entries but the owner's allow: as mode bits, the same for group and others. */
unsigned int posixacl_common(const struct posixacl *acl, ssize_t len);

#endif
