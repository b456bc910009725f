/* SPDX-License-Identifier: Apache-2.0 */
/* The host's name servers. See dnsservers.h.
 *
 * The file is simply read again: that takes some microseconds, at most four times a second, and
 * nothing that stat(2) reports changes with certainty when the file does, because times of files
 * are coarse. What is known about a server outlives a change of the file that keeps the server.
 */
#include "usernet/dnsservers.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"

#define FILE_MAX 16384 /* bytes of the file that are looked at */
#define MS	 1000U

struct health {
	bool is_suspect;		/* the last query was not answered in time */
	unsigned long long answered_ms; /* 0: never */
};

struct dnsservers {
	const char *path;     /* borrowed */
	pthread_mutex_t lock; /* guards what follows */
	bool was_read;
	unsigned long long read_ms;
	struct resolvconf conf;
	struct health health[RESOLVCONF_MAX_SERVERS]; /* of conf.servers */
	size_t first; /* where the next query begins, with `rotate` */
};

struct dnsservers *dnsservers_new(const char *path)
{
	struct dnsservers *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->path = path;
	pthread_mutex_init(&s->lock, NULL);
	return s;
}

void dnsservers_free(struct dnsservers *s)
{
	if (s == NULL)
		return;
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* ---- the file ---- */

static void warn_about_file(const char *path, int errnum)
{
	static struct log_limit limit;
	char why[128];

	if (!log_is_due(&limit))
		return;
	if (errnum != 0)
		log_warn("programs inside cannot look up names: cannot read %s: %s", path,
			 err_text(errnum, why, sizeof(why)));
	else
		log_warn("programs inside cannot look up names: %s has no nameserver line", path);
}

static void read_file(struct resolvconf *conf, const char *path)
{
	char text[FILE_MAX + 1];
	ssize_t n = fd_read_file(path, text, sizeof(text));

	resolvconf_read(conf, text, n > 0 ? (size_t)n : 0);
	if (conf->count == 0)
		warn_about_file(path, n < 0 ? (int)-n : 0);
}

static struct health *health_of(struct dnsservers *s, const struct resolvconf_server *server)
{
	for (size_t i = 0; i < s->conf.count; i++)
		if (resolvconf_is_same(&s->conf.servers[i], server))
			return &s->health[i];
	return NULL;
}

static void refresh(struct dnsservers *s)
{
	struct health health[RESOLVCONF_MAX_SERVERS] = { 0 };
	unsigned long long now_ms = clock_now_ms();
	struct resolvconf conf;

	if (s->was_read && now_ms - s->read_ms < DNSSERVERS_READ_MS)
		return;
	read_file(&conf, s->path);
	for (size_t i = 0; i < conf.count; i++) {
		const struct health *old = health_of(s, &conf.servers[i]);

		if (old != NULL)
			health[i] = *old;
	}
	s->conf = conf;
	memcpy(s->health, health, sizeof(health));
	s->read_ms = now_ms;
	s->was_read = true;
}

/* ---- for a query ---- */

/* Returns the index of the server that the next query begins with. */
static size_t choose_first(struct dnsservers *s)
{
	return s->conf.rotate && s->conf.count > 0 ? s->first++ % s->conf.count : 0;
}

void dnsservers_get(struct dnsservers *s, struct resolvconf *conf)
{
	size_t first;

	pthread_mutex_lock(&s->lock);
	refresh(s);
	*conf = s->conf;
	first = choose_first(s);
	for (size_t i = 0; i < conf->count; i++)
		conf->servers[i] = s->conf.servers[(first + i) % conf->count];
	pthread_mutex_unlock(&s->lock);
}

static bool is_suspect(struct dnsservers *s, const struct resolvconf_server *server)
{
	const struct health *h;
	bool is;

	pthread_mutex_lock(&s->lock);
	h = health_of(s, server);
	is = h != NULL && h->is_suspect;
	pthread_mutex_unlock(&s->lock);
	return is;
}

static unsigned int at_most(unsigned int ms, unsigned int max)
{
	return ms < max ? ms : max;
}

/* The times are glibc's: each round doubles them, and rounds after the first one divide them among
 * the servers. But in the first round the next server must get its turn before the program inside
 * loses its patience. musl gives up after 5 s, and Go begins again from another port. */
unsigned int dnsservers_wait_ms(struct dnsservers *s, const struct resolvconf *conf,
				const struct resolvconf_server *server, unsigned int attempt)
{
	unsigned int wait_s = conf->timeout_s << attempt;

	if (attempt == 0 && conf->count > 1)
		return at_most(wait_s * MS,
			       is_suspect(s, server) ? DNSSERVERS_SUSPECT_MS : DNSSERVERS_FIRST_MS);
	if (attempt > 0)
		wait_s /= (unsigned int)conf->count;
	return wait_s > 0 ? at_most(wait_s, RESOLVCONF_TIMEOUT_MAX) * MS : MS;
}

void dnsservers_on_answer(struct dnsservers *s, const struct resolvconf_server *server)
{
	struct health *h;

	pthread_mutex_lock(&s->lock);
	h = health_of(s, server);
	if (h != NULL)
		*h = (struct health){ .answered_ms = clock_now_ms() };
	pthread_mutex_unlock(&s->lock);
}

/* A server that has answered other queries meanwhile works: this name takes it long. */
void dnsservers_on_timeout(struct dnsservers *s, const struct resolvconf_server *server,
			   unsigned long long sent_ms)
{
	struct health *h;

	pthread_mutex_lock(&s->lock);
	h = health_of(s, server);
	if (h != NULL && h->answered_ms < sent_ms)
		h->is_suspect = true;
	pthread_mutex_unlock(&s->lock);
}

/* ---- addresses ---- */

socklen_t dnsservers_address(struct dnsservers *s, size_t i, uint16_t port,
			     struct sockaddr_storage *to)
{
	socklen_t len = 0;

	pthread_mutex_lock(&s->lock);
	refresh(s);
	if (i < s->conf.count)
		len = dnsservers_sockaddr(&s->conf.servers[i], port, to);
	pthread_mutex_unlock(&s->lock);
	return len;
}

/* A zone that is not an interface (any more) is index 0, and connect(2) refuses the address. */
static unsigned int zone_index(const char *zone)
{
	unsigned int index = zone[0] != '\0' ? if_nametoindex(zone) : 0;

	return index != 0 ? index : (unsigned int)strtoul(zone, NULL, 10);
}

socklen_t dnsservers_sockaddr(const struct resolvconf_server *server, uint16_t port,
			      struct sockaddr_storage *to)
{
	socklen_t len = ipaddr_sockaddr(&server->ip, port, to);

	if (to->ss_family == AF_INET6)
		((struct sockaddr_in6 *)to)->sin6_scope_id = zone_index(server->zone);
	return len;
}
