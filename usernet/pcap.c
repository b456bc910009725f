/* SPDX-License-Identifier: Apache-2.0 */
/* Recording of frames. See pcap.h and pcap-savefile(5).
 *
 * A lock keeps records whole and in the order of their times, on a pipe, too, where a long write(2)
 * may be interleaved with others. Only threads of the network take it, and only while frames are
 * recorded.
 */
#include "usernet/pcap.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"

#define MAGIC_NS      0xa1b23c4dU /* times in nanoseconds; numbers in this machine's byte order */
#define VERSION_MAJOR 2
#define VERSION_MINOR 4
#define ETHERNET      1 /* LINKTYPE_ETHERNET */

/* The head of a file, and of each record in it. */
struct file_head {
	uint32_t magic;
	uint16_t version_major, version_minor;
	uint32_t unused[2];
	uint32_t snaplen;
	uint32_t linktype;
};

struct record_head {
	uint32_t time_s, time_ns;
	uint32_t recorded_len; /* bytes that follow */
	uint32_t frame_len;
};

struct pcap {
	pthread_mutex_t lock; /* guards what follows */
	int fd;		      /* -1: the recording has ended */
	char path[];
};

int pcap_open(struct pcap **out, const char *path, struct err *e)
{
	const struct file_head head = { .magic = MAGIC_NS,
					.version_major = VERSION_MAJOR,
					.version_minor = VERSION_MINOR,
					.snaplen = PCAP_SNAPLEN,
					.linktype = ETHERNET };
	FD_AUTO int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	struct pcap *p;
	int r;

	if (fd < 0)
		return err_sys(e, errno, "cannot record frames: open %s", path);
	r = fd_write_all(fd, &head, sizeof(head));
	if (r < 0)
		return err_sys(e, -r, "cannot record frames: write to %s", path);
	p = malloc(sizeof(*p) + strlen(path) + 1);
	if (p == NULL)
		return err_sys(e, ENOMEM, "cannot record frames");
	pthread_mutex_init(&p->lock, NULL);
	p->fd = fd_take(&fd);
	strcpy(p->path, path);
	*out = p;
	return 0;
}

void pcap_close(struct pcap *p)
{
	if (p == NULL)
		return;
	fd_close(&p->fd);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

/* ---- records ---- */

/* Ends the recording. What was written of the last record is removed again, if that is possible, so
 * that the file can be read to its end. */
static void stop(struct pcap *p, size_t written, int errnum)
{
	char why[128];
	struct stat st;

	if (written > 0 && fstat(p->fd, &st) == 0 && S_ISREG(st.st_mode) &&
	    ftruncate(p->fd, st.st_size - (off_t)written) < 0)
		errnum = errno;
	log_warn("frames are not recorded any more: write to %s: %s", p->path,
		 err_text(errnum, why, sizeof(why)));
	fd_close(&p->fd);
}

/* Moves the beginning of the parts behind the first `n` bytes of them. */
static void skip(struct iovec *parts, int count, size_t n)
{
	for (int i = 0; i < count; i++) {
		size_t here = n < parts[i].iov_len ? n : parts[i].iov_len;

		parts[i].iov_base = (char *)parts[i].iov_base + here;
		parts[i].iov_len -= here;
		n -= here;
	}
}

/* Regular files take a record at once, unless the disk is full. Then the next write says so. */
static void write_record(struct pcap *p, struct iovec *parts, int count, size_t len)
{
	size_t written = 0;

	while (written < len) {
		ssize_t n = writev(p->fd, parts, count);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			stop(p, written, errno);
			return;
		}
		written += (size_t)n;
		skip(parts, count, (size_t)n);
	}
}

static size_t at_most(size_t len, size_t max)
{
	return len < max ? len : max;
}

void pcap_add(struct pcap *p, const void *head, size_t head_len, const void *rest, size_t rest_len)
{
	const size_t first = at_most(head_len, PCAP_SNAPLEN);
	const size_t second = at_most(rest_len, PCAP_SNAPLEN - first);
	struct record_head record = { .recorded_len = (uint32_t)(first + second),
				      .frame_len = (uint32_t)(head_len + rest_len) };
	struct iovec parts[] = { { &record, sizeof(record) },
				 { (void *)head, first },
				 { (void *)rest, second } };
	struct timespec now;

	pthread_mutex_lock(&p->lock);
	clock_gettime(CLOCK_REALTIME, &now);
	record.time_s = (uint32_t)now.tv_sec;
	record.time_ns = (uint32_t)now.tv_nsec;
	if (p->fd >= 0)
		write_record(p, parts, 3, sizeof(record) + first + second);
	pthread_mutex_unlock(&p->lock);
}
