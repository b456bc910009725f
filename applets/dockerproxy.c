/* SPDX-License-Identifier: Apache-2.0 */
/* The applet rootlesskit-docker-proxy. See dockerproxy.h.
 *
 *     dockerd <── descriptor 3 ── this program <── a pipe ── docker-proxy (its descriptor 3)
 *
 * Both arrows carry the same report: "0\n" for success or "1\nREASON". dockerd waits for it. Later
 * dockerd ends this program by SIGINT; if dockerd dies, its parent-death signal is SIGTERM.
 * docker-proxy gets a pipe of ours and not dockerd's descriptor, so that this program can report to
 * dockerd when docker-proxy exits without a report.
 *
 * Until `serve` there is nothing to undo, and signals have their default action. `serve` blocks
 * signals, adds the port, and reads signals in one loop (wait_for_end). After the loop it always
 * removes the port.
 */
#include "applets/dockerproxy.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/client.h"
#include "applets/versionview.h"
#include "base/array.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/flags.h"
#include "base/log.h"
#include "base/version.h"
#include "formats/ipaddr.h"
#include "formats/json.h"
#include "formats/jsonfield.h"
#include "formats/jsonout.h"
#include "formats/portspec.h"
#include "os/proc.h"
#include "os/signals.h"
#include "os/statedir.h"

#define SIGNALS_TURN 32 /* signals that are handled before other events get their turn */
#define DOCKER_PROXY "docker-proxy"
#define REPORT_FD    3
#define NAME_LEN     64	 /* bytes of a protocol's or driver's name with the NUL */
#define SPEC_LEN     512 /* bytes of a spec's JSON */
#define REPORT_LEN   512 /* bytes of a report that are passed on at once */

#define STATUS_ERROR 1
#define STATUS_USAGE 2 /* compat: Go's flag package */

struct proxy {
	/* The command line. */
	const char *proto;
	const char *host_ip;
	int64_t host_port;
	const char *unused; /* value of options for docker-proxy only */
	bool help;
	bool version;
	char **args; /* docker-proxy's command line; the array is owned, its strings are not */
	size_t arg_count;

	/* From the launcher's /v1/info. */
	char socket_path[PATH_MAX];
	char port_driver[NAME_LEN];    /* "" if there is none */
	char network_driver[NAME_LEN]; /* "" for the host's network */
	char network_ip[PORTSPEC_IP_LEN];
	bool no_loopback; /* the port driver cannot connect to loopback addresses inside */
	bool is_supported;

	char api_proto[NAME_LEN];
	char child_ip[PORTSPEC_IP_LEN];
	int64_t id; /* ID of the port, 0 while it is not published */
	char path[PATH_MAX];
	pid_t docker_proxy; /* 0: not running */
	int report_pipe;    /* reading end of docker-proxy's report pipe; -1 after its end */
	bool has_reported;
	int signals; /* signalfd(2); -1: signals have their default action */
};

/* ---- the command line ---- */

#define FIELD(name) offsetof(struct proxy, name)

static const struct flag flags[] = {
	{ NULL, "proto", NULL, FLAG_STRING, FIELD(proto), "PROTO",
	  "tcp, udp or sctp (default: tcp)" },
	{ NULL, "host-ip", NULL, FLAG_STRING, FIELD(host_ip), "IP", "address on the host" },
	{ NULL, "host-port", NULL, FLAG_INT, FIELD(host_port), "PORT",
	  "port on the host, 1 to 65535" },
	{ NULL, "container-ip", NULL, FLAG_STRING, FIELD(unused), "IP",
	  "address of the container" },
	{ NULL, "container-port", NULL, FLAG_STRING, FIELD(unused), "PORT",
	  "port of the container" },
	{ NULL, "help", "h", FLAG_BOOL, FIELD(help), NULL, "show this help" },
	{ NULL, "version", "v", FLAG_BOOL, FIELD(version), NULL, "show the version" },
	FLAGS_END,
};

