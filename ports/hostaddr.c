/* SPDX-License-Identifier: Apache-2.0 */
/* The host's IPv4 address. See hostaddr.h. */
#include "ports/hostaddr.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/fd.h"
#include "os/rtnl.h"

#define LOOPBACK_NET 127U /* the first byte of 127.0.0.0/8 */

static _Atomic uint32_t gateway; /* network byte order, 0: none */

static void on_change(struct watch *w, short revents);
static struct watch changes = { .fd = -1, .events = POLLIN, .on_event = on_change };

static bool is_candidate(struct in_addr addr)
{
	return ntohl(addr.s_addr) >> 24 != LOOPBACK_NET;
}

static void refresh(void)
{
	struct in_addr found;
	int r = rtnl_find_address(is_candidate, &found);

	if (r >= 0)
		atomic_store(&gateway, r > 0 ? found.s_addr : 0);
}

static void on_change(struct watch *w, short revents)
{
	(void)revents;
	if (rtnl_drain(w->fd) > 0)
		refresh();
}

void hostaddr_watch(struct loop *loop)
{
	changes.fd = rtnl_watch_addresses();
	if (changes.fd >= 0)
		loop_add(loop, &changes);
	refresh();
}

void hostaddr_unwatch(struct loop *loop)
{
	loop_remove(loop, &changes);
	fd_close(&changes.fd);
}

struct ipaddr hostaddr_gateway(void)
{
	struct ipaddr ip = { .v4.s_addr = atomic_load(&gateway) };

	ip.family = ip.v4.s_addr != 0 ? AF_INET : AF_UNSPEC;
	return ip;
}
