/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_NETFILTER_H
#define OS_NETFILTER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* The little that we want of netfilter, in the network namespace of the thread that calls: a table
 * of our own that keeps marks on connections. By nfnetlink, so that no program has to be there, and
 * it takes less than a millisecond. With it the kernel tracks each connection of the namespace,
 * which costs time for each packet and has a limit: so it is made where it is needed.
 * One thread uses a struct netfilter; nothing blocks but a kernel that loads its modules.
 */

struct netfilter {
	int fd; /* -1: not opened yet */
	uint32_t seq;
	uint32_t generation; /* of the rule set that was looked at, 0: none was */
	bool ours;	     /* it has our table */
	int failed;	     /* -errno of the last failure, not tried again before retry_ms */
	unsigned long long retry_ms;
};

#define NETFILTER_INIT   \
	{                \
		.fd = -1 \
	}

/* Sees to it that the rules are there by which a packet that this namespace sends with the mark
 * `out` marks its connection, and every packet of that connection that comes in afterwards gets the
 * mark `in`, whatever was translated on the way. Returns 0 or -errno with a reason. */
int netfilter_keep_marks(struct netfilter *nf, uint32_t out, uint32_t in, struct err *e);

#endif
