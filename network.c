/* SPDX-License-Identifier: Apache-2.0 */
/* The settings of the child's network, and /etc/resolv.conf and /etc/hosts. See network.h. */
#include "network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fd.h"
#include "log.h"
#include "mount.h"
#include "rtnl.h"
#include "statedir.h"

/* Host numbers in slirp4netns' network; slirp4netns(1). */
#define HOST_GATEWAY 2
#define HOST_DNS     3
#define HOST_GUEST   100

/* slirp4netns' largest useful one: few large packets are its fast way. */
#define DEFAULT_MTU 65520
#define FILE_MODE   0644
#define HOSTS_MAX   (16U << 20) /* bytes; lists of blocked names are long */

static struct in_addr host_of(const struct cidr *cidr, uint32_t number)
{
	return (struct in_addr){ htonl(ntohl(cidr->net.s_addr) + number) };
}

void network_plan(struct network *net, const struct opts *o)
{
	*net = (struct network){ 0 };
	if (o->net != NET_SLIRP4NETNS)
		return;
	snprintf(net->dev, sizeof(net->dev), "%s",
		 o->ifname != NULL ? o->ifname : NETWORK_DEFAULT_DEV);
	net->ip = host_of(&o->cidr, HOST_GUEST);
	net->prefix_len = o->cidr.prefix_len;
	net->gateway = host_of(&o->cidr, HOST_GATEWAY);
	net->dns = host_of(&o->cidr, HOST_DNS);
	net->mtu = o->mtu != 0 ? (unsigned int)o->mtu : DEFAULT_MTU;
}

/* ---- on the way to the child ---- */

static void put_addr(struct json_out *out, const char *key, struct in_addr addr)
{
	char text[INET_ADDRSTRLEN];

	inet_ntop(AF_INET, &addr, text, sizeof(text));
	json_put_string(out, key, text);
}

void network_to_json(const struct network *net, struct json_out *out)
{
	json_put_string(out, "Dev", net->dev);
	if (net->dev[0] == '\0')
		return;
	put_addr(out, "IP", net->ip);
	json_put_int(out, "Netmask", net->prefix_len);
	put_addr(out, "Gateway", net->gateway);
	json_begin_array(out, "DNS");
	put_addr(out, NULL, net->dns);
	json_end_array(out);
	json_put_int(out, "MTU", net->mtu);
}

static int get_addr(const struct json_doc *doc, const struct json_node *node, struct in_addr *addr)
{
	char text[INET_ADDRSTRLEN];

	if (node == NULL || json_get_string(doc, node, text, sizeof(text)) < 0 ||
	    inet_pton(AF_INET, text, addr) != 1)
		return -EINVAL;
	return 0;
}

static int get_number(const struct json_doc *doc, const struct json_node *node, int64_t max,
		      int64_t *value)
{
	if (node == NULL || json_get_int(doc, node, value) < 0 || *value < 0 || *value > max)
		return -EINVAL;
	return 0;
}

int network_from_json(struct network *net, const struct json_doc *doc, const struct json_node *node)
{
	const struct json_node *dev = json_member(doc, node, "Dev");
	const struct json_node *dns = json_member(doc, node, "DNS");
	int64_t prefix_len, mtu;

	*net = (struct network){ 0 };
	if (dev == NULL || json_get_string(doc, dev, net->dev, sizeof(net->dev)) < 0)
		return -EINVAL;
	if (net->dev[0] == '\0')
		return 0;
	if (get_addr(doc, json_member(doc, node, "IP"), &net->ip) < 0 ||
	    get_addr(doc, json_member(doc, node, "Gateway"), &net->gateway) < 0 || dns == NULL ||
	    get_addr(doc, json_first(doc, dns), &net->dns) < 0 ||
	    get_number(doc, json_member(doc, node, "Netmask"), 32, &prefix_len) < 0 ||
	    get_number(doc, json_member(doc, node, "MTU"), UINT16_MAX, &mtu) < 0)
		return -EINVAL;
	net->prefix_len = (int)prefix_len;
	net->mtu = (unsigned int)mtu;
	return 0;
}

