/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2) /* linux/close_range.h, Linux 5.11 */
#endif

void fd_close(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = saved;
}

/* How many descriptors at the start of `fds` have consecutive numbers. */
static size_t run_length(const int *fds, size_t count)
{
	size_t n = 1;

	while (n < count && fds[n] == fds[n - 1] + 1)
		n++;
	return n;
}

void fd_close_all(const int *fds, size_t count)
{
	while (count > 0) {
		size_t n = run_length(fds, count);

#ifdef SYS_close_range
		if (n == 1 ||
		    syscall(SYS_close_range, (unsigned int)fds[0], (unsigned int)fds[n - 1], 0) < 0)
#endif
			for (size_t i = 0; i < n; i++)
				close(fds[i]);
		fds += n;
		count -= n;
	}
}

int fd_take(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

int fd_set_nonblock(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	return 0;
}

int fd_set_cloexec(int fd, bool on)
{
	return fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0) < 0 ? -errno : 0;
}

/* Errors of accept4(2) that concern one client that has gone away, or a network that is down
 * (accept(2), "Error handling"). */
static bool is_client_error(int errnum)
{
	switch (errnum) {
	case EINTR:
	case ECONNABORTED:
	case EPROTO:
	case ENOPROTOOPT:
	case ENETDOWN:
	case EHOSTDOWN:
	case ENONET:
	case EHOSTUNREACH:
	case EOPNOTSUPP:
	case ENETUNREACH:
	case EPERM: /* a firewall rule */
		return true;
	default:
		return false;
	}
}

int fd_accept(int listener, struct sockaddr *sa, socklen_t *len)
{
	int fd = accept4(listener, sa, len, SOCK_NONBLOCK | SOCK_CLOEXEC);

	/* A seccomp profile that forbids accept4(2) makes it fail with ENOSYS or EPERM. A firewall
	 * rule that rejects one client gives EPERM, too; accept(2) then takes the next client. */
	if (fd < 0 && (errno == ENOSYS || errno == EPERM)) {
		fd = accept(listener, sa, len);
		if (fd >= 0) {
			fd_set_nonblock(fd);
			fd_set_cloexec(fd, true);
		}
	}
	if (fd >= 0)
		return fd;
	return is_client_error(errno) ? -ECONNABORTED : -errno;
}

struct dirent *fd_next_entry(DIR *dir)
{
	struct dirent *entry;

	do {
		errno = 0;
		entry = readdir(dir);
	} while (entry != NULL &&
		 (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0));
	return entry;
}

/* For kernels without CLOSE_RANGE_CLOEXEC (close_range(2), before Linux 5.11). Needs /proc. */
static int cloexec_by_proc(int low)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	int r;

	if (dir == NULL)
		return -errno;
	while ((entry = fd_next_entry(dir)) != NULL) {
		int fd = atoi(entry->d_name);

		if (fd >= low)
			fd_set_cloexec(fd, true);
	}
	r = -errno;
	closedir(dir);
	return r;
}

int fd_cloexec_from(int low)
{
#ifdef SYS_close_range
	if (syscall(SYS_close_range, (unsigned int)low, ~0U, CLOSE_RANGE_CLOEXEC) == 0)
		return 0;
#endif
	return cloexec_by_proc(low);
}

int fd_open_std(void)
{
	int fd;

	/* open(2) takes the lowest free number, so this stops at the first one above 2. */
	do
		fd = open("/dev/null", O_RDWR); /* inherited, like the other standard streams */
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

int fd_write_all(int fd, const void *buf, size_t len)
{
	const char *p = buf;

	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

ssize_t fd_read_text(int fd, char *buf, size_t cap)
{
	size_t len = 0;

	while (len + 1 < cap) {
		ssize_t n = read(fd, buf + len, cap - 1 - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	buf[len] = '\0';
	return (ssize_t)len;
}

ssize_t fd_read_file(const char *path, char *buf, size_t cap)
{
	FD_AUTO int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return fd_read_text(fd, buf, cap);
}

char *fd_load_file(const char *path, size_t max, size_t *len)
{
	struct stat st;
	char *text;
	ssize_t n;

	if (stat(path, &st) < 0)
		return NULL;
	if ((uintmax_t)st.st_size > max) {
		errno = EFBIG;
		return NULL;
	}
	text = malloc((size_t)st.st_size + 1);
	if (text == NULL)
		return NULL;
	n = fd_read_file(path, text, (size_t)st.st_size + 1);
	if (n < 0) {
		free(text);
		errno = (int)-n;
		return NULL;
	}
	*len = (size_t)n;
	return text;
}

int fd_write_file(const char *path, const char *text, struct err *e)
{
	FD_AUTO int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(e, errno, "open %s", path);
	if (write(fd, text, strlen(text)) < 0)
		return err_sys(e, errno, "write %s", path);
	return 0;
}

int fd_wait(int fd, short events, int timeout_ms)
{
	unsigned long long until = clock_now_ms() + (unsigned long long)timeout_ms;
	struct pollfd p = { .fd = fd, .events = events };
	int n;

	while ((n = poll(&p, 1, timeout_ms)) < 0 && errno == EINTR)
		if (timeout_ms >= 0)
			timeout_ms = clock_left_ms(until);

	if (n < 0)
		return -errno;
	return n == 0 ? 0 : p.revents;
}

ssize_t fd_recv_until(int fd, void *buf, size_t cap, unsigned long long until_ms)
{
	for (;;) {
		int left_ms = clock_left_ms(until_ms);
		int r = left_ms > 0 ? fd_wait(fd, POLLIN, left_ms) : 0;
		ssize_t n;

		if (r <= 0)
			return r < 0 ? r : -ETIMEDOUT;
		n = recv(fd, buf, cap, MSG_DONTWAIT);
		if (n >= 0)
			return n;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
	}
}
