/* SPDX-License-Identifier: Apache-2.0 */
/* Publishing the ports of a Podman container. See rootlessport.h.
 *
 * This is one process, unlike a launcher and Podman's own program. The port service (portservice.h)
 * is a thread that enters the container's network namespace, which this process may do: it is root
 * of the user namespace that owns it. Everything else is a launcher's: the builtin port driver and
 * its workers get their sockets from that thread.
 *
 * The port service listens on a file in TmpDir/rp, whose mode keeps other users out; an abstract
 * socket could be reached from containers in the host's network namespace. The file is removed as
 * soon as its descriptor is open (proc_pid_fd(5)), so a killed process leaves only the socket for
 * reloads, which the next start of the container replaces.
 *
 * Standard output and error are pipes to Podman, which goes away when the ports are published. From
 * then on they are /dev/null.
 */
#include "applets/rootlessport.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/reload.h"
#include "base/array.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/version.h"
#include "formats/podmanconfig.h"
#include "os/signals.h"
#include "ports/builtin.h"
#include "ports/hostaddr.h"
#include "ports/ports.h"
#include "ports/portservice.h"
#include "ports/worker.h"
#include "ports/workers.h"

#define CONFIG_MAX  (16 << 20) /* bytes; room for a mapping for each port of both protocols */
#define DIR_MODE    0700
#define DIR_NAME    "rp" /* compat: 4.3; in TmpDir */
/* A container has one or two busy ports, and there may be many containers. */
#define WORKERS	    2
/* Bytes of "/proc/self/fd/N/NAME" or "/proc/self/fd/N". */
#define FD_PATH_LEN (sizeof("/proc/self/fd//") + 11 + NAME_MAX)

struct rootlessport {
	char *text; /* of the configuration, owned */
	struct podmanconfig config;
	struct loop *loop;
	struct watch exit, signals;
	int ready_fd;
	int dir_fd;	/* TmpDir/rp, O_PATH */
	int service_fd; /* the file of the port service's socket, O_PATH */
	struct ports *ports;
	struct reload *reload;
	struct stat socket; /* of the socket for reloads */
	int result;	    /* of the loop */
};

/* ---- the configuration ---- */

/* Reads standard input up to its end. Returns 0, or -errno with a reason. */
static int read_input(struct rootlessport *p, size_t *len, struct err *e)
{
	size_t cap = 4096, used = 0;
	ssize_t n = 0;

	do {
		char *grown = used > CONFIG_MAX ? NULL : realloc(p->text, cap *= 2);

		if (grown == NULL)
			return err_set(e, E2BIG, "the configuration is too long");
		p->text = grown;
		n = fd_read_text(STDIN_FILENO, p->text + used, cap - used);
		used += n > 0 ? (size_t)n : 0;
	} while (n >= 0 && used + 1 == cap);
	*len = used;
	return n < 0 ? err_sys(e, (int)-n, "reading standard input") : 0;
}

static int read_config(struct rootlessport *p, struct err *e)
{
	size_t len = 0;
	int r = fd_open_std();

	if (r < 0)
		return err_sys(e, -r, "open /dev/null");
	if (isatty(STDIN_FILENO))
		return err_set(e, EINVAL,
			       "Podman starts this program, and sends its configuration on "
			       "standard input; try `rlkbox --help`");
	r = read_input(p, &len, e);
	if (r == 0)
		r = podmanconfig_parse(&p->config, p->text, len, e);
	return r == 0 ? podmanconfig_check(&p->config, e) : r;
}

static int check_fd(int fd, const char *name, struct err *e)
{
	if (fd >= FD_FIRST && fcntl(fd, F_GETFD) >= 0)
		return 0;
	return err_set(e, EBADF, "invalid %s: %d is not an open descriptor above %d", name, fd,
		       STDERR_FILENO);
}

static void on_exit_fd(struct watch *w, short revents);

/* Before anything is opened: a number that is closed could become ours. */
static int take_fds(struct rootlessport *p, struct err *e)
{
	int r = check_fd(p->config.exit_fd, "ExitFD", e);

	if (r == 0)
		r = check_fd(p->config.ready_fd, "ReadyFD", e);
	if (r < 0)
		return r;
	p->ready_fd = p->config.ready_fd;
	p->exit =
		(struct watch){ .fd = p->config.exit_fd, .events = POLLIN, .on_event = on_exit_fd };
	r = fd_cloexec_from(FD_FIRST);
	return r < 0 ? err_sys(e, -r, "closing descriptors") : 0;
}

