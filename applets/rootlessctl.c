/* SPDX-License-Identifier: Apache-2.0 */
/* The applet rootlessctl. See rootlessctl.h.
 *
 * Commands and options are tables; the command line is parsed by them, and the help is printed from
 * them. Options come before the command, or between the command and its arguments.
 *
 * All arguments are checked before the first request. Requests are made one after the other, and
 * each result is printed at once: after an error the user sees what has been done, and it stays
 * done.
 */
#include "applets/rootlessctl.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/client.h"
#include "applets/ctlview.h"
#include "applets/versionview.h"
#include "base/array.h"
#include "base/err.h"
#include "base/flags.h"
#include "base/text.h"
#include "base/version.h"
#include "formats/jsonout.h"
#include "formats/portspec.h"
#include "os/statedir.h"

#define STATUS_ERROR	1
#define STATUS_NO_TOPIC 3 /* compat: 3.0.1 */

#define PORTS	 "/v1/ports"
#define INFO	 "/v1/info"
#define SPEC_LEN 512 /* bytes of a spec's JSON: two addresses, two ports, a protocol, the names */

struct ctl {
	bool debug; /* compat: 3.0.1 accepts it; without effect */
	bool json;
	bool help;
	bool version;
	const char *socket; /* as given; NULL or "" for the default */
	char *socket_path;  /* owned */
};

#define FIELD(name) offsetof(struct ctl, name)

#define HELP_FLAG                                                                 \
	{                                                                         \
		NULL, "help", "h", FLAG_BOOL, FIELD(help), NULL, "show this help" \
	}

#define SOCKET_FLAG                                                                   \
	{                                                                             \
		NULL, "socket", NULL, FLAG_STRING, FIELD(socket), "PATH",             \
			"the API's socket (default: $ROOTLESSKIT_STATE_DIR/api.sock)" \
	}
#define DEBUG_FLAG                                                  \
	{                                                           \
		NULL, "debug", NULL, FLAG_BOOL, FIELD(debug), NULL, \
			"accepted for compatibility; has no effect" \
	}
#define JSON_FLAG                                                              \
	{                                                                      \
		NULL, "json", NULL, FLAG_BOOL, FIELD(json), NULL, "print JSON" \
	}

static const struct flag global_flags[] = {
	SOCKET_FLAG,
	DEBUG_FLAG,
	JSON_FLAG,
	HELP_FLAG,
	{ NULL, "version", "v", FLAG_BOOL, FIELD(version), NULL, "show the version" },
	FLAGS_END,
};
static const struct flag json_flags[] = { JSON_FLAG, SOCKET_FLAG, DEBUG_FLAG, HELP_FLAG,
					  FLAGS_END };
static const struct flag plain_flags[] = { SOCKET_FLAG, DEBUG_FLAG, HELP_FLAG, FLAGS_END };

struct command {
	const char *name;
	const char *alias; /* NULL if none */
	const char *args;  /* for the usage line */
	const char *summary;
	const char *details; /* more lines of the help, or NULL */
	const struct flag *flags;
	/* Carries the command out. `args` is NULL-terminated. Returns 0 or -errno with a reason.
	 * NULL: the command is "help". */
	int (*run)(struct ctl *ctl, char *const *args, struct err *e);
};

static int list_ports(struct ctl *ctl, char *const *args, struct err *e);
static int add_ports(struct ctl *ctl, char *const *args, struct err *e);
static int remove_ports(struct ctl *ctl, char *const *args, struct err *e);
static int show_info(struct ctl *ctl, char *const *args, struct err *e);

static const struct command commands[] = {
	{ "list-ports", NULL, "", "show the published ports", NULL, json_flags, list_ports },
	{ "add-ports", NULL, " SPEC...", "publish ports, and print their IDs",
	  "SPEC is " PORTSPEC_FORM ":\n" PORTSPEC_EXAMPLE
	  " publishes port 80 inside as port 8080 of the host's loopback\n"
	  "address, :8080:80/tcp as port 8080 of all its addresses. PROTO is tcp, tcp4, tcp6,\n"
	  "udp, udp4 or udp6. IPv6 addresses stand in brackets.\n",
	  json_flags, add_ports },
	{ "remove-ports", NULL, " ID...", "stop publishing ports", "list-ports shows the IDs.\n",
	  plain_flags, remove_ports },
	{ "info", NULL, "", "show how rootlesskit is set up", NULL, json_flags, show_info },
	{ "help", "h", " [COMMAND]", "show this help, or that of a command", NULL, plain_flags,
	  NULL },
};

/* ---- help ---- */

