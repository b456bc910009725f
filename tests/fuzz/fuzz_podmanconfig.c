/* SPDX-License-Identifier: Apache-2.0 */

/* What Podman sends to rootlessport. The input is decoded as a configuration, whose ports must be
 * valid specs, and as a reload. */
#include "formats/podmanconfig.h"

#include <errno.h>

#include "fuzz.h"

#define PORTS_MAX 1000000 /* an input of a few kB may have more, and would take too long */

static void check_valid(const char *ip, bool may_be_empty)
{
	struct ipaddr parsed;

	REQUIRE((may_be_empty && ip[0] == '\0') || ipaddr_parse(&parsed, ip) == 0);
}

static void check_ports(const struct podmanconfig *config)
{
	struct podmanconfig_ports ports;
	struct portspec spec;
	struct err e = { "" };
	int count = 0, r = 1;

	podmanconfig_ports_init(&ports, config);
	while (count < PORTS_MAX && (r = podmanconfig_ports_next(&ports, &spec, &e)) > 0) {
		check_valid(spec.parent_ip, false);
		REQUIRE(strcmp(spec.child_ip, config->child_ip) == 0);
		REQUIRE(spec.parent_port >= 1 && spec.parent_port <= PORT_MAX);
		REQUIRE(spec.child_port >= 1 && spec.child_port <= PORT_MAX);
		REQUIRE(spec.proto < PROTO_COUNT);
		count++;
	}
	REQUIRE(r == 1 || r == 0 || r == -EINVAL || r == -E2BIG);
	REQUIRE((r < 0) == (e.msg[0] != '\0'));
	if (count < PORTS_MAX)
		REQUIRE(podmanconfig_check(config, NULL) == (r < 0 ? r : count));
}

static void check_config(const char *text, size_t size)
{
	struct podmanconfig config;
	struct err e = { "" };
	int r = podmanconfig_parse(&config, text, size, &e);

	REQUIRE(r == 0 || r == -EINVAL || r == -E2BIG);
	REQUIRE((r == 0) == (e.msg[0] == '\0'));
	if (r < 0)
		return;
	REQUIRE(config.exit_fd > 0 && config.ready_fd > 0 && config.exit_fd != config.ready_fd);
	REQUIRE(config.netns[0] != '\0' && config.tmp_dir[0] != '\0');
	REQUIRE(strchr(config.container_id, '/') == NULL);
	REQUIRE(config.container_id[0] != '\0' || !config.has_reloads);
	check_valid(config.child_ip, true);
	check_ports(&config);
}

static void check_reload(const char *text, size_t size)
{
	char ip[PORTSPEC_IP_LEN];
	struct err e = { "" };
	int r = podmanconfig_child_ip(ip, text, size, &e);

	REQUIRE(r == 0 || r == -EINVAL || r == -E2BIG);
	REQUIRE((r == 0) == (e.msg[0] == '\0'));
	if (r == 0)
		check_valid(ip, true);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = exact_copy(data, size);

	check_config(text, size);
	check_reload(text, size);
	free(text);
	return 0;
}
