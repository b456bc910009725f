/* SPDX-License-Identifier: Apache-2.0 */

/* Access control lists: entries of unmapped users are removed, and the rest does not grant more.
 * The bytes are those of the kernel's attribute, in a heap buffer of exactly its size. */
#include "os/posixacl.h"
#include "tests/unit/fixture.h"

#define HEADER	     "\2\0\0\0"
#define E(tag, perm) tag "\0" perm "\0\377\377\377\377"
#define N(tag, perm) tag "\0" perm "\0\5\0\0\0"
#define USER_OBJ(p)  E("\1", p)
#define GROUP_OBJ(p) E("\4", p)
#define MASK(p)	     E("\20", p)
#define OTHER(p)     E("\40", p)

#define ACL(bytes) bytes, sizeof(bytes) - 1

static const struct {
	const char *bytes;
	size_t len;
	const char *kept;
	ssize_t kept_len;
	unsigned int common;
} acls[] = {
	{ ACL(HEADER USER_OBJ("\7") GROUP_OBJ("\5") OTHER("\4")),
	  HEADER USER_OBJ("\7") GROUP_OBJ("\5") OTHER("\4"), 4 + 3 * 8, 044 },
	{ ACL(HEADER USER_OBJ("\7") E("\2", "\7") N("\2", "\6") GROUP_OBJ("\7") E("\10", "\0")
		      N("\10", "\7") MASK("\7") OTHER("\7")),
	  HEADER USER_OBJ("\7") N("\2", "\6") GROUP_OBJ("\7") N("\10", "\7") MASK("\7") OTHER("\7"),
	  4 + 6 * 8, 066 },
	{ ACL(HEADER USER_OBJ("\0") N("\2", "\0") GROUP_OBJ("\7") MASK("\7") OTHER("\7")),
	  HEADER USER_OBJ("\0") N("\2", "\0") GROUP_OBJ("\7") MASK("\7") OTHER("\7"), 4 + 5 * 8,
	  0 },
	{ ACL(HEADER), HEADER, 4, 077 },
	/* not ACLs */
	{ "", 0, NULL, -EINVAL, 0 },
	{ "\2\0\0", 3, NULL, -EINVAL, 0 },
	{ "\1\0\0\0", 4, NULL, -EINVAL, 0 },
	{ ACL(HEADER "\1\0\7\0\377\377\377"), NULL, -EINVAL, 0 },
};

START_TEST(entries_of_unmapped_users_and_groups_are_removed)
{
	struct posixacl *acl = (void *)fixture_exact_copy(acls[_i].bytes, acls[_i].len);

	ck_assert_int_eq(posixacl_keep_mapped(acl, acls[_i].len), acls[_i].kept_len);
	if (acls[_i].kept_len < 0)
		return;
	ck_assert_mem_eq(acl, acls[_i].kept, (size_t)acls[_i].kept_len);
	ck_assert_uint_eq(posixacl_common_rights(acl, acls[_i].kept_len), acls[_i].common);
}
END_TEST

START_TEST(too_long_an_attribute_is_refused)
{
	static struct posixacl acl = { .version = 2 };

	ck_assert_int_gt(posixacl_keep_mapped(&acl, sizeof(acl)), 0);
	ck_assert_int_eq(posixacl_keep_mapped(&acl, sizeof(acl) + 8), -EINVAL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("posixacl");
	TCase *tc = tcase_create("entries");

	tcase_add_loop_test(tc, entries_of_unmapped_users_and_groups_are_removed, 0, COUNT(acls));
	tcase_add_test(tc, too_long_an_attribute_is_refused);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