static void print_flags(const struct flag *flag)
{
	printf("\nOptions:\n");
	for (; flag->name != NULL; flag++) {
		char left[64];

		snprintf(left, sizeof(left), "--%s%s%s%s%s", flag->name,
			 flag->value != NULL ? " " : "", flag->value != NULL ? flag->value : "",
			 flag->alias != NULL ? ", -" : "", flag->alias != NULL ? flag->alias : "");
		printf("  %-22s %s\n", left, flag->help);
	}
}

static void print_main_help(void)
{
	printf("Usage: rootlessctl [OPTIONS] COMMAND [ARGUMENTS]\n"
	       "\n"
	       "Controls a running rootlesskit through its API socket.\n"
	       "rlkbox %s, compatible with RootlessKit %s.%s.%s.\n"
	       "\n"
	       "Commands:\n",
	       RLKBOX_VERSION, COMPAT_MAJOR, COMPAT_MINOR, COMPAT_PATCH);
	for (size_t i = 0; i < COUNT_OF(commands); i++) {
		char left[64];

		snprintf(left, sizeof(left), "%s%s", commands[i].name, commands[i].args);
		printf("  %-22s %s\n", left, commands[i].summary);
	}
	print_flags(global_flags);
}

/* Prints the help of a command; of the program if `cmd` is NULL or "help". */
static void print_help(const struct command *cmd)
{
	if (cmd == NULL || cmd->run == NULL) {
		print_main_help();
		return;
	}
	printf("Usage: rootlessctl %s [OPTIONS]%s\n"
	       "\n"
	       "%c%s.\n",
	       cmd->name, cmd->args, cmd->summary[0] - 'a' + 'A', cmd->summary + 1);
	if (cmd->details != NULL)
		printf("\n%s", cmd->details);
	print_flags(cmd->flags);
}

/* ---- the command line ---- */

static bool is_named(const char *name, const char *alias, const char *text)
{
	return strcmp(name, text) == 0 || (alias != NULL && strcmp(alias, text) == 0);
}

static const struct command *find_command(const char *text)
{
	for (size_t i = 0; i < COUNT_OF(commands); i++) {
		if (is_named(commands[i].name, commands[i].alias, text))
			return &commands[i];
	}
	return NULL;
}

/* Sets the reason for a missing --socket, and suggests sockets that exist in the usual places. */
static int no_socket(struct err *e)
{
	static const char *const dirs[] = { "dockerd-rootless", "containerd-rootless" };
	const char *run = getenv("XDG_RUNTIME_DIR");
	bool found = false;

	err_set(e, EINVAL, "please specify --socket or set $ROOTLESSKIT_STATE_DIR");
	for (size_t i = 0; run != NULL && i < COUNT_OF(dirs); i++) {
		char path[PATH_MAX];

		snprintf(path, sizeof(path), "%s/%s/" STATE_API_SOCKET, run, dirs[i]);
		if (access(path, F_OK) < 0)
			continue;
		err_add(e, "%s--socket=%s", found ? ", or " : "; try ", path);
		found = true;
	}
	if (!found)
		err_add(e,
			"; the socket is DIR/" STATE_API_SOCKET " of rootlesskit --state-dir=DIR");
	return -EINVAL;
}

/* Appends why the request failed, or why the socket cannot be used. `reason` is the -errno of the
 * failure. */
