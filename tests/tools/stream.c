/* SPDX-License-Identifier: Apache-2.0 */

/* Sends and receives streams and checks every byte, for tests of programs that copy streams.
 *
 *     stream serve PORT
 *         listens on 127.0.0.1 until it is killed; prints a line for each stream that it received:
 *         "ok", or what is wrong
 *     stream send HOST PORT KIND COUNT KB SEED
 *         opens COUNT connections at once, and sends about KB kilobytes (1024 bytes) each way on
 *         each of them; exit status 1 if any stream is wrong
 *     stream hold-pipes
 *         takes all the pipe memory that a user may have, prints "held", and keeps it until it is
 *         killed
 *
 * Kinds: "bulk" sends as much as possible at a time, "small" 1 to 2000 bytes, "mixed" 1 byte to 1
 * MiB with pauses. "slow" is "mixed" with readers that read little at a time and pause. Of each
 * kind, some streams are empty, and some end while the other direction still flows. Byte n of a
 * stream is computed from its seed and n, so that a byte that is lost, repeated or misplaced is
 * noticed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK_MAX (1024 * 1024)
#define PIPE_SIZE (1024 * 1024)

enum kind { BULK, SMALL, MIXED, SLOW, KINDS };

static const char *const kind_names[KINDS] = { "bulk", "small", "mixed", "slow" };

/* The first bytes that the client sends on a connection. */
struct header {
	uint64_t seed;
	uint64_t up, down; /* bytes */
	uint64_t kind;
};

/* One direction of a connection. */
struct flow {
	int fd;
	uint64_t seed, len;
	enum kind kind;
	char wrong[128]; /* "" if the stream is correct so far */
};

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

/* Computes the bytes of a stream from offset `at` on, into words[]. Returns the address of the
 * first one there. */
static const char *fill(uint64_t *words, uint64_t seed, uint64_t at, size_t len)
{
	uint64_t first = at / 8, last = (at + len + 7) / 8;

	for (uint64_t i = first; i < last; i++)
		words[i - first] = mix(seed + i);
	return (const char *)words + at % 8;
}

/* ---- sizes and pauses ---- */

static size_t choose_chunk(enum kind kind, bool reading, uint64_t *random)
{
	uint64_t r = *random = mix(*random);

	if (kind == BULK || (kind == SMALL && reading))
		return CHUNK_MAX;
	if (kind == SMALL)
		return 1 + (size_t)(r % 2000);
	if (kind == SLOW && reading)
		return 1 + (size_t)(r % 40000);
	return 1 + (size_t)(r % (1u << (r >> 32) % 21));
}

static void pause_sometimes(enum kind kind, bool reading, uint64_t random)
{
	uint64_t one_in = kind == SLOW && reading ? 30 : kind == MIXED || kind == SLOW ? 300 : 0;

	if (one_in != 0 && (random >> 8) % one_in == 0)
		usleep((useconds_t)(random % 8000));
}

/* ---- flows ---- */

static void *send_flow(void *arg)
{
	struct flow *f = arg;
	uint64_t *words = malloc(CHUNK_MAX + 16);
	uint64_t random = f->seed ^ f->len, at = 0;

	while (words != NULL && at < f->len) {
		size_t len = choose_chunk(f->kind, false, &random);
		const char *bytes;
		ssize_t n;

		if (len > f->len - at)
			len = (size_t)(f->len - at);
		bytes = fill(words, f->seed, at, len);
		n = send(f->fd, bytes, len, MSG_NOSIGNAL);
		if (n < 0 && errno != EINTR) {
			snprintf(f->wrong, sizeof(f->wrong), "send at %llu of %llu: %s",
				 (unsigned long long)at, (unsigned long long)f->len,
				 strerror(errno));
			break;
		}
		at += n < 0 ? 0 : (uint64_t)n;
		pause_sometimes(f->kind, false, random);
	}
	shutdown(f->fd, SHUT_WR);
	free(words);
	return NULL;
}

static void *receive_flow(void *arg)
{
	struct flow *f = arg;
	uint64_t *words = malloc(CHUNK_MAX + 16);
	char *bytes = malloc(CHUNK_MAX);
	uint64_t random = f->seed ^ ~f->len, at = 0;
	ssize_t n = 1;

	while (words != NULL && bytes != NULL && f->wrong[0] == '\0') {
		size_t len = choose_chunk(f->kind, true, &random);

		n = recv(f->fd, bytes, len, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		if (at + (uint64_t)n > f->len ||
		    memcmp(bytes, fill(words, f->seed, at, (size_t)n), (size_t)n) != 0)
			snprintf(f->wrong, sizeof(f->wrong), "wrong bytes in %llu..%llu of %llu",
				 (unsigned long long)at, (unsigned long long)at + (uint64_t)n,
				 (unsigned long long)f->len);
		at += (uint64_t)n;
		pause_sometimes(f->kind, true, random);
	}
	if (f->wrong[0] == '\0' && (n != 0 || at != f->len))
		snprintf(f->wrong, sizeof(f->wrong), "ends at %llu of %llu: %s",
			 (unsigned long long)at, (unsigned long long)f->len,
			 n < 0 ? strerror(errno) : "end of file");
	free(words);
	free(bytes);
	return NULL;
}

/* Runs both directions of a connection to their ends, and closes it. */
static void run_flows(struct flow *out, struct flow *in)
{
	pthread_t sender;

	if (pthread_create(&sender, NULL, send_flow, out) != 0) {
		snprintf(out->wrong, sizeof(out->wrong), "no thread");
		return;
	}
	receive_flow(in);
	/* unblocks the sender if the peer has stopped reading too */
	if (in->wrong[0] != '\0')
		shutdown(out->fd, SHUT_RDWR);
	pthread_join(sender, NULL);
	close(out->fd);
}

/* ---- the server ---- */

static void *serve_one(void *arg)
{
	int fd = (int)(intptr_t)arg;
	struct header h;

	if (recv(fd, &h, sizeof(h), MSG_WAITALL) == (ssize_t)sizeof(h)) {
		struct flow out = {
			.fd = fd, .seed = ~h.seed, .len = h.down, .kind = h.kind % KINDS
		};
		struct flow in = { .fd = fd, .seed = h.seed, .len = h.up, .kind = h.kind % KINDS };

		run_flows(&out, &in);
		printf("%s\n", in.wrong[0] != '\0'    ? in.wrong
			       : out.wrong[0] != '\0' ? out.wrong
						      : "ok");
		fflush(stdout);
		return NULL;
	}
	/* a client that only checks whether the server listens */
	close(fd);
	return NULL;
}

static struct sockaddr_in address(const char *host, const char *port)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };

	inet_pton(AF_INET, host, &sa.sin_addr);
	return sa;
}