static void print_help(FILE *to)
{
	fprintf(to, "Usage: rootlesskit-docker-proxy [OPTIONS]\n"
		    "\n"
		    "Publishes a port of a container through rootlesskit. dockerd calls it, with "
		    "descriptor 3\n"
		    "open for the answer. docker-proxy gets all other options.\n"
		    "\n"
		    "Options:\n");
	for (const struct flag *flag = flags; flag->name != NULL; flag++)
		fprintf(to, "  -%s %-*s %s\n", flag->name, (int)(20 - strlen(flag->name)),
			flag->value != NULL ? flag->value : "", flag->help);
}

static void add_args(struct proxy *p, char *const *words, size_t count)
{
	memcpy(p->args + p->arg_count, words, count * sizeof(*words));
	p->arg_count += count;
}

/* Skips an option that only docker-proxy knows, and its value: the next word, unless that is an
 * option. */
static char *const *skip_foreign(char *const *words)
{
	bool has_value = strchr(words[0], '=') == NULL && words[1] != NULL && words[1][0] != '-';

	return words + 1 + has_value;
}

/* Parses the command line, and collects docker-proxy's in p->args: everything except -host-ip,
 * which is replaced. */
static int read_options(struct proxy *p, char *const *words, struct err *e)
{
	for (;;) {
		char *const *from = words;
		const struct flag *flag;
		const char *value;
		int r = flags_next(flags, &words, &flag, &value, e);

		if (r == 0)
			return 0;
		if (r == -ENOENT)
			words = skip_foreign(from);
		else if (r > 0)
			r = flags_set(p, flag, value, e);
		if (r < 0 && r != -ENOENT)
			return r;
		if (r == -ENOENT || flag->offset != FIELD(host_ip))
			add_args(p, from, (size_t)(words - from));
	}
}

static int parse(struct proxy *p, int argc, char **argv, struct err *e)
{
	static char name[] = DOCKER_PROXY, host_ip[] = "-host-ip";
	char *first[] = { name, host_ip, p->child_ip };

	p->args = calloc((size_t)argc + COUNT_OF(first) + 1, sizeof(*p->args));
	if (p->args == NULL)
		return err_sys(e, ENOMEM, "reading options");
	add_args(p, first, COUNT_OF(first));
	return read_options(p, argv + (argc > 0), e);
}

/* ---- dockerd ---- */

/* If descriptor 3 is not open, no process reads the report. Opens /dev/null there, so that no other
 * file of ours gets the number. */
static int prepare_report(struct err *e)
{
	int r = fd_open_std();

	if (r == 0 && fcntl(REPORT_FD, F_GETFD) < 0 && open("/dev/null", O_WRONLY) != REPORT_FD)
		r = -errno;
	if (r == 0)
		r = fd_set_cloexec(REPORT_FD, true);
	return r < 0 ? err_sys(e, -r, "descriptors") : 0;
}

static int report_failure(const struct err *e, int status)
{
	char words[ERR_LEN + sizeof("1\n")];
	int len = snprintf(words, sizeof(words), "1\n%s", e->msg);

	fd_write_all(REPORT_FD, words, (size_t)len); /* fails if dockerd has exited */
	log_fatal("%s", e->msg);
	return status;
}

/* ---- the launcher ---- */

static int find_socket(struct proxy *p, struct err *e)
{
	const char *dir = getenv("ROOTLESSKIT_STATE_DIR");

	if (dir == NULL || dir[0] == '\0')
		return err_set(
			e, EINVAL,
			"$ROOTLESSKIT_STATE_DIR needs to be set; rootlesskit sets it for "
			"dockerd, which runs this program: try it inside rootlesskit, or set "
			"it to the directory of --state-dir");
	if (strlen(dir) + sizeof("/" STATE_API_SOCKET) > sizeof(p->socket_path))
		return err_sys(e, ENAMETOOLONG, "$ROOTLESSKIT_STATE_DIR");
	statedir_path(dir, STATE_API_SOCKET, p->socket_path);
	return 0;
}

/* Finds out whether the port driver supports p->api_proto, and whether it can connect to loopback
 * addresses inside. */
