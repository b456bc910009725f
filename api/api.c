/* SPDX-License-Identifier: Apache-2.0 */
/* The REST API: its routes and their answers. See api.h; httpd.h is the server. */
#include "api/api.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "api/httpd.h"
#include "base/array.h"
#include "base/version.h"
#include "formats/http.h"
#include "formats/httpout.h"
#include "formats/json.h"
#include "formats/jsonout.h"

#define PORT_JSON_MAX 512 /* bytes of a port's JSON; with the longest addresses it has 190 */
#define INFO_JSON_MAX (PATH_MAX * 6 + 1024) /* bytes; a path, every byte escaped */

struct api {
	struct httpd *httpd;
	char *info; /* body of GET /v1/info, which never changes; owned */
	struct ports *ports;
};

/* ---- bodies ---- */

/* compat: RootlessKit answers every failure with status 400, and labels its JSON body as plain
 * text. */
static void answer_error(struct httpd_answer *a, const struct err *why)
{
	char text[ERR_LEN * 6 + 32];
	struct jsonout out;

	jsonout_init(&out, text, sizeof(text) - 1);
	jsonout_begin_object(&out, NULL);
	jsonout_put_string(&out, "message", why->msg);
	jsonout_end_object(&out);
	strcat(text, "\n");
	httpd_answer_text(a, 400, HTTPOUT_TEXT, text);
}

static void answer_not_found(struct httpd_answer *a)
{
	a->nosniff = true;
	httpd_answer_text(a, 404, HTTPOUT_TEXT, "404 page not found\n");
}

static void answer_wrong_method(struct httpd_answer *a, const char *allow)
{
	a->allow = allow;
	a->nosniff = true;
	httpd_answer_text(a, 405, HTTPOUT_TEXT, "Method Not Allowed\n");
}

static void answer_no_driver(struct httpd_answer *a)
{
	struct err why;

	err_set(&why, ENODEV, "no PortDriver is available");
	answer_error(a, &why);
}

/* Allocates a body of `cap` bytes for a JSON text. Returns false if out of memory. */
static bool begin_json(struct httpd_answer *a, struct jsonout *out, size_t cap)
{
	a->body = malloc(cap);
	if (a->body == NULL)
		return false;
	jsonout_init(out, a->body, cap);
	return true;
}

static void end_json(struct httpd_answer *a, const struct jsonout *out, int status)
{
	a->status = out->overflow ? 500 : status;
	a->type = HTTPOUT_JSON;
	a->body_len = out->overflow ? 0 : out->len;
}

static void put_port(struct jsonout *out, const struct port_entry *entry)
{
	jsonout_begin_object(out, NULL);
	jsonout_put_int(out, "id", entry->id);
	portspec_to_json(&entry->spec, out, "spec");
	jsonout_end_object(out);
}

/* ---- routes ---- */

static void put_network(struct jsonout *out, const struct api_info *info)
{
	jsonout_begin_object(out, "networkDriver");
	jsonout_put_string(out, "driver", info->network_driver);
	if (info->dns[0] != NULL) {
		jsonout_begin_array(out, "dns");
		for (size_t i = 0; info->dns[i] != NULL; i++)
			jsonout_put_string(out, NULL, info->dns[i]);
		jsonout_end_array(out);
	}
	if (info->child_ip != NULL)
		jsonout_put_string(out, "childIP", info->child_ip);
	if (info->dynamic_child_ip)
		jsonout_put_bool(out, "dynamicChildIP", true);
	if (info->ipv6)
		jsonout_put_bool(out, "ipv6", true);
	jsonout_end_object(out);
}

static void put_port_driver(struct jsonout *out, const struct api_info *info,
			    const struct ports *ports)
{
	const char *backend = ports_source_ip_backend(ports);

	jsonout_begin_object(out, "portDriver");
	jsonout_put_string(out, "driver", info->port_driver);
	jsonout_begin_array(out, "protos");
	for (const char *const *proto = ports_protos(ports); *proto != NULL; proto++)
		jsonout_put_string(out, NULL, *proto);
	jsonout_end_array(out);
	if (ports_disallows_loopback(ports))
		jsonout_put_bool(out, "disallowLoopbackChildIP", true);
	if (backend != NULL) {
		jsonout_begin_object(out, "extra");
		jsonout_put_string(out, "sourceIPTransparentBackend", backend);
		jsonout_end_object(out);
	}
	jsonout_end_object(out);
}

/* Returns the body of GET /v1/info, which the caller frees, or NULL if out of memory. */
static char *info_to_json(const struct api_info *info, const struct ports *ports)
{
	char *text = malloc(INFO_JSON_MAX);
	struct jsonout out;

	if (text == NULL)
		return NULL;
	jsonout_init(&out, text, INFO_JSON_MAX);
	jsonout_begin_object(&out, NULL);
	jsonout_put_string(&out, "apiVersion", API_VERSION);
	jsonout_put_string(&out, "version", COMPAT_VERSION);
	jsonout_put_string(&out, "stateDir", info->state_dir);
	jsonout_put_int(&out, "childPID", info->child_pid);
	if (info->network_driver != NULL)
		put_network(&out, info);
	if (info->port_driver != NULL)
		put_port_driver(&out, info, ports);
	jsonout_end_object(&out);
	return text;
}

