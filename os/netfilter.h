/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_NETFILTER_H
#define OS_NETFILTER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* A minimal netfilter client for the network namespace of the calling thread: it adds one nf_tables
 * table, which keeps marks on connections. It uses nfnetlink, so no program has to be installed,
 * and it takes less than a millisecond. The table makes the kernel track all connections of the
 * namespace, which costs time for each packet and has a limit. So add it only where it is needed.
 *
 * One thread uses a struct netfilter. Calls block only while the kernel loads modules.
 */

struct netfilter {
	int fd; /* nfnetlink socket, owned; -1: not open */
	uint32_t seq;
	uint32_t generation;	     /* generation of the rule set when we last looked; 0: never */
	bool ours;		     /* the rule set of that generation has our table */
	int failed;		     /* -errno of the last failure */
	unsigned long long retry_ms; /* no new attempt before this clock_now_ms() */
};

#define NETFILTER_INIT   \
	{                \
		.fd = -1 \
	}

/* Makes sure that our rules exist. When this namespace sends a packet with the mark `out`, the
 * rules store the mark `in` for its connection. Every later packet that arrives on that connection
 * gets the mark `in`, even if NAT translates addresses. After a failure no new attempt is made for
 * a minute. Returns 0, or -errno with a reason. */
int netfilter_keep_marks(struct netfilter *nf, uint32_t out, uint32_t in, struct err *e);

#endif
