/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_POSIXACL_H
#define OS_POSIXACL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Access control lists (acl(5)), in the form of the kernel's extended attributes
 * (linux/posix_acl_xattr.h; all numbers are little-endian). Only edits data in memory; nothing
 * blocks. */

#define POSIXACL_ACCESS	 "system.posix_acl_access"
#define POSIXACL_DEFAULT "system.posix_acl_default"

#define POSIXACL_MAX_ENTRIES 512 /* more than fit in an ext4 block of 4096 bytes */

struct posixacl {
	uint32_t version;
	struct posixacl_entry {
		uint16_t tag;
		uint16_t perm; /* 4 read, 2 write, 1 search */
		uint32_t id;   /* a named user or group; else unused */
	} entry[POSIXACL_MAX_ENTRIES];
};

/* Removes the entries of users and groups that are not mapped into our user namespace (the kernel
 * shows their ID as -1). `len` is the length of the attribute in bytes. Returns its new length in
 * bytes, or -EINVAL for something that is not an ACL. */
ssize_t posixacl_keep_mapped(struct posixacl *acl, size_t len);

/* The permissions that all entries but the owner's allow, as mode bits for group and others. `len`
 * is the length in bytes of a valid ACL. */
unsigned int posixacl_common_rights(const struct posixacl *acl, ssize_t len);

#endif
