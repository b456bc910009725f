/* SPDX-License-Identifier: Apache-2.0 */
#include "ports/hostaddr.h"

#include <arpa/inet.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "os/rtnl.h"

#define LOOPBACK_NET 127U /* the first byte of 127.0.0.0/8 */

static _Atomic uint32_t gateway; /* network byte order, 0: none */

static bool is_candidate(struct in_addr addr)
{
	return ntohl(addr.s_addr) >> 24 != LOOPBACK_NET;
}

void hostaddr_refresh(void)
{
	struct in_addr found;
	int r = rtnl_find_address(is_candidate, &found);

	if (r >= 0)
		atomic_store(&gateway, r > 0 ? found.s_addr : 0);
}

const char *hostaddr_gateway(char *buf, size_t cap)
{
	struct in_addr addr = { atomic_load(&gateway) };

	if (addr.s_addr == 0 || inet_ntop(AF_INET, &addr, buf, (socklen_t)cap) == NULL)
		buf[0] = '\0';
	return buf;
}
