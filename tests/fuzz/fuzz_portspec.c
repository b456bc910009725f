/* SPDX-License-Identifier: Apache-2.0 */

/* Port specs. The input is parsed as a spec in text, as a spec in JSON and as an address. An
 * accepted spec has values in range, and is the same after it is written and parsed in either form.
 * A text that is refused leaves the spec unchanged. */
#include "formats/ipaddr.h"
#include "formats/portspec.h"
#include "formats/target.h"

#include <errno.h>

#include "fuzz.h"

#define TEXT_CAP 512 /* bytes, more than any accepted spec needs in either form */

static bool same(const struct portspec *a, const struct portspec *b)
{
	return portspec_conflicts(a, b) && strcmp(a->child_ip, b->child_ip) == 0 &&
	       a->child_port == b->child_port;
}

/* A value that no parser returns, to detect whether a parser has written to it. */
static struct portspec untouched(void)
{
	struct portspec spec;

	memset(&spec, 0x5a, sizeof(spec));
	return spec;
}

static void check_refused(const struct portspec *spec, int r, const struct err *e)
{
	const struct portspec want = untouched();

	REQUIRE(r == -EINVAL);
	REQUIRE(e->msg[0] != '\0');
	REQUIRE(memcmp(spec, &want, sizeof(want)) == 0);
}

static void check_json_trip(const struct portspec *spec)
{
	char text[TEXT_CAP];
	struct portspec again;
	struct json_doc doc;
	struct jsonout out;

	jsonout_init(&out, text, sizeof(text));
	portspec_to_json(spec, &out, NULL);
	REQUIRE(!out.overflow);
	REQUIRE(json_parse(&doc, text, out.len, NULL) == 0);
	REQUIRE(portspec_from_json(&again, &doc, &doc.nodes[0], NULL) == 0);
	REQUIRE(same(spec, &again));
}

static void check_text_trip(const struct portspec *spec)
{
	char text[TEXT_CAP];
	struct portspec again;
	const bool parent = spec->parent_ip[0] != '\0', child = spec->child_ip[0] != '\0';

	snprintf(text, sizeof(text), "%s%s%s:%d:%s%s%s:%d/%s", parent ? "[" : "", spec->parent_ip,
		 parent ? "]" : "", spec->parent_port, child ? "[" : "", spec->child_ip,
		 child ? "]" : "", spec->child_port, proto_name(spec->proto));
	REQUIRE(strlen(text) < PORTSPEC_TEXT_LEN);
	REQUIRE(portspec_parse(&again, text, NULL) == 0);
	REQUIRE(same(spec, &again));
}

static void check_spec(const struct portspec *spec)
{
	struct target target;
	struct ipaddr ip;

	REQUIRE(spec->proto < PROTO_COUNT);
	REQUIRE(!proto_is_tcp(spec->proto) || !proto_is_udp(spec->proto));
	REQUIRE(spec->parent_port >= 1 && spec->parent_port <= 65535);
	REQUIRE(spec->child_port >= 1 && spec->child_port <= 65535);
	REQUIRE(target_from_spec(&target, spec, NULL) == 0);
	ip = target_address(&target, &(struct ipaddr){ .family = AF_UNSPEC });
	REQUIRE(ip.family == AF_INET || ip.family == AF_INET6);
	check_json_trip(spec);
	check_text_trip(spec);
}

static void check_text(const char *text)
{
	struct portspec spec = untouched();
	struct err e = { "" };
	int r = portspec_parse(&spec, text, &e);

	if (r == 0)
		check_spec(&spec);
	else
		check_refused(&spec, r, &e);
}

static void check_json(const uint8_t *data, size_t size)
{
	char *text = exact_copy(data, size);
	struct portspec spec = untouched();
	struct json_doc doc;
	struct err e = { "" };
	int r;

	if (json_parse(&doc, text, size, NULL) == 0) {
		r = portspec_from_json(&spec, &doc, &doc.nodes[0], &e);
		if (r == 0)
			check_spec(&spec);
		else
			check_refused(&spec, r, &e);
	}
	free(text);
}

static void check_address(const char *text)
{
	char *canonical = malloc(INET6_ADDRSTRLEN);
	struct sockaddr_storage sa;
	struct ipaddr ip, again;

	if (ipaddr_parse(&ip, text) == 0) {
		REQUIRE(strlen(text) < PORTSPEC_IP_LEN);
		ipaddr_text(&ip, canonical, INET6_ADDRSTRLEN);
		REQUIRE(ipaddr_parse(&again, canonical) == 0);
		REQUIRE(ipaddr_equal(&ip, &again));
		REQUIRE(!ipaddr_is_any(&ip) || !ipaddr_is_loopback(&ip));
		REQUIRE(ipaddr_sockaddr(&ip, 80, &sa) > 0 && sa.ss_family == ip.family);
	}
	free(canonical);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = string_copy(data, size);

	check_text(text);
	check_json(data, size);
	check_address(text);
	free(text);
	return 0;
}