static int read_port_driver(struct proxy *p, const struct json_doc *doc, struct err *e)
{
	const struct json_node *driver = json_member(doc, &doc->nodes[0], "portDriver");
	const struct json_node *protos = json_member(doc, driver, "protos");
	const struct json_node *flag = json_member(doc, driver, "disallowLoopbackChildIP");
	char proto[NAME_LEN];

	if (driver == NULL || driver->type == JSON_NULL)
		return 0;
	for (const struct json_node *n = json_first(doc, protos); n != NULL;
	     n = json_next(doc, protos, n))
		if (json_get_string(doc, n, proto, sizeof(proto)) >= 0 &&
		    strcmp(proto, p->api_proto) == 0)
			p->is_supported = true;
	json_get_bool(doc, flag, &p->no_loopback);
	return json_field_string(doc, driver, "driver", p->port_driver, sizeof(p->port_driver), e);
}

static int read_network_driver(struct proxy *p, const struct json_doc *doc, struct err *e)
{
	const struct json_node *driver = json_member(doc, &doc->nodes[0], "networkDriver");
	int r;

	if (driver == NULL || driver->type == JSON_NULL)
		return 0;
	r = json_field_string(doc, driver, "driver", p->network_driver, sizeof(p->network_driver),
			      e);
	if (r == 0)
		r = json_field_string(doc, driver, "childIP", p->network_ip, sizeof(p->network_ip),
				      e);
	return r;
}

/* Asks the launcher for its drivers. */
static int ask_info(struct proxy *p, struct err *e)
{
	struct client_answer answer;
	struct json_doc doc;
	int r = client_call(p->socket_path, "GET", "/v1/info", NULL, &answer, e);

	if (r == -EREMOTEIO)
		err_wrap(e, "failed to call info API, probably RootlessKit binary is too old "
			    "(needs to be v0.14.0 or later)");
	else if (r < 0)
		err_wrap(e, "error while connecting to RootlessKit API socket");
	if (r == -ENOENT || r == -ECONNREFUSED)
		err_add(e, "; is the rootlesskit of $ROOTLESSKIT_STATE_DIR running?");
	if (r < 0)
		return r;
	r = json_parse(&doc, answer.body, answer.body_len, e);
	if (r == 0)
		r = read_port_driver(p, &doc, e);
	if (r == 0)
		r = read_network_driver(p, &doc, e);
	if (r < 0)
		err_wrap(e, "failed to call info API");
	client_answer_free(&answer);
	return r;
}

static int read_id(struct proxy *p, const struct client_answer *answer, struct err *e)
{
	struct json_doc doc;
	int r = json_parse(&doc, answer->body, answer->body_len, e);

	if (r == 0)
		r = json_field_int(&doc, &doc.nodes[0], "id", &p->id, e);
	if (r == 0 && p->id <= 0)
		r = err_set(e, EPROTO, "it has no ID");
	return r;
}

/* Publishes the port through the launcher's API, and sets p->id. */
static int add_port(struct proxy *p, struct err *e)
{
	struct client_answer answer = { .buf = NULL };
	char body[SPEC_LEN];
	struct jsonout out;
	int r;

	jsonout_init(&out, body, sizeof(body));
	jsonout_begin_object(&out, NULL);
	jsonout_put_string(&out, "proto", p->api_proto);
	jsonout_put_string(&out, "parentIP", p->host_ip);
	jsonout_put_int(&out, "parentPort", p->host_port);
	jsonout_put_int(&out, "childPort", p->host_port);
	jsonout_put_string(&out, "childIP", p->child_ip);
	jsonout_end_object(&out);
	r = out.overflow ? err_set(e, EMSGSIZE, "invalid ParentIP: it is too long")
			 : client_call(p->socket_path, "POST", "/v1/ports", body, &answer, e);
	if (r == 0)
		r = read_id(p, &answer, e);
	client_answer_free(&answer);
	if (r < 0)
		err_wrap(e, "error while calling PortManager.AddPort()");
	return r;
}

static void remove_port(const struct proxy *p)
{
	char target[sizeof("/v1/ports/-9223372036854775808")];
	struct client_answer answer;
	struct err e;

	if (p->id == 0)
		return;
	snprintf(target, sizeof(target), "/v1/ports/%lld", (long long)p->id);
	if (client_call(p->socket_path, "DELETE", target, NULL, &answer, &e) < 0)
		log_warn("error while calling PortManager.RemovePort(): %s", e.msg);
	else
		client_answer_free(&answer);
}

/* ---- the port ---- */

/* Chooses the address family by the host IP, for the protocol (unless its name has a family) and
 * for the child IP. */
