/* SPDX-License-Identifier: Apache-2.0 */
/* The settings of the child's network, and /etc/resolv.conf and /etc/hosts. See network.h. */
#include "net/network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"
#include "base/fd.h"
#include "base/log.h"
#include "formats/ipaddr.h"
#include "net/netopts.h"
#include "os/atomicfile.h"
#include "os/mount.h"
#include "os/rtnl.h"
#include "os/statedir.h"

/* Host numbers in slirp4netns' network, see slirp4netns(1); pasta is given the same ones. */
#define HOST_GATEWAY 2
#define HOST_DNS     3
#define HOST_GUEST   100

#define SLIRP_DNS6 "fd00::3" /* slirp4netns(1) */

/* Both programs are fastest with few large packets; this is the largest useful MTU. */
#define DEFAULT_MTU 65520
#define FILE_MODE   0644
#define HOSTS_MAX   (16U << 20) /* bytes of /etc/hosts; blocklists are long */

static struct in_addr host_of(const struct cidr *cidr, uint32_t number)
{
	return (struct in_addr){ htonl(ntohl(cidr->net.s_addr) + number) };
}

void network_plan(struct network *net, const struct netopts *o)
{
	struct in_addr dns = host_of(&o->cidr, HOST_DNS);

	*net = (struct network){ 0 };
	if (!netopts_has_program(o))
		return;
	snprintf(net->dev, sizeof(net->dev), "%s",
		 o->ifname != NULL ? o->ifname : NETWORK_DEFAULT_DEV);
	net->ip = host_of(&o->cidr, HOST_GUEST);
	net->prefix_len = o->cidr.prefix_len;
	net->gateway = host_of(&o->cidr, HOST_GATEWAY);
	inet_ntop(AF_INET, &dns, net->dns[0], sizeof(net->dns[0]));
	if (o->driver == NET_SLIRP4NETNS && o->ipv6)
		strcpy(net->dns[1], SLIRP_DNS6);
	net->mtu = o->mtu != 0 ? (unsigned int)o->mtu : DEFAULT_MTU;
}

/* ---- as JSON, for the child ---- */

static void put_addr(struct jsonout *out, const char *key, struct in_addr addr)
{
	char text[INET_ADDRSTRLEN];

	inet_ntop(AF_INET, &addr, text, sizeof(text));
	jsonout_put_string(out, key, text);
}

void network_to_json(const struct network *net, struct jsonout *out)
{
	jsonout_put_string(out, "Dev", net->dev);
	if (net->dev[0] == '\0')
		return;
	put_addr(out, "IP", net->ip);
	jsonout_put_int(out, "Netmask", net->prefix_len);
	put_addr(out, "Gateway", net->gateway);
	jsonout_begin_array(out, "DNS");
	for (size_t i = 0; i < NETWORK_MAX_DNS && net->dns[i][0] != '\0'; i++)
		jsonout_put_string(out, NULL, net->dns[i]);
	jsonout_end_array(out);
	jsonout_put_int(out, "MTU", net->mtu);
}

static int get_addr(const struct json_doc *doc, const struct json_node *node, struct in_addr *addr)
{
	char text[INET_ADDRSTRLEN];

	if (node == NULL || json_get_string(doc, node, text, sizeof(text)) < 0 ||
	    inet_pton(AF_INET, text, addr) != 1)
		return -EINVAL;
	return 0;
}

