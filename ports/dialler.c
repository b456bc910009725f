/* SPDX-License-Identifier: Apache-2.0 */
/* What the dials of a worker share. See dialler.h. */
#include "ports/dialler.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"

int dialler_open(struct dialler *dialler)
{
	dialler->marks = calloc(1, sizeof(*dialler->marks));
	dialler->probes = malloc(sizeof(*dialler->probes));
	if (dialler->probes != NULL)
		*dialler->probes = (struct dial_probes){ -1, -1 };
	if (dialler->marks != NULL && dialler->probes != NULL)
		dialler->pool = sockpool_new(dialler->loop, dialler->quota, &dialler->bp_address);
	return dialler->pool != NULL ? 0 : -ENOMEM;
}

static void close_probe(const struct dialler *dialler, int *fd)
{
	if (*fd >= 0)
		fdquota_give(dialler->quota, 1);
	fd_close(fd);
}

void dialler_close(struct dialler *dialler)
{
	sockpool_free(dialler->pool);
	free(dialler->marks);
	if (dialler->probes != NULL) {
		close_probe(dialler, &dialler->probes->v4);
		close_probe(dialler, &dialler->probes->v6);
	}
	free(dialler->probes);
	dialler->pool = NULL;
	dialler->marks = NULL;
	dialler->probes = NULL;
}

/* ---- probes ---- */

/* Returns where the probe of a family is kept, or NULL. */
static int *probe_of(const struct dialler *dialler, sa_family_t family)
{
	if (dialler->probes == NULL)
		return NULL;
	return family == AF_INET ? &dialler->probes->v4 : &dialler->probes->v6;
}

int dialler_probe(const struct dialler *dialler, sa_family_t family)
{
	const int *probe = probe_of(dialler, family);

	return probe != NULL ? *probe : -1;
}

void dialler_keep_probe(const struct dialler *dialler, sa_family_t family, int fd)
{
	int *slot = probe_of(dialler, family);

	if (slot != NULL && *slot < 0 && fdquota_take(dialler->quota, 1))
		*slot = fd;
	else
		close(fd);
}