static void get_info(struct api *api, const struct http_request *req, struct httpd_answer *a)
{
	(void)req;
	httpd_answer_text(a, 200, HTTPOUT_JSON, api->info);
}

static void get_ports(struct api *api, const struct http_request *req, struct httpd_answer *a)
{
	struct jsonout out;
	size_t count = ports_count(api->ports);

	(void)req;
	if (!begin_json(a, &out, count * PORT_JSON_MAX + sizeof("[]")))
		return;
	jsonout_begin_array(&out, NULL);
	for (size_t i = 0; i < count; i++)
		put_port(&out, ports_at(api->ports, i));
	jsonout_end_array(&out);
	end_json(a, &out, 200);
}

static void post_port(struct api *api, const struct http_request *req, struct httpd_answer *a)
{
	struct port_entry entry = { 0 };
	struct json_doc doc;
	struct jsonout out;
	struct err why;
	int r = json_parse(&doc, req->body, req->body_len, &why);

	if (r == 0)
		r = portspec_from_json(&entry.spec, &doc, &doc.nodes[0], &why);
	if (r == 0)
		r = entry.id = ports_add(api->ports, &entry.spec, &why);
	if (r < 0) {
		answer_error(a, &why);
		return;
	}
	if (!begin_json(a, &out, PORT_JSON_MAX))
		return;
	put_port(&out, &entry);
	end_json(a, &out, 201);
}

static void delete_port(struct api *api, const struct http_request *req, struct httpd_answer *a)
{
	const char *text = strrchr(req->path, '/') + 1;
	struct err why;
	long long id;
	int r = port_id_parse(&id, text, &why);

	if (r < 0)
		err_wrap(&why, "bad id %s", text);
	else if (id < INT_MIN || id > INT_MAX)
		r = err_set(&why, ENOENT, "unknown id: %lld", id);
	else
		r = ports_remove(api->ports, (int)id, &why);
	if (r < 0)
		answer_error(a, &why);
	else
		a->status = 200;
}

static const struct route {
	const char *path;
	bool with_id;	   /* `path` is followed by an ID */
	const char *allow; /* all methods of this path, sorted */
	const char *method;
	bool needs_ports;
	void (*run)(struct api *api, const struct http_request *req, struct httpd_answer *a);
} routes[] = {
	{ "/v1/info", false, "GET, HEAD", "GET", false, get_info },
	{ "/v1/ports", false, "GET, HEAD, POST", "GET", true, get_ports },
	{ "/v1/ports", false, "GET, HEAD, POST", "POST", true, post_port },
	{ "/v1/ports/", true, "DELETE", "DELETE", true, delete_port },
};

static bool matches(const struct route *route, const char *path)
{
	size_t len = strlen(route->path);

	if (!route->with_id)
		return strcmp(path, route->path) == 0;
	return strncmp(path, route->path, len) == 0 && path[len] != '\0' &&
	       strchr(path + len, '/') == NULL;
}

/* HEAD is answered wherever GET is; the server leaves out the body. */
static bool accepts(const struct route *route, const char *method)
{
	return strcmp(route->method, strcmp(method, "HEAD") == 0 ? "GET" : method) == 0;
}

static void on_request(void *arg, const struct http_request *req, struct httpd_answer *a)
{
	struct api *api = arg;
	const char *allow = NULL;

	for (size_t i = 0; i < COUNT_OF(routes); i++) {
		const struct route *route = &routes[i];

		if (!matches(route, req->path))
			continue;
		allow = route->allow;
		if (!accepts(route, req->method))
			continue;
		if (route->needs_ports && api->ports == NULL)
			answer_no_driver(a);
		else
			route->run(api, req, a);
		return;
	}
	if (allow != NULL)
		answer_wrong_method(a, allow);
	else
		answer_not_found(a);
}

/* ---- start and stop ---- */

int api_new(struct api **out, struct loop *loop, const char *path, const struct api_info *info,
	    struct ports *ports, struct err *e)
{
	struct api *api = calloc(1, sizeof(*api));
	char *text = info_to_json(info, ports);
	int r;

	if (api == NULL || text == NULL) {
		free(api);
		free(text);
		return err_sys(e, ENOMEM, "starting the API");
	}
	*api = (struct api){ .info = text, .ports = ports };
	r = httpd_new(&api->httpd, loop, path, on_request, api, e);
	if (r < 0)
		api_free(api);
	else
		*out = api;
	return r;
}

void api_free(struct api *api)
{
	if (api == NULL)
		return;
	httpd_free(api->httpd);
	free(api->info);
	free(api);
}