static int choose_family(struct proxy *p, struct err *e)
{
	size_t len = strlen(p->proto);
	bool is_explicit = len > 0 && (p->proto[len - 1] == '4' || p->proto[len - 1] == '6');
	struct ipaddr ip;
	bool is_v6 = ipaddr_parse(&ip, p->host_ip) == 0 && ip.family == AF_INET6;

	if (len + sizeof("4") > sizeof(p->api_proto))
		return err_set(e, EINVAL, "unknown proto: \"%s\"", p->proto);
	snprintf(p->api_proto, sizeof(p->api_proto), "%s%s", p->proto,
		 is_explicit ? ""
		 : is_v6     ? "6"
			     : "4");
	strcpy(p->child_ip, is_v6 ? "::1" : "127.0.0.1");
	return 0;
}

static int choose_child_ip(struct proxy *p, struct err *e)
{
	if (!p->no_loopback)
		return 0;
	if (p->network_ip[0] == '\0')
		return err_set(e, EINVAL,
			       "port driver (\"%s\") does not allow loopback child IP, but network "
			       "driver (\"%s\") has no non-loopback IP",
			       p->port_driver, p->network_driver);
	strcpy(p->child_ip, p->network_ip);
	return 0;
}

/* compat: reports success for a port that is not supported, so that the container runs. */
static int skip_port(const struct proxy *p)
{
	log_warn("protocol \"%s\" is not supported by the RootlessKit port driver \"%s\", "
		 "discarding request for \"%s:%lld\"",
		 p->api_proto, p->port_driver, p->host_ip, (long long)p->host_port);
	fd_write_all(REPORT_FD, "0\n", sizeof("0\n") - 1);
	return 0;
}

/* ---- docker-proxy ---- */

static int find_docker_proxy(struct proxy *p, struct err *e)
{
	int r = proc_find(DOCKER_PROXY, p->path, sizeof(p->path), e);

	if (r == -ENOENT)
		err_add(e, "; it comes with Docker (Debian: package docker.io): add its directory "
			   "to $PATH of dockerd");
	if (r < 0)
		err_wrap(e, "error while starting " DOCKER_PROXY);
	return r;
}

/* Without a port driver docker-proxy does everything, with our command line. Returns only on
 * failure. */
static int become_docker_proxy(const struct proxy *p, char **argv, struct err *e)
{
	argv[0] = p->args[0];
	fd_set_cloexec(REPORT_FD, false);
	execv(p->path, argv);
	return err_sys(e, errno, "error while starting " DOCKER_PROXY ": exec %s", p->path);
}

static int start_docker_proxy(struct proxy *p, struct err *e)
{
	struct proc_spec spec = PROC_SPEC_INIT;
	struct proc_fd report = { .to = REPORT_FD };
	int pipe_fds[2];
	int r;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return err_sys(e, errno, "error while starting " DOCKER_PROXY ": pipe");
	p->report_pipe = pipe_fds[0];
	report.from = pipe_fds[1];
	spec.path = p->path;
	spec.argv = p->args;
	spec.fds = &report;
	spec.fd_count = 1;
	spec.die_with_us = true;
	r = fd_set_nonblock(p->report_pipe);
	r = r < 0 ? err_sys(e, -r, "fcntl") : proc_spawn(&spec, e);
	close(pipe_fds[1]);
	if (r < 0) {
		err_wrap(e, "error while starting " DOCKER_PROXY);
		return r;
	}
	p->docker_proxy = r;
	return 0;
}

/* Passes docker-proxy's report on to dockerd. Does not block. */
static void pass_on_report(struct proxy *p)
{
	char text[REPORT_LEN];
	ssize_t n;

	while (p->report_pipe >= 0 && (n = read(p->report_pipe, text, sizeof(text))) != 0) {
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			break;
		p->has_reported = true;
		fd_write_all(REPORT_FD, text, (size_t)n);
	}
	fd_close(&p->report_pipe);
}

/* Returns 1 if docker-proxy still runs. If it has exited, reaps it, passes the rest of its report
 * on, sets *status to its wait status, and returns -ECHILD with a reason. */
