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

/* Host numbers in slirp4netns' network, see slirp4netns(1); pasta is given the same ones, and our
 * own network has them, too. */
#define HOST_GATEWAY	    2
#define HOST_DNS	    3
#define HOST_GUEST	    100
#define HOST_GVISOR_GATEWAY 1 /* compat: gateway and DNS server with --net=gvisor-tap-vsock */

/* slirp4netns(1) and our own network */
#define GUEST6	    "fd00::100"
#define GATEWAY6    "fd00::2"
#define DNS6	    "fd00::3"
#define PREFIX6_LEN 64

/* All networks are fastest with few large packets; this is the largest useful MTU. */
#define DEFAULT_MTU 65520
#define FILE_MODE   0644
#define HOSTS_MAX   (16U << 20) /* bytes of /etc/hosts; blocklists are long */

static struct in_addr host_of(const struct cidr *cidr, uint32_t number)
{
	return (struct in_addr){ htonl(ntohl(cidr->net.s_addr) + number) };
}

static void set_dev(struct network *net, const struct netopts *o, const char *default_dev)
{
	snprintf(net->dev, sizeof(net->dev), "%s", o->ifname != NULL ? o->ifname : default_dev);
}

/* The host number of the gateway or the DNS server */
static uint32_t number_of(const struct netopts *o, uint32_t usual)
{
	return o->driver == NET_GVISOR ? HOST_GVISOR_GATEWAY : usual;
}

static void plan_ipv6(struct network *net, const struct netopts *o)
{
	if (o->driver == NET_SLIRP4NETNS || netopts_is_own(o))
		strcpy(net->dns[1], DNS6);
	if (!netopts_is_own(o))
		return;
	net->prefix6_len = PREFIX6_LEN;
	inet_pton(AF_INET6, GUEST6, &net->ip6);
	inet_pton(AF_INET6, GATEWAY6, &net->gateway6);
}

void network_plan(struct network *net, const struct netopts *o)
{
	struct in_addr dns = host_of(&o->cidr, number_of(o, HOST_DNS));

	*net = (struct network){ 0 };
	if (o->driver == NET_LXC_USER_NIC) {
		set_dev(net, o, NETWORK_LXC_DEV);
		net->by_dhcp = true;
		net->mtu = (unsigned int)o->mtu;
	}
	if (!netopts_has_addresses(o))
		return;
	set_dev(net, o, NETWORK_DEFAULT_DEV);
	net->ip = host_of(&o->cidr, HOST_GUEST);
	net->prefix_len = o->cidr.prefix_len;
	net->gateway = host_of(&o->cidr, number_of(o, HOST_GATEWAY));
	inet_ntop(AF_INET, &dns, net->dns[0], sizeof(net->dns[0]));
	if (o->ipv6)
		plan_ipv6(net, o);
	net->mtu = o->mtu != 0 ? (unsigned int)o->mtu : DEFAULT_MTU;
}

/* The path is resolved below /proc/PID/root, the child's root. An absolute symbolic link in it
 * would lead back to our own root, so links are resolved first. */
const char *network_netns_path(char *buf, size_t cap, pid_t child, const char *state_dir)
{
	char real[PATH_MAX];

	snprintf(buf, cap, "/proc/%d/root%s/" STATE_NETNS, (int)child,
		 realpath(state_dir, real) != NULL ? real : state_dir);
	return buf;
}

/* ---- as JSON, for the child ---- */

/* An address that is not known yet is the empty string. */
static void put_addr(struct jsonout *out, const char *key, struct in_addr addr, bool is_known)
{
	char text[INET_ADDRSTRLEN] = "";

	if (is_known)
		inet_ntop(AF_INET, &addr, text, sizeof(text));
	jsonout_put_string(out, key, text);
}

static void put_addr6(struct jsonout *out, const char *key, const struct in6_addr *addr)
{
	char text[INET6_ADDRSTRLEN];

	jsonout_put_string(out, key, inet_ntop(AF_INET6, addr, text, sizeof(text)));
}

static void put_ipv6(const struct network *net, struct jsonout *out)
{
	if (net->prefix6_len == 0)
		return;
	put_addr6(out, "IP6", &net->ip6);
	jsonout_put_int(out, "Netmask6", net->prefix6_len);
	put_addr6(out, "Gateway6", &net->gateway6);
}

void network_to_json(const struct network *net, struct jsonout *out)
{
	jsonout_put_string(out, "Dev", net->dev);
	if (net->dev[0] == '\0')
		return;
	put_addr(out, "IP", net->ip, !net->by_dhcp);
	jsonout_put_int(out, "Netmask", net->prefix_len);
	put_addr(out, "Gateway", net->gateway, !net->by_dhcp);
	jsonout_begin_array(out, "DNS");
	for (size_t i = 0; i < NETWORK_MAX_DNS && net->dns[i][0] != '\0'; i++)
		jsonout_put_string(out, NULL, net->dns[i]);
	jsonout_end_array(out);
	jsonout_put_int(out, "MTU", net->mtu);
	put_ipv6(net, out);
}