/* Reads the DNS servers: at least one, all of them IP addresses. */
static int get_dns(struct network *net, const struct json_doc *doc, const struct json_node *list)
{
	const struct json_node *node = list != NULL ? json_first(doc, list) : NULL;
	struct ipaddr ip;
	size_t i = 0;

	for (; node != NULL; node = json_next(doc, list, node), i++)
		if (i == NETWORK_MAX_DNS ||
		    json_get_string(doc, node, net->dns[i], sizeof(net->dns[i])) < 0 ||
		    ipaddr_parse(&ip, net->dns[i]) < 0)
			return -EINVAL;
	return i > 0 ? 0 : -EINVAL;
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
	int64_t prefix_len, mtu;

	*net = (struct network){ 0 };
	if (dev == NULL || json_get_string(doc, dev, net->dev, sizeof(net->dev)) < 0)
		return -EINVAL;
	if (net->dev[0] == '\0')
		return 0;
	if (get_addr(doc, json_member(doc, node, "IP"), &net->ip) < 0 ||
	    get_addr(doc, json_member(doc, node, "Gateway"), &net->gateway) < 0 ||
	    get_dns(net, doc, json_member(doc, node, "DNS")) < 0 ||
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
		r = rtnl_default_route_add(fd, index, net->gateway, false, e);
	if (r < 0)
		err_wrap(e, "configuring %s", net->dev);
	return r;
}

void network_wait_up(const struct network *net, int timeout_ms)
{
	char why[128];
	int index = rtnl_link_index(net->dev, NULL);
	int r = index < 0 ? index : rtnl_wait_up(index, timeout_ms);

	if (r < 0)
		log_debug("%s is not reported as up: %s", net->dev, err_text(-r, why, sizeof(why)));
}

/* ---- files ---- */

static int write_resolv(const struct network *net, const char *state_dir, struct err *e)
{
	char text[NETWORK_MAX_DNS * (INET6_ADDRSTRLEN + sizeof("nameserver \n"))] = "";
	size_t len = 0;

	for (size_t i = 0; i < NETWORK_MAX_DNS && net->dns[i][0] != '\0'; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "nameserver %s\n",
					net->dns[i]);
	return atomicfile_write(state_dir, STATE_RESOLV, FILE_MODE, text, e);
}

/* Turns each NUL into the start of a comment. The C library stops reading a line at a NUL, so the
 * rest of the line stays invisible. */
static void replace_nuls(char *text, size_t len)
{
	for (char *at = text; (at = memchr(at, '\0', len - (size_t)(at - text))) != NULL;)
		*at = '#';
}

/* Writes the host's /etc/hosts and adds the host's own name: the host's resolver may know that by
 * other means, the child's does not. */
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
		log_warn("reading /etc/hosts: %s; its names are not known inside",
			 err_text(errno, why, sizeof(why)));
	if (hosts != NULL)
		replace_nuls(hosts, len);
	r = asprintf(&text, "%s\n127.0.0.1 %s\n::1 %s\n", hosts != NULL ? hosts : "", name, name);
	free(hosts);
	if (r < 0)
		return err_sys(e, ENOMEM, "writing %s/" STATE_HOSTS, state_dir);
	r = atomicfile_write(state_dir, STATE_HOSTS, FILE_MODE, text, e);
	free(text);
	return r;
}

int network_write_files(const struct network *net, const char *state_dir, struct err *e)
{
	int r = write_resolv(net, state_dir, e);

	return r < 0 ? r : write_hosts(state_dir, e);
}

/* Copies a file into a copied-up /etc. Not a bind mount: that would inherit the locked flags of the
 * state directory's mount (mount_namespaces(7)), and runc could not bind-mount the file into a
 * container without these flags. */
static int copy_file(const char *from, const char *name, struct err *e)
{
	size_t len;
	char *text = fd_load_file(from, 2 * (size_t)HOSTS_MAX, &len);
	int r;

	if (text == NULL)
		return err_sys(e, errno, "reading %s", from);
	r = atomicfile_write("/etc", name, FILE_MODE, text, e);
	free(text);
	return r;
}

/* Appends why a file in /etc cannot be mounted over. */
static void explain_target(const char *path, struct err *e)
{
	char target[PATH_MAX];
	ssize_t n = readlink(path, target, sizeof(target) - 1);
	struct stat st;

	if (n >= 0)
		target[n] = '\0';
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		err_add(e, "; %s is a directory", path);
	else if (n >= 0 && access(path, F_OK) < 0)
		err_add(e, "; %s is a link to %.200s, which cannot be reached", path, target);
	else if (n < 0 && access(path, F_OK) < 0)
		err_add(e, "; %s does not exist", path);
	err_add(e, "; try --copy-up=/etc");
}

static int mount_in_etc(const char *from, const char *name, struct err *e)
{
	char on[PATH_MAX];
	int r = mount_file(from, statedir_path("/etc", name, on), e);

	if (r < 0)
		explain_target(on, e);
	return r;
}

int network_mount_files(const char *state_dir, bool etc_is_copied_up, struct err *e)
{
	/* the names are the same in both directories */
	static const char *const files[] = { STATE_RESOLV, STATE_HOSTS };
	char from[PATH_MAX];
	int r = 0;

	if (!etc_is_copied_up)
		log_warn(
			"Mounting /etc/resolv.conf without copying-up /etc. Note that "
			"/etc/resolv.conf in the namespace will be unmounted when it is recreated "
			"on the host. Unless /etc/resolv.conf is statically configured, copying-up "
			"/etc is highly recommended. Please refer to RootlessKit documentation for "
			"further information. The option is --copy-up=/etc.");
	for (size_t i = 0; r == 0 && i < COUNT_OF(files); i++) {
		statedir_path(state_dir, files[i], from);
		if (etc_is_copied_up)
			r = copy_file(from, files[i], e);
		else
			r = mount_in_etc(from, files[i], e);
	}
	return r;
}
