/* SPDX-License-Identifier: Apache-2.0 */
/* resolv.conf(5). See resolvconf.h. A keyword stands at the beginning of its line, followed by
 * blanks; lines that begin with '#' or ';' are comments, and so is what follows these characters
 * behind an address. Of an option that is repeated, the last one counts. */
#include "formats/resolvconf.h"

#include <string.h>

#include "base/text.h"

static bool is_space(char c)
{
	return text_is_blank(c) || c == '\r' || c == '\v' || c == '\f';
}

/* Removes the next word of the line and returns it. It is empty at the end of the line. */
static struct text take_word(struct text *line)
{
	struct text word;

	while (line->len > 0 && is_space(*line->p))
		text_skip(line, 1);
	word = (struct text){ line->p, 0 };
	while (word.len < line->len && !is_space(word.p[word.len]))
		word.len++;
	text_skip(line, word.len);
	return word;
}

/* Copies a text that fits into buf[cap]. */
static bool copy(char *buf, size_t cap, struct text t)
{
	if (t.len >= cap || memchr(t.p, '\0', t.len) != NULL)
		return false;
	memcpy(buf, t.p, t.len);
	buf[t.len] = '\0';
	return true;
}

/* ---- servers ---- */

/* Only IPv6 addresses have zones. */
static bool read_server(struct resolvconf_server *server, struct text word)
{
	const bool has_zone = word.len > 0 && memchr(word.p, '%', word.len) != NULL;
	struct text address = text_take_until(&word, '%');
	char buf[INET6_ADDRSTRLEN];

	*server = (struct resolvconf_server){ 0 };
	if (address.len == 0 || !copy(buf, sizeof(buf), address) ||
	    ipaddr_parse(&server->ip, buf) < 0)
		return false;
	if (!has_zone)
		return true;
	return server->ip.family == AF_INET6 && word.len > 0 &&
	       copy(server->zone, sizeof(server->zone), word);
}

static void add_server(struct resolvconf *c, struct text line)
{
	struct text word = take_word(&line);
	size_t len = 0;

	while (len < word.len && word.p[len] != '#' && word.p[len] != ';')
		len++;
	word.len = len;
	if (c->count < RESOLVCONF_MAX_SERVERS && read_server(&c->servers[c->count], word))
		c->count++;
}

/* ---- options ---- */

/* Reads a number between 1 and `max` that follows `name` in the word. Others are limited. */
static void read_number(unsigned int *value, struct text word, const char *name, unsigned int max)
{
	const size_t len = strlen(name);
	unsigned int n = 0;

	if (word.len <= len || memcmp(word.p, name, len) != 0)
		return;
	for (size_t i = len; i < word.len; i++) {
		if (!text_is_digit(word.p[i]))
			return;
		n = n * 10 + (unsigned int)(word.p[i] - '0');
		if (n > max)
			n = max;
	}
	*value = n > 0 ? n : 1;
}

static void read_options(struct resolvconf *c, struct text line)
{
	struct text word;

	while ((word = take_word(&line)).len > 0) {
		read_number(&c->timeout_s, word, "timeout:", RESOLVCONF_TIMEOUT_MAX);
		read_number(&c->attempts, word, "attempts:", RESOLVCONF_ATTEMPTS_MAX);
		if (text_equals(word, "rotate"))
			c->rotate = true;
	}
}

/* ---- the text ---- */

/* Keywords stand in the first column. */
static void read_line(struct resolvconf *c, struct text line)
{
	struct text keyword;

	if (line.len == 0 || is_space(*line.p))
		return;
	keyword = take_word(&line);
	if (text_equals(keyword, "nameserver"))
		add_server(c, line);
	else if (text_equals(keyword, "options"))
		read_options(c, line);
}

void resolvconf_read(struct resolvconf *c, const char *text, size_t len)
{
	struct text rest = { text, len };

	*c = (struct resolvconf){ .timeout_s = RESOLVCONF_TIMEOUT_S,
				  .attempts = RESOLVCONF_ATTEMPTS };
	while (rest.len > 0)
		read_line(c, text_take_until(&rest, '\n'));
}

bool resolvconf_is_same(const struct resolvconf_server *a, const struct resolvconf_server *b)
{
	return ipaddr_equal(&a->ip, &b->ip) && strcmp(a->zone, b->zone) == 0;
}
