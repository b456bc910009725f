/* SPDX-License-Identifier: Apache-2.0 */
/* Network namespaces and the devices in them. See netns.h. */
#include "netns.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

#include "base/fd.h"
#include "base/log.h"
#include "os/rtnl.h"
#include "os/userns.h"

#define TUN_PATH	"/dev/net/tun"
#define NETNS_FILE_MODE 0444

int netns_detach(const char *path, struct err *e)
{
	FD_AUTO int fd = -1;

	if (unshare(CLONE_NEWNET) < 0) {
		int r = err_sys(e, errno, "creating a network namespace");

		if (r == -ENOSPC)
			userns_explain(e, ENOSPC, CLONE_NEWNET);
		return r;
	}
	fd = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, NETNS_FILE_MODE);
	if (fd < 0)
		return err_add_room(e, err_sys(e, errno, "creating %s", path));
	if (mount("/proc/thread-self/ns/net", path, NULL, MS_BIND, NULL) < 0)
		return err_sys(e, errno, "bind-mounting the network namespace on %s", path);
	return 0;
}

int netns_enter(const char *path, struct err *e)
{
	FD_AUTO int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(e, errno, "open %s", path);
	if (setns(fd, CLONE_NEWNET) < 0)
		return err_sys(e, errno, "entering the network namespace %s", path);
	return 0;
}

int netns_open(struct err *e)
{
	int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	return fd < 0 ? err_sys(e, errno, "opening the network namespace") : fd;
}

struct job {
	int (*fn)(void *arg, struct err *e);
	void *arg;
	struct err *e;
	int result;
};

static void *run_job(void *arg)
{
	struct job *job = arg;

	job->result = job->fn(job->arg, job->e);
	return NULL;
}

int netns_run(int (*fn)(void *arg, struct err *e), void *arg, struct err *e)
{
	struct job job = { .fn = fn, .arg = arg, .e = e };
	pthread_t thread;
	int r = pthread_create(&thread, NULL, run_job, &job);

	if (r != 0)
		return err_sys(e, r, "starting a thread");
	pthread_join(thread, NULL);
	return job.result;
}

/* Adds to `e` why open(2) of the device failed with `reason` (an errno value), and what to do. */
static void explain_tun(int reason, struct err *e)
{
	bool is_absent = reason == ENOENT || reason == ENODEV || reason == ENXIO;
	struct statvfs fs;
	char misc[4096];

	if (is_absent && fd_read_file("/proc/misc", misc, sizeof(misc)) > 0 &&
	    strstr(misc, " tun\n") != NULL)
		err_add(e,
			" (the kernel has the tun module, but the device file is not there: in a "
			"container, try --device=/dev/net/tun; else, as root, run `mkdir -p "
			"/dev/net "
			"&& mknod -m 666 %s c 10 200`)",
			TUN_PATH);
	else if (is_absent)
		err_add(e, " (the tun module is not there: as root, run `modprobe tun`)");
	else if (reason == EPERM)
		err_add(e,
			" (a cgroup forbids this device: try --device=%s for the container, or "
			"DeviceAllow=\"%s rw\" for the service)",
			TUN_PATH, TUN_PATH);
	else if (statvfs(TUN_PATH, &fs) == 0 && (fs.f_flag & ST_NODEV) != 0)
		err_add(e,
			" (it is on a file system that is mounted nodev: as root, mount that "
			"without nodev; in a container, try --device=%s)",
			TUN_PATH);
	else
		err_add(e, " (every user must be able to open it: as root, run `chmod 666 %s`)",
			TUN_PATH);
}

static int open_tun(struct err *e)
{
	int fd = open(TUN_PATH, O_RDWR | O_CLOEXEC);
	int why = errno;

	if (fd >= 0)
		return fd;
	err_sys(e, why, "open %s", TUN_PATH);
	explain_tun(why, e);
	/* Not -EPERM or -EACCES: child.c would explain these by a ban on user namespaces. */
	return -ENODEV;
}

/* Makes the device that `fd` stands for, or adds a queue to it. */
static int set_device(int fd, const char *name, short flags, struct err *e)
{
	struct ifreq ifr = { .ifr_flags = flags };
	int r;

	if (strlen(name) >= sizeof(ifr.ifr_name))
		return err_set(e, ENAMETOOLONG, "interface name %s is longer than %zu characters",
			       name, sizeof(ifr.ifr_name) - 1);
	strcpy(ifr.ifr_name, name);
	if (ioctl(fd, TUNSETIFF, &ifr) == 0)
		return 0;
	r = err_sys(e, errno, "creating the TAP device %s", name);
	if (r == -ENOTTY)
		err_add(e,
			" (%s is another device: as root, run `rm %s && mknod -m 666 "
			"%s c 10 200`)",
			TUN_PATH, TUN_PATH, TUN_PATH);
	return r;
}

int netns_make_tap(const char *name, struct err *e)
{
	FD_AUTO int fd = open_tun(e);
	int r = fd < 0 ? fd : set_device(fd, name, IFF_TAP | IFF_NO_PI, e);

	if (r < 0)
		return r;
	if (ioctl(fd, TUNSETPERSIST, 1) < 0)
		return err_sys(e, errno, "keeping the TAP device %s", name);
	return 0;
}

/* Sets the link up before it has a carrier: then the kernel handles the event of the carrier at
 * once (net/core/link_watch.c), and the link's state is "up", not "unknown". Linux before 5.0 does
 * not know TUNSETCARRIER; there the state stays "unknown", which works, too. */
static int set_up_with_carrier(const char *name, int fd, struct err *e)
{
	int carrier = 0, r;

	ioctl(fd, TUNSETCARRIER, &carrier);
	r = netns_link_up(name, e);
	carrier = 1;
	ioctl(fd, TUNSETCARRIER, &carrier);
	return r;
}

/* The kernel reserves 256 queues for a device with several (drivers/net/tun.c), and would give each
 * a queueing discipline of its own: 6 MB, and milliseconds, when the link is set up. One for all is
 * enough, since the device has a ring for each queue. "noqueue" would be none at all, but then the
 * inside's TCP learns of each packet that a full ring drops, and ends a connection after 15 of its
 * own (tcp_retries2, without the usual back-off). A kernel without any works, too. */
static void spare_queues(const char *name)
{
	struct err e;
	FD_AUTO int fd = rtnl_open(&e);
	int index = fd < 0 ? fd : rtnl_link_index(name, &e);

	if (index < 0 || rtnl_one_qdisc(fd, index, &e) < 0)
		log_debug("%s", e.msg);
}

int netns_make_queues(const char *name, int *fds, size_t count, struct err *e)
{
	const short flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE;
	size_t opened = 0;
	int r = 0;

	while (r == 0 && opened < count) {
		fds[opened] = open_tun(e);
		if (fds[opened] < 0) {
			r = fds[opened];
			break;
		}
		r = set_device(fds[opened], name, flags, e);
		fd_set_nonblock(fds[opened]);
		opened++;
	}
	if (r == 0) {
		spare_queues(name);
		r = set_up_with_carrier(name, fds[0], e);
	}
	while (r < 0 && opened > 0)
		fd_close(&fds[--opened]);
	return r;
}

int netns_link_up(const char *name, struct err *e)
{
	FD_AUTO int fd = rtnl_open(e);
	int index;

	if (fd < 0)
		return fd;
	index = rtnl_link_index(name, e);
	return index < 0 ? index : rtnl_link_up(fd, index, 0, e);
}
