/* SPDX-License-Identifier: Apache-2.0 */
#include "os/posixacl.h"

#include <endian.h>
#include <errno.h>
#include <stdbool.h>

#define VERSION	    2
#define HEADER_LEN  sizeof(uint32_t)
#define ENTRY_LEN   sizeof(struct posixacl_entry)
#define NO_ID	    UINT32_MAX
#define ALL	    7U /* read, write, search */
#define GROUP_SHIFT 3

/* linux/posix_acl.h */
enum tag {
	TAG_USER_OBJ = 0x01, /* the owner */
	TAG_USER = 0x02,
	TAG_GROUP = 0x08,
};

static size_t entry_count(size_t len)
{
	return (len - HEADER_LEN) / ENTRY_LEN;
}

static bool is_unmapped(const struct posixacl_entry *entry)
{
	unsigned int tag = le16toh(entry->tag);

	return (tag == TAG_USER || tag == TAG_GROUP) && entry->id == NO_ID;
}

ssize_t posixacl_keep_mapped(struct posixacl *acl, size_t len)
{
	size_t kept = 0;

	if (len < HEADER_LEN || len > sizeof(*acl) || (len - HEADER_LEN) % ENTRY_LEN != 0 ||
	    le32toh(acl->version) != VERSION)
		return -EINVAL;
	for (size_t i = 0; i < entry_count(len); i++)
		if (!is_unmapped(&acl->entry[i]))
			acl->entry[kept++] = acl->entry[i];
	return (ssize_t)(HEADER_LEN + kept * ENTRY_LEN);
}

unsigned int posixacl_common_rights(const struct posixacl *acl, ssize_t len)
{
	unsigned int perm = ALL;

	for (size_t i = 0; i < entry_count((size_t)len); i++)
		if (le16toh(acl->entry[i].tag) != TAG_USER_OBJ)
			perm &= le16toh(acl->entry[i].perm);
	return perm << GROUP_SHIFT | perm;
}