/* ---- in the namespace ---- */

int network_configure(const struct network *net, struct err *e)
{
	FD_AUTO int fd = rtnl_open(e);
	int index = fd < 0 ? fd : rtnl_link_index(net->dev, e);
	int r;

	if (index < 0)
		return index;
	r = rtnl_link_up(fd, index, net->mtu, e);
	if (r == 0)
		r = rtnl_addr_add(fd, index, net->ip, net->prefix_len, e);
	if (r == 0)
		r = rtnl_default_route_add(fd, index, net->gateway, e);
	if (r < 0)
		err_wrap(e, "configuring %s", net->dev);
	return r;
}

/* ---- files ---- */

static int write_resolv(const struct network *net, const char *state_dir, struct err *e)
{
	char addr[INET_ADDRSTRLEN];
	char text[64];

	inet_ntop(AF_INET, &net->dns, addr, sizeof(addr));
	snprintf(text, sizeof(text), "nameserver %s\n", addr);
	return statedir_write(state_dir, STATE_RESOLV, FILE_MODE, text, e);
}

/* The host's file, and the host's own name, which its resolver may know but ours does not. */
static int write_hosts(const char *state_dir, struct err *e)
{
	char name[HOST_NAME_MAX + 1];
	char why[128];
	size_t len;
	char *hosts, *text;
	int r;

	if (gethostname(name, sizeof(name)) < 0)
		return err_sys(e, errno, "gethostname");
	name[HOST_NAME_MAX] = '\0';
	hosts = fd_load_file("/etc/hosts", HOSTS_MAX, &len);
	if (hosts == NULL && errno != ENOENT)
		log_warn("/etc/hosts is not there inside: %s", err_text(errno, why, sizeof(why)));
	r = asprintf(&text, "%s\n127.0.0.1 %s\n::1 %s\n", hosts != NULL ? hosts : "", name, name);
	free(hosts);
	if (r < 0)
		return err_sys(e, ENOMEM, "writing %s/" STATE_HOSTS, state_dir);
	r = statedir_write(state_dir, STATE_HOSTS, FILE_MODE, text, e);
	free(text);
	return r;
}

int network_write_files(const struct network *net, const char *state_dir, struct err *e)
{
	int r = write_resolv(net, state_dir, e);

	return r < 0 ? r : write_hosts(state_dir, e);
}

static int replace_by_empty(const char *path, struct err *e)
{
	FD_AUTO int fd = -1;

	if (unlink(path) < 0 && errno != ENOENT)
		return err_sys(e, errno, "removing %s", path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, FILE_MODE);
	return fd < 0 ? err_sys(e, errno, "creating %s", path) : 0;
}

int network_mount_files(const char *state_dir, bool etc_is_copied_up, struct err *e)
{
	static const struct {
		const char *name;
		const char *on;
	} files[] = { { STATE_RESOLV, "/etc/resolv.conf" }, { STATE_HOSTS, "/etc/hosts" } };
	char from[PATH_MAX];
	int r = 0;

	if (!etc_is_copied_up)
		log_warn(
			"Mounting /etc/resolv.conf without copying-up /etc. Note that "
			"/etc/resolv.conf in the namespace will be unmounted when it is recreated "
			"on the host. Unless /etc/resolv.conf is statically configured, copying-up "
			"/etc is highly recommended (--copy-up=/etc).");
	for (size_t i = 0; r == 0 && i < sizeof(files) / sizeof(files[0]); i++) {
		if (etc_is_copied_up)
			r = replace_by_empty(files[i].on, e);
		if (r == 0)
			r = mount_file(statedir_path(state_dir, files[i].name, from), files[i].on,
				       e);
	}
	return r;
}