static int serve(const char *port)
{
	struct sockaddr_in sa = address("127.0.0.1", port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int one = 1;
	pthread_attr_t detached;

	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, 1024) < 0) {
		perror("stream serve");
		return 1;
	}
	for (;;) {
		int client = accept(fd, NULL, NULL);
		pthread_t thread;

		if (client >= 0 &&
		    pthread_create(&thread, &detached, serve_one, (void *)(intptr_t)client) != 0)
			close(client);
	}
}

/* ---- the client ---- */

struct job {
	pthread_t thread;
	struct sockaddr_in to;
	struct header header;
	bool failed;
};

static void *send_one(void *arg)
{
	struct job *j = arg;
	const struct header *h = &j->header;
	struct flow out = { .seed = h->seed, .len = h->up, .kind = (enum kind)h->kind };
	struct flow in = { .seed = ~h->seed, .len = h->down, .kind = (enum kind)h->kind };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	out.fd = in.fd = fd;
	if (connect(fd, (struct sockaddr *)&j->to, sizeof(j->to)) < 0 ||
	    send(fd, h, sizeof(*h), MSG_NOSIGNAL) != (ssize_t)sizeof(*h)) {
		snprintf(out.wrong, sizeof(out.wrong), "connect: %s", strerror(errno));
		close(fd);
	} else {
		run_flows(&out, &in);
	}
	j->failed = out.wrong[0] != '\0' || in.wrong[0] != '\0';
	if (j->failed)
		fprintf(stderr, "stream %llx, %llu up, %llu down: %s %s\n",
			(unsigned long long)h->seed, (unsigned long long)h->up,
			(unsigned long long)h->down, out.wrong, in.wrong);
	return NULL;
}

/* Chooses a length from a half to one and a half of `usual`. One stream in eight is empty, and one
 * in eight has 1 to 5000 bytes. */
static uint64_t choose_len(uint64_t usual, uint64_t random)
{
	if (random % 8 == 0)
		return 0;
	if (random % 8 == 1)
		return 1 + random / 8 % 5000;
	return usual / 2 + random / 8 % (usual + 1);
}

static int send_all(const struct sockaddr_in *to, enum kind kind, size_t count, uint64_t len,
		    uint64_t seed)
{
	struct job *jobs = calloc(count, sizeof(*jobs));
	unsigned long long bytes = 0;
	int status = 0;

	if (jobs == NULL)
		return 1;
	for (size_t i = 0; i < count; i++) {
		struct job *j = &jobs[i];

		j->to = *to;
		j->header = (struct header){ .seed = mix(seed + i), .kind = kind };
		j->header.up = choose_len(len, mix(j->header.seed + 1));
		j->header.down = choose_len(len, mix(j->header.seed + 2));
		bytes += j->header.up + j->header.down;
		if (pthread_create(&j->thread, NULL, send_one, j) != 0) {
			perror("stream send");
			exit(1);
		}
	}
	for (size_t i = 0; i < count; i++) {
		pthread_join(jobs[i].thread, NULL);
		if (jobs[i].failed)
			status = 1;
	}
	free(jobs);
	printf("%llu bytes\n", bytes);
	return status;
}

/* ---- pipes ---- */

/* Creates a pipe of `size` bytes, which stays open. Returns false if the limit is reached. */
static bool hold_pipe(int size)
{
	int fds[2];

	if (pipe(fds) < 0)
		return false;
	if (fcntl(fds[0], F_SETPIPE_SZ, size) >= size)
		return true;
	close(fds[0]);
	close(fds[1]);
	return false;
}

/* Never stops: also takes what other processes of the user release later. */
static _Noreturn void hold_pipes(void)
{
	for (bool told = false;; told = true) {
		for (int size = PIPE_SIZE; size >= 16 * 1024; size /= 2)
			while (hold_pipe(size))
				;
		if (!told) {
			puts("held");
			fflush(stdout);
		}
		usleep(1000);
	}
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		return serve(argv[2]);
	if (argc == 2 && strcmp(argv[1], "hold-pipes") == 0)
		hold_pipes();
	if (argc == 8 && strcmp(argv[1], "send") == 0) {
		struct sockaddr_in to = address(argv[2], argv[3]);

		for (enum kind kind = 0; kind < KINDS; kind++)
			if (strcmp(argv[4], kind_names[kind]) == 0)
				return send_all(&to, kind, strtoul(argv[5], NULL, 10),
						strtoull(argv[6], NULL, 10) * 1024,
						strtoull(argv[7], NULL, 10));
	}
	fputs("usage: stream serve PORT | send HOST PORT KIND COUNT KB SEED | hold-pipes\n",
	      stderr);
	return 2;
}
