/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OWNNET_H
#define OWNNET_H

/* A network namespace of the test's own, in which it has all privileges. */
#include <arpa/inet.h>
#include <sched.h>

#include "base/fd.h"
#include "os/rtnl.h"
#include "tests/unit/fixture.h"

#define OWN_ADDRESS "10.0.2.100" /* on the link lo, with its whole network */

/* Moves this process into new user and network namespaces, in which lo is up, with the addresses
 * that the kernel gives it. If it returns false, the test must return. That happens if no namespace
 * can be made: then the test has been reported as skipped. It also happens if later tests run in
 * the same process (valgrind), because they would be in the new namespaces, too. */
static inline bool enter_bare_network(void)
{
	struct err e;
	int fd, lo;

	if (!fixture_is_forked())
		return false;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0) {
		fixture_skip("userns", "a user namespace cannot be made");
		return false;
	}
	fd = rtnl_open(&e);
	lo = rtnl_link_index("lo", &e);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_gt(lo, 0);
	ck_assert_msg(rtnl_link_up(fd, lo, 0, &e) == 0, "%s", e.msg);
	close(fd);
	return true;
}

/* Adds an address, with the 256 addresses around it, to lo. */
static inline void add_own_address(const char *text)
{
	struct in_addr addr = { 0 };
	struct err e;
	int fd = rtnl_open(&e);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(inet_pton(AF_INET, text, &addr), 1);
	ck_assert_msg(rtnl_addr_add(fd, rtnl_link_index("lo", &e), addr, 24, &e) == 0, "%s", e.msg);
	close(fd);
}

/* The same as enter_bare_network(), with OWN_ADDRESS on lo, too. */
static inline bool enter_own_network(void)
{
	if (!enter_bare_network())
		return false;
	add_own_address(OWN_ADDRESS);
	return true;
}

#endif
