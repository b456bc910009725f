/* SPDX-License-Identifier: Apache-2.0 */
#include "hostaddr.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <stdatomic.h>
#include <stdint.h>

#define LOOPBACK_NET 127U /* the first byte of 127.0.0.0/8 */

static _Atomic uint32_t gateway; /* network byte order, 0: none */

static int is_candidate(const struct ifaddrs *ifa)
{
	const struct sockaddr_in *sin = (const void *)ifa->ifa_addr;

	return ifa->ifa_addr != NULL && ifa->ifa_addr->sa_family == AF_INET &&
	       ntohl(sin->sin_addr.s_addr) >> 24 != LOOPBACK_NET;
}

void hostaddr_refresh(void)
{
	struct ifaddrs *list;
	uint32_t found = 0;

	if (getifaddrs(&list) < 0)
		return;
	for (const struct ifaddrs *ifa = list; ifa != NULL && found == 0; ifa = ifa->ifa_next)
		if (is_candidate(ifa))
			found = ((const struct sockaddr_in *)(const void *)ifa->ifa_addr)
					->sin_addr.s_addr;
	freeifaddrs(list);
	atomic_store(&gateway, found);
}

const char *hostaddr_gateway(char *buf, size_t cap)
{
	struct in_addr addr = { atomic_load(&gateway) };

	if (addr.s_addr == 0 || inet_ntop(AF_INET, &addr, buf, (socklen_t)cap) == NULL)
		buf[0] = '\0';
	return buf;
}
