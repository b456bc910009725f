/* SPDX-License-Identifier: Apache-2.0 */
/* The child's mounts. See mount.h.
 *
 * Copy-up moves a mount: it bind-mounts the directory at `aside`, covers the directory with a
 * tmpfs, and moves the bind mount into the tmpfs. The tmpfs may cover the path of `aside`, too (a
 * state directory in /run/user with --copy-up=/run). So a descriptor holds `aside`, and
 * /proc/self/fd gives a path to it.
 */
#include "os/mount.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/array.h"
#include "base/fd.h"
#include "base/log.h"
#include "os/posixacl.h"

#define CGROUP_PATH "/sys/fs/cgroup"
#define MODE_BITS   07777U /* in st_mode: permissions, set-ID bits, sticky bit */
#define ID_TEXT_LEN 16	   /* bytes of a decimal ID with the NUL */

static const struct {
	const char *name;
	unsigned long flags;
} propagations[] = {
	{ "private", MS_PRIVATE }, { "rprivate", MS_REC | MS_PRIVATE },
	{ "slave", MS_SLAVE },	   { "rslave", MS_REC | MS_SLAVE },
	{ "shared", MS_SHARED },   { "rshared", MS_REC | MS_SHARED },
};

#define PROPAGATION_COUNT COUNT_OF(propagations)

static unsigned long propagation_flags(const char *name)
{
	for (size_t i = 0; i < PROPAGATION_COUNT; i++)
		if (strcmp(propagations[i].name, name) == 0)
			return propagations[i].flags;
	return 0;
}

bool mount_is_propagation(const char *name)
{
	return propagation_flags(name) != 0;
}

bool mount_is_shared(const char *name)
{
	return (propagation_flags(name) & MS_SHARED) != 0;
}

int mount_set_propagation(const char *name, struct err *e)
{
	if (mount(NULL, "/", NULL, propagation_flags(name), NULL) < 0)
		return err_sys(e, errno, "setting the mount propagation of / to %s", name);
	return 0;
}

/* Copies the first optional field of a mountinfo line if its mount point is "/":
 *     36 35 98:0 / / rw,noatime shared:1 - ext3 ...
 * Returns whether it is. */
static bool root_optional_field(const char *line, char *buf, int cap)
{
	int at = 0;
	char point[3];

	if (sscanf(line, "%*s %*s %*s %*s %2s %*s %n", point, &at) != 1 || at == 0)
		return false;
	if (strcmp(point, "/") != 0)
		return false;
	snprintf(buf, (size_t)cap, "%.*s", line[at] == '-' ? 0 : (int)strcspn(line + at, " "),
		 line + at);
	return true;
}

void mount_root_propagation(char *buf, int cap)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t size = 0;

	buf[0] = '\0';
	if (f == NULL)
		return;
	/* The last line counts: later mounts are on top. */
	while (getline(&line, &size, f) >= 0)
		root_optional_field(line, buf, cap);
	free(line);
	fclose(f);
}

/* ---- copy-up ---- */

static bool is_directory(const char *dir, const char *other)
{
	struct stat a, b;

	return stat(dir, &a) == 0 && stat(other, &b) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

const char *mount_why_no_copy_up(const char *dir)
{
	if (is_directory(dir, "/"))
		return "nothing can be mounted over the root directory of a process";
	if (is_directory(dir, "/tmp"))
		return "programs share files and sockets in it, and new ones would not be seen "
		       "inside";
	if (is_directory(dir, "/proc"))
		return "the links in it would lead to the processes of one moment";
	return NULL;
}

/* Creates entry `name` in `dir`: a copy of the symbolic link `name` in `dir`/`ro`, or else a link
 * to that entry. */
static int link_entry(int dir_fd, int ro_fd, const char *ro, const char *name, struct err *e)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(ro_fd, name, target, sizeof(target) - 1);

	if (n >= 0)
		target[n] = '\0';
	else if (snprintf(target, sizeof(target), "%s/%s", ro, name) >= (int)sizeof(target))
		return err_sys(e, ENAMETOOLONG, "%s", name);
	if (symlinkat(target, dir_fd, name) < 0)
		return err_sys(e, errno, "creating the link %s", name);
	return 0;
}