/* ---- events ---- */

static void stop(struct rootlessport *p, int result)
{
	p->result = result;
	loop_stop(p->loop);
}

static void on_exit_fd(struct watch *w, short revents)
{
	char bytes[512];
	ssize_t n = read(w->fd, bytes, sizeof(bytes));

	(void)revents;
	if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
		stop(LOOP_OWNER(w, struct rootlessport, exit), 0);
}

static void on_signals(struct watch *w, short revents)
{
	struct rootlessport *p = LOOP_OWNER(w, struct rootlessport, signals);
	struct signalfd_siginfo info;

	(void)revents;
	if (read(w->fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (signals_is_fatal((int)info.ssi_signo))
		stop(p, 0);
	else if (ports_failed(p->ports))
		stop(p, -EIO);
}

static int start_loop(struct rootlessport *p, struct err *e)
{
	int fd = signals_block();
	int r;

	p->signals = (struct watch){ .fd = fd, .events = POLLIN, .on_event = on_signals };
	if (fd < 0)
		return err_sys(e, -fd, "signalfd");
	p->loop = loop_new(LOOP_POLL);
	if (p->loop == NULL)
		return err_sys(e, errno, "starting");
	r = loop_add(p->loop, &p->signals);
	if (r == 0)
		r = loop_add(p->loop, &p->exit);
	return r < 0 ? err_sys(e, -r, "starting") : 0;
}

/* ---- the directory ---- */

/* Makes the directory at `path` (modified and restored), and those above it. */
static int make_dirs(char *path, struct err *e)
{
	for (char *slash = path; slash != NULL;) {
		slash = strchr(slash + 1, '/');
		if (slash != NULL)
			*slash = '\0';
		if (mkdir(path, DIR_MODE) < 0 && errno != EEXIST && errno != EACCES &&
		    errno != EROFS)
			return err_sys(e, errno, "mkdir %s", path);
		if (slash != NULL)
			*slash = '/';
	}
	return 0;
}

static int open_dir(struct rootlessport *p, struct err *e)
{
	char path[PATH_MAX + sizeof("/" DIR_NAME)];
	int r;

	snprintf(path, sizeof(path), "%s/" DIR_NAME, p->config.tmp_dir);
	r = make_dirs(path, e);
	if (r < 0)
		return r;
	p->dir_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return p->dir_fd < 0 ? err_sys(e, errno, "open %s", path) : 0;
}

/* Writes the path of a file in TmpDir/rp that fits a socket address, however long TmpDir is. */
static void write_path(const struct rootlessport *p, const char *name, char path[FD_PATH_LEN])
{
	snprintf(path, FD_PATH_LEN, "/proc/self/fd/%d/%s", p->dir_fd, name);
}

/* ---- ports ---- */

static int start_service(struct rootlessport *p, struct err *e)
{
	char path[FD_PATH_LEN], name[NAME_MAX + sizeof(".")];
	const struct portservice_setup setup = { .socket = path,
						 .netns = p->config.netns,
						 .source_ip_backend = "nft" };
	int r;

	snprintf(name, sizeof(name), ".%s", p->config.container_id);
	if (name[1] == '\0')
		snprintf(name, sizeof(name), ".%d", (int)getpid());
	write_path(p, name, path);
	unlinkat(p->dir_fd, name, 0); /* left by a killed process */
	r = portservice_start(&setup, e);
	if (r < 0)
		return r;
	p->service_fd = openat(p->dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	r = p->service_fd < 0 ? err_sys(e, errno, "open %s", path) : 0;
	unlinkat(p->dir_fd, name, 0);
	return r;
}

static int start_ports(struct rootlessport *p, struct err *e)
{
	size_t workers = workers_default_size();
	char path[FD_PATH_LEN];
	const struct port_setup setup = { .child_socket = path,
					  .workers = workers < WORKERS ? workers : WORKERS,
					  .source_ip = true };

	snprintf(path, sizeof(path), "/proc/self/fd/%d", p->service_fd);
	hostaddr_watch(p->loop);
	return ports_new(&p->ports, &builtin_ports, &setup, e);
}

static int publish(struct rootlessport *p, struct err *e)
{
	struct podmanconfig_ports ports;
	struct portspec spec;
	int r;

	podmanconfig_ports_init(&ports, &p->config);
	while ((r = podmanconfig_ports_next(&ports, &spec, e)) > 0) {
		if (signals_fatal_pending())
			return err_set(e, EINTR, "terminated by a signal");
		r = ports_add(p->ports, &spec, e);
		if (r < 0)
			break;
	}
	free(p->text);
	p->text = NULL;
	return r;
}

/* ---- reloads ---- */

static int start_reloads(struct rootlessport *p, struct err *e)
{
	const char *id = p->config.container_id;
	char path[FD_PATH_LEN];
	int r;

	if (!p->config.has_reloads)
		return 0;
	write_path(p, id, path);
	unlinkat(p->dir_fd, id, 0); /* left by a killed process */
	r = reload_new(&p->reload, p->loop, path, p->ports, e);
	if (r == 0 && fstatat(p->dir_fd, id, &p->socket, AT_SYMLINK_NOFOLLOW) < 0)
		r = err_sys(e, errno, "%s", path);
	return r;
}

/* Removes the socket, unless a new process for the container has replaced it already. */
static void end_reloads(struct rootlessport *p)
{
	const char *id = p->config.container_id;
	struct stat there;

	if (p->reload != NULL && fstatat(p->dir_fd, id, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
	    there.st_dev == p->socket.st_dev && there.st_ino == p->socket.st_ino)
		unlinkat(p->dir_fd, id, 0);
	reload_free(p->reload);
}

/* ---- start and end ---- */

/* Podman does not wait for the end of standard output and error. Nobody reads them any more. */
static int leave_output(struct err *e)
{
	FD_AUTO int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	fflush(stdout);
	if (fd < 0 || dup2(fd, STDIN_FILENO) < 0 || dup2(fd, STDOUT_FILENO) < 0 ||
	    dup2(fd, STDERR_FILENO) < 0)
		return err_sys(e, errno, "/dev/null");
	return 0;
}

static int tell_ready(struct rootlessport *p, struct err *e)
{
	int r = leave_output(e);

	if (r < 0)
		return r;
	r = fd_write_all(p->ready_fd, "1", 1);
	fd_close(&p->ready_fd);
	return r < 0 ? err_sys(e, -r, "writing to ReadyFD") : 0;
}

static int run(struct rootlessport *p, struct err *e)
{
	static int (*const steps[])(struct rootlessport *, struct err *) = {
		read_config, take_fds, start_loop,    open_dir,	  start_service,
		start_ports, publish,  start_reloads, tell_ready,
	};
	int r = 0;

	for (size_t i = 0; r >= 0 && i < COUNT_OF(steps); i++)
		r = steps[i](p, e);
	if (r < 0)
		return r;
	r = loop_run(p->loop);
	if (r == 0)
		r = p->result;
	return r < 0 ? err_sys(e, -r, "serving ports") : 0;
}

static void end(struct rootlessport *p)
{
	end_reloads(p);
	hostaddr_unwatch(p->loop);
	ports_free(p->ports, WORKER_END_MS);
	loop_free(p->loop);
	fd_close(&p->signals.fd);
	fd_close(&p->exit.fd);
	fd_close(&p->ready_fd);
	fd_close(&p->service_fd);
	fd_close(&p->dir_fd);
	free(p->text);
}

static int handle_arguments(const char *first)
{
	if (strcmp(first, "--version") == 0 || strcmp(first, "-v") == 0) {
		printf("rootlessport of rlkbox %s\n", RLKBOX_VERSION);
		return 0;
	}
	fprintf(stderr,
		"too many arguments, rootlessport expects a json config via STDIN; Podman starts "
		"it\n");
	return 1;
}

int rootlessport_main(int argc, char **argv)
{
	static struct rootlessport port; /* large */
	struct err e;
	int r;

	if (argc > 1)
		return handle_arguments(argv[1]);
	log_init("rootlessport", false);
	port.exit.fd = port.signals.fd = port.ready_fd = port.dir_fd = port.service_fd = -1;
	r = run(&port, &e);
	if (r < 0)
		printf("%s\n", e.msg);
	fflush(stdout);
	end(&port);
	return r < 0 ? 1 : 0;
}