static void explain_failure(const char *path, int reason, struct err *e)
{
	struct stat st;

	if (strcmp(e->msg, "no PortDriver is available") == 0)
		err_add(e, "; rootlesskit runs without a driver that adds ports, such as "
			   "--port-driver=builtin");
	/* Other errors are not about the socket. */
	if (strncmp(e->msg, "stat ", strlen("stat ")) != 0 &&
	    strstr(e->msg, ": dial unix ") == NULL)
		return;
	if (strstr(path, "://") != NULL)
		err_add(e, "; --socket takes a path, such as %s", strstr(path, "://") + 3);
	else if (reason == -ENOENT)
		err_add(e, "; is rootlesskit running? Its socket is DIR/" STATE_API_SOCKET
			   " of --state-dir=DIR");
	else if (stat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
		err_add(e, "; it is not a socket%s",
			S_ISDIR(st.st_mode) ? " but a directory: add /" STATE_API_SOCKET : "");
	else if (reason == -ECONNREFUSED)
		err_add(e, "; the rootlesskit that listened there has ended");
	else if (reason == -EACCES)
		err_add(e, "; only the user who runs rootlesskit may use its socket");
}

/* Sets ctl->socket_path. */
static int find_socket(struct ctl *ctl, struct err *e)
{
	const char *dir = getenv("ROOTLESSKIT_STATE_DIR");
	size_t len;

	if (ctl->socket != NULL && ctl->socket[0] != '\0') {
		ctl->socket_path = strdup(ctl->socket);
		return ctl->socket_path != NULL ? 0 : err_sys(e, ENOMEM, "--socket");
	}
	if (dir == NULL || dir[0] == '\0')
		return no_socket(e);
	len = strlen(dir);
	while (len > 0 && dir[len - 1] == '/')
		len--;
	if (asprintf(&ctl->socket_path, "%.*s/" STATE_API_SOCKET, (int)len, dir) < 0) {
		ctl->socket_path = NULL;
		return err_sys(e, ENOMEM, "$ROOTLESSKIT_STATE_DIR");
	}
	return 0;
}

/* ---- commands ---- */

/* Like client_call. compat: arguments are checked before the socket is looked up. */
static int call(struct ctl *ctl, const char *method, const char *target, const char *body,
		struct client_answer *answer, struct err *e)
{
	int r = ctl->socket_path == NULL ? find_socket(ctl, e) : 0;

	return r < 0 ? r : client_call(ctl->socket_path, method, target, body, answer, e);
}

/* Sends a GET request and prints the answer. */
static int get(struct ctl *ctl, const char *target,
	       int (*view)(FILE *out, const char *json, size_t len, bool as_json, struct err *e),
	       struct err *e)
{
	struct client_answer answer = { .buf = NULL };
	int r = call(ctl, "GET", target, NULL, &answer, e);

	if (r < 0)
		return r;
	r = view(stdout, answer.body, answer.body_len, ctl->json, e);
	client_answer_free(&answer);
	return r;
}

/* compat: 3.0.1 ignores arguments here and in show_info. */
static int list_ports(struct ctl *ctl, char *const *args, struct err *e)
{
	(void)args;
	return get(ctl, PORTS, ctlview_ports, e);
}

static int show_info(struct ctl *ctl, char *const *args, struct err *e)
{
	(void)args;
	return get(ctl, INFO, ctlview_info, e);
}

static int add_port(struct ctl *ctl, const struct portspec *spec, struct err *e)
{
	struct client_answer answer = { .buf = NULL };
	char body[SPEC_LEN];
	struct jsonout out;
	int r;

	jsonout_init(&out, body, sizeof(body));
	portspec_to_json(spec, &out, NULL);
	if (out.overflow)
		return err_set(e, EMSGSIZE, "the port spec is too long");
	r = call(ctl, "POST", PORTS, body, &answer, e);
	if (r < 0)
		return r;
	r = ctlview_port(stdout, answer.body, answer.body_len, ctl->json, e);
	fflush(stdout); /* the next port may take a while */
	client_answer_free(&answer);
	return r;
}

/* Appends the arguments that were not carried out, unless the command had only one. */
static void tell_what_is_left(const char *what, char *const *args, bool is_only, struct err *e)
{
	if (is_only)
		return;
	err_add(e, "; %s:", what);
	for (; *args != NULL; args++)
		err_add(e, " %s", *args);
}

static int add_ports(struct ctl *ctl, char *const *args, struct err *e)
{
	bool is_only = args[0] != NULL && args[1] == NULL;
	struct portspec spec;
	int r = 0;

	if (*args == NULL)
		return err_set(e, EINVAL,
			       "no port specified; try rootlessctl add-ports " PORTSPEC_EXAMPLE);
	for (char *const *arg = args; r == 0 && *arg != NULL; arg++)
		r = portspec_parse(&spec, *arg, e);
	for (; r == 0 && *args != NULL; args++) {
		r = portspec_parse(&spec, *args, e);
		if (r == 0)
			r = add_port(ctl, &spec, e);
		if (r < 0)
			break;
	}
	if (r < 0)
		tell_what_is_left("not added", args, is_only, e);
	return r;
}

/* Each port driver has its own words for it. */
static bool is_unknown_id(const char *reason)
{
	static const char *const words[] = { "unknown id: ", "invalid ID: ",
					     "remove_hostfwd: bad arguments.id]: " };

	for (size_t i = 0; i < COUNT_OF(words); i++)
		if (strstr(reason, words[i]) != NULL)
			return true;
	return false;
}

static int remove_port(struct ctl *ctl, long long id, struct err *e)
{
	char target[sizeof(PORTS) + sizeof("/-9223372036854775808")];
	struct client_answer answer = { .buf = NULL };
	int r;

	snprintf(target, sizeof(target), PORTS "/%lld", id);
	r = call(ctl, "DELETE", target, NULL, &answer, e);
	if (r < 0) {
		if (is_unknown_id(e->msg))
			err_add(e, "; `rootlessctl list-ports` shows the IDs");
		return r;
	}
	client_answer_free(&answer);
	printf("%lld\n", id);
	fflush(stdout);
	return 0;
}

static int remove_ports(struct ctl *ctl, char *const *args, struct err *e)
{
	bool is_only = args[0] != NULL && args[1] == NULL;
	long long id = 0;
	int r = 0;

	if (*args == NULL)
		return err_set(e, EINVAL,
			       "no ID specified; `rootlessctl list-ports` shows the IDs");
	for (char *const *arg = args; r == 0 && *arg != NULL; arg++)
		r = port_id_parse(&id, *arg, e);
	for (; r == 0 && *args != NULL; args++) {
		r = port_id_parse(&id, *args, e);
		if (r == 0)
			r = remove_port(ctl, id, e);
		if (r < 0)
			break;
	}
	if (r < 0)
		tell_what_is_left("not removed", args, is_only, e);
	return r;
}

/* ---- the applet ---- */

/* Called at the end of the applet, however it ends: prints the error, if `r` is one. Returns the
 * exit status. */
static int finish(struct err *e, int r)
{
	if ((fflush(stdout) != 0 || ferror(stdout)) && r == 0)
		r = err_sys(e, errno, "write to standard output");
	if (r == 0)
		return 0;
	ctlview_clean(e->msg);
	fprintf(stderr, "error: %s\n", e->msg);
	return STATUS_ERROR;
}

/* Called for an error in the command line. `cmd` is NULL if the error is in front of the command.
 */
static int finish_with_usage(struct err *e, int r, const struct command *cmd)
{
	char name[64];

	snprintf(name, sizeof(name), "rootlessctl%s%s", cmd != NULL ? " " : "",
		 cmd != NULL ? cmd->name : "");
	flags_complain(name, e);
	return finish(e, r);
}

/* Reports an unknown command or help topic, and suggests a similar one, or lists all. */
static int no_topic(const char *name)
{
	const struct text word = { name, strlen(name) };
	const char *guess = NULL;
	struct err e = { "" };

	err_set(&e, ENOENT, "No help topic for '%s'", name);
	for (size_t i = 0; i < COUNT_OF(commands) && guess == NULL; i++)
		if (text_typing_errors(word, commands[i].name) >= 0)
			guess = commands[i].name;
	if (guess != NULL)
		err_add(&e, "; did you mean %s?", guess);
	else if (strcmp(name, "version") == 0)
		err_add(&e, "; did you mean --version?");
	else
		err_add(&e,
			"; did you mean one of list-ports, add-ports, remove-ports, info, help?");
	ctlview_clean(e.msg);
	fprintf(stderr, "%s\n", e.msg);
	return STATUS_NO_TOPIC;
}

static int finish_help_command(struct err *e, char *const *args)
{
	const struct command *topic = *args != NULL ? find_command(*args) : NULL;

	if (*args != NULL && topic == NULL)
		return no_topic(*args);
	print_help(topic);
	return finish(e, 0);
}

/* Runs one command. `argv` are the words after its name. */
static int run_command(struct ctl *ctl, const struct command *cmd, char *const *argv)
{
	struct err e = { "" };
	int r = flags_read(cmd->flags, &argv, ctl, &e);

	if (r < 0)
		return finish_with_usage(&e, r, cmd);
	if (ctl->help) {
		print_help(cmd);
		return finish(&e, 0);
	}
	if (cmd->run == NULL)
		return finish_help_command(&e, argv);
	/* compat: in 3.0.1 each command has a subcommand "help" */
	if (*argv != NULL && is_named("help", "h", *argv)) {
		print_help(cmd);
		return finish(&e, 0);
	}
	r = cmd->run(ctl, argv, &e);
	if (ctl->socket_path != NULL)
		explain_failure(ctl->socket_path, r, &e);
	free(ctl->socket_path);
	return finish(&e, r);
}

int rootlessctl_main(int argc, char **argv)
{
	struct ctl ctl = { .debug = false };
	char *const *words = argv + (argc > 0);
	const struct command *cmd;
	struct err e = { "" };
	int r = flags_read(global_flags, &words, &ctl, &e);

	if (r < 0)
		return finish_with_usage(&e, r, NULL);
	if (ctl.version && !ctl.help) {
		versionview_print("rootlessctl version " COMPAT_VERSION);
		return finish(&e, 0);
	}
	if (!ctl.help && *words == NULL && ctl.socket != NULL && find_command(ctl.socket) != NULL) {
		r = err_set(&e, EINVAL,
			    "--socket took the command %s as its value; try --socket=SOCKET %s",
			    ctl.socket, ctl.socket);
		return finish(&e, r);
	}
	if (ctl.help || *words == NULL || **words == '\0') {
		print_help(NULL);
		return finish(&e, 0);
	}
	cmd = find_command(*words);
	return cmd != NULL ? run_command(&ctl, cmd, words + 1) : no_topic(*words);
}