static int link_entries(const char *dir, const char *ro, struct err *e)
{
	FD_AUTO int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	FD_AUTO int ro_fd = dir_fd < 0 ? -1
				       : openat(dir_fd, ro, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *entry;
	int list_fd;
	DIR *list;
	int r = 0;

	if (ro_fd < 0)
		return err_sys(e, errno, "open %s/%s", dir, ro);
	list_fd = fcntl(ro_fd, F_DUPFD_CLOEXEC, 0);
	list = list_fd < 0 ? NULL : fdopendir(list_fd);
	if (list == NULL) {
		r = err_sys(e, errno, "reading %s/%s", dir, ro);
		fd_close(&list_fd);
		return r;
	}
	while (r == 0 && (entry = fd_next_entry(list)) != NULL)
		r = link_entry(dir_fd, ro_fd, ro, entry->d_name, e);
	if (r == 0 && errno != 0)
		r = err_sys(e, errno, "reading %s/%s", dir, ro);
	closedir(list);
	return r;
}

/* The ID that the kernel shows for an owner who is not mapped into our user namespace
 * (user_namespaces(7)). A mapped subordinate ID may have the same number. */
static unsigned long overflow_id(const char *path)
{
	char text[ID_TEXT_LEN];
	unsigned long id = 65534;

	if (fd_read_file(path, text, sizeof(text)) > 0)
		id = strtoul(text, NULL, 10);
	return id;
}

/* Chooses the owner of the tmpfs: the original's owner, or root (the host's user) if that owner is
 * not mapped into our user namespace. */
static void choose_owner(const struct stat *st, unsigned int *uid, unsigned int *gid)
{
	*uid = st->st_uid == overflow_id("/proc/sys/kernel/overflowuid") ? 0 : st->st_uid;
	*gid = st->st_gid == overflow_id("/proc/sys/kernel/overflowgid") ? 0 : st->st_gid;
}

/* Gives `dir` the access rights of the original: its mode, and its ACLs (acl(5)) without the users
 * and groups that are not mapped. If an ACL cannot be copied, group and others get only what all of
 * its entries allow. */
static int copy_rights(const char *dir, const char *original, unsigned int mode, struct err *e)
{
	static const char *const names[] = { POSIXACL_ACCESS, POSIXACL_DEFAULT };

	for (size_t i = 0; i < COUNT_OF(names); i++) {
		struct posixacl acl;
		ssize_t len = getxattr(original, names[i], &acl, sizeof(acl));

		if (len <= 0) {
			/* An ACL that is too long to read may deny anything. */
			if (len < 0 && errno == ERANGE && i == 0)
				mode &= ~(unsigned int)(S_IRWXG | S_IRWXO);
			continue;
		}
		len = posixacl_keep_mapped(&acl, (size_t)len);
		if (len < 0 || setxattr(dir, names[i], &acl, (size_t)len, 0) == 0)
			continue;
		if (i == 0)
			mode &= ~(unsigned int)(S_IRWXG | S_IRWXO) |
				posixacl_common_rights(&acl, len);
	}
	return chmod(dir, mode) < 0 ? err_sys(e, errno, "chmod %s", dir) : 0;
}

/* Mounts on `dir` a tmpfs with the mode and owner in `st`. The mode is a mount option, because the
 * kernel shows that option in /proc/self/mountinfo. Only copy_rights may change the mode later, for
 * an ACL. */
static int mount_tmpfs(const char *dir, const struct stat *st, struct err *e)
{
	char options[64];
	unsigned int uid, gid;

	choose_owner(st, &uid, &gid);
	snprintf(options, sizeof(options), "mode=%o,uid=%u,gid=%u", st->st_mode & MODE_BITS, uid,
		 gid);
	if (mount("none", dir, "tmpfs", 0, options) < 0)
		return err_sys(e, errno, "failed to mount tmpfs on %s", dir);
	return 0;
}

/* Covers `dir` with a tmpfs. Moves the bind mount whose root directory is `aside_fd` into the
 * tmpfs, and makes a link for each entry of that directory. */
static int cover_with_tmpfs(const char *dir, int aside_fd, struct err *e)
{
	char aside[64];
	char ro[PATH_MAX];
	struct stat st;
	int r;

	if (fstat(aside_fd, &st) < 0)
		return err_sys(e, errno, "stat %s", dir);
	r = mount_tmpfs(dir, &st, e);
	if (r < 0)
		return r;
	snprintf(ro, sizeof(ro), "%s/.roXXXXXX", dir);
	if (mkdtemp(ro) == NULL)
		return err_sys(e, errno, "creating a directory in %s", dir);
	snprintf(aside, sizeof(aside), "/proc/self/fd/%d", aside_fd);
	if (mount(aside, ro, NULL, MS_MOVE, NULL) < 0)
		return err_sys(e, errno, "failed to move the old %s to %s", dir, ro);
	r = link_entries(dir, strrchr(ro, '/') + 1, e);
	return r < 0 ? r : copy_rights(dir, ro, st.st_mode & MODE_BITS, e);
}

int mount_copy_up(const char *dir, const char *aside, struct err *e)
{
	const char *why = mount_why_no_copy_up(dir);
	FD_AUTO int fd = -1;
	bool covered;
	int r;

	if (why != NULL)
		return err_set(e, EINVAL, "%s cannot be copied up: %s", dir, why);
	if (mkdir(aside, 0700) < 0)
		return err_add_room(e, err_sys(e, errno, "creating %s", aside));
	if (mount(dir, aside, NULL, MS_BIND | MS_REC, NULL) < 0) {
		r = err_sys(e, errno, "failed to create bind mount on %s", dir);
		rmdir(aside);
		return r;
	}
	fd = open(aside, O_PATH | O_DIRECTORY | O_CLOEXEC);
	r = fd < 0 ? err_sys(e, errno, "open %s", aside) : cover_with_tmpfs(dir, fd, e);
	covered = r == 0;
	if (!covered)
		umount2(aside, MNT_DETACH);
	/* By now `aside` may lead through one of the new links; it is still the same directory. */
	if (rmdir(aside) < 0 && covered)
		return err_sys(e, errno, "removing %s", aside);
	return r;
}

/* ---- /proc and /sys ---- */

static bool is_forbidden(int r)
{
	return r == -EPERM || r == -EACCES;
}

/* Mounts the pseudo file system `type` on `dir`. If the outer mount is read-only or parts of it are
 * hidden, the kernel allows only a read-only mount, or none (mount_namespaces(7)). Returns 0 or
 * -errno. */
static int mount_pseudo(const char *source, const char *type, const char *dir, unsigned long flags)
{
	char why[128];
	int r = mount(source, dir, type, flags, NULL) == 0 ? 0 : -errno;

	if (r == 0)
		log_debug("mounted %s on %s", type, dir);
	if (!is_forbidden(r))
		return r;
	if (mount(source, dir, type, flags | MS_RDONLY, NULL) < 0)
		return -errno;
	log_warn("a new %s may only be mounted read-only on %s: %s", type, dir,
		 err_text(-r, why, sizeof(why)));
	return 0;
}

int mount_proc(struct err *e)
{
	int r = mount_pseudo("proc", "proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC);
	char why[128];

	if (!is_forbidden(r))
		return r < 0 ? err_sys(e, -r, "mounting proc on /proc") : 0;
	log_warn("mounting proc on /proc: %s; /proc still shows the outer PID namespace. In a "
		 "container parts of /proc are hidden: try --security-opt systempaths=unconfined "
		 "(Kubernetes: procMount: Unmasked) for the container",
		 err_text(-r, why, sizeof(why)));
	return 0;
}

int mount_sysfs(struct err *e)
{
	FD_AUTO int cgroup = open(CGROUP_PATH, O_PATH | O_DIRECTORY | O_CLOEXEC);
	char source[64];
	char why[128];
	int r = mount_pseudo("none", "sysfs", "/sys", 0);

	if (is_forbidden(r)) {
		log_warn("mounting sysfs on /sys: %s; /sys still shows the outer network "
			 "namespace. In a container parts of /sys are hidden: try --security-opt "
			 "systempaths=unconfined for the container",
			 err_text(-r, why, sizeof(why)));
		return 0;
	}
	if (r < 0)
		return err_sys(e, -r, "mounting sysfs on /sys");
	if (cgroup < 0)
		return 0;
	snprintf(source, sizeof(source), "/proc/self/fd/%d", cgroup);
	if (mount(source, CGROUP_PATH, NULL, MS_BIND | MS_REC, NULL) < 0)
		return err_sys(e, errno, "bind-mounting %s", CGROUP_PATH);
	return 0;
}

int mount_cgroup2(struct err *e)
{
	const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
	int r = mount("none", CGROUP_PATH, "cgroup2", flags, NULL);

	/* A file system cannot be mounted directly on itself, so put a tmpfs between. */
	if (r < 0 && errno == EBUSY) {
		r = mount("none", CGROUP_PATH, "tmpfs", flags, "size=0,mode=755");
		if (r == 0)
			r = mount("none", CGROUP_PATH, "cgroup2", flags, NULL);
	}
	return r < 0 ? err_sys(e, errno, "mounting cgroup2 on %s", CGROUP_PATH) : 0;
}

int mount_file(const char *from, const char *on, struct err *e)
{
	if (mount(from, on, NULL, MS_BIND, NULL) < 0)
		return err_sys(e, errno, "failed to create bind mount %s for %s", on, from);
	return 0;
}