static int check_docker_proxy(struct proxy *p, int *status, struct err *e)
{
	char text[64];

	if (waitpid(p->docker_proxy, status, WNOHANG) != p->docker_proxy)
		return 1;
	p->docker_proxy = 0;
	pass_on_report(p);
	return err_set(e, ECHILD, DOCKER_PROXY " ended: %s",
		       proc_status_text(*status, text, sizeof(text)));
}

/* Kills docker-proxy. If kill(2) is denied, its parent-death signal ends it when we exit. */
static void end_docker_proxy(const struct proxy *p)
{
	char why[128];
	int r = p->docker_proxy > 0 ? proc_end(p->docker_proxy, false) : 0;

	if (r < 0)
		log_error("killing " DOCKER_PROXY ": %s", err_text(-r, why, sizeof(why)));
}

static bool is_told_to_end(int signo)
{
	return signo == SIGINT || signo == SIGTERM || signals_is_fatal(signo);
}

/* Waits until a signal tells us to end, and returns 0; or until docker-proxy has exited, and
 * returns -errno with a reason, and its wait status in *status. */
static int wait_for_end(struct proxy *p, int *status, struct err *e)
{
	for (;;) {
		struct pollfd polls[] = { { .fd = p->signals, .events = POLLIN },
					  { .fd = p->report_pipe, .events = POLLIN } };
		struct signalfd_siginfo info;
		int r = 1;

		if (poll(polls, 2, -1) < 0)
			continue;
		pass_on_report(p);
		for (int i = 0; r > 0 && i < SIGNALS_TURN; i++) {
			if (read(p->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
				break;
			if (info.ssi_signo == SIGCHLD)
				r = check_docker_proxy(p, status, e);
			else if (is_told_to_end((int)info.ssi_signo))
				r = 0;
		}
		if (r <= 0)
			return r;
	}
}

/* ---- the applet ---- */

static int publish(struct proxy *p, int *status, struct err *e)
{
	int r = add_port(p, e);

	if (r == 0)
		r = start_docker_proxy(p, e);
	if (r == 0)
		r = wait_for_end(p, status, e);
	return r;
}

/* Publishes the port, waits for the end, and removes the port. Returns the exit status. */
static int serve(struct proxy *p, struct err *e)
{
	int status = 0; /* docker-proxy's wait status, if it exited before we killed it */
	int r;

	p->signals = signals_block();
	if (p->signals < 0) {
		err_sys(e, -p->signals, "taking over signals");
		return report_failure(e, STATUS_ERROR);
	}
	r = publish(p, &status, e);
	end_docker_proxy(p);
	remove_port(p);
	fd_close(&p->report_pipe);
	fd_close(&p->signals);
	if (r == 0)
		return 0;
	if (!p->has_reported)
		return report_failure(e, status != 0 ? proc_exit_code(status) : STATUS_ERROR);
	log_fatal("%s", e->msg);
	return proc_exit_code(status);
}

static int run(struct proxy *p, char **argv, struct err *e)
{
	int r = find_socket(p, e);

	if (r == 0)
		r = choose_family(p, e);
	if (r == 0)
		r = ask_info(p, e);
	if (r == 0 && p->port_driver[0] != '\0' && !p->is_supported)
		return skip_port(p);
	if (r == 0)
		r = choose_child_ip(p, e);
	if (r == 0)
		r = find_docker_proxy(p, e);
	if (r == 0 && p->port_driver[0] == '\0')
		r = become_docker_proxy(p, argv, e);
	return r < 0 ? report_failure(e, STATUS_ERROR) : serve(p, e);
}

int dockerproxy_main(int argc, char **argv)
{
	struct proxy p = {
		.proto = "tcp", .host_ip = "", .host_port = -1, .report_pipe = -1, .signals = -1
	};
	struct err e;
	int status = 0;
	int r;

	log_init(DOCKER_PROXY, false);
	r = prepare_report(&e);
	if (r == 0)
		r = parse(&p, argc, argv, &e);
	if (r < 0) {
		status = report_failure(&e, STATUS_USAGE);
		print_help(stderr);
	} else if (p.help) {
		print_help(stdout);
	} else if (p.version) {
		versionview_print("rootlesskit-docker-proxy version " COMPAT_VERSION);
	} else {
		status = run(&p, argv, &e);
	}
	free(p.args);
	return status;
}