/* Reads an address of a family into `addr`, a struct in_addr or in6_addr. */
static int get_addr(const struct json_doc *doc, const struct json_node *node, int family,
		    void *addr)
{
	char text[INET6_ADDRSTRLEN];

	if (node == NULL || json_get_string(doc, node, text, sizeof(text)) < 0 ||
	    inet_pton(family, text, addr) != 1)
		return -EINVAL;
	return 0;
}

/* Is the member the empty string? */
static bool is_empty(const struct json_doc *doc, const struct json_node *node)
{
	char text[INET_ADDRSTRLEN];

	return node != NULL && json_get_string(doc, node, text, sizeof(text)) >= 0 &&
	       text[0] == '\0';
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

/* Reads the IPv6 settings. Without the first of them there are none. */
static int get_ipv6(struct network *net, const struct json_doc *doc, const struct json_node *node)
{
	const struct json_node *ip6 = json_member(doc, node, "IP6");
	int64_t prefix_len;

	if (ip6 == NULL)
		return 0;
	if (get_addr(doc, ip6, AF_INET6, &net->ip6) < 0 ||
	    get_addr(doc, json_member(doc, node, "Gateway6"), AF_INET6, &net->gateway6) < 0 ||
	    get_number(doc, json_member(doc, node, "Netmask6"), 128, &prefix_len) < 0 ||
	    prefix_len == 0)
		return -EINVAL;
	net->prefix6_len = (int)prefix_len;
	return 0;
}

int network_from_json(struct network *net, const struct json_doc *doc, const struct json_node *node)
{
	const struct json_node *dev = json_member(doc, node, "Dev");
	int64_t prefix_len = 0, mtu;

	*net = (struct network){ 0 };
	if (dev == NULL || json_get_string(doc, dev, net->dev, sizeof(net->dev)) < 0)
		return -EINVAL;
	if (net->dev[0] == '\0')
		return 0;
	if (get_number(doc, json_member(doc, node, "MTU"), UINT16_MAX, &mtu) < 0)
		return -EINVAL;
	net->by_dhcp = is_empty(doc, json_member(doc, node, "IP"));
	if (!net->by_dhcp &&
	    (get_addr(doc, json_member(doc, node, "IP"), AF_INET, &net->ip) < 0 ||
	     get_addr(doc, json_member(doc, node, "Gateway"), AF_INET, &net->gateway) < 0 ||
	     get_dns(net, doc, json_member(doc, node, "DNS")) < 0 ||
	     get_number(doc, json_member(doc, node, "Netmask"), 32, &prefix_len) < 0))
		return -EINVAL;
	net->prefix_len = (int)prefix_len;
	net->mtu = (unsigned int)mtu;
	return get_ipv6(net, doc, node);
}

/* ---- in the namespace ---- */

/* Is the gateway in the network of our address? */
static bool has_near_gateway(const struct network *net)
{
	uint32_t differ = ntohl(net->ip.s_addr ^ net->gateway.s_addr);

	return net->prefix_len == 0 || differ >> (32 - net->prefix_len) == 0;
}

/* Says that something is missing if the kernel has no IPv6, or if it is disabled for the link. */
static int explain_no_ipv6(const struct network *net, int r)
{
	char why[128];

	if (r != -EOPNOTSUPP && r != -EAFNOSUPPORT && r != -EACCES)
		return r;
	log_warn("--ipv6: the kernel does not let %s have an IPv6 address: %s; the network has "
		 "IPv4 only",
		 net->dev, err_text(-r, why, sizeof(why)));
	return 0;
}

static int configure_ipv6(int fd, int index, const struct network *net, struct err *e)
{
	int r;

	if (net->prefix6_len == 0)
		return 0;
	r = rtnl_addr6_add(fd, index, &net->ip6, net->prefix6_len, e);
	if (r < 0)
		return explain_no_ipv6(net, r);
	return rtnl_default_route6_add(fd, index, &net->gateway6, e);
}

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
	if (r == 0 && net->gateway.s_addr != 0)
		r = rtnl_default_route_add(fd, index, net->gateway, !has_near_gateway(net), e);
	if (r == 0)
		r = configure_ipv6(fd, index, net, e);
	if (r < 0)
		err_wrap(e, "configuring %s", net->dev);
	return r;
}

int network_unconfigure(const struct network *net, struct err *e)
{
	FD_AUTO int fd = rtnl_open(e);
	int index = fd < 0 ? fd : rtnl_link_index(net->dev, e);

	return index < 0 ? index : rtnl_addr_remove(fd, index, net->ip, net->prefix_len, e);
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
	return err_add_room(e, atomicfile_write(state_dir, STATE_RESOLV, FILE_MODE, text, e));
}

/* Turns each NUL into the start of a comment. The C library stops reading a line at a NUL, so the
 * rest of the line stays invisible. */
static void replace_nuls(char *text, size_t len)
{
	for (char *at = text; (at = memchr(at, '\0', len - (size_t)(at - text))) != NULL;)
		*at = '#';
}

/* Writes the content of the host's /etc/hosts, and lines with the host's own name: the host may
 * resolve that name by other means, which do not exist inside. */
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
	return err_add_room(e, r);
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
	if (r == -ENOSPC)
		err_add(e, "; the tmpfs of --copy-up=/etc is full, try to free memory");
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
