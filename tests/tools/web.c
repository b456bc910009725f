/* SPDX-License-Identifier: Apache-2.0 */

/* A minimal web server and client that show what a published port does, for tests/demo.sh.
 *
 *     web serve IP PORT        answers each request with a page that describes the server and its
 *                              client; one client at a time. Prints "listening on IP:PORT" when it
 *                              is ready, and exits with status 0 on SIGTERM
 *     web get IP PORT [PATH]   prints the body of a page; fails unless the status is 200. Does not
 *                              retry a refused connection
 */
#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define TIMEOUT_S 10 /* timeout of each blocking socket call */

static void die(const char *what, const char *why)
{
	fprintf(stderr, "web: %s: %s\n", what, why);
	exit(1);
}

/* Opens a TCP socket, and sets *found to the address of `ip` and `port`. */
static int open_socket(const char *ip, const char *port, struct addrinfo **found)
{
	const struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
					.ai_socktype = SOCK_STREAM };
	const struct timeval timeout = { .tv_sec = TIMEOUT_S };
	int r = getaddrinfo(ip, port, &hints, found);
	int sock;

	if (r != 0)
		die(ip, gai_strerror(r));
	sock = socket((*found)->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (sock < 0)
		die("socket", strerror(errno));
	setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)); /* connect(2) too */
	setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	return sock;
}

/* Writes "127.0.0.1:80" or "[::1]:80". */
static void write_address(char *buf, size_t cap, const struct sockaddr_storage *address,
			  socklen_t len)
{
	char ip[64], port[8];

	if (getnameinfo((const struct sockaddr *)address, len, ip, sizeof(ip), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		snprintf(buf, cap, "unknown");
	else
		snprintf(buf, cap, strchr(ip, ':') != NULL ? "[%s]:%s" : "%s:%s", ip, port);
}

/* Reads until the text has an empty line, the peer has closed, or the timeout has passed. Returns
 * the length; the text is NUL-terminated. */
static size_t read_head(int sock, char *text, size_t cap)
{
	size_t len = 0;
	ssize_t n;

	text[0] = '\0';
	while (strstr(text, "\r\n\r\n") == NULL && len + 1 < cap &&
	       (n = recv(sock, text + len, cap - 1 - len, 0)) > 0) {
		len += (size_t)n;
		text[len] = '\0';
	}
	return len;
}

static void send_all(int sock, const char *text)
{
	size_t len = strlen(text);
	ssize_t n;

	for (; len > 0 && (n = send(sock, text, len, MSG_NOSIGNAL)) > 0; text += n)
		len -= (size_t)n;
}

/* ---- the server ---- */

static void answer(int sock, const struct sockaddr_storage *client, socklen_t client_len)
{
	char request[8192], path[1024] = "", from[80], netns[64] = "unknown", page[2048], head[256];
	ssize_t n = readlink("/proc/self/ns/net", netns, sizeof(netns) - 1);

	if (n > 0)
		netns[n] = '\0';
	if (read_head(sock, request, sizeof(request)) == 0 ||
	    sscanf(request, "GET %1023s HTTP/1.", path) != 1) {
		send_all(sock, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
		return;
	}
	write_address(from, sizeof(from), client, client_len);
	snprintf(page, sizeof(page),
		 "Hello from a web server.\n"
		 "path:   %s\n"
		 "pid:    %d\n"
		 "uid:    %d\n"
		 "netns:  %s\n"
		 "client: %s\n",
		 path, (int)getpid(), (int)getuid(), netns, from);
	snprintf(head, sizeof(head),
		 "HTTP/1.1 200 OK\r\n"
		 "Content-Type: text/plain; charset=utf-8\r\n"
		 "Content-Length: %zu\r\n"
		 "Connection: close\r\n"
		 "\r\n",
		 strlen(page));
	send_all(sock, head);
	send_all(sock, page);
}

static void on_term(int signo)
{
	(void)signo;
	_exit(0);
}

static _Noreturn void serve(const char *ip, const char *port)
{
	struct addrinfo *at;
	int listener = open_socket(ip, port, &at), on = 1;
	const struct timeval forever = { 0 };
	struct sockaddr_storage address = { .ss_family = AF_UNSPEC };
	socklen_t len = sizeof(address);
	char text[80];

	signal(SIGTERM, on_term);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &forever, sizeof(forever));
	if (bind(listener, at->ai_addr, at->ai_addrlen) < 0 || listen(listener, 64) < 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &len) < 0)
		die("listen", strerror(errno));
	write_address(text, sizeof(text), &address, len);
	printf("listening on %s\n", text);
	fflush(stdout);
	for (;;) {
		const struct timeval timeout = { .tv_sec = TIMEOUT_S };
		int sock;

		len = sizeof(address);
		sock = accept(listener, (struct sockaddr *)&address, &len);
		if (sock < 0)
			continue;
		setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
		setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
		answer(sock, &address, len);
		close(sock);
	}
}

/* ---- the client ---- */

static int get(const char *ip, const char *port, const char *path)
{
	struct addrinfo *at;
	int sock = open_socket(ip, port, &at);
	char request[2048], text[8192];
	const char *body;
	ssize_t n;

	if (connect(sock, at->ai_addr, at->ai_addrlen) < 0)
		die("connect", strerror(errno == EINPROGRESS ? ETIMEDOUT : errno));
	freeaddrinfo(at);
	snprintf(request, sizeof(request),
		 "GET %s HTTP/1.1\r\nHost: %s:%s\r\nConnection: close\r\n\r\n", path, ip, port);
	send_all(sock, request);
	read_head(sock, text, sizeof(text));
	body = strstr(text, "\r\n\r\n");
	if (body == NULL || strncmp(text, "HTTP/1.1 200 ", strlen("HTTP/1.1 200 ")) != 0)
		die("no page", strtok(text, "\r\n") != NULL ? text : "no answer");
	fputs(body + strlen("\r\n\r\n"), stdout);
	while ((n = recv(sock, text, sizeof(text), 0)) > 0)
		fwrite(text, 1, (size_t)n, stdout);
	close(sock);
	return n < 0 || fflush(stdout) != 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "serve") == 0)
		serve(argv[2], argv[3]);
	if ((argc == 4 || argc == 5) && strcmp(argv[1], "get") == 0)
		return get(argv[2], argv[3], argc == 5 ? argv[4] : "/");
	fprintf(stderr, "Usage: web serve IP PORT\n       web get IP PORT [PATH]\n");
	return 1;
}
